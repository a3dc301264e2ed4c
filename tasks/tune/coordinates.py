"""Numbers as coordinates of an optimiser, in which a step means the same for small and large ones."""

from __future__ import annotations

import math
from dataclasses import dataclass

from tasks.tune.literals import Literal

RADIUS = 1.0
"""Largest distance of a coordinate from its start, in both directions: a factor of 10, of the number or of its odds."""

_DIGITS = 12
"""Significant digits of the values that are tried."""

_MAX_EXPONENT = 300
"""Largest power of 10 of a value."""


@dataclass(frozen=True, slots=True)
class Coordinate:
    """The coordinate of one number: its decimal logarithm; of a probability, that of its odds.

    Attributes:
        origin: Value of the number in the program.
        is_probability: Whether it stays between 0 and 1.
    """

    origin: int | float
    is_probability: bool = False

    @property
    def start(self) -> float:
        """Coordinate of the number in the program."""
        return math.log10(self.origin / (1 - self.origin) if self.is_probability else self.origin)

    @property
    def bounds(self) -> tuple[float, float]:
        """Lowest and highest coordinate."""
        return self.start - RADIUS, self.start + RADIUS

    def value(self, coordinate: float) -> int | float:
        """Return the value at a coordinate: above 0, and whole if the number is."""
        low, high = self.bounds
        power = 10 ** max(-_MAX_EXPONENT, min(_MAX_EXPONENT, min(high, max(low, coordinate))))
        value = power / (1 + power) if self.is_probability else power
        return max(1, round(value)) if isinstance(self.origin, int) else float(f"{value:.{_DIGITS}g}")

    def beside(self, coordinate: float) -> list[float]:
        """Return the coordinates of the whole numbers beside the one at a coordinate; none for floats."""
        if not isinstance(self.origin, int):
            return []
        value = self.value(coordinate)
        beside = [math.log10(one) for one in (value - 1, value + 1) if one >= 1]
        return [one for one in beside if self.bounds[0] <= one <= self.bounds[1]]

    @property
    def trials(self) -> tuple[int | float, int | float]:
        """Values by which the number's effect is tried: a tenth more, of a whole number at least 1 more; then half."""
        more, half = (self.value(self.start + math.log10(factor)) for factor in (1.1, 0.5))
        if isinstance(self.origin, int):
            return max(more, self.origin + 1), half
        return more, half


def coordinate_of(literal: Literal) -> Coordinate:
    """Return the coordinate of a number of a text."""
    return Coordinate(literal.value, literal.is_probability)
