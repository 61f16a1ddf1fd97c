"""Owns what ngrok's error codes mean to a person: a sentence, the next step and ngrok's own words; starts nothing."""

from __future__ import annotations

import html
import re
from dataclasses import dataclass

from kit.settings import Secret

__all__ = ["Complaint", "cleaned", "complaint_in"]

_CODE = re.compile(r"ERR_NGROK_(\d{1,6})", re.IGNORECASE)
_HIDDEN = re.compile(r"(?is)<(script|style|head)\b.*?</\1\s*>|<!--.*?-->|<[^>]*>")
_TOKEN = re.compile(r"(?i)(authtoken['\"]?\s*[:=]\s*['\"]?)[^\s'\"]+")
_NOISE = re.compile(r"[\x00-\x20\x7f-\xa0\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff]+")
LONGEST = 280

AUTH = (
    "ngrok does not take the token of your account. Copy it again from dashboard.ngrok.com (Your Authtoken) into "
    "NGROK_AUTHTOKEN and connect again."
)
PROGRAM = (
    "ngrok wants a newer agent. Run `ngrok update`, or put the newest program from ngrok.com/download in its place "
    "(KIT_NGROK_PATH names another one), and connect again."
)
SESSIONS = (
    "Your ngrok account allows no further agent at the same time. End another one: in another notebook, on another "
    "machine, or under Agents on dashboard.ngrok.com; then submit again."
)
HELD = (
    "The address of your ngrok account is held by another agent. End that one (Endpoints on dashboard.ngrok.com "
    "shows it); if it was this machine's own, its session ends by itself within a minute."
)
VERIFIED = (
    "ngrok wants a verified account. Confirm the e-mail address of your account on dashboard.ngrok.com, copy its "
    "token into NGROK_AUTHTOKEN and connect again."
)
QUOTA = "A limit of your ngrok account is reached. Wait until it is reset, or raise it: dashboard.ngrok.com/billing."
RATE = "ngrok slows this account down for a moment. It passes by itself."
OFFLINE = "ngrok knows no agent behind this address just now."


@dataclass(frozen=True)
class Complaint:
    """What ngrok complains of.

    Attributes:
        code: the number of its error.
        sentence: what it means and the next step, with ngrok's own words.
        lasting: trying again soon is of no use.
    """

    code: int
    sentence: str
    lasting: bool


# code -> (what it means here and the next step, whether trying again soon is of no use)
_TABLE: dict[int, tuple[str, bool]] = {
    105: (AUTH, True),
    106: (AUTH, True),
    107: (AUTH, True),
    108: (SESSIONS, False),
    120: (PROGRAM, True),
    121: (PROGRAM, True),
    334: (HELD, False),
    702: (RATE, False),
    703: (RATE, False),
    716: (AUTH, True),
    717: (AUTH, True),
    718: (RATE, False),
    720: (RATE, False),
    725: (QUOTA, True),
    727: (QUOTA, True),
    734: (RATE, False),
    744: (RATE, False),
    3004: ("ngrok got an answer from this machine that was no HTTP.", False),
    3200: (OFFLINE, False),
    3208: ("ngrok has suspended this account. Only its support can help: support@ngrok.com.", True),
    4018: (VERIFIED, True),
    4027: (QUOTA, True),
    6024: ("ngrok answered with its page for browsers instead of forwarding.", False),
    8012: ("The tunnel reaches its agent on this machine, but the agent does not reach the listener.", False),
    9009: ("The agent cannot use the proxy that http_proxy names: it needs to begin with http:// or https://.", True),
    9040: ("ngrok refuses agents from the address of this network. Use another network, without an anonymiser.", True),
}


def complaint_in(text: str, *, token: Secret | None = None) -> Complaint | None:
    """Return what ngrok complains of in a log line, a page or a header; None where it names no code."""
    found = _CODE.search(text)
    if found is None:
        return None
    code = int(found[1])
    words = _words(text, token)
    known = _TABLE.get(code)
    if known is None:
        return Complaint(code, f"ngrok refuses: {words} Its documentation explains it under ERR_NGROK_{code}.", False)
    return Complaint(code, f"{known[0]} (ERR_NGROK_{code}: {words})", known[1])


def cleaned(text: str, *, token: Secret | None = None, longest: int = LONGEST) -> str:
    """Return what a stranger wrote as one short line of plain text: no markup, no control characters, no token."""
    plain = text[:20_000]
    if token is not None and token.reveal():
        plain = plain.replace(token.reveal(), "…")
    plain = html.unescape(_HIDDEN.sub(" ", plain)) if "<" in plain else plain
    plain = plain.replace("\\r", " ").replace("\\n", " ")
    plain = _NOISE.sub(" ", _TOKEN.sub(r"\1…", plain)).strip()
    return plain if len(plain) <= longest else plain[: longest - 1].rstrip() + "…"


def _words(text: str, token: Secret | None) -> str:
    """Return ngrok's own words without the code, which stands beside them."""
    words = re.sub(r"^(authentication failed|failed to start (tunnel|endpoint)): ", "", cleaned(text, token=token))
    words = _NOISE.sub(" ", _CODE.sub(" ", words)).strip(" ().") or "it gives no words"
    return f'"{words}."'
