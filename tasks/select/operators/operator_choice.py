"""Adaptive choice of operators by what they gained, in units of the run.

It is discounted Thompson sampling: each operator has a Beta distribution of its success in each band of bases; after
Fialho et al., "Analyzing bandit-based adaptive operator selection mechanisms" (2010), with the discount of Raj and
Kalyani (arXiv 1707.09727). A search that stagnates is told a tactic instead.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable, Sequence
from itertools import permutations
from random import Random
from statistics import median

from overnight.schemas.operators import Operator, Thoughts
from overnight.schemas.program import Program

_LARGEST = 5.0
"""Limit on a gain, in units; one lucky answer must not decide all later choices."""

_INTERVAL = 25
"""Scores after which the unit is computed again."""

_FEWEST = 5
"""Distinct scores below which there is no unit; any improvement is then worth 1."""


class Gains:
    """Measures improvements in units of the run.

    The unit is the median absolute difference of the distinct scores so far to their median, but not less than the
    declared noise.
    """

    def __init__(self, start: float, noise: float) -> None:
        self._start, self._noise = start, noise
        self._scores = [start] if math.isfinite(start) else []
        self._noted = 0
        self._unit: float | None = None

    def note(self, score: float) -> None:
        place = bisect_left(self._scores, score)
        if place == len(self._scores) or self._scores[place] != score:
            insort(self._scores, score)
        self._noted += 1
        if len(self._scores) >= _FEWEST and (self._unit is None or self._noted % _INTERVAL == 0):
            self._unit = self._computed()

    def gain(self, score: float | None, base: float) -> float:
        """Return the gain of a child on its base, or on the start program if that is better: 0 if there is none."""
        if score is None:
            return 0.0
        improvement = score - max(base, self._start)
        if improvement <= self._noise:
            return 0.0
        if self._unit is None or not math.isfinite(self._unit):
            return 1.0
        return min(_LARGEST, improvement / self._unit)

    def rank(self, score: float) -> float:
        """Return the share of the distinct scores that are higher."""
        return 1.0 - bisect_right(self._scores, score) / max(1, len(self._scores))

    def _computed(self) -> float:
        middle = median(self._scores)
        deviation = median(abs(score - middle) for score in self._scores)
        return max(deviation, 1e-12 * abs(middle), self._noise) or 1.0


SHARES = {one: one.facts.share for one in Operator if one.facts.share}
"""Operators among which is chosen, with what is believed of each before there are results."""

_BELIEF = 10.0
"""Weight of that belief, results."""

_DISCOUNT = 0.99
"""Factor of all counts at each result, so that what paid long ago is forgotten."""

_EXPLORATION = 0.1
"""Share of prompts whose operator is drawn by the belief before there were results, whatever was gained since."""

_BANDS = (0.1, 0.5, 1.0)
"""Upper ends of the bands of bases: the best tenth, the upper half, the rest."""


def band_of(rank: float) -> int:
    """Return the band of a base, from the share of scores that are higher."""
    return next(band for band, end in enumerate(_BANDS) if rank <= end)


_LEAST_WORTH = 0.5
"""Part of what the best operator pays for its share, below which one is not asked for to make prompts differ."""


def _mean(successes: float, failures: float) -> float:
    return successes / (successes + failures)


def fits(operator: Operator, body: str, partner: Program | None) -> bool:
    """Return whether an operator can be asked for of a base with such a body, and a partner or none."""
    if operator.facts.needs_partner and partner is None:
        return False
    lines = (line.strip() for line in body.splitlines())
    return sum(bool(line) and not line.startswith("#") for line in lines) >= operator.facts.least_lines


class OperatorChoice:
    """Chooses operators by what they gained.

    It is chosen by a draw from each operator's distribution; the highest wins.
    """

    def __init__(self) -> None:
        self._counts: dict[tuple[Operator, int], list[float]] = {}

    def choose(self, enabled: Sequence[Operator], band: int, rng: Random) -> Operator:
        """Return one of some operators for a base in a band."""
        if rng.random() < _EXPLORATION:
            return rng.choices(enabled, [SHARES[operator] for operator in enabled])[0]
        draws = {operator: rng.betavariate(*self.belief(operator, band)) for operator in enabled}
        return max(draws, key=draws.__getitem__)

    def worth_asking(self, enabled: Sequence[Operator], band: int) -> list[Operator]:
        """Return the operators that do not pay far less than the others, each measured by what was believed of it."""
        shares = {one: self._expected(one, band) / _mean(*self._prior(one)) for one in enabled}
        return [one for one in enabled if shares[one] >= _LEAST_WORTH * max(shares.values())]

    def _expected(self, operator: Operator, band: int) -> float:
        return _mean(*self.belief(operator, band))

    def belief(self, operator: Operator, band: int) -> tuple[float, float]:
        """Return the parameters of the Beta distribution of an operator's success in a band."""
        successes, failures = self._counts.get((operator, band), (0.0, 0.0))
        ours, others = self._prior(operator)
        return ours + successes, others + failures

    @staticmethod
    def _prior(operator: Operator) -> tuple[float, float]:
        share = SHARES.get(operator, 0.0)
        return 1.0 + _BELIEF * share, 1.0 + _BELIEF * (1.0 - share)

    def tell(self, operator: Operator, band: int, *, has_gained: bool) -> None:
        """Count a result; what an operator gains outside of its share, such as a repair, is not counted."""
        if operator not in SHARES:
            return
        for counts in self._counts.values():
            counts[0] *= _DISCOUNT
            counts[1] *= _DISCOUNT
        counts = self._counts.setdefault((operator, band), [0.0, 0.0])
        counts[0 if has_gained else 1] += 1.0


_PATIENCE = 50
"""Answers without a new best program after which a search stagnates, at least."""

_PATIENT_SHARE = 0.1
"""The same as a share of all answers so far."""

_TACTICS = 4
"""Prompts with a tactic at the begin of each such stretch."""

_FRESH = 2
"""Prompts for another algorithm after them."""

TACTICS = (
    "use another data structure or another representation of the problem",
    "look at a method that is known in the literature for this kind of problem, and adapt it",
    "relax the constraint of the problem that makes it hard, solve what is left exactly, then repair what breaks it",
    "decide with what will happen a few steps later in mind, not only with what is best now",
    "combine several simple rules, and choose among them by the state of the input",
    "treat the cases that are hardest on their own",
    "use symmetry, or an invariant of the problem, to search less and better",
    "begin with a good construction, then improve it by a fixed number of steps of local search",
    "compute from the input what could be a fixed constant",
    "try several alternatives, and take the best of them",
)
"""General lines of thought, one for each prompt with a tactic; they suit a program that is written anew."""

_PLACES = (
    "look at where it decides worst, and why",
    "replace a fixed number by one that is computed from the input",
    "look at what it does when two choices are equally good",
    "question what it takes for granted of its input",
    "look at what it leaves out of account",
    "look at its first step, and at its last",
    "look a few steps ahead",
    "look at the case that comes up most often",
    "look at what it computes and hardly uses",
    "weigh against each other what it treats one after the other",
)
"""Places to look at in a program that is to be changed."""

_SPARE = (
    "look for what it does twice",
    "look for a case that another one covers",
    "look for numbers that make no difference",
    "look for steps whose result is hardly used",
    "look for what the standard library does in one call",
)
"""Part that may be left out of a program that is to be simpler."""

_THOUGHTS: dict[Thoughts, Sequence[str]] = {"tactics": TACTICS, "places": _PLACES, "spare": _SPARE}


def lines_of_thought(operator: Operator | None) -> Sequence[str]:
    """Return lines of thought that tell apart prompts which ask the same, none of which contradicts the request."""
    thoughts = _THOUGHTS[operator.facts.thoughts if operator else "tactics"]
    return (*thoughts, *(f"{one}; or {other}" for one, other in permutations(thoughts, 2)))


def stagnation_operator(since_best: int, answers: int, per_prompt: int) -> tuple[Operator, str] | None:
    """Return what the next prompt asks for where the search stagnates, with its tactic; `None` where it does not."""
    patience = max(_PATIENCE, round(_PATIENT_SHARE * answers))
    if since_best < patience:
        return None
    stretch, place = divmod(since_best, patience)
    prompt = place // per_prompt
    if prompt < _TACTICS:
        return Operator.TACTIC, TACTICS[(stretch * _TACTICS + prompt) % len(TACTICS)]
    return (Operator.FRESH, "") if prompt < _TACTICS + _FRESH else None


def partner_of(base: Program, programs: Iterable[Program]) -> Program | None:
    """Return the program to combine with a base: the one that beats it on most inputs; the first of equals.

    The base beats it on an input, too. After GEPA (arXiv 2507.19457), which keeps the programs that are best on any.
    """
    others = [one for one in programs if inputs_better(one, base) and inputs_better(base, one)]
    return max(others, key=lambda one: (inputs_better(one, base), one.score), default=None)


def inputs_better(one: Program, other: Program) -> int:
    """Return the number of inputs on which a program beats another."""
    return sum(mine > theirs for mine, theirs in zip(one.scores, other.scores, strict=False))
