"""Each phi in DIVERGENCES, and the divergence that it stands for."""
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from worlds import F, chances, minimise, numbers, occupancy, seeds, worlds

import iq

PHI = iq.DIVERGENCES
R = iq.MAX_RATIO  # where phi would be steeper than this it goes on as its tangent
SMOOTH = [name for name in F if name != "total_variation"]
SAFE = {  # where the tangent takes over: phi'(point) = R
    "reverse_kl": -math.log(R), "forward_kl": 1 / R - 1, "hellinger": R**-0.5 - 1,
    "jensen_shannon": -math.log(2 * R / (1 + R)), "total_variation": -1.0}
BY_HAND = {  # phi(r) as the table of MATH.md has it, where it isn't continued
    "chi2": lambda r: r - r * r / 2,
    "reverse_kl": lambda r: 1 - math.exp(-r),
    "forward_kl": lambda r: math.log(1 + r),
    "hellinger": lambda r: r / (1 + r),
    "jensen_shannon": lambda r: math.log(2 - math.exp(-r)),
    "total_variation": lambda r: min(r, 1.0),
    "wasserstein": lambda r: r}
rewards = st.floats(-20, 20)
every = pytest.mark.parametrize("name", PHI)
each_f = pytest.mark.parametrize("name", F)
each_tangent = pytest.mark.parametrize("name", SAFE)


def at(name, r):
    return PHI[name](torch.as_tensor(r, dtype=torch.float64))


def slope(name, r):
    r = torch.as_tensor(r, dtype=torch.float64).clone().requires_grad_()
    return torch.autograd.grad(PHI[name](r).sum(), r)[0]


def test_all_of_them_are_here():
    assert set(PHI) == set(BY_HAND) == {*F, "wasserstein"}
    assert R >= 10


@every
@given(r=st.floats(0, 1))
def test_phi_is_what_the_table_says(name, r):
    low = max(SAFE.get(name, -3.0), -3.0)
    r = low + (3 - low) * r
    assert at(name, r).item() == pytest.approx(BY_HAND[name](r), rel=1e-9, abs=1e-12)


@given(rewards, st.floats(0.01, 100))
def test_chi2_charges_the_square_over_4_alpha(r, alpha):
    phi = PHI["chi2"](torch.tensor(r, dtype=torch.float64), alpha)
    assert phi.item() == pytest.approx(r - r**2 / (4 * alpha))
    assert at("chi2", r).item() == pytest.approx(r - r**2 / 2)  # alpha = 1/2


@every
def test_phi_is_0_at_0_with_slope_1(name):
    assert at(name, 0.0) == 0
    assert slope(name, 0.0) == 1


@every
@given(r=rewards)
def test_phi_never_exceeds_its_argument(name, r):
    assert at(name, r) <= r + 1e-12


@every
@given(a=rewards, b=rewards, t=st.floats(0, 1))
def test_phi_is_concave(name, a, b, t):
    middle = at(name, t * a + (1 - t) * b)
    chord = t * at(name, a) + (1 - t) * at(name, b)
    assert middle >= chord - 1e-9 * (1 + chord.abs())


@every
@given(a=rewards, step=st.floats(0, 5))
def test_the_slope_of_phi_only_falls(name, a, step):
    assert slope(name, a + step) <= slope(name, a) + 1e-9


@pytest.mark.parametrize("name", [name for name in PHI if name != "chi2"])
@given(r=rewards)
def test_more_reward_is_never_worse_but_for_chi2(name, r):
    assert slope(name, r) >= 0


@every
@given(r=rewards)
def test_the_slope_is_that_of_the_differences(name, r):
    kinks = [1.0, -1.0] if name == "total_variation" else []
    if all(abs(r - kink) > 1e-4 for kink in kinks):
        r = torch.tensor(r, dtype=torch.float64, requires_grad=True)
        assert torch.autograd.gradcheck(PHI[name], r, eps=1e-7, atol=1e-4, rtol=1e-4)


@every
@pytest.mark.parametrize("r", [-1e4, -90.0, 90.0, 1e4])
def test_phi_and_its_slope_are_finite_everywhere_in_single_precision(name, r):
    r = torch.tensor(r, requires_grad=True)
    phi = PHI[name](r)
    assert phi.isfinite() and torch.autograd.grad(phi, r)[0].isfinite()


# ------------------------------------------------------------------ conjugacy with f(u)

@each_f
@given(u=st.floats(-2, 1.5).map(lambda x: 10**x))
def test_the_largest_phi_of_r_less_u_r_is_f_of_u(name, u):
    assert u < R
    best = minimize_scalar(lambda r: float(u * r - at(name, r)), method="bounded",
                           bounds=(-70, 10 + 1 / u), options={"xatol": 1e-9})
    f = float(F[name](torch.tensor(u, dtype=torch.float64)))
    assert -best.fun == pytest.approx(f, rel=1e-6, abs=1e-7)


@each_f
@given(u=st.floats(-2, 1.5).map(lambda x: 10**x), r=rewards)
def test_no_r_gives_more_than_f_of_u(name, u, r):
    f = F[name](torch.tensor(u, dtype=torch.float64))
    assert at(name, r) - u * r <= f + 1e-9


@each_f
def test_f_is_0_where_learner_and_expert_agree_and_positive_elsewhere(name):
    u = torch.tensor([1.0, 0.5, 0.9, 1.1, 3.0], dtype=torch.float64)
    assert F[name](u)[0] == 0 and (F[name](u)[1:] > 0).all()


# --------------------------------------------------------------- the tangent it goes on

@each_tangent
def test_the_tangent_takes_over_where_the_slope_is_the_largest_ratio(name):
    point, near = SAFE[name], 1e-7
    below, there = slope(name, point - near), slope(name, point + near)
    assert below.item() == pytest.approx(R)
    if name != "total_variation":  # C1: neither phi nor its slope jumps
        assert there.item() == pytest.approx(R, rel=1e-4)
    gap = at(name, point + near) - at(name, point - near)
    assert 0 < gap < 3 * R * near


@each_tangent
@given(r=st.floats(0, 50))
def test_below_that_point_phi_is_a_straight_line_of_that_slope(name, r):
    line = at(name, SAFE[name]) - R * r
    assert at(name, SAFE[name] - r).item() == pytest.approx(line.item(), rel=1e-6)
    assert slope(name, SAFE[name] - r - 1e-9).item() == pytest.approx(R)


@each_tangent
@given(u=st.floats(1.01, 10))
def test_nothing_changes_unless_learner_over_expert_exceeds_that_ratio(name, u):
    far = torch.linspace(-1e3, -1e2, 9, dtype=torch.float64)
    under, over = R / u, R * u
    f = F[name](torch.tensor(under, dtype=torch.float64))
    assert (at(name, far) - under * far <= f + 1e-9).all()  # the sup is still f
    climb = at(name, far) - over * far  # and without end once u > MAX_RATIO
    assert (climb.diff() < 0).all() and climb[0] > 1e2


# ---------------------------------------------------------------- tables of occupancies

def gain(name, r, expert, policy):
    """E_expert[phi(r)] - E_policy[r], what the best reward makes the divergence."""
    return (expert * PHI[name](r)).sum() - (policy * r).sum()


def divergence(name, expert, policy):
    return (expert * F[name](policy / expert)).sum()


@pytest.mark.parametrize("name", SMOOTH)
@given(world=worlds(states=(1, 3), actions=(1, 3)))
def test_the_best_reward_tells_learner_from_expert_by_the_divergence(name, world):
    expert, policy = (occupancy(world, world.policy(floor=0.3)) for _ in range(2))
    assert (policy / expert).max() < R
    best = minimise(lambda r: -gain(name, r.view(world.shape), expert, policy),
                    torch.zeros(expert.numel(), dtype=torch.float64)).view(world.shape)
    expected = divergence(name, expert, policy)
    torch.testing.assert_close(
        gain(name, best, expert, policy), expected, rtol=1e-7, atol=1e-8)
    torch.testing.assert_close(  # where phi'(r) = u
        slope(name, best), policy / expert, rtol=1e-4, atol=1e-5)


@given(worlds())
def test_for_total_variation_the_best_reward_is_a_sign(world):
    expert, policy = (occupancy(world, world.policy(floor=0.3)) for _ in range(2))
    best = (expert - policy).sign()
    total = (expert - policy).abs().sum()
    torch.testing.assert_close(gain("total_variation", best, expert, policy), total)
    torch.testing.assert_close(divergence("total_variation", expert, policy), total)
    assert gain("total_variation", world.numbers(), expert, policy) <= total + 1e-9


@each_f
@given(world=worlds())
def test_no_reward_tells_an_expert_from_itself(name, world):
    expert = occupancy(world, world.policy(floor=0.3))
    assert gain(name, world.numbers(scale=3), expert, expert) <= 1e-12
    assert gain(name, torch.zeros(world.shape), expert, expert) == 0


# ---------------------------------------------------------- where chi2 is taken: trap 1

@st.composite
def pairs(draw):
    """The expert's and the learner's share of each of a few (s, a)."""
    rng, n = np.random.default_rng(draw(seeds)), draw(st.integers(2, 8))
    return chances(rng, n), chances(rng, n), draw(st.floats(0.05, 5))


def chi2_gain(r, expert, policy, alpha, rows):
    return ((expert - policy) * r).sum() - (rows * r**2).sum() / (4 * alpha)


@given(pairs(), seeds)
def test_on_expert_rows_the_best_reward_is_2_alpha_times_1_less_u(pair, seed):
    expert, policy, alpha = pair
    best = 2 * alpha * (1 - policy / expert)
    highest = chi2_gain(best, expert, policy, alpha, expert)
    u = policy / expert
    torch.testing.assert_close(highest, alpha * (expert * (u - 1) ** 2).sum())
    other = best + numbers(np.random.default_rng(seed), len(best))
    assert chi2_gain(other, expert, policy, alpha, expert) < highest


@given(pairs(), seeds)
def test_on_the_even_mixture_it_is_bounded_by_4_alpha(pair, seed):
    expert, policy, alpha = pair
    mixture = (expert + policy) / 2
    best = 4 * alpha * (expert - policy) / (expert + policy)
    assert (best.abs() <= 4 * alpha).all()
    highest = chi2_gain(best, expert, policy, alpha, mixture)
    other = best + numbers(np.random.default_rng(seed), len(best))
    assert chi2_gain(other, expert, policy, alpha, mixture) < highest


def rows_of(expert, policy):
    """Counts of visits -> is_expert (B,), and which (s, a) each row is in."""
    where = torch.cat([torch.arange(len(n)).repeat_interleave(n)
                       for n in (expert, policy)])
    return torch.arange(len(where)) < expert.sum(), where


@pytest.mark.parametrize("chi2_on", ["expert", "mixture"])
@given(counts=st.lists(st.tuples(st.integers(1, 6), st.integers(0, 6)), min_size=2,
                       max_size=6), alpha=st.floats(0.05, 5))
def test_the_loss_has_just_these_best_rewards(chi2_on, counts, alpha):
    """With gamma 0 a reward is Q, and the value term over replay is E_policy[r]."""
    expert, policy = torch.tensor(counts).T
    expert[0] += max(0, policy.sum() - expert.sum())  # as many rows of each
    policy[0] += max(0, expert.sum() - policy.sum())
    is_expert, where = rows_of(expert, policy)
    p = expert / expert.sum(), policy / policy.sum()
    best = (2 * alpha * (1 - p[1] / p[0]) if chi2_on == "expert"
            else 4 * alpha * (p[0] - p[1]) / (p[0] + p[1])).double().requires_grad_()
    q = best[where]
    never = torch.zeros_like(is_expert)
    loss, info = iq.iq_loss(
        q, q, q, never, is_expert, gamma=0.0, chi2_alpha=alpha, chi2_on=chi2_on,
        value_term="initial", initial_value=q[~is_expert])
    slope, = torch.autograd.grad(loss, best)
    torch.testing.assert_close(slope, torch.zeros_like(slope), rtol=0, atol=1e-6)
    if chi2_on == "mixture":
        assert info["max_q"] <= 4 * alpha * (1 + 1e-6)


@given(worlds(terminal=(0, 0)), st.floats(0.05, 5))
def test_rewards_within_4_alpha_keep_Q_within_4_alpha_over_1_less_gamma(world, alpha):
    """The bound of trap 1, for the policy that is soft without being paid for it."""
    reward = world.numbers().clamp(-1, 1) * 4 * alpha
    bound = 4 * alpha / (1 - world.gamma)
    q = torch.zeros(world.shape, dtype=torch.float64)
    for _ in range(300):
        v = (iq.soft_policy(q, 1.0).exp() * q).sum(1)
        q = world.mean(iq.soft_bellman(
            reward[world.s, world.a], v[world.next_s], world.ended, world.gamma))
    assert q.abs().max() <= bound * (1 + 1e-9)
    always = torch.full_like(world.P.flatten(), bound)  # and it is reached:
    r = iq.inverse_bellman(always, always, world.ended, world.gamma)
    torch.testing.assert_close(r, torch.full_like(r, 4 * alpha))
