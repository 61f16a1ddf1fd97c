"""The way out: what left before the service ended is never sent again, and one wish is one task however it comes."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from kit.errors import ServiceError, TunnelError
from kit.ledger.facts import Answer, Departure, Intent
from kit.ledger.store import Ledger
from kit.provider.profiles import profile_named
from kit.provider.wire import SubmitAnswer
from kit.service.callbacks import secret_hash
from kit.service.hub import Hub
from kit.service.submitter import NOWHERE, Submitter, Wish

WISH = Wish(provider="kie", kind="music", params={"description": "rain"})


class Client:
    """A provider that answers after a while and remembers what it was asked."""

    def __init__(self, answer=None):
        self.asked = []
        self.answer = answer or SubmitAnswer("accepted", task_id="a" * 32, code=200)

    async def submit(self, kind, params, callback_url):
        """Answer as scripted."""
        self.asked.append((kind, params, callback_url))
        await asyncio.sleep(0.01)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


class Opened:
    """Providers of which one is open, with a client of ours, and callbacks that get here under `url`."""

    def __init__(self, client, name="kie", url=None):
        self.client, self.profile, self.name = client, profile_named(name), name
        self.way = SimpleNamespace(url=url)

    def get(self, name):
        """Return the open provider, if it is this one."""
        return self if name == self.name else None


class Ways:
    """Ways that are proven, after a while, or refuse with a problem."""

    def __init__(self, problem=None):
        self.problem, self.uses = problem, 0

    async def prove(self, way):
        """Prove it, or say why not."""
        await asyncio.sleep(0.01)
        if self.problem:
            raise TunnelError(self.problem)

    def used(self, way):
        """Count."""
        self.uses += 1


@pytest.fixture
def hub(tmp_path):
    """A picture of a fresh ledger."""
    ledger = Ledger.open(tmp_path / "ledger.sqlite")
    yield Hub(ledger)
    ledger.close()


def take(hub, client, *wishes, url=None, ways=None):
    """Take wishes all at once and let every request be answered; return what each became."""

    async def run():
        submitter = Submitter(hub, Opened(client, url=url), ways or Ways())
        taken = await asyncio.gather(*(submitter.take(wish) for wish in wishes))
        await submitter.close()
        return taken

    return asyncio.run(run())


def test_equal_wishes_at_the_same_moment_are_one_purchase(hub):
    """Ten cells with one wish send one request, and all hold the same task."""
    client = Client()
    taken = take(hub, client, *[WISH] * 10)

    assert 1 == len(client.asked)
    assert 1 == len({id for id, _ in taken})
    assert [False] + [True] * 9 == sorted(earlier for _, earlier in taken)


def test_again_buys_another_each_time(hub):
    """A wish that says again is never answered by an earlier task."""
    client = Client()
    again = Wish(provider="kie", kind="music", params={"description": "rain"}, again=True)
    taken = take(hub, client, WISH, again, again)

    assert 3 == len(client.asked) == len({id for id, _ in taken})


def test_where_callbacks_cannot_get_here_the_address_leads_nowhere(hub):
    """Polling only: the required field is filled, no secret is minted, and the row knows that nobody will call."""
    client = Client()
    [(id, _)] = take(hub, client, WISH)

    assert NOWHERE == client.asked[0][2]
    assert [] == hub.ledger.urls()
    assert not hub.states[id].listening


def test_a_submission_carries_an_address_of_its_own_on_the_way_that_was_proven(hub):
    """The URL leads through the tunnel and ends in a secret of which the ledger has the hash alone."""
    client, ways = Client(), Ways()
    [(id, _)] = take(hub, client, WISH, url="https://x.example", ways=ways)
    url = client.asked[0][2]
    secret = url.removeprefix("https://x.example/cb/")

    assert (id, 1) == (hub.ledger.find_url(secret_hash(secret)).task, ways.uses)
    assert hub.states[id].listening
    assert secret.encode() not in b"".join(path.read_bytes() for path in hub.ledger.path.parent.iterdir())


def test_a_way_that_is_not_proven_stops_the_submission_before_anything_is_recorded(hub):
    """The refusal says why, nothing is sent, no row is made, and the same wish may be made again."""
    client = Client()
    for _ in range(2):
        with pytest.raises(TunnelError, match="nobody answers"):
            take(hub, client, WISH, url="https://x.example", ways=Ways("nobody answers"))

    assert ([], {}) == (client.asked, hub.states)
    assert [False] == [earlier for _, earlier in take(hub, client, WISH)]


def test_an_exception_on_the_way_leaves_the_outcome_unknown(hub):
    """Whatever broke, the request may have left: the row is unconfirmed, and asking again sends nothing."""
    client = Client(RuntimeError("broken"))
    [(id, _)] = take(hub, client, WISH)
    [(same, earlier)] = take(hub, client, WISH)

    assert ("unconfirmed", id, True, 1) == (hub.states[id].status, same, earlier, len(client.asked))


def test_what_had_left_when_the_service_ended_is_unconfirmed_and_not_resent(hub):
    """At the next start a departure without answer becomes unknown; nothing is sent."""
    now = datetime.now(UTC)
    intent = Intent(
        task="t1", at=now, kind="music", provider="kie", dialect="kie", params={"description": "x"}, request_key="k"
    )
    client = Client()

    async def run():
        await hub.record(intent, Departure(task="t1", at=now))
        assert hub.states["t1"].status == "submitting"
        await Submitter(hub, Opened(client), Ways()).recover()

    asyncio.run(run())
    assert ("unconfirmed", []) == (hub.states["t1"].status, client.asked)


def test_a_duplicate_that_names_a_known_task_points_to_its_row(hub):
    """The provider's id of an earlier row makes the new row an alias, and nothing is followed twice."""
    [(first, _)] = take(hub, Client(), WISH)
    other = Wish(provider="kie", kind="music", params={"description": "rain again"})
    [(second, _)] = take(hub, Client(SubmitAnswer("duplicate", task_id="a" * 32, code=409)), other)

    assert (first, "abandoned") == (hub.states[second].known_as, hub.states[second].status)


def test_a_wish_for_a_provider_that_is_not_open_is_refused(hub):
    """The sentence says to connect again; no row is made."""
    with pytest.raises(ServiceError, match="connect again"):
        take(hub, Client(), Wish(provider="sunoapi", kind="music", params={"description": "x"}))
    assert {} == hub.states


def resubmit(hub, client, id, times=2):
    """Ask `times` times at once to submit a task again; return the ids that came back."""

    async def run():
        submitter = Submitter(hub, Opened(client), Ways())
        new = await asyncio.gather(*(submitter.resubmit(id) for _ in range(times)))
        await submitter.close()
        return new

    return asyncio.run(run())


def test_a_lost_submission_is_bought_again_once_however_often_that_is_asked(hub):
    """Two clicks and a later rerun are one purchase; the row that was given up points nobody astray."""
    [(lost, _)] = take(hub, Client(RuntimeError("broken")), WISH)
    client = Client()
    new = {*resubmit(hub, client, lost), *resubmit(hub, client, lost)}
    [(same, _)] = take(hub, client, WISH)

    assert (1, {same}) == (len(client.asked), new)
    assert (lost, "abandoned") == (hub.states[same].instead_of, hub.states[lost].status)


@pytest.mark.parametrize("answer", [None, SubmitAnswer("rejected", code=400)])
def test_only_what_did_not_come_to_a_good_end_can_be_submitted_again(hub, answer):
    """A pending task is refused with the call that would buy another; a failed one is bought anew and stays failed."""
    [(id, _)] = take(hub, Client(answer), WISH)
    client = Client()
    if answer is None:
        with pytest.raises(ServiceError, match="again=True"):
            resubmit(hub, client, id, times=1)
        assert [] == client.asked
    else:
        assert 1 == len(set(resubmit(hub, client, id)))
        assert "failed" == hub.states[id].status


def test_what_settles_while_the_way_is_proven_is_not_bought_again(hub):
    """The row is looked at after the proof, which may take long enough for a callback to settle it."""
    [(lost, _)] = take(hub, Client(RuntimeError("broken")), WISH)
    client = Client()

    class Slow(Ways):
        async def prove(self, way):
            await hub.record(Answer(task=lost, at=datetime.now(UTC), outcome="accepted", task_id="a" * 32))

    async def run():
        await Submitter(hub, Opened(client), Slow()).resubmit(lost)

    with pytest.raises(ServiceError, match="is pending"):
        asyncio.run(run())
    assert [] == client.asked


def test_a_refused_wish_does_not_hide_another_of_its_kind(hub):
    """A wish whose way fails takes nothing away from one that is on its way, so a third finds that one."""
    client = Client()

    class FirstFails(Ways):
        async def prove(self, way):
            self.uses += 1
            if self.uses == 1:
                await asyncio.sleep(0.02)
                raise TunnelError("nobody answers")
            await asyncio.sleep(0.05)

    async def run():
        submitter = Submitter(hub, Opened(client), FirstFails())
        first = asyncio.create_task(submitter.take(WISH))
        await asyncio.sleep(0)
        second = asyncio.create_task(submitter.take(replace(WISH, again=True)))
        with pytest.raises(TunnelError):
            await first
        third, earlier = await submitter.take(WISH)
        await submitter.close()
        return (await second)[0], third, earlier

    second, third, earlier = asyncio.run(run())

    assert (second, True, 1) == (third, earlier, len(client.asked))


def test_a_way_that_is_changed_during_the_proof_is_proven_too(hub):
    """Another notebook may choose another way meanwhile: what is sent carries the address that was proven last."""
    client, opened = Client(), Opened(Client(), url="https://first.example")
    opened.client = client

    class Changing(Ways):
        async def prove(self, way):
            self.uses += 1
            if self.uses == 1:
                opened.way = SimpleNamespace(url="https://second.example")

    async def run():
        submitter = Submitter(hub, opened, ways)
        await submitter.take(WISH)
        await submitter.close()

    ways = Changing()
    asyncio.run(run())

    assert client.asked[0][2].startswith("https://second.example/cb/")
    assert 3 == ways.uses  # two proofs, one use


def test_the_end_of_the_service_waits_for_a_request_that_is_just_leaving(hub):
    """Between its record and its request a submission counts as on its way, so that its answer is not lost."""
    client = Client()

    async def run():
        submitter = Submitter(hub, Opened(client), Ways())
        taking = asyncio.create_task(submitter.take(WISH))
        while not submitter._sending:
            await asyncio.sleep(0)
        await submitter.close()
        return (await taking)[0]

    id = asyncio.run(run())

    assert ("a" * 32, 1) == (hub.states[id].task_id, len(client.asked))


def test_an_address_that_nobody_can_reach_is_not_handed_out(hub):
    """Where callbacks of a real provider cannot get here a listen-only address would wait for ever."""
    opened = Opened(Client())
    opened.way.problem = None
    opened.callback_base = lambda name: "http://127.0.0.1:1"
    ways = Ways()
    ways.direct_url = "http://127.0.0.1:1"
    with pytest.raises(TunnelError, match="no address was handed out"):
        asyncio.run(Submitter(hub, opened, ways).mint("video", "kie"))

    assert {} == hub.states
