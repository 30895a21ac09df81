"""The soft Bellman equation, now plus later, and its inverse that recovers rewards."""
import torch
from helpers import assert_near, mdps, q_of_policy, temperatures, value_iteration
from hypothesis import given

import iq


def policy_value(q, policy, tau):
    """V(s) = E_pi[Q(s,a) - tau log pi(a|s)], for any policy, not only the soft one."""
    return (policy * q).sum(1) + tau * -torch.special.xlogy(policy, policy).sum(1)


def backup(mdp, reward, v):
    return iq.soft_bellman(reward, mdp.expected(v), mdp.gamma)


def recover(mdp, q, v):
    return iq.inverse_bellman(q, mdp.expected(v), mdp.gamma)


def test_by_hand_it_is_r_plus_gamma_v():
    r, v = torch.tensor([1.0, -2.0]), torch.tensor([10.0, 3.0])
    assert iq.soft_bellman(r, v, 0.5).tolist() == [6.0, -0.5]
    assert iq.inverse_bellman(r, v, 0.5).tolist() == [-4.0, -3.5]


@given(mdps(), temperatures)
def test_for_any_policy_Q_and_reward_are_one_to_one(mdp, tau):
    x, policy = mdp.table(), mdp.policy()
    q = q_of_policy(mdp, policy, x, tau)
    assert_near(recover(mdp, q, policy_value(q, policy, tau)), x)
    reward = recover(mdp, x, policy_value(x, policy, tau))
    assert_near(q_of_policy(mdp, policy, reward, tau), x)


@given(mdps(), temperatures)
def test_the_soft_bellman_operator_brings_any_two_Q_closer_by_gamma(mdp, tau):
    reward, one, two = mdp.table(), mdp.table(), mdp.table(scale=5)
    after = [backup(mdp, reward, iq.soft_value(q, tau)) for q in (one, two)]
    before = (one - two).abs().max()
    assert (after[0] - after[1]).abs().max() <= mdp.gamma * before + 1e-12


@given(mdps(terminal=(0, 0)), temperatures)
def test_no_smaller_factor_would_do_where_nothing_ends(mdp, tau):
    reward, q = mdp.table(), mdp.table()
    after = [backup(mdp, reward, iq.soft_value(q + c, tau)) for c in (0, 1)]
    assert_near(after[1] - after[0], torch.full_like(q, mdp.gamma))


@given(mdps(), temperatures)
def test_iterating_it_ends_at_the_best_policy_and_its_inverse_gives_the_reward_back(
        mdp, tau):
    reward = mdp.table()
    q = torch.zeros(mdp.shape, dtype=torch.float64)
    for _ in range(300):
        q = backup(mdp, reward, iq.soft_value(q, tau))
    best, policy = value_iteration(mdp, reward, tau)
    assert_near(q, best)
    assert_near(iq.soft_policy(q, tau).exp(), policy, 1e-6)
    assert (q_of_policy(mdp, mdp.policy(), reward, tau) <= q + 1e-9).all()
    assert_near(recover(mdp, q, iq.soft_value(q, tau)), reward)
