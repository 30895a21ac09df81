"""What the README says is so."""

import re
from pathlib import Path

import pytest
import tomllib

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def test_the_ten_line_example_runs_as_it_stands(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (example,) = re.findall(r"```python\n(.*?)```", README, re.S)
    assert len(example.strip().splitlines()) <= 12
    names = {}
    exec(example, names)
    assert re.fullmatch(r"\d+ \+- \d+\n", capsys.readouterr().out)
    assert names["returns"].mean() > 400
    assert len(names["reward"]) == len(names["demos"])
    assert (tmp_path / "grok.pt").exists()


@pytest.mark.parametrize("heading", ["## Run it", "## Run the tests"])
def test_each_command_is_one_line_that_does_all_the_set_up(heading):
    section = README.partition(heading + "\n")[2].partition("\n## ")[0]
    (command,) = re.findall(r"```bash\n(.*?)```", section, re.S)
    assert command.count("\n") == 1
    assert command.startswith("python3 -m venv .venv && .venv/bin/pip install")


def test_the_header_of_iq_py_names_what_pyproject_names():
    source = (ROOT / "iq.py").read_text()
    block = re.search(r"(?m)^# /// script\n((?:# .*\n)+?)# ///$", source)
    header = tomllib.loads(re.sub(r"(?m)^# ?", "", block.group(1)))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert header["dependencies"] == project["dependencies"]
    assert header["requires-python"] == project["requires-python"]


def test_conda_reads_its_versions_from_pyproject():
    text = (ROOT / "environment.yml").read_text()
    assert "-e .[book,test]" in text
    assert "==" not in text


def test_every_path_that_the_readme_links_to_exists():
    for target in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / target).exists(), target
