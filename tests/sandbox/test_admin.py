"""What a notebook holds: balance, speed, clock, jobs, faults that take themselves back, sentences for mistakes."""

from __future__ import annotations

import pytest

from kit.errors import InvalidInput, ProviderError
from kit.sandbox.admin import Sandbox
from tests.sandbox.running import TOKEN, Running


def test_balance_and_speed_are_read_and_set(provider: Running) -> None:
    """What is set is read back, and the provider's own balance agrees."""
    sandbox = provider.sandbox
    sandbox.credits, sandbox.speed = 12.5, 40
    assert (12.5, 40.0) == (sandbox.credits, sandbox.speed)


@pytest.mark.parametrize("value", [-1, "20", None, True, 0.0])
def test_an_impossible_speed_is_refused(provider: Running, value: object) -> None:
    """The refusal says which numbers there are."""
    with pytest.raises(InvalidInput, match=r"0\.001 to 100000.*sandbox\.speed = 20"):
        provider.sandbox.speed = value  # type: ignore[assignment]


def test_creates_counts_accepted_submissions_only(provider: Running) -> None:
    """A refused submission is no create."""
    before = provider.sandbox.creates
    provider.accepted("music")
    provider.submit("wav", taskId="x", audioId="y")
    assert before + 1 == provider.sandbox.creates


def test_links_expire_when_the_days_have_passed(provider: Running) -> None:
    """A's WAV lives 15 days and its cover 14, B's all 14; work and dates do not move (provider-api 13.1)."""
    song = provider.song()
    wav, cover = provider.accepted("wav", **song), provider.accepted("cover_image", **song)
    provider.ended(wav)
    provider.ended(cover)
    links = [provider.details("wav", wav)["response"]["audioWavUrl"]]
    links += provider.details("cover_image", cover)["response"]["images"]
    seen = []
    for days in (13.9, 0.2, 1):
        provider.sandbox.advance(days=days)
        seen.append([provider.get(link).status_code for link in links])
    later = 200 if provider.dialect == "sunoapi" else 404
    assert [[200, 200, 200], [later, 404, 404], [404, 404, 404]] == seen


def test_jobs_tell_what_happened_in_order(provider: Running) -> None:
    """Every job has its ids, kind, state, callback URL and price, oldest first."""
    song = provider.song()
    task_id = provider.accepted("wav", "http://127.0.0.1:9/here", **song)
    jobs = provider.sandbox.jobs()[-2:]
    assert ["music", "wav"] == [job["kind"] for job in jobs]
    expected = {"task_id": task_id, "callback_url": "http://127.0.0.1:9/here", "charged": 0.4}
    assert expected.items() <= jobs[1].items()


def test_leaving_a_fault_takes_back_what_did_not_happen(provider: Running) -> None:
    """Two of three are used inside; the third is gone afterwards, and removing again is no error."""
    with provider.sandbox.next("music", submit=455, times=3) as fault:
        assert [455, 455] == [provider.submit("music").json()["code"] for _ in range(2)]
        assert fault.waiting == 1
    assert provider.submit("music").json()["code"] == 200
    assert fault.remove() == 0


def test_standing_faults_stand_until_they_are_taken_back(provider: Running) -> None:
    """next(times=None) and always() stand; clear() takes back everything."""
    provider.sandbox.next("music", submit=455, times=None)
    provider.sandbox.always("wav", callbacks="lost")
    assert [455, 455] == [provider.submit("music").json()["code"] for _ in range(2)]
    provider.sandbox.clear()
    assert provider.submit("music").json()["code"] == 200


def test_mistakes_are_told_before_anything_happens(provider: Running) -> None:
    """Nothing asked for, an unknown kind or code, an id for many jobs: each is a sentence with a call that works."""
    sandbox = provider.sandbox
    for mistake in (
        lambda: sandbox.next("video"),
        sandbox.always,
        lambda: sandbox.next("film", code=500),
        lambda: sandbox.next("video", code=777),
        lambda: sandbox.next("*", callbacks="lost"),
        lambda: sandbox.next("video", code=500, times=0),
        lambda: sandbox.next("video", task_id="a", times=2),
        lambda: sandbox.advance(days=-1),
    ):
        with pytest.raises(InvalidInput, match=r"This would work: sandbox\."):
            mistake()


def test_one_line_reprs_hold_no_token(provider: Running) -> None:
    """Neither handle prints the token or a second line."""
    sandbox = provider.sandbox
    assert repr(sandbox) == f"Sandbox({provider.base!r})"
    assert repr(sandbox.next("video", code=500)) == "Fault('video', code=500, times=1)"
    assert TOKEN not in repr(vars(sandbox).keys())


def test_a_wrong_token_or_a_dead_server_is_a_provider_error(provider: Running) -> None:
    """Both say what to do next; the token is not in the message."""
    stranger = Sandbox(provider.base, "wrong-token")
    with pytest.raises(ProviderError, match="403") as refused:
        _ = stranger.credits
    assert "wrong-token" not in str(refused.value)
    stranger.close()
    nobody = Sandbox("http://127.0.0.1:9", "x")
    with pytest.raises(ProviderError, match="Connect again"):
        nobody.jobs()
    nobody.close()
