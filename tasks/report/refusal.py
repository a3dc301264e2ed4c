"""Refusal of what pruning left of a program, where that is worse on the held-out inputs."""

from __future__ import annotations

from typing import Protocol

from overnight.schemas.scores import score_text
from overnight.tasks.report.number_format import gain_of


class SplitScored(Protocol):
    """Scores of a program on each split."""

    @property
    def train(self) -> float | None: ...
    @property
    def validation(self) -> float | None: ...
    @property
    def held_out(self) -> float | None: ...


def is_worse(score: float | None, than: float | None) -> bool:
    """Return whether a score is missing or lower where another one is not."""
    return than is not None and (score is None or gain_of(score, than) > 0)


def refusal(pruned: SplitScored, as_found: SplitScored) -> str:
    """Return in words how a pruned program is worse on the held-out inputs; empty if it is not known to be."""
    pairs = ((pruned.train, as_found.train), (pruned.validation, as_found.validation))
    now, before = pruned.held_out, as_found.held_out
    if any(is_worse(*pair) for pair in pairs) or before is None or not is_worse(now, before):
        return ""
    how = "fails" if now is None else f"scores {score_text(now, before)}, not {score_text(before, now)},"
    return f"{how} on the held-out inputs"
