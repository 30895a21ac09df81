"""What *Beyond the valley* computes and draws: surprises, settings, gradients of ranks.

Its figures show what book/results/ holds, and say with which edition's file, and at which
commit, their rows were measured.
"""
from __future__ import annotations

import html

import caveman
import hunts
import numpy as np
import torch
from IPython.display import HTML, display

import iq

# commits at which tables were measured with the second edition's iq.py; others: the third's
SECOND = "defb2d8", "12d72be", "b39374f", "ef2a479"
LOOKS = {"learner": (caveman.LEARNER, "o"), "clone": (caveman.CLONE, "s"),
         "other": (caveman.EXTRA, "D")}


def rows(table: str, **keys: str) -> list[dict]:
    """The rows of results/TABLE.csv in which each named column holds the given word."""
    return [row for row in hunts.results(f"{table}.csv")
            if all(row[key] == word for key, word in keys.items())]


def column(some: list[dict], name: str = "share") -> np.ndarray:
    """A column's numbers. A run that broke down counts as chance; a blank is left out."""
    return np.array([np.nan_to_num(float(row[name])) for row in some if row[name]])


def source(table: str, some: list[dict]) -> str:
    """With which file these rows were measured."""
    told = []
    for commit in sorted({row["commit"] for row in some}):
        edition = "second" if commit.rstrip("+") in SECOND else "third"
        told.append(f"{commit}, the {edition} edition's file")
    return f"<code>{table}.csv</code>, measured at " + "; ".join(told) + "."


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
        return float(values.mean()) if len(values) else np.nan

    def show(self, guess: str, alt: str, limits: tuple = (-0.35, 1.4),
             axis: str = "share of the way", marks: tuple = ("chance", "the expert")) -> None:
        """Draw the lines. guess: what most people would have said, for the caption."""
        fig, ax = caveman.figure(width=5.6, height=0.55 * len(self.lines) + 1.15)
        low, high = limits
        for y, (label, look, expected, values) in enumerate(self.lines):
            color, marker = LOOKS[look]
            ax.text(low, y - 0.3, label, va="center", fontsize=10.5)
            ax.axhline(y, color=caveman.INK, lw=0.6, alpha=0.2)
            if not len(values):
                ax.text(low, y, "not measured", va="center", fontsize=9.5, style="italic")
                continue
            shown = values.clip(low, high)
            spread = 0.09 * np.resize([0, -1, 1], len(shown)) if len(shown) > 1 else 0
            ax.plot(shown, y + spread, marker, color=color, ms=5, alpha=0.6, mew=0)
            ax.plot([shown.mean()] * 2, [y - 0.22, y + 0.22], color=color, lw=3.5)
            if expected is not None and np.isfinite(expected):
                ax.plot(expected, y, "D", ms=11, mfc="none", mec=caveman.INK, mew=1.6)
            many = f"{len(values)} run" + "s" * (len(values) != 1)
            ax.text(high, y - 0.3, f"mean {values.mean():.2f} ({many})", va="center",
                    ha="right", fontsize=9.5)
        for x, word, who in zip((0, 1), marks, ("random", "expert")):
            ax.axvline(x, color=caveman.COLORS[who], ls=caveman.LINES[who], lw=1.5, zorder=0)
            ax.text(x, len(self.lines) - 0.42, word, ha="center", va="center", fontsize=9.5)
        ax.set(xlim=(low - 0.02, high + 0.02), ylim=(len(self.lines) - 0.25, -0.6), xlabel=axis)
        ax.set_yticks([])
        ax.spines["left"].set_visible(False)
        ax.grid(False)
        caveman.show(fig, alt, "Dots: runs. Bar: their mean. Hollow diamond: the guess, "
                     f"{guess}. {source(self.table, self.all)}")


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
    """Every table of results/, a group of runs in each line."""
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
                line[value] = float(numbers.mean()) if len(numbers) else ""
                if value == "share":
                    line["worst run"] = float(numbers.min())
            table.append(line | {"runs": len(members)})
        if table:
            fold(f"{name}: {len(some)} rows. {source(name, some)}", table)


def tasks() -> None:
    """Every task of returns.csv: means of Grok outside, Grok with the diary alone, the clone."""
    some = rows("returns")
    names = list(dict.fromkeys(row["task"] for row in some if row["method"] == "iq"))
    ways = (("Grok, online", "learner", "o", {"method": "iq", "mode": "online"}),
            ("Grok, offline", "learner", "D", {"method": "iq", "mode": "offline"}),
            ("the clone, offline", "clone", "s", {"method": "clone", "mode": "offline"}))
    fig, ax = caveman.figure(width=5.6, height=0.5 * len(names) + 1.5)
    used = []
    for y, task in enumerate(names):
        ax.text(-0.5, y - 0.36, task, va="center", fontsize=10.5)
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
    for x, who in ((0, "random"), (1, "expert")):
        ax.axvline(x, color=caveman.COLORS[who], ls=caveman.LINES[who], lw=1.5, zorder=0)
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

THIN = "CartPole, 25 rows"


def online(figure: Surprise, label: str, method: str, task: str, look: str = "other",
           guess: float | None = None) -> float:
    """A line of one method's runs on one task, outside."""
    return figure.add(label, look, guess, task=task, method=method, mode="online")


def lander() -> None:
    """Online beside offline and the clone."""
    of = {"task": "LunarLander"}
    offline = float(column(rows("returns", method="iq", mode="offline", **of)).mean())
    figure = Surprise("returns")
    figure.add("Grok, online", "learner", offline, method="iq", mode="online", **of)
    online(figure, "Grok, online, without the push (value_term=0)", "value term 0", **of)
    figure.add("Grok, offline", "learner", method="iq", mode="offline", **of)
    figure.add("the clone, offline", "clone", offline, method="clone", mode="offline", **of)
    figure.show("going out does not harm, and a clone is not better than Grok",
                "The lander: Grok online lies below Grok offline, and both below the clone.")


def sqil() -> None:
    """Constant rewards on thin poles and at two goals."""
    figure = Surprise("returns")
    thin = online(figure, "25 lines of CartPole: SQIL", "SQIL", THIN)
    online(figure, "25 lines of CartPole: Grok", "iq", THIN, "learner")
    for task in "Acrobot", "MountainCar":
        online(figure, f"{task}: SQIL", "SQIL", task, guess=thin)
        online(figure, f"{task}: Grok", "iq", task, "learner")
    figure.show("what is best on the hardest diary is good elsewhere",
                "SQIL is at 1 on thin CartPole diaries and near 0 on MountainCar; Grok is high on all.")


def initial() -> None:
    """The paper's value term beside the default."""
    figure = Surprise("returns")
    for task, name in ((THIN, "25 lines of CartPole"), ("Pendulum",) * 2, ("Acrobot",) * 2,
                       ("MountainCar",) * 2):
        default = float(column(rows("returns", task=task, method="iq", mode="online")).mean())
        online(figure, f'{name}: value_term="initial"', "value term initial", task,
               guess=default)
    figure.show("as good as the default", "The initial-state value term does well on poles and "
                "Pendulum, and fails on Acrobot and MountainCar.")


def choices(task: str, changes: dict[str, str], guess: str, alt: str,
            expected: float | None = None, figure: Surprise | None = None,
            last: bool = True) -> Surprise:
    """The default and changes of one choice, by ablations.csv."""
    figure = figure or Surprise("ablations")
    short = "25 lines" if task == THIN else task
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
        figure.add(f"{'25 lines' if task == THIN else task}: {rates['target_rate=0.005']}",
                   task=task, method="target_rate=0.005")
    figure.show(guess, alt)


def end() -> None:
    """A fixed zero after the end."""
    choices(THIN, {"absorbing=False": "an end worth 0 (absorbing=False)"},
            "no difference: after the end nothing is earned",
            "With an end that is fixed at zero two of three diaries are lost.")


def share_of_one() -> None:
    """Equation 9 telescoped on the mixture."""
    choices(THIN, {"value_term=1.0": "a share of 1 (value_term=1)"},
            "at least as good, since it is Equation 9",
            "With a share of one in the value term every run ends at chance.")


def inputs() -> None:
    """Raw inputs beside scaled ones, bodies of many joints."""
    figure = Surprise("bodies")
    names = {"standardized": "standardized", "iq": "scaled as in iq.py", "plain": "raw",
             "iq, scale_inputs=false": "raw"}
    every = rows("bodies")
    for task in "HalfCheetah", "Hopper":
        for steps in sorted({row["steps"] for row in every if row["task"] == task}, key=int):
            found = [m for m in names if rows("bodies", task=task, method=m, steps=steps)]
            scaled = None
            for method in found:
                mean = figure.add(f"{task}, {int(steps):,} steps: {names[method]} inputs",
                                  "other" if names[method] == "raw" else "learner",
                                  scaled if names[method] == "raw" else None,
                                  task=task, method=method, steps=steps)
                scaled = mean if scaled is None else scaled
    figure.show("a network finds the scale of its inputs by itself",
                "HalfCheetah with raw inputs stays at chance; Hopper with raw inputs does as well or better.")


def meat() -> None:
    """Pearson with the true returns, of the recovered reward and its controls."""
    figure = Surprise("rewards", "by_episode")
    for task in dict.fromkeys(row["task"] for row in rows("rewards")):
        for signal, look in (("recovered reward", "learner"), ("log pi", "other"),
                             ("log pi of the clone", "clone")):
            figure.add(f"{task}: {signal.replace('log pi', 'log π')}", look,
                       1.0 if look == "learner" else None, task=task, states="spread", signal=signal)
    figure.show("a reward that was recovered ranks whole episodes as the true one does",
                "The recovered reward's Pearson with the true return is about that of log pi on every task.",
                (-1.0, 1.15), "Pearson with the true return, over episodes",
                ("unrelated", "the true reward"))


# ----------------------------------------------------------- runs that show the causes

def place_values(agent: iq.Agent, obs) -> float:
    """The mean value of places."""
    with torch.no_grad():
        return float(agent.value(torch.as_tensor(obs)).mean())


def goal(times: float, steps: int = 3000) -> dict:
    """MountainCar with value_term="initial", and V_A moved so many times as far a stroke."""
    env = "MountainCar-v0"
    diary = iq.Demos.load(hunts.DIARIES / f"{env}_dqn.npz").take(1)
    agent = iq.new_agent(diary, iq.Config(value_term="initial", steps=steps))
    end, rate = agent.absorbing_value, agent.config.learning_rate
    others = [x for x in agent.trainable if x is not end]
    agent.optimizer = torch.optim.Adam(
        [{"params": others}, {"params": [end], "lr": times * rate}], lr=rate)
    iq.learn(diary, env, agent=agent)
    return {"strokes of V_A": f"times {times}", "V on the way": place_values(agent, diary.observations),
            "V at the goal": float(end.detach()),
            "return": float(iq.evaluate(agent, env, 5, hunts.FRESH).mean())}


def fall(absorbing: bool, steps: int = 2000) -> dict:
    """25 lines of CartPole, online: what a fall is worth."""
    torn = iq.Demos.load(hunts.DIARIES / "CartPole-v1_a2c.npz").take(1).subsample(20)
    agent = iq.learn(torn, "CartPole-v1", iq.Config(absorbing=absorbing, steps=steps))
    own = agent.replay.columns[0][:agent.replay.size][-500:]
    return {"the end": "learned" if absorbing else "fixed at 0",
            "V of Grok's last 500 places": place_values(agent, own),
            "V of the end": float(agent.absorbing_value.detach())}


def pole(scale, seeds: int = 2) -> list[float]:
    """Returns of offline learners of 25 lines whose inputs are divided by scale(obs)."""
    env = "CartPole-v1"
    torn = iq.record(env, iq.scripted_expert(env), 1, seed=0).subsample(20)
    returns = []
    for seed in range(seeds):
        agent = iq.SoftQ(torn.observations[0], torn.action_space,
                         iq.Config(seed=seed, steps=2000), scale(torn.observations))
        iq.learn(torn, agent=agent)
        returns.append(float(iq.evaluate(agent, env, 10, hunts.FRESH).mean()))
    return returns


def size(obs: np.ndarray) -> np.ndarray:
    """The root mean square of each input."""
    return np.sqrt(np.square(obs, dtype=float).mean(0))


# -------------------------------------------- a small world, for what a setting settles for

N, A, GAMMA, TAU, ALPHA = 6, 3, 0.9, 0.1, 0.5
WORLD = torch.Generator().manual_seed(0)
AFTER = torch.randint(N, (N, A), generator=WORLD)  # s' of each move
UGG = (2 * torch.randn(N, A, generator=WORLD)).double().softmax(1)


def occupancy(pi: torch.Tensor) -> torch.Tensor:
    """The discounted share of time of each place and move, (N, A); a day starts anywhere."""
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
    formula = square * (q - GAMMA * held) / (2 * ALPHA) + push(value_term, d, own, pi) - d
    return float((q.grad - formula).abs().max())


# ------------------------------------------------------------------------ many machines

def gradient(agent: iq.Agent, batch: iq.Batch, is_expert: torch.Tensor,
             *picked: tuple[int, int]) -> torch.Tensor:
    """The gradient of a rank that has only the rows of the picked ranges."""
    rows = torch.cat([torch.arange(*each) for each in picked])
    loss = agent.loss(iq.Batch(*(x[rows] for x in batch[:4])), is_expert[rows])[0]
    return torch.cat([g.flatten() for g in torch.autograd.grad(
        loss, [*agent.critic.parameters()])])
