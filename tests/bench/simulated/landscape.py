"""The behaviour of programs of a simulated problem, and its score.

It needs the standard library alone, and stands in the evaluator of each task directory as it is here.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

PROBE = (3.0, -1.0, 4.0, -1.5, 5.0, 3.0, 2.0)
"""Values that each stage is run on; no two fragments do the same with them."""

FRAGMENTS = {
    "sort": "return sorted(v)",
    "flip": "return v[::-1]",
    "turn": "return v[1:] + v[:1]",
    "double": "return [2.0 * a for a in v]",
    "size": "return [abs(a) for a in v]",
    "positive": "return [max(a, 0.0) for a in v]",
    "centre": "middle = sum(v) / len(v)\nreturn [a - middle for a in v]",
    "steps": "return [b - a for a, b in zip(v, v[1:])]",
    "sums": "total, out = 0.0, []\nfor a in v:\n    total += a\n    out.append(total)\nreturn out",
    "square": "return [a * a for a in v]",
    "range": "low, high = min(v), max(v)\nreturn [(a - low) / (high - low) for a in v]",
    "unique": "return sorted(set(v))",
    "peaks": "return [max(a, b) for a, b in zip(v, v[1:])]",
}
"""Lines of a stage's function, whose argument is a list `v`, by the name of what they do."""

_MASK = (1 << 64) - 1


class Design(NamedTuple):
    """The behaviour of a program.

    Attributes:
        choices: Index of the fragment of each stage; -1 for one that the problem does not know.
        numbers: Numeric constants.
    """

    choices: tuple[int, ...]
    numbers: tuple[float, ...] = ()


class Landscape(NamedTuple):
    """Scores of all designs of a problem.

    Attributes:
        seed: Source of the contributions.
        options: Names of the fragments of each stage, by their index.
        epistasis: Number of the stages before it that a stage's contribution depends on.
        targets: Best values of the constants.
        axes: Rows that the distances to them are multiplied by, in decades.
        pairs: Forbidden pairs: stage, choice, later stage, choice.
        keys: Where the first stage is one of five algorithms, the choices of the last two that the best one needs.
        scale: Points for a value of 1.
        offset: Points for a value of 0.
    """

    seed: int
    options: tuple[tuple[str, ...], ...]
    epistasis: int = 1
    targets: tuple[float, ...] = ()
    axes: tuple[tuple[float, ...], ...] = ()
    pairs: tuple[tuple[int, int, int, int], ...] = ()
    keys: tuple[int, ...] = ()
    scale: float = 1.0
    offset: float = 0.0

    def score(self, design: Design) -> float:
        """Return the score of a design, whether its pairs are allowed or not; higher is better."""
        value = self._best_algorithm(design) if self.keys else self._mean_contribution(design.choices)
        return self.offset + self.scale * (value - self._distance(design.numbers))

    def forbidden(self, design: Design) -> str:
        """Return which stages do not work together; empty if all do."""
        for first, one, second, other in self.pairs:
            if design.choices[first] == one and design.choices[second] == other:
                names = self.options[first][one], self.options[second][other]
                return f"stage_{first + 1:02} ({names[0]}) and stage_{second + 1:02} ({names[1]}) do not work together"
        return ""

    def judge(self, namespace: dict[str, Any]) -> float:
        """Run the stages of a program and return its score.

        Args:
            namespace: What the program defined.

        Raises:
            ValueError: If two of its stages do not work together.
        """
        outputs = [namespace[f"stage_{k + 1:02}"](list(PROBE)) for k in range(len(self.options))]
        choices = tuple(_index(_name(out), names) for out, names in zip(outputs, self.options, strict=True))
        numbers = tuple(float(namespace[f"number_{k + 1}"]) for k in range(len(self.targets)))
        design = Design(choices, numbers)
        if reason := self.forbidden(design):
            raise ValueError(reason)
        return self.score(design)

    def _mean_contribution(self, choices: tuple[int, ...]) -> float:
        parts = []
        for stage in range(len(choices)):
            window = choices[max(0, stage - self.epistasis) : stage + 1]
            index = 0
            for choice in window:
                index = 8 * index + choice
            parts.append(0.0 if min(window) < 0 else contribution(self.seed, stage, index))
        return sum(parts) / len(parts)

    def _best_algorithm(self, design: Design) -> float:
        """Value where the first stage is an algorithm, and its ceiling is reached with the parts that suit it best."""
        algorithm, *parts = design.choices
        if algorithm < 0:
            return 0.0
        last = len(self.options[0]) - 1
        if algorithm == last:
            quality = self._quality(last, parts[:-2])
            enabled = tuple(parts[-2:]) == tuple(self.keys)
            return 0.4 + 0.6 * quality if enabled else 0.05 + 0.1 * quality
        ceiling = 0.7 + 0.3 * algorithm / last
        return ceiling * (0.4 + 0.6 * self._quality(algorithm, parts))

    def _quality(self, algorithm: int, parts: list[int]) -> float:
        """Mean of the parts' worth to an algorithm, from 0 to 1; the keys of the best one are worth nothing here."""
        total = 0.0
        for stage, choice in enumerate(parts):
            worth = self.worths(algorithm, stage)
            total += worth[choice] if choice >= 0 else 0.0
        return total / len(parts)

    def worths(self, algorithm: int, stage: int) -> list[float]:
        """Return the worth of each choice of a part to an algorithm, the best 1."""
        count, names = len(self.options) - 1, self.options[stage + 1]
        worth = [contribution(self.seed, 64 * algorithm + stage, choice) for choice in range(len(names))]
        if stage >= count - len(self.keys):
            worth[self.keys[stage - count]] = 0.0
        return [one / max(worth) for one in worth]

    def _distance(self, numbers: tuple[float, ...]) -> float:
        """Loss by constants: 0 at the targets, 1 far away."""
        if not all(math.isfinite(number) and number > 0 for number in numbers):
            return 1.0
        gaps = [math.log10(number / target) for number, target in zip(numbers, self.targets, strict=True)]
        total = sum(sum(a * gap for a, gap in zip(row, gaps, strict=True)) ** 2 for row in self.axes)
        return total / (1.0 + total)


def contribution(seed: int, stage: int, index: int) -> float:
    """Return a number from 0 to 1 that looks random and follows from its arguments."""
    mixed = (seed * 0x9E3779B97F4A7C15 + stage * 0xD1B54A32D192ED03 + index * 0x8CB92BA72F3D8DD7) & _MASK
    for shift, factor in ((32, 0xD6E8FEB86659FD93), (29, 0xA0761D6478BD642F)):
        mixed = ((mixed ^ (mixed >> shift)) * factor) & _MASK
    return (mixed ^ (mixed >> 32)) / 2.0**64


def _name(output: Any) -> str:
    """Return which fragment gives an output for the probe; empty if none does."""
    for name, expected in _outputs().items():
        if len(output) == len(expected) and all(abs(a - b) < 1e-9 for a, b in zip(output, expected, strict=True)):
            return name
    return ""


_OUTPUTS: dict[str, list[float]] = {}


def _outputs() -> dict[str, list[float]]:
    if not _OUTPUTS:
        for name, code in FRAGMENTS.items():
            namespace: dict[str, Any] = {}
            exec("def stage(v):\n" + "\n".join(f"    {line}" for line in code.split("\n")), namespace)
            _OUTPUTS[name] = namespace["stage"](list(PROBE))
    return _OUTPUTS


def _index(name: str, names: tuple[str, ...]) -> int:
    return list(names).index(name) if name in names else -1
