"""Committed notebooks are documents: no outputs, no machine, short cells, a promise first and a close last."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import nbformat
import pytest

from kit.provider.kinds import KINDS
from tests.guards.source import NOTEBOOKS

if TYPE_CHECKING:
    from pathlib import Path

LONGEST_CELL = 12
KERNEL = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
LANGUAGE = {"name": "python"}
FORBIDDEN = {
    "edits sys.path": re.compile(r"sys\.path"),
    "installs something": re.compile(r"^\s*[!%]\s*(pip|conda|uv|apt)", re.MULTILINE),
    "names an absolute path": re.compile(r"""["'](/(home|root|Users|tmp|work|opt|var|etc|mnt)/|[A-Za-z]:\\)"""),
    "holds a key": re.compile(r"""(?i)(key|token|secret)\w*["']?\s*[=:]\s*["'][^"'\s]{8,}|bearer\s+\w{8,}"""),
    "holds something like a key": re.compile(r"\b[0-9a-f]{32,}\b"),
}

each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def _read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def _cells(path: Path, kind: str = "code") -> list[tuple[int, str]]:
    cells = enumerate(_read(path)["cells"], 1)
    return [(number, "".join(cell["source"])) for number, cell in cells if cell["cell_type"] == kind]


def _code_lines(source: str) -> list[str]:
    return [line for line in source.splitlines() if line.strip() and not line.lstrip().startswith("#")]


@each_notebook
def test_a_notebook_is_valid_and_numbered(path: Path) -> None:
    """Each notebook is valid nbformat 4.5, with cell ids, and its name says when to read it."""
    notebook = _read(path)

    nbformat.validate(notebook)
    assert (4, 5) == (notebook["nbformat"], notebook["nbformat_minor"])
    assert re.fullmatch(r"\d\d_[a-z_]+", path.stem)


@each_notebook
def test_a_notebook_is_committed_without_outputs(path: Path) -> None:
    """No output and no count is committed."""
    cells = [cell for cell in _read(path)["cells"] if cell["cell_type"] == "code"]

    assert [] == [cell["id"] for cell in cells if cell["outputs"] or cell["execution_count"] is not None]


@each_notebook
def test_a_notebook_names_no_particular_kernel(path: Path) -> None:
    """The metadata is the plain python3 kernel, without versions, and cells carry tags at most."""
    notebook = _read(path)

    assert KERNEL == notebook["metadata"]["kernelspec"]
    assert notebook["metadata"].get("language_info", LANGUAGE) == LANGUAGE
    assert set(notebook["metadata"]) <= {"kernelspec", "language_info"}
    assert [] == [cell["id"] for cell in notebook["cells"] if set(cell["metadata"]) - {"tags"}]


@each_notebook
def test_tags_name_a_failure_that_can_happen(path: Path) -> None:
    """The only tag is `expect-failure:<kind>:<code>`, with a kind that exists."""
    tags = [tag for cell in _read(path)["cells"] for tag in cell["metadata"].get("tags", [])]
    names = "|".join(KINDS)

    assert [] == [tag for tag in tags if not re.fullmatch(rf"expect-failure:({names}):\d+", tag)]


@each_notebook
def test_a_notebook_opens_with_what_it_gives_and_closes_what_it_opened(path: Path) -> None:
    """The first cell is text; the last code cell closes the session."""
    notebook = _read(path)

    assert "markdown" == notebook["cells"][0]["cell_type"]
    assert re.search(r"\.(close|shutdown)\(\)", _cells(path)[-1][1])


@each_notebook
def test_cells_are_short(path: Path) -> None:
    """A cell of more than twelve lines of code belongs in the kit, with a test."""
    assert [] == [number for number, source in _cells(path) if len(_code_lines(source)) > LONGEST_CELL]


@each_notebook
@pytest.mark.parametrize("what", FORBIDDEN)
def test_a_notebook_is_free_of_its_writers_machine(path: Path, what: str) -> None:
    """No path edits, no installs, no absolute paths, no keys, in code or in text."""
    cells = _cells(path) + _cells(path, "markdown")

    assert [] == [number for number, source in cells if FORBIDDEN[what].search(source)]
