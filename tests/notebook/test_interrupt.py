"""Waiting in a real kernel: the Stop button, buttons during `await`, and what stays on the page."""

from __future__ import annotations

import itertools
import re

import pytest

from tests.notebook.kernels import Kernel

STOPPED_WITHIN_S = 0.5
ENDS = {"task.wait()": "KeyboardInterrupt", "await task": "CancelledError"}

_numbers = itertools.count(1)


def buy(kernel: Kernel) -> None:
    """Buy a song that is not made until the sandbox is told to go on."""
    bought = kernel.run(
        "s.sandbox.speed = 0.01\n"
        f"task = s.generate_music(style='slow piano', title='Stop {next(_numbers)}', instrumental=True)"
    )
    assert bought.error is None, bought.of("error")


def go_on(kernel: Kernel) -> None:
    """Let the sandbox work."""
    kernel.value("setattr(s.sandbox, 'speed', 200)")


@pytest.mark.parametrize("waiting", list(ENDS))
def test_the_stop_button_ends_the_waiting_alone(kernel, waiting):
    """The cell stops within half a second, the service goes on, and the task ends saved when waited for again."""
    buy(kernel)
    service = kernel.value("s.service.pid")
    cell = kernel.start(waiting)
    cell.until("display_data")
    took = kernel.stop(cell)

    assert took < STOPPED_WITHIN_S
    assert cell.error == ENDS[waiting]
    assert "Stopped waiting. The task goes on" in cell.texts[-1]
    assert kernel.value("task.id") in cell.texts[-1]
    assert f"pending True {service}" == kernel.value("f'{task.status} {s.attached} {s.service.pid}'")

    go_on(kernel)
    assert "succeeded 4" == kernel.value("f'{task.wait(timeout=60).status} {len(task.files)}'").splitlines()[-1]


def test_a_task_ends_saved_though_nobody_waits_any_more(kernel):
    """After the Stop button nothing more has to be called: the file arrives all the same."""
    buy(kernel)
    cell = kernel.start("task.wait()")
    cell.until("display_data")
    kernel.stop(cell)
    go_on(kernel)
    kernel.run("import time\nwhile not task.state.saved: time.sleep(0.05)")

    assert "['saved']" == kernel.value("sorted(set(f.status for f in task.state.files))")


@pytest.mark.parametrize("waiting", ["task.wait(timeout=60)", "await task"])
def test_one_card_follows_the_task_and_its_last_state_stays(kernel, waiting):
    """The card is displayed once, then changed in place at least twice, and what it says last is that it is done."""
    buy(kernel)
    soon = "import threading\nthreading.Timer(0.7, lambda: setattr(s.sandbox, 'speed', 200)).start()"
    cell = kernel.run(f"{soon}\n{waiting}")
    shown, changed = cell.of("display_data"), cell.of("update_display_data")

    assert cell.error is None
    assert 1 == len(shown)
    assert 1 == len({content["transient"]["display_id"] for content in [*shown, *changed]})
    assert len({content["data"]["text/html"] for content in [*shown, *changed]}) >= 3
    assert "done, 4 of 4 files saved" in cell.texts[-1]


def test_a_button_works_while_a_cell_awaits(kernel):
    """The click is handled before the `await` ends: it is the click that lets the provider go on."""
    buy(kernel)
    model = kernel.value(
        "(clicks := [], button := __import__('ipywidgets').Button(), button.on_click(lambda _: (clicks.append("
        "task.status), setattr(s.sandbox, 'speed', 200))))[1].model_id"
    )
    cell = kernel.start("print((await task).status, clicks)")
    cell.until("display_data")
    kernel.click(model)
    cell.end(seconds=30)

    assert "succeeded ['pending']" == cell.printed


def test_many_tasks_are_awaited_at_once(kernel):
    """`asyncio.gather` over tasks returns when all are saved, each with a card of its own."""
    buy(kernel)
    kernel.run("first = task")
    buy(kernel)
    cell = kernel.run(
        "import asyncio\ns.sandbox.speed = 200\ndone = await asyncio.gather(first, task)\n"
        "print([t.state.saved for t in done], done == [first, task])"
    )

    assert ("[True, True] True", None) == (cell.printed, cell.error)
    assert 2 == len(cell.of("display_data"))


def test_what_is_said_in_a_cell_is_escaped_and_shown_once(kernel):
    """Running a cell again says that the earlier task is returned; a hostile title is text, not markup."""
    code = "hostile = s.generate_music(style='x', title='<img src=x onerror=alert(1)>', instrumental=True)"
    kernel.run(code)
    again = kernel.run(f"{code}\nhostile")
    said, (card,) = again.of("display_data"), again.of("execute_result")

    assert 1 == len(said)
    assert "This is the earlier song task" in said[0]["data"]["text/plain"]
    assert "again=True would buy another" in said[0]["data"]["text/plain"]
    assert "<img" not in said[0]["data"]["text/html"] + card["data"]["text/html"]
    assert "&lt;img" in card["data"]["text/html"]


def test_connecting_says_which_provider_it_is_and_where_things_are(kernel, world):
    """The badge of the simulated provider and the folder stand under the cell that connects."""
    cell = kernel.run("s.close()\ns = kit.connect(speed=20)")

    assert "simulated" in cell.texts[0]
    assert "never spends anything" in cell.texts[0]
    assert world["KIT_DATA_DIR"] in cell.texts[0]


def test_an_error_in_a_cell_shows_no_secret(kernel):
    """A verbose traceback prints the locals of every frame, and neither key nor token is among them."""
    kernel.run("%xmode Verbose")
    cell = kernel.run("s.generate_music(style='x', title='y' * 500, instrumental=True)")
    kernel.run("%xmode Context")
    record = kernel.value("s.service.control_token, s.service.media_token")
    shown = str(cell.of("error"))

    assert cell.error == "InvalidInput"
    assert "at most 100 characters" in shown
    assert not [token for token in record.strip("()").replace("'", "").split(", ") if token in shown]


def test_saving_all_shows_how_fast_it_goes_and_stopping_ends_the_waiting_alone(kernel):
    """One line changes in place and tells files, bytes, rate and remaining time; the Stop button leaves the rest."""
    made = kernel.run(
        "s.sandbox.speed, wish = 200, {'style': 'x', 'title': 'Kept', 'instrumental': True}\n"
        "song = s.generate_music(**wish, save=False).wait()\n"
        "with s.sandbox.next('wav', media='slow'): wav = s.convert_wav(song.tracks[0], save=False).wait()"
    )
    assert made.error is None, made.of("error")
    cell = kernel.start("s.save_all()")
    moving = re.compile(r"4 of 5 files saved, [\d.]+ of [\d.]+ MB, \d+ kB/s, .+ left\.$")
    while not moving.match(["", *cell.texts][-1]):
        cell.until("update_display_data")
    took = kernel.stop(cell)

    assert took < STOPPED_WITHIN_S
    assert "KeyboardInterrupt" == cell.error
    assert cell.texts[0].startswith("Saving 5 files, ")
    assert "Stopped waiting. The files go on being saved" in cell.texts[-1]
    assert 3 == len(cell.of("display_data"))
    assert "['downloading']" == kernel.value("[f.status for f in wav.state.files]")
