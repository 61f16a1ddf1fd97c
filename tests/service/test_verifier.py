"""The examining process: recorded while it runs, replaced when it dies, struck out when it ended."""

from __future__ import annotations

import asyncio
import json
import os

import psutil

from kit.service.children import Children
from kit.service.platforms import identity
from kit.service.verifier import Verifier


def recorded(tmp_path):
    """Return the pids that the next service would find."""
    return [child["pid"] for child in json.loads((tmp_path / "children.json").read_text())["children"]]


def test_its_worker_is_recorded_replaced_and_struck_out(tmp_path):
    """One worker at a time is on the record, in a session of its own; a dead one is followed by another."""
    (tmp_path / "file").write_bytes(b"no media at all")

    async def story():
        verifier = Verifier(children=Children(tmp_path))
        await verifier.examine(tmp_path / "file", "video")
        (first,) = recorded(tmp_path)
        assert os.getsid(first) == first
        psutil.Process(first).kill()
        for _ in range(2):  # the first after a death may be lost with the dead one
            assert (await verifier.examine(tmp_path / "file", "video")).reason
        (second,) = recorded(tmp_path)
        await verifier.close()
        return first, second

    seen = asyncio.run(story())
    assert 2 == len(set(seen))
    assert [] == recorded(tmp_path)
    assert [None] * 2 == [identity(pid) for pid in seen]
