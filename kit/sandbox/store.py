"""Owns what the simulated provider remembers across restarts; it must not know what the documents mean."""

from __future__ import annotations

import json
import sqlite3
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Store"]

SHELVES = ("settings", "jobs", "faults")


class Store:
    """Three shelves of JSON documents in one SQLite file, each write complete or not there."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Made before the loop that uses it may run in a thread of its own; only that loop touches it afterwards.
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=NORMAL")
        for shelf in SHELVES:
            self._db.execute(
                f"CREATE TABLE IF NOT EXISTS {shelf} (place INTEGER PRIMARY KEY, key TEXT UNIQUE, document TEXT)"
            )

    def put(self, shelf: str, key: str, document: Any) -> None:
        """Keep `document` under `key`, in its old place where the key is known."""
        self._db.execute(
            f"INSERT INTO {shelf} (key, document) VALUES (?, ?) "
            "ON CONFLICT (key) DO UPDATE SET document = excluded.document",
            (key, json.dumps(document)),
        )

    def get(self, shelf: str, key: str, default: Any = None) -> Any:
        """Return the document under `key`, or `default`."""
        row = self._db.execute(f"SELECT document FROM {shelf} WHERE key = ?", (key,)).fetchone()
        return default if row is None else json.loads(row[0])

    def all(self, shelf: str) -> list[Any]:
        """Return every document of a shelf, oldest first."""
        return [json.loads(text) for (text,) in self._db.execute(f"SELECT document FROM {shelf} ORDER BY place")]

    def drop(self, shelf: str, key: str) -> None:
        """Forget the document under `key`; an unknown key is no error."""
        self._db.execute(f"DELETE FROM {shelf} WHERE key = ?", (key,))

    def close(self) -> None:
        """Close the file; closing twice is no error."""
        self._db.close()
