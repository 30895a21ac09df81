"""What the chapters share: the way to iq.py, colours, figures, players, the valley.

Only the book needs this file. Expert, learner, clone and random have one colour and one
kind of line on every page; they can be told apart without seeing colour, on light pages
and on dark ones. Ink is the colour of the page's own text, whatever that is.
"""
from __future__ import annotations

import html
import inspect
import io
import itertools
import json
import logging
import os
import re
import sys
from pathlib import Path

os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)

ROOT = Path(__file__).resolve().parent.parent
if (ROOT / "iq.py").exists() and str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))  # the clone's own iq.py comes before an installed one

import gymnasium as gym  # noqa: E402
import matplotlib.pyplot as plt  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402
from IPython.display import HTML, Markdown, display  # noqa: E402
from matplotlib import patheffects  # noqa: E402

torch.set_num_threads(1)  # small networks; more threads make them slower

# ---------------------------------------------------------------------- visual language

EXPERT, LEARNER, CLONE, RANDOM = "#009e73", "#2382c8", "#d55e00", "#808080"
EXTRA = "#c0669a"  # for a fifth thing
COLORS = {"expert": EXPERT, "learner": LEARNER, "clone": CLONE, "random": RANDOM}
LINES = {"expert": (0, (6, 2)), "learner": "-", "clone": (0, (6, 2, 1, 2)),
         "random": (0, (1, 1.5))}
DASHES = {"expert": [8, 4], "clone": [8, 4, 2, 4], "random": [2, 3]}  # on a canvas
MARKERS = {"expert": "^", "learner": "o", "clone": "s", "random": "x"}
INK = "#0a0b0c"  # replaced by the page's text colour in show()
HEAT, DIVERGING = "cividis", "PuOr"  # fields of one sign, and around zero

plt.rcParams.update({
    "figure.facecolor": "none", "axes.facecolor": "none", "savefig.facecolor": "none",
    "figure.dpi": 100, "figure.constrained_layout.use": True, "font.size": 11,
    "axes.titlesize": 11, "legend.fontsize": 10, "legend.frameon": False,
    "svg.fonttype": "path", "svg.hashsalt": "caveman", "axes.grid": True,
    "grid.alpha": 0.15, "axes.spines.top": False, "axes.spines.right": False,
    "lines.linewidth": 2, "image.cmap": HEAT, "axes.unicode_minus": True,
    **{k: INK for k in ("text.color", "axes.labelcolor", "axes.edgecolor", "grid.color",
                        "xtick.color", "ytick.color", "legend.labelcolor")},
    "axes.prop_cycle": plt.cycler(color=[LEARNER, CLONE, EXPERT, EXTRA, RANDOM, "#b59f00"]),
})

_number = itertools.count(1)


def figure(rows: int = 1, columns: int = 1, width: float = 5.6, height: float = 3.2, **more):
    """A figure and its axes, as plt.subplots gives them, at a size a phone can show."""
    return plt.subplots(rows, columns, figsize=(width, height), **more)


def svg(fig) -> str:
    """A matplotlib figure as inline SVG whose ink is the page's text colour."""
    out, tag = io.StringIO(), f"c{next(_number)}-"
    fig.savefig(out, format="svg", metadata={"Date": None})
    plt.close(fig)
    text = re.sub(r"<metadata>.*?</metadata>", "", out.getvalue(), flags=re.S)
    text = text[text.index("<svg"):].replace(INK, "currentColor")
    used = set(re.findall(r'(?:href="#|url\(#)([^")]+)', text))
    text = re.sub(r' id="([^"]+)"',
                  lambda m: f' id="{tag}{m[1]}"' if m[1] in used else "", text)
    text = re.sub(r'(href="#|url\(#)', rf"\g<1>{tag}", text)
    head, rest = text.split(">", 1)
    return re.sub(r' (width|height)="[^"]*"', "", head) + ">" + rest


def show(fig, alt: str, caption: str = "", width: float | None = None) -> None:
    """Show a matplotlib figure (or an SVG text) with the words that stand for it."""
    width = width or (None if isinstance(fig, str) else 100 * fig.get_size_inches()[0])
    text = fig if isinstance(fig, str) else svg(fig)
    words = html.escape(alt, quote=True)
    text = text.replace("<svg", f'<svg role="img" aria-label="{words}"', 1)
    under = f"<figcaption>{caption}</figcaption>" if caption else ""
    wide = f"max-width:{width:.0f}px;" if width else ""
    display(HTML(f'<figure class="cave" style="{wide}margin:1rem auto">{text}{under}</figure>'))


def curves(ax, x, runs, who: str, label: str | None = None, **style) -> None:
    """The mean of runs (seeds, points) as a line, their least and greatest as a band."""
    runs, style = np.atleast_2d(runs), _style(who, style)
    ax.fill_between(x, runs.min(0), runs.max(0), color=style["color"], alpha=0.18, lw=0)
    ax.plot(x, runs.mean(0), label=label or who, **style)


def level(ax, y: float, who: str, label: str | None = None, **style) -> None:
    """A horizontal line: what someone who doesn't learn gets."""
    ax.axhline(y, label=label or who, **_style(who, style))


def _style(who, style):
    own = {"color": COLORS[who], "linestyle": LINES[who]} if who in COLORS else {}
    return own | style


def scores(ax, groups: dict[str, np.ndarray], who: dict[str, str] | None = None) -> None:
    """One column for each name: a dot for each seed, a bar at their mean."""
    for i, (name, values) in enumerate(groups.items()):
        key = (who or {}).get(name, name)
        color, marker = COLORS.get(key, EXTRA), MARKERS.get(key, "D")
        values = np.atleast_1d(values)
        spots = i + np.linspace(-0.15, 0.15, len(values)) if len(values) > 1 else [i]
        ax.plot(spots, values, marker, color=color, alpha=0.8, ls="none")
        ax.plot([i - 0.28, i + 0.28], [np.mean(values)] * 2, color=color, lw=3)
    ax.set_xticks(range(len(groups)), groups)
    ax.grid(axis="x", visible=False)


def show_code(*things) -> None:
    """The source of things in iq.py, highlighted, with the line where it stands."""
    for thing in things:
        thing = getattr(thing, "fget", None) or thing
        lines, first = inspect.getsourcelines(thing)
        where = Path(inspect.getsourcefile(thing)).name
        display(Markdown(f"`{where}`, line {max(first, 1)}\n\n```python\n"
                         + inspect.cleandoc("\n" + "".join(lines)) + "\n```"))


def show_name(*names: str) -> None:
    """The lines of iq.py that give names their values, with the comments right above."""
    import ast

    import iq
    source = inspect.getsource(iq)
    lines = source.splitlines()
    for node in ast.parse(source).body:
        for target in getattr(node, "targets", [getattr(node, "target", None)]):
            if getattr(target, "id", None) in names:
                first = node.lineno - 1
                while lines[first - 1].startswith("#"):
                    first -= 1
                display(Markdown(f"`iq.py`, line {first + 1}\n\n```python\n"
                                 + "\n".join(lines[first:node.end_lineno]) + "\n```"))


def table(rows: list[dict], caption: str = "", digits: int = 3) -> None:
    """A table of numbers and words, one dict a row."""
    def cell(x):
        if isinstance(x, (float, np.floating)):
            text = f"{x:.{digits}f}"
            text = text if float(text) else text.lstrip("-")
            return f"<td style='text-align:right'>{text}</td>"
        return f"<td>{html.escape(str(x))}</td>"
    head = "".join(f"<th scope='col'>{html.escape(k)}</th>" for k in rows[0])
    body = "".join("<tr>" + "".join(map(cell, r.values())) + "</tr>" for r in rows)
    cap = f"<caption>{caption}</caption>" if caption else ""
    display(HTML(f"<table class='table'>{cap}<thead><tr>{head}</tr></thead>"
                 f"<tbody>{body}</tbody></table>"))


# --------------------------------------------------------------- things a reader moves

_WIDGET_CSS = """<style>
.cave-box{border:1px solid rgba(128,128,128,.5);border-radius:.5rem;padding:.8rem;margin:1rem 0;
 max-width:640px;color:inherit}
.cave-box label{display:grid;grid-template-columns:minmax(5.5rem,auto) 1fr 4rem;gap:.5rem;
 align-items:center;margin:.25rem 0}
.cave-box input[type=range]{width:100%;min-width:0;accent-color:#2382c8}
.cave-box output{font-variant-numeric:tabular-nums;text-align:right}
.cave-box canvas{display:block;width:100%;height:auto}
.cave-box button{font:inherit;color:inherit;background:transparent;border:1px solid currentColor;
 border-radius:.3rem;padding:.2rem .8rem;margin-right:.5rem;cursor:pointer}
.cave-box .cave-row{margin-top:.6rem;display:flex;gap:.5rem;align-items:center;flex-wrap:wrap}
.cave-box table{margin:.5rem 0;width:100%;display:table!important}
.cave-box td,.cave-box th{padding:.15rem .4rem;text-align:left;color:inherit;background:transparent}
.cave-box td.n,.cave-box th.n{text-align:right;font-variant-numeric:tabular-nums}
.cave-box svg{display:block;width:100%;height:auto}
</style>"""


def widget(body: str, script: str, data=None, label: str = "interactive figure") -> None:
    """HTML that answers to the reader without a server.

    script is JavaScript that sees: box, the element that holds body; data; colors; and
    ink(), the colour of the page's text at this moment; onTheme(f), which calls f when the
    page turns light or dark. Every number it is to show comes in by data or is computed.
    """
    name = f"cave-{next(_number)}"
    colors = json.dumps(COLORS | {"extra": EXTRA})
    display(HTML(f"""{_WIDGET_CSS}
<div class="cave-box" id="{name}" role="group" aria-label="{html.escape(label, quote=True)}">
{body}</div>
<script>(function () {{
const box = document.getElementById("{name}"), colors = {colors};
const data = {json.dumps(data).replace("</", "<" + chr(92) + "/")};
const ink = () => getComputedStyle(box).color;
const onTheme = f => new MutationObserver(f).observe(document.documentElement,
  {{attributes: true, attributeFilter: ["data-theme"]}});
{script}
}})();</script>"""))


def slider(name: str, low: float, high: float, value: float, step: float, label: str) -> str:
    """A slider for a widget's body; its script reads box.querySelector('[name=...]')."""
    return (f'<label><span>{label}</span><input type="range" name="{name}" min="{low}" '
            f'max="{high}" value="{value}" step="{step}"><output>{value}</output></label>')


CANVAS = """
const cv = box.querySelector("canvas"), c = cv.getContext("2d"), k = Math.max(1, devicePixelRatio || 1);
const w = +cv.getAttribute("width"), h = +cv.getAttribute("height"); cv.width = w * k; cv.height = h * k;
function blank() { c.setTransform(k, 0, 0, k, 0, 0); c.clearRect(0, 0, w, h); }"""


def movable(sliders: dict, paint: str, alt: str, data=None, width: int = 560,
            height: int = 260) -> None:
    """A drawing that follows sliders, name -> (low, high, value, step, label).

    paint is JavaScript that draws on c, the context of a canvas of w by h, and returns the
    words below it; v[name] is a slider's value; data, colors and ink() are as in widget.
    """
    words = html.escape(alt, quote=True)
    widget(
        f'<canvas role="img" aria-label="{words}" width="{width}" height="{height}"></canvas>'
        + "".join(slider(name, *x) for name, x in sliders.items())
        + '<p aria-live="polite" style="margin:.3rem 0 0"></p>',
        CANVAS + f"""
const paint = v => {{ {paint} }};
function draw() {{
  const v = {{}};
  for (const s of box.querySelectorAll("input")) {{
    v[s.name] = +s.value; s.nextElementSibling.textContent = s.value; }}
  blank(); c.save(); box.querySelector("p").textContent = paint(v) || ""; c.restore(); }}
box.addEventListener("input", draw); onTheme(draw); draw();""", data, label=alt)


# Each draws one frame (a list of numbers) on a canvas: c its context, w and h its size in
# CSS pixels, ink and colors as above; mark is the frame's word, if there are words.
DRAW = {
    # frame: [cart position, pole angle, ...]
    "cartpole": """
const s = w / 5.2, x = w / 2 + f[0] * s, y = h * 0.78, L = s * 1.0;
c.strokeStyle = ink; c.lineWidth = 1; c.beginPath(); c.moveTo(0, y); c.lineTo(w, y); c.stroke();
for (const e of [-2.4, 2.4]) { c.beginPath(); c.moveTo(w/2 + e*s, y - 8); c.lineTo(w/2 + e*s, y + 8); c.stroke(); }
c.fillStyle = color; c.fillRect(x - s*.25, y - s*.16, s*.5, s*.3);
c.strokeStyle = ink; c.lineWidth = 6; c.lineCap = "round"; c.beginPath();
c.moveTo(x, y - s*.1); c.lineTo(x + L*Math.sin(f[1]), y - s*.1 - L*Math.cos(f[1])); c.stroke();""",
    # frame: [angle from upright, torque, ...]
    "pendulum": """
const R = Math.min(w, h) * .4, x = w/2, y = h/2;
c.strokeStyle = ink; c.globalAlpha = .25; c.lineWidth = 1; c.beginPath(); c.arc(x, y, R, 0, 7); c.stroke();
c.globalAlpha = 1; c.strokeStyle = color; c.lineWidth = 9; c.lineCap = "round"; c.beginPath();
c.moveTo(x, y); c.lineTo(x - R*Math.sin(f[0]), y - R*Math.cos(f[0])); c.stroke();
c.fillStyle = ink; c.beginPath(); c.arc(x, y, 4, 0, 7); c.fill();
if (f.length > 1) { c.fillStyle = ink; c.globalAlpha = .25; c.fillRect(w/2, h - 10, -f[1]/2*w*.45, 8); c.globalAlpha = 1; }""",
}


def player(frames, draw: str, alt: str, who: str = "learner", fps: int = 25,
           width: int = 520, height: int = 260, words: list[str] | None = None,
           at: int = 0) -> None:
    """Frames (T, K) drawn by DRAW[draw] or by JavaScript given in draw, with a slider.

    It plays on a press of the button, never by itself; at is the frame shown till then.
    """
    frames = np.asarray(frames, dtype=float).round(3).tolist()
    words = words or [f"step {i} of {len(frames) - 1}" for i in range(len(frames))]
    body = f"""<canvas role="img" aria-label="{html.escape(alt, quote=True)}" width="{width}"
 height="{height}"></canvas>
<div class="cave-row"><button type="button" aria-pressed="false">Play</button>
<input type="range" aria-label="step" min="0" max="{len(frames) - 1}" value="{at % len(frames)}" step="1"
 style="flex:1;min-width:8rem"><output style="min-width:9rem">{html.escape(words[at])}</output></div>"""
    script = CANVAS + f"""
const b = box.querySelector("button"), r = box.querySelector("input"), o = box.querySelector("output");
const color = {json.dumps(COLORS.get(who, who))};
function paint(f, ink) {{ {DRAW.get(draw, draw)} }}
function frame() {{ blank(); c.save(); paint(data.frames[+r.value], ink()); c.restore();
  o.textContent = data.words[+r.value]; }}
let timer = null;
function stop() {{ clearInterval(timer); timer = null; b.textContent = "Play"; b.setAttribute("aria-pressed", "false"); }}
b.onclick = () => {{ if (timer) return stop();
  if (+r.value >= +r.max) r.value = 0;
  b.textContent = "Pause"; b.setAttribute("aria-pressed", "true");
  timer = setInterval(() => {{ if (+r.value >= +r.max) return stop(); r.value = +r.value + 1; frame(); }}, {1000 // fps}); }};
r.oninput = frame; onTheme(frame); frame();"""
    widget(body, script, {"frames": frames, "words": words}, label=alt)


def chase(paths: dict[str, np.ndarray], goal, axes: tuple[str, str], alt: str,
          who: dict[str, str] | None = None, words: list[str] | None = None) -> None:
    """Points that wander in a plane and leave trails: name -> (T, 2), all of one length."""
    keys = {name: (who or {}).get(name, name) for name in paths}
    every = np.concatenate([*paths.values(), [goal]])
    low, high = every.min(0), every.max(0)
    names = json.dumps([[name, COLORS.get(key, EXTRA), DASHES.get(key, [])]
                        for name, key in keys.items()])
    player(np.hstack([*paths.values()]), f"""
const low = {low.tolist()}, high = {high.tolist()}, goal = {list(map(float, goal))}, names = {names};
const X = v => 24 + (v - low[0]) / (high[0] - low[0]) * (w - 60);
const Y = v => h - 34 - (v - low[1]) / (high[1] - low[1]) * (h - 74), n = +r.value + 1;
c.font = "17px sans-serif"; c.fillStyle = ink; c.textAlign = "right";
c.fillText({json.dumps(axes[0] + " →")}, w - 6, h - 6); c.textAlign = "left";
c.fillText({json.dumps("↑ " + axes[1])}, 6, 16);
names.forEach(([name, color, dash], i) => {{
  c.strokeStyle = c.fillStyle = color; c.lineWidth = 2; c.setLineDash(dash); c.beginPath();
  data.frames.slice(0, n).forEach(g => c.lineTo(X(g[2*i]), Y(g[2*i+1]))); c.stroke();
  c.beginPath(); c.moveTo(w - 150, 10 + 22*i); c.lineTo(w - 110, 10 + 22*i); c.stroke();
  c.setLineDash([]); c.beginPath(); c.arc(X(f[2*i]), Y(f[2*i+1]), 6, 0, 7); c.fill();
  c.fillStyle = ink; c.fillText(name, w - 102, 15 + 22*i); }});
c.fillStyle = c.strokeStyle = ink; c.lineWidth = 2; c.beginPath();
for (const d of [[-7, 0], [7, 0], [0, -7], [0, 7]]) {{
  c.moveTo(X(goal[0]), Y(goal[1])); c.lineTo(X(goal[0]) + d[0], Y(goal[1]) + d[1]); }}
c.stroke();""", alt, fps=30, height=320, words=words, at=-1)


# -------------------------------------------------------------------------- the valley

MAP = """\
. . . m m . . d
. f . m . . . .
. . . . . f . .
c . r r r r . .
. . . . . r . ."""
MOVES = ("north", "east", "south", "west")
ARROWS = {0: (0, 1), 1: (1, 0), 2: (0, -1), 3: (-1, 0)}  # as drawn, y upward


class Valley(gym.Env):
    """A grid to hunt in. The state is a place, seen as one-hot; four moves; wind.

    c cave, where a day starts; d deer: being there ends the day, with reward 10; r river,
    -3 a step in it; f forest, -1 a step in it; m mountain, which lets nobody through; every
    step costs 0.1 besides. With probability wind a move goes to a random side instead.
    """

    def __init__(self, wind: float = 0.1, limit: int = 60, plan: str = MAP) -> None:
        self.grid = [row.split() for row in plan.splitlines()]
        self.rows, self.columns = len(self.grid), len(self.grid[0])
        self.n, self.wind, self.limit = self.rows * self.columns, wind, limit
        self.kind = np.array(self.grid).ravel()
        self.start = int(np.flatnonzero(self.kind == "c")[0])
        self.deer = int(np.flatnonzero(self.kind == "d")[0])
        self.places = np.flatnonzero(self.kind != "m")
        self.action_space = gym.spaces.Discrete(4)
        self.observation_space = gym.spaces.Box(0.0, 1.0, (self.n,), np.float32)
        worth = {"d": 10.0, "r": -3.0, "f": -1.0}
        self.pay = np.array([worth.get(k, 0.0) for k in self.kind]) - 0.1  # on arrival
        self.P = np.zeros((self.n, 4, self.n))  # P[s, a, s']
        for s in range(self.n):
            for a in range(4):
                self.P[s, a, self.step_to(s, a)] += 1 - wind
                for b in range(4):
                    self.P[s, a, self.step_to(s, b)] += wind / 4
        self.r = self.P @ self.pay  # expected reward (s, a)
        self.terminal = self.kind == "d"

    def step_to(self, s: int, a: int) -> int:
        """Where a move leads without wind."""
        row, column = divmod(s, self.columns)
        dx, dy = ARROWS[a]
        row, column = row - dy, column + dx
        inside = 0 <= row < self.rows and 0 <= column < self.columns
        return s if not inside or self.grid[row][column] == "m" else (
            row * self.columns + column)

    def see(self, s) -> np.ndarray:
        """Places as observations: () -> (n,), (B,) -> (B, n)."""
        return np.eye(self.n, dtype=np.float32)[s]

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.s, self.t = (options or {}).get("place", self.start), 0
        return self.see(self.s), {}

    def step(self, action):
        self.s = int(self.np_random.choice(self.n, p=self.P[self.s, int(action)]))
        self.t += 1
        end = bool(self.terminal[self.s])
        return self.see(self.s), float(self.pay[self.s]), end, not end and self.t >= self.limit, {}

    def solve(self, gamma: float = 0.95, temperature: float = 0.1, sweeps: int = 2000):
        """Q (n, 4) of the soft-best hunter, by repeating the soft Bellman equation."""
        import iq
        q, r = torch.zeros(self.n, 4, dtype=torch.double), torch.tensor(self.r)
        p, dead = torch.tensor(self.P), torch.tensor(self.terminal)
        for _ in range(sweeps):
            v = torch.where(dead, 0.0, iq.soft_value(q, temperature))
            new = r + gamma * (p @ v)
            if (new - q).abs().max() < 1e-12:
                break
            q = new
        return q

    def elder(self, gamma: float = 0.95, temperature: float = 0.1, seed: int = 0):
        """Ugg: draws moves from the soft-best policy.  obs (n,) -> move."""
        import iq
        pi = iq.soft_policy(self.solve(gamma, temperature), temperature).exp().numpy()
        rng = np.random.default_rng(seed)

        def policy(obs):
            p = pi[np.argmax(obs)]
            return int((rng.random() > p.cumsum()[:-1]).sum())
        return policy

    # ---- drawing

    def draw(self, ax, values=None, cmap=HEAT, label: str = "", numbers: bool = False,
             limits: tuple[float, float] | None = None) -> None:
        """The valley on ax; with values (n,) as a field of colour, else its landscape."""
        R, C = self.rows, self.columns
        ax.set(xlim=(-0.5, C - 0.5), ylim=(R - 0.5, -0.5), aspect="equal", xticks=[], yticks=[])
        ax.grid(False)
        for spine in ax.spines.values():
            spine.set_visible(False)
        ground = {"m": "#8a8178", "r": "#6bb3dd", "f": "#7fb069"}
        if values is not None:
            field = np.where(self.kind == "m", np.nan, np.asarray(values, float)).reshape(R, C)
            low, high = limits or (np.nanmin(field), np.nanmax(field))
            image = ax.imshow(field, cmap=cmap, vmin=low, vmax=high)
            bar = ax.figure.colorbar(image, ax=ax, shrink=0.8, label=label)
            bar.outline.set_visible(False)
        for s in range(self.n):
            y, x = divmod(s, C)
            k = self.kind[s]
            if values is None:
                ax.add_patch(plt.Rectangle((x - 0.5, y - 0.5), 1, 1, lw=0.6, ec="#6d6d6d",
                                           fc=ground.get(k, "#e6d9b8")))
            if k == "m":
                ax.add_patch(plt.Polygon([(x - .42, y + .38), (x, y - .4), (x + .42, y + .38)],
                                         fc="#5f5952", ec="none"))
                ax.add_patch(plt.Polygon([(x - .13, y - .16), (x, y - .4), (x + .13, y - .16)],
                                         fc="#ffffff", ec="none"))
            elif values is not None and numbers:
                rgba = image.cmap(image.norm(field[y, x]))
                dark = np.dot(rgba[:3], (0.3, 0.6, 0.1)) < 0.5
                ax.text(x, y, f"{field[y, x]:.1f}", ha="center", va="center", fontsize=8,
                        color="#ffffff" if dark else "#000000")
            elif values is None and k == "f":
                for dx, dy in (-.22, .1), (.2, .18), (0, -.18):
                    ax.add_patch(plt.Polygon(
                        [(x + dx - .14, y + dy + .16), (x + dx, y + dy - .2),
                         (x + dx + .14, y + dy + .16)], fc="#2f6b3a", ec="none"))
            elif values is None and k == "r":
                wave = np.linspace(-0.4, 0.4, 30)
                for dy in (-0.2, 0.1):
                    ax.plot(x + wave, y + dy + 0.06 * np.sin(14 * wave), color="#ffffff", lw=1.2)
            elif values is None and k == "c":
                ax.add_patch(plt.matplotlib.patches.Wedge((x, y + .35), .4, 180, 360, fc="#4b3b30"))
                ax.add_patch(plt.matplotlib.patches.Wedge((x, y + .35), .22, 180, 360, fc="#14100d"))
            elif values is None and k == "d":
                brown = "#7a4a21"
                ax.add_patch(plt.matplotlib.patches.Ellipse((x, y + .08), .5, .26, fc=brown))
                ax.add_patch(plt.Circle((x + .27, y - .12), .1, fc=brown))
                for leg in (-.18, -.08, .1, .2):
                    ax.plot([x + leg] * 2, [y + .12, y + .4], color=brown, lw=2)
                for side in (-.08, .08):
                    ax.plot([x + .27, x + .27 + side, x + .27 + 2 * side],
                            [y - .2, y - .33, y - .4], color=brown, lw=1.4)

    def film(self, places, alt: str, who: str = "expert", words=None) -> None:
        """A player of someone's way over the valley, place by place."""
        ground = {"m": "#8a8178", "r": "#6bb3dd", "f": "#7fb069", "d": "#c98d4b", "c": "#4b3b30"}
        tiles = [[ground.get(k, "#e6d9b8") for k in row] for row in self.grid]
        y, x = np.divmod(places, self.columns)
        names = {self.start: "cave", self.deer: "deer", **{
            int(np.flatnonzero(self.kind == k)[0]): word for k, word in
            (("m", "mountain"), ("r", "river"), ("f", "forest")) if k in self.kind}}
        signs = [[s % self.columns, s // self.columns, word] for s, word in names.items()]
        player(np.stack([x, y], 1), f"""
const tiles = {json.dumps(tiles)}, signs = {json.dumps(signs)}, dash = {DASHES.get(who, [])};""" + """
const u = Math.min(w / tiles[0].length, h / tiles.length), X = i => (i + .5) * u;
tiles.forEach((row, j) => row.forEach((t, i) => {
  c.fillStyle = t; c.fillRect(i * u + 1, j * u + 1, u - 2, u - 2); }));
c.font = "13px sans-serif"; c.textAlign = "center";
signs.forEach(([i, j, word]) => { c.fillStyle = word == "cave" ? "#fff" : "#000";
  c.fillText(word, X(i), (j + 1) * u - 6); });
c.strokeStyle = "#fcf7eb"; c.lineWidth = 7; c.lineJoin = "round"; c.beginPath();
data.frames.slice(0, +r.value + 1).forEach(g => c.lineTo(X(g[0]), X(g[1]))); c.stroke();
c.strokeStyle = c.fillStyle = color; c.lineWidth = 4; c.setLineDash(dash); c.stroke();
c.setLineDash([]); c.beginPath(); c.arc(X(f[0]), X(f[1]), u / 4, 0, 7); c.fill();
c.strokeStyle = "#fcf7eb"; c.lineWidth = 2; c.stroke();""", alt, who, fps=3, width=480,
               height=480 * self.rows // self.columns, words=words, at=-1)

    def arrows(self, ax, policy, color="#ffffff", places=None) -> None:
        """For each place the likely moves of policy (n, 4), as long as they are likely."""
        edge = [patheffects.withStroke(linewidth=3, foreground="#000000")]
        for s in self.places if places is None else places:
            y, x = divmod(int(s), self.columns)
            if self.terminal[s]:
                continue
            for a, (dx, dy) in ARROWS.items():
                if (p := float(policy[s, a])) > 0.05:
                    ax.annotate("", (x + 0.42 * p * dx, y - 0.42 * p * dy), (x, y),
                                arrowprops={"arrowstyle": "-|>", "color": color, "lw": 1.3,
                                            "mutation_scale": 7, "shrinkA": 0, "shrinkB": 0,
                                            "path_effects": edge})

    def paths(self, ax, demos, color=EXPERT, seed: int = 0, **style) -> None:
        """The ways that episodes took, a little shaken so that none hides another."""
        rng = np.random.default_rng(seed)
        starts = np.append(np.flatnonzero(demos.starts), len(demos))
        for a, b in zip(starts[:-1], starts[1:], strict=True):
            s = np.append(demos.observations[a:b].argmax(1), demos.next_observations[b - 1].argmax())
            y, x = np.divmod(s, self.columns)
            dx, dy = rng.uniform(-0.22, 0.22, 2)
            ax.plot(x + dx, y + dy, color=color, **({"lw": 1.8, "alpha": 0.8} | style))
            ax.plot(x[-1] + dx, y[-1] + dy, "o", color=color, ms=4)
