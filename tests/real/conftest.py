"""Readers of book/ are tried on the libraries themselves: tests/real/run."""

import csv
import os
import sys
from collections import Counter
from importlib.metadata import version
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path += [str(HERE.parents[1]), str(HERE.parents[1] / "book"), str(HERE)]

DISTRIBUTIONS = {
    "minari": "minari", "imitation": "imitation", "sb3": "stable-baselines3",
    "d3rlpy": "d3rlpy", "tianshou": "tianshou", "torchrl": "torchrl",
    "robomimic": "robomimic", "rlds": "tensorflow-datasets", "lerobot": "lerobot"}
passed, rows = Counter(), Counter()


def pytest_collection_modifyitems(items):
    """What these libraries warn of is no fault here: it does not fail a test."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.filterwarnings("default"))


def pytest_runtest_logreport(report):
    if report.when == "call" and report.passed and "tests/real/" in report.nodeid:
        import truth

        name = Path(report.nodeid.split("::")[0]).stem.removeprefix("test_")
        passed[name] += 1
        rows[name] += truth.compared.pop("rows", 0)


def pytest_sessionfinish(session, exitstatus):
    """For the book's table: each library, its version, tests passed, rows compared."""
    path = os.environ.get("READERS_RESULTS")
    if not path or exitstatus:
        return
    new = not os.path.exists(path)
    with open(path, "a", newline="") as file:
        table = csv.writer(file)
        if new:
            table.writerow(["library", "version", "tests passed", "rows compared"])
        for name, count in passed.items():
            distribution = DISTRIBUTIONS[name]
            table.writerow([distribution, version(distribution), count, rows[name]])
