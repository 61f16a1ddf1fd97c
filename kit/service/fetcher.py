"""Owns the process that downloads: orders in, progress and results out, one JSON object a line; it knows no ledger.

Beside the listener's loop even a thread would hold up every acknowledgement: taking a file off the network keeps the
interpreter busy. What a part file needs of the disk is granted by whoever gave the order.
"""

from __future__ import annotations

import contextlib
import json
import logging
import sys
import threading
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from kit.service.download import Download, NoRoom, NotFetched, Rules
from kit.service.platforms import step_back

__all__ = ["main"]

_log = logging.getLogger(__name__)

Say = Callable[..., None]


class _Errand:
    """One part file on its way, over any number of orders."""

    def __init__(self, part: Path, rules: Rules, say: Say, stop: threading.Event) -> None:
        self.rules, self._say = rules, say
        self._granted: SimpleQueue[bool] = SimpleQueue()
        self._download = Download(part, rules, room=self._ask_for_room, tell=self._tell, stop=stop)

    def fetch(self, url: str) -> None:
        """Fetch one link, and say what came of it."""
        try:
            fetched = self._download.fetch(url)
        except NotFetched as reason:
            self._say(not_fetched=str(reason), gone=reason.gone, refused=reason.refused, away=reason.away)
        except NoRoom as reason:
            self._say(no_room=reason.needed)
        except Exception as reason:  # whatever it was: who waits must hear of it
            _log.exception("fetching broke off")
            self._say(broke=type(reason).__name__)
        else:
            self._say(fetched=asdict(fetched))

    def grant(self, *, room: bool) -> None:
        """Let the download go on, or not."""
        self._granted.put(room)

    def discard(self) -> None:
        """Remove what came."""
        self._download.discard()

    def _ask_for_room(self, needed: int) -> None:
        self._say(room=needed)
        if not self._granted.get():
            raise NoRoom(needed)

    def _tell(self, received: int, total: int | None) -> None:
        self._say(received=received, total=total)


class _Desk:
    """Takes the orders, each about one part file, and gives each its thread."""

    def __init__(self) -> None:
        self._errands: dict[str, _Errand] = {}
        self._out, self._stop = threading.Lock(), threading.Event()

    def take(self, order: dict[str, Any]) -> None:
        """Carry out one order."""
        part = order["part"]
        if "fetch" in order:
            errand = self._errand(part, Rules(**order["rules"] | {"listed": tuple(order["rules"]["listed"])}))
            threading.Thread(target=errand.fetch, args=(order["fetch"],), name=Path(part).stem, daemon=True).start()
        elif "room" in order:
            self._errands[part].grant(room=order["room"])
        elif (errand_done := self._errands.pop(part, None)) is not None:
            errand_done.discard()

    def close(self) -> None:
        """Tell every thread to give up."""
        self._stop.set()

    def _errand(self, part: str, rules: Rules) -> _Errand:
        errand = self._errands.get(part)
        if errand is None or errand.rules != rules:
            errand = self._errands[part] = _Errand(Path(part), rules, lambda **said: self._say(part, said), self._stop)
        return errand

    def _say(self, part: str, said: dict[str, Any]) -> None:
        with self._out, contextlib.suppress(BrokenPipeError):  # nobody is there any more, and this is about to end
            sys.stdout.write(json.dumps({"part": part} | said) + "\n")
            sys.stdout.flush()


def main() -> None:
    """Carry out orders until standard input ends, which it does when the service does."""
    step_back()
    desk = _Desk()
    for line in sys.stdin:
        desk.take(json.loads(line))
    desk.close()


if __name__ == "__main__":
    main()
