"""What the hunts share: many seeds of one hunt, cloning, playing, fields, tables.

Only the book needs this file. Learning is iq.py's; here it is only called and measured.
"""
from __future__ import annotations

import csv
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
        self.replay = iq.Replay(self.agent.rows(demos), demos.starts, 0)
        self.weights = [*self.agent.critic.parameters()]
        self.optimizer = torch.optim.AdamW(self.weights, own.learning_rate, weight_decay=decay)
        self.act, self.log_prob = self.agent.act, self.agent.log_prob

    def update(self) -> float:
        """Descend -log pi(a|s) of a batch once."""
        own = self.agent.config
        batch, _ = self.replay.sample(own.batch_size, self.agent.generator)
        q_of, value = self.agent.q_and_value(batch.obs, self.agent.critic)
        loss = (value - q_of(batch.action)).mean()
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


def film(panels: dict[str, list], steps, draw: str, alt: str, every: int = 1, fps: int = 25,
         width: int = 300, height: int = 170) -> None:
    """Episodes of one start side by side: a slider over training time, and a player.

    panels: who -> frames (T, K) for each of steps, or for one of them.
    """
    data = {"steps": [int(x) for x in steps], "every": every, "panels": [
        {"name": name, "color": caveman.COLORS.get(name, caveman.LEARNER),
         "films": [np.round(frames[::every], 3).tolist() for frames in films]}
        for name, films in panels.items()]}
    cells = "".join(
        f'<div style="flex:1;min-width:5rem"><canvas role="img" width="{width}" '
        f'height="{height}" aria-label="{name}: {alt}"></canvas><div></div></div>'
        for name in panels)
    longest = max(len(frames) for panel in data["panels"] for frames in panel["films"])
    last = len(data["steps"]) - 1
    body = (f'<div class="cave-row" style="align-items:flex-start">{cells}</div>'
            f'{caveman.slider("stage", 0, last, last, 1, "updates")}<div class="cave-row">'
            '<button type="button" aria-pressed="false">Play</button><input type="range" '
            f'name="step" aria-label="step of the episode" min="0" max="{longest - 1}" value="0" '
            'step="1" style="flex:1;min-width:8rem"></div>')
    caveman.widget(body, f"""
const stage = box.querySelector("[name=stage]"), step = box.querySelector("[name=step]");
const b = box.querySelector("button"), w = {width}, h = {height};
const k = Math.max(1, window.devicePixelRatio || 1), cells = [...box.querySelectorAll("canvas")];
cells.forEach(cv => {{ cv.width = w * k; cv.height = h * k; }});
function paint(c, f, ink, color) {{ {caveman.DRAW[draw]} }}
function frame() {{
  stage.parentNode.querySelector("output").textContent = data.steps[+stage.value];
  stage.setAttribute("aria-valuetext", data.steps[+stage.value] + " updates");
  cells.forEach((cv, i) => {{
    const p = data.panels[i], all = p.films[Math.min(+stage.value, p.films.length - 1)];
    const c = cv.getContext("2d"), at = Math.min(+step.value, all.length - 1);
    c.setTransform(k, 0, 0, k, 0, 0); c.clearRect(0, 0, w, h); c.save();
    paint(c, all[at], ink(), p.color); c.restore();
    cv.nextSibling.textContent =
      `${{p.name}}: ${{at * data.every}} of ${{(all.length - 1) * data.every}}`; }}); }}
let timer = null;
function stop() {{ clearInterval(timer); timer = null; b.textContent = "Play";
  b.setAttribute("aria-pressed", "false"); }}
b.onclick = () => {{ if (timer) return stop();
  if (+step.value >= +step.max) step.value = 0;
  b.textContent = "Pause"; b.setAttribute("aria-pressed", "true");
  timer = setInterval(() => {{ if (+step.value >= +step.max) return stop();
    step.value = +step.value + 1; frame(); }}, {1000 // fps}); }};
stage.oninput = step.oninput = frame; onTheme(frame); frame();""", data, label=alt)


# --------------------------------------------------------------------- stored results

def results(name: str) -> list[dict[str, str]]:
    """The rows of book/results/NAME, or none where it has not been measured."""
    path = RESULTS / name
    if not path.exists():
        return []
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


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
