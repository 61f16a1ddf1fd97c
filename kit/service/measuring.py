"""Owns the measures of sound while it is decoded: length, loudness, silence, clipping; it must not know any file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from av import AudioFrame
    from av.filter import Graph
    from numpy.typing import NDArray

__all__ = ["Meter"]

SILENT = 0.001  # -60 dBFS
SILENCE_S = 0.5
_NOTHING_LOUD = -70.0  # EBU R 128 counts nothing below; a sound without anything louder has no loudness
# The largest value that each sample format holds, as a share of full scale; floating point goes beyond.
_FULL = {"u8": 1 - 2**-7, "s16": 1 - 2**-15, "s32": 1 - 2**-23}


class Meter:
    """Takes the frames of one recording in order and holds none of them.

    Attributes:
        seconds: how much was fed.
        rate: samples a second, or None while nothing was fed.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        self.rate: int | None = None
        self._form: tuple[str, str, int] | None = None
        self._graph: Graph | None = None
        self._full = 1.0
        self._loudness: float | None = None
        self._values = self._clipped = self._quiet = self._silence = 0  # counted in samples

    def feed(self, frame: AudioFrame) -> None:
        """Take the next frame."""
        form = (frame.format.name, frame.layout.name, frame.sample_rate)
        if self._form is None:
            self._form, self.rate, self._full = form, frame.sample_rate, _FULL.get(form[0].removesuffix("p"), 1.0)
            self._graph = _graph(form)
        elif form != self._form:
            self._graph = None  # no measure spans two forms of sound
        self.seconds += frame.samples / frame.sample_rate
        self._pass(frame)

    def result(self) -> tuple[float | None, float | None, float | None]:
        """Return, when all was fed, loudness in LUFS, silence in seconds and the share of clipped samples.

        All are None where the sound cannot be measured, the first also where all of it is too quiet or too short.
        """
        self._pass(None)
        if self._graph is None or self.rate is None:
            return None, None, None
        self._end_of_silence()
        loud = self._loudness is not None and self._loudness > _NOTHING_LOUD
        clipped = self._clipped / self._values if self._values else None
        return self._loudness if loud else None, round(self._silence / self.rate, 3), clipped

    def _pass(self, frame: AudioFrame | None) -> None:
        """Put a frame, or the end, through the filter; what cannot be measured costs the measures, not the file."""
        from av.error import FFmpegError

        if self._graph is None:
            return
        try:
            self._graph.push(frame)
            self._draw(self._graph)
        except MemoryError:
            raise
        except (FFmpegError, ValueError):
            self._graph = None

    def _draw(self, graph: Graph) -> None:
        """Take what the filter gives: the same sound in tenths of a second, with its loudness so far."""
        from av import AudioFrame
        from av.error import BlockingIOError as Hungry
        from av.error import EOFError as Over

        while True:
            try:
                frame = graph.pull()
            except (Hungry, Over):
                return
            assert isinstance(frame, AudioFrame)
            integrated = frame.metadata.get("lavfi.r128.I")
            self._loudness = self._loudness if integrated is None else round(float(integrated), 2)
            self._count(frame.to_ndarray().reshape(frame.samples, -1))

    def _count(self, sound: NDArray[Any]) -> None:
        import numpy as np

        level = np.abs(sound)
        self._values += level.size
        self._clipped += int(np.count_nonzero(level >= self._full))
        loud = np.flatnonzero(level.max(axis=1) >= SILENT)
        if not loud.size:
            self._quiet += len(level)
            return
        self._quiet += int(loud[0])
        self._end_of_silence()
        gaps = np.diff(loud) - 1
        self._silence += int(gaps[gaps >= self._shortest()].sum())
        self._quiet = len(level) - 1 - int(loud[-1])

    def _end_of_silence(self) -> None:
        if self._quiet >= self._shortest():
            self._silence += self._quiet
        self._quiet = 0

    def _shortest(self) -> float:
        return SILENCE_S * (self.rate or 1)


def _graph(form: tuple[str, str, int]) -> Graph | None:
    """Return a filter that hears loudness as EBU R 128 does and passes the sound on; None where it cannot."""
    from av.error import FFmpegError
    from av.filter import Graph

    name, layout, rate = form
    try:
        graph = Graph()
        source = graph.add_abuffer(sample_rate=rate, format=name, layout=layout)
        loudness, sink = graph.add("ebur128", "metadata=1"), graph.add("abuffersink")
        source.link_to(loudness)
        loudness.link_to(sink)
        graph.configure()
    except MemoryError:
        raise
    except (FFmpegError, ValueError):
        return None
    return graph
