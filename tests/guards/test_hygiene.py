"""What is committed names no machine: no package index, no folder of whoever worked here, nothing large."""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
from pathlib import Path

import pytest

from tests.guards.source import ROOT, tracked_files

LARGEST = 600 * 1024
LARGEST_PICTURE = 300 * 1024
CONFIGURATION = [
    "/etc/pip.conf",
    "~/.pip/pip.conf",
    "~/.config/pip/pip.conf",
    "~/.config/uv/uv.toml",
    "/etc/apt/sources.list",
    "/etc/apt/sources.list.d/*",
]
COMMON_FOLDERS = {Path(name) for name in ("/", "/home", "/root", "/tmp", "/opt", "/srv", "/mnt", "/Users")}


@pytest.fixture(scope="module")
def files() -> list[Path]:
    """The files that are, or would be, committed."""
    found = tracked_files()
    if not found:
        pytest.skip("this is no git checkout: there is no list of committed files")
    return found


def _index_hosts() -> set[str]:
    texts = [value for name, value in os.environ.items() if name.startswith(("PIP_", "UV_"))]
    for pattern in CONFIGURATION:
        path = Path(pattern).expanduser()
        for file in path.parent.glob(path.name):
            with contextlib.suppress(OSError):
                texts.append(file.read_text(encoding="utf-8", errors="replace"))
    hosts = {host for text in texts for host in re.findall(r"https?://(?:[^@/\s]*@)?([^/:\s\"']+)", text)}
    with contextlib.suppress(ImportError):
        from pip._internal.models.index import PyPI

        hosts |= {PyPI.netloc, PyPI.file_storage_domain}
    return {host for host in hosts if "." in host and not re.fullmatch(r"127\.[\d.]+", host)}


def _machine_paths() -> set[str]:
    common = COMMON_FOLDERS | {Path(tempfile.gettempdir())}
    return {f"{path}/" for path in (ROOT, ROOT.parent, Path.home()) if path not in common}


def test_no_file_names_a_package_index_or_a_folder_of_this_machine(files: list[Path]) -> None:
    """Whoever clones this uses their own index and their own folders."""
    forbidden = _index_hosts() | _machine_paths()
    found = [
        f"{path.relative_to(ROOT)}:{number}: {name}"
        for path in files
        for number, line in enumerate(path.read_bytes().decode("utf-8", "replace").splitlines(), 1)
        for name in forbidden
        if name in line
    ]

    assert [] == found


def test_the_locks_hold_names_versions_and_hashes_alone() -> None:
    """Each line of a lock is a pinned name with an optional marker, or a hash."""
    line = re.compile(r"[\w.-]+(\[[\w,-]+\])?==[\w.!+]+( ; [\w .'\"<>=()!]+)? \\|    --hash=sha256:[0-9a-f]{64}( \\)?")
    for name in ("requirements.txt", "requirements-dev.txt"):
        lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
        assert [] == [text for text in lines if not line.fullmatch(text)], name


def test_the_two_locks_agree() -> None:
    """Whatever the notebook installs is installed for the tests in the same version with the same hashes."""
    blocks = [
        set(re.split(r"\n(?=\S)", (ROOT / name).read_text(encoding="utf-8").strip()))
        for name in ("requirements.txt", "requirements-dev.txt")
    ]

    assert blocks[0] <= blocks[1]


def test_nothing_large_is_committed(files: list[Path]) -> None:
    """Small samples serve as well, and media is better generated."""
    large = [path.relative_to(ROOT) for path in files if path.stat().st_size > LARGEST]
    pictures = [path for path in files if path.name == "picture.png" and path.stat().st_size > LARGEST_PICTURE]

    assert [] == large + pictures


def test_no_key_file_is_committed(files: list[Path]) -> None:
    """A `.env` stays on its machine."""
    assert [] == [path for path in files if path.name == ".env"]
