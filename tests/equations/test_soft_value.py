"""The soft value V(s) = tau log sum_a exp(Q(s,a) / tau) and its policy."""
import math

import numpy as np
import pytest
import torch
from helpers import assert_near, random_table, seeds, temperatures
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import logsumexp

import iq

sizes = st.tuples(st.integers(1, 5), st.integers(1, 6))  # states, actions


@st.composite
def tables(draw, scales=(0.1, 1.0, 30.0, 1e4)):
    """Q (B, A) in float64."""
    scale = draw(st.sampled_from(scales))
    return random_table(np.random.default_rng(draw(seeds)), *draw(sizes), scale=scale)


moderate = tables(scales=[1.0])


@given(tables(), temperatures, st.sampled_from([torch.float32, torch.float64]))
def test_value_and_policy_are_exact_however_large_Q_is(q, tau, dtype):
    q = q.to(dtype)
    places = 1e-12 if dtype == torch.float64 else 2e-6
    exact = tau * logsumexp(q.double().numpy() / tau, axis=1)
    v, log_pi = iq.soft_value(q, tau), iq.soft_policy(q, tau)
    np.testing.assert_allclose(v, exact, rtol=places, atol=places)
    gap = (q.double().numpy() - exact[:, None]) / tau
    np.testing.assert_allclose(log_pi, gap, rtol=5 * places, atol=1e-5)
    assert_near(log_pi.exp().sum(1), torch.ones(len(q), dtype=dtype), 1e-5)


@given(moderate)
def test_it_goes_from_the_maximum_to_the_mean_plus_tau_log_A_as_tau_grows(q):
    assert_near(iq.soft_value(q, 1e-6), q.max(1).values, 1e-5)
    assert_near(iq.soft_value(q, 1e6) - 1e6 * math.log(q.shape[1]), q.mean(1), 1e-4)


@given(moderate, temperatures, seeds)
def test_no_policy_does_better_and_any_other_lacks_tau_times_its_KL(q, tau, seed):
    rng = np.random.default_rng(seed)
    pi = torch.tensor(rng.dirichlet(np.ones(q.shape[1]), len(q)))
    soft = iq.soft_policy(q, tau)
    entropy = -torch.special.xlogy(pi, pi).sum(1)
    lack = iq.soft_value(q, tau) - (pi * q).sum(1) - tau * entropy
    kl = (torch.special.xlogy(pi, pi) - pi * soft).sum(1)
    assert (lack > -1e-9).all()
    assert_near(lack, tau * kl, 1e-7)
    assert_near((soft.exp() * (q - tau * soft)).sum(1), iq.soft_value(q, tau))


@given(moderate, temperatures)
def test_its_gradient_is_the_soft_policy(q, tau):
    q.requires_grad_()
    slope, = torch.autograd.grad(iq.soft_value(q, tau).sum(), q)
    assert_near(slope, iq.soft_policy(q, tau).exp())


@given(tables(), temperatures, st.floats(-1e3, 1e3))
def test_a_number_on_every_action_adds_to_the_value_and_the_policy_minds_it_not(
        q, tau, c):
    assert_near(iq.soft_value(q + c, tau), iq.soft_value(q, tau) + c)
    assert_near(iq.soft_policy(q + c, tau), iq.soft_policy(q, tau), 1e-7)


@given(st.floats(8200, 16000, width=32), st.booleans())
def test_two_large_q_that_are_neighbours_in_single_precision_are_told_apart(x, below):
    x = -x if below else x
    q = torch.tensor([[x, x + 2**-10]])  # one rounding step away
    log_pi = iq.soft_policy(q, 2**-10)[0]
    assert (log_pi[1] - log_pi[0]).item() == pytest.approx(1, abs=1e-6)
    assert iq.soft_value(q, 2**-10) >= q.max()


@given(tables(), temperatures, seeds)
def test_an_action_at_minus_infinity_is_no_action(q, tau, seed):
    rng = np.random.default_rng(seed)
    there = torch.tensor(rng.random(q.shape[1]) < 0.5)
    there[rng.integers(q.shape[1])] = True  # one is left
    masked = q.masked_fill(~there, -math.inf).requires_grad_()
    v, log_pi = iq.soft_value(masked, tau), iq.soft_policy(masked, tau)
    assert_near(v, iq.soft_value(q[:, there], tau))
    assert_near(log_pi[:, there], iq.soft_policy(q[:, there], tau))
    slope, = torch.autograd.grad(v.sum(), masked)
    assert (slope[:, ~there] == 0).all() and (log_pi[:, ~there] == -math.inf).all()


@given(tables(), temperatures)
def test_actions_are_along_the_last_axis_however_many_axes_are_before_it(q, tau):
    stack = torch.stack([q, q + 1])  # (2, B, A)
    for f in iq.soft_value, iq.soft_policy:
        assert_near(f(stack, tau)[0], f(q, tau))
        assert_near(f(q[0], tau), f(q, tau)[0])
