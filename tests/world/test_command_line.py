"""The command line: what it prints, what it writes, what it refuses, how it is stopped."""
import contextlib
import importlib.util
import json
import os
import shutil
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from helpers import (
    ENVS,
    Walk,
    columns,
    make_demos,
    same,
    weights,
    write,
)

import iq

ROOT = Path(iq.__file__).parent
KEYS = """env mode demos_transitions expert_return random_return return_mean return_std
    updates env_steps seconds updates_per_second""".split()
KINDS = "discrete", "naf"


@pytest.fixture(autouse=True)
def signals():
    """main takes SIGTERM for an interrupt: not beyond its test."""
    usual = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, usual)


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty working folder with demonstrations of each kind of action."""
    monkeypatch.chdir(tmp_path)
    for kind in KINDS:
        make_demos(kind).save(f"{kind}.npz")
    return tmp_path


@pytest.fixture
def report(capsys):
    """Run a command line with --json; the one object on stdout."""
    def report(*argv):
        iq.main([*map(str, argv), "--steps", "20", "--json"])
        out, errors = capsys.readouterr()
        assert errors == ""  # here stderr is no terminal: no progress bar
        answer = json.loads(out, parse_constant=lambda name: pytest.fail(name))
        assert out.count("\n") == 1 and set(KEYS) <= set(answer)
        return answer
    return report


# ---------------------------------------------------------------------- what it prints

@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("online", [[], ["--online"]], ids=["offline", "online"])
def test_it_reports_all_of_a_run_and_does_what_learn_does_in_python(
        here, report, kind, online):
    answer = report(ENVS[kind], "--demos", f"{kind}.npz", *online, "--out", "new.pt",
                    "--seed", 4)
    demos = make_demos(kind)
    assert answer["env"] == ENVS[kind] and answer["demos_transitions"] == len(demos)
    assert answer["mode"] == ("online" if online else "offline")
    assert answer["expert_return"] == pytest.approx(demos.returns().mean())
    assert answer["updates"] == 20 and answer["env_steps"] == (20 if online else 0)
    assert answer["updates_per_second"] == pytest.approx(20 / answer["seconds"])
    agent = iq.learn(demos, ENVS[kind] if online else None, iq.Config(steps=20, seed=4))
    assert same(weights(iq.load("new.pt")), weights(agent))
    assert sorted(os.listdir()) == ["discrete.npz", "naf.npz", "new.pt"]
    again = report(ENVS[kind], "--demos", f"{kind}.npz", *online, "--seed", 4)
    for key in set(KEYS) - {"seconds", "updates_per_second"}:
        assert again[key] == answer[key] and answer[key] is not None
    assert answer["return_std"] > 0


def test_demonstrations_are_used_in_part_where_that_is_asked_for(here, report):
    whole = make_demos("discrete").take(2)
    answer = report("Walk-v0", "--demos", "discrete.npz", "--episodes", 2,
                    "--subsample", 3)
    assert answer["demos_transitions"] == len(whole.subsample(3)) < len(whole)
    assert answer["expert_return"] == pytest.approx(whole.returns().mean())


def test_without_demonstrations_the_scripted_expert_makes_them(report):
    answer = report("Pendulum-v1", "--episodes", 2)
    true = iq.record("Pendulum-v1", iq.scripted_expert("Pendulum-v1"), 2, 0)
    assert answer["demos_transitions"] == 400
    assert answer["expert_return"] == pytest.approx(true.returns().mean())
    answer = report()
    assert (answer["env"], answer["mode"]) == ("CartPole-v1", "offline")
    assert answer["expert_return"] == answer["demos_transitions"] == 500
    assert answer["random_return"] < 60


def test_demonstrations_without_rewards_are_learned_and_reported_with_null(here, report):
    data = columns(make_demos())
    del data["rewards"]
    np.savez("bare.npz", **data)
    assert report("helpers:Walk-v0", "--demos", "bare.npz")["expert_return"] is None


def test_every_seed_of_a_reset_is_below_2_to_the_31(here, report, monkeypatch):
    seeds = []
    reset = Walk.reset

    def noting(env, seed=None, options=None):
        seeds.append(seed)
        return reset(env, seed=seed)

    monkeypatch.setattr(Walk, "reset", noting)
    report("Walk-v0", "--demos", "discrete.npz", "--online", "--seed", 2**31 - 1)
    given = [x for x in seeds if x is not None]
    assert len(given) > 1 and all(0 <= x < 2**31 for x in given)


def test_without_json_the_report_is_for_people(here, capsys):
    iq.main(["Walk-v0", "--demos", "discrete.npz", "--steps", "3"])
    out, _ = capsys.readouterr()
    assert [line.split('"')[1] for line in out.splitlines()[1:-1]] == KEYS


def test_help_names_every_flag_and_exits_with_0(capsys):
    with pytest.raises(SystemExit) as caught:
        iq.main(["--help"])
    text = capsys.readouterr().out
    assert caught.value.code == 0
    for flag in ("demos", "episodes", "subsample", "online", "steps", "seed", "set",
                 "out", "json"):
        assert f"--{flag}" in text


# ------------------------------------------------------------------------------ --set

def test_set_takes_any_field_of_config_as_its_type(here, report):
    c = iq.Config(steps=20, hidden=16, gamma=0.5, temperature=1e-1, absorbing=False,
                  scale_inputs=False, divergence="hellinger", chi2_on="expert",
                  value_term="initial", learning_rate=0.002, target_rate=1, batch_size=7,
                  chi2_alpha=0.25, continuous="actor_critic", device="cpu", seed=3)
    sets = [part for name, x in vars(c).items() if name not in ("steps", "seed")
            for part in ("--set", f"{name}={x}")]
    report("WalkFar-v0", "--demos", "naf.npz", *sets, "--seed", 3, "--out", "a.pt")
    agent = iq.load("a.pt")
    assert isinstance(agent, iq.SoftActorCritic) and agent.config == c
    assert same(weights(agent), weights(iq.learn(make_demos("naf"), config=c)))


def test_set_of_none_steps_and_seed(here):
    iq.main(["Walk-v0", "--demos", "discrete.npz", "--set", "value_term=None", "--set",
             "seed=7", "--set", "steps=4", "--out", "a.pt"])
    config = iq.load("a.pt").config
    assert (config.seed, config.steps, config.value_term) == (7, 4, None)


# -------------------------------------------------------------------- what it refuses

BAD = """
--wings 2 # wings
Walk-v0 --steps many # steps & many
Walk-v0 --demos discrete.npz --steps 0 # steps is 0
Walk-v0 --demos discrete.npz --seed -1 # seed is -1
Walk-v0 --demos discrete.npz --seed 2147483648 # seed is 2147483648
Walk-v0 --demos discrete.npz --set gama=0.9 # gama & gamma & FIELD=VALUE
Walk-v0 --demos discrete.npz --set gamma # gamma & FIELD=VALUE
Walk-v0 --demos discrete.npz --set gamma= # gamma= & FIELD=VALUE
Walk-v0 --demos discrete.npz --set gamma=2 # gamma is 2 & 0.9999
Walk-v0 --demos discrete.npz --set hidden=1e2 # hidden is 100.0 & whole number
Walk-v0 --demos discrete.npz --set absorbing=maybe # absorbing is 'maybe'
Walk-v0 --demos discrete.npz --set divergence=[] # divergence is []
Walk-v0 --demos discrete.npz --set device=gpu # device is 'gpu' & cpu
Nowhere-v0 # Nowhere
CartPole-v99 # v99
no_such_module:Walk-v0 --demos discrete.npz # no_such_module
Acrobot-v1 # Acrobot-v1 & CartPole-v1 & --demos
CartPole-v1 --episodes 0 # episodes & 0
CartPole-v1 --episodes -2 # episodes & -2
Walk-v0 --demos discrete.npz --episodes 5 # episodes & 5 & 4
Walk-v0 --demos discrete.npz --subsample 0 # subsample & 0
Walk-v0 --demos missing.npz --out new.pt # missing.npz
Walk-v0 --demos notes.txt # notes.txt & .npz
Walk-v0 --demos cut.npz # cut.npz
Walk-v0 --demos nan.npz # observations[0, 0] is nan
Walk-v0 --demos pickled.npz # pickled.npz
Walk-v0 --demos keyless.npz # terminations
Walk-v0 --demos wild.npz # actions[0] is & Discrete(2)
Walk-v0 --demos folder # folder
Walk-v0 --demos naf.npz # Box & Discrete
CartPole-v1 --demos discrete.npz --online # (4,)
CartPole-v1 --demos discrete.npz # (4,)
Walk-v0 --demos discrete.npz --out nowhere/a.pt # nowhere
Walk-v0 --demos discrete.npz --out notes.txt/a.pt # notes.txt
Walk-v0 --demos discrete.npz --out folder # folder
"""


@pytest.fixture
def troubled(here):
    """A folder with things that go wrong."""
    def spoiled(name, **changes):
        data = columns(make_demos()) | changes
        write(name, {k: x for k, x in data.items() if x is not None})

    demos = make_demos()
    (here / "folder").mkdir()
    (here / "notes.txt").write_text("neither demonstrations nor an agent\n")
    whole = (here / "discrete.npz").read_bytes()
    (here / "cut.npz").write_bytes(whole[: len(whole) // 2])
    spoiled("nan.npz", observations=demos.observations * np.nan)
    spoiled("pickled.npz", actions=demos.actions.astype(object))
    spoiled("keyless.npz", terminations=None)
    spoiled("wild.npz", actions=demos.actions + 7)
    return here


def contents(folder):
    return {p.name: p.read_bytes() if p.is_file() else sorted(os.listdir(p))
            for p in folder.iterdir()}


@pytest.mark.parametrize("line", BAD.strip().split("\n"))
def test_bad_input_gets_one_line_and_exit_2_and_harms_no_file(
        troubled, capsys, line, monkeypatch):
    argv, _, says = line.partition(" # ")
    before = contents(troubled)
    monkeypatch.setattr(iq.SoftQ, "update", None)  # refused before anything is learned
    for out in [], ["--out", "notes.txt"], ["--out", "fresh.pt"]:
        with pytest.raises(SystemExit) as caught:
            iq.main([*out, *argv.split(), "--json"])
        said, errors = capsys.readouterr()
        assert caught.value.code == 2 and said == "" and errors.count("\n") == 1
        assert "Traceback" not in errors and errors.startswith("iq.py: ")
        assert all(word.strip() in errors for word in says.split("&")), errors
        assert contents(troubled) == before


# ---------------------------------------------------------------------------- stopped

@pytest.mark.parametrize("error, code", [(KeyboardInterrupt, 130), (RuntimeError, 2)])
def test_what_is_learned_is_not_lost_where_a_run_is_interrupted(
        here, capsys, monkeypatch, error, code):
    update, count = iq.SoftQ.update, []

    def interrupted(agent, *batch):
        count.append(1)
        if len(count) == 8:
            raise error("stop")
        return update(agent, *batch)

    monkeypatch.setattr(iq.SoftQ, "update", interrupted)
    with pytest.raises(SystemExit) as caught:
        iq.main("Walk-v0 --demos discrete.npz --steps 20 --out a.pt".split())
    monkeypatch.undo()
    out, errors = capsys.readouterr()
    assert caught.value.code == code and out == "" and errors.count("\n") == 1
    agent = iq.learn(make_demos(), config=iq.Config(steps=7))
    assert same(weights(iq.load(here / "a.pt")), weights(agent))


def test_interrupted_before_the_first_update_nothing_is_written(here, monkeypatch):
    def interrupted(agent, *batch):
        raise KeyboardInterrupt

    monkeypatch.setattr(iq.SoftQ, "update", interrupted)
    with pytest.raises(SystemExit):
        iq.main("Walk-v0 --demos discrete.npz --steps 20 --out a.pt".split())
    assert sorted(os.listdir()) == ["discrete.npz", "naf.npz"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_the_agent_and_leaves_no_traceback(here, number):
    """kill, a batch queue's time limit, Ctrl-C: in a process of its own."""
    code = """if True:
        import sys, iq, helpers
        update = iq.SoftQ.update
        def counted(agent, *batch):
            if agent.updates == 5:
                print("ready", flush=True)
            return update(agent, *batch)
        iq.SoftQ.update = counted
        iq.main(sys.argv[1:])
    """
    process = subprocess.Popen(
        [sys.executable, "-W", "error", "-c", code, "Walk-v0", "--demos", "discrete.npz",
         "--steps", "1000000", "--out", "a.pt"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"})
    assert process.stdout.readline() == "ready\n"
    time.sleep(0.2)
    process.send_signal(number)
    out, errors = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, "")
    assert errors.count("\n") == 1 and "interrupted" in errors
    assert isinstance(iq.load("a.pt"), iq.SoftQ)
    assert sorted(os.listdir()) == ["a.pt", "discrete.npz", "naf.npz"]


# ------------------------------------------------------------- as a process of its own

def test_copied_alone_into_an_empty_folder_the_file_runs(tmp_path):
    shutil.copy(ROOT / "iq.py", tmp_path)
    env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    run = lambda *argv: subprocess.run(
        [sys.executable, "-W", "error", "iq.py", *argv], cwd=tmp_path, env=env,
        capture_output=True, text=True)
    done = run("--steps", "3", "--json", "--out", "a.pt")
    assert (done.returncode, done.stderr) == (0, "")  # no bar: stderr is no terminal
    assert json.loads(done.stdout)["env"] == "CartPole-v1"
    assert set(os.listdir(tmp_path)) == {"iq.py", "a.pt"}
    bad = run("Walk-v0")
    assert (bad.returncode, bad.stdout) == (2, "") and bad.stderr.count("\n") == 1


def imported(path, name, monkeypatch):
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, module)
    spec.loader.exec_module(module)
    return module


def test_below_a_line_of_one_s_own_the_file_works(tmp_path, monkeypatch):
    """Annotations are strings: nothing may evaluate them."""
    line = "from __future__ import annotations\n"
    path = tmp_path / "mine.py"
    path.write_text(line + (ROOT / "iq.py").read_text().replace(line, ""))
    mine = imported(path, "mine", monkeypatch)
    demos = mine.Demos(make_demos().action_space, **make_demos().columns)
    agent = mine.learn(demos, config=mine.Config(steps=3))
    ours = iq.learn(make_demos(), config=iq.Config(steps=3))
    assert same(weights(agent), weights(ours))


def test_on_a_terminal_there_is_a_progress_bar(here, monkeypatch, capsys):
    pty, fcntl = pytest.importorskip("pty"), pytest.importorskip("fcntl")
    above, below = pty.openpty()
    fcntl.ioctl(below, pytest.importorskip("termios").TIOCSWINSZ,
                struct.pack("HHHH", 24, 120, 0, 0))
    with open(below, "w") as terminal, monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", terminal)
        iq.main("Walk-v0 --demos discrete.npz --steps 20 --json".split())
    shown = b""
    with contextlib.suppress(OSError):  # at the end
        while more := os.read(above, 4096):
            shown += more
    os.close(above)
    assert set(KEYS) <= set(json.loads(capsys.readouterr().out))
    assert b"20/20" in shown
