"""Requests serve their prompts however a further attempt groups them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future

import pytest

from overnight.schemas.completion_source import Sample
from overnight.schemas.errors import TransientProviderError
from overnight.schemas.program import Completion, Prompt
from overnight.tasks.sample.sampler import Sampler
from overnight.testing.made import NOW, a_problem

Key = tuple[int, int, str]


class Models:
    """Source and store of completions; each request is answered when the test says so."""

    def __init__(self) -> None:
        self.bought: list[Sample] = []
        self.stored: dict[Key, Completion] = {}
        self._answers: list[tuple[list[Sample], Future[list[Completion]]]] = []

    def submit(
        self, wanted: Sequence[Sample], record: Callable[[Sequence[Completion]], None]
    ) -> Future[list[Completion]]:
        self.bought += wanted
        answer: Future[list[Completion]] = Future()
        self._answers.append((list(wanted), answer))
        answer.add_done_callback(lambda done: None if done.exception() else record(done.result()))
        return answer

    def answer(self) -> None:
        """Answer all requests in flight."""
        for samples, answer in self._answers:
            answer.set_result([_completion(sample) for sample in samples])
        self._answers = []

    def fail(self) -> None:
        for _, answer in self._answers:
            answer.set_exception(TransientProviderError("no answer"))
        self._answers = []

    def known(self) -> dict[Key, Completion]:
        return dict(self.stored)

    def record(self, completions: Sequence[Completion]) -> None:
        self.stored |= {(one.prompt, one.sample, one.prompt_hash): one for one in completions}


def _completion(sample: Sample) -> Completion:
    prompt = sample.prompt
    text = f"```python\ndef guess(offset):\n    return offset + {prompt.index}.{sample.number}\n```"
    return Completion(prompt.index, sample.number, prompt.hash, text, prompt.model, 1, 1, 1.0, 0.1, "stop", NOW)


def prompts(*indices: int) -> list[Prompt]:
    return [Prompt(index, "0", (), "openai/test", "chat", f"improve, {index}", (1, 2)) for index in indices]


@pytest.fixture
def models() -> Models:
    return Models()


@pytest.fixture
def sampler(models: Models) -> Sampler:
    return Sampler(a_problem(samples=2), lambda _: models, lambda _: models)


def bought(models: Models) -> list[tuple[int, int]]:
    return sorted((sample.prompt.index, sample.number) for sample in models.bought)


@pytest.mark.parametrize("groups", [[(0, 1, 2)], [(0,), (1,), (2,)], [(0, 1), (2,)], [(2, 0), (1,)]], ids=str)
def test_what_is_in_flight_is_not_bought_again_by_other_groups(
    sampler: Sampler, models: Models, groups: list[tuple[int, ...]]
):
    sampler.begin(1, prompts(0))
    sampler.begin(1, prompts(1, 2))
    for group in groups:
        sampler.begin(1, prompts(*group))
    models.answer()
    for group in groups:
        candidates = sampler.sample(1, prompts(*group))
        assert [candidate.index for candidate in candidates] == [2 * index + n for index in group for n in (0, 1)]
    assert bought(models) == [(index, number) for index in range(3) for number in (0, 1)]


def test_a_group_with_a_further_prompt_asks_for_that_alone(sampler: Sampler, models: Models):
    sampler.begin(1, prompts(0))
    sampler.begin(1, prompts(0, 1))
    assert bought(models) == [(0, 0), (0, 1), (1, 0), (1, 1)]
    models.answer()
    assert len(sampler.sample(1, prompts(0, 1))) == 4


def test_what_a_failed_request_did_not_bring_is_asked_again(sampler: Sampler, models: Models):
    sampler.begin(1, prompts(0, 1))
    models.fail()
    sampler.begin(1, prompts(1, 2))
    assert bought(models)[2:] == [(1, 0), (1, 0), (1, 1), (1, 1), (2, 0), (2, 1)]
    models.answer()
    assert [candidate.index for candidate in sampler.sample(1, prompts(1, 2))] == [2, 3, 4, 5]


def test_generations_share_no_request(sampler: Sampler, models: Models):
    sampler.begin(1, prompts(0))
    sampler.begin(2, prompts(0))
    assert len(models.bought) == 4
    models.answer()
    sampler.forget(1)
    sampler.begin(2, prompts(0))
    assert len(models.bought) == 4


def test_after_a_cut_only_what_arrived_before_is_returned(sampler: Sampler, models: Models):
    sampler.begin(1, prompts(0))
    models.answer()
    sampler.begin(1, prompts(1))
    sampler.cut()
    assert [candidate.index for candidate in sampler.sample(1, prompts(0, 1, 2))] == [0, 1]


def test_a_cut_takes_what_has_arrived_while_the_machine_was_asleep(sampler: Sampler, models: Models):
    sampler.begin(1, prompts(0))
    stored = threading.Timer(0.05, models.answer)
    stored.start()
    sampler.cut()
    stored.join()
    assert [candidate.index for candidate in sampler.sample(1, prompts(0))] == [0, 1]
