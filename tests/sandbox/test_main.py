"""The program: one line of JSON, exit codes, the token file, its end."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from kit.provider.kinds import CREDITS_PATH, KINDS
from kit.sandbox.admin import Sandbox
from kit.sandbox.console import TOKEN_HEADER
from kit.sandbox.server import bind
from tests.sandbox.running import until

Run = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    """Return a function that starts the program on the test's folder; what still runs is ended with the test."""
    started: list[subprocess.Popen[str]] = []

    def begin(*arguments: str, folder: Path = tmp_path / "provider") -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "kit.sandbox", "--folder", str(folder), *arguments]
        pipe = subprocess.PIPE
        process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True)
        started.append(process)
        return process

    yield begin
    for process in started:
        process.kill()
        process.communicate()


def listening(process: subprocess.Popen[str]) -> dict[str, str]:
    """Return the line that the program prints when it listens."""
    assert process.stdout is not None
    line: dict[str, str] = json.loads(process.stdout.readline())
    return line


def test_it_says_where_it_listens_and_ends_on_sigterm(run: Run) -> None:
    """One line of JSON with address, key and the token made for this run; SIGTERM ends it with 0 and no more words."""
    process = run("--dialect", "kie")
    line = listening(process)
    headers = {"Authorization": f"Bearer {line['api_key']}"}
    answer = httpx.get(f"{line['base_url']}/api/v1/chat/credit", headers=headers, trust_env=False)
    assert answer.json()["data"] == 1000
    sandbox = Sandbox(line["base_url"], line["admin_token"])
    assert sandbox.speed == 20
    sandbox.close()
    process.send_signal(signal.SIGTERM)
    assert ("", "") == process.communicate(timeout=10)
    assert process.returncode == 0


def test_it_ends_when_standard_input_does(run: Run) -> None:
    """With --until-stdin-closes no orphan is left when whoever started it is gone."""
    process = run("--until-stdin-closes")
    listening(process)
    process.communicate(timeout=10)
    assert process.returncode == 0


def test_the_admin_token_is_kept_in_a_private_file(run: Run, tmp_path: Path) -> None:
    """A missing token file is made with mode 0600, its token works, and neither it nor a given key is printed."""
    path = tmp_path / "private" / "token"
    line = listening(run("--admin-token-file", str(path), "--key", "mine"))
    assert ["base_url"] == list(line)
    assert os.name == "nt" or stat.S_IMODE(path.stat().st_mode) == 0o600
    sandbox = Sandbox(line["base_url"], path.read_text())
    assert sandbox.creates == 0
    sandbox.close()


def test_a_taken_port_is_exit_code_3_and_a_sentence(run: Run) -> None:
    """The caller may then ask for another port."""
    with bind(0) as taken:
        port = str(taken.getsockname()[1])
        process = run("--port", port)
        output, complaint = process.communicate(timeout=10)
    assert (3, "") == (process.returncode, output)
    assert port in complaint and "name another" in complaint and "Traceback" not in complaint


def test_a_folder_in_use_is_exit_code_4_and_a_sentence(run: Run, tmp_path: Path) -> None:
    """Two programs never share a folder."""
    listening(run())
    process = run()
    _, complaint = process.communicate(timeout=10)
    assert process.returncode == 4
    assert "Another simulated provider uses" in complaint and "Traceback" not in complaint


def test_help_names_every_exit_code(run: Run) -> None:
    """--help says what it is, what each option does and how it ends."""
    output, _ = run("--help").communicate(timeout=10)
    assert all(word in output for word in ("--dialect", "--speed", "--until-stdin-closes", "Exit codes", "3 the port"))


def test_help_names_every_path_and_the_admin_header(run: Run) -> None:
    """--help lists submit and details of the four kinds, both balances, and how the token is sent."""
    output, _ = run("--help").communicate(timeout=10)
    paths = [path for kind in KINDS.values() for path in (kind.submit_path, kind.details_path)]
    assert [] == [word for word in (*paths, *CREDITS_PATH.values(), TOKEN_HEADER, "api_key") if word not in output]


def test_real_media_comes_out_of_the_program(run: Run) -> None:
    """At speed 1000 a real song is made: an MP3 and a PNG by their first bytes."""
    base = listening(run("--speed", "1000"))["base_url"]
    request = {"customMode": False, "instrumental": False, "model": "V5", "prompt": "rain", "callBackUrl": "http://x"}
    with httpx.Client(base_url=base, headers={"Authorization": "Bearer sandbox-key"}, trust_env=False) as http:
        task_id = http.post("/api/v1/generate", json=request).json()["data"]["taskId"]
        takes: list[dict[str, str]] = []

        def made() -> bool:
            data = http.get("/api/v1/generate/record-info", params={"taskId": task_id}).json()["data"]
            takes[:] = (data["response"] or {"sunoData": []})["sunoData"]
            return len(takes) == 2

        until(made, seconds=60)
        take = takes[1]
        assert http.get(take["imageUrl"]).content.startswith(b"\x89PNG")
        assert http.get(take["audioUrl"]).content[:3] in (b"ID3", b"\xff\xfb\x90")
