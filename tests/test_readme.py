"""What the README and the packaging say is so."""
import re
from pathlib import Path

import pytest

import iq

try:
    import tomllib
except ImportError:  # Python 3.10
    import tomli as tomllib

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def blocks(language: str, heading: str = "") -> list[str]:
    """The code blocks of a language, in the section under a heading."""
    section = README.partition(heading + "\n")[2].partition("\n## ")[0]
    return re.findall(rf"```{language}\n(.*?)```", section if heading else README, re.S)


def test_the_ten_line_example_runs_as_it_stands(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (example,) = blocks("python")
    assert len(example.splitlines()) == 10
    names = {}
    exec(example, names)
    assert re.fullmatch(r"\d+ \+- \d+\n", capsys.readouterr().out)
    assert names["returns"].mean() > 400
    assert len(names["reward"]) == len(names["demos"])
    assert iq.load(tmp_path / "grok.pt").updates == 2_000


@pytest.mark.parametrize("heading, job", [
    ("## Run it", ".venv/bin/python iq.py"),
    ("## Run the tests", ".venv/bin/python -m pytest"),
    ("## Read the book", "jupyter-book build book")])
def test_each_command_is_one_line_that_does_all_the_set_up(heading, job):
    (command,) = blocks("bash", heading)
    assert re.match(r"python3 -m venv \.venv && \.venv/bin/pip install -q -e \S+ && ",
                    command)
    assert command.endswith(job + "\n") and command.count("\n") == 1


def test_what_the_main_job_prints_is_named_as_the_report_names_it():
    (printed,) = blocks("text", "## Run it")
    names = [line.split()[0] for line in printed.splitlines()]
    assert names == [name for name in iq.REPORT.split() if name in names]


def test_every_job_and_flag_that_the_readme_shows_exists():
    known = {"--" + f.name.replace("_", "-") for f in iq.fields(iq.Config)}
    known |= {"--" + name for name in iq.FLAGS} | {"--online", "--json"}
    (commands,) = blocks("bash", "## Command line")
    for command in commands.splitlines():
        words = command.partition("#")[0].split()
        if words[0] == "torchrun":  # tests/test_ranks.py runs it
            words = ["python", *words[words.index("iq.py"):]]
        assert words[:2] == ["python", "iq.py"]
        assert words[2] in ("learn", "record", "evaluate", "reward")
        assert {word for word in words if word.startswith("--")} <= known


def test_the_header_of_iq_py_names_what_pyproject_names():
    source = (ROOT / "iq.py").read_text()
    block = re.search(r"(?m)^# /// script\n((?:# .*\n)+?)# ///$", source)
    header = tomllib.loads(re.sub(r"(?m)^# ?", "", block.group(1)))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert header["dependencies"] == project["dependencies"]
    assert header["requires-python"] == project["requires-python"]


def test_conda_reads_its_versions_from_pyproject():
    text = (ROOT / "environment.yml").read_text()
    assert "      - -e .[book,test]\n" in text
    assert "==" not in text


def test_every_path_that_the_readme_links_to_exists():
    targets = re.findall(r"\]\(([^)#:]+)\)", README)
    assert targets
    for target in targets:
        assert (ROOT / target).exists(), target
