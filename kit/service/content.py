"""Owns reading a file of unknown origin by place and length: never past its end, never all of it.

It must not know any format.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

__all__ = ["Content", "Unsound"]

PIECE = 1 << 16


class Unsound(Exception):
    """A file that is not whole, or not what it says it is; the text says where, fit for a reason column."""


class Content:
    """A file's bytes; whoever asks for more than there are learns that the file was cut off."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.size = file.seek(0, 2)

    def read(self, at: int, count: int, what: str) -> bytes:
        """Return exactly `count` bytes from `at`; `what` names them. Raises `Unsound` where the file ends before."""
        self.expect(at + count, what)
        self._file.seek(at)
        return self._file.read(count)

    def expect(self, end: int, what: str) -> None:
        """Raise `Unsound` where the file ends before `what` does."""
        if end > self.size:
            raise Unsound(f"cut off: {what} should end at byte {end}, the file ends at {self.size}")

    def end_at(self, end: int) -> None:
        """Raise `Unsound` where the file does not end at byte `end`, with what belongs to it."""
        self.expect(end, "the file")
        if end < self.size:
            raise Unsound(f"{self.size - end} bytes follow where the file should end, at byte {end}")

    def pieces(self, at: int, end: int) -> Iterator[bytes]:
        """Yield what is between two places in pieces of bounded size."""
        self._file.seek(at)
        while at < end and (piece := self._file.read(min(PIECE, end - at))):
            at += len(piece)
            yield piece
