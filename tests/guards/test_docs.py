"""Nothing documented is untrue: commands, settings, and the README's own code."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from kit import settings
from tests.guards.source import ROOT, tracked_files
from tests.services import end_services

if TYPE_CHECKING:
    from pathlib import Path

README = ROOT / "README.md"
SETTING = re.compile(r"\b(?:KIT_[A-Z_]+|[A-Z]+_(?:API_)?KEY|[A-Z]+_WEBHOOK_KEY)\b")
SPENDS = re.compile(r"""connect\(\s*["'](sunoapi|kie)["']""")

needs_readme = pytest.mark.skipif(not README.is_file(), reason="README.md is not written yet")


def _documents() -> list[Path]:
    tracked = tracked_files() or list(ROOT.glob("*.md")) + list((ROOT / "data").glob("*.md"))
    return [path for path in tracked if path.suffix == ".md"]


def _targets() -> set[str]:
    return set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))


def _commands(text: str) -> set[str]:
    """Return the make targets named in code: in backticks, or at the start of a line of a code block."""
    return set(re.findall(r"(?:`|^\s*(?:\$ )?)make ([a-z]+)", text, re.MULTILINE))


def _python_blocks() -> list[str]:
    text = README.read_text(encoding="utf-8") if README.is_file() else ""
    return re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def test_every_command_that_a_document_names_exists() -> None:
    """Whatever a document tells one to `make` is a target."""
    named = {f"{path.name}: make {name}" for path in _documents() for name in _commands(path.read_text("utf-8"))}
    known = {f"{path.name}: make {name}" for path in _documents() for name in _targets()}

    assert set() == named - known


def test_make_alone_lists_every_command() -> None:
    """`make help` is the default and names each target."""
    done = subprocess.run(["make", "-s", "-C", str(ROOT)], capture_output=True, text=True, check=True, timeout=30)

    assert _targets() == set(re.findall(r"^make ([a-z]+)", done.stdout, re.MULTILINE))


@needs_readme
def test_the_readme_gives_the_two_commands() -> None:
    """The README says how to start and how to test."""
    assert {"lab", "test"} <= _commands(README.read_text(encoding="utf-8"))


def test_every_setting_is_in_the_example_file() -> None:
    """`.env.example` lists exactly the settings that are read, each unset."""
    lines = (ROOT / ".env.example").read_text(encoding="utf-8").splitlines()

    assert sorted(f"{name}=" for name in settings.NAMES) == sorted(line for line in lines if line and line[0] != "#")


@needs_readme
def test_the_readme_explains_every_setting() -> None:
    """The README names each setting that is read."""
    text = README.read_text(encoding="utf-8")

    assert [] == [name for name in settings.NAMES if f"`{name}`" not in text]


def test_every_setting_that_a_document_names_exists() -> None:
    """No document speaks of a setting that nothing reads."""
    named = {name for path in _documents() for name in SETTING.findall(path.read_text(encoding="utf-8"))}

    assert set() == named - set(settings.NAMES)


@needs_readme
def test_every_file_that_the_readme_links_to_is_there() -> None:
    """No relative link or picture of the README is dead."""
    links = re.findall(
        r"\]\((?!https?:|#|mailto:)([^)#\s]+)|<img[^>]+src=\"(?!https?:)([^\"]+)", README.read_text("utf-8")
    )
    named = [first or second for first, second in links]

    assert [] == [name for name in named if not (ROOT / name).exists()]


@needs_readme
def test_the_readme_code_runs(tmp_path: Path) -> None:
    """The README's Python blocks run one after the other, except where they would spend."""
    blocks = [block for block in _python_blocks() if not SPENDS.search(re.sub(r"#.*", "", block))]
    try:
        argv = [sys.executable, "-c", "\n".join(blocks)]
        done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=110)
    finally:
        end_services(tmp_path)

    assert blocks
    assert 0 == done.returncode, done.stderr[-3000:]


@pytest.mark.parametrize("block", _python_blocks())
def test_each_block_of_the_readme_is_valid(block: str) -> None:
    """Also those blocks parse that are not run."""
    compile(block, "README.md", "exec")
