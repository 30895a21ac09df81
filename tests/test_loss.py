"""iq_loss: the objective with its sign turned, and where its gradients go."""
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from worlds import numbers, seeds, temperatures

import iq

PHI = {  # phi(r) of one number, where it isn't continued by its tangent
    "reverse_kl": lambda r: 1 - math.exp(-r),
    "forward_kl": lambda r: math.log(1 + r),
    "hellinger": lambda r: r / (1 + r),
    "jensen_shannon": lambda r: math.log(2 - math.exp(-r)),
    "total_variation": lambda r: min(r, 1),
    "wasserstein": lambda r: r}
every = pytest.mark.parametrize("divergence", ["chi2", *PHI])
NAMES = ["loss", "expert_term", "value_term", "reward_expert", "reward_policy", "max_q"]
choices = {
    "gamma": st.sampled_from([0.0, 0.5, 0.9]),
    "chi2_alpha": st.floats(0.1, 2),
    "chi2_on": st.sampled_from(["expert", "mixture"]),
    "value_term": st.sampled_from(["expert", "mixture", "initial"])}
terms = st.fixed_dictionaries(choices)


def double(x):
    return torch.tensor(x, dtype=torch.float64)


@st.composite
def rows(draw, most=0.3):
    """What iq_loss takes: q, value, next_value, terminated, is_expert, in float64.

    Up to 0.3 in size they keep every reward within the domain of every phi.
    """
    rng, n = np.random.default_rng(draw(seeds)), draw(st.integers(1, 8))
    q, value, next_value = torch.tensor(rng.uniform(-most, most, (3, n)))
    terminated, is_expert = torch.tensor(rng.random((2, n)) < 0.5)
    is_expert[0] = True
    return q, value, next_value, terminated, is_expert


def starts(seed=0):
    return numbers(np.random.default_rng(seed), 5)


# -------------------------------------------------------------------- what it computes

def by_hand(batch, divergence, gamma, chi2_alpha, chi2_on, value_term, initial, worth):
    """The loss row by row, in plain Python."""
    table = []  # of q, v, v', and whether it is an expert's row
    for q, v, next_v, ended, expert in zip(*(x.tolist() for x in batch)):
        if not ended:
            table.append((q, v, next_v, expert))
        elif worth is None:
            table.append((q, v, 0.0, expert))
        else:
            table.append((q, v, worth, expert))
            table.append((worth, worth, worth, expert))

    def mean(numbers):
        numbers = list(numbers)
        return sum(numbers) / len(numbers) if numbers else 0.0

    experts = [row for row in table if row[3]]
    over = {"expert": experts, "mixture": table}
    if divergence == "chi2":
        terms = {"expert_term": -mean(q - gamma * v for q, _, v, _ in experts),
                 "chi2_term": mean((q - gamma * v) ** 2 / (4 * chi2_alpha)
                                   for q, _, v, _ in over[chi2_on])}
    else:
        phi = PHI[divergence]
        terms = {"expert_term": -mean(phi(q - gamma * v) for q, _, v, _ in experts)}
    if value_term == "initial":
        terms["value_term"] = (1 - gamma) * mean(initial.tolist())
    else:
        terms["value_term"] = mean(v - gamma * next_v
                                   for _, v, next_v, _ in over[value_term])
    return {
        "loss": sum(terms.values()), **terms,
        "reward_expert": mean(q - gamma * v for q, _, v, _ in experts),
        "reward_policy": mean(q - gamma * v for q, _, v, expert in table if not expert)}


@every
@given(batch=rows(), terms=terms, worth=st.none() | st.floats(-0.3, 0.3))
def test_it_is_the_equation_row_by_row(divergence, batch, terms, worth):
    initial = starts()
    loss, info = iq.iq_loss(
        *batch, divergence=divergence, initial_value=initial, **terms,
        absorbing_value=None if worth is None else double(worth))
    expected = by_hand(batch, divergence, **terms, initial=initial, worth=worth)
    assert info.keys() == {*expected, "max_q"}
    assert loss == info["loss"]
    for name, x in expected.items():
        assert info[name].item() == pytest.approx(x, abs=1e-9), name
    assert info["max_q"] >= batch[0].abs().max()


@given(batch=rows(most=5.0), terms=terms)
def test_what_it_tells_is_the_loss_its_terms_both_rewards_and_the_largest_q(
        batch, terms):
    loss, info = iq.iq_loss(*batch, initial_value=starts(), **terms)
    assert set(info) == {*NAMES, "chi2_term"}
    assert loss.shape == () and all(x.shape == () for x in info.values())
    parts = info["expert_term"] + info["chi2_term"] + info["value_term"]
    torch.testing.assert_close(info["loss"], parts)
    assert info["max_q"] == batch[0].abs().max()


@given(rows())
def test_of_itself_it_takes_chi2_at_a_half_and_all_terms_on_the_expert_s_rows(batch):
    told = iq.iq_loss(*batch, gamma=0.9, divergence="chi2", chi2_alpha=0.5,
                      chi2_on="expert", value_term="expert", absorbing_value=None)[0]
    assert iq.iq_loss(*batch, gamma=0.9)[0] == told


@given(batch=rows(), gamma=choices["gamma"], alpha=choices["chi2_alpha"])
def test_chi2_on_expert_rows_is_phi_of_chi2(batch, gamma, alpha):
    q, _, next_value, terminated, is_expert = batch
    _, info = iq.iq_loss(*batch, gamma=gamma, chi2_alpha=alpha, chi2_on="expert")
    reward = iq.inverse_bellman(q, next_value, terminated, gamma)[is_expert]
    phi = iq.DIVERGENCES["chi2"](reward, alpha).mean()
    torch.testing.assert_close(info["expert_term"] + info["chi2_term"], -phi)


@given(seeds, st.integers(1, 6), temperatures, st.floats(0.05, 5), choices["gamma"])
def test_offline_chi2_is_behavioural_cloning_plus_a_penalty_on_the_reward(
        seed, n, tau, alpha, gamma):
    """-E[Q - V] + E[(Q - gamma V')^2] / (4 alpha), and Q - V = tau log pi: trap 5."""
    rng = np.random.default_rng(seed)
    q, next_q = numbers(rng, 2, n, 3)
    action = torch.tensor(rng.integers(3, size=n))
    ended = torch.tensor(rng.random(n) < 0.3)
    taken, v, next_v = (q[torch.arange(n), action], iq.soft_value(q, tau),
                        iq.soft_value(next_q, tau))
    loss, info = iq.iq_loss(
        taken, v, next_v, ended, torch.ones(n).bool(), gamma=gamma, chi2_alpha=alpha,
        divergence="chi2", chi2_on="expert", value_term="expert")
    cloning = -iq.soft_policy(q, tau)[torch.arange(n), action].mean()  # cross-entropy
    penalty = (taken - gamma * next_v * ~ended).square().mean() / (4 * alpha)
    torch.testing.assert_close(info["expert_term"] + info["value_term"], tau * cloning)
    torch.testing.assert_close(info["chi2_term"], penalty)
    torch.testing.assert_close(loss, tau * cloning + penalty)


@given(seeds, st.integers(1, 6), temperatures)
def test_and_as_alpha_grows_it_is_behavioural_cloning(seed, n, tau):
    q, next_q = numbers(np.random.default_rng(seed), 2, n, 3)
    v, next_v = iq.soft_value(q, tau), iq.soft_value(next_q, tau)
    never = torch.zeros(n).bool()
    loss, _ = iq.iq_loss(q[:, 0], v, next_v, never, ~never, gamma=0.9, chi2_alpha=1e9)
    cloning = -iq.soft_policy(q, tau)[:, 0].mean()
    torch.testing.assert_close(loss, tau * cloning, rtol=1e-6, atol=1e-6)


# ------------------------------------------------------------------ which rows it reads

@every
@given(batch=rows(), terms=terms, seed=seeds, worth=st.none() | st.just(0.2))
def test_it_minds_no_order_of_rows(divergence, batch, terms, seed, worth):
    order = torch.tensor(np.random.default_rng(seed).permutation(len(batch[0])))
    worth = None if worth is None else double(worth)
    settings = {"divergence": divergence, "initial_value": starts(), **terms,
                "absorbing_value": worth}
    _, one = iq.iq_loss(*batch, **settings)
    _, other = iq.iq_loss(*(x[order] for x in batch), **settings)
    torch.testing.assert_close(one, other)


@every
@given(batch=rows(), terms=terms)
def test_what_comes_after_a_terminal_row_is_never_read(divergence, batch, terms):
    q, value, next_value, terminated, is_expert = batch
    settings = {"divergence": divergence, "initial_value": starts(), **terms}
    _, told = iq.iq_loss(*batch, **settings)
    nowhere = torch.where(terminated, torch.nan, next_value)
    _, same = iq.iq_loss(q, value, nowhere, terminated, is_expert, **settings)
    torch.testing.assert_close(told, same, rtol=0, atol=0)


@every
@given(batch=rows(), terms=terms)
def test_what_comes_after_any_other_expert_row_is(divergence, batch, terms):
    """A time limit is no end: truncated rows aren't terminated, and bootstrap on."""
    q, value, next_value, _, is_expert = batch
    settings = {**terms, "divergence": divergence, "initial_value": starts(),
                "gamma": 0.9}
    next_value.requires_grad_()
    loss, info = iq.iq_loss(
        q, value, next_value, torch.zeros_like(is_expert), is_expert, **settings)
    reads = torch.autograd.grad(loss, next_value, allow_unused=True)[0]
    moved = iq.iq_loss(q, value, next_value + 0.5, torch.zeros_like(is_expert),
                       is_expert, **settings)[1]
    gap = info["reward_expert"] - moved["reward_expert"]
    torch.testing.assert_close(gap, torch.full_like(gap, 0.9 * 0.5))
    if terms["value_term"] == "initial" and divergence != "chi2":
        assert (reads[is_expert] > 0).all()  # -phi rises as V' does


@every
@given(batch=rows(), terms=terms)
def test_rows_of_replay_are_read_only_by_what_is_taken_over_the_mixture(
        divergence, batch, terms):
    inputs = [x.clone().requires_grad_() for x in batch[:3]]
    loss, _ = iq.iq_loss(*inputs, *batch[3:], divergence=divergence,
                         initial_value=starts(), **terms)
    slopes = torch.autograd.grad(loss, inputs, materialize_grads=True)
    terminated, is_expert = batch[3:]
    q, value, next_value = (x[~is_expert] for x in slopes)
    charged = divergence == "chi2" and terms["chi2_on"] == "mixture"
    assert charged or (q == 0).all()
    assert terms["value_term"] == "mixture" or (value == 0).all()
    assert charged or terms["value_term"] == "mixture" or (next_value == 0).all()
    assert (slopes[2][terminated] == 0).all()
    if charged:
        assert (q != 0).all()
    if terms["value_term"] == "mixture":
        torch.testing.assert_close(value, torch.full_like(value, 1 / len(is_expert)))


@given(batch=rows(), terms=terms)
def test_turning_diary_and_replay_about_turns_their_rewards_about(batch, terms):
    *inputs, is_expert = batch
    if is_expert.all():
        is_expert = torch.arange(len(is_expert)) > 0
    _, one = iq.iq_loss(*inputs, is_expert, initial_value=starts(), **terms)
    _, other = iq.iq_loss(*inputs, ~is_expert, initial_value=starts(), **terms)
    assert one["reward_expert"] == other["reward_policy"]
    assert one["reward_policy"] == other["reward_expert"]
    assert one["expert_term"] == -one["reward_expert"]


@given(rows(), st.integers(1, 20), st.floats(-3, 3))
def test_only_the_mean_of_the_initial_values_counts_however_many_they_are(batch, n, c):
    values = c + starts(n)[:n] - starts(n)[:n].mean()
    _, info = iq.iq_loss(*batch, gamma=0.9, value_term="initial", initial_value=values)
    assert info["value_term"].item() == pytest.approx(0.1 * c, abs=1e-9)


def columns(n):
    return [torch.zeros(n)] * 3 + [torch.ones(n).bool()] * 2


@pytest.mark.parametrize("which", range(5))
@pytest.mark.parametrize("n", [1, 3])
def test_a_column_of_shape_B_by_1_is_refused(which, n):
    batch = columns(n)
    iq.iq_loss(*batch, gamma=0.9)
    batch[which] = batch[which][:, None]
    with pytest.raises(ValueError, match=rf"^shape .* \({n}, 1\); allowed: \(B,\)$"):
        iq.iq_loss(*batch, gamma=0.9)


def test_five_columns_of_shape_B_by_1_are_refused_as_well():
    with pytest.raises(ValueError, match="^shape of an argument is "):
        iq.iq_loss(*(x[:, None] for x in columns(3)), gamma=0.9)


@pytest.mark.parametrize("which", range(5))
def test_columns_of_different_lengths_are_refused(which):
    batch = columns(3)
    batch[which] = batch[which][:1]
    with pytest.raises(ValueError, match="^shape"):
        iq.iq_loss(*batch, gamma=0.9)


def test_with_no_rows_of_replay_their_reward_is_0_and_nothing_is_nan():
    ones = torch.ones(3)
    _, info = iq.iq_loss(ones, ones, ones, ~ones.bool(), ones.bool(), gamma=0.9,
                         chi2_on="mixture", value_term="mixture")
    assert info["reward_policy"] == 0
    assert all(x.isfinite() for x in info.values())


# ------------------------------------------------------------------------- its gradient

@every
@given(batch=rows(), terms=terms, absorbing=st.booleans())
def test_its_gradient_is_that_of_its_differences(divergence, batch, terms, absorbing):
    inputs = [x.requires_grad_() for x in (*batch[:3], starts(), double(0.1))]

    def loss(q, value, next_value, initial, worth):
        return iq.iq_loss(
            q, value, next_value, *batch[3:], divergence=divergence, **terms,
            initial_value=initial, absorbing_value=worth if absorbing else None)[0]

    assert torch.autograd.gradcheck(loss, inputs)


@given(batch=rows(), terms=terms)
def test_what_it_tells_holds_no_graph(batch, terms):
    q = batch[0].requires_grad_()
    loss, info = iq.iq_loss(q, *batch[1:], initial_value=starts(), **terms)
    assert loss.requires_grad
    assert not any(x.requires_grad for x in info.values())


@given(seeds, st.integers(2, 6))
def test_the_pairing_with_the_value_term_is_what_stops_collapse(seed, n):
    """Every term is of the model's own making (trap 11); yet Q can't just be raised."""
    q = numbers(np.random.default_rng(seed), n, 3)
    never = torch.zeros(n).bool()

    def loss(c):
        v = iq.soft_value(q + c, 1.0)
        return iq.iq_loss(q[:, 0] + c, v, v, never, ~never, gamma=0.9,
                          divergence="wasserstein")[0]

    torch.testing.assert_close(loss(0.0), loss(100.0))  # -(1-gamma)c + (1-gamma)c


# -------------------------------------------------------------------- the slope penalty

@given(seeds, st.integers(1, 5), st.floats(0.1, 4))
def test_the_slope_penalty_charges_ten_times_the_squared_excess_of_the_slope_over_1(
        seed, n, steep):
    rng = np.random.default_rng(seed)
    direction = numbers(rng, 3)
    direction = steep * direction / direction.norm()
    obs = numbers(rng, n, 3).requires_grad_()
    penalty = iq.slope_penalty(obs @ direction, obs)
    assert penalty.item() == pytest.approx(10 * max(0.0, steep - 1) ** 2, abs=1e-9)


def test_it_is_the_mean_over_rows_not_the_square_of_the_mean():
    obs = torch.tensor([[1.0], [2.0], [0.1]], requires_grad=True)
    penalty = iq.slope_penalty(obs.square().squeeze(1), obs)  # slopes 2, 4, 0.2
    assert penalty.item() == pytest.approx(10 * (1 + 9 + 0) / 3)


def test_the_slope_is_that_over_all_inputs_together_whatever_their_shape():
    obs = torch.zeros(2, 2, 2, requires_grad=True)
    action = torch.zeros(2, 1, requires_grad=True)
    q = 2 * obs.sum((1, 2)) + 3 * action.squeeze(1)  # |slope| = sqrt(4 * 4 + 9) = 5
    assert iq.slope_penalty(q, obs, action).item() == pytest.approx(10 * 4**2)
    assert iq.slope_penalty(q, obs).item() == pytest.approx(10 * 3**2)


def test_its_gradient_lowers_the_slope():
    weight = torch.tensor([3.0, 0.0], requires_grad=True)
    obs = torch.randn(4, 2, requires_grad=True)
    slope, = torch.autograd.grad(iq.slope_penalty(obs @ weight, obs), weight)
    assert slope[0].item() == pytest.approx(20 * 2) and slope[1] == 0


# -------------------------------------------------- the agents' networks it may reach

KINDS = "discrete", "continuous"


def an_agent(kind, critic=None, **changes):
    changes = {"target_rate": 1.0, "absorbing": False, "chi2_on": "expert",
               "value_term": "expert", **changes}
    config = iq.Config(gamma=0.9, temperature=0.1, hidden=8, batch_size=4, steps=1,
                       critic_lr=0.01, actor_lr=0.01, device="cpu", seed=0, **changes)
    if kind == "discrete":
        return iq.SoftQ((3,), iq.Discrete(2), config, critic=critic)
    space = iq.Box(-2, 2, (1,), dtype=np.float32)
    return iq.SoftActorCritic((3,), space, config, critic=critic)


def some_rows(kind, seed, ended=(False, True, False, True)):
    g = torch.Generator().manual_seed(seed)
    obs, next_obs = torch.randn(2, 4, 3, generator=g)
    action = (torch.randint(2, (4,), generator=g) if kind == "discrete"
              else 4 * torch.rand(4, 1, generator=g) - 2)
    return iq.Batch(obs, action, next_obs, torch.tensor(ended))


def copied(module):
    return [x.detach().clone() for x in module.parameters()]


def moved(before, module):
    return any(not torch.equal(a, b) for a, b in zip(before, module.parameters()))


@pytest.mark.parametrize("kind", KINDS)
def test_an_update_moves_the_critic_and_the_slow_copy_by_its_share(kind):
    agent = an_agent(kind, target_rate=0.25)
    slow, fast = copied(agent.target), copied(agent.critic)
    assert all(map(torch.equal, slow, fast))
    agent.update(some_rows(kind, 1))
    assert moved(fast, agent.critic)
    for old, new, critic in zip(
            slow, agent.target.parameters(), agent.critic.parameters()):
        torch.testing.assert_close(new.data, old + 0.25 * (critic.data - old))


@pytest.mark.parametrize("kind", KINDS)
def test_without_a_slow_copy_the_gradient_goes_through_the_next_value_too(kind):
    """Full, as the paper's; with a slow copy it is a semi-gradient: trap 9."""
    rows = some_rows(kind, 1, ended=(False,) * 4)
    shares = []
    for rate in 1.0, 0.5:
        agent = an_agent(kind, target_rate=rate, value_term="initial")
        agent.update(rows, initial=rows.obs)
        shares.append([x.grad.clone() for x in agent.critic.parameters()])
        assert rate == 1 or all(x.grad is None for x in agent.target.parameters())
    assert not all(map(torch.equal, *shares))


def test_the_gradient_that_moves_the_discrete_agent_is_that_of_iq_loss():
    agent = an_agent("discrete", target_rate=1.0, grad_clip=1e6)
    expert, policy = some_rows("discrete", 1), some_rows("discrete", 2)
    twin = an_agent("discrete", target_rate=1.0)
    both = iq.Batch(*map(torch.cat, zip(expert, policy)))
    loss, told = iq.iq_loss(
        twin.q(both.obs, both.action), twin.value(both.obs),
        twin.value(both.next_obs), both.terminated, torch.arange(8) < 4, gamma=0.9,
        divergence="chi2", chi2_alpha=0.5, chi2_on="expert", value_term="expert")
    slopes = torch.autograd.grad(loss, [*twin.critic.parameters()])
    info = agent.update(expert, policy)
    for parameter, slope in zip(agent.critic.parameters(), slopes):
        torch.testing.assert_close(parameter.grad, slope)
    for name, x in told.items():
        torch.testing.assert_close(info[name], x)
    norm = torch.cat([x.flatten() for x in slopes]).norm()
    torch.testing.assert_close(info["critic_gradient"], norm)


@pytest.mark.parametrize("rate", [1.0, 0.5])
@pytest.mark.parametrize("changes", [
    {}, {"chi2_alpha": 0.2}, {"chi2_alpha": 0.2, "chi2_on": "mixture"},
    {"value_term": "mixture"}, {"value_term": "initial"}, {"absorbing": True},
    {"divergence": "hellinger"}, {"divergence": "wasserstein"}], ids=str)
def test_an_update_descends_iq_loss_with_every_choice_of_the_config(changes, rate):
    agent = an_agent("discrete", target_rate=rate, **changes)
    agent.absorbing_reward.data.fill_(0.3)
    if rate < 1:  # next values are the slow copy's
        for parameter in agent.target.parameters():
            parameter.data += 0.2
    expert, policy = some_rows("discrete", 1), some_rows("discrete", 2)
    both, c = iq.Batch(*map(torch.cat, zip(expert, policy))), agent.config
    _, told = iq.iq_loss(
        agent.q(both.obs, both.action), agent.value(both.obs),
        agent.value(both.next_obs, agent.target), both.terminated,
        torch.arange(8) < 4, gamma=c.gamma, divergence=c.divergence,
        chi2_alpha=c.chi2_alpha, chi2_on=c.chi2_on, value_term=c.value_term,
        initial_value=agent.value(expert.obs),
        absorbing_value=agent.absorbing_value() if c.absorbing else None)
    info = agent.update(expert, policy, expert.obs)
    told["loss"] = told["loss"] + info.get("slope_term", 0)
    assert ("slope_term" in info) == (c.divergence == "wasserstein")
    for name, x in told.items():
        torch.testing.assert_close(info[name], x, msg=name)


def test_the_most_entropy_is_that_of_the_uniform_policy():
    box = iq.Box(-2, 2, (3,), dtype=np.float32)
    assert iq.SoftQ((2,), iq.Discrete(5)).nats == math.log(5)
    assert iq.SoftActorCritic((2,), box).nats == 3 * math.log(2)  # on [-1, 1]


class Tall(nn.Module):
    """A critic that says the same everywhere."""

    def __init__(self, height, width):
        super().__init__()
        self.height, self.width = nn.Parameter(torch.tensor(height)), width

    def forward(self, *inputs):
        return self.height.expand(len(inputs[0]), self.width)


@pytest.mark.parametrize("kind, width", [("discrete", 2), ("continuous", 1)])
@pytest.mark.parametrize("side", [-1, 1])
def test_chi2_on_the_mixture_holds_next_and_first_values_to_what_a_policy_can_earn(
        kind, width, side):
    """4 alpha + tau H a step at the most [LS-IQ]; elsewhere there is no such bound."""
    bound = side * (4 * 0.5 + 0.1 * math.log(2)) / (1 - 0.9)
    for on, divergence, held in (("mixture", "chi2", True), ("expert", "chi2", False),
                                 ("mixture", "hellinger", False)):
        agent = an_agent(kind, critic=Tall(side * 1e3, width), chi2_on=on,
                         divergence=divergence, value_term="initial")
        rows = some_rows(kind, 1, ended=(False,) * 4)
        info = agent.update(rows, initial=rows.obs)
        value = bound if held else side * 1e3
        assert info["reward_expert"].item() == pytest.approx(
            side * 1e3 - 0.9 * value, abs=0.2)
        assert info["value_term"].item() == pytest.approx(0.1 * value, abs=0.1)


def test_the_critic_s_loss_does_not_reach_the_actor():
    """The actor's gradient is the same whatever the critic's loss is."""
    expert, policy = some_rows("continuous", 1), some_rows("continuous", 2)
    actors, critics = [], []
    for divergence in "chi2", "reverse_kl":
        agent = an_agent("continuous", divergence=divergence)
        agent.update(expert, policy)
        actors.append([x.grad.clone() for x in agent.actor.parameters()])
        critics.append([x.grad.clone() for x in agent.critic.parameters()])
    assert all(map(torch.equal, *actors)) and any(x.any() for x in actors[0])
    assert not any(map(torch.equal, *critics))


class Raised(nn.Module):
    """Q(s,a) = w . (s, a) + height."""

    def __init__(self):
        super().__init__()
        self.slopes, self.height = nn.Linear(4, 1), nn.Parameter(torch.zeros(()))

    def forward(self, obs, action):
        return self.slopes(torch.cat([obs, action], 1)) + self.height


def test_the_actor_s_loss_does_not_reach_the_critic():
    """To raise Q everywhere leaves IQ-Learn's loss as it is; the actor's would fall."""
    config = iq.Config(gamma=0.9, temperature=0.1, divergence="wasserstein",
                       target_rate=1.0, value_term="expert", device="cpu", seed=0)
    agent = iq.SoftActorCritic((3,), iq.Box(-2, 2, (1,), dtype=np.float32), config,
                               critic=Raised())
    agent.update(some_rows("continuous", 1, ended=(False,) * 4))
    assert agent.critic.height.grad.abs() < 1e-6
    assert agent.critic.slopes.weight.grad.abs().max() > 1e-3


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("absorbing", [False, True])
def test_an_update_reads_no_state_after_a_terminal_row_and_each_one_after_another(
        kind, absorbing):
    rows = some_rows(kind, 1)
    weights = {}
    for which, there in ("none", 0), ("ended", rows.terminated), (
            "others", ~rows.terminated):
        agent = an_agent(kind, absorbing=absorbing)
        elsewhere = 3 * torch.as_tensor(there).float().expand(4)[:, None]
        agent.update(rows._replace(next_obs=rows.next_obs + elsewhere))
        weights[which] = [x.grad for x in agent.critic.parameters()]
    assert all(map(torch.equal, weights["none"], weights["ended"]))
    assert not all(map(torch.equal, weights["none"], weights["others"]))


@pytest.mark.parametrize("kind", KINDS)
def test_no_gradient_comes_to_the_diary_or_replay(kind):
    agent, rows = an_agent(kind, divergence="wasserstein"), some_rows(kind, 1)
    agent.update(rows)
    assert rows.obs.grad is None and not rows.obs.requires_grad


@pytest.mark.parametrize("kind", KINDS)
def test_wasserstein_keeps_the_slope_of_q_near_1_and_total_variation_does_not(kind):
    slopes = {}
    for divergence in "wasserstein", "total_variation":
        agent = an_agent(kind, divergence=divergence, value_term="initial")
        expert, policy = some_rows(kind, 1), some_rows(kind, 2)
        for _ in range(150):
            agent.update(expert, policy, initial=policy.obs)
        obs = expert.obs.clone().requires_grad_()
        slope, = torch.autograd.grad(agent.q(obs, expert.action).sum(), obs)
        slopes[divergence] = slope.norm(dim=1).max()
    assert slopes["wasserstein"] < 1.5 < slopes["total_variation"]
