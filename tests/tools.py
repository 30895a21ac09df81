"""Small diaries, small environments and comparisons that the machine's tests share."""
import gymnasium as gym
import numpy as np
import torch
from gymnasium.spaces import Box, Discrete

import iq

KINDS = "discrete", "naf", "actor_critic"  # the three agents
ENVS = {"discrete": "Walk-v0", "naf": "WalkFar-v0", "actor_critic": "WalkFar-v0"}


class Walk(gym.Env):
    """Two numbers: a place, drawn at reset, and the steps taken; beyond +-2 it ends."""

    def __init__(self, continuous=False, drift=0.0):
        self.observation_space = Box(-np.inf, np.inf, (2,))
        self.action_space = Box(-3.0, 1.0, (1,)) if continuous else Discrete(2)
        self.continuous, self.drift = continuous, drift

    def state(self):
        return np.array([self.place, self.steps], np.float32)

    def reset(self, seed=None, options=None):
        super().reset(seed=seed)
        self.place, self.steps = self.np_random.uniform(-1, 1), 0
        return self.state(), {}

    def step(self, action):
        assert self.action_space.contains(action), action
        push = float(action[0]) if self.continuous else 2 * int(action) - 1
        self.place += 0.4 * push + 0.1 * self.np_random.normal() + self.drift
        self.steps += 1
        return self.state(), self.place, abs(self.place) > 2, False, {}


class Told(gym.Wrapper):
    """Keeps the seeds of resets, and every transition that was truly made."""

    def __init__(self, env):
        super().__init__(env)
        self.seeds, self.true = [], []

    def reset(self, *, seed=None, options=None):
        self.seeds.append(seed)
        obs, info = super().reset(seed=seed, options=options)
        self.now = np.array(obs)
        return obs, info

    def step(self, action):
        before, action_before = self.now, np.array(action)
        obs, reward, ended, cut, info = super().step(action)
        self.now = np.array(obs)
        self.true.append((before, action_before, self.now, bool(ended), bool(cut),
                          float(np.ravel(reward)[0])))
        return obs, reward, ended, cut, info


if "Walk-v0" not in gym.registry:
    gym.register("Walk-v0", "tools:Walk", max_episode_steps=20)
    gym.register("WalkFar-v0", "tools:Walk", max_episode_steps=20,
                 kwargs={"continuous": True})


def walker(kind, seed=0):
    """A policy for Walk that draws its actions."""
    rng = np.random.default_rng(seed)
    if kind == "discrete":
        return lambda obs: rng.integers(0, 2)
    return lambda obs: rng.uniform(-1, 1, 1)


def diary(kind="discrete", episodes=4, seed=0):
    env = ENVS.get(kind, "WalkFar-v0")
    return iq.record(env, walker(kind, seed), episodes, seed)


def columns(demos):
    """What a diary's file holds, as a dictionary to spoil."""
    data = {name: getattr(demos, name).copy() for name in iq.COLUMNS}
    if isinstance(demos.action_space, Discrete):
        return data | {"n_actions": np.array(demos.action_space.n)}
    return data | {"action_low": demos.action_space.low.copy(),
                   "action_high": demos.action_space.high.copy()}


def config(kind="discrete", **changes):
    small = {"hidden": 8, "batch_size": 8, "gamma": 0.9, "steps": 10}
    if kind in KINDS[1:]:
        small["continuous"] = kind
    return iq.Config(**small | changes)


def weights(agent):
    """A copy of every weight, the slow copy's and the absorbing state's included."""
    return {name: x.detach().cpu().clone() for name, x in agent.state_dict().items()}


def same(a, b):
    """Whether two tables of arrays or tensors are equal bit for bit."""
    return a.keys() == b.keys() and all(
        a[k].dtype == b[k].dtype and np.array_equal(np.asarray(a[k]), np.asarray(b[k]))
        for k in a)


def alike(a, b):
    """Whether two diaries are equal bit for bit."""
    return a.action_space == b.action_space and same(a.columns, b.columns)


def listen(agent):
    """A list that will hold every batch, and is_expert, that the agent learns from."""
    heard, update = [], agent.update

    def listening(batch, is_expert):
        heard.append((batch, is_expert))
        return update(batch, is_expert)

    agent.update = listening
    return heard


def arguments(demos, rows=slice(None)):
    """What agent.reward takes."""
    return [x[rows] for x in (demos.observations, demos.actions,
                              demos.next_observations, demos.terminations)]


class Outputs(torch.nn.Module):
    """A network that gives the same numbers for every row."""

    def __init__(self, *numbers):
        super().__init__()
        self.numbers = torch.nn.Parameter(torch.tensor([float(x) for x in numbers]))

    def forward(self, obs, *action):
        return self.numbers.expand(len(obs), -1)


def forbid(*args, **kwargs):
    raise AssertionError("this was not to be called")
