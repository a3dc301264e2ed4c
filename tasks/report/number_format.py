"""Formats numbers, times and costs of a report, and finds the range of scores that a chart shows."""

from __future__ import annotations

import math
from collections.abc import Iterable
from datetime import datetime

_LEAST_SPAN = 1e-9
"""Least span of a chart's range, relative to the largest value: a narrower one would only show rounding."""

_ROUNDING = 1e-12
"""Relative difference up to which two scores differ by the rounding of sums of floating-point numbers only."""


def grouped(value: float, decimals: int = 0) -> str:
    """Format a number as `12,345` or `−0.50`, with a true minus sign, and without one before zero."""
    text = f"{value:,.{decimals}f}" if abs(value) < 1e15 else f"{value:.3g}"
    negative = text.startswith("-") and text.strip("-0.,") != ""
    return ("−" if negative else "") + text.lstrip("-")


def score_text(value: float | None, digits: int = 6) -> str:
    """Format a score to significant digits with a true minus sign; return a dash if there is no score."""
    return "–" if value is None else f"{value:z.{digits}g}".replace("-", "−")


def percent_text(share: float) -> str:
    """Format a share in per cent, with as many decimals as it takes that less than all does not read 100."""
    texts = (grouped(100 * share, decimals) for decimals in range(10))
    return next((text for text in texts if share >= 1 or not text.startswith("100")), "nearly 100")


def gain_text(value: float | None) -> str:
    """Format a difference with its sign; return a dash if there is none."""
    return "–" if value is None else f"{value:+z.3g}".replace("-", "−")


def padded(values: Iterable[float], share: float = 0.05) -> list[float]:
    """Return the least and the greatest value with a margin on both sides; the two are never equal."""
    values = list(values)
    low, high = min(values), max(values)
    is_flat = high - low <= _LEAST_SPAN * max(abs(low), abs(high))
    margin = (abs(high) * share or 1.0) if is_flat else (high - low) * share
    return [low - margin, high + margin]


def gain_of(before: float, after: float) -> float:
    """Return how much higher a score is than one before; 0 where they differ by rounding only."""
    return 0.0 if math.isclose(before, after, rel_tol=_ROUNDING) else after - before


def duration(seconds: float) -> str:
    """Format seconds: `3.2 s`, `4 min 05 s`, `7 h 12 min`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def usd(value: float | None) -> str:
    """Format USD with cents, or with four decimals below $0.10."""
    if value is None:
        return "unknown"
    return f"${value:,.2f}" if value >= 0.1 or value == 0 else f"${value:.4f}"


def cost(known_usd: float | None, has_unknown_costs: bool) -> str:
    """Format a cost of which some prices may be unknown: `$1.20`, `unknown`, `$1.20 + unknown`."""
    if not has_unknown_costs:
        return usd(known_usd)
    return f"{usd(known_usd)} + unknown" if known_usd else "unknown"


def time_text(value: datetime) -> str:
    """Format a time in UTC to the minute."""
    return f"{value:%Y-%m-%d %H:%M} UTC"
