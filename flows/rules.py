"""When a night ends: the rules, and what they are asked about."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field

from schemas.generation import StopReason


class StopRules(BaseModel):
    """Any of them ends the night; without one it goes on until it is interrupted."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    generations: int | None = Field(default=None, ge=1, description="generations in this night")
    samples: int | None = Field(default=None, ge=1, description="samples in this night")
    until: datetime | None = Field(default=None, description="deadline")
    budget_usd: float | None = Field(default=None, ge=0, description="USD in this night")
    target: float | None = Field(default=None, description="score that is good enough")
    patience: int | None = Field(default=None, ge=1, description="generations without improvement")


class Tally(BaseModel):
    """What the rules look at, between two generations."""

    generations: int = 0
    samples: int = 0
    cost_usd: float = 0.0
    best: float
    generations_since_best: int = 0
    longest_generation_s: float = 0.0
    interrupted: bool = False


def reason_to_stop(rules: StopRules, tally: Tally, now: datetime) -> StopReason | None:
    """The first rule that says stop; a generation that would not end before the deadline is not begun."""
    if tally.interrupted:
        return StopReason.INTERRUPTED
    if rules.target is not None and tally.best >= rules.target:
        return StopReason.TARGET
    if rules.generations is not None and tally.generations >= rules.generations:
        return StopReason.GENERATIONS
    if rules.samples is not None and tally.samples >= rules.samples:
        return StopReason.SAMPLES
    if rules.patience is not None and tally.generations_since_best >= rules.patience:
        return StopReason.PATIENCE
    if rules.budget_usd is not None and tally.cost_usd >= rules.budget_usd:
        return StopReason.BUDGET
    if rules.until is not None and (rules.until - now).total_seconds() <= tally.longest_generation_s:
        return StopReason.DEADLINE
    return None
