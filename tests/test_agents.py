"""Agents: the same verbs on all three, and nothing done behind one's back."""
import random
import subprocess
import sys
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Discrete
from tools import (
    ENVS,
    KINDS,
    Outputs,
    Told,
    Walk,
    arguments,
    config,
    diary,
    forbid,
    listen,
    same,
    weights,
)
from torch import nn

import iq

DIARIES = {kind: diary(kind) for kind in KINDS}
kinds = pytest.mark.parametrize("kind", KINDS)


def global_state():
    return [random.getstate(), str(np.random.get_state()),
            torch.get_rng_state().tolist(), torch.get_default_dtype(),
            torch.is_grad_enabled()]


# -------------------------------------------------------------------- same seed, alone

@kinds
@pytest.mark.parametrize("online", [False, True])
def test_the_same_seed_gives_the_same_weights_whatever_the_global_random_state(
        kind, online):
    def run(seed, disturbance):
        random.seed(disturbance)
        np.random.seed(disturbance)
        torch.manual_seed(disturbance)
        before = global_state()
        agent = iq.learn(DIARIES[kind], ENVS[kind] if online else None,
                         config(kind, seed=seed, steps=25))
        agent.act(np.zeros((3, 2)), greedy=False)
        assert global_state() == before
        return weights(agent)

    first = run(0, 1)
    assert same(first, run(0, 2))
    assert not same(first, run(1, 1))


def test_importing_prints_nothing_seeds_nothing_and_trains_nothing():
    code = """if True:
        import random, numpy, torch
        before = random.getstate(), str(numpy.random.get_state()), torch.get_rng_state()
        torch.optim.Optimizer.__init__ = torch.nn.Module.__init__ = None
        import iq
        after = random.getstate(), str(numpy.random.get_state()), torch.get_rng_state()
        assert before[:2] == after[:2] and torch.equal(before[2], after[2])
        assert torch.is_grad_enabled() and torch.get_default_dtype() == torch.float32
    """
    done = subprocess.run([sys.executable, "-W", "error", "-c", code],
                          cwd=Path(iq.__file__).parent, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
@kinds
def test_cpu_and_cuda_agree(kind, tmp_path):
    demos = DIARIES[kind]
    agents = [iq.new_agent(demos, config(kind, device=d)) for d in ("cpu", "cuda")]
    agents[1].load_state_dict(agents[0].state_dict())
    for verb, inputs in ("act", 1), ("log_prob", 2):
        a, b = (getattr(x, verb)(*arguments(demos)[:inputs]) for x in agents)
        assert np.allclose(a, b, atol=1e-4)
    iq.learn(demos, ENVS[kind], agent=agents[1])
    agents[1].save(tmp_path / "agent.pt")
    back = iq.load(tmp_path / "agent.pt")
    assert same(weights(back), weights(agents[1])) and back.config.device == "cpu"
    assert {x.device.type for x in back.parameters()} == {"cpu"}


# ------------------------------------------------------------------------------ verbs

@kinds
def test_arrays_lists_and_double_precision_are_the_same_to_every_verb(kind):
    def answers(convert):
        agent = iq.learn(DIARIES[kind], config=config(kind))
        s, a, s2, end = map(convert, arguments(DIARIES[kind]))
        return [agent.reward(s, a, s2, end), agent.log_prob(s, a), agent.act(s),
                agent.act(s, greedy=False)]

    first = answers(lambda x: x)
    assert all(isinstance(x, np.ndarray) and len(x) == len(DIARIES[kind])
               for x in first)
    for convert in np.ndarray.tolist, lambda x: x.astype(
            np.float64 if x.dtype == np.float32 else x.dtype):
        assert all(map(np.array_equal, answers(convert), first))


@kinds
def test_actions_may_stand_in_rows_or_in_a_column_for_every_verb(kind):
    def answers(shape):
        agent = iq.learn(DIARIES[kind], config=config(kind))
        s, a, s2, end = arguments(DIARIES[kind])
        return [agent.reward(s, a.reshape(shape), s2, end),
                agent.log_prob(s, a.reshape(shape))]

    assert all(map(np.array_equal, answers(-1), answers((-1, 1))))


@kinds
def test_what_is_a_view_of_an_array_is_seen_as_it_is(kind):
    agent, obs = iq.new_agent(DIARIES[kind], config(kind)), DIARIES[kind].observations
    assert np.array_equal(agent.act(obs[::-1]), agent.act(obs)[::-1])


@kinds
@pytest.mark.parametrize("greedy", [True, False])
def test_act_takes_a_single_observation_as_well_as_many(kind, greedy):
    demos, answers = DIARIES[kind], []
    for rows in 0, slice(0, 1):
        agent = iq.learn(demos, config=config(kind))
        answers.append(agent.act(demos.observations[rows], greedy))
    one, many = answers
    assert one.shape == demos.action_space.shape and np.array_equal(one, many[0])
    assert one.dtype == demos.action_space.dtype


def test_the_reward_is_q_less_the_discounted_value_and_beyond_an_end_the_learned_one():
    """By the verbs of SoftQ on tensors; the others draw V or have it in Q."""
    demos = DIARIES["discrete"]
    agent = iq.learn(demos, "Walk-v0", config(steps=30, gamma=0.7, absorbing=True))
    s, a, s2, end = map(torch.as_tensor, arguments(demos))
    with torch.no_grad():
        q, v = agent.q(s, a.float()).numpy(), agent.value(s2).numpy()
    worth = agent.absorbing_value.item()
    reward = agent.reward(*arguments(demos))
    assert end.any() and worth != 0
    assert reward == pytest.approx(q - 0.7 * np.where(end, worth, v), abs=1e-5)


def test_without_an_absorbing_state_an_end_is_worth_0():
    demos = DIARIES["discrete"]
    agent = iq.learn(demos, config=config(steps=30, absorbing=False))
    s, a, s2, end = arguments(demos)
    with torch.no_grad():
        q = agent.q(torch.as_tensor(s), torch.as_tensor(a).float()).numpy()
    assert agent.reward(s, a, s2, end)[end] == pytest.approx(q[end], abs=1e-6)


def test_log_prob_of_counted_actions_sums_to_1_and_act_follows_it():
    demos = iq.Demos(Discrete(3), **DIARIES["discrete"].columns)
    agent = iq.new_agent(demos, config(temperature=0.05),
                         critic=Outputs(0.0, 0.02, -0.05))
    share = np.exp(agent.log_prob(np.zeros((3, 2)), np.arange(3)))
    assert share.sum() == pytest.approx(1, abs=1e-5)
    drawn = agent.act(np.zeros((20_000, 2)), greedy=False)
    assert np.bincount(drawn) / 20_000 == pytest.approx(share, abs=0.02)  # 5 sigma
    assert agent.act(np.zeros(2)) == share.argmax()


@pytest.mark.parametrize("kind, own", [
    ("naf", {"critic": Outputs(0, 0.2, -0.7)}),
    ("actor_critic", {"actor": Outputs(0.2, -0.7)})])
def test_log_prob_of_continuous_actions_has_area_1_and_act_follows_it(kind, own):
    demos = iq.Demos(Box(-3.0, 5.0, (1,)), **DIARIES[kind].columns)
    agent = iq.new_agent(demos, config(kind), **own)
    grid = np.linspace(-3, 5, 4001)[:, None]  # 8 wide, and measured as 2
    area = np.exp(agent.log_prob(np.zeros((4001, 2)), grid)).cumsum() * 2 / 4000
    assert area[-1] == pytest.approx(1, abs=0.1)  # NAF's normal has tails, clipped
    drawn = agent.act(np.zeros((20_000, 2)), greedy=False).ravel().clip(-3, 5)
    for below in 0.5, 1.5, 3.0:
        share = (drawn > below).mean()
        rest = 1 - area[np.searchsorted(grid.ravel(), below)]
        assert share == pytest.approx(rest, abs=0.06 if kind == "naf" else 0.02)


def test_the_critic_sees_actions_from_minus_1_to_1():
    seen = []

    class Watching(nn.Linear):
        def forward(self, obs, action):
            seen.append(action)
            return super().forward(action)

    space = Box(np.float32([-2, 10]), np.float32([2, 30]))
    actions = np.float32([[-2, 10], [2, 30], [1, 15]])
    agent = iq.SoftActorCritic(np.zeros(3, np.float32), space,
                               config("actor_critic"), critic=Watching(2, 1))
    agent.reward(np.zeros((3, 3)), actions, np.zeros((3, 3)), np.zeros(3, bool))
    expected = torch.tensor([[-1.0, -1], [1, 1], [0.5, -0.5]])
    assert any(torch.equal(x, expected) for x in seen)


# -------------------------------------------------------------------- a user's networks

class Eye(nn.Module):
    """A small image encoder (B, 3, 8, 8) bytes -> features, with a head."""

    def __init__(self, outputs, extra=0, norm=nn.Identity):
        super().__init__()
        self.see = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2), norm(), nn.ReLU(),
                                 nn.Flatten())
        self.head = nn.Linear(4 * 9 + extra, outputs)

    def forward(self, image, *action):
        assert image.shape[1:] == (3, 8, 8)
        return self.head(torch.cat([self.see(image / 255), *action], 1))


def images(kind, n=40):
    rng = np.random.default_rng(0)
    seen = rng.integers(0, 256, (n + 1, 3, 8, 8), np.uint8)
    space = Discrete(2) if kind == "discrete" else Box(-1.0, 5.0, (2,))
    actions = (seen[:-1, 0, 0, 0] > 127).astype(np.int64)  # the picture tells it
    if kind != "discrete":
        actions = rng.uniform(-1, 5, (n, 2)).astype(np.float32)
    ends = np.arange(n) == n - 1
    return iq.Demos(space, observations=seen[:-1], actions=actions, terminations=ends,
                    next_observations=seen[1:], truncations=ends & False)


def networks(kind, **more):
    """A user's own for images, with outputs as the class tells."""
    torch.manual_seed(0)
    if kind == "actor_critic":
        return {"critic": Eye(1, extra=2, **more), "actor": Eye(4, **more)}
    return {"critic": Eye(2 if kind == "discrete" else 5, **more)}


@kinds
def test_images_are_learned_by_a_users_own_networks(kind, tmp_path):
    demos, own = images(kind), networks(kind)
    agent = iq.new_agent(demos, config(kind, steps=20), **own)
    assert all(getattr(agent, name) is network for name, network in own.items())
    before = weights(agent)
    iq.learn(demos, agent=agent)
    for name in own:
        assert all(not torch.equal(x, before[k]) for k, x in weights(agent).items()
                   if k.startswith(name + "."))
    assert np.isfinite(agent.reward(*arguments(demos))).all()
    agent.save(tmp_path / "agent.pt")
    back = iq.load(tmp_path / "agent.pt", **networks(kind))
    assert same(weights(back), weights(agent))
    assert np.array_equal(back.act(demos.observations), agent.act(demos.observations))
    with pytest.raises(ValueError, match="agent.pt"):
        iq.load(tmp_path / "agent.pt")  # the default networks don't fit


class Mean(nn.Linear):
    """A few weights for images of any size."""

    def forward(self, image):
        return super().forward(image.flatten(1).mean(1, keepdim=True))


def test_large_images_want_a_network_of_ones_own_and_it_comes_back(tmp_path):
    image = np.zeros((3, 480, 640), np.uint8)
    with pytest.raises(ValueError, match="MLP.*117981440.*your own"):
        iq.SoftQ(image, Discrete(2))
    agent = iq.SoftQ(image, Discrete(2), critic=Mean(1, 2))
    agent.save(tmp_path / "agent.pt")
    back = iq.load(tmp_path / "agent.pt", critic=Mean(1, 2))
    assert same(weights(back), weights(agent))


def test_an_image_network_learns_what_the_expert_does():
    demos = images("discrete")
    agent = iq.new_agent(demos, config(steps=300, learning_rate=3e-3, batch_size=32),
                         **networks("discrete"))
    iq.learn(demos, agent=agent)
    assert (agent.act(demos.observations) == demos.actions).mean() > 0.9


class Moody(nn.Module):
    """Dropout and batch norm: other numbers, and buffers that move, while training."""

    modes = set()  # who was called, and whether in training mode

    def __init__(self, inputs, outputs):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(inputs, 16), nn.BatchNorm1d(16),
                                  nn.Dropout(0.5), nn.Linear(16, outputs))

    def forward(self, *inputs):
        self.modes.add((self, self.training))
        return self.body(torch.cat(inputs, 1))


def moody(kind):
    torch.manual_seed(0)
    if kind == "actor_critic":
        return {"critic": Moody(3, 1), "actor": Moody(2, 2)}
    return {"critic": Moody(2, 2 if kind == "discrete" else 3)}


@kinds
def test_dropout_and_batch_norm_train_in_update_and_nowhere_else(kind, tmp_path):
    demos, env, own = DIARIES[kind], Walk(continuous=kind != "discrete"), moody(kind)
    env = gym.wrappers.TimeLimit(env, 20)
    agent = iq.new_agent(demos, config(kind, target_rate=0.5), **own)
    heard = []

    def verbs(step=0, info=None):
        before = weights(agent)
        acts = [agent.act(demos.observations) for _ in range(2)]
        assert np.array_equal(*acts)
        iq.evaluate(agent, env, 1, seed=0)
        agent.reward(*arguments(demos))
        agent.log_prob(*arguments(demos)[:2])
        assert same(weights(agent), before)
        heard.append(before)

    verbs()
    iq.learn(demos, ENVS[kind], callback=verbs, agent=agent)
    moved = {k for k in heard[0] if "running" in k
             and not torch.equal(heard[0][k], heard[-1][k])}
    assert {k.split(".")[0] for k in moved} == {"slow", *own}  # buffers follow
    assert (agent.critic, True) in Moody.modes
    assert (agent.slow.module, True) not in Moody.modes
    last = weights(agent)
    for name, x in last.items():
        if "slow.module" in name and "running" in name:
            assert torch.equal(x, last[name.replace("slow.module", "critic")])
    agent.save(tmp_path / "a.pt")
    back = iq.load(tmp_path / "a.pt", **moody(kind))
    assert np.array_equal(back.act(demos.observations), agent.act(demos.observations))


@pytest.mark.parametrize("kind, name, network, says", [
    ("discrete", "critic", lambda: nn.Linear(2, 3), r"\(1, 3\).*\(1, 2\)"),
    ("discrete", "critic", lambda: nn.Sequential(nn.Linear(2, 2), nn.Flatten(0)), "2,"),
    ("naf", "critic", lambda: nn.Linear(2, 2), r"\(1, 2\).*\(1, 3\)"),
    ("actor_critic", "critic", lambda: Moody(3, 2), r"\(1, 2\).*\(1, 1\)"),
    ("actor_critic", "actor", lambda: nn.Linear(2, 1), r"\(1, 1\).*\(1, 2\)")])
def test_a_network_of_other_outputs_is_refused_when_it_is_handed_in(
        kind, name, network, says):
    with pytest.raises(ValueError, match=f"{name}.*{says}"):
        iq.new_agent(DIARIES[kind], config(kind), **{name: network()})


def test_networks_that_share_weights_are_refused_when_they_are_handed_in():
    encoder = nn.Linear(2, 8)

    class Critic(nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder, self.head = encoder, nn.Linear(9, 1)

        def forward(self, obs, action):
            return self.head(torch.cat([self.encoder(obs), action], 1))

    actor = nn.Sequential(encoder, nn.Tanh(), nn.Linear(8, 2))
    with pytest.raises(ValueError, match=(
            "^actor is sharing weights; allowed: weights of its own$")):
        iq.new_agent(DIARIES["actor_critic"], config("actor_critic"), critic=Critic(),
                     actor=actor)


def test_an_mlp_that_no_machine_should_hold_is_refused_by_its_size():
    with pytest.raises(ValueError, match=(
            r"^MLP's weights is 33562624; allowed: up to 2\*\*25, or your own$")):
        iq.MLP(4096, 4096, 2)


def test_learning_on_from_a_diary_of_other_observations_is_refused_by_name():
    wider = [np.zeros((4, 3))]
    demos = iq.Demos.from_episodes(wider, [[0, 1, 0]], [True], Discrete(2))
    with pytest.raises(ValueError, match=r"^an observation is .*\(3,\); .*\(2,\)$"):
        iq.learn(demos, agent=iq.new_agent(DIARIES["discrete"], config("discrete")))


# ----------------------------------------------------------------------- the learning

CHOICES = [{"divergence": d} for d in iq.DIVERGENCES] + [
    {"absorbing": False}, {"absorbing": True, "divergence": "hellinger"},
    {"chi2_on": "expert"}, {"chi2_on": "mixture"}, {"target_rate": 1.0},
    {"value_term": "initial"}, {"value_term": 0.0}, {"value_term": 2.0},
    {"value_term": "initial", "absorbing": False}]


@kinds
@pytest.mark.parametrize("online", [False, True])
@pytest.mark.parametrize("choice", CHOICES, ids=str)
def test_every_choice_learns_offline_and_online(kind, online, choice):
    heard = []
    before = weights(iq.new_agent(DIARIES[kind], config(kind, **choice)))
    agent = iq.learn(DIARIES[kind], ENVS[kind] if online else None,
                     config(kind, steps=3, **choice),
                     lambda step, info: heard.append((step, info)))
    assert [step for step, _ in heard] == [1, 2, 3]
    assert all(np.isfinite(float(x)) for _, info in heard for x in info.values())
    after = weights(agent)
    moved = {k.split(".")[0] for k in before if not torch.equal(before[k], after[k])}
    assert moved - {"absorbing_value"} == {
        "critic", "slow", *["actor"] * (kind == "actor_critic")}
    assert choice.get("absorbing", True) or "absorbing_value" not in moved


@kinds
def test_offline_learning_never_makes_or_steps_an_environment(kind, monkeypatch):
    demos = DIARIES[kind]
    monkeypatch.setattr(gym, "make", forbid)
    for part in gym.Env, gym.Wrapper, Walk:
        for verb in "__init__", "reset", "step":
            monkeypatch.setattr(part, verb, forbid)
    agent = iq.learn(demos, config=config(kind))
    agent.reward(*arguments(demos))


@kinds
@pytest.mark.parametrize("online", [False, True])
def test_learning_never_reads_the_true_rewards(kind, online):
    class Other(gym.Wrapper):
        def step(self, action):
            obs, _, *rest = super().step(action)
            return obs, 1e6, *rest

    known = dict(DIARIES[kind].columns)
    lies = known | {"rewards": -1e3 * known["rewards"]}
    del known["rewards"]
    learned = []
    for table, wrap in (known, lambda env: env), (lies, Other):
        demos = iq.Demos(DIARIES[kind].action_space, **table)
        env = wrap(gym.make(ENVS[kind])) if online else None
        learned.append(weights(iq.learn(demos, env, config(kind, steps=25))))
    assert same(*learned)


@kinds
@pytest.mark.parametrize("what", ["drift", "limit"])
def test_online_the_learner_is_not_deaf(kind, what):
    """By the default Config: in other dynamics the same seed learns other weights."""
    def world(changed):
        env = Walk(kind != "discrete", drift=0.3 * (changed and what == "drift"))
        return gym.wrappers.TimeLimit(env, 3 if changed and what == "limit" else 20)

    c = iq.Config(steps=20, continuous="naf" if kind == "discrete" else kind)
    one, again, other = (iq.learn(DIARIES[kind], world(x), c) for x in (0, 0, 1))
    assert same(weights(one), weights(again))
    for name in {"critic", "actor"} & {x for x, _ in one.named_children()}:
        a, b = (x.get_submodule(name).state_dict() for x in (one, other))
        assert max((a[k] - b[k]).abs().max() for k in a) > 1e-3, name


@kinds
def test_by_the_default_config_the_loss_hears_the_learner_s_rows(kind):
    c = iq.Config(steps=5, continuous="naf" if kind == "discrete" else kind)
    agent = iq.new_agent(DIARIES[kind], c)
    heard = listen(agent)
    iq.learn(DIARIES[kind], ENVS[kind], agent=agent)
    batch, is_expert = heard[-1]
    assert is_expert.sum() == c.batch_size == len(is_expert) / 2
    losses = []
    for shift in 0.0, 0.5:
        obs = batch.obs + shift * (~is_expert)[:, None]
        info = iq.new_agent(DIARIES[kind], c).update(batch._replace(obs=obs), is_expert)
        losses.append(float(info["loss"]))
    assert abs(losses[0] - losses[1]) > 1e-6


def test_the_learner_draws_its_actions_and_learns_from_what_it_did():
    env = Told(gym.make("Walk-v0"))
    agent = iq.new_agent(DIARIES["discrete"], config(steps=60, temperature=1e3))
    heard = listen(agent)
    iq.learn(DIARIES["discrete"], env, agent=agent)
    actions = [int(action) for _, action, *_ in env.true]
    assert len(actions) == 60 and 15 < sum(actions) < 45
    places = {s[0] for s, *_ in env.true}
    drawn = [x for batch, is_expert in heard for x in batch.obs[~is_expert, 0].tolist()]
    assert set(drawn) <= places and len(set(drawn)) > 40
    assert all(x.sum() == 8 and len(x) == 16 for _, x in heard)


@kinds
@pytest.mark.parametrize("rate", [0.1, 1.0])
def test_a_slow_copy_follows_the_critic_at_its_rate(kind, rate):
    agent = iq.learn(DIARIES[kind], config=config(kind, target_rate=rate, steps=3))
    old = deepcopy(agent.slow.module.state_dict())
    iq.learn(DIARIES[kind], config=replace(agent.config, steps=1), agent=agent)
    slow = agent.slow.module.state_dict()
    for name, new in agent.critic.state_dict().items():
        mean = old[name] + rate * (new - old[name])
        assert torch.allclose(slow[name], mean, atol=1e-6)
        assert not torch.equal(old[name], new)


@kinds
def test_a_gradient_longer_than_ten_is_shortened_to_it(kind):
    """Adam hides the length of gradients, but they are left where they were."""
    agent = iq.new_agent(DIARIES[kind], config(kind, chi2_alpha=1e-6, steps=1))
    iq.learn(DIARIES[kind], agent=agent)
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
    agent = iq.new_agent(DIARIES[kind], config(kind), **{name: Sharp(outputs)})
    before = weights(agent)
    with pytest.raises(RuntimeError, match="finite"):
        iq.learn(DIARIES[kind], agent=agent)
    assert same(before, weights(agent)) and not agent.training


# ------------------------------------------------------------------------ learning on

class Ear:
    """A callback that keeps what it hears, and answers something at step 4."""

    def __init__(self, answer=None):
        self.answer, self.steps, self.infos = answer, [], []

    def __call__(self, step, info):
        self.steps.append(step)
        self.infos.append(info)
        return self.answer if step == 4 else None


@kinds
@pytest.mark.parametrize("online", [False, True])
@pytest.mark.parametrize("answer, steps", [
    (False, 4), (np.False_, 4), (torch.tensor(False), 4), (0, 4), (None, 10),
    (True, 10), (torch.tensor(True), 10), ("", 10), ([], 10), (np.zeros(2), 10)])
def test_a_callback_hears_every_update_and_ends_learning_by_false(
        kind, online, answer, steps):
    env, ear = Told(gym.make(ENVS[kind])), Ear(answer)
    agent = iq.learn(DIARIES[kind], env if online else None, config(kind), ear)
    assert isinstance(agent, iq.Agent)  # where it was ended early, too
    assert ear.steps == [*range(1, steps + 1)] and len(env.true) == steps * online
    assert {"loss", "expert_term", "value_term"} <= ear.infos[0].keys()
    assert all(x.shape == () and not x.requires_grad for x in ear.infos[0].values())


@kinds
@pytest.mark.parametrize("online", [False, True])
def test_a_hundred_more_steps_are_a_hundred(kind, online):
    agent, env = iq.learn(DIARIES[kind], config=config(kind, steps=20)), ENVS[kind]
    for given, made in (7, 7), (None, 7), (3, 3):
        before, ear = weights(agent), Ear()
        more = given and config(kind, steps=given)
        same_one = iq.learn(DIARIES[kind], env if online else None, more, ear, agent)
        assert same_one is agent and ear.steps == [*range(1, made + 1)]
        assert not same(before, weights(agent))


@kinds
@pytest.mark.parametrize("change", [
    {"learning_rate": 0.02}, {"seed": 5}, {"batch_size": 3}, {"steps": 2},
    {"target_rate": 0.9}, {"value_term": "initial"},
    {"divergence": "hellinger"}, {"chi2_alpha": 0.01}], ids=str)
def test_learning_on_uses_what_a_config_may_change(kind, change):
    learned = []
    for c in config(kind, steps=3), config(kind, **{"steps": 3} | change):
        agent = iq.new_agent(DIARIES[kind], config(kind))
        heard = listen(agent)
        iq.learn(DIARIES[kind], None, c, agent=agent)
        assert agent.config == c and len(heard) == c.steps
        assert len(heard[0][1]) == c.batch_size
        learned.append(weights(agent))
    assert not same(*learned)


@kinds
@pytest.mark.parametrize("change", [
    {"hidden": 9}, {"gamma": 0.5}, {"temperature": 0.7}, {"absorbing": False},
    {"hidden": 9, "gamma": 0.5}, {"continuous": "the other"}], ids=str)
def test_learning_on_refuses_by_name_what_shapes_an_agent(kind, change, tmp_path):
    agent = iq.learn(DIARIES[kind], config=config(kind))
    before = weights(agent)
    if "continuous" in change:
        other = {"naf": "actor_critic", "actor_critic": "naf"}
        change = change | {"continuous": other[agent.config.continuous]}
    with pytest.raises(ValueError) as caught:
        iq.learn(DIARIES[kind], config=replace(config(kind), **change), agent=agent)
    assert all(name in str(caught.value) for name in change)
    assert same(before, weights(agent)) and agent.config == config(kind)


def test_learning_on_refuses_another_diary_and_leaves_the_agent_as_it_is():
    agent = iq.new_agent(DIARIES["discrete"], config())
    table = DIARIES["discrete"].columns
    wide = {k: np.append(x, x, 1) if "obs" in k else x for k, x in table.items()}
    bytes_ = {k: x.astype(np.uint8) if "obs" in k else x for k, x in table.items()}
    for demos, says in ((iq.Demos(Discrete(3), **table), r"Discrete\(3\)"),
                        (iq.Demos(Discrete(2), **wide), r"\(4,\)"),
                        (iq.Demos(Discrete(2), **bytes_), "uint8"),
                        (DIARIES["naf"], "Box")):
        with pytest.raises(ValueError, match=says):
            iq.learn(demos, config=config(steps=7), agent=agent)
        assert agent.config == config()


# ------------------------------------------------------------------------- checkpoints

@kinds
def test_a_loaded_agent_acts_asks_and_learns_on_as_the_saved_one(kind, tmp_path):
    demos, path = DIARIES[kind], tmp_path / "agent.pt"
    agent = iq.learn(demos, ENVS[kind], config(kind, steps=30))
    agent.save(path)
    back = iq.load(path)
    assert [x.name for x in tmp_path.iterdir()] == ["agent.pt"]
    assert type(back) is type(agent) and back.config == agent.config
    assert back.action_space == agent.action_space
    assert same(weights(back), weights(agent))
    assert np.array_equal(back.act(demos.observations), agent.act(demos.observations))
    assert np.array_equal(back.log_prob(*arguments(demos)[:2]),
                          agent.log_prob(*arguments(demos)[:2]))
    table = agent.rows(demos)
    with torch.no_grad():
        q, other = (x.q(*table[:2]) for x in (agent, back))
    assert torch.equal(q, other)
    more = replace(agent.config, steps=7)
    for one in agent, back:  # both with a fresh optimiser, by the seed of a Config
        iq.learn(demos, ENVS[kind], more, agent=one)
    assert same(weights(back), weights(agent))
