"""iq.py passes a type checker."""
from pathlib import Path

import pytest

import iq


def test_mypy_finds_nothing_in_iq_py(tmp_path):
    api = pytest.importorskip("mypy.api")
    path = Path(iq.__file__)
    out, errors, code = api.run([
        "--config-file", str(path.parent / "pyproject.toml"), "--no-incremental",
        str(path)])
    assert code == 0, out + errors
