"""Send a few real prompts to each model before a night, to estimate the night's speed and cost."""

from __future__ import annotations

import ipaddress
import math
import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from urllib.parse import urlsplit

from overnight.schemas.algorithm import Plan
from overnight.schemas.completion_source import Answer, CompletionSource, Record, Sample, answer_in_thread
from overnight.schemas.operators import Operator
from overnight.schemas.problem import Problem
from overnight.schemas.program import Completion, Program, Prompt
from overnight.schemas.sampling_settings import Model, Sampling
from overnight.tasks.sample.budget import Budget, BudgetLimits
from overnight.tasks.sample.completion_sources import requests_of
from overnight.tasks.sample.gateway import Gateway
from overnight.tasks.sample.prompts import build_prompts
from overnight.tasks.sample.provider import count_tokens, price_of, takes_n
from overnight.tasks.sample.providers import DEFAULT_COMPLETION_TOKENS
from overnight.tasks.sample.sampler import to_candidates

_FEW = 3
"""Prompts that are sent to a model unless it is asked how many it answers at once."""

_MOST_AT_ONCE = 16
"""Most requests at once that are tried."""

_LEAST_GAIN = 1.25
"""Rise of the completions per second below which a server is not asked for more at once: twice is what it could be."""

_LONGEST_S = 60.0
"""Seconds of one step after which a slow server is asked no more."""


@dataclass(frozen=True, slots=True)
class Probe:
    """Completions of one model, and the speed and cost that they imply.

    Attributes:
        model: The model; its fallbacks are not used.
        completions: Completions, at least one of each prompt; the first prompt has as many as in a night.
        errors: Error of each completion without a program.
        samples_per_request: Samples that a request of a night brings.
        completions_per_second: Most completions per second that its server brought, with several requests at once;
            `None` if that was not measured. Several samples of one request are not assumed to take less.
        most_at_once: Number of requests at once at which it was measured.
    """

    model: Model
    completions: tuple[Completion, ...]
    errors: tuple[str, ...]
    samples_per_request: float
    completions_per_second: float | None = None
    most_at_once: int = 0

    @property
    def tokens_in(self) -> float:
        """Mean input tokens of a request, of whose completions one carries them."""
        tokens = [completion.tokens_in for completion in self.completions if completion.tokens_in]
        return sum(tokens) / max(1, len(tokens))

    @property
    def tokens_out(self) -> float:
        """Mean output tokens of a completion."""
        return sum(completion.tokens_out for completion in self.completions) / len(self.completions)

    @property
    def seconds(self) -> float:
        """Mean seconds of a completion."""
        return sum(completion.latency_s for completion in self.completions) / len(self.completions)

    @property
    def usd(self) -> float | None:
        """Cost of all completions in USD; `None` if the price is unknown."""
        costs = [completion.cost_usd for completion in self.completions if completion.cost_usd is not None]
        return sum(costs) if len(costs) == len(self.completions) else None

    @property
    def tokens_per_sample(self) -> float:
        """Input and output tokens of a sample in a night, where the samples of a request share its prompt."""
        return self.tokens_in / self.samples_per_request + self.tokens_out

    @property
    def usd_per_sample(self) -> float | None:
        """Cost of a sample in a night, in USD; `None` if the price is unknown."""
        price = price_of(self.model)
        if self.usd is None or price is None:
            return None
        tokens_in = sum(completion.tokens_in for completion in self.completions) / len(self.completions)
        return self.usd / len(self.completions) - price.input_usd * (
            tokens_in - self.tokens_in / self.samples_per_request
        )


def build_probe_prompts(problem: Problem, model: Model, count: int) -> list[Prompt]:
    """Build prompts as long as those of a night, with copies of the start program as parents.

    Its score is the one that the problem declares, or 0.
    """
    settings, start = problem.settings, problem.specification.start_body
    parents = tuple(
        Program("", start, (), settings.known.start or 0.0) for _ in range(settings.search.algorithm.parents)
    )
    search = settings.search.model_copy(update={"prompts": count})
    alone = settings.model_copy(update={"search": search, "sampling": only(settings.sampling, model)})
    is_asked = model.style == "chat" and Operator.IMPROVE in search.chosen_operators
    plans = dict.fromkeys(range(count), Plan("0", parents, operator=Operator.IMPROVE if is_asked else None))
    return build_prompts(plans, replace(problem, settings=alone), seed=0, generation=0)


def max_usd(prompts: Sequence[Prompt], model: Model, sampling: Sampling) -> float | None:
    """Return the cost of the prompts in USD if every completion has the maximum length; `None` if it is unknown."""
    price = price_of(model)
    if price is None:
        return None
    tokens_out = sampling.max_tokens or DEFAULT_COMPLETION_TOKENS
    requests = requests_of(_wanted(prompts), takes_n)
    return sum(
        price.cost_usd(count_tokens(model.name, one[0].prompt.whole_text), len(one) * tokens_out) for one in requests
    )


def probe(
    problem: Problem,
    model: Model,
    prompts: Sequence[Prompt],
    limits: BudgetLimits,
    *,
    in_steps: bool = False,
    tell: Callable[[int], None] = lambda _: None,
) -> Probe | None:
    """Request one completion of each prompt from a model, and of the first one as many as in a night.

    Args:
        problem: The problem.
        model: The model.
        prompts: One prompt for each completion.
        limits: Budget.
        in_steps: Whether, after a first one, 1, then 2, 4 and more completions are requested at once, for as long as
            the server answers more in a second than before; by default, all are.
        tell: Called with the number of prompts that have a completion so far, whenever one arrives.

    Returns:
        The probe; `None` if the budget is spent before the first completion.

    Raises:
        ProviderError: If the model does not respond.
    """
    sampling = only(problem.settings.sampling, model)
    budget = Budget()
    budget.limits = limits
    gateway = Gateway(sampling, budget=budget)
    completions: list[Completion] = []
    pace = _Pace()

    def record(arrived: Sequence[Completion]) -> None:
        budget.record(arrived)
        completions.extend(arrived)
        tell(len({completion.prompt for completion in completions}))

    parts = _parts(prompts) if in_steps else [prompts]
    if in_steps:  # the first answer takes longer: connections are made, and servers load their models
        gateway.sample(_wanted(parts.pop(0)), record)
    for part in parts:
        arrived = gateway.sample(_wanted(part), record)
        if not pace.rises([completion for completion in arrived if completion.sample == 0]):
            break
    if not completions:
        return None
    completions.sort(key=lambda completion: (completion.prompt, completion.sample))
    asked = [prompt for prompt in prompts if prompt.index <= completions[-1].prompt]
    candidates = to_candidates(asked, completions, problem)
    errors = tuple(candidate.verdict.error for candidate in candidates if candidate.verdict is not None)
    first = [completion for completion in completions if completion.prompt == completions[0].prompt]
    samples_per_request = len(first) / max(1, sum(completion.tokens_in > 0 for completion in first))
    measured = (pace.per_second or None, pace.at_once) if is_local(model) else (None, 0)
    return Probe(model, tuple(completions), errors, samples_per_request, *measured)


@dataclass
class _Pace:
    """The most completions per second so far, and how many were asked for at once then."""

    per_second: float = 0.0
    at_once: int = 0

    def rises(self, completions: Sequence[Completion]) -> bool:
        """Take in completions that were requested at once; return whether more at once may bring more in a second."""
        if not completions:
            return False
        begin = min(completion.asked_at for completion in completions)
        ends = (completion.asked_at + timedelta(seconds=completion.latency_s) for completion in completions)
        seconds = max(1e-3, (max(ends) - begin).total_seconds())
        before, now = self.per_second, len(completions) / seconds
        if now > before:
            self.per_second, self.at_once = now, len(completions)
        return now > _LEAST_GAIN * before and seconds < _LONGEST_S


def _wanted(prompts: Sequence[Prompt]) -> list[Sample]:
    """Return a sample of each prompt; of the first one all, if they are one request: some servers bring fewer of it."""
    return [
        Sample(prompt, number)
        for prompt in prompts
        for number in range(prompt.samples if not prompt.index and takes_n(prompt.model) else 1)
    ]


def _parts(prompts: Sequence[Prompt]) -> list[Sequence[Prompt]]:
    """Return the prompts in parts of 1, 1, 2, 4 and so on; the last one may be shorter."""
    starts = [2**power for power in range((len(prompts) - 1).bit_length())]
    return [prompts[:1], *(prompts[start : 2 * start] for start in starts)]


def probe_size(model: Model, in_flight: int) -> int:
    """Return how many prompts tell enough about a model: for a local server, up to the samples in flight in a night."""
    return 2 ** min(in_flight, _MOST_AT_ONCE).bit_length() if is_local(model) else _FEW


def is_local(model: Model) -> bool:
    """Return whether a model's server is on this machine or in its network, where requests cost nothing."""
    host = urlsplit(model.api_base or "").hostname or ""
    try:
        return ipaddress.ip_address(host).is_private
    except ValueError:
        return bool(host) and ("." not in host or host.endswith((".local", ".internal", ".lan")))


def only(sampling: Sampling, model: Model) -> Sampling:
    """Return the settings with this model only, without its fallbacks."""
    return sampling.model_copy(update={"models": (model.model_copy(update={"fallbacks": ()}),)})


def mean_usd_per_sample(probes: Sequence[Probe]) -> float | None:
    """Return the cost of a sample in USD, averaged over the models by weight; `None` if a price is unknown."""
    costs = [(each.usd_per_sample, share) for each, share in _shares(probes)]
    known = [cost * share for cost, share in costs if cost is not None]
    return sum(known) if len(known) == len(costs) else None


def most_per_second(probes: Sequence[Probe]) -> float:
    """Return the most samples per second that rate limits, and local servers that were measured, allow."""
    rates = [math.inf]
    for each, share in _shares(probes):
        if each.completions_per_second is not None:
            rates.append(each.completions_per_second / share)
        if each.model.rpm:
            rates.append(each.model.rpm / 60 * each.samples_per_request / share)
        if each.model.tpm:
            rates.append(each.model.tpm / 60 / each.tokens_per_sample / share)
    return min(rates)


def mean_latency_s(probes: Sequence[Probe]) -> float:
    """Return the mean seconds of a request, averaged over the models by weight."""
    return sum(each.seconds * share for each, share in _shares(probes))


class DelayedModel:
    """A `CompletionSource` that passes samples on, after the seconds that the requests of other models took.

    Args:
        answers: Source of their answers.
        probes: Probes of these models, one of which is drawn by weight for each prompt.
        faster: Number by which all seconds are divided.

    Attributes:
        waiting: Number of samples that wait for their answer.
    """

    def __init__(self, answers: CompletionSource, probes: Sequence[Probe], *, faster: float = 1.0) -> None:
        self.waiting = 0
        self._answers = answers
        self._probes = [each for each, _ in _shares(probes)]
        self._weights = [share for _, share in _shares(probes)]
        self._faster = faster
        self._random = random.Random(0)
        self._lock = threading.Lock()

    def submit(self, wanted: Sequence[Sample], record: Record) -> Answer:
        """See `CompletionSource.submit`."""
        delays = self._draw(wanted)
        return answer_in_thread(lambda answer: self._answer(answer, delays, record), "overnight-delayed")

    def _draw(self, wanted: Sequence[Sample]) -> list[tuple[float, Sample]]:
        """Return the samples with their seconds, the first to be answered first; those of one request have the same."""
        with self._lock:
            chosen = {sample.prompt.index: self._random.choices(self._probes, self._weights)[0] for sample in wanted}
            seconds = {
                (index, number if probe.samples_per_request == 1 else 0): self._random.choice(probe.completions)
                for index, probe in chosen.items()
                for number in range(max(sample.number for sample in wanted) + 1)
            }
            self.waiting += len(wanted)
        delays = list[tuple[float, Sample]]()
        for sample in wanted:
            index = sample.prompt.index
            number = sample.number if chosen[index].samples_per_request == 1 else 0
            delays.append((seconds[index, number].latency_s / self._faster, sample))
        return sorted(delays, key=lambda delay: delay[0])

    def _answer(self, answer: Answer, delays: Sequence[tuple[float, Sample]], record: Record) -> list[Completion]:
        completions, begin, left = list[Completion](), time.monotonic(), len(delays)
        try:
            for seconds, sample in delays:
                time.sleep(max(0.0, begin + seconds - time.monotonic()))
                if answer.cancelled():
                    break
                completions += self._answers.submit([sample], record).result()
                left -= 1
                with self._lock:
                    self.waiting -= 1
        finally:
            with self._lock:
                self.waiting -= left
        return sorted(completions, key=lambda one: (one.prompt, one.sample))


def _shares(probes: Sequence[Probe]) -> list[tuple[Probe, float]]:
    """Return each probe with its model's share of the samples."""
    total = sum(each.model.weight for each in probes)
    return [(each, each.model.weight / total) for each in probes]
