"""Names of files from titles that nobody can trust."""

from __future__ import annotations

import re
import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kit.ledger.names import MOST_BYTES, archive_name, export_name, folded

ID = "t1c3k9x7q2m4z"
AWKWARD = [
    None, "", " ", ".", "..", "...", "CON", "con", "aux.txt", "nul .x", "COM¹", "CONIN$", "LPT9.a.b", "AC/DC: Live?",
    "dots...", "spaces   ", "dot . . ", "~", "-rf", ".hidden", "🎹 piano 👩\u200d💻 1️⃣", "x" * 300, "夜" * 300,
    "\ud800", "a\udfffb", "\ud83d\ude00", "a\u202egnp.exe", "\u200b\u200d\ufeff", "\u2066x\u2069",
    "a" + "\u0301" * 99, "é" * 300, "\u0301", "１２３", "Ａ／Ｂ＼Ｃ：Ｄ", "夜曲：雨の窓", "نافذة المطر", "हिन्दी गीत",
    "a\0b", "a\nb\tc\x1b[0m", "../../x", "..\\..\\x", "/etc/passwd", "C:\\x", "C:..", "\\\\srv\\share",
    "\\\\?\\C:\\x", "a∕b⁄c⧵d¥e₩f", "℀", "½", "\u3164\u115f", "\ue000", "\U0010ffff", "\u2028\u2029\x85",
    "Straße", "STRASSE", "ﬁn", "ı", "%2e%2e%2f", "file:x", "<b>", 'a|b*c?d"e', "$(x)`y`",
]  # fmt: skip
AWKWARD_LETTERS = "".join(title or "" for title in AWKWARD)

titles = st.none() | st.sampled_from(AWKWARD) | st.text(max_size=200) | st.text(AWKWARD_LETTERS, max_size=200)
parts = st.sampled_from([ID, "audio", "con", "", "../x", "A", "a-b", "x" * 99, "\ud800"]) | st.text(max_size=40)
whats = st.sampled_from(["take 1", "cover 2", "", "a/b"]) | titles.map(lambda title: title or "")
extensions = st.sampled_from(["wav", "mp3", "", "../x", "a.b", "EXE", "x" * 20, "é"]) | st.text(max_size=10)
indexes = st.integers(0, 60) | st.integers()


def _valid_everywhere(name: str) -> bool:
    """Tell whether `name` is one step of a path on every system, as their own rules have it."""
    hidden = [c for c in name if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")]
    device = r"(?i)(con|prn|aux|nul|conin\$|conout\$|com[0-9¹²³]|lpt[0-9¹²³]) *(\.|\Z)"
    return (
        0 < len(name.encode()) <= MOST_BYTES
        and not hidden
        and not re.search(r'[<>:"/\\|?*]', unicodedata.normalize("NFKC", name))
        and ".." not in name
        and name[0] not in " .-~"
        and name[-1] not in " ."
        and not re.match(device, name)
        and name == unicodedata.normalize("NFC", name)
    )


@given(titles, parts, parts, indexes, extensions)
def test_an_archived_name_is_valid_on_every_system(
    title: str | None, task: str, role: str, index: int, extension: str
) -> None:
    """Whatever the title, the ids and the extension are, the name is one valid step of at most 120 bytes."""
    assert _valid_everywhere(archive_name(title, task, role, index, extension))


@given(titles, whats, extensions, st.lists(titles, max_size=3))
@example(None, "", "", [None, None])
def test_an_exported_name_is_valid_and_free(
    title: str | None, what: str, extension: str, earlier: list[str | None]
) -> None:
    """Whatever the title, and whatever was named before, the name is valid everywhere and not in use."""
    taken = {folded(export_name(other, what, extension, ())) for other in [title, *earlier]}

    name = export_name(title, what, extension, taken)

    assert folded(name) not in taken
    assert _valid_everywhere(name)


@pytest.mark.parametrize("extension", ["mp3", "../x"])
def test_every_awkward_title_gives_a_valid_name(extension: str) -> None:
    """What chance may leave out is tried one by one."""
    names = [archive_name(title, ID, "audio", 0, extension) for title in AWKWARD]
    names += [export_name(title, what, extension, ()) for title in AWKWARD for what in ("take 1", "")]

    assert [] == [name for name in names if not _valid_everywhere(name)]


@given(titles, st.lists(st.tuples(parts, parts, indexes), min_size=2, max_size=2, unique=True))
def test_archived_names_never_meet(title: str | None, slots: list[tuple[str, str, int]]) -> None:
    """Two files get two names, also on a disk that ignores case or composes characters, whatever their titles are."""
    one, other = (archive_name(title, *slot, "mp3") for slot in slots)

    assert folded(one) != folded(other)


@given(titles, titles)
def test_titles_cannot_make_archived_names_meet(title: str | None, other: str | None) -> None:
    """No title makes the name of one task's file equal to another's, not even one that looks like such a name."""
    tried = (title, other, f"{other or ''}-{ID}-audio-1", f"{ID}-audio-1.mp3")

    mine, others = ({folded(archive_name(each, task, "audio", 0, "mp3")) for each in tried} for task in (ID, "t2"))

    assert mine.isdisjoint(others)


@pytest.mark.parametrize(
    ("expected", "title"),
    [
        ("Window-Seat", "Window Seat"),
        ("AC-DC-Live", "AC/DC: Live?"),
        ("夜曲-雨の窓", "夜曲：雨の窓"),
        ("نافذة-المطر", "نافذة المطر"),
        ("हिन्दी-गीत", "हिन्दी गीत"),
        ("１２３", "１２３"),
        ("Café", "Cafe\u0301"),
        ("a-gnp-exe", "a\u202egnp.exe"),
    ],
)
def test_an_archived_name_stays_readable(expected: str, title: str) -> None:
    """Letters, marks and digits of any script stay as they are, composed; runs of all else become one dash."""
    assert f"{expected}-{ID}-audio-2.mp3" == archive_name(title, ID, "audio", 1, "mp3")


@pytest.mark.parametrize("title", [None, "", "?!", "🎹", "\ud800", "..", "\u3164"])
def test_a_title_without_letters_leaves_the_rest_of_the_name(title: str | None) -> None:
    """Where nothing of a title can be read, the name is task, role and number."""
    assert f"{ID}-audio-1.mp3" == archive_name(title, ID, "audio", 0, "mp3")


@pytest.mark.parametrize(
    ("expected", "title"),
    [
        ("Window Seat - take 1.wav", "Window Seat"),
        ("Window Seat - take 1.wav", "  Window \t Seat . "),
        ("AC-DC Live - take 1.wav", "AC/DC: Live?"),
        ("Mr. Blue, (Live) & Loud! - take 1.wav", "Mr. Blue, (Live) & Loud!"),
        ("🎹 piano - take 1.wav", "🎹 piano"),
        ("夜曲 雨の窓 - take 1.wav", "夜曲：雨の窓"),
        ("نافذة المطر - take 1.wav", "نافذة المطر"),
        ("_aux.txt - take 1.wav", "aux.txt"),
        ("CON - take 1.wav", "CON"),
        ("½ Life - take 1.wav", "½ Life"),
        ("x - take 1.wav", "../../x"),
        ("agnp.exe - take 1.wav", "a\u202egnp.exe"),
        ("Untitled - take 1.wav", None),
        ("Untitled - take 1.wav", "???"),
    ],
)
def test_an_exported_name_reads_like_a_persons(expected: str, title: str | None) -> None:
    """Spaces, signs and every script stay; what a system refuses goes, and the rest is still the title."""
    assert expected == export_name(title, "take 1", "wav", ())


@pytest.mark.parametrize(("one", "other"), [("Straße", "STRASSE"), ("Café", "cafe\u0301"), ("ı", "I"), ("ﬁn", "FIN")])
def test_twins_by_case_or_normalisation_are_numbered(one: str, other: str) -> None:
    """A title that some disk takes for another one gets a number."""
    first = export_name(one, "take 1", "wav", ())

    second = export_name(other, "take 1", "wav", {folded(first)})

    assert second.endswith(" - take 1 (2).wav")


def test_numbers_go_on_and_stay_within_the_length() -> None:
    """A hundred files of one long title get a hundred names, none longer than 120 bytes."""
    taken: set[str] = set()
    for _ in range(100):
        name = export_name("夜" * 300, "take 1", "wav", taken)
        taken.add(folded(name))

        assert len(name.encode()) <= MOST_BYTES

    assert 100 == len(taken)


def test_a_cut_leaves_no_letter_without_its_marks() -> None:
    """Where a title is too long, it ends with a whole letter."""
    name = export_name("कि" * 100, "take 1", "wav", ())

    assert name.endswith("कि - take 1.wav")
