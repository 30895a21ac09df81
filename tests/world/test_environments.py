"""rollout, record, evaluate: whatever an environment does, only true rows come in."""
import math

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Tuple
from helpers import (
    ENVS,
    KINDS,
    Constant,
    Log,
    Walk,
    logged,
    make_config,
    make_demos,
    messages,
    random_policy,
    record_batches,
    same_demos,
)

import iq

ACTIONS = "discrete", "naf"
actions = pytest.mark.parametrize("kind", ACTIONS)


def rows(demos):
    """Demonstrations as a list of what Log keeps of a step."""
    return list(zip(demos.observations, demos.actions, demos.next_observations,
                    demos.terminations, demos.truncations, demos.rewards))


def equal(ours, true):
    return len(ours) == len(true) and all(
        np.array_equal(a, b) for one, other in zip(ours, true)
        for a, b in zip(one, other))


def learner_rows(batches):
    """(s, a, s', terminated) of each own row that an agent learned from, hashable."""
    return {(tuple(s.tolist()), float(a), tuple(s2.tolist()), bool(end))
            for batch, is_expert in batches
            for s, a, s2, end, own in zip(*batch[:4], ~is_expert) if own}


def true_rows(env):
    return {(tuple(s.tolist()), float(a), tuple(s2.tolist()), end)
            for s, a, s2, end, *_ in env.steps}


def steady(obs):
    """A policy that depends on nothing but what it sees."""
    return int(np.sin(9 * obs).sum() > -0.2)


# -------------------------------------------------------------------------- recording

@actions
@pytest.mark.parametrize("seed", [5, 2**31 - 1])
def test_record_holds_exactly_what_happened_and_one_reset_is_seeded(kind, seed):
    env = Log(gym.make(ENVS[kind]))
    demos = iq.record(env, random_policy(kind), 12, seed)
    assert equal(rows(demos), env.steps)
    assert env.seeds == [seed] + [None] * 11  # and none to learn that it is done
    ends = demos.terminations | demos.truncations
    assert np.array_equal(demos.starts[1:], ends[:-1]) and ends[-1]
    assert len(demos.returns()) == 12 and demos.action_space == env.action_space
    assert demos.terminations.any() and demos.truncations.any()
    again, other = (iq.record(ENVS[kind], random_policy(kind), 12, s)
                    for s in (seed, seed - 1))
    assert same_demos(demos, again)
    assert demos.observations[0, 0] != other.observations[0, 0]


@actions
def test_the_next_observation_is_the_true_one_and_never_that_of_a_reset(kind):
    demos = iq.record(ENVS[kind], random_policy(kind), 8, seed=0)
    steps, after = demos.observations[:, 1], demos.next_observations[:, 1]
    assert np.array_equal(after, steps + 1)  # a reset one would say 0
    assert (steps[demos.starts] == 0).all() and (steps[~demos.starts] > 0).all()
    far = np.abs(demos.next_observations[:, 0]) > 2
    assert np.array_equal(far, demos.terminations)
    assert np.array_equal(after == 20, demos.truncations)


def test_terminal_and_limit_are_kept_apart_also_where_both_come_at_once():
    class Both(Walk):
        def step(self, action):
            obs, reward, *_ = super().step(action)
            draw = self.np_random.integers(3)
            return obs, reward, self.steps == 3 and draw != 0, self.steps == 3, {}

    demos = iq.record(Both(), random_policy("discrete"), 9, seed=0)
    ends = demos.terminations[2::3]
    assert demos.truncations.tolist() == [False, False, True] * 9
    assert ends.any() and not ends.all() and not demos.terminations[::3].any()


@pytest.mark.parametrize("episodes", [0, -3])
def test_no_fewer_than_one_episode_is_played(episodes):
    agent = iq.new_agent(make_demos(), make_config())
    for play in (lambda: iq.record(Walk(), steady, episodes, seed=0),
                 lambda: iq.evaluate(agent, Walk(), episodes, seed=0)):
        with pytest.raises(ValueError, match=f"{episodes}.*(1 or more|negative)"):
            play()


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
def test_a_reward_is_one_number_of_whatever_shape_and_a_flag_too(reward):
    for flag in bool, int, np.bool_, lambda x: np.array([x]):
        demos = iq.record(Given(reward=reward, flag=flag), steady, 2, seed=0)
        lengths = np.diff([*np.flatnonzero(demos.starts), len(demos)])
        number = np.float64(reward).item()
        assert demos.returns().tolist() == (lengths * number).tolist()


@pytest.mark.parametrize("reward, says", [
    (np.zeros(3), "3 numbers; allowed: one"), ([1.0, 2.0], "2 numbers"),
    ({"a": 1.0}, "reward 1 of episode 0"), (None, "reward 1 of episode 0"),
    ("much", "reward 1 of episode 0"), (np.nan, "reward 1 of episode 0.*nan.*finite"),
    (-np.inf, "reward 1 of episode 0.*finite"), ([], "0 numbers")], ids=repr)
def test_a_reward_that_is_not_one_finite_number_is_refused_by_name(reward, says):
    with pytest.raises(ValueError, match=says) as caught:
        iq.record(Given(reward=reward), steady, 2, seed=0)
    assert "reward" in str(caught.value) and "allowed" in str(caught.value)


class Endless(Walk):
    def step(self, action):
        return self.state(), 1.0, False, False, {}


def test_an_episode_without_a_limit_is_cut_at_10_000_steps_with_a_warning():
    with pytest.warns(UserWarning, match="10000 steps.*TimeLimit"):
        demos = iq.record(Endless(), lambda obs: 0, 1, seed=0)
    assert len(demos) == 10_000 and demos.truncations[-1]
    agent = iq.new_agent(make_demos(), make_config())
    agent.act = lambda obs, greedy=True: 0
    with pytest.warns(UserWarning, match="10000 steps.*TimeLimit"):
        iq.evaluate(agent, Endless(), 1, seed=0)


def test_a_limit_of_the_environment_s_own_is_kept():
    longer = gym.make(gym.envs.registration.EnvSpec(
        "Endless-v0", entry_point=Endless, max_episode_steps=10_001))
    assert len(iq.record(longer, lambda obs: 0, 1, seed=0)) == 10_001
    for env in gym.make("Walk-v0", max_episode_steps=7), gym.wrappers.TimeLimit(
            Walk(), 7):
        demos = iq.record(env, lambda obs: int(obs[0] < 0), 9, seed=0)
        assert demos.truncations.any() and demos.observations[:, 1].max() == 6
        assert not messages(lambda env=env: iq.record(env, lambda obs: 0, 1, seed=0))


def test_what_record_made_itself_warns_of_nothing():
    """In a bandit, or on a grid with one start, an episode's last state begins the next."""
    class Bandit(Walk):
        def state(self):
            return np.zeros(2, np.float32)

        def step(self, action):
            return self.state(), 1.0, True, False, {}

    assert not messages(lambda: iq.record(Bandit(), steady, 5, seed=0))
    fixed = lambda: iq.record(gym.wrappers.TimeLimit(Bandit(), 3), steady, 5, seed=0)
    assert not messages(fixed)


# ----------------------------------------------------------- environments made by name

@pytest.fixture
def made(monkeypatch):
    """What gym.make makes."""
    made, make = [], gym.make

    def keeping(*args, **kwargs):
        made.append(make(*args, **kwargs))
        return made[-1]

    monkeypatch.setattr(gym, "make", keeping)
    return made


def bad_policy(obs):
    return 7


def test_an_environment_made_by_name_is_closed(made, tmp_path):
    demos = iq.record("Walk-v0", steady, 2, seed=0)
    agent = iq.learn(demos, "Walk-v0", make_config())
    for _ in range(3):
        iq.evaluate(agent, "Walk-v0", 1, seed=0)
    with pytest.raises(ValueError):
        iq.record("Walk-v0", bad_policy, 1, seed=0)
    with pytest.raises(ZeroDivisionError):
        iq.learn(demos, "Walk-v0", make_config(), lambda *_: 1 / 0)
    with pytest.raises(ValueError):
        iq.evaluate(agent, "WalkFar-v0", 1, seed=0)
    demos.save(tmp_path / "d.npz")
    iq.Demos.load(tmp_path / "d.npz", "Walk-v0")
    iq.main(["Walk-v0", "--demos", str(tmp_path / "d.npz"), "--steps", "2", "--online"])
    assert len(made) > 8 and all(env.unwrapped.closed for env in made)


def test_an_environment_of_the_caller_s_stays_open(made):
    env = Walk()
    agent = iq.learn(make_demos(), env, make_config())
    iq.evaluate(agent, env, 1, seed=0)
    iq.record(env, steady, 1, seed=0)
    assert not env.closed


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
    """It keeps the action that it is given, and scales it in place."""

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


@pytest.mark.parametrize("name", MEDDLERS)
def test_what_an_environment_changes_in_place_is_copied(name):
    env = MEDDLERS[name](Walk(continuous=True))
    demos = iq.record(env, random_policy("naf"), 3, seed=0)
    assert equal(rows(demos), logged(env).steps)
    assert (demos.next_observations[:, 1] == demos.observations[:, 1] + 1).all()
    if "action" not in name:
        env = MEDDLERS[name](Walk())
        agent = iq.new_agent(make_demos(), make_config(steps=60))
        batches = record_batches(agent)
        iq.learn(make_demos(), env, agent=agent)
        assert len(learner_rows(batches)) > 40
        assert learner_rows(batches) <= true_rows(logged(env))


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
    assert equal(rows(iq.record(env, meddler, 2, seed=0)), env.steps)
    assert len({float(action[0]) for _, action, *_ in env.steps}) == len(env.steps)


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
    batches = record_batches(agent)

    def callback(step, info):
        if step % 4 == 0:
            USES[name](agent, env)

    iq.learn(make_demos(), env, callback=callback, agent=agent)
    assert len(learner_rows(batches)) > 3
    assert learner_rows(batches) <= true_rows(env)


def test_an_environment_that_guards_its_attributes_can_be_learned_in():
    """Nothing is set on an environment, and nothing private is read."""
    class Guarded(gym.Env):
        __slots__ = ("inner",)
        observation_space = Box(-np.inf, np.inf, (2,))
        action_space = Discrete(2)

        def __init__(self):
            object.__setattr__(self, "inner", Walk())

        def __setattr__(self, name, value):
            raise AttributeError(f"{name} is not to be set")

        def __getattribute__(self, name):
            if name.startswith("_") and not name.startswith("__"):
                raise AttributeError(f"{name} is private")
            return super().__getattribute__(name)

        def reset(self, *, seed=None, options=None):
            return self.inner.reset(seed=seed)

        def step(self, action):
            return self.inner.step(action)

    env = Guarded()
    demos = iq.record(env, steady, 2, 0)
    agent = iq.new_agent(demos, make_config())
    iq.learn(demos, env, agent=agent, callback=lambda step, info: step % 5 or (
        iq.evaluate(agent, env, 1, 0)))
    assert agent.replay.size == 10


# ------------------------------------------------------------ what can not be learned

class Spoiled(Walk):
    """Walk, whose observation at a step of an episode is spoiled."""

    def __init__(self, spoil, episode, step):
        super().__init__()
        self.spoil, self.at, self.episode = spoil, (episode, step), -1

    def reset(self, seed=None, options=None):
        self.episode += 1
        return super().reset(seed=seed)

    def state(self):
        spoiled = (self.episode, self.steps) == self.at
        return self.spoil(super().state()) if spoiled else super().state()


SPOIL = {
    "nan": lambda obs: obs * np.nan, "inf": lambda obs: obs + np.float32([0, np.inf]),
    "shape": lambda obs: obs[:1], "an axis": lambda obs: obs[None],
    "bytes": lambda obs: obs.astype(np.uint8), "words": lambda obs: obs.astype(str),
    "a dict": lambda obs: {"seen": obs}, "a tuple": lambda obs: (obs, obs),
    "a number": lambda obs: 3, "nothing": lambda obs: None,
    "an object": lambda obs: obs.astype(object)}
OF_ITS_OWN = "shape", "an axis", "bytes"  # recorded: it defines what the others must be
JOBS = {
    "learn": lambda env: iq.learn(make_demos(), env, make_config(steps=200)),
    "evaluate": lambda env: iq.evaluate(
        iq.new_agent(make_demos(), make_config()), env, 9, 0),
    "record": lambda env: iq.record(env, random_policy("discrete"), 9, 0)}


@pytest.mark.parametrize("name", SPOIL)
@pytest.mark.parametrize("job", JOBS)
def test_a_bad_observation_is_named_by_step_and_episode_at_once(name, job):
    for at in (0, 0), (0, 1), (1, 0), (2, 2):
        env = Spoiled(SPOIL[name], *at)
        if job == "record" and at == (0, 0) and name in OF_ITS_OWN:
            at = (0, 1)  # then the next one is another
        with pytest.raises(ValueError) as caught:
            JOBS[job](env)
        assert f"observation {at[1]} of episode {at[0]}" in str(caught.value)
        assert (env.episode, env.steps) == at
        assert "allowed" in str(caught.value) or "bytes" in str(caught.value)


def test_whole_numbers_among_floats_are_numbers():
    """An environment that resets to np.zeros(2, int) and then gives floats."""
    whole = lambda obs: obs.astype(int)
    for at in (0, 0), (0, 1), (1, 0):
        env = gym.wrappers.TimeLimit(Spoiled(whole, *at), 20)
        demos = iq.record(env, random_policy("discrete"), 3, 0)
        assert demos.observations.dtype.kind == "f"
        agent = iq.learn(demos, gym.wrappers.TimeLimit(Spoiled(whole, *at), 20),
                         make_config(steps=60))
        assert np.isfinite(iq.evaluate(
            agent, gym.wrappers.TimeLimit(Spoiled(whole, *at), 20), 2, 0)).all()


class Seen(Walk):
    """Walk with an observation of another kind."""

    def __init__(self, see, **kwargs):
        super().__init__(**kwargs)
        self.see, self.made = see, 0

    def state(self):
        return self.see(super().state())

    def step(self, action):
        self.made += 1
        return super().step(action)


@pytest.mark.parametrize("see, remedies", [
    (lambda obs: 3, ["FlattenObservation"]), (lambda obs: np.int64(3), ["Flatten"]),
    (lambda obs: {"image": obs}, ["FlattenObservation", "minigrid.wrappers"]),
    (lambda obs: (obs, 3), ["FlattenObservation"])])
def test_observations_that_are_no_array_are_refused_at_the_first_reset_with_a_remedy(
        see, remedies):
    env = Seen(see)
    for job in JOBS.values():
        with pytest.raises(ValueError) as caught:
            job(env)
        assert all(remedy in str(caught.value) for remedy in remedies)
        assert env.made == 0 and "\n" not in str(caught.value)


def test_flattened_they_can_be_learned():
    env = gym.wrappers.TransformObservation(
        Seen(lambda obs: 1), lambda obs: np.eye(3)[obs], Box(0, 1, (3,)))
    demos = iq.record(env, random_policy("discrete"), 2, 0)
    assert demos.observations.shape[1:] == (3,)


@pytest.mark.parametrize("what", [
    gym.vector.SyncVectorEnv([lambda: gym.make("CartPole-v1")] * 2), Walk, object(), 3,
    b"Walk-v0"], ids=lambda x: type(x).__name__)
def test_what_is_no_single_environment_is_refused_by_what_it_is(what):
    for job in JOBS.values():
        with pytest.raises(ValueError, match="gymnasium.Env") as caught:
            job(what)
        assert type(what).__name__ in str(caught.value)
        assert "allowed" in str(caught.value) and "vector" in str(caught.value)
    if isinstance(what, gym.vector.VectorEnv):
        what.close()


UNLEARNABLE = {
    "multi-binary": MultiBinary(3), "multi-discrete": MultiDiscrete([2, 3]),
    "dict": Dict(a=Discrete(2)), "tuple": Tuple([Discrete(2)]),
    "without bounds": Box(-np.inf, np.inf, (1,)),
    "half bounded": Box(-1, np.inf, (1,)), "whole": Box(0, 9, (1,), np.int64),
    "far too wide": Box(-1e10, 1e10, (1,)),
    "lost in rounding": Box(1e9, 1e9 + 64, (1,)), "without axes": Box(-1, 1, (0,)),
    "of no width": Box(1.0, 1.0, (1,)), "of no width at 0": Box(0.0, 0.0, (1,)),
    "one axis of no width": Box(np.float32([-1, 0]), np.float32([1, 0]))}


@pytest.mark.parametrize("name", UNLEARNABLE)
def test_actions_that_can_not_be_learned_are_refused_by_their_space_with_a_remedy(name):
    env = Walk()
    env.action_space = UNLEARNABLE[name]
    for job in (lambda: iq.record(env, lambda obs: env.action_space.sample(), 1, 0),
                lambda: iq.Demos(env.action_space, **make_demos().columns),
                lambda: iq.learn(make_demos(), env, make_config())):
        with pytest.raises(ValueError, match="action space") as caught:
            job()
        said = str(caught.value)
        assert str(env.action_space) in said and "allowed" in said
        assert any(word in said for word in ("number", "RescaleAction"))


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
    ("naf", other(wide=True, action_space=Box(-3.0, 1.0, (1, 1))), r"\(1, 1\)"),
    ("discrete", other(state=lambda: np.zeros(2, np.uint8)), "uint8"),
    ("discrete", other(action_space=Discrete(3)), r"Discrete\(3\)"),
    ("discrete", other(action_space=Discrete(2, start=1)), "start=1"),
    ("discrete", Walk(continuous=True), "Box"),
    ("discrete", "CartPole-v1", r"\(4,\)|, 4\)")])
def test_an_environment_must_be_like_the_demonstrations(kind, env, says):
    agent = iq.new_agent(make_demos(kind), make_config(kind))
    with pytest.raises(ValueError, match=says):
        iq.learn(make_demos(kind), env, agent=agent)
    with pytest.raises(ValueError, match=says):
        iq.evaluate(agent, env, 1, seed=0)


# ------------------------------------------------------------------ what should work

class Shaped(Walk):
    """Walk with actions of any learnable space; what they do is their first number."""

    def __init__(self, space):
        super().__init__()
        self.action_space = space

    def step(self, action):
        assert action in self.action_space, action
        if isinstance(self.action_space, Discrete):
            assert np.ndim(action) == 0
            push = 2 * (int(action) - self.action_space.start) - 1
        else:
            assert action.dtype == self.action_space.dtype
            assert action.shape == self.action_space.shape
            push = float(action.flat[0])
        self.place += 0.4 * push + 0.1 * self.np_random.normal()
        self.steps += 1
        return self.state(), self.place, abs(self.place) > 2, False, {}


LEARNABLE = [Discrete(2, start=1), Discrete(3, start=-4), Box(-1, 1, ()),
             Box(-3, 1, (2, 2)), Box(-1, 1, (1, 2, 3), np.float64),
             Box(-1, 1, (1,), np.float16)]


@pytest.mark.parametrize("space", LEARNABLE, ids=str)
def test_a_learnable_space_goes_all_the_way(space, tmp_path):
    """Recorded, saved, loaded, learned offline and online, asked, evaluated."""
    env = gym.wrappers.TimeLimit(Shaped(space), 20)
    space.seed(0)
    demos = iq.record(env, lambda obs: space.sample(), 3, seed=0)
    demos.save(tmp_path / "d.npz")
    loaded = iq.Demos.load(tmp_path / "d.npz")
    assert same_demos(loaded, demos) and len(demos.subsample(2).take(2)) > 1
    for kind in ["discrete"] if isinstance(space, Discrete) else ["naf", "actor_critic"]:
        agent = iq.learn(loaded, env, make_config(kind))
        s, a, s2, end = (demos.observations, demos.actions, demos.next_observations,
                         demos.terminations)
        assert agent.act(s[0]).shape == space.shape
        assert agent.act(s[0]) in space and agent.act(s[0]).dtype == space.dtype
        drawn = agent.act(s, greedy=False)
        assert drawn.shape == a.shape and all(x in space for x in drawn)
        assert np.isfinite(agent.reward(s, a, s2, end)).all()
        assert np.isfinite(agent.log_prob(s, a)).all()
        assert np.isfinite(iq.evaluate(agent, env, 2, seed=0)).all()
        agent.save(tmp_path / "a.pt")
        assert iq.load(tmp_path / "a.pt").action_space == space


def test_the_first_action_of_a_discrete_space_is_its_start():
    space = Discrete(3, start=5)
    agent = iq.SoftQ(np.zeros(2), space, make_config(), critic=Constant(0.0, 9.0, 1.0))
    assert agent.act(np.zeros(2)) == 6
    log_prob = agent.log_prob(np.zeros((3, 2)), [5, 6, 7])
    assert log_prob.argmax() == 1 and np.exp(log_prob).sum() == pytest.approx(1)
    for outside in 4, 8, 0:
        with pytest.raises(ValueError, match="start=5"):
            agent.log_prob(np.zeros((1, 2)), [outside])


# --------------------------------------------------------------------------- actions

@pytest.mark.parametrize("wrong", [
    2, -1, 0.5, "left", None, np.nan, [0], (0, None), True, np.True_])
def test_an_action_that_is_none_is_refused_at_its_step(wrong):
    env = Log(Walk())
    with pytest.raises(ValueError, match="action") as caught:
        iq.record(env, lambda obs: 1 if obs[1] < 2 else wrong, 50, seed=0)
    assert "Discrete(2)" in str(caught.value) and len(env.steps) == 2


@pytest.mark.parametrize("wrong", [[np.nan], [np.inf], [0.1, 0.1], [[0.1]], ["left"], None])
def test_a_continuous_action_that_is_none_is_refused_at_its_step(wrong):
    env = Log(Walk(continuous=True))
    with pytest.raises(ValueError, match="action"):
        iq.record(env, lambda obs: wrong, 50, seed=0)
    assert env.steps == []


@pytest.mark.parametrize("given, taken", [
    ([2.3], 1), ([-9], -3), (np.float64([0.25]), 0.25), (torch.tensor([0.5]), 0.5),
    (np.float64([1e30]), 1)], ids=repr)
def test_a_continuous_action_is_clipped_to_the_box_and_recorded_so(given, taken):
    env = Log(Walk(continuous=True))  # asserts that each action is in its space
    demos = iq.record(env, lambda obs: given, 1, seed=0)
    assert (demos.actions == taken).all() and equal(rows(demos), env.steps)


@pytest.mark.parametrize("kind", KINDS[1:])
@pytest.mark.parametrize("bounds", [(-0.1, 0.1), (0.7, 1.3), (-1e-7, 3e-7)])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_an_agent_at_a_bound_never_leaves_the_box_by_rounding(
        kind, bounds, dtype, tmp_path):
    env = Walk(continuous=True, drift=0.2)  # asserts that each action is in its space
    env.action_space = Box(*bounds, (1,), dtype)
    demos = iq.record(env, lambda obs: env.action_space.high, 2, seed=0)
    demos.save(tmp_path / "d.npz")
    for side in -9, 9:
        own = {"critic": Constant(0, side, 0)} if kind == "naf" else {
            "actor": Constant(side, 0)}
        for given in demos, iq.Demos.load(tmp_path / "d.npz"):
            agent = iq.new_agent(given, make_config(kind, steps=3), **own)
            iq.evaluate(agent, env, 1, seed=0)
            iq.learn(given, env, agent=agent)
            agent.save(tmp_path / "a.pt")
            assert iq.evaluate(iq.load(tmp_path / "a.pt", **own), env, 1, seed=0)
            for greedy in True, False:
                action = agent.act(demos.observations[0], greedy)
                assert env.action_space.contains(action)


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
def test_evaluation_plays_the_policy_s_mode(kind):
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


# ------------------------------------------------------------------- scripted experts

def test_the_scripted_expert_of_cartpole_never_falls_and_wanders():
    demos = iq.record("CartPole-v1", iq.scripted_expert("CartPole-v1"), 5, seed=100)
    assert (demos.returns() == 500).all()
    place, speed, angle, turn = demos.observations.std(0)
    assert place > 0.05 and speed > 0.1 and angle > 0.01 and turn > 0.1
    assert 0.3 < demos.actions.mean() < 0.7


@pytest.mark.parametrize("axis, weight", [*enumerate([1.5, 4, 50, 10])])
def test_the_expert_of_cartpole_pushes_by_a_logistic_of_the_state(axis, weight):
    expert = iq.scripted_expert("CartPole-v1")
    for logit in -1, 1:
        drawn = np.mean([expert(np.eye(4)[axis] * logit / weight) for _ in range(4000)])
        assert drawn == pytest.approx(1 / (1 + math.exp(-logit)), abs=0.035)  # 5 sigma


def test_a_scripted_expert_does_the_same_each_time_it_is_made():
    first, second = (iq.scripted_expert("CartPole-v1") for _ in range(2))
    level = np.zeros(4)
    assert [first(level) for _ in range(64)] == [second(level) for _ in range(64)]


def test_the_expert_of_pendulum_is_good_and_shows_the_swing_and_the_balance():
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
def test_the_expert_of_pendulum_swings_to_the_energy_of_standing_and_balances(
        angle, speed, torque):
    obs = np.array([math.cos(angle), math.sin(angle), speed])
    assert iq.scripted_expert("Pendulum-v1")(obs) == pytest.approx([torque], abs=1e-5)


def test_there_is_no_scripted_expert_for_other_environments():
    with pytest.raises(ValueError, match=(
            "Acrobot-v1.*CartPole-v1.*Pendulum-v1.*--demos")):
        iq.scripted_expert("Acrobot-v1")
