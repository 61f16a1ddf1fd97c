"""What the front door promises is there, sorted, documented, and the same for a reader and for a type checker."""

from __future__ import annotations

import ast
import importlib.metadata

import pytest

import kit
import kit.errors
from tests.guards.source import ROOT, parse


def _order(name: str) -> tuple[int, str]:
    """Sort as the linter does: constants, classes, the rest."""
    return (0 if name.isupper() else 1 if name[0].isupper() else 2, name)


def test_the_public_names_are_sorted_and_unique() -> None:
    """`kit.__all__` is in order and holds no name twice."""
    assert sorted(set(kit.__all__), key=_order) == kit.__all__


def test_dir_lists_the_public_names_alone() -> None:
    """Completion offers what is promised and nothing else."""
    assert sorted(kit.__all__) == dir(kit)


@pytest.mark.parametrize("name", [name for name in kit.__all__ if name != "__version__"])
def test_each_public_name_is_there_and_documented(name: str) -> None:
    """Every public name can be fetched, and what can carry a docstring has one of its own."""
    value = getattr(kit, name)

    if isinstance(value, type) or callable(value):
        assert (value.__doc__ or "").strip(), f"kit.{name} has no docstring"
        assert value.__module__.startswith("kit."), f"kit.{name} is not ours"


def test_every_error_is_public() -> None:
    """All of the error family can be caught as `kit.<name>`."""
    assert set(kit.errors.__all__) <= set(kit.__all__)


def test_type_checkers_see_the_same_names() -> None:
    """The names imported for type checkers are exactly those that are fetched on use."""
    block = next(node for node in parse(ROOT / "kit" / "__init__.py").body if isinstance(node, ast.If))
    seen = {alias.name for node in ast.walk(block) if isinstance(node, ast.ImportFrom) for alias in node.names}

    assert set(kit.__all__) - {"__version__"} == seen


def test_the_version_is_the_installed_one() -> None:
    """The version is written in one place and read from the installed metadata."""
    assert importlib.metadata.version("callboard") == kit.__version__


def test_an_unknown_name_says_where_to_look() -> None:
    """A misspelt name is an AttributeError that points to `kit.__all__`."""
    with pytest.raises(AttributeError, match=r"no attribute 'conect'.*kit\.__all__"):
        _ = kit.conect
