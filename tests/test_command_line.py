"""The command line: what it prints, what it writes, and what it refuses."""
import contextlib
import csv
import json
import os
import re
import shutil
import struct
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import torch
from tools import ENVS, KINDS, ODD, columns, config, diary, same, weights

import iq

ROOT = Path(iq.__file__).parent
KEYS = """env mode demos_episodes demos_transitions expert_return random_return
    return_mean return_std episodes updates env_steps seconds updates_per_second
    reward_pearson out""".split()
QUICK = ["--hidden", "8", "--batch-size", "8", "--steps", "20", "--device", "cpu",
         "--log-every", "10", "--gamma", "0.9"]


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty working folder with a diary and an agent of each kind."""
    monkeypatch.chdir(tmp_path)
    for kind in KINDS:
        demos = diary(kind)
        demos.save(f"{kind}.npz")
        iq.learn(demos, config=config(steps=5)).save(f"{kind}.pt")
    return tmp_path


@pytest.fixture
def run(capsys):
    """Run a command line that is to succeed; what it prints on stdout."""
    def run(*argv):
        assert iq.main([str(x) for x in argv]) == 0, capsys.readouterr().err
        out, errors = capsys.readouterr()
        assert errors == ""  # here stderr is no terminal: no progress bar
        return out
    return run


@pytest.fixture
def report(run):
    """Run with --json; the one object on stdout."""
    def report(*argv):
        out = run(*argv, "--json")
        answer = json.loads(out, parse_constant=lambda name: pytest.fail(name))
        assert out.count("\n") == 1 and list(answer) == KEYS
        return answer
    return report


# ------------------------------------------------------------------------- what it says

@pytest.mark.parametrize("online", [[], ["--online"]], ids=["offline", "online"])
def test_learn_reports_all_of_a_run(here, report, kind, online):
    answer = report("learn", ENVS[kind], "--demos", f"{kind}.npz", *QUICK, *online,
                    "--out", "new.pt")
    demos = diary(kind)
    assert answer["env"] == ENVS[kind] and answer["out"] == "new.pt"
    assert answer["mode"] == ("online" if online else "offline")
    assert (answer["demos_episodes"], answer["demos_transitions"]) == (4, len(demos))
    assert answer["expert_return"] == pytest.approx(demos.returns().mean())
    assert answer["updates"] == 20 and answer["env_steps"] == (20 if online else 0)
    assert answer["episodes"] == 20 and answer["seconds"] > 0
    assert answer["updates_per_second"] == pytest.approx(20 / answer["seconds"])
    assert -1 <= answer["reward_pearson"] <= 1
    assert np.isfinite([answer[k] for k in ("random_return", "return_mean",
                                            "return_std")]).all()
    agent = iq.load("new.pt", "cpu")
    assert agent.updates == 20 and agent.config.gamma == 0.9
    assert {p.name for p in here.iterdir()} == {
        "new.pt", *(f"{k}.{end}" for k in KINDS for end in ("npz", "pt"))}


def test_learn_and_evaluate_agree_on_the_returns_of_the_agent(here, report, kind):
    learned = report("learn", ENVS[kind], "--demos", f"{kind}.npz", *QUICK,
                     "--out", "new.pt")
    again = report("evaluate", "new.pt")
    for key in "env", "return_mean", "return_std", "episodes", "updates":
        assert again[key] == learned[key], key
    seen = report("evaluate", "new.pt", "--episodes", 3, "--seed", 1)
    assert seen["episodes"] == 3 and seen["return_mean"] != again["return_mean"]
    assert again["seconds"] is again["mode"] is again["out"] is None


def test_learn_is_what_learn_does_in_python(here, report, kind):
    report("learn", ENVS[kind], "--demos", f"{kind}.npz", *QUICK, "--out", "new.pt",
           "--seed", 4, "--online")
    agent = iq.learn(iq.Demos.load(f"{kind}.npz"), ENVS[kind], iq.Config(
        hidden=8, batch_size=8, steps=20, device="cpu", log_every=10, gamma=0.9,
        seed=4))
    assert same(weights(iq.load("new.pt", "cpu")), weights(agent))


def test_the_diary_is_taken_in_part_where_that_is_asked_for(here, report):
    answer = report("learn", ENVS["discrete"], "--demos", "discrete.npz", *QUICK,
                    "--episodes", 2, "--subsample", 3)
    whole = diary("discrete").take(2)
    assert answer["demos_episodes"] == 2
    assert answer["demos_transitions"] == len(whole.subsample(3)) < len(whole)
    assert answer["expert_return"] == pytest.approx(whole.returns().mean())


def test_without_a_diary_the_elder_writes_one(here, report):
    answer = report("learn", "CartPole-v1", *QUICK, "--episodes", 2)
    assert answer["expert_return"] == 500 and answer["demos_transitions"] == 1000
    assert answer["reward_pearson"] is None  # a constant reward correlates with nothing
    assert answer["random_return"] < 50


def test_with_no_word_at_all_cartpole_is_learned(here, run, monkeypatch):
    seen = []
    monkeypatch.setattr(iq, "learn", lambda demos, env, config, callback, agent:
                        seen.append((demos.env_id, len(demos), env)))
    run()
    assert seen == [("CartPole-v1", 500, None)]


def test_record_writes_a_diary_of_the_elder(here, report):
    answer = report("record", "Pendulum-v1", "--out", "d.npz", "--episodes", 2,
                    "--seed", 5)
    demos = iq.Demos.load("d.npz")
    true = iq.record("Pendulum-v1", iq.elder("Pendulum-v1", 5), 2, 5)
    assert same(demos.observations, true.observations)
    assert (answer["demos_episodes"], answer["demos_transitions"]) == (2, 400)
    assert answer["expert_return"] == pytest.approx(demos.returns().mean())
    assert (answer["env"], answer["out"]) == ("Pendulum-v1", "d.npz")


def test_record_writes_a_diary_of_an_agent(here, report, kind):
    report("record", ENVS[kind], "--agent", f"{kind}.pt", "--out", "d.npz",
           "--episodes", 3)
    agent = iq.load(f"{kind}.pt", "cpu")
    true = iq.record(ENVS[kind], agent.act, 3, 0)
    assert same(iq.Demos.load("d.npz").actions, true.actions)


def test_reward_writes_what_the_agent_recovers_beside_the_truth(here, report):
    answer = report("reward", "discrete.pt", "--demos", "discrete.npz",
                    "--out", "r.csv")
    demos, agent = diary("discrete"), iq.load("discrete.pt", "cpu")
    rows = np.array(list(csv.reader(open("r.csv")))[1:], float)
    recovered = agent.reward(demos.observations, demos.actions,
                             demos.next_observations, demos.terminations).numpy()
    assert rows[:, 0].tolist() == demos.episode_ids.tolist()
    assert rows[:, 1] == pytest.approx(recovered, rel=1e-5, abs=1e-6)
    assert rows[:, 2] == pytest.approx(demos.rewards, rel=1e-5, abs=1e-6)
    assert answer["reward_pearson"] == pytest.approx(
        np.corrcoef(recovered, demos.rewards)[0, 1], abs=1e-6)
    assert answer["demos_transitions"] == len(demos) and answer["out"] == "r.csv"


def test_a_diary_without_rewards_is_learned_and_reported_with_nulls(here, report):
    data = columns(diary())
    del data["rewards"]
    np.savez("bare.npz", **data)
    answer = report("learn", "Walk-v0", "--demos", "bare.npz", *QUICK, "--out", "a.pt")
    assert answer["expert_return"] is answer["reward_pearson"] is None
    answer = report("reward", "a.pt", "--demos", "bare.npz", "--out", "r.csv")
    assert answer["reward_pearson"] is None


def test_metrics_hold_a_row_for_each_time_the_log_is_written(here, run, kind):
    run("learn", ENVS[kind], "--demos", f"{kind}.npz", *QUICK, "--steps", 25,
        "--metrics", "m.csv", "--online")
    head, *rows = csv.reader(open("m.csv"))
    heard = []
    iq.learn(diary(kind), ENVS[kind], iq.Config(
        hidden=8, batch_size=8, steps=25, device="cpu", log_every=10, gamma=0.9),
        lambda step, info: heard.append({"step": step} | info))
    assert head[0] == "step" and set(head) >= set(heard[0])
    assert [int(row[0]) for row in rows] == [10, 20, 25]
    for row, info in zip(rows, heard, strict=True):
        told = dict(zip(head, map(float, row), strict=True))
        assert {k: told[k] for k in info} == pytest.approx(info, nan_ok=True)


def test_without_json_the_report_is_for_people(here, run):
    out = run("evaluate", "discrete.pt", "--episodes", 2)
    assert "return_mean" in out and "None" not in out
    with pytest.raises(ValueError):
        json.loads(out)


def test_every_field_of_config_is_a_flag(here, run):
    values = {"gamma": 0.7, "temperature": 0.3, "divergence": "hellinger",
              "chi2_alpha": 0.2, "chi2_on": "mixture", "value_term": "mixture",
              "standardize": True, "absorbing": True, "critic_lr": 2e-3,
              "actor_lr": 3e-3, "target_rate": 0.5, "actor_average": 0.1,
              "grad_clip": 3.0, "hidden": 7, "batch_size": 5, "steps": 6,
              "replay_size": 9, "log_every": 4, "seed": 11, "device": "cpu"}
    assert values.keys() == {f.name for f in fields(iq.Config)}
    flags = [x for k, v in values.items() if v is not True
             for x in ("--" + k.replace("_", "-"), v)]
    run("learn", "Walk-v0", "--demos", "discrete.npz", "--out", "a.pt", "--absorbing",
        "--standardize", *flags)
    assert iq.load("a.pt", "cpu").config == iq.Config(**values)
    run("learn", "Walk-v0", "--demos", "discrete.npz", "--out", "a.pt",
        "--no-absorbing", "--no-standardize", *flags)
    config = iq.load("a.pt", "cpu").config
    assert config.absorbing is config.standardize is False


def test_help_names_every_flag_and_ends_well(capsys):
    with pytest.raises(SystemExit) as caught:
        iq.main(["--help"])
    text = capsys.readouterr().out
    assert caught.value.code == 0
    for f in fields(iq.Config):
        assert "--" + f.name.replace("_", "-") in text
    for flag in ("demos", "episodes", "subsample", "online", "out", "resume", "metrics",
                 "json", "agent", "env"):
        assert f"--{flag}" in text


def test_an_environment_of_a_module_of_ones_own_is_found_by_its_full_name(here, report):
    answer = report("learn", "tools:Walk-v0", "--demos", "discrete.npz", *QUICK,
                    "--out", "a.pt", "--online")
    assert answer["updates"] == 20
    assert report("evaluate", "a.pt", "--env", "tools:Walk-v0")["episodes"] == 20


def test_flags_given_on_resume_go_before_what_the_checkpoint_says(here, run):
    run("learn", "Walk-v0", "--demos", "discrete.npz", *QUICK, "--out", "a.pt")
    run("learn", "Walk-v0", "--demos", "discrete.npz", "--resume", "a.pt", "--out",
        "b.pt", "--steps", 30, "--temperature", 0.4)
    first, then = (iq.load(name, "cpu") for name in ("a.pt", "b.pt"))
    assert (then.updates, then.config.temperature) == (30, 0.4)
    assert then.config.gamma == first.config.gamma == 0.9
    assert then.config.hidden == 8 and not same(weights(first), weights(then))


def test_resume_with_nothing_left_to_learn_still_writes_what_it_promised(here, report):
    report("learn", "Walk-v0", "--demos", "discrete.npz", *QUICK, "--out", "a.pt")
    answer = report("learn", "Walk-v0", "--demos", "discrete.npz", "--device", "cpu",
                    "--resume", "a.pt", "--out", "b.pt")
    assert answer["updates"] == 20 and answer["out"] == "b.pt"
    assert same(weights(iq.load("b.pt", "cpu")), weights(iq.load("a.pt", "cpu")))


# -------------------------------------------------------------------- what it refuses

def lines(text):
    """Command lines, one a line, each with the words that its refusal is to have."""
    return [pytest.param(argv.split(), [x.strip() for x in says.split("&")], id=argv)
            for argv, _, says in (x.partition(" # ") for x in text.strip().split("\n"))]


BAD = lines("""
fly # fly
learn Walk-v0 --wings 2 # wings
learn Walk-v0 --gamma # gamma
learn Walk-v0 --steps many # steps & many
learn Nowhere-v0 # Nowhere
learn Nowhere-v0 --demos discrete.npz # Nowhere
learn no_such_module:Walk-v0 --demos discrete.npz # no_such_module
learn Acrobot-v1 # Acrobot-v1 & CartPole-v1
record Nowhere-v0 --out d.npz # Nowhere
record Acrobot-v1 --out d.npz # Acrobot-v1
record CartPole-v1 # out
record CartPole-v1 --episodes 0 --out d.npz # episodes & 0
record CartPole-v1 --agent missing.pt --out d.npz # missing.pt
record CartPole-v1 --agent discrete.pt --out d.npz # CartPole-v1 & Walk-v0
learn CartPole-v1 --episodes 0 # episodes & 0
learn Walk-v0 --demos discrete.npz --episodes 5 # episodes & 5 & 4
learn Walk-v0 --demos discrete.npz --episodes 0 # episodes & 0
learn Walk-v0 --demos discrete.npz --subsample 0 # subsample & 0
learn Walk-v0 --demos missing.npz # missing.npz
learn Walk-v0 --demos notes.txt # notes.txt
learn Walk-v0 --demos cut.npz # cut.npz
learn Walk-v0 --demos nan.npz # nan.npz & observations
learn Walk-v0 --demos pickled.npz # pickled.npz
learn Walk-v0 --demos short.npz # short.npz & rewards
learn Walk-v0 --demos keyless.npz # keyless.npz & terminations
learn Walk-v0 --demos wild.npz # wild.npz & Discrete(2)
learn Walk-v0 --demos folder # folder
learn Walk-v0 --demos discrete.pt # discrete.pt
learn Walk-v0 --demos continuous.npz # continuous.npz
learn CartPole-v1 --demos discrete.npz # Walk-v0 & CartPole-v1
learn CartPole-v1 --demos discrete.npz --online # Walk-v0 & CartPole-v1
learn Walk-v0 --demos discrete.npz --divergence warm # divergence & warm & hellinger
learn Walk-v0 --demos discrete.npz --gamma 1.5 # gamma is 1.5
learn Walk-v0 --demos discrete.npz --gamma -1 # gamma is -1
learn Walk-v0 --demos discrete.npz --gamma nan # gamma is nan
learn Walk-v0 --demos discrete.npz --temperature 0 # temperature is 0
learn Walk-v0 --demos discrete.npz --temperature inf # temperature is inf
learn Walk-v0 --demos discrete.npz --chi2-alpha -0.5 # chi2_alpha is -0.5
learn Walk-v0 --demos discrete.npz --chi2-on sun # chi2_on & sun
learn Walk-v0 --demos discrete.npz --value-term moon # value_term & moon
learn Walk-v0 --demos discrete.npz --device gpu # device & gpu & cuda
learn Walk-v0 --demos discrete.npz --seed -1 # seed is -1
learn Walk-v0 --demos discrete.npz --steps 0 # steps is 0
learn Walk-v0 --demos discrete.npz --out nowhere/a.pt # nowhere/a.pt
learn Walk-v0 --demos discrete.npz --out notes.txt/a.pt # notes.txt/a.pt
learn Walk-v0 --demos discrete.npz --out folder # folder
learn Walk-v0 --demos discrete.npz --metrics nowhere/m.csv # nowhere/m.csv
learn Walk-v0 --demos discrete.npz --metrics folder # folder
learn Walk-v0 --demos discrete.npz --resume missing.pt # missing.pt
learn Walk-v0 --demos discrete.npz --resume cut.pt # cut.pt
learn Walk-v0 --demos discrete.npz --resume notes.txt # notes.txt
learn Walk-v0 --demos discrete.npz --resume continuous.pt # Walk-v0 & WalkFar-v0
learn CartPole-v1 --resume discrete.pt # CartPole-v1 & Walk-v0
evaluate # CartPole-v1
evaluate missing.pt # missing.pt
evaluate cut.pt # cut.pt
evaluate foreign.pt # foreign.pt
evaluate discrete.npz # discrete.npz
evaluate folder # folder
evaluate nameless.pt # env
evaluate discrete.pt --env CartPole-v1 # CartPole-v1 & Walk-v0
evaluate discrete.pt --env Nowhere-v0 # Nowhere-v0
evaluate discrete.pt --episodes 0 # episodes & 0
reward discrete.pt # demos
reward missing.pt --demos discrete.npz # missing.pt
reward discrete.pt --demos missing.npz # missing.npz
reward discrete.pt --demos continuous.npz # continuous.npz
reward discrete.pt --demos cartpole.npz # CartPole-v1 & Walk-v0
reward discrete.pt --demos discrete.npz --out nowhere/r.csv # nowhere/r.csv
""")


@pytest.fixture
def troubled(here):
    """A folder with things that go wrong, and what they hold."""
    def spoiled(name, **changes):
        data = columns(diary()) | changes
        with open(name, "wb") as file:
            np.savez(file, **{k: x for k, x in data.items() if x is not None})

    demos = diary()
    (here / "folder").mkdir()
    (here / "notes.txt").write_text("neither a diary nor an agent\n")
    for name in "discrete.npz", "discrete.pt":
        whole = (here / name).read_bytes()
        (here / f"cut{name[8:]}").write_bytes(whole[: len(whole) // 2])
    nan = demos.observations.copy()
    nan[2] = np.nan
    spoiled("nan.npz", observations=nan)
    spoiled("pickled.npz", actions=demos.actions.astype(object))
    spoiled("short.npz", rewards=demos.rewards[1:])
    spoiled("keyless.npz", terminations=None)
    spoiled("wild.npz", actions=demos.actions + 7)
    iq.record("CartPole-v1", iq.elder("CartPole-v1"), 1, 0).save("cartpole.npz")
    torch.save({"model": torch.zeros(3)}, "foreign.pt")
    nameless = iq.Demos(*(getattr(demos, k) for k in iq.COLUMNS[:5]),
                        demos.action_space)
    iq.new_agent(nameless, config()).save("nameless.pt")
    return here


def contents(folder):
    return {p.name: p.read_bytes() if p.is_file() else sorted(os.listdir(p))
            for p in folder.iterdir()}


@pytest.mark.parametrize("argv, says", BAD)
def test_bad_input_gets_one_line_and_exit_2_and_harms_no_file(
        troubled, capsys, argv, says, monkeypatch):
    before = contents(troubled)
    if argv[0] == "learn":  # what is wrong is told before anything is learned
        monkeypatch.setattr(iq.SoftQ, "update", None)
    assert iq.main([*argv, "--json"]) == 2
    out, errors = capsys.readouterr()
    assert out == "" and errors.count("\n") == 1 and errors.startswith("iq.py: ")
    assert "Traceback" not in errors and "Error(" not in errors
    assert all(word in errors for word in says), errors
    assert contents(troubled) == before


@pytest.mark.parametrize("name", ODD)
@pytest.mark.parametrize("job", [
    ["learn", "--demos", "discrete.npz"],
    ["record", "--agent", "discrete.pt", "--out", "d.npz"]], ids=["learn", "record"])
def test_spaces_that_can_not_be_learned_are_refused_by_name(here, capsys, job, name):
    assert iq.main([job[0], name, *job[1:]]) == 2
    errors = capsys.readouterr().err
    wrong = ODD[name]["Actions" in name]
    assert errors.count("\n") == 1 and str(wrong) in errors
    assert not Path("d.npz").exists()


@pytest.mark.parametrize("argv", ["learn CartPole-v1", "evaluate discrete.pt",
                                  "reward discrete.pt --demos discrete.npz",
                                  "record Walk-v0 --agent discrete.pt --out d.npz"])
def test_a_device_that_is_not_there_is_refused(here, capsys, argv, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert iq.main([*argv.split(), "--device", "cuda"]) == 2
    errors = capsys.readouterr().err
    assert errors.count("\n") == 1 and "device is cuda" in errors


@pytest.fixture
def closed(here):
    """A folder to read, not to write. Root may: who is root is nobody for a while."""
    (here / "folder").mkdir(mode=0o500)
    if os.geteuid():
        yield
        return
    here.chmod(0o755)  # nobody may come in and read
    try:
        os.seteuid(65534)
    except OSError as error:
        pytest.skip(f"no other user can be had: {error}")
    yield
    os.seteuid(0)


def test_a_folder_that_can_not_be_written_is_refused(closed, capsys):
    argv = ["learn", "Walk-v0", "--demos", "discrete.npz", "--out", "folder/a.pt"]
    assert iq.main(argv) == 2
    assert "folder/a.pt" in capsys.readouterr().err


def test_old_files_are_not_touched_by_a_run_that_is_refused(here, capsys):
    for name, flag in ("a.pt", "--out"), ("m.csv", "--metrics"):
        Path(name).write_bytes(b"old")
        assert iq.main(["learn", "Nowhere-v0", flag, name]) == 2
        assert Path(name).read_bytes() == b"old"


def test_a_loss_that_is_not_finite_ends_the_run_and_leaves_the_last_good_checkpoint(
        here, capsys, monkeypatch):
    update = iq.SoftQ.update

    def burst(agent, *args):
        if agent.updates == 1500:
            with torch.no_grad():
                list(agent.critic.parameters())[-1].fill_(1e25)
        return update(agent, *args)

    monkeypatch.setattr(iq.SoftQ, "update", burst)
    code = iq.main(["learn", "Walk-v0", "--demos", "discrete.npz", *QUICK, "--out",
                    "a.pt", "--steps", "2000", "--divergence", "chi2"])
    out, errors = capsys.readouterr()
    assert code not in (0, 2) and out == "" and errors.count("\n") == 1
    assert "step 1501" in errors and "chi2_term" in errors
    good = iq.load("a.pt", "cpu")
    assert good.updates == 1000
    assert all(x.isfinite().all() and x.abs().max() < 1e9
               for x in weights(good).values())


# ------------------------------------------------------------- as a process of its own

def test_copied_alone_into_an_empty_folder_the_file_runs(tmp_path):
    shutil.copy(ROOT / "iq.py", tmp_path)
    env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-W", "error", "iq.py", *QUICK, "--json", "--out", "a.pt"],
        cwd=tmp_path, env=env, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")  # no bar: stderr is no terminal
    answer = json.loads(done.stdout)
    assert list(answer) == KEYS and answer["env"] == "CartPole-v1"
    assert answer["updates"] == 20 and (tmp_path / "a.pt").exists()
    bad = subprocess.run([sys.executable, "iq.py", "learn", "--gamma", "2"],
                         cwd=tmp_path, env=env, capture_output=True, text=True)
    assert (bad.returncode, bad.stdout) == (2, "") and bad.stderr.count("\n") == 1
    assert {p.name for p in tmp_path.iterdir()} <= {"iq.py", "a.pt", "__pycache__"}


def test_on_a_terminal_there_is_a_progress_bar_with_live_figures(here):
    pytest.importorskip("tqdm")
    pty, fcntl = pytest.importorskip("pty"), pytest.importorskip("fcntl")
    above, below = pty.openpty()
    fcntl.ioctl(below, pytest.importorskip("termios").TIOCSWINSZ,
                struct.pack("HHHH", 24, 120, 0, 0))
    code = "import sys, tools, iq; sys.exit(iq.main(sys.argv[1:]))"
    path = os.pathsep.join([str(Path(__file__).parent), str(ROOT)])
    with subprocess.Popen(
            [sys.executable, "-c", code, "learn", "Walk-v0", "--demos", "discrete.npz",
             *QUICK, "--json"], stdout=subprocess.PIPE, stderr=below, text=True,
            env=os.environ | {"PYTHONPATH": path}) as child:
        out, _ = child.communicate()
    os.close(below)
    shown = b""
    with contextlib.suppress(OSError):  # which tells the end
        while more := os.read(above, 4096):
            shown += more
    os.close(above)
    assert child.returncode == 0 and list(json.loads(out)) == KEYS
    assert b"20/20" in shown and b"loss=" in shown


def test_the_header_tells_a_copied_file_what_it_needs():
    """By the regular expression of PEP 723."""
    tomllib = pytest.importorskip("tomllib")
    text = (ROOT / "iq.py").read_text()
    block = (r"(?m)^# /// (?P<type>[a-zA-Z0-9-]+)$\s"
             r"(?P<content>(^#(| .*)$\s)+)^# ///$")
    found = [m for m in re.finditer(block, text) if m.group("type") == "script"]
    assert len(found) == 1
    header = tomllib.loads("".join(
        line[2:] if line.startswith("# ") else line[1:]
        for line in found[0].group("content").splitlines(keepends=True)))
    named = {re.match(r"[\w-]+", x).group() for x in header["dependencies"]}
    imported = set(re.findall(r"(?m)^\s*(?:import|from) (\w+)", text))
    outside = imported - set(sys.stdlib_module_names)
    assert outside == named == {"torch", "numpy", "gymnasium", "tqdm"}
    assert re.fullmatch(r">=3\.\d+", header["requires-python"])
