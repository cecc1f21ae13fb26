# SPDX-License-Identifier: LGPL-2.1-or-later
"""Figures of several rounds, what they are compared with, and the bar that each has to reach."""

from __future__ import annotations

import statistics
from dataclasses import dataclass


@dataclass(frozen=True)
class Series:
    """One figure of each round, in the order of the rounds."""

    values: tuple[float, ...]
    unit: str

    @property
    def median(self) -> float:
        """The figure that counts."""
        return statistics.median(self.values)

    def over(self, other: Series) -> Series:
        """Return the ratio of each round: what slows both in one round cancels out."""
        pairs = zip(self.values, other.values, strict=True)
        return Series(tuple(ours / theirs for ours, theirs in pairs), "×")

    def __str__(self) -> str:
        median, low, high = (_number(v) for v in (self.median, min(self.values), max(self.values)))
        spread = f" ({low}–{high})" if len(self.values) > 1 else ""
        return f"{median} {self.unit}{spread}"


@dataclass(frozen=True)
class Bar:
    """What the median of a ratio, or of a figure without a peer, has to reach."""

    value: float
    unit: str
    at_least: bool

    def met(self, figure: float) -> bool:
        """Return whether a figure reaches it."""
        return figure >= self.value if self.at_least else figure <= self.value

    def __str__(self) -> str:
        return f"{'≥' if self.at_least else '≤'} {self.value:g} {self.unit}"


def at_least(value: float, unit: str = "×") -> Bar:
    """Return the bar for what is better when larger."""
    return Bar(value, unit, at_least=True)


def at_most(value: float, unit: str = "×") -> Bar:
    """Return the bar for what is better when smaller."""
    return Bar(value, unit, at_least=False)


@dataclass(frozen=True)
class Line:
    """One line of the table. Without a bar a figure is told for its own sake."""

    what: str
    ours: Series
    peer: str = ""
    theirs: Series | None = None
    bar: Bar | None = None

    @property
    def ratio(self) -> Series | None:
        """Ours over the peer's."""
        return None if self.theirs is None else self.ours.over(self.theirs)

    @property
    def verdict(self) -> str:
        """Whether the bar is met, in a word."""
        if self.bar is None:
            return ""
        return "met" if self.bar.met((self.ratio or self.ours).median) else "missed"

    def cells(self) -> list[str]:
        """Return the line as the table shows it; `HEADINGS` are the columns."""
        shown = (self.ours, self.peer, self.theirs, self.ratio, self.bar, self.verdict)
        return [self.what, *("" if cell is None else str(cell) for cell in shown)]


HEADINGS = ["what", "hookd", "beside", "its figure", "ratio", "bar", ""]


def _number(value: float) -> str:
    """Return three digits that count, thousands set apart."""
    if value >= 100:
        return f"{value:,.0f}"
    if value >= 10:
        return f"{value:.1f}"
    return f"{value:.2f}" if value >= 0.1 else f"{value:.2g}"
