"""Owns the tables of a session: each call reads the ledger as it stands; it must not know what is connected."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

    from kit.ledger.reader import Reader

__all__ = ["Tables"]


class Tables(ABC):
    """What a session shows of its ledger, as DataFrames whose columns and types never change."""

    @property
    @abstractmethod
    def _reader(self) -> Reader:
        """Return the reader of this session's ledger."""

    def tasks(self) -> pd.DataFrame:
        """Return one row a task; the columns are listed in `kit.ledger.frames.tasks`."""
        from kit.ledger import frames

        return frames.tasks(self._reader)

    def tracks(self) -> pd.DataFrame:
        """Return one row a take of a song."""
        from kit.ledger import frames

        return frames.tracks(self._reader)

    def files(self) -> pd.DataFrame:
        """Return one row a file, saved or not; the columns are listed in `kit.ledger.frames.files`."""
        from kit.ledger import frames

        return frames.files(self._reader)

    def deliveries(self) -> pd.DataFrame:
        """Return one row an arrival of a callback: its body, callback URLs hidden, and in `effect` what it meant.

        The columns and the words of `effect` are listed in `kit.ledger.frames.deliveries`.
        """
        from kit.ledger import frames

        return frames.deliveries(self._reader)

    def lineage(self) -> pd.DataFrame:
        """Return one row a take, with its video, WAV and covers joined."""
        from kit.ledger import frames

        return frames.lineage(self._reader)
