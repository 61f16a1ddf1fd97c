"""Owns what a fault needs from the machine: without it a test skips and says so, and in CI it fails."""

from __future__ import annotations

import os

import pytest

__all__ = ["needs"]


def needs(what: str, reason: bool) -> None:
    """Go on where `reason` holds; else skip the test and name `what` is missing, or fail it where CI is set.

    Example:
        needs("strace that may trace", can_trace())
    """
    if reason:
        return
    if os.environ.get("CI", "").lower() not in ("", "0", "false"):
        pytest.fail(f"this machine lacks {what}, which CI has to have: the proof would be skipped unseen")
    pytest.skip(f"this machine lacks {what}")
