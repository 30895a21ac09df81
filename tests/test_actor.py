"""The policies of the three agents, and the actor's climb.

Continuous actions are measured in [-1, 1]; the environment's own are from -3 to 1.
"""
import math

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Discrete
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm
from torch import nn
from torch.distributions import Independent, Normal, TransformedDistribution
from torch.distributions.transforms import TanhTransform
from worlds import Fixed, an_agent, near, numbers, seeds, temperatures

import iq

means, log_stds = st.floats(-2, 2), st.floats(-3, 1)
TAU = 0.5


def states(n):
    return torch.zeros(n, 3)


# --------------------------------------------------------------- squash, as a function

@given(seeds, st.integers(1, 5), st.integers(1, 3))
def test_squash_is_torch_s_own_transformed_distribution(seed, n, k):
    mean, log_std, noise = numbers(np.random.default_rng(seed), 3, n, k, scale=0.7)
    action, log_prob = iq.squash(mean, log_std, noise)
    own = TransformedDistribution(
        Independent(Normal(mean, log_std.exp()), 1), TanhTransform())
    near(log_prob, own.log_prob(action), 1e-6)
    near(action, (mean + log_std.exp() * noise).tanh())


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


# -------------------------------------------- each agent's policy, as its users meet it

@given(st.lists(st.floats(-2, 2), min_size=2, max_size=4), temperatures)
def test_the_policy_of_SoftQ_is_the_softmax_of_its_Q_and_sums_to_1(q, tau):
    agent = an_agent("discrete", Fixed(*q), space=Discrete(len(q)), temperature=tau)
    n = len(q)
    log_pi = agent.log_prob(states(n).numpy(), np.arange(n))
    assert np.exp(log_pi).sum() == pytest.approx(1, abs=1e-4)
    gaps = np.subtract(q, q[0]) / tau  # log pi(a) - log pi(0) = (Q(a) - Q(0)) / tau
    np.testing.assert_allclose(log_pi - log_pi[0], gaps, rtol=1e-4, atol=1e-4)
    assert q[agent.act(np.zeros(3))] > max(q) - 1e-5  # nearer ones are rounded to ties


def test_SoftQ_draws_each_action_as_often_as_its_policy_says():
    agent = an_agent("discrete", Fixed(0.1, 0.2, 0.0), space=Discrete(3))
    actions = agent.act(np.zeros((4000, 3)), greedy=False)
    told = np.exp(agent.log_prob(np.zeros((3, 3)), np.arange(3)))
    np.testing.assert_allclose(np.bincount(actions) / 4000, told, atol=0.03)


@given(st.lists(st.floats(-2, 2), min_size=2, max_size=2), st.floats(-2, 2),
       st.floats(0.03, 2))
def test_the_value_of_SoftNAF_is_exactly_the_soft_value_of_its_Q(raw, height, tau):
    """tau log of the integral of exp(Q / tau); so its normal integrates to 1."""
    agent = an_agent("naf", Fixed(height, *raw), temperature=tau)
    grid = torch.linspace(-16, 16, 8001)  # a std is 0.37 to 2.7
    with torch.no_grad():
        q = agent.q(states(8001), grid[:, None]).double()
        value = agent.value(states(1)).item()
    width = tau * math.log(32 / 8000)
    assert iq.soft_value(q, tau).item() + width == pytest.approx(value, abs=1e-3)
    assert value == pytest.approx(height)
    told = agent.log_prob(states(8001).numpy(), 2 * grid[:, None].numpy() - 1)
    near(torch.tensor(told), ((q - value) / tau).float(), 1e-2)
    assert np.exp(told).sum() * 32 / 8000 == pytest.approx(1, abs=1e-3)


def test_SoftNAF_s_axes_are_independent():
    box = Box(np.float32([-3, -1]), np.float32([1, 1]))
    agent = an_agent("naf", Fixed(0.0, 0.3, -0.2, 0.5, -0.4), space=box)
    actions = np.float32([[-1, 0], [0, 0], [-1, 1], [0, 1]])
    both = agent.log_prob(states(4).numpy(), actions)
    one, two = ([norm(math.tanh(mean), math.exp(math.tanh(raw))).logpdf(x)
                 for x in marks] for mean, raw, marks in (
                     (0.3, 0.5, [0, 0.5, 0, 0.5]), (-0.2, -0.4, [0, 0, 1, 1])))
    np.testing.assert_allclose(both, np.add(one, two), rtol=1e-4)


@given(means, st.floats(-2, 1))
def test_what_SoftActorCritic_tells_of_its_policy_is_a_density_on_minus_1_to_1(
        mean, log_std):
    agent = an_agent("actor_critic", actor=Fixed(mean, log_std))
    edges = np.tanh(np.linspace(-7, 7, 4001))
    marks = (edges[1:] + edges[:-1]) / 2
    told = agent.log_prob(states(4000).numpy(), 2 * marks[:, None] - 1)
    inside = norm(mean, math.exp(log_std))
    there = abs(marks) < math.tanh(6)  # beyond, float32 has no room
    total = (np.exp(told) * np.diff(edges))[there].sum()
    assert total == pytest.approx(inside.cdf(6) - inside.cdf(-6), abs=5e-3)


@pytest.mark.parametrize("kind, network", [
    ("naf", [0.0, 0.2, 0.1]), ("actor_critic", [0.2, -0.5]),
    ("actor_critic", [0.2, -9.0]), ("actor_critic", [0.0, 9.0])])
def test_draws_are_of_the_policy_that_is_told(kind, network):
    name = "critic" if kind == "naf" else "actor"
    agent = an_agent(kind, **{name: Fixed(*network)})
    actions = agent.act(np.zeros((4000, 3)), greedy=False)
    marks = np.linspace(-2.99, 0.99, 4001)  # of the cells between them
    told = agent.log_prob(np.zeros((4001, 3)), marks[:, None])
    below = np.cumsum(np.exp(told)) * (marks[1] - marks[0]) / 2  # units: half as wide
    for i in range(0, 4001, 400):
        share = ((actions > marks[0]) & (actions < marks[i])).mean()
        assert share == pytest.approx(below[i], abs=0.03)


@pytest.mark.parametrize("kind", ["naf", "actor_critic"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_actions_reach_the_environment_s_bounds_exactly_and_never_leave_them(
        kind, dtype):
    low, high = dtype([[-0.1, -1e3, 1 / 3], [0.7, 0.1, 5]])
    for raw, end in (-50.0, low), (50.0, high):
        told = [raw] * 3 + [3.0] * 3
        network = ({"critic": Fixed(0.0, *told)} if kind == "naf"
                   else {"actor": Fixed(*told)})
        agent = an_agent(kind, **network, space=Box(low, high, dtype=dtype))
        assert np.array_equal(agent.act(np.zeros(3)), end)
        for action in agent.act(np.zeros((100, 3)), greedy=False):
            assert agent.action_space.contains(action)


# ------------------------------------------------------------------------ actor's climb

class Critic(nn.Module):
    """Q of actions in [-1, 1] as some function has it, and a height on top."""

    def __init__(self, q=lambda action: action):
        super().__init__()
        self.q, self.height = q, nn.Parameter(torch.zeros(()))

    def forward(self, obs, action):
        return self.q(action) + self.height


def actor_critic(mean, log_std, q, **changes):
    changes = {"temperature": TAU, **changes}
    return an_agent("actor_critic", Critic(q), Fixed(mean, log_std), **changes)


def some_rows(n=64, seed=0):
    """Rows in one state; their actions are drawn evenly."""
    action = 2 * torch.rand(n, 1, generator=torch.Generator().manual_seed(seed)) - 1
    never = torch.zeros(n).bool()
    return iq.Batch(states(n), action, states(n), never, states(n)), ~never


@given(means, st.floats(-2, 1), st.floats(-3, 3))
def test_its_gradient_is_that_of_the_reparametrised_draw_by_hand(mean, log_std, c):
    """d/dm of Q(tanh(m + s e)) - tau log pi, for Q(a) = c a^2; e is the agent's own."""
    agent = actor_critic(mean, log_std, lambda a: c * a.square(), seed=3)
    noise = torch.randn(64, 1, generator=torch.Generator().manual_seed(3)).double()
    agent.update(*some_rows())
    std = math.exp(log_std)
    a = (mean + std * noise).tanh()
    # log pi = log N(e) - log s - log(1 - a^2), and da/du = 1 - a^2
    along_u = 2 * c * a * (1 - a.square()) - TAU * 2 * a
    climb = torch.stack([along_u.mean(), (along_u * std * noise).mean() + TAU])
    near(agent.actor.told.grad.double(), -climb, 1e-4)


@pytest.mark.parametrize("told, held", [(9.0, 2.0), (-9.0, -5.0), (1.5, 1.5)])
def test_its_spread_is_held_in_bounds(told, held):
    agent, middle = actor_critic(0.0, told, torch.square), np.array([[-1.0]])
    log_prob = agent.log_prob(np.zeros((1, 3), np.float32), middle)
    assert log_prob == pytest.approx([-held - math.log(2 * math.pi) / 2], abs=1e-4)


def test_neither_objective_reaches_the_other_s_network():
    rows = some_rows()
    gradients = []
    for divergence in "chi2", "reverse_kl":
        agent = actor_critic(0.3, -0.5, torch.square, divergence=divergence)
        agent.update(*rows)
        gradients.append((agent.actor.told.grad, agent.critic.height.grad))
    (actor, critic), (same, other) = gradients
    assert torch.equal(actor, same) and actor.all() and critic != other
    # IQ-Learn's linear part minds no height; the actor's objective would raise it
    agent = actor_critic(0.3, -0.5, torch.square, chi2_alpha=1e6)
    agent.update(*rows)
    assert agent.critic.height.grad.abs() < 1e-5


MEAN, LOG_STD = 0.4, -0.7


def whose_policy_is_known(action):
    """tau log pi(a), pi the squashed N(MEAN, e^LOG_STD): V is 0, and the policy pi."""
    u = torch.atanh(action.clamp(-1 + 1e-6, 1 - 1e-6))
    log_normal = Normal(MEAN, math.exp(LOG_STD)).log_prob(u)
    return TAU * (log_normal - torch.log1p(-action.square()))


def test_with_the_softmax_of_q_for_actor_the_value_is_the_same_whatever_is_drawn():
    """Q - tau log pi = V for every action, not only on average."""
    agent = actor_critic(MEAN, LOG_STD, whose_policy_is_known)
    near(agent.value(states(100)), torch.zeros(100), 1e-3)


def test_any_other_actor_s_value_is_less_by_tau_times_its_kl_from_it():
    agent = actor_critic(0.0, -0.2, whose_policy_is_known)
    one, two = Normal(0.0, math.exp(-0.2)), Normal(MEAN, math.exp(LOG_STD))
    kl = torch.distributions.kl_divergence(one, two).item()
    value = agent.value(states(20_000)).mean().item()
    assert value == pytest.approx(-TAU * kl, abs=0.02)


def test_the_actor_climbs_to_the_softmax_of_q():
    agent = actor_critic(-0.3, 0.2, whose_policy_is_known, learning_rate=0.02)
    batch, is_expert = some_rows()
    for _ in range(150):
        agent.update(batch, is_expert)
    near(agent.actor.told.detach(), torch.tensor([MEAN, LOG_STD]), 0.03)
