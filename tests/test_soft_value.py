"""The soft value V(s) = tau log sum_a exp(Q(s,a) / tau) and its policy."""
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import logsumexp
from worlds import chances, numbers, seeds, temperatures

import iq

sizes = st.tuples(st.integers(1, 5), st.integers(1, 6))  # states, actions


scales = st.sampled_from([0.1, 1.0, 30.0, 1e4])


@st.composite
def tables(draw, scale=scales):
    """Q (B, A) in float64."""
    return numbers(np.random.default_rng(draw(seeds)), *draw(sizes), scale=draw(scale))


@given(tables(), temperatures)
def test_it_is_tau_log_sum_exp(q, tau):
    expected = tau * logsumexp(q.numpy() / tau, axis=1)
    np.testing.assert_allclose(iq.soft_value(q, tau), expected, rtol=1e-12, atol=1e-12)


@given(tables(), temperatures)
def test_it_lies_between_the_best_and_the_best_plus_tau_log_A(q, tau):
    v, best = iq.soft_value(q, tau), q.max(1).values
    slack = 1e-12 * (1 + q.abs().max())
    assert (best <= v + slack).all()
    assert (v <= best + tau * math.log(q.shape[1]) + slack).all()


@given(st.floats(-1e4, 1e4), st.integers(1, 9), temperatures)
def test_of_equal_actions_it_is_exactly_the_upper_bound(x, n, tau):
    q = torch.full((1, n), x, dtype=torch.float64)
    assert iq.soft_value(q, tau).item() == pytest.approx(x + tau * math.log(n))


@given(tables(), temperatures, st.floats(-1e3, 1e3))
def test_adding_a_number_to_every_action_adds_it_to_the_value(q, tau, c):
    v, moved = iq.soft_value(q, tau), iq.soft_value(q + c, tau)
    torch.testing.assert_close(moved, v + c, rtol=1e-12, atol=1e-9)


@given(tables(), temperatures, st.floats(0.1, 10))
def test_scaling_Q_and_tau_together_scales_the_value(q, tau, k):
    torch.testing.assert_close(
        iq.soft_value(k * q, k * tau), k * iq.soft_value(q, tau), rtol=1e-9, atol=1e-9)


@given(tables(st.just(1.0)), temperatures)
def test_it_is_the_policy_s_mean_of_Q_plus_tau_times_its_entropy(q, tau):
    log_pi = iq.soft_policy(q, tau)
    pi = log_pi.exp()
    mean, entropy = (pi * q).sum(1), -(pi * log_pi).sum(1)
    torch.testing.assert_close(iq.soft_value(q, tau), mean + tau * entropy)


@given(tables(st.just(1.0)), temperatures, seeds)
def test_no_other_policy_does_better_and_it_lacks_tau_times_the_KL(q, tau, seed):
    pi = chances(np.random.default_rng(seed), *q.shape)
    entropy = -torch.special.xlogy(pi, pi).sum(1)
    lack = iq.soft_value(q, tau) - (pi * q).sum(1) - tau * entropy
    kl = (torch.special.xlogy(pi, pi) - pi * iq.soft_policy(q, tau)).sum(1)
    assert (lack > -1e-9).all()
    torch.testing.assert_close(lack, tau * kl, rtol=1e-6, atol=1e-9)


@given(tables(st.just(1.0)), temperatures, seeds)
def test_a_better_action_never_lowers_it(q, tau, seed):
    more = q + numbers(np.random.default_rng(seed), *q.shape).abs()
    assert (iq.soft_value(more, tau) >= iq.soft_value(q, tau) - 1e-12).all()
    assert (iq.soft_value(q + 1, tau) > iq.soft_value(q, tau)).all()


@given(tables(st.just(1.0)), temperatures, seeds, st.floats(0, 1))
def test_it_is_convex_in_Q(q, tau, seed, t):
    other = numbers(np.random.default_rng(seed), *q.shape)
    middle = iq.soft_value(t * q + (1 - t) * other, tau)
    chord = t * iq.soft_value(q, tau) + (1 - t) * iq.soft_value(other, tau)
    assert (middle <= chord + 1e-9).all()


@given(tables(st.just(1.0)), temperatures, seeds)
def test_it_is_never_further_apart_than_Q_is(q, tau, seed):
    other = q + numbers(np.random.default_rng(seed), *q.shape)
    gap = (iq.soft_value(q, tau) - iq.soft_value(other, tau)).abs()
    assert (gap <= (q - other).abs().max(1).values + 1e-9).all()


@given(tables(st.just(1.0)))
def test_as_tau_falls_to_0_it_becomes_the_maximum(q):
    torch.testing.assert_close(
        iq.soft_value(q, 1e-6), q.max(1).values, rtol=0, atol=1e-5)


@given(tables(st.just(1.0)))
def test_as_tau_grows_it_becomes_the_mean_plus_tau_log_A(q):
    tau, n = 1e6, q.shape[1]
    mean = iq.soft_value(q, tau) - tau * math.log(n)
    torch.testing.assert_close(mean, q.mean(1), rtol=0, atol=1e-4)


@given(tables(st.just(1.0)), temperatures)
def test_its_gradient_is_the_soft_policy(q, tau):
    q.requires_grad_()
    slope, = torch.autograd.grad(iq.soft_value(q, tau).sum(), q)
    torch.testing.assert_close(slope, iq.soft_policy(q, tau).exp())


@given(tables(st.just(1.0)), st.floats(0.1, 10))
def test_its_first_and_second_derivatives_are_those_of_its_differences(q, tau):
    q.requires_grad_()
    assert torch.autograd.gradcheck(lambda q: iq.soft_value(q, tau), q)
    assert torch.autograd.gradgradcheck(lambda q: iq.soft_value(q, tau), q)


@given(tables(), temperatures)
def test_the_policy_is_exp_of_Q_less_V_over_tau_and_sums_to_1(q, tau):
    log_pi = iq.soft_policy(q, tau)
    gap = (q - iq.soft_value(q, tau)[:, None]) / tau
    torch.testing.assert_close(log_pi, gap, rtol=1e-9, atol=1e-7)
    torch.testing.assert_close(log_pi.exp().sum(1), torch.ones(len(q)).double())


@given(tables(), temperatures, st.floats(-1e3, 1e3))
def test_the_policy_minds_only_differences_of_Q(q, tau, c):
    before, after = iq.soft_policy(q, tau), iq.soft_policy(q + c, tau)
    torch.testing.assert_close(before, after, rtol=1e-9, atol=1e-7)


@given(seeds, sizes, st.sampled_from([1e-6, 1e-3, 1.0, 1e3]),
       st.sampled_from([1.0, 1e2, 1e4]))
def test_in_single_precision_it_is_finite_and_exact_however_large_Q(
        seed, size, tau, scale):
    rng = np.random.default_rng(seed)
    q = torch.tensor(rng.uniform(-scale, scale, size).astype(np.float32))
    exact = tau * logsumexp(q.double().numpy() / tau, axis=1)
    v, log_pi = iq.soft_value(q, tau), iq.soft_policy(q, tau)
    assert v.dtype == torch.float32 and v.isfinite().all()
    np.testing.assert_allclose(v.numpy(), exact, rtol=2e-6, atol=1e-6)
    np.testing.assert_allclose(
        log_pi.numpy(), (q.double().numpy() - exact[:, None]) / tau, rtol=1e-5,
        atol=1e-5)
    q.requires_grad_()
    assert torch.autograd.grad(iq.soft_value(q, tau).sum(), q)[0].isfinite().all()


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
    torch.testing.assert_close(v, iq.soft_value(q[:, there], tau))
    torch.testing.assert_close(log_pi[:, there], iq.soft_policy(q[:, there], tau))
    assert (log_pi[:, ~there] == -math.inf).all()
    slope, = torch.autograd.grad(v.sum(), masked)
    torch.testing.assert_close(slope, log_pi.exp())  # 0, not NaN, where there is none


@given(tables(), temperatures)
def test_actions_are_along_the_last_axis_however_many_axes_are_before_it(q, tau):
    v, log_pi = iq.soft_value(q, tau), iq.soft_policy(q, tau)
    for i in range(len(q)):
        torch.testing.assert_close(iq.soft_value(q[i], tau), v[i])
        torch.testing.assert_close(iq.soft_policy(q[i], tau), log_pi[i])
    stack = torch.stack([q, q + 1])  # (2, B, A)
    torch.testing.assert_close(iq.soft_value(stack, tau)[0], v)
    torch.testing.assert_close(iq.soft_policy(stack, tau)[0], log_pi)


@given(tables(), temperatures)
def test_the_value_of_a_single_action_is_that_action_s(q, tau):
    assert torch.equal(iq.soft_value(q[:, :1], tau), q[:, 0])
    assert torch.equal(iq.soft_policy(q[:, :1], tau), torch.zeros_like(q[:, :1]))
