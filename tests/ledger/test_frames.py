"""The tables: their columns and types, empty or full, and what a row says."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest

from kit.ledger import frames
from kit.ledger.effects import EFFECTS
from kit.ledger.facts import Delivery, Details
from kit.ledger.reader import Reader
from kit.ledger.store import Ledger
from tests.ledger.stories import LINK, answer, at, delivery, departure, details, file, intent

# Design section 4; more may follow these, none may go or change its type.
PROMISED = {
    "tasks": "id task_id kind provider status code message meaning retryable refunded next_step title parent_task_id "
    "audio_id submitted_at finished_at elapsed_s learned_by deliveries confirmed batch_id row_key",
    "tracks": "id task_id audio_id title tags duration_s model audio_url stream_url image_url",
    "files": "id task_id kind role index status path bytes sha256 media_type verified duration_s width height "
    "sample_rate url expires_at saved_at reason wanted linked_at twin loudness_lufs silence_s clipped",
    "deliveries": "received_at id task_id kind stage code message signature duplicate body state seq meaning effect",
    "lineage": "id task_id audio_id index title duration_s audio_status audio_path",
}
_INT = ["code", "deliveries", "index", "bytes", "width", "height", "sample_rate", "seq"]
_FLOAT = ["elapsed_s", "duration_s", "credits", "loudness_lufs", "silence_s", "clipped"]
_BOOL = ["retryable", "refunded", "confirmed", "duplicate", "wanted"]


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    """Return an open ledger with a song, its video, a failed WAV, covers, and a silent listen-only URL."""
    with Ledger.open(tmp_path / "ledger.sqlite") as made:
        made.append(*_song(), *_video(), *_wav(), *_covers(), intent(task="t5", origin="elsewhere")).result()
        yield made


def _song() -> list[object]:
    take = {"id": "a1", "audioUrl": "https://m.example.com/0.mp3", "imageUrl": "https://m.example.com/0.png"}
    more = {"title": "<b>Rain</b>", "tags": "piano", "duration": 12.5, "modelName": "chirp"}
    data = {"taskId": "m1", "status": "SUCCESS", "response": {"sunoData": [take | more]}}
    body = json.dumps({"code": 200, "msg": "success", "data": data})
    return [
        intent("music", task="t1", params={}, title="Rain", batch_id="b1", row_key="0"),
        departure(task="t1"),
        answer(task="t1", task_id="m1"),
        Details(task="t1", at=at(121), http_status=200, body=body, cause="poll"),
        file(role="audio", task="t1", path="t1/0.mp3", bytes=7, sha256="ab", sample_rate=44100, duration_s=12.5),
    ]


def _video() -> list[object]:
    sent = [intent(task="t2"), departure(task="t2"), answer(task="t2")]
    arrived = [delivery(task="t2"), delivery(task="t2", second=63), details(task="t2")]
    return [*sent, *arrived, file(task="t2", path="t2/0.mp4", width=1280, height=720)]


def _wav() -> list[object]:
    sent = [intent("wav", task="t3"), departure(task="t3"), answer(task="t3", task_id="w1")]
    return [*sent, details("GENERATE_WAV_FAILED", None, error=451, id="w1", task="t3")]


def _covers() -> list[object]:
    data = {"taskId": "c1", "successFlag": 1, "response": {"images": ["https://m.example.com/a", LINK]}}
    body = json.dumps({"code": 200, "msg": "success", "data": data})
    asked = Details(task="t4", at=at(150), http_status=200, body=body, cause="callback")
    sent = [intent("cover_image", task="t4", params={"task_id": "m1"}), departure(task="t4")]
    saved = [file(role="image", index=n, task="t4", path=f"t4/{n}.png") for n in (0, 1)]
    return [*sent, answer(task="t4", task_id="c1"), asked, *saved]


@pytest.fixture
def reader(ledger: Ledger) -> Reader:
    """Return a reader of the full ledger."""
    return Reader(ledger.path)


@pytest.mark.parametrize("name", PROMISED)
def test_columns_and_types_are_the_same_empty_and_full(name: str, reader: Reader, tmp_path: Path) -> None:
    """Every promised column is there, in order, with one type, whether there are rows or none."""
    table: Callable[[Reader], pd.DataFrame] = getattr(frames, name)
    full, empty = table(reader), table(Reader(tmp_path / "none.sqlite"))
    promised = PROMISED[name].split()

    assert promised == list(full.columns)[: len(promised)]
    assert (0, True) == (len(empty), len(full) > 0)
    assert full.dtypes.to_dict() == empty.dtypes.to_dict()
    for column, kind in full.dtypes.items():
        expected = (
            "Int64" if column in _INT else "Float64" if column in _FLOAT else "boolean" if column in _BOOL else "string"
        )
        assert ("datetime64[us, UTC]" if str(column).endswith("_at") else expected) == str(kind), column
    assert table.__doc__ is not None
    assert all(column in table.__doc__ for column in full.columns)


def test_tasks_has_one_row_a_task(reader: Reader) -> None:
    """A silent listen-only URL is no row; times are aware, and elapsed is what lies between them."""
    table = frames.tasks(reader).set_index("id")

    assert ["t1", "t2", "t3", "t4"] == list(table.index)
    assert ["succeeded", "succeeded", "failed", "succeeded"] == list(table["status"])
    assert [120.0, 60.0, 60.0, 149.0] == list(table["elapsed_s"])
    assert pd.Timestamp(at(1)) == table.loc["t1", "submitted_at"]
    assert (451, "poll", 2) == (table.loc["t3", "code"], table.loc["t1", "learned_by"], table.loc["t2", "deliveries"])
    assert ("b1", "0") == (table.loc["t1", "batch_id"], table.loc["t1", "row_key"])


def test_text_stays_plain_text(reader: Reader) -> None:
    """What the network wrote is in the table as it was written, neither escaped nor marked up."""
    table = frames.tracks(reader)

    assert ["<b>Rain</b>"] == list(table["title"])
    assert "&lt;b&gt;Rain" in table.to_html()


def test_files_has_one_row_a_file(reader: Reader) -> None:
    """Saved and waiting files stand side by side, with paths that can be opened from anywhere."""
    table = frames.files(reader)

    assert [("t1", "audio"), ("t1", "image"), ("t2", "video"), ("t4", "image"), ("t4", "image")] == list(
        zip(table["id"], table["role"], strict=True)
    )
    assert ["saved", "waiting", "saved", "saved", "saved"] == list(table["status"])
    assert (1280, str(reader.path.parent / "t2/0.mp4")) == (table["width"][2], table["path"][2])
    assert table["expires_at"].notna().all()


def test_files_tells_what_was_heard_and_which_take_is_a_copy(ledger: Ledger, reader: Reader) -> None:
    """Loudness, silence and clipping are columns; a take that is another one byte for byte names it."""
    heard = {"loudness_lufs": -14.5, "silence_s": 0.5, "clipped": 0.001}
    again = file(role="audio", index=1, task="t1", path="t1/1.mp3", bytes=7, sha256="ab", **heard)
    ledger.append(again).result()
    audio = frames.files(reader).query("role == 'audio'").set_index("index")

    assert heard == audio.loc[1, list(heard)].to_dict()
    assert ["t1 audio 2", "t1 audio 1"] == list(audio["twin"])
    assert at(121) == audio.loc[0, "linked_at"]


def test_deliveries_shows_each_arrival_and_marks_repetitions(reader: Reader) -> None:
    """The same body again is a duplicate; the body is there as text."""
    table = frames.deliveries(reader)

    assert [False, True] == list(table["duplicate"])
    assert ["v1", "v1"] == list(table["task_id"])
    assert [200, 200] == list(table["code"])
    assert LINK == json.loads(table["body"][0])["data"]["video_url"]


def test_deliveries_says_what_each_arrival_meant(reader: Reader) -> None:
    """The code is put in words, and the effect tells the news from its repetition; each word is documented."""
    table = frames.deliveries(reader)

    assert ["agrees with details", "repeat"] == list(table["effect"])
    assert {"success: music video generation completed"} == set(table["meaning"])
    assert [] == [word for word in EFFECTS if word not in (frames.deliveries.__doc__ or "")]


def test_what_cannot_be_read_says_why(ledger: Ledger) -> None:
    """The meaning of a body that is no callback is the reason."""
    ledger.append(Delivery(task="t2", at=at(200), body=b"<html>")).result()
    last = frames.deliveries(Reader(ledger.path)).iloc[-1]

    assert ("unreadable", "the body is no JSON object") == (last["effect"], last["meaning"].split("; ")[-1])


def test_ten_thousand_deliveries_are_a_table_in_seconds(ledger: Ledger) -> None:
    """The table grows with the number of deliveries and not with its square."""
    many = [delivery(url=f"{LINK}?{n}", task="t2", second=100 + n / 100) for n in range(10_000)]
    ledger.append(*many).result()
    reader = Reader(ledger.path)
    reader.states()
    began = time.monotonic()
    table = frames.deliveries(reader)

    assert (10_002, 10_000) == (len(table), int((table["effect"] == "agrees with details").sum()) - 1)
    assert time.monotonic() - began < 20


def test_any_body_is_a_row(ledger: Ledger) -> None:
    """Bytes that are no text, half characters and huge numbers make a row like any other."""
    bodies = [
        b"\xff\x00\x1f",
        b'{"code": 1' + b"0" * 5000 + b"}",
        b'{"msg": "\\ud800", "data": {"task_id": "\\udfff"}}',
    ]
    ledger.append(*(Delivery(task="t2", at=at(200), body=body) for body in bodies)).result()
    table = frames.deliveries(Reader(ledger.path))

    assert 5 == len(table)
    assert table.to_csv(index=False).encode("utf-8")


def test_lineage_joins_what_was_made_from_a_take(reader: Reader) -> None:
    """One row a take, with its video, its failed WAV and its song's covers."""
    [row] = frames.lineage(reader).to_dict("records")
    home = f"{reader.path.parent}/"

    assert ("t1", "a1", "saved") == (row["id"], row["audio_id"], row["audio_status"])
    assert f"{home}t1/0.mp3" == row["audio_path"]
    assert ("t2", "saved", f"{home}t2/0.mp4") == (row["video_id"], row["video_status"], row["video_path"])
    assert ("t3", "failed") == (row["wav_id"], row["wav_status"])
    assert pd.isna(row["wav_path"])
    assert ("t4", "saved", f"{home}t4/0.png\n{home}t4/1.png") == (
        row["cover_image_id"], row["cover_image_status"], row["cover_image_paths"],
    )  # fmt: skip
