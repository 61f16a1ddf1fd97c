"""What watching costs: the arithmetic of the docstring, counted on a clock that is turned by hand."""

from __future__ import annotations

from kit.service.keeper import Keeper
from kit.service.rhythm import Purse, Rhythm
from kit.service.tunnel import OwnUrl, Way

EITHER = 'tunnel="none"'


def test_a_month_of_submissions_all_day_leaves_half_of_the_free_requests(monkeypatch):
    """With somebody submitting day and night the purse pays at most 11,000 challenges in 30 days."""
    now = [0.0]
    monkeypatch.setattr("kit.service.keeper.time.monotonic", lambda: now[0])
    rhythm = Rhythm()
    keeper = Keeper(
        Way("url"), OwnUrl("https://x.example", lambda: 1), None, counts={}, on_change=lambda: None, rhythm=rhythm
    )
    sent = 0
    while now[0] < 30 * 86_400:
        keeper._used_at = now[0]
        due = keeper._due()
        if due <= now[0]:
            keeper._challenged_at = now[0]
            keeper._purse.pay()
            sent += 1
        now[0] = max(now[0] + 1, min(due, now[0] + 60) if due > now[0] else now[0] + 1)

    assert 10_000 <= sent <= 11_000


def test_a_day_with_one_submission_costs_what_the_docstring_says(monkeypatch):
    """24 challenges in the first ten minutes, one every ten minutes for the rest of the day, none afterwards."""
    now = [1000.0]
    monkeypatch.setattr("kit.service.keeper.time.monotonic", lambda: now[0])
    keeper = Keeper(
        Way("url"), OwnUrl("https://x.example", lambda: 1), None, counts={}, on_change=lambda: None, rhythm=Rhythm()
    )
    keeper._used_at = keeper._challenged_at = now[0]
    sent = []
    while now[0] < 1000 + 2 * 86_400:
        if keeper._due() <= now[0]:
            keeper._challenged_at = now[0]
            keeper._purse.pay()
            sent.append(now[0] - 1000)
        now[0] += 1

    assert 23 <= len([at for at in sent if at <= 600]) <= 24
    assert 160 <= len(sent) <= 168
    assert max(sent) <= 86_400 + 600


def test_a_purse_fills_up_slowly_and_owes_no_more_than_one(monkeypatch):
    """Empty is empty: what is owed is one challenge at the most, and it refills at its pace."""
    now = [0.0]
    monkeypatch.setattr("kit.service.keeper.time.monotonic", lambda: now[0])
    purse = Purse(2, 10)
    for _ in range(50):
        purse.pay()
    empty = purse.full_enough
    now[0] = 19.9
    soon = purse.full_enough
    now[0] = 20.1

    assert (False, False, True) == (empty, soon, purse.full_enough)
