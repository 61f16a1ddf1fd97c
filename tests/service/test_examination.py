"""Looking into files: real ones are decoded and measured, damaged and mislabelled ones are refused with a reason."""

from __future__ import annotations

import subprocess
import sys

import pytest

from kit.service import examination
from kit.service.examination import EXTENSIONS, Verdict, examine, look
from tests.service.samples import ROLES, TYPES, kind_of, shapes, whole

ANYTHING = [
    b"",
    b"<html>Not found</html>",
    b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>',
    b'{"code": 404, "msg": "gone"}',
    b"\0" * 5000,
    b"RIFF\0\0\0\0WAVE",
    b"\0\0\0\x18ftypmp42",
    b"GIF89a" + b"\0" * 500,
    b"%PDF-1.7",
    b"PK\x03\x04" + b"\0" * 500,
    b"\xff\xd8\xff\xd9",
]


@pytest.fixture
def file(tmp_path):
    """Return a file of the given bytes."""

    def write(body):
        path = tmp_path / "part"
        path.write_bytes(body)
        return path

    return write


@pytest.mark.parametrize("shape", shapes())
def test_a_sound_file_is_decoded(file, shape):
    """Every kind reaches the level `decoded` by way of `structure`, with its real type and its measures."""
    kind = kind_of(shape)
    first, last = look(file(shapes()[shape]), ROLES[kind])

    assert Verdict(verified="structure", media_type=TYPES[kind]) == first
    assert (None, "decoded", TYPES[kind]) == (last.reason, last.verified, last.media_type)
    assert (False, True) == (first.final, last.final)
    assert last.duration_s or last.width
    assert (ROLES[kind] in ("wav", "audio")) <= (last.clipped == 0.0 and last.silence_s is not None)


@pytest.mark.parametrize("role", ["video", "wav", "audio", "image"])
@pytest.mark.parametrize("body", ANYTHING)
def test_what_is_something_else_is_refused(file, role, body):
    """Error pages, zeros, bare headers and other kinds of files are never a file, and never an exception."""
    (verdict,) = look(file(body), role)

    assert verdict.reason
    assert verdict.verified == "length"


@pytest.mark.parametrize("kind", whole())
def test_a_file_of_another_kind_is_refused_by_what_it_is(file, kind):
    """The bytes decide, not a name: each kind of file is refused for every other role."""
    path = file(whole()[kind])

    assert all("not a" in examine(path, other).reason for other in {*ROLES.values()} - {ROLES[kind]})


@pytest.mark.parametrize("kind", whole())
def test_a_padded_file_is_refused(file, kind):
    """Whole and something behind it is not what was announced."""
    assert examine(file(whole()[kind] + b"\0" * 512), ROLES[kind]).reason


def test_a_file_that_is_not_there_has_a_verdict(tmp_path):
    """Also what cannot be read is a reason and no exception."""
    assert "cannot be read" in examine(tmp_path / "none", "video").reason
    assert "cannot be read" in examine(tmp_path, "video").reason


@pytest.mark.parametrize("said", [ValueError("x"), KeyError("x"), OverflowError(), RecursionError(), SyntaxError("x")])
def test_whatever_a_decoder_raises_is_a_verdict(file, monkeypatch, said):
    """A decoder that says that data are broken refuses the file, in whichever words."""

    def broken(*_):
        raise said

    monkeypatch.setattr(examination, "decode", broken)
    first, last = look(file(whole()["png"]), "image")

    assert ("structure", None) == (first.verified, first.reason)
    assert ("length", f"it does not decode ({type(said).__name__})") == (last.verified, last.reason)


def test_memory_that_runs_out_says_nothing_of_a_file(file, monkeypatch):
    """The first verdict stands, and whoever runs this is told."""

    def hungry(*_):
        raise MemoryError

    monkeypatch.setattr(examination, "decode", hungry)
    verdicts = look(file(whole()["png"]), "image")

    assert "structure" == next(verdicts).verified
    with pytest.raises(MemoryError):
        next(verdicts)


def test_each_type_has_its_extension():
    """What a file is called is chosen from a list of ours."""
    assert set(TYPES.values()) == set(EXTENSIONS)


def test_the_service_does_not_load_the_decoders():
    """Importing the examination for its words imports no native decoder: they belong into the worker."""
    code = "import sys, kit.service.verifier; print([m for m in ('av', 'PIL', 'numpy') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert "[]" == done.stdout.strip()
