"""from_minari and to_minari on Minari itself."""

import gymnasium as gym
import numpy as np
import pytest
import readers
from truth import corridor, library, mixed, same, truth

import iq

minari = library("minari")
library("PIL")


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))


def collect(env, steps, break_off_at=()):
    """Random steps through Minari's collector; a reset may break an episode off."""
    collector = minari.DataCollector(env)
    collector.action_space.seed(0)
    collector.reset(seed=0)
    for step in range(steps):
        ends = collector.step(collector.action_space.sample())[2:4]
        if any(ends) or step in break_off_at:
            collector.reset()
    return collector.create_dataset("here/made-v0")


@pytest.mark.parametrize("discrete", [True, False])
def test_ends_cuts_and_what_was_broken_off(discrete):
    env = corridor(discrete)
    dataset = collect(env, 120, break_off_at=(31, 77))
    same(readers.from_minari(minari.load_dataset("here/made-v0")), truth(env))
    same(readers.from_minari(dataset), truth(env))
    assert mixed(truth(env))


def test_one_step_episodes():
    env = corridor(first=2.0)
    dataset = collect(env, 40)
    assert (np.diff(np.flatnonzero(truth(env).starts)) == 1).any()
    same(readers.from_minari(dataset), truth(env))


@pytest.mark.parametrize("discrete", [True, False])
def test_there_and_back(discrete):
    env = corridor(discrete)
    env.action_space.seed(0)
    demos = iq.record(env, lambda obs: env.action_space.sample(), 12, seed=0)
    made = readers.to_minari(demos, "mine/corridor-v0")
    for dataset in (made, minari.load_dataset("mine/corridor-v0")):
        again = readers.from_minari(dataset)
        same(again, demos, tolerance=0)
        assert again.action_space == demos.action_space
        assert again.actions.dtype == demos.actions.dtype
    assert mixed(demos)


def test_an_environment_is_kept_beside_the_data():
    demos = iq.record("CartPole-v1", lambda obs: 0, 3, seed=0)
    readers.to_minari(demos, "mine/cartpole-v0", env="CartPole-v1")
    env = minari.load_dataset("mine/cartpole-v0").recover_environment()
    assert env.spec.id == "CartPole-v1"


def test_images_there_and_back_are_whole_and_recorded_ones_are_jpeg():
    class Noise(gym.ObservationWrapper):
        observation_space = gym.spaces.Box(0, 255, (32, 32, 3), np.uint8)

        def observation(self, obs):
            return self.np_random.integers(0, 256, (32, 32, 3)).astype(np.uint8)

    env = corridor()
    env.env = Noise(env.env)
    env.action_space.seed(0)
    demos = iq.record(env, lambda obs: env.action_space.sample(), 4, seed=0)
    again = readers.from_minari(readers.to_minari(demos, "mine/noise-v0"))
    same(again, demos, tolerance=0)
    env.episodes.clear()
    lossy = readers.from_minari(collect(env, 30))
    whole = truth(env)
    assert lossy.observations.dtype == np.uint8
    error = np.abs(np.float64(lossy.observations) - whole.observations)
    assert error.mean() > 5  # of 255: this trap is Minari's, and is in the docstring


def test_a_dict_asks_for_its_keys():
    class Parts(gym.ObservationWrapper):
        observation_space = gym.spaces.Dict({
            "place": gym.spaces.Box(-10, 10, (1,), np.float32),
            "clock": gym.spaces.Box(-10, 10, (1,), np.float32)})

        def observation(self, obs):
            return {"place": obs[:1], "clock": obs[1:]}

    inside = corridor()
    dataset = collect(Parts(inside), 60)
    with pytest.raises(ValueError, match=r"dict of \['clock', 'place'\].*keys="):
        readers.from_minari(dataset)
    with pytest.raises(ValueError, match="'speed'"):
        readers.from_minari(dataset, keys=["place", "speed"])
    same(readers.from_minari(dataset, keys=["place", "clock"]), truth(inside))
    alone = readers.from_minari(dataset, keys=["clock"])
    assert np.array_equal(alone.observations, truth(inside).observations[:, 1:])
    flat = gym.wrappers.FlattenObservation(Parts(corridor())).reset(seed=0)[0]
    assert np.array_equal(flat, Parts(corridor()).env.reset(seed=0)[0][::-1])


def test_what_minari_cannot_keep_is_refused():
    demos = iq.record("CartPole-v1", lambda obs: 0, 3, seed=0)
    with pytest.raises(ValueError, match="before subsample"):
        readers.to_minari(demos.subsample(2), "mine/rows-v0")
    silent = iq.Demos.from_episodes([np.zeros((3, 2))], [np.zeros(2, int)], [True],
                                    demos.action_space)
    with pytest.raises(ValueError, match="rewards"):
        readers.to_minari(silent, "mine/silent-v0")
