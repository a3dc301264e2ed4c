"""Formatting of numbers, errors and untrusted text for people, the same in all output."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from overnight.schemas.errors import DiskFault, OvernightError
from overnight.schemas.escaping import escape_invisible
from overnight.schemas.history_backend import HistoryBackend
from overnight.schemas.outcome import Outcome
from overnight.tasks.history.local_backend import LocalBackend

DEFAULT_HISTORY = LocalBackend(Path("history"))
"""History in the default folder."""


def history_flag(history: HistoryBackend) -> str:
    """Return ` --history PLACE` for a command that the user may copy; an empty string for the default history."""
    return "" if history.location == DEFAULT_HISTORY.location else f" --history {shlex.quote(history.location)}"


def score(value: float | None, digits: int = 6) -> str:
    """Format a score to significant digits; a missing one, or a gain on none, as a dash."""
    return "–" if value is None or math.isinf(value) else f"{value:z.{digits}g}"


_FEWEST_DIGITS, _MOST_DIGITS = 6, 12
_ROUNDING = 1e-9


def scores_beside(first: float | None, second: float | None) -> tuple[str, str]:
    """Format two scores with as many digits as tell them apart, from six on, unless it is rounding."""
    if first is None or second is None or math.isclose(first, second, rel_tol=_ROUNDING):
        return score(first), score(second)
    texts = ((f"{first:.{digits}g}", f"{second:.{digits}g}") for digits in range(_FEWEST_DIGITS, _MOST_DIGITS))
    return next((pair for pair in texts if pair[0] != pair[1]), (score(first), score(second)))


def usd(value: float | None) -> str:
    if value is None:
        return "unknown"
    return f"${value:.2f}" if value >= 0.1 or value == 0 else f"${value:.4f}"


def cost(known_usd: float, *, is_partly_unknown: bool) -> str:
    """Format a cost of which some prices may be unknown: `$1.20`, `unknown`, `$1.20 + unknown`."""
    if not is_partly_unknown:
        return usd(known_usd)
    return f"{usd(known_usd)} + unknown" if known_usd else "unknown"


def outcomes_text(counts: Mapping[Outcome, int]) -> str:
    """Return counts like `scored 40, crashed 3`, in the order of `Outcome`."""
    return ", ".join(f"{kind.value} {counts[kind]}" for kind in Outcome if counts.get(kind)) or "none yet"


_WARNED_FROM = 50
_WARNED_SHARE = 0.95
_REPEATS_FROM = 20
_REPEATS_SHARE = 0.9


def few_scored(outcomes: Mapping[Outcome, int]) -> str:
    """Return a warning if nearly no sample of a night was scored: 95 % or more of at least 50; else an empty text.

    Samples that repeat earlier programs are told of sooner: from 20 on, where 90 % do. Those that the sandbox failed on
    do not count.
    """
    counts = {kind: number for kind, number in outcomes.items() if number and kind is not Outcome.SANDBOX_ERROR}
    samples = sum(counts.values())
    unscored, repeats = samples - counts.pop(Outcome.SCORED, 0), counts.get(Outcome.DUPLICATE, 0)
    is_repeating = samples >= _REPEATS_FROM and repeats >= _REPEATS_SHARE * samples
    if not is_repeating and (samples < _WARNED_FROM or unscored < _WARNED_SHARE * samples):
        return ""
    kind = max(counts, key=lambda outcome: counts[outcome])
    advice = "; another model or a higher temperature may propose others" if kind is Outcome.DUPLICATE else ""
    return f"{unscored:,} of {samples:,} samples have no score, {counts[kind]:,} are {kind.value}{advice}"


def error_text(error: Exception) -> str:
    """Return an error's message without its remedy, which may not apply where the error is shown later."""
    return error.message if isinstance(error, OvernightError) else f"{type(error).__name__}: {error}"


def cause_text(error: Exception) -> str:
    """Return the cause of an error in the same words each time: a full disk fails each write at another path."""
    return f"the history cannot be written: {error.reason}" if isinstance(error, DiskFault) else error_text(error)


def count(number: int, noun: str) -> str:
    """Format a number with its noun: `1 sample`, `1,200 samples`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def duration(seconds: float) -> str:
    """Format a duration: `3 s`, `4 min 05 s`, `7 h 12 min`."""
    whole = int(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def round_up(value: float) -> float:
    """Round a value up to the next of 1, 2, 5, 10, 20, 50 and so on."""
    if value <= 0:
        return 0.0
    unit = 10.0 ** math.floor(math.log10(value))
    return next(unit * step for step in (1, 2, 5, 10) if unit * step >= value)


def printable(text: str) -> str:
    """Escape control and invisible characters in text of models and programs, for a terminal or a web page."""
    return escape_invisible(text)


_BLOCKS = "▁▂▃▄▅▆▇█"
_ASCII = "_.-:=+*#"
"""Characters of a terminal whose encoding lacks blocks, by how much ink they have."""


def spark(values: Sequence[float], width: int, encoding: str = "utf-8") -> str:
    """Return a line of characters that shows at most `width` of the values, evenly spaced, the last included."""
    count = min(width, len(values))
    shown = [values[(index + 1) * len(values) // count - 1] for index in range(count)]
    low, high = min(shown), max(shown)
    characters = _BLOCKS if _has_blocks(encoding) else _ASCII
    scale = (len(characters) - 1) / (high - low) if high > low else 0.0
    return "".join(characters[round((value - low) * scale)] for value in shown)


def _has_blocks(encoding: str) -> bool:
    try:
        _BLOCKS.encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return False
    return True
