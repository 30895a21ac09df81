"""E[V(s) - gamma V(s')] = (1 - gamma) E[V(s0)]: where it is exact, and where biased."""
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from worlds import gammas, numbers, occupancy, seeds, worlds

import iq


def drop(world, v):
    """E_{s'}[V(s) - gamma V(s')] of every (s, a)."""
    return world.mean(iq.inverse_bellman(
        v[world.s], world.beyond(v)[world.next_s], world.ended, world.gamma))


@given(worlds())
def test_over_the_discounted_occupancy_of_any_policy_it_is_exact_for_any_v(world):
    v, mu = world.numbers(world.shape[0]), occupancy(world, world.policy(floor=0))
    torch.testing.assert_close(
        (mu * drop(world, v)).sum(), (1 - world.gamma) * world.start @ v)


@given(worlds(states=(2, 4), actions=(2, 4), gamma=st.sampled_from([0.3, 0.9])))
def test_over_rows_that_no_policy_would_bring_it_is_not(world):
    v = torch.arange(world.shape[0], dtype=torch.float64)
    rows = torch.zeros(world.shape, dtype=torch.float64)
    rows[-1, 0] = 1  # always in the last and best state, whatever leads there
    assert (rows * drop(world, v)).sum() > (1 - world.gamma) * world.start @ v + 1e-9


def value_term(v, ended, gamma, rows="expert", is_expert=None):
    """The loss's value term on the rows of one episode that visits v[0], v[1] ...

    v (T + 1,): the worth of its states, the last one included.
    """
    terminated = torch.zeros(len(v) - 1, dtype=torch.bool)
    terminated[-1] = ended
    is_expert = torch.ones_like(terminated) if is_expert is None else is_expert
    _, info = iq.iq_loss(v[:-1], v[:-1], v[1:], terminated, is_expert, gamma=gamma,
                         value_term=rows)
    return info["value_term"]


episodes = st.tuples(seeds, st.integers(1, 12)).map(
    lambda x: numbers(np.random.default_rng(x[0]), x[1] + 1))


@given(episodes, gammas)
def test_on_an_episode_cut_by_a_limit_uniform_rows_are_biased_as_trap_4_says(v, gamma):
    length = len(v) - 1
    biased = (v[0] + (1 - gamma) * v[1:-1].sum() - gamma * v[-1]) / length
    torch.testing.assert_close(value_term(v, False, gamma), biased)


@given(episodes, gammas)
def test_on_an_episode_that_ends_they_are_biased_without_its_last_term(v, gamma):
    length = len(v) - 1
    biased = (v[0] + (1 - gamma) * v[1:-1].sum()) / length
    torch.testing.assert_close(value_term(v, True, gamma), biased)


@given(episodes, gammas)
def test_weighted_by_their_discount_the_rows_of_an_episode_that_ends_are_exact(
        v, gamma):
    time = torch.arange(len(v) - 1)
    ended = time == len(v) - 2
    drops = iq.inverse_bellman(v[:-1], v[1:], ended, gamma)
    torch.testing.assert_close((gamma ** time.double() * drops).sum(), v[0])


@given(episodes, st.floats(0.0, 0.99), st.floats(-10, 10))
def test_a_constant_v_is_exact_on_any_rows_that_do_not_end(v, gamma, c):
    term = value_term(torch.full_like(v, c), False, gamma)
    assert term.item() == pytest.approx((1 - gamma) * c)


@given(episodes, episodes, gammas)
def test_over_a_mixture_it_is_the_mean_of_both_halves(v, other, gamma):
    rows = min(len(v), len(other)) - 1
    one, two = v[: rows + 1], other[: rows + 1]
    both = iq.iq_loss(
        torch.cat([one[:-1], two[:-1]]), torch.cat([one[:-1], two[:-1]]),
        torch.cat([one[1:], two[1:]]), torch.zeros(2 * rows, dtype=torch.bool),
        torch.arange(2 * rows) < rows, gamma=gamma, value_term="mixture")[1]
    halves = value_term(one, False, gamma), value_term(two, False, gamma)
    torch.testing.assert_close(both["value_term"], sum(halves) / 2)
