"""What *Beyond the valley* computes and draws: surprises, settings, gradients of ranks.

Its figures show what book/results/ holds, and say with which edition's file, and at
which commit, their rows were measured.
"""
from __future__ import annotations

import html

import caveman
import hunts
import numpy as np
import torch
from IPython.display import HTML, Markdown, display

import iq

# commits at which the second edition's iq.py was measured; others: the third's
SECOND = "defb2d8", "12d72be", "b39374f", "ef2a479"
THIN = "CartPole, 25 rows"
LINES = {THIN: "CartPole, 25 lines"}  # the book's word for rows
WIDTH = 4.9  # inches; letters stay legible on a phone
LOOKS = {"learner": (caveman.LEARNER, "o"), "clone": (caveman.CLONE, "s"),
         "other": (caveman.EXTRA, "D"), "chance": (caveman.RANDOM, "x")}


def rows(table: str, **keys: str) -> list[dict]:
    """The rows of results/TABLE.csv in which each named column holds the given word."""
    return [row for row in hunts.results(f"{table}.csv")
            if all(row[key] == word for key, word in keys.items())]


def column(some: list[dict], name: str = "share") -> np.ndarray:
    """A column's numbers. A run that broke down counts as chance; blanks do not."""
    return np.array([np.nan_to_num(float(row[name])) for row in some if row[name]])


def mean(some: list[dict], name: str = "share") -> float:
    """A column's mean, or not a number where nothing was measured."""
    values = column(some, name)
    return float(values.mean()) if len(values) else np.nan


def source(table: str, some: list[dict]) -> str:
    """With which file these rows were measured."""
    told = []
    for commit in sorted({row["commit"] for row in some}):
        edition = "second" if commit.rstrip("+") in SECOND else "third"
        told.append(f"{commit}, the {edition} edition's file")
    return f"<code>{table}.csv</code>, measured at " + "; ".join(told) + "."


def posts(ax, lines: int, below: float = 0.18, above: float = 0.16) -> None:
    """What chance and the expert are, beside each line but not through its words."""
    for x, who in ((0, "random"), (1, "expert")):
        ax.vlines([x] * lines, np.arange(lines) - above, np.arange(lines) + below,
                  color=caveman.COLORS[who], ls=caveman.LINES[who], lw=1.5, zorder=0)


class Surprise:
    """A figure with a line for each way of learning: runs, their mean, and a guess."""

    def __init__(self, table: str, value: str = "share") -> None:
        self.table, self.value = table, value
        self.lines: list[tuple] = []
        self.all: list[dict] = []

    def add(self, label: str, look: str = "other", guess: float | None = None,
            **keys: str) -> float:
        """A line of the rows with these keys. Returns their mean, for a later guess."""
        some = rows(self.table, **keys)
        values = column(some, self.value)
        self.all += some
        self.lines.append((label, look, guess, values))
        return mean(some, self.value)

    def show(self, guess: str, alt: str, limits: tuple = (-0.35, 1.4),
             axis: str = "share of the way", marks: tuple = ("chance", "the expert")) -> None:
        """Draw the lines. guess: what most people would have said, for the caption."""
        fig, ax = caveman.figure(width=WIDTH, height=0.52 * len(self.lines) + 1.15)
        low, high = limits
        for y, (label, look, expected, values) in enumerate(self.lines):
            color, marker = LOOKS[look]
            ax.text(low, y - 0.36, label, va="center", fontsize=10.5)
            ax.axhline(y, color=caveman.INK, lw=0.6, alpha=0.2)
            if not len(values):
                ax.text(low, y, "not measured", va="center", fontsize=9.5, style="italic")
                continue
            shown = values.clip(low, high)
            spread = 0.09 * np.resize([0, -1, 1], len(shown)) if len(shown) > 1 else 0
            ax.plot(shown, y + spread, marker, color=color, ms=5, alpha=0.6,
                    mew=1.5 if marker == "x" else 0)
            ax.plot([shown.mean()] * 2, [y - 0.16, y + 0.16], color=color, lw=3.5)
            if expected is not None and np.isfinite(expected):
                ax.plot(expected, y, "D", ms=11, mfc="none", mec=caveman.INK, mew=1.6)
            many = f"{len(values)} run" + "s" * (len(values) != 1)
            ax.text(high, y - 0.36, f"{values.mean():.2f} ({many})", va="center", ha="right",
                    fontsize=9.5)
        posts(ax, len(self.lines))
        for x, word in zip((0, 1), marks):
            ax.text(x, len(self.lines) - 0.42, word, ha="center", va="center", fontsize=9.5)
        ax.set(xlim=(low - 0.02, high + 0.02), ylim=(len(self.lines) - 0.25, -0.65), xlabel=axis)
        ax.set_yticks([])
        ax.spines["left"].set_visible(False)
        ax.grid(False)
        caveman.show(fig, alt, "Small marks: runs. Bar: their mean, told at the right. Hollow "
                     f"diamond: the guess that {guess}. {source(self.table, self.all)}")


def fold(title: str, table: list[dict], digits: int = 2) -> None:
    """A table that is folded away until a reader asks for it."""
    def cell(x):
        return html.escape(f"{x:.{digits}f}" if isinstance(x, float) else str(x))
    head = "".join(f"<th scope='col'>{html.escape(name)}</th>" for name in table[0])
    body = "".join("<tr>" + "".join(f"<td>{cell(x)}</td>" for x in row.values()) + "</tr>"
                   for row in table)
    display(HTML(f"<details><summary>{title}</summary><table class='table'><thead><tr>{head}"
                 f"</tr></thead><tbody>{body}</tbody></table></details>"))


def fold_all() -> None:
    """Every table of results/, a group of runs in each line; and the seed's facts."""
    for name, keys, values in (
            ("returns", ("task", "mode", "method"), ("share",)),
            ("ablations", ("task", "method"), ("share",)),
            ("bodies", ("task", "method", "steps"), ("share",)),
            ("rewards", ("task", "states", "signal"), ("by_step", "by_episode")),
            ("peers", ("task", "mode", "method"), ("share", "updates_per_second")),
            ("speed", ("agent", "beside", "hidden"), ("updates_per_second", "ratio"))):
        some, groups = rows(name), {}
        for row in some:
            groups.setdefault(tuple(row[key] for key in keys), []).append(row)
        table = []
        for group, members in groups.items():
            line = dict(zip(keys, group))
            for value in values:
                numbers = column(members, value)
                line[value] = mean(members, value) if len(numbers) else ""
                if value == "share":
                    line["worst run"] = float(numbers.min()) if len(numbers) else ""
            table.append(line | {"runs": len(members)})
        if table:
            fold(f"{name}: {len(some)} rows. {source(name, some)}", table)
    facts = hunts.seed_facts()
    assert all(row["stands in"] for row in facts)
    fold("Where the facts stand of the story that the book grew from", facts)


def tasks() -> None:
    """Every task of returns.csv: means of Grok online and offline, and of the clone."""
    some = rows("returns")
    names = list(dict.fromkeys(row["task"] for row in some if row["method"] == "iq"))
    ways = (("Grok, online", "learner", "o", {"method": "iq", "mode": "online"}),
            ("Grok, offline", "learner", "D", {"method": "iq", "mode": "offline"}),
            ("the clone, offline", "clone", "s", {"method": "clone", "mode": "offline"}))
    fig, ax = caveman.figure(width=WIDTH, height=0.5 * len(names) + 1.5)
    used = []
    for y, task in enumerate(names):
        ax.text(-0.5, y - 0.36, LINES.get(task, task), va="center", fontsize=10.5)
        for i, (label, look, marker, keys) in enumerate(ways):
            runs = rows("returns", task=task, **keys)
            if not runs:
                continue
            used += runs
            values, place = column(runs), y + 0.17 * (i - 1) + 0.08
            ax.plot([values.min().clip(-0.5), values.max().clip(max=1.4)], [place] * 2,
                    color=caveman.COLORS[look], lw=1.2, alpha=0.7)
            ax.plot(values.mean(), place, marker, color=caveman.COLORS[look], ms=6,
                    mfc=caveman.COLORS[look] if i != 1 else "none", mew=1.6,
                    label=label if not y else None)
    posts(ax, len(names), 0.36, 0.2)
    ax.set(xlim=(-0.52, 1.45), ylim=(len(names) - 0.4, -0.7),
           xlabel="share of the way: 0 chance, 1 the expert")
    ax.set_yticks([])
    ax.spines["left"].set_visible(False)
    ax.grid(False)
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=3, fontsize=9.5,
              columnspacing=1, handletextpad=0.2)
    caveman.show(fig, "For each task three marks, the mean share of the way of Grok online, Grok "
                 "offline and the clone, with lines from the worst run to the best.",
                 "Marks: means. Lines: from the worst run to the best. " + source("returns", used))


# --------------------------------------------------------------------- the surprises


def online(figure: Surprise, label: str, method: str, task: str, look: str = "other",
           guess: float | None = None) -> float:
    """A line of one method's runs on one task, outside."""
    return figure.add(label, look, guess, task=task, method=method, mode="online")


def lander() -> None:
    """Online beside offline and the clone."""
    of = {"task": "LunarLander"}
    offline = mean(rows("returns", method="iq", mode="offline", **of))
    figure = Surprise("returns")
    figure.add("Grok, online", "learner", offline, method="iq", mode="online", **of)
    online(figure, "Grok, online, without the push (value_term=0)", "value term 0", **of)
    figure.add("Grok, offline", "learner", method="iq", mode="offline", **of)
    figure.add("the clone, offline", "clone", offline, method="clone", mode="offline", **of)
    figure.show("going out does not harm, and a clone is not better than Grok",
                "The lander: Grok online lies below Grok offline, and both below the clone.")


def bodies() -> None:
    """Bodies of many joints, from one episode each, with their controls."""
    figure = Surprise("bodies")
    copied = mean(rows("returns", task="CartPole", method="clone", mode="offline"))
    for task in "Hopper", "Walker2d", "HalfCheetah":
        for words, look, method in (
                ("Grok", "learner", "iq"), ("an average of his actor", "learner", "iq, averaged actor"),
                ("his strokes shrink to nothing", "learner", "iq, falling step size"),
                ("SQIL", "other", "SQIL"), ("an average of SQIL's actor", "other", "SQIL, averaged actor"),
                ("the clone, offline", "clone", "clone")):
            if rows("bodies", task=task, method=method):
                figure.add(f"{task}: {words}", look, copied if method == "clone" else None,
                           task=task, method=method)
    figure.show("a clone gets as far as from one episode of a pole",
                "Grok and SQIL are near the expert on Hopper and HalfCheetah. On Walker2d two of Grok's three "
                "runs are low; averages of his actor, shrinking strokes and SQIL are high. Shrinking "
                "strokes lose on HalfCheetah. The clones are near chance.")


def slow() -> None:
    """V_A learned at the networks' pace, as once, beside that of a value."""
    figure = Surprise("returns")
    for who, method, look, tasks in (
            ("SQIL", "SQIL", "other", ("MountainCar", "Acrobot")),
            ("Grok", "iq", "learner", (THIN, "Acrobot"))):
        for task in tasks:
            name = LINES.get(task, task)
            now = mean(rows("returns", task=task, method=method, mode="online"))
            online(figure, f"{name}: {who}, slow $V_A$", f"{method}, slow V_A", task, look, now)
            online(figure, f"{name}: {who}", method, task, look)
    figure.show("a single number's pace makes no difference",
                "With a slow end value SQIL is at 0 on MountainCar and low on Acrobot; without, high on "
                "both. Grok gains on thin poles and keeps Acrobot.")


def initial() -> None:
    """The paper's value term, with V_A slow and in step, beside the default."""
    figure = Surprise("returns")
    for task in "MountainCar", "Acrobot":
        ours, name = "value term initial", f'{task}: "initial"'
        now = mean(rows("returns", task=task, method=ours, mode="online"))
        online(figure, f"{name}, slow $V_A$", f"{ours}, slow V_A", task, guess=now)
        online(figure, name, ours, task)
        online(figure, f"{task}: the default", "iq", task, "learner")
    online(figure, f'{LINES[THIN]}: "initial"', ours, THIN)
    online(figure, f"{LINES[THIN]}: the default", "iq", THIN, "learner")
    figure.show("a single number's pace makes no difference",
                "With a slow end value the paper's term is at 0 on MountainCar and low on Acrobot; in step "
                "it comes near the default on both, and on thin poles it is as good.")


def choices(task: str, changes: dict[str, str], guess: str, alt: str,
            expected: float | None = None, figure: Surprise | None = None,
            last: bool = True) -> Surprise:
    """The default and changes of one choice, by ablations.csv."""
    figure = figure or Surprise("ablations")
    short = LINES.get(task, task)
    default = figure.add(f"{short}: the default", "learner", task=task, method="default")
    for method, words in changes.items():
        figure.add(f"{short}: {words}", guess=default if expected is None else expected,
                   task=task, method=method)
    if last:
        figure.show(guess, alt)
    return figure


def target() -> None:
    """Without a target network, and with slower ones."""
    rates = {"target_rate=1.0": "no target network", "target_rate=0.005": "a target ten times slower"}
    none, alt = {"target_rate=1.0": rates["target_rate=1.0"]}, (
        "Without a target network Grok does as well on two tasks; a slower one does worse on one.")
    guess = "learning fails without a target network"
    figure = Surprise("ablations")
    for task in THIN, "Pendulum":
        choices(task, none, guess, alt, 0.0, figure, False)
        figure.add(f"{LINES.get(task, task)}: {rates['target_rate=0.005']}",
                   task=task, method="target_rate=0.005")
    figure.show(guess, alt)


def end() -> None:
    """A fixed zero after the end."""
    choices(THIN, {"absorbing=False": "absorbing=False"},
            "this makes no difference, since nothing is earned after the end",
            "With an end that is fixed at zero two of three diaries are lost.")


def share_of_one() -> None:
    """Equation 9 telescoped on the mixture, and cloning plus the square."""
    choices(THIN, {"value_term=1.0": "a share of 1 (value_term=1)",
                   "value_term=0.0": "no push (value_term=0)"},
            "it makes no difference how much of the push is taken",
            "With a share of one poles stand as with the default; without a push some fall.")


def inputs() -> None:
    """Raw inputs beside scaled ones, bodies of many joints."""
    figure = Surprise("bodies")
    names = {"standardized": "standardized", "iq": "scaled as in iq.py", "plain": "raw",
             "iq, scale_inputs=false": "raw"}
    for task in "HalfCheetah", "Hopper":
        of = {"task": task, "steps": "50000"}
        found = [m for m in names if rows("bodies", method=m, **of)]
        scaled = None
        for method in found:
            mean = figure.add(f"{task}, 50,000 steps: {names[method]} inputs",
                              "other" if names[method] == "raw" else "learner",
                              scaled if names[method] == "raw" else None, method=method, **of)
            scaled = mean if scaled is None else scaled
    figure.show("a network finds the scale of its inputs by itself",
                "HalfCheetah with raw inputs stays at chance; Hopper with raw inputs does as well or better.")


def meat() -> dict[str, tuple[float, float]]:
    """Pearson with the true return, of the recovered reward and its controls.

    Returns, for each task, the recovered reward's and its best control's.
    """
    figure, found = Surprise("rewards", "by_episode"), {}
    for task in dict.fromkeys(row["task"] for row in rows("rewards")):
        ours, *controls = [
            figure.add(f"{task}: {words}", look, guess, task=task, states="spread", signal=signal)
            for words, signal, look, guess in (
                ("recovered reward", "recovered reward", "learner", 1.0),
                ("log π", "log pi", "other", None),
                ("the clone's log π", "log pi of the clone", "clone", None),
                ("the length of a day", "a constant", "chance", None))]
        found[task] = ours, float(np.nanmax(np.abs(controls)))
    figure.lines = [line for line in figure.lines if len(line[3])]  # some constants have none
    figure.show("a recovered reward ranks whole episodes as the true one does",
                "On every task the recovered reward ranks episodes no better than its best control.",
                (-1.0, 1.25), "Pearson with the true return, over episodes",
                ("unrelated", "the true reward"))
    return found


# ----------------------------------------------------------- runs that show the causes

def place_values(agent: iq.Agent, obs) -> float:
    """The mean value of places."""
    with torch.no_grad():
        return float(agent.value(torch.as_tensor(obs)).mean())


def slow_end(agent: iq.Agent) -> iq.Agent:
    """The agent, with V_A moved no farther a stroke than a weight of its networks."""
    agent.optimizer.param_groups[1]["lr"] = agent.config.learning_rate
    return agent


def levels(runs: dict[str, dict], alt: str, caption: str) -> None:
    """The values of places, and that of the end, on one line for each run."""
    marks = {"way": ("places on the way", caveman.LEARNER, "o"),
             "last": ("just before an end", caveman.EXTRA, "D"),
             "end": ("the end, $V_A$", caveman.INK, "s")}
    fig, ax = caveman.figure(width=WIDTH, height=0.55 * len(runs) + 1.25)
    values = [x for run in runs.values() for name, x in run.items() if name in marks]
    low, high = min(values), max(values)
    room = 0.06 * (high - low)
    for y, (label, run) in enumerate(runs.items()):
        ax.axhline(y, color=caveman.INK, lw=0.6, alpha=0.2)
        told = f" (return {run['return']:.0f})" if "return" in run else ""
        ax.text(low - room, y - 0.34, label + told, va="center", fontsize=10.5)
        for name, (word, color, marker) in marks.items():
            ax.plot(run[name], y, marker, color=color, ms=8, label=word if not y else None)
    ax.set(xlim=(low - 1.5 * room, high + 1.5 * room), ylim=(len(runs) - 0.6, -0.65),
           xlabel="soft value V")
    ax.set_yticks([])
    ax.spines["left"].set_visible(False)
    ax.grid(False)
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.38), ncols=3, fontsize=9,
              columnspacing=0.8, handletextpad=0.1)
    caveman.show(fig, alt, caption)


def hunt(env: str, diary: iq.Demos, slow: bool = False, **setting) -> dict:
    """Learn online, perhaps with a slow V_A; what the map says then."""
    agent = iq.new_agent(diary, iq.Config(**setting))
    iq.learn(diary, env, agent=slow_end(agent) if slow else agent)
    obs, _, _, ended = [x[:agent.replay.size] for x in agent.replay.columns]
    return {"way": place_values(agent, obs[-500:]), "last": place_values(agent, obs[ended][-50:]),
            "end": float(agent.absorbing_value.detach()),
            "return": float(iq.evaluate(agent, env, 5, hunts.FRESH).mean())}


def goals() -> None:
    """MountainCar with value_term="initial": V_A slow, and as it is."""
    env = "MountainCar-v0"
    diary = iq.Demos.load(hunts.DIARIES / f"{env}_dqn.npz").take(1)
    slow, fast = [hunt(env, diary, slow, value_term="initial", steps=3000)
                  for slow in (True, False)]
    levels({"$V_A$ at a weight's pace": slow, "as it is": fast},
           "A slow end lies far below the places on the way; as it is, the end lies above them.",
           "MountainCar with the paper's value term, 3,000 steps outside, one seed each.")
    assert slow["end"] < slow["way"] / 5 and fast["end"] > 0.8 * fast["way"]
    assert slow["return"] < fast["return"]


def torn() -> iq.Demos:
    """25 lines of one CartPole episode of an A2C agent."""
    return iq.Demos.load(hunts.DIARIES / "CartPole-v1_a2c.npz").take(1).subsample(20)


def falls() -> None:
    """The end's value learned, and fixed at zero."""
    learned, fixed = [hunt("CartPole-v1", torn(), steps=2000, absorbing=absorbing)
                      for absorbing in (True, False)]
    del learned["return"], fixed["return"]  # too early to tell
    levels({"the end is learned": learned, "the end is fixed at 0": fixed},
           "With a fixed end all of the learner's places lie below it; a learned end lies among them.",
           "25 lines of an A2C agent, 2,000 steps outside, one seed each.")
    assert max(fixed["way"], fixed["last"]) < 0 == fixed["end"] > learned["end"]


def pushed() -> None:
    """A value term of 1: V_A slow, and as it is."""
    slow, fast = [hunt("CartPole-v1", torn(), slow, steps=4000, value_term=1.0)
                  for slow in (True, False)]
    del slow["return"], fast["return"]  # too early to tell
    levels({"$V_A$ at a weight's pace": slow, "as it is": fast},
           "A slow end lies above the last places before a fall; as it is, the end lies below them.",
           "The same 25 lines with a share of 1, 4,000 steps outside, one seed each.")
    assert slow["last"] < slow["end"] and fast["end"] < fast["last"]


def pole(name: str, scale, seeds: int = 2) -> dict:
    """Offline from 25 lines, inputs divided by scale(obs); means of the seeds."""
    env = "CartPole-v1"
    whole = iq.record(env, iq.scripted_expert(env), 1, seed=0)
    torn, between = whole.subsample(20), np.arange(len(whole)) % 20 > 0
    returns, agreed = [], []
    for seed in range(seeds):
        agent = iq.SoftQ(torn.observations[0], torn.action_space,
                         iq.Config(seed=seed, steps=2000), scale(torn.observations))
        iq.learn(torn, agent=agent)
        agreed.append((agent.act(whole.observations) == whole.actions)[between].mean())
        returns.append(iq.evaluate(agent, env, 10, hunts.FRESH).mean())
    return {"inputs": name, "return": float(np.mean(returns)),
            "moves like Ugg's on the lines between": f"{np.mean(agreed):.0%}"}


def size(obs: np.ndarray) -> np.ndarray:
    """The root mean square of each input."""
    return np.sqrt(np.square(obs, dtype=float).mean(0))


def poles() -> None:
    """Inputs as they are, all of one size, and scaled as in iq.py."""
    raw, one_size, ours = table = [pole(*way) for way in (
        ("raw", lambda obs: 1.0), ("all of size 1", size), ("as in iq.py", iq.input_scale))]
    caveman.table(table, "25 lines of the scripted expert, offline, 2,000 updates, two seeds", 0)
    assert one_size["return"] < 0.6 * min(raw["return"], ours["return"])


# -------------------------------- a small world, for what a setting settles for

N, A, GAMMA, TAU, ALPHA = 6, 3, 0.9, 0.1, 0.5
WORLD = torch.Generator().manual_seed(0)
AFTER = torch.randint(N, (N, A), generator=WORLD)  # s' of each move
UGG = (2 * torch.randn(N, A, generator=WORLD)).double().softmax(1)


def occupancy(pi: torch.Tensor) -> torch.Tensor:
    """The discounted share of time of each place and move, (N, A)."""
    P = torch.nn.functional.one_hot(AFTER, N).double()
    flow = torch.eye(N) - GAMMA * torch.einsum("sa,sat->ts", pi, P)
    return torch.linalg.solve(flow, torch.full((N, 1), (1 - GAMMA) / N).double()) * pi


def push(value_term: float | str, d: torch.Tensor, own: torch.Tensor,
         pi: torch.Tensor) -> torch.Tensor:
    """p(s) pi(a|s), (N, A)."""
    if value_term == "initial":
        return (1 - GAMMA) / N * pi
    share = value_term / 2
    return ((1 - share) * d + share * own).sum(1, keepdim=True) * pi


def settle(value_term: float | str, chi2_on: str = "mixture") -> dict:
    """Where learning rests: set r to what makes the gradient zero, and sweep."""
    d, q = occupancy(UGG), torch.zeros(N, A).double()
    for _ in range(3000):
        pi = iq.soft_policy(q, TAU).exp()
        own = occupancy(pi)
        square = d if chi2_on == "expert" else (d + own) / 2
        r = 2 * ALPHA * (d - push(value_term, d, own, pi)) / square
        q += 0.05 * (iq.soft_bellman(r, iq.soft_value(q, TAU)[AFTER], GAMMA) - q)
    return {"r, diary": float((d * r).sum()), "r, own": float((own * r).sum()),
            "mean V": float(iq.soft_value(q, TAU).mean()),
            "off Ugg": float((pi - UGG).abs().sum(1).mean() / 2)}


def settings() -> None:
    """Where five settings rest."""
    names = {iq.SoftQ.default_value_term: ", default",
             iq.SoftActorCritic.default_value_term: ", default of an actor"}
    table = [{"value_term": f"{term}{names.get(term, '')}", "square on": on} | settle(term, on)
             for term, on in ((1, "mixture"), (0.05, "mixture"), (0, "mixture"), (0, "expert"),
                              ("initial", "mixture"))]
    caveman.table(table, "At rest: mean rewards on the diary's lines and on Grok's, mean "
                  "value, share of moves unlike Ugg's", 2)
    for row in table[:3]:
        assert abs(row["r, diary"] + row["r, own"]) < 0.01
    last = table[-1]
    assert abs(last["r, diary"] + last["r, own"] - 4 * ALPHA * GAMMA) < 0.01 < last["r, own"]


def gradient_gap(value_term: float | str, chi2_on: str) -> float:
    """How far iq_loss's gradient, on drawn lines, is from the formula's."""
    noise, count = torch.Generator().manual_seed(1), 2000
    even = torch.full((N, A), 1 / A).double()
    drawn = torch.cat([occupancy(pi).flatten().multinomial(count, True, generator=noise)
                       for pi in (UGG, even)])
    s, a, expert = drawn // A, drawn % A, torch.arange(2 * count) < count
    d, own = (torch.bincount(x, minlength=N * A).view(N, A).double() / count
              for x in (drawn[:count], drawn[count:]))
    q = torch.randn(N, A, generator=noise).double().requires_grad_()
    v, pi = iq.soft_value(q, TAU), iq.soft_policy(q, TAU).exp()
    held = v.detach()[AFTER]
    loss, _ = iq.iq_loss(q[s, a], v[s], held[s, a], expert, GAMMA, "chi2", ALPHA, chi2_on,
                         value_term, initial_value=v)
    loss.backward()
    square = d if chi2_on == "expert" else (d + own) / 2
    with torch.no_grad():
        formula = square * (q - GAMMA * held) / (2 * ALPHA) + push(value_term, d, own, pi) - d
        return float((q.grad - formula).abs().max())


# ------------------------------------------------------------------------ many machines

def show_ranks() -> None:
    """The text of ranks.py."""
    text = (caveman.ROOT / "book" / "ranks.py").read_text()
    display(Markdown(f"`book/ranks.py`\n\n```python\n{text}```"))


def gradient(*picked: tuple[int, int]) -> torch.Tensor:
    """The gradient of a rank that has only the rows of the picked ranges.

    Of 128 rows of one episode the first 64 are the expert's, the others play the learner's.
    """
    demos = iq.record("CartPole-v1", iq.scripted_expert("CartPole-v1"), 1, seed=0)
    agent, is_expert = iq.new_agent(demos), torch.arange(128) < 64
    batch = agent.to_batch(demos.observations, demos.actions, demos.next_observations,
                           demos.terminations)
    rows = torch.cat([torch.arange(*each) for each in picked])
    loss = agent.loss(iq.Batch(*(x[rows] for x in batch[:4])), is_expert[rows])[0]
    return torch.cat([g.flatten() for g in torch.autograd.grad(
        loss, [*agent.critic.parameters()])])
