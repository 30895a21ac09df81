"""What the book's sentences say of measurements is what book/results/ holds.

A sentence that rests on a measurement has a hidden comment behind it, in the same cell:

    <!-- holds: returns[task=Pendulum; method=iq].share < 1.1 -->

On both sides of < or = stands a number, or the mean of a column over the rows of a
table that match; worst(...) takes the least row instead. Where = is used, the number is
compared as it is written, to its last digit, and has to stand in the same cell's text.
"""
import csv
import json
import re
from pathlib import Path

import pytest

BOOK = Path(__file__).resolve().parents[2] / "book"
TERM = re.compile(r"(worst\()?(\w+)\[([^\]]*)\]\.(\w+)\)?")


def marks():
    for path in sorted(BOOK.glob("*.ipynb")):
        for cell in json.loads(path.read_text())["cells"]:
            text = "".join(cell["source"])
            for claim in re.findall(r"<!-- holds: (.*?) -->", text, re.S):
                words = re.sub(r"<!--.*?-->", "", text, flags=re.S)
                yield pytest.param(claim, words, id=f"{path.stem}: {claim}")


def number(term):
    match = TERM.fullmatch(term)
    if not match:
        return float(term)
    worst, table, keys, column = match.groups()
    wanted = dict(key.strip().split("=", 1) for key in keys.split(";"))
    with (BOOK / "results" / f"{table}.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file)
                if all(row[key] == value for key, value in wanted.items())]
    assert rows, f"no row of {table}.csv has {wanted}"
    values = [float(row[column]) for row in rows]
    return min(values) if worst else sum(values) / len(values)


@pytest.mark.parametrize("claim, words", [*marks()])
def test_a_sentence_says_what_was_measured(claim, words):
    left, sign, right = re.split(r"\s+([<=])\s+", claim)
    if sign == "<":
        assert number(left) < number(right)
    else:
        digits = len(right.partition(".")[2])
        assert f"{number(left):.{digits}f}" == right
        assert re.search(rf"(?<![\d.]){re.escape(right)}(?![\d.]*\d)", words)


def test_eight_surprises_stand_below_their_heading():
    cells = json.loads((BOOK / "12_beyond.ipynb").read_text())["cells"]
    text = "\n".join("".join(x["source"]) for x in cells)
    section = re.split(r"(?m)^## ", text.partition("\n## Eight surprises\n")[2])[0]
    assert len(re.findall(r"(?m)^### ", section)) == 8


@pytest.fixture
def table(tmp_path, monkeypatch):
    monkeypatch.setitem(globals(), "BOOK", tmp_path)
    (tmp_path / "results").mkdir()
    rows = 'task,share\n"A, 1 row",0.5\n"A, 1 row",1\nB,2\n'
    (tmp_path / "results" / "t.csv").write_text(rows)


def test_a_true_claim_holds(table):
    assert number("t[task=A, 1 row].share") == 0.75
    assert number("worst(t[task=A, 1 row].share)") == 0.5
    test_a_sentence_says_what_was_measured("t[task=A, 1 row].share = 0.75", "Is 0.75.")


@pytest.mark.parametrize("claim, words", [
    ("t[task=B].share < 2", ""), ("t[task=B].share = 1.9", "It is 1.9."),
    ("t[task=B].share = 2.0", "It is 2.05."), ("t[task=C].share < 9", "")])
def test_a_false_claim_fails(table, claim, words):
    with pytest.raises(AssertionError):
        test_a_sentence_says_what_was_measured(claim, words)
