"""Sizes of what was not fetched yet: told by the hosts' own heads, in a few seconds, and nothing is downloaded."""

from __future__ import annotations

import asyncio
import time

import pytest

from kit.service.hands import Hands
from kit.service.sizes import Asked, sizes_of
from tests.service.hosting import host

BODY = b"x" * 12_345


def ask(served, *links, in_all_s=5.0):
    """Return what is told of files with these links, each one's alternatives in a tuple."""
    files = [Asked(urls, (served.base,), "callboard-test") for urls in links]

    async def run():
        hands = Hands()
        sizes = await sizes_of(files, hands, in_all_s=in_all_s)
        await hands.close()
        return sizes

    return asyncio.run(run())


def test_sizes_come_from_heads_in_the_order_of_the_files():
    """Many files are asked about at a time; a host that knows no HEAD is asked for one byte, and is believed."""
    with host() as served:
        links = [(served.put(f"/{n}", b"x" * (n + 1)),) for n in range(20)]
        links.append((served.base + "/gone", served.put("/b", BODY)))
        links.append((served.put("/no-head", 405, BODY),))

        assert [*range(1, 21), len(BODY), len(BODY)] == ask(served, *links)


@pytest.mark.parametrize("link", ["/gone", "http://127.0.0.1:9/elsewhere", "http://[", "https://127.0.0.1/private", ""])
def test_what_nobody_tells_is_unknown(link):
    """A dead link, a host that is not there or may not be asked, and a text that is no link have no size."""
    with host() as served:
        assert [None] == ask(served, ((served.base + link) if link == "/gone" else link,))


def test_redirects_are_followed_and_judged():
    """A redirect leads on within what may be asked, and never in a circle."""
    with host() as served:
        served.put("/final", BODY)
        served.moved = {"/a": "/b", "/b": "/final", "/round": "/round", "/out": "http://127.0.0.1:9/"}

        assert [len(BODY), None, None] == ask(served, *[(served.base + p,) for p in ("/a", "/round", "/out")])


def test_a_host_that_says_nothing_costs_only_the_time_there_is():
    """After the deadline what was told is returned, and what was not is unknown."""
    with host() as served:
        links = [(served.put("/quick", BODY),), (served.put("/slow", BODY),)]
        served.silent.add("/slow")
        began = time.monotonic()
        sizes = ask(served, *links, in_all_s=0.5)

        assert ([len(BODY), None], True) == (sizes, time.monotonic() - began < 3)
