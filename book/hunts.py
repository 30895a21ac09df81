"""What chapters 7-12 share: many seeds of one hunt, cloning, playing, fields, tables.

Only the book needs this file. Learning is iq.py's; here it is only called and measured.
"""
from __future__ import annotations

import csv
import textwrap
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import caveman
import numpy as np
import torch
from gymnasium.spaces import Discrete
from torch import nn

import iq

FRESH = 10**6  # evaluation begins from starts that no diary and no training has seen
RESULTS = Path(__file__).resolve().parent / "results"
DIARIES = Path(__file__).resolve().parent / "diaries"


@dataclass
class Hunts:
    """Several seeds of one way of learning, measured on the way and at the end."""

    steps: np.ndarray  # (P,) updates made when a point of the curve was measured
    returns: np.ndarray  # (S, P) mean return over a few fresh episodes
    final: np.ndarray  # (S,) mean return of the last agent over 20 other fresh episodes
    learners: list = field(default_factory=list)  # agents of iq, or clones
    history: list = field(default_factory=list)  # one list of figures of learning a seed

    def row(self, who: str) -> dict:
        """A row of a table: what the last agents got."""
        return {"who": who, "mean": float(self.final.mean()),
                "least seed": float(self.final.min()), "best seed": float(self.final.max()),
                "seeds": len(self.final)}


def hunt(demos: iq.Demos, env: str | None, config: iq.Config, home: str, seeds: int = 5,
         every: int = 200, episodes: int = 5) -> Hunts:
    """Learn with several seeds; home is where the agents are measured.

    Measuring acts greedily, so it draws nothing from an agent's own random stream.
    """
    curves, finals, agents, history = [], [], [], []
    for seed in range(seeds):
        own = replace(config, seed=seed, log_every=every)
        agent, curve = iq.new_agent(demos, own), []

        def measure(step, info, agent=agent, curve=curve):
            curve.append((step, iq.evaluate(agent, home, episodes, FRESH).mean(), info))

        iq.learn(demos, env, own, measure, agent)
        finals.append(iq.evaluate(agent, home, 20, FRESH + 1000).mean())
        curves.append([c[1] for c in curve])
        history.append([{"step": c[0], **c[2]} for c in curve])
        agents.append(agent)
    return Hunts(np.array([c[0] for c in curve]), np.array(curves), np.array(finals),
                 agents, history)


class Clone:
    """Behavioural cloning: supervised learning of the diary's moves, with weight decay."""

    def __init__(self, demos: iq.Demos, seed: int, decay: float, hidden: int = 128) -> None:
        self.generator = torch.Generator().manual_seed(seed)
        self.discrete = isinstance(demos.action_space, Discrete)
        size, space = int(np.prod(demos.observations.shape[1:])), demos.action_space
        out = int(space.n) if self.discrete else space.shape[0]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.net = nn.Sequential(nn.Linear(size, hidden), nn.Tanh(), nn.Linear(
                hidden, hidden), nn.Tanh(), nn.Linear(hidden, out))
        self.obs, self.moves = map(torch.as_tensor, (demos.observations, demos.actions))
        if not self.discrete:
            self.low, self.high = map(torch.as_tensor, (space.low, space.high))
        self.optimizer = torch.optim.AdamW(self.net.parameters(), 1e-3, weight_decay=decay)

    def update(self, batch: int = 64) -> float:
        i = torch.randint(len(self.obs), (batch,), generator=self.generator)
        if self.discrete:
            loss = nn.functional.cross_entropy(self.net(self.obs[i]), self.moves[i])
        else:
            loss = (self.scaled(self.net(self.obs[i])) - self.moves[i]).square().mean()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return float(loss.detach())

    def scaled(self, x):
        return self.low + (self.high - self.low) * (x.tanh() + 1) / 2

    @torch.no_grad()
    def act(self, obs) -> np.ndarray:
        """The likeliest moves, obs (B, *obs)."""
        x = self.net(torch.as_tensor(obs).float().flatten(1))
        return (x.argmax(1) if self.discrete else self.scaled(x)).numpy()


def clones(demos: iq.Demos, home: str, steps: int, decay: float, seeds: int = 5,
           every: int = 200, episodes: int = 5) -> Hunts:
    """The same measurements for clones."""
    curves, finals, agents = [], [], []
    for seed in range(seeds):
        clone, curve = Clone(demos, seed, decay), []
        for step in range(1, steps + 1):
            clone.update()
            if step % every == 0:
                curve.append(iq.record(home, clone.act, episodes, FRESH).returns().mean())
        finals.append(iq.record(home, clone.act, 20, FRESH + 1000).returns().mean())
        curves.append(curve)
        agents.append(clone)
    return Hunts(np.arange(every, steps + 1, every), np.array(curves), np.array(finals), agents)


def random_policy(space, seed: int = 0) -> Callable:
    """A hunter who thinks nothing.  obs (B, *obs) -> actions."""
    rng = np.random.default_rng(seed)
    if isinstance(space, Discrete):
        return lambda obs: rng.integers(int(space.n), size=len(obs))
    return lambda obs: rng.uniform(
        space.low, space.high, (len(obs), *space.shape)).astype(np.float32)


def score(home: str, policy: Callable, episodes: int = 20) -> float:
    """Mean return of anyone, over the same fresh starts as the final agents'."""
    return float(iq.record(home, policy, episodes, FRESH + 1000).returns().mean())


def still(who: str, mean: float) -> dict:
    """A row beside those of Hunts.row: someone who doesn't learn."""
    return {"who": who, "mean": float(mean), "least seed": "", "best seed": "", "seeds": ""}


# ---------------------------------------------------------------- figures and players

def compare(home_levels: dict[str, float], runs: dict[str, Hunts], title: str, alt: str,
            who: dict[str, str] | None = None, x: str = "updates") -> None:
    """Learning curves: the mean of the seeds, a band from the worst to the best one."""
    fig, ax = caveman.figure(width=6.0, height=3.4)
    for name, run in runs.items():
        key = (who or {}).get(name, name)
        style = {} if key in caveman.COLORS else {"color": caveman.EXTRA, "ls": (0, (3, 1))}
        caveman.curves(ax, run.steps, run.returns, key, name, **style)
    for name, y in home_levels.items():
        caveman.level(ax, y, name)
    ax.set(xlabel=x, ylabel="return", title=title)
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.18), ncols=2)
    caveman.show(fig, alt=alt)


def heat(ax, values, extent, title: str, x: str, y: str, cmap=None, limits=None) -> None:
    """A field of numbers (rows upward) as colours, with its scale."""
    low, high = limits or (None, None)
    image = ax.imshow(values, origin="lower", extent=extent, aspect="auto",
                      cmap=cmap or caveman.HEAT, vmin=low, vmax=high)
    ax.figure.colorbar(image, ax=ax, shrink=0.85).outline.set_visible(False)
    ax.grid(False)
    ax.set(title=title, xlabel=x, ylabel=y)


def cartpole_frames(demos: iq.Demos) -> np.ndarray:
    """Cart position and pole angle of one episode, (T, 2), for caveman.player."""
    return np.append(demos.observations, demos.next_observations[-1:], 0)[:, [0, 2]]


def pendulum_frames(demos: iq.Demos) -> np.ndarray:
    """Angle from upright and torque of one episode, (T, 2), for caveman.player."""
    cos, sin, _ = demos.observations.T
    return np.column_stack([np.arctan2(sin, cos), demos.actions[:, 0]])


# --------------------------------------------------------------------- stored results

def results(name: str) -> list[dict[str, str]]:
    """The rows of book/results/NAME, or none where it has not been measured."""
    path = RESULTS / name
    if not path.exists():
        return []
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def sweep(rows: list[dict[str, str]]) -> None:
    """A table and a picture of each study in ablations.csv; one mark a seed, NaN left out."""
    studies = {}
    for row in rows:
        tasks = studies.setdefault(row["study"], {}).setdefault(row["task"], {})
        tasks.setdefault(row["setting"], []).append(row)
    for study, tasks in studies.items():
        table, height = {}, -(-len(tasks) // 2)
        fig, axes = caveman.figure(height, 2, 6.4, 2.5 * height, layout="constrained")
        for ax in axes.flat[len(tasks):]:
            ax.axis("off")
        for ax, (task, settings) in zip(axes.flat, tasks.items(), strict=False):
            for spot, (setting, group) in enumerate(settings.items()):
                got = np.array([float(row["return_mean"]) for row in group])
                ax.plot(np.full(len(got), spot), got, "o", color=caveman.LEARNER, alpha=0.75)
                most = max(float(row["max_q"]) for row in group)
                line = table.setdefault(setting, {"setting": setting})
                line[task] = f"{got.mean():.0f}\u00a0±\u00a0{got.std():.0f} ({most:.1f})"
            ax.set_xticks(range(len(settings)), settings, rotation=30, ha="right", fontsize=8)
            ax.set_ylabel("return")
            ax.set_title(textwrap.fill(task, 32), fontsize=9)
        caveman.table(list(table.values()), f"{study}: return over seeds (and largest |Q|)")
        caveman.show(fig, alt=f"Returns of every seed by setting of {study}, task by task.")
