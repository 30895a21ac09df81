"""The soft Bellman equation, now plus later, and its inverse that recovers rewards."""
import pytest
import torch
from hypothesis import given
from worlds import occupancy, temperatures, value_iteration, worlds, worth

import iq


def policy_value(q, policy, tau):
    """V(s) = E_pi[Q(s,a) - tau log pi(a|s)], for any policy, not only the soft one."""
    return (policy * q).sum(1) + tau * -torch.special.xlogy(policy, policy).sum(1)


def backup(world, reward, v):
    """(T Q)(s,a) = E_{s'}[soft_bellman], over every triple (s, a, s')."""
    s, a, next_s = world.s, world.a, world.next_s
    return world.mean(iq.soft_bellman(
        reward[s, a], world.beyond(v)[next_s], world.ended, world.gamma))


def recover(world, q, v):
    """r(s,a) = E_{s'}[inverse_bellman], over every triple (s, a, s')."""
    s, a, next_s = world.s, world.a, world.next_s
    return world.mean(iq.inverse_bellman(
        q[s, a], world.beyond(v)[next_s], world.ended, world.gamma))


def test_by_hand_it_is_r_plus_gamma_v_and_r_alone_at_the_end():
    r, v = torch.tensor([1.0, 1.0, -2.0]), torch.tensor([10.0, 10.0, 3.0])
    ended = torch.tensor([False, True, False])
    assert iq.soft_bellman(r, v, ended, 0.5).tolist() == [6.0, 1.0, -0.5]
    assert iq.inverse_bellman(r, v, ended, 0.5).tolist() == [-4.0, 1.0, -3.5]


@given(worlds())
def test_row_by_row_each_undoes_the_other(world):
    q, v = world.numbers()[world.s, world.a], world.numbers(len(world.s))
    args = v, world.ended, world.gamma
    there = iq.soft_bellman(iq.inverse_bellman(q, *args), *args)
    back = iq.inverse_bellman(iq.soft_bellman(q, *args), *args)
    torch.testing.assert_close(there, q, rtol=0, atol=1e-12)
    torch.testing.assert_close(back, q, rtol=0, atol=1e-12)


@pytest.mark.parametrize("worth", [float("nan"), float("inf"), 1e30])
def test_what_a_terminal_state_would_be_worth_is_never_read(worth):
    ended, q = torch.tensor([True, False]), torch.tensor([1.0, 2.0])
    v = torch.tensor([worth, 4.0], requires_grad=True)
    for step in iq.soft_bellman, iq.inverse_bellman:
        x = step(q, v, ended, 0.9)
        assert x[0] == 1 and x.isfinite().all()
        slope, = torch.autograd.grad(x.sum(), v)
        assert slope[0] == 0 and abs(slope[1]) == pytest.approx(0.9)


@given(worlds(), temperatures)
def test_for_any_policy_reward_to_Q_to_reward_comes_back(world, tau):
    reward, policy = world.numbers(), world.policy()
    q = worth(world, policy, reward, tau)
    back = recover(world, q, policy_value(q, policy, tau))
    torch.testing.assert_close(back, reward, rtol=0, atol=1e-9)


@given(worlds(), temperatures)
def test_for_any_policy_Q_to_reward_to_Q_comes_back(world, tau):
    q, policy = world.numbers(), world.policy()
    reward = recover(world, q, policy_value(q, policy, tau))
    torch.testing.assert_close(worth(world, policy, reward, tau), q, rtol=0, atol=1e-9)


@given(worlds(), temperatures)
def test_the_fixed_point_for_a_policy_solves_the_linear_system(world, tau):
    reward, policy = world.numbers(), world.policy()
    q = torch.zeros(world.shape, dtype=torch.float64)
    for _ in range(300):
        q = backup(world, reward, policy_value(q, policy, tau))
    torch.testing.assert_close(q, worth(world, policy, reward, tau))


@given(worlds(), temperatures)
def test_its_worth_at_the_start_is_what_its_occupancy_collects(world, tau):
    reward, policy = world.numbers(), world.policy()
    v = policy_value(worth(world, policy, reward, tau), policy, tau)
    d = occupancy(world, policy)
    collected = (d * (reward - tau * policy.log())).sum()
    torch.testing.assert_close((1 - world.gamma) * world.start @ v, collected)


@given(worlds(), temperatures)
def test_the_soft_bellman_operator_brings_any_two_Q_closer_by_gamma(world, tau):
    reward, one, two = world.numbers(), world.numbers(), world.numbers(scale=5)
    after = [backup(world, reward, iq.soft_value(q, tau)) for q in (one, two)]
    before = (one - two).abs().max()
    assert (after[0] - after[1]).abs().max() <= world.gamma * before + 1e-12


@given(worlds(terminal=(0, 0)), temperatures)
def test_no_smaller_factor_would_do_where_nothing_ends(world, tau):
    reward, q = world.numbers(), world.numbers()
    after = [backup(world, reward, iq.soft_value(q + c, tau)) for c in (0, 1)]
    torch.testing.assert_close(after[1] - after[0], torch.full_like(q, world.gamma))


@given(worlds(), temperatures)
def test_iterating_it_ends_at_the_best_policy_s_own_Q(world, tau):
    reward = world.numbers()
    q = torch.zeros(world.shape, dtype=torch.float64)
    for _ in range(300):
        q = backup(world, reward, iq.soft_value(q, tau))
    best, policy = value_iteration(world, reward, tau)
    torch.testing.assert_close(q, best)
    torch.testing.assert_close(iq.soft_policy(q, tau).exp(), policy)
    torch.testing.assert_close(worth(world, policy, reward, tau), q)
    assert (worth(world, world.policy(), reward, tau) <= q + 1e-9).all()
    torch.testing.assert_close(recover(world, q, iq.soft_value(q, tau)), reward)
