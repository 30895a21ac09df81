"""What an environment itself said, beside whatever a library keeps of it."""

import warnings

import gymnasium as gym
import numpy as np
import pytest

import iq


def library(name):
    """A library, whose own warnings on import are no matter; or the tests skip."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip(name)


compared = {}  # rows, for the table in the book


class Witness(gym.Wrapper):
    """Keeps every step as the environment told it."""

    def __init__(self, env):
        super().__init__(env)
        self.episodes = []

    def reset(self, **options):
        obs, info = super().reset(**options)
        self.episodes.append(
            {"observations": [np.copy(obs)], "actions": [], "rewards": [], "ends": []})
        return obs, info

    def step(self, action):
        obs, reward, terminated, truncated, info = super().step(action)
        episode = self.episodes[-1]
        episode["observations"].append(np.copy(obs))
        episode["actions"].append(np.copy(action))
        episode["rewards"].append(reward)
        episode["ends"].append(bool(terminated))
        return obs, reward, terminated, truncated, info


class Corridor(gym.Env):
    """Step 1 to the right or stay, by luck; the end is at 3. Episodes may last 1 step.

    discrete or not: the action alone tells nothing, so that random policies end some
    episodes early and let a time limit cut others.
    """

    def __init__(self, discrete=True, first=0.0):
        self.first = first
        self.observation_space = gym.spaces.Box(-10, 10, (2,), np.float32)
        self.action_space = (gym.spaces.Discrete(3) if discrete
                             else gym.spaces.Box(-4, 2, (1,), np.float32))

    def look(self):
        return np.array([self.place, self.time / 10], np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.place, self.time = self.np_random.uniform(0, 1) + self.first, 0
        return self.look(), {}

    def step(self, action):
        self.time += 1
        self.place += self.np_random.uniform(0, 1)
        return self.look(), float(self.time), bool(self.place > 3), False, {}


def corridor(discrete=True, limit=6, first=0.0):
    """A Corridor that a time limit cuts, with a witness around it."""
    return Witness(gym.wrappers.TimeLimit(Corridor(discrete, first), limit))


def truth(*witnesses):
    """The Demos of what witnesses saw; an episode that was broken off is truncated."""
    episodes = [e for w in witnesses for e in w.episodes if e["actions"]]
    return iq.Demos.from_episodes(
        [np.array(e["observations"]) for e in episodes],
        [np.array(e["actions"]) for e in episodes], [e["ends"] for e in episodes],
        witnesses[0].action_space, [np.array(e["rewards"]) for e in episodes])


def mixed(demos):
    """There are ends, and there are cuts."""
    return demos.terminations.sum() >= 2 and demos.truncations.sum() >= 2


def same(got, expected, tolerance=1e-6, next_at_ends=True, types=True):
    """Assert that two Demos hold the same rows.

    next_at_ends: whether what comes after a terminal action is compared, too.
    """
    assert len(got) == len(expected)
    compared["rows"] = compared.get("rows", 0) + len(got)
    for name in "observations", "actions", "next_observations", "rewards":
        a, b = getattr(got, name), getattr(expected, name)
        if name == "next_observations" and not next_at_ends:
            a, b = a[~got.terminations], b[~expected.terminations]
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance, err_msg=name)
        assert a.shape == b.shape, name
        if types and name in ("observations", "next_observations"):
            assert a.dtype == b.dtype, name
    for name in "terminations", "starts":
        assert np.array_equal(getattr(got, name), getattr(expected, name)), name
    # an end at the very time limit is an end; the second flag may stand or not
    cuts = [x.truncations & ~x.terminations for x in (got, expected)]
    assert np.array_equal(*cuts), "truncations"


def cut_short(expected):
    """expected, as a library that keeps T observations for T actions can tell it.

    The last action of an episode that was cut is gone, and the row before it is the
    last; an episode of one cut action is gone altogether.
    """
    keep = ~expected.truncations
    ids = expected.starts.cumsum()
    next_is_gone = np.append(expected.truncations[1:] & (ids[1:] == ids[:-1]), False)
    shorter = iq.Demos(
        expected.action_space, observations=expected.observations[keep],
        actions=expected.actions[keep], rewards=expected.rewards[keep],
        next_observations=expected.next_observations[keep],
        terminations=expected.terminations[keep],
        truncations=next_is_gone[keep], episode_ids=ids[keep])
    return shorter
