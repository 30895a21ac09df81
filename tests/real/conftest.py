"""Readers of book/ are tried on the libraries themselves: tests/real/run."""

import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path += [str(HERE.parents[1]), str(HERE.parents[1] / "book"), str(HERE)]


def pytest_collection_modifyitems(items):
    """What these libraries warn of is no fault here: it does not fail a test."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.filterwarnings("default"))
