"""What the hunts share: many seeds of one hunt, cloning, playing, fields, tables.

Only the book needs this file. Learning is iq.py's; here it is only called and measured.
"""
from __future__ import annotations

import csv
import itertools
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import caveman
import numpy as np
import torch
from gymnasium.spaces import Discrete

import iq

FRESH = 10**6  # evaluation begins from starts that no diary and no training has seen
RESULTS = Path(__file__).resolve().parent / "results"
DIARIES = Path(__file__).resolve().parent / "diaries"


@dataclass
class Hunts:
    """Several seeds of one way of learning, measured on the way and at the end."""

    steps: np.ndarray  # (P,) updates made when a point of the curve was measured, 0 first
    returns: np.ndarray  # (S, P) mean return over a few fresh episodes
    final: np.ndarray  # (S,) mean return of the last agent over 20 other fresh episodes
    learners: list  # agents of iq, or clones
    history: list = field(default_factory=list)  # one list of figures of learning a seed
    films: list = field(default_factory=list)  # (P,) episodes of one start, by the first seed

    def row(self, who: str) -> dict:
        """A row of a table: what the last agents got."""
        return {"who": who, "mean": float(self.final.mean()),
                "least seed": float(self.final.min()), "best seed": float(self.final.max()),
                "seeds": len(self.final)}


class Clone:
    """Behavioural cloning: the diary's moves made likely, with weight decay as a leash.

    The learner's own network, batches and step size; for continuous moves it is a normal
    with a learned spread. At temperature 1, Q - V is log pi, and nothing else is in the loss.
    """

    def __init__(self, demos: iq.Demos, seed: int = 0, decay: float = 0.01,
                 config: iq.Config = iq.Config()) -> None:
        own = replace(config, seed=seed, temperature=1.0, continuous="naf")
        self.agent = iq.new_agent(demos, own)
        self.expert = self.agent.to_batch(demos.observations, demos.actions,
                                          demos.next_observations, demos.terminations)
        self.weights = [*self.agent.critic.parameters()]
        self.optimizer = torch.optim.AdamW(self.weights, own.learning_rate, weight_decay=decay)
        self.act, self.log_prob = self.agent.act, self.agent.log_prob

    def update(self) -> float:
        """Descend -log pi(a|s) of a batch once."""
        own = self.agent.config
        batch, _ = iq.Replay().sample(self.expert, own.batch_size, self.agent.generator)
        q, value = self.agent.q_and_value(batch.obs, batch.action)
        loss = (value - q).mean()
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.weights, 10.0)
        self.optimizer.step()
        return float(loss.detach())


class Standardized(torch.nn.Module):
    """A network that sees observations less the diary's mean, over the diary's spread."""

    def __init__(self, demos: iq.Demos, network: torch.nn.Module) -> None:
        super().__init__()
        seen = torch.as_tensor(demos.observations, dtype=torch.float32)
        self.register_buffer("mean", seen.mean(0))
        self.register_buffer("spread", seen.std(0).clamp(min=1e-3))
        self.network = network

    def forward(self, obs, *action):
        return self.network((obs - self.mean) / self.spread, *action)


def standardized(demos: iq.Demos, config: iq.Config) -> dict:
    """Networks of one's own for an actor-critic: iq.MLPs that see such observations."""
    (n,), (a,) = demos.observations.shape[1:], demos.actions.shape[1:]
    torch.manual_seed(config.seed)
    return {"critic": Standardized(demos, iq.MLP(n + a, config.hidden, 1)),
            "actor": Standardized(demos, iq.MLP(n, config.hidden, 2 * a))}


def way(rows: list[dict]) -> tuple[np.ndarray, np.ndarray]:
    """Of final runs' rows: what part of the steps is done, and each run's share then.

    (P,) and (runs, P), by curves.csv. Share is 0 for a random policy, 1 for the expert.
    """
    key = "task", "expert", "mode", "method", "seed", "steps"
    points = {}
    with (RESULTS / "curves.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            points.setdefault(tuple(row[k] for k in key), []).append(
                (int(row["step"]) / int(row["steps"]), float(row["return"])))
    shares = []
    for row in rows:
        done, returns = np.array(sorted(points[tuple(row[k] for k in key)])).T
        random = float(row["random_return"])
        shares.append((returns - random) / (float(row["expert_return"]) - random))
    return done, np.array(shares)


def measured(one: Callable, home: str, seeds: int, every: int, episodes: int,
             film: int | None) -> Hunts:
    """one(seed, measure) -> learner; it calls measure(act, step, info) after every update.

    Measuring acts greedily, so it draws nothing from an agent's own random stream.
    """
    curves, finals, learners, history, films = [], [], [], [], []

    def points(seed):
        steps, curve, figures = [], [], []

        def measure(act, step, info=None):
            if step % every:
                return
            steps.append(step)
            curve.append(iq.record(home, act, episodes, FRESH).returns().mean())
            if info is not None:
                figures.append({"step": step, **{k: float(x) for k, x in info.items()}})
            if film is not None and seed == 0:
                films.append(iq.record(home, act, 1, film))

        learners.append(one(seed, measure))
        finals.append(score(home, learners[-1].act))
        curves.append(curve)
        history.append(figures)
        return steps

    steps = [points(seed) for seed in range(seeds)][0]
    return Hunts(*map(np.array, (steps, curves, finals)), learners, history, films)


def hunt(demos: iq.Demos, env: str | None, config: iq.Config, home: str, seeds: int = 5,
         every: int = 200, episodes: int = 5, film: int | None = None) -> Hunts:
    """Learn with several seeds; home is where the agents are measured."""
    def one(seed, measure):
        agent = iq.new_agent(demos, replace(config, seed=seed))
        measure(agent.act, 0)
        return iq.learn(demos, env, agent=agent,
                        callback=lambda step, info: measure(agent.act, step, info))
    return measured(one, home, seeds, every, episodes, film)


def clones(demos: iq.Demos, home: str, steps: int, decay: float = 0.01, seeds: int = 5,
           every: int = 200, episodes: int = 5, film: int | None = None) -> Hunts:
    """The same measurements for clones."""
    def one(seed, measure):
        clone = Clone(demos, seed, decay)
        measure(clone.act, 0)
        for step in range(1, steps + 1):
            clone.update()
            measure(clone.act, step)
        return clone
    return measured(one, home, seeds, every, episodes, film)


def random_policy(space, seed: int = 0) -> Callable:
    """A hunter who thinks nothing.  One observation -> one action."""
    rng = np.random.default_rng(seed)
    if isinstance(space, Discrete):
        return lambda obs: int(rng.integers(int(space.n)))
    return lambda obs: rng.uniform(space.low, space.high).astype(np.float32)


def score(home: str, policy: Callable, episodes: int = 20) -> float:
    """Mean return of anyone, over the same fresh starts as the final agents'."""
    return float(iq.record(home, policy, episodes, FRESH + 1000).returns().mean())


def still(who: str, mean: float) -> dict:
    """A row beside those of Hunts.row: someone who doesn't learn."""
    return {"who": who, "mean": float(mean), "least seed": "", "best seed": "", "seeds": ""}


# ---------------------------------------------------------------- figures and players

def compare(home_levels: dict[str, float], runs: dict[str, Hunts], title: str, alt: str,
            who: dict[str, str] | None = None, x: str = "updates",
            caption: str | None = None) -> None:
    """Learning curves: the mean of the seeds, a band from the worst to the best one.

    Without a caption the figure says how many seeds stand behind it.
    """
    fig, ax = caveman.figure(width=6.0, height=3.4)
    for name, run in runs.items():
        key = (who or {}).get(name, name)
        style = {} if key in caveman.COLORS else {"color": caveman.EXTRA, "ls": (0, (3, 1))}
        caveman.curves(ax, run.steps, run.returns, key, caveman.NAMES.get(name, name), **style)
    for name, y in home_levels.items():
        caveman.level(ax, y, name)
    ax.set(xlabel=x, ylabel="return", title=title)
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.18), ncols=2)
    if caption is None:
        seeds = {len(run.final) for run in runs.values()}
        many = " or ".join(map(str, sorted(seeds)))
        caption = (f"Each line is the mean of {many} seeds, its band reaches from the worst "
                   "to the best of them." if seeds != {1} else "One seed each.")
    caveman.show(fig, alt, caption)


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


def leaning_pole(policy: Callable, degrees: float, steps: int = 250) -> tuple[np.ndarray, int]:
    """A pole that leans from the start: frames (T, 2) for caveman.film, and when it fell.

    The task ends where the pole leans by 12 degrees or the cart leaves its track. Here the
    film goes on to the ground, with nobody pushing.
    """
    import gymnasium as gym
    cart = gym.make("CartPole-v1").unwrapped
    cart.reset(seed=0)
    cart.state = np.array([0.0, 0.0, np.radians(degrees), 0.0])
    frames, fell = [np.array(cart.state)], None
    while len(frames) <= steps:
        action = 0 if fell else int(policy(frames[-1].astype(np.float32)))
        _, _, over, _, _ = cart.step(action)
        frames.append(np.array(cart.state))
        if over and not fell:
            fell, cart.force_mag = len(frames) - 1, 0.0
        if fell:
            if abs(frames[-1][2]) > np.pi / 2:
                break
            cart.steps_beyond_terminated = None  # a warning less: we know
    return np.array(frames)[:, [0, 2]], fell or len(frames) - 1


def pendulum_frames(demos: iq.Demos) -> np.ndarray:
    """Angle from upright and torque of one episode, (T, 2), for caveman.player."""
    cos, sin, _ = demos.observations.T
    return np.column_stack([np.arctan2(sin, cos), demos.actions[:, 0]])


def film(panels: dict[str, list], steps, draw: str, alt: str, every: int = 1, fps: int = 25,
         width: int = 300, height: int = 170, caption: str = "") -> None:
    """caveman.film of episodes during training: a stage for each of steps.

    panels: who -> frames (T, K) for each of steps, or for one of them.
    """
    caveman.film(panels, [f"{int(x)}" for x in steps], draw, alt, every, fps, width, height,
                 caption=caption)


# ----------------------------------------------------------------- hunts in the valley

def valley_moves(valley: caveman.Valley, policy: Callable) -> np.ndarray:
    """A policy's moves (n,), one for each place of the valley."""
    return np.array([int(policy(obs)) for obs in valley.see(np.arange(valley.n))])


def valley_clone(valley: caveman.Valley, diary: iq.Demos, seed: int = 0,
                 updates: int = 300) -> np.ndarray:
    """The moves (n,) of a clone of the diary."""
    clone = Clone(diary, seed, config=iq.Config(scale_inputs=False))
    for _ in range(updates):
        clone.update()
    return valley_moves(valley, clone.act)


def valley_grok(valley: caveman.Valley, diary: iq.Demos, keep: list[int], online: bool = True,
                seed: int = 0) -> list[np.ndarray]:
    """Grok's moves (n,) after each number of updates in keep, 0 among them.

    Places are seen as ones and zeros, which need no scaling.
    """
    config = iq.Config(steps=max(keep), gamma=0.95, scale_inputs=False, seed=seed)
    agent = iq.new_agent(diary, config)
    moves = [valley_moves(valley, agent.act)]

    def look(step, info):
        if step in keep:
            moves.append(valley_moves(valley, agent.act))

    iq.learn(diary, caveman.Valley(valley.wind) if online else None, agent=agent, callback=look)
    return moves


def finds(valley: caveman.Valley, policy: np.ndarray, steps: int = 60) -> float:
    """The exact chance of the deer within so many steps: policy (n, 4), or moves (n,)."""
    policy = np.asarray(policy)
    policy = np.eye(4)[policy] if policy.ndim == 1 else policy
    chain = np.einsum("sa,sat->st", policy, valley.P)
    chain[valley.deer] = np.eye(valley.n)[valley.deer]
    return float(np.linalg.matrix_power(chain, steps)[valley.start, valley.deer])


# ------------------------------------------------------------- one map, its two terms

def learn_map(valley: caveman.Valley, diary: iq.Demos, value_term: bool = True,
              square: bool = True, updates: int = 800, gamma: float = 0.9,
              temperature: float = 0.1, alpha: float = 0.5, step: float = 0.05,
              keep=None) -> tuple[np.ndarray, np.ndarray]:
    """Equation 9 on a table with one number for each place and move, by iq.iq_loss.

    The whole diary is one batch, V(s') is not held fixed, and Adam makes the updates.
    Without value_term the start's value counts as 0; without square alpha is a million,
    which leaves a millionth of the square. Returns the values (T, n) and the policies
    (T, n, 4) after each of the updates in keep; if keep is None after all, 0 among them.
    """
    place, after = (torch.as_tensor(x.argmax(1)) for x in (diary.observations, diary.next_observations))
    move, ended = torch.as_tensor(diary.actions), torch.as_tensor(diary.terminations)
    rows = torch.ones(len(place), dtype=torch.bool)  # each is the diary's
    noise = torch.Generator().manual_seed(0)
    q = 0.01 * torch.randn(valley.n, 4, generator=noise, dtype=torch.double)
    q.requires_grad_()
    adam = torch.optim.Adam([q], step)
    keep, values, rules = set(range(updates + 1) if keep is None else keep), [], []
    for update in range(updates + 1):
        v = iq.soft_value(q, temperature)
        if update in keep:
            values.append(v.detach().numpy())
            rules.append(iq.soft_policy(q.detach(), temperature).exp().numpy())
        start = v[[valley.start]] if value_term else torch.zeros(1, dtype=torch.double)
        loss, _ = iq.iq_loss(
            q[place, move], v[place], torch.where(ended, 0.0, v[after]), rows, gamma, "chi2",
            alpha if square else 1e6, value_term="initial", initial_value=start)
        adam.zero_grad()
        loss.backward()
        adam.step()
    return np.array(values), np.array(rules)


def map_film(valley: caveman.Valley | None = None, diary: iq.Demos | None = None,
             updates: int = 800, alpha: float = 0.5, gamma: float = 0.9,
             caption: str | None = None) -> dict[tuple[bool, bool], dict]:
    """The valley's own map over its updates, with a switch for each of the two terms.

    All four ways of learning are computed here, by learn_map. Returns, for (value term,
    square), what the last update left: the highest and the lowest value among the places
    of the diary, the chance that the rule finds the deer within 40 steps, and the verdict.
    """
    valley = valley or caveman.Valley(wind=0.2)
    diary = diary or iq.record(valley, valley.elder(temperature=0.25, seed=1), episodes=6, seed=1)
    kept = np.unique((np.linspace(0, 1, 41) ** 2 * updates).round().astype(int))
    seen = np.unique(diary.observations.argmax(1))
    ceiling = 2 * alpha / (1 - gamma)  # Q where r = 2 alpha for ever: the square's summit
    runs, ends = [], {}
    for switches in itertools.product((False, True), (False, True)):
        values, rules = learn_map(valley, diary, *switches, updates=updates, alpha=alpha,
                                  gamma=gamma, keep=kept.tolist())
        high, low = values[:, seen].max(1), values[:, seen].min(1)
        deer = [finds(valley, rule, 40) for rule in rules]
        verdict = ("The map explodes: its numbers grow without end."
                   if max(high[-1], -low[-1]) > 1.5 * ceiling else
                   "The map shines: Ugg's way stands out, and the numbers rest."
                   if deer[-1] > 0.5 else
                   "The map collapses: every place of the diary is bright, and the rule has lost the way.")
        ends[switches] = {"high": float(high[-1]), "low": float(low[-1]), "deer": deer[-1],
                          "verdict": verdict}
        runs.append({"values": valley._cells(values), "rules": valley._arrows(rules),
                     "high": high.round(2).tolist(), "low": low.round(2).tolist(),
                     "deer": np.round(deer, 3).tolist(), "verdict": verdict})
    if caption is None:
        caption = (f"Grok's map of the valley after each of {updates} updates, learned from "
                   f"{diary.starts.sum()} of Ugg's days. Number and colour: the soft value V of a place; "
                   "arrows: the rule. Switch a term off and play again.")
    caveman.map_picture(valley, runs, kept, 0.3 * ceiling, caption)
    return ends


# --------------------------------------------------------------------- stored results

def results(name: str) -> list[dict[str, str]]:
    """The rows of book/results/NAME, or none where it has not been measured."""
    path = RESULTS / name
    if not path.exists():
        return []
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def learning_time(task: str, mode: str) -> str:
    """Mean seconds for 10,000 updates, by the stored results."""
    took = [float(x["seconds"]) / int(x["steps"]) * 10_000 for x in results("returns.csv")
            if (x["task"], x["mode"], x["method"]) == (task, mode, "iq")]
    return f"{np.mean(took):.0f} s"


# a fact of the seed's story, and where its name is another the pattern that finds it
FACTS = r"""next state; expert data; no next place; Q-map; copy-only; two brains = two.brain|two heads;
One map; silly map = baby|silly; soft value = log ?\\sum; soft best = hunters;
now plus later = Now plus later; online objective = Equation 9|Eq. 9; magic shape = \\phi;
actor = \bactor; offline objective = Equation 12|Eq. 12; gradient step; softmax;
reward recovery = tag.11|Equation 11; full loop; second rock; careful carving = areful carving;
square; big stone; summary = Grok hunt like Ugg; 1.274; 0.053; 1.295; 1.604; 0.406"""


def seed_facts() -> list[dict[str, str]]:
    """Of each fact of the story that the book grew from, up to four pages that tell it."""
    pages = {path.stem: "".join("".join(cell["source"]) for cell in json.loads(path.read_text())["cells"])
             for path in sorted(RESULTS.parent.glob("*.ipynb")) if path.stem != "12_beyond"}
    pairs = [[x.strip() for x in fact.split(" = ")] for fact in FACTS.split(";")]
    return [{"of the seed": pair[0], "stands in": ", ".join(
        [page for page, text in pages.items() if re.search(pair[-1], text)][:4])} for pair in pairs]
