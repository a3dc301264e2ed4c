"""Our completion sources pass the contract: models one by one and in batches, the tuner, both, and a record."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import replace

import pytest

from overnight.schemas.completion_source import PendingBatch
from overnight.schemas.outcome import Outcome, Verdict
from overnight.schemas.program import TUNER
from overnight.schemas.sampling_settings import Sampling
from overnight.schemas.settings import Tuner
from overnight.tasks.program.read_specification import read_specification
from overnight.tasks.sample.batch_job import BatchJob
from overnight.tasks.sample.budget import Budget, BudgetLimits
from overnight.tasks.sample.codecs.functions import parse
from overnight.tasks.sample.completion_sources import RecordedCompletions, RoutedCompletions
from overnight.tasks.sample.providers import rough_tokens
from overnight.tasks.tune.source import Inputs, TunedProblem, TunerSource
from overnight.testing.completion_sources import (
    LONG_S,
    Cancelled,
    CompletionSourceContract,
    Failing,
    Limited,
    Make,
    ProviderContract,
    SingleSamples,
    Store,
    Subject,
    completion_of,
    of_gateway,
    samples,
    script,
)
from overnight.testing.fake_provider import Provider

SKELETON = read_specification(
    "import funsearch\n@funsearch.run\ndef evaluate(n): return f(n)\n@funsearch.evolve\ndef f(x):\n    return x + 2\n",
    "f",
)


class PendingBatches(dict[str, PendingBatch]):
    """Pending batches in memory."""

    def keep(self, pending_batch: PendingBatch) -> None:
        self[pending_batch.key] = pending_batch

    def drop(self, pending_batch: PendingBatch) -> None:
        self.pop(pending_batch.key)

    def all(self) -> list[PendingBatch]:
        return list(self.values())


@pytest.fixture
def make_litellm(provider: Provider) -> Make:
    def make(answers: int | None = None, fails: int | None = None, held: threading.Event | None = None) -> Subject:
        model = {"name": "openai/test", "api_base": provider.api_base}
        count = lambda: sum(request.get("n", 1) for request in provider.requests)  # noqa: E731
        subject = of_gateway(model, count, answers=answers, one_at_a_time=bool(fails or held))
        provider.script = script(lambda: subject, fails, held)
        return subject

    return make


class HeldTrials:
    """A `TrialSandbox` that gives no verdict before an event."""

    def __init__(self, held: threading.Event | None, has_begun: threading.Event) -> None:
        self._held = held
        self._has_begun = has_begun

    def has(self, inputs: Inputs) -> bool:
        return inputs == "train"

    def submit(self, body: str, inputs: Inputs) -> Future[Verdict]:
        future: Future[Verdict] = Future()
        self._has_begun.set()
        if self._held is None:
            future.set_result(Verdict(Outcome.SCORED, (float(len(body)),)))
        return future


def of_tuner(
    store: Store, answers: int | None, held: threading.Event | None, has_begun: threading.Event
) -> TunerSource:
    def may_ask() -> bool:
        return answers is None or len(store.completions) < answers

    problem = TunedProblem(SKELETON, lambda text, base: parse(text, SKELETON, 1, base).body)
    return TunerSource(problem, HeldTrials(held, has_begun), Tuner(), may_ask)


class TestLiteLLM(ProviderContract):
    """A model behind LiteLLM."""

    @pytest.fixture
    def make(self, make_litellm: Make) -> Make:
        return make_litellm


class TestBuiltin(CompletionSourceContract, SingleSamples, Limited):
    """The built-in model."""

    @pytest.fixture
    def make(self) -> Make:
        return lambda answers=None: of_gateway({"name": "builtin/mutate", "style": "completion"}, answers=answers)


class TestRecorded(CompletionSourceContract, SingleSamples, Limited):
    """The record of a run."""

    @pytest.fixture
    def make(self) -> Make:
        def make(answers: int | None = None) -> Subject:
            wanted = samples("openai/test")
            store = Store()
            store.record([completion_of(sample) for sample in wanted[:answers]])
            return Subject(RecordedCompletions(store.completions), store, wanted, lambda: 0)

        return make


class TestBatches(CompletionSourceContract, Limited, Cancelled, Failing):
    """A batch job."""

    @pytest.fixture
    def make(self, provider: Provider) -> Iterator[Make]:
        jobs: list[BatchJob] = []

        def make(answers: int | None = None, fails: int | None = None, held: threading.Event | None = None) -> Subject:
            wanted = samples("openai/test", prompts=6, each=1)
            budget = Budget()
            if answers is not None:
                budget.limits = BudgetLimits(tokens=answers * (rough_tokens(wanted[0].prompt.text) + 80))
            if fails:
                provider.batches.end = lambda _: "failed"
            model = {"name": "openai/test", "api_base": provider.api_base}
            sampling = Sampling.model_validate({"models": [model], "attempts": 1, "max_tokens": 80})
            store = Store(budget)
            has_begun = threading.Event()
            provider.batches.seconds = LONG_S if held else 0.0
            provider.batches.created = has_begun.set
            job = BatchJob(
                sampling, {1: wanted}, lambda _: store, PendingBatches(), budget, lambda: True, lambda _: None
            )
            jobs.append(job)
            return Subject(
                job.source(1), store, wanted, lambda: sum(map(len, provider.batches.sent)), has_begun=has_begun
            )

        yield make
        for job in jobs:
            job.give_up()


class TestTuner(CompletionSourceContract, SingleSamples, Limited, Cancelled):
    """The tuner."""

    @pytest.fixture
    def make(self) -> Make:
        def make(answers: int | None = None, held: threading.Event | None = None) -> Subject:
            store, has_begun = Store(), threading.Event()
            source = of_tuner(store, answers, held, has_begun)
            asked = lambda: len(store.completions)  # noqa: E731
            return Subject(source, store, samples(TUNER), asked, has_begun, store.record)

        return make


class TestRouted(CompletionSourceContract, SingleSamples, Cancelled):
    """The tuner and a model, which get the prompts by turns."""

    @pytest.fixture
    def make(self, make_litellm: Make) -> Make:
        """The tuner and a model, which get the prompts by turns."""

        def make(answers: int | None = None, fails: int | None = None, held: threading.Event | None = None) -> Subject:
            models = make_litellm(fails=fails, held=held)
            tuner = of_tuner(models.store, None, held, threading.Event())
            source = RoutedCompletions({TUNER: tuner}, lambda: models.source)
            wanted = [
                replace(one, prompt=replace(one.prompt, model=TUNER)) if one.prompt.index % 2 else one
                for one in models.wanted
            ]
            asked = lambda: len(models.store.completions)  # noqa: E731
            return Subject(source, models.store, wanted, asked, models.has_begun, models.record)

        return make
