"""Judging an answer by its head: the file, the rest of this very version of it, or neither."""

from __future__ import annotations

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.service.answer import Body, Had, NotFetched, Unfit, is_page, judge

CAP = 10_000
HAD = Had(received=400, total=1000, etag='"v1"')
REST = {"content-range": "bytes 400-999/1000", "content-length": "600", "etag": '"v1"'}


def answer(status=200, **headers):
    """Return an answer with these headers; `_` stands for `-`."""
    written = {name.replace("_", "-"): value.encode() for name, value in headers.items()}
    return httpx.Response(status, headers=written)


def rest(**changes):
    """Return an answer to a resume that fits, but for these headers; None leaves one out."""
    headers = REST | {name.replace("_", "-"): value for name, value in changes.items()}
    return httpx.Response(206, headers={name: value.encode() for name, value in headers.items() if value is not None})


def test_a_whole_answer_says_where_it_ends():
    """The announced length is the file's; without one the body's framing ends it, or nothing but the line does."""
    assert Body(0, 1000, 1000, '"v1"') == judge(answer(content_length="1000", etag='"v1"'), None, CAP)
    assert Body(0, None, None, None) == judge(answer(transfer_encoding="chunked"), None, CAP)
    assert Body(0, None, None, None, unmarked=True) == judge(answer(), None, CAP)


def test_a_whole_answer_to_a_resume_replaces_what_was_there():
    """200 means that the file changed, or that the host knows no ranges: either way it begins at zero."""
    assert Body(0, 900, 900, '"v2"') == judge(answer(content_length="900", etag='"v2"'), HAD, CAP)


def test_a_tail_that_calls_itself_the_whole_is_not_taken_for_it():
    """200 with the same tag but another length contradicts what the host said before."""
    with pytest.raises(Unfit):
        judge(answer(content_length="600", etag='"v1"'), HAD, CAP)


@pytest.mark.parametrize("tag", ['W/"v1"', "v1", "", '""', '"v1', '"a", "b"', '"ä"', '"a b"', '"' + "x" * 300 + '"'])
def test_only_a_strong_tag_names_a_version(tag):
    """A weak tag, a malformed one or none at all promises nothing about the bytes."""
    assert judge(answer(content_length="1000", etag=tag), None, CAP).etag is None


def test_the_rest_of_the_same_version_is_joined():
    """A 206 that begins where we are, of the same total and tag, is accepted; also one that ends early."""
    assert Body(400, 1000, 1000, '"v1"') == judge(rest(), HAD, CAP)
    early = rest(content_range="bytes 400-499/1000", content_length="100")
    assert Body(400, 500, 1000, '"v1"') == judge(early, HAD, CAP)
    assert Body(400, 1000, 1000, '"v1"') == judge(rest(content_length=None), HAD, CAP)


@pytest.mark.parametrize(
    "changes",
    [
        {"content_range": None},
        {"content_range": "bytes 400-999/*"},
        {"content_range": "bytes */1000"},
        {"content_range": "bytes 0-999/1000", "content_length": "1000"},
        {"content_range": "bytes 401-999/1000", "content_length": "599"},
        {"content_range": "bytes 399-999/1000", "content_length": "601"},
        {"content_range": "bytes 400-1000/1001", "content_length": "601"},
        {"content_range": "bytes 400-1000/1000", "content_length": "601"},
        {"content_range": "bytes 400-399/1000", "content_length": "0"},
        {"content_range": "items 400-999/1000"},
        {"content_range": "bytes 400-999/1000, bytes 400-999/1000"},
        {"content_range": "bytes ٤00-999/1000"},
        {"content_length": "599"},
        {"etag": '"v2"'},
        {"etag": 'W/"v1"'},
        {"etag": None},
        {"content_encoding": "gzip"},
        {"transfer_encoding": "chunked"},
        {"content_type": "multipart/byteranges; boundary=x", "content_range": None},
    ],
)
def test_a_rest_that_might_be_of_another_version_is_not_joined(changes):
    """Another place, total or tag, or lengths that contradict each other: the file is asked for from its start."""
    with pytest.raises(Unfit):
        judge(rest(**changes), HAD, CAP)


def test_no_more_bytes_is_an_end_where_the_host_knows_just_those_that_are_there():
    """416 with our very length completes a file whose length was not known; anything else starts over."""
    had = Had(received=400, total=None, etag='"v1"')

    assert Body(400, 400, 400, '"v1"') == judge(answer(416, content_range="bytes */400"), had, CAP)
    for headers in (
        {"content_range": "bytes */401"},
        {"content_range": "bytes */*"},
        {},
        {"content_range": "bytes */400", "etag": '"v2"'},
    ):
        with pytest.raises(Unfit):
            judge(answer(416, **headers), had, CAP)
    with pytest.raises(Unfit):
        judge(answer(416, content_range="bytes */400"), HAD, CAP)


@pytest.mark.parametrize(
    ("status", "gone", "refused", "away"),
    [
        (404, True, False, False),
        (410, True, False, False),
        (401, False, True, False),
        (403, False, True, False),
        (429, False, False, True),
        (500, False, False, True),
        (503, False, False, True),
        (522, False, False, True),
        (204, False, False, False),
        (206, False, False, False),
        (300, False, False, False),
        (304, False, False, False),
        (416, False, False, False),
        (418, False, False, False),
    ],
)
def test_a_status_says_whether_to_come_back(status, gone, refused, away):
    """Gone, refused, or not now: each status that is no file has one of these, or is a plain refusal."""
    with pytest.raises(NotFetched, match=str(status)) as reason:
        judge(answer(status), None, CAP)

    assert (gone, refused, away) == (reason.value.gone, reason.value.refused, reason.value.away)


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, Unfit),
        (412, Unfit),
        (500, Unfit),
        (404, Unfit),
        (403, NotFetched),
        (429, NotFetched),
        (503, NotFetched),
    ],
)
def test_what_a_host_answers_to_a_range_may_be_about_the_range(status, error):
    """Some refuse the Range and have the file: it is asked for whole; but busy is busy."""
    with pytest.raises(error, match=str(status)):
        judge(answer(status), HAD, CAP)


def test_a_wish_to_be_asked_later_is_passed_on():
    """Retry-After in seconds is part of the reason; what is no number is left out."""
    with pytest.raises(NotFetched, match="come back in 120 s"):
        judge(answer(503, retry_after="120"), None, CAP)
    with pytest.raises(NotFetched, match=r"503$"):
        judge(answer(503, retry_after="<script>"), None, CAP)


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        ({"content_encoding": "gzip"}, "compressed"),
        ({"content_encoding": "identity, br"}, "compressed"),
        ({"transfer_encoding": "gzip, chunked"}, "transfer coding"),
        ({"transfer_encoding": "chunked", "content_length": "5"}, "two ends"),
        ({"content_length": "0"}, "empty"),
        ({"content_length": str(CAP + 1)}, "larger"),
        ({"content_length": "9" * 5000}, "no number"),
        ({"content_length": "-1"}, "no number"),
        ({"content_length": "5, 5"}, "no number"),
        ({"content_length": "0x10"}, "no number"),
    ],
)
def test_a_body_that_is_coded_empty_too_large_or_unclear_is_refused(headers, reason):
    """What a body's head already rules out is not read."""
    with pytest.raises(NotFetched, match=reason):
        judge(answer(**headers), None, CAP)


def test_the_rest_of_a_file_that_is_too_large_is_refused():
    """The cap holds for the whole file, also where its length is only learned with a part."""
    had = Had(received=400, total=None, etag='"v1"')
    with pytest.raises(NotFetched, match="larger"):
        judge(rest(content_range="bytes 400-99999/100000", content_length="99600"), had, CAP)


@pytest.mark.parametrize(
    "said", ["text/html; charset=utf-8", "application/json", "application/problem+json", "TEXT/XML"]
)
def test_a_page_is_known_by_its_type_and_its_beginning(said):
    """Both have to say so: media behind a wrong type is left to the examination."""
    assert is_page(answer(content_type=said), b"\xef\xbb\xbf\n <!DOCTYPE html>")
    assert is_page(answer(content_type=said), b'{"code": 403}')
    assert not is_page(answer(content_type=said), b"ID3\x04")
    assert not is_page(answer(content_type="audio/mpeg"), b"<html>")
    assert not is_page(answer(), b"<html>")


@given(st.integers(100, 599), st.dictionaries(st.sampled_from(sorted([*REST, "content-encoding"])), st.text()))
def test_no_head_is_more_than_judged(status, headers):
    """Whatever a host puts into a head, the judgement is a body within bounds, a refusal or a restart."""
    headers = {name: value.encode("utf-8", "replace") for name, value in headers.items()}
    try:
        body = judge(httpx.Response(status, headers=headers), HAD, CAP)
    except (NotFetched, Unfit):
        return

    assert body.start in (0, HAD.received)
    assert body.end is None or body.start <= body.end <= CAP
