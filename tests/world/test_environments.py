"""The seam to environments: whatever they do, only true and finite rows come in."""
import math

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete
from helpers import (
    ENVS,
    KINDS,
    Constant,
    Log,
    Walk,
)

import iq

ACTIONS = "discrete", "continuous"
ENV = {"discrete": "Walk-v0", "continuous": "WalkFar-v0"}


def rows(demos):
    """A diary as a list of what Log keeps of a step."""
    return list(zip(demos.observations, demos.actions, demos.next_observations,
                    demos.terminations, demos.truncations, demos.rewards))


def equal(ours, true):
    return len(ours) == len(true) and all(
        np.array_equal(a, b) for ours_, true_ in zip(ours, true)
        for a, b in zip(ours_, true_))


def learner_rows(heard):
    """(s, a, s', terminated) of each row that an agent learned from, as hashable."""
    return {(tuple(s.tolist()), float(a), tuple(s2.tolist()), bool(end))
            for batch, is_expert in heard
            for s, a, s2, end, mine in zip(*batch[:4], ~is_expert) if mine}


def true_rows(env):
    return {(tuple(s.tolist()), float(a), tuple(s2.tolist()), end)
            for s, a, s2, end, *_ in env.true}


def steady(obs):
    """A policy that depends on nothing but what it sees."""
    return int(np.sin(9 * obs).sum() > -0.2)


# -------------------------------------------------------------------------- recording

@pytest.mark.parametrize("kind", ACTIONS)
@pytest.mark.parametrize("seed", [5, 2**31 - 1])
def test_a_diary_holds_exactly_what_happened_and_one_reset_is_seeded(kind, seed):
    env = Log(gym.make(ENV[kind]))
    demos = iq.record(env, random_policy(kind), 12, seed)
    assert equal(rows(demos), env.true)
    assert env.seeds == [seed] + [None] * 11  # and none to learn that it is done
    ends = demos.terminations | demos.truncations
    assert np.array_equal(demos.starts[1:], ends[:-1]) and ends[-1]
    assert len(demos.returns()) == 12 and demos.action_space == env.action_space
    assert demos.terminations.any() and demos.truncations.any()


@pytest.mark.parametrize("kind", ACTIONS)
def test_the_next_observation_is_the_true_one_and_never_that_of_a_reset(kind):
    demos = iq.record(ENV[kind], random_policy(kind), 8, seed=0)
    steps, after = demos.observations[:, 1], demos.next_observations[:, 1]
    assert np.array_equal(after, steps + 1)  # a reset one would say 0
    assert (steps[demos.starts] == 0).all() and (steps[~demos.starts] > 0).all()
    far = np.abs(demos.next_observations[:, 0]) > 2
    assert np.array_equal(far, demos.terminations)
    assert np.array_equal(after == 20, demos.truncations)


@pytest.mark.parametrize("kind", ACTIONS)
def test_the_seed_decides_the_diary(kind):
    a, b, c = (iq.record(ENV[kind], random_policy(kind), 3, seed) for seed in (0, 0, 1))
    assert same_demos(a, b) and a.observations[0, 0] != c.observations[0, 0]


def test_an_end_and_a_limit_are_kept_apart_also_where_both_come_at_once():
    class Both(Walk):
        def step(self, action):
            obs, reward, *_ = super().step(action)
            at = int(self.steps), self.np_random.integers(3)
            return obs, reward, self.steps == 3 and at[1] != 0, at[0] == 3, {}

    demos = iq.record(Both(), random_policy("discrete"), 9, seed=0)
    ends = demos.terminations[2::3]
    assert demos.truncations.tolist() == [False, False, True] * 9
    assert ends.any() and not ends.all() and not demos.terminations[::3].any()


@pytest.mark.parametrize("episodes", [0, -3])
def test_no_fewer_than_one_episode_is_recorded(episodes):
    with pytest.raises(ValueError, match=f"episodes is {episodes}; allowed: 1 or more"):
        iq.record(Walk(), steady, episodes, seed=0)


class Given(Walk):
    """Walk, with a reward, an end and an info of whatever type."""

    def __init__(self, reward=0.0, flag=bool, info=None):
        super().__init__()
        self.reward, self.flag, self.info = reward, flag, info

    def reset(self, seed=None, options=None):
        return super().reset(seed=seed)[0], self.info

    def step(self, action):
        obs, _, ended, cut, _ = super().step(action)
        return obs, self.reward, self.flag(ended), self.flag(cut), self.info


class Untouchable:
    """Whatever is done with it is an error."""

    def __getattribute__(self, name):
        raise AssertionError(f"info.{name} was read")

    __iter__ = __len__ = __bool__ = __eq__ = __getitem__ = __array__ = None


def test_nobody_reads_what_info_holds():
    plain = iq.record(Given(info={}), steady, 3, seed=0)
    for info in None, Untouchable(), {"a": object(), 3: [{}]}, {"a": np.zeros(3)}:
        assert same_demos(iq.record(Given(info=info), steady, 3, seed=0), plain)
    odd = gym.wrappers.TimeLimit(Given(info=Untouchable()), 20)
    agent = iq.learn(make_demos(), odd, make_config(steps=30))
    assert len(iq.evaluate(agent, odd, 2, seed=0)) == 2


@pytest.mark.parametrize("reward", [
    2, 2.5, True, np.float32(2), np.int8(2), [2.0], np.array([2.0]), np.array([[2]]),
    torch.tensor(2.0), torch.tensor([2.0])], ids=repr)
@pytest.mark.parametrize("flag", [bool, int, np.bool_, lambda x: np.array([x])])
def test_a_reward_is_one_number_of_whatever_shape_and_an_end_too(reward, flag):
    demos = iq.record(Given(reward=reward, flag=flag), steady, 2, seed=0)
    lengths = np.diff([*np.flatnonzero(demos.starts), len(demos)])
    number = np.float64(reward).item()
    assert demos.returns().tolist() == (lengths * number).tolist()


def test_a_task_without_an_end_is_cut_and_a_limit_of_its_own_is_kept():
    class Endless(Walk):
        def step(self, action):
            return self.state(), 1.0, False, False, {}

    demos = iq.record(Endless(), lambda obs: 0, 1, seed=0)
    assert len(demos) <= 10_000 and demos.truncations[-1]
    longer = gym.make(gym.envs.registration.EnvSpec(
        "Endless-v0", entry_point=Endless, max_episode_steps=10_001))
    assert len(iq.record(longer, lambda obs: 0, 1, seed=0)) == 10_001
    for env in gym.make("Walk-v0", max_episode_steps=7), gym.wrappers.TimeLimit(
            Walk(), 7):
        demos = iq.record(env, lambda obs: int(obs[0] < 0), 9, seed=0)
        assert demos.truncations.any() and demos.observations[:, 1].max() == 6


# ----------------------------------------------------- what belongs to somebody else

class InPlace(gym.Wrapper):
    """The inner environment's observation, in one array that it changes in place."""

    def reset(self, *, seed=None, options=None):
        obs, info = self.env.reset(seed=seed, options=options)
        self.mine = obs.copy()
        return self.mine, info

    def step(self, action):
        obs, *rest = self.env.step(action)
        self.mine[:] = obs
        return self.mine, *rest


class Greedy(gym.Wrapper):
    """It keeps the action that it is handed, and scales it in place."""

    def step(self, action):
        result = self.env.step(np.array(action))
        action *= 0
        return result


MEDDLERS = {
    "observation": lambda env: InPlace(Log(env)),
    "observation, in another wrapper": lambda env: gym.wrappers.OrderEnforcing(
        InPlace(Log(env))),
    "observation, inside": lambda env: Log(InPlace(env)),
    "action": lambda env: Greedy(Log(env)),
}


def told(env):
    while not isinstance(env, Log):
        env = env.env
    return env


@pytest.mark.parametrize("name", MEDDLERS)
def test_what_an_environment_changes_in_place_is_copied(name):
    env = MEDDLERS[name](Walk(continuous=True))
    demos = iq.record(env, random_policy("continuous"), 3, seed=0)
    assert equal(rows(demos), told(env).true)
    assert (demos.next_observations[:, 1] == demos.observations[:, 1] + 1).all()


def test_what_a_policy_changes_in_place_is_copied():
    def meddler(obs, kept=np.zeros(1)):
        obs *= 0
        kept += 0.01  # one array for all of its actions
        return kept

    def counter(obs, kept=np.zeros((), int)):
        kept[()] = 1 - kept  # one number in one array
        return kept

    demos = iq.record(Walk(), counter, 2, seed=0)
    assert demos.actions.tolist() == [1, 0] * (len(demos) // 2) + [1] * (len(demos) % 2)
    env = Log(Walk(continuous=True))
    assert equal(rows(iq.record(env, meddler, 2, seed=0)), env.true)
    assert len({float(action[0]) for _, action, *_ in env.true}) == len(env.true)


@pytest.mark.parametrize("name", [x for x in MEDDLERS if "action" not in x])
def test_replay_holds_true_rows_where_an_array_is_changed_in_place(name):
    env = MEDDLERS[name](Walk())
    agent = iq.new_agent(make_demos(), make_config(steps=60))
    heard = record_batches(agent)
    iq.learn(make_demos(), env, agent=agent)
    assert len(learner_rows(heard)) > 40
    assert learner_rows(heard) <= true_rows(told(env))


USES = {
    "evaluate": lambda agent, env: iq.evaluate(agent, env, 1, seed=3),
    "evaluate, inside": lambda agent, env: iq.evaluate(agent, env.unwrapped, 1, seed=3),
    "evaluate, wrapped": lambda agent, env: iq.evaluate(
        agent, gym.wrappers.TimeLimit(env, 4), 2, seed=3),
    "record": lambda agent, env: iq.record(env, random_policy("discrete"), 1, seed=3),
    "learn": lambda agent, env: iq.learn(make_demos(), env, make_config(steps=3)),
}


@pytest.mark.parametrize("name", USES)
def test_a_shared_environment_leaves_no_false_row(name):
    env = Log(Walk())
    agent = iq.new_agent(make_demos(), make_config(steps=60))
    heard = record_batches(agent)

    def callback(step, info):
        if step % 4 == 0:
            USES[name](agent, env)

    iq.learn(make_demos(), env, callback=callback, agent=agent)
    assert len(learner_rows(heard)) > 3
    assert learner_rows(heard) <= true_rows(env)


# ------------------------------------------------------------ what can not be learned

class Spoiled(Walk):
    """Walk, whose observation at a step of an episode is spoiled."""

    def __init__(self, spoil, episode, step):
        super().__init__()
        self.spoil, self.at, self.episode = spoil, (episode, step), -1
        self.begun = self.made = 0

    def reset(self, seed=None, options=None):
        self.episode += 1
        return super().reset(seed=seed)

    def step(self, action):
        self.made += 1
        return super().step(action)

    def state(self):
        spoiled = (self.episode, self.steps) == self.at
        return self.spoil(super().state()) if spoiled else super().state()


SPOIL = {
    "nan": lambda obs: obs * np.nan, "inf": lambda obs: obs + np.float32([0, np.inf]),
    "shape": lambda obs: obs[:1], "an axis": lambda obs: obs[None],
    "bytes": lambda obs: obs.astype(np.uint8), "int": lambda obs: obs.astype(int),
    "words": lambda obs: obs.astype(str), "a dict": lambda obs: {"seen": obs},
    "a tuple": lambda obs: (obs, obs), "nothing": lambda obs: None,
    "an object": lambda obs: obs.astype(object)}
JOBS = {
    "learn": lambda env: iq.learn(make_demos(), env, make_config(steps=200)),
    "evaluate": lambda env: iq.evaluate(iq.new_agent(make_demos(), make_config()), env, 9, 0),
    "record": lambda env: iq.record(env, random_policy("discrete"), 9, 0)}


@pytest.mark.parametrize("at", [(0, 0), (0, 1), (1, 0), (2, 2)])
@pytest.mark.parametrize("name", SPOIL)
@pytest.mark.parametrize("job", JOBS)
def test_a_bad_observation_is_named_by_step_and_episode_at_once(name, at, job):
    which = f" {at[1]} of episode {at[0]}"
    if job == "record" and at == (0, 0):  # it tells what the others have to be
        if name in ("shape", "an axis", "bytes", "int", "a tuple"):
            return
        which = ""
    env = Spoiled(SPOIL[name], *at)
    with pytest.raises(ValueError, match=f"observation{which} is"):
        JOBS[job](env)
    assert (env.episode, env.steps) == at and (at != (0, 1) or env.made == 1)


SEEN = Box(-1.0, 1.0, (2,))
UNLEARNABLE = {
    "multi-binary": MultiBinary(3), "multi-discrete": MultiDiscrete([2, 3]),
    "dict": Dict(a=Discrete(2)), "without bounds": Box(-np.inf, np.inf, (1,)),
    "half bounded": Box(-1, np.inf, (1,)), "a matrix": Box(-1, 1, (2, 2)),
    "from one": Discrete(2, start=1), "whole": Box(0, 9, (1,), np.int64),
    "far too wide": Box(-1e10, 1e10, (1,)),
    "lost in rounding": Box(1e9, 1e9 + 64, (1,)),
    "of no width": Box(1.0, 1.0, (1,)), "of no width at 0": Box(0.0, 0.0, (1,)),
    "one axis of no width": Box(np.float32([-1, 0]), np.float32([1, 0]))}


@pytest.mark.parametrize("name", UNLEARNABLE)
def test_actions_that_can_not_be_learned_are_refused_by_their_space(name):
    env = Walk()
    env.action_space = UNLEARNABLE[name]
    for job in (lambda: iq.record(env, lambda obs: env.action_space.sample(), 1, 0),
                lambda: iq.Demos(env.action_space, **make_demos().columns),
                lambda: iq.learn(make_demos(), env, make_config())):
        with pytest.raises(ValueError, match="action space") as caught:
            job()
        assert str(env.action_space) in str(caught.value)


@pytest.mark.parametrize("name", ["Nowhere-v0", "CartPole-v99", "no such thing",
                                  "no_such_module:Thing-v0", "a/b/c-v1"])
def test_an_unknown_environment_is_refused_by_name(name):
    for job in JOBS.values():
        with pytest.raises((ValueError, gym.error.Error, ImportError)) as caught:
            job(name)
        assert name.split("-v")[0].split(":")[0] in str(caught.value)


def other(**attributes):
    env = Walk(continuous="wide" in attributes)
    env.__dict__.update(attributes)
    return env


@pytest.mark.parametrize("kind, env, says", [
    ("naf", other(wide=True, action_space=Box(-3.0, 1.5, (1,))), "1.5"),
    ("discrete", other(state=lambda: np.zeros(2, np.uint8)), "uint8"),
    ("discrete", other(action_space=Discrete(3)), r"Discrete\(3\)"),
    ("discrete", Walk(continuous=True), "Box"),
    ("discrete", "CartPole-v1", r"\(4,\)")])
def test_an_environment_is_held_to_the_diary_that_it_learns_from(kind, env, says):
    agent = iq.new_agent(make_demos(kind), make_config(kind))
    with pytest.raises(ValueError, match=says):
        iq.learn(make_demos(kind), env, agent=agent)
    with pytest.raises(ValueError, match=says):
        iq.evaluate(agent, env, 1, seed=0)


# --------------------------------------------------------------------------- actions

@pytest.mark.parametrize("wrong", [
    2, -1, 0.5, "left", None, np.nan, [0], (0, None), True, np.True_])
def test_an_action_that_is_none_is_refused_at_its_step(wrong):
    env = Log(Walk())
    with pytest.raises(ValueError, match="action") as caught:
        iq.record(env, lambda obs: 1 if obs[1] < 2 else wrong, 50, seed=0)
    assert "Discrete(2)" in str(caught.value) and len(env.true) == 2


@pytest.mark.parametrize("wrong", [[np.nan], [0.1, 0.1], [[0.1]]])
def test_a_continuous_action_that_is_none_is_refused_at_its_step(wrong):
    env = Log(Walk(continuous=True))
    with pytest.raises(ValueError, match="action"):
        iq.record(env, lambda obs: wrong, 50, seed=0)
    assert env.true == []


@pytest.mark.parametrize("given, taken", [
    ([2.3], 1), ([-9], -3), (np.float64([0.25]), 0.25), (torch.tensor([0.5]), 0.5),
    ([np.inf], 1)], ids=repr)
def test_a_continuous_action_is_clipped_to_the_box_and_recorded_so(given, taken):
    env = Log(Walk(continuous=True))  # asserts that each action is in its space
    demos = iq.record(env, lambda obs: given, 2, seed=0)
    assert (demos.actions == taken).all() and equal(rows(demos), env.true)


@pytest.mark.parametrize("kind", KINDS[1:])
@pytest.mark.parametrize("bounds", [(-0.1, 0.1), (0.7, 1.3), (-1e-7, 3e-7)])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("side", [-9, 9])
def test_an_agent_at_a_bound_never_leaves_the_box_by_rounding(
        kind, bounds, dtype, side, tmp_path):
    env = Walk(continuous=True, drift=0.2)  # asserts that each action is in its space
    env.action_space = Box(*bounds, (1,), dtype)
    demos = iq.record(env, lambda obs: env.action_space.high, 2, seed=0)
    own = {"critic": Constant(0, side, 0)} if kind == "naf" else {
        "actor": Constant(side, 0)}
    demos.save(tmp_path / "d.npz")
    for told_ in demos, iq.Demos.load(tmp_path / "d.npz"), iq.Demos.load(
            tmp_path / "d.npz", env.action_space):
        agent = iq.new_agent(told_, make_config(kind, steps=3), **own)
        iq.evaluate(agent, env, 1, seed=0)
        iq.learn(told_, env, agent=agent)
        agent.save(tmp_path / "a.pt")
        assert iq.evaluate(iq.load(tmp_path / "a.pt", **own), env, 1, seed=0)
    for greedy in True, False:
        by_hand_ = iq.new_agent(demos, make_config(kind), **own)
        assert env.action_space.contains(by_hand_.act(demos.observations[0], greedy))


def test_policies_of_other_libraries_are_taken_as_they_are():
    """Stable-Baselines3's predict takes one observation, gives an array and a state."""
    class Model:
        def predict(self, obs, deterministic=False):
            assert obs.shape == (2,) and deterministic
            return np.array(steady(obs)), None

    model = Model()
    policy = lambda obs: model.predict(obs, deterministic=True)[0]
    assert same_demos(iq.record(Walk(), policy, 3, 0), iq.record(Walk(), steady, 3, 0))


# -------------------------------------------------------------------------- evaluation

@pytest.mark.parametrize("kind", KINDS)
def test_evaluation_plays_the_likeliest_actions(kind):
    agent = iq.learn(make_demos(kind), config=make_config(kind, steps=20))
    env, true = gym.make(ENVS[kind]), []
    obs, _ = env.reset(seed=30)
    for _ in range(5):
        total, ended, cut = 0, False, False
        while not (ended or cut):
            obs, reward, ended, cut, _ = env.step(agent.act(obs))
            total += reward
        true.append(total)
        obs, _ = env.reset()
    for given in ENVS[kind], gym.make(ENVS[kind]):
        returns = iq.evaluate(agent, given, episodes=5, seed=30)
        assert returns.shape == (5,) and returns == pytest.approx(true, abs=1e-4)


# ----------------------------------------------------------------------------- elders

def test_the_elder_of_cartpole_never_falls_and_wanders():
    demos = iq.record("CartPole-v1", iq.scripted_expert("CartPole-v1"), 5, seed=100)
    assert (demos.returns() == 500).all()
    place, speed, angle, turn = demos.observations.std(0)
    assert place > 0.05 and speed > 0.1 and angle > 0.01 and turn > 0.1
    assert 0.3 < demos.actions.mean() < 0.7


@pytest.mark.parametrize("axis, weight", [*enumerate([1.5, 4, 50, 10])])
def test_the_elder_of_cartpole_pushes_by_a_logistic_of_the_state(axis, weight):
    elder = iq.scripted_expert("CartPole-v1")
    for logit in -1, 1:
        drawn = np.mean([elder(np.eye(4)[axis] * logit / weight) for _ in range(4000)])
        assert drawn == pytest.approx(1 / (1 + math.exp(-logit)), abs=0.035)  # 5 sigma


def test_an_elder_does_the_same_each_time_it_is_sent_for():
    first, second = iq.scripted_expert("CartPole-v1"), iq.scripted_expert("CartPole-v1")
    level = np.zeros(4)
    assert [first(level) for _ in range(64)] == [second(level) for _ in range(64)]


def test_the_elder_of_pendulum_is_expert_and_shows_the_swing_and_the_balance():
    demos = iq.record("Pendulum-v1", iq.scripted_expert("Pendulum-v1"), 40, seed=0)
    assert demos.returns().mean() >= -190
    cos, sin, speed = demos.observations.T
    assert (cos < -0.9).any() and np.ptp(speed) > 8
    assert np.ptp(demos.actions) == pytest.approx(4)
    assert (cos.reshape(40, 200)[:, -20:] > 0.9).mean() > 0.9


@pytest.mark.parametrize("angle, speed, torque", [
    (math.pi / 3, 3.0, 3.0),  # 15 - 7.5 - 4.5, with the swing
    (-math.pi / 3, -3.0, -3.0), (math.pi / 3, 4.0, -0.5),  # too fast: it brakes
    (math.acos(0.8), 0.0, 3.0),  # at rest it swings to the right
    (math.asin(-0.35), 1.0, 0.8),  # on top: -8 sin - 2 speed
    (math.asin(0.1), -0.2, -0.4)])
def test_the_elder_of_pendulum_swings_to_the_energy_of_standing_and_balances(
        angle, speed, torque):
    obs = np.array([math.cos(angle), math.sin(angle), speed])
    assert iq.scripted_expert("Pendulum-v1")(obs) == pytest.approx([torque], abs=1e-5)


def test_there_is_no_elder_for_other_valleys():
    with pytest.raises(ValueError, match=(
            "^environment with an elder is Acrobot-v1;.*CartPole-v1.*Pendulum-v1")):
        iq.scripted_expert("Acrobot-v1")
