"""Owns the names that mean to lead somewhere, as a careless or hijacked provider sends them for ids and titles."""

from __future__ import annotations

__all__ = ["MARK", "hostile_names"]

MARK = "zq7x"  # whatever reaches the disk with this in it came from the network

_LEADS = (
    "../", "../../", "../../../../../../../../", "..\\", "..\\..\\", "%2e%2e%2f", "%2e%2e/", "..%2f", "..%5c",
    "%252e%252e%252f", "....//", "..;/", "..//", ".././", "．．／", "．．＼", "..／", "‥/", "%c0%ae%c0%ae/", "..%00/",
    "\u2024\u2024/", "..\u2215", "..\u2044", "..\u29f5", "..¥", "..₩", "file:///", "/", "//", "/./", "\\",
    "\\\\", "\\\\?\\", "\\\\.\\", "//./", "//?/", "C:", "C:\\", "C:/", "c:..\\", "C|/", "~/", "~root/",
    "$HOME/", "${HOME}/", "%TEMP%\\", "$(pwd)/", "`pwd`/", "./", ".\\", "/proc/self/cwd/", "/dev/shm/", "/tmp/",
    "\\\\host\\share\\", "//host/share/", "smb://host/", "s3://bucket/", "memory::", "\0../", "a\0/../", " ../",
    "\t../", "\n../", "\r\n../", "\x1b[2K../", "\u202e../", "\u200b../", "\ufeff../", "\u2028../", "\ud800../",
    "..\ud800/", "\U000e002e../",
)  # fmt: skip
_TAILS = (MARK, f"{MARK}.html", f"a/../{MARK}/", f"{MARK}\0.mp3")
_DEVICES = (
    "CON",
    "con",
    "NUL",
    "aux",
    "PRN",
    "COM1",
    "lpt9",
    "COM¹",
    "CONIN$",
    "CON.mp3",
    "nul .txt",
    "aux:",
    "CLOCK$",
)
_ODD = (
    "", " ", ".", "..", "...", ". .", "~", "-", "-rf", "--help", "*", "?", "|", "<", ">", '"', "'", ":", ";",
    "&", "$", "`", "#", "%", "a" * 4096, "夜" * 4096, "../" * 1365, "\u202e" * 4096, "\u0301" * 4096, "🎹" * 300,
    "\0" * 300, "\ud800", "\udfff\ud800", f"{MARK}.", f"{MARK} ", f"{MARK}. . .", f".{MARK}", f"{MARK}:stream",
    f"{MARK}::$DATA", f"{MARK}~1", f"{MARK}.part", f"t1c3k9x7q2m4z-audio-1.{MARK}", "manifest.json",
    "ledger.sqlite", "service.lock", ".callboard-x", "desktop.ini", ".ipynb", f"\u202e3pm.{MARK}",
    f"{MARK}\u200f\u200e", f"{MARK}\u2066\u2069", f"１２３{MARK}", f"ﷺ{MARK}", f"é{MARK}", f"e\u0301{MARK}",
    f"{MARK}\r\nSet-Cookie: a=b", f"<img src=x>{MARK}", "{0}", "%s%n", "{self}", "\\u002e\\u002e/",
)  # fmt: skip


def hostile_names() -> list[str]:
    """Return more than 300 of them, each once."""
    led = (lead + tail for lead in _LEADS for tail in _TAILS)
    return list(dict.fromkeys([*led, *_DEVICES, *_ODD]))
