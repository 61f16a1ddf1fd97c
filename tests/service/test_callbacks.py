"""The public app: what it keeps, what it answers, what it says of signatures, and when it thinks."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kit.errors import LedgerError
from kit.ledger.facts import Abandonment, Delivery, Intent
from kit.ledger.store import Ledger, MintedUrl
from kit.provider.profiles import profile_named
from kit.provider.signing import sign
from kit.service import callbacks
from kit.service.callbacks import RECEIVED, REFUSED, CallbackApp, secret_hash
from kit.service.hub import Hub
from kit.settings import Secret

SECRET = "s3cret-of-the-first-task-0123456"
OTHER = "s3cret-of-the-other-task-0123456"
KEY = Secret("webhook-key")
DONE = b'{"code":200,"data":{"task_id":"v1","video_url":"https://m.example/a.mp4"}}'


def mint(secret, task, *, expires_at=None, listen_only=False):
    """Return a URL with this secret."""
    given = {"kind": "video", "provider": "kie", "dialect": "kie", "created_at": datetime.now(UTC)}
    key = secret_hash(secret)
    return MintedUrl(secret_hash=key, task=task, listen_only=listen_only, expires_at=expires_at, **given)


class World:
    """A ledger with two tasks that wait for their callbacks, and the app before it."""

    def __init__(self, folder, *, key=None, understand=None, expires_at=None):
        self.ledger = Ledger.open(folder / "ledger.sqlite")
        if not self.ledger.urls():
            now = datetime.now(UTC)
            given = {"kind": "video", "provider": "kie", "dialect": "kie", "params": {}, "request_key": "k"}
            intents = [Intent(task=task, at=now, **given) for task in ("t1", "t2")]
            urls = [mint(SECRET, "t1", expires_at=expires_at), mint(OTHER, "t2")]
            self.ledger.append(*intents, urls=urls).result()
        self.hub = Hub(self.ledger)
        self.counts = Counter()
        self.news = []
        opened = SimpleNamespace(webhook_key=key, profile=profile_named("kie"))
        providers = SimpleNamespace(get=lambda name: opened)
        self.app = CallbackApp(self.hub, providers, self.counts, understand=understand or self.understand)

    async def understand(self, url, deliveries):
        """Do what the service does."""
        self.news.append((url.task, [seq for seq, _ in deliveries]))
        self.hub.apply([seq for seq, _ in deliveries], [fact for _, fact in deliveries])

    async def post(self, secret=SECRET, body=DONE, headers=(), *, method="POST", path=None):
        """Ask the app, and return (status, headers, body)."""
        messages = [{"type": "http.request", "body": body, "more_body": False}]
        sent = []

        async def receive():
            return messages.pop(0)

        async def send(message):
            sent.append(message)

        where = path if path is not None else f"/cb/{secret}"
        await self.app({"type": "http", "method": method, "path": where, "headers": list(headers)}, receive, send)
        assert ["http.response.start", "http.response.body"] == [message["type"] for message in sent]
        return sent[0]["status"], dict(sent[0]["headers"]), sent[1]["body"]

    def stored(self):
        """Return the deliveries on the disk."""
        return [fact for _, fact in self.ledger.facts() if isinstance(fact, Delivery)]


@pytest.fixture
def world(tmp_path):
    """Give a world, or several after one another on the same ledger; each act runs in a loop of its own."""
    with contextlib.ExitStack() as stack:

        def make(**options):
            made = World(tmp_path, **options)
            stack.callback(made.ledger.close)
            return made

        yield make


async def settled(app):
    """Wait until everything stored was worked through."""
    while app._thinking._worker is not None:
        await asyncio.sleep(0.001)


def test_a_delivery_is_stored_as_it_came_and_answered_with_200(world) -> None:
    """The answer is exactly 200 with a fixed body under 100 bytes; the raw body and the telling headers are kept."""
    here = world()
    headers = [(b"content-type", b"text/odd"), (b"user-agent", b"u" * 900), (b"cookie", b"secret"), (b"host", b"h")]

    status, answered, body = asyncio.run(here.post(body=b"\xff\x00 no json", headers=headers))
    (kept,) = here.stored()

    assert (200, RECEIVED) == (status, body)
    assert len(body) < 100
    assert {b"content-type": b"application/json", b"content-length": b"21"} == answered
    assert b"\xff\x00 no json" == kept.body
    assert {"content-type": "text/odd", "user-agent": "u" * 500} == kept.headers
    assert {"stored": 1} == here.counts


@pytest.mark.parametrize(
    ("method", "path", "status", "counted"),
    [
        ("POST", "/", 404, "not_found"),
        ("GET", "/anything", 404, "not_found"),
        ("POST", "/cb", 404, "not_found"),
        ("POST", "/CB/" + SECRET, 404, "not_found"),
        ("POST", "//cb/" + SECRET, 404, "not_found"),
        ("POST", "/cb/", 404, "unknown_url"),
        ("POST", "/cb/" + SECRET + "/", 404, "unknown_url"),
        ("POST", "/cb/" + SECRET + "\x00", 404, "unknown_url"),
        ("POST", "/cb/" + SECRET[:-1], 404, "unknown_url"),
        ("POST", "/cb/" + SECRET.upper(), 404, "unknown_url"),
        ("POST", "/cb/../cb/" + SECRET, 404, "unknown_url"),
        ("POST", "/cb/%73" + SECRET[1:], 404, "unknown_url"),
        ("POST", "/cb/\ud800", 404, "unknown_url"),
        ("GET", "/cb/" + SECRET, 405, "wrong_method"),
        ("PUT", "/cb/" + SECRET, 405, "wrong_method"),
        ("DELETE", "/cb/x", 405, "wrong_method"),
    ],
)
def test_everything_else_is_refused_with_a_fixed_body(world, method, path, status, counted) -> None:
    """Another path or method is 404 or 405, echoes nothing, stores nothing and is counted."""
    here = world()

    answer = asyncio.run(here.post(method=method, path=path))

    assert (status, REFUSED) == (answer[0], answer[2])
    assert [] == here.stored()
    assert {counted: 1} == here.counts


def test_the_time_of_a_url_may_be_over(world) -> None:
    """An expired URL is 404 and counted as such."""
    here = world(expires_at=datetime.now(UTC) - timedelta(seconds=1))

    status, _, _ = asyncio.run(here.post())

    assert 404 == status
    assert {"expired_url": 1} == here.counts


def test_a_body_over_the_limit_is_refused(world) -> None:
    """256 KiB are kept, one byte more is 413."""
    here = world()

    async def run():
        exact, _, _ = await here.post(body=b"x" * callbacks.BODY_LIMIT)
        over, _, _ = await here.post(body=b"x" * (callbacks.BODY_LIMIT + 1))
        await settled(here.app)
        return exact, over

    assert (200, 413) == asyncio.run(run())
    assert {"stored": 1, "too_large": 1} == here.counts


def test_a_store_that_fails_earns_503_and_uses_nothing_up(world) -> None:
    """What could not be stored is 503 with Retry-After, is never thought about, and does not count for the cap."""
    here = world()

    async def broken(fact):
        raise LedgerError("disk full")

    async def run():
        deliver, here.hub.deliver = here.hub.deliver, broken
        refused = await here.post()
        here.hub.deliver = deliver
        kept = await here.post()
        await settled(here.app)
        return refused, kept[0]

    (status, headers, body), kept = asyncio.run(run())

    assert (503, b"5", REFUSED) == (status, headers[b"retry-after"], body)
    assert 200 == kept
    assert {"not_stored": 1, "stored": 1} == here.counts
    assert 1 == here.hub.states["t1"].deliveries


def test_a_url_is_used_up_by_many_deliveries_and_is_still_heard(world) -> None:
    """After 200 the answer stays the same, nothing more is kept, each is counted and is still news; also restarted."""
    here = world()

    async def run():
        for _ in range(callbacks.MOST_DELIVERIES):
            await here.post(body=b"{}")
        answers = [await here.post(body=b"{}") for _ in range(3)]
        other = await here.post(OTHER)
        await settled(here.app)
        return answers, other[0]

    answers, other = asyncio.run(run())
    here.ledger.close()
    after = world()

    async def later():
        answer = await after.post(body=b"{}")
        await settled(after.app)
        return answer[0]

    late = asyncio.run(later())

    assert [(200, RECEIVED)] * 3 == [(status, body) for status, _, body in answers]
    assert 200 == other
    assert [("t1", [])] == after.news
    assert {"stored": callbacks.MOST_DELIVERIES + 1, "capped": 3} == here.counts
    assert (200, {"capped": 1}) == (late, after.counts)
    assert callbacks.MOST_DELIVERIES == sum(fact.task == "t1" for fact in after.stored())


def test_a_url_is_used_up_by_large_bodies(world) -> None:
    """A mebibyte of bodies is kept of one URL; a small one that still fits is kept too."""
    here = world()

    async def run():
        for _ in range(5):
            await here.post(body=b"x" * callbacks.BODY_LIMIT)
        await settled(here.app)
        return here.hub.arrivals["t1"].size

    assert callbacks.MOST_BYTES == asyncio.run(run())
    assert {"stored": 4, "capped": 1} == here.counts


def test_a_used_up_url_still_takes_the_callback_that_names_a_lost_submission(world) -> None:
    """Where nobody knows the task's id, junk cannot hide the one body that names it; the same name again is counted."""
    here = world()

    async def run():
        for _ in range(4):
            await here.post(body=b"x" * callbacks.BODY_LIMIT)
        await here.post(body=DONE)
        await settled(here.app)
        await here.post(body=DONE)
        await here.post(body=b"{}")
        await settled(here.app)

    asyncio.run(run())

    assert {"stored": 5, "capped": 2} == here.counts
    assert DONE == here.stored()[-1].body


def test_the_cap_holds_while_the_disk_is_slow(world) -> None:
    """Deliveries on their way to the disk count: 300 at once store 200."""
    here = world()

    async def run():
        answers = await asyncio.gather(*(here.post(body=b"{}") for _ in range(300)))
        await settled(here.app)
        return {status for status, _, _ in answers}

    assert {200} == asyncio.run(run())
    assert {"stored": 200, "capped": 100} == here.counts
    assert 200 == len(here.stored())


@pytest.mark.parametrize(
    ("id_key", "shift", "expected"),
    [("task_id", 0, "valid"), ("taskId", 0, "valid"), ("task_id", -400, "stale"), ("task_id", 400, "stale")],
)
def test_the_signature_is_checked_with_whichever_id_is_there(world, id_key, shift, expected) -> None:
    """A signature over the id and the time is valid within five minutes and stale outside them."""
    here = world(key=KEY)
    stamp = str(int(datetime.now(UTC).timestamp()) + shift)
    headers = [
        (b"x-webhook-timestamp", stamp.encode()),
        (b"x-webhook-signature", sign("v9", stamp, KEY).encode()),
    ]
    body = json.dumps({"code": 200, "data": {id_key: "v9"}}).encode()

    status, _, _ = asyncio.run(here.post(body=body, headers=headers))

    assert 200 == status
    assert [expected] == [fact.signature for fact in here.stored()]


def test_an_altered_body_may_keep_its_signature_and_another_id_may_not(world) -> None:
    """A signature covers the id alone: it says nothing about the rest, and never about another task."""
    here = world(key=KEY)
    stamp = str(int(datetime.now(UTC).timestamp()))
    headers = [
        (b"x-webhook-timestamp", stamp.encode()),
        (b"x-webhook-signature", sign("v9", stamp, KEY).encode()),
    ]

    async def run():
        await here.post(body=b'{"code":500,"data":{"task_id":"v9"},"msg":"altered"}', headers=headers)
        await here.post(OTHER, body=b'{"code":200,"data":{"task_id":"v8"}}', headers=headers)

    asyncio.run(run())

    assert ["valid", "invalid"] == [fact.signature for fact in here.stored()]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(
            st.sampled_from([b"x-webhook-timestamp", b"x-webhook-signature", b"content-type", b"user-agent"])
            | st.binary(max_size=8),
            st.binary(max_size=40) | st.sampled_from([b"1" * 600, b"\xe9", b"-1", b"1e9", "٣".encode(), b"=", b"v1,x"]),
        ),
        max_size=6,
    ),
    st.binary(max_size=60) | st.just(DONE),
)
def test_no_header_and_no_body_breaks_the_app(world, headers, body) -> None:
    """Whatever the headers and the body are, the delivery is kept and answered 200."""
    here = world(key=KEY)
    here.hub.arrivals.clear()  # the examples share a ledger, and its cap is not what is tried here
    stamped = [(name.lower(), value) for name, value in headers]

    status, _, _ = asyncio.run(here.post(body=body, headers=stamped))
    here.ledger.close()

    assert 200 == status
    assert 1 == here.counts["stored"]


def test_a_challenge_is_answered_like_a_delivery_and_kept_nowhere(world) -> None:
    """While it is expected, a POST on the secret sets the future; before and after, the secret is unknown."""
    here = world()

    async def run():
        before = await here.post("challenge-0123456789")
        with here.app.expecting("challenge-0123456789") as arrived:
            during = await here.post("challenge-0123456789", body=b"")
            again = await here.post("challenge-0123456789", body=b"")
            heard = arrived.done() and not arrived.cancelled()
        after = await here.post("challenge-0123456789")
        with here.app.expecting("another-0123456789") as never:
            pass
        return [before[0], during[0], again[0], after[0]], during, heard, never.cancelled()

    statuses, during, heard, ended = asyncio.run(run())

    assert [404, 200, 200, 404] == statuses
    assert RECEIVED == during[2]
    assert heard
    assert ended
    assert [] == here.stored()
    assert {"unknown_url": 2, "challenged": 2} == here.counts


def test_what_arrives_during_a_thought_is_thought_about_together(world) -> None:
    """The deliveries of one task that wait are handed over together, in their order, at most 16 at once."""
    here = world()

    async def run():
        await asyncio.gather(*(here.post(body=b"%d" % number) for number in range(40)))
        await settled(here.app)

    asyncio.run(run())
    sizes = [len(seqs) for _, seqs in here.news]

    assert 40 == sum(sizes)
    assert max(sizes) <= callbacks.MOST_AT_ONCE
    assert len(sizes) < 40
    assert sorted(seq for _, seqs in here.news for seq in seqs) == [seq for _, seqs in here.news for seq in seqs]


def test_a_thought_that_breaks_off_is_counted_and_stops_no_other(world) -> None:
    """An error in working through a delivery is counted; the next deliveries are worked through."""
    understood = []

    async def understand(url, deliveries):
        if url.task == "t1":
            raise RuntimeError("a defect")
        understood.append(url.task)

    here = world(understand=understand)

    async def run():
        statuses = [(await here.post())[0], (await here.post(OTHER))[0]]
        await settled(here.app)
        return statuses

    assert [200, 200] == asyncio.run(run())
    assert ["t2"] == understood
    assert 1 == here.counts["not_understood"]


def test_what_is_too_much_to_hold_is_read_again(world, monkeypatch) -> None:
    """Deliveries that wait beyond the bound are forgotten, read from the ledger, and nothing is lost by it."""
    monkeypatch.setattr(callbacks, "MOST_HELD", 100)
    here = world()

    async def run():
        await asyncio.gather(*(here.post(secret, body=b"x" * 60) for secret in (SECRET, OTHER) for _ in range(20)))
        held = here.app._thinking._held
        await settled(here.app)
        return held

    held = asyncio.run(run())
    fresh = Hub(here.ledger)

    assert held < 300
    assert 0 == here.app._thinking._held
    assert fresh.states == here.hub.states
    assert 40 == sum(len(seqs) for _, seqs in here.news)


def test_thinking_leaves_the_loop_to_others(world) -> None:
    """Under a flood of work for the mind, somebody else's turns come in between every slice."""
    turns = []

    async def understand(url, deliveries):
        end = asyncio.get_running_loop().time() + 0.003
        while asyncio.get_running_loop().time() < end:
            pass
        turns.append("thought")

    here = world(understand=understand)

    async def run():
        for number in range(400):
            fact = Delivery(task=f"t{number}", at=datetime.now(UTC), body=b"")
            here.app._thinking.about(mint("x", f"t{number}"), number, fact)
        for _ in range(20):
            await asyncio.sleep(0.001)
            turns.append("turn")
        here.app._thinking._worker.cancel()

    asyncio.run(run())
    runs = "".join("." if turn == "thought" else " " for turn in turns).split()

    assert max(map(len, runs)) <= 3


def test_a_late_delivery_on_a_finished_task_is_kept(world) -> None:
    """What arrives for a task that has ended is stored and answered as always."""
    here = world()

    async def run():
        await here.hub.record(Abandonment(task="t1", at=datetime.now(UTC), reason="forgotten"))
        answer = await here.post()
        await settled(here.app)
        return here.hub.states["t1"].final, answer[0]

    assert (True, 200) == asyncio.run(run())
    assert 1 == here.hub.states["t1"].deliveries
