"""E[V(s) - gamma V(s')] = (1 - gamma) E[V(s0)]: where it is exact, and where biased."""
import numpy as np
import torch
from helpers import assert_near, gammas, mdps, occupancy, random_table, seeds
from hypothesis import given
from hypothesis import strategies as st

import iq


def value_term(v, next_v, is_expert, gamma, blend):
    """The loss's value term; Q is no part of it."""
    q = torch.full_like(v, 7.0)
    return iq.iq_loss(q, v, next_v, is_expert, gamma, value_term=blend)[1]["value_term"]


@given(mdps())
def test_over_the_discounted_occupancy_of_any_policy_it_is_exact_for_any_v(mdp):
    v, mu = mdp.table()[:, 0], occupancy(mdp, mdp.policy(floor=0))
    drops = iq.inverse_bellman(v[:, None], mdp.expected(v), mdp.gamma)
    assert_near((mu * drops).sum(), (1 - mdp.gamma) * mdp.start @ v)


FIRST, ABSORBING = -1.5, 0.3  # V of the first state and of the absorbing one


@st.composite
def discounted(draw):
    """Rows v, next_v, terminated of an episode, weighted as for gamma = 1/2.

    Row t stands there 32 / 2^t times, and the last one so often as all that comes
    after the end weighs together: the rows that append_absorbing adds make it 64.
    """
    rng, length = np.random.default_rng(draw(seeds)), draw(st.integers(1, 6))
    v = random_table(rng, length + 1)
    v[0], v[-1] = FIRST, ABSORBING
    t = torch.arange(length)
    return [x.repeat_interleave(2 ** (5 - t)) for x in (v[:-1], v[1:], t == length - 1)]


@given(discounted(), discounted(), st.floats(0, 2))
def test_for_any_blend_of_expert_and_replay_it_is_the_value_where_episodes_start(
        expert, replay, blend):
    v, next_v, ended = (torch.cat(x) for x in zip(expert, replay))
    is_expert = torch.arange(len(v)) < len(expert[0])
    _, v, next_v, is_expert = iq.append_absorbing(
        v, v, next_v, is_expert, ended, torch.tensor(ABSORBING, dtype=v.dtype))
    assert len(v) == 128 and is_expert.sum() == 64
    expected = torch.tensor(0.5 * FIRST, dtype=v.dtype)
    assert_near(value_term(v, next_v, is_expert, 0.5, blend), expected)


@given(seeds, st.integers(2, 12), gammas, st.booleans())
def test_on_the_rows_of_one_episode_as_they_stand_it_is_biased(
        seed, length, gamma, ended):
    """Trap 4: they would have to be weighted by their discount."""
    v = random_table(np.random.default_rng(seed), length + 1)
    v[-1] *= not ended
    term = value_term(v[:-1], v[1:], torch.ones(length).bool(), gamma, 0)
    assert_near(term, (v[0] + (1 - gamma) * v[1:-1].sum() - gamma * v[-1]) / length)
