"""The course of one search, answer by answer, and its figures at any budget up to its length."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

LEAST_GAP = 1e-6
"""The gap that a search which reached the optimum counts as."""

TOKEN_STEP = 1000
"""Tokens between two points of the curve over tokens."""


@dataclass(frozen=True)
class Trace:
    """What was known after each answer of a search.

    Attributes:
        gaps: Gap between the best score so far and the optimum, in units of that of the start program.
        tokens: Tokens of all prompts and answers so far.
        scored: New programs that were scored so far.
        repeats: Programs so far that had been proposed before.
        depths: Generations from the start program to the best one so far; empty if that is not known.
        wanted: Answers that the search was to get; more than it got if it ended early.
        seconds: What the search took.
        tuned: Gap of the best program after the product's tuner worked on its numbers; not a number if that is unknown.
    """

    gaps: NDArray[np.float64]
    tokens: NDArray[np.float64]
    scored: NDArray[np.float64]
    repeats: NDArray[np.float64]
    depths: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    wanted: int = 0
    seconds: float = 0.0
    tuned: float = float("nan")

    @property
    def ended_early(self) -> bool:
        """Whether it got fewer answers than it was to get."""
        return len(self.gaps) < self.wanted

    def area(self, answers: int) -> float:
        """Return the mean over the answers of log10 of the gap; a search that ended early keeps its last gap."""
        return area(np.pad(self.gaps[:answers], (0, max(0, answers - len(self.gaps))), mode="edge"))

    def area_by_tokens(self, tokens: float) -> float:
        """Return the mean of log10 of the gap over the first so many tokens; an answer counts when it is complete."""
        points = np.arange(TOKEN_STEP, tokens + 1, TOKEN_STEP)
        done = np.searchsorted(self.tokens, points, side="right")
        return area(np.concatenate([[1.0], self.gaps])[done])

    def gap(self, answers: int) -> float:
        """Return the gap after so many answers."""
        return float(self.gaps[:answers][-1])

    def answers_to(self, gap: float, answers: int) -> int | None:
        """Return how many of the first so many answers it took to come as near as a gap; `None` if it did not."""
        reached = np.flatnonzero(self.gaps[:answers] <= gap)
        return int(reached[0]) + 1 if len(reached) else None

    def depth(self, answers: int) -> float:
        """Return the depth of the best of so many answers; not a number if it is not known."""
        return float(self.depths[:answers][-1]) if len(self.depths) else float("nan")

    def repeated_share(self, answers: int) -> float:
        """Return the share of so many answers that repeat a program."""
        got = min(answers, len(self.repeats))
        return float(self.repeats[got - 1]) / got

    def unscored_share(self, answers: int) -> float:
        """Return the share of so many answers without a score, repeated programs apart."""
        got = min(answers, len(self.scored))
        return 1.0 - float(self.scored[got - 1] + self.repeats[got - 1]) / got

    def save(self, path: Path) -> None:
        """Write it to a file, whose folder is made if it is missing."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            np.savez_compressed(file, **vars(self))


def load_trace(path: Path) -> Trace:
    """Read a trace from the file to which `save` wrote it."""
    with np.load(path) as stored:
        arrays = {name: stored[name] for name in stored.files}
    numbers = {name: float(arrays.pop(name)) for name in ("seconds", "tuned")}
    wanted = int(arrays.pop("wanted"))
    return replace(Trace(**arrays), wanted=wanted, seconds=numbers["seconds"], tuned=numbers["tuned"])


def area(gaps: Sequence[float] | NDArray[np.float64]) -> float:
    """Return the mean of log10 of gaps."""
    return float(np.log10(np.maximum(gaps, LEAST_GAP)).mean())
