"""Draws record covers: six layouts in many palettes, set with the title; knows nothing of sound or of tasks."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from kit.sandbox.media.dice import dice, pick
from kit.sandbox.media.lettering import set_text, write_line, write_setting
from kit.sandbox.media.palette import Colour, Palette, choose_palette
from kit.sandbox.media.words import clean

__all__ = ["LAYOUTS", "cover_bytes", "draw_cover"]

_SMOOTH = 2  # shapes are drawn this many times larger and scaled down, for smooth edges


def cover_bytes(*, title: str, style: str, variant: int, seed: str, size: int = 768) -> bytes:
    """Draw a square cover as PNG; ``variant`` counts the proposals for one song, neighbours of which differ clearly."""
    image = draw_cover(title=title, style=style, variant=variant, seed=seed, size=size)
    buffer = io.BytesIO()
    # 256 colours under a little grain look like all of them, at half the bytes.
    image.quantize(256, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE).save(buffer, "PNG", compress_level=6)
    return buffer.getvalue()


def draw_cover(*, title: str, style: str, variant: int, seed: str, size: int = 768) -> Image.Image:
    """Draw a square cover as an RGB image; the same arguments give the same picture where the same fonts are."""
    rng = dice("cover", seed, style, title)
    order = rng.permutation(len(LAYOUTS))
    layout = LAYOUTS[int(order[variant % len(LAYOUTS)])]
    palette = choose_palette(style, variant=variant, rng=rng)
    sheet = _Sheet(Image.new("RGB", (size, size), palette.ground), palette, dice("sheet", seed, style, title, variant))
    layout(sheet, clean(title) or "Untitled", clean(style, 48))
    return sheet.grained()


@dataclass
class _Sheet:
    """A picture in the making, measured in shares of its side."""

    image: Image.Image
    palette: Palette
    rng: np.random.Generator

    @property
    def size(self) -> int:
        return self.image.width

    def mask(self, shapes: Callable[[ImageDraw.ImageDraw, int], None]) -> Image.Image:
        """Return a soft-edged mask of what ``shapes`` draws on a surface of the given side."""
        large = Image.new("L", (self.size * _SMOOTH,) * 2, 0)
        shapes(ImageDraw.Draw(large), self.size * _SMOOTH)
        return large.reduce(_SMOOTH)

    def fill(self, mask: Image.Image, colour: Colour | Image.Image) -> None:
        self.image.paste(colour, (0, 0, self.size, self.size) if isinstance(colour, tuple) else (0, 0), mask)

    def gradient(self, start: Colour, end: Colour, angle: float = 90) -> Image.Image:
        """Return a picture that goes from one colour to another, downwards at 90 degrees."""
        y, x = np.mgrid[0 : self.size, 0 : self.size].astype(np.float32) / np.float32(self.size - 1) - np.float32(0.5)
        turn = np.deg2rad(angle)
        share = np.clip((x * np.float32(np.cos(turn)) + y * np.float32(np.sin(turn))) + np.float32(0.5), 0, 1)[
            ..., None
        ]
        return _picture(np.array(start, np.float32) * (1 - share) + np.array(end, np.float32) * share)

    def draw(self) -> ImageDraw.ImageDraw:
        return ImageDraw.Draw(self.image)

    def grained(self) -> Image.Image:
        """Return the picture with a little grain, as ink on paper has, which also hides steps in gradients."""
        grain = self.rng.integers(-1, 2, (self.size, self.size, 1), dtype=np.int16) * np.int16(4)
        return _picture(np.asarray(self.image, np.int16) + grain)


def _picture(values: NDArray[np.float32] | NDArray[np.int16]) -> Image.Image:
    return Image.fromarray(np.clip(values, 0, 255).astype(np.uint8))


def mix(one: Colour, other: Colour, share: float) -> Colour:
    """Return a colour between two, ``share`` of the way to the other."""
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(one, other, strict=True))
    return red, green, blue


def _partner(palette: Palette) -> Colour:
    """Return a colour that the first accent runs into without turning to mud half way."""
    first, second, _ = palette.accents
    near = sum((a - b) ** 2 for a, b in zip(first, second, strict=True)) < 150**2
    return second if near else mix(first, palette.ground, 0.5)


def _caption(sheet: _Sheet, title: str, style: str, *, top: bool = False, ink: Colour | None = None) -> None:
    """Set the title large in a corner and the style small in the opposite one."""
    s, ink, draw = sheet.size, ink or sheet.palette.ink, sheet.draw()
    sizes = [round(s * share) for share in (0.105, 0.088, 0.074, 0.062, 0.052)]
    setting = set_text(title, face="bold", width=0.86 * s, sizes=sizes, lines=2, leading=1.04)
    write_setting(draw, (0.065 * s, 0.06 * s if top else 0.925 * s - setting.height), setting, ink)
    small = set_text(style, face="text", width=0.6 * s, sizes=[round(0.026 * s)], lines=1)
    write_setting(draw, (0.07 * s, 0.91 * s if top else 0.06 * s), small, mix(ink, sheet.palette.ground, 0.15))
    mark = f"CB {int(sheet.rng.integers(100, 999))}"
    place = (0.935 * s, (0.935 if top else 0.082) * s)
    write_line(draw, place, mark, face="text", size=round(0.026 * s), fill=ink, to_left=True)


def _sun(sheet: _Sheet, title: str, style: str) -> None:
    """A low sun cut by bands that widen towards the water."""
    p, rng = sheet.palette, sheet.rng
    horizon = float(rng.uniform(0.55, 0.6))
    x, r = float(rng.uniform(0.42, 0.62)), float(rng.uniform(0.26, 0.31))
    y = horizon - r * 0.45
    sheet.image.paste(sheet.gradient(p.ground, mix(p.ground, p.accents[2], 0.75)))

    def sun(draw: ImageDraw.ImageDraw, w: int) -> None:
        draw.ellipse([(x - r) * w, (y - r) * w, (x + r) * w, (y + r) * w], fill=255)
        for i in range(7):
            band = y + r * (0.08 + 0.135 * i)
            draw.rectangle([0, band * w, w, (band + 0.004 + 0.0042 * i) * w], fill=0)
        draw.rectangle([0, horizon * w, w, w], fill=0)

    def water(draw: ImageDraw.ImageDraw, w: int) -> None:
        draw.rectangle([0, horizon * w, w, w], fill=255)

    def glints(draw: ImageDraw.ImageDraw, w: int) -> None:
        for i in range(8):
            gy, half = horizon + 0.012 + 0.016 * i, r * float(rng.uniform(0.25, 0.95)) * (1 - i / 12)
            gx = x + float(rng.normal(0, 0.02))
            draw.rounded_rectangle([(gx - half) * w, gy * w, (gx + half) * w, (gy + 0.005) * w], 0.0025 * w, fill=255)

    sheet.fill(sheet.mask(sun), sheet.gradient(_partner(p), p.accents[0]))
    sheet.fill(sheet.mask(water), sheet.gradient(mix(p.ground, p.accents[2], 0.25), p.ground))
    sheet.fill(sheet.mask(glints), p.accents[0])
    _caption(sheet, title, style)


def _tiles(sheet: _Sheet, title: str, style: str) -> None:
    """A board of quarter circles, half circles and dots."""
    p, rng, w = sheet.palette, sheet.rng, sheet.size * _SMOOTH
    rows, columns = 4, 6
    left, top, cell = 0.065, 0.12, 0.87 / columns
    colours = (*p.accents, p.ink, mix(p.ground, p.ink, 0.12))
    large = sheet.image.resize((w, w))
    draw = ImageDraw.Draw(large)
    for number in range(rows * columns):
        x, y = left + cell * (number % columns), top + cell * (number // columns)
        back, front = (colours[int(i)] for i in rng.permutation(len(colours))[:2])
        _tile(draw, (x * w, y * w, (x + cell) * w, (y + cell) * w), (back, front, p.ground), int(rng.integers(24)))
    sheet.image = large.reduce(_SMOOTH)
    _caption(sheet, title, style)


def _tile(
    draw: ImageDraw.ImageDraw,
    box: tuple[float, float, float, float],
    colours: tuple[Colour, Colour, Colour],
    kind: int,
) -> None:
    back, front, ground = colours
    x0, y0, x1, y1 = box
    w, turn = x1 - x0, kind % 4
    draw.rectangle(box, fill=back)
    corner_x, corner_y = (x0, y0) if turn == 0 else (x1, y0) if turn == 1 else (x1, y1) if turn == 2 else (x0, y1)
    clip = [0, 90, 180, 270][turn]
    if kind < 10:
        for radius, colour in ((w, front), (w * 0.62, back), (w * 0.3, front)):
            shape = [corner_x - radius, corner_y - radius, corner_x + radius, corner_y + radius]
            draw.pieslice(shape, clip, clip + 90, fill=colour)
    elif kind < 16:
        draw.pieslice([x0, y0, x1, y1] if turn % 2 else [x0, y0 + w / 2, x1, y1 + w / 2], 180, 360, fill=front)
    elif kind < 20:
        draw.ellipse([x0 + w * 0.14, y0 + w * 0.14, x1 - w * 0.14, y1 - w * 0.14], fill=front)
        draw.ellipse([x0 + w * 0.38, y0 + w * 0.38, x1 - w * 0.38, y1 - w * 0.38], fill=ground)
    else:
        draw.polygon([(x0, y1), (x1, y1), (x1, y0)] if turn % 2 else [(x0, y0), (x0, y1), (x1, y1)], fill=front)


def _ridges(sheet: _Sheet, title: str, style: str) -> None:
    """Many lines of hills, each hiding what lies behind."""
    s, p, rng = sheet.size, sheet.palette, sheet.rng
    w, lines, points = s * _SMOOTH, 34, 150
    sheet.image.paste(sheet.gradient(mix(p.ground, p.accents[2], 0.12), p.ground))
    large = sheet.image.resize((w, w))
    draw, x = ImageDraw.Draw(large), np.linspace(0.1, 0.9, points)
    centre = float(rng.uniform(0.42, 0.6))
    for i in range(lines):
        bump = np.exp(-(((x - centre) / 0.17) ** 2)) * np.abs(
            np.convolve(rng.normal(0, 1, points), np.hanning(13), "same")
        )
        base = 0.2 + 0.54 * i / (lines - 1)
        y = base - 0.022 * bump - 0.0016 * np.convolve(rng.normal(0, 1, points), np.hanning(5), "same")
        line = [(float(a) * w, float(b) * w) for a, b in zip(x, y, strict=True)]
        share = i / (lines - 1)
        colour = mix(p.accents[0], p.accents[1], share * 2) if share < 0.5 else mix(p.accents[1], p.ink, share * 2 - 1)
        draw.polygon(
            [*line, (0.9 * w, (base + 0.03) * w), (0.1 * w, (base + 0.03) * w)], fill=mix(p.ground, p.accents[2], 0.06)
        )
        draw.line(line, fill=colour, width=max(2, w // 420), joint="curve")
    sheet.image = large.reduce(_SMOOTH)
    _caption(sheet, title, style)


def _poster(sheet: _Sheet, title: str, style: str) -> None:
    """The title as large as it can be, over one great disc."""
    s, p, rng = sheet.size, sheet.palette, sheet.rng
    x, y, r = float(rng.uniform(0.5, 0.85)), float(rng.uniform(0.25, 0.5)), float(rng.uniform(0.34, 0.42))
    sheet.fill(
        sheet.mask(lambda draw, w: draw.ellipse([(x - r) * w, (y - r) * w, (x + r) * w, (y + r) * w], fill=255)),
        sheet.gradient(p.accents[0], _partner(p), float(rng.uniform(20, 160))),
    )

    def rings(draw: ImageDraw.ImageDraw, w: int) -> None:
        for i in range(1, 9):
            q = r * (0.16 + 0.1 * i)
            draw.ellipse([(x - q) * w, (y - q) * w, (x + q) * w, (y + q) * w], outline=90, width=max(1, w // 700))

    sheet.fill(sheet.mask(rings), p.ground)
    sizes = [round(s * share) for share in (0.25, 0.21, 0.18, 0.155, 0.13, 0.11, 0.09, 0.075, 0.06)]
    setting = set_text(title, face=pick(rng, ("bold", "serif")), width=0.88 * s, sizes=sizes, lines=4, leading=0.94)
    draw = sheet.draw()
    write_setting(draw, (0.06 * s, 0.87 * s - setting.height), setting, p.ink)
    draw.rectangle([0.065 * s, 0.9 * s, 0.935 * s, 0.9 * s + max(2, s // 380)], fill=p.ink)
    small = set_text(style, face="text", width=0.86 * s, sizes=[round(0.026 * s)], lines=1)
    write_setting(draw, (0.065 * s, 0.922 * s), small, p.ink)


def _clouds(sheet: _Sheet, title: str, style: str) -> None:
    """Colours that run into one another, behind the grooves of a record."""
    s, p, rng = sheet.size, sheet.palette, sheet.rng
    n = 96
    gy, gx = np.mgrid[0:n, 0:n].astype(np.float32) / np.float32(n - 1)
    field = np.broadcast_to(np.array(p.ground, np.float32), (n, n, 3)).copy()
    for colour in (p.accents[2], p.accents[1], p.accents[0], mix(p.accents[0], p.ink, 0.35)):
        x, y, r = rng.uniform(0.1, 0.9), rng.uniform(0.05, 0.75), rng.uniform(0.2, 0.36)
        share = np.exp(-((gx - x) ** 2 + (gy - y) ** 2) / (2 * (r * 0.62) ** 2))[..., None] * np.float32(0.95)
        field += (np.array(colour, np.float32) - field) * share.astype(np.float32)
    sheet.image = _picture(field).resize((s, s), Image.Resampling.BICUBIC)
    x, y = float(rng.uniform(0.3, 0.7)), float(rng.uniform(0.3, 0.5))

    def grooves(draw: ImageDraw.ImageDraw, w: int) -> None:
        for i in range(26):
            q = 0.04 + 0.0125 * i + 0.0045 * (i % 5 == 0)
            draw.ellipse([(x - q) * w, (y - q) * w, (x + q) * w, (y + q) * w], outline=150, width=max(2, w // 620))

    sheet.fill(sheet.mask(grooves), p.ink)
    foot = np.clip((np.linspace(0, 1, s) - 0.62) / 0.3, 0, 1) * 205
    sheet.fill(Image.fromarray(np.repeat(foot.astype(np.uint8)[:, None], s, 1)), p.ground)
    _caption(sheet, title, style)


def _beams(sheet: _Sheet, title: str, style: str) -> None:
    """Broad slanting bars and a disc that looks through them."""
    s, p, rng = sheet.size, sheet.palette, sheet.rng
    lean, offset = float(rng.choice((-1, 1)) * rng.uniform(0.35, 0.7)), float(rng.uniform(-0.1, 0.1))
    x, y, r = 0.5 + 0.18 * (1 if lean < 0 else -1), 0.58, 0.24
    widths = rng.uniform(0.045, 0.15, 12)

    def bars(start: int) -> Callable[[ImageDraw.ImageDraw, int], None]:
        def shapes(draw: ImageDraw.ImageDraw, w: int) -> None:
            for i in range(start, 12, 3):
                a = float(np.sum(widths[:i])) * 1.35 - 0.35 + offset
                b = a + float(widths[i])
                draw.polygon([(a * w, w), (b * w, w), ((b + lean) * w, 0), ((a + lean) * w, 0)], fill=255)

        return shapes

    def disc(draw: ImageDraw.ImageDraw, w: int) -> None:
        draw.ellipse([(x - r) * w, (y - r) * w, (x + r) * w, (y + r) * w], fill=255)

    for i, colour in enumerate(p.accents):
        sheet.fill(sheet.mask(bars(i)), sheet.gradient(colour, mix(colour, p.ground, 0.55), 270))
    under = sheet.image.copy()
    sheet.fill(sheet.mask(disc), p.ink)
    turned = Image.eval(under, lambda value: 255 - value)
    sheet.fill(sheet.mask(disc), Image.blend(turned, Image.new("RGB", (s, s), p.ink), 0.45))
    down = np.linspace(0, 1, s)
    veil = np.clip(np.maximum((0.36 - down) / 0.26, (down - 0.84) / 0.08), 0, 1) * 240
    sheet.fill(Image.fromarray(np.repeat(veil.astype(np.uint8)[:, None], s, 1)), p.ground)
    _caption(sheet, title, style, top=True)


LAYOUTS: tuple[Callable[[_Sheet, str, str], None], ...] = (_sun, _tiles, _ridges, _poster, _clouds, _beams)
