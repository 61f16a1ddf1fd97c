"""Owns what a notebook holds of the simulated provider, `session.sandbox`; it must not know how the server works."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import httpx

from kit.errors import InvalidInput, ProviderError
from kit.settings import Secret

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["Fault", "Sandbox"]


class Sandbox:
    """The simulated provider's other side: ask it to misbehave, look at its jobs, set its balance and its clock.

    What can go wrong, for `next` and `always`:

    - `code`: a failure code documented for the kind's callbacks; callback and details agree, 531 refunds.
    - `callbacks`: "lost", "refused", "duplicate", "late", "reordered", "last_only", "null", "no_data",
      "other_id_key", "other_url_key", "no_link", "wrong_signature", "stale_signature".
    - `media`: "slow", "truncated", "html" for `answers` requests of each file; "forbidden", "expired", and for
      video "large" (a gigabyte), for good.
    - `details`: "outage", "null", "no_link" for `answers` requests.
    - `submit`: "rate_limited", "no_credits", "lost_answer", or a code documented for submitting the kind.
    - `task_id`: the id the next job gets, so that a documented body can be replayed.
    - `answers` is 3 unless you say otherwise.
    """

    def __init__(self, base_url: str, token: str | Secret) -> None:
        self.base_url = base_url.rstrip("/")
        secret = token if isinstance(token, Secret) else Secret(token)
        self._http = httpx.Client(
            base_url=f"{self.base_url}/_sandbox",
            headers={"X-Sandbox-Token": secret.reveal()},
            timeout=10,
            trust_env=False,
            limits=httpx.Limits(max_keepalive_connections=0),  # a kept one breaks when the program starts again
        )

    def next(
        self,
        kind: str,
        *,
        code: int | None = None,
        callbacks: str | None = None,
        media: str | None = None,
        details: str | None = None,
        submit: str | int | None = None,
        task_id: str | None = None,
        answers: int | None = None,
        times: int | None = 1,
    ) -> Fault:
        """Ask that the next `times` jobs of `kind` go wrong in this way; None for every one until it is taken back.

        Raises:
            InvalidInput: naming the kind, the value and a call that would work.

        Example:
            with session.sandbox.next("video", code=451): ...
        """
        asked = _said(
            code=code,
            callbacks=callbacks,
            media=media,
            details=details,
            submit=submit,
            task_id=task_id,
            answers=answers,
        )
        if not set(asked) - {"answers"}:
            example = "sandbox.next('video', callbacks='lost')"
            raise InvalidInput("next", kind, "something that shall go wrong, or a task_id", example)
        if times is not None and (not isinstance(times, int) or not 1 <= times <= 1000):
            raise InvalidInput(
                "times", times, "1 to 1000, or None", f"sandbox.next({kind!r}, callbacks='lost', times=2)"
            )
        if task_id is not None and times != 1:
            expected = "1, as an id belongs to one job"
            raise InvalidInput("times", times, expected, f"sandbox.next({kind!r}, task_id={task_id!r})")
        return self._wish(kind, asked, times)

    def always(
        self,
        kind: str | None = None,
        *,
        callbacks: str | None = None,
        media: str | None = None,
        details: str | None = None,
        submit: str | int | None = None,
        code: int | None = None,
        answers: int | None = None,
    ) -> Fault:
        """Ask that every job of `kind`, or of every kind, goes wrong in this way until it is taken back."""
        asked = _said(code=code, callbacks=callbacks, media=media, details=details, submit=submit, answers=answers)
        if not set(asked) - {"answers"}:
            raise InvalidInput("always", kind, "something that shall go wrong", "sandbox.always(callbacks='lost')")
        return self._wish("*" if kind is None else kind, asked, None)

    def clear(self) -> None:
        """Take back everything that was asked for and did not happen yet."""
        self._ask("DELETE", "/faults")

    def jobs(self) -> list[dict[str, Any]]:
        """Return every job accepted so far, oldest first: ids, kind, state, callback URL, deliveries, credits."""
        return list(self._ask("GET", "/jobs"))

    @property
    def creates(self) -> int:
        """How many submissions were accepted since the provider's folder began."""
        return int(self._state()["creates"])

    @property
    def credits(self) -> float:
        """The balance, in pretend credits."""
        return float(self._state()["credits"])

    @credits.setter
    def credits(self, value: float) -> None:
        self._ask("PATCH", "/state", {"credits": value})

    @property
    def speed(self) -> float:
        """How many times faster than life it works; callbacks, rate limits and expiry keep real time."""
        return float(self._state()["speed"])

    @speed.setter
    def speed(self, value: float) -> None:
        self._ask("PATCH", "/state", {"speed": value})

    def advance(self, *, days: float) -> None:
        """Let `days` pass for the expiry of links; work in progress and dates do not move."""
        self._ask("PATCH", "/state", {"days": days})

    def close(self) -> None:
        """Close the connection; the provider goes on."""
        self._http.close()

    def __repr__(self) -> str:
        return f"Sandbox({self.base_url!r})"

    def _state(self) -> dict[str, Any]:
        return dict(self._ask("GET", "/state"))

    def _wish(self, kind: str, plan: dict[str, Any], times: int | None) -> Fault:
        wish = {"kind": kind, "plan": plan, "standing": times is None}
        ids = [str(self._ask("POST", "/faults", wish)["id"]) for _ in range(times or 1)]
        return Fault(self, ids, kind=kind, plan=plan, times=times)

    def _ask(self, method: str, path: str, body: Any = None) -> Any:
        try:
            answer = self._http.request(method, path, json=body)
        except (TypeError, ValueError) as reason:
            raise InvalidInput(
                path.strip("/"), body, "text, True, False, and finite numbers", "sandbox.next('video', code=451)"
            ) from reason
        except httpx.HTTPError as reason:
            raise ProviderError(
                f"The simulated provider at {self.base_url} does not answer ({type(reason).__name__}). "
                "Connect again: kit.connect()."
            ) from reason
        if answer.status_code == 400 and "refused" in answer.json():
            raise InvalidInput(**answer.json()["refused"])
        if answer.status_code != 200:
            raise ProviderError(
                f"The simulated provider at {self.base_url} refused {path} with HTTP {answer.status_code}. "
                "Connect again: kit.connect().",
                http_status=answer.status_code,
            )
        return answer.json()


class Fault:
    """Something that was asked to go wrong; as a context manager, leaving it takes back what did not happen."""

    def __init__(self, sandbox: Sandbox, ids: list[str], *, kind: str, plan: dict[str, Any], times: int | None) -> None:
        self.kind, self.plan, self.times = kind, plan, times
        self._sandbox, self._ids = sandbox, ids

    @property
    def waiting(self) -> int:
        """How many of the jobs it is meant for did not come yet; 1 for one that stands."""
        there = {fault["id"] for fault in self._sandbox._state()["faults"]}
        return sum(each in there for each in self._ids)

    def remove(self) -> int:
        """Take back what did not happen yet, and return how many that were; doing it twice is no error."""
        answers = [self._sandbox._ask("DELETE", f"/faults/{each}") for each in self._ids]
        self._ids = []
        return sum(answer["removed"] for answer in answers)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.remove()

    def __repr__(self) -> str:
        said = ", ".join(f"{name}={value!r}" for name, value in self.plan.items())
        return f"Fault({self.kind!r}, {said}, times={self.times})"


def _said(**wanted: Any) -> dict[str, Any]:
    return {name: value for name, value in wanted.items() if value is not None}
