"""Owns what every status code means per API type, dialect and page; knows nothing of parsing or requests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

__all__ = ["Cause", "Code", "Dialect", "Page", "meaning"]

Dialect = Literal["sunoapi", "kie"]
Page = Literal["submit", "details", "callback"]
Cause = Literal["ok", "credits", "rate", "busy", "duplicate", "key", "input", "source", "provider", "unknown"]


@dataclass(frozen=True)
class Code:
    """Say what one code means on one page.

    Attributes:
        code: the number, or None where the provider gave none.
        meaning: the page's own statement, in English.
        retryable: True where the same request may succeed later.
        refunded: True or False where the provider says so, None where it does not.
        next_step: one sentence for a person.
        cause: the class of reason; "rate" and "busy" on a submit page mean that no task was created.
    """

    code: int | None
    meaning: str
    retryable: bool
    refunded: bool | None
    next_step: str
    cause: Cause = "provider"


_DONE = "Nothing: it worked."
_AGAIN = "Submit it again with again=True."
_LATER = "Wait a minute, then submit it again with again=True."
_FIX = "Correct the parameter that the message names, then submit again."
_REWRITE = "Change the lyrics, style or description, then submit again."
_TOP_UP = "Add credits to the account, then submit it again with again=True."
_KEY = "Check the API key: its value, and that it belongs to this provider; then submit it with again=True."
_SOURCE = (
    "Check that the source track can still be fetched (media is deleted after about 14 days), "
    "then submit it again with again=True."
)
_ADOPT = "Adopt the task that exists by its provider id (session.adopt) instead of buying another."
_REPORT = "Report it: the kit asked for something this provider does not offer."
_WRITE = "Read the provider's message, and look at the task in the provider's own log."

_Row = tuple[int, str, bool, str, Cause]
_Table = Mapping[int, Code]


def _table(*rows: _Row) -> _Table:
    return {c: Code(c, text, again, _refunded(c), step, cause) for c, text, again, step, cause in rows}


def _refunded(code: int) -> bool | None:
    # provider-api 13.3: only 531 says that the credits came back; about every other failure the pages are silent.
    return True if code == 531 else None


# provider-api 1.3: the body codes of submit and details pages, where no page of its own says otherwise.
_SUBMIT: Mapping[Dialect, _Table] = {
    "sunoapi": _table(
        (200, "success: the task was created", False, _DONE, "ok"),
        (400, "invalid parameters", False, _FIX, "input"),
        (401, "unauthorized: the API key is missing or invalid", False, _KEY, "key"),
        (402, "insufficient credits", False, _TOP_UP, "credits"),
        (404, "invalid request method or path", False, _REPORT, "provider"),
        (405, "rate limit exceeded", True, _LATER, "rate"),
        (409, "conflict: a record for this already exists", False, _ADOPT, "duplicate"),
        (413, "the theme or prompt is too long", False, _REWRITE, "input"),
        (422, "validation error", False, _FIX, "input"),
        (429, "insufficient credits", False, _TOP_UP, "credits"),
        (430, "call frequency too high, try again later", True, _LATER, "rate"),
        (451, "download failed: unable to download the source audio file", False, _SOURCE, "source"),
        (455, "system under maintenance", True, _LATER, "busy"),
        (500, "server error: the task could not be built", True, _LATER, "provider"),
        (501, "generation failed", False, _AGAIN, "provider"),
        (531, "generation failed; the credits were refunded, please try again", True, _AGAIN, "provider"),
    ),
    "kie": _table(
        (200, "success: the task was created", False, _DONE, "ok"),
        (400, "the request is not valid JSON, or its content was refused", False, _FIX, "input"),
        (401, "unauthorized: credentials are missing or invalid", False, _KEY, "key"),
        (402, "insufficient credits", False, _TOP_UP, "credits"),
        (404, "the resource or endpoint was not found", False, _REPORT, "provider"),
        (405, "rate limit exceeded", True, _LATER, "rate"),
        (408, "timeout: no result from upstream for over 10 minutes", True, _AGAIN, "provider"),
        (409, "conflict: a record for this already exists", False, _ADOPT, "duplicate"),
        (413, "the uploaded audio matches an existing work", False, _REWRITE, "input"),
        (422, "validation error: the parameters failed a check", False, _FIX, "input"),
        (429, "rate limited: too many requests, not queued and not charged", True, _LATER, "rate"),
        (430, "call frequency too high, try again later", True, _LATER, "rate"),
        (433, "the usage limit of this sub-key is exceeded", False, _KEY, "credits"),
        (451, "a file could not be fetched", False, _SOURCE, "source"),
        (455, "system under maintenance", True, _LATER, "busy"),
        (500, "server error: an unexpected error while processing the request", True, _LATER, "provider"),
        (501, "generation failed", False, _AGAIN, "provider"),
        (505, "this feature is switched off at the provider", False, _REPORT, "provider"),
        (531, "generation failed; the credits were refunded, please try again", True, _AGAIN, "provider"),
        (550, "connection denied", False, _KEY, "provider"),
    ),
}

# provider-api 5.1: the cover page lists the same meanings in both dialects; 429 is the rate limit on it in A too.
_COVER_SUBMIT = _table(
    (400, "a cover was already generated for this task", False, _ADOPT, "duplicate"),
    (402, "insufficient credits", False, _TOP_UP, "credits"),
    (409, "conflict: a cover record already exists for this task", False, _ADOPT, "duplicate"),
    (422, "validation error: the parameters failed a check", False, _FIX, "input"),
    (429, "rate limited: too many requests", True, _LATER, "rate"),
    (500, "server error, or the cover could not be built", True, _LATER, "provider"),
)

_WAV_EXISTS = _table((409, "conflict: a WAV record already exists for this track", False, _ADOPT, "duplicate"))
_MP4_EXISTS = _table((409, "conflict: a music video record already exists for this track", False, _ADOPT, "duplicate"))

_SUBMIT_OF_KIND: Mapping[tuple[str, Dialect], _Table] = {
    ("cover_image", "sunoapi"): _COVER_SUBMIT,
    ("cover_image", "kie"): _COVER_SUBMIT,
    ("wav", "sunoapi"): _WAV_EXISTS,
    ("wav", "kie"): _WAV_EXISTS,
    ("video", "sunoapi"): _MP4_EXISTS,
    ("video", "kie"): _MP4_EXISTS,
}

# provider-api 5.3 and 003_cd453cdf48329d32.txt
_COVER_CALLBACK = _table(
    (200, "success: the request was processed", False, _DONE, "ok"),
    (400, "validation error: the request parameters are wrong", False, _FIX, "input"),
    (408, "limit exceeded: timeout", True, _AGAIN, "provider"),
    (500, "server error: an unexpected error occurred while processing the request", True, _LATER, "provider"),
    (501, "cover generation failed", False, _AGAIN, "provider"),
    (
        531,
        "server error: generation failed because of a problem; your credits were refunded, please try again",
        True,
        _AGAIN,
        "provider",
    ),
)

_CALLBACK: Mapping[tuple[str, Dialect], _Table] = {
    # provider-api 3.3, 000_39dc3d1583f6a717.txt, 001_e88a83310bab47f3.txt
    ("video", "sunoapi"): _table(
        (200, "success: music video generation completed", False, _DONE, "ok"),
        (400, "bad request: parameter error, unsupported audio file format, etc.", False, _FIX, "input"),
        (451, "download failed: unable to download source audio file", False, _SOURCE, "source"),
        (500, "server error: please try again later", True, _LATER, "provider"),
    ),
    # provider-api 3.3, 002_4a6485410e712997.txt
    ("video", "kie"): _table(
        (200, "success: the request was processed", False, _DONE, "ok"),
        (500, "internal error: please try again later", True, _LATER, "provider"),
    ),
    # provider-api 4.3: the union of 004_9ff792495cc8b0a7.txt (200, 400, 401, 429, 500) and the newer page (451)
    ("wav", "sunoapi"): _table(
        (200, "success: WAV conversion completed", False, _DONE, "ok"),
        (400, "bad request: the source audio is invalid or a parameter is wrong", False, _FIX, "input"),
        (401, "unauthorized: the API key is invalid", False, _KEY, "key"),
        (429, "insufficient credits: the account's credit balance is too low", False, _TOP_UP, "credits"),
        (451, "download failed: unable to download source audio file", False, _SOURCE, "source"),
        (500, "server error: please try again later", True, _LATER, "provider"),
    ),
    ("wav", "kie"): _table(
        (200, "success: the request was processed", False, _DONE, "ok"),
        (400, "validation error: the request parameters are wrong", False, _FIX, "input"),
        (500, "internal error: please try again later", True, _LATER, "provider"),
        (501, "WAV conversion failed", False, _AGAIN, "provider"),
    ),
    ("cover_image", "sunoapi"): _COVER_CALLBACK,
    ("cover_image", "kie"): _COVER_CALLBACK,
    # provider-api 6.3
    ("music", "sunoapi"): _table(
        (200, "success: this stage is done", False, _DONE, "ok"),
        (400, "bad request: a parameter is wrong or the content was refused", False, _REWRITE, "input"),
        (451, "download failed: unable to download the source audio file", False, _SOURCE, "source"),
        (500, "server error: please try again later", True, _LATER, "provider"),
    ),
    ("music", "kie"): _table(
        (200, "success: this stage is done", False, _DONE, "ok"),
        (400, "the lyrics contain copyrighted material", False, _REWRITE, "input"),
        (408, "timeout: no result from upstream", True, _AGAIN, "provider"),
        (413, "the audio matches an existing work", False, _REWRITE, "input"),
        (500, "server error: an unexpected error while processing the request", True, _LATER, "provider"),
        (501, "audio generation failed", False, _AGAIN, "provider"),
        (531, "generation failed; the credits were refunded, please try again", True, _AGAIN, "provider"),
    ),
}

# provider-api 1.3: codes that the dialect's overview gives to callbacks of every type.
_ANY_CALLBACK: Mapping[Dialect, tuple[int, ...]] = {"sunoapi": (451, 501, 531), "kie": (408, 413, 451, 501, 531)}

# What a details answer's failed state says by itself, where it carries no code (provider-api 3.2, 4.2, 5.2, 6.2).
_STATES: Mapping[str, tuple[str, bool, str, Cause]] = {
    "CREATE_TASK_FAILED": ("the provider could not create the job", True, _LATER, "provider"),
    "GENERATE_MP4_FAILED": ("the music video could not be made", False, _AGAIN, "provider"),
    "GENERATE_WAV_FAILED": ("the WAV conversion failed", False, _AGAIN, "provider"),
    "GENERATE_COVER_FAILED": ("cover generation failed", False, _AGAIN, "provider"),
    "GENERATE_AUDIO_FAILED": ("audio generation failed", False, _AGAIN, "provider"),
    "SENSITIVE_WORD_ERROR": ("the text contains words that the provider refuses", False, _REWRITE, "input"),
    "FAILED": ("the provider says that it failed and not why", False, _AGAIN, "provider"),
    "3": ("the provider says that it failed and not why", False, _AGAIN, "provider"),
    "ERROR": ("the provider says that it failed and not why", False, _AGAIN, "provider"),
    "CALLBACK_EXCEPTION": (
        "the provider could not deliver its callback; the result may exist",
        False,
        "Ask once more with task.refresh(); if there is still no result, look in the provider's own log.",
        "provider",
    ),
}


def meaning(kind: str, dialect: Dialect, page: Page, code: int | None, stage: str | None = None) -> Code:
    """Return what `code` means on that page of that dialect; never raises (provider-api 1.3, 3.3, 4.3, 5.3, 6.3).

    An unknown code gives "not documented", not retryable. `stage` (the status word) speaks where there is no code.
    """
    if code is None:
        return _without_code(stage)
    for table in _tables(kind, dialect, page, code):
        if code in table:
            return table[code]
    return Code(code, "not documented", False, None, _WRITE, "unknown")


def _tables(kind: str, dialect: Dialect, page: Page, code: int) -> list[_Table]:
    submit = [_SUBMIT_OF_KIND.get((kind, dialect), {}), _SUBMIT.get(dialect, {})]
    callback = [_CALLBACK.get((kind, dialect), {})]
    if page == "submit":
        return submit
    if page == "details":
        return callback + submit  # a failed task's errorCode tells the same event as its callback would
    return callback + ([_SUBMIT[dialect]] if code in _ANY_CALLBACK.get(dialect, ()) else [])


def _without_code(stage: str | None) -> Code:
    known = _STATES.get((stage or "").strip().upper())
    if known is None:
        return Code(None, "the provider gave no code", False, None, _WRITE, "unknown")
    text, retryable, step, cause = known
    return Code(None, text, retryable, None, step, cause)
