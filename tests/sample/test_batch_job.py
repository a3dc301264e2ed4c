"""Test batch jobs with stores in memory against the Batch API of the provider on loopback."""

from __future__ import annotations

import pytest

from schemas.program import Prompt
from schemas.sampling_settings import Sampling
from tasks.sample import batch_job
from tasks.sample.batch_job import BatchJob
from tasks.sample.budget import Budget
from tasks.sample.gateway import Sample
from tests.contract.test_completion_source import PendingBatches, Store
from tests.provider import Provider


@pytest.mark.parametrize("custom_id", ["", "unknown", "1.x.0.hash", None])
def test_rows_with_unknown_ids_are_skipped_and_their_samples_sent_again(
    custom_id: str | None, provider: Provider, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("OPENAI_API_KEY", "test")
    monkeypatch.setattr(batch_job, "FIRST_POLL_S", 0.01)
    provider.batches.fault = lambda number, index, line: {"custom_id": custom_id} if number == index == 0 else None
    model = {"name": "openai/test", "api_base": provider.api_base}
    sampling = Sampling.model_validate({"models": [model], "attempts": 2})
    texts = [f"def f_v0(x):\n    return x + {number}\n\ndef f_v1(x):\n" for number in range(2)]
    prompts = [Prompt(index, "0", (), "openai/test", "chat", text, (1,)) for index, text in enumerate(texts)]
    samples = [Sample(prompt, 0) for prompt in prompts]
    pending, store = PendingBatches(), Store()
    job = BatchJob(sampling, {1: samples}, lambda _: store, pending, Budget(), lambda: True, lambda _: None)
    completions = job.source(1).submit(samples, lambda _: None).result(timeout=60)
    assert [(completion.prompt, completion.error) for completion in completions] == [(0, ""), (1, "")]
    assert [len(lines) for lines in provider.batches.sent] == [2, 1]
    assert pending.all() == []
