"""Importing the kit does no work, so that a notebook's first cell is instant and a missing extra hurts nobody."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

HEAVY = [
    "IPython",
    "PIL",
    "anywidget",
    "av",
    "httpx",
    "ipywidgets",
    "numpy",
    "pandas",
    "pyngrok",
    "sqlalchemy",
    "starlette",
    "uvicorn",
]
SAY = "; import json, sys; print(json.dumps([sorted(sys.modules), __import__('threading').active_count()]))"


def _after(statement: str) -> tuple[set[str], int]:
    argv = [sys.executable, "-c", statement + SAY]
    done = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=60)
    modules, threads = json.loads(done.stdout)
    return set(modules), threads


@pytest.mark.parametrize(
    "statement", ["import kit", "import kit; kit.KitError; kit.TaskFailed", "import kit; dir(kit)"]
)
def test_importing_loads_nothing_heavy(statement: str) -> None:
    """`import kit`, its errors and its list of names load none of the heavy libraries and start no thread."""
    modules, threads = _after(statement)

    assert set() == modules & set(HEAVY)
    assert 1 == threads


def test_connecting_is_within_reach_without_the_tables() -> None:
    """Fetching `kit.connect` itself loads neither pandas nor numpy: frames load them when one is asked for."""
    modules, _ = _after("import kit; kit.connect")

    assert set() == modules & {"av", "numpy", "pandas", "PIL", "pyngrok", "starlette", "uvicorn"}
