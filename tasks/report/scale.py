"""From data to points on paper: linear scales with sensible ticks, and numbers as text."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Scale:
    """A linear scale.

    Attributes:
        low: Data value that is drawn at `start`.
        high: Data value that is drawn at `end`.
    """

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """Where a value is drawn, to a tenth; values outside of the scale at its ends."""
        share = (min(max(value, self.low), self.high) - self.low) / ((self.high - self.low) or 1.0)
        return round(self.start + share * (self.end - self.start), 1)

    def ticks(self, count: int) -> list[float]:
        """About `count` round values, 1, 2 or 5 times a power of ten apart, inside of the scale."""
        step = nice_step(self.high - self.low, count)
        first = math.ceil(self.low / step - 1e-9)
        last = math.floor(self.high / step + 1e-9)
        return [number * step for number in range(first, last + 1)]

    def labels(self, count: int) -> list[tuple[float, str]]:
        """The ticks with their texts, which all have as many decimals as the step needs."""
        values = self.ticks(count)
        step = nice_step(self.high - self.low, count)
        decimals = max(0, -math.floor(math.log10(step) + 1e-9))
        return [(value, grouped(value, decimals)) for value in values]


def nice_step(span: float, count: int) -> float:
    """1, 2 or 5 times a power of ten, so that about `count` steps make the span."""
    rough = (span or 1.0) / max(count, 1)
    power = 10.0 ** math.floor(math.log10(rough))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))


def grouped(value: float, decimals: int = 0) -> str:
    """`12,345`, `−0.50`: a true minus, and no minus before nothing."""
    text = f"{value:,.{decimals}f}" if abs(value) < 1e15 else f"{value:.3g}"
    negative = text.startswith("-") and text.strip("-0.,") != ""
    return ("−" if negative else "") + text.lstrip("-")


def score_text(value: float | None) -> str:
    """A score to six significant digits, with a true minus; a dash where there is none."""
    return "–" if value is None else f"{value:.6g}".replace("-", "−")


def gain_text(value: float | None) -> str:
    """A difference with its sign."""
    return "–" if value is None else f"{value:+.3g}".replace("-", "−")


def padded(values: Iterable[float], share: float = 0.05) -> tuple[float, float]:
    """The least and greatest value with some room on both sides; never the same twice."""
    kept = list(values)
    low, high = min(kept), max(kept)
    room = (high - low) * share or abs(high) * share or 1.0
    return low - room, high + room
