"""learn: every choice, callbacks, learning on, what ends or interrupts it."""
import copy
import os
import signal
import sys
import time
import types
from dataclasses import replace

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.spaces import Discrete
from helpers import (
    ENVS,
    KINDS,
    Log,
    Walk,
    arguments,
    forbid,
    make_config,
    make_demos,
    messages,
    record_batches,
    same,
    weights,
)
from torch import nn

import iq

DEMOS = {kind: make_demos(kind) for kind in KINDS}
kinds = pytest.mark.parametrize("kind", KINDS)
modes = pytest.mark.parametrize("online", [False, True])


# ------------------------------------------------------------------------- the choices

CHOICES = [{"divergence": d} for d in iq.DIVERGENCES] + [
    {"absorbing": False}, {"absorbing": True, "divergence": "hellinger"},
    {"chi2_on": "expert"}, {"target_rate": 1.0}, {"scale_inputs": False},
    {"value_term": "initial"}, {"value_term": 0.0}, {"value_term": 2.0},
    {"value_term": "initial", "absorbing": False}]


@kinds
@modes
def test_every_choice_learns(kind, online):
    for choice in CHOICES:
        infos = []
        before = weights(iq.new_agent(DEMOS[kind], make_config(kind, **choice)))
        agent = iq.learn(DEMOS[kind], ENVS[kind] if online else None,
                         make_config(kind, steps=3, **choice),
                         lambda step, info, kept=infos: kept.append((step, info)))
        assert [step for step, _ in infos] == [1, 2, 3]
        assert all(np.isfinite(float(x)) for _, info in infos for x in info.values())
        after = weights(agent)
        moved = {k.split(".")[0]
                         for k in before if not torch.equal(before[k], after[k])}
        assert moved - {"absorbing_value"} == {
            "critic", "target", *["actor"] * (kind == "actor_critic")}
        assert choice.get("absorbing", True) or "absorbing_value" not in moved


@kinds
def test_offline_learning_never_makes_or_steps_an_environment(kind, monkeypatch):
    demos = DEMOS[kind]
    monkeypatch.setattr(gym, "make", forbid)
    for part in gym.Env, gym.Wrapper, Walk:
        for verb in "__init__", "reset", "step":
            monkeypatch.setattr(part, verb, forbid)
    agent = iq.learn(demos, config=make_config(kind))
    agent.reward(*arguments(demos))


@kinds
@modes
def test_learning_never_reads_the_true_rewards(kind, online):
    class Other(gym.Wrapper):
        def step(self, action):
            obs, _, *rest = super().step(action)
            return obs, 1e6, *rest

    known = dict(DEMOS[kind].columns)
    false = known | {"rewards": -1e3 * known["rewards"]}
    del known["rewards"]
    learned = []
    for table, wrap in (known, lambda env: env), (false, Other):
        demos = iq.Demos(DEMOS[kind].action_space, **table)
        env = wrap(gym.make(ENVS[kind])) if online else None
        learned.append(weights(iq.learn(demos, env, make_config(kind, steps=25))))
    assert same(*learned)


@kinds
@pytest.mark.parametrize("what", ["drift", "limit"])
def test_online_the_learner_s_own_transitions_matter(kind, what):
    """By the default Config: in other dynamics the same seed learns other weights."""
    def env(changed):
        env = Walk(kind != "discrete", drift=0.3 * (changed and what == "drift"))
        return gym.wrappers.TimeLimit(env, 3 if changed and what == "limit" else 20)

    c = iq.Config(steps=20, continuous="naf" if kind == "discrete" else kind)
    one, again, other = (iq.learn(DEMOS[kind], env(x), c) for x in (0, 0, 1))
    assert same(weights(one), weights(again))
    for name in {"critic", "actor"} & {x for x, _ in one.named_children()}:
        a, b = (x.get_submodule(name).state_dict() for x in (one, other))
        assert max((a[k] - b[k]).abs().max() for k in a) > 1e-3, name


@kinds
def test_by_the_default_config_the_loss_depends_on_the_learner_s_rows(kind):
    c = iq.Config(steps=5, continuous="naf" if kind == "discrete" else kind)
    agent = iq.new_agent(DEMOS[kind], c)
    batches = record_batches(agent)
    iq.learn(DEMOS[kind], ENVS[kind], agent=agent)
    batch, is_expert = batches[-1]
    assert is_expert.sum() == c.batch_size == len(is_expert) / 2
    losses = []
    for shift in 0.0, 0.5:
        obs = batch.obs + shift * (~is_expert)[:, None]
        info = iq.new_agent(DEMOS[kind], c).update(batch._replace(obs=obs), is_expert)
        losses.append(float(info["loss"]))
    assert abs(losses[0] - losses[1]) > 1e-6


def test_the_learner_samples_its_actions_and_learns_from_what_it_did():
    env = Log(gym.make("Walk-v0"))
    agent = iq.new_agent(DEMOS["discrete"], make_config(steps=60, temperature=1e3))
    batches = record_batches(agent)
    iq.learn(DEMOS["discrete"], env, agent=agent)
    actions = [int(action) for _, action, *_ in env.steps]
    assert len(actions) == 60 and 15 < sum(actions) < 45
    places = {s[0] for s, *_ in env.steps}
    drawn = [x for batch, is_expert in batches
             for x in batch.obs[~is_expert, 0].tolist()]
    assert set(drawn) <= places and len(set(drawn)) > 40
    assert all(x.sum() == 8 and len(x) == 16 for _, x in batches)


@kinds
def test_a_gradient_longer_than_ten_is_shortened_to_it(kind):
    """Adam hides the length of gradients, but they are left where they were."""
    agent = iq.new_agent(DEMOS[kind], make_config(kind, chi2_alpha=1e-6, steps=1))
    iq.learn(DEMOS[kind], agent=agent)
    grads = [p.grad.flatten() for p in agent.parameters() if p.grad is not None]
    assert torch.cat(grads).norm() == pytest.approx(10, rel=1e-3)


class Sharp(nn.Module):
    """A network that is finite everywhere, and whose gradient at 0 is not."""

    def __init__(self, outputs):
        super().__init__()
        self.zero = nn.Parameter(torch.zeros(outputs))

    def forward(self, obs, *action):
        return self.zero.abs().sqrt().expand(len(obs), -1)


@pytest.mark.parametrize("kind, name, outputs", [
    ("discrete", "critic", 2), ("naf", "critic", 3), ("actor_critic", "critic", 1),
    ("actor_critic", "actor", 2)])
def test_a_gradient_that_is_not_finite_moves_no_weight(kind, name, outputs):
    agent = iq.new_agent(DEMOS[kind], make_config(kind), **{name: Sharp(outputs)})
    before = weights(agent)
    with pytest.raises(RuntimeError, match="finite"):
        iq.learn(DEMOS[kind], agent=agent)
    assert same(before, weights(agent)) and not agent.training


@pytest.mark.parametrize("threads", [1, 3])
def test_learning_on_a_cpu_puts_the_number_of_threads_back(threads):
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        within = []
        iq.learn(DEMOS["discrete"], config=make_config(steps=2),
                 callback=lambda *_: within.append(torch.get_num_threads()))
        agent = iq.new_agent(DEMOS["discrete"], make_config(steps=2),
                             critic=nn.Linear(2, 2))
        iq.learn(DEMOS["discrete"], agent=agent,
                 callback=lambda *_: within.append(torch.get_num_threads()))
        with pytest.raises(ZeroDivisionError):
            iq.learn(DEMOS["discrete"], config=make_config(steps=2),
                     callback=lambda *_: 1 / 0)
        assert within == [1, 1, threads, threads]  # a large network may gain by them
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)


# --------------------------------------------------------------------------- callbacks

@kinds
@modes
def test_whatever_a_callback_returns_learning_goes_on(kind, online):
    """step % 100 == 0 and print(step) is mostly False; a metric may be 0.0."""
    answers = [False, 0.0, None, 0, "", [], True, np.False_, np.zeros(2),
               torch.tensor(False)]
    env, steps, infos = Log(gym.make(ENVS[kind])), [], []

    def callback(step, info):
        steps.append(step)
        infos.append(info)
        return answers[step - 1]

    iq.learn(DEMOS[kind], env if online else None,
             make_config(kind, steps=len(answers)), callback)
    assert steps == [*range(1, 11)] and len(env.steps) == 10 * online
    assert {"loss", "expert_term", "value_term"} <= infos[0].keys()
    assert all(x.shape == () and not x.requires_grad for x in infos[0].values())


@kinds
@modes
def test_stop_iteration_ends_learning_and_keeps_the_agent(kind, online):
    env, steps = Log(gym.make(ENVS[kind])), []

    def callback(step, info):
        steps.append(step)
        if step == 4:
            raise StopIteration

    agent = iq.learn(DEMOS[kind], env if online else None, make_config(kind), callback)
    assert steps == [1, 2, 3, 4] and agent.updates == 4
    assert len(env.steps) == 4 * online and not agent.training
    four = iq.learn(DEMOS[kind], ENVS[kind] if online else None,
                    make_config(kind, steps=4))
    assert same(weights(agent), weights(four))


def test_an_error_in_a_callback_is_the_caller_s():
    with pytest.raises(ZeroDivisionError):
        iq.learn(DEMOS["discrete"], config=make_config(), callback=lambda *_: 1 / 0)


@pytest.mark.parametrize("where", ["policy", "step", "reset"])
def test_a_stop_iteration_that_is_not_the_callback_s_is_not_taken_for_its(where):
    """next() of an empty iterator in somebody's environment must not end in silence."""
    class Empty(Walk):
        def step(self, action):
            if where == "step":
                next(iter(()))
            return super().step(action)

        def reset(self, seed=None, options=None):
            if where == "reset":
                next(iter(()))
            return super().reset(seed=seed)

    agent = iq.new_agent(DEMOS["discrete"], make_config())
    if where == "policy":
        agent.select_action = lambda *_: next(iter(()))
    with pytest.raises(RuntimeError):
        iq.learn(DEMOS["discrete"], Empty(), agent=agent)


# ------------------------------------------------------------------------- learning on

@kinds
@modes
def test_ten_pieces_go_on_where_the_last_one_stopped(kind, online):
    """Replay, random stream and optimizer continue; each piece starts somewhere new."""
    env = Log(gym.wrappers.TimeLimit(Walk(kind != "discrete"), 20))
    agent = iq.new_agent(DEMOS[kind], make_config(kind, steps=7))
    batches, optimizer, starts = record_batches(agent), agent.optimizer, []
    for piece in range(10):
        made, known = len(env.steps), len(batches)
        assert iq.learn(DEMOS[kind], env if online else None, agent=agent) is agent
        assert agent.updates == 7 * (piece + 1) and len(batches) == known + 7
        assert agent.replay.size == len(env.steps) == 7 * (piece + 1) * online
        if online:
            starts.append(env.steps[made][0][0])
    assert len(set(starts)) == 10 * online
    assert agent.optimizer is optimizer
    steps = {float(x["step"]) for x in optimizer.state.values()}
    assert steps == {70.0}
    drawn = {tuple(batch.obs[is_expert].flatten().tolist())
             for batch, is_expert in batches}
    assert len(drawn) == 70  # a stream that begins anew would repeat its first draws


@kinds
def test_offline_two_pieces_are_the_whole(kind):
    agent = iq.new_agent(DEMOS[kind], make_config(kind, steps=5))
    for _ in range(2):
        iq.learn(DEMOS[kind], agent=agent)
    whole = iq.learn(DEMOS[kind], config=make_config(kind, steps=10))
    assert same(weights(agent), weights(whole))


def test_the_same_seed_gives_the_same_pieces():
    def pieces():
        agent = iq.new_agent(DEMOS["discrete"], make_config(steps=4))
        for _ in range(3):
            iq.learn(DEMOS["discrete"], "Walk-v0", agent=agent)
        return weights(agent)

    assert same(pieces(), pieces())


@kinds
@pytest.mark.parametrize("change", [
    {"learning_rate": 0.02}, {"seed": 5}, {"batch_size": 3}, {"steps": 2},
    {"target_rate": 0.9}, {"value_term": "initial"},
    {"divergence": "hellinger"}, {"chi2_alpha": 0.01}], ids=str)
def test_learning_on_uses_what_a_config_may_change(kind, change):
    learned = []
    for c in make_config(kind, steps=3), make_config(kind, **{"steps": 3} | change):
        agent = iq.new_agent(DEMOS[kind], make_config(kind))
        batches = record_batches(agent)
        iq.learn(DEMOS[kind], None, c, agent=agent)
        assert agent.config == c and len(batches) == c.steps
        assert len(batches[0][1]) == c.batch_size
        learned.append(weights(agent))
    assert not same(*learned)


@kinds
@pytest.mark.parametrize("change", [
    {"hidden": 9}, {"gamma": 0.5}, {"temperature": 0.7}, {"absorbing": False},
    {"scale_inputs": False}, {"continuous": "the other"}], ids=str)
def test_learning_on_refuses_by_name_what_shapes_an_agent(kind, change):
    agent = iq.learn(DEMOS[kind], config=make_config(kind))
    before = weights(agent)
    if "continuous" in change:
        other = {"naf": "actor_critic", "actor_critic": "naf"}
        change = {"continuous": other[agent.config.continuous]}
    (name, value), = change.items()
    with pytest.raises(ValueError) as caught:
        iq.learn(DEMOS[kind], config=replace(make_config(kind), **change), agent=agent)
    for word in name, repr(value), repr(getattr(agent.config, name)), "new":
        assert word in str(caught.value)
    assert same(before, weights(agent)) and agent.config == make_config(kind)


def test_learning_on_refuses_other_demonstrations_and_leaves_the_agent_as_it_is():
    agent = iq.new_agent(DEMOS["discrete"], make_config())
    table = DEMOS["discrete"].columns
    wide = {k: np.append(x, x, 1) if "obs" in k else x for k, x in table.items()}
    bytes_ = {k: x.astype(np.uint8) if "obs" in k else x for k, x in table.items()}
    for demos, says in ((iq.Demos(Discrete(3), **table), r"Discrete\(3\)"),
                        (iq.Demos(Discrete(2), **wide), r"\(4,\)|, 4\)"),
                        (iq.Demos(Discrete(2), **bytes_), "uint8"),
                        (DEMOS["naf"], "Box")):
        before = weights(agent)
        with pytest.raises(ValueError, match=says):
            iq.learn(demos, config=make_config(steps=7), agent=agent)
        assert same(before, weights(agent)) and agent.updates == 0


# -------------------------------------------------------------------------- interrupts

def interrupting(agent, at, error=KeyboardInterrupt):
    """Let the agent's loss raise at some update, in the midst of it."""
    loss, calls = agent.loss, []

    def loss_or_error(batch, is_expert):
        calls.append(1)
        if len(calls) == at:
            raise error
        return loss(batch, is_expert)

    agent.loss = loss_or_error


@kinds
@modes
@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError, SystemExit])
def test_an_interrupt_within_an_update_leaves_a_whole_agent(kind, online, error):
    """Dropout off, weights and target as after the update before, able to learn on."""
    torch.manual_seed(0)
    layers = [nn.Linear(2, 8), nn.Dropout(0.5), nn.Linear(8, 2)]
    if kind == "actor_critic":
        own = {"actor": nn.Sequential(*layers)}
    else:
        own = {"critic": nn.Sequential(*layers[:2], nn.Linear(8, 2 + (kind == "naf")))}
    agent, seen = iq.new_agent(DEMOS[kind], make_config(kind), **own), []
    interrupting(agent, 5, error)
    before = torch.get_num_threads()
    with pytest.raises(error):
        iq.learn(DEMOS[kind], ENVS[kind] if online else None, agent=agent,
                 callback=lambda *_: seen.append(weights(agent)))
    assert agent.updates == len(seen) == 4 and same(seen[-1], weights(agent))
    assert not any(x.training for x in agent.modules())
    assert torch.get_num_threads() == before
    obs = DEMOS[kind].observations
    assert np.array_equal(agent.act(obs), agent.act(obs))
    del agent.loss
    iq.learn(DEMOS[kind], agent=agent)
    assert agent.updates == 14


@modes
def test_interrupted_without_an_agent_of_the_caller_s_it_returns_its_own(
        online, monkeypatch):
    """agent = learn(demos), interrupted in a notebook, would leave nothing."""
    update, calls = iq.SoftQ.update, []

    def interrupted(agent, *batch):
        calls.append(1)
        if len(calls) == 8:
            raise KeyboardInterrupt
        return update(agent, *batch)

    monkeypatch.setattr(iq.SoftQ, "update", interrupted)
    with pytest.warns(UserWarning, match="interrupted after 7"):
        agent = iq.learn(
    DEMOS["discrete"],
    "Walk-v0" if online else None,
     make_config())
    monkeypatch.undo()
    seven = iq.learn(DEMOS["discrete"], "Walk-v0" if online else None,
                     make_config(steps=7))
    assert same(weights(agent), weights(seven))


def test_a_signal_in_the_midst_of_an_update_is_such_an_interrupt():
    agent, sent = iq.new_agent(DEMOS["discrete"], make_config(steps=50)), []

    def callback(step, info):
        if step == 3:
            sent.append(step)
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        iq.learn(DEMOS["discrete"], agent=agent, callback=callback)
    assert sent == [3] and 3 <= agent.updates <= 4 and not agent.training


# ---------------------------------------------------------------------------- progress

def test_a_log_file_gets_a_line_now_and_then(monkeypatch, capfd):
    """stderr is no terminal: whole lines, at most one for an interval, no \\r."""
    from tqdm import tqdm

    def quick(*args, **kwargs):
        return tqdm(*args, **kwargs | {"delay": 0, "mininterval": 0.02,
                                       "maxinterval": 0.05, "miniters": 1})

    monkeypatch.setattr(iq, "tqdm", quick)
    begun = time.perf_counter()
    iq.learn(DEMOS["discrete"], config=make_config(steps=300))
    intervals = (time.perf_counter() - begun) / 0.02
    _, errors = capfd.readouterr()
    lines = [x for x in errors.replace("\r", "").split("\n") if x.strip()]
    assert 2 <= len(lines) <= intervals + 2
    assert all("of 300 updates" in x for x in lines)


def test_a_short_run_writes_nothing_to_a_log_file(capfd):
    iq.learn(DEMOS["discrete"], "Walk-v0", make_config(steps=20))
    assert capfd.readouterr() == ("", "")


def test_a_notebook_gets_a_bar(monkeypatch, capfd):
    monkeypatch.setitem(sys.modules, "ipykernel", types.ModuleType("ipykernel"))
    iq.learn(DEMOS["discrete"], config=make_config(steps=20))
    assert "20/20" in capfd.readouterr().err


def test_the_caller_s_own_objects_are_left_as_they_are():
    demos = make_demos()
    before = {name: x.copy() for name, x in demos.columns.items()}
    config, copied = make_config(), copy.copy(make_config())
    assert not messages(lambda: iq.learn(demos, "Walk-v0", config))
    assert same(demos.columns, before) and config == copied
