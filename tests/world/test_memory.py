"""Memory: nothing is kept that is not needed, and images are kept as bytes."""
import os
import subprocess
import sys
import tracemalloc
from pathlib import Path

import gymnasium as gym
import numpy as np
import torch
from gymnasium.spaces import Box, Discrete
from helpers import make_config, make_demos
from torch import nn

import iq

ROOT = Path(iq.__file__).parent


class Frames(gym.Env):
    """Images of 84 x 84 x 4 bytes, for 1000 steps."""

    observation_space = Box(0, 255, (84, 84, 4), np.uint8)
    action_space = Discrete(2)

    def reset(self, seed=None, options=None):
        super().reset(seed=seed)
        self.steps = 0
        return np.zeros((84, 84, 4), np.uint8), {}

    def step(self, action):
        self.steps += 1
        frame = np.full((84, 84, 4), self.steps % 256, np.uint8)
        return frame, 1.0, False, self.steps == 1000, {}


class Mean(nn.Linear):
    """A few weights for images of any size."""

    def __init__(self):
        super().__init__(1, 2)

    def forward(self, image):
        return super().forward(image.flatten(1).mean(1, keepdim=True))


def image_agent(**changes):
    return iq.SoftQ(np.zeros((84, 84, 4), np.uint8), Discrete(2),
                    make_config(**changes), critic=Mean())


def test_evaluate_keeps_no_observations():
    """Of 1000 frames, 28 MB, a few are there at a time."""
    agent = image_agent()
    tracemalloc.start()
    try:
        env = gym.wrappers.TimeLimit(Frames(), 1000)
        assert iq.evaluate(agent, env, 1, seed=0) == 1000
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 20 * 84 * 84 * 4, f"{peak:,} bytes"


OFFLINE = """if True:
    import resource, numpy as np, torch, iq
    from test_memory import Mean
    from gymnasium.spaces import Discrete

    def demos(n):
        obs = np.zeros((n, 84, 84, 4), np.uint8) + np.arange(n, dtype=np.uint8)[
            :, None, None, None]
        ends = np.arange(n) == n - 1
        return iq.Demos(Discrete(2), obs, np.arange(n) % 2, obs + 1, ends, ends & False)

    def learn(demos):
        agent = iq.new_agent(demos, iq.Config(steps=3, batch_size=8), critic=Mean())
        iq.learn(demos, agent=agent)

    def peak():
        return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    learn(demos(120))  # what torch and numpy take in any case
    large = demos(1500)
    before = peak()
    learn(large)
    size = large.observations.nbytes + large.next_observations.nbytes
    print((peak() - before) / size)
"""


def test_offline_image_demonstrations_of_bytes_cost_half_their_size_at_most():
    """On top of themselves, in new_agent and learn, in a process of its own."""
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests"), str(Path(__file__).parent)])
    done = subprocess.run([sys.executable, "-c", OFFLINE], text=True,
                          capture_output=True, env=os.environ | {"PYTHONPATH": path})
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) <= 0.5, done.stdout


def test_online_the_replay_grows_by_what_is_stepped_and_keeps_bytes():
    """Not by the steps that are planned, and not before the first."""
    def few(step, info):
        if step == 20:
            raise StopIteration

    frames = np.zeros((3, 84, 84, 4), np.uint8)
    demos = iq.Demos.from_episodes([frames], [[0, 1]], [False], Discrete(2))
    agent = image_agent(steps=10**9)
    assert not agent.replay.columns
    iq.learn(demos, Frames(), callback=few, agent=agent)
    assert agent.replay.size == 20
    assert sum(x.nbytes for x in agent.replay.columns) <= 2 * 20 * 2 * 84 * 84 * 4.1
    assert agent.replay.columns[0].dtype == torch.uint8
    agent = iq.learn(make_demos(), "Walk-v0", make_config(steps=10**9), few)
    assert {x.dtype for x in agent.replay.columns} == {
        torch.float32, torch.int64, torch.bool}
    assert all(len(x) <= 40 for x in agent.replay.columns)
