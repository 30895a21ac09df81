"""Measure iq.py beside its controls, its peers and chance; write book/results/.

    python book/benchmarks.py returns    [--task T ...] [--method M ...] [--mode online]
                                         [--seeds N] [--set FIELD=JSON ...]
    python book/benchmarks.py bodies     [--task T ...] [--method M ...] [--steps N] [--seeds N]
    python book/benchmarks.py ablations  [--task T ...] [--field F ...] [--seeds N]
    python book/benchmarks.py rewards    [--task T ...] [--seeds N]
    python book/benchmarks.py peers      [--task T ...] [--method M ...] [--seeds N]
    python book/benchmarks.py speed
    python book/benchmarks.py many
    python book/benchmarks.py table      [--task T ...] [--file ablations.csv]
    python book/benchmarks.py record
    python book/benchmarks.py zoo        [--task FAMILY ...]

Rows are added as runs finish, and a row that stands is not measured again, so that an
interrupted run goes on where it stopped; for new figures, take the old rows out. The
seeds of a run are trained at once (many.py), and "seconds" are a seed's share. Two runs at
most go on at once, on one thread each. LunarLander needs gymnasium[box2d]; Hopper,
HalfCheetah and Walker2d need gymnasium[mujoco].
"""
from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before torch reads it
os.environ["TQDM_DISABLE"] = "1"

import argparse
import csv
import functools
import itertools
import json
import multiprocessing
import re
import subprocess
import sys
import time
import types
from collections import namedtuple
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from pathlib import Path

import gymnasium as gym
import numpy as np
import torch

sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).parent)]
import hunts  # noqa: E402
import many as together  # noqa: E402
import zoo as animals  # noqa: E402

import iq  # noqa: E402

SECOND = "ef2a479"  # the commit of the second edition's iq.py

# ------------------------------------------------------------------------------- tasks

# A diary is diaries/ENV_EXPERT.npz. online, offline: steps there, updates here.
Task = namedtuple("Task", "name env expert episodes every online offline seeds")
TASKS = [Task(name, env, expert, *numbers) for name, env, experts, *numbers in (
    # name, environment, experts, episodes, every K-th row, online, offline, seeds
    ("CartPole", "CartPole-v1", "ppo a2c dqn", 1, 1, 10_000, 10_000, 5),
    ("CartPole, 25 rows", "CartPole-v1", "ppo a2c dqn", 1, 20, 10_000, 10_000, 5),
    ("Acrobot", "Acrobot-v1", "dqn cem sarsa", 1, 1, 10_000, 10_000, 5),
    ("MountainCar", "MountainCar-v0", "dqn cem sarsa", 1, 1, 10_000, 10_000, 5),
    ("LunarLander", "LunarLander-v3", "heuristic ppo dqn", 3, 1, 30_000, 10_000, 5),
    ("Pendulum", "Pendulum-v1", "sac ppo ddpg", 10, 1, 10_000, 30_000, 5),
    ("Pendulum, near the top", "Pendulum-v1", "sac", 1, 1, 20_000, 30_000, 5),
    ("LunarLanderContinuous", "LunarLanderContinuous-v3", "ddpg", 3, 1, 10_000, 10_000, 5),
    ("MountainCarContinuous", "MountainCarContinuous-v0", "sac", 1, 1, 10_000, 10_000, 5),
    ("Hopper", "Hopper-v5", "tqc", 1, 1, 300_000, 30_000, 3),
    ("HalfCheetah", "HalfCheetah-v5", "sac", 1, 1, 300_000, 30_000, 3),
    ("Walker2d", "Walker2d-v5", "sac", 1, 1, 300_000, 30_000, 3),
) for expert in experts.split()]

# Their mean returns over all the episodes that were recorded stand in the diaries' README.
EXPERTS = {file: float(mean) for file, mean in re.findall(
    r"^\| `(\S+)\.npz` \|.*\| (-?[\d.]+) \(", (hunts.DIARIES / "README.md").read_text(), re.M)}

METHODS = {  # where they learn, and what of Config is not at its default
    "iq": ("online offline", {}),
    # maximum likelihood, with weight decay; of continuous actions a normal, spread learned
    "clone": ("offline", {}),
    "SQIL": ("online", {}),  # rewards: 1 on the diary, 0 on replay
    # V_A learned with the networks' step size, as in the second edition
    "iq, slow V_A": ("online", {}),
    "SQIL, slow V_A": ("online", {}),
    "value term initial, slow V_A": ("online", {"value_term": "initial"}),
    "no replay": ("online", {}),  # iq offline, with as many updates as online
    "no square": ("online offline", {"chi2_alpha": 1e6}),
    "V = 0 at the end": ("online offline", {"absorbing": False}),
    "value term 0": ("online", {"value_term": 0.0}),
    "value term 1": ("online", {"value_term": 1.0}),
    "value term initial": ("online", {"value_term": "initial"})}

ABLATED = "CartPole, 25 rows", "Pendulum"  # a thin task and a full one, three diaries each
FIELDS = {  # of Config: values beside the default (grad_clip=1 and 1e6 showed nothing: it left)
    "gamma": (0.9, 0.97, 0.997), "temperature": (0.003, 0.01, 0.1, 1.0),
    "divergence": tuple(iq.DIVERGENCES), "chi2_alpha": (0.05, 5.0, 50.0),
    "chi2_on": ("mixture", "expert"), "value_term": (0.0, 0.03, 0.1, 0.3, 1.0, "initial"),
    "absorbing": (True, False), "continuous": ("naf", "actor_critic"), "hidden": (32, 64, 256),
    "learning_rate": (3e-4, 3e-3), "target_rate": (0.005, 0.2, 1.0),
    "batch_size": (16, 32, 256)}

BODIES = "Hopper", "HalfCheetah", "Walker2d"
ACTOR = {"continuous": "actor_critic"}
BODY = {"iq": ("online", ACTOR), "SQIL": ("online", ACTOR), "clone": ("offline", {}),
        "iq, falling step size": ("online", ACTOR)}  # to 0 at the last update
CURVED = "returns.csv", "bodies.csv"

# ------------------------------------------------------------------------ rows and runs

Job = namedtuple("Job", "task mode method change seeds steps file")


@functools.cache  # asked first when a command begins
def commit():
    git = lambda *words: subprocess.run(
        ("git", *words), cwd=hunts.DIARIES, capture_output=True, text=True).stdout.strip()
    return git("rev-parse", "--short", "HEAD") + "+" * bool(git("status", "-s", iq.__file__))


def rows(path):
    return list(csv.DictReader(path.open(newline=""))) if path.exists() else []


def append(path, row):
    row = {k: round(x, 4) if isinstance(x, float) else x for k, x in row.items()} | {"commit": commit()}
    new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, row)
        if new:
            writer.writeheader()
        writer.writerow(row)
    print(path.name, *row.values(), flush=True)


def key(row):
    return tuple(str(row.get(x)) for x in ("task", "expert", "mode", "method", "seed", "steps"))


def work(measure, jobs, path, workers):
    """Run the jobs, of the seeds that have no row yet; each gives (file, row) pairs."""
    done = {key(row) for row in rows(path)}
    left = [job._replace(seeds=[x for x in job.seeds if key(head(job, x)) not in done])
            for job in jobs]
    method = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(workers, 2), method) as pool:
        runs = {pool.submit(measure, job): job for job in left if job.seeds}
        for run in as_completed(runs):
            if run.exception():
                print("FAILED", runs[run], repr(run.exception()), file=sys.stderr, flush=True)
                continue
            for name, row in run.result():
                append(path.parent / name, row)


def head(job, seed):
    """What tells one run from another, the first columns of its row."""
    return {"task": job.task.name, "expert": job.task.expert, "mode": job.mode,
            "method": job.method, "seed": seed, "steps": job.steps}


def chosen(args, tasks=None):
    """The tasks that --task names, whole or in part; else those given, or all."""
    names = {task.name for task in TASKS}
    wanted = [x for ask in args.task or tasks or [""] for x in names
              if x == ask or ask not in names and ask in x]
    return [task for task in TASKS if task.name in wanted]


def diary(task):
    """What is learned from, and the same before it is thinned."""
    whole = iq.Demos.load(hunts.DIARIES / f"{task.env}_{task.expert}.npz").take(task.episodes)
    return whole.subsample(task.every), whole


def discrete(task):
    return diary(task)[0].actions.ndim == 1


@functools.cache
def chance(env):
    """The mean return of actions drawn evenly, over 50 episodes."""
    with iq.make_env(env) as home:
        home.action_space.seed(0)
        policy = lambda obs: home.action_space.sample()
        return iq.record(home, policy, 50, hunts.FRESH).returns().mean()


def worth(task, got):
    """Columns that say what a return is worth."""
    expert, random = EXPERTS[f"{task.env}_{task.expert}"], chance(task.env)
    return {"return": got, "expert_return": expert, "random_return": random,
            "share": (got - random) / (expert - random)}


# ----------------------------------------------------------------------------- returns

def learned(job, demos, callback=None):
    """Learners of the job's method, one for each seed."""
    config, own = iq.Config(steps=job.steps, **job.change), {}
    if job.method.startswith("clone"):
        config = replace(config, temperature=1.0, continuous="naf", absorbing=False)
        own = {"loss": minus_log_likelihood, "optimizer": DECAYED}
    if job.method.startswith("SQIL"):
        own = {"loss": constant_rewards}
    if job.method.endswith("slow V_A"):
        own["optimizer"] = one_rate
    if job.method.endswith("falling step size"):
        own["optimizer"] = functools.partial(falling, job.steps)
    replayed = job.mode == "online" and not job.method.startswith("no replay")
    return together.learn_many(demos, job.task.env if replayed else None, config,
                               job.seeds, callback, **own)


DECAYED = functools.partial(torch.optim.AdamW, weight_decay=0.01)


def one_rate(groups, lr, fused):
    """Adam with the same step size for V_A as for the networks."""
    return torch.optim.Adam([{"params": x["params"]} for x in groups], lr=lr, fused=fused)


def falling(steps, groups, **choices):
    """Adam with step sizes that fall linearly to 0."""
    optimizer = torch.optim.Adam(groups, **choices)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, steps)
    optimizer.register_step_post_hook(lambda *_: schedule.step())
    return optimizer


def minus_log_likelihood(agent, batch, is_expert):
    """The clone's loss: at temperature 1, Q - V is log pi."""
    q, value = agent.q_and_value(batch.obs, batch.action)
    loss = (value - q).mean()
    return loss, {"loss": loss.detach()}, value


def constant_rewards(agent, batch, is_expert):
    """SQIL's loss: the squared Bellman error of rewards 1 on the diary, 0 on replay.

    Networks, target network, temperature and absorbing state are iq.py's own.
    """
    q, value = agent.q_and_value(batch.obs, batch.action)
    rows = q, value, agent.next_value(batch, agent.target), is_expert
    if agent.config.absorbing:
        rows = iq.append_absorbing(*rows, batch.terminated, agent.absorbing_value)
    reward = iq.inverse_bellman(rows[0], rows[2], agent.config.gamma)
    loss = (reward - rows[3].float()).square().mean()
    return loss, {"loss": loss.detach()}, value


def measure(job):
    """A row of each seed and, of two of the files, ten points of curves.csv before it."""
    torch.set_num_threads(1)
    curve, looked, begun = [], 0.0, time.perf_counter()
    averages = [] if job.file == "bodies.csv" and job.mode == "online" else None

    def look(step, agents):
        nonlocal looked
        if averages is not None:
            move(averages, agents, step)
        if job.file in CURVED and step % max(job.steps // 10, 1) == 0:
            start = time.perf_counter()
            got = together.evaluate_many(agents, job.task.env, 5, [hunts.FRESH] * len(agents))
            curve.extend(head(job, seed) | {"step": step, "return": returns.mean()}
                         for seed, returns in zip(job.seeds, got))
            looked += time.perf_counter() - start

    try:
        agents = learned(job, diary(job.task)[0], look)
    except RuntimeError as error:  # a gradient that isn't finite
        print(job, error, file=sys.stderr, flush=True)
        if len(job.seeds) > 1:  # let the others finish
            return [pair for x in job.seeds for pair in measure(job._replace(seeds=[x]))]
        got = {job.method: np.full((1, 1), np.nan)}
        seconds = time.perf_counter() - begun - looked
    else:
        seconds = time.perf_counter() - begun - looked
        fresh = [hunts.FRESH + seed for seed in job.seeds]
        got = {job.method: together.evaluate_many(agents, job.task.env, 20, fresh)}
        if averages:
            for weight, average in zip(acting(agents), averages):
                weight.data.copy_(average)
            got[f"{job.method}, averaged actor"] = together.evaluate_many(
                agents, job.task.env, 20, fresh)
    return [("curves.csv", point) for point in curve] + [
        (job.file, head(job._replace(method=method), seed) | worth(job.task, returns.mean())
         | {"seconds": seconds / len(job.seeds)})
        for method in got for seed, returns in zip(job.seeds, got[method])]


def acting(agents):
    """The weights of the networks that act."""
    return [x for agent in agents for x in getattr(agent, "actor", agent.critic).parameters()]


@torch.no_grad()
def move(averages, agents, step):
    """Averages of the weights that act, over about the last tenth of the updates.

    After Shamir and Zhang (2013), https://arxiv.org/abs/1212.1824, with an eta of 9.
    """
    weights = acting(agents)
    if not averages:
        averages.extend(weight.clone() for weight in weights)
    for average, weight in zip(averages, weights):
        average.lerp_(weight, 10 / (step + 9))


def jobs(args, methods, tasks, file="returns.csv"):
    """All runs, each of several seeds."""
    return [Job(task, mode, method, change, [*range(args.seeds or task.seeds)],
                args.steps or getattr(task, mode), file)
            for task in tasks for method, (modes, change) in methods.items()
            for mode in modes.split() if args.mode in (None, mode)]


def returns(args):
    methods = {m: x for m, x in METHODS.items() if not args.method or m in args.method}
    if args.set:  # the methods with other choices of Config
        more = {k: json.loads(x) for k, x in (word.split("=") for word in args.set)}
        methods = {", ".join([m, *args.set]): (modes, x | more)
                   for m, (modes, x) in methods.items() if args.method or m == "iq"}
    tasks = chosen(args, [x.name for x in TASKS if x.name not in BODIES])
    work(measure, jobs(args, methods, tasks), args.results / "returns.csv", args.workers)


def bodies(args):
    """Tasks of many joints, by the actor-critic, beside SQIL and a clone."""
    more = {k: json.loads(x) for k, x in (word.split("=") for word in args.set)}
    methods = {", ".join([m, *args.set]): (modes, x | more) for m, (modes, x) in BODY.items()
               if not args.method or m in args.method}
    work(measure, jobs(args, methods, chosen(args, BODIES), "bodies.csv"),
         args.results / "bodies.csv", args.workers)


def ablations(args):
    """One field changed, all else at its default; a run that breaks down is NaN."""
    default = iq.Config()
    methods = {"default": (args.mode or "online", {})} | {
        f"{name}={x}": (args.mode or "online", {name: x}) for name in args.field or FIELDS
        for x in FIELDS[name] if x != getattr(default, name)}
    todo = [job for job in jobs(args, methods, chosen(args, ABLATED), "ablations.csv")
            if "continuous" not in job.change or not discrete(job.task)]
    work(measure, todo, args.results / "ablations.csv", args.workers)


# ----------------------------------------------------------------------------- rewards

def rewards(args):
    """Pearson of signals with the true reward, on diaries and on a spread of policies."""
    tasks = chosen(args, [x.name for x in TASKS if x.name not in BODIES])
    tasks = [t for t in tasks if len(np.unique(diary(t)[1].rewards)) > 2]
    work(judge, jobs(args, {"iq": (args.mode or "online", {})}, tasks),
         args.results / "rewards.csv", args.workers)


def judge(job):
    """Rows of rewards.csv: of iq.py's reward and of its controls."""
    torch.set_num_threads(1)
    demos, whole = diary(job.task)
    agents = learned(job, demos)
    steps = job.task.offline if job.mode == "online" else job.steps
    clones = learned(job._replace(mode="offline", method="clone", steps=steps), demos)
    return [row for seed, *pair in zip(job.seeds, agents, clones)
            for row in judged(job, seed, whole, *pair)]


def judged(job, seed, whole, agent, clone):
    """The rows of one seed.

    The spread: 50 episodes of the learner's own moves, of which a share of 0, 1/4, 1/2,
    3/4 and 1 is put in their place at random.
    """
    rng, spread = np.random.default_rng(seed), []
    with iq.make_env(job.task.env) as home:
        home.action_space.seed(seed)
        for share in (0, 0.25, 0.5, 0.75, 1):
            policy = lambda obs: (home.action_space.sample() if rng.random() < share  # noqa: B023
                                  else agent.act(obs))
            spread.append(iq.record(home, policy, 10, hunts.FRESH + seed))
    signals = {
        "recovered reward": lambda x: agent.reward(
            x.observations, x.actions, x.next_observations, x.terminations),
        "log pi": lambda x: agent.log_prob(x.observations, x.actions),
        "log pi of the clone": lambda x: clone.log_prob(x.observations, x.actions),
        "a constant": lambda x: np.ones(len(x))}
    table = []
    for states, parts in ("diary", [whole]), ("spread", spread):
        for signal, what in signals.items():
            told = [what(x) for x in parts]
            sums = [np.add.reduceat(t, np.flatnonzero(x.starts)) for t, x in zip(told, parts)]
            table.append(("rewards.csv", head(job, seed) | {
                "states": states, "signal": signal,
                "by_step": pearson(told, [x.rewards for x in parts]),
                "by_episode": pearson(sums, [x.returns() for x in parts])}))
    return table


def pearson(ours, true):
    """Correlation; empty where one of the two does not vary."""
    ours, true = np.concatenate(ours).astype(float), np.concatenate(true).astype(float)
    flat = min(np.ptp(x) - 1e-6 * np.abs(x).max() for x in (ours, true)) <= 0
    return "" if flat or len(ours) < 3 else float(np.corrcoef(ours, true)[0, 1])


# ------------------------------------------------------------------------------- speed

AGENTS = (("SoftQ", "CartPole", "naf"), ("SoftNAF", "Pendulum", "naf"),
          ("SoftActorCritic", "Pendulum", "actor_critic"))


def seconds(*runs, rounds):
    """The median processor seconds of each, run in turn; others may use the machine."""
    table = np.zeros((rounds, len(runs)))
    for row in table:
        for i, run in enumerate(runs):
            begun = time.process_time()
            run()
            row[i] = time.process_time() - begun
    return np.median(table, axis=0)


def speed(args):
    """Whole learn calls, offline, in turn: ours, the second edition's, the bare floor."""
    torch.set_num_threads(1)
    source = subprocess.run(["git", "show", f"{SECOND}:iq.py"], cwd=hunts.DIARIES,
                            capture_output=True, text=True, check=True).stdout
    second = sys.modules["second"] = types.ModuleType("second")
    exec(compile(source, "second", "exec", dont_inherit=True), second.__dict__)
    steps = args.steps or 300
    for (name, task, kind), hidden in itertools.product(AGENTS, args.hidden):
        task = next(x for x in TASKS if x.name == task)
        demos = diary(task)[0]
        theirs = second.Demos(demos.action_space, **demos.columns)
        own = {"hidden": hidden, "continuous": kind, "steps": steps}
        runs = {"ours": lambda: iq.learn(demos, config=iq.Config(**own)),  # noqa: B023
                "second edition": lambda: second.learn(theirs, config=second.Config(**own)),  # noqa: B023
                "floor": floor(iq.new_agent(demos, iq.Config(**own)), demos)}
        ours, *others = seconds(*runs.values(), rounds=args.rounds)
        for beside, other in zip([*runs][1:], others):
            append(args.results / "speed.csv", {
                "agent": name, "beside": beside, "hidden": hidden,
                "batch": iq.Config.batch_size, "updates_per_second": steps / ours,
                "beside_per_second": steps / other, "ratio": other / ours})


def floor(agent, demos):
    """The networks of updates alone: forward, backward and fused Adam of one batch."""
    expert = agent.to_batch(demos.observations, demos.actions,
                            demos.next_observations, demos.terminations)
    batch, _ = iq.Replay().sample(expert, agent.config.batch_size, agent.generator)
    critic, target, actor = agent.critic, agent.target, getattr(agent, "actor", None)
    weights = [x for x in agent.parameters() if x.requires_grad]
    optimizer = torch.optim.Adam(weights, agent.config.learning_rate, fused=True)

    def update():
        optimizer.zero_grad()
        if actor is None:
            with torch.no_grad():
                target(batch.next_obs)
            critic(batch.obs).mean().backward()
        else:
            action = actor(batch.obs).chunk(2, 1)[0]
            q, value = critic(batch.obs, batch.action), critic(batch.obs, action)
            with torch.no_grad():
                target(batch.next_obs, actor(batch.next_obs).chunk(2, 1)[0])
            (q + value).mean().backward(inputs=[*critic.parameters()], retain_graph=True)
            value.mean().backward(inputs=[*actor.parameters()])
        optimizer.step()

    return lambda: [update() for _ in range(agent.config.steps)]


def many(args):
    """Seeds at once beside the same seeds one after the other, whole learn calls in turn."""
    torch.set_num_threads(1)
    steps, seeds = args.steps or 200, range(args.seeds or 5)
    for mode, (name, task, kind), hidden in itertools.product(
            [args.mode] if args.mode else ["offline", "online"], AGENTS, args.hidden):
        task = next(x for x in TASKS if x.name == task)
        demos, env = diary(task)[0], task.env if mode == "online" else None
        config = iq.Config(hidden=hidden, continuous=kind, steps=steps)
        at_once, in_turn = seconds(
            lambda: together.learn_many(demos, env, config, seeds),  # noqa: B023
            lambda: [iq.learn(demos, env, replace(config, seed=x)) for x in seeds],  # noqa: B023
            rounds=args.rounds)
        append(args.results / "many.csv", {
            "agent": name, "mode": mode, "hidden": hidden, "seeds": len(seeds),
            "updates_per_second": len(seeds) * steps / at_once,
            "one_by_one_per_second": len(seeds) * steps / in_turn,
            "ratio": in_turn / at_once})


# ------------------------------------------------------------------------------- peers

PEERS = {f"{peer}, {settings}": (where, {}) for peer, where, each in (
    ("BC", "offline", "default best"), ("SQIL", "online", "default best"),
    ("GAIL", "online", "default best"), ("DQN", "online", "speed"), ("SAC", "online", "speed"),
) for settings in each.split()}
CLASSIC = "CartPole-v1", "Acrobot-v1", "MountainCar-v0", "Pendulum-v1", "MountainCarContinuous-v0"
IMITATION = {  # what pip is asked for, in turn
    "peers": ["imitation==1.0.1 numpy<2 setuptools<81"],
    # imitation 1.0.1 pins a gymnasium without Hopper-v5; it runs with these; its SQIL
    # stops with an error under stable-baselines3 2.9.2
    "peers_bodies": ["gymnasium[mujoco]==1.1.1 stable-baselines3==2.6.0 numpy<2.3 setuptools<81 "
                     "datasets huggingface-sb3 sacred seals==0.2.1 tensorboard",
                     "--no-deps imitation==1.0.1"]}


def peer_python(task):
    """The Python of the environment that the task's peers run in."""
    name = "peers" if task.env in CLASSIC else "peers_bodies"
    python = hunts.DIARIES.parents[1] / "build" / name / "bin/python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", python.parents[1]], check=True)
        for words in IMITATION[name]:
            subprocess.run([python, "-m", "pip", "install", "-q", *words.split(),
                            f"torch=={torch.__version__}"], check=True)
    return python


def peers(args):
    """Runs of book/peers.py, in an environment of its own, beside iq and its clone."""
    todo = []
    for task in chosen(args):
        if task.env not in CLASSIC and task.name != "Hopper":
            continue
        peer_python(task)  # before two workers need it
        if task.name in BODIES:  # imitation's SQIL takes 22 minutes for 100,000 steps
            task = task._replace(online=100_000)
        ours = {m: (BODY if task.name in BODIES else METHODS)[m] for m in ("iq", "clone")}
        methods = {m: x for m, x in (ours | PEERS).items()
                   if not args.method or m.partition(",")[0] in args.method}
        methods.pop("SAC, speed" if discrete(task) else "DQN, speed", None)
        todo += jobs(args, methods, [task], "peers.csv")
    todo = [job._replace(seeds=[seed]) for job in todo for seed in job.seeds]
    work(peer, todo, args.results / "peers.csv", args.workers)


def peer(job):
    """A row of peers.csv: one seed, alone, for its speed."""
    (seed,) = job.seeds
    if job.method in PEERS:
        method, settings = job.method.split(", ")
        asked = job.task._asdict() | {
            "diary": str(hunts.DIARIES / f"{job.task.env}_{job.task.expert}.npz"),
            "method": method, "settings": settings, "seed": seed, "steps": job.steps}
        run = subprocess.run([peer_python(job.task), Path(__file__).with_name("peers.py"), json.dumps(asked)],
                             capture_output=True, text=True)
        if run.returncode:
            raise OSError(run.stderr[-600:])
        got = json.loads(run.stdout.strip().splitlines()[-1])
    else:
        row = measure(job)[-1][1]
        got = {"return": row["return"], "seconds": row["seconds"], "updates": job.steps}
    return [("peers.csv", head(job, seed) | worth(job.task, got["return"]) | {
        "seconds": got["seconds"], "updates": got["updates"],
        "updates_per_second": got["updates"] / got["seconds"]})]


# ------------------------------------------------------------------------------- table

def table(args):
    """Markdown: mean, spread and worst seed of each task and method, and the share."""
    names, groups, commits = [task.name for task in chosen(args)], {}, set()
    for row in rows(args.results / args.file):
        if row["task"] in names and (not args.method or row["method"] in args.method):
            commits.add(row["commit"])
            spot = row["task"], row["mode"], row["method"], row["steps"]
            groups.setdefault(spot, {}).setdefault(row["expert"], []).append(row)
    print("| task | mode | method | steps | return: mean ± sd (worst seed), by expert | share | "
          "lost | seeds |\n| --- | --- | --- | --- | --- | --- | --- | --- |")
    for spot, experts in sorted(groups.items(), key=lambda x: names.index(x[0][0])):
        cells, shares = [], [float(r["share"]) for run in experts.values() for r in run]
        for expert, run in experts.items():
            got = np.array([float(r["return"]) for r in run])
            cells.append(f"{expert} {got.mean():.0f} ± {got.std():.0f} ({got.min():.0f})")
        print("|", " | ".join(spot), "|", "; ".join(cells), f"| {np.mean(shares):.2f} | "
              f"{sum(not x >= 0.5 for x in shares)} | {len(shares)} |")
    print(f"\nCommits: {', '.join(sorted(commits))}. Lost: seeds with a share below 0.5.")


# ------------------------------------------------------------------------------ record

VIEWS = {  # observation -> state in [0, 1], bins of an axis, episodes of training
    "MountainCar-v0": (lambda x: (x - [-1.2, -0.07]) / [1.8, 0.14], 8, 2_000),
    "Acrobot-v1": (lambda x: 0.5 + np.array([np.arctan2(x[1], x[0]) / 2, np.arctan2(x[3], x[2]) / 2,
                                             x[4] / 8, x[5] / 18]) / np.pi, 6, 1_500)}


def record(args):
    """The third expert of Acrobot and MountainCar; of ten episodes, the one nearest its mean."""
    for env, how in VIEWS.items():
        policy = sarsa(env, *how)
        mean = iq.record(env, policy, 100, hunts.FRESH).returns()
        few = iq.record(env, policy, 10, 0)
        kept = few.keep(few.episode_ids == np.abs(few.returns() - mean.mean()).argmin())
        kept.save(hunts.DIARIES / f"{env}_sarsa.npz")
        print(f"{env}: {mean.mean():.1f} ({mean.std():.1f}) of 100; kept {kept.returns()[0]:.0f}")


def sarsa(env, view, bins, episodes, tilings=8):
    """One-step Sarsa on tiles of the state: greedy, with Q from 0 and so hopeful."""
    home = gym.make(env)
    axes = len(view(home.reset()[0]))
    shifts = np.arange(tilings)[:, None] * (2 * np.arange(axes) + 1) / tilings % 1
    table = np.zeros((tilings, *[bins + 1] * axes, int(home.action_space.n)))
    tiles = lambda x: (np.arange(tilings), *(view(x).clip(0, 1 - 1e-9) * bins + shifts).astype(int).T)
    for episode in range(episodes):
        here, ended, cut = tiles(home.reset(seed=None if episode else 0)[0]), False, False
        move = table[here].mean(0).argmax()
        while not (ended or cut):
            obs, reward, ended, cut, _ = home.step(int(move))
            there = tiles(obs)
            after = table[there].mean(0)
            goal = reward + (0 if ended else after.max())
            table[(*here, move)] += 0.5 * (1 - episode / episodes) * (goal - table[here].mean(0)[move])
            here, move = there, after.argmax()
    return lambda obs: int(table[tiles(obs)].mean(0).argmax())


# --------------------------------------------------------------------------------- zoo

def zoo(args):
    """Visits to other libraries' environments, each in a process of its own."""
    animals.main(args.task or [], args.results / "zoo.csv", args.workers, commit())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    flag = parser.add_argument
    todo = {f.__name__: f for f in (
        returns, bodies, ablations, rewards, speed, many, peers, table, record, zoo)}
    flag("command", choices=todo)
    flag("--task", nargs="+", help="names of tasks, or parts of them")
    flag("--method", nargs="+", help=f"of returns: {', '.join(METHODS)}; of peers: iq, clone, BC, SQIL, GAIL, DQN, SAC")
    flag("--mode", choices=("online", "offline"))
    flag("--seeds", type=int, help="seeds 0 to N - 1 (as the task says)")
    flag("--steps", type=int, help="(as the task says)")
    flag("--set", nargs="+", default=(), metavar="FIELD=JSON", help="returns, bodies: other choices of Config")
    flag("--field", nargs="+", choices=FIELDS, help="ablations of these")
    flag("--hidden", nargs="+", type=int, default=(64, 128, 256), help="speed and many: at these widths")
    flag("--rounds", type=int, default=7, help="speed and many: rounds")
    flag("--file", default="returns.csv", help="table of this file")
    flag("--workers", type=int, default=2, help="processes, two at most")
    flag("--results", type=Path, default=hunts.RESULTS, help="folder of the tables")
    args = parser.parse_args()
    commit()
    args.results.mkdir(exist_ok=True, parents=True)
    todo[args.command](args)


if __name__ == "__main__":
    main()
