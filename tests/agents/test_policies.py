"""The policies of the three agents, and the actor's climb.

Continuous actions are measured in [-1, 1]; the environment's own are from -3 to 1.
"""
import math

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Discrete
from helpers import (
    Constant,
    assert_near,
    temperatures,
    untrained_agent,
)
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm
from torch import nn
from torch.distributions import Normal

import iq

means, log_stds = st.floats(-2, 2), st.floats(-3, 1)
TAU = 0.5


def states(n):
    return torch.zeros(n, 3)



@given(st.lists(st.floats(-2, 2), min_size=2, max_size=4), temperatures)
def test_the_policy_of_SoftQ_is_the_softmax_of_its_Q_and_sums_to_1(q, tau):
    agent = untrained_agent(
    "discrete",
    Constant(
        *q),
        space=Discrete(
            len(q)),
             temperature=tau)
    n = len(q)
    log_pi = agent.log_prob(states(n).numpy(), np.arange(n))
    assert np.exp(log_pi).sum() == pytest.approx(1, abs=1e-4)
    gaps = np.subtract(q, q[0]) / tau  # log pi(a) - log pi(0) = (Q(a) - Q(0)) / tau
    np.testing.assert_allclose(log_pi - log_pi[0], gaps, rtol=1e-4, atol=1e-4)
    assert q[agent.act(np.zeros(3))] > max(q) - 1e-5  # nearer ones are rounded to ties


def test_SoftQ_draws_each_action_as_often_as_its_policy_says():
    agent = untrained_agent("discrete", Constant(0.1, 0.2, 0.0), space=Discrete(3))
    actions = agent.act(np.zeros((4000, 3)), greedy=False)
    log_prob = np.exp(agent.log_prob(np.zeros((3, 3)), np.arange(3)))
    np.testing.assert_allclose(np.bincount(actions) / 4000, log_prob, atol=0.03)


@given(st.lists(st.floats(-2, 2), min_size=2, max_size=2), st.floats(-2, 2),
       st.floats(0.03, 2))
def test_the_value_of_SoftNAF_is_exactly_the_soft_value_of_its_Q(raw, height, tau):
    """tau log of the integral of exp(Q / tau); so its normal integrates to 1."""
    agent = untrained_agent("naf", Constant(height, *raw), temperature=tau)
    grid = torch.linspace(-16, 16, 8001)  # a std is 0.37 to 2.7
    with torch.no_grad():
        q = agent.q(states(8001), grid[:, None]).double()
        value = agent.value(states(1)).item()
    width = tau * math.log(32 / 8000)
    assert iq.soft_value(q, tau).item() + width == pytest.approx(value, abs=1e-3)
    assert value == pytest.approx(height)
    log_prob = agent.log_policy(states(8001), grid[:, None]).detach()
    assert_near(log_prob, ((q - value) / tau).float(), 1e-2)
    assert log_prob.exp().sum().item() * 32 / 8000 == pytest.approx(1, abs=1e-3)


def test_SoftNAF_s_axes_are_independent():
    box = Box(np.float32([-3, -1]), np.float32([1, 1]))
    agent = untrained_agent("naf", Constant(0.0, 0.3, -0.2, 0.5, -0.4), space=box)
    actions = np.float32([[-1, 0], [0, 0], [-1, 1], [0, 1]])
    both = agent.log_prob(states(4).numpy(), actions)
    one, two = ([norm(math.tanh(mean), math.exp(math.tanh(raw))).logpdf(x)
                 for x in marks] for mean, raw, marks in (
                     (0.3, 0.5, [0, 0.5, 0, 0.5]), (-0.2, -0.4, [0, 0, 1, 1])))
    np.testing.assert_allclose(both, np.add(one, two), rtol=1e-4)


@given(means, st.floats(-2, 1))
def test_the_log_prob_of_SoftActorCritic_is_a_density_on_minus_1_to_1(
        mean, log_std):
    agent = untrained_agent("actor_critic", actor=Constant(mean, log_std))
    edges = np.tanh(np.linspace(-7, 7, 4001))
    marks = (edges[1:] + edges[:-1]) / 2
    log_prob = agent.log_prob(states(4000).numpy(), 2 * marks[:, None] - 1)
    inside = norm(mean, math.exp(log_std))
    there = abs(marks) < math.tanh(6)  # beyond, float32 has no room
    total = (np.exp(log_prob) * np.diff(edges))[there].sum()
    assert total == pytest.approx(inside.cdf(6) - inside.cdf(-6), abs=5e-3)


@pytest.mark.parametrize("kind, network", [
    ("naf", [0.0, 0.2, 0.1]), ("actor_critic", [0.2, -0.5]),
    ("actor_critic", [0.2, -9.0]), ("actor_critic", [0.0, 9.0])])
def test_draws_are_of_the_policy_that_log_prob_gives(kind, network):
    name = "critic" if kind == "naf" else "actor"
    agent = untrained_agent(kind, **{name: Constant(*network)})
    actions = agent.act(np.zeros((4000, 3)), greedy=False)
    marks = np.linspace(-2.99, 0.99, 4001)  # of the cells between them
    log_prob = agent.log_prob(np.zeros((4001, 3)), marks[:, None])
    below = np.cumsum(np.exp(log_prob)) * \
                      (marks[1] - marks[0]) / 2  # units: half as wide
    for i in range(0, 4001, 400):
        share = ((actions > marks[0]) & (actions < marks[i])).mean()
        assert share == pytest.approx(below[i], abs=0.03)


@pytest.mark.parametrize("kind", ["naf", "actor_critic"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_actions_reach_the_environment_s_bounds_exactly_and_never_leave_them(
        kind, dtype):
    low, high = dtype([[-0.1, -1e3, 1 / 3], [0.7, 0.1, 5]])
    for raw, end in (-50.0, low), (50.0, high):
        outputs = [raw] * 3 + [3.0] * 3
        network = ({"critic": Constant(0.0, *outputs)} if kind == "naf"
                   else {"actor": Constant(*outputs)})
        agent = untrained_agent(kind, **network, space=Box(low, high, dtype=dtype))
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
    return untrained_agent("actor_critic", Critic(
        q), Constant(mean, log_std), **changes)


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
    assert_near(agent.actor.outputs.grad.double(), -climb, 1e-4)


@pytest.mark.parametrize("output, bounded", [(9.0, 2.0), (-9.0, -5.0), (1.5, 1.5)])
def test_its_spread_is_held_within_bounds(output, bounded):
    agent, middle = actor_critic(0.0, output, torch.square), np.array([[-1.0]])
    log_prob = agent.log_prob(np.zeros((1, 3), np.float32), middle)
    assert log_prob == pytest.approx([-bounded - math.log(2 * math.pi) / 2], abs=1e-4)


def test_neither_objective_reaches_the_other_s_network():
    rows = some_rows()
    gradients = []
    for divergence in "chi2", "reverse_kl":
        agent = actor_critic(0.3, -0.5, torch.square, divergence=divergence)
        agent.update(*rows)
        gradients.append((agent.actor.outputs.grad, agent.critic.height.grad))
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
    assert_near(agent.value(states(100)), torch.zeros(100), 1e-3)


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
    assert_near(agent.actor.outputs.detach(), torch.tensor([MEAN, LOG_STD]), 0.03)


@pytest.mark.parametrize("kind", ["naf", "actor_critic"])
def test_the_outermost_actions_have_a_finite_likelihood(kind):
    agent = untrained_agent(kind)
    outermost = np.concatenate([agent.action_space.low, agent.action_space.high])
    log_prob = agent.log_prob(np.zeros((2, 3), np.float32), outermost[:, None])
    assert np.isfinite(log_prob).all()


def test_observations_that_are_read_only_are_read_without_a_warning():
    obs = np.zeros((2, 3), np.float32)
    obs.flags.writeable = False
    agent = untrained_agent("discrete")
    assert (agent.act(obs) == agent.act(obs.copy())).all()
