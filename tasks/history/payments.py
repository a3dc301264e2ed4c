"""Sum up what a generation's answers cost: the one account that budgets, views and reports read."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Sequence
from typing import Any

from overnight.schemas.generation import GenerationRecord
from overnight.schemas.program import QUESTION, TURN, Completion

Sums = dict[str, Any]
"""One entry of the column `paid` of `tables.GENERATIONS`."""

Paid = tuple[str, Completion]
"""The purpose of an answer, and the answer."""

SAMPLE, UNUSED = "sample", "unused"
"""Purposes of answers beside turns and questions: of a candidate, and of none of a committed generation."""

_TOKENS = ("tokens_in", "tokens_out", "tokens_cached")


def uncommitted(stored: Sequence[Completion]) -> list[Paid]:
    """Return what was paid for a generation that is not committed: the answers in its journal, turns as such."""
    return [(_kind(one), one) for one in stored if not one.transcript]


def committed(record: GenerationRecord, stored: Sequence[Completion]) -> list[Paid]:
    """Return what was paid for a generation.

    Args:
        record: The generation, whose own answers count where the journal has none of them, as in a replay.
        stored: All answers in its journal, also those that no candidate has.
    """
    own = [one.candidate.completion for one in record.judged if one.candidate.completion.model]
    used = {_key(one) for one in own}
    paid = [one for one in stored if not one.transcript]  # what an agent hands back has the price of its turns
    is_stored = {_key(one) for one in paid}
    paid += [one for one in (*own, *record.questions) if _key(one) not in is_stored]
    return [(_kind(one) if one.finish_reason == QUESTION or _key(one) in used else UNUSED, one) for one in paid]


def sums_of(paid: Sequence[Paid], night: int = 0) -> list[Sums]:
    """Return sums by the night in which answers came, their model and their purpose.

    Args:
        paid: What was paid.
        night: Number of the night of answers that do not say theirs.
    """
    groups: defaultdict[tuple[int, str, str], list[Completion]] = defaultdict(list)
    for purpose, one in paid:
        groups[one.night or night, one.model, purpose].append(one)
    return [
        {"night": number, "model": model, "purpose": purpose, **_sum(groups[number, model, purpose])}
        for number, model, purpose in sorted(groups)
    ]


def usd(paid: Sequence[Paid], purposes: Collection[str] = (SAMPLE, UNUSED, TURN, QUESTION)) -> float:
    """Return the known prices of what was paid for some purposes, which do not depend on its order."""
    return math.fsum(one.cost_usd or 0.0 for purpose, one in paid if purpose in purposes)


def _key(one: Completion) -> tuple[int, int | str, str]:
    """Return what tells an answer from others; all turns of an agent's session are one with what it hands back."""
    is_of_agent = one.finish_reason == TURN or bool(one.transcript)
    return one.prompt, TURN if is_of_agent else one.sample, one.prompt_hash


def _kind(one: Completion) -> str:
    return one.finish_reason if one.finish_reason in (TURN, QUESTION) else SAMPLE


def _sum(group: Sequence[Completion]) -> Sums:
    known = [one.cost_usd for one in group if one.cost_usd is not None]
    return {
        **{name: sum(getattr(one, name) for one in group) for name in _TOKENS},
        "cost_usd": math.fsum(known) if known else None,
        "unpriced": len(group) - len(known),
    }
