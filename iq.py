# /// script
# requires-python = ">=3.10"
# dependencies = ["torch>=2.4", "numpy>=1.26", "gymnasium>=1.0", "tqdm"]
# ///
"""IQ-Learn in one file: from an expert's transitions to a policy, and to its reward.

One soft Q-function is learned from transitions (s, a, s') by descending

    L(Q) = -E_expert[phi(r)] + (1 - gamma) E[V(s0)],   r = Q(s,a) - gamma V(s')

The policy is exp((Q - V) / tau), the reward is r; nothing is guessed, none is adversary.

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
from collections.abc import Callable, Iterator
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
    """A field of Config: allowed are the two ends of a range, or the names to choose from."""
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
    value_term: str = option("initial", "the rows that estimate (1 - gamma) E[V(s0)]",
                             "initial", "expert", "mixture")
    absorbing: bool = option(False, "learn the value of terminal states", False, True)
    gradient_penalty: float = option(10.0, "price of slopes, if wasserstein", 0.0, 1e6)
    critic_lr: float = option(1e-3, "step size of the critic's Adam", 1e-9, 1.0)
    actor_lr: float = option(3e-4, "step size of the actor's Adam", 1e-9, 1.0)
    target_rate: float | None = option(
        None, "part of the critic its slow copy takes on per update; 1: no copy", 1e-6, 1.0)
    grad_clip: float = option(10.0, "largest norm of a gradient", 1e-6, 1e6)
    hidden: int = option(128, "units in each of the two hidden layers", 1, 2**16)
    batch_size: int = option(64, "diary rows per update, online + replay rows", 1, 2**20)
    steps: int | None = option(None, "updates in all, online a step before each", 1, 2**40)
    replay_size: int = option(10**6, "transitions that replay keeps", 1, 2**40)
    log_every: int = option(100, "steps between calls of the callback", 1, 2**40)
    seed: int = option(0, "seed of weights, batches, actions and resets", 0, 2**62)
    device: str = option("auto", "where to compute", "auto", "cpu", "cuda")

    def __post_init__(self) -> None:
        for f in fields(self):
            value, allowed = getattr(self, f.name), f.metadata["allowed"]
            if isinstance(allowed[0], str):
                ok, says = value in allowed, " | ".join(allowed)
            else:
                kind = type(allowed[0])
                says = f"{kind.__name__} from {allowed[0]} to {allowed[-1]}"
                ok = type(value) in (kind, int) and allowed[0] <= value <= allowed[-1]
            need(ok or value is f.default is None, f.name, repr(value), says)
        there = self.device != "cuda" or torch.cuda.is_available()
        need(there, "device", "cuda, which torch doesn't see here", "auto | cpu")

    def complete(self, action_space: gym.Space) -> Config:
        """Put the default for this kind of action in place of each None."""
        defaults = DEFAULTS[type(action_space)].items()
        return replace(self, **{k: v for k, v in defaults if getattr(self, k) is None})


DEFAULTS = {
    Discrete: dict(temperature=1.0, chi2_on="expert", target_rate=1.0, steps=5_000),
    Box: dict(temperature=0.001, chi2_on="mixture", target_rate=0.005, steps=10_000),
}

# ------------------------------------------------------------------------ mathematics
# B rows in a batch, A actions; a tensor with one number per row is (B,), never (B, 1).


def soft_value(q: Tensor, temperature: float) -> Tensor:
    """V(s) = tau log sum_a exp(Q(s,a) / tau)  [paper, section 3].  (B, A) -> (B,).

    -inf marks an action that can't be taken; each row needs one that can.
    """
    top = q.max(-1, keepdim=True).values.detach()  # taken out first: exp can't overflow
    scaled = ((q - top) / temperature).logsumexp(-1, keepdim=True)
    return (top + temperature * scaled).squeeze(-1)


def soft_policy(q: Tensor, temperature: float) -> Tensor:
    """log pi(a|s) = (Q(s,a) - V(s)) / tau  [paper, section 3].  (B, A) -> (B, A)."""
    top = q.max(-1, keepdim=True).values.detach()
    return ((q - top) / temperature).log_softmax(-1)


def soft_bellman(
    reward: Tensor, next_value: Tensor, terminated: Tensor, gamma: float
) -> Tensor:
    """Q(s,a) = r(s,a,s') + gamma V(s'), with V = 0 beyond a terminal state.  (B,)."""
    return reward + gamma * torch.where(terminated, 0.0, next_value)


def inverse_bellman(
    q: Tensor, next_value: Tensor, terminated: Tensor, gamma: float
) -> Tensor:
    """r(s,a,s') = Q(s,a) - gamma V(s')  [Eq. 11], which undoes soft_bellman.  (B,)."""
    return q - gamma * torch.where(terminated, 0.0, next_value)


# D(policy, expert) = max_r E_expert[phi(r)] - E_policy[r] with phi concave, phi(0) = 0,
# phi'(0) = 1; beside each its f(u) = max_r phi(r) - u r, u = policy / expert. The best r
# is where phi'(r) = u: where phi would grow too steep it goes on as the tangent of slope
# MAX_RATIO, which is finite everywhere and changes nothing while u < MAX_RATIO.
MAX_RATIO = 100.0


def _tangent_below(point: float, phi: Callable[[Tensor], Tensor]) -> Callable:
    def continued(r: Tensor) -> Tensor:
        inside = r.clamp(min=point)
        return phi(inside) + MAX_RATIO * (r - inside)

    return continued


DIVERGENCES: dict[str, Callable[..., Tensor]] = {
    "chi2": lambda r, alpha=0.5: r - r.square() / (4 * alpha),  # alpha (u - 1)^2
    "reverse_kl": _tangent_below(  # u log u - u + 1
        -math.log(MAX_RATIO), lambda r: -torch.expm1(-r)),
    "forward_kl": _tangent_below(1 / MAX_RATIO - 1, torch.log1p),  # -log u + u - 1
    "hellinger": _tangent_below(MAX_RATIO**-0.5 - 1, lambda r: r / (1 + r)),  # (sqrt u - 1)^2
    "jensen_shannon": _tangent_below(  # u log u - (1 + u) log((1 + u) / 2)
        math.log((1 + 1 / MAX_RATIO) / 2), lambda r: torch.log1p(-torch.expm1(-r))),
    "total_variation": _tangent_below(-1.0, lambda r: r.clamp(max=1)),  # |u - 1|
    "wasserstein": lambda r: r,  # W1 while gradient_penalty keeps Q 1-Lipschitz
}


def iq_loss(
    q: Tensor, value: Tensor, next_value: Tensor, terminated: Tensor, is_expert: Tensor, *,
    gamma: float, divergence: str = "chi2", chi2_alpha: float = 0.5,
    chi2_on: str = "expert", value_term: str = "expert",
    initial_value: Tensor | None = None, absorbing_value: Tensor | None = None,
) -> tuple[Tensor, dict[str, Tensor]]:
    """The objective [Eq. 9 and 10, offline Eq. 12] with its sign turned: lower is better.

    q, value, next_value (B,) are Q(s,a), V(s), V(s'); terminated, is_expert (B,) bool.
    value_term: (1 - gamma) E[V(s0)] by initial_value, of any length, or telescoped as
    E[V(s) - gamma V(s')] over the expert's rows or the mixture's, which are all rows.
    absorbing_value: a scalar, what terminal states are worth; None: 0.
    Returns the loss and its detached terms, mean rewards and max |Q|.
    """
    for name, x in zip(("value", "next_value", "terminated", "is_expert"),
                       (value, next_value, terminated, is_expert), strict=True):
        need(q.shape == x.shape == q.shape[:1], f"shape of {name}, q",
             f"{tuple(x.shape)}, {tuple(q.shape)}", "(B,), (B,)")
    weight = torch.ones_like(q)
    if absorbing_value is not None:  # write it out: a self-loop row for each terminal row
        loop = absorbing_value.expand_as(q)
        next_value = torch.cat([torch.where(terminated, loop, next_value), loop])
        weight = torch.cat([weight, terminated.to(q.dtype)])
        q, value, is_expert = torch.cat([q, loop]), torch.cat([value, loop]), is_expert.repeat(2)
        terminated = torch.zeros_like(is_expert)

    def mean(x: Tensor, rows: Tensor) -> Tensor:
        return (weight * rows * x).sum() / (weight * rows).sum().clamp(min=1e-9)

    reward = inverse_bellman(q, next_value, terminated, gamma)
    drop = inverse_bellman(value, next_value, terminated, gamma)  # V(s) - gamma V(s')
    over = {"expert": is_expert, "mixture": torch.ones_like(is_expert)}
    terms = {}
    if divergence == "chi2":  # phi(r) = r - r^2 / (4 alpha), the square taken on chi2_on
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
    """E[max(0, |dQ/d inputs| - 1)^2], which is 0 where Q is 1-Lipschitz.  q (B,)."""
    slopes = torch.autograd.grad(q.sum(), inputs, create_graph=True)
    norm = torch.cat([s.flatten(1) for s in slopes], 1).norm(dim=1)
    return (norm - 1).clamp(min=0).square().mean()


def squash(mean: Tensor, log_std: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """Action tanh(u), u = mean + std noise, and its log-density.  (B, A) -> (B, A), (B,).

    log pi(a) = log N(u) - sum log(1 - tanh(u)^2), the last as 2 (log 2 - u - softplus(-2u)),
    which stays right where tanh(u) rounds to 1.
    """
    u = mean + log_std.exp() * noise
    log_normal = -noise.square() / 2 - log_std - math.log(2 * math.pi) / 2
    return u.tanh(), (log_normal - 2 * (math.log(2) - u - F.softplus(-2 * u))).sum(-1)


# ------------------------------------------------------------------------ transitions


class Batch(NamedTuple):
    """Rows of transitions as the networks take them."""

    obs: Tensor  # (B, *obs)
    action: Tensor  # (B,) indices, or (B, A) in [-1, 1]
    next_obs: Tensor  # (B, *obs)
    terminated: Tensor  # (B,) bool


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
        check_space(self.action_space)
        shape, box = np.shape(self.observations), isinstance(self.action_space, Box)
        need(len(shape) > 1 and shape[0], "shape of observations", shape, "(N > 0, ...)")
        rows = shape[:1]
        for name, shape, kinds in [
            ("observations", shape, "fiu"), ("next_observations", shape, "fiu"),
            ("actions", rows + self.action_space.shape, "f" if box else "iu"),
            ("terminations", rows, "b"), ("truncations", rows, "b"),
            ("rewards", rows, "fiu"), ("episode_ids", rows, "iu"),
        ]:
            x = getattr(self, name)
            if x is None and name in ("rewards", "episode_ids"):
                continue
            x = np.asarray(x)
            need(x.shape == shape and x.dtype.kind in kinds, name, f"{x.dtype} {x.shape}",
                 f"{shape} of numpy kind {' or '.join(kinds)}")
            if "f" in kinds and x.dtype != np.uint8:  # images stay bytes
                x = x.astype(np.float32, copy=False)
                need(np.isfinite([x.min(), x.max()]).all(), name, "not finite", "finite")
            object.__setattr__(self, name, x)
        low, high = bounds(self.action_space)
        inside = ((low <= self.actions) & (self.actions <= high)).reshape(len(self), -1)
        row = inside.all(1).argmin()
        need(inside.all(), f"action of row {row}", self.actions[row], self.action_space)
        ends = (self.terminations | self.truncations)[:-1]
        if self.episode_ids is None:
            object.__setattr__(self, "episode_ids", np.append(0, ends.cumsum()))
            same = self.observations[1:] == self.next_observations[:-1]
            joined = ends | same.reshape(len(ends), -1).all(1)
            need(joined.all(), f"the state after row {joined.argmin()}", "not the next row's",
                 "rows in order of time, or episode_ids that say what belongs together")
        scattered = len(np.unique(self.episode_ids)) < self.starts.sum()
        need(not scattered, "episode_ids", "scattered", "an episode's rows side by side")
        late = ends & ~self.starts[1:]
        need(not late.any(), f"row {late.argmax()}", "an end with more rows of its episode "
             "after it", "termination and truncation in an episode's last row only")

    def __len__(self) -> int:
        return len(self.observations)

    @property
    def starts(self) -> np.ndarray:
        """(N,) bool: the first rows of the episodes."""
        return np.append(True, np.diff(self.episode_ids) != 0)

    def returns(self) -> np.ndarray | None:
        """Sum of rewards per episode (E,), or None where there are no rewards."""
        if self.rewards is not None:
            return np.add.reduceat(self.rewards, np.flatnonzero(self.starts), dtype=float)

    def take(self, episodes: int) -> Demos:
        """The first episodes."""
        need(1 <= episodes <= self.starts.sum(), "episodes", episodes,
             f"1 to {self.starts.sum()}, the diary's number")
        return self._keep(self.starts.cumsum() <= episodes)

    def subsample(self, every: int) -> Demos:
        """Rows 0, every, 2 every ... of each episode, so that its first state stays."""
        need(every >= 1, "subsample", every, "1 or more")
        first = np.flatnonzero(self.starts)[self.starts.cumsum() - 1]
        return self._keep((np.arange(len(self)) - first) % every == 0)

    def _keep(self, rows: np.ndarray) -> Demos:
        arrays = {k: x[rows] for k, x in vars(self).items() if isinstance(x, np.ndarray)}
        return replace(self, **arrays)

    def save(self, path: str | Path) -> None:
        """Write an .npz without pickles, whole or not at all."""
        data = {k: x for k, x in vars(self).items() if x is not None}
        space, (low, high) = data.pop("action_space"), bounds(self.action_space)
        told = {"action_low": low, "action_high": high}
        data |= {"n_actions": space.n} if isinstance(space, Discrete) else told
        write(path, lambda file: np.savez(file, allow_pickle=False, **data))

    @classmethod
    def load(cls, path: str | Path, action_space: gym.Space | None = None) -> Demos:
        """Read an .npz; action_space for one that doesn't tell its own (InputError)."""
        try:
            with np.load(path, allow_pickle=False) as file:
                data = dict(file)
            names = [f.name for f in fields(cls) if f.name != "action_space"]
            absent = [name for name in names[:5] if name not in data]
            need(not absent, "the list of arrays", f"without {absent}", names)
            if "env_id" in data:
                data["env_id"] = str(data["env_id"])
            space = action_space or told_space(data)
            return cls(action_space=space, **{k: data[k] for k in names if k in data})
        except Exception as error:  # for bad bytes numpy and zipfile have a dozen kinds
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


def check_space(space: gym.Space) -> None:
    """Raise InputError for actions that are neither indices nor a bounded vector."""
    vector = isinstance(space, Box) and len(space.shape) == 1 and space.is_bounded()
    need(vector or isinstance(space, Discrete) and space.start == 0, "action space", space,
         "Discrete from 0 or a bounded Box of one axis")


def bounds(space: Discrete | Box) -> tuple[Any, Any]:
    """The least and the greatest action."""
    return (0, space.n - 1) if isinstance(space, Discrete) else (space.low, space.high)


def told_space(data: dict[str, Any]) -> gym.Space:
    """The action space from the arrays of a diary."""
    if "action_low" in data and "action_high" in data:
        return Box(data["action_low"], data["action_high"], dtype=np.float32)
    need(data["actions"].dtype.kind in "iu", "the action space", "not told", "action_low "
         "and action_high in the file, or Demos.load(path, action_space=...)")
    if "n_actions" not in data:
        warnings.warn("diary without n_actions: taking its greatest action as the last")
    return Discrete(int(data.get("n_actions", data["actions"].max() + 1)))


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
        obs, action, next_obs, terminated = (column[i] for column in self.rows)
        return Batch(obs.float(), action, next_obs.float(), terminated)


def write(path: str | Path, put: Callable[[Any], Any]) -> None:
    """Let put(file) write the file, whole or not at all."""
    part = Path(path).with_name(f".{Path(path).name}.{os.getpid()}.part")
    try:
        with open(part, "wb") as file:
            put(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except OSError as error:
        raise InputError(f"{str(path)!r} can't be written: {error.strerror}") from error
    finally:
        part.unlink(missing_ok=True)


# --------------------------------------------------------------------------- networks


def mlp(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    """The Q-network, (B, *obs) -> (B, A), and the body of the two networks below."""
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


class Agent(nn.Module):
    """What both agents share: the critic's descent, units, checkpoints.

    The public q, value, reward and act take arrays or tensors, one row or a batch, with
    actions in the environment's units; a network of one's own goes in by its name.
    """

    def __init__(
        self, obs_shape: tuple[int, ...], action_space: gym.Space, config: Config = Config(),
        env_id: str | None = None, **networks: nn.Module,
    ) -> None:
        super().__init__()
        check_space(action_space)
        self.obs_shape, self.action_space, self.env_id = obs_shape, action_space, env_id
        self.config = config.complete(action_space)
        cuda = config.device != "cpu" and torch.cuda.is_available()
        self.device = torch.device("cuda" if cuda else "cpu")
        self.generator = torch.Generator(self.device).manual_seed(config.seed)
        with torch.random.fork_rng(devices=[]):  # the process's own stream stays as it is
            torch.default_generator.manual_seed(config.seed)
            self.build(math.prod(obs_shape), **networks)
        slow = self.config.target_rate < 1
        self.target = copy.deepcopy(self.critic).requires_grad_(False) if slow else self.critic
        self.absorbing_reward = nn.Parameter(torch.zeros(()))  # r_A, each step after the end
        self.to(self.device)
        self.optimizers = {"critic": torch.optim.Adam(
            [*self.critic.parameters(), self.absorbing_reward], config.critic_lr)}
        if hasattr(self, "actor"):
            self.optimizers["actor"] = torch.optim.Adam(self.actor.parameters(), config.actor_lr)
        self.updates, self.episodes, self.trail, self.replay = 0, 0, [], None

    def absorbing_value(self) -> Tensor | None:
        """V_A = r_A / (1 - gamma), or None where terminal states are worth 0."""
        return self.absorbing_reward / (1 - self.config.gamma) if self.config.absorbing else None

    def update(
        self, expert: Batch, policy: Batch | None = None, initial: Tensor | None = None
    ) -> dict[str, Tensor]:
        """One descent on a batch of the diary and, online, one of the learner's own."""
        c = self.config
        batch = expert if policy is None else Batch(*map(torch.cat, zip(expert, policy)))
        is_expert = torch.arange(len(batch.obs), device=self.device) < len(expert.obs)
        q = self.q_of(self.critic, batch.obs.requires_grad_(c.divergence == "wasserstein"), batch.action)
        with torch.set_grad_enabled(self.target is self.critic):  # else a semi-gradient
            next_value = self.value_of(self.target, batch.next_obs)
        loss, info = iq_loss(
            q, self.value_of(self.critic, batch.obs), next_value, batch.terminated, is_expert,
            gamma=c.gamma, divergence=c.divergence, chi2_alpha=c.chi2_alpha, chi2_on=c.chi2_on,
            value_term=c.value_term, absorbing_value=self.absorbing_value(),
            initial_value=None if initial is None else self.value_of(self.critic, initial))
        self.descend("critic", loss, info)
        self.improve(batch.obs, info)
        if self.target is not self.critic:
            for slow, fast in zip(self.target.parameters(), self.critic.parameters()):
                slow.data.lerp_(fast.data, c.target_rate)
        self.updates += 1
        return info

    def descend(self, name: str, loss: Tensor, info: dict[str, Tensor]) -> None:
        """One step of a network's Adam, unless the loss or its gradient isn't finite."""
        optimizer = self.optimizers[name]
        optimizer.zero_grad()
        loss.backward()
        info[name + "_gradient"] = nn.utils.clip_grad_norm_(
            optimizer.param_groups[0]["params"], self.config.grad_clip)
        if not (loss + info[name + "_gradient"]).isfinite():
            bad = [f"{k} = {float(v)}" for k, v in info.items() if not v.isfinite()]
            raise FloatingPointError(f"update {self.updates + 1}: {', '.join(bad)}")
        optimizer.step()

    def enter(self, env: gym.Env, capacity: int, like: Batch) -> Any:
        """Begin a walk through env, or take up the one that a checkpoint broke off.

        Each episode starts from reset(seed): the environment's state, which no checkpoint
        can hold, is then what the actions since made it.
        """
        fresh = Batch(*(x.new_zeros(capacity, *x.shape[1:]) for x in like))
        old, self.replay = self.replay, Replay(fresh, 0)
        if old is not None:
            for column, kept in zip(fresh, old.rows):
                column[: len(old)] = kept[:capacity]
            self.replay.count = old.count
        obs, _ = env.reset(seed=self.reset_seed())
        for action in self.trail:
            obs, *_ = env.step(action)
        return obs

    def reset_seed(self) -> int:
        return int(np.random.SeedSequence([self.config.seed, self.episodes]).generate_state(1)[0])

    def walk(self, env: gym.Env, obs: Any) -> Any:
        """One step of the policy through env, into replay; returns the next observation."""
        action = self.act(obs, greedy=False)
        next_obs, _, terminated, truncated, _ = env.step(action)
        self.replay.add(obs, self.action_in(action)[0], next_obs, terminated)
        self.trail.append(action)
        if terminated or truncated:
            self.episodes, self.trail = self.episodes + 1, []
            next_obs, _ = env.reset(seed=self.reset_seed())
        return next_obs

    def obs_in(self, obs: Any) -> Tensor:
        obs = torch.as_tensor(np.asarray(obs), device=self.device).float()
        return obs.reshape(-1, *self.obs_shape)

    @torch.no_grad()
    def q(self, obs: Any, action: Any) -> Tensor:
        """Q(s,a) (B,)."""
        return self.q_of(self.critic, self.obs_in(obs), self.action_in(action))

    @torch.no_grad()
    def value(self, obs: Any) -> Tensor:
        """V(s) (B,)."""
        return self.value_of(self.critic, self.obs_in(obs))

    @torch.no_grad()
    def reward(self, obs: Any, action: Any, next_obs: Any, terminated: Any) -> Tensor:
        """r(s,a,s') = Q(s,a) - gamma V(s') (B,)  [Eq. 11]."""
        q, next_value, v_a = self.q(obs, action), self.value(next_obs), self.absorbing_value()
        terminated = torch.as_tensor(terminated, device=self.device).reshape(-1)
        if v_a is not None:
            next_value, terminated = torch.where(terminated, v_a, next_value), terminated & False
        return inverse_bellman(q, next_value, terminated, self.config.gamma)

    def act(self, obs: Any, greedy: bool = True) -> np.ndarray:
        """The policy's likeliest action, or one drawn from it, in the environment's units."""
        single = np.ndim(obs) == len(self.obs_shape)
        with torch.no_grad():
            action = self.action_out(self.choose(self.obs_in(obs), greedy).cpu())
        return action[0] if single else action

    def save(self, path: str | Path) -> None:
        """Write weights, optimisers, generator, replay and config, whole or not at all."""
        space = self.action_space
        box = isinstance(space, Box)
        state = {
            "kind": type(self).__name__, "config": asdict(self.config), "env_id": self.env_id,
            "obs_shape": tuple(self.obs_shape), "weights": self.state_dict(),
            "space": list(map(torch.as_tensor, bounds(space))) if box else int(space.n),
            "optimizers": {k: o.state_dict() for k, o in self.optimizers.items()},
            "generator": self.generator.get_state(), "updates": self.updates,
            "episodes": self.episodes, "trail": [torch.as_tensor(a) for a in self.trail],
            "replay": self.replay and [x[: len(self.replay)].clone() for x in self.replay.rows],
            "count": self.replay and self.replay.count,
        }
        write(path, lambda file: torch.save(state, file))


class SoftQ(Agent):
    """Discrete actions: the policy is the softmax of Q, in closed form.

    Its own network: critic, obs (B, *obs) -> Q (B, A).
    """

    def build(self, obs_size: int, critic: nn.Module | None = None) -> None:
        self.critic = critic or mlp(obs_size, self.config.hidden, int(self.action_space.n))

    def q_of(self, critic: nn.Module, obs: Tensor, action: Tensor) -> Tensor:
        return critic(obs).gather(1, action[:, None]).squeeze(1)

    def value_of(self, critic: nn.Module, obs: Tensor) -> Tensor:
        return soft_value(critic(obs), self.config.temperature)

    def improve(self, obs: Tensor, info: dict[str, Tensor]) -> None:
        """Nothing to do: the policy follows from Q."""

    def choose(self, obs: Tensor, greedy: bool) -> Tensor:
        log_policy = soft_policy(self.critic(obs), self.config.temperature)
        if greedy:
            return log_policy.argmax(1)
        return torch.multinomial(log_policy.exp(), 1, generator=self.generator).squeeze(1)

    def action_in(self, action: Any) -> Tensor:
        return torch.as_tensor(np.asarray(action), device=self.device).long().reshape(-1)

    def action_out(self, action: Tensor) -> np.ndarray:
        return action.numpy()


class SoftActorCritic(Agent):
    """Continuous actions: an actor is trained to be the softmax of Q.

    Its own networks: critic, obs and action (B, A) in [-1, 1] -> Q (B,), and actor,
    obs -> mean and log std (B, A) for squash.
    """

    def build(
        self, obs_size: int, critic: nn.Module | None = None, actor: nn.Module | None = None
    ) -> None:
        shape = obs_size, self.action_space.shape[0], self.config.hidden
        self.critic, self.actor = critic or Critic(*shape), actor or Actor(*shape)

    def sample(self, obs: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_std = self.actor(obs)
        noise = torch.randn(mean.shape, generator=self.generator, device=self.device)
        return squash(mean, log_std, noise)

    def q_of(self, critic: nn.Module, obs: Tensor, action: Tensor) -> Tensor:
        return critic(obs, action)

    def value_of(self, critic: nn.Module, obs: Tensor) -> Tensor:
        with torch.no_grad():
            action, log_prob = self.sample(obs)
        return critic(obs, action) - self.config.temperature * log_prob

    def improve(self, obs: Tensor, info: dict[str, Tensor]) -> None:
        """Raise E[Q(s,a) - tau log pi(a|s)], a ~ pi  [paper, section 4.2]."""
        action, log_prob = self.sample(obs)
        value = self.critic(obs, action) - self.config.temperature * log_prob
        info["entropy"] = -log_prob.detach().mean()
        self.descend("actor", -value.mean(), info)

    def choose(self, obs: Tensor, greedy: bool) -> Tensor:
        return self.actor(obs)[0].tanh() if greedy else self.sample(obs)[0]

    def action_in(self, action: Any) -> Tensor:
        low, high = self.action_space.low, self.action_space.high
        action = np.asarray(action, np.float32).reshape(-1, *low.shape)
        return torch.as_tensor(2 * (action - low) / (high - low) - 1, device=self.device)

    def action_out(self, action: Tensor) -> np.ndarray:
        low, high = map(torch.as_tensor, bounds(self.action_space))
        return torch.lerp(low, high, (action + 1) / 2).numpy()


# -------------------------------------------------------------------------- top level

AGENTS = {Discrete: SoftQ, Box: SoftActorCritic}


def new_agent(demos: Demos, config: Config = Config(), **networks: nn.Module) -> Agent:
    """An untrained agent for a diary's observations and actions."""
    kind = AGENTS[type(demos.action_space)]
    shape = demos.observations.shape[1:]
    return kind(shape, demos.action_space, config, demos.env_id, **networks)


def learn(
    demos: Demos, env: gym.Env | str | None = None, config: Config = Config(),
    callback: Callable[[int, dict[str, float]], Any] | None = None, agent: Agent | None = None,
) -> Agent:
    """Train on a diary alone or, given an environment, on the learner's own steps too.

    callback(step, info) hears of every log_every-th step. An agent given, new_agent's or
    load's, goes on with its own config, but for steps. Raises FloatingPointError where
    loss or gradient is not finite, with the agent as it was before that step.
    """
    agent = agent or new_agent(demos, config)
    c, total = agent.config, config.complete(demos.action_space).steps
    need(agent.action_space == demos.action_space, "the diary's action space",
         demos.action_space, f"the agent's, {agent.action_space}")
    need(agent.obs_shape == demos.observations.shape[1:], "the diary's observation shape",
         demos.observations.shape[1:], f"the agent's, {agent.obs_shape}")
    on_device = [torch.as_tensor(x, device=agent.device) for x in (
        demos.observations, agent.action_in(demos.actions), demos.next_observations,
        demos.terminations)]
    expert = Replay(Batch(*on_device), len(demos))
    first = Replay(Batch(*(x[demos.starts] for x in on_device)), demos.starts.sum())
    if env is not None:
        env = make(env, demos)
        obs = agent.enter(env, min(c.replay_size, total), expert.rows)
    steps = range(agent.updates, total)
    if tqdm is not None:
        steps = tqdm(steps, initial=agent.updates, total=total, disable=None, file=sys.stderr)
    for step in steps:
        policy = initial = None
        if env is not None:
            obs = agent.walk(env, obs)
            policy = agent.replay.sample(c.batch_size, agent.generator)
        if c.value_term == "initial":
            initial = first.sample(c.batch_size, agent.generator).obs
        info = agent.update(expert.sample(c.batch_size, agent.generator), policy, initial)
        if callback and ((step + 1) % c.log_every == 0 or step + 1 == total):
            callback(step + 1, {name: float(x) for name, x in info.items()})
    return agent


def make(env: gym.Env | str, demos: Demos | None = None) -> gym.Env:
    """The environment, made if it is named, and checked against a diary."""
    if isinstance(env, str):
        try:
            env = gym.make(env)
        except (gym.error.Error, ImportError) as error:
            raise InputError(f"environment {env!r} can't be made: {error}") from error
    check_space(env.action_space)
    need(isinstance(env.observation_space, Box), "observation space", env.observation_space,
         "Box")
    if demos is not None:
        name, seen = env.spec and env.spec.id, demos.observations.shape[1:]
        need(None in (name, demos.env_id) or name == demos.env_id, "the diary's environment",
             demos.env_id, name)
        need(seen == env.observation_space.shape and demos.action_space == env.action_space,
             "the diary's spaces", f"{seen}, {demos.action_space}",
             f"{name}'s {env.observation_space.shape}, {env.action_space}")
    return env


def rollouts(env: gym.Env | str, policy: Callable, episodes: int, seed: int) -> Iterator[list]:
    """Play whole episodes, up to 32 side by side, episode i from reset(seed + i).

    Yields each one's rows (obs, action, next_obs, reward, terminated, truncated).
    policy: obs (B, *obs) -> actions (B, ...). An environment object plays them in turn.
    """
    width = 32 if isinstance(env, str) else 1
    envs = [make(env) for _ in range(min(width, episodes))]
    for first in range(0, episodes, width):
        wave = range(min(width, episodes - first))
        rows, going = [[] for _ in wave], list(wave)
        obs = [envs[i].reset(seed=seed + first + i)[0] for i in wave]
        while going:
            actions = policy(np.stack([obs[i] for i in going]))
            for i, action in zip(list(going), actions, strict=True):
                step = envs[i].step(action)[:4]
                rows[i].append((obs[i], action, *step))
                obs[i] = step[0]
                if step[2] or step[3]:
                    going.remove(i)
        yield from rows


def record(env: gym.Env | str, policy: Callable, episodes: int, seed: int) -> Demos:
    """The diary of whole episodes: policy takes obs (B, *obs) and gives actions (B, ...)."""
    need(episodes >= 1, "episodes", episodes, "1 or more")
    space, env_id = (e := make(env)).action_space, e.spec and e.spec.id
    parts = list(rollouts(env, policy, episodes, seed))
    obs, action, next_obs, reward, terminated, truncated = map(
        np.array, zip(*(row for rows in parts for row in rows), strict=True))
    ids = np.repeat(np.arange(episodes), [len(rows) for rows in parts])
    return Demos(obs, action, next_obs, terminated, truncated, space, reward, ids, env_id)


def evaluate(agent: Agent, env: gym.Env | str, episodes: int, seed: int) -> np.ndarray:
    """The returns (episodes,) of the policy's likeliest actions."""
    need(episodes >= 1, "episodes", episodes, "1 or more")
    return np.array([sum(row[3] for row in rows)
                     for rows in rollouts(env, agent.act, episodes, seed)])


def elder(env_id: str, seed: int = 0) -> Callable[[np.ndarray], np.ndarray]:
    """The built-in expert of CartPole-v1 or Pendulum-v1: obs (B, *obs) -> actions (B, ...)."""
    rng = np.random.default_rng(seed)

    def cartpole(obs: np.ndarray) -> np.ndarray:
        """Push to where the pole falls, drawn from a soft policy so that the cart wanders."""
        push_right = 1 / (1 + np.exp(-obs @ [1.5, 4.0, 50.0, 10.0]))
        return (rng.random(len(obs)) < push_right).astype(np.int64)

    def pendulum(obs: np.ndarray) -> np.ndarray:
        """Pump energy until the swing reaches the top; balance it there."""
        cos, sin, speed = obs.T
        angle = np.arctan2(sin, cos)  # 0 is upright
        pump = 0.5 * (15 - speed**2 / 2 - 15 * cos) * np.where(speed < 0, -1, 1)
        near = (np.abs(angle + 0.3 * speed) < 0.5) & (cos > 0)
        torque = np.where(near, -8 * angle - 2 * speed, pump)
        return np.clip(torque, -2, 2).astype(np.float32)[:, None]

    elders = {"CartPole-v1": cartpole, "Pendulum-v1": pendulum}
    need(env_id in elders, "environment without demonstrations", env_id, " | ".join(elders))
    return elders[env_id]


def load(path: str | Path, device: str = "auto", **networks: nn.Module) -> Agent:
    """The agent of a checkpoint, ready to act or to learn on; networks of one's own again."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        config, space = Config(**{**state["config"], "device": device}), state["space"]
        space = Discrete(space) if isinstance(space, int) else Box(*(x.numpy() for x in space))
        kind = AGENTS[type(space)]
        agent = kind(state["obs_shape"], space, config, state["env_id"], **networks)
        agent.load_state_dict(state["weights"])
        for name, optimizer in agent.optimizers.items():
            optimizer.load_state_dict(state["optimizers"][name])
        if len(state["generator"]) == len(agent.generator.get_state()):  # the same device
            agent.generator.set_state(state["generator"])
        agent.updates, agent.episodes = state["updates"], state["episodes"]
        agent.trail = [a.numpy() for a in state["trail"]]
        if state["replay"]:
            agent.replay = Replay(Batch(*state["replay"]), state["count"])
        return agent
    except Exception as error:  # torch and pickle have a dozen kinds for bad bytes
        raise InputError(f"checkpoint {str(path)!r}: {error or repr(error)}") from error
