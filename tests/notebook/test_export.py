"""Exports of saved files: names, manifests, and that nothing is overwritten, doubled or silently left out."""

from __future__ import annotations

import json
import os
import sys
import tracemalloc
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import fsspec
import pytest
from mutagen.id3 import ID3
from mutagen.mp4 import MP4
from mutagen.wave import WAVE

from kit.errors import InvalidInput, KitError, NotReady
from kit.ledger.fold import FileState, TaskState
from kit.notebook.export import Exported, export
from tests.notebook.songs import Archive, mp3, picture, wav

NAMES = {
    "Window Seat - take 1.mp3", "Window Seat - take 2.mp3", "Window Seat - artwork 1.png", "Window Seat - take 2.mp4",
    "Window Seat - take 2.wav", "Window Seat - cover 1.png", "Window Seat - cover 2.png", "manifest.json",
}  # fmt: skip


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    """An empty archive."""
    return Archive(tmp_path / "home")


@pytest.fixture
def family(archive: Archive) -> list[TaskState]:
    """A song of two takes, the second without a picture; a video and a WAV of the second; cover images."""
    song = archive.song(pictures=1, prompt="rain at the window", lyrics="rain at the window")
    return [
        song,
        archive.made_from(song, "video", id="t2", take=1, author="Ada"),
        archive.made_from(song, "wav", id="t3", take=1),
        archive.made_from(song, "cover_image", id="t4"),
    ]


@pytest.fixture
def memory() -> Iterator[Any]:
    """The file system in memory, empty before and after."""
    system = fsspec.filesystem("memory")
    system.store.clear()
    system.pseudo_dirs[:] = [""]
    yield system
    system.store.clear()
    system.pseudo_dirs[:] = [""]


def run(states: list[TaskState], archive: Archive, target: str | Path, **more: Any) -> Exported:
    """Export without a word."""
    return export(states, archive.home, target, say=lambda _: None, **more)


def content(folder: Path) -> dict[str, bytes]:
    """Return what lies in a folder."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def manifest(folder: Path, name: str = "manifest.json") -> dict[str, Any]:
    """Return a manifest."""
    found: dict[str, Any] = json.loads((folder / name).read_text(encoding="utf-8"))
    return found


def test_a_folder_gets_names_that_a_person_would_give(
    archive: Archive, family: list[TaskState], tmp_path: Path
) -> None:
    """Takes count from the song, also for what was made from one, and titles come from it."""
    done = run(family, archive, tmp_path / "a" / "songs")

    assert set(content(tmp_path / "a" / "songs")) == NAMES
    assert (7, 0, ()) == (done.files, done.there, done.missing)
    assert str(tmp_path / "a" / "songs" / "manifest.json") == done.manifest


def test_copies_carry_tags_and_the_archive_stays(archive: Archive, family: list[TaskState], tmp_path: Path) -> None:
    """Each take has its number, genre and words, and its own picture or else the song's cover; no source changes."""
    before = content(archive.home / "archive")

    run(family, archive, tmp_path / "songs")

    one, two = (ID3(tmp_path / "songs" / f"Window Seat - take {n}.mp3") for n in (1, 2))
    film, sound = (
        MP4(tmp_path / "songs" / "Window Seat - take 2.mp4"),
        WAVE(tmp_path / "songs/Window Seat - take 2.wav"),
    )
    assert ("1/2", "2/2") == (str(one["TRCK"]), str(two["TRCK"]))
    assert (picture("teal"), picture("red")) == (one.getall("APIC")[0].data, two.getall("APIC")[0].data)
    assert ("slow piano", "Ada", "Window Seat") == (str(two["TCON"]), str(two["TPE1"]), str(two["TALB"]))
    assert "rain at the window" == one.getall("USLT")[0].text
    assert "Made with sandbox, task m-t1, take t1-a1, kept as t1" == str(one.getall("COMM")[0])
    assert (["Ada"], [(2, 2)], picture("red")) == (film["©ART"], film["trkn"], bytes(film["covr"][0]))
    assert ("2/2", picture("red")) == (str(sound.tags["TRCK"]), sound.tags.getall("APIC")[0].data)
    assert before == content(archive.home / "archive")


@pytest.mark.parametrize(
    "params", [{"instrumental": True}, {"description": "rain at the window"}, {"style": "rain at the window"}]
)
def test_a_prompt_that_is_no_lyrics_is_not_written_as_lyrics(
    archive: Archive, tmp_path: Path, params: dict[str, Any]
) -> None:
    """An instrumental has no words, and a wish in other words is not sung."""
    run([archive.song(takes=1, prompt="rain at the window", **params)], archive, tmp_path / "songs")

    assert [] == ID3(tmp_path / "songs" / "Window Seat - take 1.mp3").getall("USLT")


def test_the_manifest_says_what_each_file_is(archive: Archive, family: list[TaskState], tmp_path: Path) -> None:
    """There is one entry a file, sorted, with both hashes, and no secret of a link."""
    run(family, archive, tmp_path / "songs")

    text = (tmp_path / "songs" / "manifest.json").read_text(encoding="utf-8")
    entries = json.loads(text)["files"]
    film = next(entry for entry in entries if entry["kind"] == "video")
    assert sorted((e["id"], e["role"], e["index"]) for e in entries) == [
        (e["id"], e["role"], e["index"]) for e in entries
    ]
    assert NAMES - {"manifest.json"} == {entry["name"] for entry in entries}
    for entry in entries:
        data = (tmp_path / "songs" / entry["name"]).read_bytes()
        assert (sha256(data).hexdigest(), len(data)) == (entry["exported_sha256"], entry["exported_bytes"])
        assert entry["tagged"] == (not entry["media_type"].startswith("image/"))
        assert entry["tagged"] != (entry["sha256"] == entry["exported_sha256"])
    expected = {"id": "t2", "task_id": "p-t2", "provider": "sandbox", "role": "video", "index": 0, "take": 2}
    expected |= {"title": "Window Seat", "audio_id": "t1-a2", "media_type": "video/mp4", "verified": "decoded"}
    expected |= {"url": "https://media.example.com/x", "saved_at": "2026-03-01T12:01:30+00:00"}
    assert expected.items() <= film.items()
    assert "CANARY" not in text
    assert "pass" not in text


def test_exporting_twice_doubles_nothing(archive: Archive, family: list[TaskState], tmp_path: Path) -> None:
    """The second export finds all there, counts it, and leaves every byte, the manifest's too."""
    first = run(family, archive, tmp_path / "songs")
    before = content(tmp_path / "songs")

    second = run(family, archive, tmp_path / "songs")

    assert before == content(tmp_path / "songs")
    assert (first.files, first.bytes, first.files) == (second.files, second.bytes, second.there)


def test_exporting_twice_without_the_manifest_doubles_nothing(
    archive: Archive, family: list[TaskState], tmp_path: Path
) -> None:
    """Where the manifest was deleted, copies are known by their bytes."""
    run(family, archive, tmp_path / "songs")
    before = content(tmp_path / "songs")
    (tmp_path / "songs" / "manifest.json").unlink()

    assert 7 == run(family, archive, tmp_path / "songs").there
    assert before == content(tmp_path / "songs")


def test_a_copy_somebody_changed_stays_and_a_fresh_one_gets_the_next_name(archive: Archive, tmp_path: Path) -> None:
    """Nothing that lies in the folder is overwritten, by whomever it was put there, and all of it is listed once."""
    song = archive.song(takes=1, pictures=0)
    (tmp_path / "songs").mkdir()
    (tmp_path / "songs" / "WINDOW SEAT - TAKE 1.MP3").write_bytes(b"mine")
    run([song], archive, tmp_path / "songs")
    copy = tmp_path / "songs" / "Window Seat - take 1 (2).mp3"
    edited = copy.read_bytes()[:-1] + b"!"
    copy.write_bytes(edited)

    done = run([song], archive, tmp_path / "songs")

    found = content(tmp_path / "songs")
    assert (b"mine", edited) == (found["WINDOW SEAT - TAKE 1.MP3"], found["Window Seat - take 1 (2).mp3"])
    assert "Window Seat" == str(ID3(tmp_path / "songs" / "Window Seat - take 1 (3).mp3")["TIT2"])
    assert (1, 0) == (done.files, done.there)
    assert run([song], archive, tmp_path / "songs").there == 1


def test_a_later_cover_makes_no_second_copy(archive: Archive, tmp_path: Path) -> None:
    """What was exported of the same saved bytes is left, even where its tags would be other ones today."""
    song = archive.song(takes=1, pictures=0)
    run([song], archive, tmp_path / "songs")

    done = run([song, archive.made_from(song, "cover_image", id="t4")], archive, tmp_path / "songs")

    assert (3, 1) == (done.files, done.there)
    assert 1 == len(list((tmp_path / "songs").glob("*.mp3")))


def test_the_manifest_keeps_what_earlier_exports_put_there(archive: Archive, tmp_path: Path) -> None:
    """Two exports of different tasks to one folder have one manifest of both; what was deleted is off it."""
    one, two, three = (archive.song(f"t{n}", title=f"Song {n}", takes=1, pictures=0) for n in (1, 2, 3))
    run([one], archive, tmp_path / "songs")
    run([two], archive, tmp_path / "songs")
    (tmp_path / "songs" / "Song 1 - take 1.mp3").unlink()

    run([three], archive, tmp_path / "songs")

    assert ["t2", "t3"] == [entry["id"] for entry in manifest(tmp_path / "songs")["files"]]


@pytest.mark.parametrize("body", [b"mine", b"[]", b'{"files": 7}', b'{"format": "other"}', b"[" * 100_000, b""])
def test_a_manifest_of_somebody_else_stays(archive: Archive, tmp_path: Path, body: bytes) -> None:
    """A file of that name that is none of ours is left alone, and ours has a name beside it, found again."""
    song = archive.song(takes=1, pictures=0)
    (tmp_path / "songs").mkdir()
    (tmp_path / "songs" / "manifest.json").write_bytes(body)

    for there in (0, 1):
        done = run([song], archive, tmp_path / "songs")

        assert (there, str(tmp_path / "songs" / "manifest (2).json")) == (done.there, done.manifest)
        assert body == (tmp_path / "songs" / "manifest.json").read_bytes()
        assert {"manifest.json", "manifest (2).json", "Window Seat - take 1.mp3"} == set(content(tmp_path / "songs"))


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "a/b", "", "..", ".", None, 7, ["x"]])
def test_an_edited_manifest_leads_nowhere(archive: Archive, tmp_path: Path, name: object) -> None:
    """A name in it that is no file of the folder is not looked at, nor carried on."""
    song = archive.song(takes=1, pictures=0)
    data = mp3()
    (tmp_path / "secret").write_bytes(data)
    run([song], archive, tmp_path / "songs")
    edited = manifest(tmp_path / "songs")
    digest = sha256(data).hexdigest()
    edited["files"][0] |= {"name": name, "exported_sha256": digest, "exported_bytes": len(data)}
    edited["files"] += [None, 7, {"id": 1}]
    edited["missing"] = edited["not_saved"] = {"id": "t1"}
    (tmp_path / "songs" / "manifest.json").write_text(json.dumps(edited))

    run([song], archive, tmp_path / "songs")

    assert ["Window Seat - take 1.mp3"] == [entry["name"] for entry in manifest(tmp_path / "songs")["files"]]


def test_a_link_in_the_folder_is_not_written_through(archive: Archive, tmp_path: Path) -> None:
    """Where a link lies under the name, what it leads to stays as it is and the copy gets the next name."""
    (tmp_path / "songs").mkdir()
    (tmp_path / "victim").write_bytes(b"theirs")
    for name in ("Window Seat - take 1.mp3", "manifest.json"):
        (tmp_path / "songs" / name).symlink_to(tmp_path / "victim")

    run([archive.song(takes=1, pictures=0)], archive, tmp_path / "songs")

    assert b"theirs" == (tmp_path / "victim").read_bytes()
    assert "Window Seat" == str(ID3(tmp_path / "songs" / "Window Seat - take 1 (2).mp3")["TIT2"])


def test_a_link_to_the_same_bytes_is_no_copy(archive: Archive, tmp_path: Path) -> None:
    """A link is not counted as there: what it leads to may go, and then nothing would be left."""
    song = archive.song(takes=1, pictures=0)
    run([song], archive, tmp_path / "one")
    (tmp_path / "two").mkdir()
    (tmp_path / "two" / "Window Seat - take 1.mp3").symlink_to(tmp_path / "one" / "Window Seat - take 1.mp3")

    done = run([song], archive, tmp_path / "two")

    assert (1, 0) == (done.files, done.there)
    assert (tmp_path / "two" / "Window Seat - take 1 (2).mp3").is_file()


def test_files_missing_or_changed_in_the_archive_are_reported(archive: Archive, tmp_path: Path) -> None:
    """A file that is gone, cut, altered, a folder or a link is not exported; result and manifest name each."""
    songs = [archive.song(f"t{n}", takes=1, pictures=0) for n in range(1, 7)]
    gone, cut, altered, folder, link, _ = paths = [archive.path(song, "audio") for song in songs]
    gone.unlink()
    cut.write_bytes(mp3()[:-1])
    altered.write_bytes(b"\xff" + mp3()[1:])
    folder.unlink()
    folder.mkdir()
    link.unlink()
    link.symlink_to(paths[5])

    done = run(songs, archive, tmp_path / "songs")

    reasons = [entry["reason"] for entry in manifest(tmp_path / "songs")["missing"]]
    assert (1, 5) == (done.files, len(done.missing))
    assert ["t1 audio 1: it is not in the archive any more; session.verify() checks all of them"] == [done.missing[0]]
    assert 2 == sum("not those that were saved" in reason for reason in reasons)
    assert [f"t{n}" for n in range(1, 6)] == [entry["id"] for entry in manifest(tmp_path / "songs")["missing"]]
    assert {"Window Seat - take 1.mp3", "manifest.json"} == set(content(tmp_path / "songs"))


@pytest.mark.parametrize("path", ["../outside.mp3", "/etc/hostname", "archive/../../outside.mp3", "", "a\0b", "C:x"])
def test_a_ledger_leads_to_nothing_outside(archive: Archive, tmp_path: Path, path: str) -> None:
    """A path in the ledger that leaves its folder is not read."""
    (tmp_path / "outside.mp3").write_bytes(mp3())
    song = archive.song(takes=1, pictures=0)
    bent = replace(song, files=tuple(replace(file, path=path) for file in song.files))

    done = run([bent], archive, tmp_path / "songs")

    assert ("t1 audio 1: the ledger names no place inside the archive",) == done.missing


def test_a_pipe_in_the_archive_is_not_waited_for(archive: Archive, tmp_path: Path) -> None:
    """What lies there by the name of a file and is none is reported at once."""
    song = archive.song(takes=1, pictures=0)
    archive.path(song, "audio").unlink()
    os.mkfifo(archive.path(song, "audio"))

    assert 1 == len(run([song], archive, tmp_path / "songs").missing)


def test_what_is_not_saved_is_counted(archive: Archive, tmp_path: Path) -> None:
    """Files that are not saved are in the manifest with their status, and a sentence says how to get them."""
    song = archive.song(takes=2, pictures=0)
    waiting = replace(song.files[1], status="failed", reason="gone", path=None)
    said: list[str] = []

    done = export([replace(song, files=(song.files[0], waiting))], archive.home, tmp_path / "songs", say=said.append)

    assert (1, 1) == (done.files, done.not_saved)
    assert [("failed", "gone")] == [(e["status"], e["reason"]) for e in manifest(tmp_path / "songs")["not_saved"]]
    assert "session.save_all()" in said[-1]


def test_an_export_of_nothing_says_so(archive: Archive, tmp_path: Path) -> None:
    """Where no file is saved, there is no folder either, and the error says what to do."""
    song = archive.song(takes=1, pictures=0)
    lost = replace(song, files=tuple(replace(file, status="failed") for file in song.files))

    with pytest.raises(NotReady, match=r"no saved file to export; session\.save_all\(\) fetches 1 file more"):
        run([lost], archive, tmp_path / "songs")
    assert not (tmp_path / "songs").exists()


def riff(*chunks: bytes) -> bytes:
    """Return a WAV of these chunks."""
    return b"RIFF" + (4 + len(b"".join(chunks))).to_bytes(4, "little") + b"WAVE" + b"".join(chunks)


@pytest.mark.parametrize(
    ("claim", "data"),
    [
        ("the file does not say its own length", b"RF64" + wav()[4:]),
        ("InvalidChunk", riff(b"fmt \4\0\0\0abcd", b"data\3\0\0\0abc")),
    ],
    ids=["nothing was changed", "an odd byte was filled up before"],
)
def test_a_copy_that_takes_no_tags_is_exported_without(
    archive: Archive, tmp_path: Path, claim: str, data: bytes
) -> None:
    """The copy is the saved bytes, however far the attempt had come, and the manifest says what was wrong."""
    song = archive.song(takes=1, pictures=0)

    done = run([archive.made_from(song, "wav", id="t2", take=0, body=data)], archive, tmp_path / "songs", among=[song])

    [entry] = manifest(tmp_path / "songs")["files"]
    assert (1, 1) == (done.files, done.untagged)
    assert data == (tmp_path / "songs" / "Window Seat - take 1.wav").read_bytes()
    assert not entry["tagged"]
    assert claim in entry["tag_problem"]


def test_the_song_is_looked_up_beside_what_is_exported(archive: Archive, tmp_path: Path) -> None:
    """A WAV exported alone has its take and title from the song among all tasks; without it, its role stands in."""
    song = archive.song()
    wav_task = archive.made_from(song, "wav", id="t2", take=1)

    run([wav_task], archive, tmp_path / "with", among=[song, wav_task])
    run([wav_task], archive, tmp_path / "without")

    assert {"Window Seat - take 2.wav", "manifest.json"} == set(content(tmp_path / "with"))
    assert {"Untitled - wav.wav", "manifest.json"} == set(content(tmp_path / "without"))


def test_a_song_of_another_provider_is_not_taken_for_the_parent(archive: Archive, tmp_path: Path) -> None:
    """Ids are a provider's own: the same one elsewhere names another song."""
    song = archive.song(name="same")
    wav_task = archive.made_from(song, "wav", id="t2", take=1)

    run([wav_task], archive, tmp_path / "songs", among=[replace(song, provider="kie")])

    assert {"Untitled - wav.wav", "manifest.json"} == set(content(tmp_path / "songs"))


def test_songs_of_one_title_are_numbered(archive: Archive, tmp_path: Path) -> None:
    """Titles that a disk takes for one get numbers, and the export knows them again."""
    songs = [
        archive.song(f"t{n}", title=title, takes=1, pictures=0) for n, title in enumerate(["Été", "E\u0301TE\u0301"])
    ]
    for _ in range(2):
        run(songs, archive, tmp_path / "songs")

        assert {"Été - take 1.mp3", "ÉTÉ - take 1 (2).mp3", "manifest.json"} == set(content(tmp_path / "songs"))


def test_a_zip_holds_the_files_as_they_are(archive: Archive, family: list[TaskState], tmp_path: Path) -> None:
    """A zip has the same names and copies as a folder, stored, whole, and nothing lies beside it."""
    run(family, archive, tmp_path / "folder")

    done = run(family, archive, tmp_path / "out" / "songs.zip")

    with zipfile.ZipFile(tmp_path / "out" / "songs.zip") as packed:
        assert packed.testzip() is None
        assert content(tmp_path / "folder") == {name: packed.read(name) for name in packed.namelist()}
        assert {zipfile.ZIP_STORED} == {member.compress_type for member in packed.infolist()}
    assert ["songs.zip"] == list(content(tmp_path / "out"))
    assert f"{tmp_path / 'out' / 'songs.zip'}/manifest.json" == done.manifest


def test_a_zip_that_exists_is_left_alone(archive: Archive, tmp_path: Path) -> None:
    """The error names the way out, and the file that is there is not touched."""
    (tmp_path / "songs.zip").write_bytes(b"mine")

    with pytest.raises(InvalidInput, match=r"does not exist yet.*session\.export\('.*songs 2\.zip'\)"):
        run([archive.song()], archive, tmp_path / "songs.zip")
    assert b"mine" == (tmp_path / "songs.zip").read_bytes()


def test_a_zip_that_appears_meanwhile_is_left_alone(archive: Archive, tmp_path: Path) -> None:
    """Whoever made a file of that name while ours was written keeps it, and nothing half done is left."""

    def meddle(_: str) -> None:
        (tmp_path / "out" / "songs.zip").write_bytes(b"mine")

    with pytest.raises(InvalidInput, match="does not exist yet"):
        export([archive.song()], archive.home, tmp_path / "out" / "songs.zip", say=meddle)
    assert {"songs.zip": b"mine"} == content(tmp_path / "out")


def test_an_interrupted_export_leaves_whole_files_only(
    archive: Archive, family: list[TaskState], tmp_path: Path
) -> None:
    """The Stop button leaves no part and no zip; the next export goes on from what is there."""

    def stop(sentence: str) -> None:
        raise KeyboardInterrupt(sentence)

    for target in ("folder", "songs.zip"):
        with pytest.raises(KeyboardInterrupt):
            export(family, archive.home, tmp_path / "out" / target, say=stop)

    assert [tmp_path / "out" / "folder"] == list((tmp_path / "out").iterdir())
    assert {} == content(tmp_path / "out" / "folder")


def test_a_cloud_gets_the_same_as_a_folder(
    archive: Archive, family: list[TaskState], tmp_path: Path, memory: Any
) -> None:
    """Through fsspec go the same names and bytes; a second export sends nothing again."""
    run(family, archive, tmp_path / "folder")

    done = run(family, archive, "memory://bucket/songs")
    again = run(family, archive, "memory://bucket/songs")

    assert {f"/bucket/songs/{k}": v for k, v in content(tmp_path / "folder").items()} == {
        path: memory.cat_file(path) for path in memory.find("/bucket")
    }
    assert ("memory://bucket/songs", "memory://bucket/songs/manifest.json") == (done.target, done.manifest)
    assert (7, 7) == (again.files, again.there)


def test_what_lies_in_a_cloud_is_left_alone(archive: Archive, tmp_path: Path, memory: Any) -> None:
    """A name that is in use there is not written to, whether the manifest is there or not."""
    song = archive.song(takes=1, pictures=0)
    memory.pipe_file("/bucket/Window Seat - take 1.mp3", b"mine")
    run([song], archive, "memory://bucket")
    memory.rm("/bucket/manifest.json")

    assert 1 == run([song], archive, "memory://bucket").there
    assert b"mine" == memory.cat_file("/bucket/Window Seat - take 1.mp3")
    assert 3 == len(memory.find("/bucket"))


def test_a_missing_library_is_named_with_the_way_to_get_it(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without fsspec, or without what it needs for that cloud, the error says what to install."""
    with pytest.raises(KitError, match=r"gcsfs.*fsspec's page"):
        run([archive.song()], archive, "gcs://bucket/songs")
    monkeypatch.setitem(sys.modules, "fsspec.core", None)

    with pytest.raises(KitError, match=r"pip install 'callboard\[cloud\]'"):
        run([archive.song("t2")], archive, "s3://bucket/songs")


def test_what_a_cloud_says_is_a_sentence_without_secrets(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever its library raises becomes a KitError, with neither password nor query of the address in it."""

    def refuse(*_: Any, **__: Any) -> None:
        raise RuntimeError("no bucket at memory://ada:CANARY1@bucket/songs?token=CANARY2")

    monkeypatch.setattr(fsspec.implementations.memory.MemoryFileSystem, "ls", refuse)
    with pytest.raises(KitError, match=r"export to memory://bucket/songs stopped \(RuntimeError: no bucket") as caught:
        run([archive.song()], archive, "memory://ada:CANARY1@bucket/songs?token=CANARY2")
    assert "CANARY" not in str(caught.value)


@pytest.mark.parametrize(
    "target",
    [
        "",
        "  ",
        None,
        7,
        b"songs",
        "a\0b",
        "file.txt",
        "nosuchthing://x",
        "s3:/bucket",
        "songs.tar.gz",
        "memory://x/songs.zip",
    ],
)
def test_what_is_no_place_is_refused(archive: Archive, tmp_path: Path, target: Any) -> None:
    """The error names a call that works, and nothing is made."""
    (tmp_path / "file.txt").write_bytes(b"mine")
    here = set(tmp_path.iterdir()) | {tmp_path / "home"}

    with pytest.raises(InvalidInput, match=r"session\.export\("):
        run([archive.song()], archive, target)
    assert here == set(tmp_path.iterdir())


@pytest.mark.parametrize("inside", [".", "archive", "archive/songs", "archive/songs.zip", "../home/x"])
def test_the_archive_is_no_place_to_export_to(archive: Archive, inside: str) -> None:
    """What lies there belongs to the service, which would take a copy for one of its own."""
    with pytest.raises(InvalidInput, match="outside"):
        run([archive.song()], archive, archive.home / inside)


def test_a_full_disk_is_a_sentence(archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be written ends the export with what happened and what to do; no part is left."""
    (tmp_path / "songs").mkdir(mode=0o755)

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(KitError, match=r"stopped \(OSError.*No space left on device.*make room"):
        run([archive.song()], archive, tmp_path / "songs")
    assert {} == content(tmp_path / "songs")


def test_a_large_file_takes_little_memory(archive: Archive, tmp_path: Path) -> None:
    """A WAV of 64 MiB is copied, hashed, tagged and zipped with never more than 12 MiB of it in memory."""
    song = archive.song(takes=1)
    data = wav()
    sizes = {4: 64 * 2**20 - 8, 40: 64 * 2**20 - 44}
    large = bytearray(64 * 2**20)
    large[: len(data)] = data
    for at, size in sizes.items():
        large[at : at + 4] = size.to_bytes(4, "little")
    task = archive.made_from(song, "wav", id="t2", take=0, body=bytes(large))
    del large
    tracemalloc.start()
    try:
        done = run([task], archive, tmp_path / "songs.zip", among=[song])
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert (1, 0) == (done.files, done.untagged)
    assert 12 * 2**20 > peak


def test_an_export_tells_how_far_it_is(archive: Archive, family: list[TaskState], tmp_path: Path) -> None:
    """It says first how much it will be, and last what came of it."""
    said: list[str] = []

    done = export(family, archive.home, tmp_path / "songs", say=said.append)

    assert said[0].startswith("Exporting 7 files, ")
    assert said[-1].startswith("Exported 7 files, ")
    assert "<Exported 7 files, " in repr(done)


def test_what_is_shown_of_an_export_is_text() -> None:
    """Names and reasons are escaped, and the page stays short."""
    done = Exported(
        target="<b>x", files=1, bytes=2, manifest="m", missing=tuple(f"t{n}: <script>" for n in range(12)), there=1
    )

    shown = done._repr_html_()

    assert "<script" not in shown
    assert "<b>" not in shown
    assert "and 2 more" in shown
    assert "1 there before" in repr(done)


def test_every_saved_file_is_exported_or_reported(archive: Archive, tmp_path: Path) -> None:
    """A row that says saved and has no path is reported too."""
    song = archive.song(takes=1, pictures=0)
    odd = FileState(role="stem", index=3, status="saved")

    done = run([replace(song, files=(*song.files, odd))], archive, tmp_path / "songs")

    assert (1, 1) == (done.files, len(done.missing))
