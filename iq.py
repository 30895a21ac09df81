# /// script
# requires-python = ">=3.10"
# dependencies = ["torch>=2.4", "numpy>=1.26", "gymnasium>=1.0", "tqdm"]
# ///
"""IQ-Learn in one file: from an expert's transitions to a policy, and to its reward.

One soft Q-function is learned from transitions (s, a, s'). With the reward that it
implies, r = Q(s,a) - gamma V(s'), it minimises

    L(Q) = -E_expert[phi(r)] + E[V(s) - gamma V(s')]

The policy is exp((Q - V) / tau). Reward and policy are read off the same Q: neither is
guessed, neither is an adversary of the other.

    paper           here              meaning
    Q, V, pi        q, value, act     soft action value, soft state value, policy
    gamma           gamma             discount per step
    (it has 1)      temperature       tau, the reward that one nat of entropy is worth
    phi             DIVERGENCES       concave shape of the reward, one per divergence
    alpha           chi2_alpha        the chi2 divergence charges r^2 / (4 alpha)
    rho_E, rho      is_expert or not  rows of the diary, rows of the learner's own

    demos = Demos.load("diary.npz", action_space="CartPole-v1")
    agent = learn(demos)                               # or online: learn(demos, env)
    print(evaluate(agent, "CartPole-v1", episodes=20, seed=0).mean())

Paper: Garg et al., "IQ-Learn: Inverse soft-Q Learning for Imitation", NeurIPS 2021,
arXiv:2106.12142; "Eq." is an equation of it. Where we leave it: there is a temperature;
V(s') comes from a slow copy and is held fixed; the square of chi2 is taken over the
learner's own rows too; terminal states have a learned value.
"""

import argparse
import json
import os
import tempfile
import time
import warnings
from collections import namedtuple
from dataclasses import dataclass

import gymnasium as gym
import numpy as np
import torch
from gymnasium.spaces import Box, Discrete
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

try:
    from tqdm import tqdm
except ImportError:  # a progress bar is a comfort, not a need
    tqdm = lambda steps, **_: steps


def require(holds, thing, value, allowed):
    """ValueError unless it holds, by the thing, its value and what is allowed."""
    if not holds:
        raise ValueError(f"{thing} is {value}; allowed: {allowed}")


# ------------------------------------------------------------------------ mathematics
# B rows in a batch, A actions. One number per row is a tensor (B,), never (B, 1).


def soft_value(q, temperature):
    """V(s) = tau log sum_a exp(Q(s,a) / tau), the soft best of Q.  (B, A) -> (B,).

    logsumexp takes the largest entry out first, so that no exp can overflow.
    """
    return temperature * torch.logsumexp(q / temperature, -1)


def soft_policy(q, temperature):
    """log pi(a|s) = (Q(s,a) - V(s)) / tau.  (B, A) -> (B, A)."""
    return torch.log_softmax(q / temperature, -1)


def soft_bellman(reward, next_value, gamma):
    """Q(s,a) = r(s,a,s') + gamma V(s').  (B,)."""
    return reward + gamma * next_value


def inverse_bellman(q, next_value, gamma):
    """r(s,a,s') = Q(s,a) - gamma V(s')  [Eq. 11], which undoes soft_bellman.  (B,)."""
    return q - gamma * next_value


# D(policy, expert) = max_r E_expert[phi(r)] - E_policy[r]. Each phi is concave, with
# phi(0) = 0 and phi'(0) = 1, and beside it stands f(u) = max_r phi(r) - u r, with u the
# ratio policy / expert; the best r is where phi'(r) = u. A phi that would become
# infinite goes on as its tangent of slope MAX_RATIO: nothing changes below that ratio.
MAX_RATIO = 100.0


def tangent_below(point, phi):
    """phi above a point, and below it the straight line of slope MAX_RATIO."""
    return lambda r: phi(r.clamp(min=point)) + MAX_RATIO * (r - point).clamp(max=0)


DIVERGENCES = {
    # alpha (u - 1)^2
    "chi2": lambda r, alpha=0.5: r - r.square() / (4 * alpha),
    # u log u - u + 1
    "reverse_kl": tangent_below(-np.log(MAX_RATIO), lambda r: 1 - torch.exp(-r)),
    # -log u + u - 1
    "forward_kl": tangent_below(1 / MAX_RATIO - 1, lambda r: torch.log(1 + r)),
    # (sqrt(u) - 1)^2
    "hellinger": tangent_below(MAX_RATIO**-0.5 - 1, lambda r: r / (1 + r)),
    # u log u - (1 + u) log((1 + u) / 2)
    "jensen_shannon": tangent_below(
        np.log((1 + 1 / MAX_RATIO) / 2), lambda r: torch.log(2 - torch.exp(-r))),
    # |u - 1|
    "total_variation": tangent_below(-1.0, lambda r: r.clamp(max=1)),
}


def iq_loss(q, value, next_value, is_expert, gamma, divergence="chi2", chi2_alpha=0.5,
            chi2_on="mixture", value_term=0.05, initial_value=None):
    """The objective, Eq. 9 with its sign turned: lower is better. Offline it is Eq. 12.

    q, value, next_value (B,) are Q(s,a), V(s), V(s'); is_expert (B,) bool marks the
    diary's rows. "mixture" means all rows, "expert" the diary's.
    value_term: the paper's (1 - gamma) E[V(s0)] if "initial"; or what it telescopes to
    for the occupancy of any policy, E[V(s) - gamma V(s')], over the diary (0), the
    mixture (1) or a blend of both.  Returns the loss () and its terms, detached.
    """
    expert = is_expert / is_expert.to(q.dtype).mean()  # E_expert[x] = mean of expert x
    reward = inverse_bellman(q, next_value, gamma)
    if divergence == "chi2":  # phi(r) = r - r^2 / (4 alpha), with the square on its own
        paying = expert if chi2_on == "expert" else 1.0
        shaped = (expert * reward - paying * reward.square() / (4 * chi2_alpha)).mean()
    else:
        shaped = (expert * DIVERGENCES[divergence](reward)).mean()
    if value_term == "initial":
        pull = (1 - gamma) * initial_value.mean()
    else:
        blend = value_term + (1 - value_term) * expert
        pull = (blend * (value - gamma * next_value)).mean()
    info = {"loss": pull - shaped, "expert_term": -shaped, "value_term": pull,
            "reward_expert": (expert * reward).mean(), "reward_mixture": reward.mean(),
            "max_q": q.abs().max()}
    return info["loss"], {name: x.detach() for name, x in info.items()}


def append_absorbing(q, value, next_value, is_expert, terminated, absorbing_value):
    """The rows of iq_loss and, for each terminal row, one more in the absorbing state.

    A terminal state leads to a state that is never left: Q = V = V(s') = V_A in it. In
    next_value V_A stands at terminal rows already. With 0 in its place, living would
    pay where V > 0, and dying where V < 0, whatever the expert did.
    All (B,), absorbing_value () -> q, value, next_value, is_expert, (B + ends,) each.
    """
    loop = absorbing_value.expand_as(q[terminated])
    more = loop, loop, next_value[terminated], is_expert[terminated]
    return [torch.cat(pair) for pair in zip((q, value, next_value, is_expert), more)]


def normal_log_prob(noise, log_std):
    """log N(mean + std noise; mean, std) over independent axes.  (B, A) -> (B,)."""
    return (-noise.square() / 2 - log_std - np.log(2 * np.pi) / 2).sum(-1)


def squash(mean, log_std, noise):
    """a = tanh(u), u = mean + std noise, and log pi(a).  All (B, A) -> (B, A), (B,)."""
    u = mean + log_std.exp() * noise
    # log(1 - tanh(u)^2) = 2 (log 2 - u - softplus(-2 u)), exact at any u
    return u.tanh(), normal_log_prob(noise, log_std) - 2 * (
        np.log(2) - u - nn.functional.softplus(-2 * u)).sum(-1)


# ---------------------------------------------------------------------- configuration


@dataclass(frozen=True)
class Config:
    """Every choice of a run. The same defaults serve all tasks, offline or online.

    A field reads "name: what is allowed = default": one of some [words], or a number
    (from, to), beside which a word may stand.
    """

    # ruff: noqa: F821  (here annotations are not of types)

    gamma: (0.0, 0.9999) = 0.99  # discount per step
    temperature: (1e-6, 1e6) = 0.03  # reward that one nat of entropy is worth
    divergence: [*DIVERGENCES] = "chi2"  # how the learner is compared with the expert
    chi2_alpha: (1e-6, 1e6) = 0.5  # the square of chi2 is r^2 / (4 alpha) per step
    chi2_on: ["mixture", "expert"] = "mixture"  # the rows that pay it: all, the diary's
    # share of the mixture in the value term, against the diary (2: replay alone), or
    # its first states; None: the agent's own share, 0.05, and 1 for SoftActorCritic
    value_term: (0.0, 2.0, "initial", None) = None
    # terminal states have a learned worth (offline it stays 0, but for "initial")
    absorbing: [True, False] = True
    continuous: ["naf", "actor_critic"] = "naf"  # the agent for continuous actions
    hidden: (1, 4096) = 128  # units in each of two hidden layers
    learning_rate: (1e-9, 1.0) = 1e-3  # step size of Adam
    # share of the critic that its slow copy takes per update; 1: no copy
    target_rate: (1e-6, 1.0) = 0.05
    batch_size: (1, 1_000_000) = 64  # rows of the diary in an update, as many of replay
    steps: (1, 1_000_000_000) = 10_000  # updates; online, each after one step outside
    seed: (0, 2_147_483_647) = 0  # of weights, batches, actions and the environment
    device: ["cpu", *["cuda"] * torch.cuda.is_available()] = "cpu"  # where to compute

    def __post_init__(self):
        for name, allowed in Config.__annotations__.items():
            value = vars(self)[name]
            if isinstance(value, np.generic):  # plain, as a checkpoint can hold it
                value = vars(self)[name] = value.item()
            fits = value in allowed
            if isinstance(allowed, tuple) and value not in allowed[2:]:
                least, most = allowed[:2]
                fits = type(value) in (int, type(least)) and least <= value <= most
            require(fits, name, repr(value), allowed)


# ----------------------------------------------------------------------------- agents

# Rows of transitions: obs, next_obs (B, *obs), the true next one, never that of a
# reset; action (B,) a number, or (B, A) with each axis scaled to [-1, 1]; terminated
# (B,) bool, not for a time limit; initial_obs (E, *obs), the first of each episode.
Batch = namedtuple("Batch", "obs action next_obs terminated initial_obs", defaults=[()])

# what a Config cannot change of an agent that stands already
SHAPING = "gamma", "temperature", "absorbing", "continuous", "hidden"


class MLP(nn.Sequential):
    """Inputs (B, ...), flattened and joined -> (B, outputs), by two hidden layers."""

    def __init__(self, inputs, hidden, outputs):
        weights = hidden * (inputs + hidden + outputs)
        require(weights <= 2**25, "MLP's weights", weights, "up to 2**25, or your own")
        super().__init__(
            nn.Linear(inputs, hidden), nn.Tanh(), nn.Linear(hidden, hidden), nn.Tanh(),
            nn.Linear(hidden, outputs))

    def forward(self, *inputs):
        return super().forward(torch.cat([x.flatten(1) for x in inputs], 1))


class Agent(nn.Module):
    """What the three agents share; SoftQ, SoftNAF and SoftActorCritic fill it in.

    q, value and update work on tensors, with actions as in Batch; act, reward and
    log_prob take and give arrays, with actions in the environment's own units.
    example: an observation (*obs), for its shape and type. networks: a user's own.
    """

    value_term = 0.05

    def __init__(self, example, action_space, config=Config(), **networks):
        super().__init__()
        self.config = config
        self.action_space = action_space
        self.example = np.zeros_like(example)
        self.low, self.high = bounds(action_space)
        self.absorbing_value = nn.Parameter(torch.zeros(()))  # V_A; unlearned, 0
        with torch.random.fork_rng(devices=[]):  # the caller's own stream stays
            torch.default_generator.manual_seed(config.seed)
            self.build(**networks)
        self.slow = AveragedModel(self.critic)
        self.configure(config)

    def ready(self, name, network, outputs, *inputs):
        """Take a user's network, or an MLP, after one row went through it."""
        row = [torch.zeros(1, *shape) for shape in inputs]
        network = network or MLP(
            sum(x.numel() for x in row), self.config.hidden, outputs)
        got = tuple(network.cpu().eval()(*row).shape)
        require(got == (1, outputs), f"{name}'s output, 1 row", got, f"(1, {outputs})")
        require({*network.parameters()}.isdisjoint(self.parameters()),
                name, "sharing weights", "weights of its own")
        self.add_module(name, network)

    def configure(self, config):
        """Take a Config, with a fresh optimiser and a fresh random stream."""
        other = [x for x in SHAPING if getattr(config, x) != getattr(self.config, x)]
        require(not other, "change of an agent that stands", other, "other fields")
        self.config = config
        self.to(config.device)
        self.generator = torch.Generator(config.device).manual_seed(config.seed)
        self.slow.multi_avg_fn = get_ema_multi_avg_fn(1 - config.target_rate)
        self.optimizer = torch.optim.Adam(
            self.parameters(), config.learning_rate, fused=True)  # one call for all

    def update(self, batch, is_expert):
        """Descend the loss once; is_expert (B,) marks the diary's rows of the batch.

        Returns the terms of the loss, detached. Raises RuntimeError at a gradient that
        is not finite, before any weight moves.
        """
        self.train()  # dropout and batch norm work here alone, and not in the slow copy
        self.slow.eval()
        loss, info, value = self.loss(batch, is_expert)
        self.optimizer.zero_grad()
        self.backward(loss, value)
        self.eval()
        nn.utils.clip_grad_norm_(self.parameters(), 10.0, error_if_nonfinite=True)
        self.optimizer.step()
        self.slow.update_parameters(self.critic)
        return info

    def loss(self, batch, is_expert):
        """The loss of a batch (), its terms, and V(s) of the batch's rows (B,)."""
        c = self.config
        q_of, value = self.q_and_value(batch.obs, self.critic)
        rows = q_of(batch.action), value, self.next_value(batch, self.slow), is_expert
        if c.absorbing:
            rows = append_absorbing(*rows, batch.terminated, self.absorbing_value)
        share = self.value_term if c.value_term is None else c.value_term
        initial = self.value(batch.initial_obs) if share == "initial" else None
        return *iq_loss(*rows, c.gamma, c.divergence, c.chi2_alpha, c.chi2_on, share,
                        initial), value

    @torch.no_grad()
    def next_value(self, batch, critic):
        """V(s') by a critic, held fixed: a semi-gradient; beyond an end V_A.  (B,)."""
        later = self.q_and_value(batch.next_obs, critic)[1]
        return torch.where(batch.terminated, self.absorbing_value, later)

    def backward(self, loss, value):
        """Gradients of the loss; an agent with an actor has an objective more."""
        loss.backward()

    def q(self, obs, action):
        """Q(s,a), (B,)."""
        return self.q_and_value(obs, self.critic)[0](action)

    def value(self, obs):
        """V(s), (B,)."""
        return self.q_and_value(obs, self.critic)[1]

    @torch.no_grad()
    def act(self, obs, greedy=True):
        """The policy's likeliest actions, or drawn ones; obs may be a single state."""
        single = np.ndim(obs) == self.example.ndim
        unit = self.choose(self.tensor([obs] if single else obs), greedy)
        unit = unit.double().numpy(force=True)  # so that both ends are exact
        action = ((self.low * (1 - unit) + self.high * (1 + unit)) / 2).astype(
            self.action_space.dtype)
        return action[0] if single else action

    def log_prob(self, obs, action):
        """log pi(a|s), (B,), in nats; continuous actions are measured in [-1, 1].

        SoftNAF's is that of the normal, before drawn actions are clipped to the bounds.
        """
        q_of, value = self.q_and_value(self.tensor(obs), self.critic)
        advantage = q_of(self.unit(action)) - value
        return (advantage / self.config.temperature).numpy(force=True)

    def reward(self, obs, action, next_obs, terminated):
        """r(s,a,s') = Q(s,a) - gamma V(s')  [Eq. 11], (B,); beyond an end V is V_A.

        SoftActorCritic tells V(s') by one draw, so that its rewards are noisy.
        """
        rows = self.rows(Step(obs, action, next_obs, terminated))
        return inverse_bellman(
            self.q(rows.obs, rows.action), self.next_value(rows, self.critic),
            self.config.gamma).numpy(force=True)

    def tensor(self, x):
        return torch.tensor(np.array(x, np.float32), device=self.config.device)

    def unit(self, action):
        """Actions in the environment's units -> as in Batch."""
        rows = np.float64(action).reshape(-1, *np.shape(self.low))
        return self.tensor(2 * (rows - self.low) / (self.high - self.low) - 1)

    def rows(self, table):
        """What learning reads of Demos or of a Step, as a Batch."""
        return Batch(
            self.tensor(table.observations), self.unit(table.actions),
            self.tensor(table.next_observations), self.tensor(table.terminations) > 0)

    def save(self, path):
        """Write what acting, asking and learning on need, whole or not at all."""
        state = {"config": vars(self.config) | {"device": "cpu"},
                 "weights": self.state_dict(), "example": torch.as_tensor(self.example),
                 "space": {name: torch.as_tensor(x) for name, x in
                           space_numbers(self.action_space).items()}}
        write(path, lambda part: torch.save(state, part))


class SoftQ(Agent):
    """Counted actions: V is a log-sum-exp of Q, and the policy a softmax.

    Network: critic, obs (B, *obs) -> Q of every action (B, A).
    """

    def build(self, critic=None):
        self.low, self.high = -1, 1  # a counted action is its own unit
        self.ready("critic", critic, self.action_space.n, self.example.shape)

    def q_and_value(self, obs, critic):
        """Q(s, .), a function of actions, and V(s), (B,)."""
        q = critic(obs)
        q_of = lambda action: q.gather(1, action.long()[:, None]).squeeze(1)
        return q_of, soft_value(q, self.config.temperature)

    def choose(self, obs, greedy):
        """Actions of the policy, from observations as networks take them."""
        policy = soft_policy(self.critic(obs), self.config.temperature).exp()
        return policy.argmax(1) if greedy else torch.multinomial(
            policy, 1, generator=self.generator).squeeze(1)


class SoftNAF(Agent):
    """Continuous actions: Q(s,a) = V(s) + tau log N(a; mean(s), std(s)).

    This Q is its own policy: exp((Q - V) / tau) is the normal, so V is exact, and needs
    no draw and no second objective (after Gu et al., 2016, arXiv:1603.00748).
    Network: critic, obs (B, *obs) -> V, means, log stds (B, 1 + 2A) before squeezing.
    """

    def build(self, critic=None):
        self.ready("critic", critic, 1 + 2 * len(self.low), self.example.shape)

    def heads(self, obs, critic):
        """V (B,), and of the policy the means and log stds (B, A), both in (-1, 1).

        The narrower it may be, the lower is the Q of replayed actions that are unlike
        it, and the more of the square is theirs: with log stds from -3, Pendulum fails.
        """
        value, policy = critic(obs).tensor_split([1], 1)
        return value.squeeze(1), *policy.tanh().chunk(2, 1)

    def q_and_value(self, obs, critic):
        value, mean, log_std = self.heads(obs, critic)
        log_prob = lambda a: normal_log_prob((a - mean) / log_std.exp(), log_std)
        return lambda a: value + self.config.temperature * log_prob(a), value

    def choose(self, obs, greedy):
        _, mean, log_std = self.heads(obs, self.critic)
        return mean if greedy else torch.normal(
            mean, log_std.exp(), generator=self.generator).clamp(-1, 1)


class SoftActorCritic(Agent):
    """Continuous actions, as in the paper: any Q, and an actor that climbs V(s).

    Networks: critic, obs (B, *obs) and action (B, A) in [-1, 1] -> Q (B, 1); actor,
    obs -> means, log stds (B, 2A) of the normal that squash sends through tanh.
    """

    value_term = 1.0  # this Q is free off the diary, and the actor climbs its errors:
    # they must be pressed down where the learner goes (Pendulum fails with 0.05)

    def build(self, critic=None, actor=None):
        self.ready("critic", critic, 1, self.example.shape, self.low.shape)
        self.ready("actor", actor, 2 * len(self.low), self.example.shape)

    def q_and_value(self, obs, critic):
        """V(s) = E[Q(s,a) - tau log pi(a|s)], a ~ pi, by one draw."""
        action, log_prob = self.draw(obs)
        q_of = lambda action: critic(obs, action).squeeze(1)
        return q_of, q_of(action) - self.config.temperature * log_prob

    def backward(self, loss, value):
        """The critic descends the loss, the actor climbs V(s): each its own weights."""
        loss.backward(inputs=[*self.critic.parameters(), self.absorbing_value],
                      retain_graph=True)
        (-value.mean()).backward(inputs=[*self.actor.parameters()])

    def normal(self, obs):
        """Means and log stds (B, A) before tanh."""
        mean, log_std = self.actor(obs).chunk(2, 1)
        return mean, log_std.clamp(-5, 2)

    def draw(self, obs):
        """Actions of the policy (B, A), and their log probabilities (B,)."""
        mean, log_std = self.normal(obs)
        noise = torch.empty_like(mean).normal_(generator=self.generator)
        return squash(mean, log_std, noise)

    def log_prob(self, obs, action):
        mean, log_std = self.normal(self.tensor(obs))
        u = self.unit(action).clamp(-0.999999, 0.999999).atanh()  # not infinite
        noise = (u - mean) / log_std.exp()
        return squash(mean, log_std, noise)[1].numpy(force=True)

    def choose(self, obs, greedy):
        return self.normal(obs)[0].tanh() if greedy else self.draw(obs)[0]


# ---------------------------------------------------------------------- the whole job


def new_agent(demos, config=Config(), **networks):
    """An untrained agent for the observations and actions of a diary."""
    continuous = SoftNAF if config.continuous == "naf" else SoftActorCritic
    kind = SoftQ if isinstance(demos.action_space, Discrete) else continuous
    return kind(demos.observations[0], demos.action_space, config, **networks)


def learn(demos, env=None, config=None, callback=None, agent=None):
    """Train by the diary alone or, given an environment, by the learner's steps too.

    env: a gymnasium.Env or its name. callback(step, info) hears of every update and of
    the terms of its loss, tensors (); where it returns False or 0, learning ends. An
    agent that is handed in learns on, for the steps of config or of its own.
    """
    agent = agent or new_agent(demos, config or Config())
    numbers("an observation", demos.observations[0], *kind_of(agent.example))
    check_space(demos.action_space, agent.action_space)
    if config:
        agent.configure(config)
    c = agent.config
    replay = Replay(agent.rows(demos), demos.starts, 0 if env is None else c.steps)
    steps = play(env, lambda obs: agent.act(obs, greedy=False), c.seed, agent)
    for number in tqdm(range(1, c.steps + 1), disable=None):
        if env is not None:
            replay.add(agent.rows(next(steps)))
        info = agent.update(*replay.sample(c.batch_size, agent.generator))
        if callback and np.array_equal(callback(number, info), False):
            break
    return agent


def record(env, policy, episodes, seed, agent=None):
    """A diary of whole episodes; policy: an observation (*obs) -> an action."""
    require(episodes >= 1, "episodes", episodes, "1 or more")
    env = make(env)
    columns = zip(*play(env, policy, seed, agent, episodes))
    return Demos(env.action_space, **dict(zip(COLUMNS, map(np.array, columns))))


def evaluate(agent, env, episodes, seed):
    """The returns (episodes,) of the policy's likeliest actions."""
    return record(env, agent.act, episodes, seed, agent).returns()


# ------------------------------------------------------- what this file did not make


def make(env):
    """The environment of a name; one that stands already is left as it is."""
    return gym.make(env) if isinstance(env, str) else env


def play(env, policy, seed, agent=None, episodes=2**63):
    """Steps, an episode after the other: the one place that resets and steps.

    The first reset alone has a seed, as is usual in Gymnasium. Observations and actions
    have to be like the agent's. Where another play stepped the environment in between,
    a new episode begins. An environment that names no limit is cut after 10,000 steps.
    """
    env = make(env)
    me = object()
    space = env.action_space
    check_space(space, agent.action_space if agent else space)
    limit = getattr(env.spec, "max_episode_steps", None) or 10_000
    kind = agent and kind_of(agent.example)
    see = lambda obs, step: numbers(
        f"observation {step} of episode {episode}", obs, *kind)
    for episode in range(episodes):
        first = env.reset(seed=None if episode else seed)[0]
        kind = kind or kind_of(first)  # it tells what the others have to be
        obs = see(first, 0)
        for step in range(1, limit + 1):
            env.unwrapped.stepped_by = me
            action = np.asarray(policy(obs.copy()))[()]  # a number where it is one
            if isinstance(space, Box):
                action = action.astype(space.dtype).clip(space.low, space.high)
            require(action in space, "action", action, space)
            seen, reward, terminated, truncated, _ = env.step(action.copy())
            next_obs = see(seen, step)
            ends = bool(terminated), bool(truncated) or step == limit
            yield Step(obs, action, next_obs, *ends, np.float64(reward).item(), episode)
            obs = next_obs
            if any(ends) or env.unwrapped.stepped_by is not me:
                break


def kind_of(obs):
    """What observations have to be like: a numpy class of numbers, and a shape."""
    array = numbers("observation", obs, np.number, np.shape(obs))
    return array.dtype.type.__mro__[1], array.shape


def numbers(name, values, kind, shape):
    """A copy of finite numbers of a numpy class and shape."""
    array = np.asarray(values)  # not copied before it is known to be numbers
    fits = (np.issubdtype(array.dtype, kind) and np.isrealobj(array)
            and array.shape == shape and (abs(array) < np.float64(3e38)).all())
    require(fits, name, f"{type(values).__name__} of {array.dtype} {array.shape}",
            f"finite {kind.__name__} {shape}")
    return array.copy()  # environments may change their own in place


def bounds(space):
    """The least and the greatest action; refuses a space that cannot be learned."""
    if isinstance(space, Discrete) and space.start == 0:
        return np.float64([0, space.n - 1])
    plain = isinstance(space, Box) and len(space.shape) == 1 and space.dtype.kind == "f"
    ends = np.float64([space.low, space.high] if plain else [0, 0])
    width = ends[1] - ends[0]  # neither lost in rounding nor without end
    require(((width <= 1e6) & (abs(ends) < 1e6 * width)).all(), "action space", space,
            "told: Discrete from 0, or a Box of floats, one axis, up to 1e6 wide")
    return ends


def check_space(space, own):
    """Refuse an action space that has other actions, or other bounds."""
    require(np.array_equal(np.float32(bounds(space)), np.float32(bounds(own))),
            "action space", space, own)


def space_numbers(space):
    """What files tell of an action space."""
    if isinstance(space, Box):
        return {"action_low": space.low, "action_high": space.high}
    return {"n_actions": space.n}


def space_of(data):
    """The action space that a file tells, or None."""
    if "n_actions" in data:
        return Discrete(int(data["n_actions"]))
    if "action_low" in data:
        low = np.asarray(data["action_low"])
        return Box(low, np.asarray(data["action_high"]), dtype=low.dtype)


# ------------------------------------------------------------------------------- data

COLUMNS = {"observations": np.number, "actions": np.number,
           "next_observations": np.number, "terminations": bool,
           "truncations": bool, "rewards": np.number, "episode_ids": np.integer}
NEEDED = [*COLUMNS][:5]
Step = namedtuple("Step", COLUMNS, defaults=[None] * 3)  # one row of these


class Demos:
    """An expert's N transitions in order of time, checked on entry (ValueError).

    observations, next_observations (N, *obs), the true ones, never those of a reset;
    actions (N,) whole numbers, or (N, A) in the environment's own units; terminations
    (N,) bool, s' is terminal; truncations (N,) bool, stopped at s' by a limit from
    outside; rewards (N,), optional, for reports: learning never reads them;
    episode_ids (N,), optional: else ends tell the episodes apart.
    starts (N,) bool marks the first rows of episodes.
    """

    def __init__(self, /, action_space, **columns):
        absent = [name for name in NEEDED if columns.get(name) is None]
        require(not absent, f"{absent} absent: the table", [*columns], NEEDED)
        low, high = bounds(action_space)
        shape = kind_of(columns["observations"])[1]
        require(len(shape) > 1 and all(shape), "observations' shape", shape, "(N, ...)")
        kinds = COLUMNS if low.ndim else COLUMNS | {"actions": np.integer}
        shapes = {"actions": shape[:1] + low.shape, "observations": shape,
                  "next_observations": shape}
        table = {x: numbers(x, columns[x], kinds[x], shapes.get(x, shape[:1]))
                 for x in COLUMNS if columns.get(x) is not None}
        ends = (table["terminations"] | table["truncations"])[:-1]
        follows = (table["observations"][1:] == table["next_observations"][:-1]).all(
            axis=tuple(range(1, len(shape))))
        table.setdefault("episode_ids", np.append(0, (ends | ~follows).cumsum()))
        self.action_space = action_space
        self.columns = table
        vars(self).update(dict.fromkeys(COLUMNS) | table)
        self.starts = np.append(True, np.diff(self.episode_ids) != 0)
        outside = abs(self.actions - self.actions.clip(low, high)) > 1e-6 * (high - low)
        require(not outside.any(), "an action", self.actions[outside][:1], action_space)
        runs_on = ends & follows
        if runs_on.any():
            warnings.warn(f"the end of row {runs_on.argmax()} begins the next "
                          "episode: is it that of a reset?", stacklevel=2)
        x = self.observations[:1000]  # enough to tell, and little memory
        lost = (abs(np.float32(x) - x) * (x != x[0])).max(0) > 0.001 * x.std(0)
        if lost.any():
            warnings.warn(f"observations {x[0][lost]} differ too little for float32, "
                          "as agents see them: subtract an origin", stacklevel=2)

    def __len__(self):
        return len(self.observations)

    def returns(self):
        """The sum of rewards of each episode (E,); NaN where rewards are unknown."""
        rewards = np.nan * self.starts if self.rewards is None else self.rewards
        return np.add.reduceat(rewards, np.flatnonzero(self.starts), dtype=float)

    def keep(self, rows):
        """The rows where a mask (N,) is True."""
        return Demos(self.action_space, **{x: y[rows] for x, y in self.columns.items()})

    def take(self, episodes):
        """The first episodes."""
        there = self.starts.sum()
        require(1 <= episodes <= there, "episodes", episodes, f"1 to {there}")
        return self.keep(self.starts.cumsum() <= episodes)

    def subsample(self, every):
        """Rows 0, every, 2 every ... of each episode, so that its first state stays."""
        require(every >= 1, "subsample", every, "1 or more")
        first = np.flatnonzero(self.starts)[self.starts.cumsum() - 1]
        return self.keep((np.arange(len(self)) - first) % every == 0)

    @classmethod
    def from_episodes(cls, observations, actions, terminated, action_space,
                      rewards=None):
        """A diary from lists with an entry for each episode, of T actions say.

        observations (T + 1, *obs), the last one where the episode stopped; actions (T,)
        or (T, A); rewards (T,); terminated: whether the last state is terminal, rather
        than a limit from outside: for each one bool, or T of which the last counts.
        """
        lengths = [len(x) for x in actions]
        rows = [len(x) - 1 for x in observations]
        require(rows and rows == lengths, "rows of observations less 1", rows, lengths)
        join = np.concatenate
        last = join([np.arange(1, n + 1) == n for n in rows])
        ended = np.repeat([bool(np.ravel(x)[-1]) for x in terminated], rows)
        return cls(
            action_space, observations=join([x[:-1] for x in observations]),
            actions=join(actions), terminations=last & ended,
            next_observations=join([x[1:] for x in observations]),
            truncations=last & ~ended,
            rewards=None if rewards is None else join(rewards))

    def save(self, path):
        """Write an .npz without pickles, whole or not at all."""
        space = space_numbers(self.action_space)
        write(path, lambda part: np.savez(part, **self.columns, **space))

    @classmethod
    def load(cls, path, action_space=None):
        """Read an .npz; action_space, or an environment's name, where it tells none."""
        try:
            with np.load(path, allow_pickle=False) as file:
                data = {x: file[x] if x in COLUMNS else x for x in file}
                own = space_of(file)
        except Exception as error:  # for bad bytes numpy and zipfile raise many
            require(False, f"diary {path}", type(error).__name__, "an .npz of arrays")
        if isinstance(action_space, str):
            action_space = make(action_space).action_space
        check_space(own or action_space, action_space or own)
        return cls(**data | {"action_space": action_space or own})


class Replay:
    """The diary's rows and, behind them, room for the learner's own."""

    def __init__(self, diary, starts, room):
        self.columns = [torch.cat([x, x.new_zeros(room, *x.shape[1:])])
                        for x in diary[:-1]]
        self.first = diary.obs[starts]
        self.expert = self.count = len(starts)

    def add(self, row):
        """Keep a step of the learner's."""
        for column, x in zip(self.columns, row):
            column[self.count] = x
        self.count += 1

    def sample(self, size, generator):
        """A Batch of size rows of the diary, and of the learner's if any; is_expert."""
        parts = (0, self.expert), (self.expert, self.count)
        rows = torch.cat([
            torch.randint(*part, (size,), generator=generator, device=generator.device)
            for part in parts if part[0] < part[1]])
        return Batch(*(x[rows] for x in self.columns), self.first), rows < self.expert


# --------------------------------------------------------------- files, elders, main


def write(path, put):
    """Let put(path) write a file, whole or not at all."""
    path = os.path.realpath(path)
    with tempfile.TemporaryDirectory(dir=os.path.dirname(path)) as folder:
        part = f"{folder}/part.npz"  # numpy would add the ending
        put(part)
        os.replace(part, path)


def load(path, **networks):
    """A checkpoint's agent, on the CPU; a user's own networks are given again."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        told = [state["example"], *state["space"].values()]
        count = sum(x.numel() for x in told)
        require(count <= os.path.getsize(path), "numbers", count, "what the file holds")
        first = argparse.Namespace(
            observations=[told[0].numpy()], action_space=space_of(state["space"]))
        agent = new_agent(first, Config(**state["config"]), **networks)
        for name, own in agent.state_dict().items():
            got = state["weights"][name].dtype
            require(got == own.dtype, name, got, own.dtype)
        agent.load_state_dict(state["weights"])
    except Exception as error:  # for bad bytes torch and pickle raise many
        require(False, f"checkpoint {path}", repr(error), "an agent that was saved")
    return agent


def elder(env_id):
    """The built-in expert of CartPole-v1 or Pendulum-v1: obs (*obs) -> action."""
    rng = np.random.default_rng(0)

    def cartpole(obs):  # push where the pole falls, drawn softly: so the cart wanders
        return int(rng.random() < 1 / (1 + np.exp(-obs @ [1.5, 4.0, 50.0, 10.0])))

    def pendulum(obs):  # swing to the energy of standing still on top; there, balance
        cos, sin, speed = obs
        return [-8 * sin - 2 * speed if cos > 0.9
                else (15 - 15 * cos - speed**2 / 2) * np.copysign(1, speed)]

    elders = {"CartPole-v1": cartpole, "Pendulum-v1": pendulum}
    require(env_id in elders, "environment with an elder", env_id, [*elders])
    return elders[env_id]


def run(args):
    """A diary, learning and the hunt, as a report."""
    config = Config(steps=args.steps, seed=args.seed)
    env = make(args.env)
    demos = (Demos.load(args.demos, env.action_space) if args.demos
             else record(env, elder(args.env), args.episodes or 1, args.seed))
    if args.episodes is not None:
        demos = demos.take(args.episodes)
    expert = demos.returns().mean()
    demos = demos.subsample(args.subsample)
    agent = new_agent(demos, config)
    env.action_space.seed(args.seed)
    fresh = args.seed ^ 1_000_000  # starts that nobody has seen
    chance = record(env, lambda obs: env.action_space.sample(), 20, fresh, agent)
    open(args.out or os.devnull, "ab").close()  # fail now, not after hours of learning
    start = time.monotonic()
    try:
        learn(demos, env if args.online else None, agent=agent)
    finally:  # interrupted, too
        if args.out and agent.optimizer.state:  # it has learned something
            agent.save(args.out)
    seconds = time.monotonic() - start
    returns = evaluate(agent, env, 20, fresh)
    return {"env": args.env, "mode": "online" if args.online else "offline",
            "demos_transitions": len(demos),
            "expert_return": None if np.isnan(expert) else expert,
            "random_return": chance.returns().mean(),
            "return_mean": returns.mean(), "return_std": returns.std(),
            "updates": config.steps,
            "env_steps": config.steps * args.online, "seconds": seconds,
            "updates_per_second": config.steps / seconds}


def main(argv=None):
    """Run the command line."""
    parser = argparse.ArgumentParser("iq.py", argparse.SUPPRESS, "Learn from a diary.")
    flag = parser.add_argument
    flag("env", nargs="?", default="CartPole-v1", help="environment to hunt in")
    flag("--demos", metavar="F.npz", help="diary; without one, the elder writes it")
    flag("--episodes", type=int, help="of the diary; of the elder, 1")
    flag("--subsample", type=int, default=1, help="take every K-th row of an episode")
    flag("--online", action="store_true", help="learn in the environment too")
    flag("--steps", type=int, default=Config.steps, help="updates")
    flag("--seed", type=int, default=0)
    flag("--out", metavar="agent.pt", help="file for the agent")
    flag("--json", action="store_true", help="print one JSON object")
    args = parser.parse_args(argv)
    torch.set_num_threads(1)  # networks this small only lose by more
    try:
        print(json.dumps(run(args), indent=None if args.json else 2))
    except (ValueError, OSError, ImportError, gym.error.Error) as error:
        parser.error(" ".join(str(error).split()))  # one line on stderr, exit status 2


if __name__ == "__main__":
    main()
