"""The house style of the modules that a linter does not hold."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

import pytest

from tests.guards.source import MODULES, ROOT, module_name, parse

if TYPE_CHECKING:
    from pathlib import Path

LONGEST = 500
ENVIRONMENT = {"environ", "environb", "getenv", "getenvb", "putenv", "unsetenv"}

each_module = pytest.mark.parametrize("path", MODULES, ids=module_name)


@each_module
def test_a_module_opens_with_what_it_owns(path: Path) -> None:
    """Each module has a docstring whose first line is one whole sentence."""
    first = (ast.get_docstring(parse(path)) or "").partition("\n\n")[0].strip()

    assert first.endswith("."), f"{path.name} opens with {first!r}"


@each_module
def test_a_module_is_no_longer_than_a_room_can_be(path: Path) -> None:
    """A module that outgrew 500 lines is two modules."""
    assert len(path.read_text(encoding="utf-8").splitlines()) <= LONGEST


@each_module
def test_a_module_states_its_names(path: Path) -> None:
    """Each module lists what others may use of it; programs and packages without names need not."""
    tree = parse(path)
    assigned = {target.id for node in tree.body if isinstance(node, ast.Assign) for target in node.targets if
                isinstance(target, ast.Name)}  # fmt: skip
    defines = any(isinstance(node, ast.FunctionDef | ast.ClassDef) for node in tree.body)

    assert "__all__" in assigned or not defines or path.stem == "__main__"


@each_module
def test_only_settings_reads_the_environment(path: Path) -> None:
    """`os.environ` and its kin are named in settings.py and nowhere else."""
    if path == ROOT / "kit" / "settings.py":
        return
    read = [
        node.lineno
        for node in ast.walk(parse(path))
        if (isinstance(node, ast.Attribute) and node.attr in ENVIRONMENT)
        or (isinstance(node, ast.ImportFrom) and node.module == "os" and ENVIRONMENT & {a.name for a in node.names})
    ]

    assert [] == read


@each_module
def test_nothing_is_printed(path: Path) -> None:
    """A kit speaks through what it returns and what it logs; only a program, `__main__`, prints."""
    calls = (node for node in ast.walk(parse(path)) if isinstance(node, ast.Call))
    lines = [call.lineno for call in calls if isinstance(call.func, ast.Name) and call.func.id == "print"]

    assert path.stem == "__main__" or [] == lines
