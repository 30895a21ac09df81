"""Terminal states: worth nothing, or an absorbing state with a worth of its own.

append_absorbing is held against the absorbing state written out: one more row in the
table of Q, whose only action leads back to it.
"""
import math

import numpy as np
import pytest
import torch
from gymnasium.spaces import Discrete
from hypothesis import given
from hypothesis import strategies as st
from worlds import SPACES, an_agent, near, numbers, seeds, temperatures

import iq

each_kind = pytest.mark.parametrize("kind", SPACES)
terms = st.fixed_dictionaries({
    "gamma": st.sampled_from([0.0, 0.5, 0.9]),
    "divergence": st.sampled_from(list(iq.DIVERGENCES)),
    "chi2_on": st.sampled_from(["expert", "mixture"]),
    "value_term": st.sampled_from([0, 0.3, 1, "initial"])})


@st.composite
def batches(draw):
    """A table Q (S, A), rows s, a, next_s of it, where they end, and whose they are."""
    rng, n = np.random.default_rng(draw(seeds)), draw(st.integers(2, 9))
    states, actions = draw(st.integers(1, 4)), draw(st.integers(1, 3))
    q = numbers(rng, states, actions)
    s, next_s = torch.tensor(rng.integers(states, size=(2, n)))
    a = torch.tensor(rng.integers(actions, size=n))
    ended, is_expert = torch.tensor(rng.random((2, n)) < 0.5)
    is_expert[0] = True
    return q, s, a, next_s, ended, is_expert


def written_out(q, worth):
    """The table with the absorbing state as its last row: (worth, no other action)."""
    alone = torch.full((1, q.shape[1] - 1), -math.inf, dtype=q.dtype)
    return torch.cat([q, torch.cat([worth.view(1, 1), alone], 1)])


def short_loss(q, worth, batch, tau, terms, held):
    s, a, next_s, ended, is_expert = batch
    v = iq.soft_value(q, tau)
    later = torch.where(ended, worth, v[next_s])
    later = later.detach() if held else later  # as a slow copy's are
    rows = iq.append_absorbing(q[s, a], v[s], later, is_expert, ended, worth)
    return iq.iq_loss(*rows, initial_value=v[s], **terms)


def long_loss(q, worth, batch, tau, terms, held):
    """No row ends: it leads to the absorbing state, where a row more goes round."""
    s, a, next_s, ended, is_expert = batch
    last = torch.full((int(ended.sum()),), len(q))
    table = written_out(q, worth)
    v = iq.soft_value(table, tau)
    later = v.detach() if held else v
    next_s = torch.cat([torch.where(ended, len(q), next_s), last])
    here, a = torch.cat([s, last]), torch.cat([a, 0 * last])
    is_expert = torch.cat([is_expert, is_expert[ended]])
    return iq.iq_loss(table[here, a], v[here], later[next_s], is_expert,
                      initial_value=v[s], **terms)


@given(batches(), temperatures, terms, st.floats(-5, 5), st.booleans())
def test_append_absorbing_is_the_absorbing_state_written_out(
        batch, tau, terms, worth, held):
    q, *rows = batch
    worth = torch.tensor(worth, dtype=q.dtype)
    inputs = q.requires_grad_(), worth.requires_grad_()
    losses = [f(*inputs, rows, tau, terms, held) for f in (short_loss, long_loss)]
    (short, told), (long, expected) = losses
    for name in told:
        near(told[name], expected[name])
    slopes = [torch.autograd.grad(x, inputs, allow_unused=True, materialize_grads=True)
              for x in (short, long)]
    near(*slopes)


@given(batches())
def test_where_nothing_ends_it_appends_nothing(batch):
    q, s, a, _, ended, is_expert = batch
    rows = q[s, a], q[s, a] + 1, q[s, a] + 2, is_expert
    after = iq.append_absorbing(*rows, torch.zeros_like(ended), torch.tensor(7.0))
    assert all(map(torch.equal, rows, after))


# ------------------------------------------------------------- why it has to be learned

@pytest.mark.parametrize("c, worth, sign", [
    (1.0, 0.0, 1), (-1.0, 0.0, -1), (1.0, 10.0, 0), (-1.0, -10.0, 0)])
def test_with_a_worth_of_0_living_pays_or_dying_does(c, worth, sign):
    """One state: go on, or end it. The same reward c for both."""
    q = torch.zeros(2, dtype=torch.float64)
    for _ in range(400):
        v = 0.01 * torch.logsumexp(q / 0.01, 0)
        q = iq.soft_bellman(c, torch.stack([v, torch.tensor(worth).double()]), 0.9)
    gain = (q[0] - q[1]).item()
    assert abs(gain) < 0.1 if sign == 0 else sign * gain > 0.8


# ------------------------------------------------------------------------------- agents

def four_rows(kind):
    """A diary of four rows; the first and the third are ends."""
    g = torch.Generator().manual_seed(0)
    obs, next_obs = torch.randn(2, 4, 3, generator=g)
    action = torch.tensor([0.0, 1, 1, 0])
    action = action if kind == "discrete" else action[:, None] - 0.5
    ended = torch.tensor([True, False, True, False])
    return iq.Batch(obs, action, next_obs, ended, obs)


@each_kind
@pytest.mark.parametrize("diary, replay, reward", [
    ([True, False], [False, False], 2 / 3), ([False, False], [True, False], -1.0),
    ([True, False], [True, False], 0.0)])
def test_the_end_is_worth_more_where_the_expert_ends_more_than_the_learner(
        kind, diary, replay, reward):
    """After it 2 alpha (share in the diary / share in all - 1) a step, for ever."""
    is_expert = torch.tensor([True, True, False, False])
    batch = four_rows(kind)._replace(terminated=torch.tensor(diary + replay))
    settings = {"gamma": 0.5, "chi2_alpha": 0.5, "value_term": 1}
    agent = an_agent(kind, learning_rate=0.05, **settings)
    for _ in range(120):
        agent.update(batch, is_expert)
    worth = reward / (1 - 0.5)
    assert agent.absorbing_value.item() == pytest.approx(worth, abs=0.02)
    agent = an_agent(kind, absorbing=False, **settings)
    agent.update(batch, is_expert)
    assert agent.absorbing_value == 0


@each_kind
def test_an_agent_s_reward_is_Q_less_gamma_of_the_end_s_worth_or_of_the_next_state_s(
        kind):
    agent, batch = an_agent(kind), four_rows(kind)
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


def test_a_time_limit_is_no_end_and_a_learner_takes_no_note_of_it():
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
