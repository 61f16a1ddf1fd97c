"""Every documented callback body, posted by plain HTTP: to a task's own URL, against details, to a listening URL."""

from __future__ import annotations

import pytest

import kit
from kit.provider.kinds import KINDS
from tests.flows.acting import SAMPLES, job_of, make_song, post, sample, until


def submit(session: kit.Session, kind: str, number: int) -> kit.Task:
    """Submit the `number`th task of a kind; takes and songs are used once for each kind, as providers demand."""
    if kind == "music":
        return session.generate_music(f"song {number}", save=False)
    if kind == "cover_image":
        return session.create_cover_images(make_song(session, f"Song {number}"), save=False)
    track = make_song(session, f"Song {number // 2}").tracks[number % 2]
    call = session.create_video if kind == "video" else session.convert_wav
    return call(track, save=False)


def bodies(dialect: str) -> list[tuple[int, str, str, int]]:
    """Return (number within its kind, file, kind, code) of each documented body of a dialect."""
    names = sorted(path.name for path in SAMPLES.glob(f"{dialect}-*.json"))
    kinds = [name.split("-")[1] for name in names]
    return [(kinds[:n].count(kinds[n]), name, kinds[n], sample(name)["code"]) for n, name in enumerate(names)]


def submit_silently(session: kit.Session, kind: str, number: int, code: int) -> kit.Task:
    """Submit a task that the provider finishes with `code` at once, without ever calling back by itself."""
    for song in range(2):
        make_song(session, f"Song {song}")
    wish = {"callbacks": "lost"} | ({"code": code} if code != 200 else {})
    with session.sandbox.next(kind, **wish):
        task = submit(session, kind, number)
    until(lambda: job_of(session, task)["completed_at"])
    return task


@pytest.mark.timeout(300)
@pytest.mark.parametrize("dialect", ["sunoapi", "kie"])
def test_a_body_that_details_agree_with_becomes_the_right_row(connect, dialect):
    """Each documented body ends as its documented row, at once, because details were asked because of it."""
    session = connect("sandbox" if dialect == "sunoapi" else "sandbox-kie", speed=1)  # polls are rare, work is not
    session.sandbox.speed = 5000
    for number, name, kind, code in bodies(dialect):
        task = submit_silently(session, kind, number, code)
        assert post(job_of(session, task)["callback_url"], sample(name, task_id=task.task_id)) == 200
        until(lambda task=task: task.state.final)

        row = session.tasks().set_index("id").loc[task.id]
        expected = "succeeded" if code == 200 else "failed"
        assert (name, expected, "callback") == (name, row["status"], row["learned_by"])
        assert (name, 1) == (name, row["deliveries"])
        assert code == 200 or (row["meaning"] and row["next_step"]), name
        assert code == 200 or row["code"] == code, name


@pytest.mark.timeout(300)
@pytest.mark.parametrize("dialect", ["sunoapi", "kie"])
def test_where_a_body_and_details_disagree_details_win(connect, dialect):
    """A success body on a failed task, and a failure body on a succeeded one, change nothing."""
    session = connect("sandbox" if dialect == "sunoapi" else "sandbox-kie", speed=1)
    session.sandbox.speed = 5000
    for number, name, kind, code in bodies(dialect):
        truth = max(c for c in KINDS[kind].callback_codes[dialect]) if code == 200 else 200
        task = submit_silently(session, kind, number, truth)
        assert post(job_of(session, task)["callback_url"], sample(name, task_id=task.task_id)) == 200
        until(lambda task=task: task.state.final)

        assert (name, "succeeded" if truth == 200 else "failed") == (name, task.status)
        urls = [url for file in task.state.files for url in file.urls]
        assert all(url.startswith(session.sandbox.base_url) for url in urls), name


@pytest.mark.parametrize("provider", ["sunoapi", "kie"])
def test_a_body_on_a_listening_url_without_a_key_is_an_unconfirmed_row(connect, provider):
    """What nobody can confirm is shown with its meaning, and nothing is downloaded."""
    session = connect()
    for _, name, kind, code in bodies(provider):
        before = set(session.tasks()["id"])
        assert post(session.callback_url(kind, provider=provider), sample(name)) == 200
        until(lambda before=before: len(session.tasks()) == len(before) + 1)

        row = session.tasks().set_index("id").drop(list(before)).iloc[0]
        stage = name.removesuffix(".json").split("-")[-1]
        placeholder = name == "kie-video-success.json"
        assert (name, "pending" if placeholder or stage in ("text", "first") else "unconfirmed") == (
            name,
            row["status"],
        )
        assert (name, code) == (name, row["code"])
        assert row["meaning"], name
        assert not placeholder or "no usable link" in row["meaning"]
        assert not row["confirmed"]
    assert session.files().empty
    assert not list((session.area / "archive").iterdir())


def test_a_confirmed_listening_row_becomes_the_result(connect):
    """`task.confirm()` makes what arrived the truth: the row succeeds and its file is wanted."""
    session = connect()
    song = make_song(session)
    wav = session.convert_wav(song.tracks[0], save=False).wait(timeout=60)
    link = wav.state.files[0].urls[0]
    body = {"code": 200, "msg": "success", "data": {"audioWavUrl": link, "task_id": "f" * 32}}
    assert post(session.callback_url("wav"), body) == 200
    until(lambda: "unconfirmed" in set(session.tasks()["status"]))
    heard = session.task("f" * 32)

    assert heard.confirm().wait(timeout=60).files[0].sha256
    assert heard.status == "succeeded"


def test_nothing_but_post_on_a_known_url_is_answered(connect):
    """Other paths, other methods and unknown secrets get a fixed refusal and leave no row."""
    import httpx

    session = connect()
    url = session.callback_url("wav")
    base, secret = url.rsplit("/", 1)
    assert httpx.get(url, trust_env=False).status_code == 405
    assert post(f"{base}/{secret[:-1]}", {}) == 404
    assert post(base.removesuffix("/cb") + "/hello", {}) == 404
    assert httpx.post(url, content=b"x" * 300_000, trust_env=False).status_code == 413
    assert session.deliveries().empty


@pytest.mark.parametrize("forged", ["nobody-knows-this", "another task of mine"])
def test_a_forged_id_does_not_take_the_place_of_a_lost_submit_answer(connect, forged):
    """Whoever posts a wrong id first on the URL of an unanswered submission changes nothing: the true id settles it."""
    session = connect(speed=1)
    session.sandbox.speed = 5000
    song = make_song(session)
    other = session.convert_wav(song.tracks[1], save=False)
    until(lambda: job_of(session, other)["completed_at"])
    with session.sandbox.next("wav", submit="lost_answer", callbacks="lost"):
        wav = session.convert_wav(song.tracks[0], save=False)
    until(lambda: wav.status == "unconfirmed" and session.sandbox.jobs()[-1]["completed_at"])
    true = session.sandbox.jobs()[-1]
    wrong = other.task_id if forged == "another task of mine" else forged
    assert post(true["callback_url"], sample("sunoapi-wav-success.json", task_id=wrong)) == 200
    until(lambda: wav.state.deliveries == 1)
    assert post(true["callback_url"], sample("sunoapi-wav-success.json", task_id=true["task_id"])) == 200

    assert wav.wait(timeout=60, until="succeeded").task_id == true["task_id"]
    assert wav.state.files[0].urls != other.state.files[0].urls
