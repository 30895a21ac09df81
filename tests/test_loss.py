"""iq_loss: the objective with its sign turned; and that an update descends it."""
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from worlds import SPACES, Fixed, an_agent, near, numbers, seeds, temperatures

import iq

each_kind = pytest.mark.parametrize("kind", SPACES)


# -------------------------------------------------------------------- what it computes

def three_rows(**changes):
    """Rewards 1, -4.5, 2, the second a learner's; V - gamma V' is 2, 1.5, 3."""
    q, value, next_value, initial = map(torch.tensor, (
        [1.0, -4.0, 3.0], [2.0, 2.0, 4.0], [0.0, 1.0, 2.0], [1.0, 3.0]))
    q.requires_grad_()
    return iq.iq_loss(
        q, value, next_value, torch.tensor([True, False, True]), gamma=0.5,
        **{"chi2_on": "expert", "value_term": 0, "initial_value": initial} | changes)


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


def test_by_hand_what_it_tells_beside():
    loss, info = three_rows()
    told = {name: x.item() for name, x in info.items()}
    assert told == pytest.approx({
        "loss": loss.item(), "expert_term": -0.25, "value_term": 2.5,
        "reward_expert": 1.5, "reward_mixture": (1 - 4.5 + 2) / 3, "max_q": 4})
    assert loss.requires_grad and not any(x.requires_grad for x in info.values())


@given(seeds, st.integers(1, 6), temperatures, st.floats(0.05, 5))
def test_offline_chi2_is_behavioural_cloning_plus_a_penalty_on_the_reward(
        seed, n, tau, alpha):
    """-E[Q - V] + E[(Q - gamma V')^2] / (4 alpha), and Q - V = tau log pi: trap 5."""
    rng = np.random.default_rng(seed)
    q, next_v = numbers(rng, n, 3), numbers(rng, n)
    taken = torch.arange(n), torch.tensor(rng.integers(3, size=n))
    diary = torch.ones(n).bool()
    cloning = -tau * iq.soft_policy(q, tau)[taken].mean()  # cross-entropy
    penalty = (q[taken] - 0.9 * next_v).square().mean() / (4 * alpha)
    for value_term in 0, 0.03, 1:  # with no replay the mixture is the diary
        loss, _ = iq.iq_loss(q[taken], iq.soft_value(q, tau), next_v, diary, gamma=0.9,
                             chi2_alpha=alpha, value_term=value_term)
        near(loss, cloning + penalty)


# --------------------------------------------------------------- that an update does it

def some_rows(kind, seed=0):
    """Four rows of the diary and four of replay, some of which end."""
    g = torch.Generator().manual_seed(seed)
    obs, next_obs, initial = torch.randn(3, 8, 3, generator=g)
    action = (torch.randint(2, (8,), generator=g).float() if kind == "discrete"
              else 2 * torch.rand(8, 1, generator=g) - 1)
    ended = torch.tensor([False, True, False, False] * 2)
    return iq.Batch(obs, action, next_obs, ended, initial), torch.arange(8) < 4


def gradients(agent, *update):
    agent.update(*update)
    return [x.grad.clone() for x in agent.critic.parameters()]


def alike(one, other):
    return all(map(torch.equal, one, other))


@pytest.mark.parametrize("changes", [
    {}, {"chi2_alpha": 0.2}, {"chi2_on": "expert"}, {"value_term": 0.3},
    {"value_term": "initial"}, {"absorbing": False}, {"divergence": "hellinger"},
    {"gamma": 0.5}, {"temperature": 1.0}], ids=str)
def test_an_update_descends_iq_loss_with_v_of_the_next_state_held_fixed(changes):
    """V(s') is the slow copy's; and no choice of the Config is lost on the way."""
    agent = an_agent("discrete", **{"value_term": 1} | changes)
    batch, is_expert = some_rows("discrete")
    with torch.no_grad():
        agent.absorbing_value += 0.3 * agent.config.absorbing
        for x in agent.slow.parameters():
            x += 0.2
    c, end = agent.config, agent.absorbing_value
    q = agent.critic(batch.obs)
    taken = q[torch.arange(8), batch.action.long()]
    later = iq.soft_value(agent.slow.module(batch.next_obs), c.temperature)
    later = torch.where(batch.terminated, end, later).detach()
    rows = taken, iq.soft_value(q, c.temperature), later, is_expert
    if c.absorbing:
        rows = iq.append_absorbing(*rows, batch.terminated, end)
    initial = iq.soft_value(agent.critic(batch.initial_obs), c.temperature)
    loss, told = iq.iq_loss(*rows, c.gamma, c.divergence, c.chi2_alpha, c.chi2_on,
                            c.value_term, initial)
    slopes = torch.autograd.grad(loss, [*agent.critic.parameters(), end],
                                 materialize_grads=True, allow_unused=True)
    info = agent.update(batch, is_expert)
    for name in told:
        near(info[name], told[name], 1e-6)
    for x, slope in zip([*agent.critic.parameters(), end], slopes):
        near(torch.zeros(()) if x.grad is None else x.grad, slope, 1e-6)


@each_kind
@pytest.mark.parametrize("rate", [0.25, 1.0])
def test_the_slow_copy_moves_to_the_critic_by_its_share(kind, rate):
    agent = an_agent(kind, target_rate=rate)
    agent.update(*some_rows(kind))  # the first one copies the critic whole
    before = [x.clone() for x in agent.slow.module.parameters()]
    for _ in range(2):
        agent.update(*some_rows(kind))
        fast = [*agent.critic.parameters()]
        assert not alike(before, fast)
        expected = [x + rate * (y - x) for x, y in zip(before, fast)]
        before = [x.clone() for x in agent.slow.module.parameters()]
        for x, y in zip(before, expected):
            near(x, y.detach(), 1e-6)


@each_kind
def test_chi2_on_the_diary_with_a_value_term_of_0_is_deaf_to_the_learner_s_own_rows(
        kind):
    batch, is_expert = some_rows(kind)
    other, _ = some_rows(kind, seed=1)
    pairs = zip(batch[:3], other[:3])
    strange = batch._replace(**{
        name: torch.cat([x[:4], y[4:]]) for name, (x, y) in zip(batch._fields, pairs)})
    for deaf, settings in (True, {"chi2_on": "expert", "value_term": 0}), (False, {}):
        one, two = (gradients(an_agent(kind, **settings), x, is_expert)
                    for x in (batch, strange))
        assert alike(one, two) == deaf


@each_kind
@pytest.mark.parametrize("absorbing", [False, True])
def test_an_update_reads_no_state_after_a_terminal_row_and_each_one_after_another(
        kind, absorbing):
    batch, is_expert = some_rows(kind)

    def elsewhere(there):
        moved = batch.next_obs + 3 * there.float()[:, None]
        return gradients(an_agent(kind, absorbing=absorbing),
                         batch._replace(next_obs=moved), is_expert)

    here = elsewhere(torch.zeros(8))
    assert alike(here, elsewhere(batch.terminated))
    for row in (~batch.terminated).nonzero():
        assert not alike(here, elsewhere(torch.arange(8) == row))


# -------------------------------------- alpha to infinity: the clone of most likelihood

def learned(kind, critic, action):
    """An agent that only saw one state, with these actions in it."""
    agent = an_agent(kind, critic, chi2_alpha=1e6, learning_rate=0.02, temperature=0.5)
    n = len(action)
    obs = torch.zeros(n, 3)
    batch = iq.Batch(obs, action, obs, torch.zeros(n).bool(), obs)
    for _ in range(300):
        agent.update(batch, torch.ones(n).bool())
    return agent


def test_as_alpha_grows_a_discrete_learner_does_each_thing_as_often_as_the_diary():
    actions = torch.tensor([0.0, 1, 1, 1, 0, 1, 1, 1])
    agent = learned("discrete", Fixed(0.0, 0.0), actions)
    told = np.exp(agent.log_prob(np.zeros((2, 3)), [0, 1]))
    np.testing.assert_allclose(told, [0.25, 0.75], atol=1e-3)


def test_as_alpha_grows_a_continuous_learner_has_the_diary_s_mean_and_spread():
    units = torch.tensor([[-0.6], [0.1], [0.4], [0.9]])
    agent = learned("naf", Fixed(0.0, 0.0, 0.0), units)
    assert agent.act(np.zeros(3)).item() == pytest.approx(-0.6, abs=2e-3)
    density = torch.distributions.Normal(0.2, units.std(correction=0))
    near(torch.tensor(agent.log_prob(np.zeros((4, 3)), 2 * units.numpy() - 1)),
         density.log_prob(units)[:, 0], 5e-3)
