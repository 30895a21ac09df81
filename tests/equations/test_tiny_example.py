"""The tiny example of the story, number by number: by hand and by iq.py's functions.

Two states, two actions; Q(s1,.) = (1.2, 0.5), Q(s2,.) = (0.3, 0.8), temperature 1; one
transition: in s1 the expert did a1 and came to s2.
"""
from math import exp, log

import pytest
import torch

import iq

GAMMA, ALPHA, ETA = 0.9, 0.5, 0.1
V1 = log(exp(1.2) + exp(0.5))
V2 = log(exp(0.3) + exp(0.8))
DELTA = 1.2 - GAMMA * V2  # the reward that Q itself implies
is_expert = torch.tensor([True])


def table():
    return torch.tensor([[1.2, 0.5], [0.3, 0.8]], dtype=torch.float64,
                        requires_grad=True)


def places(x):
    """x to six places."""
    return round(torch.as_tensor(x).item(), 6)


def loss_of(q, hold_v=False):
    """Eq. 12 of the one line."""
    v = iq.soft_value(q, 1.0)
    v = v.detach() if hold_v else v
    return iq.iq_loss(q[0, :1], v[:1], v[1:], is_expert, gamma=GAMMA, chi2_alpha=ALPHA,
                      chi2_on="expert", value_term=0)


def test_both_values():
    v = iq.soft_value(table(), 1.0)
    assert places(V1) == places(v[0]) == 1.603186
    assert places(V2) == places(v[1]) == 1.274077


def test_the_later_part_and_the_reward_that_is_recovered():
    q, v2 = table(), iq.soft_value(table(), 1.0)[1]
    assert places(GAMMA * V2) == places(iq.soft_bellman(0, v2, GAMMA)) == 1.146669
    delta = iq.inverse_bellman(q[0, 0], v2, GAMMA)
    assert places(DELTA) == places(delta) == 0.053331
    assert places(iq.soft_bellman(delta, v2, GAMMA)) == 1.2


def test_the_online_loss_without_its_value_term():
    assert places(-DELTA + DELTA**2 / 2) == -0.051909
    delta = torch.tensor(DELTA, dtype=torch.float64)
    assert places(-iq.DIVERGENCES["chi2"](delta, ALPHA)) == -0.051909
    assert places(loss_of(table())[1]["expert_term"]) == -0.051909


def test_the_offline_loss_is_the_clone_s_plus_a_penalty_on_the_reward():
    assert places(-(1.2 - V1) + DELTA**2 / (4 * ALPHA)) == 0.404608
    loss, info = loss_of(table())
    assert places(loss) == 0.404608
    assert places(info["reward_expert"]) == 0.053331
    cross_entropy = -iq.soft_policy(table(), 1.0)[0, 0]
    assert places(cross_entropy + DELTA**2 / (4 * ALPHA)) == 0.404608


def test_the_simplified_step_which_holds_v_constant():
    assert places(1.2 - ETA * (-1 + DELTA)) == 1.294667
    q = table()
    slope, = torch.autograd.grad(loss_of(q, hold_v=True)[0], q)
    stepped = q - ETA * slope
    assert places(stepped[0, 0]) == 1.294667
    assert torch.equal(stepped.flatten()[1:], q.flatten()[1:])  # nothing else moves


@pytest.mark.parametrize("where, by_hand, after", [
    ((0, 0), -1 + exp(1.2 - V1) + DELTA, 1.227848),  # Q itself, V(s1), the reward
    ((0, 1), exp(0.5 - V1), 0.466819),  # only through V(s1)
    ((1, 0), -GAMMA * exp(0.3 - V2) * DELTA, 0.301812),  # only through V(s2)
    ((1, 1), -GAMMA * exp(0.8 - V2) * DELTA, 0.802988)])
def test_the_full_step(where, by_hand, after):
    q = table()
    slope, = torch.autograd.grad(loss_of(q)[0], q)
    assert slope[where].item() == pytest.approx(by_hand, abs=1e-12)
    assert places((q - ETA * slope)[where]) == after
    assert places(slope[0, 0]) == -0.278482


def test_the_figures_of_the_story_are_these_rounded_but_for_two():
    story = [(V2, 1.274), (GAMMA * V2, 1.147), (DELTA, 0.053),
             (-DELTA + DELTA**2 / 2, -0.052), (1.2 - ETA * (DELTA - 1), 1.295)]
    assert [round(exact, 3) for exact, _ in story] == [printed for _, printed in story]
    assert round(V1, 3) == 1.603  # printed 1.604
    assert round(V1 - 1.2 + DELTA**2 / 2, 3) == 0.405  # printed 0.406
