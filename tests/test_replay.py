"""Replay: transitions in tensors allocated once, the newest in place of the oldest."""
import hypothesis.strategies as st
import torch
from hypothesis import given

import iq


def empty(size):
    whole = torch.zeros(size, dtype=torch.int64)
    rows = iq.Batch(torch.zeros(size, 2), whole, torch.zeros(size, 2), whole.bool())
    return iq.Replay(rows, 0)


def row(i):
    """The i-th transition, each field of which tells i."""
    return [i, -i], i, [i + 0.5, -i], i % 2 == 1


def fill(replay, n, first=1):
    for i in range(first, first + n):
        replay.add(*row(i))
    return replay


def told(batch):
    """The number that each row of a batch tells, if its fields agree on one."""
    i = batch.action
    expected = [row(int(k)) for k in i]
    for column, values in zip(batch, zip(*expected, strict=True), strict=True):
        assert torch.equal(column, torch.tensor(values, dtype=column.dtype))
    return i.tolist()


@given(size=st.integers(1, 9), n=st.integers(1, 30), seed=st.integers(0, 2**32))
def test_a_sample_never_mixes_fields_of_different_rows(size, n, seed):
    replay = fill(empty(size), n)
    batch = replay.sample(40, torch.Generator().manual_seed(seed))
    assert set(told(batch)) <= set(range(max(1, n - size + 1), n + 1))


@given(size=st.integers(1, 9), n=st.integers(1, 30))
def test_it_holds_the_newest_rows_and_no_others(size, n):
    replay = fill(empty(size), n)
    assert len(replay) == min(n, size) and replay.count == n
    held = told(iq.Batch(*(x[: len(replay)] for x in replay.rows)))
    assert sorted(held) == list(range(max(1, n - size + 1), n + 1))


def test_memory_is_allocated_once():
    replay = empty(5)
    before = [x.data_ptr() for x in replay.rows]
    fill(replay, 23)
    replay.sample(100, torch.Generator().manual_seed(0))
    assert [x.data_ptr() for x in replay.rows] == before
    assert all(len(x) == 5 for x in replay.rows)


def test_a_sample_is_a_copy_that_later_rows_do_not_touch():
    replay = fill(empty(3), 3)
    batch = replay.sample(6, torch.Generator().manual_seed(0))
    before = told(batch)
    fill(replay, 3, first=100)
    assert told(batch) == before


def test_every_row_held_is_drawn_equally_often():
    replay = fill(empty(8), 5)
    drawn = replay.sample(50_000, torch.Generator().manual_seed(0)).action
    counts = torch.bincount(drawn, minlength=6)[1:]
    assert counts.sum() == 50_000 and (counts - 10_000).abs().max() < 500  # 5 sigma


def test_the_generator_alone_decides_what_is_drawn():
    replay = fill(empty(50), 50)
    draws = []
    for disturbance in 0, 1:
        torch.manual_seed(disturbance)
        g = torch.Generator().manual_seed(3)
        state = torch.get_rng_state()
        draws.append(told(replay.sample(20, g)) + told(replay.sample(20, g)))
        assert torch.equal(torch.get_rng_state(), state)
    assert draws[0] == draws[1] and draws[0][:20] != draws[0][20:]


def test_the_rows_of_a_diary_can_be_sampled_as_they_are():
    full = fill(empty(7), 7)
    diary = iq.Replay(full.rows, 7)
    assert set(told(diary.sample(200, torch.Generator().manual_seed(0)))) == {
        1, 2, 3, 4, 5, 6, 7}
