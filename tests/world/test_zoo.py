"""What the zoo measures of an environment (book/zoo.py), on worlds of known habits."""
import csv
import json
import sys
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest

import iq

sys.path.append(str(Path(iq.__file__).parent / "book"))
import zoo  # noqa: E402


class World(gym.Env):
    """A random walk with one bad habit, or with none."""

    observation_space = gym.spaces.Box(-1e3, 1e3, (1,), np.float64)
    action_space = gym.spaces.Discrete(2)

    def __init__(self, habit=None):
        self.habit, self.own = habit, np.random.default_rng()

    def reset(self, seed=None, options=None):
        super().reset(seed=seed)
        self.random = self.own if self.habit == "ignores its seed" else self.np_random
        self.clock, self.place = 0, self.random.normal(size=1)
        if self.habit == "one start":
            self.place = np.zeros(1)
        return self.place.copy(), {}

    def step(self, action):
        drawn = self.own if self.habit == "forgets its seed" else self.random
        self.clock += 1
        if self.habit == "in place":
            self.place += drawn.normal()
            return self.place, 0.0, False, self.clock == 7, {}
        self.place = self.place + drawn.normal()
        ends = self.clock == 7, False
        if self.habit is None:
            ends = drawn.random() < 0.2, self.clock == 7
        seen = self.place + 1e4 * (self.habit == "outside")
        return seen.copy(), 0.0, *ends, {}


def facts(habit, capsys):
    zoo.facts(lambda: World(habit))
    lines = capsys.readouterr().out.splitlines()
    row = dict.fromkeys(zoo.COLUMNS, "") | {"outcome": zoo.WORKS}
    for line in lines:
        row |= json.loads(line.removeprefix(zoo.MARK))
    return row


@pytest.mark.parametrize("habit, seed, starts", [
    (None, "repeats", "vary"), ("one start", "repeats", "alike"),
    ("ignores its seed", "does not repeat", "vary"),
    ("forgets its seed", "the start repeats, what follows does not", "vary")])
def test_what_a_seed_brings_back(habit, seed, starts, capsys):
    row = facts(habit, capsys)
    assert (row["seed"], row["starts"]) == (seed, starts)


def test_a_clock_that_is_told_as_an_end(capsys):
    assert "always terminated after 7 steps" in zoo.to_know(facts("one start", capsys))
    assert not any("always" in x for x in zoo.to_know(facts(None, capsys)))


@pytest.mark.parametrize("habit, note", [
    ("in place", "changes an observation that it gave before"),
    ("outside", "observations outside its own observation_space")])
def test_notes(habit, note, capsys):
    assert note in facts(habit, capsys)["notes"]
    assert note not in facts(None, capsys)["notes"]


def test_a_visit_tells_what_is_refused_and_what_helps(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    wrappers = ["gym.wrappers.RecordEpisodeStatistics(env)", zoo.FLATTEN]
    zoo.visit("import gymnasium as gym", "gym.make('FrozenLake-v1')", *wrappers)
    row = {}
    for line in capsys.readouterr().out.splitlines():
        row |= json.loads(line.removeprefix(zoo.MARK))
    assert row["outcome"] == zoo.WRAPPED and row["wrapper"] == zoo.FLATTEN
    assert row["stage"] == "record" and "FlattenObservation" in row["words"]


def test_the_table_that_stands():
    """Every row of results/zoo.csv is of an environment that the zoo asks for."""
    with open(zoo.ROOT / "book/results/zoo.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        assert row["environment"] in zoo.FAMILIES[row["family"]].environments
        assert row["outcome"] and row["commit"]
    assert len(rows) >= 40 and len({row["family"] for row in rows}) >= 15
    assert sum(line["tried"] for line in zoo.family_table(rows)) == len(rows)
