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
import copy
import json
import math
import os
import time
import warnings
from collections import namedtuple
from dataclasses import asdict, dataclass, field, fields

import gymnasium as gym
import numpy as np
import torch
from gymnasium.spaces import Box, Discrete
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

try:
    from tqdm import tqdm
except ImportError:  # a progress bar is a comfort, not a need
    tqdm = None


def refuse(thing, value, allowed):
    """Bad input: the error names the thing, its value and what is allowed."""
    raise ValueError(f"{thing} is {value}; allowed: {allowed}")


# ------------------------------------------------------------------------ mathematics
# B rows in a batch, A actions. One number per row is a tensor (B,), never (B, 1).


def soft_value(q, temperature):
    """V(s) = tau log sum_a exp(Q(s,a) / tau), the soft best of Q.  (B, A) -> (B,).

    logsumexp takes the largest entry out first, so that no exp can overflow.
    """
    return temperature * torch.logsumexp(q / temperature, dim=-1)


def soft_policy(q, temperature):
    """log pi(a|s) = (Q(s,a) - V(s)) / tau.  (B, A) -> (B, A)."""
    return torch.log_softmax(q / temperature, dim=-1)


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
    return lambda r: phi(r.clamp(min=point)) + MAX_RATIO * (r - r.clamp(min=point))


DIVERGENCES = {
    # alpha (u - 1)^2
    "chi2": lambda r, alpha=0.5: r - r.square() / (4 * alpha),
    # u log u - u + 1
    "reverse_kl": tangent_below(-math.log(MAX_RATIO), lambda r: 1 - torch.exp(-r)),
    # -log u + u - 1
    "forward_kl": tangent_below(1 / MAX_RATIO - 1, lambda r: torch.log(1 + r)),
    # (sqrt(u) - 1)^2
    "hellinger": tangent_below(MAX_RATIO**-0.5 - 1, lambda r: r / (1 + r)),
    # u log u - (1 + u) log((1 + u) / 2)
    "jensen_shannon": tangent_below(
        math.log((1 + 1 / MAX_RATIO) / 2), lambda r: torch.log(2 - torch.exp(-r))),
    # |u - 1|
    "total_variation": tangent_below(-1.0, lambda r: r.clamp(max=1)),
}


def iq_loss(q, value, next_value, is_expert, gamma, divergence="chi2", chi2_alpha=0.5,
            chi2_on="mixture", value_term=0.03, initial_value=None):
    """The objective, Eq. 9 with its sign turned: lower is better. Offline it is Eq. 12.

    q, value, next_value (B,) are Q(s,a), V(s), V(s'); is_expert (B,) bool marks the
    diary's rows. "mixture" means all rows, "expert" the diary's.
    value_term: the paper's (1 - gamma) E[V(s0)] if "initial"; or what it telescopes to
    for the occupancy of any policy, E[V(s) - gamma V(s')], over the diary (0), the
    mixture (1) or a blend of both.  Returns the loss () and its terms, detached.
    """
    shapes = {tuple(x.shape) for x in (q, value, next_value, is_expert)}
    if shapes != {(len(q),)}:
        refuse("shape of the arguments", shapes, "(B,) for each")
    expert = is_expert / is_expert.to(q.dtype).mean()  # E_expert[x] = mean of expert x
    reward = inverse_bellman(q, next_value, gamma)
    if divergence == "chi2":  # phi(r) = r - r^2 / (4 alpha), with the square on its own
        paying = expert if chi2_on == "expert" else 1.0
        square = (paying * reward.square()).mean() / (4 * chi2_alpha)
        expert_term = square - (expert * reward).mean()
    else:
        expert_term = -(expert * DIVERGENCES[divergence](reward)).mean()
    if value_term == "initial":
        pull = (1 - gamma) * initial_value.mean()
    else:
        blend = value_term + (1 - value_term) * expert
        pull = (blend * (value - gamma * next_value)).mean()
    info = {"loss": expert_term + pull, "expert_term": expert_term, "value_term": pull,
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
    loop = absorbing_value.expand(int(terminated.sum()))
    return (torch.cat([q, loop]), torch.cat([value, loop]),
            torch.cat([next_value, next_value[terminated]]),
            torch.cat([is_expert, is_expert[terminated]]))


def normal_log_prob(noise, log_std):
    """log N(mean + std noise; mean, std) over independent axes.  (B, A) -> (B,)."""
    return (-noise.square() / 2 - log_std - math.log(2 * math.pi) / 2).sum(dim=-1)


def squash(mean, log_std, noise):
    """a = tanh(u), u = mean + std noise, and log pi(a).  All (B, A) -> (B, A), (B,)."""
    u = mean + log_std.exp() * noise
    # log(1 - tanh(u)^2), exact at any u
    log_slope = 2 * (math.log(2) - u - nn.functional.softplus(-2 * u))
    return u.tanh(), normal_log_prob(noise, log_std) - log_slope.sum(dim=-1)


# ---------------------------------------------------------------------- configuration


def choice(*words):
    """A field of Config that is one of some words, the first as a rule."""
    return field(default=words[0], metadata={"allowed": (words, 1, 0)})


def number(default, low, high, *words):
    """A field of Config that is a number from low to high, or one of some words."""
    return field(default=default, metadata={"allowed": (words, low, high)})


@dataclass(frozen=True)
class Config:
    """Every choice of a run. The same defaults serve all tasks, offline or online."""

    # discount per step
    gamma: float = number(0.99, 0.0, 0.9999)
    # reward that one nat of entropy is worth
    temperature: float = number(0.03, 1e-6, 1e6)
    # how the learner is compared with the expert
    divergence: str = choice(*DIVERGENCES)
    # the square of chi2 is r^2 / (4 alpha) per step
    chi2_alpha: float = number(0.5, 1e-6, 1e6)
    # the rows that pay it: the diary's, or all
    chi2_on: str = choice("mixture", "expert")
    # share of the mixture in it, against the diary; or the diary's first states;
    # None: the agent's own share, 0.03 for counted actions, 1 for continuous ones
    value_term: float | str | None = number(None, 0.0, 2.0, "initial", None)
    # terminal states have a learned worth, which stays 0 offline; False: 0
    absorbing: bool = choice(True, False)
    # the agent for continuous actions: SoftNAF or SoftActorCritic
    continuous: str = choice("naf", "actor_critic")
    # units in each of two hidden layers
    hidden: int = number(128, 1, 2**16)
    # step size of Adam
    learning_rate: float = number(1e-3, 1e-9, 1.0)
    # share of the critic that its slow copy takes per update; 1: no copy
    target_rate: float = number(0.05, 1e-6, 1.0)
    # largest norm of a gradient
    grad_clip: float = number(10.0, 1e-6, 1e6)
    # rows of the diary in an update, and as many of replay
    batch_size: int = number(64, 1, 2**20)
    # updates; online, each after one step in the environment
    steps: int = number(10_000, 1, 2**40)
    # of weights, batches, actions and the environment
    seed: int = number(0, 0, 2**31 - 1)
    # where to compute; "cuda" where there is such a GPU
    device: str = choice("cpu", *["cuda"] * torch.cuda.is_available())

    def __post_init__(self):
        for each in fields(self):
            words, low, high = each.metadata["allowed"]
            value = getattr(self, each.name)
            if isinstance(value, np.generic):
                value = value.item()  # plain Python, which a checkpoint can hold
                object.__setattr__(self, each.name, value)
            fits = type(value) in (int, type(low)) and low <= value <= high
            if not fits and value not in words:
                allowed = words if low > high else (low, high, *words)
                refuse(each.name, repr(value), allowed)


# what a Config cannot change of an agent that stands already
SHAPING = "gamma", "temperature", "absorbing", "continuous", "hidden", "device"


# ----------------------------------------------------------------------------- agents

# Rows of transitions: obs, next_obs (B, *obs), the true next one, never that of a
# reset; action (B,) a number, or (B, A) with each axis scaled to [-1, 1]; terminated
# (B,) bool, not for a time limit; initial_obs (B, *obs), the diary's first states.
Batch = namedtuple("Batch", "obs action next_obs terminated initial_obs")


class MLP(nn.Sequential):
    """Inputs (B, ...), flattened and joined -> (B, outputs), by two hidden layers."""

    def __init__(self, inputs, hidden, outputs):
        super().__init__(
            nn.Linear(inputs, hidden), nn.Tanh(), nn.Linear(hidden, hidden), nn.Tanh(),
            nn.Linear(hidden, outputs))

    def forward(self, *inputs):
        return super().forward(torch.cat([x.flatten(1) for x in inputs], dim=1))


class Agent(nn.Module):
    """What the three agents share; SoftQ, SoftNAF and SoftActorCritic fill it in.

    q, value and update work on tensors, with actions as in Batch; act, reward and
    log_prob take and give arrays, with actions in the environment's own units.
    example: an observation (*obs), for its shape and type. networks: a user's own.
    """

    value_term = 1.0  # replayed actions far from a narrow normal have a very low Q, and
    # the square alone would count that: with 0.03 Pendulum fails

    def __init__(self, example, action_space, config=Config(), **networks):
        super().__init__()
        self.example, self.action_space = np.zeros_like(example), action_space
        self.low, self.high = bounds(action_space)
        self.device = torch.device(config.device)
        self.generator = torch.Generator(self.device)
        self.absorbing_value = nn.Parameter(torch.zeros(()))  # V_A; unlearned, 0
        with torch.random.fork_rng(devices=[]):  # the caller's own stream stays
            torch.default_generator.manual_seed(config.seed)
            self.build(config.hidden, **networks)
        self.slow = AveragedModel(self.critic)
        self.slow.update_parameters(self.critic)  # the first one copies the whole
        self.to(self.device).eval()
        self.configure(config)

    def ready(self, name, network, hidden, outputs, *inputs):
        """Take a user's network, or an MLP, after one row went through it."""
        rows = [torch.zeros(1, *shape) for shape in inputs]
        network = network or MLP(sum(row.numel() for row in rows), hidden, outputs)
        with torch.no_grad():
            got = tuple(network.cpu().eval()(*rows).shape)
        if got != (1, outputs):
            refuse(f"output of {name} for a row", got, (1, outputs))
        if {*network.parameters()} & {*self.parameters()}:
            refuse(name, "sharing weights", "weights of its own")
        self.add_module(name, network)

    def configure(self, config):
        """Take a Config, with a fresh optimiser and a fresh random stream."""
        self.config = config
        self.generator.manual_seed(config.seed)
        self.slow.multi_avg_fn = get_ema_multi_avg_fn(1 - config.target_rate)
        self.optimizer = torch.optim.Adam(self.parameters(), config.learning_rate)

    def update(self, batch, is_expert):
        """Descend the loss once; is_expert (B,) marks the diary's rows of the batch.

        Returns the terms of the loss, detached. Raises RuntimeError at a gradient that
        is not finite, before any weight moves.
        """
        self.train()  # dropout and batch norm of a user's network: nowhere else
        self.slow.eval()
        loss, value, info = self.loss(batch, is_expert)
        self.optimizer.zero_grad()
        self.backward(loss, value)
        self.eval()
        nn.utils.clip_grad_norm_(
            self.parameters(), self.config.grad_clip, error_if_nonfinite=True)
        self.optimizer.step()
        self.slow.update_parameters(self.critic)
        return info

    def loss(self, batch, is_expert):
        """The loss of a batch (), V(s) of its rows (B,), and the terms of the loss."""
        c = self.config
        q, value = self.q_and_value(batch.obs, batch.action)
        rows = q, value, self.next_value(batch), is_expert
        if c.absorbing:
            rows = append_absorbing(*rows, batch.terminated, self.absorbing_value)
        share = self.value_term if c.value_term is None else c.value_term
        initial = self.value(batch.initial_obs) if share == "initial" else None
        loss, info = iq_loss(*rows, c.gamma, c.divergence, c.chi2_alpha, c.chi2_on,
                             share, initial)
        return loss, value, info

    @torch.no_grad()
    def next_value(self, batch):
        """V(s') by the slow copy, held fixed: a semi-gradient.  (B,)."""
        value = self.value(batch.next_obs, self.slow)
        return torch.where(batch.terminated, self.absorbing_value, value)

    def backward(self, loss, value):
        """Gradients of the loss; an agent with an actor has an objective more."""
        loss.backward()

    def q(self, obs, action):
        """Q(s,a), (B,)."""
        return self.q_and_value(obs, action)[0]

    @torch.no_grad()
    def act(self, obs, greedy=True):
        """The policy's likeliest actions, or drawn ones; obs may be a single state."""
        single = np.ndim(obs) == self.example.ndim
        rows = self.tensor([obs] if single else obs)
        action = self.choose(rows, greedy).double().cpu().numpy()
        if self.low.ndim:  # continuous: exact at both ends
            action = (self.low * (1 - action) + self.high * (1 + action)) / 2
        action = action.astype(self.action_space.dtype)
        return action[0] if single else action

    @torch.no_grad()
    def log_prob(self, obs, action):
        """log pi(a|s), (B,), in nats; continuous actions are measured in [-1, 1]."""
        return self.log_policy(self.tensor(obs), self.unit(action)).cpu().numpy()

    def log_policy(self, obs, action):
        q, value = self.q_and_value(obs, action)
        return (q - value) / self.config.temperature

    @torch.no_grad()
    def reward(self, obs, action, next_obs, terminated):
        """r(s,a,s') = Q(s,a) - gamma V(s')  [Eq. 11], (B,); beyond an end V is V_A."""
        state = self.generator.get_state()  # V may draw; to ask changes nothing
        q, _ = self.q_and_value(self.tensor(obs), self.unit(action))
        value = self.value(self.tensor(next_obs))
        self.generator.set_state(state)
        value = torch.where(self.tensor(terminated) > 0, self.absorbing_value, value)
        return inverse_bellman(q, value, self.config.gamma).cpu().numpy()

    def tensor(self, x):
        return torch.as_tensor(np.asarray(x, dtype=np.float32), device=self.device)

    def unit(self, action):
        """Actions in the environment's units -> as in Batch."""
        action = np.asarray(action)
        if self.low.ndim:
            action = 2 * (action - self.low) / (self.high - self.low) - 1
        return self.tensor(action)

    def noise(self, like):
        return torch.randn(like.shape, generator=self.generator, device=self.device)

    def rows(self, table):
        """The columns that learning reads, of Demos or of a Step, as tensors."""
        obs, next_obs = table.observations, table.next_observations
        ended = self.tensor(table.terminations) > 0
        return self.tensor(obs), self.unit(table.actions), self.tensor(next_obs), ended

    def save(self, path):
        """Write what acting, asking and learning on need, whole or not at all."""
        space = space_numbers(self.action_space)
        state = {"config": asdict(self.config) | {"device": "cpu"},
                 "weights": self.state_dict(), "example": torch.as_tensor(self.example),
                 "space": {name: torch.as_tensor(x) for name, x in space.items()}}
        write(path, lambda file: torch.save(state, file))


class SoftQ(Agent):
    """Counted actions: V is a log-sum-exp of Q, and the policy a softmax.

    Network: critic, obs (B, *obs) -> Q of every action (B, A).
    """

    value_term = 0.03  # with 0.1 the lander crashed more: Q may learn rows by heart

    def build(self, hidden, critic=None):
        actions = int(self.action_space.n)
        self.ready("critic", critic, hidden, actions, self.example.shape)

    def q_and_value(self, obs, action):
        """Q(s,a) and V(s), (B,) each."""
        q = self.critic(obs)
        value = soft_value(q, self.config.temperature)
        return q.gather(1, action.long()[:, None]).squeeze(1), value

    def value(self, obs, critic=None):
        """V(s), (B,)."""
        q = (critic or self.critic)(obs)
        return soft_value(q, self.config.temperature)

    def choose(self, obs, greedy):
        """Actions of the policy, from observations as networks take them."""
        policy = soft_policy(self.critic(obs), self.config.temperature).exp()
        if greedy:
            return policy.argmax(dim=1)
        return torch.multinomial(policy, 1, generator=self.generator).squeeze(1)


class SoftNAF(Agent):
    """Continuous actions: Q(s,a) = V(s) + tau log N(a; mean(s), std(s)).

    This Q is its own policy: exp((Q - V) / tau) is the normal, so V is exact, and needs
    no draw and no second objective (after Gu et al., 2016, arXiv:1603.00748).
    Network: critic, obs (B, *obs) -> V, means, log stds (B, 1 + 2A) before squeezing.
    """

    def build(self, hidden, critic=None):
        outputs = 1 + 2 * len(self.low)
        self.ready("critic", critic, hidden, outputs, self.example.shape)

    def heads(self, obs):
        """V (B,), and of the policy the means in (-1, 1) and log stds in (-3, 1)."""
        out = self.critic(obs)
        mean, log_std = out[:, 1:].tanh().chunk(2, dim=1)
        return out[:, 0], mean, 2 * log_std - 1

    def q_and_value(self, obs, action):
        value, mean, log_std = self.heads(obs)
        log_prob = normal_log_prob((action - mean) / log_std.exp(), log_std)
        return value + self.config.temperature * log_prob, value

    def value(self, obs, critic=None):
        """V(s), (B,)."""
        return (critic or self.critic)(obs)[:, 0]

    def choose(self, obs, greedy):
        _, mean, log_std = self.heads(obs)
        drawn = mean + log_std.exp() * self.noise(mean)
        return mean if greedy else drawn.clamp(-1, 1)


class SoftActorCritic(Agent):
    """Continuous actions, as in the paper: any Q, and an actor that climbs V(s).

    Networks: critic, obs (B, *obs) and action (B, A) in [-1, 1] -> Q (B, 1); actor,
    obs -> means, log stds (B, 2A) of the normal that squash sends through tanh.
    """

    def build(self, hidden, critic=None, actor=None):
        axes, shape = len(self.low), self.example.shape
        self.ready("critic", critic, hidden, 1, shape, (axes,))
        self.ready("actor", actor, hidden, 2 * axes, shape)

    def q_and_value(self, obs, action):
        return self.critic(obs, action).squeeze(1), self.value(obs)

    def value(self, obs, critic=None):
        """V(s) = E[Q(s,a) - tau log pi(a|s)], a ~ pi, by one draw, (B,)."""
        action, log_prob = self.draw(obs)
        q = (critic or self.critic)(obs, action).squeeze(1)
        return q - self.config.temperature * log_prob

    def backward(self, loss, value):
        """The critic descends the loss, the actor climbs V(s): each its own weights."""
        critic = [*self.critic.parameters(), self.absorbing_value]
        loss.backward(inputs=critic, retain_graph=True)
        (-value.mean()).backward(inputs=[*self.actor.parameters()])

    def normal(self, obs):
        """Means and log stds (B, A) before tanh."""
        mean, log_std = self.actor(obs).chunk(2, dim=1)
        return mean, log_std.clamp(-5, 2)

    def draw(self, obs):
        """Actions of the policy (B, A), and their log probabilities (B,)."""
        mean, log_std = self.normal(obs)
        return squash(mean, log_std, self.noise(mean))

    def log_policy(self, obs, action):
        mean, log_std = self.normal(obs)
        u = action.clamp(-1 + 1e-6, 1 - 1e-6).atanh()  # infinite at the bounds
        return squash(mean, log_std, (u - mean) / log_std.exp())[1]

    def choose(self, obs, greedy):
        return self.normal(obs)[0].tanh() if greedy else self.draw(obs)[0]


# ---------------------------------------------------------------------- the whole job


def build_agent(example, action_space, config, networks):
    """An agent of the kind that actions and Config ask for."""
    kind = SoftNAF if config.continuous == "naf" else SoftActorCritic
    kind = SoftQ if isinstance(action_space, Discrete) else kind
    return kind(example, action_space, config, **networks)


def new_agent(demos, config=Config(), **networks):
    """An untrained agent for the observations and actions of a diary."""
    return build_agent(demos.observations[0], demos.action_space, config, networks)


def learn(demos, env=None, config=None, callback=None, agent=None):
    """Train by the diary alone or, given an environment, by the learner's steps too.

    env: a gymnasium.Env or its name. callback(step, info) hears of every update and of
    the terms of its loss, tensors (); returning False, it ends learning. An agent that
    is handed in learns on, for the steps of config or of its own.
    """
    agent = agent or new_agent(demos, config or Config())
    if config is not None:
        fixed = [x for x in SHAPING if getattr(config, x) != getattr(agent.config, x)]
        if fixed:
            refuse(f"{fixed} of the config", "new", "what the agent was made with")
        agent.configure(config)
    numbers("an observation", demos.observations[0], *kind_of(agent.example))
    check_space(demos.action_space, agent.action_space)
    c = agent.config
    replay = Replay(agent.rows(demos), demos.starts, 0 if env is None else c.steps)
    if env is not None:
        steps = play(env, lambda obs: agent.act(obs, greedy=False), c.seed, agent)
    for number in range(1, c.steps + 1):
        if env is not None:
            replay.add(agent.rows(next(steps)))
        info = agent.update(*replay.sample(c.batch_size, agent.generator))
        answer = callback and callback(number, info)
        if isinstance(answer, (bool, np.bool_)) and not answer:
            break
    return agent


def record(env, policy, episodes, seed, agent=None):
    """A diary of whole episodes; policy: an observation (*obs) -> an action."""
    if episodes < 1:
        refuse("episodes", episodes, "1 or more")
    env = make(env)
    steps = zip(*play(env, policy, seed, agent, episodes))
    columns = {name: np.array(x) for name, x in zip(COLUMNS, steps)}
    return Demos(env.action_space, **columns)


def evaluate(agent, env, episodes, seed):
    """The returns (episodes,) of the policy's likeliest actions."""
    return record(env, agent.act, episodes, seed, agent).returns()


# ------------------------------------------------------- what this file did not make

LONGEST = 10_000  # steps of an episode, in an environment that names no limit


def make(env):
    """The environment of a name; one that stands already is left as it is."""
    try:
        return gym.make(env) if isinstance(env, str) else env
    except (gym.error.Error, ImportError) as error:
        refuse(f"environment {env!r}", error, "a name that gymnasium knows")


def play(env, policy, seed, agent=None, episodes=None):
    """Steps, an episode after the other: the one place that resets and steps.

    The first reset alone has a seed, as is usual in Gymnasium. Observations and actions
    have to be like the agent's. Where another play stepped the environment in between,
    a new episode begins. An environment that names no limit is cut after LONGEST steps.
    episodes: how many; None: without end.
    """
    env, me, episode, length = make(env), object(), 0, 0
    check_space(env.action_space, agent.action_space if agent else env.action_space)
    limit = getattr(env.spec, "max_episode_steps", None) or LONGEST
    first = env.reset(seed=seed)[0]
    kind = kind_of(agent.example if agent else first)
    see = lambda obs: numbers(f"observation {length} of episode {episode}", obs, *kind)
    obs = see(first)
    while True:
        env.unwrapped.stepped_by = me
        action = legal_action(policy(obs.copy()), env.action_space)
        seen, reward, terminated, truncated, _ = env.step(copy.copy(action))
        length += 1
        next_obs = see(seen)
        truncated = bool(truncated) or length >= limit
        name = f"reward {length} of episode {episode}"
        reward = numbers(name, np.ravel(np.float64(reward)), np.number, (1,))[0]
        yield Step(obs, action, next_obs, bool(terminated), truncated, reward, episode)
        obs = next_obs
        if terminated or truncated or env.unwrapped.stepped_by is not me:
            episode, length = episode + 1, 0
            if episode == episodes:
                return
            obs = see(env.reset()[0])


def kind_of(obs):
    """What observations have to be like: a numpy class of numbers, and a shape."""
    array = numbers("observation", obs, np.number, np.shape(obs))
    return array.dtype.type.__mro__[1], array.shape


def numbers(name, values, kind, shape):
    """A copy of finite numbers of a numpy class and shape."""
    array = np.array(values)  # environments may change their own in place
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    real = np.issubdtype(array.dtype, kind) and np.isrealobj(array)
    if not real or array.shape != shape:
        held = f"{type(values).__name__} of {array.dtype}, shape {array.shape}"
        refuse(name, held, f"{kind.__name__}, shape {shape}")
    if not (abs(array) < np.float64(3e38)).all():
        refuse(name, "not finite in float32", "finite numbers")
    return array


def bounds(space):
    """The least and the greatest action; refuses a space that cannot be learned."""
    if isinstance(space, Discrete) and space.start == 0:
        return np.array([0, space.n - 1])
    if isinstance(space, Box) and len(space.shape) == 1 and space.dtype.kind == "f":
        ends = np.array([space.low, space.high], dtype=np.float64)
        width = ends[1] - ends[0]  # neither lost in rounding nor without end
        if (abs(ends) < 1e6 * width).all() and (width <= 1e6).all():
            return ends
    refuse("action space", space, "told by file or argument, Discrete from 0, or a Box "
           "of floats with one axis, at most 1e6 wide")


def check_space(space, own):
    """Refuse an action space that has other actions, or other bounds."""
    if not np.array_equal(np.float32(bounds(space)), np.float32(bounds(own))):
        refuse("action space", space, own)


def legal_action(action, space):
    """An action as the environment takes it: of its type, and clipped to its bounds."""
    if isinstance(space, Box):
        action = np.float64(action).clip(space.low, space.high).astype(space.dtype)
    if not space.contains(action):
        refuse("action", action, space)
    return action


def space_numbers(space):
    """What files tell of an action space."""
    if isinstance(space, Box):
        return {"action_low": space.low, "action_high": space.high}
    return {"n_actions": np.int64(space.n)}


def space_of(data):
    """The action space that a file tells, or None."""
    if "n_actions" in data:
        return Discrete(int(data["n_actions"]))
    if "action_low" in data:
        low, high = np.asarray(data["action_low"]), np.asarray(data["action_high"])
        return Box(low, high, dtype=low.dtype)


# ------------------------------------------------------------------------------- data

COLUMNS = {  # of a diary of N transitions in order of time, and what they hold
    "observations": np.number,  # (N, *obs)
    "actions": np.number,  # (N,) int, or (N, A) float in the environment's own units
    "next_observations": np.number,  # (N, *obs), the true ones, never those of a reset
    "terminations": np.bool_,  # (N,): s' is terminal
    "truncations": np.bool_,  # (N,): stopped at s' by a limit from outside
    "rewards": np.number,  # (N,), optional: for reports, learning never reads them
    "episode_ids": np.integer,  # (N,), optional: else ends tell the episodes apart
}
NEEDED = [*COLUMNS][:5]
READ = {*COLUMNS, "n_actions", "action_low", "action_high"}
Step = namedtuple("Step", COLUMNS)  # one row of these


class Demos:
    """An expert's transitions, checked on entry (ValueError); columns as in COLUMNS."""

    def __init__(self, action_space, **columns):
        present = sorted(name for name, x in columns.items() if x is not None)
        absent = [name for name in NEEDED if name not in present]
        if absent:
            refuse(f"{absent} absent: the table", present, NEEDED)
        low, high = bounds(action_space)
        _, shape = kind_of(columns["observations"])
        if len(shape) < 2 or 0 in shape:
            refuse("shape of observations", shape, "(N, ...)")
        shapes = {"observations": shape, "next_observations": shape,
                  "actions": shape[:1] + low.shape}
        self.action_space = action_space
        kinds = COLUMNS if low.ndim else COLUMNS | {"actions": np.integer}
        for name, kind in kinds.items():
            x = columns.get(name)
            if x is not None:
                x = numbers(name, x, kind, shapes.get(name, shape[:1]))
            setattr(self, name, x)
        slack = 1e-6 * (high - low)  # for rounding
        outside = (self.actions < low - slack) | (self.actions > high + slack)
        if outside.any():
            refuse("an action", self.actions[outside][0], action_space)
        ends = (self.terminations | self.truncations)[:-1]
        follows = self.observations[1:] == self.next_observations[:-1]
        follows = follows.all(axis=tuple(range(1, len(shape))))
        if (ends & follows).any():
            warnings.warn("the next observation of an end begins the next episode, row "
                          f"{(ends & follows).argmax() + 1}: is it that of a reset?",
                          stacklevel=2)
        if self.episode_ids is None:
            self.episode_ids = np.append(0, (ends | ~follows).cumsum())

    def __len__(self):
        return len(self.observations)

    @property
    def starts(self):
        """(N,) bool: the first rows of episodes."""
        return np.append(True, np.diff(self.episode_ids) != 0)

    def returns(self):
        """The sum of rewards of each episode (E,); NaN where rewards are unknown."""
        rewards = np.full(len(self), np.nan) if self.rewards is None else self.rewards
        return np.add.reduceat(rewards, np.flatnonzero(self.starts), dtype=np.float64)

    def columns(self):
        """The columns that are known, by name."""
        return {name: x for name, x in vars(self).items() if isinstance(x, np.ndarray)}

    def keep(self, rows):
        """The rows where a mask (N,) is True."""
        kept = {name: x[rows] for name, x in self.columns().items()}
        return Demos(self.action_space, **kept)

    def take(self, episodes):
        """The first episodes."""
        there = self.starts.sum()
        if not 1 <= episodes <= there:
            refuse("episodes", episodes, f"1 to {there}")
        return self.keep(self.starts.cumsum() <= episodes)

    def subsample(self, every):
        """Rows 0, every, 2 every ... of each episode, so that its first state stays."""
        if every < 1:
            refuse("subsample", every, "1 or more")
        first = np.flatnonzero(self.starts)[self.starts.cumsum() - 1]
        return self.keep((np.arange(len(self)) - first) % every == 0)

    @classmethod
    def from_episodes(cls, observations, actions, terminated, action_space,
                      rewards=None):
        """A diary from lists with an entry for each episode, of T actions say.

        observations (T + 1, *obs), the last one where the episode stopped; actions (T,)
        or (T, A); rewards (T,); terminated: whether the last state is terminal, rather
        than a limit from outside: one bool, or T of which the last one counts.
        """
        lengths = [len(x) for x in actions]
        rows = [len(x) - 1 for x in observations]
        if rows != lengths or not all(rows or [0]):
            refuse("rows of observations, less the last", rows, lengths)
        last = np.zeros(sum(lengths), dtype=bool)
        last[np.cumsum(lengths) - 1] = True
        ended = np.repeat([bool(np.ravel(x)[-1]) for x in terminated], lengths)
        return cls(
            action_space, actions=np.concatenate(actions),
            observations=np.concatenate([x[:-1] for x in observations]),
            next_observations=np.concatenate([x[1:] for x in observations]),
            terminations=last & ended, truncations=last & ~ended,
            rewards=None if rewards is None else np.concatenate(rewards),
            episode_ids=np.repeat(np.arange(len(lengths)), lengths))

    def save(self, path):
        """Write an .npz without pickles, whole or not at all."""
        data = self.columns() | space_numbers(self.action_space)
        write(path, lambda file: np.savez(file, **data))

    @classmethod
    def load(cls, path, action_space=None):
        """Read an .npz; action_space, or an environment's name, where it tells none."""
        try:
            with np.load(path, allow_pickle=False) as file:
                data = {x: file[x] if x in READ else x for x in file}
            own = space_of(data)
        except Exception as error:  # for bad bytes numpy and zipfile raise many
            kind = type(error).__name__
            refuse(f"diary {path}", kind, "an .npz of plain arrays")
        if isinstance(action_space, str):
            action_space = make(action_space).action_space
        if own and action_space:
            check_space(own, action_space)
        return cls(action_space or own, **data)


class Replay:
    """The diary's rows and, behind them, room for the learner's own."""

    def __init__(self, diary, starts, room):
        self.columns = [torch.cat([x, x.new_zeros(room, *x.shape[1:])]) for x in diary]
        self.starts = torch.as_tensor(np.flatnonzero(starts), device=diary[0].device)
        self.expert = self.count = len(starts)

    def add(self, row):
        """Keep a step of the learner's."""
        for column, x in zip(self.columns, row):
            column[self.count] = x
        self.count += 1

    def sample(self, size, generator):
        """A Batch of size rows of the diary, and of the learner's if any; is_expert."""
        draw = lambda low, high: torch.randint(
            low, high, (size,), generator=generator, device=generator.device)
        rows = draw(0, self.expert)
        if self.count > self.expert:
            rows = torch.cat([rows, draw(self.expert, self.count)])
        first = self.columns[0][self.starts[draw(0, len(self.starts))]]
        batch = Batch(*(column[rows] for column in self.columns), first)
        return batch, rows < self.expert


# --------------------------------------------------------------- files, elders, main


def write(path, put):
    """Let put(file) write the file, whole or not at all."""
    part = f"{os.path.realpath(path)}.{os.getpid()}.part"
    try:
        with open(part, "xb") as file:
            put(file)
        os.replace(part, os.path.realpath(path))
    finally:
        if os.path.exists(part):
            os.remove(part)


def load(path, **networks):
    """A checkpoint's agent, on the CPU; a user's own networks are given again."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        config, weights = Config(**state["config"]), state["weights"]
        sizes = [x.numel() for x in (state["example"], *state["space"].values())]
        wide = sum(sizes) + int(state["space"].get("n_actions", 0))
        size = 4 * config.hidden * (config.hidden + wide)
        if max(size * (not networks), *sizes) > os.path.getsize(path):
            refuse("size told", size, "what the file holds")
        example, space = state["example"].numpy(), space_of(state["space"])
        agent = build_agent(example, space, config, networks)
        agent.load_state_dict(weights)
    except Exception as error:  # for bad bytes torch and pickle raise many
        refuse(f"checkpoint {path}", repr(error), "an agent that was saved")
    return agent


def elder(env_id):
    """The built-in expert of CartPole-v1 or Pendulum-v1: obs (*obs) -> action."""
    rng = np.random.default_rng(0)

    def cartpole(obs):  # push where the pole falls, drawn softly: so the cart wanders
        return int(rng.random() < 1 / (1 + np.exp(-obs @ [1.5, 4.0, 50.0, 10.0])))

    def pendulum(obs):  # swing to the energy of standing still on top; there, balance
        cos, sin, speed = obs
        angle = np.arctan2(sin, cos)
        if cos > 0 and abs(angle + 0.3 * speed) < 0.5:
            return [-8 * angle - 2 * speed]
        return [0.5 * (15 - 15 * cos - speed**2 / 2) * (-1 if speed < 0 else 1)]

    elders = {"CartPole-v1": cartpole, "Pendulum-v1": pendulum}
    if env_id not in elders:
        refuse("environment with an elder", env_id, [*elders])
    return elders[env_id]


def run(args):
    """A diary, learning and the hunt, as a report."""
    config, env = Config(steps=args.steps, seed=args.seed), make(args.env)
    if args.demos:
        demos = Demos.load(args.demos, env.action_space)
    else:
        demos = record(env, elder(args.env), args.episodes or 1, args.seed)
    if args.episodes is not None:
        demos = demos.take(args.episodes)
    if args.out:
        open(args.out, "ab").close()  # fail now, not after hours of learning
    expert, demos = demos.returns().mean(), demos.subsample(args.subsample)
    agent, start = new_agent(demos, config), time.monotonic()
    bar = tqdm and tqdm(total=config.steps, disable=None)
    callback = bar and (lambda *_: bar.update())
    try:
        learn(demos, env if args.online else None, callback=callback, agent=agent)
    finally:  # interrupted, too
        if args.out:
            agent.save(args.out)
    seconds = time.monotonic() - start
    env.action_space.seed(args.seed)
    fresh = (args.seed + 10**6) % 2**31  # starts that nobody has seen
    chance = record(env, lambda obs: env.action_space.sample(), 20, fresh).returns()
    returns = evaluate(agent, env, 20, fresh)
    return {"env": args.env, "mode": "online" if args.online else "offline",
            "demos_transitions": len(demos),
            "expert_return": None if math.isnan(expert) else expert,
            "random_return": chance.mean(), "return_mean": returns.mean(),
            "return_std": returns.std(), "updates": config.steps,
            "env_steps": config.steps * args.online, "seconds": seconds,
            "updates_per_second": config.steps / seconds}


def main(argv=None):
    """Run the command line."""
    parser = argparse.ArgumentParser("iq.py", argparse.SUPPRESS, __doc__.split("\n")[0])
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
        report = run(args)
    except (ValueError, OSError) as error:
        parser.error(" ".join(str(error).split()))  # one line on stderr, exit status 2
    lines = [f"{name:20}{x}" for name, x in report.items()]
    print(json.dumps(report) if args.json else "\n".join(lines))


if __name__ == "__main__":
    main()
