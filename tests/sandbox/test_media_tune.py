from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kit.sandbox.media import SAMPLE_RATE, Tune, compose, mp3_bytes, wav_bytes
from tests.sandbox.hearing import decode_audio, likeness

STYLES = (
    "slow piano, rain at the window",
    "techno, 128 bpm",
    "jazz trio with sax",
    "ambient pads, ocean",
    "waltz",
    "acoustic guitar, folk",
    "lofi hip hop",
    "rock",
    "chiptune",
    "",
)


def tune(
    style: str = "slow piano, rain at the window", *, take: int = 0, seconds: float = 16.0, **more: object
) -> Tune:
    """Compose the song most tests are about."""
    return compose(style=style, title="Window Seat", take=take, seconds=seconds, seed="s", **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("style", STYLES)
def test_a_tune_is_loud_enough_never_clips_and_begins_and_ends_in_silence(style: str) -> None:
    """Every style gives 16 s of stereo with its peak at -1 dBFS, no flat tops and no click at either end."""
    samples = tune(style).samples

    assert samples.shape == (16 * SAMPLE_RATE, 2)
    assert samples.dtype == np.float32
    assert np.isfinite(samples).all()
    assert np.abs(samples).max() == pytest.approx(10 ** (-1 / 20), abs=1e-3)
    assert np.sqrt(np.mean(samples**2)) > 0.08
    assert np.abs(samples[[0, -1]]).max() < 1e-4
    assert np.abs(samples.mean(axis=0)).max() < 1e-3
    assert np.mean(np.abs(samples) > 0.89) < 1e-3


@pytest.mark.parametrize("style", STYLES)
def test_two_takes_differ_and_are_siblings(style: str) -> None:
    """Two takes of a song share the key and nearly the tempo, and do not sound the same."""
    one, two = tune(style), tune(style, take=1)

    assert likeness(one.samples, two.samples) < 0.5
    assert one.key == two.key
    assert abs(one.bpm - two.bpm) <= 3


def test_the_same_words_give_the_same_samples() -> None:
    """Composing is deterministic, and the result cannot be changed by accident."""
    one, two = tune(seconds=4), tune(seconds=4)

    assert np.array_equal(one.samples, two.samples)
    assert (one.bpm, one.key, one.tags) == (two.bpm, two.key, two.tags)
    assert not one.samples.flags.writeable


def test_title_and_seed_make_another_tune() -> None:
    """A song with another title, or of another seed, sounds different."""
    first = compose(style="piano", title="A", take=0, seconds=6, seed="s")
    titled = compose(style="piano", title="B", take=0, seconds=6, seed="s")
    seeded = compose(style="piano", title="A", take=0, seconds=6, seed="t")

    assert likeness(first.samples, titled.samples) < 0.5
    assert likeness(first.samples, seeded.samples) < 0.5


@pytest.mark.parametrize(
    ("style", "bpm", "key"),
    [("techno, 128 bpm, F# minor", 128, "F# minor"), ("piano in Bb major, 70 BPM", 70, "Bb major")],
)
def test_tempo_and_key_are_taken_at_their_word(style: str, bpm: int, key: str) -> None:
    """A tempo or a key that the style states is the one of the tune."""
    made = tune(style, seconds=6)

    assert (made.bpm, made.key) == (bpm, key)
    assert f"{bpm} bpm" in made.tags


def test_techno_has_a_beat_and_a_slow_piano_has_none() -> None:
    """Words in the style are heard: a bass drum on every beat, or no drums at all."""

    def pulse(made: Tune) -> float:
        beat = round(SAMPLE_RATE * 60 / made.bpm)
        loud = np.abs(made.samples.mean(axis=1))[2 * beat : 22 * beat]
        folded = loud.reshape(20, beat).mean(axis=0)
        return float(folded[: beat // 8].mean() / folded[beat // 2 : beat // 2 + beat // 8].mean())

    beat = pulse(tune("techno, 128 bpm", seconds=14))

    assert beat > 1.3 * pulse(tune("slow piano", seconds=24))


def test_rain_is_heard_between_the_notes() -> None:
    """Rain in the style adds its hiss: more above 3 kHz than the same piano has without it."""

    def brightness(style: str) -> float:
        spectrum = np.abs(np.fft.rfft(tune(style).samples[:, 0])) ** 2
        return float(spectrum[3000 * 16 :].sum() / spectrum.sum())

    assert brightness("slow piano, minor, rain") > 2 * brightness("slow piano, minor")


def test_lyrics_are_sung_on_their_vowels() -> None:
    """A song with words differs from its instrumental, and other words sound different."""
    played = tune("folk guitar", seconds=6)
    sung = tune("folk guitar", seconds=6, instrumental=False, lyrics="[Verse]\nHome again, I see the sea")
    other = tune("folk guitar", seconds=6, instrumental=False, lyrics="Oh so slow")

    assert likeness(played.samples, sung.samples) < 0.95
    assert likeness(sung.samples, other.samples) < 0.99


@pytest.mark.parametrize("seconds", [0.0, 2.0, 3.3, 47.0])
def test_any_length_can_be_asked_for(seconds: float) -> None:
    """A tune is as long as asked, at least 2 s."""
    assert tune("pop", seconds=seconds).duration_s == pytest.approx(max(2.0, seconds), abs=1e-4)


@settings(max_examples=25, deadline=None)
@given(style=st.text(max_size=60), title=st.text(max_size=60), take=st.integers(0, 5), sung=st.booleans())
def test_no_words_stop_the_music(style: str, title: str, take: int, sung: bool) -> None:
    """Whatever style and title say, there is a tune, and it can be encoded."""
    made = compose(style=style, title=title, take=take, seconds=2, instrumental=not sung, lyrics=title, seed="s")

    assert np.isfinite(made.samples).all()
    assert np.abs(made.samples).max() > 0.5
    assert wav_bytes(made).startswith(b"RIFF")
    assert len(mp3_bytes(made)) > 20_000


@pytest.mark.parametrize("encode", [wav_bytes, mp3_bytes])
def test_a_recording_sounds_like_its_tune(encode: object) -> None:
    """WAV and MP3 decode to the tune's own samples, in stereo, at 44.1 kHz, as long as it is."""
    made = tune("slow piano, rain at the window")
    heard, rate = decode_audio(encode(made))  # type: ignore[operator]

    assert rate == SAMPLE_RATE
    assert heard.shape[1] == 2
    assert likeness(made.samples, heard) > 0.99
    assert len(heard) / rate == pytest.approx(made.duration_s, abs=0.1)


def test_encoding_repeats_itself() -> None:
    """The same tune gives the same bytes."""
    made = tune(seconds=3)

    assert wav_bytes(made) == wav_bytes(made)
    assert mp3_bytes(made) == mp3_bytes(made)
