"""Terminal states: value 0, or an absorbing state with a learned value.

append_absorbing is fixed against the absorbing state written out: one more row in the
table of Q, whose only action leads back to it.
"""
import math

import numpy as np
import pytest
import torch
from helpers import assert_near, random_table, seeds, temperatures
from hypothesis import given
from hypothesis import strategies as st

import iq

terms = st.fixed_dictionaries({
    "gamma": st.sampled_from([0.0, 0.5, 0.9]),
    "divergence": st.sampled_from(list(iq.DIVERGENCES)),
    "chi2_on": st.sampled_from(["expert", "mixture"]),
    "value_term": st.sampled_from([0, 0.3, 1, "initial"])})


@st.composite
def batches(draw):
    """A table Q (S, A), rows s, a, next_s of it, where they end, and whose they are."""
    rng, n = np.random.default_rng(draw(seeds)), draw(st.integers(2, 9))
    states, actions = draw(st.integers(1, 4)), draw(st.integers(1, 3))
    q = random_table(rng, states, actions)
    s, next_s = torch.tensor(rng.integers(states, size=(2, n)))
    a = torch.tensor(rng.integers(actions, size=n))
    ended, is_expert = torch.tensor(rng.random((2, n)) < 0.5)
    is_expert[0] = True
    return q, s, a, next_s, ended, is_expert


def written_out(q, absorbing):
    """The table with the absorbing state as its last row: (absorbing, no other action)."""
    alone = torch.full((1, q.shape[1] - 1), -math.inf, dtype=q.dtype)
    return torch.cat([q, torch.cat([absorbing.view(1, 1), alone], 1)])


def short_loss(q, absorbing, batch, tau, terms, fixed):
    s, a, next_s, ended, is_expert = batch
    v = iq.soft_value(q, tau)
    later = torch.where(ended, absorbing, v[next_s])
    later = later.detach() if fixed else later  # as a target network's are
    rows = iq.append_absorbing(q[s, a], v[s], later, is_expert, ended, absorbing)
    return iq.iq_loss(*rows, initial_value=v[s], **terms)


def long_loss(q, absorbing, batch, tau, terms, fixed):
    """No row ends: it leads to the absorbing state, where a row more goes round."""
    s, a, next_s, ended, is_expert = batch
    last = torch.full((int(ended.sum()),), len(q))
    table = written_out(q, absorbing)
    v = iq.soft_value(table, tau)
    later = v.detach() if fixed else v
    next_s = torch.cat([torch.where(ended, len(q), next_s), last])
    here, a = torch.cat([s, last]), torch.cat([a, 0 * last])
    is_expert = torch.cat([is_expert, is_expert[ended]])
    return iq.iq_loss(table[here, a], v[here], later[next_s], is_expert,
                      initial_value=v[s], **terms)


@given(batches(), temperatures, terms, st.floats(-5, 5), st.booleans())
def test_append_absorbing_is_the_absorbing_state_written_out(
        batch, tau, terms, absorbing, fixed):
    q, *rows = batch
    absorbing = torch.tensor(absorbing, dtype=q.dtype)
    inputs = q.requires_grad_(), absorbing.requires_grad_()
    losses = [f(*inputs, rows, tau, terms, fixed) for f in (short_loss, long_loss)]
    (short, parts), (long, expected) = losses
    for name in parts:
        assert_near(parts[name], expected[name])
    slopes = [torch.autograd.grad(x, inputs, allow_unused=True, materialize_grads=True)
              for x in (short, long)]
    assert_near(*slopes)


@given(batches())
def test_where_nothing_ends_it_appends_nothing(batch):
    q, s, a, _, ended, is_expert = batch
    rows = q[s, a], q[s, a] + 1, q[s, a] + 2, is_expert
    after = iq.append_absorbing(*rows, torch.zeros_like(ended), torch.tensor(7.0))
    assert all(map(torch.equal, rows, after))


# ------------------------------------------------------------- why it has to be learned

@pytest.mark.parametrize("c, absorbing, sign", [
    (1.0, 0.0, 1), (-1.0, 0.0, -1), (1.0, 10.0, 0), (-1.0, -10.0, 0)])
def test_with_a_value_of_0_living_pays_or_dying_does(c, absorbing, sign):
    """One state: go on, or end it. The same reward c for both."""
    q = torch.zeros(2, dtype=torch.float64)
    for _ in range(400):
        v = 0.01 * torch.logsumexp(q / 0.01, 0)
        q = iq.soft_bellman(c, torch.stack([v, torch.tensor(absorbing).double()]), 0.9)
    gain = (q[0] - q[1]).item()
    assert abs(gain) < 0.1 if sign == 0 else sign * gain > 0.8
