"""Owns what the faults share: sessions on a simulated provider, ended with their services afterwards."""

from __future__ import annotations

from tests.flows.conftest import connect  # noqa: F401 - a fixture: sessions of one test's own
