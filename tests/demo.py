"""Owns `make demo`: every notebook in an empty data folder of its own, then tables, pages, and a verdict.

The exit status is 0 only if every cell ran, every task is final, the failed tasks are exactly those that the tags
`expect-failure:<kind>:<code>` announce, the files of all others are saved and verified, and every kind succeeded in
both dialects.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import nbformat
from filelock import FileLock, Timeout
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbconvert import HTMLExporter

from kit import settings
from kit.ledger.reader import Reader
from kit.provider.kinds import KINDS, Dialect
from tests.services import end_services

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from kit.ledger.fold import FileState, TaskState

__all__ = ["main"]

ROOT = Path(__file__).resolve().parents[1]
DEMO = ROOT / "data" / "runtime" / "demo"
STATE = DEMO / "state"
NOTEBOOK_S = 420.0
AT_ONCE = 2
SETTLE_S = 60.0
VERIFIED = {"structure", "decoded"}
Failures = Counter[tuple[str, str]]  # (kind, code) -> how many


@dataclass
class Run:
    """What came of one notebook."""

    name: str
    cells: int
    expected: Failures
    problems: list[str] = field(default_factory=list)
    tasks: list[TaskState] = field(default_factory=list)


def main(argv: Sequence[str]) -> int:
    """Run the notebooks named in `argv` (all, when none is), print what came of them, return the exit status."""
    paths = _notebooks(argv)
    if not paths:
        print(f"make demo: no notebook {' or '.join(argv) or 'at all'} in {ROOT / 'notebooks'}", file=sys.stderr)
        return 1
    started = time.monotonic()
    DEMO.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(DEMO.with_suffix(".lock"), timeout=0):
            runs = asyncio.run(_run_all(paths))
    except Timeout:
        print("make demo: another demo runs in this project; let it end first.", file=sys.stderr)
        return 1
    tasks = [task for run in runs for task in run.tasks]
    print(f"\n{_task_table(tasks)}\n\n{_file_table(tasks)}\n")
    problems = [f"{run.name}: {problem}" for run in runs for problem in run.problems]
    problems += [] if argv else _not_shown(tasks)
    return _verdict(problems, tasks, time.monotonic() - started)


def _notebooks(names: Sequence[str]) -> list[Path]:
    found = sorted((ROOT / "notebooks").glob("*.ipynb"))
    return [path for path in found if not names or path.stem in names or path.name in names]


async def _run_all(paths: Iterable[Path]) -> list[Run]:
    """Run the notebooks, two at a time; they spend most of it waiting for the provider, as a person would."""
    _start_afresh()
    turn = asyncio.Semaphore(AT_ONCE)
    try:
        return await asyncio.gather(*(_run(path, turn) for path in paths))
    finally:
        end_services(DEMO)


def _start_afresh() -> None:
    if DEMO.exists():
        end_services(DEMO)  # what an earlier demo left when it was killed
        shutil.rmtree(DEMO)
    STATE.mkdir(parents=True)


async def _run(path: Path, turn: asyncio.Semaphore) -> Run:
    notebook = nbformat.read(path, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    run = Run(path.stem, len(code), _expected(code))
    async with turn:
        print(f"{run.name}: {run.cells} cells ...", flush=True)
        started = time.monotonic()
        run.problems += await _execute(notebook, DEMO / run.name) or _error_outputs(code)
        _write_page(notebook, DEMO / f"{run.name}.html")
        run.tasks = await _settled_tasks(DEMO / run.name)
    run.problems += _task_problems(run)
    print(f"{run.name}: {'ok' if not run.problems else 'NOT OK'}, {time.monotonic() - started:.1f} s", flush=True)
    return run


async def _execute(notebook: Any, folder: Path) -> list[str]:
    """Run all cells in `notebook`, which is changed in place; return what went wrong."""
    # The kernel works where the page will be written, so that the page's relative links to the media are good.
    client = NotebookClient(notebook, kernel_name="python3", resources={"metadata": {"path": str(DEMO)}})
    log = STATE / f"{folder.name}.log"  # where the kernel says what it says at every start
    try:
        with log.open("wb") as out:
            await asyncio.wait_for(client.async_execute(env=_environment(folder), stderr=out), NOTEBOOK_S)
    except CellExecutionError as failure:
        return [f"a cell raised {failure.ename}: {failure.evalue}"]
    except TimeoutError:
        return [f"its cells did not end within {NOTEBOOK_S:.0f} s"]
    except Exception as failure:  # nbclient says in several ways that a kernel died or never came up
        reason = failure.__context__ or failure
        return [f"its kernel could not go on ({type(reason).__name__}: {reason}); its log is {log}"]
    return []


def _environment(folder: Path) -> dict[str, str]:
    """Return an environment in which nothing spends and nothing of the user's is read or touched."""
    kept = {name: value for name, value in os.environ.items() if name not in settings.NAMES}
    return kept | {
        "KIT_DATA_DIR": str(folder),
        "KIT_STATE_DIR": str(STATE),
        "KIT_SPEED": os.environ.get("KIT_SPEED") or "20",
        "KIT_IDLE_MINUTES": "2",  # where the demo itself is killed, its services end soon
        "IPYTHONDIR": str(STATE / "ipython"),
    }


def _expected(cells: Iterable[Any]) -> Failures:
    tags = [tag.split(":") for cell in cells for tag in cell.metadata.get("tags", [])]
    return Counter((tag[1], tag[2]) for tag in tags if tag[0] == "expect-failure" and len(tag) == 3)


def _error_outputs(cells: Iterable[Any]) -> list[str]:
    """Return the errors that a cell shows although it ran on, such as one from a button's handler."""
    outputs = [(cell, output) for cell in cells for output in cell.outputs if output.output_type == "error"]
    return [f"cell {cell.execution_count} shows {output.ename}: {output.evalue}" for cell, output in outputs]


def _write_page(notebook: Any, page: Path) -> None:
    notebook.metadata.pop("widgets", None)  # without the widgets' state the page shows their plain HTML
    html, _ = HTMLExporter(mathjax_url="", require_js_url="").from_notebook_node(notebook)
    page.write_text(html, encoding="utf-8")


async def _settled_tasks(folder: Path) -> list[TaskState]:
    """Return all tasks of a data folder once each is settled, or as they are when the time is up."""
    deadline = time.monotonic() + SETTLE_S
    ledgers = [Reader(folder / area / "ledger.sqlite") for area in ("sandbox", "live")]
    while True:
        tasks = [task for ledger in ledgers for task in ledger.states().values() if task.shown]
        if all(task.settled for task in tasks) or time.monotonic() > deadline:
            return tasks
        await asyncio.sleep(0.2)


def _task_problems(run: Run) -> list[str]:
    failed: Failures = Counter((task.kind, str(task.code)) for task in run.tasks if task.status == "failed")
    problems = [
        f"{kind} failed with code {code}, which no tag announces" for kind, code in (failed - run.expected).elements()
    ]
    problems += [
        f"{kind} was to fail with code {code} and did not" for kind, code in (run.expected - failed).elements()
    ]
    problems += [f"{task.kind} {task.id} is not final but {task.status}" for task in run.tasks if not task.final]
    problems += [
        f"{task.kind} {task.id} was abandoned: {task.meaning}" for task in run.tasks if task.status == "abandoned"
    ]
    good = [task for task in run.tasks if task.status == "succeeded"]
    problems += [f"{task.kind} {task.id} succeeded without any file" for task in good if not task.files]
    return problems + [_describe(task, file) for task in good for file in task.files if not _is_kept(file)]


def _is_kept(file: FileState) -> bool:
    return file.status == "saved" and file.verified in VERIFIED


def _describe(task: TaskState, file: FileState) -> str:
    return (
        f"{task.kind} {task.id}: {file.role} {file.index} is {file.status}, verified: {file.verified} ({file.reason})"
    )


def _not_shown(tasks: Sequence[TaskState]) -> list[str]:
    """Return a sentence for each kind that succeeded in no notebook in one of the dialects."""
    shown = {(task.kind, task.dialect) for task in tasks if task.status == "succeeded"}
    wanted = [(kind, dialect) for kind in KINDS for dialect in get_args(Dialect)]
    return [
        f"no notebook made a {kind} in the dialect {dialect}"
        for kind, dialect in wanted
        if (kind, dialect) not in shown
    ]


def _task_table(tasks: Sequence[TaskState]) -> str:
    import pandas as pd

    rows = [{"kind": task.kind, "dialect": task.dialect, "status": task.status} for task in tasks]
    if not rows:
        return "Tasks: none"
    frame = pd.DataFrame(rows)
    table = pd.crosstab([frame["kind"], frame["dialect"]], frame["status"])
    return f"Tasks by kind, dialect and status\n{table.to_string()}"


def _file_table(tasks: Sequence[TaskState]) -> str:
    import pandas as pd

    rows = [
        {"kind": task.kind, "dialect": task.dialect, "role": file.role, "status": file.status,
         "verified": file.verified, "files": 1, "bytes": file.bytes or 0}
        for task in tasks for file in task.files
    ]  # fmt: skip
    if not rows:
        return "Files: none"
    keys = ["kind", "dialect", "role", "status", "verified"]
    table = pd.DataFrame(rows).groupby(keys)[["files", "bytes"]].sum()
    return f"Files and how far each was verified\n{table.to_string()}"


def _verdict(problems: Sequence[str], tasks: Sequence[TaskState], seconds: float) -> int:
    print(f"Pages: {DEMO.relative_to(ROOT)}/*.html")
    if problems:
        print("\nThe demo is not right:\n" + "\n".join(f"- {problem}" for problem in problems), flush=True)
        return 1
    failed = sum(task.status == "failed" for task in tasks)
    files = sum(len(task.files) for task in tasks)
    print(
        f"All well: {len(tasks)} tasks, {failed} failed on purpose, {files} files saved and verified, {seconds:.0f} s."
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
