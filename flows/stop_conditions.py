"""When a night ends: the rules, and what they are asked about."""

from __future__ import annotations

from datetime import datetime, timedelta

from pydantic import BaseModel, ConfigDict, Field

from schemas.generation import StopReason
from tasks.sample.budget import BudgetLimits


class StopConditions(BaseModel):
    """Any of them ends the night; without one it goes on until it is interrupted."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    generations: int | None = Field(default=None, ge=1, description="generations in this night")
    max_samples: int | None = Field(default=None, ge=1, description="samples in this night")
    max_tokens: int | None = Field(default=None, ge=1, description="tokens in this night, prompts and completions")
    until: datetime | None = Field(default=None, description="deadline")
    grace_s: float = Field(
        default=60.0, ge=0, description="seconds after the deadline until the generation under way is cut short"
    )
    budget_usd: float | None = Field(default=None, ge=0, description="USD in this night")
    total_budget_usd: float | None = Field(default=None, ge=0, description="USD for the run, all its nights together")
    target: float | None = Field(default=None, description="score that is good enough")
    patience: int | None = Field(default=None, ge=1, description="generations without improvement")

    @property
    def cut_at(self) -> datetime | None:
        """When a generation under way is cut short; None without a deadline.

        In the second half of the grace only confirmations run: else no best found at the end would ever count.
        """
        return None if self.until is None else self.until + timedelta(seconds=self.grace_s / 2)

    @property
    def ends_by(self) -> datetime | None:
        """When confirmations are cut short, too; None without a deadline."""
        return None if self.until is None else self.until + timedelta(seconds=self.grace_s)

    @property
    def budget(self) -> BudgetLimits:
        """What may be spent, for the ledger, which looks before each request."""
        return BudgetLimits(night_usd=self.budget_usd, total_usd=self.total_budget_usd, tokens=self.max_tokens)


class Tally(BaseModel):
    """What the rules look at, between two generations."""

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


def share_done(rules: StopConditions, tally: Tally, since: datetime, now: datetime) -> float:
    """How much of a night is over by the rule that is nearest to its end, 0 to 1; 0 where none can be counted.

    Args:
        rules: Of the night.
        tally: As it is now.
        since: When the night began.
        now: The time.
    """
    limits = [
        (tally.generations, rules.generations),
        (tally.samples, rules.max_samples),
        (tally.tokens, rules.max_tokens),
        (tally.cost_usd, rules.budget_usd),
        (tally.total_usd, rules.total_budget_usd),
    ]
    if rules.until is not None:
        # A night that begins after its deadline is over at once.
        limits.append(((now - since).total_seconds(), max((rules.until - since).total_seconds(), 1e-9)))
    return min(1.0, max((done / limit for done, limit in limits if limit), default=0.0))


def reason_to_stop(rules: StopConditions, tally: Tally, now: datetime) -> StopReason | None:
    """The first rule that says stop; a generation that would not end before the deadline is not begun."""
    if tally.interrupted:
        return StopReason.INTERRUPTED
    if rules.target is not None and tally.best >= rules.target:
        return StopReason.TARGET
    if rules.generations is not None and tally.generations >= rules.generations:
        return StopReason.GENERATIONS
    if rules.max_samples is not None and tally.samples >= rules.max_samples:
        return StopReason.SAMPLES
    if rules.patience is not None and tally.generations_since_best >= rules.patience:
        return StopReason.PATIENCE
    if rules.budget_usd is not None and tally.cost_usd >= rules.budget_usd:
        return StopReason.BUDGET
    if rules.total_budget_usd is not None and tally.total_usd >= rules.total_budget_usd:
        return StopReason.BUDGET
    if rules.max_tokens is not None and tally.tokens >= rules.max_tokens:
        return StopReason.TOKENS
    if tally.is_exhausted:
        return StopReason.BUDGET if rules.budget.is_in_usd else StopReason.TOKENS
    if rules.until is not None and (rules.until - now).total_seconds() <= tally.longest_generation_s:
        return StopReason.DEADLINE
    return None
