"""The number of samples that a run is expected to take, from the stop conditions of its first night."""

from __future__ import annotations

from datetime import datetime

from flows.stop_conditions import StopConditions
from schemas.sampling_settings import Model, Sampling
from schemas.settings import Settings
from tasks.sample.provider import price_of

_TOKENS_IN, _TOKENS_OUT = 3_000, 2_000
"""Usual length of a prompt and of a completion, tokens."""

_SECONDS_PER_COMPLETION = 30.0
"""Usual latency of a completion of this length."""


def expected_samples(conditions: StopConditions, settings: Settings, now: datetime) -> int | None:
    """Return about how many samples the nearest limit of a night allows; `None` if no limit says.

    Args:
        conditions: The stop conditions. A target and patience say nothing about samples.
        settings: Models with their prices and weights, the number of concurrent requests, the size of a generation.
        now: Current time.
    """
    search, sampling = settings.search, settings.sampling
    limits: list[float] = []
    if conditions.max_samples is not None:
        limits.append(conditions.max_samples)
    if conditions.generations is not None:
        limits.append(conditions.generations * search.prompts * search.samples)
    if conditions.max_tokens is not None:
        limits.append(conditions.max_tokens / (_TOKENS_IN + _TOKENS_OUT))
    budgets = [one for one in (conditions.budget_usd, conditions.total_budget_usd) if one is not None]
    if budgets and (usd := _usd_per_sample(sampling)):
        limits.append(min(budgets) / usd)
    if conditions.until is not None:
        seconds = (conditions.until - now).total_seconds()
        limits.append(seconds * sampling.concurrency / _SECONDS_PER_COMPLETION)
    return max(1, round(min(limits))) if limits else None


def _usd_per_sample(sampling: Sampling) -> float:
    """Return the mean cost of a sample in USD, by the models' weights; 0 where no price is known."""
    total = sum(model.weight for model in sampling.models)
    return sum(model.weight / total * _usd(model) for model in sampling.models)


def _usd(model: Model) -> float:
    price = price_of(model)
    return price.cost_usd(_TOKENS_IN, _TOKENS_OUT) if price else 0.0
