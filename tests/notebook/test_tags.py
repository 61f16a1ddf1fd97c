"""Tags and cover art in copies, read back by their own library; the sound decoded by another one."""

from __future__ import annotations

import struct
import tracemalloc
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from mutagen.id3 import ID3, TIT2
from mutagen.mp4 import MP4
from mutagen.wave import WAVE

from kit.notebook.tags import NotTagged, Picture, Tags, has_tags, write_tags
from tests.notebook.songs import film, mp3, picture, wav

ALL = Tags(
    title="Window Seat",
    artist="Ada",
    album="Rain",
    genre="slow piano",
    track=(2, 3),
    lyrics="[Verse]\nrain at the window",
    comment="Made with sandbox, task m1",
)
ART = Picture(picture(), "image/png")
FORMS = {"audio/mpeg": ("mp3", mp3), "audio/wav": ("wav", wav), "video/mp4": ("mp4", film)}


def copy_of(folder: Path, media_type: str, data: bytes | None = None) -> Path:
    """Return a fresh copy of the half second of that type."""
    extension, make = FORMS[media_type]
    path = folder / f"copy.{extension}"
    path.write_bytes(make() if data is None else data)
    return path


def decoded(data: bytes | Path) -> list[np.ndarray[Any, Any]]:
    """Return every frame of the first sound and of the first film in a file, as decoded."""
    with av.open(str(data)) as container:
        streams = [*container.streams.audio[:1], *(s for s in container.streams.video[:1] if s.average_rate)]
        frames = [frame.to_ndarray() for frame in container.decode(*[s for s in streams if s.frames != 1])]
    assert frames
    return frames


def id3_words(id3: Any) -> dict[str, str]:
    """Return what ID3 frames say."""
    return {name: str(id3.getall(name)[0]) for name in ("TIT2", "TPE1", "TALB", "TCON", "TRCK", "COMM", "USLT")}


WORDS = {
    "TIT2": "Window Seat",
    "TPE1": "Ada",
    "TALB": "Rain",
    "TCON": "slow piano",
    "TRCK": "2/3",
    "COMM": "Made with sandbox, task m1",
    "USLT": "[Verse]\nrain at the window",
}


@pytest.mark.parametrize("media_type", FORMS)
def test_the_sound_and_the_film_are_unchanged(tmp_path: Path, media_type: str) -> None:
    """Every sample and every frame of a tagged copy is that of the file it is a copy of."""
    path = copy_of(tmp_path, media_type)
    before = decoded(path)

    write_tags(path, media_type, ALL, ART)

    after = decoded(path)
    assert len(before) == len(after)
    assert all(np.array_equal(one, other) for one, other in zip(before, after, strict=True))


def test_an_mp3_says_what_it_is(tmp_path: Path) -> None:
    """The frames are ID3v2.3, which every player reads, and the encoder's own title gives way to ours."""
    path = copy_of(tmp_path, "audio/mpeg")

    write_tags(path, "audio/mpeg", ALL, ART)

    id3 = ID3(path, translate=False)
    assert (2, 3, 0) == id3.version
    assert WORDS == id3_words(id3)
    assert ART.data == id3.getall("APIC")[0].data
    assert ("image/png", 3) == (id3.getall("APIC")[0].mime, id3.getall("APIC")[0].type)


def test_a_wav_says_what_it_is(tmp_path: Path) -> None:
    """A WAV carries the same frames in a chunk behind the sound, and its sizes count that chunk."""
    path = copy_of(tmp_path, "audio/wav")

    write_tags(path, "audio/wav", ALL, ART)

    body = path.read_bytes()
    assert WORDS == id3_words(WAVE(path).tags)
    assert ART.data == WAVE(path).tags.getall("APIC")[0].data
    assert len(body) - 8 == struct.unpack("<I", body[4:8])[0]
    assert wav()[8:] == body[8 : len(wav())]


def test_a_film_says_what_it_is(tmp_path: Path) -> None:
    """An MP4 carries title, artist, album, genre, number, lyrics, comment and cover in its own atoms."""
    path = copy_of(tmp_path, "video/mp4")

    write_tags(path, "video/mp4", ALL, ART)

    found = MP4(path)
    expected = {"©nam": "Window Seat", "©ART": "Ada", "©alb": "Rain", "©gen": "slow piano"}
    expected |= {"©lyr": "[Verse]\nrain at the window", "©cmt": "Made with sandbox, task m1"}
    assert expected == {name: found[name][0] for name in expected}
    assert [(2, 3)] == found["trkn"]
    assert [ART.data] == [bytes(cover) for cover in found["covr"]]


@pytest.mark.parametrize("media_type", FORMS)
def test_what_is_not_known_is_not_written(tmp_path: Path, media_type: str) -> None:
    """Without anything to say, and without a picture, a copy still opens and sounds the same."""
    path = copy_of(tmp_path, media_type)
    before = decoded(path)

    write_tags(path, media_type, Tags(), None)

    assert all(np.array_equal(one, other) for one, other in zip(before, decoded(path), strict=True))


def test_tags_are_written_in_place_of_others_and_the_rest_stays(tmp_path: Path) -> None:
    """What the provider wrote under a name of ours is replaced, and what it wrote beside stays."""
    path = copy_of(tmp_path, "audio/mpeg")
    theirs = ID3(path)
    encoder = str(theirs.getall("TSSE")[0])
    theirs.setall("TIT2", [TIT2(encoding=3, text=["theirs"])])
    theirs.save(path)

    write_tags(path, "audio/mpeg", Tags(title="ours"), None)

    assert ["ours"] == [str(frame) for frame in ID3(path).getall("TIT2")]
    assert encoder == str(ID3(path).getall("TSSE")[0])


@pytest.mark.parametrize("media_type", FORMS)
def test_text_from_the_network_is_one_value(tmp_path: Path, media_type: str) -> None:
    """NUL, line breaks, escapes, half characters and direction marks end nothing, split nothing and are gone."""
    path = copy_of(tmp_path, media_type)

    write_tags(path, media_type, Tags(title="a\0b\n\x1b[0mc\u202ed\ud800 夜", lyrics="one\0\ntwo\u202e\r\n三"), None)

    if media_type == "video/mp4":
        title, lyrics = MP4(path)["©nam"], MP4(path)["©lyr"]
    else:
        id3 = ID3(path) if media_type == "audio/mpeg" else WAVE(path).tags
        title, lyrics = id3.getall("TIT2")[0].text, [id3.getall("USLT")[0].text]
    assert ["a b [0mc d 夜"] == title
    assert ["one\ntwo\n三"] == lyrics


@pytest.mark.parametrize(
    ("claim", "data"),
    [
        ("does not say its own length", b"RF64" + wav()[4:]),
        ("does not say its own length", wav()[:4] + b"\xff\xff\xff\xff" + wav()[8:]),
        ("does not say its own length", wav()[:4] + b"\0\0\0\0" + wav()[8:]),
        ("does not say its own length", wav() + b"trailing"),
        ("does not say its own length", b"RIFF"),
        ("not as long as they say", wav()[:40] + b"\xff\xff\xff\xff" + wav()[44:]),
        ("not as long as they say", wav()[:40] + b"\0\0\0\0" + wav()[44:]),
    ],
    ids=["RF64", "unknown size", "no size", "trailing bytes", "nothing else", "endless sound", "no sound"],
)
def test_a_wav_that_does_not_say_its_length_stays_untagged(tmp_path: Path, claim: str, data: bytes) -> None:
    """Where a tag would land in the sound or where no reader looks, there is none, and the copy is not touched."""
    path = copy_of(tmp_path, "audio/wav", data)

    with pytest.raises(NotTagged, match=claim):
        write_tags(path, "audio/wav", ALL, ART)
    assert data == path.read_bytes()


def test_a_wav_of_odd_length_keeps_its_last_byte(tmp_path: Path) -> None:
    """The byte that fills up an odd number of samples is there or not; the tag comes behind it either way."""
    odd = wav(frames=4411, channels=1, width=1)
    assert len(odd) % 2 == 1
    filled = odd + b"\0"
    for data in (odd, filled, filled[:4] + struct.pack("<I", len(filled) - 8) + filled[8:]):
        path = copy_of(tmp_path, "audio/wav", data)
        before = decoded(path)

        write_tags(path, "audio/wav", ALL, ART)

        assert "Window Seat" == str(WAVE(path).tags["TIT2"])
        assert all(np.array_equal(one, other) for one, other in zip(before, decoded(path), strict=True))


@pytest.mark.parametrize("media_type", FORMS)
@pytest.mark.parametrize(
    "data", [b"", b"\0" * 64, b"RIFF\x08\0\0\0WAVE", b"ID3\x03\0\0\x7f\x7f\x7f\x7f", b"\0\0\0\1ftyp"]
)
def test_what_cannot_be_read_raises_one_error(tmp_path: Path, media_type: str, data: bytes) -> None:
    """Bytes of any other kind are tagged or refused by `NotTagged`; nothing else comes out."""
    path = copy_of(tmp_path, media_type, data)
    try:
        write_tags(path, media_type, ALL, ART)
    except NotTagged as reason:
        assert str(reason)
    else:
        assert media_type == "audio/mpeg", "an MP3 has no head that could be missing"


def test_a_film_takes_no_picture_that_its_format_does_not_know(tmp_path: Path) -> None:
    """A WebP is no cover of an MP4; its words are written all the same."""
    path = copy_of(tmp_path, "video/mp4")

    write_tags(path, "video/mp4", ALL, Picture(picture(form="WEBP"), "image/webp"))

    assert ["Window Seat"] == MP4(path)["©nam"]
    assert "covr" not in MP4(path)


def test_pictures_stay_as_they_are() -> None:
    """Only sound and film have tags."""
    expected = {"audio/mpeg": True, "audio/wav": True, "video/mp4": True, "image/png": False, None: False}

    assert expected == {media_type: has_tags(media_type) for media_type in expected}


def test_a_large_file_takes_little_memory(tmp_path: Path) -> None:
    """Tagging a WAV of 256 MiB holds at no moment more than 4 MiB of it."""
    path = copy_of(tmp_path, "audio/wav")
    size = 256 * 2**20
    with path.open("rb+") as file:  # its sound goes on in silence, in a hole on the disk
        file.truncate(size)
        file.seek(4)
        file.write(struct.pack("<I", size - 8))
        file.seek(40)
        file.write(struct.pack("<I", size - 44))
    tracemalloc.start()
    try:
        write_tags(path, "audio/wav", ALL, ART)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert 4 * 2**20 > peak
    assert "Window Seat" == str(WAVE(path).tags["TIT2"])
