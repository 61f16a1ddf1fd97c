"""Owns the side journal: what nobody else could tell us again, as lines beside the ledger; it must not know SQLite.

`ledger.journal` holds each intent, departure, answer, file, confirmation, abandonment and save request, and each URL
that was handed out. Deliveries and details are left out: they are bulky, and the provider is asked for them again. What
came on a listen-only URL, without a key to ask with, is lost with the ledger.

A line is written after the commit of its fact, never before. A line without its fact would be worse than a fact without
its line: whoever appended was told "nothing was kept", and a rebuild would bring back a wish and have it sent and paid
for. The gap that a crash leaves between the two is closed by the next opening, which compares the journal with the
database; it would take a crash in that very moment together with a damaged file to lose a fact.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kit.ledger.facts import Row

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

__all__ = ["NOT_KEPT", "Journal", "Kept", "fact_line", "fact_of", "read_journal", "url_line", "url_of", "write_journal"]

log = logging.getLogger(__name__)

NOT_KEPT = frozenset({"delivery", "details"})  # types of facts that somebody else can tell us again

_URL = b'{"url":'
_BODY = b',"body":'
_CRC = b',"crc":"'
_END = b'"}'
_TAIL = len(_CRC) + 8 + len(_END)


@dataclass(frozen=True)
class Kept:
    """What a journal holds: its whole lines, and whether there was anything else in it (`spoiled`)."""

    lines: frozenset[bytes] = frozenset()
    spoiled: bool = False


def fact_line(seq: int, task: str, kind: str, at: int, body: str) -> bytes:
    """Return the line for a fact of the type `kind`; the same fact always has the same line."""
    head = f'{{"seq":{seq},"task":{json.dumps(task)},"type":{json.dumps(kind)},"at":{at}'
    return _sealed(head.encode() + _BODY + body.encode())


def url_line(row: dict[str, Any]) -> bytes:
    """Return the line for a URL that was handed out, given as the columns of its row."""
    return _sealed(_URL + json.dumps({**row, "secret_hash": row["secret_hash"].hex()}, sort_keys=True).encode())


def fact_of(line: bytes) -> tuple[int, Row] | None:
    """Return the number and the row of a fact's line; None for a URL's."""
    if line.startswith(_URL):
        return None
    head, _, rest = line.partition(_BODY)  # a quotation mark within a task's id is escaped: the first one is ours
    known = json.loads(head + b"}")
    return known["seq"], Row(known["task"], known["type"], known["at"], rest[:-_TAIL].decode(), None)


def url_of(line: bytes) -> dict[str, Any] | None:
    """Return the columns of a URL's line; None for a fact's."""
    if not line.startswith(_URL):
        return None
    row: dict[str, Any] = json.loads(line[len(_URL) : -_TAIL])
    return {**row, "secret_hash": bytes.fromhex(row["secret_hash"])}


def read_journal(path: Path) -> Kept:
    """Return what the journal holds; a torn or altered line is left out, and a missing file is empty.

    Raises:
        OSError: the file is there and cannot be read.
    """
    try:
        found = [line for line in path.read_bytes().split(b"\n") if line]
    except FileNotFoundError:
        return Kept()
    whole = frozenset(line for line in found if _is_whole(line))
    return Kept(whole, spoiled=len(whole) < len(found))


def write_journal(path: Path, lines: Iterable[bytes]) -> None:
    """Write the journal anew, whole or not at all.

    Raises:
        OSError: it could not be written; an earlier one is as it was.
    """
    fresh = path.with_name(f"{path.name}.new")
    with contextlib.suppress(FileNotFoundError):
        fresh.unlink()
    with _private(fresh) as file:
        file.writelines(line + b"\n" for line in lines)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)


def _private(path: Path) -> Any:
    return open(path, "ab", opener=lambda name, flags: os.open(name, flags, 0o600))


class Journal:
    """The journal of an open ledger; only the ledger's writer calls it.

    A line that could not be written is owed: it is tried again with the next one, and what is owed at the end is
    written by the next opening. A journal that lags is a smaller safety net, so it is logged and fails no append.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: Any = None
        self._owed: list[bytes] = []

    def add(self, lines: Sequence[bytes]) -> None:
        """Append lines, and return when they are safely on disk or the trouble is logged."""
        self._owed += lines
        try:
            if self._file is None:
                self._file = _private(self.path)
                self._file.write(b"\n" if self._file.tell() else b"")  # after a torn line, begin on one of our own
            self._file.write(b"\n".join([*self._owed, b""]))
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as reason:
            log.warning(
                "%d facts are in the ledger and not yet in its journal %s: %s", len(self._owed), self.path, reason
            )
            self.close()  # what a failed sync left behind is not trusted: all that is owed is written again
        else:
            self._owed.clear()

    def close(self) -> None:
        """Close the file; the next `add` opens it again."""
        file, self._file = self._file, None
        if file is not None:
            with contextlib.suppress(OSError):
                file.close()


def _sealed(text: bytes) -> bytes:
    """Return the line that opens with `text`, closed by a checksum of it: a flipped bit is no other fact."""
    return b"%b%b%08x%b" % (text, _CRC, zlib.crc32(text), _END)


def _is_whole(line: bytes) -> bool:
    return len(line) > _TAIL and _sealed(line[:-_TAIL]) == line
