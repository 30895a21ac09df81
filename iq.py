# /// script
# requires-python = ">=3.10"
# dependencies = ["torch>=2.4", "numpy>=1.26", "gymnasium>=1.0", "tqdm"]
# ///
"""IQ-Learn in one file: from an expert's transitions to a policy, and to its reward.

One soft Q-function is learned from transitions (s, a, s') by descending

    L(Q) = -E_expert[phi(r)] + (1 - gamma) E[V(s0)],   r = Q(s,a) - gamma V(s')

The policy is exp((Q - V) / tau), the reward is r: none is guessed, none is adversary.

    paper       here                     meaning
    Q, V, pi    q, value, policy         soft action value, soft state value, policy
    gamma, H    gamma, temperature       discount; weight tau of the entropy (paper: 1)
    phi, alpha  DIVERGENCES, chi2_alpha  concave shape of the reward; strength of chi2
    rho_E, rho  expert, policy           rows of the diary; rows of the learner's replay

    demos = Demos.load("diary.npz")      # or record(env, policy, ...), from_minari(...)
    agent = learn(demos)                 # offline; online: learn(demos, "CartPole-v1")
    print(evaluate(agent, "CartPole-v1", episodes=20, seed=0).mean())

Paper: Garg et al., "IQ-Learn: Inverse soft-Q Learning for Imitation", NeurIPS 2021,
arXiv:2106.12142; "Eq." is an equation of it. Deviations: a temperature; terminal states
may have a learned value; divergences go on as tangents where they would be infinite;
phi is taken row by row, where the paper takes it after averaging over a random s';
V(s'), as in LS-IQ, and V(s0) are held within what chi2 on the mixture lets one earn.
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
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import torch
import torch.distributed as dist
from gymnasium.spaces import Box, Discrete
from torch import Tensor, nn
from torch.nn.functional import softplus

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

def rank_and_ranks() -> tuple[int, int]:
    """This process among those that learn one agent together, as torchrun starts."""
    joined = dist.is_available() and dist.is_initialized()
    return (dist.get_rank(), dist.get_world_size()) if joined else (0, 1)

# ---------------------------------------------------------------------- configuration

def option(default: Any, text: str, *allowed: Any) -> Any:
    """A field of Config; allowed: the names to choose from, or both ends of a range."""
    return field(default=default, metadata={"text": text, "allowed": allowed})

@dataclass(frozen=True)
class Config:
    """Every choice of a run; None stands for DEFAULTS, by the kind of action."""
    gamma: float = option(0.99, "discount per step", 0.0, 0.9999)
    temperature: float | None = option(None, "reward worth a nat of entropy", 1e-6, 1e6)
    divergence: str = option(
        "chi2", "how learner and expert are compared", "chi2", "reverse_kl",
        "forward_kl", "hellinger", "jensen_shannon", "total_variation", "wasserstein")
    chi2_alpha: float = option(0.5, "chi2 charges r^2 / (4 alpha) per step", 1e-6, 1e6)
    chi2_on: str | None = option(None, "rows it charges", "expert", "mixture")
    value_term: str | None = option(
        None, "rows that tell (1 - gamma) E[V(s0)]", "initial", "expert", "mixture")
    standardize: bool = option(  # for many numbers of many units: see book chapter 12
        False, "observations, and the layers of a continuous critic", False, True)
    absorbing: bool = option(False, "learn the worth of terminal states", False, True)
    critic_lr: float = option(1e-3, "step size of the critic's Adam", 1e-9, 1.0)
    actor_lr: float = option(3e-4, "step size of the actor's Adam", 1e-9, 1.0)
    target_rate: float | None = option(
        None, "share of the critic its slow copy takes per update; 1: none", 1e-6, 1.0)
    actor_average: float = option(
        1.0, "share of the actor in the mean that acts, per update; 1: all", 1e-6, 1.0)
    grad_clip: float = option(10.0, "largest norm of a gradient", 1e-6, 1e6)
    hidden: int = option(128, "units in each of two hidden layers", 1, 2**16)
    batch_size: int = option(64, "rows of diary per update, and of replay", 1, 2**20)
    steps: int | None = option(None, "updates; online, each after a step", 1, 2**40)
    replay_size: int = option(10**6, "transitions that replay keeps", 1, 2**40)
    log_every: int = option(100, "steps between calls of the callback", 1, 2**40)
    seed: int = option(0, "seed of weights, batches, actions, resets", 0, 2**32)
    device: str = option("auto", "where to compute", "auto", "cpu", "cuda")

    def __post_init__(self) -> None:
        for f in fields(self):
            x, allowed = getattr(self, f.name), f.metadata["allowed"]
            ok, kind = x in allowed, type(allowed[0])
            if kind in (int, float):
                ok = isinstance(x, (int, kind)) and not isinstance(x, bool)
                ok = ok and allowed[0] <= x <= allowed[1]
                allowed = f"{kind.__name__} from {allowed[0]} to {allowed[1]}"
            need(ok or x is f.default is None, f.name, repr(x), allowed)
        gpu = self.device != "cuda" or torch.cuda.is_available()
        need(gpu, "device", "cuda, which torch doesn't see here", "auto | cpu")

    def complete(self, action_space: gym.Space) -> Config:
        """Put the default for this kind of action in place of each None."""
        defaults = DEFAULTS[type(action_space)].items()
        return replace(self, **{k: v for k, v in defaults if getattr(self, k) is None})

DEFAULTS = {  # chosen by the ablations of book chapter 12; from few rows the paper's
    # temperature, 1, loses to cloning: its entropy outweighs what they tell
    Discrete: {"temperature": 0.01, "chi2_on": "expert", "value_term": "expert",
               "target_rate": 1.0, "steps": 5_000},
    Box: {"temperature": 0.1, "chi2_on": "mixture", "value_term": "initial",
          "target_rate": 0.05, "steps": 10_000}}

# ------------------------------------------------------------------------ mathematics
# B rows in a batch, A actions; a tensor with one number per row is (B,), never (B, 1).

def soft_value(q: Tensor, temperature: float) -> Tensor:
    """V(s) = tau log sum_a exp(Q(s,a) / tau); -inf: no such action.  (B, A) -> (B,)."""
    top = q.max(-1, keepdim=True).values.detach()  # taken out first: exp can't overflow
    return top.squeeze(-1) + temperature * ((q - top) / temperature).exp().sum(-1).log()

def soft_policy(q: Tensor, temperature: float) -> Tensor:
    """log pi(a|s) = (Q(s,a) - V(s)) / tau.  (B, A) -> (B, A)."""
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

# D(policy, expert) = max_r E_expert[phi(r)] - E_policy[r], phi concave, phi(0) = 0 and
# phi'(0) = 1; beside each its f(u) = max_r phi(r) - u r, u = policy / expert. The best
# r is where phi'(r) = u: where phi would be steeper than MAX_RATIO it goes on as its
# tangent, finite everywhere, and nothing changes while u < MAX_RATIO.
MAX_RATIO = 100.0

def tangent_below(point: float, phi: Callable) -> Callable[[Tensor], Tensor]:
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
    "wasserstein": lambda r: r}  # W1, while slope_penalty keeps Q 1-Lipschitz

def iq_loss(
    q: Tensor, value: Tensor, next_value: Tensor, terminated: Tensor, is_expert: Tensor,
    *, gamma: float, divergence: str = "chi2", chi2_alpha: float = 0.5,
    chi2_on: str = "expert", value_term: str = "expert",
    initial_value: Tensor | None = None, absorbing_value: Tensor | None = None,
) -> tuple[Tensor, dict[str, Tensor]]:
    """The objective [Eq. 9, 10, offline Eq. 12] with its sign turned: lower is better.

    q, value, next_value (B,) are Q(s,a), V(s), V(s'); terminated, is_expert (B,) bool.
    value_term: (1 - gamma) E[V(s0)] by initial_value, of any length, or telescoped as
    E[V(s) - gamma V(s')] over the expert's rows or the mixture's, which are all rows.
    absorbing_value: a scalar, what terminal states are worth; None: 0.
    Returns the loss and, detached, its terms, mean rewards and max |Q|.
    """
    for x in q, value, next_value, terminated, is_expert:
        need(x.shape == q.shape[:1], "shape of an argument", tuple(x.shape), "(B,)")
    weight = torch.ones_like(q)
    if absorbing_value is not None:  # one self-loop row more for every terminal row
        loop = absorbing_value.expand_as(q)
        later = loop if next_value.requires_grad else loop.detach()  # like V(s')
        next_value = torch.cat([torch.where(terminated, later, next_value), later])
        q, value = torch.cat([q, loop]), torch.cat([value, loop])
        weight = torch.cat([weight, terminated.to(q.dtype)])
        is_expert = is_expert.repeat(2)
        terminated = torch.zeros_like(is_expert)

    def share(rows: Tensor) -> Tensor:  # of each row in a mean over these rows
        part = weight * rows
        return part / part.sum().clamp(min=1e-9)

    expert, policy = share(is_expert), share(~is_expert)
    over = {"expert": expert, "mixture": weight / weight.sum()}
    reward = inverse_bellman(q, next_value, terminated, gamma)
    if divergence == "chi2":  # phi(r) = r - r^2 / (4 alpha), its square over chi2_on
        terms = {"expert_term": -expert @ reward,
                 "chi2_term": over[chi2_on] @ reward.square() / (4 * chi2_alpha)}
    else:
        terms = {"expert_term": -expert @ DIVERGENCES[divergence](reward)}
    if value_term == "initial":
        terms["value_term"] = (1 - gamma) * initial_value.mean()
    else:
        drop = inverse_bellman(value, next_value, terminated, gamma)  # V(s) - gamma V'
        terms["value_term"] = over[value_term] @ drop
    loss = sum(terms.values())
    info = {"loss": loss, **terms, "reward_expert": expert @ reward,
            "reward_policy": policy @ reward, "max_q": q.abs().max()}
    return loss, {name: x.detach() for name, x in info.items()}

def slope_penalty(q: Tensor, *inputs: Tensor) -> Tensor:
    """10 E[max(0, |dQ/d inputs| - 1)^2], which is 0 where Q is 1-Lipschitz.  q (B,)."""
    slopes = torch.autograd.grad(q.sum(), inputs, create_graph=True)
    norm = torch.cat([s.flatten(1) for s in slopes], 1).norm(dim=1)
    return 10 * (norm - 1).clamp(min=0).square().mean()

def squash(mean: Tensor, log_std: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """a = tanh(u), u = mean + std noise, and log pi(a).  All (B, A) -> (B, A), (B,)."""
    u = mean + log_std.exp() * noise
    log_normal = -noise.square() / 2 - log_std - math.log(2 * math.pi) / 2
    log_slope = 2 * (math.log(2) - u - softplus(-2 * u))  # log(1 - tanh(u)^2) at any u
    return u.tanh(), (log_normal - log_slope).sum(-1)

# ------------------------------------------------------------------------ transitions

COLUMNS = ("observations", "actions", "next_observations", "terminations",
           "truncations", "rewards", "episode_ids")

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
        object.__setattr__(self, "action_space", usable(self.action_space))
        low, high = bounds(self.action_space)
        obs, n = np.shape(self.observations), np.shape(self.observations)[:1]
        need(len(obs) > 1 and 0 not in obs, "shape of observations", obs, "(N, ...)")
        shapes = obs, n + self.action_space.shape, obs, n, n, n, n
        kinds = "fiu", "f" if np.ndim(low) else "iu", "fiu", "b", "b", "fiu", "iu"
        for name, shape, kind in zip(COLUMNS, shapes, kinds, strict=True):
            if (x := getattr(self, name)) is not None:
                x = np.asarray(x)
                need(x.shape == shape and x.dtype.kind in kind, name,
                     f"{x.dtype} {x.shape}", f"{shape}, dtype.kind in {kind}")
                if "f" in kind and x.dtype != np.uint8:  # images stay bytes
                    with np.errstate(over="ignore"):
                        x = x.astype(np.float32, copy=False)
                    finite = np.isfinite([x.min(), x.max()]).all()
                    need(finite, name, "NaN or infinite in float32", "finite numbers")
                wide = x.astype(np.int64, copy=False) if kind == "iu" else x
                object.__setattr__(self, name, wide)
        bad = ((self.actions < low) | (self.actions > high)).reshape(*n, -1).any(1)
        row = bad.argmax()
        need(not bad[row], f"action {row}", self.actions[row], self.action_space)
        ends = (self.terminations | self.truncations)[:-1]
        if self.episode_ids is None:
            same = self.next_observations[:-1] == self.observations[1:]
            stray = np.append(~ends & ~same.all(tuple(range(1, len(obs)))), False)
            need(not stray.any(), f"what follows row {stray.argmax()}", "another row",
                 "rows in order of time, or episode_ids to tell which belong together")
            object.__setattr__(self, "episode_ids", np.append(0, ends.cumsum()))
        ids, runs = len(np.unique(self.episode_ids)), 1 + (ends | self.starts[1:]).sum()
        need(ids == runs, "number of episodes", f"{ids} by id, {runs} by order, ends",
             "an episode's rows side by side, none but the last of them an end")

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
        return replace(self, **{
            k: x[rows] for k in COLUMNS if (x := getattr(self, k)) is not None})

    def take(self, episodes: int) -> Demos:
        """The first episodes."""
        there = self.starts.sum()
        need(1 <= episodes <= there, "episodes", episodes, f"1 to {there}, the last")
        return self.keep(self.starts.cumsum() <= episodes)

    def subsample(self, every: int) -> Demos:
        """Rows 0, every, 2 every ... of each episode, so that its first state stays."""
        need(every >= 1, "subsample", every, "1 or more")
        first = np.flatnonzero(self.starts)[self.starts.cumsum() - 1]
        return self.keep((np.arange(len(self)) - first) % every == 0)

    def save(self, path: str | os.PathLike) -> None:
        """Write an .npz without pickles, whole or not at all."""
        low, high = bounds(self.action_space)
        told = {"action_low": low, "action_high": high} if np.ndim(low) else {
            "n_actions": high + 1}
        data = {k: getattr(self, k) for k in (*COLUMNS, "env_id")}
        data = told | {k: x for k, x in data.items() if x is not None}
        write(path, lambda file: np.savez(file, allow_pickle=False, **data))

    @classmethod
    def load(cls, path: str | os.PathLike, action_space: Any = None) -> Demos:
        """Read an .npz; action_space for one that doesn't tell its own (InputError)."""
        try:
            with open(path, "rb") as file, np.load(file, allow_pickle=False) as arrays:
                data = dict(arrays)
            if action_space is None and "action_low" in data and "action_high" in data:
                low, high = (np.float32(data[f"action_{k}"]) for k in ("low", "high"))
                action_space = Box(low, high)
            elif action_space is None:
                need(data["actions"].dtype.kind in "iu", "action space", "unknown",
                     "action_low and action_high in it, or load(..., action_space=...)")
                if "n_actions" not in data:
                    text = f"{path} has no n_actions: the largest action is the last"
                    warnings.warn(text, stacklevel=2)
                n = data.get("n_actions", data["actions"].max(initial=0) + 1)
                action_space = Discrete(int(n))
            env_id = str(data["env_id"]) if "env_id" in data else None
            columns = {k: data[k] for k in COLUMNS if k in data}
            return cls(action_space=action_space, env_id=env_id, **columns)
        except Exception as error:  # for bad bytes numpy and zipfile raise many
            reason = str(error) or repr(error)  # EOFError may say nothing
            raise InputError(f"diary {str(path)!r}: {reason}") from error

    @classmethod
    def from_minari(cls, dataset: Any) -> Demos:
        """Every episode of a minari.MinariDataset."""
        seen = dataset.observation_space
        need(isinstance(seen, Box), "observation space", seen, "Box")
        return cls.joined(dataset.action_space, dataset.env_spec, [
            (e.observations[:-1], e.actions, e.observations[1:], e.terminations,
             e.truncations, e.rewards, np.full(len(e.actions), e.id))
            for e in dataset.iterate_episodes()])

    @classmethod
    def joined(cls, space: gym.Space, spec: Any, parts: list[tuple]) -> Demos:
        columns = dict(zip(COLUMNS, map(np.concatenate, zip(*parts)), strict=True))
        return cls(action_space=space, env_id=spec and spec.id, **columns)

def usable(space: gym.Space) -> Discrete | Box:
    """The action space as agents know it; InputError for kinds they can't learn."""
    if isinstance(space, Discrete) and space.start == 0:
        return Discrete(space.n)
    ok = isinstance(space, Box) and len(space.shape) == 1 and space.dtype.kind == "f"
    need(ok and space.is_bounded(), "action space", space,
         "Discrete from 0, or a bounded Box of floats with one axis")
    return Box(np.float32(space.low), np.float32(space.high))

def bounds(space: Discrete | Box) -> tuple[Any, Any]:
    """The least and the greatest action."""
    box = isinstance(space, Box)
    return (space.low, space.high) if box else (0, int(space.n) - 1)

def write(path: str | os.PathLike, put: Callable[[Any], Any]) -> None:
    """Let put(file) write the file, whole or not at all."""
    part = f"{path}.{os.getpid()}.part"
    try:
        with open(part, "wb") as file:
            put(file)
        os.replace(part, path)
    except OSError as error:
        raise InputError(f"{str(path)!r} can't be written: {error.strerror}") from error
    finally:
        if os.path.exists(part):
            os.remove(part)

class Batch(NamedTuple):
    """Rows of transitions."""
    obs: Tensor  # (B, *obs)
    action: Tensor  # (B,) int64, or (B, A) float in the environment's own units
    next_obs: Tensor  # (B, *obs)
    terminated: Tensor  # (B,) bool

class Replay:
    """Transitions in tensors allocated once; once full, the oldest make room."""

    def __init__(self, rows: Batch, count: int) -> None:
        self.rows, self.count = rows, count  # count: rows ever added

    def __len__(self) -> int:
        return min(self.count, len(self.rows.obs))

    def add(self, *row: Any) -> None:
        for column, value in zip(self.rows, row, strict=True):
            column[self.count % len(column)] = torch.as_tensor(value)
        self.count += 1

    def resized(self, capacity: int) -> Replay:
        """With room for capacity rows in all, unless there is or the ring is closed."""
        if self.count > len(self) or capacity <= len(self):
            return self
        rows = Batch(*(x.new_zeros(capacity, *x.shape[1:]) for x in self.rows))
        for new, old in zip(rows, self.rows, strict=True):
            new[: len(self)] = old[: len(self)]
        return Replay(rows, self.count)

    def sample(self, n: int, generator: torch.Generator) -> Batch:
        """n rows, uniform, with replacement."""
        i = torch.randint(len(self), (n,), generator=generator, device=generator.device)
        return Batch(*(column[i] for column in self.rows))

# ----------------------------------------------------------------------------- agents

class MLP(nn.Module):
    """Inputs (B, ...), flattened, joined -> (B, outputs): Q-network, critic, actor."""

    def __init__(self, inputs: int, hidden: int, outputs: int, bend: Callable) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(inputs, hidden), bend(), nn.Linear(hidden, hidden), bend(),
            nn.Linear(hidden, outputs))

    def forward(self, *inputs: Tensor) -> Tensor:
        return self.layers(torch.cat([x.flatten(1) for x in inputs], 1))

KEPT = "obs_shape", "env_id", "updates", "episodes", "trail", "history"  # by save

class Agent(nn.Module):
    """What both agents share; learning and its users call the same q, value and act.

    Arrays or tensors go in, obs (B, *obs) and actions in the environment's own units.
    networks: a user's own, by name, in place of the default ones.
    """

    def __init__(
        self, obs_shape: tuple[int, ...], action_space: gym.Space,
        config: Config = Config(), env_id: str | None = None, **networks: nn.Module,
    ) -> None:
        super().__init__()
        self.obs_shape, self.env_id = obs_shape, env_id
        self.action_space = usable(action_space)
        self.config = config.complete(self.action_space)
        gpu = config.device != "cpu" and torch.cuda.is_available()
        self.device = torch.device("cuda" if gpu else "cpu")
        self.rank, self.ranks = rank_and_ranks()  # draws and resets differ by rank
        self.generator = torch.Generator(self.device)
        self.generator.manual_seed((self.rank << 33) + config.seed)
        self.absorbing_reward = nn.Parameter(torch.zeros(()))  # per step after the end
        self.register_buffer("center", torch.zeros(obs_shape))  # what new_agent finds
        self.register_buffer("spread", torch.ones(obs_shape))  # in the diary: see seen
        with torch.random.fork_rng(devices=[]):  # the caller's own stream stays
            torch.default_generator.manual_seed(config.seed)
            self.build(math.prod(obs_shape), self.config.hidden, **networks)
        c = self.config  # slow copies: a critic for V(s'), an actor to act greedily
        self.target = copy.deepcopy(self.critic) if c.target_rate < 1 else self.critic
        self.steady = copy.deepcopy(self.actor) if c.actor_average < 1 else self.actor
        self.to(self.device)
        critic = [*self.critic.parameters(), self.absorbing_reward]
        self.optimizer = torch.optim.Adam([
            {"params": critic, "lr": config.critic_lr},
            {"params": [*self.actor.parameters()], "lr": config.actor_lr}], fused=True)
        self.replay, self.updates, self.episodes = None, 0, 0
        self.trail, self.history = [], []  # actions since reset; figures of learning

    def update(
        self, expert: Batch, policy: Batch | None = None, initial: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Descend once, on rows of the diary, of replay if online, and initial states.

        Raises FloatingPointError, before any weight moves, where a term is not finite.
        """
        c, batch = self.config, expert
        if policy is not None:
            batch = Batch(*map(torch.cat, zip(expert, policy, strict=True)))
        obs, action = batch.obs.float(), batch.action
        if c.divergence == "wasserstein":  # slopes in all but indices
            obs, action = obs.detach().requires_grad_(), action.detach()
            inputs = [obs, action.requires_grad_()] if action.ndim > 1 else [obs]
        q, value, entropy = self(obs, action)
        most = math.inf  # that V can be
        if c.divergence == "chi2" and c.chi2_on == "mixture":  # so |r| <= 4 alpha
            most = (4 * c.chi2_alpha + c.temperature * self.nats) / (1 - c.gamma)
        with torch.set_grad_enabled(self.target is self.critic):  # else a semi-gradient
            next_value = self.value(batch.next_obs, self.target).clamp(-most, most)
        starts = None if initial is None else self.value(initial).clamp(-most, most)
        loss, info = iq_loss(
            q, value, next_value, batch.terminated,
            torch.arange(len(q), device=self.device) < len(expert.obs), gamma=c.gamma,
            divergence=c.divergence, chi2_alpha=c.chi2_alpha, chi2_on=c.chi2_on,
            value_term=c.value_term, initial_value=starts,
            absorbing_value=self.absorbing_value() if c.absorbing else None)
        if c.divergence == "wasserstein":
            slope = slope_penalty(q, *inputs)
            loss, info["slope_term"] = loss + slope, slope.detach()
        critic, actor = (group["params"] for group in self.optimizer.param_groups)
        self.optimizer.zero_grad()
        loss.backward(inputs=critic, retain_graph=bool(actor))
        if actor:  # it climbs V(s) = E[Q(s,a) - tau log pi(a|s)], a ~ pi
            (-value.mean()).backward(inputs=actor)
            info["entropy"] = entropy.detach()
        if self.ranks > 1:  # the mean gradient, in one message
            there = [w.grad for w in (*critic, *actor) if w.grad is not None]
            joined = nn.utils.parameters_to_vector(there)
            dist.all_reduce(joined)
            nn.utils.vector_to_parameters(joined / self.ranks, there)
        for name, weights in ("critic", critic), ("actor", actor):
            norm = nn.utils.clip_grad_norm_(weights, c.grad_clip)
            info[name + "_gradient"] = norm
        if not torch.stack([*info.values()]).isfinite().all():
            bad = [f"{k} is {float(x)}" for k, x in info.items() if not x.isfinite()]
            raise FloatingPointError(f"step {self.updates + 1}: {', '.join(bad)}")
        self.optimizer.step()
        for slow, new, rate in ((self.target, self.critic, c.target_rate),
                                (self.steady, self.actor, c.actor_average)):
            if slow is not new:
                for mean, weight in zip(slow.parameters(), new.parameters()):
                    mean.data.lerp_(weight.data, rate)
        self.updates += 1
        return info

    def absorbing_value(self) -> Tensor:
        """V_A = r_A / (1 - gamma), which stays 0 where it is not learned."""
        return self.absorbing_reward / (1 - self.config.gamma)

    @torch.no_grad()
    def reward(self, obs: Any, action: Any, next_obs: Any, terminated: Any) -> Tensor:
        """r(s,a,s') = Q(s,a) - gamma V(s'), (B,)  [Eq. 11]; to ask changes nothing."""
        ended, state = self.tensor(terminated), self.generator.get_state()
        next_value = torch.where(ended, self.absorbing_value(), self.value(next_obs))
        self.generator.set_state(state)  # V(s') may have drawn
        q, never = self.q(obs, action), torch.zeros_like(ended)
        return inverse_bellman(q, next_value, never, self.config.gamma)

    @torch.no_grad()
    def act(self, obs: Any, greedy: bool = True) -> np.ndarray:
        """The policy's likeliest actions, or drawn ones; obs may be a single state."""
        single = np.ndim(obs) == len(self.obs_shape)
        obs = self.seen(self.tensor(obs)[None] if single else obs)
        action = self.choose(obs, greedy).cpu().numpy()
        return action[0] if single else action

    def tensor(self, x: Any) -> Tensor:
        return torch.as_tensor(x, device=self.device)

    def seen(self, obs: Any) -> Tensor:
        """Observations as networks take them: plain, or standardized and within 10."""
        obs = self.tensor(obs).float()
        if self.config.standardize:
            obs = ((obs - self.center) / self.spread).clamp(-10, 10)
        return obs

    def check(self, thing: str, obs_shape: Any, space: gym.Space, env_id: Any) -> None:
        """Raise InputError unless the agent is one for such observations, actions."""
        names = [str(x).rpartition(":")[2] for x in (self.env_id or env_id, env_id)]
        own = names[0], self.obs_shape, self.action_space
        its = names[1] if env_id else names[0], obs_shape, usable(space)
        need(its == own, thing, its, f"as the agent's, {own}")

    def save(self, path: str | os.PathLike) -> None:
        """Write all that learning on needs, without pickles, whole or not at all."""
        state = {k: getattr(self, k) for k in KEPT} | {
            "config": asdict(self.config), "weights": self.state_dict(), "replay": None,
            "bounds": [torch.as_tensor(x) for x in bounds(self.action_space)],
            "optimizer": self.optimizer.state_dict(),
            "generator": self.generator.get_state()}
        if self.replay:
            rows = [x[: len(self.replay)].clone() for x in self.replay.rows]
            state["replay"] = rows, self.replay.count
        write(path, lambda file: torch.save(state, file))

class SoftQ(Agent):
    """Discrete actions; the policy is the softmax of Q.

    Network: critic, obs (B, *obs) -> Q (B, A).
    """

    def build(self, size: int, hidden: int, critic: nn.Module | None = None) -> None:
        actions = int(self.action_space.n)
        self.critic = critic or MLP(size, hidden, actions, nn.Tanh)
        self.nats = math.log(actions)  # the most entropy that a policy can have
        self.actor = nn.Identity()  # none is needed: the policy follows from Q

    def q(self, obs: Any, action: Any) -> Tensor:
        """Q(s,a), (B,)."""
        action = self.tensor(action).long()[:, None]
        return self.critic(self.seen(obs)).gather(1, action).squeeze(1)

    def value(self, obs: Any, critic: nn.Module | None = None) -> Tensor:
        """V(s), (B,)."""
        q = (critic or self.critic)(self.seen(obs))
        return soft_value(q, self.config.temperature)

    def forward(self, obs: Tensor, action: Tensor) -> tuple[Tensor, Tensor, None]:
        q = self.critic(self.seen(obs))  # once for Q(s,a) and V(s)
        value = soft_value(q, self.config.temperature)
        return q.gather(1, action[:, None]).squeeze(1), value, None

    def choose(self, obs: Tensor, greedy: bool) -> Tensor:
        policy = soft_policy(self.critic(obs), self.config.temperature).exp()
        if greedy:
            return policy.argmax(1)
        return torch.multinomial(policy, 1, generator=self.generator).squeeze(1)

class SoftActorCritic(Agent):
    """Continuous actions; an actor learns to be the softmax of Q.

    Networks: critic, obs (B, *obs) and actions (B, A) in [-1, 1] -> Q (B, 1); actor,
    obs -> (B, 2A), the means and the logs of the standard deviations for squash.
    """

    def build(self, size: int, hidden: int, critic: nn.Module | None = None,
              actor: nn.Module | None = None) -> None:
        self.low, self.high = map(self.tensor, bounds(self.action_space))
        self.nats = math.log(2) * len(self.low)  # the most entropy: uniform on [-1, 1]
        def bend() -> nn.Module:  # normed, it stays tame where the diary says nothing
            norm = [nn.LayerNorm(hidden)] if self.config.standardize else []
            return nn.Sequential(*norm, nn.ReLU())

        self.critic = critic or MLP(size + len(self.low), hidden, 1, bend)
        self.actor = actor or MLP(size, hidden, 2 * len(self.low), nn.ReLU)

    def q(self, obs: Any, action: Any) -> Tensor:
        """Q(s,a), (B,)."""
        action = self.tensor(action).float()
        unit = 2 * (action - self.low) / (self.high - self.low) - 1
        return self.critic(self.seen(obs), unit).squeeze(1)

    def value(self, obs: Any, critic: nn.Module | None = None) -> Tensor:
        """V(s) = E[Q(s,a) - tau log pi(a|s)], a ~ pi, by one draw, (B,)."""
        return self.drawn(obs, critic or self.critic)[0]

    def drawn(self, obs: Any, critic: nn.Module) -> tuple[Tensor, Tensor]:
        obs = self.seen(obs)
        action, log_prob = self.draw(obs)
        value = critic(obs, action).squeeze(1) - self.config.temperature * log_prob
        return value, -log_prob.mean()

    def forward(self, obs: Tensor, action: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return self.q(obs, action), *self.drawn(obs, self.critic)

    def draw(self, obs: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_std = self.actor(obs).chunk(2, dim=1)
        noise = torch.randn(mean.shape, generator=self.generator, device=self.device)
        return squash(mean, log_std.clamp(-5, 2), noise)

    def choose(self, obs: Tensor, greedy: bool) -> Tensor:
        likeliest = self.steady(obs).chunk(2, dim=1)[0].tanh()
        action = likeliest if greedy else self.draw(obs)[0]
        return torch.lerp(self.low, self.high, (action + 1) / 2)  # exact at both ends

# ---------------------------------------------------------------------- the whole job

def new_agent(demos: Demos, config: Config = Config(), **networks: nn.Module) -> Agent:
    """An untrained agent for the observations and actions of a diary."""
    kind = SoftQ if isinstance(demos.action_space, Discrete) else SoftActorCritic
    obs = demos.observations
    agent = kind(obs.shape[1:], demos.action_space, config, demos.env_id, **networks)
    if agent.config.standardize:
        spread, center = torch.std_mean(agent.tensor(obs).float(), 0, correction=0)
        agent.center.copy_(center)
        agent.spread.copy_(torch.where(spread > 1e-6, spread, 1.0))  # 1: all equal
    return agent

def learn(
    demos: Demos, env: gym.Env | str | None = None, config: Config = Config(),
    callback: Callable[[int, dict[str, float]], Any] | None = None,
    agent: Agent | None = None,
) -> Agent:
    """Train by the diary alone or, given an environment, by the learner's steps too.

    callback(step, info) hears of every log_every-th step. An agent, new_agent's or
    load's, goes on with its own config, but for steps. Raises as Agent.update does.
    """
    agent = agent or new_agent(demos, config)
    c, g = agent.config, agent.generator
    last = config.complete(demos.action_space).steps
    agent.check("diary", demos.observations.shape[1:], demos.action_space, demos.env_id)
    rows = Batch(*map(agent.tensor, (demos.observations, demos.actions,
                                     demos.next_observations, demos.terminations)))
    expert, starts = Replay(rows, len(demos)), rows.obs[agent.tensor(demos.starts)]
    if env is not None:
        env, replay = make(env, agent), agent.replay or Replay(rows, 0)
        size = replay.count + last - agent.updates
        agent.replay = replay.resized(min(c.replay_size, size))
        first = (agent.rank << 65) + (c.seed << 32)
        obs, _ = env.reset(seed=first + agent.episodes)
        for action in agent.trail:  # from that reset they lead back to the checkpoint
            obs, *_ = env.step(np.asarray(action, env.action_space.dtype))
    if agent.history and agent.history[-1]["step"] % c.log_every:
        agent.history.pop()  # the last figures of a run that ended here before
    policy = initial = None
    while agent.updates < last:
        if env is not None:
            action = agent.act(obs, greedy=False)
            next_obs, _, terminated, truncated, _ = env.step(action)
            agent.replay.add(obs, action, next_obs, terminated)
            agent.trail.append(action.tolist())
            if terminated or truncated:
                agent.episodes, agent.trail = agent.episodes + 1, []
                next_obs, _ = env.reset(seed=first + agent.episodes)
            obs, policy = next_obs, agent.replay.sample(c.batch_size, g)
        if c.value_term == "initial":
            initial = starts[torch.randint(
                len(starts), (c.batch_size,), generator=g, device=g.device)]
        info = agent.update(expert.sample(c.batch_size, g), policy, initial)
        if agent.updates % c.log_every == 0 or agent.updates == last:
            figures = {k: float(x) for k, x in info.items()}
            agent.history.append({"step": agent.updates, **figures})
            if callback:
                callback(agent.updates, figures)
    return agent

def make(env: gym.Env | str, agent: Agent | None = None) -> gym.Env:
    """An environment, made where it is a name, and held against an agent."""
    try:
        env = gym.make(env) if isinstance(env, str) else env
    except (gym.error.Error, ImportError) as error:
        raise InputError(f"environment {env!r}: {error}") from error
    space = env.observation_space
    need(isinstance(space, Box), "observation space", space, "Box")
    usable(env.action_space)
    if agent:
        env_id = env.spec and env.spec.id
        agent.check("environment", space.shape, env.action_space, env_id)
    return env

def record(env: gym.Env | str, policy: Callable, episodes: int, seed: int) -> Demos:
    """Whole episodes, the i-th from reset(seed + i); policy: obs (B, *obs) -> actions.

    The episodes of a named environment are played side by side.
    """
    need(episodes >= 1, "episodes", episodes, "1 or more")
    width, one = episodes if isinstance(env, str) else 1, make(env)
    envs, parts = gym.vector.SyncVectorEnv([lambda: make(env)] * width), []
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
    return Demos.joined(one.action_space, one.spec, parts)

def evaluate(agent: Agent, env: gym.Env | str, episodes: int, seed: int) -> np.ndarray:
    """The returns (episodes,) of the policy's likeliest actions."""
    make(env, agent)
    return record(env, agent.act, episodes, seed).returns()

def elder(env_id: str, seed: int = 0) -> Callable[[np.ndarray], np.ndarray]:
    """The built-in expert of CartPole-v1 or Pendulum-v1: obs (B, *obs) -> actions."""
    rng = np.random.default_rng(seed)

    def cartpole(obs):  # push where the pole falls, drawn softly: so the cart wanders
        push_right = 1 / (1 + np.exp(-obs @ [1.5, 4.0, 50.0, 10.0]))
        return (rng.random(len(obs)) < push_right).astype(np.int64)

    def pendulum(obs):  # swing to the energy of standing still on top; there, balance
        cos, sin, speed = obs.T
        angle = np.arctan2(sin, cos)
        swing = 0.5 * (15 - 15 * cos - speed**2 / 2) * np.where(speed < 0, -1, 1)
        on_top = (np.abs(angle + 0.3 * speed) < 0.5) & (cos > 0)
        torque = np.where(on_top, -8 * angle - 2 * speed, swing)
        return torque.clip(-2, 2).astype(np.float32)[:, None]

    elders = {"CartPole-v1": cartpole, "Pendulum-v1": pendulum}
    need(env_id in elders, "environment without --demos", env_id, " | ".join(elders))
    return elders[env_id]

def load(path: str | os.PathLike, device: str = "auto", **networks: nn.Module) -> Agent:
    """A checkpoint's agent, to act or learn on; own networks have to be given again."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        config, obs = Config(**state["config"] | {"device": device}), state["obs_shape"]
        low, high = state["bounds"]
        stored = sum(x.numel() for x in state["weights"].values())
        told = config.hidden * (config.hidden + math.prod(obs))  # not yet allocated
        need(networks or told <= stored, "size of networks", told, f"{stored} stored")
        space = Box(low.numpy(), high.numpy()) if low.ndim else Discrete(int(high) + 1)
        agent = (SoftActorCritic if low.ndim else SoftQ)(obs, space, config, **networks)
        agent.load_state_dict(state["weights"])
        agent.optimizer.load_state_dict(state["optimizer"])
        kinds = tuple, (str, type(None)), int, int, list, list
        for name, kind in zip(KEPT, kinds, strict=True):
            x = state[name]
            need(isinstance(x, kind) and (kind is not int or x >= 0), name, x, kind)
            setattr(agent, name, x)
        if state["replay"]:
            (rows, count), n = state["replay"], len(state["replay"][0][0])
            want = [(n, *obs), (n, *space.shape), (n, *obs), (n,)]
            ok = type(count) is int and count >= n > 0 and rows[3].dtype == torch.bool
            need(ok and want == [x.shape for x in rows], "replay", count, want)
            agent.replay = Replay(Batch(*map(agent.tensor, rows)), count)
        if len(state["generator"]) == len(agent.generator.get_state()):  # same device
            agent.generator.set_state(state["generator"])
        return agent
    except Exception as error:  # for bad bytes torch and pickle raise many
        reason = str(error) or repr(error)
        raise InputError(f"checkpoint {str(path)!r}: {reason}") from error

# ----------------------------------------------------------------------- command line

REPORT = """env mode demos_episodes demos_transitions expert_return random_return
    return_mean return_std episodes updates env_steps seconds updates_per_second
    reward_pearson out"""
FLAGS = {  # and every field of Config
    "demos": "diary (.npz); without one, the environment's elder writes it",
    "episodes": "episodes of the diary, to record (1), or to evaluate (20)",
    "subsample": "take only every K-th transition of the diary", "out": "file to write",
    "resume": "agent to go on from", "metrics": "CSV file for the figures of learning",
    "agent": "agent that records, instead of the elder",
    "env": "environment to evaluate in, instead of the agent's own"}

def main(argv: list[str] | None = None) -> int:
    """Run the command line that --help tells of; returns the exit status."""
    parser = argparse.ArgumentParser("iq.py", description=__doc__.partition("\n")[0])
    parser.error = lambda text: need(False, "command line", text, "what --help tells")
    jobs = "learn", "record", "evaluate", "reward"
    parser.add_argument("job", nargs="?", default="learn", choices=jobs)
    parser.add_argument("target", nargs="?", default="CartPole-v1",
                        help="environment (learn, record), agent (evaluate, reward)")
    for name, text in FLAGS.items():
        kind = int if name in ("episodes", "subsample") else str
        parser.add_argument("--" + name, type=kind, help=text)
    parser.add_argument("--online", action="store_true", help="learn in it too")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    for f in fields(Config):
        flag, kind = "--" + f.name.replace("_", "-"), type(f.metadata["allowed"][0])
        boolean = {"action": argparse.BooleanOptionalAction}
        parser.add_argument(flag, help=f.metadata["text"], **(
            boolean if kind is bool else {"type": kind}))
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(1)  # networks this small only lose by more
    try:
        args = parser.parse_args(argv)
        if dist.is_available() and dist.is_torchelastic_launched():
            if torch.cuda.is_available():
                torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
            dist.init_process_group()
            need(not args.resume, "--resume", args.resume, "one process, no torchrun")
        if rank_and_ranks()[0]:  # the first one alone writes
            args.out = args.metrics = None
        report = dict.fromkeys(REPORT.split()) | run(args)
    except (InputError, FloatingPointError, KeyboardInterrupt) as error:
        print("iq.py:", " ".join(str(error).split()) or "interrupted", file=sys.stderr)
        return {InputError: 2, FloatingPointError: 1}.get(type(error), 130)
    rank, _ = rank_and_ranks()
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()  # or gloo's threads may abort Python as it exits
    if rank:
        return 0
    for k, x in report.items():  # JSON knows no NaN
        report[k] = None if isinstance(x, float) and math.isnan(x) else x
    print(json.dumps(report) if args.json else "\n".join(
        f"{k:20}{x}" for k, x in report.items() if x is not None))
    return 0

def run(args: argparse.Namespace) -> dict[str, Any]:
    """Diary, learning, hunt and rewards, each where a command line asks for it."""
    given = {f.name: getattr(args, f.name) for f in fields(Config)}
    given = {k: x for k, x in given.items() if x is not None}
    job, config = args.job, Config(**given)
    for path in filter(None, (args.out, args.metrics)):
        need(not os.path.isdir(path), "file to write", path, "no folder")
        write(path + ".try", lambda file: None)  # fail now, not after hours of learning
        os.remove(path + ".try")
    stored = {"learn": args.resume, "record": args.agent}.get(job, args.target)
    agent = load(stored, config.device) if stored else None
    name = args.env or agent.env_id if job in ("evaluate", "reward") else args.target
    need(name or job == "reward", "environment", name, "one, by --env")
    env = None if job == "reward" else make(name, agent)
    report, fresh = {"env": name, "out": args.out}, config.seed + 10**6  # unseen resets
    if args.demos or job == "reward":
        need(args.demos, "--demos", args.demos, "a diary")
        demos = Demos.load(args.demos, (agent or env).action_space)
        demos = demos if args.episodes is None else demos.take(args.episodes)
    elif job != "evaluate":
        policy = agent.act if args.agent else elder(name, config.seed)
        episodes = 1 if args.episodes is None else args.episodes
        demos = record(name, policy, episodes, config.seed)
    if job != "evaluate":
        report["expert_return"] = demos.returns().mean()
        demos = demos if args.subsample is None else demos.subsample(args.subsample)
        report["demos_episodes"] = int(demos.starts.sum())
        report["demos_transitions"] = len(demos)
    if job == "record":
        need(args.out, "--out", args.out, "a file to write")
        demos.save(args.out)
    if job == "learn":
        agent = agent or new_agent(demos, config)
        agent.config = replace(agent.config, **given)
        make(env, agent)
        agent.env_id = name
        report |= train(agent, demos, env if args.online else None, args)
        env.action_space.seed(config.seed)
        chance = record(name, lambda obs: np.stack([
            env.action_space.sample() for _ in obs]), 20, fresh)
        report["random_return"] = chance.returns().mean()
    if job in ("learn", "evaluate"):
        episodes = 20 if job == "learn" or args.episodes is None else args.episodes
        returns = evaluate(agent, name, episodes, fresh)
        report |= {"return_mean": returns.mean(), "return_std": returns.std(),
                   "episodes": episodes, "updates": agent.updates}
    if job in ("learn", "reward"):
        shape = demos.observations.shape[1:]
        agent.check("diary", shape, demos.action_space, demos.env_id)
        reward = agent.reward(
            demos.observations, demos.actions, demos.next_observations,
            demos.terminations).cpu().numpy()
        true = np.full(len(demos), np.nan) if demos.rewards is None else demos.rewards
        if np.ptp(true) > 0:  # a constant one correlates with nothing
            report["reward_pearson"] = np.corrcoef(reward, true)[0, 1]
        if job == "reward" and args.out:
            rows = zip(demos.episode_ids, reward, true)
            write_csv(args.out, ("episode_id", "recovered_reward", "true_reward"), rows)
    return report

def train(agent: Agent, demos: Demos, env: gym.Env | None, args: Any) -> dict[str, Any]:
    """Learn with a progress bar, saving on the way; returns its part of the report."""
    done, start, stop = agent.updates, time.monotonic(), []
    bar = tqdm and tqdm(initial=done, total=agent.config.steps, disable=None)

    def save() -> None:
        if args.metrics and agent.history:
            rows = (x.values() for x in agent.history)
            write_csv(args.metrics, agent.history[-1], rows)
        if args.out:
            agent.save(args.out)

    def callback(step: int, info: dict[str, float]) -> None:
        if bar:
            bar.set_postfix(loss=info["loss"], episodes=agent.episodes)
            bar.update(step - bar.n)
        if stop or step % 1000 < agent.config.log_every:
            save()
        if stop:
            raise KeyboardInterrupt

    usual = signal.signal(signal.SIGINT, lambda *_: stop.append(1))  # between two steps
    try:
        learn(demos, env, agent.config, callback, agent)
        save()
    finally:
        signal.signal(signal.SIGINT, usual)
    seconds = time.monotonic() - start
    return {"mode": "online" if env else "offline", "seconds": seconds,
            "updates_per_second": (agent.updates - done) / seconds,
            "env_steps": agent.replay.count if agent.replay else 0}

def write_csv(path: str, columns: Any, rows: Any) -> None:
    text = "\n".join(",".join(map(str, row)) for row in (columns, *rows)) + "\n"
    write(path, lambda file: file.write(text.encode()))

if __name__ == "__main__":
    sys.exit(main())
