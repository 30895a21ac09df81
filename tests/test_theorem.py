"""What IQ-Learn finds: max_Q of its objective = min_pi D(d_pi, d_expert) - tau H(pi).

On the left a table Q is optimised through iq.py's own functions. On the right, without
iq.py, a convex problem is solved over the occupancies d that some policy has. That both
come to the same value, policy and reward is the theorem (Eq. 4 to 9 of the paper).
"""
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from worlds import (
    F,
    World,
    entropy,
    flow,
    minimise,
    nearest_occupancy,
    occupancy,
    value_iteration,
    worlds,
    worth,
)

import iq

SMOOTH = [name for name in F if name != "total_variation"]
smooth = pytest.mark.parametrize("name", SMOOTH)
each_f = pytest.mark.parametrize("name", F)
# Each example solves two problems to nine places.
solved = settings(max_examples=settings.default.max_examples // 4)
small = worlds(states=(1, 3), actions=(2, 3), terminal=(0, 1))
taus = st.sampled_from([0.05, 0.3, 1.0])


# ------------------------------------------------ left: a table Q, by iq.py's functions

def recovered(world: World, q, tau):
    """r(s,a) = E_{s'}[Q(s,a) - gamma V(s')]."""
    v = world.beyond(iq.soft_value(q, tau))
    return world.mean(iq.inverse_bellman(
        q[world.s, world.a], v[world.next_s], world.ended, world.gamma))


def objective(world, q, expert, name, tau):
    """J(Q) = E_expert[phi(r)] - (1 - gamma) E[V(s0)]."""
    at_start = world.start @ iq.soft_value(q, tau)
    phi = iq.DIVERGENCES[name](recovered(world, q, tau))
    return (expert * phi).sum() - (1 - world.gamma) * at_start


def best_q(world, expert, name, tau):
    zeros = torch.zeros(expert.numel(), dtype=torch.float64)
    return minimise(lambda q: -objective(
        world, q.view(world.shape), expert, name, tau), zeros).view(world.shape)


def soft_policy(q, tau):
    return iq.soft_policy(q, tau).exp()


# -------------------------------------------------- right: the convex problem, by scipy

def divergence(name, d, expert):
    """D(d, d_expert) = E_expert[f(d / d_expert)]."""
    return (expert * F[name](d / expert)).sum()


def nearest(world, expert, name, tau):
    """The occupancy of least D(d, d_expert) - tau H(d), and that least number."""
    d = nearest_occupancy(world, lambda d: divergence(name, d, expert), tau)
    return d, divergence(name, d, expert) - tau * entropy(d)


def near(a, b, tolerance):
    torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)


def an_expert(world):
    return occupancy(world, world.policy(floor=0.3))


# -------------------------------------------------------------------------- the theorem

@smooth
@solved
@given(world=small, tau=taus)
def test_the_best_Q_has_the_policy_and_the_value_of_the_nearest_occupancy(
        name, world, tau):
    expert = an_expert(world)
    q = best_q(world, expert, name, tau)
    d, least = nearest(world, expert, name, tau)
    assert (d / expert).max() < iq.MAX_RATIO  # so no tangent is in play
    near(objective(world, q, expert, name, tau), least, 1e-8)
    policy = d / d.sum(1, keepdim=True)
    near(soft_policy(q, tau), policy, 1e-6)
    near(occupancy(world, soft_policy(q, tau)), d, 1e-6)


@each_f
@given(world=worlds(), tau=taus)
def test_no_Q_is_above_any_policy(name, world, tau):
    """Weak duality, which makes equality a proof that both solvers are done."""
    expert, d = an_expert(world), an_expert(world)
    above = divergence(name, d, expert) - tau * entropy(d)
    below = objective(world, world.numbers(scale=0.5), expert, name, tau)
    assert below <= above + 1e-9


@smooth
@solved
@given(world=small, tau=taus)
def test_its_reward_solved_from_scratch_gives_back_that_policy_and_that_Q(
        name, world, tau):
    expert = an_expert(world)
    q = best_q(world, expert, name, tau)
    again, policy = value_iteration(world, recovered(world, q, tau), tau)
    d, _ = nearest(world, expert, name, tau)
    near(again, q, 1e-9)
    near(policy, soft_policy(q, tau), 1e-9)
    near(policy, d / d.sum(1, keepdim=True), 1e-6)


@given(worlds(), taus)
def test_so_does_the_reward_of_any_Q_at_all(world, tau):
    q = world.numbers()
    again, policy = value_iteration(world, recovered(world, q, tau), tau)
    near(again, q, 1e-9)
    near(policy, soft_policy(q, tau), 1e-9)


@smooth
@solved
@given(world=small, tau=taus)
def test_reward_and_policy_are_a_saddle_point(name, world, tau):
    """L(r, pi*) <= L(r*, pi*) <= L(r*, pi), L = E_E[phi(r)] - E_pi[r] - tau H(pi)."""
    expert = an_expert(world)

    def game(reward, d):
        return ((expert * iq.DIVERGENCES[name](reward)).sum() - (d * reward).sum()
                - tau * entropy(d))

    q = best_q(world, expert, name, tau)
    reward, d = recovered(world, q, tau), occupancy(world, soft_policy(q, tau))
    here = game(reward, d)
    near(here, objective(world, q, expert, name, tau), 1e-8)
    for scale in 0.01, 0.1, 1.0:
        assert game(reward + world.numbers(scale=scale), d) <= here + 1e-9
        assert game(reward, an_expert(world)) >= here - 1e-9


@smooth
@solved
@given(world=small, tau=taus)
def test_the_best_reward_is_where_phi_is_as_steep_as_learner_over_expert(
        name, world, tau):
    expert = an_expert(world)
    q = best_q(world, expert, name, tau)
    reward = recovered(world, q, tau).requires_grad_()
    steep, = torch.autograd.grad(iq.DIVERGENCES[name](reward).sum(), reward)
    near(steep, occupancy(world, soft_policy(q, tau)) / expert, 1e-5)


@given(worlds(), taus)
def test_given_the_reward_its_second_term_is_the_best_return_with_entropy(world, tau):
    """(1-gamma) E[V(s0)] = max_pi E_pi[r] + tau H(pi): the inner player is solved."""
    q = world.numbers()
    reward = recovered(world, q, tau)
    v0 = (1 - world.gamma) * world.start @ iq.soft_value(q, tau)
    d, other = occupancy(world, soft_policy(q, tau)), an_expert(world)
    near((d * reward).sum() + tau * entropy(d), v0, 1e-9)
    assert (other * reward).sum() + tau * entropy(other) <= v0 + 1e-9


# --------------------------------------------------- total variation, which has corners

def best_bounded_reward(world, expert, tau):
    """max over |r| <= 1 of E_expert[r] - max_pi (E_pi[r] + tau H(pi)), by L-BFGS-B."""
    def fun(r):
        r = torch.tensor(r).view(world.shape)
        _, policy = value_iteration(world, r, tau)
        d = occupancy(world, policy)
        value = (expert * r).sum() - (d * r).sum() - tau * entropy(d)
        return -value.item(), -(expert - d).flatten().numpy()

    n = expert.numel()
    done = minimize(fun, np.zeros(n), jac=True, method="L-BFGS-B",
                    bounds=[(-1, 1)] * n,
                    options={"ftol": 1e-15, "gtol": 1e-9, "maxiter": 500})
    return torch.tensor(done.x).view(world.shape)


def nearest_by_total_variation(world, expert, tau):
    """Least sum(t) - tau H(d) with -t <= d - d_expert <= t, by SLSQP."""
    centre, directions = (x.numpy() for x in flow(world))
    n, k = directions.shape
    e = expert.flatten().numpy()

    def occupied(z):
        return torch.tensor(centre + directions @ z[:k]).view(world.shape)

    def fun(z):
        d = occupied(z).clamp(min=1e-12).requires_grad_()
        h = entropy(d)
        slope, = torch.autograd.grad(h, d)
        jac = np.concatenate([-tau * slope.flatten().numpy() @ directions, np.ones(n)])
        return z[k:].sum() - tau * h.item(), jac

    eye = np.eye(n)
    a = np.block([[-directions, eye], [directions, eye], [directions, 0 * eye]])
    b = np.concatenate([centre - e, e - centre, -centre + 1e-9])
    start = np.concatenate([np.zeros(k), np.abs(centre - e) + 0.01])
    done = minimize(fun, start, jac=True, method="SLSQP",
                    constraints={"type": "ineq", "fun": lambda z: a @ z - b,
                                 "jac": lambda z: a},
                    options={"ftol": 1e-12, "maxiter": 500})
    d = occupied(done.x)
    return d, divergence("total_variation", d, expert) - tau * entropy(d)


@solved
@given(world=small, tau=taus)
def test_for_total_variation_too_the_best_Q_comes_to_the_least_distance(world, tau):
    expert = an_expert(world)
    q, _ = value_iteration(world, best_bounded_reward(world, expert, tau), tau)
    d, least = nearest_by_total_variation(world, expert, tau)
    reached = objective(world, q, expert, "total_variation", tau)
    near(reached, least, 1e-5)
    near(occupancy(world, soft_policy(q, tau)), d, 1e-2)
    nudged = q + world.numbers(scale=0.01)
    assert objective(world, nudged, expert, "total_variation", tau) <= least + 1e-6


@solved
@given(small)
def test_for_total_variation_a_small_tau_already_gives_the_expert_itself(world):
    """|d - d_E| has a corner at the expert, which a weak pull does not leave."""
    expert = an_expert(world)
    d, _ = nearest_by_total_variation(world, expert, 0.005)
    near(d, expert, 1e-5)


# ------------------------------------------------------------------- the expert's limit

def apart(d, expert):
    return (d - expert).abs().sum()


@smooth
@solved
@given(world=worlds(states=(1, 3), actions=(2, 3), terminal=(0, 1)))
def test_the_policy_is_not_the_expert_s_but_comes_to_it_as_tau_falls(name, world):
    """Ten times less temperature, ten times nearer: the pull of entropy is linear."""
    expert = an_expert(world)
    gaps = []
    for tau in 1.0, 0.01, 0.001:
        q = best_q(world, expert, name, tau)
        gaps.append(apart(occupancy(world, soft_policy(q, tau)), expert))
    if gaps[0] > 1e-3:  # unless the expert is near to uniform
        assert gaps[0] > gaps[1] > gaps[2]
        assert 5 < gaps[1] / gaps[2] < 20
    assert gaps[2] < 0.01


@solved
@given(world=worlds(states=(1, 3), actions=(2, 3), terminal=(0, 1)))
def test_for_chi2_it_comes_to_the_expert_as_alpha_grows(world):
    expert, tau, gaps = an_expert(world), 0.5, []
    for alpha in 0.5, 50.0, 500.0:
        def loss(q, alpha=alpha):
            r = recovered(world, q.view(world.shape), tau)
            v0 = world.start @ iq.soft_value(q.view(world.shape), tau)
            phi = iq.DIVERGENCES["chi2"](r, alpha)
            return (1 - world.gamma) * v0 - (expert * phi).sum()

        zeros = torch.zeros(expert.numel(), dtype=torch.float64)
        q = minimise(loss, zeros).view(world.shape)
        d = nearest_occupancy(
            world, lambda d, a=alpha: (expert * F["chi2"](d / expert, a)).sum(), tau)
        near(occupancy(world, soft_policy(q, tau)), d, 1e-6)
        gaps.append(apart(d, expert))
    if gaps[0] > 1e-3:
        assert gaps[0] > gaps[1] > gaps[2]
        assert 5 < gaps[1] / gaps[2] < 20
    assert gaps[2] < 0.01


# ----------------------------------------------- the same by iq_loss on rows of a diary

@st.composite
def diaries(draw):
    """A world without chance, a diary of it, and the states its episodes start in.

    The diary has every (s, a) a few times, row by row, as no policy need have done.
    """
    world = draw(worlds(states=(1, 3), actions=(2, 3), terminal=(0, 1),
                        deterministic=True))
    s, a = torch.tensor(list(np.ndindex(*world.shape))).T
    often = torch.tensor(world.rng.integers(2, 6, len(s)))
    starts = torch.arange(world.shape[0]).repeat_interleave(
        torch.tensor(world.rng.integers(1, 4, world.shape[0])))
    began = torch.bincount(starts) / len(starts)
    world = World(world.P, began.double(), world.gamma, world.rng)
    return world, s.repeat_interleave(often), a.repeat_interleave(often), starts


@smooth
@solved
@given(made=diaries(), tau=st.sampled_from([1.0, 2.0]),
       alpha=st.sampled_from([0.2, 0.5]))
def test_minimising_iq_loss_on_a_diary_finds_the_policy_nearest_to_the_diary(
        name, made, tau, alpha):
    world, s, a, starts = made
    next_s = world.P[s, a].argmax(1)
    ended = next_s >= world.shape[0]
    counts = torch.zeros(world.shape).index_put(
        (s, a), torch.ones(len(s)), accumulate=True)
    expert = counts.double() / len(s)

    def loss(q):
        q = q.view(world.shape)
        v = iq.soft_value(q, tau)
        return iq.iq_loss(
            q[s, a], v[s], world.beyond(v)[next_s], ended, torch.ones_like(ended),
            gamma=world.gamma, divergence=name, chi2_alpha=alpha,
            value_term="initial", initial_value=v[starts])[0]

    def distance(d):
        f = F[name](d / expert, alpha) if name == "chi2" else F[name](d / expert)
        return (expert * f).sum()

    q = minimise(loss, torch.zeros(expert.numel(), dtype=torch.float64))
    d = nearest_occupancy(world, distance, tau)
    assert (d / expert).max() < iq.MAX_RATIO
    near(-loss(q), distance(d) - tau * entropy(d), 1e-7)
    policy = d / d.sum(1, keepdim=True)
    near(soft_policy(q.view(world.shape), tau), policy, 1e-5)


@pytest.mark.parametrize("name", [*F, "wasserstein"])
@given(world=worlds(), tau=taus)
def test_where_chance_moves_the_rows_of_a_diary_ask_for_no_more_than_the_exact_mean(
        name, world, tau):
    """phi of one s' at a time is at most phi of their mean: phi is concave."""
    q, expert = world.numbers(), an_expert(world)
    v = world.beyond(iq.soft_value(q, tau), worth=0.0)
    rows = iq.DIVERGENCES[name](iq.inverse_bellman(
        q[world.s, world.a], v[world.next_s], world.ended, world.gamma))
    exact = iq.DIVERGENCES[name](recovered(world, q, tau))
    assert (expert * world.mean(rows)).sum() <= (expert * exact).sum() + 1e-9


@given(worlds(), taus, st.sampled_from(SMOOTH))
def test_telescoped_over_the_expert_the_objective_is_the_same(world, tau, name):
    q, expert = world.numbers(), an_expert(world)
    v = iq.soft_value(q, tau)
    drop = world.mean(iq.inverse_bellman(
        v[world.s], world.beyond(v)[world.next_s], world.ended, world.gamma))
    phi = iq.DIVERGENCES[name](recovered(world, q, tau))
    near((expert * (phi - drop)).sum(), objective(world, q, expert, name, tau), 1e-9)


def test_worth_and_value_iteration_agree_that_the_world_is_solved():
    """The two ways of this file to solve a world for itself, against each other."""
    world = World(torch.tensor([[[0.5, 0.5], [0.0, 1.0]], [[1.0, 0.0], [0.2, 0.8]]],
                               dtype=torch.float64),
                  torch.tensor([1.0, 0.0], dtype=torch.float64), 0.9,
                  np.random.default_rng(0))
    reward = torch.tensor([[1.0, 0.0], [0.0, 2.0]], dtype=torch.float64)
    q, policy = value_iteration(world, reward, 0.7)
    near(worth(world, policy, reward, 0.7), q, 1e-9)
