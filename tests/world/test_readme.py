"""What the README and the packaging say is so."""
import csv
import re
from pathlib import Path

import pytest

import iq

try:
    import tomllib
except ImportError:  # Python 3.10
    import tomli as tomllib

ROOT = Path(iq.__file__).parent
README = (ROOT / "README.md").read_text()


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README, re.S)


def test_the_first_snippet_runs_as_it_stands(tmp_path, monkeypatch, capsys):
    """But for the number of steps, which the test cuts down."""
    monkeypatch.chdir(tmp_path)
    learn = iq.learn

    def shorter(demos, env=None, config=None, *more, **named):
        return learn(demos, env, config or iq.Config(steps=250), *more, **named)

    monkeypatch.setattr(iq, "learn", shorter)
    snippet = re.sub(r"\bsteps=[\d_]+", "steps=250", blocks("python")[0])
    names = {}
    exec(snippet, names)
    assert re.search(r"\d", capsys.readouterr().out)
    assert names["returns"].mean() > 100  # chance has 22
    for path in tmp_path.glob("*.pt"):
        assert isinstance(iq.load(path), iq.SoftQ)


def test_every_command_and_flag_that_the_readme_shows_exists(capsys):
    with pytest.raises(SystemExit):
        iq.main(["--help"])
    known = set(re.findall(r"--[a-z]+", capsys.readouterr().out))
    commands = [line.partition("#")[0].split()
                for block in blocks("bash") for line in block.splitlines()
                if re.match(r"(\S*python3?|uv run) iq\.py", line)]
    assert commands
    for words in commands:
        assert {word for word in words if word.startswith("--")} <= known, words


def test_each_job_is_one_line_that_does_all_the_set_up():
    lines = [line.strip() for block in blocks("bash") for line in block.splitlines()
             if "venv" in line]
    for job in (".venv/bin/python iq.py", ".venv/bin/python -m pytest",
                "jupyter-book build book"):
        (line,) = [x for x in lines if x.endswith(job)]
        assert re.match(r"python3 -m venv \.venv && \.venv/bin/pip install -q -e", line)


def test_the_header_of_iq_py_names_what_pyproject_names():
    """By the regular expression of PEP 723."""
    source = (ROOT / "iq.py").read_text()
    block = re.search(r"(?m)^# /// script$\s(?P<content>(^#(| .*)$\s)+)^# ///$", source)
    header = tomllib.loads(re.sub(r"(?m)^# ?", "", block.group("content")))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert header["dependencies"] == project["dependencies"]
    assert header["requires-python"] == project["requires-python"]


def test_conda_reads_its_versions_from_pyproject():
    text = (ROOT / "environment.yml").read_text()
    assert "      - -e .[book,test]\n" in text and "==" not in text


def test_every_path_that_the_readme_links_to_exists():
    targets = re.findall(r"\]\(([^)#:]+)\)", README)
    assert targets
    for target in targets:
        assert (ROOT / target).exists(), target


def test_the_readme_tells_what_the_measured_rows_tell():
    runs = {}
    measured = [row for name in ("returns", "bodies") for row in csv.DictReader(
        (ROOT / f"book/results/{name}.csv").read_text().splitlines())]
    for row in measured:
        share = (float(row["return"]) - float(row["random_return"])) / (
            float(row["expert_return"]) - float(row["random_return"]))
        runs.setdefault((row["task"], row["method"], row["mode"]), []).append(share)
    head, _, *table = [[cell.strip() for cell in line.strip("|").split("|")]
                       for line in README.splitlines() if line.startswith("|")]
    methods = {"online": ("iq", "online"), "offline": ("iq", "offline"),
               "clone": ("clone", "offline"), "SQIL": ("SQIL", "online")}
    assert head[1:] == ["runs", *methods] and len(table) > 5
    for first, count, *cells in table:
        task = first.partition(":")[0]
        assert int(count) == len(runs[task, "iq", "online"])
        for cell, method in zip(cells, methods.values(), strict=True):
            run = runs.get((task, *method))
            if run is None:
                assert cell == "–"
                continue
            mean, worst = (round(x, 2) + 0.0 for x in (sum(run) / len(run), min(run)))
            assert cell == f"{mean:.2f} ({worst:.2f})"  # + 0.0: never -0.00
