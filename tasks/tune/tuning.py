"""Tune the numbers of one program: find those that matter, optimise them, write them with few digits.

Everything is evaluated by the functions that are given, so this module does no I/O.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from overnight.tasks.tune.bodies import NumberedBody
from overnight.tasks.tune.literals import number_text
from overnight.tasks.tune.optimizer import (
    Coordinate,
    Found,
    Point,
    climb,
    coordinate_of,
    evaluations_for,
    maximise,
    rank,
)

Evaluate = Callable[[Sequence[str]], Sequence[float | None]]
"""Returns the score of each body, higher is better; `None` where it failed."""

_RACED_FROM = 4
"""Smallest number of variants that race."""

_MAX_TRIED = 40
"""Most numbers whose effect is tried."""

_MAX_NUMBERS = 12
"""Most numbers that are tuned together; those with the largest effect."""

_GAINING = 20
"""Evaluations after a gain for which a tuning still gains."""

_WRITING = 20
"""Evaluations that are kept for writing the numbers with few digits."""


class OutOfTime(Exception):
    """The time for this tuning is over."""


class NotJudged(Exception):
    """The sandbox could not evaluate a program, which says nothing of it."""


@dataclass(frozen=True)
class Evaluations:
    """The ways to evaluate bodies; each may raise OutOfTime, and the last one NotJudged.

    Attributes:
        train: On all training inputs.
        first: On the first training input; `None` if that would save nothing.
        validation: On the validation inputs; `None` without any.
    """

    train: Evaluate
    first: Evaluate | None = None
    validation: Evaluate | None = None


@dataclass
class Trials:
    """The evaluations of one tuning.

    Attributes:
        is_late: Returns whether no new search may begin, since what is found has yet to be written.
        is_last: Returns whether the models have given their last answer, so that only this tuning is waited for.
        used: Number of evaluations so far; a body counts once, on whatever inputs.
        gained_at: Value of `used` at the last gain beyond the noise; `None` before any.
    """

    evaluations: Evaluations
    limit: int
    is_late: Callable[[], bool] = lambda: False
    is_last: Callable[[], bool] = lambda: False
    used: int = 0
    gained_at: int | None = None
    _known: dict[str, float | None] = field(default_factory=dict)

    @property
    def left(self) -> int:
        return max(0, self.limit - self.used)

    @property
    def is_over(self) -> bool:
        """Whether nothing is found yet that would be worth waiting for."""
        return self.gained_at is None and self.is_last()

    @property
    def ends(self) -> bool:
        """Whether no new search may begin."""
        has_stopped = self.gained_at is None or self.used - self.gained_at > _GAINING
        return self.is_late() or (has_stopped and self.is_last())

    def score(self, bodies: Sequence[str]) -> list[float | None]:
        """Return the scores of bodies on all training inputs; those beyond the limit fail."""
        self._evaluate(self._new(bodies))
        return [self._known.get(body) for body in bodies]

    def race(self, bodies: Sequence[str], best: float) -> list[float | None]:
        """Return the scores of bodies, of which the worse half may be estimates that only say their order.

        All are evaluated on the first input. Those that are in the worse half there, and behind the best program too,
        are not evaluated on the others; they rank behind all that are.
        """
        new, first = self._new(bodies), self.evaluations.first
        if first is None or len(new) < _RACED_FROM:
            return self.score(bodies)
        claims = dict(zip(new, first(new), strict=True))
        ahead = sorted(new, key=lambda body: rank(claims[body]), reverse=True)[: (len(new) + 1) // 2]
        # A failure on the first input is one on all.
        stopped = [body for body in new if body not in ahead and claims[body] is not None]
        self._known |= {body: None for body in new if claims[body] is None}
        self._evaluate([body for body in ahead if claims[body] is not None])
        self.used += sum(body not in ahead or claims[body] is None for body in new)
        return self._with_estimates(bodies, stopped, claims, best)

    def _with_estimates(
        self, bodies: Sequence[str], stopped: Sequence[str], claims: dict[str, float | None], best: float
    ) -> list[float | None]:
        scores = [self._known.get(body) for body in bodies]
        bar = min([best, *(score for score in scores if score is not None)])
        step = max(abs(bar), 1.0) * 1e-9
        order = sorted(stopped, key=lambda body: rank(claims[body]), reverse=True)
        estimates = {body: bar - step * place for place, body in enumerate(order, start=1)}
        return [estimates.get(body, score) for body, score in zip(bodies, scores, strict=True)]

    def validation_scores(self, bodies: Sequence[str]) -> list[float | None] | None:
        """Return the scores of bodies on the validation inputs; `None` without any."""
        if self.evaluations.validation is None:
            return None
        self.used += len(bodies)
        return list(self.evaluations.validation(bodies))

    def _new(self, bodies: Sequence[str]) -> list[str]:
        if self.is_over:
            raise OutOfTime
        return [body for body in dict.fromkeys(bodies) if body not in self._known][: self.left]

    def _evaluate(self, bodies: Sequence[str]) -> None:
        if bodies:
            self._known |= dict(zip(bodies, self.evaluations.train(bodies), strict=True))
            self.used += len(bodies)


@dataclass(frozen=True, slots=True)
class Tuned:
    """A program with better numbers.

    Attributes:
        changes: The numbers that changed: text before and after.
    """

    body: str
    score: float
    changes: tuple[tuple[str, str], ...]


def tune(body: NumberedBody, trials: Trials, *, seed: int, noise: float = 0.0) -> Tuned | None:
    """Return a program with better numbers; `None` if none is found. A gain within the noise means nothing."""
    tuning = _Tuning(body, trials, noise)
    with contextlib.suppress(OutOfTime):
        tuning.run(seed)
    with contextlib.suppress(OutOfTime, NotJudged):
        if tuning.best is not None and _holds(body.text, tuning.best.body, trials, noise):
            return tuning.best
    return None


@dataclass
class _Tuning:
    """The tuning of one program, up to the moment at which its time ends.

    Attributes:
        best: The program to be preferred so far; `None` while none gains more than the noise.
    """

    body: NumberedBody
    trials: Trials
    noise: float
    best: Tuned | None = None

    def run(self, seed: int) -> None:
        """Search for better numbers, and write them with few digits."""
        (start,) = self.trials.score([self.body.text]) if self.body.literals else (None,)
        numbers = [] if start is None else sensitive_numbers(self.body, self.trials, start)
        if start is None or not numbers:
            return
        coordinates = {number: coordinate_of(self.body.literals[number]) for number in numbers}
        found = self._optimise(coordinates, start, seed)
        if self.best is not None:
            values = _values(coordinates, found.point)
            texts = fewest_digits(self.body, self.trials, values, score=found.score, start=start)
            (score,) = self.trials.score([self.body.with_numbers(texts)])
            if score is not None and score > start + self.noise:
                self.best = self._tuned(texts, score)

    def _optimise(self, coordinates: dict[int, Coordinate], start: float, seed: int) -> Found:
        found = Found(tuple(one.start for one in coordinates.values()), start)

        def rate(points: Sequence[Point]) -> list[float | None]:
            nonlocal found
            if self.trials.ends:
                return [None] * len(points)
            texts = [_texts(_values(coordinates, point)) for point in points]
            scores = self.trials.race([self.body.with_numbers(one) for one in texts], found.score)
            better = found.better_of(points, scores)
            if better is not found and better.score > start + self.noise:
                self.best = self._tuned(_texts(_values(coordinates, better.point)), better.score)
                if better.score > found.score + self.noise:
                    self.trials.gained_at = self.trials.used
            found = better
            return scores

        bounds = [one.bounds for one in coordinates.values()]
        until = self.trials.used + min(evaluations_for(len(bounds)), self.trials.left - _WRITING)
        found = maximise(rate, found, bounds, evaluations=until - self.trials.used, seed=seed)
        # A search by distributions loses its way among the steps of whole numbers, the last of which are tried in turn.
        steps = partial(_whole_steps, list(coordinates.values()))
        return climb(rate, found, steps, evaluations=until - self.trials.used)

    def _tuned(self, texts: dict[int, str], score: float) -> Tuned:
        changes = [(self.body.written(number), text) for number, text in sorted(texts.items())]
        return Tuned(self.body.with_numbers(texts), score, tuple(one for one in changes if one[0] != one[1]))


def sensitive_numbers(body: NumberedBody, trials: Trials, start: float) -> list[int]:
    """Return the numbers whose change changes the score, by position; at most those with the largest effect.

    Each is tried with a tenth more. Those without an effect are tried once more with half: a number that is compared
    with others may have room around it.
    """
    effects = dict.fromkeys(range(min(len(body.literals), _MAX_TRIED)), 0.0)
    for attempt in range(2):
        idle = [number for number, effect in effects.items() if not effect]
        texts = [number_text(coordinate_of(body.literals[number]).trials[attempt]) for number in idle]
        scores = trials.score([body.with_numbers({number: text}) for number, text in zip(idle, texts, strict=True)])
        effects |= {number: abs(score - start) for number, score in zip(idle, scores, strict=True) if score is not None}
    changing = [number for number, effect in effects.items() if effect]
    return sorted(sorted(changing, key=lambda number: -effects[number])[:_MAX_NUMBERS])


def _whole_steps(coordinates: Sequence[Coordinate], point: Point) -> list[Point]:
    """Return the points at which one whole number is the next one up or down."""
    steps = [(place, to) for place, one in enumerate(coordinates) for to in one.beside(point[place])]
    return [(*point[:place], to, *point[place + 1 :]) for place, to in steps]


def _values(coordinates: dict[int, Coordinate], point: Point) -> dict[int, int | float]:
    return {number: one.value(place) for (number, one), place in zip(coordinates.items(), point, strict=True)}


def _texts(values: dict[int, int | float]) -> dict[int, str]:
    return {number: number_text(value) for number, value in values.items()}


def _holds(before: str, after: str, trials: Trials, noise: float) -> bool:
    """Return whether a program is no worse than before on the validation inputs, if there are any."""
    scores = trials.validation_scores([before, after])
    if scores is None:
        return True
    old, new = scores
    return new is not None and (old is None or new >= old - noise)


_DIGITS = (1, 2, 3, 4, 6, 8)
"""Numbers of significant digits that are tried."""

_LOSS = 1e-3
"""Largest share of the gain that fewer digits may cost; on a smooth function every digit costs something."""


def fewest_digits(
    body: NumberedBody, trials: Trials, values: Mapping[int, int | float], *, score: float, start: float
) -> dict[int, str]:
    """Return the texts of numbers: all with the fewest digits that keep the score, and those untouched that may stay.

    `score` is that with the values, `start` that of the body as it was.
    """
    bar = score - _LOSS * (score - start)
    texts = _rounded(body, trials, values, bar)
    undone = {
        number: {**texts, number: body.written(number)} for number in texts if texts[number] != body.written(number)
    }
    scores = trials.score([body.with_numbers(without) for without in undone.values()])
    idle = [number for number, one in zip(undone, scores, strict=True) if one is not None and one >= bar]
    fewer = {**texts, **{number: body.written(number) for number in idle}}
    (together,) = trials.score([body.with_numbers(fewer)])
    return fewer if together is not None and together >= bar else texts


def _rounded(body: NumberedBody, trials: Trials, values: Mapping[int, int | float], bar: float) -> dict[int, str]:
    tried = [{number: number_text(value, digits) for number, value in values.items()} for digits in _DIGITS]
    scores = trials.score([body.with_numbers(texts) for texts in tried])
    kept = [texts for texts, one in zip(tried, scores, strict=True) if one is not None and one >= bar]
    return kept[0] if kept else {number: number_text(value) for number, value in values.items()}
