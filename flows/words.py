"""Numbers and strangers' text as they are told to people, alike everywhere."""

from __future__ import annotations


def score(value: float | None) -> str:
    """A score, to six significant digits; a dash where there is none."""
    return "–" if value is None else f"{value:.6g}"


def usd(value: float) -> str:
    return f"${value:.2f}" if value >= 0.1 or value == 0 else f"${value:.4f}"


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
    """Without control characters: text of models and programs must not reach the terminal's ear."""
    return "".join(char if char in "\n\t" or (char.isprintable() or ord(char) > 159) else "�" for char in text)
