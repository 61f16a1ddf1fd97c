"""Films a tune: an MP4 with its sound, its spectrum in motion, title and author; knows nothing of tasks or files."""

from __future__ import annotations

import io
from dataclasses import dataclass

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from kit.sandbox.media.cover import draw_cover
from kit.sandbox.media.lettering import set_text, write_line, write_setting
from kit.sandbox.media.palette import Colour
from kit.sandbox.media.sound import audio_frames
from kit.sandbox.media.tune import SAMPLE_RATE, Tune
from kit.sandbox.media.words import clean

__all__ = ["video_bytes"]

_Pixels = NDArray[np.uint8]
_BARS = 44
_WINDOW = 4096
_PAPER: Colour = (245, 243, 238)
_GREY: Colour = (178, 181, 188)


def video_bytes(
    tune: Tune,
    *,
    title: str,
    author: str | None,
    domain_name: str | None = None,
    cover: Image.Image | None = None,
    size: tuple[int, int] = (640, 360),
    fps: int = 12,
) -> bytes:
    """Film a tune as MP4: H.264 (yuv420p) and AAC, the index before the media, a keyframe every second.

    Without a ``cover`` one is drawn from the title and the tune's tags. Odd sides are made even, as yuv420p needs.
    """
    width, height = max(160, size[0] // 2 * 2), max(90, size[1] // 2 * 2)
    art = cover or draw_cover(title=title, style=tune.tags, variant=0, seed=tune.title, size=384)
    stage = _set_stage(tune, (width, height), art.convert("RGB"), title=title, author=author, domain=domain_name)
    levels = _levels(tune, fps)
    buffer = io.BytesIO()
    # The index gets its room beforehand: about 30 bytes for each frame of picture and of sound (1024 samples).
    room = 8192 + 40 * (len(levels) + len(tune.samples) // 1024)
    with av.open(buffer, "w", format="mp4", options={"moov_size": str(room)}) as container:
        container.metadata.update({"title": clean(title), "artist": clean(author or "")})
        _encode(container, tune, stage, levels, fps)
    return buffer.getvalue()


def _encode(
    container: av.container.OutputContainer, tune: Tune, stage: _Stage, levels: NDArray[np.float32], fps: int
) -> None:
    height, width = stage.dark.shape[:2]
    video = container.add_stream(
        "libx264", rate=fps, options={"preset": "veryfast", "crf": "24", "g": str(fps), "sc_threshold": "0", "bf": "0"}
    )
    video.width, video.height, video.pix_fmt = width, height, "yuv420p"
    video.codec_context.thread_count = 2
    audio = container.add_stream("aac", rate=SAMPLE_RATE, layout="stereo")
    audio.bit_rate = 192_000
    sounds = audio_frames(tune, "fltp", size=1024 * 8)
    for number, level in enumerate(levels):
        frame = av.VideoFrame.from_ndarray(stage.frame(level, number / max(1, len(levels) - 1)), "rgb24")
        frame.pts = number
        container.mux(video.encode(frame))
        while sounds and (sounds[0].pts or 0) / SAMPLE_RATE <= (number + 1) / fps:
            container.mux(audio.encode(sounds.pop(0)))
    for sound in sounds:
        container.mux(audio.encode(sound))
    container.mux(video.encode(None))
    container.mux(audio.encode(None))


@dataclass(frozen=True)
class _Stage:
    """What does not move: the picture with the bars and the line dark, and the same picture with them lit."""

    dark: _Pixels
    lit: _Pixels
    bars: tuple[int, int, int, int]
    columns: NDArray[np.intp]
    strip: tuple[int, int, int, int]

    def frame(self, levels: NDArray[np.float32], progress: float) -> _Pixels:
        """Return one picture of shape (height, width, 3): bars at their levels, line up to ``progress`` (0 to 1)."""
        picture = self.dark.copy()
        left, top, right, foot = self.bars
        tall = foot - top
        reach = np.append(levels, 0)[self.columns] * (tall * 0.5)
        away = np.abs(np.arange(tall, dtype=np.float32) + np.float32(0.5 - tall / 2))[:, None]
        share = np.clip(reach[None, :] - away + 0.5, 0, 1)[..., None]
        area = self.dark[top:foot, left:right].astype(np.float32)
        picture[top:foot, left:right] = area + (self.lit[top:foot, left:right] - area) * share
        left, top, right, foot = self.strip
        done = left + round((right - left) * progress)
        picture[top:foot, left:done] = self.lit[top:foot, left:done]
        return picture


def _set_stage(
    tune: Tune, size: tuple[int, int], art: Image.Image, *, title: str, author: str | None, domain: str | None
) -> _Stage:
    width, height = size
    unit = min(width / 640, height / 360)
    margin = round(34 * unit)
    side = round(172 * unit)
    back = _backdrop(art, size)
    _hang(back, art, (margin, margin), side, unit)
    left = margin + side + round(28 * unit)
    _write(back, (left, margin, width - margin, margin + side), title=title, author=author or "", unit=unit)
    bars = (margin, margin + side + round(16 * unit), width - margin, margin + side + round(80 * unit))
    strip = (margin, bars[3] + round(10 * unit), width - margin, bars[3] + round(34 * unit))
    foot = height - round(11 * unit)
    _write_foot(back, (margin, width - margin, foot), tune, clean(domain or "", 60), unit)
    dark, lit = back.copy(), back.copy()
    _draw_bars(lit, bars, _accent(art))
    for picture, colour in ((dark, (255, 255, 255, 70)), (lit, (*_accent(art), 255))):
        _draw_wave(picture, strip, tune, colour)
    return _Stage(np.asarray(dark).copy(), np.asarray(lit).copy(), bars, _columns(bars[2] - bars[0]), strip)


def _backdrop(art: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Return the cover's colours out of focus and dim enough to read white text on."""
    small = art.resize((32, 32), Image.Resampling.BOX).filter(ImageFilter.GaussianBlur(5))
    wide = np.asarray(small.resize(size, Image.Resampling.BICUBIC), np.float32)
    grey = wide.mean(axis=2, keepdims=True)
    vivid = np.clip(grey + (wide - grey) * 1.5, 0, 255)
    dim = vivid * np.float32(52 / max(70.0, float(np.percentile(grey, 90))))
    shade = np.linspace(1.12, 0.62, size[1], dtype=np.float32)[:, None, None]
    return Image.fromarray(np.clip(dim * shade + 6, 0, 255).astype(np.uint8))


def _hang(back: Image.Image, art: Image.Image, at: tuple[int, int], side: int, unit: float) -> None:
    """Put the cover up with a soft shadow."""
    pad = round(22 * unit)
    shadow = Image.new("L", (side + 2 * pad,) * 2, 0)
    ImageDraw.Draw(shadow).rectangle([pad, pad, pad + side, pad + side], fill=150)
    shadow = shadow.filter(ImageFilter.GaussianBlur(pad / 2.6))
    back.paste((0, 0, 0), (at[0] - pad, at[1] - pad + round(5 * unit)), shadow)
    back.paste(art.resize((side, side), Image.Resampling.LANCZOS), at)


def _write(back: Image.Image, box: tuple[int, int, int, int], *, title: str, author: str, unit: float) -> None:
    """Set title and author in the middle of the space beside the cover."""
    left, top, right, foot = box
    draw, width = ImageDraw.Draw(back), right - left
    sizes = [max(6, round(points * unit)) for points in (50, 44, 38, 33, 28, 24)]
    setting = set_text(clean(title) or "Untitled", face="bold", width=width, sizes=sizes, lines=3, leading=1.06)
    name = set_text(author, face="text", width=width, sizes=[max(6, round(19 * unit))], lines=1)
    gap = round(15 * unit) if name.lines else 0
    y = top + (foot - top - setting.height - gap - name.height) / 2
    y = write_setting(draw, (left, y), setting, _PAPER)
    write_setting(draw, (left, y + gap), name, (205, 207, 212))


def _write_foot(back: Image.Image, place: tuple[int, int, int], tune: Tune, domain: str, unit: float) -> None:
    left, right, y = place
    draw, size, seconds = ImageDraw.Draw(back), max(6, round(11 * unit)), round(tune.duration_s)
    facts = f"{seconds // 60}:{seconds % 60:02d}   {tune.key}   {tune.bpm} bpm"
    write_line(draw, (left, y), facts, face="text", size=size, fill=_GREY)
    mark = set_text(domain, face="text", width=(right - left) * 0.55, sizes=[size], lines=1)
    for line in mark.lines:
        write_line(draw, (right, y), line, face="text", size=size, fill=_GREY, to_left=True)


def _accent(art: Image.Image) -> Colour:
    """Return the cover's liveliest colour, light enough to glow on a dark ground."""
    pixels = np.asarray(art.resize((24, 24), Image.Resampling.BOX), np.float32).reshape(-1, 3)
    colour = pixels[int(np.argmax((pixels.max(axis=1) - pixels.min(axis=1)) * (60 + pixels.max(axis=1))))]
    colour = colour * (245 / max(1.0, float(colour.max())))
    red, green, blue = (int(value) for value in colour + (255 - colour) * 0.12)
    return red, green, blue


def _columns(width: int) -> NDArray[np.intp]:
    """Return for each column of pixels the number of its bar, or -1 for the gap beside it."""
    place = np.arange(width) * _BARS / width
    return np.where(place % 1 < 0.62, place.astype(np.intp), -1)


def _draw_bars(picture: Image.Image, box: tuple[int, int, int, int], accent: Colour) -> None:
    """Paint the whole area of the bars in the accent, paler towards the right; each frame shows what it needs."""
    left, top, right, foot = box
    share = np.linspace(0, 0.75, right - left, dtype=np.float32)[None, :, None]
    colours = np.array(accent, np.float32) * (1 - share) + np.array(_PAPER, np.float32) * share
    picture.paste(Image.fromarray(np.repeat(colours, foot - top, 0).astype(np.uint8)), (left, top))


def _draw_wave(
    picture: Image.Image, box: tuple[int, int, int, int], tune: Tune, colour: tuple[int, int, int, int]
) -> None:
    """Draw the whole tune's outline, one thin stroke every few pixels: the line that shows how far it has come."""
    left, top, right, foot = box
    step = max(3, round((right - left) / 190))
    strokes = (right - left) // step
    parts = np.array_split(np.abs(tune.samples).max(axis=1), strokes)
    loud = np.array([float(np.sqrt(np.mean(part**2))) if len(part) else 0.0 for part in parts])
    loud /= max(1e-6, float(loud.max()))
    mask = Image.new("L", picture.size, 0)
    draw, middle = ImageDraw.Draw(mask), (top + foot) / 2
    for i, level in enumerate(loud):
        half = max(0.6, level * (foot - top) / 2 - 1)
        draw.rectangle([left + i * step, middle - half, left + i * step + step // 2 - 1, middle + half], fill=colour[3])
    picture.paste(colour[:3], (0, 0, *picture.size), mask)


def _levels(tune: Tune, fps: int) -> NDArray[np.float32]:
    """Return how high each bar stands in each frame, shape (frames, bars): pitch from low to high, loudness in dB."""
    count = max(1, round(tune.duration_s * fps))
    mono = np.pad(tune.samples.mean(axis=1), _WINDOW // 2 + 1)
    starts = np.minimum(np.arange(count) * SAMPLE_RATE // fps, len(mono) - _WINDOW)
    windows = np.lib.stride_tricks.sliding_window_view(mono, _WINDOW)[starts] * np.hanning(_WINDOW).astype(np.float32)
    power = np.abs(np.fft.rfft(windows, axis=1)) ** 2
    edges = np.unique(np.geomspace(6, 900, _BARS + 1).astype(int))
    while len(edges) < _BARS + 1:
        edges = np.unique(np.append(edges, edges[np.flatnonzero(np.diff(edges) > 1)[0]] + 1))
    bands = np.add.reduceat(power, edges, axis=1)[:, :_BARS] / np.diff(edges)
    level = 10 * np.log10(bands + 1e-9) + 3.0 * np.log2(edges[:-1] / 6)
    level = np.clip((level - np.percentile(level, 99.5) + 46) / 46, 0, 1) ** 1.4
    for i in range(1, count):
        level[i] = np.maximum(level[i], level[i - 1] - 2.2 / fps)  # bars fall slower than they rise
    return (0.03 + 0.97 * level).astype(np.float32)
