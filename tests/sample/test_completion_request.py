"""A completion that is paid for is recorded before it is used, and never bought again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from schemas.errors import TransientProviderError
from schemas.program import Completion, Prompt
from schemas.sampling_settings import Sampling
from tasks.sample.gateway import Gateway
from tasks.sample.sampler import CompletionRequest
from tests.provider import Answer, Provider

PROMPT = Prompt(0, "0", (), "openai/test", "chat", "def f_v0(x):\n    return x\n\ndef f_v1(x):\n", (1, 2, 3))


def complete(prompts: Sequence[Prompt], gateway: Gateway, paid: Paid) -> list[Completion]:
    request = CompletionRequest(prompts, gateway, paid)
    try:
        return request.completions()
    finally:
        request.finish(timeout_s=10)


class Paid:
    def __init__(self) -> None:
        self.completions: list[Completion] = []

    def known(self) -> dict[tuple[int, int, str], Completion]:
        return {(c.prompt, c.sample, c.prompt_hash): c for c in self.completions}

    def record(self, completions: Sequence[Completion]) -> None:
        self.completions += completions


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OPENAI_API_KEY", "test")


def settings(provider: Provider, **more: object) -> Sampling:
    model = {"name": "openai/test", "api_base": provider.api_base}
    return Sampling.model_validate({"models": [model], "attempts": 1, **more})


def test_nothing_is_bought_twice(provider: Provider):
    paid = Paid()
    gateway = Gateway(settings(provider))
    first = complete([PROMPT], gateway, paid)
    bought = len(provider.requests)
    again = complete([PROMPT], gateway, paid)
    assert first == again
    assert len(provider.requests) == bought
    assert [completion.sample for completion in first] == [0, 1, 2]


def test_after_a_failure_only_what_is_missing_is_bought(provider: Provider):
    def every_second_fails(number: int, request: dict) -> Answer | None:
        return Answer({"error": {"message": "busy"}}, status=503) if number % 2 else None

    paid = Paid()
    provider.script = every_second_fails
    prompts = [replace(PROMPT, index=index, seeds=(1,), text=PROMPT.text + f"# {index}\n") for index in range(6)]
    gateway = Gateway(settings(provider))
    with pytest.raises(TransientProviderError):
        complete(prompts, gateway, paid)
    assert 0 < len(paid.completions) < 6, "what was answered is recorded although the batch failed"
    kept = list(paid.completions)
    provider.script = lambda number, request: None
    before = len(provider.requests)
    completions = complete(prompts, gateway, paid)
    assert len(provider.requests) - before == 6 - len(kept)
    assert set(kept) <= set(completions)
    assert [completion.prompt for completion in completions] == list(range(6))


def test_a_changed_prompt_does_not_take_another_s_answer(provider: Provider):
    paid = Paid()
    gateway = Gateway(settings(provider))
    complete([PROMPT], gateway, paid)
    before = len(provider.requests)
    complete([replace(PROMPT, text=PROMPT.text + "# changed\n")], gateway, paid)
    assert len(provider.requests) > before
