"""Maps data to positions in a drawing by linear scales with round ticks, and formats numbers."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Scale:
    """A linear scale.

    Attributes:
        low: Data value that is drawn at the position `start`.
        high: Data value that is drawn at the position `end`.
    """

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """Return the position of a value, rounded to a tenth; values outside the scale are drawn at its ends."""
        share = (min(max(value, self.low), self.high) - self.low) / ((self.high - self.low) or 1.0)
        return round(self.start + share * (self.end - self.start), 1)

    def ticks(self, count: int) -> list[float]:
        """Return about `count` round values inside the scale, 1, 2 or 5 times a power of ten apart."""
        step = nice_step(self.high - self.low, count)
        first = math.ceil(self.low / step - 1e-9)
        last = math.floor(self.high / step + 1e-9)
        return [number * step for number in range(first, last + 1)]

    def labels(self, count: int) -> list[tuple[float, str]]:
        """Return the ticks with their texts, all with the number of decimals that the step needs."""
        values = self.ticks(count)
        step = nice_step(self.high - self.low, count)
        decimals = max(0, -math.floor(math.log10(step) + 1e-9))
        return [(value, grouped(value, decimals)) for value in values]


def nice_step(span: float, count: int) -> float:
    """Return a step of 1, 2 or 5 times a power of ten, so that about `count` steps make the span."""
    rough = (span or 1.0) / max(count, 1)
    power = 10.0 ** math.floor(math.log10(rough))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))


def grouped(value: float, decimals: int = 0) -> str:
    """Format a number as `12,345` or `−0.50`, with a true minus sign, and without one before zero."""
    text = f"{value:,.{decimals}f}" if abs(value) < 1e15 else f"{value:.3g}"
    negative = text.startswith("-") and text.strip("-0.,") != ""
    return ("−" if negative else "") + text.lstrip("-")


def score_text(value: float | None) -> str:
    """Format a score to six significant digits with a true minus sign; return a dash if there is no score."""
    return "–" if value is None else f"{value:.6g}".replace("-", "−")


def gain_text(value: float | None) -> str:
    """Format a difference with its sign; return a dash if there is none."""
    return "–" if value is None else f"{value:+.3g}".replace("-", "−")


def padded(values: Iterable[float], share: float = 0.05) -> tuple[float, float]:
    """Return the least and the greatest value with a margin on both sides; the two are never equal."""
    values = list(values)
    low, high = min(values), max(values)
    margin = (high - low) * share or abs(high) * share or 1.0
    return low - margin, high + margin
