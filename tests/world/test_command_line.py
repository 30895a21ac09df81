"""The command line: what it prints, what it writes, and what it refuses."""
import contextlib
import importlib.util
import json
import os
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers import ENVS, Walk, columns, same, weights

import iq

ROOT = Path(iq.__file__).parent
KEYS = """env mode demos_transitions expert_return random_return return_mean return_std
    updates env_steps seconds updates_per_second""".split()
KINDS = "discrete", "naf"


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty working folder with a diary of each kind of action."""
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


# ------------------------------------------------------------------------- what it says

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


def test_the_diary_is_taken_in_part_where_that_is_asked_for(here, report):
    whole = make_demos("discrete").take(2)
    answer = report("Walk-v0", "--demos", "discrete.npz", "--episodes", 2,
                    "--subsample", 3)
    assert answer["demos_transitions"] == len(whole.subsample(3)) < len(whole)
    assert answer["expert_return"] == pytest.approx(whole.returns().mean())


def test_without_a_diary_the_elder_writes_one(report):
    answer = report("Pendulum-v1", "--episodes", 2)
    true = iq.record("Pendulum-v1", iq.scripted_expert("Pendulum-v1"), 2, 0)
    assert answer["demos_transitions"] == 400
    assert answer["expert_return"] == pytest.approx(true.returns().mean())
    answer = report()
    assert (answer["env"], answer["mode"]) == ("CartPole-v1", "offline")
    assert answer["expert_return"] == answer["demos_transitions"] == 500
    assert answer["random_return"] < 60


def test_a_diary_without_rewards_is_learned_and_reported_with_null(here, report):
    data = columns(make_demos())
    del data["rewards"]
    np.savez("bare.npz", **data)
    assert report("tools:Walk-v0", "--demos", "bare.npz")["expert_return"] is None


def test_every_seed_given_is_below_2_to_the_31(here, report, monkeypatch):
    seeds = []
    reset = Walk.reset

    def told(env, seed=None, options=None):
        seeds.append(seed)
        return reset(env, seed=seed)

    monkeypatch.setattr(Walk, "reset", told)
    report("Walk-v0", "--demos", "discrete.npz", "--online", "--seed", 2**31 - 1)
    given = [x for x in seeds if x is not None]
    assert len(given) > 1 and all(0 <= x < 2**31 for x in given)


def test_without_json_the_report_is_for_people(here, capsys):
    iq.main(["Walk-v0", "--demos", "discrete.npz", "--steps", "3"])
    out, _ = capsys.readouterr()
    assert [line.split('"')[1] for line in out.splitlines()[1:-1]] == KEYS


def test_help_names_every_flag_and_ends_well(capsys):
    with pytest.raises(SystemExit) as caught:
        iq.main(["--help"])
    text = capsys.readouterr().out
    assert caught.value.code == 0
    for flag in ("demos", "episodes", "subsample", "online", "steps", "seed", "out",
                 "json"):
        assert f"--{flag}" in text


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_what_is_learned_is_not_lost_where_a_run_is_interrupted(
        here, monkeypatch, error):
    update, count = iq.SoftQ.update, []

    def interrupted(agent, *batch):
        count.append(1)
        if len(count) == 8:
            raise error
        return update(agent, *batch)

    monkeypatch.setattr(iq.SoftQ, "update", interrupted)
    with pytest.raises(error):
        iq.main("Walk-v0 --demos discrete.npz --steps 20 --out a.pt".split())
    monkeypatch.undo()
    agent = iq.learn(make_demos(), config=iq.Config(steps=7))
    assert same(weights(iq.load(here / "a.pt")), weights(agent))


# -------------------------------------------------------------------- what it refuses

BAD = """
--wings 2 # wings
Walk-v0 --steps many # steps & many
Walk-v0 --demos discrete.npz --steps 0 # steps is 0
Walk-v0 --demos discrete.npz --seed -1 # seed is -1
Walk-v0 --demos discrete.npz --seed 2147483648 # seed is 2147483648
Nowhere-v0 # Nowhere
CartPole-v99 # v99
no_such_module:Walk-v0 --demos discrete.npz # no_such_module
Acrobot-v1 # Acrobot-v1 & CartPole-v1
CartPole-v1 --episodes 0 # episodes & 0
CartPole-v1 --episodes -2 # episodes & -2
Walk-v0 --demos discrete.npz --episodes 5 # episodes & 5 & 4
Walk-v0 --demos discrete.npz --subsample 0 # subsample & 0
Walk-v0 --demos missing.npz # missing.npz
Walk-v0 --demos missing.npz --out new.pt # missing.npz
Walk-v0 --demos notes.txt # notes.txt & .npz
Walk-v0 --demos cut.npz # cut.npz
Walk-v0 --demos nan.npz # observation
Walk-v0 --demos pickled.npz # pickled.npz
Walk-v0 --demos keyless.npz # terminations
Walk-v0 --demos wild.npz # action & Discrete(2)
Walk-v0 --demos folder # folder
Walk-v0 --demos naf.npz # Box & Discrete
CartPole-v1 --demos discrete.npz --online # (4,)
CartPole-v1 --demos discrete.npz # (4,)
Walk-v0 --demos discrete.npz --out nowhere/a.pt # nowhere/a.pt
Walk-v0 --demos discrete.npz --out notes.txt/a.pt # notes.txt/a.pt
Walk-v0 --demos discrete.npz --out folder # folder
"""


@pytest.fixture
def troubled(here):
    """A folder with things that go wrong."""
    def spoiled(name, **changes):
        data = columns(make_demos()) | changes
        with open(name, "wb") as file:
            np.savez(file, **{k: x for k, x in data.items() if x is not None})

    demos = make_demos()
    (here / "folder").mkdir()
    (here / "notes.txt").write_text("neither a diary nor an agent\n")
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


@pytest.mark.parametrize("out", [[], ["--out", "notes.txt"], ["--out", "fresh.pt"]],
                         ids=["no out", "an old file", "a fresh file"])
@pytest.mark.parametrize("line", BAD.strip().split("\n"))
def test_bad_input_gets_one_line_and_exit_2_and_harms_no_file(
        troubled, capsys, line, out, monkeypatch):
    argv, _, says = line.partition(" # ")
    before = contents(troubled)
    monkeypatch.setattr(iq.SoftQ, "update", None)  # told before anything is learned
    with pytest.raises(SystemExit) as caught:
        iq.main([*out, *argv.split(), "--json"])
    said, errors = capsys.readouterr()
    assert caught.value.code == 2 and said == "" and errors.count("\n") == 1
    assert "Traceback" not in errors
    assert all(word.strip() in errors for word in says.split("&")), errors
    assert contents(troubled) == before


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


def test_on_a_terminal_there_is_a_progress_bar(here, monkeypatch, capsys):
    pytest.importorskip("tqdm")
    pty, fcntl = pytest.importorskip("pty"), pytest.importorskip("fcntl")
    above, below = pty.openpty()
    fcntl.ioctl(below, pytest.importorskip("termios").TIOCSWINSZ,
                struct.pack("HHHH", 24, 120, 0, 0))
    with open(below, "w") as terminal, monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", terminal)
        iq.main("Walk-v0 --demos discrete.npz --steps 20 --json".split())
    shown = b""
    with contextlib.suppress(OSError):  # which tells the end
        while more := os.read(above, 4096):
            shown += more
    os.close(above)
    assert set(KEYS) <= set(json.loads(capsys.readouterr().out))
    assert b"20/20" in shown


def test_without_tqdm_it_runs_all_the_same(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "tqdm", None)
    spec = importlib.util.spec_from_file_location("bare", ROOT / "iq.py")
    bare = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "bare", bare)
    spec.loader.exec_module(bare)
    bare.main(["--steps", "3", "--json"])
    assert json.loads(capsys.readouterr().out)["updates"] == 3
