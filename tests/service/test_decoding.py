"""Decoding what is sound in structure: everything in it is seen or heard, in memory that does not grow with length."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile

from kit.sandbox.media import compose, cover_bytes, mp3_bytes, video_bytes, wav_bytes
from kit.service import decoding
from kit.service.content import Unsound
from kit.service.decoding import PIXEL_CAP, decode
from kit.service.structure import check_structure
from tests.service.samples import (
    RATE,
    TYPES,
    film_of,
    kind_of,
    pcm,
    picture_of,
    png_chunk,
    shapes,
    sound_in,
    tone,
    wav_of,
    whole,
)

NOISE = np.random.default_rng(3).normal(0, 0.5, (RATE, 2)).clip(-1, 1)
ENCODED = {
    "mp3, no note of the encoder": lambda: (
        "mp3",
        sound_in("mp3", "libmp3lame", pcm(NOISE), options={"write_xing": "0"}),
    ),
    "mp3, a tag at the end": lambda: ("mp3", sound_in("mp3", "libmp3lame", pcm(NOISE), options={"write_id3v1": "1"})),
    "mp3, 320 kbit/s": lambda: ("mp3", sound_in("mp3", "libmp3lame", pcm(NOISE), bit_rate=320_000)),
    "wav, floating point": lambda: ("wav", sound_in("wav", "pcm_f32le", pcm(NOISE))),
    "wav, compressed": lambda: ("wav", sound_in("wav", "adpcm_ms", pcm(NOISE))),
    "wav, rf64": lambda: ("wav", sound_in("wav", "pcm_s16le", pcm(NOISE), options={"rf64": "always"})),
    "mp4, pictures out of order": lambda: ("mp4", film_of(pictures=16, keyframes=8, bf="3")),
    "mp4, one key picture": lambda: ("mp4", film_of(pictures=16, keyframes=99)),
    "mp4, in fragments": lambda: (
        "mp4",
        film_of(pictures=16, keyframes=4, options={"movflags": "frag_keyframe+empty_moov"}),
    ),
}


@pytest.mark.parametrize("name", ENCODED)
def test_what_other_encoders_write_is_kept(seen, name):
    """Coding that the simulated provider does not use is no damage: what is paid for is not refused for its dialect."""
    kind, body = ENCODED[name]()
    check_structure(io.BytesIO(body), TYPES[kind])

    assert seen(body, kind).duration_s == pytest.approx(2.0 if kind == "mp4" else 1.0, abs=0.06)


@pytest.fixture
def seen(tmp_path):
    """Return what decoding bytes of a kind gives."""

    def look(body, kind):
        path = tmp_path / "file"
        path.write_bytes(body)
        return decode(path, TYPES[kind])

    return look


@pytest.mark.parametrize("shape", shapes())
def test_every_shape_that_is_sound_decodes(seen, shape):
    """Whatever passed the walk and is what an encoder wrote is decoded and measured."""
    measures, kind = seen(shapes()[shape], kind_of(shape)), kind_of(shape)

    assert (kind in ("mp4", "png", "jpeg", "webp")) == (measures.width is not None)
    assert (kind in ("wav", "rf64", "mp3") or shape in list(shapes())[:4]) == (measures.sample_rate == RATE)
    assert (kind in ("wav", "rf64", "mp3", "mp4")) == (measures.duration_s is not None)


def test_what_the_sandbox_makes_is_measured(seen):
    """Length, size, rate and loudness of each file of the simulated provider."""
    tune = compose(style="piano", title="Window Seat", take=0, seconds=2.0, seed="s")
    video = seen(video_bytes(tune, title="Window Seat", author="Ada"), "mp4")
    wav, mp3 = seen(wav_bytes(tune), "wav"), seen(mp3_bytes(tune), "mp3")
    cover = seen(cover_bytes(title="Window Seat", style="piano", variant=0, seed="s"), "png")

    assert (640, 360, 768, 768) == (video.width, video.height, cover.width, cover.height)
    assert [RATE] * 3 == [sounding.sample_rate for sounding in (video, wav, mp3)]
    assert [2.0] * 3 == pytest.approx([sounding.duration_s for sounding in (video, wav, mp3)], abs=0.1)
    assert [wav.loudness_lufs] * 2 == pytest.approx([video.loudness_lufs, mp3.loudness_lufs], abs=0.5)
    assert -30 < wav.loudness_lufs < -5


def test_measures_survive_coding(seen):
    """A tone of -20 dBFS with a pause of a second has its loudness and its silence in a WAV and in an MP3."""
    sound = pcm(np.concatenate([tone(3, level=0.1), np.zeros((RATE, 2)), tone(3, level=0.1)]))
    wav, mp3 = seen(wav_of(sound), "wav"), seen(sound_in("mp3", "libmp3lame", sound), "mp3")

    assert wav.loudness_lufs == pytest.approx(-20.2, abs=0.1)  # the borders of the pause count a little
    assert mp3.loudness_lufs == pytest.approx(wav.loudness_lufs - 0.45, abs=0.1)  # LAME takes 5 % off
    assert [1.0] * 2 == pytest.approx([wav.silence_s, mp3.silence_s], abs=0.1)
    assert [0.0] * 2 == [wav.clipped, mp3.clipped]
    assert [7.0] * 2 == pytest.approx([wav.duration_s, mp3.duration_s], abs=0.05)


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("keep", [0.3, 0.9])
def test_a_picture_that_is_not_whole_is_never_filled_up(seen, monkeypatch, form, keep):
    """Also where somebody allowed truncated images."""
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    body = picture_of(form, size=(200, 200))

    with pytest.raises((OSError, SyntaxError, ValueError)):
        seen(body[: int(len(body) * keep)], form.lower())


@pytest.mark.parametrize(("width", "height"), [(20_000, 20_000), (8000, 5001), (2**31 - 1, 2**31 - 1)])
def test_too_many_pixels_are_refused_before_they_are_decoded(seen, width, height):
    """What a header claims is read first; a claim beyond Pillow's own limits is the same refusal."""
    head = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0))

    with pytest.raises(Unsound, match="more than the limit"):
        seen(b"\x89PNG\r\n\x1a\n" + head + png_chunk(b"IDAT", b"") + png_chunk(b"IEND", b""), "png")


def test_the_largest_picture_that_is_allowed_is_decoded(seen):
    """The cap itself is within the cap."""
    buffer = io.BytesIO()
    Image.new("1", (8000, PIXEL_CAP // 8000)).save(buffer, "PNG")
    measures = seen(buffer.getvalue(), "png")

    assert (8000, 5000) == (measures.width, measures.height)


def test_a_film_with_too_many_pixels_is_refused(seen, monkeypatch):
    """The same cap holds for the pictures of a film."""
    monkeypatch.setattr(decoding, "PIXEL_CAP", 64 * 48 - 1)

    with pytest.raises(Unsound, match="64 x 48 pixels are more than the limit"):
        seen(whole()["mp4"], "mp4")


def test_a_film_without_pictures_is_none(seen):
    """Sound alone in an MP4 is not the film that was asked for."""
    with pytest.raises(Unsound, match="no picture"):
        seen(sound_in("mp4", "aac", pcm(tone(0.5))), "mp4")


def test_a_damaged_last_picture_is_found(seen):
    """The last picture is decoded, not only counted."""
    body = film_of(pictures=8, keyframes=1, sound=False)
    end = body.index(b"moov") - 4
    last = body.rindex(b"\x65\x88", 0, end)  # the last keyframe's first slice

    with pytest.raises((ValueError, Unsound)):
        seen(body[:last] + b"\0" * (end - last) + body[end:], "mp4")


def test_a_film_with_fewer_pictures_than_its_index_names_is_found(seen):
    """The pictures are counted as they are read, whatever the walk through the structure said before."""
    body = film_of(pictures=8, keyframes=1, sound=False, options={"moov_size": "1500"})

    with pytest.raises(Unsound, match="6 of 8 pictures"):
        seen(body[:-60], "mp4")


def test_a_film_refreshed_piece_by_piece_is_seen_to_its_end(seen):
    """Its later key pictures are not whole, so that its last picture can be had from the first alone."""
    body = film_of(pictures=24, preset="medium", sound=False, **{"x264-params": "intra-refresh=1:keyint=8"})

    assert seen(body, "mp4").duration_s == pytest.approx(3.0)


def test_pictures_that_an_edit_leaves_out_are_counted_all_the_same(seen):
    """A film that was trimmed without coding it again holds more than it plays: that is no cut."""
    body = bytearray(film_of(pictures=16, keyframes=4, sound=False))
    at = body.index(b"elst") + 12
    assert 2000 == int.from_bytes(body[at : at + 4], "big")  # milliseconds

    body[at : at + 4] = (500).to_bytes(4, "big")
    assert seen(bytes(body), "mp4").duration_s == pytest.approx(2.0, abs=0.1)


def test_a_recording_of_no_length_is_none(seen):
    """A header and no sample is no sound."""
    with pytest.raises(Unsound, match="nothing in it"):
        seen(wav_of(pcm(tone(0))), "wav")


def test_sound_that_does_not_decode_is_found(seen):
    """Every packet of sound is decoded, also in the middle of a film."""
    body = film_of(pictures=8, sound=True)
    zeroed = bytearray(body)
    start = body.index(b"mdat") + 4
    middle = (start + body.index(b"moov")) // 2
    zeroed[middle : middle + 400] = b"\xff" * 400

    with pytest.raises((ValueError, Unsound)):
        seen(bytes(zeroed), "mp4")


def test_no_other_reader_is_chosen_by_the_bytes(seen, tmp_path):
    """A playlist that names another file is no recording, whatever it is called."""
    (tmp_path / "other.wav").write_bytes(whole()["wav"])
    playlist = f"#EXTM3U\n#EXTINF:1,\n{tmp_path / 'other.wav'}\n#EXT-X-ENDLIST\n".encode()
    for kind in ("mp4", "wav", "mp3"):
        with pytest.raises((OSError, ValueError, Unsound)):
            seen(playlist, kind)


def test_a_title_in_another_encoding_is_no_damage(seen):
    """Words that are no UTF-8 are somebody's tag, not a broken recording."""
    title = b"TIT2\0\0\0\x05\0\0\x03\xff\xfeab"
    tagged = b"ID3\x04\0\0\0\0\0" + bytes([len(title)]) + title + whole()["mp3"]

    assert seen(tagged, "mp3").duration_s == pytest.approx(0.3, abs=0.05)


PROGRAM = """
import resource, sys
from pathlib import Path
from kit.service.decoding import decode
decode(Path(sys.argv[1]), "audio/wav")
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
measures = decode(Path(sys.argv[2]), "audio/wav")
print(measures.duration_s, measures.silence_s, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_a_long_recording_takes_no_more_memory_than_a_short_one(tmp_path):
    """Four minutes, 42 MB, are decoded and measured in a few MB."""
    (tmp_path / "short.wav").write_bytes(wav_of(pcm(tone(5))))
    size = 240 * RATE * 4
    head = wav_of(pcm(tone(0)))
    with (tmp_path / "long.wav").open("wb") as file:  # the file has holes: it takes no room
        file.write(head[:4] + struct.pack("<I", size + 36) + head[8:40] + struct.pack("<I", size))
        file.truncate(44 + size)
    argv = [sys.executable, "-c", PROGRAM, str(tmp_path / "short.wav"), str(tmp_path / "long.wav")]
    done = subprocess.run(argv, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2])
    seconds, silence, grown = (float(word) for word in done.stdout.split())

    assert (240.0, 240.0) == (seconds, silence)
    assert grown < 10 * 1024  # KiB
