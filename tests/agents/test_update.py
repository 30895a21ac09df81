"""One update: its gradient, target network, terminals, and what each loss moves."""
import numpy as np
import pytest
import torch
from gymnasium.spaces import Discrete
from helpers import SPACES, Constant, assert_near, untrained_agent

import iq

kinds = pytest.mark.parametrize("kind", SPACES)


def some_rows(kind, seed=0):
    """Four rows of the expert and four of replay, some of which end."""
    g = torch.Generator().manual_seed(seed)
    obs, next_obs, initial = torch.randn(3, 8, 3, generator=g)
    action = (torch.randint(2, (8,), generator=g) if kind == "discrete"
              else 2 * torch.rand(8, 1, generator=g) - 1)
    ended = torch.tensor([False, True, False, False] * 2)
    return iq.Batch(obs, action, next_obs, ended, initial), torch.arange(8) < 4


def gradients(agent, *update):
    agent.update(*update)
    return [x.grad.clone() for x in agent.critic.parameters()]


def equal(one, other):
    return all(map(torch.equal, one, other))


@pytest.mark.parametrize("changes", [
    {}, {"chi2_alpha": 0.2}, {"chi2_on": "expert"}, {"value_term": 0.3},
    {"value_term": "initial"}, {"absorbing": False}, {"divergence": "hellinger"},
    {"gamma": 0.5}, {"temperature": 1.0}], ids=str)
def test_an_update_descends_iq_loss_with_v_of_the_next_state_held_fixed(changes):
    """V(s') is the target network's; and no choice of the Config is lost on the way."""
    agent = untrained_agent("discrete", **{"value_term": 1} | changes)
    batch, is_expert = some_rows("discrete")
    with torch.no_grad():
        agent.absorbing_value += 0.3 * agent.config.absorbing
        for x in agent.target.parameters():
            x += 0.2
    c, end = agent.config, agent.absorbing_value
    q = agent.critic(batch.obs)
    taken = q[torch.arange(8), batch.action]
    later = iq.soft_value(agent.target(batch.next_obs), c.temperature)
    later = torch.where(batch.terminated, end, later).detach()
    rows = taken, iq.soft_value(q, c.temperature), later, is_expert
    if c.absorbing:
        rows = iq.append_absorbing(*rows, batch.terminated, end)
    initial = iq.soft_value(agent.critic(batch.initial_obs), c.temperature)
    loss, expected = iq.iq_loss(*rows, c.gamma, c.divergence, c.chi2_alpha, c.chi2_on,
                            c.value_term, initial)
    slopes = torch.autograd.grad(loss, [*agent.critic.parameters(), end],
                                 materialize_grads=True, allow_unused=True)
    info = agent.update(batch, is_expert)
    for name in expected:
        assert_near(info[name], expected[name], 1e-6)
    for x, slope in zip([*agent.critic.parameters(), end], slopes):
        assert_near(torch.zeros(()) if x.grad is None else x.grad, slope, 1e-6)


@kinds
@pytest.mark.parametrize("rate", [0.25, 1.0])
def test_the_target_network_moves_to_the_critic_by_its_share(kind, rate):
    agent = untrained_agent(kind, target_rate=rate)
    agent.update(*some_rows(kind))  # the first one copies the critic whole
    before = [x.clone() for x in agent.target.parameters()]
    for _ in range(2):
        agent.update(*some_rows(kind))
        fast = [*agent.critic.parameters()]
        assert not equal(before, fast)
        expected = [x + rate * (y - x) for x, y in zip(before, fast)]
        before = [x.clone() for x in agent.target.parameters()]
        for x, y in zip(before, expected):
            assert_near(x, y.detach(), 1e-6)


@kinds
def test_chi2_on_the_expert_with_a_value_term_of_0_ignores_the_learner_s_rows(
        kind):
    batch, is_expert = some_rows(kind)
    other, _ = some_rows(kind, seed=1)
    pairs = zip(batch[:3], other[:3])
    strange = batch._replace(**{
        name: torch.cat([x[:4], y[4:]]) for name, (x, y) in zip(batch._fields, pairs)})
    for ignored, settings in (
        True, {"chi2_on": "expert", "value_term": 0}), (False, {}):
        one, two = (gradients(untrained_agent(kind, **settings), x, is_expert)
                    for x in (batch, strange))
        assert equal(one, two) == ignored


@kinds
@pytest.mark.parametrize("absorbing", [False, True])
def test_an_update_reads_no_state_after_a_terminal_row_and_each_one_after_another(
        kind, absorbing):
    batch, is_expert = some_rows(kind)

    def elsewhere(there):
        moved = batch.next_obs + 3 * there.float()[:, None]
        return gradients(untrained_agent(kind, absorbing=absorbing),
                         batch._replace(next_obs=moved), is_expert)

    here = elsewhere(torch.zeros(8))
    assert equal(here, elsewhere(batch.terminated))
    for row in (~batch.terminated).nonzero():
        assert not equal(here, elsewhere(torch.arange(8) == row))


# --------------------------------------------------------------------------- terminals

def four_rows(kind):
    """Four rows of an expert; the first and the third are ends."""
    g = torch.Generator().manual_seed(0)
    obs, next_obs = torch.randn(2, 4, 3, generator=g)
    action = torch.tensor([0, 1, 1, 0])
    action = action if kind == "discrete" else action[:, None] - 0.5
    ended = torch.tensor([True, False, True, False])
    return iq.Batch(obs, action, next_obs, ended, obs)


@kinds
@pytest.mark.parametrize("expert, replay, reward", [
    ([True, False], [False, False], 2 / 3), ([False, False], [True, False], -1.0),
    ([True, False], [True, False], 0.0)])
def test_a_terminal_has_a_higher_value_where_the_expert_ends_more_than_the_learner(
        kind, expert, replay, reward):
    """After it 2 alpha (share in the expert's / share in all - 1) a step, for ever."""
    is_expert = torch.tensor([True, True, False, False])
    batch = four_rows(kind)._replace(terminated=torch.tensor(expert + replay))
    settings = {"gamma": 0.5, "chi2_alpha": 0.5, "value_term": 1}
    agent = untrained_agent(kind, learning_rate=0.05, **settings)
    for _ in range(120):
        agent.update(batch, is_expert)
    value = reward / (1 - 0.5)
    assert agent.absorbing_value.item() == pytest.approx(value, abs=0.02)
    agent = untrained_agent(kind, absorbing=False, **settings)
    agent.update(batch, is_expert)
    assert agent.absorbing_value == 0


@pytest.mark.parametrize("gamma", [0.0, 0.5, 0.9, 0.99])
def test_a_terminal_s_value_is_learned_as_soon_at_any_discount(gamma):
    """It is 1 / (1 - gamma) rewards; here only the learner's episodes end, at -1."""
    ended = torch.tensor([False, False, False, True])
    batch = four_rows("discrete")._replace(terminated=ended)
    agent = untrained_agent("discrete", gamma=gamma, value_term=1, learning_rate=0.04)
    for _ in range(100):
        agent.update(batch, torch.tensor([True, True, False, False]))
    assert (1 - gamma) * agent.absorbing_value.item() == pytest.approx(-1, abs=0.1)


@kinds
def test_a_reward_is_Q_less_gamma_of_the_terminal_value_or_of_the_next_state_s(
        kind):
    agent, batch = untrained_agent(kind), four_rows(kind)
    with torch.no_grad():
        agent.absorbing_value += 2.0
        q = agent.q(batch.obs, batch.action).numpy()
    action = batch.action.numpy()
    if kind != "discrete":
        action = 2 * action - 1  # in the environment's units, -3 to 1
    rows = batch.obs.numpy(), action, batch.next_obs.numpy(), batch.terminated.numpy()
    reward = agent.reward(*rows)
    np.testing.assert_allclose((q - reward)[[0, 2]], 0.9 * 2.0, rtol=1e-5)
    elsewhere = agent.reward(*rows[:2], rows[2] + 5, rows[3])
    assert ((elsewhere != reward) == [False, True, False, True]).all()
    if kind != "actor_critic":  # whose V is drawn
        value = agent.value(batch.next_obs)[[1, 3]].detach().numpy()
        np.testing.assert_allclose((q - reward)[[1, 3]], 0.9 * value, rtol=1e-5)


def test_a_time_limit_is_not_terminal_and_learning_ignores_it():
    rng = np.random.default_rng(0)
    episodes = [rng.normal(size=(5, 3)).astype(np.float32) for _ in range(3)]
    actions = [rng.integers(2, size=4) for _ in range(3)]
    config = iq.Config(steps=3, hidden=8, batch_size=16)

    def weights(ended, **changes):
        demos = iq.Demos.from_episodes(episodes, actions, ended, Discrete(2))
        for name, x in changes.items():
            setattr(demos, name, x)
        agent = iq.learn(demos, config=config)
        return torch.cat([x.flatten() for x in agent.critic.parameters()])

    limited = weights([False] * 3)
    assert torch.equal(limited, weights([False] * 3, truncations=np.zeros(12, bool)))
    assert not torch.equal(limited, weights([False, True, False]))


# ----------------------------- as alpha grows: the behavioural clone of most likelihood

def learned(kind, critic, action):
    """An agent that only saw one state, with these actions in it."""
    agent = untrained_agent(
    kind,
    critic,
    chi2_alpha=1e6,
    learning_rate=0.02,
     temperature=0.5)
    n = len(action)
    obs = torch.zeros(n, 3)
    batch = iq.Batch(obs, action, obs, torch.zeros(n).bool(), obs)
    for _ in range(300):
        agent.update(batch, torch.ones(n).bool())
    return agent


def test_as_alpha_grows_a_discrete_learner_does_each_thing_as_often_as_the_expert():
    actions = torch.tensor([0, 1, 1, 1, 0, 1, 1, 1])
    agent = learned("discrete", Constant(0.0, 0.0), actions)
    share = np.exp(agent.log_prob(np.zeros((2, 3)), [0, 1]))
    np.testing.assert_allclose(share, [0.25, 0.75], atol=1e-3)


def test_as_alpha_grows_a_continuous_learner_has_the_expert_s_mean_and_spread():
    units = torch.tensor([[-0.6], [0.1], [0.4], [0.9]])
    agent = learned("naf", Constant(0.0, 0.0, 0.0), units)
    assert agent.act(np.zeros(3)).item() == pytest.approx(-0.6, abs=2e-3)
    density = torch.distributions.Normal(0.2, units.std(correction=0))
    assert_near(torch.tensor(agent.log_prob(np.zeros((4, 3)), 2 * units.numpy() - 1)),
         density.log_prob(units)[:, 0], 5e-3)
