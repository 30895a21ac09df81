"""Small diaries, small environments and comparisons that the machine's tests share."""
import gymnasium as gym
import numpy as np
import torch
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete

import iq

SMALL = {"hidden": 8, "batch_size": 8, "device": "cpu", "gamma": 0.9, "log_every": 10,
         "replay_size": 1000, "seed": 0}
KINDS = "discrete", "continuous"


class Walk(gym.Env):
    """Two numbers: a place, drawn at reset, and the steps taken; beyond +-2 it ends."""

    def __init__(self, continuous: bool = False, low: float = -3.0, high: float = 1.0):
        self.observation_space = Box(-np.inf, np.inf, (2,))
        self.action_space = Box(low, high, (1,)) if continuous else Discrete(2)
        self.continuous = continuous

    def state(self):
        return np.array([self.place, self.steps], np.float32)

    def reset(self, seed=None, options=None):
        super().reset(seed=seed)
        self.place, self.steps = self.np_random.uniform(-1, 1), 0
        return self.state(), {}

    def step(self, action):
        assert self.action_space.contains(action), action
        push = float(action[0]) if self.continuous else 2 * int(action) - 1
        self.place += 0.4 * push + 0.1 * self.np_random.normal()
        self.steps += 1
        return self.state(), self.place, abs(self.place) > 2, False, {}


class Odd(gym.Env):
    """An environment with whatever spaces, some of which can't be learned."""

    def __init__(self, name):
        self.observation_space, self.action_space = ODD[name]

    def reset(self, seed=None, options=None):
        super().reset(seed=seed)
        return self.observation_space.sample(), {}

    def step(self, action):
        assert self.action_space.contains(action)
        return self.observation_space.sample(), 0.0, False, False, {}


SEEN = Box(-1.0, 1.0, (2,))
ODD = {  # spaces that can't be learned, each to be refused by name
    "DictSeen-v0": (Dict(a=SEEN), Discrete(2)),
    "DiscreteSeen-v0": (Discrete(3), Discrete(2)),
    "MultiBinaryActions-v0": (SEEN, MultiBinary(3)),
    "MultiDiscreteActions-v0": (SEEN, MultiDiscrete([2, 3])),
    "DictActions-v0": (SEEN, Dict(a=Discrete(2))),
    "UnboundedActions-v0": (SEEN, Box(-np.inf, np.inf, (1,))),
    "MatrixActions-v0": (SEEN, Box(-1, 1, (2, 2))),
    "ShiftedActions-v0": (SEEN, Discrete(2, start=1)),
}
ENVS = {"discrete": "Walk-v0", "continuous": "WalkFar-v0"}
if "Walk-v0" not in gym.registry:
    gym.register("Walk-v0", "tools:Walk", max_episode_steps=20)
    gym.register("WalkFar-v0", "tools:Walk", max_episode_steps=20,
                 kwargs={"continuous": True})
    for name in ODD:
        gym.register(name, "tools:Odd", max_episode_steps=5, disable_env_checker=True,
                     kwargs={"name": name})


def walker(kind, seed=0):
    """A policy for Walk that draws its actions."""
    rng = np.random.default_rng(seed)
    if kind == "discrete":
        return lambda obs: rng.integers(0, 2, len(obs))
    return lambda obs: rng.uniform(-3, 1, (len(obs), 1)).astype(np.float32)


def diary(kind="discrete", episodes=4, seed=0):
    return iq.record(ENVS[kind], walker(kind, seed), episodes, seed)


def columns(demos):
    """What a diary's file holds, as a dictionary to spoil."""
    data = {k: getattr(demos, k).copy() for k in iq.COLUMNS}
    data["env_id"] = np.array(demos.env_id)
    if isinstance(demos.action_space, Discrete):
        data["n_actions"] = np.array(demos.action_space.n)
    else:
        data["action_low"] = demos.action_space.low.copy()
        data["action_high"] = demos.action_space.high.copy()
    return data


def config(**changes):
    return iq.Config(**SMALL | changes)


def weights(agent):
    """A copy of every weight, the slow copy's and the absorbing state's included."""
    return {k: x.detach().cpu().clone() for k, x in agent.state_dict().items()}


def same(a, b):
    """Whether two nested things are equal bit for bit."""
    if isinstance(a, torch.Tensor):
        return (isinstance(b, torch.Tensor) and a.shape == b.shape
                and a.dtype == b.dtype and torch.equal(a.cpu(), b.cpu()))
    if isinstance(a, np.ndarray):
        return (isinstance(b, np.ndarray) and a.dtype == b.dtype
                and np.array_equal(a, b))
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


def checkpoint(path):
    """Everything a checkpoint holds."""
    return torch.load(path, weights_only=True, map_location="cpu")


def forbid(*args, **kwargs):
    raise AssertionError("this was not to be called")
