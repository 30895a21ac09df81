"""Agents: the same verbs on both kinds, and nothing done behind one's back."""
import random
import subprocess
import sys
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Discrete
from hypothesis import given
from hypothesis import strategies as st
from tools import ENVS, KINDS, config, diary, forbid, same, weights
from torch import nn

import iq

ROOT = Path(iq.__file__).parent
DIARIES = {kind: diary(kind) for kind in KINDS}


def batch(agent, demos, rows=slice(None)):
    return iq.Batch(*(torch.as_tensor(x[rows], device=agent.device) for x in (
        demos.observations, demos.actions, demos.next_observations,
        demos.terminations)))


def arguments(demos, rows=slice(None)):
    return [x[rows] for x in (demos.observations, demos.actions,
                              demos.next_observations, demos.terminations)]


def global_state():
    return [random.getstate(), list(np.random.get_state()), torch.get_rng_state(),
            torch.get_default_dtype(), torch.is_grad_enabled()]


# -------------------------------------------------------------------- same seed, alone

@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("online", [False, True])
def test_the_same_seed_gives_the_same_weights_whatever_the_global_random_state(
        kind, online):
    def run(seed, disturbance):
        random.seed(disturbance)
        np.random.seed(disturbance)
        torch.manual_seed(disturbance)
        before = global_state()
        agent = iq.learn(diary(kind), ENVS[kind] if online else None,
                         config(seed=seed, steps=25))
        assert same(before, global_state())
        agent.act(np.zeros((3, 2)), greedy=False)
        assert same(before, global_state())
        return weights(agent)

    first = run(0, 1)
    assert same(first, run(0, 2))
    assert not same(first, run(1, 1))


def test_the_diary_and_the_elder_are_drawn_from_their_own_seeds():
    before = global_state()
    demos = [iq.record("CartPole-v1", iq.elder("CartPole-v1", seed), 1, seed)
             for seed in (0, 0, 1)]
    assert same(before, global_state())
    assert same(demos[0].observations, demos[1].observations)
    assert not same(demos[0].observations, demos[2].observations)


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
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], cwd=ROOT,
                          capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
@pytest.mark.parametrize("kind", KINDS)
def test_cpu_and_cuda_agree(kind, tmp_path):
    agents = [iq.new_agent(DIARIES[kind], config(device=d)) for d in ("cpu", "cuda")]
    assert agents[1].device.type == "cuda"
    agents[1].load_state_dict(agents[0].state_dict())
    demos = DIARIES[kind]
    for verb, given_ in ("q", arguments(demos)[:2]), ("act", arguments(demos)[:1]):
        a, b = (torch.as_tensor(getattr(agent, verb)(*given_)).detach().cpu()
                for agent in agents)
        assert torch.allclose(a.float(), b.float(), atol=1e-4)
    if kind == "discrete":  # no draws are part of its loss
        for agent in agents:
            for i in range(20):
                agent.update(batch(agent, demos, slice(i, i + 10)))
        for a, b in zip(*(weights(agent).values() for agent in agents), strict=True):
            assert torch.allclose(a, b, atol=1e-3)
    agents[1].save(tmp_path / "agent.pt")
    moved = iq.load(tmp_path / "agent.pt", device="cpu")
    assert same(weights(moved), weights(agents[1])) and moved.device.type == "cpu"


# ------------------------------------------------------------------------------ verbs

@pytest.mark.parametrize(("asked", "there", "taken"), [
    ("auto", True, "cuda"), ("auto", False, "cpu"), ("cuda", True, "cuda"),
    ("cpu", True, "cpu"), ("cpu", False, "cpu")])
def test_a_gpu_is_taken_where_there_is_one_unless_the_config_says_cpu(
        asked, there, taken, monkeypatch):
    names = []

    class Torch:  # as iq.py alone sees it, on whatever machine this runs
        cuda = SimpleNamespace(is_available=lambda: there)

        def device(self, name):
            names.append(name)
            return torch.device("cpu")

        def __getattr__(self, name):
            return getattr(torch, name)

    monkeypatch.setattr(iq, "torch", Torch())
    agent = iq.new_agent(DIARIES["discrete"], config(device=asked))
    assert names == [taken] and agent.device == torch.device("cpu")


@pytest.mark.parametrize("kind", KINDS)
def test_arrays_lists_and_tensors_are_the_same_to_every_verb(kind):
    def answers(convert):
        agent = iq.learn(DIARIES[kind], config=config(steps=10))
        s, a, s2, end = map(convert, arguments(DIARIES[kind]))
        return [agent.q(s, a), agent.value(s), agent.reward(s, a, s2, end),
                agent.act(s), agent.act(s, greedy=False)]

    first = answers(lambda x: x)
    n = len(DIARIES[kind])
    assert [tuple(x.shape) for x in first[:3]] == [(n,)] * 3
    assert all(isinstance(x, np.ndarray) and len(x) == n for x in first[3:])

    def double(x):
        return x.astype(np.float64) if x.dtype == np.float32 else x

    for convert in torch.as_tensor, np.ndarray.tolist, double:
        assert same(first, answers(convert))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("greedy", [True, False])
def test_act_takes_a_single_observation_as_well_as_many(kind, greedy):
    demos = DIARIES[kind]
    for convert in np.asarray, torch.as_tensor:
        one, many = (iq.learn(demos, config=config(steps=10)).act(
            convert(demos.observations[i]), greedy) for i in (0, slice(0, 1)))
        assert one.shape == demos.action_space.shape
        assert demos.action_space.contains(one) and np.array_equal(one, many[0])


@pytest.mark.parametrize("kind", KINDS)
def test_the_reward_is_q_less_the_discounted_value_and_0_value_beyond_an_end(kind):
    demos, c = DIARIES[kind], config(steps=10, gamma=0.7)
    s, a, s2, end = arguments(demos)
    assert end.any() and not end.all()

    def fresh():
        return iq.learn(demos, config=c)

    value = fresh().value(s2).detach()  # where it is drawn, the draw is reward's first
    q = fresh().q(s, a).detach()
    expected = q - 0.7 * torch.where(torch.tensor(end), 0, value)
    assert torch.allclose(fresh().reward(s, a, s2, end), expected)
    none = fresh().reward(s, a, s2, np.zeros_like(end))
    assert torch.equal(none[~end], fresh().reward(s, a, s2, end)[~end])
    assert (none[end] != fresh().reward(s, a, s2, end)[end]).all()


def test_with_an_absorbing_state_the_reward_of_an_end_is_q_less_its_learned_value():
    demos = DIARIES["discrete"]
    agent = iq.learn(demos, config=config(steps=30, gamma=0.7, absorbing=True))
    s, a, s2, end = arguments(demos)
    worth = float(agent.absorbing_value().detach())
    assert worth != 0
    expected = agent.q(s, a) - 0.7 * torch.where(
        torch.tensor(end), worth, agent.value(s2))
    assert torch.allclose(agent.reward(s, a, s2, end), expected.detach(), atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_rewards_and_actions_carry_no_gradient(kind):
    agent = iq.new_agent(DIARIES[kind], config())
    assert not agent.reward(*arguments(DIARIES[kind])).requires_grad
    assert agent.q(*arguments(DIARIES[kind])[:2]).requires_grad


class Constant(nn.Module):
    """An actor whose mean and log standard deviation are two numbers."""

    def __init__(self, mean, log_std, actions):
        super().__init__()
        self.out = nn.Parameter(torch.cat([torch.full((actions,), float(mean)),
                                           torch.full((actions,), float(log_std))]))

    def forward(self, obs):
        return self.out.expand(len(obs), -1)


@given(low=st.floats(-100, 99), width=st.floats(0.01, 100), mean=st.floats(-30, 30),
       log_std=st.floats(-9, 5))
def test_actions_are_in_the_environments_own_units_and_within_its_bounds(
        low, width, mean, log_std):
    space = Box(np.float32([low, low - 1]), np.float32([low + width, low + width]))
    agent = iq.SoftActorCritic((3,), space, config(), actor=Constant(mean, log_std, 2))
    for greedy in True, False:
        actions = agent.act(np.zeros((50, 3)), greedy)
        assert all(map(space.contains, actions))
    middle = space.low + (np.tanh(mean) + 1) / 2 * (space.high - space.low)
    assert agent.act(np.zeros(3)) == pytest.approx(middle, rel=1e-4, abs=1e-3)
    if abs(mean) > 20:  # exactly the bound
        assert np.array_equal(agent.act(np.zeros(3)), space.high if mean > 0
                              else space.low)


def test_the_critic_sees_actions_from_minus_1_to_1():
    seen = []

    class Watching(nn.Linear):
        def forward(self, obs, action):
            seen.append(action)
            return super().forward(action)

    space = Box(np.float32([-2, 10]), np.float32([2, 30]))
    agent = iq.SoftActorCritic((3,), space, config(), critic=Watching(2, 1))
    agent.q(np.zeros((3, 3)), np.float32([[-2, 10], [2, 30], [1, 15]]))
    assert torch.equal(seen[0], torch.tensor([[-1, -1], [1, 1], [0.5, -0.5]]))


def test_drawn_actions_follow_the_soft_policy_and_greedy_ones_its_best():
    agent = iq.SoftQ((2,), Discrete(3), config(temperature=0.7))
    obs = np.array([[0.3, -2.0]])
    with torch.no_grad():
        q = agent.critic(torch.tensor(obs, dtype=torch.float32))[0]
    drawn = agent.act(np.repeat(obs, 40_000, 0), greedy=False)
    shares = np.bincount(drawn, minlength=3) / 40_000
    assert shares == pytest.approx((q / 0.7).softmax(0).numpy(), abs=0.015)  # 6 sigma
    assert (agent.act(obs) == int(q.argmax())).all()


# -------------------------------------------------------------------- a user's networks

class Eye(nn.Module):
    """A small image encoder (B, 3, 8, 8) bytes -> features, with a head."""

    def __init__(self, outputs, extra=0):
        super().__init__()
        self.see = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2), nn.ReLU(), nn.Flatten())
        self.head = nn.Linear(4 * 9 + extra, outputs)

    def forward(self, image, *action):
        assert image.shape[1:] == (3, 8, 8)
        return self.head(torch.cat([self.see(image / 255), *action], 1))


def images(space, n=40, seed=0):
    rng = np.random.default_rng(seed)
    seen = rng.integers(0, 256, (n + 1, 3, 8, 8), np.uint8)
    if isinstance(space, Discrete):
        actions = (seen[:-1, 0, 0, 0] > 127).astype(np.int64)  # the picture tells it
    else:
        actions = rng.uniform(space.low, space.high, (n, 2)).astype(np.float32)
    ends = np.arange(n) == n - 1
    return iq.Demos(seen[:-1], actions, seen[1:], ends, ends & False, space)


@pytest.mark.parametrize("target_rate", [1.0, 0.05])
@pytest.mark.parametrize("space", [Discrete(2), Box(-1, 5, (2,))], ids=str)
def test_images_are_learned_by_a_users_own_networks(space, target_rate, tmp_path):
    def networks():
        torch.manual_seed(0)
        if isinstance(space, Discrete):
            return {"critic": Eye(2)}
        return {"critic": Eye(1, extra=2), "actor": Eye(4)}

    demos, own = images(space), networks()
    assert demos.observations.dtype == np.uint8
    agent = iq.new_agent(demos, config(steps=20, target_rate=target_rate), **own)
    assert all(getattr(agent, name) is network for name, network in own.items())
    before = weights(agent)
    iq.learn(demos, config=config(steps=20), agent=agent)
    moved = {k for k, x in weights(agent).items() if not torch.equal(x, before[k])}
    assert {k for k in before if k.startswith(("critic.", "actor."))} <= moved
    assert agent.reward(*arguments(demos)).isfinite().all()
    agent.save(tmp_path / "agent.pt")
    back = iq.load(tmp_path / "agent.pt", "cpu", **networks())
    assert same(weights(back), weights(agent))
    assert same(back.act(demos.observations), agent.act(demos.observations))
    with pytest.raises(iq.InputError, match="agent.pt"):
        iq.load(tmp_path / "agent.pt", "cpu")  # the default networks don't fit


def test_an_image_network_learns_what_the_expert_does():
    demos = images(Discrete(2))
    torch.manual_seed(0)
    agent = iq.new_agent(demos, config(steps=300, critic_lr=3e-3, batch_size=32,
                                       temperature=1.0), critic=Eye(2))
    iq.learn(demos, config=config(steps=300), agent=agent)
    assert (agent.act(demos.observations) == demos.actions).mean() > 0.9


# ------------------------------------------------------------ offline touches nothing

@pytest.mark.parametrize("kind", KINDS)
def test_offline_learning_never_makes_or_steps_an_environment(kind, monkeypatch):
    demos = diary(kind)
    monkeypatch.setattr(gym, "make", forbid)
    monkeypatch.setattr(gym, "make_vec", forbid)
    for part in gym.Env, gym.Wrapper, gym.vector.SyncVectorEnv:
        for verb in "__init__", "reset", "step":
            monkeypatch.setattr(part, verb, forbid)
    monkeypatch.setattr("tools.Walk.step", forbid)
    monkeypatch.setattr("tools.Walk.reset", forbid)
    agent = iq.learn(demos, config=config(steps=5))
    assert agent.updates == 5 and agent.replay is None
    agent.reward(*arguments(demos))


@pytest.mark.parametrize("kind", KINDS)
def test_learning_never_reads_the_true_rewards(kind):
    demos = diary(kind)
    bare = iq.Demos(*(getattr(demos, k) for k in iq.COLUMNS[:5]), demos.action_space,
                    env_id=demos.env_id)
    a, b = (iq.learn(d, config=config(steps=10)) for d in (demos, bare))
    assert same(weights(a), weights(b))


# ------------------------------------------------------------ every choice, both kinds

CHOICES = [{"divergence": d} for d in iq.DIVERGENCES] + [
    {"absorbing": True}, {"absorbing": True, "divergence": "hellinger"},
    {"chi2_on": "expert"}, {"chi2_on": "mixture"}, {"target_rate": 1.0},
    {"actor_average": 0.1},
    {"target_rate": 0.1}, {"value_term": "initial"}, {"value_term": "expert"},
    {"value_term": "mixture"}, {"value_term": "initial", "absorbing": True}]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("online", [False, True])
@pytest.mark.parametrize("choice", CHOICES, ids=str)
def test_every_choice_learns_offline_and_online(kind, online, choice):
    heard = []
    demos = DIARIES[kind]
    before = weights(iq.new_agent(demos, config(**choice)))
    agent = iq.learn(demos, ENVS[kind] if online else None,
                     config(steps=12, log_every=5, **choice),
                     lambda step, info: heard.append((step, info)))
    assert [step for step, _ in heard] == [5, 10, 12] and agent.updates == 12
    assert all(type(x) is float and np.isfinite(x)
               for _, info in heard for x in info.values())
    after = weights(agent)
    assert all(x.isfinite().all() for x in after.values())
    learned = {k for k in before if not torch.equal(before[k], after[k])}
    assert any(k.startswith("critic.") for k in learned)
    assert ("absorbing_reward" in learned) == choice.get("absorbing", False)
    assert any(k.startswith("actor.") for k in learned) == (kind == "continuous")
    assert (agent.replay is not None and agent.replay.count == 12) == online


@pytest.mark.parametrize("divergence", iq.DIVERGENCES)
def test_the_divergence_chosen_is_the_one_that_is_learned_with(divergence):
    first = iq.learn(DIARIES["discrete"], config=config(steps=12))
    other = iq.learn(DIARIES["discrete"], config=config(steps=12,
                                                        divergence=divergence))
    assert same(weights(first), weights(other)) == (divergence == "chi2")


@pytest.mark.parametrize("rate", [0.1, 0.5])
@pytest.mark.parametrize("kind, option, copy, network", [
    ("discrete", "target_rate", "target", "critic"),
    ("continuous", "actor_average", "steady", "actor")])
def test_a_slow_copy_follows_its_network_at_its_rate(kind, option, copy, network, rate):
    demos = DIARIES[kind]
    agent = iq.new_agent(demos, config(**{option: rate, "value_term": "expert"}))
    slow, fast = getattr(agent, copy), getattr(agent, network)
    old = [x.detach().clone() for x in slow.parameters()]
    agent.update(batch(agent, demos))
    for was, mean, new in zip(old, slow.parameters(), fast.parameters(), strict=True):
        assert torch.allclose(mean, was + rate * (new - was), atol=1e-7)
        assert not torch.equal(was, new)


def test_at_rate_1_the_critic_is_its_own_target():
    agent = iq.new_agent(DIARIES["discrete"], config(target_rate=1.0))
    assert agent.target is agent.critic


def test_critic_and_actor_step_by_their_own_rates():
    """Adam's first step is as long as its rate, whatever the gradient's length."""
    demos = DIARIES["continuous"]
    agent = iq.new_agent(demos, config(critic_lr=2e-3, actor_lr=5e-4))
    before = weights(agent)
    agent.update(batch(agent, demos), initial=agent.tensor(demos.observations))
    steps = {k: (x - before[k]).abs().max().item() for k, x in weights(agent).items()}
    for name, rate in ("critic.", 2e-3), ("actor.", 5e-4):
        longest = max(x for k, x in steps.items() if k.startswith(name))
        assert longest == pytest.approx(rate, rel=0.01)


@pytest.mark.parametrize("limit", [None, 3])
def test_after_an_end_and_after_a_time_limit_the_next_episode_begins(limit):
    class Watched(gym.Wrapper):
        over = True

        def reset(self, **seed):
            self.over, self.begun = False, getattr(self, "begun", 0) + 1
            return super().reset(**seed)

        def step(self, action):
            assert not self.over, "a step after the end"
            obs, reward, ended, cut, info = super().step(action)
            self.over = ended or cut
            return obs, reward, ended, cut, info

    env = Watched(gym.make(ENVS["discrete"], max_episode_steps=limit or 1000))
    agent = iq.learn(DIARIES["discrete"], env, config(steps=150))
    assert env.begun == agent.episodes + 1 > 10
    ends = int(agent.replay.rows.terminated[:150].sum())
    assert agent.episodes == ends if limit is None else agent.episodes > ends


@pytest.mark.parametrize("kind", KINDS)
def test_the_default_networks_have_two_hidden_layers(kind):
    agent = iq.new_agent(DIARIES[kind], config(hidden=7))
    for network in (agent.critic, agent.actor)[: 1 + (kind == "continuous")]:
        shapes = [x.shape for x in network.parameters() if x.ndim == 2]
        assert len(shapes) == 3
        assert shapes[0][0] == shapes[1][0] == shapes[1][1] == shapes[2][1] == 7


def test_the_average_of_actors_acts_greedily_and_the_last_one_explores_and_learns():
    demos = DIARIES["continuous"]
    plain, mean = (iq.learn(demos, ENVS["continuous"], config(actor_average=rate))
                   for rate in (1.0, 0.05))
    assert plain.steady is plain.actor
    assert same(plain.actor.state_dict(), mean.actor.state_dict())
    assert same(plain.replay.rows, mean.replay.rows)
    obs = demos.observations[:9]
    assert not np.array_equal(plain.act(obs), mean.act(obs))
    assert np.array_equal(plain.act(obs, greedy=False), mean.act(obs, greedy=False))
    mean.actor.load_state_dict(mean.steady.state_dict())
    unit = mean.actor(mean.seen(obs))[:, :1].tanh()
    low, high = mean.low, mean.high
    assert torch.allclose(torch.as_tensor(mean.act(obs)),
                          low + (high - low) * (unit + 1) / 2)


def test_no_gradient_is_longer_than_the_config_allows():
    """Adam hides the length of gradients, but not the sum of their squares."""
    demos = DIARIES["continuous"]
    agent = iq.new_agent(demos, config(grad_clip=1e-3))
    agent.update(batch(agent, demos), initial=torch.zeros(3, 2))
    for network in agent.critic, agent.actor:
        norm = torch.cat([p.grad.flatten() for p in network.parameters()]).norm()
        assert 0 < norm <= 1.001e-3


# ------------------------------------------------------------------- what is not finite

def burst(agent, kind):
    """Make something in the next update infinite, without a weight being so."""
    with torch.no_grad():
        for p in list(agent.critic.parameters())[-1:]:
            p.fill_(1e25)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("online", [False, True])
def test_a_loss_that_is_not_finite_stops_at_once_by_step_and_term(kind, online):
    demos, env = DIARIES[kind], ENVS[kind] if online else None
    agent = iq.learn(demos, env, config(steps=7, chi2_alpha=0.5, divergence="chi2"))
    burst(agent, kind)
    before = weights(agent)
    with pytest.raises(FloatingPointError, match=r"step 8\b.*chi2_term is (inf|nan)"):
        iq.learn(demos, env, config(steps=20), agent=agent)
    assert same(before, weights(agent)) and agent.updates == 7


class Sharp(nn.Module):
    """A network that is finite everywhere, and whose gradient at 0 is not."""

    def __init__(self, outputs):
        super().__init__()
        self.zero = nn.Parameter(torch.zeros(outputs))

    def forward(self, obs, *action):
        return self.zero.abs().sqrt().expand(len(obs), -1)


@pytest.mark.parametrize("kind, name, outputs", [
    ("discrete", "critic", 2), ("continuous", "critic", 1), ("continuous", "actor", 2)])
def test_a_gradient_that_is_not_finite_moves_no_weight_of_any_network(
        kind, name, outputs):
    demos = DIARIES[kind]
    agent = iq.new_agent(demos, config(), **{name: Sharp(outputs)})
    before = weights(agent)
    with pytest.raises(FloatingPointError, match=rf"^step 1: {name}_gradient is \w+$"):
        agent.update(batch(agent, demos), initial=torch.zeros(3, 2))
    assert same(before, weights(agent)) and agent.updates == 0


def test_every_gradient_that_is_not_finite_is_named():
    demos = DIARIES["continuous"]
    agent = iq.new_agent(demos, config(), critic=Sharp(1), actor=Sharp(2))
    with pytest.raises(FloatingPointError, match=(
            r"^step 1: critic_gradient is \w+, actor_gradient is \w+$")):
        agent.update(batch(agent, demos), initial=torch.zeros(3, 2))


# --------------------------------------------------------------- standard observations

@pytest.mark.parametrize("kind", KINDS)
def test_networks_see_the_diary_s_observations_with_mean_0_and_spread_1(kind):
    demos = diary(kind)
    agent = iq.new_agent(demos, config(standardize=True))
    seen = agent.seen(demos.observations)
    torch.testing.assert_close(seen.mean(0), torch.zeros(2), atol=1e-5, rtol=0)
    torch.testing.assert_close(seen.std(0, correction=0), torch.ones(2))
    plain = iq.new_agent(demos, config(standardize=False))
    assert torch.equal(plain.seen(demos.observations),
                       torch.as_tensor(demos.observations))


@pytest.mark.parametrize("kind", KINDS)
def test_an_observation_that_is_always_the_same_keeps_its_unit(kind):
    demos = diary(kind)
    flat = demos.observations * [1, 0] + [0, 7]
    agent = iq.new_agent(replace(
        demos, observations=flat, next_observations=flat), config(standardize=True))
    assert agent.seen([[0.0, 9.0]])[0, 1] == 2


@pytest.mark.parametrize("kind", KINDS)
def test_every_verb_sees_standard_observations(kind):
    """Standardizing is the same as learning from a diary that is standard already."""
    networks = {} if kind == "discrete" else {"critic": iq.MLP(3, 8, 1, nn.ReLU)}
    demos = diary(kind)
    agent = iq.new_agent(demos, config(
        standardize=True, value_term="expert"), **deepcopy(networks))
    obs = agent.seen(demos.observations)
    standard = replace(demos, observations=obs.numpy(), next_observations=agent.seen(
        demos.next_observations).numpy())
    twin = iq.new_agent(standard, config(
        standardize=False, value_term="expert"), **deepcopy(networks))
    raw, ready = arguments(demos), arguments(standard)
    for verb, inputs in (("value", 1), ("q", 2), ("reward", 4), ("act", 1)):
        first, second = (torch.as_tensor(getattr(a, verb)(*x[:inputs])) for a, x in (
            (agent, raw), (twin, ready)))
        torch.testing.assert_close(first, second, atol=1e-5, rtol=1e-4)
    for _ in range(3):
        agent.update(batch(agent, demos))
        twin.update(batch(twin, standard))
    names = [k for k in weights(agent) if k not in ("center", "spread")]
    torch.testing.assert_close([weights(agent)[k] for k in names],
                               [weights(twin)[k] for k in names], atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_seen_further_out_than_ten_spreads(kind):
    agent = iq.new_agent(diary(kind), config(standardize=True))
    assert agent.seen([[1e6, -1e6]]).tolist() == [[10, -10]]


def test_the_layers_of_a_standard_continuous_critic_are_normed():
    for standardize in False, True:
        agent = iq.new_agent(diary("continuous"), config(standardize=standardize))
        bends = [isinstance(x, nn.ReLU) for x in agent.critic.modules()]
        assert sum(bends) == 2
        normed = sum(isinstance(x, nn.LayerNorm) for x in agent.critic.modules())
        assert normed == 2 * standardize
        assert not any(isinstance(x, nn.LayerNorm) for x in agent.actor.modules())


# -------------------------------------------------------------------- the loop online

class Watched(gym.Wrapper):
    """An environment that keeps the seeds of its resets."""

    def __init__(self, env):
        super().__init__(env)
        self.seeds = []

    def reset(self, *, seed=None, options=None):
        self.seeds.append(seed)
        return super().reset(seed=seed, options=options)


@pytest.mark.parametrize("seed, rank", [(0, 0), (3, 0), (3, 2)])
def test_every_reset_has_a_seed_of_its_own_by_rank_seed_and_episode(seed, rank):
    env, agent = Watched(gym.make(ENVS["discrete"])), iq.new_agent(
        DIARIES["discrete"], config(seed=seed, steps=80))
    agent.rank = rank
    iq.learn(DIARIES["discrete"], env, config(steps=80), agent=agent)
    first = rank * 2**65 + seed * 2**32
    assert len(env.seeds) > 3
    assert env.seeds == list(range(first, first + len(env.seeds)))
    assert agent.episodes == len(env.seeds) - 1


@pytest.mark.parametrize("seed, rank", [(0, 0), (3, 0), (3, 2)])
def test_every_rank_draws_by_a_seed_of_its_own_from_the_same_weights(
        seed, rank, monkeypatch):
    alone = iq.new_agent(DIARIES["discrete"], config(seed=seed))
    monkeypatch.setattr(iq, "rank_and_ranks", lambda: (rank, 3))
    agent = iq.new_agent(DIARIES["discrete"], config(seed=seed))
    assert agent.generator.initial_seed() == rank * 2**33 + seed
    for name, weight in weights(alone).items():
        assert torch.equal(weights(agent)[name], weight), name


@pytest.mark.parametrize("kind", KINDS)
def test_online_the_learner_draws_its_actions(kind, monkeypatch):
    agent, drawn = iq.new_agent(DIARIES[kind], config(steps=5)), []
    choose = agent.choose
    monkeypatch.setattr(agent, "choose", lambda obs, greedy: (
        drawn.append(greedy), choose(obs, greedy))[1])
    iq.learn(DIARIES[kind], ENVS[kind], config(steps=5), agent=agent)
    assert drawn == [False] * 5
    assert agent.history[-1]["reward_policy"] != 0  # and learns from them


@pytest.mark.parametrize("kind", KINDS)
def test_replay_has_room_for_exactly_the_steps_to_come(kind):
    agent = iq.learn(DIARIES[kind], ENVS[kind], config(steps=12))
    assert len(agent.replay.rows.obs) == 12
    iq.learn(DIARIES[kind], ENVS[kind], config(steps=30), agent=agent)
    assert len(agent.replay.rows.obs) == len(agent.replay) == 30
    small = iq.learn(DIARIES[kind], ENVS[kind], config(steps=12, replay_size=7))
    assert len(small.replay.rows.obs) == len(small.replay) == 7
