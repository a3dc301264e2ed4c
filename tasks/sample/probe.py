"""A few real prompts before a night: what an answer of each model takes, and whether it holds a program."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from schemas.algorithm import Plan
from schemas.problem import Problem
from schemas.program import Completion, Program, Prompt
from schemas.settings import Model, Sampling, Search
from tasks.sample.budget import Budget, BudgetLimits
from tasks.sample.gateway import Gateway, Sample
from tasks.sample.prompts import build_prompts
from tasks.sample.provider import count_tokens, price_of, takes_n
from tasks.sample.sampling_task import to_candidates

_LIKELY_TOKENS = 4096


@dataclass(frozen=True, slots=True)
class Probe:
    """What one model answered.

    Attributes:
        model: Who was asked; no fallback.
        completions: At least one; each of a prompt of its own.
        errors: Why an answer holds no program; of those that hold none.
        together: Samples that a night asks for in one request.
    """

    model: Model
    completions: tuple[Completion, ...]
    errors: tuple[str, ...]
    together: int

    @property
    def tokens_in(self) -> float:
        """Mean of an answer."""
        return sum(one.tokens_in for one in self.completions) / len(self.completions)

    @property
    def tokens_out(self) -> float:
        """Mean of an answer."""
        return sum(one.tokens_out for one in self.completions) / len(self.completions)

    @property
    def seconds(self) -> float:
        """Mean of a request."""
        return sum(one.latency_s for one in self.completions) / len(self.completions)

    @property
    def usd(self) -> float | None:
        """What all answers cost; `None` where the price is unknown."""
        costs = [one.cost_usd for one in self.completions if one.cost_usd is not None]
        return sum(costs) if len(costs) == len(self.completions) else None

    @property
    def tokens_a_sample(self) -> float:
        """In and out, where the samples of a prompt share its tokens."""
        return self.tokens_in / self.together + self.tokens_out

    @property
    def usd_a_sample(self) -> float | None:
        """Likewise; `None` where the price is unknown."""
        price = price_of(self.model)
        if self.usd is None or price is None:
            return None
        return self.usd / len(self.completions) - price.input_usd * (self.tokens_in - self.tokens_in / self.together)


def prompts_for(problem: Problem, model: Model, count: int) -> list[Prompt]:
    """Prompts as long as a night's: as many versions of the start program as a prompt has parents."""
    search, start = problem.settings.search, problem.specification.start_body
    parents = tuple(Program("", start, (), 0.0) for _ in range(search.algorithm.parents))
    return build_prompts(
        [Plan("0", parents)] * count,
        problem.specification,
        _alone(problem.settings.sampling, model),
        statement=problem.settings.statement,
        samples=1,
        seed=0,
        generation=0,
    )


def most_usd(prompts: Sequence[Prompt], model: Model, sampling: Sampling) -> float | None:
    """What they cost if every answer is as long as it may be; `None` where the price is unknown."""
    price = price_of(model)
    if price is None:
        return None
    longest = sampling.max_tokens or _LIKELY_TOKENS
    return sum(price.of(count_tokens(model.name, prompt.text), longest) for prompt in prompts)


def probe(problem: Problem, model: Model, prompts: Sequence[Prompt], limits: BudgetLimits) -> Probe | None:
    """Asks a model.

    Returns:
        `None` where the budget is spent before the first answer.

    Raises:
        ProviderError: If it does not answer.
    """
    sampling = _alone(problem.settings.sampling, model)
    budget = Budget()
    budget.limits = limits
    gateway = Gateway(sampling, budget=budget)
    completions = gateway.sample([Sample(prompt, 0) for prompt in prompts], budget.bought)
    if not completions:
        return None
    candidates = to_candidates(prompts, completions, problem.specification)
    errors = tuple(one.verdict.error for one in candidates if one.verdict is not None)
    together = problem.settings.search.samples if takes_n(model.name) else 1
    return Probe(model, tuple(completions), errors, together)


def _alone(sampling: Sampling, model: Model) -> Sampling:
    return sampling.model_copy(update={"models": (model.model_copy(update={"fallbacks": ()}),)})


def mean_usd(probes: Sequence[Probe]) -> float | None:
    """What a sample costs, each model asked by its weight; `None` where a price is unknown."""
    costs = [(one.usd_a_sample, share) for one, share in _shares(probes)]
    known = [cost * share for cost, share in costs if cost is not None]
    return sum(known) if len(known) == len(costs) else None


def samples_a_second(probes: Sequence[Probe], search: Search, sampling: Sampling) -> float:
    """How many the models answer, with as many requests in flight as the settings allow, and the limits a minute."""
    shares = _shares(probes)
    seconds = sum(one.seconds / one.together * share for one, share in shares)
    requests = sum(search.prompts * search.samples / one.together * share for one, share in shares)
    rates = [min(sampling.concurrency, max(1.0, requests)) / max(seconds, 1e-6)]
    rates += [one.model.rpm / 60 * one.together / share for one, share in shares if one.model.rpm]
    rates += [one.model.tpm / 60 / one.tokens_a_sample / share for one, share in shares if one.model.tpm]
    return min(rates)


def _shares(probes: Sequence[Probe]) -> list[tuple[Probe, float]]:
    weights = sum(one.model.weight for one in probes)
    return [(one, one.model.weight / weights) for one in probes]
