"""One session of an agent: its container, its requests, its limits, and the completions that it ends with."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache
from importlib import resources
from typing import Any

from overnight.schemas.agent_settings import AgentSettings
from overnight.schemas.program import NO_GAIN, UNUSED, Completion, Prompt
from overnight.tasks.agent.clock import LAST_S, Clock
from overnight.tasks.agent.desk import EVALUATED, Bench, Desk, Stopped, new_completion
from overnight.tasks.agent.door import Asked, Ended, RequestRefused, read_frame
from overnight.tasks.agent.model_requests import COMPLETIONS
from overnight.tasks.agent.news import News
from overnight.tasks.agent.queries import MOST_CHARS
from overnight.tasks.agent.transcript import Transcript
from overnight.tasks.agent.workspace import (
    EARLIER,
    FOLDER,
    IDEA,
    Room,
    answer_text,
    changed_files,
    files_of,
    kept_files,
    task_text,
)
from overnight.tasks.evaluate.delivery import FrameBuffer, WireFault
from overnight.tasks.evaluate.runner import frames
from overnight.tasks.evaluate.runner.program import PACKAGES
from overnight.tasks.evaluate.sandbox import Channel
from overnight.tasks.sample.providers import to_valid_text

_INSIDE = "overnight.tasks.agent.inside"
_START_S = 60.0
_END_S = 60.0
"""Seconds in which a container must hand the files over."""


class ContainerDied(Exception):
    """The container ended before its agent had; the first argument says why."""


@dataclass
class Session:
    """The work of one agent on one prompt.

    Attributes:
        samples: Most completions that it may hand back: programs that were scored, and its own.
        news: Its progress, as people are told.
    """

    bench: Bench
    agent: AgentSettings
    prompt: Prompt
    generation: int
    samples: int
    transcript: Transcript
    news: News
    _channel: Channel | None = None

    def __post_init__(self) -> None:
        self._given = files_of(self.bench.problem.specification, self.prompt.base)
        self._clock = Clock(self.bench.limits.seconds, self.transcript.earlier_s)
        self._desk = Desk(
            self.bench,
            self.prompt,
            self.generation,
            self.samples,
            self.transcript,
            self._given,
            self._clock,
            self.news,
        )
        turns, scored = self.transcript.number_of(COMPLETIONS), self._desk.scored.values()
        self.news.begin_again(turns, [answer.get("score") for answer in scored])
        self._buffer = FrameBuffer()
        self._is_ending = False
        self._began = datetime.now(UTC), time.monotonic()

    def stop(self) -> None:
        """End the session, from any thread; `run` raises `Stopped`."""
        if not self._desk.stopped.done():
            self._desk.stopped.set_result(None)
        if self._channel is not None:
            self._channel.close()

    def refusal(self) -> str:
        """Return why the model's provider refused what was asked of it; empty if it answered anything."""
        return "" if self.transcript.number_of(COMPLETIONS) else self._desk.refusal

    def run(self, channel: Channel) -> list[Completion]:
        """Let the agent work, and return its completions: that which it hands back first, then those it had scored.

        Raises:
            Stopped: If the session was stopped.
            ContainerDied: If the container ended by itself.
            ProviderError: If the model and its fallbacks failed.
            SandboxUnavailable: If no program can be scored.
        """
        self._channel = channel
        self.news.started()
        try:
            channel.send(modules_frame() + frames.frame(json.dumps(self._job()).encode()), timeout_s=_START_S)
            while not isinstance(message := self._receive(), Ended):
                if message is not None:
                    self._answer(message)
            return self._completions(message)
        except (OSError, WireFault, ValueError) as error:
            if self._desk.stopped.done():
                raise Stopped from error
            raise ContainerDied(str(error)) from error
        except ContainerDied as died:
            if not self._is_ending:
                raise
            return self.ended("", f"the agent handed nothing back when it was ended: {self._desk.limit}", str(died))
        finally:
            channel.close()
            self._desk.close()

    def _job(self) -> dict[str, Any]:
        skeleton, tries = self.bench.problem.specification, self.bench.try_out is not None
        room = Room(self.agent.memory_mib, self._desk.evaluations_left, tries, self.agent.about)
        earlier = {f"{EARLIER}/{path}": text for path, text in self.bench.earlier_files(self.prompt.parent_ids).items()}
        task = task_text(self.prompt, skeleton, list(self._given), earlier, room, self.bench.limits)
        tool = _module(_INSIDE, "tool")
        programs = {f"{FOLDER}/{path}": text for path, text in self._given.items()}
        return {
            "command": self.agent.command,
            "environment": self.agent.environment,
            "packages": PACKAGES,
            "task": task,
            "files": {**earlier, **self.agent.files, "TASK.md": task, **programs},
            "tools": dict.fromkeys(["overnight-evaluate", "overnight-sql", *["overnight-try"] * tries], tool),
            "answer": [IDEA, *(f"{FOLDER}/{path}" for path in self._given)],
        }

    # The container

    def _receive(self) -> Asked | Ended | None:
        """Return the next message; `None` when the time is over, and the agent is told to end."""
        assert self._channel is not None
        while True:
            left = self._clock.left_s
            if left <= 0 and self._is_ending:
                raise ContainerDied("it did not end")
            if left <= 0:  # whatever it still asks
                self._desk.time_is_over()
                self._end()
                return None
            if (data := self._buffer.take()) is not None:
                break
            try:
                piece = self._channel.receive(timeout_s=max(0.01, left))
            except TimeoutError:
                continue
            if not piece:
                raise self._death()
            self._buffer.feed(piece)
        try:
            return read_frame(data)
        except RequestRefused as refused:
            raise WireFault(refused.reason) from refused

    def _end(self) -> None:
        """End the agent; its first process hands its files over."""
        self._is_ending, self._clock.until = True, time.monotonic() + _END_S
        self._send({"stop": True})

    def _send(self, message: Mapping[str, Any]) -> None:
        assert self._channel is not None
        self._channel.send(frames.frame(json.dumps(message).encode()), timeout_s=_START_S)

    def _death(self) -> Exception:
        if self._desk.stopped.done():
            return Stopped()
        assert self._channel is not None
        death = self._channel.death(since_s=self._began[0].timestamp())
        return ContainerDied("it ran out of memory" if death.out_of_memory else death.reason)

    def _answer(self, asked: Asked) -> None:
        if self._is_ending:
            return
        was_told = bool(self._desk.limit)
        if was_told and asked.path == COMPLETIONS:
            self._end()
            return
        status, kind, text = self._desk.answer(asked.path, asked.body)
        if self._desk.limit and not was_told:  # it has some seconds to end by itself
            self._clock.until = time.monotonic() + LAST_S
        self._send({"answer": asked.request, "status": status, "type": kind, "body": text})

    # The end

    def _completions(self, ended: Ended) -> list[Completion]:
        now = {path: ended.files.get(f"{FOLDER}/{path}") for path in self._given}
        said = ended.files.get(IDEA)
        idea = f"# idea: {' '.join(said.split())[:300]}" if isinstance(said, str) and said.strip() else ""
        output, left = ended.output[-MOST_CHARS:], kept_files(ended.left)
        if self.agent.answer == "output":
            text, reason = output, ""
        else:
            changed = changed_files(self._given, now)
            text = answer_text(self.bench.problem.specification, changed) if changed else ""
            is_as_given = all(isinstance(one, str) for one in now.values())
            if not changed and is_as_given and (idea or (ended.ended == 0 and self._desk.scored)):
                return self.ended(idea, "", str(ended.ended), output, left, found_nothing=True)
            reason = "" if changed else _why_unchanged(now, ended.ended, self._desk.limit if self._is_ending else "")
        if text and idea:
            text = f"{idea}\n\n{text}"
        return self.ended(text, reason, str(ended.ended), output, left)

    def ended(
        self,
        text: str,
        error: str,
        how: str,
        output: str = "",
        left: Mapping[str, str] | None = None,
        *,
        found_nothing: bool = False,
    ) -> list[Completion]:
        """Return the completions of a session that is over.

        The agent hands back a text, or none because of an error; `how` says in words how it ended. `left` are further
        files of its folder. One that found nothing better says so, and leaves the program as it was.
        """
        self.news.ended(error or ("found nothing better" if found_nothing else "handed a program back"))
        spent = self.transcript.usage()
        reason = NO_GAIN if found_nothing else self._desk.limit or "stop"
        handed = new_completion(self.prompt, 0, to_valid_text(text), reason)
        transcript = self.transcript.text(ended=self._desk.limit or f"exit code {how}", output=output, files=left or {})
        first = replace(
            handed,
            error=error,
            tokens_in=spent.tokens_in,
            tokens_out=spent.tokens_out,
            tokens_cached=spent.tokens_cached,
            cost_usd=spent.cost_usd,
            asked_at=self._began[0],
            latency_s=time.monotonic() - self._began[1],
            transcript=transcript,
        )
        scored = [*self._desk.scored, *[""] * self.samples][: self.samples - 1]
        others = [
            new_completion(self.prompt, number, one, EVALUATED)
            if one and not text.endswith(one)  # it is what is handed back
            else new_completion(self.prompt, number, "", UNUSED)
            for number, one in enumerate(scored, start=1)
        ]
        return [first, *others]


def _why_unchanged(now: Mapping[str, Any], code: Any, limit: str) -> str:
    for path, text in now.items():
        if isinstance(text, list):
            return f"the agent's {path} cannot be read: {str(text[0])[:100]}"
    if isinstance(code, str):
        return f"the agent did not run: {code[:200]}"
    if limit:
        return f"the agent was ended without a change: {limit}"
    return "the agent ended without a change" + (f", with exit code {code}" if code else "")


@cache
def modules_frame() -> bytes:
    """Return the frame with the modules of a container's first process, of which the last is its entry point."""
    modules = [
        ("frames", _module("overnight.tasks.evaluate.runner", "frames")),
        ("supervisor", _module(_INSIDE, "supervisor")),
    ]
    return frames.frame(json.dumps(modules).encode())


def _module(package: str, name: str) -> str:
    return resources.files(package).joinpath(f"{name}.py").read_text(encoding="utf-8")
