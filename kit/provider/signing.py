"""Owns callback signatures, which cover the task id and the time and never the body; knows nothing of deliveries."""

from __future__ import annotations

import base64
import hashlib
import hmac
from datetime import datetime
from typing import TYPE_CHECKING, Literal

from kit.settings import Secret

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["SIGNATURE_HEADER", "TIMESTAMP_HEADER", "WINDOW_S", "Signature", "sign", "verify"]

TIMESTAMP_HEADER = "X-Webhook-Timestamp"
SIGNATURE_HEADER = "X-Webhook-Signature"
# The provider names no window; this is ours (provider-api 12).
WINDOW_S = 300

Signature = Literal["valid", "invalid", "stale", "none"]


def sign(task_id: str, timestamp: int | str, key: Secret | str) -> str:
    """Return base64(HMAC-SHA256(key, task id + "." + unix seconds)) (provider-api 12)."""
    plain = key.reveal() if isinstance(key, Secret) else key
    message = f"{task_id}.{timestamp}".encode(errors="replace")
    return base64.b64encode(hmac.new(plain.encode(), message, hashlib.sha256).digest()).decode()


def verify(headers: Mapping[str, str], task_id: str | None, key: Secret | str, now: float | datetime) -> Signature:
    """Return what the signature headers are worth: "none" where there are none, "stale" when older than 300 s.

    Header names compare without case; `now` is a datetime or unix seconds. A valid signature says nothing about the
    body: read the task's details before trusting a link in it.
    """
    found = {str(name).lower(): str(value).strip() for name, value in headers.items()}
    timestamp, signature = found.get(TIMESTAMP_HEADER.lower()), found.get(SIGNATURE_HEADER.lower())
    if timestamp is None and signature is None:
        return "none"
    if not timestamp or not signature or not task_id or not (timestamp.isascii() and timestamp.isdigit()):
        return "invalid"
    expected = sign(task_id, timestamp, key).encode()
    if len(timestamp) > 15 or not hmac.compare_digest(expected, signature.encode(errors="replace")):
        return "invalid"
    seconds = now.timestamp() if isinstance(now, datetime) else now
    return "valid" if abs(seconds - int(timestamp)) <= WINDOW_S else "stale"
