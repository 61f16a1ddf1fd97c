"""The client: what it sends, when it sends again, and what it never lets out."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import httpx
import pytest

from kit.errors import InvalidInput, ProviderError, SettingsError
from kit.provider.client import DEFAULT_USER_AGENT, Pace, ProviderClient
from kit.provider.kinds import Dialect
from kit.provider.reading import MAX_BODY
from kit.settings import Secret

KEY = "sk-canary-1234567890"
TRACK = {"task_id": "t", "audio_id": "a"}
CALLBACK = "https://host.example/cb/canary-secret"
OK = {"code": 200, "msg": "success", "data": {"taskId": "new"}}

T = TypeVar("T")
Answer = Callable[[], httpx.Response] | Exception


class Provider:
    """Answers from a list, the last answer again and again, and keeps the requests; time passes only in sleep."""

    def __init__(self, *answers: Answer | dict[str, Any] | tuple[int, dict[str, Any] | bytes]) -> None:
        self.answers = list(answers)
        self.requests: list[httpx.Request] = []
        self.now = 0.0
        self.slept: list[float] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        """Answer one request."""
        self.requests.append(request)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        if callable(answer):
            return answer()
        status, body = answer if isinstance(answer, tuple) else (200, answer)
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return httpx.Response(status, content=content)

    async def sleep(self, seconds: float) -> None:
        """Let time pass."""
        self.slept.append(seconds)
        self.now += seconds

    def client(self, dialect: Dialect = "sunoapi", **options: Any) -> ProviderClient:
        """Return a client that talks to this."""
        options = {"clock": lambda: self.now, "sleep": self.sleep, "transport": httpx.MockTransport(self)} | options
        return ProviderClient(dialect, "https://api.example/", Secret(KEY), **options)


def run(use: Callable[[ProviderClient], Coroutine[Any, Any, T]], client: ProviderClient) -> T:
    """Use the client in a loop of its own and close it."""

    async def whole() -> T:
        try:
            return await use(client)
        finally:
            await client.aclose()

    return asyncio.run(whole())


def test_a_submission_is_exact() -> None:
    """The request has path, bearer key, JSON type, our User-Agent and the documented body."""
    provider = Provider(OK)
    answer = run(lambda c: c.submit("video", TRACK | {"author": "Ada 音"}, CALLBACK), provider.client())
    (request,) = provider.requests
    assert (answer.outcome, answer.task_id) == ("accepted", "new")
    assert (request.method, str(request.url)) == ("POST", "https://api.example/api/v1/mp4/generate")
    assert request.headers["authorization"] == f"Bearer {KEY}"
    assert request.headers["content-type"] == "application/json"
    assert request.headers["user-agent"] == DEFAULT_USER_AGENT
    body = {"taskId": "t", "audioId": "a", "author": "Ada 音", "callBackUrl": CALLBACK}
    assert body == json.loads(request.content)


def test_the_user_agent_is_configurable() -> None:
    """Hosts refuse some defaults, so the User-Agent can be given; nothing of an HTTP library shows in the default."""
    provider = Provider(OK)
    run(lambda c: c.submit("video", TRACK, CALLBACK), provider.client(user_agent="mine/1"))
    assert provider.requests[0].headers["user-agent"] == "mine/1"
    assert DEFAULT_USER_AGENT.startswith("Mozilla/5.0 (compatible; callboard/")


def test_parameters_are_checked_before_anything_is_sent() -> None:
    """A bad value raises and no request leaves."""
    provider = Provider(OK)
    with pytest.raises(InvalidInput, match="author"):
        run(lambda c: c.submit("video", TRACK | {"author": "x" * 51}, CALLBACK), provider.client())
    assert provider.requests == []


NOT_TAKEN = [
    ("sunoapi", "video", {"code": 430, "msg": "slow"}),
    ("sunoapi", "music", {"code": 405, "msg": "slow"}),
    ("sunoapi", "cover_image", {"code": 429, "msg": "slow"}),
    ("kie", "video", {"code": 429, "msg": "slow"}),
    ("kie", "video", (429, {"code": 429, "msg": "slow"})),
    ("kie", "video", (429, b"slow")),
    ("sunoapi", "video", (429, b"slow")),
    ("kie", "wav", {"code": 455, "msg": "maintenance"}),
    ("kie", "wav", httpx.ConnectError("refused")),
    ("kie", "wav", httpx.ConnectTimeout("slow")),
]


@pytest.mark.parametrize(("dialect", "kind", "first"), NOT_TAKEN)
def test_sent_again_where_no_task_can_have_been_created(dialect: Dialect, kind: str, first: Any) -> None:
    """A refused connection, a rate limit of that page and maintenance are tried again, with growing pauses."""
    params = {"music": {"description": "x"}, "cover_image": {"task_id": "t"}}.get(kind, TRACK)
    provider = Provider(first, first, OK)
    answer = run(lambda c: c.submit(kind, params, CALLBACK), provider.client(dialect))
    assert (answer.outcome, len(provider.requests)) == ("accepted", 3)
    assert provider.slept == sorted(provider.slept) == [2.0, 5.0]
    provider = Provider(first)
    assert run(lambda c: c.submit(kind, params, CALLBACK), provider.client(dialect)).outcome == "rejected"
    assert len(provider.requests) == 4


ONCE = [
    ("sunoapi", {"code": 429, "msg": "credits"}, "rejected"),
    ("kie", {"code": 402, "msg": "credits"}, "rejected"),
    ("kie", {"code": 500, "msg": "error"}, "rejected"),
    ("kie", {"code": 401, "msg": "key"}, "rejected"),
    ("kie", {"code": 409, "msg": "Mp4 record already exists"}, "duplicate"),
    ("kie", (403, b"error code: 1010"), "rejected"),
    ("kie", (500, {"code": 500, "msg": "error"}), "unknown"),
    ("kie", (502, b"<html>"), "unknown"),
    ("kie", (200, b"<html>"), "unknown"),
    ("kie", {"code": 200, "data": {}}, "unknown"),
    ("kie", httpx.ReadTimeout("slow"), "unknown"),
    ("kie", httpx.WriteError("cut"), "unknown"),
    ("kie", httpx.ReadError("cut"), "unknown"),
    ("kie", httpx.RemoteProtocolError("cut"), "unknown"),
    ("kie", httpx.UnsupportedProtocol("odd"), "rejected"),
    ("kie", (302, b""), "rejected"),
]


@pytest.mark.parametrize(("dialect", "answer", "outcome"), ONCE)
def test_sent_once_where_a_task_may_have_been_created_or_never_will(
    dialect: Dialect, answer: Any, outcome: str
) -> None:
    """Everything else leaves once: an unknown outcome is never sent again by itself, and a redirect not followed."""
    provider = Provider(answer)
    assert outcome == run(lambda c: c.submit("video", TRACK, CALLBACK), provider.client(dialect)).outcome
    assert len(provider.requests) == 1


def test_submissions_are_paced() -> None:
    """Of 45 submissions at once at most 20 leave in any 10.2 seconds, in order."""
    provider = Provider(OK)
    left: list[float] = []

    async def many(client: ProviderClient) -> None:
        async def one() -> None:
            await client.submit("video", TRACK, CALLBACK)
            left.append(provider.now)

        await asyncio.gather(*(one() for _ in range(45)))

    run(many, provider.client())
    assert len(left) == 45
    assert all(later - earlier >= 10.2 for earlier, later in zip(left, left[20:], strict=False))
    assert left[-1] < 21


def test_details_are_not_paced_and_are_read() -> None:
    """Details count as no generation request; the answer comes with its body, status and report."""
    body = {"code": 200, "msg": "success", "data": {"taskId": "new", "successFlag": "PENDING"}}
    provider = Provider(body)
    pace = Pace(limit=0, clock=lambda: 0.0, sleep=provider.sleep)
    answer = run(lambda c: c.details("wav", "a/b?c"), provider.client(pace=pace))
    assert (answer.http_status, json.loads(answer.body), answer.report.state) == (200, body, "pending")
    assert str(provider.requests[0].url) == "https://api.example/api/v1/wav/record-info?taskId=a%2Fb%3Fc"


@pytest.mark.parametrize(
    "first", [httpx.ConnectError("x"), httpx.ReadTimeout("x"), (503, b""), {"code": 430}, {"code": 455}]
)
def test_details_are_asked_again(first: Any) -> None:
    """Asking spends nothing, so a lost connection, HTTP 5xx, a rate limit and maintenance are tried again."""
    provider = Provider(first, first, {"code": 200, "data": None})
    assert run(lambda c: c.details("wav", "t"), provider.client()).report.state == "missing"
    assert provider.slept == [1.0, 3.0]


def test_an_unreachable_provider_raises_with_the_next_step() -> None:
    """After three tries the error names the host and what to do, and holds no key."""
    provider = Provider(httpx.ConnectError(f"no route {KEY}"))
    with pytest.raises(ProviderError, match=r"https://api\.example could not be reached .*Check the network") as caught:
        run(lambda c: c.details("wav", "t"), provider.client())
    assert len(provider.requests) == 3
    assert KEY not in str(caught.value)


def test_an_answer_that_stays_bad_is_returned() -> None:
    """HTTP 5xx and a refusal come back as unreadable reports, not as exceptions."""
    for answer in ((503, b"<html>"), (401, {"code": 401, "msg": "no"}), (403, b"error code: 1010")):
        provider = Provider(answer)
        assert run(lambda c: c.details("wav", "t"), provider.client()).report.state == "unreadable"


def test_a_huge_body_is_not_read_to_its_end() -> None:
    """Reading stops at 1 MiB, and what is longer is no answer."""
    sent = 0

    async def flood() -> Any:
        nonlocal sent
        while True:
            sent += 65_536
            yield b" " * 65_536

    provider = Provider(lambda: httpx.Response(200, content=flood()))
    answer = run(lambda c: c.details("wav", "t"), provider.client())
    assert answer.report.state == "unreadable"
    assert len(answer.body) == MAX_BODY + 1
    assert sent < 2 * MAX_BODY


@pytest.mark.parametrize(("dialect", "path"), [("sunoapi", "/api/v1/generate/credit"), ("kie", "/api/v1/chat/credit")])
def test_credits_per_dialect(dialect: Dialect, path: str) -> None:
    """The balance is asked at the dialect's own path and is a number."""
    provider = Provider({"code": 200, "msg": "success", "data": 12.5})
    assert run(lambda c: c.credits(), provider.client(dialect)) == 12.5
    assert path == provider.requests[0].url.path


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ((403, b"error code: 1010"), "edge refused the client"),
        ((200, b"<html>"), "without JSON"),
        ({"code": 401, "msg": f"bad key {KEY}", "data": None}, "code 401, unauthorized.*Check the API key"),
        ({"code": 200, "data": "lots"}, "did not give the credits"),
        ({"code": 200, "data": None}, "did not give the credits"),
    ],
)
def test_credits_that_are_not_given_raise(answer: Any, says: str) -> None:
    """Where there is no balance the error says what the answer means, and never the key."""
    with pytest.raises(ProviderError, match=says) as caught:
        run(lambda c: c.credits(), Provider(answer).client())
    assert KEY not in str(caught.value)


def test_the_key_and_the_callback_url_stay_in(caplog: pytest.LogCaptureFixture) -> None:
    """A provider that echoes key and callback URL puts neither into the answer, and no log holds them."""
    caplog.set_level(logging.DEBUG)
    echo = {"code": 422, "msg": f"no: {KEY}", "data": {"param": json.dumps({"callBackUrl": CALLBACK})}}
    provider = Provider(echo)
    answer = run(lambda c: c.submit("video", TRACK, CALLBACK), provider.client())
    report = run(lambda c: c.details("video", "t"), provider.client()).report
    for text in (repr(answer), repr(report), caplog.text, repr(provider.client())):
        assert KEY not in text
        assert "canary-secret" not in text


@pytest.mark.parametrize("key", ["", "two words", "line\nbreak", "schlüssel"])
def test_a_key_that_no_header_can_carry_is_refused_unprinted(key: str) -> None:
    """A broken key raises at once, in a sentence that does not hold it."""
    with pytest.raises(SettingsError) as caught:
        ProviderClient("kie", "https://api.example", Secret(key))
    assert not key or key not in str(caught.value)


def test_no_proxy_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy variable does not send the key elsewhere."""
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    client = ProviderClient("kie", "https://api.example", Secret(KEY))
    assert client._http.trust_env is False
    asyncio.run(client.aclose())
    asyncio.run(client.aclose())
