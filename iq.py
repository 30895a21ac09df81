# /// script
# requires-python = ">=3.10"
# dependencies = ["torch>=2.6", "numpy>=1.26", "gymnasium>=1.0", "tqdm"]
# ///
"""IQ-Learn (inverse soft Q-learning): imitate an expert and recover its reward.

One soft Q-function is learned from an expert's transitions (s, a, s'). It implies a
value, a policy and a reward, and it minimises a loss that is made of them:

    V(s)      = tau log sum_a exp(Q(s,a) / tau)
    pi(a|s)   = exp((Q(s,a) - V(s)) / tau)
    r(s,a,s') = Q(s,a) - gamma V(s')                            [Eq. 11]
    L(Q)      = -E_expert[phi(r)] + E[V(s) - gamma V(s')]       [Eq. 9]

phi is concave and stands for a divergence between learner and expert. The last mean,
over the discounted visits of any policy, is the paper's (1 - gamma) E[V(s0)]. Here it
is over the expert's transitions and, online, value_term / 2 of it over the learner's.

    demos = Demos.load("demos.npz", action_space="CartPole-v1")
    agent = learn(demos)                    # offline
    agent = learn(demos, "CartPole-v1")     # online
    print(evaluate(agent, "CartPole-v1", episodes=20, seed=0).mean())

Paper: Garg et al., NeurIPS 2021, https://arxiv.org/abs/2106.12142; "Eq." is one of its
equations. Deviations from it: a temperature tau (the paper has 1); V(s') comes from a
target network, without a gradient; the square of chi2 is taken over the learner's
transitions too; terminal states lead to an absorbing state with a learned value;
inputs are brought to a root mean square of 0.03 to 1 (input_scale); SoftNAF, the
default for continuous actions, needs no actor (SoftActorCritic is the paper's).
"""
from __future__ import annotations

import argparse
import ast
import copy
import json
import math
import os
import signal
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import InitVar, asdict, dataclass, fields
from itertools import count, islice
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import torch
import torch.nn.functional as F
from gymnasium.spaces import Box, Discrete
from torch import Tensor, nn
from tqdm import tqdm

# ---------------------------------------------------------------------------- Equations
# Shapes: B transitions; A actions, or axes of a continuous one; E episodes. A quantity
# with one number for each transition is (B,), never (B, 1).


def soft_value(q: Tensor, temperature: float) -> Tensor:
    """V(s) = tau log sum_a exp(Q(s,a) / tau).  (B, A) -> (B,)."""
    return temperature * torch.logsumexp(q / temperature, dim=-1)


def soft_policy(q: Tensor, temperature: float) -> Tensor:
    """log pi(a|s) = (Q(s,a) - V(s)) / tau.  (B, A) -> (B, A)."""
    return torch.log_softmax(q / temperature, dim=-1)


def soft_bellman(reward: Tensor, next_value: Tensor, gamma: float) -> Tensor:
    """Q(s,a) = r(s,a,s') + gamma V(s'), to plan by a reward.  (B,)."""
    return reward + gamma * next_value


def inverse_bellman(q: Tensor, next_value: Tensor, gamma: float) -> Tensor:
    """r(s,a,s') = Q(s,a) - gamma V(s'), the inverse of soft_bellman  [Eq. 11]. (B,)."""
    return q - gamma * next_value


# A divergence E_expert[f(u)], u = policy / expert (how often each visits (s,a)), is
# max_r E_expert[phi(r)] - E_policy[r]. The best r is where the slope phi'(r) is u.
# Every phi but chi2's falls too fast, or ends, at a low r. There it goes on as a
# straight line of slope MAX_RATIO.
MAX_RATIO = 100.0


def tangent_below(phi: Callable, start: float) -> Callable:
    """phi, but below start the line of slope MAX_RATIO that meets it there."""
    return lambda r: phi(r.clamp(min=start)) + MAX_RATIO * (r - start).clamp(max=0)


DIVERGENCES: dict[str, Callable] = {  # f(u) in a comment, then phi(r)
    # alpha (u - 1)^2
    "chi2": lambda r, alpha=0.5: r - r.square() / (4 * alpha),
    # u log u - u + 1
    "reverse_kl": tangent_below(lambda r: 1 - torch.exp(-r), -math.log(MAX_RATIO)),
    # -log u + u - 1
    "forward_kl": tangent_below(lambda r: torch.log(1 + r), 1 / MAX_RATIO - 1),
    # (sqrt(u) - 1)^2
    "hellinger": tangent_below(lambda r: r / (1 + r), MAX_RATIO**-0.5 - 1),
    # u log u - (1 + u) log((1 + u) / 2)
    "jensen_shannon": tangent_below(
        lambda r: torch.log(2 - torch.exp(-r)), math.log((1 + 1 / MAX_RATIO) / 2)),
    # |u - 1|; phi ends at r = -1
    "total_variation": tangent_below(lambda r: r.clamp(max=1), -1.0),
}


def iq_loss(q: Tensor, value: Tensor, next_value: Tensor, is_expert: Tensor,
            gamma: float, divergence: str = "chi2", chi2_alpha: float = 0.5,
            chi2_on: str = "mixture", value_term: float | str = 0.05,
            initial_value: Tensor | None = None) -> tuple[Tensor, dict[str, Tensor]]:
    """Eq. 9, negated: -E_expert[phi(r)] + value term.  -> the loss () and its parts.

    q, value, next_value: Q(s,a), V(s), V(s'), (B,). is_expert: (B,) bool. The square of
    chi2 is taken over all transitions, the "mixture", or over the "expert"'s alone.
    value_term, a number w: of V(s) - gamma V(s'), (1 - w) E_expert + w E_all. Offline
    these are the same; online 2 is the learner's alone, if half are theirs. "initial":
    the paper's form, (1 - gamma) E[V(s0)], of initial_value (E,).
    """
    shapes = [tuple(x.shape) for x in (q, value, next_value, is_expert)]
    if len(set(shapes)) > 1 or q.ndim != 1:
        raise ValueError(f"q, value, next_value, is_expert are {shapes}; allowed: (B,)")
    if chi2_on not in CHOICES["chi2_on"]:
        raise ValueError(f"chi2_on is {chi2_on!r}; allowed: {CHOICES['chi2_on']}")
    expert_weight = is_expert / is_expert.to(q.dtype).mean()  # its mean is 1
    reward = inverse_bellman(q, next_value, gamma)
    expert_reward = expert_weight * reward  # so the mean of this is E_expert[r]
    if divergence == "chi2" and chi2_on == "mixture":
        phi = expert_reward - reward.square() / (4 * chi2_alpha)
    elif divergence == "chi2":
        phi = expert_weight * DIVERGENCES["chi2"](reward, chi2_alpha)
    else:
        phi = expert_weight * DIVERGENCES[divergence](reward)
    expert_term = -phi.mean()
    if not isinstance(value_term, str):
        value_weight = value_term + (1 - value_term) * expert_weight
        value_loss = (value_weight * (value - gamma * next_value)).mean()
    elif value_term == "initial" and initial_value is not None:
        value_loss = (1 - gamma) * initial_value.mean()
    else:
        raise ValueError(f"value_term is {value_term!r}; allowed: a number, or "
                         "'initial' together with initial_value")
    loss = expert_term + value_loss  # the parts: see Agent.update
    info = {"loss": loss, "expert_term": expert_term, "value_term": value_loss,
            "reward_expert": expert_reward.detach().mean(),
            "reward_mixture": reward.detach().mean(), "max_q": q.detach().abs().max()}
    return loss, {name: x.detach() for name, x in info.items()}


def append_absorbing(
        q: Tensor, value: Tensor, next_value: Tensor, is_expert: Tensor,
        terminated: Tensor, absorbing_value: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Append one self-loop of the absorbing state for every terminal transition.

    A terminal state leads to a state that is never left, where Q = V = V(s') = V_A, a
    learned number. A fixed 0 would be a hidden reward: for surviving where V > 0, for
    dying where V < 0. In next_value it stands at terminal transitions already. One row,
    not gamma / (1 - gamma) of them: no other row is weighted by discounted visits.
    All (B,), absorbing_value (). Returns the first four, each (B + terminal ones,).
    """
    v_a = absorbing_value.expand_as(q[terminated])
    return (torch.cat([q, v_a]), torch.cat([value, v_a]),
            torch.cat([next_value, next_value[terminated]]),  # V_A, with no gradient
            torch.cat([is_expert, is_expert[terminated]]))


def normal_log_prob(noise: Tensor, log_std: Tensor) -> Tensor:
    """log N(mean + std * noise; mean, std), summed over axes.  (B, A) -> (B,)."""
    return (-noise.square() / 2 - log_std - math.log(2 * math.pi) / 2).sum(-1)


def squash(mean: Tensor, log_std: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """a = tanh(u), u = mean + std * noise, and log pi(a).  (B, A) -> (B, A), (B,)."""
    u = mean + log_std.exp() * noise
    action = torch.tanh(u)
    log_slope = 2 * (math.log(2) - u - F.softplus(-2 * u))  # log(1 - tanh(u)^2), stable
    return action, normal_log_prob(noise, log_std) - log_slope.sum(-1)


# ---------------------------------------------------------------------- Hyperparameters
CHOICES: dict[str, Any] = {
    "divergence": DIVERGENCES, "chi2_on": ["mixture", "expert"],
    "absorbing": [True, False], "scale_inputs": [True, False],
    "continuous": ["naf", "actor_critic"]}
RANGES: dict[str, tuple] = {  # from, to; if these are ints, whole numbers only
    "gamma": (0.0, 0.9999), "temperature": (1e-6, 1e6), "chi2_alpha": (1e-6, 1e6),
    "value_term": (0.0, 2.0), "hidden": (1, 4096), "learning_rate": (1e-9, 1.0),
    "target_rate": (1e-6, 1.0), "batch_size": (1, 10**6), "steps": (1, 10**9),
    "seed": (0, 2**31 - 1)}
WORDS = {"value_term": ["initial", None]}  # also allowed for these fields


@dataclass(frozen=True)
class Config:
    """Hyperparameters. The defaults serve most tasks; long ones need more steps."""

    gamma: float = 0.99  # discount per step
    temperature: float = 0.03  # tau, the reward that one nat of entropy is worth
    divergence: str = "chi2"  # a key of DIVERGENCES
    chi2_alpha: float = 0.5  # the square of chi2 is r^2 / (4 chi2_alpha)
    chi2_on: str = "mixture"  # taken over all transitions, or the "expert"'s alone
    value_term: float | str | None = None  # see iq_loss; None: 0.05, actor-critic 1
    absorbing: bool = True  # learn the value of terminal states; False: it is 0
    scale_inputs: bool = True  # bring inputs to a root mean square of 0.03 to 1
    continuous: str = "naf"  # agent for continuous actions: "naf" or "actor_critic"
    hidden: int = 128  # units in each of two hidden layers
    learning_rate: float = 1e-3  # of Adam
    target_rate: float = 0.05  # step of the target network to the critic; 1: a copy
    batch_size: int = 64  # expert transitions per update; online, as many of replay
    steps: int = 10_000  # updates; online, also environment steps
    seed: int = 0  # of weights, batches, actions and the environment
    device: str = "cpu"  # as PyTorch names it: "cuda", "cuda:1", "mps"

    def __post_init__(self) -> None:
        check_config(self)


# ------------------------------------------------------------------------------- Agents
class Batch(NamedTuple):
    """B transitions, as tensors on the agent's device."""

    obs: Tensor  # (B, *obs), in the environment's units
    action: Tensor  # (B,), an index from 0, or (B, A), scaled to [-1, 1]
    next_obs: Tensor  # (B, *obs), the true one, not that of a reset
    terminated: Tensor  # (B,) bool: next_obs is terminal; False at time limits
    initial_obs: Tensor | None = None  # (E, *obs), first of each expert episode


# what an agent has learned is valid for these alone: configure refuses to change them
FIXED = "gamma", "temperature", "absorbing", "scale_inputs", "continuous", "hidden"
MAX_GRAD_NORM = 10.0


class MLP(nn.Sequential):
    """Two hidden layers.  Inputs (B, ...), flattened, concatenated -> (B, outputs)."""

    def __init__(self, inputs: int, hidden: int, outputs: int):
        super().__init__(nn.Linear(inputs, hidden), nn.Tanh(),
                         nn.Linear(hidden, hidden), nn.Tanh(),
                         nn.Linear(hidden, outputs))

    def forward(self, *inputs: Tensor) -> Tensor:
        rows = [x.flatten(1) for x in inputs]
        return super().forward(rows[0] if len(rows) == 1 else torch.cat(rows, dim=1))


class Agent(nn.Module):
    """What SoftQ, SoftNAF and SoftActorCritic share.

    q, value and update take tensors, with actions as in Batch. act, log_prob and reward
    take and return arrays, with actions in the environment's units.

    A subclass defines build_networks, q_and_value, value and select_action. To change
    the algorithm, override loss (by a regulariser, say) or backward.
    """

    critic: nn.Module
    absorbing_value: Tensor
    obs_scale: Tensor
    default_value_term = 0.05  # with 0, it learns worse from few transitions

    def __init__(self, example, action_space: gym.Space, config: Config | None = None,
                 obs_scale=1.0, **networks: nn.Module):
        """example: an observation, for shape and dtype. obs_scale: what observations
        are divided by for the networks, (*obs). networks: the user's own.
        """
        super().__init__()
        self.config, self.action_space = config or Config(), action_space
        self.example = np.zeros_like(check_array("example", example, "biuf"))
        self.action_size = action_bounds(action_space).shape[1]  # A of a Box, else 1
        scale = torch.as_tensor(obs_scale, dtype=torch.float32)
        self.register_buffer("obs_scale", scale.expand(self.example.shape).clone())
        self.absorbing_value = nn.Parameter(torch.zeros((), dtype=torch.float32))
        with torch.random.fork_rng(devices=[]):  # leave the global generator alone
            torch.default_generator.manual_seed(self.config.seed)  # the CPU's alone
            self.build_networks(**networks)
        self.user_networks = [x for x in networks if networks[x] is not None]  # names
        # a network other than MLP may have dropout or a batch norm
        self.has_modes = not all(isinstance(x, MLP) for x in self.children())
        self.target = copy.deepcopy(self.critic).requires_grad_(False)
        self.eval()
        self.replay = Replay()
        self.updates = 0
        self.configure(self.config)

    def configure(self, config: Config) -> None:
        """Adopt a Config, with a new optimizer and generator; what is learned stays."""
        for name in FIXED:
            old, new = getattr(self.config, name), getattr(config, name)
            if old != new:
                raise ValueError(f"{name} can't change from {old!r} to {new!r}; make a "
                                 "new agent")
        self.config = config
        self.to(config.device)
        self.replay.columns = [x.to(config.device) for x in self.replay.columns]
        self.generator = torch.Generator(config.device).manual_seed(config.seed)
        self.trainable = [x for x in self.parameters() if x.requires_grad]
        self.target_pairs = [*zip(self.target.parameters(), self.critic.parameters())]
        weights = [x for x in self.trainable if x is not self.absorbing_value]
        # V_A is one bare number. Adam moves it by about its rate an update, and it may
        # have to reach 1 / (1 - gamma) rewards: so its rate is that many times larger.
        value_rate = config.learning_rate / (1 - config.gamma)
        groups: list[dict[str, Any]] = [
            {"params": weights}, {"params": self.absorbing_value, "lr": value_rate}]
        self.optimizer = torch.optim.Adam(groups, lr=config.learning_rate, fused=True)

    def update(self, batch: Batch, is_expert: Tensor) -> dict[str, Tensor]:
        """One gradient step; is_expert: (B,) bool.  Returns the parts of the loss.

        They are tensors (): loss; expert_term and value_term, which it is the sum of;
        reward_expert and reward_mixture, the mean r of the expert's and of all; max_q,
        the largest |Q|.
        Raises RuntimeError, with no weight changed, if a gradient isn't finite.
        """
        self.set_training(True)
        try:
            loss, info, value = self.loss(batch, is_expert)
            self.optimizer.zero_grad()
            # where no state is terminal, 0: without a gradient, Adam would skip V_A and
            # its running averages would not decay
            self.absorbing_value.grad = torch.zeros_like(self.absorbing_value)
            self.backward(loss, value)
        finally:  # also when interrupted
            self.set_training(False)
        gradients = [x.grad for x in self.trainable if x.grad is not None]
        # clip_grad_norm_, but faster: it multiplies only if it has to
        norm = nn.utils.get_total_norm(gradients, error_if_nonfinite=True)
        if norm > MAX_GRAD_NORM:
            nn.utils.clip_grads_with_norm_(self.trainable, MAX_GRAD_NORM, norm)
        self.optimizer.step()
        self.move_target()
        self.updates += 1
        return info

    def loss(self, batch: Batch, is_expert: Tensor) -> tuple[Tensor, dict, Tensor]:
        """The loss (), its parts, and the batch's V(s) (B,), which an actor ascends."""
        c = self.config
        q, value = self.q_and_value(batch.obs, batch.action)
        columns = q, value, self.next_value(batch, self.target), is_expert
        if c.absorbing and batch.terminated.any():
            columns = append_absorbing(*columns, batch.terminated, self.absorbing_value)
        value_term = self.default_value_term if c.value_term is None else c.value_term
        initial = None
        if value_term == "initial" and batch.initial_obs is not None:
            initial = self.value(batch.initial_obs)
        loss, info = iq_loss(*columns, c.gamma, c.divergence, c.chi2_alpha, c.chi2_on,
                             value_term, initial)
        return loss, info, value

    def backward(self, loss: Tensor, value: Tensor) -> None:
        """Compute the gradients; an agent with an actor has a second objective."""
        loss.backward()

    @torch.no_grad()
    def move_target(self) -> None:
        """Move the target network's weights a step towards the critic's."""
        # after the first update a copy, kept for the results that were measured with it
        rate = self.config.target_rate if self.updates else 1.0
        for old, new in self.target_pairs:
            old.lerp_(new, rate)
        if self.has_modes:  # running means of a batch norm
            for mean, new_mean in zip(self.target.buffers(), self.critic.buffers()):
                mean.copy_(new_mean)

    def set_training(self, on: bool) -> None:
        """Switch dropout and the like on or off."""
        if self.has_modes:
            self.train(on)
            self.target.eval()

    @torch.no_grad()
    def next_value(self, batch: Batch, critic: nn.Module) -> Tensor:
        """V(s'), or V_A where s' is terminal: a fixed goal, as in Q-learning.  (B,)."""
        value = self.value(batch.next_obs, critic)
        return torch.where(batch.terminated, self.absorbing_value, value)

    def scaled(self, obs: Tensor) -> Tensor:
        """Observations as the networks see them, (B, *obs)."""
        return obs / self.obs_scale

    def build_networks(self, **networks) -> None:
        """Set critic, and perhaps more, to the user's networks or to an MLP."""
        raise NotImplementedError

    def q_and_value(self, obs: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
        """Q(s,a) and V(s), (B,)."""
        raise NotImplementedError

    def value(self, obs: Tensor, critic: nn.Module | None = None) -> Tensor:
        """V(s), (B,), by self.critic or by another, as the target network."""
        raise NotImplementedError

    def select_action(self, obs: Tensor, greedy: bool) -> Tensor:
        """The greedy action (or tanh of a normal's mean) or a sample, as in Batch."""
        raise NotImplementedError

    def q(self, obs: Tensor, action: Tensor) -> Tensor:
        """Q(s,a), (B,)."""
        return self.q_and_value(obs, action)[0]

    @torch.no_grad()
    def act(self, obs, greedy: bool = True) -> np.ndarray:
        """The greedy action, or a sample, for observations (B, *obs) or one (*obs)."""
        obs = check_array("observations", obs, "biuf")
        single = obs.ndim <= self.example.ndim
        obs = check_like("observations", obs[None] if single else obs, self.example)
        action = self.select_action(self.tensor(obs), greedy).numpy(force=True)
        action = decode_actions(action, self.action_space)
        if not single:
            return action
        # a number if Discrete; [0, ...] keeps the others arrays, even of shape ()
        return action[0] if isinstance(self.action_space, Discrete) else action[0, ...]

    @torch.no_grad()
    def log_prob(self, obs, action) -> np.ndarray:
        """log pi(a|s), (B,), of obs (B, *obs) and action (B, *action).

        A continuous action's density is that in [-1, 1].
        SoftNAF's is that of the normal, before its samples are clipped to the bounds.
        """
        obs = check_like("observations", obs, self.example)
        action = encode_actions(action, self.action_space, len(obs))
        log_prob = self.log_policy(self.tensor(obs), self.tensor(action))
        return log_prob.numpy(force=True)

    def log_policy(self, obs: Tensor, action: Tensor) -> Tensor:
        """log pi(a|s), (B,)."""
        q, value = self.q_and_value(obs, action)
        return (q - value) / self.config.temperature

    @torch.no_grad()
    def reward(self, obs, action, next_obs, terminated) -> np.ndarray:
        """The recovered r(s,a,s'), (B,), with V(s') of the critic, not of its target.

        obs, next_obs: (B, *obs); action: (B, *action); terminated: (B,) bool.
        SoftActorCritic samples its V(s'): noisy.
        """
        batch = self.to_batch(obs, action, next_obs, terminated)
        q = self.q(batch.obs, batch.action)
        next_value = self.next_value(batch, self.critic)
        return inverse_bellman(q, next_value, self.config.gamma).numpy(force=True)

    def to_batch(self, obs, action, next_obs, terminated) -> Batch:
        """Arrays of B transitions, in the environment's units, checked -> tensors."""
        obs = check_like("observations", obs, self.example)
        next_obs = check_like("next_observations", next_obs, self.example, len(obs))
        action = encode_actions(action, self.action_space, len(obs))
        terminated = check_array("terminations", terminated, "b", (len(obs),))
        return Batch(*map(self.tensor, (obs, action, next_obs, terminated)))

    def tensor(self, array: np.ndarray) -> Tensor:
        """On the agent's device, as float32; uint8, bool and int64 stay as they are."""
        kept = array.dtype in (np.uint8, np.bool_, np.int64)
        array = np.ascontiguousarray(array, None if kept else np.float32)
        if not array.flags.writeable:  # torch warns of such arrays
            array = array.copy()
        return torch.as_tensor(array, device=self.config.device)

    def save(self, path) -> None:
        """Write what acting, and learning on with a new optimizer and replay, need."""
        write_agent(self, path)


class SoftQ(Agent):
    """Discrete actions: V is a log-sum-exp of Q, and the policy a softmax.

    critic: obs (B, *obs) -> Q of all actions (B, A).
    """

    def build_networks(self, critic=None):
        outputs = int(self.action_space.n)
        self.critic = make_network(
            "critic", critic, outputs, self.config.hidden, self.example.shape)

    def q_and_value(self, obs, action):
        q = self.critic(self.scaled(obs))
        taken = q.gather(1, action.unsqueeze(1)).squeeze(1)
        return taken, soft_value(q, self.config.temperature)

    def value(self, obs, critic=None):
        critic = self.critic if critic is None else critic
        q = critic(self.scaled(obs))
        return soft_value(q, self.config.temperature)

    def select_action(self, obs, greedy):
        q = self.critic(self.scaled(obs))
        if greedy:
            return q.argmax(1)
        policy = soft_policy(q, self.config.temperature).exp()
        return torch.multinomial(policy, 1, generator=self.generator).squeeze(1)


class SoftNAF(Agent):
    """Continuous actions: Q(s,a) = V(s) + tau log N(a; mean(s), std(s)).

    This Q is its own policy: exp((Q - V) / tau) is the normal, and V is exact, without
    samples or an actor (after Gu et al., 2016, https://arxiv.org/abs/1603.00748).
    critic: obs (B, *obs) -> V, means, log stds (B, 1 + 2A), the last two before tanh.
    """

    def build_networks(self, critic=None):
        outputs = 1 + 2 * self.action_size
        self.critic = make_network(
            "critic", critic, outputs, self.config.hidden, self.example.shape)

    def heads(self, obs, critic):
        """V (B,); means and log stds (B, A), both in (-1, 1).

        So stds are from 1/e to e. A narrower policy would give old actions a very low
        Q, whose square would rule the loss: with log stds from -3, Pendulum fails.
        """
        outputs = critic(self.scaled(obs))
        mean, log_std = outputs[:, 1:].tanh().chunk(2, dim=1)
        return outputs[:, 0], mean, log_std

    def q_and_value(self, obs, action):
        value, mean, log_std = self.heads(obs, self.critic)
        log_prob = normal_log_prob((action - mean) / log_std.exp(), log_std)
        q = value + self.config.temperature * log_prob
        return q, value

    def value(self, obs, critic=None):
        return self.heads(obs, self.critic if critic is None else critic)[0]

    def select_action(self, obs, greedy):
        _, mean, log_std = self.heads(obs, self.critic)
        if greedy:
            return mean
        return torch.normal(mean, log_std.exp(), generator=self.generator).clamp(-1, 1)


class SoftActorCritic(Agent):
    """Continuous actions, as in the paper: any Q, and an actor that ascends V(s).

    critic: obs (B, *obs), action (B, A) in [-1, 1] -> Q (B, 1).
    actor: obs -> means, log stds (B, 2A) of a normal that squash sends through tanh.
    """

    actor: nn.Module
    # Off the expert's data this Q is free, and the actor exploits its errors: they must
    # be pressed down where the learner goes. With 0.05, Pendulum fails.
    default_value_term = 1.0

    def build_networks(self, critic=None, actor=None):
        obs, actions, hidden = self.example.shape, self.action_size, self.config.hidden
        self.critic = make_network("critic", critic, 1, hidden, obs, (actions,))
        self.actor = make_network("actor", actor, 2 * actions, hidden, obs)

    def q(self, obs, action):
        return self.critic(self.scaled(obs), action).squeeze(1)

    def q_and_value(self, obs, action):
        return self.q(obs, action), self.value(obs)

    def value(self, obs, critic=None):
        """V(s) = E[Q(s,a) - tau log pi(a|s)] for a ~ pi, by one sample.  (B,)."""
        critic = self.critic if critic is None else critic
        action, log_prob = self.sample(obs)
        q = critic(self.scaled(obs), action).squeeze(1)
        return q - self.config.temperature * log_prob

    def backward(self, loss, value):
        """The critic descends the loss, the actor ascends V(s). Both depend on both
        networks, so each backward names the weights that it is for.
        """
        critic = [x for x in self.critic.parameters() if x.requires_grad]
        actor = [x for x in self.actor.parameters() if x.requires_grad]
        loss.backward(inputs=[*critic, self.absorbing_value], retain_graph=True)
        (-value.mean()).backward(inputs=actor)

    def normal(self, obs):
        """Of the normal before tanh: means and log stds (B, A)."""
        mean, log_std = self.actor(self.scaled(obs)).chunk(2, dim=1)
        return mean, log_std.clamp(-5, 2)

    def sample(self, obs):
        """Actions (B, A), reparametrised, and their log probabilities (B,)."""
        mean, log_std = self.normal(obs)
        noise = torch.empty_like(mean).normal_(generator=self.generator)
        return squash(mean, log_std, noise)

    def log_policy(self, obs, action):
        """log pi(a|s), (B,), of the squashed normal."""
        mean, log_std = self.normal(obs)
        u = action.clamp(-0.999999, 0.999999).atanh()  # not infinite
        return squash(mean, log_std, (u - mean) / log_std.exp())[1]

    def select_action(self, obs, greedy):
        return self.normal(obs)[0].tanh() if greedy else self.sample(obs)[0]


# ------------------------------------------------------- Learning and the environment
def new_agent(demos: Demos, config: Config | None = None,
              **networks: nn.Module) -> Agent:
    """An untrained agent; networks: a critic and an actor of the user's own."""
    config = config or Config()
    scale = input_scale(demos.observations) if config.scale_inputs else 1.0
    kind = agent_class(demos.action_space, config)
    return kind(demos.observations[0], demos.action_space, config, scale, **networks)


def learn(demos: Demos, env: gym.Env | str | None = None, config: Config | None = None,
          callback: Callable[[int, dict], Any] | None = None,
          agent: Agent | None = None) -> Agent:
    """Learn offline or, if there is an environment, online.

    callback(step, info) follows every update: step is 1, 2, ... in each call, info what
    Agent.update returns. `raise StopIteration` in it ends learning; what it returns is
    ignored. It may evaluate in env itself: then a new episode begins.

    A given agent goes on where it stopped, its replay sampled offline, too. Its random
    stream and optimizer go on as well, unless a config is given, which makes new ones.
    ValueError if demos, env or agent don't fit; RuntimeError as Agent.update. Ctrl-C
    returns the new agent as it is; with agent=..., it is raised.
    """
    is_new = agent is None
    if agent is None:
        agent = new_agent(demos, config)
    elif config is not None:
        agent.configure(config)
    expert = expert_batch(demos, agent)
    own_steps = explore(agent, env)
    try:
        with threads(best_threads(agent)), closing(own_steps):
            for update in progress(agent.config.steps):
                own = next(own_steps, None)  # None offline
                if own is not None:
                    agent.replay.add(agent.to_batch(
                        [own.obs], [own.action], [own.next_obs], [own.terminated]))
                batch, is_expert = agent.replay.sample(
                    expert, agent.config.batch_size, agent.generator)
                info = agent.update(batch, is_expert)
                if callback:
                    callback(update, info)
    except StopIteration:
        pass
    except KeyboardInterrupt:
        if not is_new:
            raise
        warnings.warn(f"interrupted after {agent.updates} updates", stacklevel=2)
    return agent


def record(env: gym.Env | str, policy: Callable, episodes: int, seed: int) -> Demos:
    """Whole episodes of policy: an observation (*obs) -> an action."""
    with make_env(env) as made:
        steps = [*rollout(made, policy, seed, episodes=episodes)]
        # a Step's fields are in the order of COLUMNS
        table = {name: np.array([step[i] for step in steps])
                 for i, name in enumerate(COLUMNS)}
        return Demos(made.action_space, recorded=True, **table)


def evaluate(agent: Agent, env: gym.Env | str, episodes: int, seed: int) -> np.ndarray:
    """The returns (episodes,) of the agent's greedy actions."""
    returns = np.zeros(max(episodes, 0))  # rollout itself refuses less than one
    for step in rollout(env, agent.act, seed, agent=agent, episodes=episodes):
        returns[step.episode] += step.reward
    return returns


# ======================================================================================
# What an agent is made of and learns from, what it meets, files, the command line: none
# of it is needed to understand IQ-Learn.


def check_config(config: Config) -> None:
    """ValueError for a field that can't be; numpy's numbers become Python's."""
    for field in fields(config):
        value = getattr(config, field.name)
        if isinstance(value, np.generic):  # checkpoints hold Python's types only
            object.__setattr__(config, field.name, value.item())
    for name, choices in CHOICES.items():
        value = getattr(config, name)
        if value not in [*choices]:
            raise ValueError(f"{name} is {value!r}; allowed: {[*choices]}")
    for name, (low, high) in RANGES.items():
        value, words = getattr(config, name), WORDS.get(name, [])
        # an int may stand for a float, but no bool for either
        is_number = type(value) in (int, type(low))
        allowed = low <= value <= high if is_number else value in words
        if not allowed:
            kind = "a whole number" if type(low) is int else "a number"
            also = f", or one of {words}" if words else ""
            raise ValueError(f"{name} is {value!r} ({type(value).__name__}); allowed: "
                             f"{kind} from {low} to {high}{also}")
    try:
        torch.ones(1, device=torch.device(str(config.device))).item()
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"device is {config.device!r}, which PyTorch can't use here "
                         f"({one_line(error)}); 'cpu' always works") from None


def agent_class(action_space: gym.Space, config: Config) -> type[Agent]:
    if isinstance(action_space, Discrete):
        return SoftQ
    return SoftNAF if config.continuous == "naf" else SoftActorCritic


def make_network(name: str, network: nn.Module | None, outputs: int, hidden: int,
                 *shapes: tuple[int, ...]) -> nn.Module:
    """A copy of the user's network, or an MLP, after a trial; shapes: of its inputs."""
    row = [torch.zeros(1, *x, dtype=torch.float32, device="cpu") for x in shapes]
    if network is None:
        inputs = sum(x.numel() for x in row)
        if hidden * (inputs + hidden) > 2**25:  # as of images, which need another kind
            raise ValueError(
                f"{inputs} inputs and {hidden} hidden units make an MLP of more than "
                f"{2**25} weights: pass a network of your own ({name}=...)")
        network = MLP(inputs, hidden, outputs)
    network = copy.deepcopy(network).to("cpu", torch.float32).eval()
    with torch.no_grad():
        shape = tuple(network(*row).shape)
    if shape != (1, outputs):
        raise ValueError(
            f"{name}'s output for one row has shape {shape}; allowed: {(1, outputs)}")
    return network


SMALLEST, USUAL, LARGEST = 0.03, 0.3, 1.0  # root mean squares of inputs


def input_scale(observations: np.ndarray) -> np.ndarray:
    """What each input is divided by, (*obs), so that no unit is far too large or small.

    An input's size is its root mean square in the demonstrations. Where all are below
    USUAL, they are lifted together; then those above LARGEST are brought to it, and
    those below SMALLEST to that. The others stay as they are, for full scaling made
    agents learn worse from few demonstrations. No mean is subtracted, so that a state
    that they never showed doesn't look farther off than it is. Bytes share one unit,
    and so one scale; an input that is always 0 keeps its own.
    """
    parts = np.array_split(observations, len(observations) // 100 + 1)  # spares memory
    total = sum(np.square(part, dtype=np.float64).sum(axis=0) for part in parts)
    size = np.sqrt(total / len(observations))
    if observations.dtype == np.uint8:
        size = np.full_like(size, np.sqrt(np.square(size).mean()))
    lift = max(1.0, USUAL / max(size.max(), 1e-300))
    wanted = (size * lift).clip(SMALLEST, LARGEST)  # as the networks see it
    return np.where(size > 0, size / wanted, 1.0)


def expert_batch(demos: Demos, agent: Agent) -> Batch:
    """All that learning reads of demonstrations; ValueError unless they fit agent."""
    check_space(demos.action_space, agent.action_space)
    batch = agent.to_batch(demos.observations, demos.actions,
                           demos.next_observations, demos.terminations)
    return batch._replace(initial_obs=batch.obs[agent.tensor(demos.starts)])


class Replay:
    """The learner's own transitions; it grows as they come."""

    def __init__(self) -> None:
        self.size = 0
        self.columns: list[Tensor] = []

    def add(self, row: Batch) -> None:
        """Keep a transition, a Batch of one row."""
        if not self.columns:
            self.columns = list(row[:4])
        elif self.size == len(self.columns[0]):
            # twice the room
            self.columns = [torch.cat([x, torch.empty_like(x)]) for x in self.columns]
        for column, x in zip(self.columns, row[:4]):
            column[self.size] = x[0]
        self.size += 1

    def sample(self, expert: Batch, size: int,
               generator: torch.Generator) -> tuple[Batch, Tensor]:
        """size of the expert's transitions, then size of the learner's, if any.

        Returns their Batch and is_expert, (size,) or (2 size,) bool.
        """
        columns = draw(expert[:4], len(expert.obs), size, generator)
        if self.size:
            own = draw(self.columns, self.size, size, generator)
            columns = [torch.cat(pair) for pair in zip(columns, own)]
        is_expert = torch.arange(len(columns[0]), device=generator.device) < size
        return Batch(*columns)._replace(initial_obs=expert.initial_obs), is_expert


def draw(columns, known: int, size: int, generator: torch.Generator) -> list[Tensor]:
    """size rows, drawn with replacement from the first known ones of each column."""
    rows = torch.randint(known, (size,), generator=generator, device=generator.device)
    return [column.index_select(0, rows) for column in columns]


@contextmanager
def threads(number: int | None) -> Iterator[None]:
    """Compute on a number of threads, then on as many as before."""
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(number or before)
        yield
    finally:
        torch.set_num_threads(before)


def best_threads(agent: Agent) -> int | None:
    """1, the fastest for small MLPs on a CPU, or None: PyTorch's own number."""
    config = agent.config
    # has_modes: networks of another kind, perhaps large, whatever hidden is
    small = config.device == "cpu" and config.hidden <= 512 and not agent.has_modes
    return 1 if small else None


def progress(steps: int) -> Iterator[int]:
    """1 to steps: a bar in terminals and notebooks, in log files a line at times."""
    numbers = range(1, steps + 1)
    if sys.stderr.isatty() or "ipykernel" in sys.modules:
        return iter(tqdm(numbers))
    line = "{n_fmt} of {total_fmt} updates in {elapsed}, {remaining} to go\n"
    return iter(tqdm(
        numbers, bar_format=line, delay=30, mininterval=30, maxinterval=60))


# ------------------------------------------------------------------------ Environments
class Step(NamedTuple):
    """One step of an environment, in its own units: a row of Demos, in this order."""

    obs: np.ndarray
    action: np.ndarray
    next_obs: np.ndarray
    terminated: bool
    truncated: bool
    reward: float
    episode: int  # from 0


RUNNING: dict[int, object] = {}  # id of an environment -> the rollout that stepped last
TIME_LIMIT = 10_000  # steps of an episode, if the environment has no limit of its own


@contextmanager
def make_env(env: gym.Env | str) -> Iterator[gym.Env]:
    """An environment, perhaps by its name; then it is closed in the end."""
    made = gym.make(env) if isinstance(env, str) else env
    try:
        if not isinstance(made, gym.Env):
            raise ValueError(f"env is {type(made).__name__}; allowed: a gymnasium.Env, "
                             "a single one rather than a vector, or its name")
        yield made
    finally:
        if isinstance(env, str):
            made.close()


def has_time_limit(env: gym.Env) -> bool:
    while isinstance(env, gym.Wrapper):
        if isinstance(env, gym.wrappers.TimeLimit):
            return True
        env = env.env
    return False


def rollout(env: gym.Env | str, policy: Callable, seed: int, agent: Agent | None = None,
            episodes: int | None = None) -> Iterator[Step]:
    """Steps of policy, episode after episode (None: without end), checked by agent.

    Only the first reset is seeded. If another rollout steps the environment in between,
    as an evaluation in a callback does, the episode is left and a new one begins.
    """
    if episodes is not None and episodes < 1:
        raise ValueError(f"episodes is {episodes}; allowed: 1 or more")
    this = object()
    example = None if agent is None else agent.example
    with make_env(env) as env:
        space = env.action_space
        # without an agent, against the space itself: refuses what can't be learned
        check_space(space, space if agent is None else agent.action_space)
        limit = None if has_time_limit(env) else TIME_LIMIT
        core = id(env.unwrapped)
        for episode in islice(count(), episodes):
            obs, _ = env.reset(seed=seed if episode == 0 else None)
            obs = check_observation(obs, example, f"observation 0 of episode {episode}")
            example = obs if example is None else example
            for step in count(1):
                RUNNING[core] = this
                action = cast_action(policy(obs.copy()), space)
                next_obs, reward, terminated, truncated, _ = env.step(action.copy())
                name = f"{step} of episode {episode}"
                next_obs = check_observation(next_obs, example, f"observation {name}")
                reward = check_reward(reward, f"reward {name}")
                if step == limit and not (terminated or truncated):
                    warnings.warn(f"episode {episode} is cut after {step} steps, since "
                                  "the environment has no TimeLimit: wrap it in one",
                                  stacklevel=2)
                truncated = truncated or step == limit
                yield Step(obs, action, next_obs, bool(terminated), bool(truncated),
                           reward, episode)
                obs = next_obs
                # while this one paused at its yield, another may have stepped
                if terminated or truncated or RUNNING.get(core) is not this:
                    break
        RUNNING.pop(core, None)


def explore(agent: Agent, env: gym.Env | str | None) -> Generator[Step, None, None]:
    """The agent's own steps, from config.seed; if it has stepped before, a new seed."""
    if env is None:  # offline
        return
    seed, generator = agent.config.seed, agent.generator
    if agent.replay.size:
        seed = int(torch.randint(
            2**31, (), generator=generator, device=generator.device))
    yield from rollout(env, lambda obs: agent.act(obs, greedy=False), seed, agent)


def check_observation(obs, example: np.ndarray | None, name: str) -> np.ndarray:
    """A copy of one observation; ValueError unless an array of numbers like example."""
    if isinstance(obs, (dict, tuple, str)) or np.ndim(obs) == 0:
        parts = [*obs] if isinstance(obs, dict) else repr(obs)[:60]
        raise ValueError(
            f"{name} is a {type(obs).__name__}, {parts}; allowed: one array of numbers."
            " Wrap the environment in gymnasium.wrappers.FlattenObservation (MiniGrid:"
            " in minigrid.wrappers.ImgObsWrapper)")
    if example is None:
        return check_array(name, obs, "biuf").copy()
    check_array(name, obs, "biuf", example.shape)  # to name the shape without rows
    return check_like(name, np.asarray(obs)[None], example)[0].copy()


def check_reward(reward, name: str) -> float:
    """One finite number, whatever holds it."""
    number = np.asarray(reward)
    if number.size != 1:
        raise ValueError(f"{name} is {reward}, {number.size} numbers; allowed: one."
                         " Wrap the environment so that it weighs and adds them")
    return float(check_array(name, number, "biuf").item())


def cast_action(action, space: gym.Space) -> np.ndarray:
    """One action in the space's dtype and, if it is continuous, within its bounds."""
    action = np.asarray(action)
    if isinstance(space, Box):
        if action.dtype.kind not in "biuf" or not np.isfinite(action).all():
            raise ValueError(f"the policy's action is {action!r}; allowed: finite")
        action = np.asarray(action.astype(space.dtype).clip(space.low, space.high))
    elif action.ndim == 0:
        action = action[()]  # a number, as spaces sample it
    if action not in space:
        raise ValueError(f"the policy's action is {action!r}; allowed: one of {space}")
    return action


# ---------------------------------------------------------------------- Action spaces
def action_bounds(space: gym.Space) -> np.ndarray:
    """The lowest and highest action (2, A); ValueError for what can't be learned."""
    if isinstance(space, Discrete):
        return np.array([[space.start], [space.start + space.n - 1]], np.float64)
    if isinstance(space, Box) and space.dtype is not None and space.dtype.kind == "f":
        bounds = np.array([space.low, space.high], np.float64).reshape(2, -1)
        width = bounds[1] - bounds[0]  # finite, and not too narrow for float32
        if width.size and ((width <= 1e6) & (abs(bounds) < 1e6 * width)).all():
            return bounds
    raise ValueError(
        f"action space is {space}; allowed: a Discrete, into which several choices can "
        "be numbered, or a Box of floats whose bounds are finite, up to 1e6 apart, and "
        "no narrower than a millionth of their size")


def check_actions(actions, space: gym.Space, rows: int) -> np.ndarray:
    """Actions (rows, *action) as an array; ValueError unless all lie in the space."""
    kinds = "iu" if isinstance(space, Discrete) else "iuf"
    shape = space.shape or ()
    low, high = action_bounds(space).reshape((2,) + shape)
    actions = check_array("actions", actions, kinds, (rows,) + shape)
    slack = 1e-6 * (high - low)
    outside = np.argwhere((actions < low - slack) | (actions > high + slack))
    if len(outside):
        row = outside[0][0]
        raise ValueError(f"actions[{row}] is {actions[row]}; allowed: one of {space}")
    return actions


def check_space(space: gym.Space, own: gym.Space) -> None:
    """ValueError unless a space has the same actions, and bounds, as the own."""
    bounds, own_bounds = (action_bounds(x).astype(np.float32) for x in (space, own))
    same_kind = isinstance(space, Box) == isinstance(own, Box)
    same_bounds = space.shape == own.shape and np.array_equal(bounds, own_bounds)
    if not (same_kind and same_bounds):
        raise ValueError(f"the action space is {space}; allowed: {own}, as before")


def encode_actions(actions, space: gym.Space, rows: int) -> np.ndarray:
    """Actions of the environment (rows, *action) or (rows, A) -> as in Batch."""
    actions, shape = np.asarray(actions), space.shape or ()
    if actions.size == rows * math.prod(shape):
        actions = actions.reshape((rows,) + shape)
    actions = check_actions(actions, space, rows)
    if isinstance(space, Discrete):
        return actions.astype(np.int64) - int(space.start)
    low, high = action_bounds(space)
    unit = 2 * (actions.reshape(rows, -1).astype(np.float64) - low) / (high - low) - 1
    return unit.astype(np.float32)


def decode_actions(actions: np.ndarray, space: gym.Space) -> np.ndarray:
    """Actions as in Batch -> of the environment, (B, *action)."""
    if isinstance(space, Discrete):
        return (actions + space.start).astype(space.dtype)
    low, high = action_bounds(space)
    actions = actions.astype(np.float64)  # so that both bounds are met exactly
    actions = (low * (1 - actions) + high * (1 + actions)) / 2
    return actions.reshape((-1,) + (space.shape or ())).astype(space.dtype)


def space_to_dict(space: gym.Space) -> dict[str, Any]:
    """What files keep of an action space."""
    if isinstance(space, Box):
        return {"action_low": space.low, "action_high": space.high}
    assert isinstance(space, Discrete)
    return {"n_actions": int(space.n), "start": int(space.start)}


def space_from_dict(data) -> gym.Space | None:
    """The action space in a file, or None."""
    if "n_actions" in data:
        start = int(data["start"]) if "start" in data else 0
        return Discrete(int(data["n_actions"]), start=start)
    if "action_low" in data:
        low = np.asarray(data["action_low"])
        return Box(low, np.asarray(data["action_high"]), dtype=low.dtype.type)
    return None


# ---------------------------------------------------------------------- Demonstrations
COLUMNS = ("observations", "actions", "next_observations", "terminations",
           "truncations", "rewards", "episode_ids")


@dataclass(eq=False)
class Demos:
    """An expert's N transitions in order of time, checked on entry (ValueError).

    A row may be terminated and truncated: the state is terminal, and a time limit came
    just then. A new episode begins after either, and where episode_ids change or,
    without them, where an observation is not the next one of the row before.
    """

    action_space: gym.Space
    observations: np.ndarray  # (N, *obs)
    actions: np.ndarray  # (N,) integers, or (N, *action), in the environment's units
    next_observations: np.ndarray  # (N, *obs), the true ones, not those of a reset
    terminations: np.ndarray  # (N,) bool: the next state is terminal
    truncations: np.ndarray  # (N,) bool: cut off there, as by a time limit
    rewards: np.ndarray | None = None  # (N,), for reports: learning never reads them
    episode_ids: np.ndarray | None = None  # (N,), or made of the rest; numbered anew
    recorded: InitVar[bool] = False  # by record itself: no warning about resets

    def __post_init__(self, recorded: bool) -> None:
        action_bounds(self.action_space)  # refuses what can't be learned
        shape = check_array("observations", self.observations, "biuf").shape
        if len(shape) < 2 or 0 in shape:
            raise ValueError(f"observations have shape {shape}; allowed: (N, ...)")
        n = shape[:1]
        expected = {
            "observations": ("biuf", shape), "next_observations": ("biuf", shape),
            "terminations": ("b", n), "truncations": ("b", n), "rewards": ("biuf", n),
            "episode_ids": ("iu", n)}
        for name, column in self.columns.items():
            if name == "actions":
                column = check_actions(column, self.action_space, shape[0])
            else:
                column = check_array(name, column, *expected[name])
            setattr(self, name, column.copy())
        ended = (self.terminations | self.truncations)[:-1]
        follows = (self.observations[1:] == self.next_observations[:-1]).all(
            axis=tuple(range(1, len(shape))))
        new = ~follows if self.episode_ids is None else np.diff(self.episode_ids) != 0
        self.starts = np.append(True, new | ended)  # (N,) bool: first of an episode
        self.episode_ids = np.cumsum(self.starts) - 1
        if (ended & follows).any() and not recorded:
            row = np.argmax(ended & follows)
            warnings.warn(f"next_observations[{row}] ends an episode and begins the "
                          "next: is it that of a reset?", stacklevel=3)
        self.warn_of_time_limits()
        self.warn_of_float32()

    def warn_of_time_limits(self) -> None:
        """Warn where all episodes are marked terminated at one and the same length."""
        lengths = np.bincount(np.cumsum(self.starts) - 1)
        last = np.append(self.starts[1:], True)
        all_terminate = (self.terminations & ~self.truncations)[last].all()
        same = len(lengths) > 1 and lengths[0] > 1 and (lengths == lengths[0]).all()
        enough = len(lengths) > 2 or len(self) > 100  # two short ones say nothing
        if all_terminate and same and enough:
            warnings.warn(
                f"all {len(lengths)} episodes terminate after {lengths[0]} steps: is "
                "that a time limit? Then they are truncations", stacklevel=4)

    def warn_of_float32(self) -> None:
        """Warn of inputs whose differences float32, as networks see them, loses."""
        rows = self.observations[:1000]  # enough to tell
        if rows.dtype.itemsize <= 4 and rows.dtype.kind == "f":
            return
        error = abs(rows.astype(np.float32) - rows).max(axis=0)
        varies = (rows != rows[0]).any(axis=0)
        # as the cosine of an angle at rest, whose sine shows more
        near_one = (abs(abs(rows) - 1.0) < 0.001).all(axis=0)
        lost = varies & ~near_one & (error > 0.001 * rows.std(axis=0))
        if lost.any():
            place = tuple(np.argwhere(lost)[0].tolist())
            column = ", ".join(map(str, (":", *place)))
            warnings.warn(f"observations[{column}], as {rows[0][place]}, differ by too "
                          "little for float32: subtract an origin", stacklevel=4)

    @property
    def columns(self) -> dict[str, np.ndarray]:
        """The arrays that there are, by name."""
        columns = {name: getattr(self, name) for name in COLUMNS}
        return {name: x for name, x in columns.items() if x is not None}

    def __len__(self) -> int:
        return len(self.observations)

    def returns(self) -> np.ndarray:
        """The sum of rewards of each episode (E,); NaN where they are unknown."""
        rewards = np.full(len(self), np.nan) if self.rewards is None else self.rewards
        return np.add.reduceat(rewards, np.flatnonzero(self.starts), dtype=float)

    def keep(self, rows: np.ndarray) -> Demos:
        """The rows where a mask (N,) is True."""
        columns: dict[str, Any] = {name: x[rows] for name, x in self.columns.items()}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # they were given for the whole
            return Demos(self.action_space, **columns)

    def take(self, episodes: int) -> Demos:
        """The first episodes."""
        known = self.starts.sum()
        if not 1 <= episodes <= known:
            raise ValueError(f"episodes is {episodes}; allowed: 1 to {known}")
        return self.keep(np.cumsum(self.starts) <= episodes)

    def subsample(self, every: int) -> Demos:
        """Rows 0, every, 2 every ... of each episode, so that its first state stays."""
        if every < 1:
            raise ValueError(f"subsample is {every}; allowed: 1 or more")
        # of each row, the first one of its episode
        first = np.flatnonzero(self.starts)[np.cumsum(self.starts) - 1]
        return self.keep((np.arange(len(self)) - first) % every == 0)

    @classmethod
    def from_episodes(cls, observations: list, actions: list, terminated: list,
                      action_space: gym.Space, rewards: list | None = None) -> Demos:
        """From lists with an entry for each episode, of T actions say.

        observations (T + 1, *obs), the last one where the episode stopped; actions (T,)
        or (T, *action); rewards (T,); terminated: whether the last state is terminal,
        rather than a limit from outside: one bool, or (T,) of which the last counts.
        """
        lists = {"observations": observations, "actions": actions,
                 "terminated": terminated, "rewards": rewards}
        for name, entries in lists.items():
            if entries is None:  # rewards may be
                continue
            is_list = isinstance(entries, (list, tuple, np.ndarray))
            if not is_list or len(entries) != len(actions) or not len(actions):
                raise ValueError(f"{name} has to be a list, an entry for each episode")
        for i, (obs, acts) in enumerate(zip(observations, actions)):
            if len(obs) != len(acts) + 1:
                raise ValueError(
                    f"episode {i} has {len(obs)} observations for {len(acts)} actions; "
                    "allowed: one observation more. If the last one, where the episode "
                    "stopped, is unknown, leave out the last action")
            if rewards is not None and len(rewards[i]) != len(acts):
                raise ValueError(f"episode {i} has {len(rewards[i])} rewards for "
                                 f"{len(acts)} actions; allowed: as many")
        lengths = [len(x) for x in actions]
        last = np.concatenate([np.arange(n) == n - 1 for n in lengths])
        ended = np.repeat([bool(np.ravel(x)[-1]) for x in terminated], lengths)
        return cls(
            action_space, np.concatenate([x[:-1] for x in observations]),
            np.concatenate(actions), np.concatenate([x[1:] for x in observations]),
            last & ended, last & ~ended,
            None if rewards is None else np.concatenate(rewards))

    def save(self, path) -> None:
        """Write an .npz without pickles, whole or not at all."""
        arrays: dict[str, Any] = self.columns | space_to_dict(self.action_space)
        with whole_file(path) as file:
            np.savez(file, **arrays)

    @classmethod
    def load(cls, path, action_space: gym.Space | str | None = None) -> Demos:
        """Read an .npz; action_space, or an environment's name, where it has none."""
        try:
            with open(path, "rb") as raw, np.load(raw, allow_pickle=False) as file:
                names = [*file]
                columns = {name: file[name] for name in COLUMNS if name in names}
                stored = space_from_dict(file)
        except (FileNotFoundError, IsADirectoryError, PermissionError):
            raise
        except Exception as error:  # numpy and zipfile have many, and odd advice
            kind = type(error).__name__
            raise ValueError(f"{path} is no .npz of arrays ({kind})") from None
        absent = [name for name in COLUMNS[:5] if name not in columns]
        if absent:
            raise ValueError(f"{path} has no {absent}; it has {names}")
        if isinstance(action_space, str):
            with make_env(action_space) as env:
                action_space = env.action_space
        space = action_space or stored
        if space is None:
            raise ValueError(f"{path} has no action space: pass action_space=...")
        if stored is not None:
            check_space(space, stored)
        return cls(space, **columns)


# -------------------------------------------------------------------- Arrays and files
def check_array(name: str, values, kinds: str,
                shape: tuple[int, ...] | None = None) -> np.ndarray:
    """values as an array of finite numbers; ValueError for another dtype.kind or shape.

    It isn't a copy, unless the byte order is not the machine's.
    """
    try:
        array = np.asarray(values)
    except ValueError as error:  # rows of several lengths
        raise ValueError(f"{name}: {error}") from None
    shape = array.shape if shape is None else shape
    if array.dtype.kind not in kinds or array.shape != shape:
        words = {"b": "bool", "iu": "integers"}.get(kinds, "numbers")
        raise ValueError(f"{name}: {type(values).__name__} of {array.dtype}, shape "
                         f"{array.shape}; allowed: {words}, shape {shape}")
    if array.dtype.kind == "f":
        finite = abs(array) < np.float64(3e38)  # where float32 ends; False for NaN
        if not finite.all():
            place = tuple(np.argwhere(~finite)[0].tolist())
            raise ValueError(f"{name}{[*place]} is {array[place]}; allowed: finite "
                             "numbers. Leave out its episode, or fill it in")
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def check_like(name: str, values, example: np.ndarray,
               rows: int | None = None) -> np.ndarray:
    """Observations (rows, *obs) as an array; ValueError unless like example."""
    if rows is None:  # a number, or an empty array, counts as one row: refused below
        rows = max(1, len(np.atleast_1d(check_array(name, values, "biuf"))))
    array = check_array(name, values, "biuf", (rows, *example.shape))
    if (array.dtype == np.uint8) != (example.dtype == np.uint8):
        raise ValueError(f"{name}: {array.dtype}, but the demonstrations' observations "
                         f"are {example.dtype}; bytes and other numbers don't mix")
    return array


def one_line(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())


@contextmanager
def whole_file(path) -> Iterator[Any]:
    """A file to write, which takes its place only once it is whole."""
    path = check_writable(path)
    with tempfile.TemporaryDirectory(dir=os.path.dirname(path)) as folder:
        with open(f"{folder}/part", "wb") as file:
            yield file
        os.replace(f"{folder}/part", path)


def check_writable(path) -> str:
    """The real path of a file; OSError if it can't be written."""
    path = os.path.realpath(path)
    if os.path.exists(path) and not os.path.isfile(path):
        raise OSError(f"{path} is no file that can be replaced")
    tempfile.TemporaryDirectory(dir=os.path.dirname(path)).cleanup()
    return path


def write_agent(agent: Agent, path) -> None:
    """Write what load reads."""
    space = space_to_dict(agent.action_space)
    state = {"config": asdict(agent.config) | {"device": "cpu"},
             "space": {name: torch.as_tensor(x) for name, x in space.items()},
             "dtype": agent.example.dtype.name, "user_networks": agent.user_networks,
             "updates": agent.updates, "weights": agent.state_dict()}
    with whole_file(path) as file:
        torch.save(state, file)


def load(path, **networks: nn.Module) -> Agent:
    """A saved agent, on the CPU; networks of the user's own have to be given again."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        names = state["user_networks"]
        missing = [f"{x}=..." for x in names if networks.get(x) is None]
        if not missing:
            return read_agent(state, os.path.getsize(path), networks)
    except (FileNotFoundError, IsADirectoryError, PermissionError):
        raise
    except Exception as error:  # torch and pickle have many for bad files
        raise ValueError(f"{path} is no saved agent, or its networks are others "
                         f"({one_line(error)})") from None
    # here, where the words above don't replace these
    raise ValueError(f"{path} has networks of the user's own; give them again: "
                     f"load(path, {', '.join(missing)})")


def read_agent(state: dict, size: int, networks: dict[str, nn.Module]) -> Agent:
    """The agent of a file's content; an error of some kind if it can't be one."""
    tensors = [*state["weights"].values(), *state["space"].values()]
    if sum(x.numel() for x in tensors) > size:
        # views that repeat a few bytes could ask for any amount of memory
        raise ValueError("more numbers than bytes")
    config = Config(**state["config"])
    space: Any = space_from_dict(state["space"])
    example = np.zeros(tuple(state["weights"]["obs_scale"].shape), state["dtype"])
    agent = agent_class(space, config)(example, space, config, **networks)
    for name, own in agent.state_dict().items():
        weights = state["weights"][name]
        if weights.dtype != own.dtype or not weights.isfinite().all():
            raise ValueError(f"{name} has to be finite, of {own.dtype}")
    agent.load_state_dict(state["weights"])
    agent.updates = int(state["updates"])
    return agent


# ------------------------------------------------------------------------ Command line
def scripted_expert(env_id: str) -> Callable:
    """The built-in expert of CartPole-v1 or Pendulum-v1, obs (*obs) -> action."""
    rng = np.random.default_rng(0)

    def cartpole(obs):  # push where the pole falls; at random, so that the cart wanders
        return int(rng.random() < 1 / (1 + np.exp(-obs @ [1.5, 4.0, 50.0, 10.0])))

    def pendulum(obs):  # swing to the energy of standing upright; there, balance
        cos, sin, speed = obs
        if cos > 0.9:
            return [-8 * sin - 2 * speed]
        return [(15 - 15 * cos - speed**2 / 2) * np.copysign(1, speed)]

    experts = {"CartPole-v1": cartpole, "Pendulum-v1": pendulum}
    if env_id not in experts:
        raise ValueError(f"no expert is built in for {env_id}, only for {[*experts]}: "
                         "pass demonstrations (--demos)")
    return experts[env_id]


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Demonstrations, learning and evaluation, as a report."""
    config = Config(**{"steps": args.steps, "seed": args.seed} | dict(args.set))
    with make_env(args.env) as env:
        if args.demos:
            demos = Demos.load(args.demos, env.action_space)
        else:
            expert = scripted_expert(args.env)
            demos = record(env, expert, args.episodes or 1, config.seed)
        demos = demos if args.episodes is None else demos.take(args.episodes)
        expert_return = demos.returns().mean()
        demos = demos.subsample(args.subsample)
        agent = new_agent(demos, config)
        env.action_space.seed(config.seed)
        fresh = (config.seed + 1_000_000) % 2**31  # episodes that nobody has seen
        chance = np.zeros(20)
        for step in rollout(env, lambda _: env.action_space.sample(), fresh, agent, 20):
            chance[step.episode] += step.reward
        if args.out:
            check_writable(args.out)  # fail now, not after hours of learning
        start = time.perf_counter()
        try:
            learn(demos, env if args.online else None, agent=agent)
        finally:  # also when interrupted
            if args.out and agent.updates:
                agent.save(args.out)
        seconds = time.perf_counter() - start
        returns = evaluate(agent, env, 20, fresh)
    return {"env": args.env, "mode": "online" if args.online else "offline",
            "demos_transitions": len(demos),
            "expert_return": None if np.isnan(expert_return) else expert_return,
            "random_return": chance.mean(),
            "return_mean": returns.mean(), "return_std": returns.std(),
            "updates": config.steps, "env_steps": config.steps if args.online else 0,
            "seconds": seconds, "updates_per_second": config.steps / seconds}


class Parser(argparse.ArgumentParser):
    """An ArgumentParser whose errors are one line."""

    def error(self, message):
        self.exit(2, f"iq.py: {message}\n")


def setting(text: str) -> tuple[str, Any]:
    """FIELD=VALUE, a field of Config."""
    name, _, value = text.partition("=")
    names = [field.name for field in fields(Config)]
    if name not in names or not value:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no FIELD=VALUE with a field of {names}")
    try:
        return name, ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return name, value  # a word


def main(argv: list[str] | None = None) -> None:
    """Run the command line."""
    parser = Parser("iq.py", description="IQ-Learn from demonstrations.")
    add = parser.add_argument
    add("env", nargs="?", default="CartPole-v1", help="environment to evaluate in")
    add("--demos", metavar="F.npz", help="demonstrations (the built-in expert's)")
    add("--episodes", type=int, help="demonstrations to use (all; 1 of the expert)")
    add("--subsample", type=int, default=1, help="use every K-th transition")
    add("--online", action="store_true", help="learn from own steps, too")
    add("--steps", type=int, default=Config.steps, help="updates")
    add("--seed", type=int, default=0)
    add("--set", type=setting, action="append", default=[], metavar="FIELD=VALUE",
        help="set any field of Config, as hidden=256")
    add("--out", metavar="agent.pt", help="where to save the agent")
    add("--json", action="store_true", help="print one line of JSON alone")
    args = parser.parse_args(argv)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C
    try:
        print(json.dumps(run(args), indent=None if args.json else 2))
    except KeyboardInterrupt:
        parser.exit(130, "iq.py: interrupted\n")
    except (ValueError, OSError, ImportError, RuntimeError, gym.error.Error) as error:
        parser.error(" ".join(str(error).split()))


if __name__ == "__main__":
    main()
