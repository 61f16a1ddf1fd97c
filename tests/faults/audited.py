"""Owns a process whose every connection, look-up and opened file is on record, and which no connection leaves.

Read as JSON from stdin: `home`, the port of the test's own host, `listed`, the origins that the client may ask,
`names`, the answers of each name (one a look-up, then over again), and `links`. Written to stdout: one row for each
link, with what came of it and what it led to.
An audit hook cannot be taken off again, hence the process.
"""

from __future__ import annotations

import encodings.idna  # here, so that no look-up opens them
import encodings.punycode  # noqa: F401
import errno
import itertools
import json
import socket
import sys
import threading
from typing import Any

import httpx

from kit.service.outbound import media_client

__all__ = ["asked"]

HOPS = 3
# Whatever could send something or ask somebody, in Python's own words.
OUT = {"socket.connect", "socket.sendto", "socket.sendmsg", "socket.gethostbyname", "socket.gethostbyaddr"}
OUT |= {"subprocess.Popen", "os.system", "os.posix_spawn", "urllib.Request", "ftplib.connect", "open"}


class Watch:
    """Keeps what happens while a link is asked, and refuses every connection that is not to `home`."""

    def __init__(self, home: int, names: dict[str, list[list[str]]]) -> None:
        self.seen: list[list[Any]] | None = None
        self._home = home
        self._numeric = socket.getaddrinfo
        self._names = {name: itertools.cycle(answers) for name, answers in names.items()}

    def heed(self, event: str, given: tuple[Any, ...]) -> None:
        """Record an event, and let through only a connection to this test's own host."""
        if self.seen is None or event not in OUT:
            return
        where = given[1] if event.startswith("socket.") and len(given) > 1 else given[0]
        self.seen.append([event, *where[:2]] if isinstance(where, tuple) else [event, str(where)])
        if event != "open" and where != ("127.0.0.1", self._home):
            raise ConnectionRefusedError(errno.ECONNREFUSED, "refused by the audit")

    def getaddrinfo(self, host: str, port: int, *args: Any, **kwargs: Any) -> list[Any]:
        """Answer by the table, and by the system for what it takes for a number, however odd; ask no name server."""
        if host in self._names:
            return [self._entry(address, port) for address in next(self._names[host])]
        return self._numeric(host, port, *args, flags=socket.AI_NUMERICHOST, **kwargs)

    def _entry(self, address: str, port: int) -> Any:
        return self._numeric(address, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)[0]


def asked(media: httpx.Client, link: str, watch: Watch) -> dict[str, Any]:
    """Ask one link and at most three redirects, by hand, as a download does; return what it came to."""
    watch.seen = seen = []
    try:
        answer = media.get(link)
        for _ in range(HOPS):
            if answer.next_request is None:
                break
            answer = media.send(answer.next_request)
        end = str(answer.status_code)
    except Exception as reason:
        end = type(reason).__name__
    watch.seen = None
    return {"link": link, "end": end, "seen": seen}


def main() -> None:
    """Ask every link."""
    order = json.load(sys.stdin)
    watch = Watch(order["home"], order["names"])
    socket.getaddrinfo = watch.getaddrinfo  # type: ignore[assignment]
    sys.addaudithook(watch.heed)
    with media_client(order["listed"], user_agent="callboard-test", stop=threading.Event()) as media:
        json.dump([asked(media, link, watch) for link in order["links"]], sys.stdout)


if __name__ == "__main__":
    main()
