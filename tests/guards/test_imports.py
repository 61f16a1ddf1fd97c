"""Imports point down: the order of the rooms in the design, held for every import there is, late ones too."""

from __future__ import annotations

from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING

import pytest

from tests.guards.source import MODULES, imports_of, module_name

if TYPE_CHECKING:
    from pathlib import Path

# A room may import itself and the rooms named here.
BELOW = {
    "errors": set(),
    "settings": {"errors"},
    "provider": {"errors", "settings"},
    "sandbox": {"errors", "settings", "provider"},
    "ledger": {"errors", "settings", "provider"},
    "service": {"errors", "settings", "provider", "ledger"},
    "notebook": {"errors", "settings", "provider", "ledger", "sandbox", "service"},
}

# A room that may be entered only through these modules.
DOORS = {
    ("notebook", "service"): {"kit.service.process", "kit.service.control_client", "kit.service.record"},
    ("notebook", "sandbox"): {"kit.sandbox.admin"},
}


def _room(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def _inside() -> list[Path]:
    return [path for path in MODULES if module_name(path) != "kit"]


@pytest.mark.parametrize("path", _inside(), ids=module_name)
def test_a_module_imports_only_rooms_below_its_own(path: Path) -> None:
    """No import reaches a room above or beside, nor the front door."""
    room = _room(module_name(path))
    allowed = BELOW[room] | {room}

    assert [] == sorted(name for name in imports_of(path) if _room(name) not in allowed)


@pytest.mark.parametrize("path", _inside(), ids=module_name)
def test_a_guarded_room_is_entered_by_its_doors(path: Path) -> None:
    """The notebook reaches the service through its outer modules, and the sandbox through its console."""
    room = _room(module_name(path))
    past_the_door = [name for name in imports_of(path) if name not in DOORS.get((room, _room(name)), {name})]

    assert [] == sorted(past_the_door)


def test_no_modules_import_each_other_in_a_circle() -> None:
    """There is an order in which every module comes after all that it imports."""
    graph = {module_name(path): imports_of(path) - {module_name(path)} for path in MODULES}
    try:
        order = list(TopologicalSorter(graph).static_order())
    except CycleError as circle:
        pytest.fail(f"these modules import each other in a circle: {' -> '.join(circle.args[1])}")

    assert order


def test_every_room_is_in_the_table() -> None:
    """A new room has to be given its place in the order."""
    assert {_room(module_name(path)) for path in _inside()} <= set(BELOW)
