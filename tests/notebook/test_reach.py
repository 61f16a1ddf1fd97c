"""How callbacks shall get here: what is chosen when, what is refused, and the one line that says how it stands."""

from __future__ import annotations

import getpass
import sys
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import kit
from kit.notebook import reach
from kit.notebook.reach import Asked, ask_token, asked_for, how_it_stands
from kit.provider.profiles import PROFILES
from kit.settings import Secret

CANARY = "canary-2b9c41d07aa34f0e"
URL = "https://callbacks.example.org"
SANDBOX, REAL = PROFILES["sandbox"], PROFILES["sunoapi"]


def way(driver: str, state: str, url: str | None = None, problem: str | None = None) -> dict[str, Any]:
    """What the service tells of a way."""
    return {"driver": driver, "url": url, "state": state, "problem": problem, "since": None, "proven_at": None}


@pytest.mark.parametrize(
    ("profile", "environment", "arguments", "expected"),
    [
        (SANDBOX, {}, {}, ("direct", None)),
        (SANDBOX, {"KIT_PUBLIC_URL": URL, "NGROK_AUTHTOKEN": CANARY}, {}, ("direct", None)),
        (SANDBOX, {}, {"tunnel": "none"}, ("none", None)),
        (SANDBOX, {"NGROK_AUTHTOKEN": CANARY}, {"tunnel": "ngrok"}, ("ngrok", None)),
        (SANDBOX, {}, {"public_url": "http://127.0.0.1:4711/"}, ("url", "http://127.0.0.1:4711")),
        (REAL, {}, {}, ("none", None)),
        (REAL, {"NGROK_AUTHTOKEN": CANARY}, {}, ("ngrok", None)),
        (REAL, {"NGROK_AUTHTOKEN": CANARY, "KIT_PUBLIC_URL": URL}, {}, ("url", URL)),
        (REAL, {"KIT_PUBLIC_URL": URL}, {"public_url": f"{URL}/mine/"}, ("url", f"{URL}/mine")),
        (REAL, {"KIT_PUBLIC_URL": URL, "NGROK_AUTHTOKEN": CANARY}, {"tunnel": "ngrok"}, ("ngrok", None)),
        (REAL, {"KIT_PUBLIC_URL": URL, "NGROK_AUTHTOKEN": CANARY}, {"tunnel": "none"}, ("none", None)),
    ],
)
def test_the_way_follows_argument_setting_and_profile(profile, environment, arguments, expected, monkeypatch):
    """An argument wins over a setting, an address over a token; a sandbox goes its own way unless it is told."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    asked = asked_for(profile, arguments.get("tunnel"), arguments.get("public_url"))

    assert expected == (asked.driver, asked.url)
    assert asked.said is bool(arguments)
    assert (Secret(CANARY) if asked.driver == "ngrok" else None) == asked.token
    assert CANARY not in repr(asked)
    assert CANARY not in str(asked.as_reach())


def test_the_agent_s_program_is_named_where_a_setting_names_one(monkeypatch):
    """KIT_NGROK_PATH goes to the service with an ngrok way, and with no other."""
    monkeypatch.setenv("KIT_NGROK_PATH", "/opt/ngrok")

    assert "/opt/ngrok" == Asked("ngrok").as_reach()["program"]
    assert {"driver": "none", "url": None, "program": None} == Asked("none").as_reach()


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("", "an https address"),
        (5, "an https address"),
        ("callbacks.example.org", "an https address"),
        ("https://", "an https address"),
        ("https://a.example:99999", "an https address"),
        ("https://a.example:x", "an https address"),
        ("https://a b.example", "an https address"),
        ("https://exämple.org", "an https address"),
        ("https:\\\\a.example", "an https address"),
        ("http://callbacks.example.org", "begins with https://"),
        ("ftp://127.0.0.1", "begins with https://"),
        ("https://ada:secret@a.example", "without user name"),
        ("https://a.example?x=1", "without a query"),
        ("https://a.example/#top", "without a query"),
    ],
)
def test_an_address_that_cannot_work_is_refused(value, told, monkeypatch):
    """As argument and as setting alike, with an address that would work, and never with a password in the words."""
    with pytest.raises(kit.InvalidInput, match=told) as raised:
        asked_for(REAL, None, value)
    assert "public_url=" in str(raised.value)
    assert "secret" not in f"{raised.value}{vars(raised.value)}"

    if isinstance(value, str) and value:
        monkeypatch.setenv("KIT_PUBLIC_URL", value)
        with pytest.raises(kit.InvalidInput, match=rf"KIT_PUBLIC_URL=.*{told}"):
            asked_for(REAL, None, None)


@given(st.text(max_size=60))
def test_no_address_breaks_the_check(text: str) -> None:
    """Whatever is given is taken or refused in words."""
    try:
        asked = asked_for(REAL, None, text)
    except kit.InvalidInput:
        return
    assert asked.url is not None
    assert asked.url.startswith(("https://", "http://"))


@pytest.mark.parametrize(
    ("told", "asked", "profile", "expected"),
    [
        (way("direct", "proven", "http://127.0.0.1:1"), Asked("direct"), SANDBOX, "Its callbacks arrive directly"),
        (way("ngrok", "proven", "https://a.ngrok.app"), Asked("ngrok"), REAL,
         "Callbacks arrive through ngrok at https://a.ngrok.app."),
        (way("ngrok", "open", "https://a.ngrok.app"), Asked("ngrok"), REAL, "The first submission proves"),
        (way("url", "open", URL), Asked("url", url=URL), REAL, f"Callbacks arrive at {URL}. The first submission"),
        (way("ngrok", "opening"), Asked("ngrok"), REAL, "still opening. session.health()"),
        (way("ngrok", "opening", problem="The agent is being fetched."), Asked("ngrok"), REAL,
         "still opening (The agent is being fetched). "),
        (way("ngrok", "down", problem="The token is wrong. Copy it again."), Asked("ngrok"), REAL,
         "Callbacks cannot arrive: The token is wrong. Copy it again. Meanwhile results are found by asking every"),
        (way("ngrok", "down"), Asked("ngrok"), REAL, """Or go on by polling alone: kit.connect('sunoapi', tunnel="""),
        (way("url", "down"), Asked("url"), REAL, "Callbacks cannot arrive: the public address is down. Meanwhile"),
        (way("none", "closed"), Asked("none", said=True), REAL,
         "Polling only, as you asked: no callback can arrive, and results are found by asking every 30 s."),
        (way("none", "closed"), Asked("none"), REAL, "Put a line NGROK_AUTHTOKEN=... into a file named .env"),
        (way("none", "closed"), Asked("none"), REAL, "kit.connect('sunoapi', public_url="),
        (way("none", "closed"), Asked("none", said=True), SANDBOX, "results are found by asking."),
    ],
)  # fmt: skip
def test_one_line_says_how_callbacks_arrive(told, asked, profile, expected):
    """It names the address, or what is wrong with the next step, on one line."""
    line = how_it_stands(told, asked, profile)

    assert expected in line
    assert "\n" not in line


def test_nobody_is_asked_where_nobody_can_answer(monkeypatch):
    """A program without a terminal gets the next step instead of a question."""
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(isatty=lambda: False))
    monkeypatch.setattr(getpass, "getpass", lambda prompt: pytest.fail("it asked"))

    with pytest.raises(kit.SettingsError, match=r"NGROK_AUTHTOKEN is not set.*\.env.*tunnel=\"none\""):
        ask_token(REAL)


def test_a_terminal_is_asked_and_the_answer_is_a_secret(monkeypatch):
    """What is typed is kept as a secret; a slip of the keyboard is told without being shown."""
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(isatty=lambda: True))
    monkeypatch.setattr(getpass, "getpass", lambda prompt: f" {CANARY} ")
    assert Secret(CANARY) == ask_token(REAL)

    monkeypatch.setattr(getpass, "getpass", lambda prompt: f"{CANARY} {CANARY}")
    with pytest.raises(kit.SettingsError, match="is no ngrok token") as raised:
        ask_token(REAL)
    assert CANARY not in str(raised.value)


def test_a_kernel_whose_front_end_takes_no_questions_says_what_to_do(monkeypatch):
    """The error of a kernel without stdin becomes the next step."""

    def refuse(prompt: str) -> str:
        raise NotImplementedError("stdin is not supported")

    monkeypatch.setattr(reach, "has_kernel", lambda: True)
    monkeypatch.setattr(getpass, "getpass", refuse)

    with pytest.raises(kit.SettingsError, match="NGROK_AUTHTOKEN"):
        ask_token(REAL)
