"""Measure iq.py beside behavioural cloning, the expert and chance; write book/results/.

    python book/benchmarks.py returns [--task NAME] [--seeds N]
    python book/benchmarks.py speed

Every row of a table holds its command, commit, versions, seed and seconds. What a table
holds already is not measured again, so an interrupted run goes on where it stopped.
LunarLander-v3 needs gymnasium[box2d].
"""
from __future__ import annotations

import argparse
import csv
import os
import subprocess
import sys
import time
from pathlib import Path

import gymnasium
import numpy as np
import torch

sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).parent)]
import hunts  # noqa: E402

import iq  # noqa: E402

RESULTS, DIARIES = hunts.RESULTS, hunts.DIARIES


def lander(seed: int) -> iq.Demos:
    """Ten episodes of the heuristic controller that ships with gymnasium."""
    from gymnasium.envs.box2d.lunar_lander import heuristic

    return iq.record("LunarLander-v3", lambda obs: np.array(
        [heuristic(None, x) for x in obs]), 10, seed)


def elder(env: str, episodes: int):
    return lambda seed: iq.record(env, iq.elder(env, seed), episodes, seed)


def stored(name: str, env: str):
    space = iq.make(env).action_space
    return lambda seed: iq.Demos.load(DIARIES / name, space).take(1)


# name: environment, diary by seed, online, clone's weight decay
TASKS = {
    "CartPole, elder, 1 episode, offline":
        ("CartPole-v1", elder("CartPole-v1", 1), False),
    "CartPole, elder, 1 episode, online":
        ("CartPole-v1", elder("CartPole-v1", 1), True),
    "CartPole, PPO, 1 episode, offline":
        ("CartPole-v1", stored("CartPole-v1_ppo.npz", "CartPole-v1"), False),
    "CartPole, PPO, 1 episode, online":
        ("CartPole-v1", stored("CartPole-v1_ppo.npz", "CartPole-v1"), True),
    "CartPole, PPO, every 20th row, offline":
        ("CartPole-v1", lambda s: stored("CartPole-v1_ppo.npz", "CartPole-v1")(s).subsample(20),
         False),
    "CartPole, PPO, every 20th row, online":
        ("CartPole-v1", lambda s: stored("CartPole-v1_ppo.npz", "CartPole-v1")(s).subsample(20),
         True),
    "Pendulum, elder, 10 episodes, online":
        ("Pendulum-v1", elder("Pendulum-v1", 10), True),
    "Pendulum, SAC, 1 episode, online":
        ("Pendulum-v1", stored("Pendulum-v1_sac.npz", "Pendulum-v1"), True),
    "Pendulum, elder, 10 episodes, offline":
        ("Pendulum-v1", elder("Pendulum-v1", 10), False),
    "LunarLander, heuristic, 10 episodes, offline": ("LunarLander-v3", lander, False),
}
DECAY = 0.1  # AdamW's, of the clones

FIELDS = ("task", "method", "seed", "return_mean", "return_std", "normalised", "expert", "random",
          "transitions", "updates", "seconds", "command", "commit", "versions")


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
    table = [*rows(path), row]
    part = path.with_suffix(".part")
    with part.open("w", newline="") as file:
        writer = csv.DictWriter(file, row.keys())
        writer.writeheader()
        writer.writerows(table)
    os.replace(part, path)


def returns(args) -> None:
    path = RESULTS / "returns.csv"
    for task, (env, diary, online) in TASKS.items():
        if args.task and args.task not in task:
            continue
        for seed in range(args.seeds):
            done = {r["method"] for r in rows(path) if r["task"] == task and r["seed"] == str(seed)}
            demos = diary(seed)
            fresh = hunts.FRESH + seed
            space = iq.make(env).action_space
            expert = demos.returns().mean() if "every" not in task else diary_return(env, seed)
            chance = iq.record(env, hunts.random_policy(space, seed), 20, fresh).returns().mean()
            for who in ("iq", "clone"):
                if who in done or (who == "clone" and online):
                    continue
                begun = time.monotonic()
                config = iq.Config(seed=seed).complete(demos.action_space)
                if who == "iq":
                    act = iq.learn(demos, env if online else None, config).act
                else:
                    clone = hunts.Clone(demos, seed, DECAY)
                    for _ in range(config.steps):
                        clone.update()
                    act = clone.act
                seconds = time.monotonic() - begun
                got = iq.record(env, act, 20, fresh).returns()
                append(path, dict(zip(FIELDS, (
                    task, who, seed, round(got.mean(), 2), round(got.std(), 2),
                    round((got.mean() - chance) / (expert - chance), 3), round(expert, 2),
                    round(chance, 2), len(demos), config.steps, round(seconds, 1),
                    f'python book/benchmarks.py returns --task "{task}" --seeds {seed + 1}'),
                    strict=False)) | provenance())
                print(task, who, seed, round(got.mean(), 1), f"{seconds:.0f} s", flush=True)


def diary_return(env: str, seed: int) -> float:
    """The return of the whole episode that a thinned diary was taken from."""
    return stored("CartPole-v1_ppo.npz", env)(seed).returns().mean()


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


# ------------------------------------------------------------------------------ speed

def speed(args) -> None:
    """Updates per second against the floor: forward, backward, fused Adam on fixed tensors."""
    path = RESULTS / "speed.csv"
    for env, hidden, batch in ("CartPole-v1", 64, 32), ("Pendulum-v1", 256, 256):
        whole, floor = pair(env, hidden, batch)
        rounds = [[rate(whole), rate(floor)] for _ in range(7)]  # side by side, in turn
        ours, bottom = np.median(rounds, axis=0)
        append(path, {"env": env, "hidden": hidden, "batch": f"{batch} + {batch}",
                      "updates_per_second": round(ours), "floor_per_second": round(bottom),
                      "ratio": round(float(np.median([b / a for a, b in rounds])), 2),
                      "threads": torch.get_num_threads(),
                      "command": "python book/benchmarks.py speed"} | provenance())
        print(env, f"{ours:.0f} updates a second, floor {bottom:.0f}")


def pair(env: str, hidden: int, batch: int):
    """iq.py's update with its sampling, and the floor beneath it."""
    demos = iq.record(env, iq.elder(env), 1, 0)
    agent = iq.learn(demos, env, iq.Config(hidden=hidden, batch_size=batch, steps=1))
    diary = iq.Replay(iq.Batch(*map(agent.tensor, (
        demos.observations, demos.actions, demos.next_observations,
        demos.terminations))), len(demos))
    first = agent.tensor(demos.observations[:1]).repeat(batch, 1)
    g = agent.generator

    def whole():
        agent.update(diary.sample(batch, g), agent.replay.sample(batch, g), first)

    return whole, bare(agent, diary.sample(2 * batch, g), first)


def bare(agent, batch, first):
    """The same networks' passes, nothing else."""
    optimizer = torch.optim.Adam(agent.parameters(), 1e-3, fused=True)
    obs, action = batch.obs.float(), batch.action
    actor = [*agent.actor.parameters()]

    def step():
        optimizer.zero_grad()
        if actor:
            with torch.no_grad():
                for x in obs, obs, first:
                    agent.actor(x)
                agent.target(obs, action)
            out = sum(agent.critic(x, a).mean() for x, a in (
                (obs, action), (obs, action), (first, action[: len(first)])))
            out.backward()
            mean = agent.actor(obs).chunk(2, 1)[0].tanh()
            agent.critic(obs, mean).mean().backward(inputs=actor)
        else:
            sum(agent.critic(x).mean() for x in (obs, obs, obs)).backward()
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
    job.add_argument("--task", help="only tasks whose name holds this")
    job.add_argument("--seeds", type=int, default=5, help="seeds 0 to N - 1 (5)")
    jobs.add_parser("experts", help="search, judge and store Acrobot's and MountainCar's")
    jobs.add_parser("speed", help="updates per second against their floor")
    args = parser.parse_args()
    torch.set_num_threads(1)
    RESULTS.mkdir(exist_ok=True)
    {"experts": experts, "returns": returns, "speed": speed}[args.job](args)


if __name__ == "__main__":
    main()
