"""from_d3rlpy on d3rlpy itself."""

import numpy as np
import pytest
import readers
from truth import corridor, cut_short, library, mixed, same, truth

d3rlpy = library("d3rlpy")


def arrays(witness, last_is_timeout):
    """The flat arrays that MDPDataset asks for."""
    t = truth(witness)
    timeouts = t.truncations.copy()
    timeouts[-1] &= last_is_timeout
    return {"observations": t.observations, "actions": t.actions, "rewards": t.rewards,
            "terminals": np.float32(t.terminations), "timeouts": np.float32(timeouts)}


def play(witness, steps):
    rng = np.random.default_rng(0)
    witness.reset(seed=0)
    space = witness.action_space
    for _ in range(steps):
        action = rng.integers(space.n) if hasattr(space, "n") else rng.uniform(
            space.low, space.high).astype(np.float32)
        if any(witness.step(action)[2:4]):
            witness.reset()


@pytest.mark.parametrize("discrete", [True, False])
def test_mdp_dataset(discrete):
    witness = corridor(discrete)
    play(witness, 103)
    expected = truth(witness)
    assert mixed(expected)
    assert not expected.terminations[-1] and len(witness.episodes[-1]["actions"]) < 6
    dataset = d3rlpy.dataset.MDPDataset(**arrays(witness, last_is_timeout=True))
    got = readers.from_d3rlpy(dataset.episodes, witness.action_space)
    same(got, cut_short(expected), next_at_ends=False)
    # without it, d3rlpy has dropped the unfinished last episode
    dataset = d3rlpy.dataset.MDPDataset(**arrays(witness, last_is_timeout=False))
    got = readers.from_d3rlpy(dataset.episodes, witness.action_space)
    whole = expected.take(expected.starts.sum() - 1)
    same(got, cut_short(whole), next_at_ends=False)


def test_after_an_end_the_last_observation_stands_twice():
    witness = corridor()
    play(witness, 60)
    dataset = d3rlpy.dataset.MDPDataset(**arrays(witness, True))
    got = readers.from_d3rlpy(dataset.episodes, witness.action_space)
    ends = got.terminations
    assert np.array_equal(got.next_observations[ends], got.observations[ends])


@pytest.mark.parametrize("discrete", [True, False])
def test_what_its_own_collector_fills(discrete):
    witness = corridor(discrete)
    algos = d3rlpy.algos
    config = algos.DiscreteRandomPolicyConfig if discrete else algos.RandomPolicyConfig
    d3rlpy.seed(0)
    witness.reset(seed=0)
    policy = config().create()
    buffer = d3rlpy.dataset.create_infinite_replay_buffer(env=witness)
    policy.build_with_env(witness)
    policy.collect(witness, buffer, n_steps=150, show_progress=False)
    expected = truth(witness)
    ends = expected.terminations | expected.truncations
    finished = int(expected.starts.sum()) - 1  # the last may have been broken off
    got = readers.from_d3rlpy(buffer.episodes[:finished], witness.action_space)
    same(got, cut_short(expected.take(finished)), next_at_ends=False, tolerance=1e-5)
    assert ends.sum() > 10


def test_pictures_of_several_parts_ask():
    obs = (np.zeros((5, 2), np.float32), np.zeros((5, 3), np.float32))
    episode = d3rlpy.dataset.Episode(obs, np.zeros((5, 1)), np.zeros((5, 1)), True)
    with pytest.raises(ValueError):
        readers.from_d3rlpy([episode], corridor().action_space)
