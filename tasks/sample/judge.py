"""Answers to the questions of a scoring: by the model that the user named, each once in a run.

An answer is found by a hash of model, settings, question, and the question's number among equal ones of an evaluation
on an input. The first that is kept counts in all evaluations; without a gateway, as in a replay, only kept ones do. A
refusal is kept like an answer.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future, wait
from datetime import UTC, datetime
from functools import partial
from typing import Any

from overnight.schemas.errors import EnvironmentFault, HistoryError, QuestionRefused, QuestionUnanswered
from overnight.schemas.program import QUESTION, Completion
from overnight.schemas.question import Question
from overnight.schemas.sampling_settings import Model, Sampling
from overnight.tasks.sample.gateway import JUDGE, Gateway, await_cancellation
from overnight.tasks.sample.provider import Turn
from overnight.tasks.sample.providers import to_valid_text


class Judge:
    """The model that a scoring asks. `answer`, an `Ask`, may be called from any thread.

    Args:
        sampling: Settings with the judge.
        gateway: Asks it; `None` where only known answers count.
        keep: Stores an answer; called from the gateway's thread, and it is safe when it returns. If it raises, it
            stores the answer before `may_ask` returns true again.
        may_ask: Returns false once nothing is asked any more; raises if answers cannot be kept.
        known: Answers that are kept already.
    """

    def __init__(
        self,
        sampling: Sampling,
        gateway: Gateway | None,
        keep: Callable[[Completion], None],
        may_ask: Callable[[], bool] = lambda: True,
        known: Iterable[Completion] = (),
    ) -> None:
        assert sampling.judge is not None
        self._model: Model = sampling.judge
        wanted = {"temperature": sampling.temperature, "top_p": sampling.top_p}
        self._options = {name: value for name, value in wanted.items() if value is not None}
        self._asked_of = [self._model.name, self._options, sampling.max_tokens]
        self._gateway, self._keep, self._may_ask = gateway, keep, may_ask
        self._answers: dict[str, Future[str]] = {}
        self._refused: set[str] = set()
        self._unkept: dict[str, Turn] = {}
        for one in known:
            if (text := _kept(one)) is None:
                self._refused.add(one.prompt_hash)
            else:
                self._answers[one.prompt_hash] = Future()
                self._answers[one.prompt_hash].set_result(text)
        self._in_flight: set[Future[Turn | None]] = set()
        self._is_closed = False
        self._lock = threading.Lock()

    def answer(self, question: Question) -> Future[str]:
        """Begin to answer a question; equal ones share a future.

        It raises QuestionRefused if the provider refuses it, now or earlier, or, without a gateway, it is not known;
        QuestionUnanswered if the budget is spent; ProviderError if the provider and its fallbacks failed; and
        EnvironmentFault if the answer could not be kept.
        """
        key = self._key(question)
        with self._lock:
            if known := self._answers.get(key):
                return known
            answer = self._answers[key] = Future()
        if self._gateway is None or key in self._refused:
            self._fail(key, answer, QuestionRefused())
            return answer
        keep = partial(self._keep_turn, key, question, datetime.now(UTC), time.monotonic())
        if (turn := self._unkept.get(key)) is not None:
            self._answer_late(key, answer, turn)
            return answer
        request = {"messages": [{"role": "user", "content": to_valid_text(question.text)}], **self._options}
        begun = self._gateway.converse(JUDGE, request, keep, lambda: self._may_ask() and not self._is_closed)
        with self._lock:
            self._in_flight.add(begun)
        begun.add_done_callback(partial(self._end, key, answer))
        return answer

    def finish(self, timeout_s: float) -> None:
        """Wait until no question is in flight, so that all paid answers are kept."""
        wait(self._all_in_flight(), timeout=timeout_s)

    def close(self) -> None:
        """Ask nothing more, and cancel what is in flight: when this returns, no answer is kept any more."""
        self._is_closed = True
        if self._gateway is None:
            return
        for begun in self._all_in_flight():
            begun.cancel()
        await_cancellation()

    def _all_in_flight(self) -> list[Future[Turn | None]]:
        with self._lock:
            return list(self._in_flight)

    def _key(self, question: Question) -> str:
        # JSON escapes lone surrogates, each as its own.
        data = json.dumps([*self._asked_of, question.text, question.ordinal])
        return hashlib.sha256(data.encode()).hexdigest()[:32]

    def _answer_late(self, key: str, answer: Future[str], turn: Turn) -> None:
        """Answer a question again whose answer could not be kept at first, once it is."""
        begun = Future[Turn | None]()
        try:
            begun.set_result(turn if self._may_ask() else None)
        except EnvironmentFault as error:
            begun.set_exception(error)
        self._end(key, answer, begun)

    def _keep_turn(self, key: str, question: Question, asked_at: datetime, begin: float, turn: Turn) -> None:
        text = {"question": to_valid_text(question.text), "answer": None if turn.refusal else _text_of(turn)}
        asked_by = {"input": question.input, "code_hash": question.program}
        self._unkept[key] = turn
        self._keep(
            Completion(
                prompt=-1,
                sample=0,
                prompt_hash=key,
                text=json.dumps(text | asked_by),
                model=turn.model,
                tokens_in=turn.usage.tokens_in,
                tokens_out=turn.usage.tokens_out,
                cost_usd=turn.usage.cost_usd,
                latency_s=time.monotonic() - begin,
                finish_reason=QUESTION,
                asked_at=asked_at,
                tokens_cached=turn.usage.tokens_cached,
            )
        )
        del self._unkept[key]

    def _end(self, key: str, answer: Future[str], begun: Future[Turn | None]) -> None:
        """Hand an answer on."""
        with self._lock:
            self._in_flight.discard(begun)
        error = None if begun.cancelled() else begun.exception()
        turn = None if begun.cancelled() or error else begun.result()
        if turn is not None and not turn.refusal:
            answer.set_result(_text_of(turn))
        elif turn is not None:
            self._refused.add(key)
            self._fail(key, answer, QuestionRefused())
        else:
            unanswered = QuestionUnanswered(
                "a question of the scoring is not asked: the budget is spent, or the night ends",
                remedy="`overnight resume RUN` asks it; --budget says what a night may spend.",
            )
            self._fail(key, answer, error or unanswered)

    def _fail(self, key: str, answer: Future[str], error: BaseException) -> None:
        """Tell those who wait; the next who asks begins anew."""
        with self._lock:
            del self._answers[key]
        answer.set_exception(error)


def _kept(completion: Completion) -> str | None:
    """Return a kept answer; `None` if the question was refused.

    Raises:
        HistoryError: If it is damaged.
    """
    try:
        answer = json.loads(completion.text)["answer"]
        return None if answer is None else str(answer)
    except (ValueError, KeyError, TypeError) as error:
        raise HistoryError(
            f"a kept answer to a question of the scoring is damaged: {completion.text[:80]!r}",
            remedy="Restore the run's folder from a backup, or import an export of it into another history.",
        ) from error


def _text_of(turn: Turn) -> str:
    content: Any = turn.message.get("content")
    return to_valid_text(content) if isinstance(content, str) else ""
