"""iq_loss: the objective, negated; by hand, and as a clone with a penalty."""
import inspect

import numpy as np
import pytest
import torch
from helpers import assert_near, random_table, seeds, temperatures
from hypothesis import given
from hypothesis import strategies as st

import iq

# -------------------------------------------------------------------- what it computes

def three_rows(**changes):
    """Rewards 1, -4.5, 2, the second a learner's; V - gamma V' is 2, 1.5, 3."""
    q, value, next_value, initial = map(torch.tensor, (
        [1.0, -4.0, 3.0], [2.0, 2.0, 4.0], [0.0, 1.0, 2.0], [1.0, 3.0]))
    q.requires_grad_()
    return iq.iq_loss(
        q, value, next_value, torch.tensor([True, False, True]), gamma=0.5,
        **{"chi2_on": "expert", "value_term": 0, "initial_value": initial} | changes)


@pytest.mark.parametrize("changes, words", [
    ({"chi2_on": "experts"}, "chi2_on is 'experts'; allowed: .*'mixture', 'expert'"),
    ({"divergence": "hellinger", "chi2_on": ""}, "chi2_on is ''; allowed: "),
    ({"value_term": "first"}, "value_term is 'first'; allowed: .*'initial'"),
    ({"value_term": "initial", "initial_value": None}, "together with initial_value")])
def test_a_word_that_is_no_choice_is_named(changes, words):
    with pytest.raises(ValueError, match=words):
        three_rows(**changes)


@pytest.mark.parametrize("changes, expert_term", [
    ({}, (1 + 4) / 2 / 2 - 1.5),
    ({"chi2_alpha": 2.0}, (1 + 4) / 2 / 8 - 1.5),
    ({"chi2_on": "mixture"}, (1 + 4.5**2 + 4) / 3 / 2 - 1.5),
    ({"divergence": "hellinger"}, -(1 / 2 + 2 / 3) / 2),
    ({"divergence": "total_variation"}, -1.0)])
def test_by_hand_its_expert_term(changes, expert_term):
    loss, info = three_rows(**changes)
    assert info["expert_term"].item() == pytest.approx(expert_term)
    assert loss.item() == pytest.approx(expert_term + 2.5)


@pytest.mark.parametrize("value_term, by_hand", [
    (0, 2.5), (1, 6.5 / 3), (0.5, (2.5 + 6.5 / 3) / 2), (2, 2 * 6.5 / 3 - 2.5),
    ("initial", 0.5 * 2)])
def test_by_hand_its_value_term(value_term, by_hand):
    loss, info = three_rows(value_term=value_term)
    assert info["value_term"].item() == pytest.approx(by_hand)
    assert loss.item() == pytest.approx(by_hand - 0.25)


def test_by_hand_what_it_reports():
    loss, info = three_rows()
    values = {name: x.item() for name, x in info.items()}
    assert values == pytest.approx({
        "loss": loss.item(), "expert_term": -0.25, "value_term": 2.5,
        "reward_expert": 1.5, "reward_mixture": (1 - 4.5 + 2) / 3, "max_q": 4})
    assert loss.requires_grad and not any(x.requires_grad for x in info.values())


@given(seeds, st.integers(1, 6), temperatures, st.floats(0.05, 5))
def test_offline_chi2_is_behavioural_cloning_plus_a_penalty_on_the_reward(
        seed, n, tau, alpha):
    """-E[Q - V] + E[(Q - gamma V')^2] / (4 alpha), and Q - V = tau log pi: trap 5."""
    rng = np.random.default_rng(seed)
    q, next_v = random_table(rng, n, 3), random_table(rng, n)
    taken = torch.arange(n), torch.tensor(rng.integers(3, size=n))
    is_expert = torch.ones(n).bool()
    cloning = -tau * iq.soft_policy(q, tau)[taken].mean()  # cross-entropy
    penalty = (q[taken] - 0.9 * next_v).square().mean() / (4 * alpha)
    for value_term in 0, 0.03, 1:  # with no replay the mixture is the expert
        loss, _ = iq.iq_loss(q[taken], iq.soft_value(q, tau), next_v, is_expert,
                             gamma=0.9, chi2_alpha=alpha, value_term=value_term)
        assert_near(loss, cloning + penalty)


def test_its_defaults_are_those_of_a_config():
    parameters = inspect.signature(iq.iq_loss).parameters
    for name in "divergence", "chi2_alpha", "chi2_on":
        assert parameters[name].default == getattr(iq.Config(), name)
    assert parameters["value_term"].default == iq.SoftQ.default_value_term
