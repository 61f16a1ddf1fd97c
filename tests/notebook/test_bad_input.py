"""Every mistake a person can make at the front door: refused in words, before anything is sent."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import kit
from kit.provider.params import MODELS

NAN = float("nan")
CANARY = "canary key with spaces"
CUSTOM = {"style": "slow piano", "title": "Window Seat", "instrumental": True}
SUNG = {"style": "slow piano", "title": "Window Seat", "lyrics": "Rain"}

Row = tuple[str, Callable[[Any], Any], type[kit.KitError], tuple[str, ...]]


def row(call: str, error: type[kit.KitError], *told: str, **names: Any) -> Row:
    """A line of the table: the call as a person writes it, and what its error must tell."""
    return call, lambda at: eval(call, {"kit": kit, "NAN": NAN, **names}, at), error, told


def refused(call: str, *told: str, **names: Any) -> Row:
    """A line whose error is `InvalidInput`, which always ends with a call that would work."""
    return row(call, kit.InvalidInput, "This would work: ", *told, **names)


WORKS_CONNECT = "This would work: kit.connect("
CONNECTING = [
    refused("kit.connect('spotify')", "profile='spotify'", "sandbox, sandbox-kie, sunoapi, kie", WORKS_CONNECT),
    refused("kit.connect('')", "profile=''", "sandbox-kie", WORKS_CONNECT),
    refused("kit.connect(5)", "profile=5", "sandbox-kie", WORKS_CONNECT),
    *[
        refused(f"kit.connect(speed={speed})", f"speed={shown}", "0.1 to 10000", "kit.connect(speed=20)")
        for speed, shown in (("0", "0"), ("-1", "-1"), ("'fast'", "'fast'"), ("NAN", "nan"), ("True", "True"))
    ],
    refused("kit.connect('kie', key='k', speed=3)", "speed=3", "kie is real", "kit.connect('kie')"),
    refused("kit.connect(key=CANARY)", "key=Secret('…')", "sandbox is simulated", "kit.connect('sandbox')",
            CANARY=CANARY),
    refused("kit.connect('kie', key=CANARY)", "key=Secret('…')", "without spaces", "kit.connect('kie', key=",
            CANARY=CANARY),
    refused("kit.connect('kie', key=' ')", "key=Secret('…')", "without spaces", "kit.connect('kie', key="),
    refused("kit.connect('kie', key=12345)", "key=Secret('…')", "plain ASCII text", "kit.connect('kie', key="),
    row("kit.connect('kie')", kit.SettingsError, "kie needs an API key", "KIE_API_KEY=", "kit.connect()"),
    row("kit.connect('sunoapi', key='')", kit.SettingsError, "sunoapi needs an API key", "SUNOAPI_KEY=",
        "kit.connect()"),
    refused("kit.connect(save='no')", "save='no'", "True or False", "kit.connect(save=False)"),
    refused("kit.connect(data=5)", "data=5", "path of a folder", 'kit.connect(data="~/callboard")'),
    refused("kit.connect(data='')", "data=''", "path of a folder", 'kit.connect(data="~/callboard")'),
    refused("kit.connect(data='a\\0b')", r"data='a\x00b'", "path of a folder", 'kit.connect(data="~/callboard")'),
    *[
        refused(f"kit.connect(tunnel={value})", f"tunnel={value}", 'either "ngrok" or "none"',
                """kit.connect('sandbox', tunnel="ngrok")""")
        for value in ("'Ngrok'", "True", "''", "['ngrok']")
    ],
    refused("kit.connect(tunnel='none', public_url='https://a.example')", "tunnel='none'", "no tunnel beside",
            "public_url="),
    refused("kit.connect(public_url='http://a.example')", "public_url='http://a.example'", "begins with https://",
            "public_url="),
    row("kit.connect(data=a_file)", kit.SettingsError, "a_file", "cannot be made", "kit.connect(data='~/callboard')"),
    row("kit.connect(data=taken)", kit.SettingsError, "taken", "cannot be written", "kit.connect(data='~/callboard')"),
]  # fmt: skip

MUSIC = "session.generate_music("
GENERATING = [
    refused("session.generate_music()", "description=None", "what the song is about", MUSIC),
    refused("session.generate_music('')", "description=", "what the song is about", MUSIC),
    refused("session.generate_music(5)", "description=5", "text", MUSIC),
    refused("session.generate_music(b'rain')", "description=b'rain'", "text", MUSIC),
    refused("session.generate_music('x' * 501)", "description='xxx", "at most 500", "has 501", MUSIC),
    refused("kie.generate_music('x' * 3001)", "description='xxx", "at most 3000", "has 3001", MUSIC),
    refused("session.generate_music('\\ud800')", r"description='\ud800'", "UTF-8", MUSIC),
    refused("session.generate_music('rain', **CUSTOM)", "description='rain'", "stand alone", MUSIC, CUSTOM=CUSTOM),
    refused("session.generate_music(instrumental=True)", "style=None", "belong together", MUSIC),
    refused("session.generate_music(style='x')", "title=None", "belong together", MUSIC),
    refused("session.generate_music(lyrics='x')", "style=None", "belong together", MUSIC),
    refused("session.generate_music(style='x', title='y')", "lyrics=None", "belong together", MUSIC),
    refused("session.generate_music(title='x', instrumental=True)", "style=None", "belong together", MUSIC),
    refused("session.generate_music(style='x', instrumental=True)", "title=None", "belong together", MUSIC),
    refused("session.generate_music('rain', model='V9')", "model='V9'", "V4_5PLUS", MUSIC),
    refused("session.generate_music('rain', model=4)", "model=4", "model's name", MUSIC),
    refused("session.generate_music(style='x', title='y', instrumental='yes')", "instrumental='yes'", "True or", MUSIC),
    refused("session.generate_music(style='x', title=5, lyrics='z')", "title=5", "text: the song's title", MUSIC),
    refused("session.generate_music(style=['x'], title='y', lyrics='z')", "style=['x']", "text: genre", MUSIC),
    refused("session.generate_music(**SUNG, vocal_gender='x')", "vocal_gender='x'", "one of m, f", MUSIC, SUNG=SUNG),
    refused("session.generate_music('rain', vocal_gender='f')", "vocal_gender='f'", "style= and title=", MUSIC),
    *[
        refused(f"session.generate_music(**CUSTOM, {name}={value})", f"{name}={value.lower()}", "0 to 1", MUSIC,
                CUSTOM=CUSTOM)
        for name in ("style_weight", "weirdness", "audio_weight")
        for value in ("1.01", "-1", "0.123", "NAN", "'1'")
    ],
    refused("session.generate_music(**CUSTOM, duration_s=60)", "duration_s=60", "sunoapi has", MUSIC, CUSTOM=CUSTOM),
    refused("kie.generate_music(**CUSTOM, duration_s=60)", "duration_s=60", "V5_5", "V4_5", MUSIC, CUSTOM=CUSTOM),
    refused("kie.generate_music(**CUSTOM, model='V5_5', duration_s=5)", "duration_s=5", "10 to 360", MUSIC,
            CUSTOM=CUSTOM),
    refused("session.generate_music(**CUSTOM, persona='x' * 257)", "persona='xxx", "at most 256", MUSIC, CUSTOM=CUSTOM),
    refused("session.generate_music(**CUSTOM, model='V5', persona_model='style_persona')",
            "persona_model='style_persona'", "persona=", MUSIC, CUSTOM=CUSTOM),
    refused("session.generate_music(**CUSTOM, persona='p', persona_model='style_persona')",
            "persona_model='style_persona'", "V5 or V5_5", MUSIC, CUSTOM=CUSTOM),
    refused("session.generate_music(prompt='rain')", "prompt='rain'", "description or lyrics, as prompt is", MUSIC),
    refused("session.generate_music(titel='x', style='y')", "titel='x'", "title comes closest", MUSIC),
    refused("session.generate_music('rain', customMode=True)", "customMode=True", "no customMode: a", MUSIC),
    refused("session.generate_music('rain', negativeTags='x')", "negativeTags='x'", "negative_tags, as", MUSIC),
    refused("session.generate_music('rain', xyzzy=1)", "xyzzy=1", "description, style, title", MUSIC),
    refused("session.generate_music('rain', api_key=CANARY)", "api_key=Secret('…')", "this call has", MUSIC,
            CANARY=CANARY),
    refused("session.generate_music('rain', again='no')", "again='no'", "True or False", f"{MUSIC}", "again=True)"),
    refused("session.generate_music('rain', save=1)", "save=1", "True or False", MUSIC, "save=False)"),
]  # fmt: skip

TAKE = "session.{}(song.tracks[0]"
ON_A_SONG = [
    *[
        refused(f"session.{call}({value})", "track=", "one take of a finished song", TAKE.format(call))
        for call in ("create_video", "convert_wav")
        for value in ("None", "'5bbe'", "song", "song.tracks")
    ],
    *[
        refused(f"session.create_video(song.tracks[0], {name}={value})", f"{name}={shown}", told,
                "session.create_video(song.tracks[0], ")
        for name in ("author", "domain_name")
        for value, shown, told in (("'x' * 51", "'xxx", "at most 50 characters, and this has 51"), ("5", "5", "text"))
    ],
    refused("session.create_video(song.tracks[0], domainName='a.org')", "domainName='a.org'", "domain_name, as",
            TAKE.format("create_video")),
    refused("session.create_video(song.tracks[0], callBackUrl='x')", "callBackUrl='x'", "a secret address of its own",
            TAKE.format("create_video")),
    refused("session.create_video(song.tracks[0], taskId='x')", "taskId='x'", "the first argument",
            TAKE.format("create_video")),
    refused("session.create_cover_images(song, agian=True)", "agian=True", "again comes closest", "cover_images(song)"),
    refused("session.convert_wav(song.tracks[0], author='Ada')", "author='Ada'", "track, again, save",
            TAKE.format("convert_wav")),
    refused("session.create_video(song.tracks[0], again='no')", "again='no'", "True or False", "again=True)"),
    refused("kie.create_video(song.tracks[0])", "track=<Track 1", "sandbox-kie", "create_video("),
    refused("kie.convert_wav(song.tracks[0])", "track=<Track 1", "sandbox-kie", "kit.connect('sandbox').convert_wav("),
    refused("kie.create_cover_images(song)", "song=<Task", "sandbox-kie",
            "kit.connect('sandbox').create_cover_images("),
    *[
        refused(f"session.create_cover_images({value})", f"song={shown}", "a finished music task",
                "session.create_cover_images(song.wait())")
        for value, shown in (("None", "None"), ("'5bbe'", "'5bbe'"), ("song.tracks[0]", "<Track 1"), ("wav", "<Task"),
                             ("unfinished", "<Task"))
    ],
    row("unfinished.tracks[0]", kit.NotReady, "tracks[0]", "has none yet", "song.tracks[0]"),
    row("song.tracks[5]", kit.NotReady, "tracks[5]", "has 2, numbered from 0", "song.tracks[0]"),
    row("wav.tracks[0]", kit.NotReady, "tracks[0]", "belong to songs", "song.tracks[0]"),
    refused("song.tracks['first']", "index='first'", "number of a take", "song.tracks[0]"),
]  # fmt: skip

ON_A_TASK = [
    *[
        refused(f"song.wait(timeout={value})", f"timeout={value.lower() if value == 'NAN' else value}",
                "seconds, 0 or more", "task.wait(timeout=1200)")
        for value in ("-1", "'5'", "None", "NAN", "True")
    ],
    refused("song.wait(until='done')", "until='done'", '"saved" or "succeeded"', 'task.wait(until="saved")'),
    row("unfinished.show()", kit.NotReady, "<Task", "no saved file", "task.wait().show()"),
    row("song.show()", kit.NotReady, "<Task", "not asked for", "task.save().wait().show()"),
    row("song.tracks[0].show()", kit.NotReady, "<Task", "not asked for", "task.save().wait().show()"),
    row("forgotten.show()", kit.NotReady, "<Task", "not followed any more", "task.state"),
    refused("wav.show(take=7)", "take=7", "a take that is saved: 0", "task.show(take=0)"),
    refused("wav.show(take='one')", "take='one'", "a take that is saved: 0", "task.show(take=0)"),
    row("unfinished.wait(timeout=0)", kit.WaitTimeout, "music task t", "pending", "session.task(",
        "not submit it again"),
    row("forgotten.wait()", kit.TaskFailed, "music task t", "not followed", "session.adopt"),
    refused("session.task('nope')", "either_id='nope'", "session.tasks()", "session.adopt('nope', kind="),
    *[
        refused(f"session.task({value})", f"either_id={value[:4]}", "session.tasks()", "session.adopt(")
        for value in ("''", "None", "5")
    ],
    refused("session.adopt('5bbe', kind='mp4')", "kind='mp4'", "music, video, cover_image, wav", "session.adopt("),
    refused("session.adopt('5bbe', kind=None)", "kind=None", "music, video, cover_image, wav", "session.adopt("),
    *[
        refused(f"session.adopt({value}, kind='video')", f"task_id={value[:5]}", "1 to 256 characters",
                'session.adopt("5bbe…", kind="video")')
        for value in ("'  '", "None", "5", "'a b'", "'" + "x" * 257 + "'")
    ],
    refused("session.adopt(song.task_id, kind='video')", "kind='video'", "expected music", "session.task('t"),
    *[
        refused(f"session.callback_url({value})", f"kind={value}", "music, video, cover_image, wav",
                "session.callback_url(")
        for value in ("'cover'", "None", "['video']")
    ],
    *[
        refused(f"session.replay({value})", "delivery=", "one row of session.deliveries()", "deliveries().iloc[-1])")
        for value in ("None", "'1'", "0", "-3", "True", "1.5", "session.deliveries().head(0)",
                      "session.tasks().iloc[0]", "session.deliveries().iloc[:2]", "[1]", "{'seq': 1}")
    ],
    row("session.replay(999_999_999)", kit.ServiceError, "999999999"),
    row("song.resubmit()", kit.ServiceError, "succeeded", "nothing was submitted again", "again=True)"),
    row("unfinished.resubmit()", kit.ServiceError, "pending", "nothing was submitted again", "again=True)"),
    refused("session.callback_url('video', provider='spotify')", "provider='spotify'", "sunoapi, kie",
            'session.callback_url("video", provider="kie")'),
]  # fmt: skip

NEXT = "sandbox.next('{}', "
MISBEHAVING = [
    refused("session.sandbox.next('video', code=999)", "code=999", "[400, 451, 500]", NEXT.format("video")),
    refused("session.sandbox.next('video', code='451')", "code='451'", "[400, 451, 500]", NEXT.format("video")),
    refused("session.sandbox.next('mp4', code=451)", "kind='mp4'", "music, video", NEXT.format("video")),
    refused("session.sandbox.next(None, code=451)", "kind=None", "music, video", NEXT.format("video")),
    refused("session.sandbox.next('video')", "next='video'", "something that shall go wrong", NEXT.format("video")),
    refused("session.sandbox.next('video', answers=3)", "next='video'", "something that shall", NEXT.format("video")),
    *[
        refused(f"session.sandbox.next('video', {name}='sulks')", f"{name}='sulks'", told, NEXT.format("video"))
        for name, told in (("callbacks", "refused"), ("media", "truncated"), ("details", "outage"),
                           ("submit", "lost_answer"))
    ],
    refused("session.sandbox.next('video', submit=999)", "submit=999", "[400, 401", NEXT.format("video")),
    refused("session.sandbox.next('video', callbacks='reordered')", "callbacks='reordered'", "for music",
            NEXT.format("music")),
    refused("session.sandbox.next('cover_image', callbacks='other_url_key')", "callbacks='other_url_key'", "'video'",
            NEXT.format("wav")),
    refused("session.sandbox.next('video', callbacks='stale_signature')", "callbacks='stale_signature'", "kie dialect",
            NEXT.format("video")),
    refused("session.sandbox.next('video', callbacks='lost', times=0)", "times=0", "1 to 1000", NEXT.format("video")),
    refused("session.sandbox.next('video', callbacks='lost', times='2')", "times='2'", "1 to 1000", "times=2"),
    refused("session.sandbox.next('video', callbacks='lost', answers=0)", "answers=0", "1 or more",
            NEXT.format("video")),
    refused("session.sandbox.next('video', task_id='')", "task_id=''", "at least one character", NEXT.format("video")),
    refused("session.sandbox.next('video', task_id='a', times=2)", "times=2", "1, as an id", NEXT.format("video")),
    refused("session.sandbox.next('music', task_id=song.task_id)", "task_id='", "no job has yet", NEXT.format("video")),
    refused("session.sandbox.always()", "always=None", "something that shall go wrong", "sandbox.always(callbacks="),
    refused("session.sandbox.always('mp4', code=451)", "kind='mp4'", "music, video", NEXT.format("video")),
    refused("session.sandbox.advance(days=-1)", "days=-1", "0 to 36500", "sandbox.advance(days=15)"),
    refused("setattr(session.sandbox, 'credits', -1)", "credits=-1", "0 to 1e+09", "sandbox.credits = 1000"),
    refused("setattr(session.sandbox, 'speed', 0)", "speed=0", "0.001 to 100000", "sandbox.speed = 20"),
]  # fmt: skip

TABLE = [*CONNECTING, *GENERATING, *ON_A_SONG, *ON_A_TASK, *MISBEHAVING]


def by_model() -> list[Row]:
    """The limits that depend on the model: one more character than the table of that model allows."""
    limits = {"lyrics": (3000, 5000, 5000), "style": (200, 1000, 1000), "title": (80, 100, 80)}
    rows = []
    for name, (old, new, all_round) in limits.items():
        for model in MODELS:
            limit = old if model in ("V3_5", "V4") else all_round if model == "V4_5ALL" else new
            wish = {**SUNG, "model": model, name: "x" * (limit + 1)}
            told = (f"{name}='xxx", f"at most {limit} characters for model {model}", f"has {limit + 1}", MUSIC)
            rows.append(refused("session.generate_music(**wish)", *told, wish=wish))
    return rows


@pytest.fixture(scope="module")
def things(shared: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the calls speak of: sessions, tasks in several states, and folders that cannot be used."""
    session, song = shared.session, shared.song
    wav = session.convert_wav(song.tracks[0]).wait(timeout=60)
    session.sandbox.speed = 0.01
    unfinished = session.generate_music("a song that is never made")
    forgotten = session.generate_music("a song that is given up").forget()
    folder = tmp_path_factory.mktemp("unusable")
    (folder / "a_file").touch()
    (folder / "taken").mkdir()
    (folder / "taken" / "sandbox").touch()
    folders = {name: folder / name for name in ("a_file", "taken")}
    return {**vars(shared), "wav": wav, "unfinished": unfinished, "forgotten": forgotten, **folders}


def test_every_mistake_is_refused_in_words_before_anything_is_sent(things):
    """Each error names the value (or hides it), the limit, and what would work; nothing is submitted, nothing waits."""
    session, kie = things["session"], things["kie"]
    before = (session.sandbox.creates, kie.sandbox.creates, len(session.tasks()))
    wrong = []
    for call, make, error, told in [*TABLE, *by_model()]:
        try:
            returned = make(things)
        except Exception as raised:  # a bare TypeError is what this test is after
            message = str(raised)
            print(f"{call}\n    {type(raised).__name__}: {message}\n")
            missing = [part for part in told if part not in message]
            if type(raised) is not error or missing or CANARY in f"{message}{raised!r}{vars(raised)}":
                wrong.append((call, type(raised).__name__, message, missing))
        else:
            wrong.append((call, "returned", returned, told))

    assert [] == wrong
    assert before == (session.sandbox.creates, kie.sandbox.creates, len(session.tasks()))
    assert [] == session.sandbox._state()["faults"]


def test_a_bad_speed_in_the_environment_is_refused_under_its_name(monkeypatch):
    """A value that nobody typed into the call is named as the variable it came from."""
    monkeypatch.setenv("KIT_SPEED", "fast")
    with pytest.raises(kit.InvalidInput, match=r"KIT_SPEED='fast'.*0\.1 to 10000.*kit\.connect\(speed=20\)"):
        kit.connect()


def test_a_key_from_the_environment_that_no_provider_gave_is_refused_unseen(monkeypatch):
    """The variable is named, the key is not."""
    monkeypatch.setenv("KIE_API_KEY", CANARY)
    with pytest.raises(kit.SettingsError, match="KIE_API_KEY holds a space") as refused:
        kit.connect("kie")

    assert "canary" not in str(refused.value)


def test_a_folder_that_is_read_only_is_refused_in_words(monkeypatch, tmp_path):
    """A data folder that is there and cannot be written is named, with another call."""

    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("kit.notebook.connect.TemporaryFile", refuse)
    with pytest.raises(kit.SettingsError, match=r"cannot be written \(Permission denied\).*kit.connect\(data="):
        kit.connect(data=tmp_path)

    assert [] == [path for path in Path(tmp_path).rglob("*") if path.is_file()]


def test_the_simulated_provider_has_controls_and_a_real_one_has_none(connect):
    """`session.sandbox` is None where there is nothing to control; a closed session says that it is closed."""
    live = connect("kie", key="a-key", speed=None)
    assert live.sandbox is None
    live.shutdown()

    with pytest.raises(kit.ServiceError, match=r"closed.*session = kit\.connect\(\)"):
        _ = live.sandbox
