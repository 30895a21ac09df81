"""squash: tanh of a normal draw, and its log density."""
import math

import numpy as np
import pytest
import torch
from helpers import assert_near, random_table, seeds
from hypothesis import given
from hypothesis import strategies as st
from torch.distributions import Independent, Normal, TransformedDistribution
from torch.distributions.transforms import TanhTransform

import iq

means, log_stds = st.floats(-2, 2), st.floats(-3, 1)


@given(seeds, st.integers(1, 5), st.integers(1, 3))
def test_squash_is_torch_s_own_transformed_distribution(seed, n, k):
    mean, log_std, noise = random_table(np.random.default_rng(seed), 3, n, k, scale=0.7)
    action, log_prob = iq.squash(mean, log_std, noise)
    own = TransformedDistribution(
        Independent(Normal(mean, log_std.exp()), 1), TanhTransform())
    assert_near(log_prob, own.log_prob(action), 1e-6)
    assert_near(action, (mean + log_std.exp() * noise).tanh())


@given(means, log_stds)
def test_its_density_integrates_to_1(mean, log_std):
    edges = torch.linspace(-9, 9, 4001, dtype=torch.float64)
    noise = ((edges[1:] + edges[:-1]) / 2)[:, None]
    _, log_prob = iq.squash(
        torch.full_like(noise, mean), torch.full_like(noise, log_std), noise)
    widths = (mean + math.exp(log_std) * edges).tanh().diff()  # of the actions' cells
    assert (log_prob.exp() * widths).sum().item() == pytest.approx(1, abs=1e-4)


def exact_log_prob(u, noise, log_std):
    """log N(u) - log(1 - tanh(u)^2); 1 - tanh^2 = 4 x / (1 + x)^2 for x = e^(-2|u|)."""
    log_normal = -(noise**2) / 2 - log_std - math.log(2 * math.pi) / 2
    log_x = -2 * abs(u)
    return log_normal - math.log(4) - log_x + 2 * math.log1p(math.exp(log_x))


@pytest.mark.parametrize("dtype, places", [
    (torch.float32, 1e-5), (torch.float64, 1e-8)])
@pytest.mark.parametrize("u", [-15.0, -9.0, 0.0, 0.5, 9.0, 15.0, 40.0])
def test_it_stays_finite_and_exact_far_out(dtype, places, u):
    """log(1 - tanh^2 + 1e-6) would be off by 3 at |u| = 9 and by 16 at 15: trap 8."""
    mean = torch.tensor([[u - math.exp(-1) * 0.5]], dtype=dtype, requires_grad=True)
    log_std, noise = torch.full_like(mean, -1.0), torch.full_like(mean, 0.5)
    action, log_prob = iq.squash(mean, log_std, noise)
    assert log_prob.item() == pytest.approx(
        exact_log_prob(u, 0.5, -1), rel=places, abs=places)
    assert -1 <= action.item() <= 1
    slope, = torch.autograd.grad(log_prob.sum(), mean)
    assert slope.item() == pytest.approx(2 * math.tanh(u), abs=1e-4)
