"""Measure iq.py beside behavioural cloning, the expert and chance; write book/results/.

    python book/benchmarks.py experts
    python book/benchmarks.py returns [--task NAME] [--seeds N] [--steps N]
    python book/benchmarks.py rewards [--seeds N]
    python book/benchmarks.py ablations [--study NAME] [--seeds N]
    python book/benchmarks.py speed

Every row of a table holds its command, commit, versions, seed and seconds. What a table
holds already is not measured again, so an interrupted run goes on where it stopped; for
new figures, take the old rows out. The expert's figure is the mean return of the
episodes in the diary, before any thinning. LunarLander-v3 needs gymnasium[box2d]; Hopper,
HalfCheetah and Walker2d need gymnasium[mujoco], and Walker2d's expert also sbx-rl.
"""
from __future__ import annotations

import argparse
import csv
import fcntl
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import gymnasium
import numpy as np
import torch
from torch import nn

sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).parent)]
import hunts  # noqa: E402

import iq  # noqa: E402

RESULTS, DIARIES = hunts.RESULTS, hunts.DIARIES


# --------------------------------------------------------------------- diaries, tasks

def lander(episodes: int):
    """Episodes of the heuristic controller that ships with gymnasium."""
    def played(seed):
        from gymnasium.envs.box2d.lunar_lander import heuristic

        env = iq.make("LunarLander-v3")  # heuristic asks it whether actions are counted
        return iq.record("LunarLander-v3", lambda obs: np.array(
            [heuristic(env, x) for x in obs]), episodes, seed)

    return played


def elder(env: str, episodes: int = 1):
    return lambda seed: iq.record(env, iq.elder(env, seed), episodes, seed)


def stored(name: str):
    """The first episode of a file in book/diaries/, the same for every seed."""
    env = name.rpartition("_")[0]
    return lambda seed: iq.Demos.load(
        DIARIES / f"{name}.npz", iq.make(env).action_space).take(1)


@dataclass(frozen=True)
class Task:
    """What is learned, from what, and how it is measured."""
    env: str
    diary: Callable[[int], iq.Demos]  # by seed
    online: bool = False
    methods: tuple[str, ...] = ("iq", "clone")
    thin: int = 1  # every how many rows of the diary are kept
    steps: int | None = None  # of iq; None: its default
    every: int | None = None  # steps between points of the curve; None: no curve
    change: tuple[tuple[str, object], ...] = ()  # of the defaults, told in the task's name
    seeds: int = 5

    def demos(self, seed: int) -> tuple[iq.Demos, float]:
        """What is learned from, and the expert's mean return in the unthinned diary."""
        whole = self.diary(seed)
        return whole.subsample(self.thin), whole.returns().mean()


def body(name: str, methods: tuple[str, ...] = ("iq", "clone"), **change) -> Task:
    return Task(name.rpartition("_")[0], stored(name), True, methods, steps=100_000, every=10_000,
                change=(("standardize", True), *change.items()), seeds=3)


# Where Q has to reach 4 alpha / (1 - gamma) = 200, Adam's steps of 0.001 are slow; a tenth of
# alpha is a tenth of the way. The temperature goes with it, else entropy weighs tenfold.
SMALL = {"chi2_alpha": 0.05, "temperature": 0.01, "actor_average": 0.005}


CART, LANDER, SWING = "CartPole-v1", "LunarLander-v3", "Pendulum-v1"
ACROBOT, CAR = "Acrobot-v1", "MountainCar-v0"
OURS = ("iq",)  # the clone stands beside the same diary's offline task
TASKS = {
    "CartPole, elder, 1 episode, offline": Task(CART, elder(CART), seeds=10),
    "CartPole, elder, 1 episode, online": Task(CART, elder(CART), True, OURS),
    "CartPole, PPO, 1 episode, offline": Task(CART, stored("CartPole-v1_ppo"), seeds=10),
    "CartPole, PPO, 1 episode, online": Task(CART, stored("CartPole-v1_ppo"), True, OURS),
    "CartPole, PPO, every 20th row, offline": Task(
        CART, stored("CartPole-v1_ppo"), methods=("iq", "clone", "published"), thin=20, seeds=10),
    "CartPole, PPO, every 20th row, online": Task(
        CART, stored("CartPole-v1_ppo"), True, OURS, thin=20, seeds=10),
    "CartPole, PPO, every 20th row, online, 20,000 steps": Task(
        CART, stored("CartPole-v1_ppo"), True, OURS, thin=20, steps=20_000, seeds=5),
    "Acrobot, CEM, 1 episode, offline": Task(ACROBOT, stored("Acrobot-v1_cem")),
    "Acrobot, CEM, 1 episode, online": Task(ACROBOT, stored("Acrobot-v1_cem"), True, OURS),
    "MountainCar, CEM, 1 episode, offline": Task(CAR, stored("MountainCar-v0_cem")),
    "MountainCar, CEM, 1 episode, online": Task(CAR, stored("MountainCar-v0_cem"), True, OURS),
    "LunarLander, heuristic, 10 episodes, offline": Task(LANDER, lander(10)),
    "LunarLander, heuristic, 1 episode, online": Task(LANDER, lander(1), True),
    "Pendulum, SAC, 1 episode, online": Task(
        SWING, stored("Pendulum-v1_sac"), True, steps=10_000),
    "Pendulum, elder, 1 episode, online": Task(SWING, elder(SWING), True),
    "Pendulum, elder, 10 episodes, online": Task(SWING, elder(SWING, 10), True, OURS),
    "Pendulum, elder, 10 episodes, offline": Task(SWING, elder(SWING, 10)),
    "Pendulum, elder, 10 episodes, offline, standardize": Task(
        SWING, elder(SWING, 10), methods=OURS, change=(("standardize", True),)),
    "Pendulum, elder, 10 episodes, offline, standardize, critic_lr 0.0003": Task(
        SWING, elder(SWING, 10), methods=OURS,
        change=(("standardize", True), ("critic_lr", 3e-4))),
    "Hopper, TQC, 1 episode, online, standardize": body("Hopper-v5_tqc"),
    "Hopper, TQC, 1 episode, online, standardize, small Q": body("Hopper-v5_tqc", OURS, **SMALL),
    "HalfCheetah, SAC, 1 episode, online, standardize": body("HalfCheetah-v5_sac"),
    "HalfCheetah, SAC, 1 episode, online, standardize, actor_lr 0.001": body(
        "HalfCheetah-v5_sac", OURS, actor_lr=1e-3),
    "HalfCheetah, SAC, 1 episode, online, standardize, small Q": body(
        "HalfCheetah-v5_sac", OURS, **SMALL),
    "Walker2d, TQC, 1 episode, online, standardize": body("Walker2d-v5_tqc"),
    "Walker2d, TQC, 1 episode, online, standardize, small Q": body(
        "Walker2d-v5_tqc", OURS, **SMALL),
}
DECAY = 0.1  # AdamW's, of the clones

FIELDS = ("task", "method", "seed", "return_mean", "return_std", "normalised", "expert", "random",
          "transitions", "updates", "seconds", "command")  # provenance and pearson follow

# --------------------------------------------------------------------- tables of rows

def provenance() -> dict[str, str]:
    def git(*words):
        return subprocess.run(("git", *words), cwd=RESULTS.parent, capture_output=True,
                              text=True).stdout.strip()
    dirty = "+" if git("status", "--porcelain", "--", "../iq.py") else ""
    return {"commit": git("rev-parse", "--short", "HEAD") + dirty,
            "versions": f"torch {torch.__version__} gymnasium {gymnasium.__version__} "
                        f"numpy {np.__version__}"}


def rows(path: Path) -> list[dict]:
    return list(csv.DictReader(path.open())) if path.exists() else []


def append(path: Path, row: dict) -> None:
    """The whole table again, by rename: an interruption leaves the old one."""
    folder = os.open(path.parent, os.O_RDONLY)
    fcntl.flock(folder, fcntl.LOCK_EX)  # one writer at a time
    try:
        table = [*rows(path), row]
        part = path.with_suffix(".part")
        with part.open("w", newline="") as file:
            writer = csv.DictWriter(file, row.keys())
            writer.writeheader()
            writer.writerows(table)
        os.replace(part, path)
    finally:
        os.close(folder)


# ---------------------------------------------------------------------------- returns

def returns(args) -> None:
    path = RESULTS / "returns.csv"
    for name, task in TASKS.items():
        if args.task and (args.task != name if args.task in TASKS else args.task not in name):
            continue
        if args.steps and task.every:
            task = replace(task, steps=args.steps)
        for seed in range(args.seeds or task.seeds):
            done = {r["method"] for r in rows(path) if (r["task"], r["seed"]) == (name, str(seed))}
            if not (missing := [who for who in task.methods if who not in done]):
                continue
            demos, expert = task.demos(seed)
            fresh = hunts.FRESH + seed
            space = iq.make(task.env).action_space
            chance = iq.record(task.env, hunts.random_policy(space, seed), 20, fresh).returns().mean()
            command = f'python book/benchmarks.py returns --task "{name}" --seeds {seed + 1}'
            command += f" --steps {task.steps}" if task.every else ""
            for who in missing:
                begun = time.monotonic()
                act, updates, agent = learned(who, name, task, demos, seed, command)
                seconds = time.monotonic() - begun
                played = iq.record(task.env, act, 20, fresh)
                got = played.returns()
                append(path, dict(zip(FIELDS, (
                    name, who, seed, round(got.mean(), 2), round(got.std(), 2),
                    round((got.mean() - chance) / (expert - chance), 3), round(expert, 2),
                    round(chance, 2), len(demos), updates, round(seconds, 1), command),
                    strict=True)) | provenance() | {"pearson": pearson(agent, played)})
                print(name, who, seed, round(got.mean(), 1), f"{seconds:.0f} s", flush=True)


def learned(who: str, name: str, task: Task, demos: iq.Demos, seed: int, command: str):
    """A policy, the number of its updates, and its agent, where it has one."""
    config = iq.Config(seed=seed).complete(demos.action_space)
    if who == "clone":
        clone = hunts.Clone(demos, seed, DECAY)
        for _ in range(config.steps):
            clone.update()
        return clone.act, config.steps, None
    if who == "published":
        agent = published(demos, seed, config.steps)
        iq.learn(demos, task.env if task.online else None, agent.config, agent=agent)
    else:
        config = replace(config, steps=task.steps or config.steps, **dict(task.change))
        agent = hunted(name, task, demos, config, command)
    return agent.act, agent.updates, agent


def published(demos: iq.Demos, seed: int, steps: int) -> iq.Agent:
    """The paper's recipe for counted actions, with as many updates as ours."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        critic = nn.Sequential(nn.Linear(demos.observations.shape[1], 64), nn.ELU(),
                               nn.Linear(64, 64), nn.ELU(), nn.Linear(64, int(demos.action_space.n)))
    return iq.new_agent(demos, iq.Config(
        critic_lr=1e-4, batch_size=32, temperature=0.001, divergence="chi2", chi2_on="expert",
        value_term="expert", target_rate=1.0, grad_clip=1e6, steps=steps,
        seed=seed), critic=critic)


def hunted(name: str, task: Task, demos: iq.Demos, config: iq.Config, command: str) -> iq.Agent:
    """iq.learn, in stretches with a point of the curve and a checkpoint after each."""
    env = task.env if task.online else None
    if not task.every:
        return iq.learn(demos, env, config)
    path, seed = RESULTS / "curves.csv", config.seed
    kept = Path(tempfile.gettempdir()) / f"iq-{RESULTS.parent.name}-{task.env}-{seed}.pt"
    agent = iq.load(kept) if kept.exists() else None
    if agent is None or replace(agent.config, steps=config.steps) != config:
        agent = iq.new_agent(demos, config)
    while agent.updates < config.steps:
        begun, stop = time.monotonic(), min(agent.updates + task.every, config.steps)
        iq.learn(demos, env, replace(config, steps=stop), agent=agent)
        seconds = time.monotonic() - begun
        played = iq.record(task.env, agent.act, 10, hunts.FRESH + 1000)
        got, key = played.returns(), (name, str(seed), str(stop))
        if key not in {(r["task"], r["seed"], r["step"]) for r in rows(path)}:
            append(path, {
                "task": name, "seed": seed, "step": stop, "return_mean": round(got.mean(), 2),
                "return_std": round(got.std(), 2), "pearson": pearson(agent, played),
                "seconds": round(seconds, 1), "command": command} | provenance())
        agent.save(kept)
        print(name, seed, stop, round(got.mean(), 1), f"{seconds:.0f} s", flush=True)
    return agent


def pearson(agent: iq.Agent | None, played: iq.Demos) -> float | str:
    """Of the recovered reward with the true one, over fresh episodes; empty: none."""
    if agent is None or np.ptp(played.rewards) == 0:
        return ""
    ours = agent.reward(played.observations, played.actions, played.next_observations,
                        played.terminations).cpu().numpy()
    return round(float(np.corrcoef(ours, played.rewards)[0, 1]), 3)


# ---------------------------------------------------------------------------- rewards

def rewards(args) -> None:
    """Pearson of recovered and true rewards, by step and by episode, with controls.

    Over 50 episodes of five hunters: the learner's own moves, of which a share of 0,
    1/4, 1/2, 3/4 and 1 is put in their place at random.
    """
    path = RESULTS / "rewards.csv"
    for name in ("Pendulum, elder, 10 episodes, online", "Pendulum, SAC, 1 episode, online",
                 "Hopper, TQC, 1 episode, online, standardize"):
        for seed in range(args.seeds or 3):
            if (name, str(seed)) in {(r["task"], r["seed"]) for r in rows(path)}:
                continue
            task = TASKS[name]
            demos, _ = task.demos(seed)
            command = f"python book/benchmarks.py rewards --seeds {seed + 1}"
            agent = learned("iq", name, task, demos, seed, command)[2]
            chance = hunts.random_policy(agent.action_space, seed)
            parts = [iq.record(task.env, stray(agent.act, chance, share, seed), 10, hunts.FRESH)
                     for share in (0, 0.25, 0.5, 0.75, 1)]
            row = {"task": name, "seed": seed}
            for signal, what in SIGNALS.items():
                told = [what(agent, x) for x in parts]
                sums = [np.add.reduceat(t, np.flatnonzero(x.starts)) for t, x in zip(told, parts)]
                truth = [x.rewards for x in parts], [x.returns() for x in parts]
                for unit, mine, true in zip(("step", "episode"), (told, sums), truth, strict=True):
                    mine, true = np.concatenate(mine), np.concatenate(true)
                    known = np.ptp(mine) > 1e-6 * np.abs(mine).max()
                    row[f"{signal}, by {unit}"] = (
                        round(float(np.corrcoef(mine, true)[0, 1]), 3) if known else "")
            append(path, row | {"command": command} | provenance())
            print(row, flush=True)


def stray(policy: Callable, chance: Callable, share: float, seed: int) -> Callable:
    """A policy, of whose moves a share is drawn by chance instead."""
    rng = np.random.default_rng(seed)
    return lambda obs: np.where(rng.random((len(obs), 1)) < share, chance(obs), policy(obs))


def arrays(demos: iq.Demos):
    return demos.observations, demos.actions


@torch.no_grad()
def log_policy(agent: iq.Agent, demos: iq.Demos) -> np.ndarray:
    """Q - V is tau log pi at the best actor."""
    return (agent.q(*arrays(demos)) - agent.value(demos.observations)).cpu().numpy()


SIGNALS = {
    "recovered reward": lambda agent, x: agent.reward(
        *arrays(x), x.next_observations, x.terminations).cpu().numpy(),
    "log policy": log_policy,
    "a constant": lambda agent, x: np.ones(len(x))}


# -------------------------------------------------------------------------- ablations

class Twin(nn.Module):
    """Two critics, like iq.py's own, joined row by row: their mean or their minimum."""

    def __init__(self, inputs: int, hidden: int, join: Callable) -> None:
        super().__init__()
        self.join, self.pair = join, nn.ModuleList(iq.MLP(
            inputs, hidden, 1, nn.ReLU) for _ in range(2))

    def forward(self, obs: torch.Tensor, action: torch.Tensor) -> torch.Tensor:
        return self.join(*(critic(obs, action) for critic in self.pair))


CRITICS = {"one": None, "mean of two": lambda a, b: (a + b) / 2, "minimum of two": torch.minimum}
CHEAP = {name: TASKS[name] for name in (
    "CartPole, PPO, every 20th row, offline", "CartPole, PPO, every 20th row, online",
    "MountainCar, CEM, 1 episode, offline")} | {
    "Pendulum, SAC, 1 episode, online, 5,000 steps": replace(
        TASKS["Pendulum, SAC, 1 episode, online"], steps=5_000)}
RUNS_ON = {"CartPole, elder, every 20th row, offline": CART, "Pendulum, elder, online": SWING}
SWEEPS = {  # study: settings of Config
    "standardize": (False, True), "chi2_on": ("expert", "mixture"),
    "value_term": ("initial", "expert", "mixture"),
    "absorbing": (False, True), "temperature": (0.001, 0.01, 0.1, 1.0, 10.0),
    "target_rate": (1.0, 0.05, 0.005), "divergence": tuple(iq.DIVERGENCES)}
SIZES = {"alpha 0.5, tau 0.1": {}, "alpha 0.05, tau 0.01": {"chi2_alpha": 0.05, "temperature": 0.01},
         "the same, actor averaged": SMALL}
TITLES = {"absorbing": "ending", "target_rate": "target"}  # of studies, where not the option's


def cases():
    """(study, setting, task's name, task, change of Config, join of critics)."""
    for option, settings in SWEEPS.items():
        for name, task in CHEAP.items():
            for setting in settings:
                yield TITLES.get(option, option), setting, name, task, {option: setting}, None
    name = "Pendulum, SAC, 1 episode, online, 5,000 steps"
    for setting, join in CRITICS.items():
        yield "critics", setting, name, CHEAP[name], {}, join
    for setting, change in SIZES.items():
        yield "size of Q", setting, name, CHEAP[name], change, None
    for name, env in RUNS_ON.items():
        for n in 1, 3, 5, 10, 15:
            online = env == SWING
            yield "demos", n, name, Task(
                env, elder(env, n), online, thin=1 if online else 20), {}, None


def ablations(args) -> None:
    """One thing changed, all else at its default; a run that breaks down is NaN."""
    path = RESULTS / "ablations.csv"
    for study, setting, name, task, change, join in cases():
        if args.study and args.study != study:
            continue
        for seed in range(args.seeds or 3):
            key = study, str(setting), name, str(seed)
            if key in {(r["study"], r["setting"], r["task"], r["seed"]) for r in rows(path)}:
                continue
            begun, (demos, _) = time.monotonic(), task.demos(seed)
            config = iq.Config(seed=seed, steps=task.steps, **change).complete(demos.action_space)
            networks = {}
            if join:
                inputs = demos.observations.shape[1] + demos.actions.shape[1]
                with torch.random.fork_rng(devices=[]):
                    torch.manual_seed(seed)
                    networks = {"critic": Twin(inputs, config.hidden, join)}
            agent = iq.new_agent(demos, config, **networks)
            try:
                iq.learn(demos, task.env if task.online else None, config, agent=agent)
                got = iq.evaluate(agent, task.env, 20, hunts.FRESH + seed)
            except FloatingPointError as error:
                print(error)
                got = np.array([np.nan])
            append(path, {
                "study": study, "setting": setting, "task": name, "seed": seed,
                "return_mean": round(got.mean(), 2), "return_std": round(got.std(), 2),
                "max_q": round(max((h["max_q"] for h in agent.history), default=np.nan), 2),
                "seconds": round(time.monotonic() - begun, 1),
                "command": f"python book/benchmarks.py ablations --study {study} --seeds {seed + 1}",
            } | provenance())
            print(*key, round(got.mean(), 1), flush=True)


# ---------------------------------------------------------------------------- experts

SCALES = {"Acrobot-v1": [1, 1, 1, 1, 4, 9], "MountainCar-v0": [1, 0.07]}


def search(env: str, seed: int = 0, population: int = 32, repeats: int = 2,
           generations: int = 12) -> np.ndarray:
    """Cross-entropy search for the W of a linear policy, argmax W [obs / scale, 1].

    Each generation draws policies from a normal distribution, plays each `repeats`
    times, and moves the distribution to the best quarter.
    """
    rng = np.random.default_rng(seed)
    shape = int(iq.make(env).action_space.n), len(SCALES[env]) + 1
    mean, std = np.zeros(shape), np.ones(shape)
    for generation in range(generations):
        drawn = mean + std * rng.standard_normal((population, *shape))
        start = 2 * hunts.FRESH + generation * population * repeats
        got = iq.record(env, linear(env, np.repeat(drawn, repeats, 0)),
                        population * repeats, start).returns().reshape(population, -1).mean(1)
        best = drawn[np.argsort(-got, kind="stable")[: population // 4]]
        mean, std = best.mean(0), best.std(0) + 0.1
        print(env, "generation", generation, f"mean {got.mean():.1f}", flush=True)
    return mean


def linear(env: str, weights: np.ndarray):
    """One policy for all rows of obs, weights (A, F), or one for each, (B, A, F)."""
    def policy(obs):
        seen = np.column_stack([obs / SCALES[env], np.ones(len(obs))])
        return (weights @ seen[..., None]).squeeze(-1).argmax(-1)

    return policy


def experts(args) -> None:
    """A typical episode of each searched expert: of seeds 0-9, the return nearest its mean."""
    for env in SCALES:
        path = DIARIES / f"{env}_cem.npz"
        if path.exists():
            continue
        policy = linear(env, search(env))
        judged = iq.record(env, policy, 100, hunts.FRESH).returns()
        few = iq.record(env, policy, 10, 0)
        seed = int(np.abs(few.returns() - judged.mean()).argmin())
        diary = few.keep(few.episode_ids == seed)
        diary.save(path)
        with open(DIARIES / "README.md", "a") as file:
            file.write(
                f"| `{path.name}` | linear policy found by cross-entropy search, mean "
                f"{judged.mean():.1f} (sd {judged.std():.1f}) over 100 fresh episodes; this one, "
                f"seed {seed}: {diary.returns()[0]:.0f} | 1 | `python book/benchmarks.py experts`"
                " (the episode of seeds 0-9 nearest the mean), this project, MIT |\n")
        print(env, f"{judged.mean():.1f} (sd {judged.std():.1f})", flush=True)
    if not (path := DIARIES / "Walker2d-v5_tqc.npz").exists():
        walker().save(path)


def walker() -> iq.Demos:
    """Of a TQC agent's episodes, seeds 0-9, the first; an hour of pip install sbx-rl."""
    import sbx

    agent = sbx.TQC("MlpPolicy", gymnasium.make("Walker2d-v5"), learning_rate=7e-4,
                    policy_delay=2, learning_starts=5_000, seed=0).learn(260_000)
    return iq.record("Walker2d-v5", lambda obs: agent.predict(obs, deterministic=True)[0], 10, 0).take(1)


# ------------------------------------------------------------------------------ speed

def speed(args) -> None:
    """Updates against their floor, the loop's own time, a large diary's memory, two ranks."""
    path = RESULTS / "speed.csv"

    def put(what, env, hidden, batch, value, floor, ratio, unit):
        append(path, {"what": what, "env": env, "hidden": hidden, "batch": batch, "value": value,
                      "floor": floor, "ratio": round(float(ratio), 3), "unit": unit,
                      "threads": torch.get_num_threads(),
                      "command": "python book/benchmarks.py speed"} | provenance())
        print(what, env, value, floor, f"{ratio:.3f}", unit, flush=True)

    default, done = iq.Config(), {(r["what"], r["env"]) for r in rows(path)}
    for env, hidden, batch in (CART, 64, 32), (SWING, 256, 256):
        whole, *floors = pair(env, hidden, batch)
        for what, floor in zip(("update", "update, loss in the floor"), floors, strict=True):
            if (what, env) not in done:
                rounds = [[rate(whole), rate(floor)] for _ in range(7)]  # side by side, in turn
                ours, bottom = np.median(rounds, axis=0)
                put(what, env, hidden, f"{batch} + {batch}", round(ours), round(bottom),
                    np.median([b / a for a, b in rounds]), "updates a second; floor / ours")
        if ("loop", env) not in done:
            total, inside = loop(env)
            put("loop", env, default.hidden, f"{default.batch_size} + {default.batch_size}",
                round(total, 2), round(inside, 2), 1 - inside / total,
                "seconds of 2,000 steps; floor: env.step and update; share outside")
    if ("memory", CART) not in done:
        peak, size = memory()
        put("memory", CART, default.hidden, default.batch_size, peak, size, peak / size,
            "bytes above the imports at the peak; floor: the arrays of the file")
    if ("ranks", CART) not in done:
        rounds = [[joined(2), joined(1)] for _ in range(3)]  # side by side, in turn
        two, one = np.median(rounds, axis=0)
        put("ranks", CART, default.hidden, f"{default.batch_size} + {default.batch_size}",
            round(two), round(one), np.median([2 * b / a for b, a in rounds]),
            "updates a second of two processes; floor: of one; rows a second, two / one")


def joined(count: int, steps: int = 3_000) -> float:
    """Updates a second, online, of torchrun with that many processes."""
    told = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node",
         str(count), "iq.py", "learn", CART, "--online", "--steps", str(steps), "--json"],
        text=True, check=True, capture_output=True, cwd=Path(iq.__file__).parent,
        env=os.environ | {"OMP_NUM_THREADS": "1"}).stdout
    return json.loads(told)["updates_per_second"]


def loop(env: str, steps: int = 2_000) -> tuple[float, float]:
    """Seconds of online learning, and those of them in env.step and agent.update."""
    demos, inside = iq.record(env, iq.elder(env), 1, 0), 0.0

    def timed(call):
        def wrapped(*args):
            nonlocal inside
            begun = time.perf_counter()
            try:
                return call(*args)
            finally:
                inside += time.perf_counter() - begun
        return wrapped

    home, config = iq.make(env), iq.Config(steps=steps)
    agent = iq.new_agent(demos, config)
    home.step, agent.update = timed(home.step), timed(agent.update)
    begun = time.perf_counter()
    iq.learn(demos, home, config, agent=agent)
    return time.perf_counter() - begun, inside


LARGE = """
import sys
import iq
def peak():  # of this process alone: ru_maxrss begins at the parent's
    told = open("/proc/self/status").read()
    return int(told.split("VmHWM:")[1].split()[0]) * 1024
before = peak()
demos = iq.Demos.load(sys.argv[1])
iq.learn(demos, config=iq.Config(steps=100, device="cpu"))
print(peak() - before)
"""


def memory(count: int = 10**7) -> tuple[int, int]:
    """Bytes at the peak of loading a diary and 100 updates on it, and of its arrays."""
    rng = np.random.default_rng(0)
    ends = np.arange(1, count + 1) % 500 == 0
    columns = {"observations": rng.standard_normal((count, 4), np.float32),
               "next_observations": rng.standard_normal((count, 4), np.float32),
               "actions": rng.integers(2, size=count), "terminations": np.zeros(count, bool),
               "truncations": ends, "episode_ids": np.arange(count) // 500, "n_actions": np.int64(2)}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "large.npz"
        np.savez(path, **columns)
        told = subprocess.run([sys.executable, "-c", LARGE, path], text=True, check=True,
                              capture_output=True, cwd=Path(iq.__file__).parent).stdout
    return int(told), sum(x.nbytes for x in columns.values())


def pair(env: str, hidden: int, batch: int):
    """iq.py's update with its sampling, and the floors beneath it, without and with the loss."""
    demos = iq.record(env, iq.elder(env), 1, 0)
    agent = iq.learn(demos, env, iq.Config(hidden=hidden, batch_size=batch, steps=1))
    agent.replay = iq.Replay(iq.Batch(*map(agent.tensor, (
        demos.observations, demos.actions, demos.next_observations,
        demos.terminations))), len(demos))
    diary, g = agent.replay, agent.generator
    first = None
    if agent.config.value_term == "initial":
        first = agent.tensor(demos.observations[:1]).repeat(batch, 1)

    def whole():
        agent.update(diary.sample(batch, g), agent.replay.sample(batch, g), first)

    fixed = diary.sample(2 * batch, g)
    return whole, bare(agent, fixed, first), charged(agent, fixed, first)


def bare(agent, batch, first):
    """The passes of the same networks, with a sum of means in place of the loss."""
    obs, action, next_obs = batch.obs.float(), batch.action, batch.next_obs.float()
    acts = bool([*agent.actor.parameters()])

    def value(obs, network):
        if not acts:
            return network(obs).mean()
        return network(obs, agent.actor(obs).chunk(2, 1)[0].tanh()).mean()

    def passes():
        q = agent.critic(obs, action).mean() if acts else None  # else one pass for Q and V
        own = value(obs, agent.critic)
        with torch.set_grad_enabled(agent.target is agent.critic):
            later = value(next_obs, agent.target)
        start = own if first is None else value(first, agent.critic)
        return (q if acts else own) + later + start, own

    return stroke(agent, passes)


def charged(agent, batch, first):
    """The same with draws and loss as in learning: all but sampling, clipping, checks, tables."""
    is_expert, c = torch.arange(len(batch.action)) < len(batch.action) // 2, agent.config

    def passes():
        q, value, _ = agent(batch.obs, batch.action)
        with torch.set_grad_enabled(agent.target is agent.critic):
            later = agent.value(batch.next_obs, agent.target)
        start = None if first is None else agent.value(first)
        loss, _ = iq.iq_loss(q, value, later, batch.terminated, is_expert, gamma=c.gamma,
                             chi2_on=c.chi2_on, value_term=c.value_term, initial_value=start)
        return loss, value.mean()

    return stroke(agent, passes)


def stroke(agent, passes):
    """Backward and fused Adam after some passes, which give the critic's loss and V's mean."""
    critic, actor = [*agent.critic.parameters()], [*agent.actor.parameters()]
    optimizer = torch.optim.Adam([*critic, *actor], 1e-3, fused=True)

    def step():
        optimizer.zero_grad()
        loss, value = passes()
        loss.backward(inputs=critic, retain_graph=bool(actor))
        if actor:
            (-value).backward(inputs=actor)
        optimizer.step()

    return step


def rate(step, seconds: float = 1.0) -> float:
    step()
    count, begun = 0, time.perf_counter()
    while time.perf_counter() - begun < seconds:
        step()
        count += 1
    return count / (time.perf_counter() - begun)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    jobs = parser.add_subparsers(dest="job", required=True)
    job = jobs.add_parser("returns", help="final returns over seeds")
    job.add_argument("--task", help="only this one, or those whose names hold this")
    job.add_argument("--seeds", type=int, help="seeds 0 to N - 1 (as the task says)")
    job.add_argument("--steps", type=int, help="of tasks with a curve (100,000)")
    job = jobs.add_parser("rewards", help="recovered rewards beside the true ones")
    job.add_argument("--seeds", type=int, help="seeds 0 to N - 1 (3)")
    job = jobs.add_parser("ablations", help="one thing changed at a time")
    studies = list(dict.fromkeys(study for study, *_ in cases()))
    job.add_argument("--study", choices=studies, help="only this one")
    job.add_argument("--seeds", type=int, help="seeds 0 to N - 1 (3)")
    jobs.add_parser("experts", help="search, judge and store Acrobot's and MountainCar's")
    jobs.add_parser("speed", help="updates per second against their floor")
    args = parser.parse_args()
    torch.set_num_threads(1)
    RESULTS.mkdir(exist_ok=True)
    todo = {"ablations": ablations, "experts": experts, "returns": returns,
            "rewards": rewards, "speed": speed}
    todo[args.job](args)


if __name__ == "__main__":
    main()
