"""Answers to an agent's requests: of its model, the scoring and the run's history, within the session's limits."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass, field
from datetime import UTC, datetime
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from overnight.schemas.agent_settings import AgentLimits
from overnight.schemas.errors import Outage, SpecificationError, TransientProviderError
from overnight.schemas.outcome import DUPLICATE_IN_RUN, STOPPED_BY_DEADLINE, Outcome, Verdict
from overnight.schemas.problem import Problem
from overnight.schemas.program import Candidate, Completion, Prompt
from overnight.schemas.scores import with_score
from overnight.tasks.agent.clock import Clock
from overnight.tasks.agent.door import Program, Query, RequestRefused, read_body
from overnight.tasks.agent.model_requests import (
    COMPLETIONS,
    MODELS,
    ModelRequest,
    as_stream,
    error_answer,
    models_answer,
    read_request,
    turn_answer,
)
from overnight.tasks.agent.news import News
from overnight.tasks.agent.queries import MOST_CHARS, HistoryQueries
from overnight.tasks.agent.transcript import Transcript, answer_of, request_hash, turn_hash
from overnight.tasks.agent.workspace import answer_text, changed_files
from overnight.tasks.evaluate.evaluator import Evaluator
from overnight.tasks.history.query_process import QueryProcess
from overnight.tasks.program import python_source
from overnight.tasks.sample.gateway import Gateway, await_cancellation
from overnight.tasks.sample.prompts import format_notes
from overnight.tasks.sample.provider import Turn
from overnight.tasks.sample.sampler import to_candidates

EVALUATED = "evaluated"
"""Finish reason of a program that an agent had scored before it handed one back."""

_EVALUATE, _TRY, _QUERY = "/evaluate", "/try", "/sql"
_SAME = "SELECT program_id, outcome, score FROM programs WHERE code_hash = '{}' AND outcome != 'duplicate' LIMIT 1"
"""The verdict on the first program that counts as the same as another."""

T = TypeVar("T")


class Stopped(Exception):
    """The night ends, or nobody wants the sample any more; what was paid for is kept."""


@dataclass(frozen=True)
class Bench:
    """Parts of a run that all its sessions work with.

    Attributes:
        open_history: Starts what answers the queries of one session: views of the run alone, as
            `flows/night/agents.py` lists them.
        earlier_files: Returns what sessions left that handed back or had scored one of these programs, by path.
        try_out: Begins to score a body on inputs drawn for agents; `None` where the problem draws none.
    """

    problem: Problem
    gateway: Gateway
    evaluator: Evaluator
    open_history: Callable[[], QueryProcess]
    earlier_files: Callable[[Sequence[str]], Mapping[str, str]]
    try_out: Callable[[str], Future[Verdict]] | None = None

    @property
    def limits(self) -> AgentLimits:
        return self.problem.settings.agent


@dataclass
class Desk:
    """Answers the requests of one session, one after the other.

    Attributes:
        samples: Most completions of the session: programs that were scored, and that which is handed back.
        given: Files that the agent was given, by path.
        clock: Time that the agent has.
        news: What people are told of the session.
        scored: Answers about the programs that were scored, by the text that holds each, in order.
        limit: Why the agent may ask its model no more, in words; empty before. The first reason stays.
        refusal: Why the model's provider refused the last request that it refused; empty before.
        stopped: Done once the session is stopped.
    """

    bench: Bench
    prompt: Prompt
    generation: int
    samples: int
    transcript: Transcript
    given: Mapping[str, str]
    clock: Clock
    news: News
    scored: dict[str, dict[str, Any]] = field(init=False)
    limit: str = ""
    refusal: str = ""
    stopped: Future[None] = field(default_factory=Future)
    _queries: HistoryQueries = field(init=False)

    def __post_init__(self) -> None:
        self.scored = dict(self.transcript.scored)
        self._queries = HistoryQueries(self.bench.open_history)

    def close(self) -> None:
        """End what answers queries."""
        self._queries.close()

    def answer(self, path: str, body: str) -> tuple[int, str, str]:
        """Return the answer to a request: status, type and text.

        Raises:
            Stopped: If the session was stopped.
            ProviderError: If the model and its fallbacks failed.
            SandboxUnavailable: If no program can be scored.
        """
        self.clock.start()
        self.news.asked()
        is_tool = path in (_EVALUATE, _TRY, _QUERY)
        kind = "text/plain; charset=utf-8" if is_tool else "application/json"
        try:
            text = self._text_for(path, body)
        except RequestRefused as refused:
            self.transcript.refusal(path, refused.reason, _query_of(body) if path == _QUERY else "")
            reason = refused.reason if is_tool else json.dumps(error_answer(refused.reason))
            return refused.status, kind, reason
        return 200, "text/event-stream" if text.startswith("data: ") else kind, text

    def _text_for(self, path: str, body: str) -> str:
        if path == COMPLETIONS:
            return self._turn(read_request(body))
        if path == MODELS:
            return json.dumps(models_answer())
        if path == _EVALUATE:
            return self._evaluation(read_body(Program, body).files)
        if path == _QUERY:
            return self._query(read_body(Query, body).query)
        if path == _TRY and self.bench.try_out is not None:
            return self._trial(self.bench.try_out, read_body(Program, body).files)
        raise RequestRefused(f"there is nothing at {path[:80]}; expected {COMPLETIONS}", 404)

    def _turn(self, request: ModelRequest) -> str:
        record = self._recorded(turn_hash(request.sent), request_hash(COMPLETIONS, request.sent))
        self.news.turn(is_from_record=record is not None)
        if record is None:
            self._require_room()
            record = self._ask(request.sent)
        self.transcript.turn(request.sent["messages"], record)
        answer = answer_of(record)
        return as_stream(answer) if request.is_stream else json.dumps(answer)

    def _recorded(self, key: str, request: str = "") -> Completion | None:
        """Return the record of what an earlier session was answered; its time is then that of this one."""
        record = self.transcript.recorded(key, request)
        if record is not None:
            self.clock.put_to(json.loads(record.text)["seconds"])
        return record

    def _require_room(self) -> None:
        limits, spent = self.bench.limits, self.transcript.usage()
        reached = (
            (self.transcript.number_of(COMPLETIONS) >= limits.turns, f"{limits.turns} answers (agent.turns)"),
            (spent.tokens_in + spent.tokens_out >= limits.tokens, f"{limits.tokens} tokens (agent.tokens)"),
            ((spent.cost_usd or 0.0) >= limits.usd, f"{limits.usd:g} USD (agent.usd)"),
        )
        for is_reached, what in reached:
            if is_reached:
                raise self.over(f"this sample's limit of {what} is reached")

    def over(self, reason: str) -> RequestRefused:
        """Return the refusal that ends the agent's work."""
        self.limit = self.limit or reason
        return RequestRefused(f"no further answers: {reason}. End now: what is in your files is your answer.", 403)

    def time_is_over(self) -> RequestRefused:
        """Return the refusal once the time is over."""
        return self.over(f"this sample's limit of {self.bench.limits.seconds:g} s is reached (agent.seconds)")

    def _ask(self, request: dict[str, Any]) -> Completion:
        begin, number = time.monotonic(), self.transcript.number_of(COMPLETIONS) + 1
        kept: list[Completion] = []

        def keep(turn: Turn) -> None:
            if not turn.refusal:
                answer = turn_answer(turn, number)
                record = self.transcript.record(
                    COMPLETIONS,
                    answer,
                    self.clock.seconds,
                    key=turn_hash(request),
                    request=request_hash(COMPLETIONS, request),
                    turn=turn,
                    latency_s=time.monotonic() - begin,
                )
                kept.append(record)

        try:
            turn = self._wait(self.bench.gateway.converse(self.prompt.model, request, keep))
        except RequestRefused:  # the time is over
            await_cancellation()
            if not kept:
                raise
            return kept[0]
        except TransientProviderError as error:
            if isinstance(error, Outage):
                raise
            raise RequestRefused(f"the model's provider fails on this request alone: {error.message}", 502) from error
        if turn is None:
            if not self.bench.gateway.may_ask():
                raise Stopped
            raise self.over("the night's budget is spent")
        if turn.refusal:
            self.refusal = turn.refusal
            raise RequestRefused(f"the model's provider refuses the request: {turn.refusal}")
        return kept[0]

    def _wait(self, future: Future[T], *, is_shared: bool = False) -> T:
        """Wait for a result, until the session is stopped, or its time is over; then cancel what is its own.

        Raises:
            Stopped: If the session was stopped.
            RequestRefused: If its time is over.
        """
        ended = SimpleQueue[Future[Any]]()
        for one in (future, self.stopped):
            one.add_done_callback(ended.put)
        with contextlib.suppress(Empty):
            ended.get(timeout=max(0.0, self.clock.left_s))
        is_open = not future.done()
        if is_open and not is_shared:
            future.cancel()
        if self.stopped.done():
            raise Stopped
        if is_open:
            raise self.time_is_over()
        try:
            return future.result()
        except CancelledError:
            raise Stopped from None

    def _evaluation(self, files: Mapping[str, str]) -> str:
        changed = changed_files(self.given, files)
        missing = [path for path in self.given if path not in files]
        if missing and not changed:
            raise RequestRefused(f"there is no {', '.join(missing)} in your folder's `program/`; nothing is used up")
        if not changed:
            raise RequestRefused(f"nothing has changed in {', '.join(self.given)}: it is the program you were given")
        text = answer_text(self.bench.problem.specification, changed)
        if text not in self.scored:
            if not self.evaluations_left:
                is_own = self.samples > self.bench.limits.evaluations
                why = "agent.evaluations" if is_own else "the night takes no more samples"
                raise RequestRefused(f"all {self.samples - 1} evaluations of this sample are used ({why})", 403)
            answer = self._judge(len(self.scored) + 1, changed, text)
            self.transcript.record(_EVALUATE, answer, self.clock.seconds, key="", program=text)
            self.scored[text] = answer
            self.news.evaluation(answer.get("score"))
        answer = {**self.scored[text], "evaluations_left": self.evaluations_left}
        self.transcript.evaluation([*self.scored].index(text) + 1, answer)
        return _as_text(answer)

    @property
    def evaluations_left(self) -> int:
        """Number of programs that the agent may have scored yet."""
        return max(0, self.samples - 1 - self.transcript.number_of(_EVALUATE))

    def _trial(self, try_out: Callable[[str], Future[Verdict]], files: Mapping[str, str]) -> str:
        """Have a program scored on inputs drawn for agents, which makes it no candidate and uses nothing up."""
        files = {path: files.get(path, text) for path, text in self.given.items()}
        candidate = self._candidate(0, files, answer_text(self.bench.problem.specification, files))
        try:
            verdict = self._wait(try_out(candidate.body))
        except SpecificationError as error:
            raise RequestRefused(str(error)) from error
        return _as_text(_verdict_answer(self.bench.evaluator.told(candidate, verdict), self.bench.problem))

    def _judge(self, number: int, files: Mapping[str, str], text: str) -> dict[str, Any]:
        """Have a program scored; raise as `_candidate`, also if the time is over."""
        return _verdict_answer(self._verdict(self._candidate(number, files, text)), self.bench.problem)

    def _candidate(self, number: int, files: Mapping[str, str], text: str) -> Candidate:
        """Return the candidate that an agent's files make.

        Raises:
            RequestRefused: If they are no program, which is told for nothing.
        """
        _require_python(files)
        completion = new_completion(self.prompt, number, text, EVALUATED)
        candidate = to_candidates([self.prompt], [completion], self.bench.problem)[0]
        if candidate.verdict is not None and candidate.verdict.outcome is Outcome.UNPARSABLE:
            parts = self.bench.problem.specification.evolved_parts
            raise RequestRefused(f"it is no program: expected {parts} in {', '.join(self.given)}; nothing is used up")
        if candidate.verdict is not None and candidate.verdict.outcome is Outcome.REJECTED:
            raise RequestRefused(f"it would be rejected: {candidate.verdict.error}; nothing is used up")
        return candidate

    def _verdict(self, candidate: Candidate) -> Verdict:
        begun = self.bench.evaluator.begin(candidate, self.generation)
        if begun == DUPLICATE_IN_RUN:
            raise RequestRefused(
                "the same program, but for comments, form or what it does not use, was judged earlier in this run; "
                f"nothing is used up: {self._verdict_before(candidate)}"
            )
        verdict = begun if isinstance(begun, Verdict) else self._wait(begun, is_shared=True)
        if verdict == STOPPED_BY_DEADLINE:
            raise Stopped
        return verdict

    def _verdict_before(self, candidate: Candidate) -> str:
        """Return what the history has of a program that was judged before."""
        try:
            return self._rows(_SAME.format(candidate.code_hash))
        except RequestRefused as refused:
            return refused.reason

    def _rows(self, sql: str) -> str:
        return self._queries.answer(sql, recorded=self.transcript.number_of(_QUERY))

    def _query(self, sql: str) -> str:
        key = request_hash(_QUERY, {"query": sql})
        record = self._recorded(key)
        if record is None:
            record = self.transcript.record(_QUERY, self._rows(sql), self.clock.seconds, key=key)
        self.transcript.query(sql, answer_of(record))
        return answer_of(record)


def _query_of(body: str) -> str:
    """Return the query of a request that was refused; empty if it has none."""
    try:
        return read_body(Query, body).query
    except RequestRefused:
        return ""


def new_completion(prompt: Prompt, number: int, text: str, reason: str) -> Completion:
    """Return a completion of an agent that cost nothing itself."""
    return Completion(
        prompt=prompt.index,
        sample=number,
        prompt_hash=prompt.hash,
        text=text,
        model=prompt.model,
        tokens_in=0,
        tokens_out=0,
        cost_usd=0.0,
        latency_s=0.0,
        finish_reason=reason,
        asked_at=datetime.now(UTC),
    )


def _require_python(files: Mapping[str, str]) -> None:
    """Raise a RequestRefused if a file of Python is none, with the line."""
    for path, text in files.items():
        if path.endswith(".py"):
            try:
                python_source.parse(text)
            except python_source.SourceError as error:
                raise RequestRefused(f"{path}, line {error.line}: {error}; nothing is used up") from error


def _verdict_answer(verdict: Verdict, problem: Problem) -> dict[str, Any]:
    settings = problem.settings
    verdict, score, _ = with_score(verdict, settings.reducer, settings.objectives)
    answer: dict[str, Any] = {"outcome": verdict.outcome.value}
    if verdict.outcome is Outcome.SCORED:
        answer |= {"score": score, "score_on_each_input": verdict.scores}
    else:
        answer |= {"error": verdict.error[:MOST_CHARS]}
    if verdict.output:
        answer["output"] = verdict.output[:MOST_CHARS]
    if verdict.metrics:
        answer["metrics_on_each_input"] = verdict.metrics
    if verdict.notes:
        answer["notes"] = format_notes(verdict.notes, verdict.scores, MOST_CHARS)
    return answer | {"seconds_on_each_input": [round(one, 4) for one in verdict.input_wall_s]}


def _as_text(answer: Mapping[str, Any]) -> str:
    """Return an answer as JSON with a line for each of its values."""
    lines = (f"  {json.dumps(name)}: {json.dumps(value)}" for name, value in answer.items())
    return "{\n" + ",\n".join(lines) + "\n}"
