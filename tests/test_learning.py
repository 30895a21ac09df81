"""Learning happens: short runs beat chance, and a diary of nonsense teaches nothing.

In CartPole a pole is kept upright (discrete actions). In Chase one slides along a line
after a wandering point (continuous ones, not centred on 0).
"""
from dataclasses import replace
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
    return np.clip(4.5 * (obs[:, 1:] - obs[:, :1]) - 0.5, -2, 1)


gym.register("Chase-v0", Chase, max_episode_steps=30)
ENV = {"discrete": "CartPole-v1", "continuous": "Chase-v0"}
EPISODES = {"discrete": 1, "continuous": 10}  # in the diary
CONFIG = {
    "discrete": iq.Config(
        gamma=0.99, temperature=1.0, divergence="chi2", chi2_alpha=0.5,
        chi2_on="expert", value_term="expert", absorbing=False, critic_lr=3e-3,
        target_rate=1.0, grad_clip=10.0, hidden=32, batch_size=64, steps=400, seed=0,
        replay_size=10_000, log_every=400, device="cpu"),
    "continuous": iq.Config(
        gamma=0.9, temperature=0.1, divergence="chi2", chi2_alpha=0.5,
        chi2_on="mixture", value_term="initial", absorbing=False, critic_lr=3e-3,
        actor_lr=3e-3, target_rate=0.05, grad_clip=10.0, hidden=32, batch_size=64,
        steps=700, seed=0, replay_size=10_000, log_every=700, device="cpu")}
HUNTS, FRESH = 30, 10**6
every = pytest.mark.parametrize("kind", ENV)
both = pytest.mark.parametrize("mode", ["offline", "online"])


@cache
def diary(kind):
    elder = iq.elder("CartPole-v1", seed=0) if kind == "discrete" else chaser
    return iq.record(ENV[kind], elder, EPISODES[kind], seed=0)


def shuffled(demos):
    """The same states and the same actions, but which belongs to which is lost."""
    order = np.random.default_rng(0).permutation(len(demos))
    return replace(demos, actions=demos.actions[order])


@cache
def returns(kind, who):
    """Of HUNTS episodes that no diary and no learner has seen."""
    if who == "expert":
        elder = iq.elder("CartPole-v1", seed=1) if kind == "discrete" else chaser
        return iq.record(ENV[kind], elder, HUNTS, FRESH).returns()
    if who == "random":
        space = diary(kind).action_space
        space.seed(0)
        return iq.record(ENV[kind], lambda obs: np.stack([
            space.sample() for _ in obs]), HUNTS, FRESH).returns()
    mode, told = who.split()
    demos = diary(kind) if told == "true" else shuffled(diary(kind))
    config = CONFIG[kind]
    if mode == "offline":
        config = replace(config, chi2_on="expert", value_term="expert")
    agent = iq.learn(demos, ENV[kind] if mode == "online" else None, config)
    return iq.evaluate(agent, ENV[kind], HUNTS, FRESH)


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
def test_a_short_run_beats_chance(kind, mode):
    assert chance(returns(kind, f"{mode} true"), returns(kind, "random")) < 0.001


@every
@both
def test_and_comes_more_than_half_the_way_from_chance_to_the_expert(kind, mode):
    low, high = returns(kind, "random").mean(), returns(kind, "expert").mean()
    assert (returns(kind, f"{mode} true").mean() - low) / (high - low) > 0.5


@every
@both
def test_with_the_actions_of_its_diary_shuffled_it_does_not_come_to_the_expert(
        kind, mode):
    nonsense = returns(kind, f"{mode} shuffled")
    assert chance(returns(kind, "expert"), nonsense) < 0.001
    assert chance(returns(kind, f"{mode} true"), nonsense) < 0.01


def test_the_permutation_test_itself_sees_no_difference_where_there_is_none():
    rng = np.random.default_rng(0)
    p = [chance(*rng.normal(size=(2, 30)), draws=200) for _ in range(200)]
    assert 0.01 < np.mean(np.array(p) < 0.05) < 0.1
    assert chance(rng.normal(size=30) + 1.5, rng.normal(size=30)) < 0.001
