"""The actor: a squashed Gaussian, its log-density, and the environment's own units."""
import math

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.stats import kstest, norm
from torch import nn
from torch.distributions import Independent, Normal, TransformedDistribution
from torch.distributions.transforms import TanhTransform
from worlds import numbers, seeds

import iq

means, log_stds = st.floats(-2, 2), st.floats(-3, 1)
finite = st.floats(-1e3, 1e3, width=32)


def double(x):
    return torch.tensor(x, dtype=torch.float64)


@given(seeds, st.integers(1, 5), st.integers(1, 3))
def test_its_log_density_is_that_of_torch_s_own_transformed_distribution(seed, n, k):
    mean, log_std, noise = numbers(np.random.default_rng(seed), 3, n, k, scale=0.7)
    action, log_prob = iq.squash(mean, log_std, noise)
    own = TransformedDistribution(
        Independent(Normal(mean, log_std.exp()), 1), TanhTransform())
    assert action.shape == (n, k) and log_prob.shape == (n,)
    torch.testing.assert_close(log_prob, own.log_prob(action), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(action, (mean + log_std.exp() * noise).tanh())


@given(means, log_stds)
def test_its_density_integrates_to_1(mean, log_std):
    edges = torch.linspace(-9, 9, 4001, dtype=torch.float64)
    noise = (edges[1:] + edges[:-1]) / 2
    shape = torch.ones(len(noise), 1, dtype=torch.float64)
    _, log_prob = iq.squash(mean * shape, log_std * shape, noise[:, None])
    widths = (mean + math.exp(log_std) * edges).tanh().diff()  # of the actions' cells
    assert (log_prob.exp() * widths).sum().item() == pytest.approx(1, abs=1e-4)


@given(seeds, st.integers(2, 4))
def test_dimensions_are_independent_so_their_log_densities_add(seed, k):
    mean, log_std, noise = numbers(np.random.default_rng(seed), 3, 1, k)
    _, together = iq.squash(mean, log_std, noise)
    each = [iq.squash(*(x[:, i : i + 1] for x in (mean, log_std, noise)))[1]
            for i in range(k)]
    torch.testing.assert_close(together, sum(each))


def exact_log_prob(u, noise, log_std):
    """log N(u) - log(1 - tanh(u)^2); 1 - tanh^2 = 4 x / (1 + x)^2 for x = e^(-2|u|)."""
    log_normal = -(noise**2) / 2 - log_std - math.log(2 * math.pi) / 2
    log_x = -2 * abs(u)
    return log_normal - math.log(4) - log_x + 2 * math.log1p(math.exp(log_x))


@pytest.mark.parametrize("dtype, places", [
    (torch.float32, 1e-5), (torch.float64, 1e-8)])
@pytest.mark.parametrize("u", [-15.0, -9.0, -1.0, 0.0, 0.5, 9.0, 15.0, 40.0])
@pytest.mark.parametrize("log_std", [-5.0, 0.0, 2.0])
def test_it_stays_finite_and_exact_far_out(dtype, places, u, log_std):
    """log(1 - tanh^2 + 1e-6) would be off by 3 at |u| = 9 and by 16 at 15: trap 8."""
    noise = 0.5
    mean = torch.tensor([[u - math.exp(log_std) * noise]], dtype=dtype)
    log_std, noise = (torch.full_like(mean, x) for x in (log_std, noise))
    action, log_prob = iq.squash(mean.requires_grad_(), log_std, noise)
    exact = exact_log_prob(u, 0.5, log_std.item())
    assert log_prob.item() == pytest.approx(exact, rel=places, abs=places)
    assert -1 <= action.item() <= 1
    slope, = torch.autograd.grad(log_prob.sum(), mean)
    assert slope.item() == pytest.approx(2 * math.tanh(u), abs=1e-4)


@given(seeds)
def test_its_gradient_is_that_of_its_differences(seed):
    inputs = numbers(np.random.default_rng(seed), 3, 2, 2, scale=0.7)
    inputs = [x.clone().requires_grad_() for x in inputs]
    assert torch.autograd.gradcheck(iq.squash, inputs)


# ----------------------------------------------------------------- an agent's own actor

class Fixed(nn.Module):
    """The same mean and log std in every state."""

    def __init__(self, mean, log_std):
        super().__init__()
        self.told = nn.Parameter(torch.tensor([*mean, *log_std], dtype=torch.float32))

    def forward(self, obs):
        return self.told.expand(len(obs), -1)


class Critic(nn.Module):
    """Q of actions in [-1, 1] as some function has it."""

    def __init__(self, q):
        super().__init__()
        self.q, self.height = q, nn.Parameter(torch.zeros(()))

    def forward(self, obs, action):
        self.seen = action.detach()
        return self.q(action).sum(1, keepdim=True) + self.height


def an_agent(low, high, mean, log_std, q=lambda action: action, **changes):
    config = iq.Config(**{"gamma": 0.9, "temperature": 0.5, "device": "cpu", "seed": 0,
                          "critic_lr": 1e-9, "actor_lr": 0.02, "target_rate": 1.0,
                          "value_term": "expert", "chi2_on": "expert", "steps": 1,
                          "grad_clip": 1e6, **changes})
    space = Box(np.float32(low), np.float32(high))
    return iq.SoftActorCritic((1,), space, config, actor=Fixed(mean, log_std),
                              critic=Critic(q))


@given(st.lists(st.tuples(finite, finite), min_size=1, max_size=3))
def test_the_ends_of_the_squashed_range_are_exactly_the_environment_s_bounds(bounds):
    assume(all(np.float32(a) < np.float32(b) for a, b in bounds))
    low, high = np.float32(bounds).T
    for mean, end in (-50.0, low), (50.0, high):
        agent = an_agent(low, high, [mean] * len(low), [-5.0] * len(low))
        for greedy in True, False:
            action = agent.act(np.zeros((2, 1), np.float32), greedy=greedy)
            assert np.array_equal(action, [end, end])
            assert agent.action_space.contains(action[0])


@given(finite, st.floats(1 / 64, 100, width=32))
def test_the_critic_sees_exactly_minus_1_and_1_at_the_bounds_and_0_amid(low, width):
    low, high = np.float32(low), np.float32(low) + np.float32(width)
    assume(low < high)
    agent = an_agent([low], [high], [0.0], [0.0])
    actions = torch.tensor([[low], [high]])
    agent.q(torch.zeros(2, 1), actions)
    assert agent.critic.seen.flatten().tolist() == [-1, 1]
    agent = an_agent([-3.0], [1.0], [0.0], [0.0])
    agent.q(torch.zeros(3, 1), torch.tensor([[-1.0], [0.0], [-2.5]]))
    assert agent.critic.seen.flatten().tolist() == [0.0, 0.5, -0.75]


@given(st.floats(-3, 3))
def test_its_likeliest_action_is_the_mean_squashed_and_scaled(mean):
    agent = an_agent([-3.0], [1.0], [mean], [-1.0])
    action = agent.act(np.zeros(1, np.float32))
    assert action.shape == (1,) and action.dtype == np.float32
    assert action[0] == pytest.approx(2 * math.tanh(mean) - 1, abs=1e-5)


@pytest.mark.parametrize("told, kept", [(-0.5, -0.5), (-9.0, -5.0), (9.0, 2.0)])
def test_its_draws_are_of_that_gaussian_with_log_std_kept_within_minus_5_and_2(
        told, kept):
    agent = an_agent([-3.0], [1.0], [0.2], [told])
    actions = agent.act(np.zeros((2000, 1), np.float32), greedy=False)
    unit = np.clip((actions[:, 0].astype(float) + 1) / 2, -1, 1)
    if kept < 2:
        u = np.arctanh(unit)
        assert kstest(u, norm(0.2, math.exp(kept)).cdf).pvalue > 1e-3
    else:  # too wide to trust arctanh: the shares beyond two marks
        for u in 0, 5:
            share = (unit > math.tanh(u)).mean()
            assert share == pytest.approx(norm(0.2, math.exp(2)).sf(u), abs=0.04)


TAU, MEAN, LOG_STD = 0.5, 0.4, -0.7


def whose_policy_is_known(action):
    """tau log pi(a), pi squashed N(MEAN, e^LOG_STD); so V is 0, and pi its."""
    u = torch.atanh(action.clamp(-1 + 1e-6, 1 - 1e-6))
    noise = (u - MEAN) / math.exp(LOG_STD)
    log_normal = -noise.square() / 2 - LOG_STD - math.log(2 * math.pi) / 2
    return TAU * (log_normal - torch.log1p(-action.square()))


def test_with_the_softmax_of_q_for_actor_the_value_is_the_same_whatever_is_drawn():
    """Q - tau log pi = V for every action, not only on average."""
    agent = an_agent([-2.0], [2.0], [MEAN], [LOG_STD], whose_policy_is_known)
    value = agent.value(torch.zeros(100, 1))
    torch.testing.assert_close(value, torch.zeros(100), rtol=0, atol=1e-3)


def test_any_other_actor_s_value_is_less_by_tau_times_its_kl_from_it():
    mean, log_std = 0.0, -0.2
    agent = an_agent([-2.0], [2.0], [mean], [log_std], whose_policy_is_known)
    value = agent.value(torch.zeros(20_000, 1))
    one, two = Normal(mean, math.exp(log_std)), Normal(MEAN, math.exp(LOG_STD))
    kl = torch.distributions.kl_divergence(one, two)
    assert value.mean().item() == pytest.approx(-TAU * kl.item(), abs=0.02)


def test_the_actor_climbs_to_the_softmax_of_q():
    agent = an_agent([-2.0], [2.0], [-0.3], [0.2], whose_policy_is_known)
    obs, never = torch.zeros(64, 1), torch.zeros(64).bool()
    rows = iq.Batch(obs, torch.zeros(64, 1), obs, never)
    for _ in range(150):
        info = agent.update(rows)
    mean, log_std = agent.actor.told.tolist()
    assert mean == pytest.approx(MEAN, abs=0.03)
    assert log_std == pytest.approx(LOG_STD, abs=0.03)
    noise = torch.randn(20_000, 1, generator=torch.Generator().manual_seed(0))
    _, log_prob = iq.squash(MEAN + 0 * noise, LOG_STD + 0 * noise, noise)
    entropy = -log_prob.mean().item()  # of 64 draws in an update, hence the tolerance
    assert info["entropy"].item() == pytest.approx(entropy, abs=0.4)
