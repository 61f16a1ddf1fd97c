"""Owns what a bench found: figures against baselines and goals, their table and their file; it measures nothing."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from statistics import median
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = ["Figure", "Goal", "Outcome", "percentile", "table", "write"]


@dataclass(frozen=True)
class Goal:
    """What a figure shall reach: `of` names the value that is compared, `unit` what it is counted in."""

    of: Literal["ratio", "ours", "difference"]
    sense: Literal["<=", ">="]
    limit: float
    unit: str = "x"

    def __str__(self) -> str:
        words = {"ratio": "ratio", "ours": "ours", "difference": "ours less baseline"}
        return f"{words[self.of]} {self.sense} {self.limit:g}{'' if self.unit == 'x' else ' '}{self.unit}"


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One thing measured in alternating runs, ours and its baseline's, in `unit`; without a goal it informs."""

    bench: str
    what: str
    unit: str
    ours: tuple[float, ...]
    baseline_name: str
    baseline: tuple[float, ...]
    goal: Goal | None = None

    @property
    def ratio(self) -> float:
        """The median of ours over the median of the baseline."""
        return median(self.ours) / median(self.baseline) if median(self.baseline) else math.inf

    @property
    def value(self) -> float:
        """What is compared with the goal."""
        ours, baseline = median(self.ours), median(self.baseline)
        return {"ratio": self.ratio, "ours": ours, "difference": ours - baseline}[
            self.goal.of if self.goal else "ratio"
        ]

    @property
    def verdict(self) -> str:
        """Whether the goal is reached, as one word; empty where there is none."""
        if self.goal is None:
            return ""
        reached = self.value <= self.goal.limit if self.goal.sense == "<=" else self.value >= self.goal.limit
        return "pass" if reached else "MISS"


@dataclass
class Outcome:
    """What one bench came to: how it measured, its figures, what it checked, and what was wrong."""

    method: str
    figures: list[Figure] = field(default_factory=list)
    checks: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    raw: dict[str, Any] = field(default_factory=dict)

    def check(self, sentence: str, *, holds: bool) -> None:
        """Keep a sentence with its numbers, among the problems where it does not hold."""
        (self.checks if holds else self.problems).append(sentence)


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the nearest-rank percentile of `values`; infinity where there are none."""
    if not values:
        return math.inf
    return sorted(values)[max(0, math.ceil(len(values) * percent / 100) - 1)]


def table(figures: Sequence[Figure]) -> str:
    """Return the figures as aligned text, medians with the least and the most of their runs."""
    head = ("bench", "figure", "ours", "baseline", "ratio", "goal", "verdict")
    rows = [head, *(_row(figure) for figure in figures)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    rows.insert(1, tuple("-" * width for width in widths))
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def _row(figure: Figure) -> tuple[str, ...]:
    return (
        figure.bench,
        f"{figure.what} ({figure.unit})",
        _spread(figure.ours),
        f"{_spread(figure.baseline)} {figure.baseline_name}",
        f"{figure.ratio:.2f}",
        _goal(figure),
        figure.verdict,
    )


def _goal(figure: Figure) -> str:
    if figure.goal is None:
        return ""
    found = "" if figure.goal.of == "ratio" else f" (is {figure.value:.3g})"
    return f"{figure.goal}{found}"


def _spread(values: Sequence[float]) -> str:
    return f"{median(values):,.4g} [{min(values):,.4g} to {max(values):,.4g}]"


def write(folder: Path, machine: dict[str, Any], outcomes: dict[str, Outcome]) -> Path:
    """Write everything that was found to a file named by the moment, and return its path."""
    now = datetime.now(UTC)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{now:%Y-%m-%d-%H%M%S}.json"
    found = {name: _document(outcome) for name, outcome in outcomes.items()}
    text = json.dumps({"at": now.isoformat(), "machine": machine, "benches": found}, indent=1, default=str)
    path.write_text(text, encoding="utf-8")
    return path


def _document(outcome: Outcome) -> dict[str, Any]:
    figures = [
        {**asdict(f), "ratio": f.ratio, "value": f.value, "goal": str(f.goal or ""), "verdict": f.verdict}
        for f in outcome.figures
    ]
    return {**asdict(outcome), "figures": figures}
