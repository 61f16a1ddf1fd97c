"""The live hold on the service: who gets which session, what is bought once, and what nobody gets to see."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import kit
from tests.flows.acting import until
from tests.services import running_services

CANARY = "canary-7d1f0a9be2c34f58"


def song(session: kit.Session, title: str, **wishes: bool) -> kit.Task:
    """Wish for a song whose files are not fetched."""
    return session.generate_music(style="slow piano", title=title, instrumental=True, **{"save": False, **wishes})


def bytes_below(folder: Path) -> bytes:
    """Everything in the files below a folder, the simulated provider's own folders left out."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and "provider-" not in str(path)]
    assert files
    return b"\n".join(path.read_bytes() for path in files)


def test_the_same_wish_is_the_earlier_task_and_says_so(shared, caplog):
    """Running a cell again returns the earlier task and says that nothing was spent; `again=True` buys another."""
    caplog.set_level(logging.INFO, "kit.notebook.live")
    before = shared.session.sandbox.creates
    first, second = song(shared.session, "Twice"), song(shared.session, "Twice")
    assert first.id in caplog.text
    assert "This is the earlier song task" in caplog.text
    assert "nothing was spent" in caplog.text
    third = song(shared.session, "Twice", again=True)

    assert first.id == second.id != third.id
    assert before + 2 == shared.session.sandbox.creates
    assert third.id == song(shared.session, "Twice").id


def test_a_failed_task_is_returned_too_and_not_bought_again(shared):
    """The same wish after a failure is the failed task: whether to spend again is for the person to say."""
    with shared.session.sandbox.next("music", code=451):
        failed = song(shared.session, "Refused")
        with pytest.raises(kit.TaskFailed):
            failed.wait(timeout=30)
    before = shared.session.sandbox.creates

    assert failed.id == song(shared.session, "Refused").id
    assert before == shared.session.sandbox.creates


def test_two_providers_of_one_folder_share_a_service_and_its_tables(shared):
    """Sessions in both dialects have one service; each buys at its own provider, and every row says at which."""
    ours, theirs = song(shared.session, "In both"), song(shared.kie, "In both")
    rows = shared.session.tasks().set_index("id")

    assert shared.session.service == shared.kie.service
    assert shared.session.sandbox.base_url != shared.kie.sandbox.base_url
    assert ["sandbox", "sandbox-kie"] == list(rows.loc[[ours.id, theirs.id], "provider"])
    assert ours.id != theirs.id
    assert theirs.id == shared.session.task(theirs.id).id


def test_one_wish_from_many_threads_is_bought_once(shared):
    """Eight threads with the same parameters get one task; eight with their own get eight."""
    before = shared.session.sandbox.creates
    with ThreadPoolExecutor(8) as pool:
        same = list(pool.map(lambda _: song(shared.session, "Crowd").id, range(8)))
        own = list(pool.map(lambda n: song(shared.session, f"Crowd {n}").id, range(8)))

    assert 1 == len(set(same))
    assert 8 == len(set(own))
    assert before + 9 == shared.session.sandbox.creates


def test_threads_that_connect_at_once_get_one_session(connect):
    """The first connect of a process may be two at once: there is one session and one service."""
    with ThreadPoolExecutor(4) as pool:
        sessions = list(pool.map(lambda _: connect(), range(4)))

    assert 1 == len({id(session) for session in sessions})


def test_other_options_replace_the_session_and_the_old_one_says_it_is_closed(connect):
    """Connecting with another speed or `save` is a new session on the same service."""
    first = connect()
    second = connect(save=False)

    assert first is not second
    assert not first.attached
    assert first.area == second.area
    with pytest.raises(kit.ServiceError, match=r"closed.*kit\.connect\(\)"):
        song(first, "Too late")


def test_leaving_is_easy_and_what_was_bought_can_still_be_read(connect):
    """A `with` block closes, closing again is no error, every call says it is closed, and the tables go on."""
    with connect() as session:
        task = song(session, "Left alone")
    session.close()
    session.close()
    calls = [
        lambda: song(session, "Too late"),
        session.credits,
        lambda: session.callback_url("video"),
        lambda: session.adopt("5bbe", kind="video"),
        lambda: session.service,
        lambda: session.sandbox,
        task.refresh,
        task.save,
    ]
    for call in calls:
        with pytest.raises(kit.ServiceError, match=r"This session is closed\. Connect again: session = kit\.connect"):
            call()

    assert repr(session).endswith("closed>")
    assert "succeeded" == task.wait(timeout=60).status
    assert [task.id] == list(session.tasks()["id"])
    connect().shutdown()


def test_a_shutdown_ends_the_service_and_leaving_twice_is_no_error(connect, tmp_path):
    """After `shutdown` no process is left, and `close` has nothing more to do."""
    session = connect()
    record = session.service
    session.shutdown()
    session.close()

    assert not record.alive()
    assert [] == running_services(tmp_path)


def test_connecting_says_what_it_is_in_a_plain_program_too(connect, caplog):
    """The badge goes to the log where there is no notebook; the same session again is silent."""
    caplog.set_level(logging.INFO, "kit.notebook.live")
    session = connect()
    assert "never spends anything" in caplog.text
    assert str(session.area) in caplog.text
    caplog.clear()
    connect()

    assert "" == caplog.text


def test_a_provider_s_key_is_written_nowhere(connect, tmp_path, caplog):
    """A real key is in no repr, no attribute that prints, no error, no log and no file, in data or state folder."""
    caplog.set_level(logging.DEBUG)
    session = connect("kie", key=CANARY, speed=None)
    errors = []
    calls = [lambda: session.generate_music("x" * 4000), lambda: session.task("nope")]
    for call in (*calls, lambda: session.callback_url("video")):  # the last: nobody can call back by polling alone
        with pytest.raises(kit.KitError) as raised:
            call()
        errors.append(f"{raised.value!r}{vars(raised.value)}")
    session.shutdown()
    shown = f"{session!r}{vars(session)}{session.profile}{errors}{caplog.text}"

    assert CANARY not in shown
    assert CANARY.encode() not in bytes_below(tmp_path)


def test_the_secrets_of_callback_urls_are_kept_as_hashes_alone(connect):
    """Of each URL handed out, ledger, logs and archive hold the hash and not the secret."""
    session = connect()
    task = song(session, "Secret").wait(timeout=60)
    until(lambda: session.tasks().set_index("id").loc[task.id, "deliveries"] > 0)
    urls = [session.callback_url("video"), *(job["callback_url"] for job in session.sandbox.jobs())]
    secrets = [url.rsplit("/", 1)[1] for url in urls]
    record = session.service
    kept = bytes_below(session.area)
    session.shutdown()
    kept += bytes_below(session.area)
    frames = "".join(frame().to_csv() for frame in (session.tasks, session.files, session.deliveries, session.tracks))

    assert all(len(secret) >= 22 for secret in secrets)
    tokens = [*secrets, record.control_token, record.media_token]
    assert [] == [token for token in tokens if token.encode() in kept or token in frames]
