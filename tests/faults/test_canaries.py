"""Secrets planted before a walk with every failure in it: none of them is found anywhere afterwards."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import psutil
import pytest
from nbclient import NotebookClient
from nbconvert import HTMLExporter

from kit.sandbox.admin import Sandbox
from kit.service.process import attach, await_end
from tests.agent import StandIn
from tests.faults.load import services_of

KEY, TYPED_KEY, WEBHOOK_KEY = (f"CANARY-{name}-4f1dba6e77" for name in ("key", "typed", "webhook"))
TOKEN = "2CANARYtokenCANARY_7pTokenOfAPersonsAccount"
VARIABLES = {"KIE_API_KEY": KEY, "KIE_WEBHOOK_KEY": WEBHOOK_KEY, "NGROK_AUTHTOKEN": TOKEN}

# What the person typed comes out of a function, as from getpass: no cell holds it.
WALK = r"""
%xmode Verbose
import logging, os, pathlib, threading, _thread, traceback
import json, urllib.request
import kit
logging.basicConfig(level=logging.DEBUG, filename="debug.log")
outside = pathlib.Path(os.environ["OUTSIDE"])
typed = lambda: outside.joinpath("typed").read_text()
exports = pathlib.Path("exports"); exports.mkdir()
###
s = kit.connect(speed=200, tunnel='ngrok'); s
###
kit.connect('kie', key=typed(), tunnel='none', speed=3)
###
kit.connect('kie', key=typed() + ' ', tunnel='none')
###
kit.connect('kie', key=[typed()], tunnel='none')
###
kit.connect('kie', key=typed(), tunnel='sideways')
###
kit.connect('kie', key=typed(), save='no')
###
kit.connect('sandbox', key=typed())
###
kit.connect('kie', key=typed(), tunnel='none', data='/proc/nowhere')
###
k = kit.connect('kie', tunnel='none'); k
###
k.close(); k = kit.connect('kie', key=typed(), tunnel='none'); repr(vars(k)), str(k), dir(k)
###
song = s.generate_music(style='slow piano', title='Window Seat', instrumental=True); song.wait(timeout=60)
###
s.sandbox.speed = 1
video = s.create_video(song.tracks[0])
video.wait(timeout=1)
###
threading.Timer(0.7, _thread.interrupt_main).start()
video.wait(timeout=30)
###
s.sandbox.speed = 500
video.wait(timeout=60)
###
with s.sandbox.next('wav', code=500):
    wav = s.convert_wav(song.tracks[0], save=False)
wav.wait(timeout=60)
###
with s.sandbox.next('wav', submit='lost_answer', callbacks='lost'):
    lost = s.convert_wav(song.tracks[1])
lost
###
with s.sandbox.next('wav', media='expired'):
    gone = s.convert_wav(song.tracks[0], again=True)
gone.wait(timeout=60)
###
s.create_video(None)
###
s.task('nobody')
###
s.callback_url('opera')
###
url = s.callback_url('wav')
heard = {'code': 200, 'data': {'task_id': 'x', 'audioWavUrl': 'https://media.example.com/a.wav'}}
done = outside.joinpath('url').write_text(url), urllib.request.urlopen(url, json.dumps(heard).encode()).status
del url
###
tables = {n: getattr(s, n)() for n in ('tasks', 'tracks', 'files', 'deliveries', 'lineage')}
for name, table in tables.items():
    print(table.to_string()); print(table.to_json()); print(table.to_html())
    table.to_csv(exports / f'{name}.csv'); table.to_pickle(exports / f'{name}.pickle')
    display(table)
###
display(song, video, wav, gone, lost)
for task in (song, video, wav, gone, lost):
    print(task._repr_html_(), vars(task.state))
###
display(song.show(), video.show())
song.files, [vars(f) for f in song.files]
###
print(s.health()); display(s.health()); s.way()
###
vars(s), vars(k), s.service, vars(s.sandbox), s.profile, [repr(x) for x in vars(s).values()]
###
token = kit.settings.ngrok_token()
token, str(token), f'{token}', repr([token]), kit.settings.webhook_key(), 1 / 0
###
k.generate_music(42)
###
key = kit.settings.Secret(typed())
k._control.open_provider('kie', key=key, speed=None, webhook_key=token, user_agent=None, reach=3)
###
k.credits.nothing
###
s._control.command(song.id, 'dance')
###
try:
    s.task('nobody')
except kit.KitError as error:
    print(''.join(traceback.format_exception(error)), vars(error), error.args)
"""


@pytest.fixture
def walked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """Run the walk as a notebook, and give what it left: the notebook, the folder, and the processes behind it."""
    outside = tmp_path.with_name(f"{tmp_path.name}-outside")
    outside.mkdir()
    (outside / "typed").write_text(TYPED_KEY, encoding="utf-8")
    agent = StandIn(outside / "agent", token=TOKEN)
    for name, value in {**VARIABLES, "OUTSIDE": str(outside), "KIT_NGROK_PATH": str(agent.path)}.items():
        monkeypatch.setenv(name, value)
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(source.strip()) for source in WALK.split("###")]
    )
    with (tmp_path / "kernel.log").open("ab") as log:
        client = NotebookClient(notebook, kernel_name="python3", timeout=120, allow_errors=True)
        client.execute(stderr=log, cwd=str(tmp_path))
    areas = [tmp_path / "data" / name for name in ("sandbox", "live")]
    yield {"notebook": notebook, "folder": tmp_path, "areas": areas, "url": (outside / "url").read_text()}
    for area in areas:
        with contextlib.closing(attach(area)) as control:
            control.shutdown()
        await_end(control.record)


def secrets_of(walked: dict[str, Any]) -> dict[str, str]:
    """Return everything that may be nowhere: what was planted, and the secret of each callback URL."""
    found = {"key": KEY, "typed key": TYPED_KEY, "webhook key": WEBHOOK_KEY, "token": TOKEN}
    with contextlib.closing(attach(walked["areas"][0])) as control:
        opened = control.open_provider("sandbox", key=None, speed=None, webhook_key=None, user_agent=None)
        with contextlib.closing(Sandbox(opened["base_url"], opened["admin_token"])) as sandbox:
            urls = [walked["url"], *(job["callback_url"] for job in sandbox.jobs())]
    return found | {f"secret of URL {number}": url.rsplit("/", 1)[1] for number, url in enumerate(urls)}


def everything_written(walked: dict[str, Any]) -> Iterator[tuple[str, bytes]]:
    """Return every file of the walk but what the simulated provider keeps for itself, and the agent's own file."""
    yield "the notebook", nbformat.writes(walked["notebook"]).encode()
    yield "its page", HTMLExporter().from_notebook_node(walked["notebook"])[0].encode()
    for path in sorted(walked["folder"].rglob("*")):
        of_the_provider = any(part.startswith("provider-") for part in path.parts)
        of_the_agent = path.suffix in (".yml", ".yaml")
        if path.is_file() and not path.is_symlink() and not of_the_provider and not of_the_agent:
            yield str(path.relative_to(walked["folder"])), path.read_bytes()


def everything_running(walked: dict[str, Any]) -> Iterator[tuple[str, bytes]]:
    """Return the command line and the environment of every process behind the walk."""
    for service in (process for area in walked["areas"] for process in services_of(area)):
        for process in [service, *service.children(recursive=True)]:
            with contextlib.suppress(psutil.Error, OSError):
                line = " ".join(process.cmdline())
                yield f"command line of {line[:80]}", line.encode()
                yield f"environment of {line[:80]}", Path(f"/proc/{process.pid}/environ").read_bytes()


@pytest.mark.timeout(240)
def test_no_secret_is_anywhere_after_a_walk_full_of_failures(walked):
    """Outputs, tracebacks, widgets, tables, exports, logs, ledger, journal, argv and environments: 0 hits."""
    errors = [o.ename for cell in walked["notebook"].cells for o in cell.outputs if o.output_type == "error"]
    secrets = secrets_of(walked)
    sinks = [*everything_written(walked), *everything_running(walked)]
    hits = [(name, where) for where, content in sinks for name, secret in secrets.items() if secret.encode() in content]
    names = {where for where, _ in sinks}

    assert [] == hits
    assert {"InvalidInput", "WaitTimeout", "KeyboardInterrupt", "TaskFailed", "NotSaved"} <= set(errors), errors
    assert 12 <= len(errors) <= 22, errors
    assert 8 <= len(secrets)
    assert {"data/sandbox/ledger.sqlite", "data/sandbox/ledger.journal", "exports/tasks.csv", "debug.log"} <= names
    assert "widgets" in walked["notebook"].metadata
    assert 2 <= len([where for where in names if re.match("command line of .*kit.service", where)])


def test_the_hunt_finds_a_secret_that_is_there():
    """The same look over outputs finds a key that a cell prints, so that no hits means something."""
    cell = nbformat.v4.new_code_cell("1", outputs=[nbformat.v4.new_output("stream", text=f"my key is {KEY}")])
    notebook = nbformat.v4.new_notebook(cells=[cell])

    assert KEY in json.dumps(notebook)
    assert KEY in HTMLExporter().from_notebook_node(notebook)[0]
