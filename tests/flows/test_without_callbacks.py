"""Callbacks that never arrive: polling finds every result, and the table says so."""

from __future__ import annotations

import nbformat
import pytest
from nbclient import NotebookClient

from tests.guards.source import ROOT


@pytest.mark.parametrize("profile", ["sandbox", "sandbox-kie"])
@pytest.mark.parametrize("fate", ["lost", "refused"])
def test_every_kind_succeeds_by_polling(connect, profile, fate):
    """With all callbacks lost or refused the same calls bring the same files; `learned_by` says poll."""
    session = connect(profile)
    with session.sandbox.always(callbacks=fate):
        song = session.generate_music(style="waltz", title="Corner Table", instrumental=True).wait(timeout=60)
        session.create_video(song.tracks[0], author="Ada").wait(timeout=60)
        session.create_cover_images(song).wait(timeout=60)
        session.convert_wav(song.tracks[0]).wait(timeout=60)
    frame = session.tasks()

    assert ["succeeded"] * 4 == list(frame["status"])
    assert ["poll"] * 4 == list(frame["learned_by"])
    assert [0] * 4 == list(frame["deliveries"])
    assert {"saved"} == set(session.files()["status"])


@pytest.mark.timeout(300)
@pytest.mark.parametrize("fate", ["lost", "refused"])
def test_the_same_notebooks_succeed_by_polling(connect, tmp_path, fate):
    """Every notebook runs to its end with no callback arriving at all, and each result says it was learned by poll."""
    for profile in ("sandbox", "sandbox-kie"):
        connect(profile).sandbox.always(callbacks=fate)
    for path in sorted(p for p in (ROOT / "notebooks").glob("*.ipynb") if p.stem != "40_callbacks"):
        notebook = nbformat.read(path, as_version=4)
        with (tmp_path / "kernel.log").open("ab") as log:
            NotebookClient(notebook, kernel_name="python3", timeout=120).execute(stderr=log)
    frame = connect("sandbox").tasks()

    assert 0 == frame["deliveries"].sum()
    assert {"poll"} == set(frame.query("status == 'succeeded'")["learned_by"])
    assert {("music", "kie"), ("wav", "kie"), ("cover_image", "sunoapi"), ("video", "kie")} <= {
        (row.kind, "kie" if row.provider.endswith("kie") else "sunoapi")
        for row in frame.query("status == 'succeeded'").itertuples()
    }
