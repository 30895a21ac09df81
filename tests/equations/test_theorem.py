"""What IQ-Learn finds: max_Q of its objective = min_pi D(d_pi, d_expert) - tau H(pi).

On the left a table Q is optimised through iq.py's own functions. On the right, without
iq.py, a convex problem is solved over the occupancies d that some policy has. That both
come to the same value, policy and reward is the theorem (Eq. 4 to 9 of the paper).
Below it: what is found instead where V(s') is a target network's, and chi2 is on all rows.
"""
import numpy as np
import pytest
import torch
from helpers import (
    MDP,
    F,
    assert_near,
    divergence,
    entropy,
    mdps,
    minimise,
    nearest_occupancy,
    occupancy,
    policy_of,
    value_iteration,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize, root

import iq

smooth = pytest.mark.parametrize("name", [x for x in F if x != "total_variation"])
# Each example solves two problems to nine places.
solved = settings(max_examples=settings.default.max_examples // 5)
small = mdps(states=(1, 3), actions=(2, 3), terminal=(0, 1))
taus = st.sampled_from([0.05, 0.3, 1.0])


# ------------------------------------------------ left: a table Q, by iq.py's functions

def recovered(mdp: MDP, q, tau):
    """r(s,a) = E_{s'}[Q(s,a) - gamma V(s')]."""
    return iq.inverse_bellman(q, mdp.expected(iq.soft_value(q, tau)), mdp.gamma)


def objective(mdp, q, expert, name, tau):
    """J(Q) = E_expert[phi(r)] - (1 - gamma) E[V(s0)]."""
    at_start = mdp.start @ iq.soft_value(q, tau)
    phi = iq.DIVERGENCES[name](recovered(mdp, q, tau))
    return (expert * phi).sum() - (1 - mdp.gamma) * at_start


def best_q(mdp, expert, name, tau):
    return minimise(lambda q: -objective(mdp, q, expert, name, tau), mdp.shape)


def soft_policy(q, tau):
    return iq.soft_policy(q, tau).exp()


def soft_occupancy(mdp, q, tau):
    return occupancy(mdp, soft_policy(q, tau))


# -------------------------------------------------- right: the convex problem, by scipy

def nearest(mdp, expert, name, tau, **alpha):
    """The occupancy of least D(d, d_expert) - tau H(d), and that least number."""
    d = nearest_occupancy(
        mdp, lambda d: divergence(name, d, expert, **alpha), tau)
    return d, divergence(name, d, expert, **alpha) - tau * entropy(d)


# -------------------------------------------------------------------------- the theorem

@smooth
@solved
@given(mdp=small, tau=taus)
def test_the_best_Q_has_the_policy_and_the_value_of_the_nearest_occupancy(
        name, mdp, tau):
    expert = mdp.occupancy()
    q = best_q(mdp, expert, name, tau)
    d, least = nearest(mdp, expert, name, tau)
    assert (d / expert).max() < iq.MAX_RATIO  # so no tangent is in play
    assert_near(objective(mdp, q, expert, name, tau), least, 1e-8)
    assert_near(soft_policy(q, tau), policy_of(d), 1e-6)
    assert_near(soft_occupancy(mdp, q, tau), d, 1e-6)


@pytest.mark.parametrize("name", F)
@given(mdp=mdps(), tau=taus)
def test_no_Q_is_above_any_policy(name, mdp, tau):
    """Weak duality, which makes equality a proof that both solvers are done."""
    expert, d = mdp.occupancy(), mdp.occupancy()
    above = divergence(name, d, expert) - tau * entropy(d)
    below = objective(mdp, mdp.table(scale=0.5), expert, name, tau)
    assert below <= above + 1e-9


@smooth
@solved
@given(mdp=small, tau=taus)
def test_reward_and_policy_are_a_saddle_point(name, mdp, tau):
    """L(r, pi*) <= L(r*, pi*) <= L(r*, pi), L = E_E[phi(r)] - E_pi[r] - tau H(pi)."""
    expert = mdp.occupancy()

    def game(reward, d):
        return ((expert * iq.DIVERGENCES[name](reward)).sum() - (d * reward).sum()
                - tau * entropy(d))

    q = best_q(mdp, expert, name, tau)
    reward, d = recovered(mdp, q, tau), soft_occupancy(mdp, q, tau)
    here = game(reward, d)
    assert_near(here, objective(mdp, q, expert, name, tau), 1e-8)
    for scale in 0.01, 0.1, 1.0:
        assert game(reward + mdp.table(scale=scale), d) <= here + 1e-9
        assert game(reward, mdp.occupancy()) >= here - 1e-9


@smooth
@solved
@given(mdp=small)
def test_the_policy_is_not_the_expert_s_but_comes_to_it_as_tau_falls(name, mdp):
    """Ten times less temperature, ten times nearer: the pull of entropy is linear."""
    expert = mdp.occupancy()
    gaps = []
    for tau in 1.0, 0.01, 0.001:
        q = best_q(mdp, expert, name, tau)
        gaps.append((soft_occupancy(mdp, q, tau) - expert).abs().sum())
    if gaps[0] > 1e-3:  # unless the expert is near to uniform
        assert gaps[0] > gaps[1] > gaps[2]
        assert 5 < gaps[1] / gaps[2] < 20
    assert gaps[2] < 0.01


# --------------------------------------------------- total variation, which has corners

def best_bounded_reward(mdp, expert, tau):
    """max over |r| <= 1 of E_expert[r] - max_pi (E_pi[r] + tau H(pi)), by L-BFGS-B."""
    def fun(r):
        r = torch.tensor(r).view(mdp.shape)
        _, policy = value_iteration(mdp, r, tau)
        d = occupancy(mdp, policy)
        value = (expert * r).sum() - (d * r).sum() - tau * entropy(d)
        return -value.item(), -(expert - d).flatten().numpy()

    n = expert.numel()
    done = minimize(fun, np.zeros(n), jac=True, method="L-BFGS-B",
                    bounds=[(-1, 1)] * n,
                    options={"ftol": 1e-15, "gtol": 1e-9, "maxiter": 500})
    return torch.tensor(done.x).view(mdp.shape)


@solved
@given(mdp=small, tau=taus)
def test_for_total_variation_too_the_best_Q_comes_to_the_least_distance(mdp, tau):
    """By weak duality no Q and no policy is better, as both have the same value."""
    expert, name = mdp.occupancy(), "total_variation"
    q, _ = value_iteration(mdp, best_bounded_reward(mdp, expert, tau), tau)
    d = soft_occupancy(mdp, q, tau)
    reached = objective(mdp, q, expert, name, tau)
    assert_near(reached, divergence(name, d, expert) - tau * entropy(d), 1e-5)
    for scale in 0.01, 0.1, 1.0:
        nudged = q + mdp.table(scale=scale)
        assert objective(mdp, nudged, expert, name, tau) <= reached + 1e-6


# ----------------------------------------------- the same by iq_loss on rows

@st.composite
def demonstrations(draw):
    """An MDP without chance, the rows s, a of demonstrations, and where its episodes start.

    They have every (s, a) a few times, row by row, as no policy need have done.
    """
    mdp = draw(mdps(states=(1, 3), actions=(2, 3), terminal=(0, 1),
                        deterministic=True))
    s, a = torch.tensor(list(np.ndindex(*mdp.shape))).T
    often = torch.tensor(mdp.rng.integers(2, 6, len(s)))
    starts = torch.arange(mdp.shape[0]).repeat_interleave(
        torch.tensor(mdp.rng.integers(1, 4, mdp.shape[0])))
    began = torch.bincount(starts) / len(starts)
    mdp = MDP(mdp.P, began.double(), mdp.gamma, mdp.rng)
    return mdp, s.repeat_interleave(often), a.repeat_interleave(often), starts


def shares(mdp, s, a):
    """Of rows s, a, the share of each (s, a)."""
    counts = torch.zeros(mdp.shape, dtype=torch.float64)
    return counts.index_put((s, a), torch.tensor(1 / len(s)).double(), accumulate=True)


def next_values(mdp, s, a, v):
    beyond = torch.cat([v, torch.zeros(mdp.P.shape[2] - len(v)).double()])
    return beyond[mdp.P[s, a].argmax(1)]


@smooth
@solved
@given(made=demonstrations(), tau=st.sampled_from([1.0, 2.0]),
       alpha=st.sampled_from([0.2, 0.5]))
def test_minimising_iq_loss_on_demonstrations_finds_the_policy_nearest_to_them(
        name, made, tau, alpha):
    mdp, s, a, starts = made
    alphas = {"alpha": alpha} if name == "chi2" else {}

    def loss(q):
        v = iq.soft_value(q, tau)
        return iq.iq_loss(
            q[s, a], v[s], next_values(mdp, s, a, v), torch.ones_like(s).bool(),
            gamma=mdp.gamma, divergence=name, chi2_alpha=alpha,
            value_term="initial", initial_value=v[starts])[0]

    q = minimise(loss, mdp.shape)
    d, least = nearest(mdp, shares(mdp, s, a), name, tau, **alphas)
    assert_near(-loss(q), least, 1e-7)
    assert_near(soft_policy(q, tau), policy_of(d), 1e-5)


# ------------------------- what a target network and chi2 on the mixture find: MATH 13 to 16

@st.composite
def mixtures(draw):
    """An MDP without chance, as many rows of an expert as of replay, and the starts."""
    mdp, s, a, starts = draw(demonstrations())
    n, (states, actions) = len(s), mdp.shape
    s = torch.cat([s, torch.tensor(mdp.rng.integers(states, size=n))])
    a = torch.cat([a, torch.tensor(mdp.rng.integers(actions, size=n))])
    return mdp, s, a, torch.arange(2 * n) < n, starts


def at_rest(mdp, s, a, is_expert, starts, tau, value_term):
    """Q where a learner that holds V(s') fixed stays, and what the loss tells there."""
    def step(q):
        q = torch.tensor(q).view(mdp.shape).requires_grad_()
        v = iq.soft_value(q, tau)
        later = next_values(mdp, s, a, v).detach()
        loss, info = iq.iq_loss(
            q[s, a], v[s], later, is_expert, mdp.gamma, chi2_alpha=0.3,
            chi2_on="mixture", value_term=value_term, initial_value=v[starts])
        return torch.autograd.grad(loss, q)[0].flatten().numpy(), info

    n = mdp.shape[0] * mdp.shape[1]
    done = root(lambda q: step(q)[0], np.zeros(n), tol=1e-11)
    assert np.abs(done.fun).max() < 1e-8, done.message
    return torch.tensor(done.x).view(mdp.shape), step(done.x)[1]


@pytest.mark.parametrize("value_term", ["initial", 0, 0.1, 1, 2])
@solved
@given(mixtures(), st.sampled_from([0.3, 1.0]))
def test_its_rewards_are_4_alpha_times_the_expert_s_share_less_the_policy_s(
        value_term, made, tau):
    """The value term only says in which states the policy is held against it."""
    mdp, s, a, is_expert, starts = made
    q, info = at_rest(*made, tau, value_term)
    expert, replay = (shares(mdp, s[x], a[x]) for x in (is_expert, ~is_expert))
    if value_term == "initial":
        states = (1 - mdp.gamma) * mdp.start
    else:
        both = (expert + replay).sum(1) / 2
        states = (1 - value_term) * expert.sum(1) + value_term * both
    won = 4 * 0.3 * (expert - states[:, None] * soft_policy(q, tau))
    assert_near(recovered(mdp, q, tau), won / (expert + replay), 1e-6)
    # over all rows: with "initial", as in SQIL, rewards pay; with a number, nothing
    mean = 2 * 0.3 * mdp.gamma if value_term == "initial" else 0.0
    assert info["reward_mixture"].item() == pytest.approx(mean, abs=1e-7)


@pytest.mark.parametrize("value_term, paid", [("initial", 2 * 0.3), (1, 0.0)])
def test_a_learner_that_does_as_the_expert_does_is_paid_by_initial_and_by_no_mixture(
        value_term, paid):
    """From a fork, left or right into a loop each; expert and replay are the same."""
    P = torch.zeros(3, 2, 3, dtype=torch.float64)
    P[:, 0, 1] = P[:, 1, 2] = 1
    start = torch.tensor([1.0, 0, 0], dtype=torch.float64)
    mdp = MDP(P, start, 0.9, np.random.default_rng(0))
    s = torch.tensor([0, 0, 1, 1, 1, 1, 2, 2, 2] * 2)
    a = torch.tensor([0, 1, 0, 0, 0, 1, 0, 1, 1] * 2)
    is_expert = torch.arange(18) < 9
    q, _ = at_rest(mdp, s, a, is_expert, torch.tensor([0]), 1e-3, value_term)
    assert_near(recovered(mdp, q, 1e-3)[1:], torch.full((2, 2), paid).double(), 0.01)
