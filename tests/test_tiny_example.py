"""The tiny example of the story, number by number: by hand and by iq.py's functions.

Two states, two actions; Q(s1,.) = (1.2, 0.5), Q(s2,.) = (0.3, 0.8), temperature 1; one
line in the diary: in s1 the expert did a1 and came to s2.
"""
from math import exp, log

import pytest
import torch

import iq

GAMMA, ALPHA, ETA = 0.9, 0.5, 0.1
V1 = log(exp(1.2) + exp(0.5))
V2 = log(exp(0.3) + exp(0.8))
DELTA = 1.2 - GAMMA * V2  # the reward that Q itself implies
PI1 = exp(1.2 - V1), exp(0.5 - V1)  # pi(.|s1)
PI2 = exp(0.3 - V2), exp(0.8 - V2)
going_on, diary = torch.tensor([False]), torch.tensor([True])


def table():
    return torch.tensor([[1.2, 0.5], [0.3, 0.8]], dtype=torch.float64,
                        requires_grad=True)


def places(x):
    """x to six places."""
    return round(torch.as_tensor(x).item(), 6)


def loss_of(q, value_term="expert", hold_v=False):
    v = iq.soft_value(q, 1.0)
    v = v.detach() if hold_v else v
    return iq.iq_loss(
        q[0, :1], v[:1], v[1:], going_on, diary, gamma=GAMMA, divergence="chi2",
        chi2_alpha=ALPHA, chi2_on="expert", value_term=value_term)


def test_the_value_of_s2():
    assert places(V2) == 1.274077
    assert places(iq.soft_value(table(), 1.0)[1]) == 1.274077


def test_the_value_of_s1():
    assert places(V1) == 1.603186
    assert places(iq.soft_value(table(), 1.0)[0]) == 1.603186


def test_the_later_part():
    assert places(GAMMA * V2) == 1.146669
    v2 = iq.soft_value(table(), 1.0)[1:]
    later = iq.soft_bellman(torch.zeros_like(v2), v2, going_on, GAMMA)
    assert places(later) == 1.146669


def test_the_reward_that_is_recovered():
    assert places(DELTA) == 0.053331
    q = table()
    v = iq.soft_value(q, 1.0)
    delta = iq.inverse_bellman(q[0, :1], v[1:], going_on, GAMMA)
    assert places(delta) == 0.053331
    assert places(iq.soft_bellman(delta, v[1:], going_on, GAMMA)) == 1.2


def test_phi_of_that_reward_and_the_online_loss_without_its_value_term():
    assert places(-DELTA + DELTA**2 / 2) == -0.051909
    delta = torch.tensor(DELTA, dtype=torch.float64)
    assert places(-iq.DIVERGENCES["chi2"](delta, ALPHA)) == -0.051909
    _, info = loss_of(table())
    assert places(info["expert_term"] + info["chi2_term"]) == -0.051909


def test_the_offline_loss():
    assert places(-(1.2 - V1) + DELTA**2 / (4 * ALPHA)) == 0.404608
    loss, info = loss_of(table())
    assert places(loss) == 0.404608
    assert places(info["reward_expert"]) == 0.053331
    assert places(info["max_q"]) == 1.2


def test_the_offline_loss_is_the_clone_s_plus_a_penalty_on_the_reward():
    penalty = DELTA**2 / (4 * ALPHA)
    cross_entropy = -iq.soft_policy(table(), 1.0)[0, 0]
    assert places(-log(PI1[0])) == places(cross_entropy)
    assert places(cross_entropy + penalty) == 0.404608


def test_the_simplified_step_which_holds_v_constant():
    assert places(-1 + DELTA) == -0.946669
    assert places(1.2 - ETA * (-1 + DELTA)) == 1.294667
    q = table()
    slope, = torch.autograd.grad(loss_of(q, hold_v=True)[0], q)
    stepped = q - ETA * slope
    assert places(stepped[0, 0]) == 1.294667
    assert torch.equal(stepped.flatten()[1:], q.flatten()[1:])  # nothing else moves


def test_the_full_gradient_of_the_offline_loss():
    by_hand = {
        (0, 0): -1 + PI1[0] + DELTA,  # Q itself, V(s1), and the reward
        (0, 1): PI1[1],  # only through V(s1)
        (1, 0): -GAMMA * PI2[0] * DELTA,  # only through V(s2)
        (1, 1): -GAMMA * PI2[1] * DELTA}
    q = table()
    slope, = torch.autograd.grad(loss_of(q)[0], q)
    for where, x in by_hand.items():
        assert slope[where].item() == pytest.approx(x, abs=1e-12)
    assert places(by_hand[0, 0]) == places(slope[0, 0]) == -0.278482


@pytest.mark.parametrize("where, after", [
    ((0, 0), 1.227848), ((0, 1), 0.466819), ((1, 0), 0.301812), ((1, 1), 0.802988)])
def test_the_full_step(where, after):
    q = table()
    slope, = torch.autograd.grad(loss_of(q)[0], q)
    assert places((q - ETA * slope)[where]) == after


def test_the_figures_of_the_story_are_these_rounded_but_for_two():
    story = {"V(s2)": (V2, 1.274), "gamma V(s2)": (GAMMA * V2, 1.147),
             "delta": (DELTA, 0.053), "online": (-DELTA + DELTA**2 / 2, -0.052)}
    for exact, printed in story.values():
        assert round(exact, 3) == printed
    assert round(V1, 3) == 1.603  # printed 1.604
    assert round(V1 - 1.2 + DELTA**2 / 2, 3) == 0.405  # printed 0.406
