"""The walk through a file's structure: whole files pass, every cut, every padding and every contradiction is found."""

from __future__ import annotations

import io
import struct

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kit.service.content import Unsound
from kit.service.structure import HEAD, check_structure, media_type_of
from tests.service.samples import (
    RATE,
    TYPES,
    box,
    boxes,
    chunk,
    data_box,
    film_of,
    kind_of,
    pcm,
    png_chunk,
    rf64_of,
    shapes,
    sound_in,
    tone,
    wav_of,
    whole,
)

SHAPES = [
    "mp4, index at the end",
    "mp4, index at the front",
    "mp4, data of no stated size",
    "mp4, data of 64-bit size",
    "mp4, silent",
    "wav",
    "wav, an odd chunk at the end",
    "wav, of 24 bits",
    "rf64",
    "mp3",
    "mp3, two tags before",
    "png",
    "png, with transparency",
    "jpeg",
    "jpeg, progressive",
    "jpeg, restarts",
    "webp",
    "webp, lossless",
]
PNG_HEAD = b"\x89PNG\r\n\x1a\n"
HEADER = png_chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0))
FTYP = box(b"ftyp", b"isom\0\0\2\0isom")


def fault(body):
    """Return what is wrong with the structure of these bytes, or None."""
    media_type = media_type_of(body[:HEAD])
    if media_type is None:
        return "no media"
    try:
        check_structure(io.BytesIO(body), media_type)
    except Unsound as reason:
        return str(reason)
    return None


def film(offsets, *, sizes=(10,), rows=((1, 1, 1),), data=b"\0" * 10, wide=False, **tables):
    """Return a film by hand, index first: one track, whose chunks lie at `offsets`, counted from the data's begin."""

    def index(begin):
        number = ">Q" if wide else ">I"
        places = b"".join(struct.pack(number, begin + offset) for offset in offsets)
        made = {
            "stsc": struct.pack(">II", 0, len(rows)) + b"".join(struct.pack(">III", *row) for row in rows),
            "stsz": struct.pack(">III", 0, 0, len(sizes)) + b"".join(struct.pack(">I", size) for size in sizes),
            "co64" if wide else "stco": struct.pack(">II", 0, len(offsets)) + places,
        } | tables
        table = box(b"stbl", *(box(name.encode(), body) for name, body in made.items() if body is not None))
        return box(b"moov", box(b"trak", box(b"mdia", box(b"minf", table))))

    return FTYP + index(len(FTYP) + len(index(2000)) + 8) + box(b"mdat", data)


def test_the_shapes_are_all_tried():
    """The list of shapes here is the list of shapes that are made."""
    assert SHAPES == list(shapes())
    assert all(len(body) <= 20_000 for body in shapes().values())


@pytest.mark.parametrize("shape", SHAPES)
def test_a_whole_file_is_sound(shape):
    """What encoders write, in all the ways they write it, has nothing wrong with it."""
    body = shapes()[shape]

    assert TYPES[kind_of(shape)] == media_type_of(body[:HEAD])
    assert fault(body) is None


@pytest.mark.parametrize("shape", SHAPES)
def test_a_cut_at_any_byte_is_found(shape):
    """No beginning of a file passes as a file, however little is missing."""
    body = shapes()[shape]

    assert [] == [kept for kept in range(len(body)) if fault(body[:kept]) is None]


@pytest.mark.parametrize("shape", [shape for shape in SHAPES if shape != "mp4, data of no stated size"])
@pytest.mark.parametrize("more", [b"\0", b"\n", b"\0" * 100, b"<html>", b"TAG", b"\xff\xd9", b"garbage " * 40])
def test_whatever_follows_the_end_is_found(shape, more):
    """A padded file is not the file that was announced."""
    assert fault(shapes()[shape] + more)


def test_every_bit_of_a_picture_counts():
    """A PNG with any one bit turned is found damaged."""
    body = whole()["png"]
    small = body[:8] + HEADER + png_chunk(b"IDAT", body[41:160]) + png_chunk(b"IEND", b"")
    assert fault(small) is None

    turned = (
        small[:at] + bytes([small[at] ^ 1 << bit]) + small[at + 1 :] for at in range(len(small)) for bit in range(8)
    )
    assert [] == [body for body in turned if fault(body) is None]


@pytest.mark.parametrize(
    "parts",
    [
        [HEADER, png_chunk(b"IEND", b"")],
        [png_chunk(b"IDAT", b"x"), HEADER, png_chunk(b"IEND", b"")],
        [png_chunk(b"IHDR", HEADER[8:20]), png_chunk(b"IDAT", b"x"), png_chunk(b"IEND", b"")],
        [HEADER, png_chunk(b"IDAT", b"x")],
        [HEADER] + [png_chunk(b"tEXt", b"")] * 100_001 + [png_chunk(b"IDAT", b"x"), png_chunk(b"IEND", b"")],
        [HEADER, png_chunk(b"IDAT", b"x"), struct.pack(">I", 0xFFFFFFFF), b"IEND"],
    ],
    ids=["no data", "header late", "header short", "no end", "endless chunks", "huge chunk"],
)
def test_a_picture_whose_parts_do_not_make_one_is_found(parts):
    """A PNG begins with its header, holds data, ends with its end, and has no end of chunks."""
    assert fault(PNG_HEAD + b"".join(parts))


@pytest.mark.parametrize("size", [0, 0xFFFFFFFF])
@pytest.mark.parametrize("places", [(4,), (40,), (4, 40)])
def test_a_size_that_a_writer_could_not_know_is_no_fault(size, places):
    """A WAV written into a pipe states 0 or the largest number; a cut within a sample is found all the same."""
    body = whole()["wav"]
    for at in places:
        body = body[:at] + struct.pack("<I", size) + body[at + 4 :]

    assert fault(body) is None
    if places == (4, 40):
        assert [0] * 4 == [bool(fault(body[: len(body) - 4 * n])) for n in range(4)]
    assert fault(body[:-1])


@pytest.mark.parametrize(
    "body",
    [
        rf64_of(whole()["wav"], sound=len(whole()["wav"])),
        rf64_of(whole()["wav"]).replace(b"ds64", b"sd46"),
        rf64_of(whole()["wav"])[:20] + b"\xff" * 8 + rf64_of(whole()["wav"])[28:],
        whole()["wav"].replace(b"fmt ", b"tmf "),
        whole()["wav"].replace(b"data", b"tada"),
        wav_of(pcm(tone(0))),
        whole()["wav"].replace(b"\x04\0\x10\0data", b"\0\0\x10\0data"),
    ],
    ids=["ds64 sound too long", "no ds64", "ds64 too long", "no format", "no data", "no sample", "no frame size"],
)
def test_a_recording_that_contradicts_itself_is_found(body):
    """Sizes that do not fit, and parts without which nothing sounds."""
    assert fault(body)


def test_chunks_without_end_are_given_up():
    """A recording of a hundred thousand empty chunks is none, however they add up."""
    body = whole()["wav"][8:] + chunk(b"junk", b"") * 100_000

    assert "more than" in fault(b"RIFF" + struct.pack("<I", len(body)) + body)


def test_a_padding_byte_that_was_not_counted_is_no_fault():
    """Some writers pad an odd last chunk and forget it in the size of the whole; any other byte is garbage."""
    odd = whole()["wav"] + chunk(b"note", b"odd")
    forgotten = odd[:4] + struct.pack("<I", len(odd) - 9) + odd[8:]

    assert fault(forgotten) is None
    assert fault(forgotten[:-1] + b"x")


@pytest.mark.parametrize("wide", [False, True])
def test_data_outside_the_file_or_its_boxes_are_found(wide):
    """Each chunk that an index names, by 32 or 64 bits, must lie in a box of data."""
    assert fault(film([0], wide=wide)) is None
    assert fault(film([0, 4], sizes=(4, 6), wide=wide)) is None

    assert "cut off" in fault(film([1], wide=wide))
    assert "where none are" in fault(film([-20], wide=wide))
    assert fault(film([0], sizes=(11,), wide=wide))
    assert fault(film([0, 4], sizes=(4, 7), wide=wide))


@pytest.mark.parametrize(
    "tables",
    [
        {"stsc": None},
        {"stsz": None},
        {"stsc": struct.pack(">II", 0, 0)},
        {"stsc": struct.pack(">5I", 0, 1, 2, 1, 1)},
        {"stsc": struct.pack(">8I", 0, 2, 1, 1, 1, 0, 1, 1)},
        {"stsc": struct.pack(">8I", 0, 2, 1, 1, 1, 2**32 - 1, 1, 1)},
        {"stsc": struct.pack(">II", 0, 2**31)},
        {"stsc": struct.pack(">5I", 0, 1, 1, 0, 1)},
        {"stsz": struct.pack(">III", 0, 0, 2**32 - 1)},
        {"stsz": struct.pack(">III", 0, 2**32 - 1, 2**32 - 1)},
        {"stco": struct.pack(">II", 0, 2**32 - 1)},
        {"stco": struct.pack(">II", 0, 1)},
        {"stco": b""},
    ],
)
def test_an_index_that_contradicts_itself_is_found(tables):
    """Tables that are missing, out of order, or longer than their box are no riddle and cost no memory."""
    assert fault(film([0], **tables))


def test_an_index_whose_pieces_are_all_of_one_size_is_understood():
    """A size that is stated once holds for every sample."""
    assert fault(film([0], stsz=struct.pack(">III", 0, 2, 5), stsc=struct.pack(">5I", 0, 1, 1, 5, 1))) is None
    assert fault(film([0], stsz=struct.pack(">III", 0, 2, 6), stsc=struct.pack(">5I", 0, 1, 1, 6, 1)))


@pytest.mark.parametrize(
    "body",
    [
        FTYP + box(b"mdat", b"x" * 100),
        FTYP + box(b"moov", box(b"mvhd", b"\0" * 100)),
        FTYP + struct.pack(">I4s", 0, b"free") + b"\0" * 100,
        FTYP + struct.pack(">I4s", 1, b"mdat"),
        FTYP + struct.pack(">I4sQ", 1, b"mdat", 2**63),
        FTYP + struct.pack(">I4sQ", 1, b"mdat", 15),
        FTYP + struct.pack(">I4s", 7, b"mdat"),
        FTYP + box(b"moov", struct.pack(">I4s", 0, b"trak")) + box(b"mdat", b"x"),
        FTYP + box(b"moov", struct.pack(">I4s", 900, b"trak")) + box(b"mdat", b"x" * 1000),
    ],
)
def test_boxes_that_do_not_fit_are_found(body):
    """No index, no data, a box without an end or beyond that of its parent."""
    assert fault(body)


def test_a_picture_without_its_data_is_found():
    """A WebP whose chunks are all there, and none of them a picture."""
    parts = b"WEBP" + chunk(b"VP8X", bytes(10)) + chunk(b"EXIF", b"odd")

    assert "no picture" in fault(b"RIFF" + struct.pack("<I", len(parts)) + parts)


def test_data_without_a_stated_size_end_with_the_file_and_no_earlier():
    """Size 0 is for the last box, and what the index names must still be there."""
    body = shapes()["mp4, data of no stated size"]
    end = data_box(whole()["mp4"])

    assert body[end : end + 8] == b"\0\0\0\0mdat"
    assert "cut off" in fault(body[:-1])


@pytest.mark.parametrize("kind", [b"moov", b"trak", b"stbl", b"free"])
def test_ten_thousand_boxes_in_each_other_are_little_work(kind):
    """Nesting stops the walk early; a box that it does not open is one step, whatever is in it."""
    nested = b""
    for _ in range(10_000):
        nested = box(kind, nested)
    counted = Counted(FTYP + nested)
    with pytest.raises(Unsound):
        check_structure(counted, "video/mp4")

    assert counted.reads < 100


@pytest.mark.parametrize("where", [b"moov", None])
def test_boxes_without_end_are_bounded_work(where):
    """A million empty boxes are given up before they are counted."""
    many = box(b"free") * 1_000_000
    counted = Counted(FTYP + (many if where is None else box(where, many)))
    with pytest.raises(Unsound, match="more than"):
        check_structure(counted, "video/mp4")

    assert counted.reads < 110_000


class Counted(io.BytesIO):
    """A file that counts how often it is read."""

    reads = 0

    def read(self, size=-1):
        """Return bytes, and count."""
        self.reads += 1
        return super().read(size)


def test_the_index_may_stand_anywhere():
    """At the end, at the front, with empty boxes around it: where it is does not matter."""
    kinds = {shape: [kind for _, kind in boxes(shapes()[shape])] for shape in SHAPES[:2]}

    assert [b"mdat", b"moov"] == kinds["mp4, index at the end"][-2:]
    assert b"moov" == kinds["mp4, index at the front"][1]


def test_a_film_in_fragments_is_sound_and_a_cut_within_one_is_found():
    """Fragments carry their own index; a cut exactly between two is the one that cannot be seen."""
    body = film_of(pictures=8, options={"movflags": "frag_keyframe+empty_moov"}, keyframes=2)
    between = {at for at, kind in boxes(body) if kind in (b"moof", b"mfra")}
    assert len(between) > 3

    unseen = {kept for kept in range(len(body)) if fault(body[:kept]) is None}
    assert fault(body) is None
    assert unseen <= between


@pytest.mark.parametrize("padding", [65_530 + n for n in range(12)])
def test_a_marker_on_the_border_of_what_is_read_at_once_is_seen(padding):
    """The end of a picture is found wherever it lies, restart markers and stuffed bytes are passed over."""
    scan = b"\xff\xda\0\x02" + (b"\xff\x00\x12\xff\xd3" * 20_000)[:padding].rstrip(b"\xff") + b"\xff\xd9"
    body = b"\xff\xd8\xff\xc0\0\x04ab" + scan

    assert fault(body) is None
    assert "cut off" in fault(body[:-1])
    assert "follow" in fault(body + b"\xff\xd9")


@pytest.mark.parametrize(
    ("parts", "sound"),
    [
        ([b"\xff\xc0\0\x04ab", b"\xff\xff\xff\xda\0\x02x"], True),
        ([b"\xff\xe1\0\x06\xff\xd9\xff\xd9", b"\xff\xc2\0\x02", b"\xff\xda\0\x02"], True),
        ([b"\xff\xda\0\x02x"], False),
        ([b"\xff\xc4\0\x02", b"\xff\xda\0\x02x"], False),
        ([b"\xff\xc0\0\x01"], False),
        ([b"\xff\xc0\0\x02", b"\xff\xd8\0\x02"], False),
        ([b"\xff\xc0\0\x02", b"\xff\x01\0\x02"], False),
        ([b"\xff\xc0\0\x02", b"x"], False),
        ([b"\xff\xc0\0\x02", b"\xff\xda\0\0x"], False),
        ([b"\xff\xe0\0\x02"] * 100_001, False),
    ],
)
def test_a_pictures_segments_are_followed_by_their_lengths(parts, sound):
    """An end of image within a segment is none; a picture without a frame, and a segment out of place, are faults."""
    assert sound == (fault(b"\xff\xd8" + b"".join(parts) + b"\xff\xd9") is None)


def mp3(**more):
    """Return an MP3, its first frame with the encoder's own note of how many there are, and where frames begin."""
    body = sound_in("mp3", "libmp3lame", pcm(tone(0.3)), options={"id3v2_version": "0"}, **more)
    kbits, starts = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160), [0]
    while (at := starts[-1]) < len(body):
        starts.append(at + 144_000 * kbits[body[at + 2] >> 4] // RATE + (body[at + 2] >> 1 & 1))
    return body, starts[:-1]


def test_what_the_encoder_counted_has_to_be_there():
    """A cut between two frames is found by the encoder's own note; without the note it is a shorter recording."""
    body, starts = mp3()
    assert b"Info" in body[:60] or b"Xing" in body[:60]

    assert [] == [at for at in starts[1:] if fault(body[:at]) is None]
    assert fault(body[starts[1] :]) is None
    assert fault(body[starts[1] : starts[-1]]) is None


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"", b"TAG" + b"\0" * 125),
        (b"ID3\x04\0\0\0\0\0\x03abc", b"TAG".ljust(128)),
        (b"ID3\x04\0\x10\0\0\0\x03abc3DI\x04\0\x10\0\0\0\x03", b""),
    ],
)
def test_tags_before_and_after_belong_to_a_recording(before, after):
    """Tags of the known kinds are no garbage, and a cut within one is found."""
    body = before + mp3()[0] + after

    assert fault(body) is None
    assert not after or fault(body[:-1])


def test_a_tag_of_the_other_kind_at_the_end_is_known_too():
    """An APE tag, with or without a head, alone or before an ID3v1 tag."""
    item = b"item!"
    foot = b"APETAGEX" + struct.pack("<IIII8x", 2000, 32 + len(item), 1, 0)
    head = b"APETAGEX" + struct.pack("<IIII8x", 2000, 32 + len(item), 1, 0xA0000000)
    both = head + item + foot[:20] + struct.pack("<I8x", 0x80000000)
    for tag in (item + foot, both, item + foot + b"TAG".ljust(128)):
        assert fault(mp3()[0] + tag) is None
        assert fault(mp3()[0] + tag[:-1])


@pytest.mark.parametrize(
    "head", [b"\xff\xfb\x00\x00", b"\xff\xfb\xf0\x00", b"\xff\xfb\x9c\x00", b"\xff\xeb\x90\x00", b"\xff\xfd\x90\x00"]
)
def test_a_frame_that_no_recording_has_is_found(head):
    """Free or forbidden rates, a reserved version, another layer."""
    body, starts = mp3()
    at = starts[3]

    assert "no sound frame begins" in fault(body[:at] + head + body[at + 4 :])


def test_a_recording_that_changes_its_rate_is_damaged():
    """All frames of one recording have one version and one sample rate."""
    body, starts = mp3()
    at = starts[3]

    assert fault(body[:at] + body[at : at + 2] + bytes([body[at + 2] ^ 4]) + body[at + 3 :])


@pytest.mark.parametrize("size", [b"\x7f\x7f\x7f\x7f", b"\x80\0\0\0"])
def test_a_tag_longer_than_the_file_is_found(size):
    """A tag's length is believed only as far as the file goes."""
    assert fault(b"ID3\x04\0\0" + size + mp3()[0])


HEADS = [
    b"\0\0\0\x18ftyp",
    b"RIFF\0\0\0\0WAVE",
    b"RF64\xff\xff\xff\xffWAVE",
    PNG_HEAD,
    b"\xff\xd8\xff",
    b"ID3",
    b"\xff\xfb",
]


@given(st.sampled_from([*HEADS, b"RIFF\0\0\0\0WEBP"]), st.binary(max_size=300))
@example(b"ID3", b"\x04\0\0\0\0\0\0")
@example(b"ID3", b"")
def test_no_bytes_are_a_riddle(head, rest):
    """Whatever follows a magic number, the answer is a reason and nothing else is raised."""
    assert fault(head + rest)


@given(st.binary(max_size=64))
def test_what_is_no_media_is_known_by_its_head(body):
    """Only the six magic numbers are media."""
    known = body[4:8] == b"ftyp" or body[:4] in (b"RIFF", b"RF64", b"\x89PNG") or body[:3] in (b"ID3", b"\xff\xd8\xff")

    assert media_type_of(body) is None or known or body[0] == 0xFF
