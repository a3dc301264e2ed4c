"""Stop conditions of a night, and the counts that they are compared with."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from schemas.generation import StopReason
from tasks.sample.budget import BudgetLimits


class StopConditions(BaseModel):
    """Limits of a night, any of which ends it; without any it runs until it is interrupted."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    generations: int | None = Field(default=None, ge=1, description="generations in this night")
    max_samples: int | None = Field(default=None, ge=1, description="samples in this night")
    max_tokens: int | None = Field(default=None, ge=1, description="tokens in this night, prompts and completions")
    until: datetime | None = Field(default=None, description="deadline")
    grace_s: float = Field(
        default=60.0,
        ge=0,
        le=7 * 86_400,
        description="seconds after the deadline until the generation under way is cut short; a week at most",
    )
    budget_usd: float | None = Field(default=None, ge=0, description="USD in this night")
    total_budget_usd: float | None = Field(default=None, ge=0, description="USD for the run, all its nights together")
    target: float | None = Field(default=None, description="score that is good enough")
    patience: int | None = Field(default=None, ge=1, description="generations without improvement")

    @property
    def cut_at(self) -> datetime | None:
        """Time at which the generation under way is cut short; None without a deadline.

        The second half of the grace period is for confirmations only. Otherwise a best found at the end would never be
        confirmed.
        """
        return None if self.until is None else self.until + timedelta(seconds=self.grace_s / 2)

    @property
    def ends_by(self) -> datetime | None:
        """Time at which confirmations are cut short, too; None without a deadline."""
        return None if self.until is None else self.until + timedelta(seconds=self.grace_s)

    def __str__(self) -> str:
        until = [f"until {self.until.astimezone(UTC):%Y-%m-%d %H:%M} UTC"] if self.until else []
        return ", ".join(until + limits_text(self.model_dump(exclude={"grace_s"}))) or "until Ctrl-C"

    def after(self, generations: int, samples: int, tokens: int, cost_usd: float) -> StopConditions:
        """Return what is left of the limits of a night after so much."""
        used = {"generations": generations, "max_samples": samples, "max_tokens": tokens, "budget_usd": cost_usd}
        limits = {name: getattr(self, name) for name in used}
        left = {name: max(0, limit - used[name]) for name, limit in limits.items() if limit is not None}
        return self.model_copy(update=left)

    @property
    def budget(self) -> BudgetLimits:
        """Limits for the budget, which checks them before each request."""
        return BudgetLimits(night_usd=self.budget_usd, total_usd=self.total_budget_usd, tokens=self.max_tokens)


def limits_text(limits: Mapping[str, Any]) -> list[str]:
    """Return the limits of a night that are set, other than its deadline, in words such as `budget 5`.

    Args:
        limits: Their values by the names of `StopConditions`.
    """
    given = {name: value for name, value in limits.items() if value is not None and name != "until"}
    return [f"{name.removesuffix('_usd').replace('_', ' ')} {value:,.10g}" for name, value in given.items()]


class Tally(BaseModel):
    """Counts of a night so far, compared with the stop conditions between two generations."""

    generations: int = 0
    samples: int = 0
    tokens: int = 0
    cost_usd: float = 0.0
    total_usd: float = 0.0
    best: float
    generations_since_best: int = 0
    longest_generation_s: float = 0.0
    is_exhausted: bool = False
    interrupted: bool = False


def share_done(conditions: StopConditions, tally: Tally, since: datetime, now: datetime) -> float:
    """Return how much of a night is over by the stop condition nearest to its limit, 0 to 1; 0 without limits.

    Args:
        conditions: Stop conditions of the night.
        tally: Current counts.
        since: Start of the night.
        now: Current time.
    """
    limits = [
        (tally.generations, conditions.generations),
        (tally.samples, conditions.max_samples),
        (tally.tokens, conditions.max_tokens),
        (tally.cost_usd, conditions.budget_usd),
        (tally.total_usd, conditions.total_budget_usd),
    ]
    if conditions.until is not None:
        # A night that begins after its deadline is over at once.
        limits.append(((now - since).total_seconds(), max((conditions.until - since).total_seconds(), 1e-9)))
    return min(1.0, max((done / limit for done, limit in limits if limit), default=0.0))


def reason_to_stop(conditions: StopConditions, tally: Tally, now: datetime) -> StopReason | None:
    """Return the first stop condition that is met, if any.

    The deadline counts as reached when a generation as long as the longest so far would end after it.
    """
    if tally.interrupted:
        return StopReason.INTERRUPTED
    if conditions.target is not None and tally.best >= conditions.target:
        return StopReason.TARGET
    if conditions.generations is not None and tally.generations >= conditions.generations:
        return StopReason.GENERATIONS
    if conditions.max_samples is not None and tally.samples >= conditions.max_samples:
        return StopReason.SAMPLES
    if conditions.patience is not None and tally.generations_since_best >= conditions.patience:
        return StopReason.PATIENCE
    if conditions.budget_usd is not None and tally.cost_usd >= conditions.budget_usd:
        return StopReason.BUDGET
    if conditions.total_budget_usd is not None and tally.total_usd >= conditions.total_budget_usd:
        return StopReason.BUDGET
    if conditions.max_tokens is not None and tally.tokens >= conditions.max_tokens:
        return StopReason.TOKENS
    if tally.is_exhausted:
        return StopReason.BUDGET if conditions.budget.is_in_usd else StopReason.TOKENS
    if conditions.until is not None and (conditions.until - now).total_seconds() <= tally.longest_generation_s:
        return StopReason.DEADLINE
    return None
