"""Hostile and damaged media through the real examining process: cuts, mutants, bombs; each costs one verdict."""

from __future__ import annotations

import asyncio
import io
import json
import random
import struct
import zlib
from functools import cache
from pathlib import Path

import psutil
import pytest
from PIL import Image

from kit.service.children import Children
from kit.service.examination import MEMORY, Verdict
from kit.service.verifier import Verifier
from tests.service.samples import ROLES, chunk, kind_of, pcm, png_chunk, shapes, tone, wav_of, whole

CUTS = 50
MUTANTS = 150  # of each kind; the nightly run takes more
PNG_HEAD = b"\x89PNG\r\n\x1a\n"
MEGABYTE = 2**20


class Examined:
    """What the real process said to one file after the other, and how many workers that took."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.workers: set[int] = set()
        self.peak = 0

    def each(self, bodies) -> list[Verdict]:
        """Return the verdict on each of (bytes, role), by one verifier."""
        return asyncio.run(self._each(bodies))

    async def _each(self, bodies):
        verifier, verdicts = Verifier(children=Children(self.folder)), []
        try:
            for body, role in bodies:
                (self.folder / "part").write_bytes(body)
                verdicts.append(await verifier.examine(self.folder / "part", role))
                self._look()
        finally:
            await verifier.close()
        return verdicts

    def _look(self) -> None:
        for child in json.loads((self.folder / "children.json").read_text())["children"]:
            self.workers.add(child["pid"])
            status = Path(f"/proc/{child['pid']}/status").read_text()
            peak = next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM"))
            self.peak = max(self.peak, peak)


@pytest.fixture
def examined(tmp_path):
    """The real examining process, with a folder of its own."""
    return Examined(tmp_path)


def test_no_cut_file_is_ever_kept(examined):
    """Fifty cuts of a file of each kind and shape are refused by the process that decodes the whole ones."""
    asked = [(shape, kept) for shape, body in shapes().items() for kept in [*cuts(len(body)), len(body)]]
    verdicts = examined.each((shapes()[shape][:kept], ROLES[kind_of(shape)]) for shape, kept in asked)
    kept_ones = [item for item, verdict in zip(asked, verdicts, strict=True) if not verdict.reason]
    decoded = [item for item, verdict in zip(asked, verdicts, strict=True) if verdict.verified == "decoded"]

    assert [(shape, len(body)) for shape, body in shapes().items()] == kept_ones == decoded
    assert len(asked) > CUTS * len(shapes())
    assert 1 == len(examined.workers)


def cuts(size):
    """Return fifty lengths below a file's size, the last few bytes among them."""
    return [*(size * n // (CUTS - 5) for n in range(CUTS - 5)), *(size - n for n in range(5, 0, -1))]


def mutant(kind, dice):
    """Return a file of a kind with a few bytes changed, moved, doubled or lost."""
    body = bytearray(whole()[kind])
    for _ in range(dice.choice([1, 1, 2, 5, 30])):
        at = dice.randrange(4, len(body))
        match dice.randrange(6):
            case 0:
                body[at] ^= 1 << dice.randrange(8)
            case 1:
                body[at] = dice.choice([0, 1, 0x7F, 0x80, 0xFE, 0xFF])
            case 2:
                body[at : at + 4] = dice.choice([b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\0\0\0\0"])[
                    : len(body) - at
                ]
            case 3:
                body[at:at] = body[at : at + dice.randrange(1, 64)]
            case 4:
                del body[at : at + dice.randrange(1, 64)]
            case 5:
                body[at] = dice.randrange(256)
        if len(body) < 16:
            break
    return repaired(kind, bytes(body))


def repaired(kind, body):
    """Return it with sizes and checksums that fit again where that is simple, so that the decoder gets it, too."""
    if kind in ("wav", "webp"):
        return body[:4] + struct.pack("<I", len(body) - 8) + body[8:]
    if kind == "png" and len(body) > 60:
        return body[:8] + png_chunk(b"IHDR", body[16:29]) + png_chunk(b"IDAT", body[41:-16]) + png_chunk(b"IEND", b"")
    return body


@pytest.mark.parametrize("kind", ROLES)
def test_no_mutant_costs_more_than_its_own_verdict(examined, kind):
    """Each gets a verdict; whoever kills the worker is kept at `structure` at most; the file after it is decoded."""
    dice = random.Random(f"mutants of {kind}")
    bodies = [(mutant(kind, dice), ROLES[kind]) for _ in range(MUTANTS)]
    verdicts = examined.each([*bodies, (whole()[kind], ROLES[kind])])
    deaths = sum(verdict.verified == "structure" or "could not" in (verdict.reason or "") for verdict in verdicts)

    assert MUTANTS + 1 == len(verdicts)
    assert "decoded" == verdicts[-1].verified
    assert len(examined.workers) <= 1 + deaths
    assert any(verdict.reason and "decode" in verdict.reason for verdict in verdicts) or kind in ("wav", "rf64", "mp3")
    assert examined.peak < MEMORY


def png(width, height, data, *, depth=8, colour=0, before=()):
    """Return a picture of sound structure with these compressed data."""
    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    parts = [png_chunk(b"IHDR", head), *before, png_chunk(b"IDAT", data), png_chunk(b"IEND", b"")]
    return PNG_HEAD + b"".join(parts)


@cache
def zeros(size):
    """Return so many zero bytes, compressed."""
    squeeze = zlib.compressobj(1)
    pieces = [squeeze.compress(bytes(MEGABYTE)) for _ in range(size // MEGABYTE)]
    return b"".join([*pieces, squeeze.compress(bytes(size % MEGABYTE)), squeeze.flush()])


def with_dimensions(form, width, height):
    """Return a small JPEG or WebP that claims to be large."""
    buffer = io.BytesIO()
    Image.new("RGB", (16, 16)).save(buffer, form, lossless=True)
    body = bytearray(buffer.getvalue())
    if form == "JPEG":
        at = body.index(b"\xff\xc0") + 5
        body[at : at + 4] = struct.pack(">HH", height, width)
    else:
        body[21:25] = struct.pack("<I", (width - 1) | (height - 1) << 14)
    return bytes(body)


def animation(width, height, frames):
    """Return a WebP whose canvas and frames are large and whose data are nothing."""
    canvas = struct.pack("<I", 0x02) + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    inside = with_dimensions("WEBP", width, height)[12:]
    frame = bytes(6) + canvas[4:] + bytes(4) + inside
    parts = chunk(b"VP8X", canvas) + chunk(b"ANIM", bytes(6)) + chunk(b"ANMF", frame) * frames
    return b"RIFF" + struct.pack("<I", len(parts) + 4) + b"WEBP" + parts


def wide_wav(channels, rate, bits):
    """Return a recording whose format claims channels and rates beyond reason."""
    frame = channels * bits // 8
    fmt = struct.pack("<HHIIHH", 1, channels, rate, min(rate * frame, 2**32 - 1), frame % 65536 or 4, bits)
    body = b"WAVE" + chunk(b"fmt ", fmt) + chunk(b"data", bytes((frame % 65536 or 4) * 2))
    return b"RIFF" + struct.pack("<I", len(body)) + body


def squeezed_tag(size):
    """Return an MP3 with a compressed tag that unfolds to so many bytes."""
    data = zeros(size)
    frame = b"APIC" + synchsafe(len(data) + 4) + b"\0\x09" + synchsafe(size % 2**28) + data
    return b"ID3\x04\0\0" + synchsafe(len(frame)) + frame + whole()["mp3"]


def synchsafe(number):
    """Return a number in four bytes of seven bits."""
    return bytes(number >> shift & 0x7F for shift in (21, 14, 7, 0))


def endless_index():
    """Return a film of 32 bytes of data whose index names them as two million pictures."""
    film, count = whole()["mp4"], 2**21
    at = film.index(b"stsz") - 4
    size = int.from_bytes(film[at : at + 4], "big")
    return film[: at + 8] + struct.pack(">III", 0, 1, count).ljust(size - 8, b"\0") + film[at + size :]


BOMBS = {
    "png, 400 million pixels claimed": lambda: (png(20_000, 20_000, b"x", depth=1), "image"),
    "png, 196 million pixels there": lambda: (png(14_000, 14_000, zeros(14_000 * 1751), depth=1), "image"),
    "png, as many as are allowed, 16 bits, four channels": lambda: (
        png(8000, 5000, zeros(5000 * (8 * 8000 + 1)), depth=16, colour=6),
        "image",
    ),
    "png, more data than pixels": lambda: (png(10, 10, zeros(550 * MEGABYTE)), "image"),
    "png, a text that unfolds": lambda: (
        png(1, 1, zlib.compress(b"\0\0"), before=[png_chunk(b"zTXt", b"a\0\0" + zeros(550 * MEGABYTE))]),
        "image",
    ),
    "png, a colour profile that unfolds": lambda: (
        png(1, 1, zlib.compress(b"\0\0"), before=[png_chunk(b"iCCP", b"a\0\0" + zeros(550 * MEGABYTE))]),
        "image",
    ),
    "png, four billion frames": lambda: (
        png(1, 1, zlib.compress(b"\0\0"), before=[png_chunk(b"acTL", b"\xff\xff\xff\xff\0\0\0\0")]),
        "image",
    ),
    "jpeg, 65 thousand squared": lambda: (with_dimensions("JPEG", 65_500, 65_500), "image"),
    "jpeg, as many as are allowed": lambda: (with_dimensions("JPEG", 8000, 5000), "image"),
    "webp, 16 thousand squared": lambda: (with_dimensions("WEBP", 16_384, 16_384), "image"),
    "webp, as many as are allowed, a hundred times": lambda: (animation(8000, 5000, 100), "image"),
    "wav, 65 thousand channels": lambda: (wide_wav(65_535, 48_000, 8), "wav"),
    "wav, four billion samples a second": lambda: (wide_wav(2, 2**32 - 1, 16), "wav"),
    "mp3, a picture that unfolds": lambda: (squeezed_tag(255 * MEGABYTE), "audio"),
    "mp4, two million pictures in nothing": lambda: (endless_index(), "video"),
}


def test_bombs_fit_into_the_memory_that_one_file_may_take(examined):
    """Each has a verdict, none is decoded beyond the limit, and the recording after it is decoded all the same."""
    good = (wav_of(pcm(tone(0.1))), "wav")
    made = [bomb() for bomb in BOMBS.values()]
    verdicts = examined.each([item for bomb in made for item in (bomb, good)])
    said = dict(zip(BOMBS, verdicts[::2], strict=True))

    assert ["decoded"] * len(BOMBS) == [verdict.verified for verdict in verdicts[1::2]]
    assert examined.peak < MEMORY + 100 * MEGABYTE  # the decoders themselves
    assert max(len(body) for body, _ in made) < 4 * MEGABYTE
    too_many = [verdict for name, verdict in said.items() if "million pixels" in name or "squared" in name]
    assert 4 == len(too_many) == sum("more than the limit" in verdict.reason for verdict in too_many)


def test_a_bomb_leaves_no_process(examined):
    """Whatever was killed is gone when the verifier closes."""
    body = png(8000, 5000, zeros(5000 * (8 * 8000 + 1)), depth=16, colour=6)
    examined.each([(body, "image"), (whole()["png"], "image")])

    assert [] == [pid for pid in examined.workers if psutil.pid_exists(pid)]
