"""Owns the removal of callback URLs and secrets from text that is kept; knows nothing of what the text means."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from kit.provider.reading import inflate

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["CALLBACK_URL", "redact"]

CALLBACK_URL = "(callback URL)"
HIDDEN = "(secret)"

_KEY = r"(?P<key>cal{1,2}[_-]?back[_-]?url)"
# As it stands in an object; a body cut short has no closing quote.
_PLAIN = re.compile(rf'(?P<before>"{_KEY}"\s*:\s*")(?:[^"\\]|\\.)*(?P<after>"|\\?\Z)', re.IGNORECASE | re.DOTALL)
# As it stands inside a JSON string (`param`), however often that was wrapped again.
_WRAPPED = re.compile(
    rf'(?P<before>(?P<quote>\\{{1,31}}"){_KEY}(?P=quote)\s*:\s*(?P=quote))[^"]*?(?P<after>(?P=quote)|"|\Z)',
    re.IGNORECASE,
)


def redact(body: bytes, secrets: Sequence[str] = ()) -> str:
    """Return `body` as text with every callback URL replaced, also inside JSON strings, and every secret given.

    The three spellings are callBackUrl, callbackUrl and calBackUrl (provider-api 1.4), in any case.
    """
    text = inflate(body).decode("utf-8", errors="replace")
    for pattern in (_PLAIN, _WRAPPED):
        text = pattern.sub(rf"\g<before>{CALLBACK_URL}\g<after>", text)
    for secret in sorted(filter(None, secrets), key=len, reverse=True):
        for written in {secret, secret.replace("/", "\\/")}:
            text = text.replace(written, HIDDEN)
    return text
