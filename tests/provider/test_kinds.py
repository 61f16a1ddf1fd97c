"""The truth table: complete, consistent, and true to the providers' pages."""

from __future__ import annotations

import json
from pathlib import Path
from typing import get_args

import pytest

from kit.errors import InvalidInput
from kit.provider.kinds import DIALECTS, KINDS, Dialect, Page, State, kind_named, meaning
from kit.provider.wire import parse_delivery

SAMPLES = Path(__file__).parents[2] / "data" / "samples" / "callbacks"

# The five documents the kit was built from: file, type, dialect, body, and each code with the page's words in English.
SEEDS = {
    "000_39dc3d1583f6a717.txt": (
        "video",
        "sunoapi",
        "sunoapi-video-success",
        {
            200: "success: music video generation completed",
            400: "bad request: parameter error, unsupported audio file format, etc.",
            451: "download failed: unable to download source audio file",
            500: "server error: please try again later",
        },
    ),
    "001_e88a83310bab47f3.txt": (
        "video",
        "sunoapi",
        "sunoapi-video-success",
        {
            200: "success: music video generation completed",
            400: "bad request: parameter error, unsupported audio file format, etc.",
            451: "download failed: unable to download source audio file",
            500: "server error: please try again later",
        },
    ),
    "002_4a6485410e712997.txt": (
        "video",
        "kie",
        "kie-video-success",
        {200: "success: the request was processed", 500: "internal error: please try again later"},
    ),
    "003_cd453cdf48329d32.txt": (
        "cover_image",
        "kie",
        "kie-cover_image-success",
        {
            200: "success: the request was processed",
            400: "validation error: the request parameters are wrong",
            408: "limit exceeded: timeout",
            500: "server error: an unexpected error occurred while processing the request",
            501: "cover generation failed",
            531: ("server error: generation failed because of a problem; your credits were refunded, please try again"),
        },
    ),
    "004_9ff792495cc8b0a7.txt": (
        "wav",
        "sunoapi",
        "sunoapi-wav-success",
        {
            200: "success: WAV conversion completed",
            400: "bad request: the source audio is invalid or a parameter is wrong",
            401: "unauthorized: the API key is invalid",
            429: "insufficient credits: the account's credit balance is too low",
            500: "server error: please try again later",
        },
    ),
}
SEED_CODES = [
    (seed, kind, dialect, code, text)
    for seed, (kind, dialect, _, codes) in SEEDS.items()
    for code, text in codes.items()
]
SEED_REPORTS = {
    "000_39dc3d1583f6a717.txt": ("succeeded", "taskId_774b9aa0422f"),
    "001_e88a83310bab47f3.txt": ("succeeded", "taskId_774b9aa0422f"),
    "002_4a6485410e712997.txt": ("pending", "task_id_5bbe7721119d"),
    "003_cd453cdf48329d32.txt": ("succeeded", "21aee3c3c2a01fa5e030b3799fa4dd56"),
    "004_9ff792495cc8b0a7.txt": ("succeeded", "988e****c8d3"),
}


@pytest.mark.parametrize(("seed", "kind", "dialect", "code", "text"), SEED_CODES)
def test_every_code_of_a_seed_has_the_meaning_its_page_gives(
    seed: str, kind: str, dialect: Dialect, code: int, text: str
) -> None:
    """Each status code that a seed document lists is known on that page with that page's statement."""
    assert text == meaning(kind, dialect, "callback", code).meaning
    assert code in KINDS[kind].callback_codes[dialect]


@pytest.mark.parametrize("seed", SEEDS)
def test_every_seed_is_a_row_that_works(seed: str) -> None:
    """The body each seed document shows is read as that type's, with its id, in the state it deserves."""
    kind, dialect, sample, _ = SEEDS[seed]
    body = (SAMPLES / f"{sample}.json").read_bytes()
    for told in (kind, None):
        report = parse_delivery(told, dialect, body)
        assert SEED_REPORTS[seed] == (report.state, report.task_id)
        assert report.code == 200
    assert bool(report.links) == (report.state == "succeeded")


def test_the_placeholder_of_seed_002_is_no_usable_link() -> None:
    """A success whose link is a placeholder stays pending and says why."""
    report = parse_delivery("video", "kie", (SAMPLES / "kie-video-success.json").read_bytes())
    assert report.state == "pending"
    assert "no usable link" in report.notes


@pytest.mark.parametrize(
    ("kind", "dialect", "page", "cause"),
    [
        ("video", "sunoapi", "submit", "credits"),
        ("wav", "sunoapi", "submit", "credits"),
        ("music", "sunoapi", "submit", "credits"),
        ("cover_image", "sunoapi", "submit", "rate"),
        ("video", "kie", "submit", "rate"),
        ("wav", "kie", "submit", "rate"),
        ("music", "kie", "submit", "rate"),
        ("cover_image", "kie", "submit", "rate"),
        ("wav", "sunoapi", "callback", "credits"),
    ],
)
def test_429_means_what_that_page_says(kind: str, dialect: Dialect, page: Page, cause: str) -> None:
    """429 is short credits with sunoapi except on its cover page, and the rate limit with kie (provider-api 1.3)."""
    known = meaning(kind, dialect, page, 429)
    assert cause == known.cause
    assert (cause == "rate") == known.retryable
    assert ("credits" in known.meaning) == (cause == "credits")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("page", get_args(Page))
def test_every_listed_code_is_documented(kind: str, dialect: Dialect, page: Page) -> None:
    """Whatever code a type lists has a meaning, a next step, and refunds only where 531 says so."""
    codes = KINDS[kind].callback_codes if page == "callback" else KINDS[kind].submit_codes
    for code in codes[dialect]:
        known = meaning(kind, dialect, page, code)
        assert known.meaning != "not documented"
        assert known.next_step
        assert (code == 531) == (known.refunded is True)


@pytest.mark.parametrize(
    ("code", "retryable"),
    [(405, True), (430, True), (455, True), (500, True)]
    + [(code, False) for code in (400, 401, 402, 404, 413, 422, 451, 501)],
)
def test_retry_classes(code: int, retryable: bool) -> None:
    """The classes of provider-api 1.3 hold in both dialects."""
    for dialect in DIALECTS:
        assert retryable == meaning("video", dialect, "submit", code).retryable


def test_meaning_never_raises() -> None:
    """An unknown code, type or dialect gives "not documented", not retryable; no code is said to be none."""
    for kind, dialect, page in (("video", "kie", "callback"), ("nonsense", "elsewhere", "nowhere")):
        known = meaning(kind, dialect, page, 999)  # type: ignore[arg-type]
        assert (known.meaning, known.retryable, known.refunded) == ("not documented", False, None)
    assert meaning("video", "kie", "details", None).meaning == "the provider gave no code"


def test_a_status_word_speaks_where_there_is_no_code() -> None:
    """A failed details answer without errorCode still has a meaning: its state's."""
    for kind in KINDS.values():
        for word, state in kind.states.items():
            if state == "failed":
                assert meaning(kind.name, "kie", "details", None, word.lower()).meaning != "the provider gave no code"
    refused = meaning("music", "kie", "details", None, "SENSITIVE_WORD_ERROR")
    assert "refuses" in refused.meaning


@pytest.mark.parametrize("kind", KINDS)
def test_rows_are_complete(kind: str) -> None:
    """Every row has both dialects everywhere, only known states, and an asset whose spellings pair up."""
    row = KINDS[kind]
    for column in (row.callback_id_key, row.retention_days, row.credits, row.time_format, row.success_msg, row.failure):
        assert set(DIALECTS) == set(column)
    assert set(row.states.values()) <= set(get_args(State))
    assert all(word == word.upper() for word in row.states)
    assert row.states["CALLBACK_EXCEPTION"] == "undelivered"
    assert row.assets
    for asset in row.assets:
        assert len(asset.callback_fields) == len(asset.details_fields)
    assert {row.failure[d][0] for d in DIALECTS} <= {c for d in DIALECTS for c in row.callback_codes[d]}


def test_two_means_generating_for_covers_only() -> None:
    """The integer 2 is pending for covers and unknown for the others (provider-api 14 row 6)."""
    assert KINDS["cover_image"].states["2"] == "pending"
    assert all("2" not in kind.states for kind in KINDS.values() if kind.name != "cover_image")


def test_retention_and_prices_are_the_published_ones() -> None:
    """Retention and credits stand as in provider-api 13.1 and 13.3."""
    days = {name: (row.retention_days["sunoapi"], row.retention_days["kie"]) for name, row in KINDS.items()}
    assert days == {"music": (15, 14), "video": (15, 14), "cover_image": (14, 14), "wav": (15, 14)}
    prices = {name: row.credits["kie"] for name, row in KINDS.items()}
    assert prices == {"music": 12, "video": 2, "cover_image": 0, "wav": 0.4}


def test_an_unknown_kind_lists_the_known_ones() -> None:
    """Asking for a type that does not exist names it and all that do."""
    with pytest.raises(InvalidInput, match=r"'mp4'.*music, video, cover_image, wav"):
        kind_named("mp4")


SAMPLE_NAMES = sorted(path.stem for path in SAMPLES.glob("*.json"))


def test_a_sample_exists_for_every_documented_body() -> None:
    """Each type, dialect, stage and outcome that the pages show has its file."""
    wanted = set()
    for name, row in KINDS.items():
        for dialect in DIALECTS:
            code = row.failure[dialect][0]
            stages = [*row.stages, f"error-{code}"] if row.stages else ["success", f"failure-{code}"]
            wanted |= {f"{dialect}-{name}-{stage}" for stage in stages}
    assert wanted | {"kie-wav-zh-success", "kie-wav-zh-failure-501"} == set(SAMPLE_NAMES)


@pytest.mark.parametrize("name", SAMPLE_NAMES)
def test_samples_and_truth_table_agree(name: str) -> None:
    """A sample's id key, url key, code and msg are those of its row, and it is read as what it is named."""
    dialect, kind, *what = name.split("-")
    text = (SAMPLES / f"{name}.json").read_text(encoding="utf-8")
    body, row = json.loads(text), KINDS[kind]
    assert text == json.dumps(body, ensure_ascii=False, indent=2) + "\n"
    assert set(body) == {"code", "msg", "data"}
    assert row.callback_id_key[dialect] in body["data"]  # type: ignore[index]
    assert body["code"] in row.callback_codes[dialect]  # type: ignore[index]
    _check_keys(row.name, what, body)
    report = parse_delivery(kind, dialect, text.encode())  # type: ignore[arg-type]
    assert report == parse_delivery(None, dialect, text.encode())  # type: ignore[arg-type]
    expected = {"text": "pending", "first": "pending", "complete": "succeeded", "success": "succeeded"}
    state = "pending" if name == "kie-video-success" else expected.get(what[-1], "failed")
    assert (state, body["code"], body["msg"]) == (report.state, report.code, report.message)
    if "zh" not in what:
        documented = row.stages.get(what[0]) or row.success_msg[dialect]  # type: ignore[index]
        assert row.failure[dialect] == (body["code"], body["msg"]) if state == "failed" else documented == body["msg"]  # type: ignore[index]


def _check_keys(kind: str, what: list[str], body: dict[str, dict[str, object]]) -> None:
    data = body["data"]
    if kind == "music":
        assert {"callbackType", "task_id", "data"} == set(data)
        assert what[0] == data["callbackType"]
        return
    key = KINDS[kind].variants["kie-zh"] if what[0] == "zh" else KINDS[kind].assets[0].callback_fields[0]
    assert key in data
    assert len(data) == 2
