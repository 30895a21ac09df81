"""Learning happens: short runs beat chance, and shuffled actions teach nothing.

In CartPole a pole is kept upright (discrete actions). In Chase one slides along a line
after a wandering point (continuous ones, not centred on 0). All by the default Config
but for its length, and for the agent.
"""
from functools import cache

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.spaces import Box

import iq


class Chase(gym.Env):
    """Own place and the point's; the reward is minus the distance."""

    observation_space = Box(-20.0, 20.0, (2,))
    action_space = Box(-2.0, 1.0, (1,))

    def reset(self, seed=None, options=None):
        super().reset(seed=seed)
        self.places = self.np_random.uniform(-2, 2, 2)
        return self.places.astype(np.float32), {}

    def step(self, action):
        self.places += 0.2 * action[0] + 0.1, 0.05 * self.np_random.normal()
        distance = abs(self.places[0] - self.places[1])
        return self.places.astype(np.float32), -distance, False, False, {}


def chaser(obs):
    return 4.5 * (obs[1:] - obs[:1]) - 0.5  # clipped to the box


if "Chase-v0" not in gym.registry:
    gym.register("Chase-v0", Chase, max_episode_steps=30)
TASK = {"discrete": ("CartPole-v1", 1, 400), "naf": ("Chase-v0", 10, 200),
        "actor_critic": ("Chase-v0", 10, 800)}  # demonstrations, updates
EPISODES, FRESH = 12, 10**6
every = pytest.mark.parametrize("kind", TASK)
both = pytest.mark.parametrize("mode", ["offline", "online"])


@cache
def expert_demos(kind, episodes=None, seed=0):
    env, own, _ = TASK[kind]
    policy = chaser if env == "Chase-v0" else iq.scripted_expert(env)
    return iq.record(env, policy, episodes or own, seed)


def shuffled(demos):
    """The same states and the same actions, but which belongs to which is lost."""
    order = np.random.default_rng(0).permutation(len(demos))
    return iq.Demos(demos.action_space, **demos.columns | {
        "actions": demos.actions[order]})


@cache
def returns(kind, who):
    """Of EPISODES episodes that no expert and no learner has seen."""
    env, _, steps = TASK[kind]
    if who == "expert":
        return expert_demos(kind, EPISODES, FRESH).returns()
    if who == "random":
        space = expert_demos(kind).action_space
        space.seed(0)
        return iq.record(env, lambda obs: space.sample(), EPISODES, FRESH).returns()
    mode, order = who.split()
    demos = expert_demos(kind) if order == "true" else shuffled(expert_demos(kind))
    choice = {} if kind == "discrete" else {"continuous": kind}
    agent = iq.learn(demos, env if mode == "online" else None,
                     iq.Config(steps=steps, **choice))
    return iq.evaluate(agent, env, EPISODES, FRESH)


def chance(better, worse, draws=2000):
    """How often a split at random of all returns is as far apart: permutation test."""
    rng, both = np.random.default_rng(0), np.concatenate([better, worse])
    splits = rng.permuted(np.tile(both, (draws, 1)), axis=1)
    gaps = (splits[:, : len(better)].mean(1) - splits[:, len(better) :].mean(1))
    seen = better.mean() - worse.mean()
    return (1 + (gaps >= seen - 1e-9).sum()) / (1 + draws)


@every
def test_the_expert_beats_chance_or_there_is_nothing_to_learn(kind):
    assert chance(returns(kind, "expert"), returns(kind, "random")) < 0.001


@every
@both
def test_a_short_run_beats_chance_and_comes_more_than_half_the_way_to_the_expert(
        kind, mode):
    random, expert = returns(kind, "random"), returns(kind, "expert")
    learned = returns(kind, f"{mode} true")
    assert chance(learned, random) < 0.001
    share = (learned.mean() - random.mean()) / (expert.mean() - random.mean())
    assert share > 0.5


@every
def test_with_the_actions_of_the_expert_shuffled_it_does_not_come_to_the_expert(kind):
    nonsense = returns(kind, "offline shuffled")
    assert chance(returns(kind, "expert"), nonsense) < 0.001
    assert chance(returns(kind, "offline true"), nonsense) < 0.01


@pytest.mark.parametrize("unit", [(1e-4, 1e4), (1e4, 1e-4)])
def test_sensors_of_other_units_are_learned_as_well(unit):
    """And one that is constant. Unscaled, a unit of 1e4 saturates every hidden one."""
    def see(obs):
        return np.append(obs * np.float32(unit), np.float32(700))

    env = gym.wrappers.TransformObservation(
        gym.make("Chase-v0"), see, Box(-np.inf, np.inf, (3,)))
    demos = expert_demos("naf")
    wide = iq.Demos(demos.action_space, **demos.columns | {
        name: np.stack([*map(see, demos.columns[name])])
        for name in ("observations", "next_observations")})
    agent = iq.learn(wide, config=iq.Config(steps=3 * TASK["naf"][2]))
    learned = iq.evaluate(agent, env, EPISODES, FRESH)
    random, expert = returns("naf", "random"), returns("naf", "expert")
    share = (learned.mean() - random.mean()) / (expert.mean() - random.mean())
    assert share > 0.5
