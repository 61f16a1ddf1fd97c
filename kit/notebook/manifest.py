"""Owns the manifest beside exported files: what stands in it, and reading an earlier one that anybody may have edited.

It must not know how files are copied. Text from the network stands in it as data, and links without their secrets.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from itertools import count
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

from kit.ledger.names import folded

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from kit.ledger.fold import FileState, TaskState
    from kit.notebook.copies import Copy
    from kit.notebook.places import Place

__all__ = ["Earlier", "Entry", "facts_of", "row_of", "write_manifest"]

FORMAT = "callboard export 1"
LISTS = ("files", "missing", "not_saved")
_NEEDED: dict[str, dict[str, type]] = {
    "files": {"name": str, "sha256": str, "exported_sha256": str, "exported_bytes": int},
    "missing": {},
    "not_saved": {},
}
_SLOT: dict[str, type] = {"id": str, "role": str, "index": int}

Entry = dict[str, Any]


class Earlier:
    """The manifest of an earlier export to the same place, where there is one; `name` is what this one is called."""

    def __init__(self, place: Place) -> None:
        self._lists: dict[str, list[Entry]] = {name: [] for name in LISTS}
        for number in count(1):
            self.name = "manifest.json" if number == 1 else f"manifest ({number}).json"
            if folded(self.name) not in place.names:
                break
            if (found := _lists_of(place.read(self.name))) is not None:
                self._lists = found
                break
        # Only what lies there by exactly that name: a name with a folder in it is none of ours.
        there = set(place.names.values())
        self._lists["files"] = [entry for entry in self._lists["files"] if entry["name"] in there]

    def copy_of(self, state: TaskState, file: FileState) -> Entry | None:
        """Return the entry of the copy made of these very bytes, or None."""
        slot = (state.id, file.role, file.index, file.sha256)
        found = (e for e in self._lists["files"] if (e["id"], e["role"], e["index"], e["sha256"]) == slot)
        return next(found, None)

    def others(self, used: Iterable[str], tasks: Iterable[str]) -> Mapping[str, list[Entry]]:
        """Return what still holds: files whose folded name is not in `used`, and what lacks of other tasks."""
        names, ids = set(used), set(tasks)
        kept = {name: [e for e in self._lists[name] if e["id"] not in ids] for name in ("missing", "not_saved")}
        return {"files": [e for e in self._lists["files"] if folded(e["name"]) not in names], **kept}


def write_manifest(lists: Mapping[str, Iterable[Entry]]) -> bytes:
    """Return the manifest as JSON: `files`, `missing` and `not_saved`, each sorted by task, role and index."""
    document: dict[str, Any] = {"format": FORMAT}
    document |= {name: sorted(lists[name], key=_order) for name in LISTS}
    return json.dumps(document, ensure_ascii=False, indent=1).encode("utf-8", "replace") + b"\n"


def row_of(state: TaskState, file: FileState) -> Entry:
    """Return what names a file: ids, provider, kind, role and index."""
    ids = {"id": state.id, "task_id": state.task_id, "provider": state.provider, "kind": state.kind}
    return {**ids, "role": file.role, "index": file.index}


def facts_of(copy: Copy) -> Entry:
    """Return what is known of a file: sizes in bytes, times in seconds, moments in UTC, the link without its query."""
    file = copy.file
    plain = ("sha256", "bytes", "media_type", "verified", "duration_s", "width", "height", "sample_rate")
    measured = {name: getattr(file, name) for name in (*plain, "loudness_lufs", "silence_s", "clipped")}
    moments = {"saved_at": _moment(file.saved_at), "expires_at": _moment(file.expires_at)}
    named = {"take": copy.take, "title": copy.title, "audio_id": copy.audio_id}
    return {**row_of(copy.state, file), **named, **measured, "url": _plain_url(file.url), **moments}


def _lists_of(body: bytes) -> dict[str, list[Entry]] | None:
    """Return the lists of a manifest of ours; None for anything else."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return None
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        return None
    return {name: [e for e in _as_list(document.get(name)) if _fits(e, {**_SLOT, **_NEEDED[name]})] for name in LISTS}


def _as_list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _fits(entry: object, needed: Mapping[str, type]) -> bool:
    return isinstance(entry, dict) and all(type(entry.get(name)) is kind for name, kind in needed.items())


def _order(entry: Entry) -> tuple[str, str, int, str]:
    return entry["id"], entry["role"], entry["index"], entry.get("name", "")


def _moment(moment: datetime | None) -> str | None:
    return moment.astimezone(UTC).isoformat(timespec="seconds") if moment else None


def _plain_url(url: str | None) -> str | None:
    """Return a link without user name, password, query and fragment: some sign who may fetch it."""
    if not url:
        return None
    try:
        parts = urlsplit(url)
        host = parts.netloc.rpartition("@")[2]
        return urlunsplit((parts.scheme, host, parts.path, "", ""))
    except ValueError:
        return None
