"""The archive's folder: a final name is only ever given to the very file that was fetched, and never taken away."""

from __future__ import annotations

import errno
import hashlib
import os
import threading
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.ledger.facts import new_id
from kit.ledger.names import archive_name
from kit.service import shelf
from kit.service.shelf import Content, Swapped, clear_parts, hash_of, lies_there, part_name, put_in_place, strays

BODY = b"a whole file"
NAME = "Window-Seat-t1c3k9x7q2m4z-wav-1.wav"


@pytest.fixture
def part(tmp_path):
    """Return a part file that is whole."""
    path = tmp_path / "t1c3k9x7q2m4z-wav-1.part"
    path.write_bytes(BODY)
    os.utime(path, (1e9, 1e9))  # long ago: what is written from now on is written later
    return path


def fetched(part):
    """Return what is known of a part file that was just fetched."""
    found = part.stat()
    return Content.of(part, len(BODY), hashlib.sha256(BODY).hexdigest(), (found.st_dev, found.st_ino))


def names(folder):
    """Return what is in a folder."""
    return sorted(path.name for path in folder.iterdir())


def place(part, what=None):
    """Put a part file in place under `NAME`."""
    return put_in_place(part, NAME, what or fetched(part), threading.Event())


def no_links(*_args, **_more):
    """Be a file system without hard links."""
    raise OSError(errno.EPERM, "Operation not permitted")


@pytest.mark.parametrize("links", [True, False])
def test_a_part_gets_its_final_name_and_nothing_else_is_left(part, monkeypatch, links):
    """With or without hard links: the bytes under the final name, and no part."""
    if not links:
        monkeypatch.setattr(shelf.os, "link", no_links)

    assert NAME == place(part).name
    assert [NAME] == names(part.parent)
    assert BODY == (part.parent / NAME).read_bytes()


@pytest.mark.parametrize("links", [True, False])
@pytest.mark.parametrize("kind", ["file", "folder", "dangling link"])
def test_what_stands_at_the_name_is_never_overwritten(part, monkeypatch, links, kind):
    """Whatever has the name keeps it: ours gets the next free one."""
    if not links:
        monkeypatch.setattr(shelf.os, "link", no_links)
    taken, second = part.parent / NAME, part.parent / NAME.replace(".wav", " (2).wav")
    second.write_bytes(b"somebody's")
    {
        "file": lambda: taken.write_bytes(b"somebody's"),
        "folder": taken.mkdir,
        "dangling link": lambda: taken.symlink_to("nowhere"),
    }[kind]()
    before = os.lstat(taken)

    assert NAME.replace(".wav", " (3).wav") == place(part).name
    assert (before.st_ino, b"somebody's") == (os.lstat(taken).st_ino, second.read_bytes())


@pytest.mark.parametrize("swap", ["another file", "a link", "a link to the same bytes", "gone", "longer"])
def test_a_part_that_was_replaced_gets_no_final_name(part, tmp_path_factory, swap):
    """A file that is not the one that was fetched is not put in place, and nothing is written through a link."""
    what, elsewhere = fetched(part), tmp_path_factory.mktemp("elsewhere") / "precious"
    elsewhere.write_bytes(BODY if "same" in swap else b"precious")
    if swap == "longer":
        part.write_bytes(BODY + b"!")
    else:
        part.unlink()
    if swap == "another file":
        part.write_bytes(b"A WHOLE FILE")
    elif "link" in swap:
        part.symlink_to(elsewhere)

    with pytest.raises(Swapped):
        place(part, what)
    assert not (part.parent / NAME).exists()
    assert elsewhere.read_bytes() in (BODY, b"precious")


def test_a_part_that_is_replaced_between_look_and_link_gets_no_final_name(part, monkeypatch):
    """The look is repeated at the final name, which is given back where it leads to something else."""
    link = os.link

    def slow_link(source, target, **more):
        part.unlink()
        part.write_bytes(b"A WHOLE FILE")
        link(source, target, **more)

    monkeypatch.setattr(shelf.os, "link", slow_link)
    with pytest.raises(Swapped):
        place(part)
    assert [part.name] == names(part.parent)


def test_a_disk_that_renumbers_its_files_is_believed_by_the_bytes(part):
    """Where the number of a file changes, as on some network disks, the same bytes are the same file."""
    what = fetched(part)

    assert NAME == place(part, replace(what, identity=(0, 0))).name


def test_the_folder_is_synced_after_the_name_was_given(part, monkeypatch):
    """Only then is a row written, so that no row can outlive its file."""
    seen = []
    monkeypatch.setattr(shelf, "sync_folder", lambda folder: seen.append(names(folder)))

    place(part)
    assert [[NAME]] == seen


def test_a_name_that_the_disk_may_not_have_is_taken_back(part, monkeypatch):
    """Where the folder cannot be synced nothing is left that the next attempt would have to stand beside."""

    def broken(_folder):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(shelf, "sync_folder", broken)
    with pytest.raises(OSError, match="Input/output"):
        place(part)
    assert [] == names(part.parent)


def test_a_disk_that_fails_is_said_so(part, monkeypatch):
    """An error that is no missing feature reaches whoever asked, and the part stays."""

    def broken(*_args, **_more):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(shelf.os, "link", broken)
    with pytest.raises(OSError, match="Input/output"):
        place(part)
    assert [part.name] == names(part.parent)


@given(title=st.one_of(st.none(), st.text(max_size=60)), role=st.sampled_from(["audio", "image", "wav", "video"]),
       index=st.integers(0, 49), again=st.integers(0, 3))  # fmt: skip
def test_every_name_that_the_archive_gives_is_known_again(tmp_path_factory, title, role, index, again):
    """Whatever the title, and also with a number behind it, a file says for which task, role and index it is."""
    folder, task = tmp_path_factory.mktemp("archive"), new_id()
    name = archive_name(title, task, role, index, "wav")
    path = folder / (name.replace(".wav", f" ({again + 1}).wav") if again else name)
    path.write_bytes(BODY)
    (folder / "notes.txt").write_bytes(b"a person's")

    [stray] = strays(folder)
    assert (path, task, role, index, "wav") == (stray.path, stray.task, stray.role, stray.index, stray.extension)


def test_strays_are_plain_files_and_parts_are_removed(tmp_path):
    """A link or a folder of such a name is nobody's file; parts go, whatever else is there stays."""
    (tmp_path / NAME).symlink_to("/etc/hostname")
    (tmp_path / NAME.replace("1.wav", "2.wav")).mkdir()
    (tmp_path / part_name("t1c3k9x7q2m4z", "wav", 0)).write_bytes(b"half")
    (tmp_path / "folder.part").mkdir()
    clear_parts(tmp_path)

    assert [] == list(strays(tmp_path))
    assert sorted([NAME, NAME.replace("1.wav", "2.wav"), "folder.part"]) == names(tmp_path)


def test_a_file_is_looked_at_and_never_what_a_link_leads_to(part, tmp_path):
    """Size, hash and presence are of the plain file itself; a hash that is told to stop says nothing."""
    linked, stop = tmp_path / "link", threading.Event()
    linked.symlink_to(part)

    assert (True, True, False, False) == tuple(
        lies_there(path, size) for path, size in [(part, None), (part, len(BODY)), (part, 1), (linked, None)]
    )
    assert (len(BODY), hashlib.sha256(BODY).hexdigest()) == hash_of(part, stop)
    with pytest.raises(OSError, match="link"):
        hash_of(linked, stop)
    stop.set()
    assert hash_of(part, stop) is None
