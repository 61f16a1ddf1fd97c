"""The counts of what the listener did come through a restart, and a disk that refuses them costs nothing else."""

from __future__ import annotations

import pytest

from kit.service.counts import Counts


def test_counts_are_kept_across_restarts(tmp_path):
    """What was saved is there for the next service, and goes on."""
    counts = Counts.load(tmp_path)
    counts["stored"] += 2
    counts.save()
    again = Counts.load(tmp_path)
    again["stored"] += 1

    assert 3 == again["stored"]
    assert 0 == again["capped"]


@pytest.mark.parametrize("kept", ["", "[]", "{", '{"stored": "many"}', "null"])
def test_counts_that_cannot_be_read_begin_anew(tmp_path, kept):
    """Nothing depends on them, so nothing stops because of them."""
    (tmp_path / "counts.json").write_text(kept)

    assert {} == dict(Counts.load(tmp_path))


def test_a_disk_that_refuses_the_counts_is_no_error_and_they_are_saved_later(tmp_path, caplog):
    """A full disk must not end the listener; the next look saves them, and no part of a file stays behind."""
    folder = tmp_path / "state"
    counts = Counts.load(folder)
    counts["stored"] += 1
    counts.save()
    assert "cannot be kept" in caplog.text
    folder.mkdir()
    counts.save()

    assert 1 == Counts.load(folder)["stored"]
    assert ["counts.json"] == [path.name for path in folder.iterdir()]
