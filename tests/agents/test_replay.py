"""Replay: the learner's own transitions, drawn evenly beside the expert's."""
import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

import iq


def rows(first, last):
    """Transitions each field of which encodes its number."""
    i = torch.arange(first, last)
    obs = torch.stack([i, -i], 1)
    return iq.Batch(obs, i, obs + torch.tensor([0.5, 0]), i % 2 == 1)


def replay_of(expert, own):
    """The transitions 0 .. expert - 1, and a replay of as many own ones after them."""
    replay = iq.Replay()
    for i in range(expert, expert + own):
        replay.add(rows(i, i + 1))
    return replay, rows(0, expert)._replace(initial_obs=torch.tensor([[0, 0], [2, -2]]))


def encoded(batch):
    """The numbers of a batch's transitions, if their fields agree."""
    true = rows(0, 1000)
    for column, whole in zip(batch[:4], true):
        assert torch.equal(column, whole[batch.action])
    return batch.action.numpy().copy()


@given(expert=st.integers(1, 9), own=st.integers(0, 30), seed=st.integers(0, 2**32))
def test_a_sample_is_half_the_expert_s_and_half_the_learner_s_whole_rows(
        expert, own, seed):
    replay, batch = replay_of(expert, own)
    batch, is_expert = replay.sample(batch, 40, torch.Generator().manual_seed(seed))
    numbers = encoded(batch)
    assert len(numbers) == len(is_expert) == (80 if own else 40)
    assert is_expert.sum() == 40 and np.array_equal(is_expert, numbers < expert)
    assert numbers.max() < expert + own


def test_every_row_is_drawn_equally_often_and_first_states_come_along():
    replay, expert = replay_of(5, 3)
    batch, _ = replay.sample(expert, 50_000, torch.Generator().manual_seed(0))
    counts = torch.bincount(batch.action)
    assert (counts[:5] - 10_000).abs().max() < 500  # 5 sigma
    assert (counts[5:] - 16_667).abs().max() < 600
    assert batch.initial_obs.tolist() == [[0, 0], [2, -2]]


def test_a_sample_is_a_copy():
    replay, expert = replay_of(3, 0)
    replay.add(rows(7, 8))
    batch, _ = replay.sample(expert, 6, torch.Generator().manual_seed(0))
    before = encoded(batch)
    for column in batch[:3]:
        column += 1
    replay.add(rows(8, 9))
    replay.size -= 1  # the same draw as before
    again, _ = replay.sample(expert, 6, torch.Generator().manual_seed(0))
    assert np.array_equal(encoded(again), before)


def test_the_generator_alone_decides_what_is_drawn():
    (replay, expert), draws = replay_of(20, 30), []
    for disturbance in 0, 1:
        torch.manual_seed(disturbance)
        g = torch.Generator().manual_seed(3)
        state = torch.get_rng_state()
        draws.append([encoded(replay.sample(expert, 20, g)[0]).tolist()
                      for _ in range(2)])
        assert torch.equal(torch.get_rng_state(), state)
    assert draws[0] == draws[1] and draws[0][0] != draws[0][1]


@given(own=st.integers(1, 300))
def test_its_storage_grows_with_what_is_kept(own):
    replay, _ = replay_of(0, own)
    assert replay.size == own
    assert all(own <= len(x) <= 2 * own for x in replay.columns)
