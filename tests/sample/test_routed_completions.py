"""Samples go to the sources of their models; the answers come back as one."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import CancelledError, Future, wait

import pytest

from overnight.schemas.completion_source import Record, Sample
from overnight.schemas.errors import SandboxUnavailable, TerminalProviderError
from overnight.schemas.program import TUNER, Completion
from overnight.tasks.sample.completion_sources import RoutedCompletions
from overnight.testing.completion_sources import completion_of, samples


class Source:
    """A source whose answers the test gives."""

    def __init__(self) -> None:
        self.wanted: Sequence[Sample] = ()
        self.answer: Future[list[Completion]] = Future()

    def submit(self, wanted: Sequence[Sample], record: Record) -> Future[list[Completion]]:
        self.wanted = wanted
        return self.answer

    def give(self) -> list[Completion]:
        completions = [completion_of(one) for one in self.wanted]
        self.answer.set_result(completions)
        return completions


@pytest.fixture
def parts() -> tuple[Source, Source, Future[list[Completion]]]:
    tuner, models = Source(), Source()
    first, second = samples("openai/test", prompts=1), samples(TUNER, prompts=2)[2:]
    answer = RoutedCompletions({TUNER: tuner}, lambda: models).submit([*second, *first], lambda _: None)
    assert (tuner.wanted, models.wanted) == (second, first)
    return tuner, models, answer


def test_the_answers_are_merged_in_order(parts: tuple[Source, Source, Future[list[Completion]]]):
    tuner, models, answer = parts
    tuned = tuner.give()
    assert not answer.done()
    assert [*models.give(), *tuned] == answer.result(60)


def test_cancelling_cancels_all_and_ends_every_wait(parts: tuple[Source, Source, Future[list[Completion]]]):
    tuner, models, answer = parts
    models.give()
    assert answer.cancel()
    assert tuner.answer.cancelled()
    assert wait([answer], timeout=0).done == {answer}


def test_an_error_is_raised_once_all_have_ended(parts: tuple[Source, Source, Future[list[Completion]]]):
    tuner, models, answer = parts
    tuner.answer.set_exception(SandboxUnavailable("no engine"))
    assert not answer.done()
    models.answer.set_exception(TerminalProviderError("no key"))
    with pytest.raises(TerminalProviderError):
        answer.result(60)


def test_a_source_that_is_cancelled_ends_the_answer(parts: tuple[Source, Source, Future[list[Completion]]]):
    tuner, models, answer = parts
    tuner.answer.cancel()
    models.give()
    with pytest.raises(CancelledError):
        answer.result(60)


def test_the_source_of_models_is_not_made_for_the_tuner_alone():
    def never() -> Source:
        raise AssertionError

    tuner = Source()
    routed = RoutedCompletions({TUNER: tuner}, never)
    assert routed.submit(samples(TUNER), lambda _: None) is tuner.answer
    assert routed.submit([], lambda _: None).result(60) == []
