"""Agents as a completion source: each prompt is the task of one session, in a container of its own.

A session's first completion is the program that the agent hands back. The programs that it had scored while it worked
follow as further samples of the prompt, so that they are candidates like all others; samples that it did not use are
recorded as unused. While it works, each turn of its model and each answer of the host is recorded, so that a session
which was cut short begins again without paying twice.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from overnight.schemas.agent_settings import AgentSettings, split_agent
from overnight.schemas.completion_source import Answer, Record, Sample, answer_in_thread
from overnight.schemas.errors import TerminalProviderError
from overnight.schemas.program import UNUSED, Completion
from overnight.tasks.agent.desk import Bench, Stopped
from overnight.tasks.agent.news import News
from overnight.tasks.agent.session import ContainerDied, Session
from overnight.tasks.agent.transcript import Transcript
from overnight.tasks.evaluate.sandbox import Channel
from overnight.tasks.sample.completion_sources import CompletionStore, merge_answers

_MOST_REFUSED = 3
"""Sessions in a row whose model may refuse all that they ask."""

_MOST_EMPTY = 10
"""Sessions in a row that may bring no program at all."""


@dataclass(frozen=True)
class Workplace:
    """Place of a run's sessions of one agent.

    Attributes:
        slots: One for each agent that may work at the same time.
    """

    name: str
    agent: AgentSettings
    start: Callable[[], Channel]
    slots: threading.Semaphore


class Sessions:
    """The sessions of a run that are under way, by the answer that they work for; used from any thread.

    Args:
        tell: Takes a line about a session.
        may_begin: Returns whether a session may begin; one that is under way goes on.
    """

    def __init__(
        self, tell: Callable[[str], None] = lambda _: None, may_begin: Callable[[], bool] = lambda: True
    ) -> None:
        self._tell = tell
        self.may_begin = may_begin
        self._under_way: dict[Answer, Session] = {}
        self._numbers = itertools.count(1)
        self._refused = 0
        self._empty = 0

    def news(self, agent: str) -> News:
        """Return the news of a session that begins."""
        return News(f"{agent} {next(self._numbers)}", self._tell)

    def states(self) -> list[str]:
        """Return what each session under way has done so far."""
        return [session.news.state for session in list(self._under_way.values())]

    @contextmanager
    def under_way(self, answer: Answer, session: Session) -> Iterator[None]:
        """Let a session be stopped while the block lasts."""
        self._under_way[answer] = session
        try:
            yield
        finally:
            del self._under_way[answer]

    def require_answers(self, session: Session) -> None:
        """Check that the model answers some session: what it refuses to one is that agent's fault, not to all.

        Raises:
            TerminalProviderError: If it refused every request of several sessions, one after the other.
        """
        refusal = session.refusal()
        self._refused = self._refused + 1 if refusal else 0
        if self._refused >= _MOST_REFUSED:
            raise TerminalProviderError(
                f"{session.prompt.model}: all requests of {self._refused} sessions were refused: {refusal}",
                remedy="Name another model for the agent, or change the agent's command in your configuration file.",
            )

    def require_programs(self, model: str, handed: Completion, scored: Sequence[Completion]) -> None:
        """Check that some session brings a program.

        Raises:
            TerminalProviderError: If several sessions, one after the other, brought none.
        """
        is_empty = bool(handed.error) and not any(one.text for one in scored)
        self._empty = self._empty + 1 if is_empty else 0
        if self._empty >= _MOST_EMPTY:
            raise TerminalProviderError(
                f"{model}: {self._empty} sessions, one after the other, brought no program; the last: {handed.error}",
                remedy="Read what they did, in the column `transcript` of `programs`; name another model or agent.",
            )

    def stop(self, answer: Answer | None = None) -> None:
        """End the session of an answer; by default all."""
        for one, session in list(self._under_way.items()):
            if answer in (None, one):
                session.stop()


@dataclass(frozen=True)
class AgentSource:
    """`CompletionSource` of the prompts of one generation that are for agents, each of which has a workplace."""

    workplaces: Mapping[str, Workplace]
    bench: Bench
    generation: int
    store: CompletionStore
    sessions: Sessions

    def submit(self, wanted: Sequence[Sample], record: Record) -> Answer:
        """Begin a session for each prompt; see `CompletionSource.submit`."""
        groups: dict[int, list[Sample]] = {}
        for sample in wanted:
            groups.setdefault(sample.prompt.index, []).append(sample)
        return merge_answers([self._begin(group, record) for group in groups.values()])

    def _begin(self, samples: Sequence[Sample], record: Record) -> Answer:
        def work(answer: Answer) -> list[Completion]:
            try:
                completions = self._completions(samples, record, answer)
            except Stopped:
                return []
            record(completions)
            if completions and not completions[0].sample:
                self.sessions.require_programs(samples[0].prompt.model, completions[0], completions[1:])
            return completions

        return answer_in_thread(work, "overnight-agent", self.sessions.stop)

    def _completions(self, samples: Sequence[Sample], record: Record, answer: Answer) -> list[Completion]:
        prompt, numbers = samples[0].prompt, {sample.number for sample in samples}
        place = self.workplaces[split_agent(prompt.model)[0]]
        with place.slots:
            completions = self._session(place, samples, record, answer)
        if 0 not in numbers:  # its first was stored, and a crash lost others
            completions = [replace(one, text="", finish_reason=UNUSED, transcript="") for one in completions]
        return [one for one in completions if one.sample in numbers]

    def _session(self, place: Workplace, samples: Sequence[Sample], record: Record, answer: Answer) -> list[Completion]:
        """Let the agent work; if its container dies, once more, from its records."""
        for is_last in (False, True):
            session = self._new_session(place, samples, record)
            with self.sessions.under_way(answer, session):
                if answer.cancelled() or not (self.bench.gateway.may_ask() and self.sessions.may_begin()):
                    raise Stopped
                try:
                    completions = session.run(place.start())
                    self.sessions.require_answers(session)
                    return completions
                except ContainerDied as died:
                    if is_last:
                        return session.ended("", f"the agent's container ended: {died}", str(died))
        raise AssertionError("the last attempt returns")

    def _new_session(self, place: Workplace, samples: Sequence[Sample], record: Record) -> Session:
        prompt = samples[0].prompt
        transcript = Transcript(place.name, prompt, record)
        transcript.add_earlier(self.store.known().values())
        most = max(sample.number for sample in samples) + 1
        return Session(
            self.bench, place.agent, prompt, self.generation, most, transcript, self.sessions.news(place.name)
        )
