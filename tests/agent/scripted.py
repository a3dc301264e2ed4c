"""Agents without a container: a `Channel` whose other end is a generator, and what a session needs beside it."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Any

from overnight.schemas.agent_settings import AgentSettings
from overnight.schemas.completion_source import Sample
from overnight.schemas.errors import QueryError
from overnight.schemas.job import Call, Job
from overnight.schemas.outcome import Outcome, Verdict
from overnight.schemas.problem import Problem, Split
from overnight.schemas.program import Completion, Prompt
from overnight.schemas.settings import parse_settings
from overnight.tasks.agent.desk import Bench
from overnight.tasks.agent.source import AgentSource, Sessions, Workplace
from overnight.tasks.evaluate.delivery import FrameBuffer
from overnight.tasks.evaluate.evaluator import Evaluator
from overnight.tasks.evaluate.runner import frames
from overnight.tasks.evaluate.sandbox import Death, Sandbox
from overnight.tasks.history.query_process import QueryProcess
from overnight.tasks.program.read_specification import read_specification
from overnight.tasks.sample.budget import Budget
from overnight.tasks.sample.gateway import Gateway
from overnight.testing.completion_sources import Store

SPECIFICATION = (
    '"""Double a number."""\nimport funsearch\n@funsearch.run\ndef evaluate(n): return f(n)\n'
    '@funsearch.evolve\ndef f(x):\n    """Double x."""\n    return x + 2\n'
)
GIVEN = 'def f(x):\n    """Double x."""\n    return x + 2\n'
BETTER = "def f(x):\n    return x * 2\n"

Message = dict[str, Any]
Work = Generator[Message, Message, None]
Agent = Callable[[Message], Work]
"""An agent: takes its job, yields requests and takes their answers, and yields how it ended."""


def ask(number: int, path: str, body: Any) -> Message:
    return {"request": number, "path": path, "body": body if isinstance(body, str) else json.dumps(body)}


def turn(*texts: str, **more: Any) -> Message:
    """Return a request for a model's turn, after a conversation of these texts."""
    return {"model": "model", "messages": [{"role": "user", "content": text} for text in texts], **more}


def program(text: str) -> Message:
    return {"files": {"program.py": text}}


def ended(text: str | list[str] | None = None, code: int | str = 0, **files: str) -> Message:
    own = {} if text is None else {"program/program.py": text}
    return {
        "ended": code,
        "output": "said",
        "files": {**own, **{name.replace("_", "."): t for name, t in files.items()}},
    }


def asking(requests: Iterable[Message], answers: list[Message]) -> Work:
    """Send requests, and keep the answers."""
    for request in requests:
        answer = yield request
        answers.append(answer)


def just(*messages: Message) -> Agent:
    """Return an agent that sends messages, whatever the answers."""
    return lambda _: asking(messages, [])


class ScriptedChannel:
    """A container of which a generator is the agent."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self._work: Work | None = None
        self._received = FrameBuffer()
        self._out = b""
        self._arrived = threading.Condition()
        self._is_closed = False
        self.stopped = False

    def send(self, data: bytes, *, timeout_s: float) -> None:
        self._received.feed(data)
        while (frame := self._received.take()) is not None:
            message = json.loads(frame)
            if isinstance(message, dict):
                self._pass_on(message)

    def _pass_on(self, message: Message) -> None:
        if message.get("stop"):
            self.stopped = True
            self._put(ended())
        elif self._work is None:
            self._work = self._agent(message)
            self._put(next(self._work, None))
        else:
            try:
                self._put(self._work.send(message))
            except StopIteration:
                self._put(None)

    def _put(self, message: Message | None) -> None:
        """Hand a message over; `None` is a container that died."""
        with self._arrived:
            if message is None:
                self._is_closed = True
            elif message:
                self._out += frames.frame(json.dumps(message).encode())
            self._arrived.notify_all()

    def receive(self, *, timeout_s: float) -> bytes:
        with self._arrived:
            if not self._arrived.wait_for(lambda: self._out or self._is_closed, timeout_s):
                raise TimeoutError
            data, self._out = self._out, b""
            return data

    def death(self, *, since_s: float) -> Death:
        return Death("exit code 1")

    def close(self) -> None:
        self._put(None)


class ScriptedBackend:
    """Starts scripted containers, one after the other."""

    def __init__(self, agents: Sequence[Agent]) -> None:
        self._agents = list(agents)
        self.started: list[ScriptedChannel] = []

    def start(self) -> ScriptedChannel:
        self.started.append(ScriptedChannel(self._agents[min(len(self.started), len(self._agents) - 1)]))
        return self.started[-1]


class Doubling(Sandbox):
    """A sandbox of this process for `SPECIFICATION`."""

    def __init__(self) -> None:
        super().__init__(Job("", ()))
        self.evaluated: list[str] = []

    def run(self, source: Any) -> Verdict:
        text = source if isinstance(source, str) else source.main
        self.evaluated.append(text)
        if "1 / 0" in text:
            return Verdict(Outcome.CRASHED, error="ZeroDivisionError")
        scope: dict[str, Any] = {}
        body = text[text.index("def f(") :]
        exec(body, scope)
        return Verdict(Outcome.SCORED, scores=(float(scope["f"](5)),))

    def close(self) -> None:
        pass


def problem(api_base: str, model: str = "openai/test", **agent: Any) -> Problem:
    """Return a problem whose prompts are for an agent with this model."""
    entry = {"name": f"agent:scripted/{model}", "api_base": api_base, "input_usd": 1.0, "output_usd": 2.0}
    settings = parse_settings(
        {"inputs": [5], "sampling": {"models": [entry]}, "agent": {"evaluations": 3, **agent}}, "a test"
    )
    specification = read_specification(SPECIFICATION, "double.py")
    inputs: dict[Split, tuple[Call, ...]] = {
        "train": (specification.call(5, "input"),),
        "validation": (),
        "held_out": (),
    }
    return Problem("double", specification, settings, inputs=inputs)


def no_history() -> QueryProcess:
    raise QueryError("there is no history here", remedy="Ask nothing.")


class Office:
    """A source of agents, with everything around it in this process.

    Attributes:
        store: Completions, which outlive the source.
        budget: Budget of the night.
        open_history: Starts what answers the queries of a session; nothing does by default.
        earlier: What earlier sessions left.
    """

    def __init__(self, problem: Problem, store: Store | None = None) -> None:
        self.problem, self.store, self.budget = problem, store or Store(), Budget()
        self.sandbox, self.sessions = Doubling(), Sessions()
        self.is_open = True
        self.backend = ScriptedBackend([])
        self.open_history: Callable[[], QueryProcess] = no_history
        self.earlier: dict[str, str] = {}
        self.known: set[str] = set()
        self.try_out: Callable[[str], Future[Verdict]] | None = None

    def source(self, *agents: Agent, at_once: int = 2) -> AgentSource:
        self.backend = ScriptedBackend(agents)
        settings = AgentSettings(command=("agent",), at_once=at_once)
        place = Workplace("scripted", settings, self.backend.start, threading.Semaphore(at_once))
        gateway = Gateway(self.problem.settings.sampling, lambda: self.is_open, self.budget)
        threads = ThreadPoolExecutor(1)
        evaluator = Evaluator(self.sandbox, self.problem.specification, lambda: self.known, lambda *_: None, threads)
        bench = Bench(self.problem, gateway, evaluator, self.open_history, lambda _: self.earlier, self.try_out)
        return AgentSource({"scripted": place}, bench, 1, self.store, self.sessions)

    def wanted(self, index: int = 0) -> list[Sample]:
        model = self.problem.settings.sampling.models[0].name
        prompt = Prompt(index, "0", ("p",), model, "chat", f"prompt {index}", (0,) * 4, base="return x + 2")
        return [Sample(prompt, number) for number in range(prompt.samples)]

    def record(self, completions: Sequence[Completion]) -> None:
        self.budget.record([one for one in completions if not one.transcript])
        self.store.record(completions)

    def run(self, *agents: Agent, index: int = 0) -> list[Completion]:
        """Let agents answer one prompt, of which all samples are wanted that the store has not."""
        known = self.store.known()
        wanted = [one for one in self.wanted(index) if (one.prompt.index, one.number, one.prompt.hash) not in known]
        return self.source(*agents).submit(wanted, self.record).result(timeout=60)


def without_times(completions: Sequence[Completion]) -> list[Completion]:
    return [replace(one, latency_s=0.0, asked_at=completions[0].asked_at) for one in completions]
