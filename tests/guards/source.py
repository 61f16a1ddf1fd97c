"""Owns finding the project's files and reading its modules, for the guards; it asserts nothing."""

from __future__ import annotations

import ast
import shutil
import subprocess
from pathlib import Path

__all__ = ["MODULES", "NOTEBOOKS", "ROOT", "imports_of", "module_name", "parse", "tracked_files"]

ROOT = Path(__file__).resolve().parents[2]
MODULES = sorted((ROOT / "kit").rglob("*.py"))
NOTEBOOKS = sorted(path for path in (ROOT / "notebooks").glob("**/*.ipynb") if ".ipynb_checkpoints" not in path.parts)


def parse(path: Path) -> ast.Module:
    """Return the syntax tree of a module."""
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def module_name(path: Path) -> str:
    """Return the dotted name under which a module of the kit is imported."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


_NAMES = {module_name(path) for path in MODULES}


def imports_of(path: Path) -> set[str]:
    """Return the modules of the kit that a module names in any import: at the top, late, or for types only."""
    found: set[str] = set()
    for node in ast.walk(parse(path)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(node, path)
            found |= {name if (name := f"{base}.{alias.name}") in _NAMES else base for alias in node.names}
    return {name for name in found if name == "kit" or name.startswith("kit.")}


def _absolute(node: ast.ImportFrom, path: Path) -> str:
    if not node.level:
        return node.module or ""
    package = path.relative_to(ROOT).parent.parts
    return ".".join([*package[: len(package) - node.level + 1], *(node.module or "").split(".")]).rstrip(".")


def tracked_files() -> list[Path]:
    """Return the files that git has, or would take in; empty where this is no git checkout."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        return []
    argv = ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=30).stdout
    return [path for name in listed.split("\0") if name and (path := ROOT / name).is_file()]
