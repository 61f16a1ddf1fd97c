"""Owns the Jupyter kernel of a bench: started in the bench's world, its start-up talk kept out of the report."""

from __future__ import annotations

import os
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from tests.notebook.kernels import running_kernel

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.bench.prepared import World
    from tests.notebook.kernels import Kernel

__all__ = ["kernel_in", "run"]


@contextmanager
def kernel_in(place: World, code: str) -> Iterator[Kernel]:
    """Start a kernel that has run `code`; it is killed afterwards, whatever it does then."""
    with ExitStack() as stack:
        with _errors_to(place.folder / "kernel.log"):
            kernel = stack.enter_context(running_kernel(place.folder, place.environment))
        run(kernel, code)
        yield kernel


def run(kernel: Kernel, code: str) -> None:
    """Run a cell that may not fail."""
    cell = kernel.run(code)
    assert cell.error is None, cell.of("error")


@contextmanager
def _errors_to(path: Path) -> Iterator[None]:
    """Give what is started meanwhile a file for its standard error."""
    ours = os.dup(2)
    with path.open("ab") as file:
        os.dup2(file.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(ours, 2)
        os.close(ours)
