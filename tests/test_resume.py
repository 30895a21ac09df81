"""A run that is saved, loaded and continued ends where the uninterrupted one ends."""
import dataclasses
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import torch
from tools import ENVS, KINDS, checkpoint, config, diary, same, weights

import iq

CHOICES = {
    "plain": {},
    "slow copy": {"target_rate": 0.05, "value_term": "initial", "actor_average": 0.1},
    "absorbing": {"absorbing": True, "chi2_on": "mixture"},
    "small replay": {"replay_size": 15},
    "wasserstein": {"divergence": "wasserstein"},
}


def state(agent, path):
    agent.save(path)
    return checkpoint(path)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("online", [False, True])
@pytest.mark.parametrize("choice", CHOICES)
def test_save_load_continue_equals_uninterrupted_bit_for_bit(
        kind, online, choice, tmp_path):
    demos, env = diary(kind), ENVS[kind] if online else None
    c = config(steps=60, log_every=1, **CHOICES[choice])
    path = tmp_path / "agent.pt"
    whole = iq.learn(demos, env, c)
    agent = iq.new_agent(demos, c)
    for stop in 3, 17, 31, 60:
        iq.learn(demos, env, dataclasses.replace(c, steps=stop), agent=agent)
        assert agent.updates == stop
        agent.save(path)
        agent = iq.load(path, device="cpu")
    assert same(checkpoint(path), state(whole, tmp_path / "whole.pt"))
    assert online == bool(agent.replay) and (not online or agent.replay.count == 60)
    assert same(agent.act(demos.observations, greedy=False),
                whole.act(demos.observations, greedy=False))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("online", [False, True])
def test_asking_for_rewards_and_greedy_actions_leaves_learning_as_it_was(
        kind, online, tmp_path):
    demos, env, c = diary(kind), ENVS[kind] if online else None, config(
        steps=20, log_every=1)
    asked, agent = [], iq.new_agent(demos, c)

    def curious(step, info):
        agent.act(demos.observations)
        asked.append([agent.reward(demos.observations, demos.actions,
                                   demos.next_observations, demos.terminations)
                      for _ in range(2)])

    iq.learn(demos, env, c, curious, agent)
    plain = iq.learn(demos, env, c)
    assert same(state(agent, tmp_path / "a.pt"), state(plain, tmp_path / "b.pt"))
    assert len(asked) == 20 and all(torch.equal(*pair) for pair in asked)


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_in_mid_episode_that_a_checkpoint_is_taken_up_again(kind, tmp_path):
    """Steps 1 to 25 of a world of at most 20 steps: some stops are within episodes."""
    demos, c, seen = diary(kind), config(steps=25), []
    whole = iq.learn(demos, ENVS[kind], c)
    assert 0 < whole.episodes < 25
    for stop in range(1, 25, 3):
        part = iq.learn(demos, ENVS[kind], dataclasses.replace(c, steps=stop))
        part.save(tmp_path / "agent.pt")
        again = iq.load(tmp_path / "agent.pt", "cpu")
        iq.learn(demos, gym.make(ENVS[kind]), c, agent=again)
        assert same(weights(again), weights(whole))
        rows = [[x[:25] for x in agent.replay.rows] for agent in (again, whole)]
        assert same(*rows) and again.replay.count == 25
        seen.append(len(part.trail) if hasattr(part, "trail") else 1)
    assert any(seen)


@pytest.mark.parametrize("kind", KINDS)
def test_a_world_half_played_does_not_change_what_is_learned_in_it(kind):
    env = gym.make(ENVS[kind])
    env.reset(seed=99)
    env.step(env.action_space.sample())
    used = iq.learn(diary(kind), env, config(steps=20))
    assert same(weights(used), weights(iq.learn(diary(kind), ENVS[kind],
                                                config(steps=20))))


@pytest.mark.parametrize("kind", KINDS)
def test_a_checkpoint_holds_no_more_than_weights_and_plain_values(kind, tmp_path):
    agent = iq.learn(diary(kind), ENVS[kind], config(steps=5))
    held = state(agent, tmp_path / "agent.pt")  # weights_only loads it
    assert held["config"] == dataclasses.asdict(agent.config)
    back = iq.load(tmp_path / "agent.pt", device="cpu")
    for name in "config", "env_id", "updates", "episodes", "action_space":
        assert getattr(back, name) == getattr(agent, name), name
    assert type(back) is type(agent)


@pytest.mark.parametrize("size", [5, 25, 60])
def test_a_replay_of_another_size_is_taken_up_with_true_rows_only(size, tmp_path):
    demos, env = diary(), ENVS["discrete"]
    agent = iq.learn(demos, env, config(steps=30, replay_size=15))
    held = {tuple(x.tolist()) for x in agent.replay.rows.obs}
    agent.save(tmp_path / "agent.pt")
    back = iq.load(tmp_path / "agent.pt", "cpu")
    back.config = dataclasses.replace(back.config, replay_size=size, steps=32)
    iq.learn(demos, env, back.config, agent=back)
    rows = back.replay.rows.obs[: len(back.replay)]
    known = sum(tuple(x.tolist()) in held for x in rows)
    assert known >= len(rows) - 2 and len(rows) >= min(size, 15)
    assert back.updates == 32


def test_learning_to_fewer_steps_than_were_made_leaves_the_agent_as_it_is(tmp_path):
    demos, env = diary(), ENVS["discrete"]
    agent = iq.learn(demos, env, config(steps=30))
    before = state(agent, tmp_path / "a.pt")
    iq.learn(demos, env, config(steps=10), agent=agent)
    assert same(before, state(agent, tmp_path / "b.pt"))


# --------------------------------------------------------------- whole or not at all

def test_a_file_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "f"

    def fail(file):
        file.write(b"half of it")
        file.flush()
        raise RuntimeError("the power is gone")

    with pytest.raises(RuntimeError):
        iq.write(path, fail)
    assert os.listdir(tmp_path) == []
    iq.write(path, lambda file: file.write(b"whole"))
    assert path.read_bytes() == b"whole"
    for wrong in RuntimeError, KeyboardInterrupt, OSError(28, "No space left"):
        with pytest.raises((RuntimeError, KeyboardInterrupt, iq.InputError)):
            iq.write(path, lambda file, wrong=wrong: (_ for _ in ()).throw(wrong))
        assert path.read_bytes() == b"whole" and os.listdir(tmp_path) == ["f"]


def test_a_save_that_fails_leaves_the_old_checkpoint(tmp_path, monkeypatch):
    agent, path = iq.new_agent(diary(), config()), tmp_path / "agent.pt"
    agent.save(path)
    before = path.read_bytes()

    def half(state, file):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", half)
    with pytest.raises(iq.InputError, match="agent.pt.*No space left"):
        agent.save(path)
    assert path.read_bytes() == before and os.listdir(tmp_path) == ["agent.pt"]


# ---------------------------------------------------------- signals, in real processes

FLAGS = ["--steps", "2500", "--hidden", "8", "--batch-size", "8", "--device", "cpu",
         "--seed", "3", "--log-every", "100", "--gamma", "0.9", "--temperature", "1"]
MODES = {"offline": [], "online": ["--online"]}


@pytest.fixture(scope="module")
def command(tmp_path_factory):
    """A command line by mode and file to write, as arguments of iq.main."""
    demos = tmp_path_factory.mktemp("demos") / "walk.npz"
    diary().save(demos)
    return lambda mode, out, *more: [
        "learn", "Walk-v0", "--demos", str(demos), *FLAGS, *MODES[mode],
        "--out", str(out), *map(str, more)]


@pytest.fixture(scope="module", params=MODES)
def whole(request, command, tmp_path_factory):
    """A mode, and the checkpoint that its uninterrupted run ends with."""
    out = tmp_path_factory.mktemp("whole") / "agent.pt"
    assert iq.main(command(request.param, out)) == 0
    return request.param, checkpoint(out)


def start(arguments, out):
    """The command line in a process of its own, just after its first checkpoint."""
    path = os.pathsep.join([str(Path(__file__).parent), str(Path(iq.__file__).parent)])
    code = "import sys, tools, iq; sys.exit(iq.main(sys.argv[1:]))"  # tools: for Walk
    child = subprocess.Popen(
        [sys.executable, "-c", code, *arguments], stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": path})
    until = time.monotonic() + 100
    while not out.exists():
        assert child.poll() is None and time.monotonic() < until, child.stderr.read()
        time.sleep(0.005)
    return child


def test_a_run_killed_at_any_moment_and_resumed_ends_where_the_uninterrupted_one_does(
        whole, command, tmp_path):
    (mode, end), out = whole, tmp_path / "agent.pt"
    child = start(command(mode, out), out)
    time.sleep(random.uniform(0, 0.25))
    child.kill()
    child.communicate()
    assert child.returncode == -signal.SIGKILL
    assert 0 < iq.load(out, "cpu").updates < 2500  # whatever the moment, it is whole
    assert iq.main(command(mode, out, "--resume", out)) == 0
    assert same(checkpoint(out), end)


def test_ctrl_c_saves_what_out_promised(command, tmp_path):
    mode, out = "online", tmp_path / "agent.pt"
    child = start(command(mode, out, "--metrics", tmp_path / "m.csv"), out)
    first = iq.load(out, "cpu").updates
    time.sleep(random.uniform(0, 0.25))
    child.send_signal(signal.SIGINT)
    _, errors = child.communicate(timeout=100)
    assert child.returncode not in (0, 2) and "Traceback" not in errors
    assert first <= iq.load(out, "cpu").updates < 2500
    assert {p.name for p in tmp_path.iterdir()} == {"agent.pt", "m.csv"}


def test_ctrl_c_is_heeded_by_the_next_line_of_the_log_at_the_latest(
        command, tmp_path, monkeypatch):
    out, update = tmp_path / "agent.pt", iq.SoftQ.update

    def interrupted(agent, *args):
        if agent.updates == 30:
            os.kill(os.getpid(), signal.SIGINT)
        return update(agent, *args)

    monkeypatch.setattr(iq.SoftQ, "update", interrupted)
    usual = signal.getsignal(signal.SIGINT)
    flags = "--log-every", 10, "--steps", 100
    assert iq.main(command("offline", out, *flags)) != 0
    assert 30 <= iq.load(out, "cpu").updates <= 41
    monkeypatch.undo()
    whole = tmp_path / "whole.pt"
    assert iq.main(command("offline", out, *flags, "--resume", out)) == 0
    assert iq.main(command("offline", whole, *flags)) == 0
    assert same(checkpoint(out), checkpoint(whole))
    assert signal.getsignal(signal.SIGINT) is usual


def test_a_resumed_run_says_the_same_as_the_uninterrupted_one(tmp_path, capsys):
    demos = tmp_path / "d.npz"
    diary().save(demos)
    flags = ["Walk-v0", "--demos", str(demos), "--hidden", "8", "--batch-size", "8",
             "--device", "cpu", "--log-every", "10", "--json", "--online"]
    files = [str(tmp_path / x) for x in ("whole.csv", "part.csv", "agent.pt")]
    reports = []
    for more in (["--steps", "50", "--metrics", files[0]],
                 ["--steps", "20", "--metrics", files[1], "--out", files[2]],
                 ["--steps", "50", "--metrics", files[1], "--resume", files[2]]):
        assert iq.main(["learn", *flags, *more]) == 0
        reports.append(json.loads(capsys.readouterr().out))
    for key in "return_mean", "updates", "env_steps", "reward_pearson":
        assert reports[0][key] == reports[2][key] and np.isfinite(reports[0][key])
    whole, part = (Path(f).read_text().splitlines() for f in files[:2])
    assert whole == part and len(whole) == 6


def test_where_no_device_is_named_a_checkpoint_is_loaded_where_there_is_one(tmp_path):
    iq.new_agent(diary("discrete"), config(device="cpu")).save(tmp_path / "a.pt")
    assert iq.load(tmp_path / "a.pt").config.device == "auto"
