"""Variants of the toy problem: with another scoring, another start program, other settings."""

from __future__ import annotations

from pathlib import Path

TOY = Path(__file__).with_name("specifications") / "toy.py"
SCORE = "return -abs(guess(offset) - 10.0 - offset)"
START = "return offset + 1.0"


def toy_with(path: Path, *, score: str = SCORE, start: str = START) -> Path:
    """Write the toy problem with another end of its scoring or another start program to a path, and return it."""
    path.parent.mkdir(exist_ok=True)
    path.write_text(TOY.read_text().replace(SCORE, score).replace(START, start))
    return path
