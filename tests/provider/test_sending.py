"""Parameters are checked before anything is sent, and written exactly as documented."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.errors import InvalidInput
from kit.provider.kinds import DIALECTS, KINDS, Dialect
from kit.provider.params import MODELS
from kit.provider.wire import check_params, submit_body

TRACK = {"task_id": "t", "audio_id": "a"}
SONG = {"style": "slow piano", "title": "Window Seat", "instrumental": True}
CALLBACK = "https://host.example/cb/x"


class Session:
    """Stands in for the session: each call checks its parameters as the real one's do."""

    def __init__(self, dialect: Dialect) -> None:
        self.dialect = dialect

    def generate_music(self, description: str | None = None, **params: Any) -> None:
        """Check a song's parameters."""
        check_params("music", self.dialect, {"description": description} | params)

    def create_video(self, track: dict[str, str], **params: Any) -> None:
        """Check a video's parameters."""
        check_params("video", self.dialect, track | params)

    def convert_wav(self, track: dict[str, str]) -> None:
        """Check a WAV's parameters."""
        check_params("wav", self.dialect, track)

    def create_cover_images(self, song: Any) -> None:
        """Check the parameters of covers."""
        check_params("cover_image", self.dialect, {"task_id": "t"})

    def callback_url(self, kind: str) -> None:
        """Take a type's name."""
        assert kind in KINDS


class Song:
    """Stands in for a finished song."""

    tracks = (TRACK,)


# kind, dialect, parameters, and what the message must name: the parameter, the limit
REFUSED: list[tuple[str, Dialect, dict[str, Any], str, str]] = [
    ("video", "sunoapi", TRACK | {"author": "x" * 51}, "author", "at most 50 characters, and this has 51"),
    ("video", "kie", TRACK | {"domain_name": "x" * 51}, "domain_name", "at most 50 characters"),
    ("video", "kie", TRACK | {"author": 7}, "author", "text"),
    ("video", "kie", TRACK | {"author": "\ud800"}, "author", "UTF-8"),
    ("video", "kie", TRACK | {"singer": "Ada"}, "singer", "task_id, audio_id, author, domain_name"),
    ("video", "kie", {"task_id": "t"}, "audio_id", "one track"),
    ("video", "kie", TRACK | {"task_id": " t"}, "task_id", "without spaces"),
    ("video", "kie", TRACK | {"task_id": "t\n"}, "task_id", "without spaces or control"),
    ("video", "kie", TRACK | {"task_id": "x" * 257}, "task_id", "256"),
    ("wav", "sunoapi", {"audio_id": "a"}, "task_id", "song's task"),
    ("wav", "sunoapi", TRACK | {"author": "Ada"}, "author", "task_id, audio_id"),
    ("cover_image", "kie", {}, "task_id", "song's task"),
    ("cover_image", "kie", {"task_id": ""}, "task_id", "song's task"),
    ("cover_image", "kie", TRACK, "audio_id", "task_id"),
    ("music", "sunoapi", {}, "description", "what the song is about"),
    ("music", "sunoapi", {"description": "x" * 501}, "description", "at most 500"),
    ("music", "kie", {"description": "x" * 3001}, "description", "at most 3000"),
    ("music", "sunoapi", {"description": "x", "style": "y"}, "description", "stand alone"),
    ("music", "sunoapi", {"description": "x", "vocal_gender": "m"}, "vocal_gender", "style= and title="),
    ("music", "sunoapi", {"style": "x", "instrumental": True}, "title", "belong together"),
    ("music", "sunoapi", {"title": "x", "instrumental": True}, "style", "belong together"),
    ("music", "sunoapi", {"style": "x", "title": "y"}, "lyrics", "instrumental=True or lyrics"),
    ("music", "sunoapi", SONG | {"instrumental": "yes"}, "instrumental", "True or False"),
    ("music", "sunoapi", SONG | {"model": "chirp-v4"}, "model", "V4_5ALL"),
    ("music", "sunoapi", SONG | {"model": ["V4"]}, "model", "text"),
    ("music", "sunoapi", SONG | {"style": "x" * 201, "model": "V4"}, "style", "at most 200 characters for model V4"),
    ("music", "sunoapi", SONG | {"vocal_gender": "female"}, "vocal_gender", "one of m, f"),
    ("music", "sunoapi", SONG | {"style_weight": 1.01}, "style_weight", "from 0 to 1"),
    ("music", "sunoapi", SONG | {"weirdness": -0.1}, "weirdness", "from 0 to 1"),
    ("music", "sunoapi", SONG | {"audio_weight": 0.655}, "audio_weight", "two decimals"),
    ("music", "sunoapi", SONG | {"audio_weight": float("nan")}, "audio_weight", "from 0 to 1"),
    ("music", "sunoapi", SONG | {"audio_weight": True}, "audio_weight", "from 0 to 1"),
    ("music", "sunoapi", SONG | {"audio_weight": 10**400}, "audio_weight", "from 0 to 1"),
    ("music", "sunoapi", SONG | {"persona_model": "voice_persona", "model": "V5"}, "persona_model", "persona="),
    ("music", "kie", SONG | {"persona": "p", "persona_model": "voice_persona"}, "persona_model", "V5 or V5_5"),
    ("music", "sunoapi", SONG | {"duration_s": 60, "model": "V5_5"}, "duration_s", "that sunoapi has"),
    ("music", "kie", SONG | {"duration_s": 60}, "duration_s", "V5_5"),
    ("music", "kie", SONG | {"duration_s": 9, "model": "V5_5"}, "duration_s", "from 10 to 360"),
    ("mp4", "kie", {}, "kind", "music, video, cover_image, wav"),
]


@pytest.mark.parametrize(("kind", "dialect", "params", "name", "limit"), REFUSED)
def test_bad_input_names_value_limit_and_a_call_that_works(
    kind: str, dialect: Dialect, params: dict[str, Any], name: str, limit: str
) -> None:
    """Each refusal names the parameter, its value and the limit, and its example passes the same checks."""
    with pytest.raises(InvalidInput) as caught:
        check_params(kind, dialect, params)
    assert name == caught.value.name
    assert caught.value.value == params.get(name, "mp4" if name == "kind" else None) or caught.value.value != params
    assert limit in caught.value.expected
    assert caught.value.example in str(caught.value)
    example = compile(caught.value.example, "example", "eval")
    eval(example, {"session": Session(dialect), "song": Song})


@pytest.mark.parametrize("kind", KINDS)
def test_every_example_of_the_table_works(kind: str) -> None:
    """The call that each row and each parameter shows passes the checks where the parameter exists."""
    row = KINDS[kind]
    examples = [(row.example, DIALECTS), *((param.example, param.dialects) for param in row.params)]
    for example, dialects in examples:
        assert example.startswith(f"session.{row.call}(")
        for dialect in dialects:
            eval(compile(example, "example", "eval"), {"session": Session(dialect), "song": Song})


LIMITS = [
    (model, dialect, field, limit)
    for model in MODELS
    for dialect in DIALECTS
    if (model, dialect) != ("V3_5", "kie")
    for field, limit in (
        ("lyrics", 3000 if model in ("V3_5", "V4") else 5000),
        ("style", 200 if model in ("V3_5", "V4") else 1000),
        ("title", 80 if dialect == "kie" or model in ("V3_5", "V4", "V4_5ALL") else 100),
    )
]


@pytest.mark.parametrize(("model", "dialect", "field", "limit"), LIMITS)
@pytest.mark.parametrize("letter", ["x", "音", "🎹"])
def test_music_limits_per_model(model: str, dialect: Dialect, field: str, limit: int, letter: str) -> None:
    """The limits of provider-api 1.6 hold to the character, and a character is one whatever its bytes."""
    song = {"style": "s", "title": "t", "lyrics": "l", "model": model}
    assert check_params("music", dialect, song | {field: letter * limit})[field] == letter * limit
    with pytest.raises(InvalidInput, match=f"at most {limit} characters"):
        check_params("music", dialect, song | {field: letter * (limit + 1)})


def test_params_are_normalised() -> None:
    """Empty values vanish, defaults are filled in, and the order is the table's, so that equal calls are equal."""
    one = check_params("video", "kie", {"author": "", "audio_id": "a", "domain_name": None, "task_id": "t"})
    assert list(one.items()) == [("task_id", "t"), ("audio_id", "a")]
    assert check_params("music", "kie", {"description": "x"}) == {
        "description": "x",
        "instrumental": False,
        "model": "V4_5",
    }


NAMES = sorted({param.name for kind in KINDS.values() for param in kind.params})
GIVEN = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=300) | st.sampled_from(MODELS)


@given(st.sampled_from(list(KINDS)), st.sampled_from(DIALECTS), st.dictionaries(st.sampled_from(NAMES), GIVEN))
def test_checking_twice_changes_nothing(kind: str, dialect: Dialect, params: dict[str, Any]) -> None:
    """Whatever is given is refused with InvalidInput or normalised once and for all."""
    try:
        checked = check_params(kind, dialect, params)
    except InvalidInput as refusal:
        assert refusal.example
        return
    assert checked == check_params(kind, dialect, checked)


BODIES: list[tuple[str, Dialect, dict[str, Any], dict[str, Any]]] = [
    (
        "video",
        "sunoapi",
        TRACK | {"author": "Ada", "domain_name": "example.org"},
        {"taskId": "t", "audioId": "a", "author": "Ada", "domainName": "example.org"},
    ),
    ("wav", "kie", TRACK, {"taskId": "t", "audioId": "a"}),
    ("cover_image", "sunoapi", {"task_id": "t"}, {"taskId": "t"}),
    (
        "music",
        "sunoapi",
        {"description": "rain"},
        {"prompt": "rain", "customMode": False, "instrumental": False, "model": "V4_5"},
    ),
    (
        "music",
        "sunoapi",
        SONG | {"weirdness": 0.5},
        {
            "style": "slow piano",
            "title": "Window Seat",
            "customMode": True,
            "instrumental": True,
            "model": "V4_5",
            "weirdnessConstraint": 0.5,
        },
    ),
    (
        "music",
        "kie",
        SONG,
        {
            "prompt": "slow piano",
            "style": "slow piano",
            "title": "Window Seat",
            "customMode": True,
            "instrumental": True,
            "model": "V4_5",
        },
    ),
    (
        "music",
        "kie",
        {"lyrics": "la", "style": "s", "title": "t", "model": "V5", "persona": "p", "negative_tags": "drums"},
        {
            "prompt": "la",
            "style": "s",
            "title": "t",
            "customMode": True,
            "instrumental": False,
            "model": "V5",
            "personaId": "p",
            "negativeTags": "drums",
        },
    ),
]


@pytest.mark.parametrize(("kind", "dialect", "params", "body"), BODIES)
def test_row_24_bodies_are_exact_and_always_carry_the_callback_url(
    kind: str, dialect: Dialect, params: dict[str, Any], body: dict[str, Any]
) -> None:
    """The request has the documented names and nothing else, and callBackUrl also where a schema calls it optional."""
    assert submit_body(kind, dialect, params, CALLBACK) == body | {"callBackUrl": CALLBACK}
