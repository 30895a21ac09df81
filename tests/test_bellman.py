"""The soft Bellman equation, now plus later, and its inverse that recovers rewards."""
import torch
from hypothesis import given
from worlds import near, temperatures, value_iteration, worlds, worth

import iq


def policy_value(q, policy, tau):
    """V(s) = E_pi[Q(s,a) - tau log pi(a|s)], for any policy, not only the soft one."""
    return (policy * q).sum(1) + tau * -torch.special.xlogy(policy, policy).sum(1)


def backup(world, reward, v):
    return iq.soft_bellman(reward, world.later(v), world.gamma)


def recover(world, q, v):
    return iq.inverse_bellman(q, world.later(v), world.gamma)


def test_by_hand_it_is_r_plus_gamma_v():
    r, v = torch.tensor([1.0, -2.0]), torch.tensor([10.0, 3.0])
    assert iq.soft_bellman(r, v, 0.5).tolist() == [6.0, -0.5]
    assert iq.inverse_bellman(r, v, 0.5).tolist() == [-4.0, -3.5]


@given(worlds(), temperatures)
def test_for_any_policy_Q_and_reward_are_one_to_one(world, tau):
    x, policy = world.numbers(), world.policy()
    q = worth(world, policy, x, tau)
    near(recover(world, q, policy_value(q, policy, tau)), x)
    reward = recover(world, x, policy_value(x, policy, tau))
    near(worth(world, policy, reward, tau), x)


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
    near(after[1] - after[0], torch.full_like(q, world.gamma))


@given(worlds(), temperatures)
def test_iterating_it_ends_at_the_best_policy_and_its_inverse_gives_the_reward_back(
        world, tau):
    reward = world.numbers()
    q = torch.zeros(world.shape, dtype=torch.float64)
    for _ in range(300):
        q = backup(world, reward, iq.soft_value(q, tau))
    best, policy = value_iteration(world, reward, tau)
    near(q, best)
    near(iq.soft_policy(q, tau).exp(), policy, 1e-6)
    assert (worth(world, world.policy(), reward, tau) <= q + 1e-9).all()
    near(recover(world, q, iq.soft_value(q, tau)), reward)
