"""Test the contract of every completion source: models one by one and in batches, the tuner, both, and a record."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from random import Random
from typing import Any

import pytest

from overnight.schemas.completion_source import CompletionSource, PendingBatch, Sample
from overnight.schemas.errors import TerminalProviderError, TransientProviderError
from overnight.schemas.outcome import Outcome, Verdict
from overnight.schemas.program import TUNER, Completion, Prompt
from overnight.schemas.sampling_settings import Sampling
from overnight.schemas.settings import Tuner
from overnight.tasks.program.specification import read_specification
from overnight.tasks.sample import batch_job, endpoint
from overnight.tasks.sample.batch_job import BatchJob
from overnight.tasks.sample.budget import Budget, BudgetLimits
from overnight.tasks.sample.codecs.functions import parse
from overnight.tasks.sample.completion_sources import Key, RecordedCompletions, RoutedCompletions
from overnight.tasks.sample.gateway import Gateway, await_cancellation
from overnight.tasks.sample.providers import rough_tokens
from overnight.tasks.tune.source import Inputs, TunedProblem, TunerSource
from tests.provider import Answer, Provider

TEXT = "def f_v0(x):\n    return x + {}\n\ndef f_v1(x):\n"
LONG_S = 60.0
SKELETON = read_specification(
    "import funsearch\n@funsearch.run\ndef evaluate(n): return f(n)\n@funsearch.evolve\ndef f(x):\n    return x + 2\n",
    "f",
)


class Store:
    """A store of one generation's completions, which also counts how often each was stored."""

    def __init__(self, budget: Budget | None = None) -> None:
        self.completions: list[Completion] = []
        self._budget = budget

    def known(self) -> dict[Key, Completion]:
        return {(one.prompt, one.sample, one.prompt_hash): one for one in self.completions}

    def record(self, completions: Sequence[Completion]) -> None:
        if self._budget:
            self._budget.record(completions)
        self.completions += completions


class PendingBatches(dict[str, PendingBatch]):
    """Pending batches in memory."""

    def keep(self, pending_batch: PendingBatch) -> None:
        self[pending_batch.key] = pending_batch

    def drop(self, pending_batch: PendingBatch) -> None:
        self.pop(pending_batch.key)

    def all(self) -> list[PendingBatch]:
        return list(self.values())


@dataclass
class Subject:
    """A source, and what a test sees of it.

    Attributes:
        source: The completion source.
        store: Store of its completions.
        wanted: The samples to ask for.
        asked: Returns how many samples were asked for so far.
        has_begun: Set once the first request has arrived, where `held` is given.
    """

    source: CompletionSource
    store: Any
    wanted: list[Sample]
    asked: Callable[[], int]
    has_begun: threading.Event = field(default_factory=threading.Event)
    record: Callable[[Sequence[Completion]], None] = lambda _: None

    def submit(self, wanted: Sequence[Sample] | None = None) -> Future[list[Completion]]:
        return self.source.submit(self.wanted if wanted is None else wanted, self.record)


Make = Callable[..., Subject]
"""Makes a source: `answers` limits how many of the samples it answers, `fails` is an HTTP status, `held` is an event
that no answer precedes."""


def samples(model: str, style: str = "chat", prompts: int = 3, each: int = 2) -> list[Sample]:
    made = [Prompt(n, "0", (), model, style, TEXT.format(n), tuple(range(each))) for n in range(prompts)]
    return [Sample(prompt, number) for prompt in made for number in range(each)]


def of_gateway(
    model: dict[str, Any],
    asked: Callable[[], int] | None = None,
    *,
    answers: int | None = None,
    one_at_a_time: bool = False,
) -> Subject:
    """Return the gateway to one model; `asked` counts its requests, by default those whose answers are stored."""
    store = Store()
    count = asked or (lambda: len(store.completions))
    concurrency = 1 if one_at_a_time or answers is not None else 4
    settings = Sampling.model_validate({"models": [model], "attempts": 1, "concurrency": concurrency})
    gateway = Gateway(settings, may_ask=lambda: answers is None or count() < answers)
    return Subject(gateway, store, samples(model["name"], model.get("style", "chat")), count, record=store.record)


def script(subject: Callable[[], Subject], fails: int | None, held: threading.Event | None) -> Callable[..., Any]:
    """Return what a provider on loopback does with the n-th request."""

    def answer(number: int, request: dict[str, Any]) -> Answer | None:
        subject().has_begun.set()
        if held is not None:
            held.wait(LONG_S)
        return Answer({"error": {"message": "no"}}, status=fails) if fails and number == 0 else None

    return answer


@pytest.fixture
def make_litellm(provider: Provider) -> Make:
    def make(answers: int | None = None, fails: int | None = None, held: threading.Event | None = None) -> Subject:
        model = {"name": "openai/test", "api_base": provider.api_base}
        count = lambda: sum(request.get("n", 1) for request in provider.requests)  # noqa: E731
        subject = of_gateway(model, count, answers=answers, one_at_a_time=bool(fails or held))
        provider.script = script(lambda: subject, fails, held)
        return subject

    return make


@pytest.fixture
def make_builtin() -> Make:
    return lambda answers=None: of_gateway({"name": "builtin/mutate", "style": "completion"}, answers=answers)


@pytest.fixture
def make_recorded() -> Make:
    def make(answers: int | None = None) -> Subject:
        wanted = samples("openai/test")
        store = Store()
        store.record([completion_of(sample) for sample in wanted[:answers]])
        return Subject(RecordedCompletions(store.completions), store, wanted, lambda: 0)

    return make


def completion_of(sample: Sample) -> Completion:
    return Completion(
        sample.prompt.index,
        sample.number,
        sample.prompt.hash,
        text="",
        model="openai/test",
        tokens_in=1,
        tokens_out=1,
        cost_usd=0.0,
        latency_s=0.0,
        finish_reason="stop",
        asked_at=datetime.now(UTC),
    )


@pytest.fixture
def make_batch(provider: Provider) -> Iterator[Make]:
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
        job = BatchJob(sampling, {1: wanted}, lambda _: store, PendingBatches(), budget, lambda: True, lambda _: None)
        jobs.append(job)
        return Subject(job.source(1), store, wanted, lambda: sum(map(len, provider.batches.sent)), has_begun=has_begun)

    yield make
    for job in jobs:
        job.give_up()


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


@pytest.fixture
def make_tuner() -> Make:
    def make(answers: int | None = None, held: threading.Event | None = None) -> Subject:
        store, has_begun = Store(), threading.Event()
        source = of_tuner(store, answers, held, has_begun)
        asked = lambda: len(store.completions)  # noqa: E731
        return Subject(source, store, samples(TUNER), asked, has_begun, store.record)

    return make


@pytest.fixture
def make_routed(make_litellm: Make) -> Make:
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


ALL = ("make_litellm", "make_builtin", "make_recorded", "make_batch", "make_tuner", "make_routed")
LIMITED = ("make_litellm", "make_builtin", "make_recorded", "make_batch", "make_tuner")
ASKING = ("make_litellm", "make_batch")
FAILURES = [(401, TerminalProviderError), (503, TransientProviderError)]


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "test")
    monkeypatch.setattr(endpoint, "FIRST_WAIT_S", 0.01)
    monkeypatch.setattr(batch_job, "FIRST_POLL_S", 0.01)


@pytest.fixture
def make(request: pytest.FixtureRequest) -> Make:
    return request.getfixturevalue(request.param)


def place(completion: Completion) -> tuple[int, int]:
    return completion.prompt, completion.sample


@pytest.mark.parametrize("make", ALL, indirect=True)
def test_each_wanted_sample_is_answered_once_in_order_of_prompt_and_sample(make: Make):
    subject = make()
    shuffled = Random(1).sample(subject.wanted, len(subject.wanted))
    answered = subject.submit(shuffled).result(LONG_S)
    assert [place(completion) for completion in answered] == [(s.prompt.index, s.number) for s in subject.wanted]
    assert [c.prompt_hash for c in answered] == [s.prompt.hash for s in subject.wanted]
    assert subject.asked() in (0, len(subject.wanted))


@pytest.mark.parametrize("make", ALL, indirect=True)
def test_what_is_returned_was_recorded_before_and_once(make: Make):
    subject = make()
    answered = subject.submit().result(LONG_S)
    assert sorted(subject.store.completions, key=place) == answered


@pytest.mark.parametrize("make", LIMITED, indirect=True)
def test_samples_without_an_answer_are_left_out(make: Make):
    subject = make(answers=2)
    answered = subject.submit().result(LONG_S)
    assert [place(completion) for completion in answered] == [(s.prompt.index, s.number) for s in subject.wanted[:2]]
    assert len(subject.store.completions) == 2


@pytest.mark.parametrize("make", ALL, indirect=True)
def test_nothing_wanted_is_answered_with_nothing(make: Make):
    assert make().submit([]).result(LONG_S) == []


@pytest.mark.parametrize(
    "make", ["make_litellm", "make_builtin", "make_recorded", "make_tuner", "make_routed"], indirect=True
)
def test_nothing_that_is_not_wanted_is_asked_for(make: Make):
    subject = make()
    (answered,) = subject.submit(subject.wanted[1:2]).result(LONG_S)
    assert place(answered) == (subject.wanted[1].prompt.index, subject.wanted[1].number)
    assert subject.asked() <= 1


@pytest.mark.parametrize("make", [*ASKING, "make_tuner", "make_routed"], indirect=True)
def test_cancelling_sends_no_further_request_and_ends_the_wait(make: Make):
    held = threading.Event()
    subject = make(held=held)
    answer = subject.submit()
    assert subject.has_begun.wait(LONG_S)
    asked = subject.asked()
    assert answer.cancel()
    with pytest.raises(CancelledError):
        answer.result(LONG_S)
    held.set()
    await_cancellation()
    assert subject.asked() == asked
    assert subject.store.completions == []


@pytest.mark.parametrize("make", ASKING, indirect=True)
@pytest.mark.parametrize(("status", "error"), FAILURES)
def test_a_failure_has_a_type_that_says_whether_a_retry_may_help(make: Make, status: int, error: type[Exception]):
    subject = make(fails=status)
    if isinstance(subject.source, batch_job.BatchCompletionSource):
        error = TransientProviderError  # a batch that failed says no more
    with pytest.raises(error) as failed:
        subject.submit().result(LONG_S)
    assert "test" in str(failed.value), "it names the model"
    stored = len(subject.store.completions)
    asked_at_once = subject.wanted[0].prompt.samples
    assert stored == 0 or len(subject.wanted) - asked_at_once <= stored < len(subject.wanted), (
        "what arrived is recorded"
    )
