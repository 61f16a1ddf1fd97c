"""The family of exceptions; each says what happened, to which thing, and what to do next.

KitError
├── InvalidInput (ValueError)     a value was refused before anything was sent
├── SettingsError                 a key or a folder is missing or unusable
├── ServiceError                  the background service could not start, answer or be shared
├── TunnelError                   callbacks cannot reach this machine, so nothing was submitted
├── LedgerError                   the ledger cannot be read or written
├── ProviderError                 the provider could not be reached, or its answer made no sense
├── TaskFailed                    a task ended in failure
│   └── DuplicateTask             the provider already has this task and did not say which
├── Unconfirmed                   nobody can say whether a task exists; it is never sent again by itself
├── NotSaved                      a task succeeded, but a file of it could not be saved
├── NotReady (LookupError)        what was asked for does not exist yet
└── WaitTimeout (TimeoutError)    waiting ended before the task did; the task goes on
"""

from __future__ import annotations

__all__ = [
    "DuplicateTask",
    "InvalidInput",
    "KitError",
    "LedgerError",
    "NotReady",
    "NotSaved",
    "ProviderError",
    "ServiceError",
    "SettingsError",
    "TaskFailed",
    "TunnelError",
    "Unconfirmed",
    "WaitTimeout",
]


class KitError(Exception):
    """The base of everything this kit raises on purpose."""

    def _render_traceback_(self) -> list[str]:
        """Show a notebook the sentence alone: it says what to do, which the kit's own frames do not."""
        return [f"{type(self).__name__}: {self}"]


class InvalidInput(KitError, ValueError):
    """A value was refused before anything was sent, so nothing was spent.

    The message reads: what was given, what the limit is, and a call that would work.
    """

    def __init__(self, name: str, value: object, expected: str, example: str) -> None:
        self.name, self.value, self.expected, self.example = name, value, expected, example
        super().__init__(f"{name}={_short(value)}: expected {expected}. This would work: {example}")


class SettingsError(KitError):
    """A setting is missing or unusable; the message names it and where it may be set."""


class ServiceError(KitError):
    """The background service could not be started, reached or shared."""


class TunnelError(KitError):
    """Callbacks cannot reach this machine just now; nothing was submitted, so nothing was spent."""


class LedgerError(KitError):
    """The ledger file cannot be read or written as it is."""


class ProviderError(KitError):
    """The provider could not be reached, or answered something that cannot be used."""

    def __init__(self, message: str, *, code: int | None = None, http_status: int | None = None) -> None:
        self.code, self.http_status = code, http_status
        super().__init__(message)


class TaskFailed(KitError):
    """A task ended in failure.

    Attributes:
        id: our id of the task; its row stays in ``session.tasks()``.
        kind: the API type.
        code: the code of the deciding answer, or None where the provider gave none.
        provider_message: what the provider wrote, as it wrote it.
        meaning: what the code means on that page of that provider.
        refunded: True, False, or None where the provider does not say.
        next_step: what to do now.
    """

    def __init__(
        self,
        *,
        id: str,
        kind: str,
        code: int | None,
        provider_message: str | None,
        meaning: str,
        refunded: bool | None,
        next_step: str,
    ) -> None:
        self.id, self.kind, self.code = id, kind, code
        self.provider_message, self.meaning = provider_message, meaning
        self.refunded, self.next_step = refunded, next_step
        credits = {True: "refunded", False: "not refunded", None: "the provider does not say"}[refunded]
        ended = "has no result" if code is None else f"failed with code {code}"
        lines = [f"{kind} task {id} {ended}: {meaning}."]
        if provider_message and provider_message.casefold() != meaning.casefold():
            lines.append(f"The provider wrote: {_short(provider_message)}.")
        super().__init__("\n".join([*lines, f"Credits: {credits}.", f"Next: {next_step}"]))


class DuplicateTask(TaskFailed):
    """The provider already has this task, did not say which, and the ledger does not know it."""


class Unconfirmed(KitError):
    """Nobody can say whether a task exists or what became of it; it is never sent again by itself."""


class NotSaved(KitError):
    """A task succeeded, but a file of it could not be saved; the provider's link may still be good."""


class NotReady(KitError, LookupError):
    """What was asked for does not exist yet; the message says what to wait for."""


class WaitTimeout(KitError, TimeoutError):
    """Waiting ended before the task did; nothing was cancelled and nothing has to be bought again."""

    def __init__(self, *, id: str, task_id: str | None, kind: str, status: str, waited_s: float) -> None:
        self.id, self.task_id, self.kind, self.status, self.waited_s = id, task_id, kind, status, waited_s
        known = f" (provider id {task_id})" if task_id else ""
        stands = "is made, but not all its files are saved," if status == "succeeded" else f"is still {status}"
        super().__init__(
            f"{kind} task {id}{known} {stands} after {waited_s:.0f} s of waiting. It goes on without you: "
            f"collect it later with session.task({id!r}).wait(); do not submit it again."
        )


def _short(value: object, limit: int = 120) -> str:
    text = repr(value)
    return text if len(text) <= limit else f"{text[: limit - 1]}… ({len(text)} characters)"
