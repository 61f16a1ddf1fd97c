"""Owns reading bytes and values from the network without ever raising; knows nothing of API types or pages."""

from __future__ import annotations

import json
import math
import re
import zlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

__all__ = ["MAX_BODY", "Document", "clean", "inflate", "load", "number", "parse_time", "usable_url", "whole"]

MAX_BODY = 1024 * 1024
# Each value costs some hooks' time: 1 kB of gzip can hold half a million of them, and an event loop for half a second.
MAX_VALUES = 10_000
MAX_TEXT = 2000
MAX_URL = 4096
_MAX_DIGITS = 19
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# Real times only: below, the number is a count of something; above, datetime ends.
_LATEST_MS = 253_402_300_799_999


@dataclass(frozen=True)
class Document:
    """Hold one parsed body: `value` is None where it is not JSON, and `notes` say what was odd."""

    value: Any
    notes: tuple[str, ...] = ()
    duplicates: frozenset[str] = frozenset()


def load(body: bytes) -> Document:
    """Return what `body` holds; accepts BOM, UTF-16/32, gzip, NaN, huge integers and duplicate keys, and says so."""
    odd: dict[str, None] = {}
    duplicates: set[str] = set()
    try:
        plain = inflate(body)
        if len(plain) > MAX_BODY:
            return Document(None, (f"the body is longer than {MAX_BODY} bytes",))
        if sum(map(plain.count, (b",", b"[", b"{"))) > MAX_VALUES:
            return Document(None, (f"the body holds more than {MAX_VALUES} values",))
        text = plain.decode(json.detect_encoding(plain), errors="replace")
        value = json.loads(
            text,
            object_pairs_hook=lambda pairs: _object(pairs, duplicates),
            parse_constant=lambda word: odd.setdefault(f"{word} is not a number"),
            parse_int=lambda digits: _integer(digits, odd),
        )
    except (ValueError, RecursionError, zlib.error) as reason:
        return Document(None, (f"not JSON ({type(reason).__name__})",))
    twice = [f"key {clean(key, 60)!r} appears twice with different values" for key in sorted(duplicates)[:5]]
    return Document(value, (*odd, *twice), frozenset(duplicates))


def inflate(body: bytes) -> bytes:
    """Return `body` itself, or what is in it where it is gzip, cut a byte after `MAX_BODY`."""
    if not body.startswith(b"\x1f\x8b"):
        return body
    try:
        return zlib.decompressobj(wbits=31).decompress(body, MAX_BODY + 1)
    except zlib.error:
        return body


def _object(pairs: list[tuple[str, Any]], duplicates: set[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        # Two parsers may choose differently here, so the caller must be able to refuse it for the keys that matter.
        if key in found and (type(found[key]) is not type(value) or found[key] != value):
            duplicates.add(key)
        found[key] = value
    return found


def _integer(digits: str, odd: dict[str, None]) -> int | None:
    if len(digits) <= _MAX_DIGITS:
        return int(digits)
    odd[f"an integer of {len(digits)} digits was ignored"] = None
    return None


def clean(value: object, limit: int = MAX_TEXT) -> str | None:
    """Return the text in `value` as it is, at most `limit` characters, lone surrogates replaced; None for no text."""
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        return None
    text = value if isinstance(value, str) else str(value)
    text = text[:limit]
    if text.isascii():
        return text
    # SQLite and UTF-8 refuse lone surrogates, which JSON may carry; pairs become the character they stand for.
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def whole(value: object) -> int | None:
    """Return `value` as an int where it is one or is written as one ("200", 200.0) and fits 32 bits, else None."""
    if isinstance(value, bool):
        return None
    if isinstance(value, str):
        written = value.strip()
        value = int(written) if re.fullmatch(r"-?[0-9]{1,10}", written) else None
    elif isinstance(value, float):
        value = int(value) if math.isfinite(value) and value.is_integer() else None
    return value if isinstance(value, int) and abs(value) < 2**31 else None


def number(value: object) -> float | None:
    """Return `value` as a finite, non-negative float, also where it is written as text, else None."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        found = float(value[:40] if isinstance(value, str) else value)
    except (ValueError, OverflowError):
        return None
    return found if math.isfinite(found) and found >= 0 else None


def usable_url(value: object) -> str | None:
    """Return `value` where it is an absolute http(s) link with a host, at most 4,096 characters, else None."""
    if not isinstance(value, str):
        return None
    link = value.strip()
    if not link or len(link) > MAX_URL or re.search(r"[\s\x00-\x1f\x7f\\\ud800-\udfff]", link):
        return None
    try:
        parts = urlsplit(link)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return None
    return link if usable else None


def parse_time(value: object) -> datetime | None:
    """Return the instant in `value`: epoch milliseconds or seconds, or ISO 8601 with a zone; None for all else.

    A time without a zone gives None, because no page says which zone is meant (provider-api 14 row 17).
    """
    if isinstance(value, str) and not re.fullmatch(r"[0-9]{10,15}", value.strip()):
        return _iso(value)
    stamp = number(value)
    if stamp is None or stamp < 1e9:
        return None
    milliseconds = stamp if stamp >= 1e11 else stamp * 1000
    return _EPOCH + timedelta(milliseconds=milliseconds) if milliseconds <= _LATEST_MS else None


def _iso(text: str) -> datetime | None:
    try:
        found = datetime.fromisoformat(text.strip()[:40])
        return found.astimezone(UTC) if found.tzinfo else None
    except (ValueError, OverflowError):
        return None
