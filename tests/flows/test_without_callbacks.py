"""Callbacks that never arrive: polling finds every result, and the table says so."""

from __future__ import annotations

import pytest


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
