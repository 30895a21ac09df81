"""The zoo: iq.py tried in the environments of many libraries, each in a virtual
environment of its own; writes book/results/zoo.csv. Called by

    python book/benchmarks.py zoo [--task FAMILY ...]

Every environment is visited in a process of its own: a crash or a hang ends that visit
alone. What a row tells is measured there by visit() and not typed in. The virtual
environments take torch and tqdm from the Python that runs this file, and everything else
from wheels of PyPI; they stay in the system's folder of temporary files.
"""
from __future__ import annotations

import csv
import importlib.metadata
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import warnings
from collections import namedtuple
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
HOME = Path(tempfile.gettempdir()) / "iq_zoo"
INSTALLING, WRITING = threading.Lock(), threading.Lock()
SECONDS = 900  # a visit that takes longer is ended
EPISODES, STEPS, SPAN = 5, 2_000, 12.0  # random play ends at the first of these (SPAN: s)

# needs: what pip installs; setup: run once, before the expressions that make environments;
# wrappers: tried in this order where the environment as it is is refused.
Family = namedtuple("Family", "needs setup environments wrappers", defaults=[()])
GYMNASIUM = ["gymnasium[classic-control,toy-text,box2d,mujoco]==1.4.0"]
ROBOTICS = "import gymnasium as gym, gymnasium_robotics; gym.register_envs(gymnasium_robotics)"
DM_CONTROL = "import gymnasium as gym, shimmy, dm_control; gym.register_envs(shimmy)"
FLATTEN = "gym.wrappers.FlattenObservation(env)"

FAMILIES = {
    "Gymnasium, classic control": Family(
        GYMNASIUM, "import gymnasium as gym",
        ["gym.make('CartPole-v1')", "gym.make('Acrobot-v1')", "gym.make('MountainCar-v0')",
         "gym.make('Pendulum-v1')", "gym.make('MountainCarContinuous-v0')"]),
    "Gymnasium, toy text": Family(
        GYMNASIUM, "import gymnasium as gym",
        ["gym.make('FrozenLake-v1')", "gym.make('Taxi-v4')", "gym.make('Blackjack-v1')"], [FLATTEN]),
    "Gymnasium, Box2D": Family(
        GYMNASIUM, "import gymnasium as gym",
        ["gym.make('LunarLander-v3')", "gym.make('LunarLander-v3', continuous=True)",
         "gym.make('BipedalWalker-v3')"]),
    "Gymnasium, MuJoCo": Family(
        GYMNASIUM, "import gymnasium as gym",
        ["gym.make('Hopper-v5')", "gym.make('Ant-v5')", "gym.make('Reacher-v5')"]),
    "Atari (ale-py)": Family(
        ["ale-py==0.12.1", "gymnasium==1.4.0", "opencv-python-headless==5.0.0.93"],
        "import gymnasium as gym, ale_py; gym.register_envs(ale_py)",
        ["gym.make('ALE/Pong-v5')", "gym.make('ALE/Breakout-v5', obs_type='ram')",
         "gym.wrappers.AtariPreprocessing(gym.make('BreakoutNoFrameskip-v4'))",
         "gym.make('ALE/Pong-v5', continuous=True, obs_type='ram')"]),
    "highway-env": Family(
        ["highway-env==1.12.1"], "import gymnasium as gym, highway_env; gym.register_envs(highway_env)",
        ["gym.make('highway-fast-v0')"], [FLATTEN]),
    "MiniGrid": Family(
        ["minigrid==3.2.0"], "import gymnasium as gym, minigrid; from minigrid import wrappers",
        ["gym.make('MiniGrid-Empty-5x5-v0')",
         "gym.make('BabyAI-GoToRedBall-v0')"],
        ["wrappers.ImgObsWrapper(env)", "wrappers.FlatObsWrapper(env)"]),
    "dm_control (shimmy)": Family(
        ["shimmy[dm-control]==2.0.1", "mujoco==3.17.0", "dm-control==1.0.50", "packaging"], DM_CONTROL,
        ["gym.make('dm_control/cartpole-balance-v0')", "gym.make('dm_control/walker-walk-v0')"], [FLATTEN]),
    "dm_control, newest MuJoCo": Family(
        ["dm-control==1.0.50", "mujoco==4.0.0", "shimmy[dm-control]==2.0.1", "packaging"],
        DM_CONTROL,
        ["gym.make('dm_control/cartpole-balance-v0')"], [FLATTEN]),
    "Gymnasium-Robotics": Family(
        ["gymnasium-robotics==1.4.2", "mujoco==3.3.0"], ROBOTICS,
        ["gym.make('FetchReach-v4')", "gym.make('PointMaze_UMaze-v3')",
         "gym.make('AdroitHandDoor-v1')", "gym.make('FrankaKitchen-v1')"], [FLATTEN]),
    "Gymnasium-Robotics, newest MuJoCo": Family(
        ["mujoco==4.0.0", "gymnasium-robotics==1.4.2"], ROBOTICS,
        ["gym.make('FetchReach-v4')", "gym.make('PointMaze_UMaze-v3')"], [FLATTEN]),
    "Meta-World": Family(
        ["metaworld==3.1.1", "packaging"], "import gymnasium as gym, metaworld",
        ["gym.make('Meta-World/MT1', env_name='reach-v3')",
         "gym.make('Meta-World/MT1', env_name='door-open-v3')"]),
    "panda-gym": Family(
        ["panda-gym==3.0.7"], "import gymnasium as gym, panda_gym",
        ["gym.make('PandaReach-v3')", "gym.make('PandaPushJointsDense-v3')"], [FLATTEN]),
    "gym-pusht": Family(
        ["gym-pusht==0.1.8"], "import gymnasium as gym, gym_pusht",
        ["gym.make('gym_pusht/PushT-v0')"], [FLATTEN]),
    "MO-Gymnasium": Family(
        ["mo-gymnasium==1.3.2"], "import gymnasium as gym, mo_gymnasium, numpy as np",
        ["mo_gymnasium.make('deep-sea-treasure-v0')", "mo_gymnasium.make('mo-mountaincar-v0')",
         "mo_gymnasium.make('mo-mountaincarcontinuous-v0')"],
        ["mo_gymnasium.wrappers.LinearReward(env)"]),
    "seals": Family(
        ["seals==0.2.1"], "import gymnasium as gym, seals",
        ["gym.make('seals/CartPole-v0')", "gym.make('seals/MountainCar-v0')", "gym.make('seals/CliffWorld7x4-v0')",
         "gym.make('seals/Parabola-v0')"], [FLATTEN]),
    "bsuite (shimmy)": Family(
        ["shimmy[bsuite]==2.0.1", "--no-binary=bsuite", "packaging"],
        "import gymnasium as gym, shimmy, bsuite; gym.register_envs(shimmy)",
        ["gym.make('bsuite/catch-v0')", "gym.make('bsuite/mountain_car-v0')",
         "gym.make('bsuite/memory_len-v0', memory_length=5)"]),
    "gym-anytrading": Family(
        ["gym-anytrading==2.0.0"], "import gymnasium as gym, gym_anytrading",
        ["gym.make('stocks-v0')", "gym.make('forex-v0')"]),
    "gym-trading-env": Family(
        ["gym-trading-env==0.3.5"], """
import gymnasium as gym, gym_trading_env, numpy as np, pandas as pd
close = 100 * np.exp(np.random.default_rng(0).normal(0, 0.01, 300).cumsum())
df = pd.DataFrame({x: close for x in ("open", "high", "low", "close")},
                  index=pd.date_range("2024-01-01", periods=300, freq="h"))
df["feature_change"] = df["close"].pct_change().fillna(0)
""", ["gym.make('TradingEnv', df=df, positions=[-1, 0, 1], verbose=0)"]),
    "NeuroGym": Family(
        ["neurogym==2.3.1"], "import gymnasium as gym, neurogym",
        ["gym.make('PerceptualDecisionMaking-v0')", "gym.make('ReadySetGo-v0')"]),
    "Flappy Bird": Family(
        ["flappy-bird-gymnasium==0.4.0"], "import gymnasium as gym, flappy_bird_gymnasium",
        ["gym.make('FlappyBird-v0', use_lidar=False)", "gym.make('FlappyBird-v0', use_lidar=True)"]),
    "gymnasium-2048": Family(
        ["gymnasium-2048==0.1.2"], "import gymnasium as gym, gymnasium_2048",
        ["gym.make('gymnasium_2048/TwentyFortyEight-v0')"]),
    "Tetris Gymnasium": Family(
        ["tetris-gymnasium==0.3.1"], "import gymnasium as gym, tetris_gymnasium.envs",
        ["gym.make('tetris_gymnasium/Tetris')"], [FLATTEN]),
    "POPGym": Family(
        ["popgym==1.0.7"], "import gymnasium as gym, popgym",
        ["gym.make('popgym-PositionOnlyCartPoleEasy-v0')", "gym.make('popgym-RepeatPreviousEasy-v0')",
         "gym.make('popgym-MineSweeperEasy-v0')"], [FLATTEN]),
    "pybullet-envs-gymnasium": Family(
        ["pybullet-envs-gymnasium==0.6.0"], "import gymnasium as gym, pybullet_envs_gymnasium",
        ["gym.make('InvertedPendulumBulletEnv-v0')", "gym.make('HopperBulletEnv-v0')"]),
    "PyFlyt": Family(
        ["pyflyt==0.29.0"], "import gymnasium as gym, PyFlyt.gym_envs",
        ["gym.make('PyFlyt/QuadX-Hover-v4')", "gym.make('PyFlyt/Rocket-Landing-v4')"], [FLATTEN]),
    "Search Race": Family(
        ["gymnasium-search-race==4.1.1"], "import gymnasium as gym, gymnasium_search_race",
        ["gym.make('gymnasium_search_race/SearchRace-v3')",
         "gym.make('gymnasium_search_race/SearchRaceDiscrete-v3')"]),
    "gym-sailing": Family(
        ["gym-sailing==0.2.1"], "import gymnasium as gym, gym_sailing",
        ["gym.make('Sailboat-v0')", "gym.make('SailboatDiscrete-v0')"]),
    "CartPole SwingUp": Family(
        ["gymnasium-cartpole-swingup==0.1.8"], "import gymnasium as gym, gymnasium_cartpole_swingup",
        ["gym.make('CartPoleSwingUp-v0')"]),
    "OR-Gymnasium": Family(
        ["or-gymnasium==0.1.0"], "import gymnasium as gym, or_gymnasium",
        ["gym.make('Knapsack-v0')", "gym.make('Newsvendor-v0')", "gym.make('InvManagement-v0')"], [FLATTEN]),
    "Gym-Classics": Family(
        ["gym-classics2==1.0.3"], "import gymnasium as gym, gym_classics2; gym_classics2.register('gymnasium')",
        ["gym.make('CliffWalk-v1')", "gym.make('WindyGridworld-v0')"], [FLATTEN]),
    "GlucoSim": Family(
        ["glucosim==0.1.1"], "import gymnasium as gym, glucosim",
        ["gym.make('glucosim/BasalControl-v0')", "gym.make('glucosim/ClosedLoop-v0')"], [FLATTEN]),
    "SepsiSim": Family(
        ["sepsisim==0.1.0"], "import gymnasium as gym, sepsisim",
        ["gym.make('sepsisim/FluidResuscitation-v0')", "gym.make('sepsisim/SepsisManagement-v0')"], [FLATTEN]),
    "Gym Electric Motor": Family(
        ["gym-electric-motor==3.0.3"], "import gymnasium as gym, gym_electric_motor",
        ["gym_electric_motor.make('Cont-CC-PMSM-v0')", "gym_electric_motor.make('Finite-CC-PMSM-v0')"], [FLATTEN]),
    "stable-retro": Family(
        ["stable-retro==1.0.1"], "import gymnasium as gym, stable_retro",
        ["stable_retro.make('Airstriker-Genesis-v0', render_mode='rgb_array')",
         "stable_retro.make('Airstriker-Genesis-v0', render_mode='rgb_array', use_restricted_actions=stable_retro.Actions.DISCRETE)"]),
    "VizDoom": Family(
        ["vizdoom==1.3.2"], "import gymnasium as gym; from vizdoom import gymnasium_wrapper",
        ["gym.make('VizdoomBasic-v1')"],
        ["gym.wrappers.TransformObservation(env, lambda obs: obs['screen'], env.observation_space['screen'])"]),
    "gym-simplegrid": Family(
        ["gym-simplegrid==1.1.0"], "import gymnasium as gym, gym_simplegrid",
        ["gym.make('SimpleGrid-4x4-v0')"], [FLATTEN]),
    "Snake": Family(
        ["gymnasium-snake-game==0.2.1"], "import gymnasium as gym, gymnasium_snake_game",
        ["gym.make('Snake-v1')"], [FLATTEN]),
    "Memory Gym": Family(
        ["memory-gym==1.0.2"], "import gymnasium as gym, memory_gym",
        ["gym.make('MortarMayhem-Grid-v0')"], [FLATTEN]),
    "gym-xarm": Family(
        ["gym-xarm==0.1.1"], "import gymnasium as gym, gym_xarm",
        ["gym.make('gym_xarm/XarmLift-v0', obs_type='state')"], [FLATTEN]),
    "matrix-mdp": Family(
        ["matrix-mdp-gym==1.1.1"], """
import gymnasium as gym, matrix_mdp, numpy as np
start, rewards = np.array([1.0, 0.0, 0.0]), np.ones((3, 3, 2))
moves = np.zeros((3, 3, 2))  # next state, state, action: the last state is terminal
moves[0, 0, 0] = moves[1, 0, 1] = moves[0, 1, 0] = moves[2, 1, 1] = 1
""", ["gym.make('matrix_mdp/MatrixMDP-v0', p_0=start, p=moves, r=rewards)"], [FLATTEN]),
}

# ------------------------------------------------------------------ the whole collection


def main(families, path, workers, commit):
    """Visit every environment that has no row yet, of all families or of some."""
    done = set()
    if path.exists():
        with path.open(newline="") as file:
            done = {(row["family"], row["environment"]) for row in csv.DictReader(file)}
    unknown = {*families} - {*FAMILIES}
    if unknown:
        raise SystemExit(f"no such family: {sorted(unknown)}; there are {[*FAMILIES]}")
    jobs = [(name, environment) for name in families or FAMILIES
            for environment in FAMILIES[name].environments if (name, environment) not in done]
    jobs.sort(key=lambda job: FAMILIES[job[0]].environments.index(job[1]))  # one of each first
    with ThreadPoolExecutor(workers) as pool:
        for _ in pool.map(lambda job: visited(*job, path, commit), jobs):
            pass
    with path.open(newline="") as file:  # in the order of the families, not of the visits
        rows = sorted(csv.DictReader(file), key=lambda row: [*FAMILIES].index(row["family"]))
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)


def visited(name, environment, path, commit):
    """Add the row of an environment."""
    family = FAMILIES[name]
    with INSTALLING:  # one at a time; families may share a virtual environment
        python, error = install(family.needs)
    row = dict.fromkeys(COLUMNS, "") | {
        "family": name, "environment": environment, "commit": commit}
    row |= {"outcome": "not installed", "words": error} if error else watched(
        python, family, environment)
    with WRITING:
        new = not path.exists()
        with path.open("a", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS)
            if new:
                writer.writeheader()
            writer.writerow(row)
    print(name, "|", environment, "|", row["outcome"], row["wrapper"], "|", row["words"],
          flush=True)


def install(needs):
    """A virtual environment with what a family needs -> its Python, or an error."""
    folder = HOME / re.sub(r"\W+", "_", needs[0]).strip("_")
    python, done = folder / "bin/python", folder / "needs.json"
    if not done.exists() or json.loads(done.read_text()) != needs:
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        packages = next(folder.glob("lib/python*/site-packages"))
        (packages / "iq_zoo.pth").write_text(f"{shared()}\n")
        pip = subprocess.run([python, "-m", "pip", "install", "-q", "--only-binary=:all:",
                              *needs], capture_output=True, text=True)
        if pip.returncode:
            return python, pip.stderr[-500:]
        done.write_text(json.dumps(needs))
    return python, None


def shared():
    """A folder of links to torch and tqdm and to what they need, as installed here."""
    folder = HOME / "shared"
    folder.mkdir(exist_ok=True, parents=True)
    todo, seen = ["torch", "tqdm"], set()
    while todo:
        name = todo.pop()
        if name in seen:
            continue
        seen.add(name)
        dist = importlib.metadata.distribution(name)
        for top in {Path(file).parts[0] for file in dist.files} - {"..", "__pycache__"}:
            link = folder / top
            if not link.is_symlink():
                link.symlink_to(dist.locate_file(top))
        for need in dist.requires or []:  # those that do not depend on an extra or system
            if ";" not in need:
                todo.append(re.match(r"[\w.-]+", need)[0])
    return folder


def watched(python, family, environment):
    """What a visit reports, or how far it came before it crashed or hung."""
    asked = [family.setup, environment, *family.wrappers]
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        process = subprocess.Popen(
            [python, __file__, json.dumps(asked)], cwd=folder, text=True,
            errors="replace", stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env=VARIABLES, start_new_session=True)
        try:
            out, err = process.communicate(timeout=SECONDS)
            ending = "crashed" if process.returncode else ""
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)  # and what it started
            out, err = process.communicate()
            ending = f"not done in {SECONDS} s"
    row = {"outcome": "", "words": "", "seconds": round(time.monotonic() - start, 1)}
    for line in out.splitlines():
        if line.startswith(MARK):
            row |= json.loads(line.removeprefix(MARK))
    if ending and not row["outcome"]:  # not where it crashed while it was put away
        row["outcome"] = ending
        print(err[-1500:], file=sys.stderr, flush=True)
    return row


# -------------------------------------------------------------------- what the page shows

WORKS, WRAPPED = "works", "works with a wrapper"


def to_know(row):
    """What a person has to know of an environment, from the columns of its row."""
    told = []
    if row["outcome"] == WRAPPED:
        told.append("wants " + row["wrapper"].split("(")[0].rpartition(".")[2])
    elif row["outcome"] != WORKS:
        told.append(row["outcome"])
    if row["seed"] not in ("repeats", ""):
        told.append("seed: " + row["seed"])
    if row["starts"] == "alike":
        told.append("one start for all seeds")
    one_length = "all of one length" in row["ends"]
    if one_length and re.match(r"\d+ terminated,", row["ends"]):
        told.append(f"always terminated after {row['episodes'].split()[0]} steps")
    elif clock := re.search(r"terminate after (\d+) steps", row["warnings"]):
        told.append(f"always terminated after {clock[1]} steps")  # two long episodes
    if "both" in row["ends"]:
        told.append("terminated and truncated at once")
    if "truncated" in row["ends"] and not row["time_limit"]:
        told.append("cuts itself: its spec names no time limit")
    return told + [x for x in row["notes"].split("; ") if x]


def family_table(rows):
    """A row for each family: its package, how many were tried, how many work, what to know."""
    table = []
    for name in dict.fromkeys(row["family"] for row in rows):
        own = [row for row in rows if row["family"] == name]
        counts = {}
        for fact in [fact for row in own for fact in to_know(row)]:
            counts[fact] = counts.get(fact, 0) + 1
        if len(own) > 1:
            counts = {f"{fact} ({n} of {len(own)})": n for fact, n in counts.items()}
        table.append({
            "family": name, "package": FAMILIES[name].needs[0], "tried": len(own),
            "work as they are": sum(row["outcome"] == WORKS for row in own),
            "with a wrapper": sum(row["outcome"] == WRAPPED for row in own),
            "to know": "; ".join(counts)})
    return table


# ----------------------------------------------------------------- one visit, by itself

MARK = "zoo: "
COLUMNS = ["family", "environment", "versions", "observation", "action", "outcome",
           "wrapper", "stage", "words", "warnings", "seed", "starts", "time_limit",
           "episodes", "ends", "notes", "seconds", "commit"]


def tell(**facts):
    """Hand facts over at once, so that they outlive a crash."""
    print(MARK + json.dumps(facts), flush=True)


def visit(setup, environment, *wrappers):
    """Measure what an environment does, and whether iq.py works with it."""
    scope = {}
    exec(setup, scope)
    if "gym" not in scope:
        import gymnasium
        scope["gym"] = gymnasium
    tell(stage="make")

    def make(wrapper=None):
        env = eval(environment, scope)
        return eval(wrapper, scope | {"env": env}) if wrapper else env

    try:
        tell(versions=versions(setup))
        facts(make)
    except Exception as error:  # before iq.py had a part in it
        traceback.print_exc()
        return tell(outcome="fails without iq.py", words=in_words(error))
    first = attempt(make)
    tell(**first)
    if first["outcome"] == "works":
        return
    for wrapper in wrappers:
        again = attempt(lambda wrapper=wrapper: make(wrapper))
        if again["outcome"] == "works":
            tell(outcome="works with a wrapper", wrapper=wrapper, stage=first["stage"],
                 words=first["words"], warnings=again["warnings"])
            return
        print(wrapper, again, file=sys.stderr)


def in_words(error):
    """An error on one line, not too long."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:400]


def versions(setup):
    """Of the packages that setup imports, of gymnasium and of numpy."""
    tops = set(re.findall(r"(?:import|from) (\w+)", setup)) | {"gymnasium", "numpy"}
    names = importlib.metadata.packages_distributions()
    found = {names[top][0] for top in tops if top in names}
    if "mujoco" in sys.modules:
        found.add("mujoco")
    return ", ".join(sorted(f"{x} {importlib.metadata.version(x)}" for x in found))


def facts(make):
    """What an environment is like, whoever learns in it."""
    import numpy as np

    env = make()
    tell(stage="reset", observation=describe(env.observation_space),
         action=describe(env.action_space),
         time_limit=getattr(env.spec, "max_episode_steps", None) or "")
    env.action_space.seed(0)
    actions = [env.action_space.sample() for _ in range(50)]
    once, again = played(env, 3, actions), played(env, 3, actions)
    other = played(env, 4, actions)
    tell(starts="alike" if same(once[:1], other[:1]) else "vary")

    lengths, ends, notes, begun, steps = [], [], {}, time.monotonic(), 0
    for episode in range(EPISODES):
        obs, first = env.reset(seed=None if episode else 5)[0], steps
        while True:
            kept = leaves(obs)
            action = env.action_space.sample()
            next_obs, reward, terminated, truncated, _ = env.step(action)
            if not same([kept], [leaves(obs)]):
                notes["changes an observation that it gave before"] = True
            if not env.observation_space.contains(next_obs):
                notes["observations outside its own observation_space"] = True
            if not all(np.isfinite(x).all() for x in leaves(next_obs)):
                notes["observations that are not finite"] = True
            if np.size(reward) != 1:
                notes[f"a reward of {np.size(reward)} numbers"] = True
            obs = next_obs
            steps += 1
            out = steps >= STEPS or time.monotonic() - begun > SPAN
            if terminated or truncated or out:
                break
        if not (terminated or truncated):
            break
        lengths.append(steps - first)
        ends.append("both" if terminated and truncated
                    else "terminated" if terminated else "truncated")
    if not lengths:
        notes[f"no episode ended in {steps} random steps"] = True
    alike = len(lengths) > 2 and len({*lengths}) == 1 and lengths[0] > 1
    counts = {x: ends.count(x) for x in ends}
    tell(episodes=" ".join(map(str, lengths)),
         ends=", ".join(f"{n} {x}" for x, n in counts.items())
         + (", all of one length" if alike else ""), notes="; ".join(notes))
    env.close()  # some allow one at a time
    fresh = make()
    tell(seed=told_by_seed(once, again, played(fresh, 3, actions)))
    fresh.close()


def describe(space):
    """A space in a few words."""
    kind = type(space).__name__
    if kind == "Dict":
        return f"Dict of {len(space.spaces)}"
    if kind == "Tuple":
        return f"Tuple of {len(space.spaces)}"
    if kind == "Discrete":
        return f"Discrete {space.n}" + f" from {space.start}" * bool(space.start)
    if kind == "Box":
        import numpy as np
        bounded = "" if np.isfinite([space.low, space.high]).all() else " unbounded"
        return f"Box {space.shape} {space.dtype}{bounded}"
    return f"{kind} {getattr(space, 'shape', '') or ''}".strip()


def leaves(obs):
    """Copies of all arrays of an observation, whatever it is made of."""
    import numpy as np
    if isinstance(obs, dict):
        return [x for key in sorted(obs) for x in leaves(obs[key])]
    if isinstance(obs, (tuple, list)):
        return [x for part in obs for x in leaves(part)]
    array = np.array(obs)
    return [array if array.dtype.kind in "biuf" else np.array(hash(str(obs)))]


def same(one, two):
    """Whether two lists of lists of arrays are equal."""
    import numpy as np
    return len(one) == len(two) and all(
        len(a) == len(b) and all(np.array_equal(x, y, equal_nan=True) for x, y in zip(a, b))
        for a, b in zip(one, two))


def played(env, seed, actions):
    """The start after reset(seed=seed), and what the actions make of it."""
    import numpy as np
    got = [leaves(env.reset(seed=seed)[0])]
    for action in actions:
        obs, reward, terminated, truncated, _ = env.step(action)
        got.append([*leaves(obs), np.array(reward), np.array([terminated, truncated])])
        if terminated or truncated:
            break
    return got


def told_by_seed(once, again, fresh):
    """What one seed brings back: in the same environment, and in a fresh one."""
    if same(once, again):
        return "repeats" if same(once, fresh) else "repeats, but not in a fresh one"
    if same(once, fresh):
        return "repeats in a fresh one only"
    if same(once[:1], again[:1]):
        return "the start repeats, what follows does not"
    return "does not repeat"


def attempt(make):
    """Record, learn offline and online, evaluate, save and load; how far that goes."""
    import numpy as np
    import torch

    import iq

    torch.set_num_threads(1)
    env, stage = None, "make"
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        try:
            env = make()
            env.action_space.seed(0)
            stage = "record"
            demos = iq.record(env, lambda obs: env.action_space.sample(), 2, 0)
            stage = "offline"
            small = {"hidden": 32, "batch_size": 32}
            agent = iq.learn(demos, config=iq.Config(steps=20, **small))
            stage = "online"
            agent = iq.learn(demos, env, config=iq.Config(steps=200, **small))
            stage = "evaluate"
            returns = iq.evaluate(agent, env, 2, 1)
            assert np.isfinite(returns).all() and returns.shape == (2,), returns
            stage = "save"
            agent.save("agent.pt")
            stage = "load"
            obs = demos.observations[:32]
            assert np.array_equal(iq.load("agent.pt").act(obs), agent.act(obs))
        except Exception as error:
            frames = traceback.extract_tb(error.__traceback__)
            ours = Path(frames[-1].filename).name == "iq.py"
            traceback.print_exc()
            refused = ours and isinstance(error, ValueError)
            return {"outcome": "refused" if refused else "fails", "stage": stage,
                    "words": in_words(error), "warnings": ""}
        finally:
            if env is not None:
                env.close()
    told = {str(x.message) for x in heard if Path(x.filename).name == "iq.py"
            or x.category is UserWarning and __file__ == x.filename}
    return {"outcome": "works", "stage": "", "words": "", "warnings": "; ".join(told)}


VARIABLES = {
    "PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT),
    "HOME": tempfile.gettempdir(), "MUJOCO_GL": "disabled", "SDL_VIDEODRIVER": "dummy",
    "SDL_AUDIODRIVER": "dummy", "MPLBACKEND": "Agg", "TQDM_DISABLE": "1",
    "PYTHONWARNINGS": "ignore"}

if __name__ == "__main__":
    visit(*json.loads(sys.argv[1]))
