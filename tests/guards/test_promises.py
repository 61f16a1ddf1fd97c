"""Every promise names the tests that hold it, and those tests are there."""

from __future__ import annotations

import re

from tests.guards.source import ROOT

PAGE = (ROOT / "tests" / "README.md").read_text(encoding="utf-8")
NAMED = re.findall(r"\[`(test_\w+)`\]\(([\w/.]+)\)", PAGE)


def test_every_test_that_a_promise_names_is_where_the_page_says() -> None:
    """A test that was renamed or moved is renamed or moved on the page too."""
    lost = [f"{name} in {path}" for name, path in NAMED if f"def {name}(" not in (ROOT / "tests" / path).read_text()]

    assert NAMED
    assert [] == lost


def test_every_promise_has_a_test() -> None:
    """No line of the table is a promise alone."""
    rows = re.findall(r"^\| (P\d+) \| (.*)$", PAGE, re.MULTILINE)

    assert [] == [number for number, rest in rows if "[`test_" not in rest]
