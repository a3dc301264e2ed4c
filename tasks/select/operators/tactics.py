"""Approaches to try where small changes have stopped helping."""

from __future__ import annotations

from schemas.operators import Operator

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
    "solve an easier version first, then mend its solution step by step",
    "decide with what will happen a few steps later in mind, not only with what is best now",
    "combine several simple rules, and choose among them by the state of the input",
    "treat the cases that score worst on their own, and leave the others as they are",
    "use symmetry, or an invariant of the problem, to search less and better",
    "begin with a good construction, then improve it by local search until the time limit is near",
    "replace fixed constants by values that are computed from the input",
    "look at a method that is known in the literature for this kind of problem, and adapt it",
    "drop the part that costs most time, and spend the time on trying more alternatives",
)
"""General lines of thought, one for each prompt with a tactic."""


def stagnation_operator(since_best: int, answers: int, per_prompt: int) -> tuple[Operator, str] | None:
    """Return what the next prompt asks for where the search stagnates, with its tactic; `None` where it does not.

    Args:
        since_best: Answers since the best program was found.
        answers: Answers so far.
        per_prompt: Answers to one prompt.
    """
    patience = max(_PATIENCE, round(_PATIENT_SHARE * answers))
    if since_best < patience:
        return None
    stretch, place = divmod(since_best, patience)
    prompt = place // per_prompt
    if prompt < _TACTICS:
        return Operator.TACTIC, TACTICS[(stretch * _TACTICS + prompt) % len(TACTICS)]
    return (Operator.FRESH, "") if prompt < _TACTICS + _FRESH else None
