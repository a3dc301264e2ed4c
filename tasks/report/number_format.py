"""Formats numbers of a report, and finds the range of scores that a chart shows."""

from __future__ import annotations

from collections.abc import Iterable

_LEAST_SPAN = 1e-9
"""Least span of a chart's range, relative to the largest value: a narrower one would only show rounding."""


def grouped(value: float, decimals: int = 0) -> str:
    """Format a number as `12,345` or `−0.50`, with a true minus sign, and without one before zero."""
    text = f"{value:,.{decimals}f}" if abs(value) < 1e15 else f"{value:.3g}"
    negative = text.startswith("-") and text.strip("-0.,") != ""
    return ("−" if negative else "") + text.lstrip("-")


def score_text(value: float | None, digits: int = 6) -> str:
    """Format a score to significant digits with a true minus sign; return a dash if there is no score."""
    return "–" if value is None else f"{value:.{digits}g}".replace("-", "−")


def gain_text(value: float | None) -> str:
    """Format a difference with its sign; return a dash if there is none."""
    return "–" if value is None else f"{value:+.3g}".replace("-", "−")


def padded(values: Iterable[float], share: float = 0.05) -> list[float]:
    """Return the least and the greatest value with a margin on both sides; the two are never equal."""
    values = list(values)
    low, high = min(values), max(values)
    is_flat = high - low <= _LEAST_SPAN * max(abs(low), abs(high))
    margin = (abs(high) * share or 1.0) if is_flat else (high - low) * share
    return [low - margin, high + margin]
