"""The judge: what counts as the same question, and how often each is asked."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import wait
from dataclasses import replace

import pytest

from overnight.schemas.errors import (
    DiskFault,
    HistoryError,
    QuestionRefused,
    QuestionUnanswered,
    TransientProviderError,
    UsageError,
)
from overnight.schemas.program import Completion
from overnight.schemas.question import Question
from overnight.schemas.sampling_settings import Model, Sampling
from overnight.tasks.history.rows import answer_of_row, question_row
from overnight.tasks.sample.gateway import Gateway
from overnight.tasks.sample.judge import Judge
from overnight.tasks.sample.provider import require_keys
from overnight.testing.fake_provider import Answer, Provider, Request, says

ASKED = Question("how near?", 1, 0, "abc")


@pytest.fixture
def sampling(provider: Provider, monkeypatch: pytest.MonkeyPatch) -> Sampling:
    monkeypatch.setenv("OPENAI_API_KEY", "test")
    provider.script = lambda number, request: says(request, f"answer {number}")
    judge = Model(name="openai/judge", api_base=provider.api_base, input_usd=10.0, output_usd=0.0)
    return Sampling(judge=judge, attempts=1)


def judge_with(sampling: Sampling, kept: list[Completion], may_ask: Callable[[], bool] = lambda: True) -> Judge:
    return Judge(sampling, Gateway(sampling), kept.append, may_ask)


def test_equal_questions_are_asked_once_also_at_the_same_time(sampling: Sampling, provider: Provider):
    provider.latency_s = 0.2
    kept: list[Completion] = []
    judge = judge_with(sampling, kept)
    begun = [judge.answer(replace(ASKED, input=place)) for place in (1, 2, 3)]
    wait(begun)
    assert {one.result() for one in begun} == {"answer 0"}
    assert judge.answer(ASKED).result() == "answer 0"
    assert len(provider.requests) == 1
    (one,) = kept
    said = {"question": "how near?", "answer": "answer 0", "input": 1, "code_hash": "abc"}
    assert json.loads(one.text) == said
    assert (one.model, one.tokens_in, one.cost_usd) == ("openai/judge", 100, pytest.approx(0.001))


@pytest.mark.parametrize(
    "other",
    [
        (replace(ASKED, text="how far?"), {}),
        (replace(ASKED, text="how near\ud83d"), {}),
        (replace(ASKED, ordinal=1), {}),
        (ASKED, {"temperature": 0.0}),
        (ASKED, {"max_tokens": 10}),
    ],
    ids=["text", "surrogate", "ordinal", "temperature", "max_tokens"],
)
def test_another_question_or_setting_is_asked_by_itself(sampling: Sampling, other: tuple[Question, dict[str, float]]):
    kept: list[Completion] = []
    first = judge_with(sampling, kept).answer(ASKED).result()
    question, settings = other
    again = Judge(sampling.model_copy(update=settings), Gateway(sampling), kept.append, known=kept)
    assert again.answer(question).result() != first
    assert len({one.prompt_hash for one in kept}) == 2


def test_what_is_kept_counts_without_a_gateway_and_nothing_else_does(sampling: Sampling, provider: Provider):
    kept: list[Completion] = []
    judge_with(sampling, kept).answer(ASKED).result()
    record = Judge(sampling, None, kept.append, known=kept)
    assert record.answer(replace(ASKED, input=7)).result() == "answer 0"
    for _ in range(2):
        with pytest.raises(QuestionRefused):
            record.answer(replace(ASKED, ordinal=1)).result()
    assert len(provider.requests) == len(kept) == 1


@pytest.mark.parametrize("text", ["", "{}", "[]", "no JSON"])
def test_a_kept_answer_that_is_damaged_is_said(sampling: Sampling, text: str):
    kept: list[Completion] = []
    judge_with(sampling, kept).answer(ASKED).result()
    with pytest.raises(HistoryError, match="a kept answer to a question of the scoring is damaged"):
        Judge(sampling, None, kept.append, known=[replace(kept[0], text=text)])


def test_an_answer_that_does_not_come_is_asked_for_again(sampling: Sampling, provider: Provider):
    def answer(number: int, request: Request) -> Answer:
        return Answer({"error": {"message": "no"}}, status=500) if number == 0 else says(request, "fine")

    provider.script = answer
    kept: list[Completion] = []
    judge = judge_with(sampling, kept)
    with pytest.raises(TransientProviderError):
        judge.answer(ASKED).result()
    assert kept == []
    assert judge.answer(ASKED).result() == "fine"


def test_a_refusal_is_kept_like_an_answer(sampling: Sampling, provider: Provider):
    refusal = Answer({"error": {"message": "This model's maximum context length is 10 tokens."}}, status=400)
    provider.script = lambda number, request: refusal if number == 0 else None
    kept: list[Completion] = []
    judge = judge_with(sampling, kept)
    for _ in range(3):
        with pytest.raises(QuestionRefused):
            judge.answer(ASKED).result()
        judge = Judge(sampling, Gateway(sampling), kept.append, known=kept)
    assert len(provider.requests) == len(kept) == 1
    row = question_row("run", 1, kept[0])
    assert (row["answer"], row["cost_usd"]) == (None, 0.0)
    assert json.loads(answer_of_row(row).text) == json.loads(kept[0].text)


def test_nothing_is_asked_once_it_may_not_be(sampling: Sampling, provider: Provider):
    with pytest.raises(QuestionUnanswered):
        judge_with(sampling, [], lambda: False).answer(ASKED).result()
    assert provider.requests == []


def test_an_answer_that_cannot_be_kept_is_not_used_before_it_is_and_not_asked_for_again(
    sampling: Sampling, provider: Provider
):
    full = DiskFault("the disk is full")

    def fail(_: Completion) -> None:
        raise full

    has_room = iter([True, False, True])

    def may_ask() -> bool:
        if not next(has_room):
            raise full
        return True

    judge = Judge(sampling, Gateway(sampling), fail, may_ask)
    for _ in range(2):
        with pytest.raises(DiskFault, match="the disk is full"):
            judge.answer(ASKED).result()
    assert judge.answer(ASKED).result() == "answer 0"
    assert len(provider.requests) == 1


def test_a_judge_takes_conversations():
    with pytest.raises(UsageError, match="a scoring cannot ask builtin/mutate, which takes whole prompts only"):
        require_keys(Sampling(judge=Model(name="builtin/mutate")))


def test_what_is_in_flight_is_kept_or_given_up_and_nothing_is_kept_later(sampling: Sampling, provider: Provider):
    provider.latency_s = 0.3
    kept: list[Completion] = []
    judge = judge_with(sampling, kept)
    waited_for = judge.answer(ASKED)
    judge.finish(60.0)
    assert len(kept) == 1
    assert waited_for.result() == "answer 0"
    given_up = judge.answer(replace(ASKED, ordinal=1))
    judge.close()
    with pytest.raises(QuestionUnanswered):
        given_up.result(timeout=60)
    with pytest.raises(QuestionUnanswered):
        judge.answer(replace(ASKED, ordinal=2)).result(timeout=60)
    judge_with(sampling, []).answer(ASKED).result(timeout=60)  # takes as long as the answer that was given up
    assert len(kept) == 1
