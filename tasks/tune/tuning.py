"""Tune the numbers of one program: find those that matter, optimise them, write them with few digits.

Everything is evaluated by the functions that are given, so this module does no I/O.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random

from tasks.tune.bodies import NumberedBody
from tasks.tune.coordinates import Coordinate, coordinate_of
from tasks.tune.literals import number_text
from tasks.tune.optimizer import Found, Point, evaluations_for, maximise
from tasks.tune.trials import OutOfTime, Trials
from tasks.tune.writing import fewest_digits

_MAX_TRIED = 40
"""Most numbers whose effect is tried."""

_MAX_NUMBERS = 12
"""Most numbers that are tuned together; those with the largest effect."""

_WRITING = 20
"""Evaluations that are kept for writing the numbers with few digits."""


@dataclass(frozen=True, slots=True)
class Tuned:
    """A program with better numbers.

    Attributes:
        body: Its body.
        score: Its score on the training inputs.
        changes: The numbers that changed: text before and after.
    """

    body: str
    score: float
    changes: tuple[tuple[str, str], ...]


def tune(body: NumberedBody, trials: Trials, *, seed: str, noise: float = 0.0) -> Tuned | None:
    """Return a program with better numbers; `None` if none is found.

    Args:
        body: The program's body.
        trials: Its evaluations.
        seed: Seed of everything random.
        noise: Largest difference between two scores that means nothing.
    """
    best: list[Tuned] = []
    with contextlib.suppress(OutOfTime):
        _search(body, trials, Random(seed), noise, best.append)
    if not best:
        return None
    with contextlib.suppress(OutOfTime):
        if _holds(body.text, best[-1].body, trials, noise):
            return best[-1]
    return None


def _search(body: NumberedBody, trials: Trials, random: Random, noise: float, keep: Callable[[Tuned], None]) -> None:
    """Search for better numbers; pass each program that is to be preferred to the one before to `keep`.

    Raises:
        OutOfTime: If the time ends first; what was kept counts.
    """
    (start,) = trials.score([body.text]) if body.literals else (None,)
    if start is None:
        return
    numbers = _sensitive(body, trials, start)
    if not numbers:
        return
    search = _Search(body, trials, numbers, start)
    best = search.run(
        random.getrandbits(32), lambda found: keep(search.tuned(found)) if found.score > start + noise else None
    )
    if best.score > start + noise:
        values = {number: search.value(number, best.point) for number in numbers}
        texts = fewest_digits(body, trials, values, score=best.score, start=start)
        (score,) = trials.score([body.with_numbers(texts)])
        if score is not None and score > start + noise:
            keep(_tuned(body, texts, score))


def _sensitive(body: NumberedBody, trials: Trials, start: float) -> list[int]:
    """Return the numbers whose change changes the score, by position; at most those with the largest effect."""
    tried = range(min(len(body.literals), _MAX_TRIED))
    texts = [number_text(coordinate_of(body.literals[number]).trial) for number in tried]
    scores = trials.score([body.with_numbers({number: text}) for number, text in zip(tried, texts, strict=True)])
    effects = {number: abs(score - start) for number, score in zip(tried, scores, strict=True) if score is not None}
    changing = [number for number in effects if effects[number] > 0]
    return sorted(sorted(changing, key=lambda number: -effects[number])[:_MAX_NUMBERS])


@dataclass
class _Search:
    """A search for better values of some numbers of a body.

    Attributes:
        numbers: Positions of the numbers.
        start: Score of the body as it is.
    """

    body: NumberedBody
    trials: Trials
    numbers: Sequence[int]
    start: float
    _best: Found = field(init=False)

    def __post_init__(self) -> None:
        self._best = Found(tuple(one.start for one in self._coordinates), self.start)

    @property
    def _coordinates(self) -> list[Coordinate]:
        return [coordinate_of(self.body.literals[number]) for number in self.numbers]

    def run(self, seed: int, keep: Callable[[Found], None]) -> Found:
        """Return the best values found; pass each that is better than all before to `keep`."""
        bounds = [one.bounds for one in self._coordinates]
        evaluations = min(evaluations_for(len(bounds)), self.trials.left - _WRITING)

        def rate(points: Sequence[Point]) -> list[float | None]:
            if self.trials.is_late():
                return [None] * len(points)
            scores = self.trials.race([self._body(point) for point in points], self._best.score)
            better = self._best.better_of(points, scores)
            if better is not self._best:
                self._best = better
                keep(better)
            return scores

        return maximise(rate, self._best, bounds, evaluations=evaluations, seed=seed)

    def value(self, number: int, point: Point) -> int | float:
        """Return the value of a number at a point."""
        place = self.numbers.index(number)
        return self._coordinates[place].value(point[place])

    def tuned(self, found: Found) -> Tuned:
        """Return the program at a point."""
        return _tuned(self.body, self._texts(found.point), found.score)

    def _texts(self, point: Point) -> dict[int, str]:
        return {number: number_text(self.value(number, point)) for number in self.numbers}

    def _body(self, point: Point) -> str:
        return self.body.with_numbers(self._texts(point))


def _tuned(body: NumberedBody, texts: dict[int, str], score: float) -> Tuned:
    changes = [(body.written(number), text) for number, text in sorted(texts.items()) if body.written(number) != text]
    return Tuned(body.with_numbers(texts), score, tuple(changes))


def _holds(before: str, after: str, trials: Trials, noise: float) -> bool:
    """Return whether a program is no worse than before on the validation inputs, if there are any."""
    scores = trials.validation_scores([before, after])
    if scores is None:
        return True
    old, new = scores
    return new is not None and (old is None or new >= old - noise)
