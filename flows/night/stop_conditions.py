"""Stop conditions of a night: one row each in `RULES`, with what they are compared with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from pydantic import BeforeValidator, ConfigDict, Field

from overnight.schemas.generation import StopReason
from overnight.schemas.objectives import as_target
from overnight.schemas.section import Section
from overnight.tasks.sample.budget import PERIODS, SLACK, BudgetLimits

_DIGITS = 8
"""Significant digits of a limit in words; a proven optimum is a target up to a rounding of 1e-9 of it."""


class NightlyConditions(Section):
    """Stop conditions that can be the same every night; each is a flag of its name, and the text below it its help."""

    model_config = ConfigDict(allow_inf_nan=False, use_attribute_docstrings=True)

    generations: int | None = Field(default=None, ge=1)
    """stop after this many generations in this night"""
    max_samples: int | None = Field(default=None, ge=1)
    """stop after this many samples in this night"""
    max_tokens: int | None = Field(default=None, ge=1)
    """stop after this many tokens in this night, prompts and completions together"""
    budget_usd: float | None = Field(default=None, ge=0)
    """stop when this many USD have been spent in this night"""
    total_budget_usd: float | None = Field(default=None, ge=0)
    """stop when this many USD have been spent on the run, over all its nights"""
    day_budget_usd: float | None = Field(default=None, ge=0)
    """stop when all runs of the history have spent this many USD in nights that began today"""
    week_budget_usd: float | None = Field(default=None, ge=0)
    """the same, since Monday"""
    month_budget_usd: float | None = Field(default=None, ge=0)
    """the same, since the first of the month"""
    target: Annotated[float | str | None, BeforeValidator(as_target)] = None
    """stop when the best score is at least this, or when one program meets conditions such as
    "score >= 0.9, seconds <= 1"
    """
    patience: int | None = Field(default=None, ge=1)
    """stop after this many generations without improvement"""
    grace_s: float = Field(default=60.0, ge=0, le=7 * 86_400)
    """seconds after the deadline at which a generation is cut short"""

    def given(self) -> dict[str, Any]:
        """Return the conditions that the user gave, by their names."""
        return self.model_dump(exclude_unset=True, exclude_none=True)

    @property
    def budget(self) -> BudgetLimits:
        """Limits for the budget, which checks them before each request."""
        periods = {period: getattr(self, f"{period}_budget_usd") for period in PERIODS}
        return BudgetLimits(
            night_usd=self.budget_usd,
            total_usd=self.total_budget_usd,
            tokens=self.max_tokens,
            period_usd={period: usd for period, usd in periods.items() if usd is not None},
        )

    def with_deadline(self, deadline: datetime | None) -> StopConditions:
        """Return the conditions of one night."""
        return StopConditions(**self.given(), until=deadline)


def flag_of(condition: str) -> str:
    """Return the flag of a stop condition, without its dashes: `total-budget` for `total_budget_usd`."""
    return condition.removesuffix("_usd").removesuffix("_s").replace("_", "-")


class StopConditions(NightlyConditions):
    """Limits of a night, any of which ends it; without any it runs until it is interrupted."""

    until: datetime | None = None
    """stop at a time of day, at a date and time, or after a duration: 07:00, 7h30m"""

    def with_optimum(self, optimum: float | None) -> StopConditions:
        """Return the conditions of a night that ends at a proven optimum, too, which nothing can beat."""
        target = optimum if self.target is None else self.target
        return self.model_copy(update={"target": target})

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
        at = f"%Y-%m-%d %H:%M{':%S' if self.until and self.until.second else ''}"
        until = [f"until {self.until.astimezone(UTC):{at}} UTC"] if self.until else []
        return ", ".join(until + limits_text(self.model_dump(exclude={"grace_s"}))) or "until Ctrl-C"

    def after(self, used: Mapping[str, float]) -> StopConditions:
        """Return what is left of the limits of a night after so much of each, by the names of the conditions."""
        limits = {name: getattr(self, name) for name in used}
        left = {name: max(0, limit - used[name]) for name, limit in limits.items() if limit is not None}
        return self.model_copy(update=left)


def limits_text(limits: Mapping[str, Any]) -> list[str]:
    """Return the limits of a night that are set, other than its deadline, in words such as `budget 5`."""
    given = {name: value for name, value in limits.items() if value is not None and name != "until"}
    values = {name: value if isinstance(value, str) else _number_text(value) for name, value in given.items()}
    return [f"{name.removesuffix('_usd').replace('_', ' ')} {value}" for name, value in values.items()]


def _number_text(value: float) -> str:
    """Return a limit in the digits that scores are compared in: what rounding leaves open is not shown."""
    return f"{value:,}" if isinstance(value, int) else f"{value:,.{_DIGITS}g}"


@dataclass(frozen=True, kw_only=True)
class Tally:
    """Counts of a night so far, compared with the stop conditions between two generations.

    Attributes:
        generations: Generations of full length; one that ended early is a part of one.
        usual_generation_s: Seconds that the latest generations took, without pauses.
        is_exhausted: Whether the rest of the budget does not cover the next request.
        meets_target: Whether a program meets the conditions of the target; `None` where it is a score.
        period_usd: USD of all runs of the history in each period that has a limit.
    """

    since: datetime
    now: datetime
    best: float
    generations: float = 0
    samples: int = 0
    tokens: int = 0
    cost_usd: float = 0.0
    total_usd: float = 0.0
    generations_since_best: float = 0
    usual_generation_s: float = 0.0
    is_exhausted: bool = False
    interrupted: bool = False
    meets_target: bool | None = None
    period_usd: Mapping[str, float] = field(default_factory=dict)

    def with_ahead(self, generations: float, samples: int) -> Tally:
        """Return the tally as if generations under way were done, with so many samples."""
        return replace(
            self,
            generations=self.generations + generations,
            samples=self.samples + samples,
            usual_generation_s=self.usual_generation_s * (1 + generations),
        )


@dataclass(frozen=True)
class StopRule:
    """A stop condition.

    Attributes:
        field: Its field of `StopConditions`.
        reason: Reason that a night ends with.
        done: Returns the count that ends the night once it reaches the limit.
        is_spending: Whether requests are refused near the limit, before it is reached.
        has_share: Whether the share that is done tells how much of a night is over.
    """

    field: str
    reason: StopReason
    done: Callable[[Tally], float]
    is_spending: bool = False
    has_share: bool = True

    def limit(self, conditions: StopConditions) -> float | None:
        """Return its limit; a time as seconds since 1970."""
        value = getattr(conditions, self.field)
        if isinstance(value, str):
            return 1.0  # conditions that are met or not
        return value.timestamp() if isinstance(value, datetime) else value


RULES = (
    StopRule(
        "target",
        StopReason.TARGET,
        lambda tally: tally.best if tally.meets_target is None else float(tally.meets_target),
        has_share=False,
    ),
    StopRule("generations", StopReason.GENERATIONS, lambda tally: tally.generations),
    StopRule("max_samples", StopReason.SAMPLES, lambda tally: tally.samples),
    StopRule("patience", StopReason.PATIENCE, lambda tally: tally.generations_since_best, has_share=False),
    StopRule("budget_usd", StopReason.BUDGET, lambda tally: tally.cost_usd, is_spending=True),
    StopRule("total_budget_usd", StopReason.BUDGET, lambda tally: tally.total_usd, is_spending=True),
    StopRule("day_budget_usd", StopReason.BUDGET, lambda tally: tally.period_usd.get("day", 0.0), is_spending=True),
    StopRule("week_budget_usd", StopReason.BUDGET, lambda tally: tally.period_usd.get("week", 0.0), is_spending=True),
    StopRule("month_budget_usd", StopReason.BUDGET, lambda tally: tally.period_usd.get("month", 0.0), is_spending=True),
    StopRule("max_tokens", StopReason.TOKENS, lambda tally: tally.tokens, is_spending=True),
    StopRule(
        "until",
        StopReason.DEADLINE,
        # Reached when a generation that takes as long as the latest ones would end after it.
        lambda tally: tally.now.timestamp() + tally.usual_generation_s,
        has_share=False,  # a time has no share of its own; see `share_done`
    ),
)
"""All stop conditions, in the order in which they are looked at."""

SPENDING = frozenset(rule.reason for rule in RULES if rule.is_spending)
"""Reasons after which nothing more is bought, but what is bought is used."""

USES_WHAT_IS_BOUGHT = SPENDING | {StopReason.DEADLINE}
"""Reasons after which what is bought is used: until the deadline is over, too."""


def reason_to_stop(conditions: StopConditions, tally: Tally) -> StopReason | None:
    """Return the first stop condition that is met, if any."""
    if tally.interrupted:
        return StopReason.INTERRUPTED
    given = [(rule, limit) for rule in RULES if (limit := rule.limit(conditions)) is not None]
    for rule, limit in given:
        if rule.done(tally) >= limit - SLACK * rule.is_spending or (rule.is_spending and tally.is_exhausted):
            return rule.reason
    return None


def share_done(conditions: StopConditions, tally: Tally) -> float:
    """Return how much of a night is over by the stop condition nearest to its limit, 0 to 1; 0 without limits."""
    shares = [rule.done(tally) / limit for rule in RULES if rule.has_share and (limit := rule.limit(conditions))]
    if conditions.until is not None:
        # A night that begins after its deadline is over at once.
        planned_s = max((conditions.until - tally.since).total_seconds(), 1e-9)
        shares.append((tally.now - tally.since).total_seconds() / planned_s)
    return min(1.0, max(shares, default=0.0))
