"""Each phi in DIVERGENCES, and the divergence that it stands for."""
import math

import numpy as np
import pytest
import torch
from helpers import F, assert_near
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar

import iq

PHI, R = iq.DIVERGENCES, iq.MAX_RATIO
CONTINUED = [name for name in PHI if name != "chi2"]
BY_HAND = {  # phi(r) as the table of MATH.md has it, where it isn't continued
    "chi2": lambda r: r - r * r / 2,
    "reverse_kl": lambda r: 1 - math.exp(-r),
    "forward_kl": lambda r: math.log(1 + r),
    "hellinger": lambda r: r / (1 + r),
    "jensen_shannon": lambda r: math.log(2 - math.exp(-r)),
    "total_variation": lambda r: min(r, 1.0)}
FROM = {  # where phi is as steep as R, or stops: what is below is a tangent
    "chi2": -3.0, "reverse_kl": -math.log(R), "forward_kl": 1 / R - 1,
    "hellinger": R**-0.5 - 1, "jensen_shannon": math.log((1 + R) / (2 * R)),
    "total_variation": -1.0}
rewards = st.floats(-20, 20)
ratios = st.floats(-2, 1.5).map(lambda x: 10**x)  # learner over expert, below R
every = pytest.mark.parametrize("name", PHI)
continued = pytest.mark.parametrize("name", CONTINUED)


def at(name, r):
    return PHI[name](torch.as_tensor(r, dtype=torch.float64))


def slope(name, r):
    r = torch.as_tensor(r, dtype=torch.float64).clone().requires_grad_()
    return torch.autograd.grad(PHI[name](r).sum(), r)[0]


def test_the_six_are_here():
    assert set(PHI) == set(BY_HAND) == set(F)


@every
@given(r=st.floats(0, 1))
def test_phi_is_what_the_table_says(name, r):
    r = FROM[name] + (3 - FROM[name]) * r
    assert at(name, r).item() == pytest.approx(BY_HAND[name](r), rel=1e-9, abs=1e-12)


@given(rewards, st.floats(0.01, 100))
def test_chi2_charges_the_square_over_4_alpha(r, alpha):
    phi = PHI["chi2"](torch.tensor(r, dtype=torch.float64), alpha)
    assert phi.item() == pytest.approx(r - r**2 / (4 * alpha))


@every
def test_phi_is_0_at_0_with_slope_1(name):
    assert at(name, 0.0) == 0
    assert slope(name, 0.0) == 1


@every
@given(a=rewards, b=rewards, t=st.floats(0, 1))
def test_phi_is_concave_and_so_never_exceeds_its_argument(name, a, b, t):
    middle = at(name, t * a + (1 - t) * b)
    chord = t * at(name, a) + (1 - t) * at(name, b)
    assert middle >= chord - 1e-9 * (1 + chord.abs())
    assert at(name, a) <= a + 1e-12


@every
@pytest.mark.parametrize("r", [-1e4, -90.0, 90.0, 1e4])
def test_phi_and_its_slope_are_finite_everywhere_in_single_precision(name, r):
    r = torch.tensor(r, requires_grad=True)
    phi = PHI[name](r)
    assert phi.isfinite() and torch.autograd.grad(phi, r)[0].isfinite()


# ------------------------------------------------------------------ conjugacy with f(u)

@every
@given(u=ratios, r=rewards)
def test_the_largest_phi_of_r_less_u_r_is_f_of_u(name, u, r):
    best = minimize_scalar(lambda r: float(u * r - at(name, r)), method="bounded",
                           bounds=(-70, 10 + 1 / u), options={"xatol": 1e-9})
    f = float(F[name](torch.tensor(u, dtype=torch.float64)))
    assert -best.fun == pytest.approx(f, rel=1e-6, abs=1e-7)
    assert at(name, r) - u * r <= f + 1e-9


@pytest.mark.parametrize("name", [name for name in PHI if name != "total_variation"])
@given(u=ratios)
def test_the_best_reward_is_where_phi_is_as_steep_as_learner_over_expert(name, u):
    u = torch.tensor(u, dtype=torch.float64, requires_grad=True)
    steepness, = torch.autograd.grad(F[name](u), u)
    assert_near(slope(name, -steepness), u.detach())  # the best r is -f'(u)


@continued
@given(r=st.floats(0, 50))
def test_below_its_domain_phi_goes_on_as_its_tangent(name, r):
    point = FROM[name]
    assert at(name, point).item() == pytest.approx(BY_HAND[name](point))
    line = at(name, point) - R * r
    assert at(name, point - r).item() == pytest.approx(line.item(), rel=1e-6)
    assert slope(name, point - r - 1e-9).item() == pytest.approx(R)
    if name != "total_variation":  # whose slope jumps from 1 to R
        assert slope(name, point + 1e-7).item() == pytest.approx(R, rel=1e-4)


@continued
@given(u=st.floats(1.01, 10))
def test_nothing_changes_unless_learner_over_expert_exceeds_that_ratio(name, u):
    far = torch.linspace(-1e3, -1e2, 9, dtype=torch.float64)
    under, over = R / u, R * u
    f = F[name](torch.tensor(under, dtype=torch.float64))
    assert (at(name, far) - under * far <= f + 1e-9).all()  # the best is still f
    climb = at(name, far) - over * far  # and without end once u > MAX_RATIO
    assert (climb.diff() < 0).all() and climb[0] > 1e2


# ---------------------------------------------------------- where chi2 is taken: trap 1

@pytest.mark.parametrize("chi2_on", ["expert", "mixture"])
@given(counts=st.lists(st.tuples(st.integers(1, 6), st.integers(0, 6)), min_size=2,
                       max_size=6), alpha=st.floats(0.05, 5))
def test_on_the_mixture_the_best_rewards_are_within_4_alpha_on_the_expert_they_are_not(
        chi2_on, counts, alpha):
    """With gamma 0 a reward is Q, and the value of a state that replay visits."""
    expert, policy = np.array(counts).T
    expert[0] += max(0, policy.sum() - expert.sum())  # as many rows of each
    policy[0] += max(0, expert.sum() - policy.sum())
    each = np.arange(len(counts))
    where = np.concatenate([np.repeat(each, n) for n in (expert, policy)])
    is_expert = torch.arange(len(where)) < expert.sum()
    if chi2_on == "expert":
        best = 2 * alpha * (1 - policy / expert)
    else:
        best = 4 * alpha * (expert - policy) / (expert + policy)
        assert (abs(best) <= 4 * alpha + 1e-9).all()
    best = torch.tensor(best, requires_grad=True)
    q = best[where]
    loss, _ = iq.iq_loss(
        q, q, q, is_expert, gamma=0.0, chi2_alpha=alpha, chi2_on=chi2_on,
        value_term="initial", initial_value=q[~is_expert])
    slope, = torch.autograd.grad(loss, best)
    assert_near(slope, torch.zeros_like(slope))
