"""Test the contract of every completion source: models one by one and in batches, the tuner, both, and a record."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass, field
from datetime import UTC, datetime
from random import Random
from typing import Any

import pytest

from overnight.schemas.completion_source import CompletionSource, Sample
from overnight.schemas.errors import TerminalProviderError, TransientProviderError
from overnight.schemas.program import Completion, Prompt
from overnight.schemas.sampling_settings import Sampling
from overnight.tasks.sample import batch_job, endpoint
from overnight.tasks.sample.budget import Budget
from overnight.tasks.sample.completion_sources import Key
from overnight.tasks.sample.gateway import Gateway, await_cancellation
from overnight.testing.fake_provider import Answer

TEXT = "def f_v0(x):\n    return x + {}\n\ndef f_v1(x):\n"
LONG_S = 60.0


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


FAILURES = [(401, TerminalProviderError), (503, TransientProviderError)]


def place(completion: Completion) -> tuple[int, int]:
    return completion.prompt, completion.sample


class CompletionSourceContract:
    """What every source keeps to; a subclass has the fixture `make`, which makes a `Subject`."""

    @pytest.fixture(autouse=True)
    def _quick(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("OPENAI_API_KEY", "test")
        monkeypatch.setattr(endpoint, "FIRST_WAIT_S", 0.01)
        monkeypatch.setattr(batch_job, "FIRST_POLL_S", 0.01)

    def test_each_wanted_sample_is_answered_once_in_order_of_prompt_and_sample(self, make: Make):
        subject = make()
        shuffled = Random(1).sample(subject.wanted, len(subject.wanted))
        answered = subject.submit(shuffled).result(LONG_S)
        assert [place(completion) for completion in answered] == [(s.prompt.index, s.number) for s in subject.wanted]
        assert [c.prompt_hash for c in answered] == [s.prompt.hash for s in subject.wanted]
        assert subject.asked() in (0, len(subject.wanted))

    def test_what_is_returned_was_recorded_before_and_once(self, make: Make):
        subject = make()
        answered = subject.submit().result(LONG_S)
        assert sorted(subject.store.completions, key=place) == answered

    def test_nothing_wanted_is_answered_with_nothing(self, make: Make):
        assert make().submit([]).result(LONG_S) == []


class SingleSamples:
    """For sources that can be asked for any of the samples."""

    def test_nothing_that_is_not_wanted_is_asked_for(self, make: Make):
        subject = make()
        (answered,) = subject.submit(subject.wanted[1:2]).result(LONG_S)
        assert place(answered) == (subject.wanted[1].prompt.index, subject.wanted[1].number)
        assert subject.asked() <= 1


class Limited:
    """For sources that may answer some of the samples only; their `make` takes `answers`."""

    def test_samples_without_an_answer_are_left_out(self, make: Make):
        subject = make(answers=2)
        answered = subject.submit().result(LONG_S)
        assert [place(completion) for completion in answered] == [
            (s.prompt.index, s.number) for s in subject.wanted[:2]
        ]
        assert len(subject.store.completions) == 2


class Cancelled:
    """For sources that wait; their `make` takes `held`."""

    def test_cancelling_sends_no_further_request_and_ends_the_wait(self, make: Make):
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


class Failing:
    """For sources that ask a provider; their `make` takes `fails`."""

    @pytest.mark.parametrize(("status", "error"), FAILURES)
    def test_a_failure_has_a_type_that_says_whether_a_retry_may_help(
        self, make: Make, status: int, error: type[Exception]
    ):
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


class ProviderContract(CompletionSourceContract, SingleSamples, Limited, Cancelled, Failing):
    """What a provider behind the gateway keeps to; `make` has all three arguments (`of_gateway` and `script` help)."""
