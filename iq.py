# /// script
# requires-python = ">=3.10"
# dependencies = ["torch>=2.4", "numpy>=1.26", "gymnasium>=1.0", "tqdm"]
# ///
"""IQ-Learn in one file: from an expert's transitions to a policy, and to its reward.

One soft Q-function is learned from transitions (s, a, s') by descending

    L(Q) = -E_expert[phi(r)] + (1 - gamma) E[V(s0)],   r = Q(s,a) - gamma V(s')

The policy is exp((Q - V) / tau), the reward is r: none is guessed, none is adversary.

    paper        here                     meaning
    Q, V, pi     q, value, policy         soft action value, soft state value, policy
    gamma        gamma                    discount per step
    H(pi)        temperature (tau)        the entropy, and its weight (in the paper 1)
    phi, alpha   DIVERGENCES, chi2_alpha  concave shape of the reward; strength of chi2
    rho_E, rho   expert, policy           rows of the diary; rows of the learner's replay

    demos = Demos.load("diary.npz")       # or record(env, policy, ...), from_minari(...)
    agent = learn(demos)                  # offline; online is learn(demos, "CartPole-v1")
    print(evaluate(agent, "CartPole-v1", episodes=20, seed=0).mean())

Paper: Garg et al., "IQ-Learn: Inverse soft-Q Learning for Imitation", NeurIPS 2021,
arXiv:2106.12142; "Eq." means its equations, from which alone this file was written.
Deviations: a temperature; terminal states that may have a learned value; divergences
continued by a tangent where they would be infinite.
"""
from __future__ import annotations

import argparse
import copy
import json
import math
import os
import signal
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import torch
import torch.nn.functional as F
from gymnasium.spaces import Box, Discrete
from torch import Tensor, nn

try:
    from tqdm import tqdm
except ImportError:  # a comfort, not a need
    tqdm = None

class InputError(ValueError):
    """Bad input; the message names the thing, its value and what is allowed."""

def need(ok: Any, thing: str, value: Any, allowed: Any) -> None:
    """Raise InputError unless ok."""
    if not ok:
        raise InputError(f"{thing} is {value}; allowed: {allowed}")

# ---------------------------------------------------------------------- configuration

def option(default: Any, text: str, *allowed: Any) -> Any:
    """A field of Config; allowed: both ends of a range, or the names to choose from."""
    return field(default=default, metadata={"text": text, "allowed": allowed})

@dataclass(frozen=True)
class Config:
    """Every choice of a run; None stands for what DEFAULTS has for the kind of action."""

    gamma: float = option(0.99, "discount per step", 0.0, 0.9999)
    temperature: float | None = option(None, "reward worth a nat of entropy", 1e-6, 1e6)
    divergence: str = option(
        "chi2", "how the learner is held against the expert", "chi2", "reverse_kl",
        "forward_kl", "hellinger", "jensen_shannon", "total_variation", "wasserstein")
    chi2_alpha: float = option(0.5, "chi2 charges r^2 / (4 alpha) per step", 1e-6, 1e6)
    chi2_on: str | None = option(None, "the rows it charges", "expert", "mixture")
    value_term: str | None = option(
        None, "rows for (1 - gamma) E[V(s0)]", "initial", "expert", "mixture")
    absorbing: bool = option(False, "learn the worth of terminal states", False, True)
    critic_lr: float = option(1e-3, "step size of the critic's Adam", 1e-9, 1.0)
    actor_lr: float = option(1e-4, "step size of the actor's Adam", 1e-9, 1.0)
    target_rate: float | None = option(
        None, "part of the critic its slow copy takes per update; 1: no copy", 1e-6, 1.0)
    grad_clip: float = option(10.0, "largest norm of a gradient", 1e-6, 1e6)
    hidden: int = option(128, "units in each of two hidden layers", 1, 2**16)
    batch_size: int = option(64, "diary rows per update, and as many of replay", 1, 2**20)
    steps: int | None = option(None, "updates; online, each after a step", 1, 2**40)
    replay_size: int = option(10**6, "transitions that replay keeps", 1, 2**40)
    log_every: int = option(100, "steps between calls of the callback", 1, 2**40)
    seed: int = option(0, "seed of weights, batches, actions, resets", 0, 2**32)
    device: str = option("auto", "where to compute", "auto", "cpu", "cuda")

    def __post_init__(self) -> None:
        for f in fields(self):
            x, allowed = getattr(self, f.name), f.metadata["allowed"]
            if isinstance(low := allowed[0], str):
                ok, says = x in allowed, " | ".join(allowed)
            else:
                ok = type(x) in (type(low), int) and low <= x <= allowed[-1]
                says = f"{type(low).__name__} from {low} to {allowed[-1]}"
            need(ok or x is f.default is None, f.name, repr(x), says)
        gpu = self.device != "cuda" or torch.cuda.is_available()
        need(gpu, "device", "cuda, which torch doesn't see here", "auto | cpu")

    def complete(self, action_space: gym.Space) -> Config:
        """Put the default for this kind of action in place of each None."""
        defaults = DEFAULTS[type(action_space)].items()
        return replace(self, **{k: v for k, v in defaults if getattr(self, k) is None})

DEFAULTS = {
    Discrete: dict(temperature=1.0, chi2_on="expert", value_term="expert",
                   target_rate=1.0, steps=5_000),
    Box: dict(temperature=0.001, chi2_on="mixture", value_term="initial",
              target_rate=0.005, steps=10_000),
}

# ------------------------------------------------------------------------ mathematics
# B rows in a batch, A actions; a tensor with one number per row is (B,), never (B, 1).

def soft_value(q: Tensor, temperature: float) -> Tensor:
    """V(s) = tau log sum_a exp(Q(s,a) / tau)  [paper, section 3].  (B, A) -> (B,).

    -inf marks an action that can't be taken; each row needs one that can.
    """
    top = q.max(-1, keepdim=True).values.detach()  # taken out first: exp can't overflow
    return (top + temperature * ((q - top) / temperature).logsumexp(-1, True)).squeeze(-1)

def soft_policy(q: Tensor, temperature: float) -> Tensor:
    """log pi(a|s) = (Q(s,a) - V(s)) / tau  [paper, section 3].  (B, A) -> (B, A)."""
    top = q.max(-1, keepdim=True).values.detach()
    return ((q - top) / temperature).log_softmax(-1)

def soft_bellman(
        reward: Tensor, next_value: Tensor, terminated: Tensor, gamma: float) -> Tensor:
    """Q(s,a) = r(s,a,s') + gamma V(s'), with V = 0 beyond a terminal state.  (B,)."""
    return reward + gamma * torch.where(terminated, 0.0, next_value)

def inverse_bellman(
        q: Tensor, next_value: Tensor, terminated: Tensor, gamma: float) -> Tensor:
    """r(s,a,s') = Q(s,a) - gamma V(s')  [Eq. 11], which undoes soft_bellman.  (B,)."""
    return q - gamma * torch.where(terminated, 0.0, next_value)

# D(policy, expert) = max_r E_expert[phi(r)] - E_policy[r] with phi concave, phi(0) = 0,
# phi'(0) = 1; beside each its f(u) = max_r phi(r) - u r, u = policy / expert. The best r
# is where phi'(r) = u: where phi would be steeper than MAX_RATIO it goes on as a tangent,
# finite everywhere, and nothing changes while u < MAX_RATIO.
MAX_RATIO = 100.0

def tangent_below(point: float, phi: Callable[[Tensor], Tensor]) -> Callable:
    """phi, continued below the point, where its slope is MAX_RATIO, by its tangent."""
    return lambda r: phi(r.clamp(min=point)) + MAX_RATIO * (r - r.clamp(min=point))

DIVERGENCES: dict[str, Callable[..., Tensor]] = {
    "chi2": lambda r, alpha=0.5: r - r.square() / (4 * alpha),  # alpha (u - 1)^2
    "reverse_kl": tangent_below(  # u log u - u + 1
        -math.log(MAX_RATIO), lambda r: -torch.expm1(-r)),
    "forward_kl": tangent_below(1 / MAX_RATIO - 1, torch.log1p),  # -log u + u - 1
    "hellinger": tangent_below(  # (sqrt(u) - 1)^2
        MAX_RATIO**-0.5 - 1, lambda r: r / (1 + r)),
    "jensen_shannon": tangent_below(  # u log u - (1 + u) log((1 + u) / 2)
        math.log((1 + 1 / MAX_RATIO) / 2), lambda r: torch.log1p(-torch.expm1(-r))),
    "total_variation": tangent_below(-1.0, lambda r: r.clamp(max=1)),  # |u - 1|
    "wasserstein": lambda r: r,  # W1, while slope_penalty keeps Q 1-Lipschitz
}

def iq_loss(
    q: Tensor, value: Tensor, next_value: Tensor, terminated: Tensor, is_expert: Tensor,
    *, gamma: float, divergence: str = "chi2", chi2_alpha: float = 0.5,
    chi2_on: str = "expert", value_term: str = "expert",
    initial_value: Tensor | None = None, absorbing_value: Tensor | None = None,
) -> tuple[Tensor, dict[str, Tensor]]:
    """The objective [Eq. 9 and 10, offline Eq. 12] with its sign turned: lower is better.

    q, value, next_value (B,) are Q(s,a), V(s), V(s'); terminated, is_expert (B,) bool.
    value_term: (1 - gamma) E[V(s0)] by initial_value, of any length, or telescoped as
    E[V(s) - gamma V(s')] over the expert's rows or the mixture's, which are all rows.
    absorbing_value: a scalar, what terminal states are worth; None: 0.
    Returns the loss and, detached, its terms, mean rewards and max |Q|.
    """
    for x in value, next_value, terminated, is_expert:
        need(q.ndim == 1 and x.shape == q.shape, "shape of q and another argument",
             f"{tuple(q.shape)}, {tuple(x.shape)}", "(B,), (B,)")
    weight = torch.ones_like(q)
    if absorbing_value is not None:  # one self-loop row more for every terminal row
        loop = absorbing_value.expand_as(q)
        next_value = torch.cat([torch.where(terminated, loop, next_value), loop])
        q, value = torch.cat([q, loop]), torch.cat([value, loop])
        weight = torch.cat([weight, terminated.to(q.dtype)])
        is_expert, terminated = is_expert.repeat(2), torch.zeros_like(terminated).repeat(2)

    def mean(x: Tensor, rows: Tensor) -> Tensor:
        return (weight * rows * x).sum() / (weight * rows).sum().clamp(min=1e-9)

    reward = inverse_bellman(q, next_value, terminated, gamma)
    drop = inverse_bellman(value, next_value, terminated, gamma)  # V(s) - gamma V(s')
    over = {"expert": is_expert, "mixture": torch.ones_like(is_expert)}
    terms = {}
    if divergence == "chi2":  # phi(r) = r - r^2 / (4 alpha), its square over chi2_on
        terms["expert_term"] = -mean(reward, is_expert)
        terms["chi2_term"] = mean(reward.square(), over[chi2_on]) / (4 * chi2_alpha)
    else:
        terms["expert_term"] = -mean(DIVERGENCES[divergence](reward), is_expert)
    if value_term == "initial":
        terms["value_term"] = (1 - gamma) * initial_value.mean()
    else:
        terms["value_term"] = mean(drop, over[value_term])
    loss = sum(terms.values())
    info = {"loss": loss, **terms, "reward_expert": mean(reward, is_expert),
            "reward_policy": mean(reward, ~is_expert), "max_q": q.abs().max()}
    return loss, {name: x.detach() for name, x in info.items()}

def slope_penalty(q: Tensor, *inputs: Tensor) -> Tensor:
    """10 E[max(0, |dQ/d inputs| - 1)^2], which is 0 where Q is 1-Lipschitz.  q (B,)."""
    slopes = torch.autograd.grad(q.sum(), inputs, create_graph=True)
    norm = torch.cat([s.flatten(1) for s in slopes], 1).norm(dim=1)
    return 10 * (norm - 1).clamp(min=0).square().mean()

def squash(mean: Tensor, log_std: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """tanh(u), u = mean + std noise, and its log-density.  All (B, A) -> (B, A), (B,).

    log pi(a) = log N(u) - sum log(1 - tanh(u)^2), the last by 2 (log 2 - u -
    softplus(-2u)), which stays right where tanh(u) rounds to 1.
    """
    u = mean + log_std.exp() * noise
    log_normal = -noise.square() / 2 - log_std - math.log(2 * math.pi) / 2
    return u.tanh(), (log_normal - 2 * (math.log(2) - u - F.softplus(-2 * u))).sum(-1)

# ------------------------------------------------------------------------ transitions

COLUMNS = ("observations", "actions", "next_observations", "terminations", "truncations",
           "rewards", "episode_ids")

@dataclass(frozen=True, eq=False)
class Demos:
    """N transitions of an expert in order of time, checked on entry (InputError)."""

    observations: np.ndarray  # (N, *obs)
    actions: np.ndarray  # (N,) int, or (N, A) float in the environment's own units
    next_observations: np.ndarray  # (N, *obs), the true ones, never those of a reset
    terminations: np.ndarray  # (N,) bool: s' is terminal
    truncations: np.ndarray  # (N,) bool: stopped at s' by a limit from outside
    action_space: Discrete | Box
    rewards: np.ndarray | None = None  # (N,), for reports: learning never reads them
    episode_ids: np.ndarray | None = None  # (N,) int; derived where None
    env_id: str | None = None

    def __post_init__(self) -> None:
        low, high = bounds(self.action_space)
        obs, n = np.shape(self.observations), np.shape(self.observations)[:1]
        need(len(obs) > 1 and obs[0], "shape of observations", obs, "(N, ...), N > 0")
        shapes = obs, n + self.action_space.shape, obs, n, n, n, n
        kinds = "fiu", "f" if np.ndim(low) else "iu", "fiu", "b", "b", "fiu", "iu"
        for name, shape, kind in zip(COLUMNS, shapes, kinds, strict=True):
            if getattr(self, name) is not None:
                x = np.asarray(getattr(self, name))
                need(x.shape == shape and x.dtype.kind in kind, name,
                     f"{x.dtype} {x.shape}", f"{shape} of dtype kind {' or '.join(kind)}")
                if "f" in kind and x.dtype != np.uint8:  # images stay bytes
                    x = x.astype(np.float32, copy=False)
                    finite = np.isfinite(x.min()) and np.isfinite(x.max())
                    need(finite, name, "NaN or infinite somewhere", "finite numbers")
                object.__setattr__(self, name, x)
        bad = ((self.actions < low) | (self.actions > high)).reshape(*n, -1).any(1)
        row = bad.argmax()
        need(not bad[row], f"action {row}", self.actions[row], self.action_space)
        ends = (self.terminations | self.truncations)[:-1]
        if self.episode_ids is None:
            same = self.next_observations[:-1] == self.observations[1:]
            stray = np.append(~ends & ~same.all(tuple(range(1, len(obs)))), False)
            need(not stray.any(), f"the row after row {stray.argmax()}", "not what followed",
                 "rows in order of time, or episode_ids to tell which belong together")
            object.__setattr__(self, "episode_ids", np.append(0, ends.cumsum()))
        runs = 1 + (ends | self.starts[1:]).sum()
        need(len(np.unique(self.episode_ids)) == runs, "number of episodes by episode_ids",
             f"not {runs}, as by the ends of episodes", "rows of an episode side by side, "
             "no termination or truncation but in the last of them")

    def __len__(self) -> int:
        return len(self.observations)

    @property
    def starts(self) -> np.ndarray:
        """(N,) bool: the first rows of episodes."""
        return np.append(True, np.diff(self.episode_ids) != 0)

    def returns(self) -> np.ndarray:
        """The sum of rewards of each episode (E,); NaN where rewards are unknown."""
        rewards = np.full(len(self), np.nan) if self.rewards is None else self.rewards
        return np.add.reduceat(rewards, np.flatnonzero(self.starts), dtype=np.float64)

    def keep(self, rows: np.ndarray) -> Demos:
        """The rows where a mask (N,) is True."""
        arrays = {k: x[rows] for k, x in vars(self).items() if isinstance(x, np.ndarray)}
        return replace(self, **arrays)

    def take(self, episodes: int) -> Demos:
        """The first episodes."""
        there = self.starts.sum()
        need(1 <= episodes <= there, "episodes", episodes, f"1 to {there}, all there are")
        return self.keep(self.starts.cumsum() <= episodes)

    def subsample(self, every: int) -> Demos:
        """Rows 0, every, 2 every ... of each episode, so that its first state stays."""
        need(every >= 1, "subsample", every, "1 or more")
        first = np.flatnonzero(self.starts)[self.starts.cumsum() - 1]
        return self.keep((np.arange(len(self)) - first) % every == 0)

    def save(self, path: str | Path) -> None:
        """Write an .npz without pickles, whole or not at all."""
        data, (low, high) = dict(vars(self)), bounds(self.action_space)
        del data["action_space"]
        data |= {"action_low": low, "action_high": high} if np.ndim(low) else {
            "n_actions": high + 1}
        data = {k: x for k, x in data.items() if x is not None}
        write(path, lambda file: np.savez(file, allow_pickle=False, **data))

    @classmethod
    def load(cls, path: str | Path, action_space: gym.Space | None = None) -> Demos:
        """Read an .npz; action_space is for one that doesn't tell its own (InputError)."""
        try:
            with np.load(path, allow_pickle=False) as file:
                data = dict(file)
            absent = set(COLUMNS[:5]) - data.keys()
            need(not absent, "the file", f"without {', '.join(absent)}", ", ".join(COLUMNS))
            space, n = action_space, data.get("n_actions")
            if space is None and "action_low" in data:
                space = Box(data["action_low"], data["action_high"])
            elif space is None:
                need(data["actions"].dtype.kind in "iu", "action space", "untold",
                     "action_low and action_high in it, or load(path, action_space=...)")
                if n is None:
                    n = data["actions"].max(initial=0) + 1
                    warnings.warn(f"{path} has no n_actions; the greatest action told {n}")
                space = Discrete(int(n))
            data["env_id"] = str(data["env_id"]) if "env_id" in data else None
            keys = [f.name for f in fields(cls) if f.name in data]
            return cls(action_space=space, **{k: data[k] for k in keys})
        except Exception as error:  # for bad bytes numpy and zipfile raise a dozen kinds
            raise InputError(f"diary {str(path)!r}: {error or repr(error)}") from error

    @classmethod
    def from_minari(cls, dataset: Any) -> Demos:
        """Every episode of a minari.MinariDataset."""
        rows = [(e.observations[:-1], e.actions, e.observations[1:], e.terminations,
                 e.truncations, e.rewards, np.full(len(e.actions), e.id))
                for e in dataset.iterate_episodes()]
        *five, rewards, ids = map(np.concatenate, zip(*rows, strict=True))
        env_id = dataset.env_spec and dataset.env_spec.id
        return cls(*five, dataset.action_space, rewards, ids, env_id)

def bounds(space: gym.Space) -> tuple[Any, Any]:
    """The least and the greatest action; InputError for kinds that can't be learned."""
    if isinstance(space, Discrete) and space.start == 0:
        return 0, int(space.n) - 1
    ok = isinstance(space, Box) and len(space.shape) == 1 and space.is_bounded()
    need(ok, "action space", space, "Discrete from 0, or a bounded Box of one axis")
    return space.low, space.high

def write(path: str | Path, put: Callable[[Any], Any]) -> None:
    """Let put(file) write the file, whole or not at all."""
    part = Path(f"{path}.{os.getpid()}.part")
    try:
        with open(part, "wb") as file:
            put(file)
        os.replace(part, path)
    except OSError as error:
        raise InputError(f"{str(path)!r} can't be written: {error.strerror}") from error
    finally:
        part.unlink(missing_ok=True)

class Batch(NamedTuple):
    """Rows of transitions."""

    obs: Tensor  # (B, *obs)
    action: Tensor  # (B,) int64, or (B, A) float in the environment's own units
    next_obs: Tensor  # (B, *obs)
    terminated: Tensor  # (B,) bool

class Replay:
    """Transitions in tensors allocated once; when full, the newest replace the oldest."""

    def __init__(self, rows: Batch, count: int) -> None:
        self.rows, self.count = rows, count  # count: rows ever added

    def __len__(self) -> int:
        return min(self.count, len(self.rows.obs))

    def add(self, *row: Any) -> None:
        for column, value in zip(self.rows, row, strict=True):
            column[self.count % len(column)] = torch.as_tensor(value)
        self.count += 1

    def sample(self, n: int, generator: torch.Generator) -> Batch:
        """n rows, uniform, with replacement."""
        i = torch.randint(len(self), (n,), generator=generator, device=generator.device)
        return Batch(*(column[i] for column in self.rows))

# --------------------------------------------------------------------------- networks

def mlp(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    """The Q-network (B, *obs) -> (B, A), and the body of the next two."""
    return nn.Sequential(
        nn.Flatten(), nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, hidden),
        nn.ReLU(), nn.Linear(hidden, outputs))

class Critic(nn.Module):
    """obs (B, *obs), action (B, A) in [-1, 1] -> Q (B,)."""

    def __init__(self, obs_size: int, action_size: int, hidden: int) -> None:
        super().__init__()
        self.body = mlp(obs_size + action_size, hidden, 1)

    def forward(self, obs: Tensor, action: Tensor) -> Tensor:
        return self.body(torch.cat([obs.flatten(1), action], 1)).squeeze(1)

class Actor(nn.Module):
    """obs (B, *obs) -> mean and log std (B, A) of the Gaussian that squash takes."""

    def __init__(self, obs_size: int, action_size: int, hidden: int) -> None:
        super().__init__()
        self.body = mlp(obs_size, hidden, 2 * action_size)

    def forward(self, obs: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_std = self.body(obs).chunk(2, dim=1)
        return mean, log_std.clamp(-5, 2)

# ----------------------------------------------------------------------------- agents

KEPT = "obs_shape", "env_id", "updates", "episodes", "trail"  # as they are, in checkpoints

class Agent(nn.Module):
    """What both agents share. Learning and users call the same q, value, act and update.

    Arrays or tensors go in, obs (B, *obs) and actions in the environment's own units.
    networks: a user's own, by name, in place of the default ones.
    """

    def __init__(
        self, obs_shape: tuple[int, ...], action_space: gym.Space,
        config: Config = Config(), env_id: str | None = None, **networks: nn.Module,
    ) -> None:
        super().__init__()
        self.bounds = bounds(action_space)
        self.obs_shape, self.action_space, self.env_id = obs_shape, action_space, env_id
        self.config = c = config.complete(action_space)
        gpu = c.device != "cpu" and torch.cuda.is_available()
        self.device = torch.device("cuda" if gpu else "cpu")
        self.generator = torch.Generator(self.device).manual_seed(c.seed)
        self.absorbing_reward = nn.Parameter(torch.zeros(()))  # per step after the end
        self.optimizers = {}
        with torch.random.fork_rng(devices=[]):  # the caller's random stream stays as is
            torch.default_generator.manual_seed(c.seed)
            self.build(**networks)
        self.target = copy.deepcopy(self.critic) if c.target_rate < 1 else self.critic
        self.to(self.device)
        critic = [*self.critic.parameters(), self.absorbing_reward]
        self.optimizers["critic"] = torch.optim.Adam(critic, c.critic_lr)
        self.updates, self.episodes, self.trail, self.replay = 0, 0, [], None

    def update(
        self, expert: Batch, policy: Batch | None = None, initial: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Descend once, on rows of the diary, of replay if online, and initial states."""
        c, batch = self.config, expert
        if policy is not None:
            batch = Batch(*map(torch.cat, zip(expert, policy, strict=True)))
        obs = batch.obs.float().requires_grad_(c.divergence == "wasserstein")
        q = self.q(obs, batch.action)
        with torch.set_grad_enabled(self.target is self.critic):  # else a semi-gradient
            next_value = self.value(batch.next_obs, self.target)
        loss, info = iq_loss(
            q, self.value(obs), next_value, batch.terminated,
            torch.arange(len(q), device=self.device) < len(expert.obs), gamma=c.gamma,
            divergence=c.divergence, chi2_alpha=c.chi2_alpha, chi2_on=c.chi2_on,
            value_term=c.value_term, absorbing_value=self.absorbing_value(),
            initial_value=None if initial is None else self.value(initial))
        if c.divergence == "wasserstein":
            loss = loss + slope_penalty(q, obs)
        self.descend("critic", loss, info)
        self.improve(obs.detach(), info)
        if self.target is not self.critic:
            for slow, new in zip(self.target.parameters(), self.critic.parameters()):
                slow.data.lerp_(new.data, c.target_rate)
        self.updates += 1
        return info

    def descend(self, name: str, loss: Tensor, info: dict[str, Tensor]) -> None:
        """One step of Adam; FloatingPointError where loss or gradient isn't finite."""
        optimizer, norm = self.optimizers[name], f"{name}_gradient"
        optimizer.zero_grad()
        loss.backward()
        parameters = optimizer.param_groups[0]["params"]
        info[norm] = nn.utils.clip_grad_norm_(parameters, self.config.grad_clip)
        if not (loss + info[norm]).isfinite():
            bad = [f"{k} is {float(x)}" for k, x in info.items() if not x.isfinite()]
            raise FloatingPointError(f"step {self.updates + 1}: {', '.join(bad)}")
        optimizer.step()

    def absorbing_value(self) -> Tensor | None:
        """V_A = r_A / (1 - gamma); None where terminal states are worth 0."""
        if self.config.absorbing:
            return self.absorbing_reward / (1 - self.config.gamma)

    @torch.no_grad()
    def reward(self, obs: Any, action: Any, next_obs: Any, terminated: Any) -> Tensor:
        """r(s,a,s') = Q(s,a) - gamma V(s'), (B,)  [Eq. 11]."""
        next_value, terminated = self.value(next_obs), self.tensor(terminated)
        if self.config.absorbing:
            next_value = torch.where(terminated, self.absorbing_value(), next_value)
            terminated = torch.zeros_like(terminated)
        q = self.q(obs, action)
        return inverse_bellman(q, next_value, terminated, self.config.gamma)

    @torch.no_grad()
    def act(self, obs: Any, greedy: bool = True) -> np.ndarray:
        """The policy's likeliest actions, or drawn ones; here obs may be a single state."""
        single = np.ndim(obs) == len(self.obs_shape)
        obs = self.tensor(obs).float()
        action = self.choose(obs[None] if single else obs, greedy).cpu().numpy()
        return action[0] if single else action

    def tensor(self, x: Any) -> Tensor:
        return torch.as_tensor(x, device=self.device)

    def fit(self, thing: str, obs_shape: tuple, space: gym.Space, env_id: str | None) -> None:
        """Raise InputError unless the agent is one for such observations and actions."""
        told, own = (obs_shape, space, env_id or self.env_id), (
            self.obs_shape, self.action_space, self.env_id or env_id)
        need(told == own, f"{thing} of the agent", told, own)

    def save(self, path: str | Path) -> None:
        """Write all that learning on needs, without pickles, whole or not at all."""
        state = {k: getattr(self, k) for k in KEPT} | {
            "config": asdict(self.config), "weights": self.state_dict(), "replay": None,
            "bounds": tuple(map(torch.as_tensor, self.bounds)),
            "optimizers": [o.state_dict() for o in self.optimizers.values()],
            "generator": self.generator.get_state()}
        if self.replay is not None:
            rows = [x[: len(self.replay)].clone() for x in self.replay.rows]
            state["replay"] = rows, self.replay.count
        write(path, lambda file: torch.save(state, file))

class SoftQ(Agent):
    """Discrete actions. Network: critic, obs (B, *obs) -> Q (B, A); policy: its softmax."""

    def build(self, critic: nn.Module | None = None) -> None:
        sizes = math.prod(self.obs_shape), self.config.hidden, int(self.action_space.n)
        self.critic = critic or mlp(*sizes)

    def q(self, obs: Any, action: Any) -> Tensor:
        """Q(s,a), (B,)."""
        action = self.tensor(action).long()[:, None]
        return self.critic(self.tensor(obs).float()).gather(1, action).squeeze(1)

    def value(self, obs: Any, critic: nn.Module | None = None) -> Tensor:
        """V(s), (B,)."""
        q = (critic or self.critic)(self.tensor(obs).float())
        return soft_value(q, self.config.temperature)

    def improve(self, obs: Tensor, info: dict[str, Tensor]) -> None:
        """Nothing to do: the policy follows from Q."""

    def choose(self, obs: Tensor, greedy: bool) -> Tensor:
        policy = soft_policy(self.critic(obs), self.config.temperature).exp()
        if greedy:
            return policy.argmax(1)
        return torch.multinomial(policy, 1, generator=self.generator).squeeze(1)

class SoftActorCritic(Agent):
    """Continuous actions. Networks: critic and actor, as Critic and Actor."""

    def build(self, critic: nn.Module | None = None, actor: nn.Module | None = None) -> None:
        sizes = math.prod(self.obs_shape), self.action_space.shape[0], self.config.hidden
        self.critic, self.actor = critic or Critic(*sizes), actor or Actor(*sizes)
        self.low, self.high = map(self.tensor, self.bounds)
        actor = torch.optim.Adam(self.actor.parameters(), self.config.actor_lr)
        self.optimizers["actor"] = actor

    def q(self, obs: Any, action: Any) -> Tensor:
        """Q(s,a), (B,)."""
        scaled = 2 * (self.tensor(action) - self.low) / (self.high - self.low) - 1
        return self.critic(self.tensor(obs).float(), scaled)

    def value(self, obs: Any, critic: nn.Module | None = None) -> Tensor:
        """V(s) = E[Q(s,a) - tau log pi(a|s)], a ~ pi, by one draw, (B,)."""
        obs = self.tensor(obs).float()
        with torch.no_grad():
            action, log_prob = self.draw(obs)
        return (critic or self.critic)(obs, action) - self.config.temperature * log_prob

    def improve(self, obs: Tensor, info: dict[str, Tensor]) -> None:
        """Raise E[Q(s,a) - tau log pi(a|s)], a ~ pi, in the actor."""
        action, log_prob = self.draw(obs)
        value = self.critic(obs, action) - self.config.temperature * log_prob
        info["entropy"] = -log_prob.detach().mean()
        self.descend("actor", -value.mean(), info)

    def draw(self, obs: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_std = self.actor(obs)
        noise = torch.randn(mean.shape, generator=self.generator, device=self.device)
        return squash(mean, log_std, noise)

    def choose(self, obs: Tensor, greedy: bool) -> Tensor:
        action = self.actor(obs)[0].tanh() if greedy else self.draw(obs)[0]
        return torch.lerp(self.low, self.high, (action + 1) / 2)  # exact at both ends

# ---------------------------------------------------------------------- the whole job

def new_agent(demos: Demos, config: Config = Config(), **networks: nn.Module) -> Agent:
    """An untrained agent for the observations and actions of a diary."""
    kind = SoftQ if isinstance(demos.action_space, Discrete) else SoftActorCritic
    shape = demos.observations.shape[1:]
    return kind(shape, demos.action_space, config, demos.env_id, **networks)

def learn(
    demos: Demos, env: gym.Env | str | None = None, config: Config = Config(),
    callback: Callable[[int, dict[str, float]], Any] | None = None,
    agent: Agent | None = None,
) -> Agent:
    """Train by the diary alone or, given an environment, by the learner's steps as well.

    callback(step, info) hears of every log_every-th step. An agent given, new_agent's or
    load's, keeps its own config, but for steps. Raises FloatingPointError where loss or
    gradient is not finite; the weights are then those before that step.
    """
    agent = agent or new_agent(demos, config)
    c, g, last = agent.config, agent.generator, config.complete(demos.action_space).steps
    agent.fit("diary", demos.observations.shape[1:], demos.action_space, demos.env_id)
    rows = Batch(*map(agent.tensor, (demos.observations, demos.actions,
                                     demos.next_observations, demos.terminations)))
    expert, starts = Replay(rows, len(demos)), rows.obs[agent.tensor(demos.starts)]
    if env is not None:
        env, old = make(env, agent), agent.replay or Replay(rows, 0)
        size = min(c.replay_size, last)
        agent.replay = Replay(Batch(*(x.new_zeros(size, *x.shape[1:]) for x in rows)), old.count)
        for column, kept in zip(agent.replay.rows, old.rows, strict=True):
            column[: len(old)] = kept[: len(old)]
        obs, _ = env.reset(seed=(c.seed << 32) + agent.episodes)  # so each episode starts:
        for action in agent.trail:  # these actions lead back to where a checkpoint was
            obs, *_ = env.step(np.asarray(action, env.action_space.dtype))
    policy = initial = None
    while agent.updates < last:
        if env is not None:
            action = agent.act(obs, greedy=False)
            next_obs, _, terminated, truncated, _ = env.step(action)
            agent.replay.add(obs, action, next_obs, terminated)
            obs = next_obs
            agent.trail.append(action.tolist())
            if terminated or truncated:
                agent.episodes, agent.trail = agent.episodes + 1, []
                obs, _ = env.reset(seed=(c.seed << 32) + agent.episodes)
            policy = agent.replay.sample(c.batch_size, g)
        if c.value_term == "initial":
            i = torch.randint(len(starts), (c.batch_size,), generator=g, device=g.device)
            initial = starts[i]
        info = agent.update(expert.sample(c.batch_size, g), policy, initial)
        if callback and (agent.updates % c.log_every == 0 or agent.updates == last):
            callback(agent.updates, {name: float(x) for name, x in info.items()})
    return agent

def make(env: gym.Env | str, agent: Agent | None = None) -> gym.Env:
    """An environment, made where it is a name, and held against an agent."""
    try:
        env = gym.make(env) if isinstance(env, str) else env
    except (gym.error.Error, ImportError) as error:
        raise InputError(f"environment {env!r}: {error}") from error
    bounds(env.action_space)
    seen = env.observation_space
    need(isinstance(seen, Box), "observation space", seen, "Box")
    if agent is not None:
        agent.fit("environment", seen.shape, env.action_space, env.spec and env.spec.id)
    return env

def record(env: gym.Env | str, policy: Callable, episodes: int, seed: int) -> Demos:
    """Whole episodes, the i-th from reset(seed + i); policy: obs (B, *obs) -> actions.

    The episodes of a named environment are played side by side.
    """
    need(episodes >= 1, "episodes", episodes, "1 or more")
    width, one = episodes if isinstance(env, str) else 1, make(env)
    envs = gym.vector.SyncVectorEnv([lambda: make(env)] * width)
    parts = []
    for first in range(0, episodes, width):
        ids, going, steps = np.arange(first, first + width), np.ones(width, bool), []
        obs, _ = envs.reset(seed=(ids + seed).tolist())
        while going.any():
            action = policy(obs)
            next_obs, reward, ended, cut, _ = envs.step(action)
            steps.append((obs, action, next_obs, ended, cut, reward, ids, going))
            obs, going = next_obs, going & ~(ended | cut)
        *columns, played = (np.stack(x, axis=1) for x in zip(*steps, strict=True))
        parts.append([x[played] for x in columns])
    *five, rewards, ids = map(np.concatenate, zip(*parts, strict=True))
    return Demos(*five, one.action_space, rewards, ids, one.spec and one.spec.id)

def evaluate(agent: Agent, env: gym.Env | str, episodes: int, seed: int) -> np.ndarray:
    """The returns (episodes,) of the policy's likeliest actions."""
    make(env, agent)
    return record(env, agent.act, episodes, seed).returns()

def elder(env_id: str, seed: int = 0) -> Callable[[np.ndarray], np.ndarray]:
    """The built-in expert of CartPole-v1 or Pendulum-v1: obs (B, *obs) -> actions."""
    rng = np.random.default_rng(seed)

    def cartpole(obs):  # push where the pole falls, softly drawn, so that the cart wanders
        push_right = 1 / (1 + np.exp(-obs @ [1.5, 4.0, 50.0, 10.0]))
        return (rng.random(len(obs)) < push_right).astype(np.int64)

    def pendulum(obs):  # swing up to the energy of standing still on top; there, balance
        cos, sin, speed = obs.T
        angle = np.arctan2(sin, cos)
        swing = 0.5 * (15 - 15 * cos - speed**2 / 2) * np.where(speed < 0, -1, 1)
        on_top = (np.abs(angle + 0.3 * speed) < 0.5) & (cos > 0)
        torque = np.where(on_top, -8 * angle - 2 * speed, swing)
        return torque.clip(-2, 2).astype(np.float32)[:, None]

    elders = {"CartPole-v1": cartpole, "Pendulum-v1": pendulum}
    need(env_id in elders, "environment without --demos", env_id, " | ".join(elders))
    return elders[env_id]

def load(path: str | Path, device: str = "auto", **networks: nn.Module) -> Agent:
    """A checkpoint's agent, to act or learn on; a user's own networks are given again."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        config, (low, high) = Config(**state["config"] | {"device": device}), state["bounds"]
        space = Box(low.numpy(), high.numpy()) if low.ndim else Discrete(int(high) + 1)
        kind = SoftActorCritic if low.ndim else SoftQ
        agent = kind(state["obs_shape"], space, config, **networks)
        agent.load_state_dict(state["weights"])
        for optimizer, kept in zip(agent.optimizers.values(), state["optimizers"]):
            optimizer.load_state_dict(kept)
        for name in KEPT:
            setattr(agent, name, state[name])
        if state["replay"]:
            agent.replay = Replay(Batch(*state["replay"][0]), state["replay"][1])
        if len(state["generator"]) == len(agent.generator.get_state()):  # same device kind
            agent.generator.set_state(state["generator"])
        return agent
    except Exception as error:  # for bad bytes torch and pickle raise a dozen kinds
        raise InputError(f"checkpoint {str(path)!r}: {error or repr(error)}") from error

# ----------------------------------------------------------------------- command line

REPORT = ("env", "mode", "demos_episodes", "demos_transitions", "expert_return",
          "random_return", "return_mean", "return_std", "episodes", "updates", "env_steps",
          "seconds", "updates_per_second", "reward_pearson", "out")
FLAGS = {  # beside them, every field of Config
    "--demos": (str, "diary (.npz); without one, the environment's elder writes it"),
    "--episodes": (int, "episodes of the diary, to record (1), or to evaluate (20)"),
    "--subsample": (int, "take only every K-th transition of the diary"),
    "--out": (str, "file to write"), "--resume": (str, "agent to go on from"),
    "--metrics": (str, "CSV file for the figures of learning"),
    "--agent": (str, "agent that records, instead of the elder"),
    "--env": (str, "environment to evaluate in, instead of the agent's own")}

class Parser(argparse.ArgumentParser):
    def error(self, message):
        raise InputError(message)

def _learn(args, given):
    config, env = Config(**given), make(args.target)
    if args.demos:
        demos = Demos.load(args.demos, env.action_space)
        demos = demos.take(args.episodes) if args.episodes is not None else demos
    else:
        demos = record(args.target, elder(args.target, config.seed),
                       1 if args.episodes is None else args.episodes, config.seed)
    expert = demos.returns().mean()
    demos = demos if args.subsample is None else demos.subsample(args.subsample)
    agent, table = new_agent(demos, config), []
    if args.resume:
        agent = load(args.resume, config.device)
        agent.config = config = replace(agent.config, **given)
    if args.resume and args.metrics and os.path.exists(args.metrics):
        lines = Path(args.metrics).read_text().splitlines()
        table = lines[: 1 + agent.updates // config.log_every]
    make(env, agent)
    done, start, stop = agent.updates, time.monotonic(), []
    last = config.complete(demos.action_space).steps
    bar = tqdm and tqdm(initial=done, total=last, disable=None)

    def callback(step, info):
        if not table:
            table.append(",".join(("step", *info)))
        table.append(",".join(map(str, (step, *info.values()))))
        if bar:
            bar.update(step - bar.n)
            bar.set_postfix(loss=info["loss"], episodes=agent.episodes)
        if stop or step == last or step // 1000 > (step - config.log_every) // 1000:
            if args.metrics:
                write(args.metrics, lambda f: f.write("\n".join(table).encode() + b"\n"))
            if args.out:
                agent.save(args.out)
        if stop:
            raise KeyboardInterrupt

    usual = signal.signal(signal.SIGINT, lambda *_: stop.append(1))  # heeded between steps
    try:
        learn(demos, env if args.online else None, config, callback, agent)
    finally:
        signal.signal(signal.SIGINT, usual)
    seconds = time.monotonic() - start
    env.action_space.seed(config.seed)
    return _evaluate(args, given, agent) | {
        "mode": "online" if args.online else "offline", "expert_return": expert,
        "demos_episodes": int(demos.starts.sum()), "demos_transitions": len(demos),
        "random_return": record(args.target, lambda obs: np.stack(
            [env.action_space.sample() for _ in obs]), 20, FRESH + config.seed).returns().mean(),
        "env_steps": agent.replay.count if agent.replay else 0, "seconds": seconds,
        "updates_per_second": (agent.updates - done) / seconds, "updates": agent.updates,
        "reward_pearson": pearson(agent, demos), "out": args.out}

FRESH = 10**6  # evaluation starts from other seeds than diaries and training

def _evaluate(args, given, agent=None):
    config = Config(**given)
    episodes = args.episodes if agent is None and args.episodes is not None else 20
    agent = agent or load(args.target, config.device)
    need(args.env or agent.env_id, "--env", args.env, "an environment")
    returns = evaluate(agent, args.env or agent.env_id, episodes, FRESH + config.seed)
    return {"env": agent.env_id, "return_mean": returns.mean(), "return_std": returns.std(),
            "episodes": len(returns), "updates": agent.updates}

def _record(args, given):
    config = Config(**given)
    need(args.out, "--out", args.out, "the file to write")
    policy = load(args.agent, config.device).act if args.agent else elder(args.target, config.seed)
    demos = record(args.target, policy, 1 if args.episodes is None else args.episodes, config.seed)
    demos.save(args.out)
    return {"env": args.target, "demos_episodes": int(demos.starts.sum()), "out": args.out,
            "demos_transitions": len(demos), "expert_return": demos.returns().mean()}

def _reward(args, given):
    agent = load(args.target, Config(**given).device)
    need(args.demos, "--demos", args.demos, "a diary")
    demos = Demos.load(args.demos, agent.action_space)
    if args.out:
        rewards = recovered(agent, demos)
        true = [""] * len(demos) if demos.rewards is None else demos.rewards
        rows = map("{},{},{}".format, demos.episode_ids, rewards, true)
        text = "\n".join(["episode_id,recovered,true", *rows, ""])
        write(args.out, lambda file: file.write(text.encode()))
    return {"env": agent.env_id, "demos_episodes": int(demos.starts.sum()), "out": args.out,
            "demos_transitions": len(demos), "reward_pearson": pearson(agent, demos)}

def recovered(agent, demos):
    """The rewards that an agent recovers for a diary, (N,)."""
    agent.fit("diary", demos.observations.shape[1:], demos.action_space, demos.env_id)
    return agent.reward(demos.observations, demos.actions, demos.next_observations,
                        demos.terminations).cpu().numpy()

def pearson(agent: Agent, demos: Demos) -> float | None:
    """Correlation of recovered and true rewards; None where the true ones are constant."""
    if demos.rewards is None or np.ptp(demos.rewards) == 0:
        return None
    return float(np.corrcoef(recovered(agent, demos), demos.rewards)[0, 1])

COMMANDS = {"learn": _learn, "record": _record, "evaluate": _evaluate, "reward": _reward}

def main(argv: list[str] | None = None) -> int:
    """Run the command line that --help describes; returns the exit status."""
    parser = Parser("iq.py", description=__doc__.partition("\n")[0])
    parser.add_argument("command", nargs="?", default="learn",
                        choices=COMMANDS)
    parser.add_argument("target", nargs="?", default="CartPole-v1",
                        help="environment to learn or record; agent to evaluate or reward")
    for name, (kind, text) in FLAGS.items():
        parser.add_argument(name, type=kind, help=text)
    for name, text in ("--online", "learn in the environment"), ("--json", "print JSON"):
        parser.add_argument(name, action="store_true", help=text)
    for f in fields(Config):
        kind = type(f.metadata["allowed"][0])
        how = {"action": argparse.BooleanOptionalAction} if kind is bool else {"type": kind}
        parser.add_argument("--" + f.name.replace("_", "-"), help=f.metadata["text"], **how)
    try:
        args = parser.parse_args(argv)
        for path in filter(None, (args.out, args.metrics)):
            write(f"{path}.try", lambda file: None)  # fail now, not after hours of learning
            os.remove(f"{path}.try")
        given = {f.name: getattr(args, f.name) for f in fields(Config)}
        given = {k: v for k, v in given.items() if v is not None}
        report = dict.fromkeys(REPORT) | COMMANDS[args.command](args, given)
    except (InputError, FloatingPointError) as error:
        print("iq.py:", " ".join(str(error).split()), file=sys.stderr)
        return 2 if isinstance(error, InputError) else 1
    if args.json:
        print(json.dumps({k: None if v != v else v for k, v in report.items()}))
    else:
        print(*(f"{k:20}{v}" for k, v in report.items() if v is not None), sep="\n")
    return 0

if __name__ == "__main__":
    sys.exit(main())
