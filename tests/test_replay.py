"""Replay: the diary's rows and, behind them, the learner's own, drawn evenly."""
import hypothesis.strategies as st
import numpy as np
import torch
from hypothesis import given

import iq


def row(i):
    """The i-th transition, each field of which tells i."""
    return iq.Batch(*(torch.tensor(x) for x in ([i, -i], i, [i + 0.5, -i], i % 2 == 1)))


def table(count):
    """The first rows, as a Batch."""
    return iq.Batch(*(torch.stack(x) for x in [*zip(*map(row, range(count)))][:4]))


def replay_of(diary, own, starts=(0,), room=40):
    """Rows 0 .. diary of the expert, and as many own ones after them."""
    replay = iq.Replay(table(diary), np.isin(np.arange(diary), starts), room)
    for i in range(diary, diary + own):
        replay.add(row(i))
    return replay


def told(batch):
    """The number that each row of a batch tells, if its fields agree on one."""
    numbers = [int(i) for i in batch.action]
    for column, true in zip(batch[:4], zip(*map(row, numbers))):
        assert torch.equal(column, torch.stack(true))
    return numbers


@given(diary=st.integers(1, 9), own=st.integers(0, 30), seed=st.integers(0, 2**32))
def test_a_sample_is_half_the_diary_s_and_half_the_learner_s_whole_rows(
        diary, own, seed):
    replay = replay_of(diary, own)
    batch, is_expert = replay.sample(40, torch.Generator().manual_seed(seed))
    numbers = np.array(told(batch))
    assert len(numbers) == len(is_expert) == (80 if own else 40)
    assert is_expert.sum() == 40 and np.array_equal(is_expert, numbers < diary)
    assert numbers.max() < diary + own


def test_every_row_is_drawn_equally_often_and_first_states_come_along():
    replay = replay_of(5, 3, starts=(0, 2))
    batch, _ = replay.sample(50_000, torch.Generator().manual_seed(0))
    counts = torch.bincount(batch.action)
    assert (counts[:5] - 10_000).abs().max() < 500  # 5 sigma
    assert (counts[5:] - 16_667).abs().max() < 600
    assert batch.initial_obs.tolist() == [[0, 0], [2, -2]]


def test_a_sample_is_a_copy_that_later_rows_and_the_diary_s_owner_do_not_touch():
    rows = table(3)
    replay = iq.Replay(rows, np.array([True, False, False]), 9)
    batch, _ = replay.sample(6, torch.Generator().manual_seed(0))
    before = told(batch)
    for x in (*rows[:4], *batch[:1]):
        x += 1 if x.dtype != torch.bool else False
    replay.add(row(7))
    again, _ = replay.sample(6, torch.Generator().manual_seed(0))
    assert [i for i in told(again) if i < 3] == before


def test_the_generator_alone_decides_what_is_drawn():
    replay, draws = replay_of(20, 30), []
    for disturbance in 0, 1:
        torch.manual_seed(disturbance)
        g = torch.Generator().manual_seed(3)
        state = torch.get_rng_state()
        draws.append([told(replay.sample(20, g)[0]) for _ in range(2)])
        assert torch.equal(torch.get_rng_state(), state)
    assert draws[0] == draws[1] and draws[0][0] != draws[0][1]
