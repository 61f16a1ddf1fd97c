"""Looking into files: real ones are decoded and measured, damaged and mislabelled ones are refused with a reason."""

from __future__ import annotations

import io
import struct

import pytest
from PIL import Image

from kit.sandbox.media import compose, mp3_bytes, video_bytes, wav_bytes
from kit.service.examination import examine

ROLES = {"video": "video/mp4", "wav": "audio/wav", "audio": "audio/mpeg", "image": "image/png"}


@pytest.fixture(scope="module")
def media():
    """Return one small file of each role, as bytes."""
    tune = compose(style="piano", title="Window Seat", take=0, seconds=2.0, seed="s")
    picture = io.BytesIO()
    Image.effect_noise((200, 100), 60).save(picture, "PNG")
    return {
        "video": video_bytes(tune, title="Window Seat", author="Ada"),
        "wav": wav_bytes(tune),
        "audio": mp3_bytes(tune),
        "image": picture.getvalue(),
    }


def look(tmp_path, body, role):
    """Return the verdict on `body` as a file of `role`."""
    path = tmp_path / "part"
    path.write_bytes(body)
    return examine(path, role)


@pytest.mark.parametrize("role", ROLES)
def test_a_sound_file_is_decoded_and_measured(tmp_path, media, role):
    """Every role reaches the level `decoded`, with its real type and its measures."""
    verdict = look(tmp_path, media[role], role)

    assert (None, "decoded", ROLES[role]) == (verdict.reason, verdict.verified, verdict.media_type)
    assert role == "image" or verdict.duration_s == pytest.approx(2.0, abs=0.2)
    assert role not in ("video", "image") or (verdict.width and verdict.height)
    assert role not in ("wav", "audio") or verdict.sample_rate == 44100


@pytest.mark.parametrize("role", ["video", "wav", "image"])
@pytest.mark.parametrize("kept", [0.99, 0.7, 0.3, 0.02])
def test_a_truncated_file_is_refused(tmp_path, media, role, kept):
    """What was cut off is noticed, wherever it was cut."""
    body = media[role]
    assert look(tmp_path, body[: int(len(body) * kept)], role).reason


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize(
    "body", [b"", b"<html>Not found</html>", b"\0" * 5000, b"RIFF\0\0\0\0WAVE", b"\0\0\0\x18ftypmp42"]
)
def test_what_is_something_else_is_refused(tmp_path, role, body):
    """Error pages, zeros and bare headers are never a file, and never an exception."""
    assert look(tmp_path, body, role).reason


def test_a_file_of_another_kind_is_refused_by_what_it_is(tmp_path, media):
    """The bytes decide, not a name: each kind of file is refused for every other role."""
    for role, body in media.items():
        for other in set(ROLES) - {role}:
            assert "not a" in look(tmp_path, body, other).reason


def test_a_picture_with_too_many_pixels_is_refused_before_it_is_decoded(tmp_path):
    """A small file that claims a huge canvas costs nothing."""
    buffer = io.BytesIO()
    Image.new("1", (100, 100)).save(buffer, "PNG")
    body = bytearray(buffer.getvalue())
    body[16:24] = struct.pack(">II", 20_000, 20_000)
    import zlib

    body[29:33] = struct.pack(">I", zlib.crc32(bytes(body[12:29])))
    verdict = look(tmp_path, bytes(body), "image")
    assert verdict.reason
