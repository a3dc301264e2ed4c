"""Write tuned numbers with as few digits as keep the score."""

from __future__ import annotations

from collections.abc import Mapping

from tasks.tune.bodies import NumberedBody
from tasks.tune.literals import number_text
from tasks.tune.trials import Trials

_DIGITS = (1, 2, 3, 4, 6, 8)
"""Numbers of significant digits that are tried."""

_LOSS = 1e-3
"""Largest share of the gain that fewer digits may cost; on a smooth function every digit costs something."""


def fewest_digits(
    body: NumberedBody, trials: Trials, values: Mapping[int, int | float], *, score: float, start: float
) -> dict[int, str]:
    """Return the texts of numbers: all with the fewest digits that keep the score, and those untouched that may stay.

    Args:
        body: The body as it was.
        trials: Its evaluations.
        values: Value of each tuned number, by position.
        score: Score with these values.
        start: Score of the body as it was.
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
