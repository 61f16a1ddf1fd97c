"""The part file of a download: what is counted is in it, and nobody's link is followed."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import threading

import pytest

from kit.service.part import NoRoom, Part


@pytest.fixture
def part(tmp_path):
    """Give a part that is open, and see that its thread ends."""
    part = Part(tmp_path / "x.part")
    assert not part.open()
    yield part
    part.close()
    assert [] == [thread.name for thread in threading.enumerate() if thread.name == "hash"]


def refusing_after(limit, code):
    """Return an `os.write` that writes at most 3 bytes at once, and fails once the file has `limit`."""
    real = os.write

    def write(descriptor, data):
        if os.fstat(descriptor).st_size >= limit:
            raise OSError(code, os.strerror(code))
        return real(descriptor, data[:3])

    return write


def test_what_was_written_is_sealed_with_its_hash_and_identity(part, tmp_path):
    """The hash is of all pieces in order, the identity is the file's own, and nobody else may read it."""
    part.write(b"one ", 7)
    part.write(b"two", 3)
    digest, identity = part.seal()
    found = (tmp_path / "x.part").stat()

    assert hashlib.sha256(b"one two").hexdigest() == digest
    assert (found.st_dev, found.st_ino) == identity
    assert 0o600 == stat.S_IMODE(found.st_mode)
    assert b"one two" == (tmp_path / "x.part").read_bytes()


def test_a_part_that_was_closed_goes_on_where_it_was(part, tmp_path):
    """File, length and hash survive a closing."""
    part.write(b"one ", 7)
    part.close()

    assert part.open()
    part.write(b"two", 3)
    assert hashlib.sha256(b"one two").hexdigest() == part.digest()
    assert b"one two" == (tmp_path / "x.part").read_bytes()


def test_a_restart_forgets_what_was_there(part, tmp_path):
    """After a restart the file has nothing but what comes then."""
    part.write(b"an old version, longer", 0)
    part.restart()
    part.write(b"new", 0)

    assert hashlib.sha256(b"new").hexdigest() == part.seal()[0]
    assert b"new" == (tmp_path / "x.part").read_bytes()


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_leaves_what_was_counted(part, tmp_path, monkeypatch, code):
    """A piece that fits only in part is taken back whole, and the part goes on once there is room."""
    part.write(b"kept", 10)
    with monkeypatch.context() as disk:
        disk.setattr(os, "write", refusing_after(7, code))
        with pytest.raises(NoRoom) as full:
            part.write(b"does not fit", 1234)

    assert 1234 == full.value.needed
    assert b"kept" == (tmp_path / "x.part").read_bytes()
    part.write(b" and on", 0)
    assert hashlib.sha256(b"kept and on").hexdigest() == part.seal()[0]
    assert b"kept and on" == (tmp_path / "x.part").read_bytes()


def test_another_trouble_of_the_disk_is_no_lack_of_room(part, monkeypatch):
    """An error that room does not cure is passed on as it is."""
    monkeypatch.setattr(os, "write", refusing_after(0, errno.EIO))
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        part.write(b"lost", 0)


@pytest.mark.parametrize(("code", "error"), [(errno.EIO, OSError), (errno.ENOSPC, NoRoom)])
def test_a_sync_that_failed_is_never_believed_later(part, monkeypatch, code, error):
    """After a failed sync the pages may count as written though they are not: the part begins anew."""

    def fail(descriptor):
        raise OSError(code, os.strerror(code))

    part.write(b"perhaps", 0)
    with monkeypatch.context() as disk:
        disk.setattr(os, "fsync", fail)
        with pytest.raises(error):
            part.seal()
    part.close()

    assert not part.open()
    assert 0 == part.received


def test_a_part_that_was_replaced_is_not_sealed(part, tmp_path):
    """What stands at the name has to be what was written, or nobody is told that it is."""
    part.write(b"ours", 0)
    (tmp_path / "x.part").unlink()
    with pytest.raises(OSError, match="taken away"):
        part.seal()
    (tmp_path / "x.part").write_bytes(b"ours")
    with pytest.raises(OSError, match="taken away"):
        part.seal()


def test_a_part_that_somebody_lengthened_is_not_sealed(part, tmp_path):
    """A file that is not as long as what was written is not what was hashed."""
    part.write(b"ours", 0)
    with (tmp_path / "x.part").open("ab") as file:
        file.write(b"theirs")
    with pytest.raises(OSError, match="taken away or changed"):
        part.seal()


@pytest.mark.parametrize("again", [True, False], ids=["resumed", "fresh"])
def test_no_link_is_followed(tmp_path, again):
    """Where a link stands at the part's name it is removed, not written through."""
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    part = Part(tmp_path / "x.part")
    if again:
        part.open()
        part.write(b"begun", 0)
        part.close()
        (tmp_path / "x.part").unlink()
    (tmp_path / "x.part").symlink_to(victim)

    assert not part.open()
    part.write(b"ours", 0)
    part.close()
    assert b"precious" == victim.read_bytes()
    assert not (tmp_path / "x.part").is_symlink()


@pytest.mark.parametrize("change", [b"", b"begu", b"begun and more"])
def test_a_part_that_changed_while_it_was_closed_begins_anew(tmp_path, change):
    """A part is resumed only where it is the same file, exactly as long as it was."""
    part = Part(tmp_path / "x.part")
    part.open()
    part.write(b"begun", 0)
    part.close()
    (tmp_path / "x.part").write_bytes(change)

    assert not part.open()
    assert 0 == part.received
    part.discard()
    assert [] == list(tmp_path.glob("*.part"))
