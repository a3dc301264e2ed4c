"""Numbers and strangers' text as they are told to people, alike everywhere."""

from __future__ import annotations

import shlex
from pathlib import Path

from schemas.errors import OvernightError
from schemas.escaping import escape_invisible

DEFAULT_HISTORY = Path("history")
"""Where runs are kept unless somebody says otherwise."""


def history_flag(history: Path) -> str:
    """` --history PLACE`, for a command that is to be copied; empty where the default is meant."""
    from tasks.history.remote.mirror import place_of

    return "" if history == DEFAULT_HISTORY else f" --history {shlex.quote(place_of(history))}"


def score(value: float | None) -> str:
    """A score, to six significant digits; a dash where there is none."""
    return "–" if value is None else f"{value:.6g}"


def usd(value: float) -> str:
    return f"${value:.2f}" if value >= 0.1 or value == 0 else f"${value:.4f}"


def why(error: Exception) -> str:
    """What an error says has happened; what to do about it depends on what was done since."""
    return error.message if isinstance(error, OvernightError) else f"{type(error).__name__}: {error}"


def count(number: int, what: str) -> str:
    """`1 sample`, `1,200 samples`."""
    return f"{number:,} {what}{'s' * (number != 1)}"


def duration(seconds: float) -> str:
    """`3 s`, `4 min 05 s`, `7 h 12 min`."""
    whole = int(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def printable(text: str) -> str:
    """Text of models and programs, with whatever a terminal or page would obey, or hide, escaped."""
    return escape_invisible(text)
