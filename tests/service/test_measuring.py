"""The measures of sound: known tones give the known loudness, silence and share of clipped samples."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kit.service.measuring import Meter
from tests.service.samples import RATE, frames, pcm, tone


def measure(sound, form="s16", **more):
    """Return loudness, silence and clipped share of a sound, fed frame by frame."""
    meter = Meter()
    for frame in frames(sound, form, **more):
        meter.feed(frame)
    return meter.result()


def at(decibels):
    """Return a level in dBFS as a share of full scale."""
    return 10 ** (decibels / 20)


@pytest.mark.parametrize(("level", "loudness"), [(-23, -23.0), (-33, -33.0), (-6, -6.0), (-60, -60.0)])
def test_a_steady_tone_is_as_loud_as_the_standard_says(level, loudness):
    """A stereo sine near 1 kHz has the loudness of its peak level (EBU Tech 3341, cases 1 and 2)."""
    assert measure(pcm(tone(5, level=at(level))))[0] == pytest.approx(loudness, abs=0.1)


def test_what_is_much_quieter_does_not_count():
    """A loud part between quiet ones alone decides: the relative gate (EBU Tech 3341, case 3, shortened)."""
    quiet, loud = tone(4, level=at(-36)), tone(24, level=at(-23))

    assert measure(pcm(np.concatenate([quiet, loud, quiet])))[0] == pytest.approx(-23.0, abs=0.1)


def test_one_channel_is_half_as_loud_as_two():
    """Loudness adds up the power of the channels: 3 dB."""
    assert measure(pcm(tone(3, level=at(-20), channels=1)))[0] == pytest.approx(-23.0, abs=0.1)


@pytest.mark.parametrize("sound", [np.zeros((RATE, 2)), tone(1, level=at(-90)), tone(0.2), tone(0)[:0]])
def test_what_is_too_quiet_or_too_short_has_no_loudness(sound):
    """Nothing above the absolute gate, or less than the 0.4 s that are looked at: none, and no error."""
    assert measure(pcm(sound))[0] is None


@pytest.mark.parametrize(
    ("pauses", "expected"),
    [
        ((0.0, 0.0, 0.0), 0.0),
        ((0.0, 0.7, 0.0), 0.7),
        ((0.6, 0.0, 0.9), 1.5),
        ((0.4, 0.4, 0.4), 0.0),
        ((0.5, 0.499, 2.0), 2.5),
    ],
)
def test_silence_is_added_up_where_it_lasts(pauses, expected):
    """Half a second and more counts, at the begin, between and at the end."""
    loud = np.full((RATE // 3, 2), 0.5)
    parts = [part for pause in pauses[:-1] for part in (np.zeros((round(pause * RATE), 2)), loud)]
    sound = np.concatenate([*parts, np.zeros((round(pauses[-1] * RATE), 2))])

    assert measure(pcm(sound))[1] == pytest.approx(expected, abs=0.001)


@pytest.mark.parametrize("begin", [4410, 4400, 3000])
@pytest.mark.parametrize(("length", "expected"), [(RATE // 2, 0.5), (RATE // 2 - 1, 0.0)])
def test_half_a_second_is_counted_to_the_sample(begin, length, expected):
    """One sample less than half a second is no silence, wherever it begins."""
    sound = np.full((2 * RATE, 2), 0.5)
    sound[begin : begin + length] = 0

    assert expected == measure(pcm(sound))[1]


@pytest.mark.parametrize(("level", "silent"), [(0.00095, 1.0), (0.00105, 0.0)])
def test_silence_is_what_stays_below_minus_60_decibels_in_all_channels(level, silent):
    """One channel that speaks breaks the silence of both."""
    sound = np.zeros((RATE, 2), np.float32)
    sound[:, 1] = level

    assert measure(sound, "flt")[1] == pytest.approx(silent)


@pytest.mark.parametrize(
    ("form", "full", "below"),
    [
        ("s16", [32767, -32767, -32768], [32766, -32766]),
        ("s32", [2**31 - 1, -(2**31), (2**23 - 1) << 8], [(2**23 - 3) << 8]),
        ("flt", [1.0, -1.0, 1.7], [0.9999, -0.9999]),
        ("u8", [255, 0], [254, 2]),
    ],
)
def test_clipped_is_what_stands_at_full_scale(form, full, below):
    """The share of samples at the largest value that their format holds, up or down, or beyond it."""
    types = {"s16": np.int16, "s32": np.int32, "flt": np.float32, "u8": np.uint8}
    sound = np.full((RATE, 2), 128 if form == "u8" else 0, types[form])
    sound[1000 : 1000 + len(below), 0] = below
    assert 0.0 == measure(sound, form)[2]

    sound[5000 : 5000 + len(full), 1] = full
    assert measure(sound, form)[2] == pytest.approx(len(full) / sound.size)


def test_a_square_wave_is_clipped_throughout():
    """All samples at full scale are a share of one."""
    square = np.where(np.arange(RATE) % 100 < 50, 32767, -32768).astype(np.int16)

    assert 1.0 == measure(np.stack([square, square], axis=1))[2]


@settings(max_examples=20)
@given(st.integers(64, 30_000), st.lists(st.integers(0, 40_000), min_size=1, max_size=5))
def test_measures_do_not_depend_on_how_a_sound_is_cut_into_frames(size, lengths):
    """Silence across frames is one silence."""
    parts = [np.zeros((length, 2)) if i % 2 else np.full((length, 2), 1.0) for i, length in enumerate(lengths)]
    sound = pcm(np.concatenate(parts))
    expected = sum(length for length in lengths[1::2] if length >= RATE / 2) / RATE
    _, silence, clipped = measure(sound, size=size)

    assert silence == (pytest.approx(expected, abs=0.001) if len(sound) else None)
    assert clipped == (pytest.approx(sum(lengths[::2]) / len(sound)) if len(sound) else None)


def test_a_sound_that_changes_its_form_is_not_measured():
    """Its length is known all the same."""
    meter = Meter()
    for channels in (2, 1, 2):
        for frame in frames(pcm(tone(1, channels=channels))):
            meter.feed(frame)

    assert (None, None, None) == meter.result()
    assert meter.seconds == pytest.approx(3.0)


def test_nothing_at_all_has_no_measures():
    """A meter that was fed nothing says so."""
    meter = Meter()

    assert ((None, None, None), 0.0, None) == (meter.result(), meter.seconds, meter.rate)
