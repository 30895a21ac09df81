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
os.environ.setdefault("TQDM_DISABLE", "1")  # iq's progress bar; pages are read later
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
NAMES = {"expert": "Ugg", "learner": "Grok", "clone": "the clone", "random": "chance"}
DASHES = {"expert": [8, 4], "clone": [8, 4, 2, 4], "random": [2, 3]}  # on a canvas
MARKERS = {"expert": "^", "learner": "o", "clone": "s", "random": "x"}
INK = "#0a0b0c"  # replaced by the page's text colour in show()
HEAT, DIVERGING = "rock", "rock around zero"  # for fields of one sign, and of both

# The carved rock: dark at zero, gold to white above it, blue to ice below. It can be told
# apart without seeing red or green, and on pages of either ground.
ROCK = [[-1, [156, 208, 246]], [-0.45, [58, 122, 184]], [0, [62, 57, 52]], [0.35, [168, 112, 30]],
        [0.7, [243, 186, 52]], [1, [255, 246, 205]]]


def _register(name: str, low: float) -> None:
    stops = [((t - low) / (1 - low), np.divide(rgb, 255)) for t, rgb in ROCK if t >= low]
    plt.matplotlib.colormaps.register(
        plt.matplotlib.colors.LinearSegmentedColormap.from_list(name, stops), force=True)


_register(HEAT, 0)
_register(DIVERGING, -1)

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
    ax.plot(x, runs.mean(0), label=label or NAMES.get(who, who), **style)


def level(ax, y: float, who: str, label: str | None = None, **style) -> None:
    """A horizontal line: what someone who doesn't learn gets."""
    ax.axhline(y, label=label or NAMES.get(who, who), **_style(who, style))


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
#
# Their JavaScript is _static/cave.js, their look _static/widget.css. Every output carries
# both files along, so that it works wherever a notebook is opened; _ext/pages.py takes
# them out of the built pages again, which load the two files once.


def _everywhere() -> str:
    """What a widget needs on a page that is not of the built book."""
    static = Path(__file__).resolve().parent / "_static"
    return (f'<style class="cave-needs">{(static / "widget.css").read_text()}</style>'
            f'<script class="cave-needs">{(static / "cave.js").read_text()}</script>')


def _show_widget(body: str, call: str, data, label: str, caption: str = "") -> None:
    """Show a box and the call of cave.js that brings it to life.

    In call, BOX, DATA, COLORS stand for the box's id, the data and the colours.
    """
    name = f"cave-{next(_number)}"
    given = name, data, COLORS | {"extra": EXTRA}
    text = ", ".join(json.dumps(x, separators=(",", ":"), ensure_ascii=False) for x in given)
    call = call.replace("BOX, DATA, COLORS", text.replace("</", "<\\/"), 1)
    under = f'<p class="cave-caption">{caption}</p>' if caption else ""
    display(HTML(f"""{_everywhere()}
<div class="cave-box" id="{name}" role="group" aria-label="{html.escape(label, quote=True)}">
{body}{under}</div>
<script>{call}</script>"""))


def widget(body: str, script: str, data=None, label: str = "interactive figure",
           caption: str = "") -> None:
    """HTML that answers to the reader without a server.

    script is JavaScript that sees: box, the element that holds body; data; colors; and
    ink(), the colour of the page's text at this moment; onTheme(f), which calls f when the
    page turns light or dark. Every number it is to show comes in by data or is computed.
    """
    _show_widget(body, "Cave.widget(BOX, DATA, COLORS, (box, data, colors, ink, onTheme) => {\n"
                 + script + "\n});", data, label, caption)


def slider(name: str, low: float, high: float, value: float, step: float, label: str) -> str:
    """A slider for a widget's body; its script reads box.querySelector('[name=...]')."""
    return (f'<label><span>{label}</span><input type="range" name="{name}" min="{low}" '
            f'max="{high}" value="{value}" step="{step}"><output>{value}</output></label>')


def _canvas(alt: str, width: float, height: float) -> str:
    return (f'<canvas role="img" aria-label="{html.escape(alt, quote=True)}" '
            f'width="{width:.0f}" height="{height:.0f}"></canvas>')


def _transport(last: int, at: int, word: str = "") -> str:
    """A Play button and the slider that it pushes."""
    told = f'<output class="cave-wide-word">{html.escape(word)}</output>' if word else ""
    return ('<div class="cave-row"><button type="button" aria-pressed="false">Play</button>'
            f'<input type="range" name="step" aria-label="step" min="0" max="{last}" '
            f'value="{at % (last + 1)}" step="1">{told}</div>')


def movable(sliders: dict, paint: str, alt: str, data=None, width: int = 560,
            height: int = 260, caption: str = "") -> None:
    """A drawing that follows sliders, name -> (low, high, value, step, label).

    paint is JavaScript that draws on c, the context of a canvas of w by h, and returns the
    words below it; v[name] is a slider's value; data, colors and ink() are as in widget.
    """
    _show_widget(
        _canvas(alt, width, height) + "".join(slider(name, *x) for name, x in sliders.items())
        + '<p aria-live="polite"></p>',
        "Cave.movable(BOX, DATA, COLORS, (v, c, w, h, ink, colors, data) => {\n"
        + paint + "\n});", data, alt, caption)


def player(frames, draw: str, alt: str, who: str = "learner", fps: int = 25,
           width: int = 520, height: int = 260, words: list[str] | None = None,
           at: int = 0, caption: str = "") -> None:
    """Frames (T, K), with a slider; it plays on a press of the button, never by itself.

    draw is "cartpole" or "pendulum", or JavaScript that draws one frame f, a list of
    numbers, on c, the context of a canvas of w by h; it sees ink, color (of who) and
    colors. words are told beside the slider, at is the frame shown first.
    """
    frames = np.asarray(frames, dtype=float).round(3).tolist()
    words = words or [f"step {i} of {len(frames) - 1}" for i in range(len(frames))]
    known = draw in ("cartpole", "pendulum")
    paint = "" if known else (
        ", (f, ink, c, w, h, color, data, r, colors) => {\n" + draw + "\n}")
    _show_widget(
        _canvas(alt, width, height) + _transport(len(frames) - 1, at, words[at]),
        f"Cave.player(BOX, DATA, COLORS{paint});",
        {"frames": frames, "words": words, "fps": fps, "draw": draw if known else "",
         "color": COLORS.get(who, who)}, alt, caption)


def chase(paths: dict[str, np.ndarray], goal, axes: tuple[str, str], alt: str,
          who: dict[str, str] | None = None, words: list[str] | None = None,
          caption: str = "") -> None:
    """Points that wander in a plane and leave trails: name -> (T, 2), all of one length."""
    keys = {name: (who or {}).get(name, name) for name in paths}
    every = np.concatenate([*paths.values(), [goal]])
    frames = np.hstack([*paths.values()]).round(4).tolist()
    words = words or [f"step {i}" for i in range(len(frames))]
    _show_widget(
        _canvas(alt, 520, 320) + _transport(len(frames) - 1, -1, words[-1]),
        "Cave.chase(BOX, DATA, COLORS);",
        {"frames": frames, "words": words, "fps": 30, "draw": "", "color": LEARNER,
         "low": every.min(0).tolist(), "high": every.max(0).tolist(),
         "goal": [float(x) for x in goal], "axes": axes,
         "names": [[name, COLORS.get(key, EXTRA), DASHES.get(key, [])]
                   for name, key in keys.items()]}, alt, caption)


def film(panels: dict[str, list], stages: list[str], draw: str, alt: str, every: int = 1,
         fps: int = 25, width: int = 300, height: int = 170, at: int = 0,
         label: str = "updates", caption: str = "") -> None:
    """Episodes of one start side by side: a slider over training time, and a player.

    panels: who -> frames (T, K) for each of the stages, or for one of them; who is a key
    of NAMES or any name. An entry may be a pair (frames, steps): then the episode had
    that many steps, and what comes after them is only shown.
    """
    def panel(name, films):
        pairs = [x if isinstance(x, tuple) else (x, len(x) - 1) for x in films]
        return {"name": NAMES.get(name, name), "color": COLORS.get(name, LEARNER),
                "lasts": [int(steps) for _, steps in pairs],
                "films": [np.round(np.asarray(x)[::every], 3).tolist() for x, _ in pairs]}
    told = [panel(name, films) for name, films in panels.items()]
    cells = "".join(f'<div class="cave-cell">{_canvas(x["name"] + ": " + alt, width, height)}'
                    '<div></div></div>' for x in told)
    longest = max(len(frames) for x in told for frames in x["films"])
    last = len(stages) - 1
    stage = "" if last < 1 else (
        f'<label><span>{label}</span><input type="range" name="stage" min="0" '
        f'max="{last}" value="{last}" step="1"><output>{stages[last]}</output></label>')
    _show_widget(
        f'<div class="cave-cells">{cells}</div>{stage}{_transport(longest - 1, at)}',
        "Cave.film(BOX, DATA, COLORS);",
        {"stages": [str(x) for x in stages], "every": every, "panels": told, "fps": fps,
         "draw": draw}, alt, caption)


# -------------------------------------------------------------------------- the valley

MAP = """\
. . . m m . . d
. f . m . . . .
. . . . . f . .
c . r r r r . .
. . . . . r . ."""
MOVES = ("north", "east", "south", "west")
ARROWS = {0: (0, 1), 1: (1, 0), 2: (0, -1), 3: (-1, 0)}  # as drawn, y upward
GROUND = {"m": "#b3a795", "r": "#8cc4e6", "f": "#a9c98d", "d": "#e8cf9c", "c": "#d9c19a",
          ".": "#eadfc2"}

# Each kind of place is one icon on every picture of the valley, and each hunter one face:
# shapes (path, fill, stroke, line width) in a box from -0.5 to 0.5, y downward. Paths are
# SVG's with M, L, C and Z, so that matplotlib and the canvas draw the same.
_EARTH, _DARK, _CREAM = "#4b3b30", "#2b2118", "#fcf7eb"
_DISC = ("M0 -.5 C.276 -.5 .5 -.276 .5 0 C.5 .276 .276 .5 0 .5 C-.276 .5 -.5 .276 -.5 0 "
         "C-.5 -.276 -.276 -.5 0 -.5 Z")
_FACE = ("M0 -.24 C.17 -.24 .29 -.12 .29 .05 C.29 .22 .17 .34 0 .34 C-.17 .34 -.29 .22 -.29 .05 "
         "C-.29 -.12 -.17 -.24 0 -.24 Z")
_EYES = "M-.1 .01 L-.1 .05 M.1 .01 L.1 .05"
ICONS = {
    "c": [("M-.44 .38 C-.46 -.12 -.24 -.38 0 -.38 C.24 -.38 .46 -.12 .44 .38 Z", _EARTH, None, 0),
          ("M-.24 .38 C-.24 .06 -.13 -.1 0 -.1 C.13 -.1 .24 .06 .24 .38 Z", "#14100d", None, 0),
          ("M-.1 .38 C-.16 .22 -.01 .2 0 .06 C.1 .18 .15 .26 .1 .38 Z", "#f08c28", None, 0)],
    "d": [("M-.22 .1 L-.25 .44 M-.12 .12 L-.11 .44 M.1 .12 L.1 .44 M.17 .1 L.2 .44", None, "#6b3f1c", .06),
          ("M.2 -.2 L.12 -.44 M.17 -.32 L.05 -.37 M.25 -.2 L.32 -.45 M.28 -.33 L.4 -.38", None, "#6b3f1c", .05),
          ("M-.33 -.02 C-.33 -.14 -.1 -.12 .06 -.12 C.12 -.12 .14 -.2 .18 -.26 L.32 -.24 L.44 -.13 "
           "L.42 -.08 L.3 -.08 C.29 .02 .27 .14 .18 .16 L-.26 .16 C-.33 .16 -.33 .06 -.33 -.02 Z",
           "#8f5527", None, 0), ("M-.34 -.06 L-.4 .04", None, _CREAM, .06)],
    "r": [("M-.44 -.2 C-.34 -.32 -.24 -.32 -.15 -.2 C-.06 -.08 .06 -.08 .15 -.2 C.24 -.32 .34 -.32 .44 -.2 "
           "M-.44 .04 C-.34 -.08 -.24 -.08 -.15 .04 C-.06 .16 .06 .16 .15 .04 C.24 -.08 .34 -.08 .44 .04 "
           "M-.44 .28 C-.34 .16 -.24 .16 -.15 .28 C-.06 .4 .06 .4 .15 .28 C.24 .16 .34 .16 .44 .28",
           None, "#1d6a9c", .07)],
    "m": [("M-.48 .4 L-.12 -.38 L.06 -.04 L.18 -.2 L.48 .4 Z", "#6d6257", None, 0),
          ("M-.24 -.12 L-.12 -.38 L.02 -.12 L-.05 -.06 L-.12 -.14 L-.18 -.06 Z", "#ffffff", None, 0)],
    "f": [("M-.2 .16 L-.2 .42 M.2 .1 L.2 .42", None, "#5b3a1e", .08),
          ("M-.42 .24 L-.2 -.26 L.02 .24 Z M-.02 .2 L.2 -.4 L.42 .2 Z", "#2f6b3a", None, 0)],
}


def _face(who: str, *shapes) -> list:
    return [(_DISC, COLORS[who], _CREAM, .07), *shapes]


FACES = {
    "expert": _face("expert", ("M-.32 0 C-.34 -.3 -.16 -.4 0 -.4 C.16 -.4 .34 -.3 .32 0 Z", "#f4efe4", None, 0),
                    (_FACE, "#e2b084", None, 0),
                    ("M-.29 .06 C-.2 .16 .2 .16 .29 .06 C.3 .32 .14 .46 0 .46 C-.14 .46 -.3 .32 -.29 .06 Z",
                     "#f4efe4", None, 0), (_EYES, None, _DARK, .07)),
    "learner": _face("learner", ("M-.2 -.16 C-.3 -.3 -.28 -.34 -.33 -.42 C-.2 -.4 -.16 -.38 -.1 -.32 C-.1 -.4 "
                                 "-.06 -.46 -.02 -.5 C.03 -.44 .06 -.4 .06 -.32 C.12 -.38 .18 -.4 .28 -.42 "
                                 "C.22 -.32 .24 -.26 .2 -.16 Z", "#3d2a1c", None, 0),
                     (_FACE, "#e2b084", None, 0), (_EYES, None, _DARK, .07),
                     ("M-.09 .18 C-.04 .24 .06 .24 .11 .17", None, _DARK, .05)),
    "clone": _face("clone", (_FACE, "#e2b084", None, 0), ("M-.3 -.06 C-.24 -.34 .24 -.34 .3 -.06 Z", "#8a4a1c", None, 0),
                   (_EYES, None, _DARK, .07), ("M-.1 .22 C-.04 .15 .06 .15 .1 .22", None, _DARK, .05)),
}


def _path(text: str, x: float, y: float, size: float):
    """A path of ICONS, for matplotlib."""
    from matplotlib.path import Path as Outline
    points, codes, word, last = [], [], "", None
    numbers = []
    kinds = {"M": (1, [1]), "L": (1, [2]), "C": (3, [4, 4, 4])}
    for token in re.findall(r"[MLCZ]|-?\.?\d[\d.]*", text):
        if token == "Z":
            points.append(last)
            codes.append(79)
        elif token in kinds:
            word, numbers = token, []
        else:
            numbers.append(float(token))
            count, own = kinds[word]
            if len(numbers) == 2 * count:
                pairs = [(x + size * a, y + size * b) for a, b in zip(numbers[::2], numbers[1::2])]
                points += pairs
                codes += own
                last, numbers = pairs[-1], []
    return Outline(points, codes)


def draw_icon(ax, kind: str, x: float, y: float, size: float = 1.0, zorder: float = 2) -> None:
    """An entry of ICONS or FACES on axes whose y runs downward."""
    per_unit = ax.figure.get_size_inches()[0] * 72 / 9  # points, about, of a place
    for path, fill, stroke, width in ICONS.get(kind) or FACES[kind]:
        ax.add_patch(plt.matplotlib.patches.PathPatch(
            _path(path, x, y, size), fc=fill or "none", ec=stroke or "none",
            lw=width * size * per_unit if stroke else 0, capstyle="round",
            joinstyle="round", zorder=zorder))


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
        if values is not None:
            field = np.where(self.kind == "m", np.nan, np.asarray(values, float)).reshape(R, C)
            low, high = limits or (np.nanmin(field), np.nanmax(field))
            image = ax.imshow(field, cmap=cmap, vmin=low, vmax=high)
            bar = ax.figure.colorbar(image, ax=ax, shrink=0.8, label=label)
            bar.outline.set_visible(False)
        for s in range(self.n):
            y, x = divmod(s, C)
            k = self.kind[s]
            land = values is None or k == "m"
            ax.add_patch(plt.Rectangle((x - 0.5, y - 0.5), 1, 1, lw=0.6, ec="#3c2d1e77",
                                       fc=GROUND[k] if land else "none"))
            if land:
                if k in ICONS:
                    draw_icon(ax, k, x, y)
                continue
            if k in ICONS:  # small, on its own ground, so that the colour stays to be seen
                ax.add_patch(plt.Circle((x - .28, y - .26), .2, fc=GROUND[k], ec="none", alpha=.9))
                draw_icon(ax, k, x - .28, y - .26, .33)
            if numbers:
                rgba = image.cmap(image.norm(field[y, x]))
                dark = np.dot(rgba[:3], (0.3, 0.6, 0.1)) < 0.5
                ax.text(x, y + .12, f"{field[y, x]:.1f}", ha="center", va="center", fontsize=8,
                        color="#ffffff" if dark else "#000000")

    def map_data(self) -> dict:
        """What cave.js draws the valley from."""
        return {"kinds": self.grid, "ground": GROUND, "icons": ICONS, "rock": ROCK}

    def film(self, places, alt: str, who: str = "expert", words=None, caption: str = "") -> None:
        """A player of one hunter's way over the valley, place by place."""
        way, day = [int(s) for s in places], {"gusts": None}  # nobody wrote the wind down
        day |= {"ways": [[way]], "meat": [[[np.append(0, self.pay[way[1:]].cumsum()).round(2).tolist()]]],
                "ends": [[way[-1] == self.deer]]}
        self._hunters([who], ["1"], [day], ["meat"], len(way) - 1, alt, caption, lost="stopped")

    def gusts(self, seed: int, steps: int = 60) -> tuple[np.ndarray, np.ndarray]:
        """The wind of a day: where it blows at each step, or -1; and a die for each step."""
        rng = np.random.default_rng(seed)
        blows = rng.random(steps) < self.wind
        return np.where(blows, rng.integers(4, size=steps), -1), rng.random(steps)

    def walk(self, policy, gusts, dice, end: bool = True) -> tuple[list[int], list[int]]:
        """Places and moves of one day in a given wind.

        policy (n, 4), chances, or (n,), moves. In a gust the wind's move is made, not the
        hunter's; that has the chances of P. end: the deer ends the day.
        """
        policy, s, moves = np.asarray(policy), self.start, []
        places = [s]
        for gust, die in zip(gusts, dice, strict=True):
            a = int(policy[s] if policy.ndim == 1 else (die > policy[s].cumsum()[:-1]).sum())
            s = self.step_to(s, a if gust < 0 else int(gust))
            moves.append(a)
            places.append(s)
            if end and self.terminal[s]:
                break
        return places, moves

    def hunt(self, hunters: dict, alt: str, stages: list[str] = ("",), days=range(4),
             steps: int = 60, end: bool = True, count: dict | None = None,
             lost: str = "not at the deer", caption: str = "") -> None:
        """A player of hunters in the same wind: one map, one day, all at once.

        hunters: who ("expert", "clone", "learner") -> a policy as in walk, or a list of
        policies, one for each of the stages, between which the reader moves. days: seeds
        of the wind. count: what is added up on the way, name -> numbers (n,), paid on
        arrival, or (n, 4), for a move at a place; if nothing is said the valley's reward.
        """
        count = {"meat": self.pay} if count is None else count
        told = []
        for seed in days:
            gusts, dice = self.gusts(seed, steps)
            day = {"gusts": gusts.tolist(), "ways": [], "meat": [], "ends": []}
            for policies in hunters.values():
                policies = policies if isinstance(policies, list) else [policies]
                walks = [self.walk(p, gusts, dice, end) for p in policies]
                day["ways"].append([places for places, _ in walks])
                day["ends"].append([self.deer in places for places, _ in walks])
                day["meat"].append([
                    [np.append(0, np.cumsum([
                        pay[t] if pay.ndim == 1 else pay[s, a]
                        for s, a, t in zip(places[:-1], moves, places[1:], strict=True)])).round(2).tolist()
                     for pay in map(np.asarray, count.values())] for places, moves in walks])
            told.append(day)
        self._hunters([*hunters], [str(x) for x in stages], told, [*count], steps, alt, caption, lost)

    def _hunters(self, who, stages, days, count, steps, alt, caption, lost):
        row = ('<tr><td><span class="cave-key" style="border-top-color:{color};border-top-style:{line}">'
               '</span>{name}</td><td class="n"></td>' + '<td class="n"></td>' * len(count)
               + '<td class="cave-fate"></td></tr>')
        line = {"expert": "dashed", "learner": "solid", "clone": "dotted"}
        rows = "".join(row.format(color=COLORS[x], line=line[x], name=NAMES[x]) for x in who)
        heads = "".join(f'<th scope="col" class="n">{x}</th>' for x in ["steps", *count])
        stage = "" if len(stages) < 2 else (
            f'<label><span>Grok, after</span><input type="range" name="stage" min="0" max="{len(stages) - 1}" '
            f'value="{len(stages) - 1}" step="1"><output>{stages[-1]}</output></label>')
        choice = "".join(f'<option value="{i}">{i + 1}</option>' for i in range(len(days)))
        hidden = " hidden" if len(days) < 2 else ""
        width = 600
        _show_widget(
            _canvas(alt, width, width * self.rows / self.columns) + stage
            + _transport(steps, -1)
            + f'<div class="cave-row"><label{hidden}>day <select name="day">{choice}</select></label>'
            '<span class="cave-wind"></span></div>'
            f'<table><thead><tr><th scope="col">hunter</th>{heads}<th scope="col"></th></tr></thead>'
            f'<tbody>{rows}</tbody></table>',
            "Cave.hunt(BOX, DATA, COLORS);",
            {"map": self.map_data(), "days": days, "stages": stages, "moves": MOVES, "fps": 4, "lost": lost,
             "hunters": [{"color": COLORS[x], "dash": DASHES.get(x, []), "face": FACES[x]} for x in who]},
            alt, caption)

    def field_film(self, values, words: list[str], alt: str, scale: str, top: float | None = None,
                   rules=None, fps: int = 3, at: int = -1, caption: str = "") -> None:
        """Numbers of the places that change: values (T, n), as colours and as figures.

        scale says what the legend shows; its end is top, and its other end -top where a
        value is negative. rules (T, n, 4), if given, are drawn as arrows.
        """
        values = np.asarray(values, float)
        seen = values[:, self.places]
        top = float(top or np.abs(seen).max())
        data = {"map": self.map_data(), "top": top, "low": -1 if seen.min() < -0.05 else 0,
                "scale": scale, "frames": self._cells(values), "words": words, "fps": fps, "draw": "",
                "color": LEARNER}
        if rules is not None:
            data["arrows"] = self._arrows(rules)
        _show_widget(
            _canvas(alt, 600, 600 * self.rows / self.columns)
            + _canvas("legend: " + scale, 600, 50) + _transport(len(values) - 1, at, words[at]),
            "Cave.fieldFilm(BOX, DATA, COLORS);", data, alt, caption)

    def _cells(self, values) -> list:
        """Numbers (T, n) for cave.js; a mountain has none."""
        return [[None if k == "m" else round(float(v), 2) for k, v in zip(self.kind, row, strict=True)]
                for row in np.asarray(values)]

    def _arrows(self, rules) -> list:
        """Policies (T, n, 4) for cave.js, in percent; none where moves are about alike."""
        return [[None if k in "md" or np.ptp(p) < 0.15 else (100 * p).round().astype(int).tolist()
                 for k, p in zip(self.kind, rule, strict=True)] for rule in np.asarray(rules)]

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


def map_picture(valley: Valley, runs: list[dict], updates, top: float, caption: str = "") -> None:
    """The picture of hunts.map_film, which computes it: four runs of one map.

    runs: value term and square off; square alone; value term alone; both.
    """
    switch = '<label><input type="checkbox" name="{}" checked> {}</label>'
    told = {"update": "update", "high": "highest value", "low": "lowest value",
            "deer": "the rule finds the deer in"}
    _show_widget(
        f'<div class="cave-switches">{switch.format("value", "value term")}'
        f'{switch.format("square", "square")}</div>'
        + _canvas("The valley as a map of numbers: what Grok thinks each place is worth", 600,
                  600 * valley.rows / valley.columns)
        + _canvas("legend: soft value V of a place", 600, 50)
        + _transport(len(updates) - 1, -1) + "<table><tbody>"
        + "".join(f'<tr><td>{word}</td><td class="n" data-k="{key}"></td></tr>' for key, word in told.items())
        + '</tbody></table><p class="cave-verdict" aria-live="polite"></p>',
        "Cave.mapFilm(BOX, DATA, COLORS);",
        {"map": valley.map_data(), "runs": runs, "updates": [int(x) for x in updates], "top": float(top),
         "scale": "soft value V of a place", "fps": 8},
        "One map over its updates, with switches for the value term and the square", caption)
