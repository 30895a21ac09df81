"""Terminal states: worth nothing, or an absorbing state with a worth of its own.

Each short form of iq.py is held against the long one, in which the absorbing state is
written out: one more row in the table of Q, whose only action leads back to it.
"""
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from worlds import numbers, occupancy, seeds, temperatures, value_iteration, worlds

import iq

terms = st.fixed_dictionaries({
    "gamma": st.sampled_from([0.0, 0.5, 0.9]),
    "divergence": st.sampled_from(list(iq.DIVERGENCES)),
    "chi2_on": st.sampled_from(["expert", "mixture"]),
    "value_term": st.sampled_from(["expert", "mixture", "initial"]),
    "chi2_alpha": st.floats(0.1, 2)})


@st.composite
def batches(draw, ends=True):
    """A table Q (S, A), rows s, a, next_s of it, where they end, and whose they are."""
    rng, n = np.random.default_rng(draw(seeds)), draw(st.integers(2, 9))
    states, actions = draw(st.integers(1, 4)), draw(st.integers(1, 3))
    q = numbers(rng, states, actions)
    s, next_s = torch.tensor(rng.integers(states, size=(2, n)))
    a = torch.tensor(rng.integers(actions, size=n))
    ended, is_expert = torch.tensor(rng.random((2, n)) < 0.5)
    ended[0], is_expert[0] = ends, True
    return q, s, a, next_s, ended, is_expert


def written_out(q, worth):
    """The table with the absorbing state as its last row: (worth, no other action)."""
    alone = torch.full((1, q.shape[1] - 1), -math.inf, dtype=q.dtype)
    return torch.cat([q, torch.cat([worth.view(1, 1), alone], 1)])


def short_loss(q, batch, tau, terms, worth=None, slow=False):
    """slow: V(s') is a constant, as a slow copy's is."""
    s, a, next_s, ended, is_expert = batch
    v = iq.soft_value(q, tau)
    later = v[next_s].detach() if slow else v[next_s]
    return iq.iq_loss(q[s, a], v[s], later, ended, is_expert, initial_value=v[s],
                      absorbing_value=worth, **terms)


def long_loss(q, batch, tau, terms, worth, loops=True, slow=False):
    """No row ends: it leads to the absorbing state, where a row more goes round."""
    s, a, next_s, ended, is_expert = batch
    last, table = len(q), written_out(q, worth)
    v = iq.soft_value(table, tau)
    starts = v[s]
    next_s = torch.where(ended, last, next_s)
    if loops:
        n = int(ended.sum())
        s = torch.cat([s, torch.full((n,), last)])
        a = torch.cat([a, torch.zeros(n, dtype=a.dtype)])
        next_s = torch.cat([next_s, torch.full((n,), last)])
        is_expert = torch.cat([is_expert, is_expert[ended]])
    later = v[next_s].detach() if slow else v[next_s]
    return iq.iq_loss(table[s, a], v[s], later, torch.zeros(len(s)).bool(),
                      is_expert, initial_value=starts, **terms)


@given(batches(), temperatures, terms, st.floats(-5, 5), st.booleans())
def test_a_learned_worth_is_the_absorbing_state_written_out_with_a_row_that_goes_round(
        batch, tau, terms, worth, slow):
    q, *rows = batch
    q.requires_grad_()
    worth = torch.tensor(worth, dtype=torch.float64, requires_grad=True)
    short, short_info = short_loss(q, rows, tau, terms, worth, slow=slow)
    long, long_info = long_loss(q, rows, tau, terms, worth, slow=slow)
    torch.testing.assert_close(short, long)
    torch.testing.assert_close(
        torch.autograd.grad(short, (q, worth), allow_unused=True),
        torch.autograd.grad(long, (q, worth), allow_unused=True))
    for name in short_info:
        torch.testing.assert_close(short_info[name], long_info[name], msg=name)


@given(batches(), temperatures, terms)
def test_a_worth_of_0_is_the_absorbing_state_at_0_without_that_row(batch, tau, terms):
    q, *rows = batch
    q.requires_grad_()
    zero = torch.zeros((), dtype=torch.float64)
    short, _ = short_loss(q, rows, tau, terms)
    long, _ = long_loss(q, rows, tau, terms, zero, loops=False)
    torch.testing.assert_close(short, long)
    torch.testing.assert_close(
        torch.autograd.grad(short, q), torch.autograd.grad(long, q))


@given(batches(ends=False), temperatures, terms, st.floats(-5, 5))
def test_where_nothing_ends_the_worth_of_the_end_is_nowhere(batch, tau, terms, worth):
    q, s, a, next_s, ended, is_expert = batch
    rows = s, a, next_s, torch.zeros_like(ended), is_expert
    worth = torch.tensor(worth, dtype=torch.float64, requires_grad=True)
    with_it, _ = short_loss(q, rows, tau, terms, worth)
    torch.testing.assert_close(with_it, short_loss(q, rows, tau, terms)[0])
    slope, = torch.autograd.grad(with_it, worth, allow_unused=True)
    assert slope is None or slope == 0


@given(st.floats(0, 0.99), st.floats(-5, 5))
def test_the_reward_for_each_step_after_the_end_is_1_less_gamma_of_its_worth(
        gamma, worth):
    one, worth = torch.ones(1), torch.tensor(worth)
    _, info = iq.iq_loss(one, one, one, one.bool(), one.bool(), gamma=gamma,
                         absorbing_value=worth, divergence="wasserstein")
    first = 1 - gamma * worth  # the terminal row; its other row goes round
    expected = (first + (1 - gamma) * worth) / 2
    torch.testing.assert_close(info["reward_expert"], expected)
    torch.testing.assert_close(info["expert_term"], -expected)


def steps(world, reward, tau, worth):
    """Soft value iteration with the absorbing state written out, by iq.py: Q."""
    s, a = world.shape
    onward = torch.cat([world.on(), 1 - world.on().sum(2, keepdim=True)], 2)
    q = torch.zeros(s, a, dtype=torch.float64)
    worth = torch.tensor(worth, dtype=torch.float64)
    never = torch.zeros(s + 1, dtype=torch.bool)
    for _ in range(400):
        v = iq.soft_value(written_out(q, worth), tau)
        later = iq.soft_bellman(torch.zeros_like(v), v, never, world.gamma)
        q = reward + onward @ later
    return q


ending = worlds(terminal=(1, 2))


@given(ending, temperatures)
def test_the_world_that_ends_is_the_one_that_goes_on_for_nothing(world, tau):
    reward = world.numbers()
    q, policy = value_iteration(world, reward, tau)
    torch.testing.assert_close(steps(world, reward, tau, 0.0), q)
    short = torch.zeros_like(q)
    for _ in range(400):
        v = world.beyond(iq.soft_value(short, tau), worth=7.0)  # which no one reads
        short = world.mean(iq.soft_bellman(
            reward[world.s, world.a], v[world.next_s], world.ended, world.gamma))
    torch.testing.assert_close(short, q)
    torch.testing.assert_close(iq.soft_policy(short, tau).exp(), policy)


@given(ending, temperatures, st.floats(-3, 3))
def test_a_worth_of_0_is_a_reward_in_disguise_and_a_learned_one_is_none(world, tau, c):
    """Of a constant c on every step no policy takes note, unless dying escapes it."""
    reward = world.numbers()
    _, before = value_iteration(world, reward, tau)
    worth = c / (1 - world.gamma)  # c for every step after the end as well
    q = steps(world, reward + c, tau, worth)
    torch.testing.assert_close(
        iq.soft_policy(q, tau).exp(), before, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("c, lives", [(1.0, True), (-1.0, False)])
def test_with_a_worth_of_0_living_pays_where_rewards_are_above_it(c, lives):
    """One state: wait, or end it. The same reward c for both."""
    q, ended = torch.zeros(2), torch.tensor([False, True])
    for _ in range(200):
        v = iq.soft_value(q[None], 0.1).expand(2)
        q = iq.soft_bellman(torch.full((2,), c), v, ended, 0.9)
    assert (q[0] > q[1] + 1) == lives and (q[0] < q[1]) != lives


@given(ending)
def test_with_the_absorbing_state_an_occupancy_sums_to_1(world):
    policy = world.policy()
    d = occupancy(world, policy)
    ends = (d * (1 - world.on().sum(2))).sum()  # share of rows that end
    if world.gamma:
        # discounted, the rows after an end weigh gamma / (1 - gamma) of the row of it
        after = world.gamma / (1 - world.gamma) * ends
        assert d.sum() + after == pytest.approx(1)


def last_rows(agent, kind):
    """Four rows of a diary, two of them the ends of their episodes."""
    g = torch.Generator().manual_seed(0)
    obs, next_obs = torch.randn(2, 4, 3, generator=g)
    action = torch.tensor([0, 1, 1, 0]) if kind == "discrete" else torch.rand(4, 1)
    return iq.Batch(obs, action, next_obs, torch.tensor([True, False, True, False]))


def agent_of(kind, **changes):
    space = (iq.Discrete(2) if kind == "discrete"
             else iq.Box(-1, 1, (1,), dtype=np.float32))
    config = iq.Config(
        gamma=0.9, temperature=0.1, hidden=8, batch_size=4, device="cpu", seed=0,
        critic_lr=0.01, actor_lr=0.01, target_rate=1.0, chi2_on="expert",
        value_term="expert", steps=1, **changes)
    make = iq.SoftQ if kind == "discrete" else iq.SoftActorCritic
    return make((3,), space, config)


def worth_of_the_end(agent, rows):
    """gamma V_A, as Q less the reward of the rows that end, divided by gamma."""
    gap = (agent.q(rows.obs, rows.action) - agent.reward(*rows)).detach()
    return gap[rows.terminated] / agent.config.gamma


@pytest.mark.parametrize("kind", ["discrete", "continuous"])
@pytest.mark.parametrize("absorbing", [False, True])
def test_an_agent_learns_what_the_end_is_worth_just_where_config_says_so(
        kind, absorbing):
    agent = agent_of(kind, absorbing=absorbing)
    rows = last_rows(agent, kind)
    before = worth_of_the_end(agent, rows)
    assert torch.equal(before, torch.zeros(2))
    for _ in range(3):
        agent.update(rows)
    after = worth_of_the_end(agent, rows)
    if absorbing:
        assert after[0].abs() > 1e-3
        torch.testing.assert_close(after[0], after[1])  # one worth for every end
    else:
        assert torch.equal(after, torch.zeros(2))


@pytest.mark.parametrize("kind", ["discrete", "continuous"])
def test_an_agent_s_reward_reads_no_state_after_the_end_and_each_one_before(kind):
    agent = agent_of(kind)
    rows = last_rows(agent, kind)
    elsewhere = rows._replace(next_obs=rows.next_obs + 5)
    change = (agent.reward(*rows) - agent.reward(*elsewhere)).abs()
    if kind == "continuous":  # V is drawn anew, so only the ends stand still
        assert (change[rows.terminated] == 0).all()
    assert ((change > 1e-6) == ~rows.terminated).all()


@pytest.mark.parametrize("kind", ["discrete", "continuous"])
def test_a_time_limit_is_no_end_a_learner_takes_no_note_of_it(kind):
    rows = last_rows(None, kind)
    agents = {}
    for flag in "neither", "truncations", "terminations":
        flags = {"terminations": np.zeros(4, bool), "truncations": np.zeros(4, bool)}
        flags |= {flag: np.ones(4, bool)} if flag in flags else {}
        agent = agent_of(kind)
        demos = iq.Demos(
            rows.obs.numpy(), rows.action.numpy(), rows.next_obs.numpy(),
            action_space=agent.action_space, episode_ids=np.arange(4), **flags)
        iq.learn(demos, agent=agent, config=iq.Config(steps=1, device="cpu"))
        agents[flag] = agent.q(rows.obs, rows.action).detach()
    assert torch.equal(agents["neither"], agents["truncations"])
    assert not torch.equal(agents["neither"], agents["terminations"])


def test_the_absorbing_state_is_worth_its_reward_for_ever():
    """V_A = r_A + gamma r_A + gamma^2 r_A + ... = r_A / (1 - gamma), for agents."""
    for gamma in 0.0, 0.5, 0.9:
        agent = iq.SoftQ((2,), iq.Discrete(2), iq.Config(gamma=gamma, device="cpu"))
        agent.absorbing_reward.data.fill_(0.3)
        for_ever = sum(0.3 * gamma**t for t in range(400))
        assert agent.absorbing_value().item() == pytest.approx(for_ever, rel=1e-5)
