"""The set-up answers a machine that lacks something with a sentence and the next step, and is quick when it is done."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.guards.source import ROOT

if TYPE_CHECKING:
    from pathlib import Path

OLD = """#!/bin/sh
case $1 in -V) echo "Python 3.9.2" ;; *) exit 1 ;; esac
"""
WITHOUT_VENV = """#!/bin/sh
case "$*" in -V) echo "Python 3.12.4" ;; *ensurepip*) exit 1 ;; *print*) echo 3.12 ;; esac
"""
READY = """#!/bin/sh
exit 0
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder, with a space in its name, that holds what the set-up reads."""
    root = tmp_path / "call board"
    (root / ".ci").mkdir(parents=True)
    shutil.copy(ROOT / ".ci" / "venv", root / ".ci" / "venv")
    for name in ("Makefile", "pyproject.toml", "requirements.txt", "requirements-dev.txt"):
        shutil.copy(ROOT / name, root / name)
    return root


def _program(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


def _make(project: Path, *args: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"NO_UV": "1"}
    argv = ["make", "-s", *args]
    return subprocess.run(argv, cwd=project, env=environment, capture_output=True, text=True, check=False, timeout=30)


@pytest.mark.parametrize("target", ["lab", "test"])
def test_an_old_python_is_a_sentence(project: Path, target: str) -> None:
    """A Python that is too old is named with its version, what is needed, and how to get on."""
    done = _make(project, target, f"PY={_program(project.parent / 'bin' / 'python', OLD)}")

    assert 0 != done.returncode
    assert "needs Python 3.11 or newer" in done.stderr
    assert "Python 3.9.2" in done.stderr
    assert "PY=/path/to/python3.12" in done.stderr


def test_no_python_at_all_is_a_sentence(project: Path) -> None:
    """A Python that is not there is said to be missing."""
    done = _make(project, "lab", "PY=no-such-python")

    assert 0 != done.returncode
    assert "'no-such-python' is: missing" in done.stderr


@pytest.mark.parametrize("target", ["lab", "test"])
def test_a_missing_venv_part_is_a_sentence(project: Path, target: str) -> None:
    """Where python3-venv is not installed the package to install is named, and no half-made environment stays."""
    done = _make(project, target, f"PY={_program(project.parent / 'bin' / 'python', WITHOUT_VENV)}")

    assert 0 != done.returncode
    assert "sudo apt install python3.12-venv" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (project / ".venv").exists()


def test_what_is_ready_is_not_made_again(project: Path) -> None:
    """The environment for the tests serves the notebook as well, at once; another lock makes it anew."""
    _program(project / ".venv" / "bin" / "python", READY)
    first = _make(project, "venv")
    again = [_make(project, "venv"), _make(project, "lab")]
    (project / "requirements.txt").write_text("")
    other = _make(project, "lab")

    assert "Installing" in first.stderr
    assert ["", ""] == [done.stderr for done in again]
    assert "Installing" in other.stderr
