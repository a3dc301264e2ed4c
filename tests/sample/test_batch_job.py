"""Batch jobs with stores in memory, against the Batch API of the provider on loopback and its faults."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from typing import Any

import pytest

from overnight.schemas.completion_source import Sample
from overnight.schemas.errors import Outage, TransientProviderError
from overnight.schemas.program import Completion, Prompt
from overnight.schemas.sampling_settings import Sampling
from overnight.tasks.sample import batch_job
from overnight.tasks.sample.batch_job import BatchJob
from overnight.tasks.sample.budget import Budget, BudgetLimits
from overnight.testing.completion_sources import Store
from overnight.testing.fake_provider import Provider
from tests.contract.test_completion_source import PendingBatches

LONG_S = 60.0
BUSY = {"response": {"status_code": 500, "body": {"error": {"message": "busy"}}}}
REFUSED = {"response": {"status_code": 400, "body": {"error": {"message": "against the policy"}}}}
EXPIRED = {"response": None, "error": {"code": "batch_expired", "message": "too late"}}


def samples(count: int) -> list[Sample]:
    prompts = [
        Prompt(n, "0", (), "openai/gpt-4o", "chat", f"def f_v0(x):\n    return x + {n}\n\ndef f_v1(x):\n", (1, 2))
        for n in range(count)
    ]
    return [Sample(prompt, number) for prompt in prompts for number in range(2)]


class Jobs:
    """Jobs for the same prompts, which share what is stored."""

    def __init__(self, provider: Provider, prompts: int, attempts: int = 2) -> None:
        self.wanted, self.budget = samples(prompts), Budget()
        self.store, self.pending = Store(self.budget), PendingBatches()
        model = {"name": "openai/gpt-4o", "api_base": provider.api_base}
        self._settings = Sampling.model_validate({"models": [model], "attempts": attempts, "max_tokens": 100})

    def begin(self, may_wait: Callable[[], bool] = lambda: True) -> Future[list[Completion]]:
        job = BatchJob(
            self._settings, {1: self.wanted}, lambda _: self.store, self.pending, self.budget, may_wait, lambda _: None
        )
        return job.source(1).submit(self.wanted, lambda _: None)

    def run(self) -> list[Completion]:
        return self.begin().result(LONG_S)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "test")
    monkeypatch.setattr(batch_job, "FIRST_POLL_S", 0.01)


def assert_each_answer_is_there_once(provider: Provider, completions: list[Completion]) -> None:
    sold = [choice["message"]["content"] for answer in provider.responses for choice in answer["choices"]]
    assert Counter(one.text for one in completions if one.text) == Counter(sold)


def test_prompts_cost_half_and_what_is_stored_is_not_sent_again(provider: Provider):
    jobs = Jobs(provider, 3)
    completions = jobs.run()
    assert [len(lines) for lines in provider.batches.sent] == [3], "samples of a prompt share a line"
    assert_each_answer_is_there_once(provider, completions)
    assert sum(one.cost_usd or 0.0 for one in completions) == pytest.approx(3 * (100 * 2.5e-6 + 40 * 1e-5) / 2)
    assert jobs.run() == completions
    assert len(provider.batches.sent) == 1


def test_lines_that_fail_are_asked_again_or_recorded_as_refused_or_lost(provider: Provider):
    never: list[str] = []

    def fault(batch: int, place: int, line: dict[str, Any]) -> dict[str, Any] | None:
        if batch == 0:
            never[:] = never or [line["custom_id"]]
            return {0: BUSY, 1: BUSY, 2: REFUSED, 3: EXPIRED}.get(place)
        return BUSY if line["custom_id"] in never else None

    provider.batches.fault = fault
    provider.batches.end = lambda number: "expired" if number == 0 else "completed"
    completions = Jobs(provider, 6, attempts=3).run()
    assert [len(lines) for lines in provider.batches.sent] == [6, 3, 1]
    assert_each_answer_is_there_once(provider, completions)
    errors = Counter(one.error for one in completions if not one.text)
    assert errors == {"against the policy": 2, "lost: no answer in 3 batches: busy": 2}


@pytest.mark.parametrize("custom_id", ["", "unknown", "1.x.0.hash", None])
def test_rows_with_unknown_ids_are_skipped_and_their_samples_sent_again(custom_id: str | None, provider: Provider):
    provider.batches.fault = lambda number, index, line: {"custom_id": custom_id} if number == index == 0 else None
    jobs = Jobs(provider, 2)
    assert [(one.prompt, one.sample, one.error) for one in jobs.run()] == [(p, n, "") for p in (0, 1) for n in (0, 1)]
    assert [len(lines) for lines in provider.batches.sent] == [2, 1]
    assert not jobs.pending


def test_a_batch_that_fails_has_a_reason_and_a_later_job_sends_it_again(provider: Provider):
    provider.batches.end = lambda number: "failed" if number == 0 else "completed"
    jobs = Jobs(provider, 2)
    with pytest.raises(TransientProviderError, match="batch batch_0 failed: this file is no good"):
        jobs.run()
    assert_each_answer_is_there_once(provider, jobs.run())
    assert len(provider.batches.sent) == 2


def test_what_a_batch_may_cost_at_most_is_set_aside_before_it_is_sent(provider: Provider):
    jobs = Jobs(provider, 9)
    jobs.budget.limits = BudgetLimits(night_usd=0.0022)  # a line may cost $0.001 for two answers, at half price
    completions = jobs.run()
    assert 0 < len(completions) < 18
    assert jobs.budget.is_exhausted
    assert 0.0022 - 0.0013 < jobs.budget.night_usd <= 0.0022
    assert_each_answer_is_there_once(provider, completions)
    assert all(one.text for one in completions), "what is not sent is not lost"


@pytest.mark.parametrize("id_is_known", [True, False])
def test_a_batch_outlives_its_job_and_is_collected_by_the_next(id_is_known: bool, provider: Provider):
    provider.batches.seconds = LONG_S
    jobs, has_time = Jobs(provider, 2), [True]
    provider.batches.created = has_time.clear
    with pytest.raises(Outage, match=r"a batch is collected later: batch_0"):
        jobs.begin(lambda: bool(has_time)).result(LONG_S)
    provider.batches.seconds = 0
    assert jobs.store.completions == []
    (left,) = jobs.pending.values()
    if not id_is_known:  # the process was killed before it came
        jobs.pending[left.key] = replace(left, batch_id="")
    assert_each_answer_is_there_once(provider, jobs.run())
    assert len(provider.batches.sent) == 1
    assert not jobs.pending
