"""One session of an agent: its container, its requests, its limits, and the completions that it ends with."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, wait
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cache
from importlib import resources
from typing import Any, TypeVar

from overnight.schemas.agent_settings import AgentLimits, AgentSettings
from overnight.schemas.errors import OvernightError, QueryError
from overnight.schemas.outcome import STOPPED_BY_DEADLINE, Outcome, Verdict
from overnight.schemas.problem import Problem
from overnight.schemas.program import UNUSED, Candidate, Completion, Prompt, reduced
from overnight.tasks.agent.model_requests import (
    COMPLETIONS,
    MODELS,
    RequestRefused,
    as_stream,
    error_answer,
    models_answer,
    parse_object,
    read_request,
    turn_answer,
)
from overnight.tasks.agent.transcript import Records, Transcript, request_hash
from overnight.tasks.agent.workspace import FOLDER, IDEA, answer_text, changed_files, files_of, task_text
from overnight.tasks.evaluate.delivery import FrameBuffer, WireFault
from overnight.tasks.evaluate.evaluator import Evaluator
from overnight.tasks.evaluate.runner import frames
from overnight.tasks.evaluate.runner.program import PACKAGES
from overnight.tasks.evaluate.sandbox import Channel
from overnight.tasks.history.query_process import QueryProcess
from overnight.tasks.sample.gateway import Gateway
from overnight.tasks.sample.provider import Turn
from overnight.tasks.sample.providers import Usage, to_valid_text
from overnight.tasks.sample.sampler import to_candidates

_START_S = 60.0
_LAST_S = 30.0
"""Seconds that an agent has to end, once it may ask its model no more."""

_END_S = 60.0
"""Seconds in which a container must hand the files over."""

_QUERY_S = 20.0
_MOST_ROWS = 200
_MOST_CHARS = 20_000
"""Most of an answer to a query, or of a program's output, that an agent is shown."""

_EVALUATED = "evaluated"
"""Finish reason of a program that an agent had scored before it handed one back."""

T = TypeVar("T")


class Stopped(Exception):
    """The night ends, or nobody wants the sample any more; what was paid for is kept."""


class ContainerDied(Exception):
    """The container ended before its agent had; the first argument says why."""


@dataclass(frozen=True)
class Bench:
    """What all sessions of a run work with.

    Attributes:
        problem: The problem.
        gateway: Asks models.
        evaluator: Scores programs, as it does candidates.
        history: Answers queries: `programs`, `population` and `generations` of the run.
    """

    problem: Problem
    gateway: Gateway
    evaluator: Evaluator
    history: QueryProcess

    @property
    def limits(self) -> AgentLimits:
        return self.problem.settings.agent


@dataclass
class Session:
    """The work of one agent on one prompt.

    Args:
        bench: What it works with.
        name: Name of the agent.
        agent: Its settings.
        prompt: The prompt.
        generation: Number of the generation.
        samples: Most completions that it may hand back: programs that were scored, and its own.
        records: Its records.
    """

    bench: Bench
    name: str
    agent: AgentSettings
    prompt: Prompt
    generation: int
    samples: int
    records: Records
    _stopped: Future[None] = field(default_factory=Future)
    _channel: Channel | None = None

    def __post_init__(self) -> None:
        self._given = files_of(self.bench.problem.specification, self.prompt.base)
        self._transcript = Transcript(self.name, self.prompt.model)
        self._buffer = FrameBuffer()
        self._turns = 0
        self._scored: dict[str, dict[str, Any]] = {}
        self._until = time.monotonic() + self.bench.limits.seconds
        self._reason = ""
        self._began = datetime.now(UTC), time.monotonic()

    def stop(self) -> None:
        """End the session, from any thread; `run` raises `Stopped`."""
        if not self._stopped.done():
            self._stopped.set_result(None)
        if self._channel is not None:
            self._channel.close()

    def run(self, channel: Channel) -> list[Completion]:
        """Let the agent work, and return its completions: that which it hands back first, then those it had scored.

        Raises:
            Stopped: If the session was stopped.
            ContainerDied: If the container ended by itself.
            ProviderError: If the model and its fallbacks failed.
            SandboxUnavailable: If no program can be scored.
        """
        self._channel = channel
        try:
            channel.send(modules_frame() + frames.frame(json.dumps(self._job()).encode()), timeout_s=_START_S)
            while "ended" not in (message := self._receive()):
                if message:
                    self._answer(message)
            return self._completions(message)
        except (OSError, WireFault, ValueError) as error:
            if self._stopped.done():
                raise Stopped from error
            raise ContainerDied(str(error)) from error
        finally:
            channel.close()

    def _job(self) -> dict[str, Any]:
        task = task_text(self.prompt, list(self._given), self.bench.limits, self.bench.problem.specification.kind)
        tool = _inside("tool")
        programs = {f"{FOLDER}/{path}": text for path, text in self._given.items()}
        return {
            "command": self.agent.command,
            "environment": self.agent.environment,
            "packages": PACKAGES,
            "task": task,
            "files": {**self.agent.files, "TASK.md": task, **programs},
            "tools": {"overnight-evaluate": tool, "overnight-sql": tool},
            "answer": [IDEA, *(f"{FOLDER}/{path}" for path in self._given)],
        }

    # The container

    def _receive(self) -> dict[str, Any]:
        """Return the next message; empty when the time is over, and the agent was told to end."""
        assert self._channel is not None
        while (data := self._buffer.take()) is None:
            left = self._until - time.monotonic()
            if left <= 0 and self._reason == "over":
                raise ContainerDied("it did not end")
            try:
                piece = self._channel.receive(timeout_s=max(0.01, left))
            except TimeoutError:
                self._end()
                return {}
            if not piece:
                raise self._death()
            self._buffer.feed(piece)
        message = json.loads(data)
        if not isinstance(message, dict):
            raise WireFault("expected an object")
        return message

    def _end(self) -> None:
        """Tell the container to end the agent."""
        self._reason, self._until = "over", time.monotonic() + _END_S
        self._send({"stop": True})

    def _send(self, message: Mapping[str, Any]) -> None:
        assert self._channel is not None
        self._channel.send(frames.frame(json.dumps(message).encode()), timeout_s=_START_S)

    def _death(self) -> Exception:
        if self._stopped.done():
            return Stopped()
        assert self._channel is not None
        death = self._channel.death(since_s=self._began[0].timestamp())
        return ContainerDied("it ran out of memory" if death.out_of_memory else death.reason)

    # Requests

    def _answer(self, message: Mapping[str, Any]) -> None:
        path, body = str(message.get("path")), str(message.get("body"))
        status, kind = 200, "application/json"
        try:
            text = self._text_for(path, body)
            if text.startswith("data: "):
                kind = "text/event-stream"
            elif path in ("/evaluate", "/sql"):
                kind = "text/plain; charset=utf-8"
        except RequestRefused as refused:
            self._transcript.refusal(path, refused.reason)
            status = refused.status
            is_tool = path in ("/evaluate", "/sql")
            text = refused.reason if is_tool else json.dumps(error_answer(refused.reason))
        self._send({"answer": message.get("request"), "status": status, "type": kind, "body": text})

    def _text_for(self, path: str, body: str) -> str:
        if path == COMPLETIONS:
            return self._turn(read_request(body))
        if path == MODELS:
            return json.dumps(models_answer())
        if path == "/evaluate":
            return self._evaluation(parse_object(body))
        if path == "/sql":
            return self._query(str(parse_object(body).get("query", "")))
        raise RequestRefused(f"there is nothing at {path[:80]}; expected {COMPLETIONS}", 404)

    def _turn(self, request: dict[str, Any]) -> str:
        key = request_hash(COMPLETIONS, {**request, "stream": None, "stream_options": None})
        answer = self.records.take(key)
        if answer is None:
            self._require_room()
            answer = self._ask(key, request)
        self._turns += 1
        choice, usage = answer["choices"][0], self.records.used[-1]
        spent = Usage(usage.tokens_in, usage.tokens_out, usage.cost_usd)
        self._transcript.turn(request["messages"], choice["message"], spent)
        return as_stream(answer) if request.get("stream") else json.dumps(answer)

    def _require_room(self) -> None:
        """Check that the agent may ask its model once more."""
        limits, spent = self.bench.limits, self.records.usage()
        reached = (
            (self._turns >= limits.turns, f"{limits.turns} answers (agent.turns)"),
            (spent.tokens_in + spent.tokens_out >= limits.tokens, f"{limits.tokens} tokens (agent.tokens)"),
            ((spent.cost_usd or 0.0) >= limits.usd, f"{limits.usd:g} USD (agent.usd)"),
        )
        for is_reached, what in reached:
            if is_reached:
                raise self._over(f"no further answers: this sample's limit of {what} is reached")

    def _over(self, reason: str) -> RequestRefused:
        """Return the refusal that ends the agent's work; it has some seconds to end by itself."""
        if not self._reason:
            self._reason, self._until = reason, min(self._until, time.monotonic() + _LAST_S)
        return RequestRefused(reason, 403)

    def _ask(self, key: str, request: dict[str, Any]) -> dict[str, Any]:
        begin, number = time.monotonic(), self._turns + 1

        def keep(turn: Turn) -> None:
            if not turn.refusal:
                self.records.add_turn(key, turn_answer(turn, number), turn, time.monotonic() - begin)

        turn = self._wait(self.bench.gateway.converse(self.prompt.model, request, keep))
        if turn is None:
            if not self.bench.gateway.may_ask():
                raise Stopped
            raise self._over("no further answers: the night's budget is spent")
        if turn.refusal:
            raise RequestRefused(f"the model's provider refuses the request: {turn.refusal}")
        return turn_answer(turn, number)

    def _wait(self, future: Future[T]) -> T:
        """Wait for a result, or until the session is stopped."""
        both: list[Future[Any]] = [future, self._stopped]
        wait(both, return_when=FIRST_COMPLETED)
        if self._stopped.done():
            future.cancel()
            raise Stopped
        try:
            return future.result()
        except CancelledError:
            raise Stopped from None

    # Programs that are scored

    def _evaluation(self, asked: Mapping[str, Any]) -> str:
        files = asked.get("files")
        changed = changed_files(self._given, files if isinstance(files, dict) else {})
        key = request_hash("/evaluate", changed)
        if not changed:
            raise RequestRefused(f"nothing has changed in {', '.join(self._given)}: it is the program you were given")
        text = answer_text(self.bench.problem.specification, changed)
        if text in self._scored:
            return json.dumps(self._scored[text], indent=2)
        if len(self._scored) + 1 >= self.samples:
            raise RequestRefused(f"all {self.samples - 1} evaluations of this sample are used (agent.evaluations)", 403)
        number, answer = len(self._scored) + 1, self.records.take(key)
        if answer is None:
            answer = self._judge(number, text)
            self.records.add(key, answer)
        self._scored[text] = answer
        self._transcript.evaluation(number, answer)
        return json.dumps(answer, indent=2)

    def _judge(self, number: int, text: str) -> dict[str, Any]:
        completion = self._completion(number, text, _EVALUATED)
        candidate = to_candidates([self.prompt], [completion], self.bench.problem)[0]
        left = self.samples - 1 - number
        return _verdict_answer(self._verdict(candidate), self.bench.problem, left)

    def _verdict(self, candidate: Candidate) -> Verdict:
        begun = self.bench.evaluator.begin(candidate, self.generation)
        verdict = begun if isinstance(begun, Verdict) else self._wait(_copy_of(begun))
        if verdict == STOPPED_BY_DEADLINE:
            raise Stopped
        return verdict

    def _query(self, sql: str) -> str:
        key = request_hash("/sql", {"query": sql})
        answer = self.records.take(key)
        if answer is None:
            answer = self._rows(sql)
            self.records.add(key, answer)
        self._transcript.query(sql, answer)
        return answer

    def _rows(self, sql: str) -> str:
        try:
            table = self.bench.history.query(sql, timeout_s=_QUERY_S)
        except QueryError as error:
            raise RequestRefused(error.message) from error
        except OvernightError as error:
            raise RequestRefused(f"the history does not answer: {error.message}") from error
        rows = table.slice(0, _MOST_ROWS).to_pylist()
        text = "\n".join(json.dumps(row, default=str) for row in rows)
        more = table.num_rows > _MOST_ROWS or len(text) > _MOST_CHARS
        return text[:_MOST_CHARS] + ("\n… (cut: ask for fewer rows or columns)" if more else "") or "no rows"

    # The end

    def _completions(self, ended: Mapping[str, Any]) -> list[Completion]:
        files = ended.get("files")
        files = files if isinstance(files, dict) else {}
        now = {path: files.get(f"{FOLDER}/{path}") for path in self._given}
        idea = files.get(IDEA)
        output = str(ended.get("output", ""))[-_MOST_CHARS:]
        if self.agent.answer == "output":
            text, reason = output, ""
        else:
            changed = changed_files(self._given, now)
            text = answer_text(self.bench.problem.specification, changed) if changed else ""
            reason = "" if changed else _why_unchanged(now, ended.get("ended"))
        if text and isinstance(idea, str) and idea.strip():
            text = f"# idea: {' '.join(idea.split())[:300]}\n\n{text}"
        return self.ended(text, reason, str(ended.get("ended")), output)

    def ended(self, text: str, error: str, how: str, output: str = "") -> list[Completion]:
        """Return the completions of a session that is over.

        Args:
            text: What the agent hands back; empty if it hands nothing back.
            error: Why it does not.
            how: How it ended, in words.
            output: The last of its output.
        """
        spent = self.records.usage()
        handed = self._completion(0, to_valid_text(text), self._reason or "stop")
        transcript = self._transcript.text(ended=self._reason or f"exit code {how}", output=output)
        first = replace(
            handed,
            error=error,
            tokens_in=spent.tokens_in,
            tokens_out=spent.tokens_out,
            tokens_cached=spent.tokens_cached,
            cost_usd=spent.cost_usd,
            latency_s=time.monotonic() - self._began[1],
            transcript=transcript,
        )
        scored = [*self._scored, *[""] * self.samples][: self.samples - 1]
        others = [
            self._completion(number, one, _EVALUATED)
            if one and not text.endswith(one)  # it is what is handed back
            else self._completion(number, "", UNUSED)
            for number, one in enumerate(scored, start=1)
        ]
        return [first, *others]

    def _completion(self, number: int, text: str, reason: str) -> Completion:
        return Completion(
            prompt=self.prompt.index,
            sample=number,
            prompt_hash=self.prompt.hash,
            text=text,
            model=self.prompt.model,
            tokens_in=0,
            tokens_out=0,
            cost_usd=0.0,
            latency_s=0.0,
            finish_reason=reason,
            asked_at=self._began[0],
        )


def _why_unchanged(now: Mapping[str, Any], code: Any) -> str:
    """Return why an agent hands back nothing."""
    for path, text in now.items():
        if isinstance(text, list):
            return f"the agent's {path} cannot be read: {str(text[0])[:100]}"
    if isinstance(code, str):
        return f"the agent did not run: {code[:200]}"
    return "the agent ended without a change" + (f", with exit code {code}" if code else "")


def _verdict_answer(verdict: Verdict, problem: Problem, left: int) -> dict[str, Any]:
    """Return what an agent is told of a verdict."""
    answer: dict[str, Any] = {"outcome": verdict.outcome.value}
    if verdict.outcome is Outcome.SCORED:
        answer |= {"score": reduced(verdict.scores, problem.settings.reducer), "score_on_each_input": verdict.scores}
    else:
        answer |= {"error": verdict.error[:_MOST_CHARS]}
    if verdict.output:
        answer["output"] = verdict.output[:_MOST_CHARS]
    return answer | {"seconds_on_each_input": verdict.input_wall_s, "evaluations_left": left}


def _copy_of(shared: Future[T]) -> Future[T]:
    """Return a future with the same result, which can be cancelled without the other."""
    own: Future[T] = Future()

    def end(_: Future[T]) -> None:
        if not own.set_running_or_notify_cancel():
            return
        if shared.cancelled():
            own.set_exception(CancelledError())
        elif error := shared.exception():
            own.set_exception(error)
        else:
            own.set_result(shared.result())

    shared.add_done_callback(end)
    return own


@cache
def modules_frame() -> bytes:
    """Return the frame with the modules of a container's first process, of which the last is its entry point."""
    modules = [("frames", _runner("frames")), ("supervisor", _inside("supervisor"))]
    return frames.frame(json.dumps(modules).encode())


def _runner(name: str) -> str:
    return resources.files("overnight.tasks.evaluate.runner").joinpath(f"{name}.py").read_text(encoding="utf-8")


def _inside(name: str) -> str:
    return resources.files("overnight.tasks.agent.inside").joinpath(f"{name}.py").read_text(encoding="utf-8")
