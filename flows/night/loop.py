"""The loop of a night: takes events from one queue, hands them to the core, and performs what it asks for."""

from __future__ import annotations

import contextlib
import contextvars
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

from overnight.flows.night import events
from overnight.flows.night.core import NightCore
from overnight.flows.night.open_run import OpenRun
from overnight.flows.night.requests import take
from overnight.flows.night.stop_conditions import StopConditions
from overnight.schemas.errors import EnvironmentFault, HistoryError, OvernightError
from overnight.schemas.generation import GenerationRecord, RunHistory, StopReason
from overnight.schemas.interventions import Intervention, Kind
from overnight.schemas.program import TUNER, best_of
from overnight.tasks.history import record, stored_run
from overnight.tasks.history.interventions import pending_requests

if TYPE_CHECKING:
    from overnight.flows.night.attempt import GenerationAttempt

_TICK_S = 0.2
"""Longest seconds between two looks at the clock, which may be set or may advance while the machine sleeps."""

_LOOK_AGAIN_S = 10.0
"""Seconds after which requests of people are tried again that could not be recorded."""


@dataclass(frozen=True)
class Observer:
    """Callbacks that tell of a night while it runs, from the loop's thread.

    Attributes:
        committed: Called after each commit.
        paused: Called when a pause begins, with its cause, and again with an empty text after it.
        ticked: Called now and then.
        taken: Called with what people asked for, once it is recorded.
    """

    committed: Callable[[GenerationRecord], None]
    paused: Callable[[str, float], None]
    ticked: Callable[[], None]
    taken: Callable[[Sequence[Intervention]], None]


class NightLoop:
    """Performs the actions of one night's core. One thread runs it; others only put events into its queue."""

    def __init__(self, run: OpenRun, core: NightCore, conditions: StopConditions) -> None:
        self._run = run
        self._core = core
        self._conditions = conditions
        self._events: SimpleQueue[events.Event] = SimpleQueue()
        self._attempts: dict[int, GenerationAttempt | _Unstarted] = {}
        self._commits: dict[int, GenerationRecord] = {}
        self._threads: list[threading.Thread] = []
        self._flow_runs = threading.Lock()
        self._context: contextvars.Context | None = None
        self._flow: Callable[[str, int, str], Any] | None = None
        self._observer: Observer | None = None
        self._finish: events.Finish | None = None
        self._paused_at: float | None = None
        self._is_cut = self._are_confirmations_cut = False
        self._bytes_of_requests = 0
        self._look_again_at = 0.0

    def ask_early(self) -> None:
        """Ask for the first prompts, before the flow runs can start. Their answers are kept whatever happens."""
        self._take(events.Tick())
        while not self._events.empty():
            self._take(self._events.get())

    def run(
        self, context: contextvars.Context, generation: Callable[[str, int, str], Any], observer: Observer
    ) -> StopReason:
        """Run the night to its end, and return its reason.

        Args:
            context: Context with Prefect's settings for the flow runs of generations.
            generation: Their flow, which takes the id of the run, a number and the history.
            observer: What is told of it.

        Raises:
            OvernightError: If the night fails.
        """
        self._context, self._flow, self._observer = context, generation, observer
        for key, attempt in self._attempts.items():
            self._attempts[key] = self._start(key, attempt)
        while self._finish is None:
            self._look_at_the_clock()
            self._look_for_requests()
            try:
                event = self._events.get(timeout=_TICK_S)
            except Empty:
                event = events.Tick()
            self._take(event)
            observer.ticked()
        self._join()
        if self._finish.error is not None:
            raise self._finish.error
        return self._finish.reason

    def stop_now(self) -> None:
        """End all flow runs, after a person has stopped the night at once."""
        self._run.stop_now()
        self.abandon("the night was stopped at once")

    def abandon(self, why: str) -> None:
        """End the flow runs that wait for work."""
        for attempt in self._attempts.values():
            attempt.inbox.put(events.Abandon(attempt.key, why, is_cancelled=True))
        self._join()

    def _join(self) -> None:
        for thread in self._threads:
            thread.join()

    def clock(self) -> events.Clock:
        """Return what the core is told of the world."""
        run, budget = self._run, self._run.progress.budget
        return events.Clock(
            now=datetime.now(UTC),
            seconds=time.monotonic(),
            tokens=budget.tokens,
            night_usd=budget.night_usd,
            total_usd=budget.total_usd,
            is_exhausted=budget.is_exhausted,
            interrupted=run.progress.interrupted,
            answered_at=run.batch_jobs.answered_at,
            batch_brought=frozenset(filter(self._has_answers, run.batch_jobs.answered())),
        )

    def _has_answers(self, generation: int) -> bool:
        return not self._core.state.has_ended(generation) and bool(self._run.stores.known(generation))

    def _take(self, event: events.Event) -> None:
        clock = self.clock()
        for action in self._core.handle(event, clock):
            self._perform(action, clock.seconds)
        if isinstance(event, events.Committed):
            self._note_committed(self._commits.pop(event.attempt))
        if isinstance(event, events.Ended):
            del self._attempts[event.attempt]

    def _look_at_the_clock(self) -> None:
        """Cut short what is under way, once it is time."""
        now, conditions = datetime.now(UTC), self._conditions
        if not self._is_cut and conditions.cut_at is not None and now >= conditions.cut_at:
            self._is_cut = True
            self._take(events.Cut())
            self._run.cut()
        if not self._are_confirmations_cut and conditions.ends_by is not None and now >= conditions.ends_by:
            self._are_confirmations_cut = True
            self._run.cut_confirmations()

    def _look_for_requests(self) -> None:
        """Take what people ask for meanwhile: hints and pins at once, drops when the history is read again."""
        try:
            size = self._run.files.requests.stat().st_size
        except OSError:  # nobody has asked for anything
            return
        if size == self._bytes_of_requests or time.monotonic() < self._look_again_at:
            return
        try:
            requests = pending_requests(self._run.files)
            hints = [one for one in requests if one.kind is not Kind.DROP]
            taken = self._record(hints, None) if hints else []
        except (EnvironmentFault, HistoryError):  # a full disk, or a store that is away
            self._look_again_at = time.monotonic() + _LOOK_AGAIN_S
            return
        self._bytes_of_requests = size
        if taken:
            self._note_taken(taken)
            self._take(events.Suggested(taken))
        if len(hints) < len(requests):
            self._take(events.DropWanted())

    def _record(self, requests: Sequence[Intervention], past: RunHistory | None) -> list[Intervention]:
        first = self._core.state.planner.next_turn
        return take(self._run.files, requests, first, past, self._core.plan.number)

    def _note_taken(self, taken: Sequence[Intervention]) -> None:
        if self._observer:
            self._observer.taken(taken)

    def _perform(self, action: events.Action, now: float) -> None:
        match action:
            case events.Begin(key, number):
                self._begin(key, number)
            case events.Ask() | events.Confirm() | events.Abandon():
                self._pass_on(action)
            case events.Commit(key, generation):
                questions = tuple(self._run.stores.take_answers(generation.number))
                unused_usd = self._run.unused_usd(generation.number, generation.judged)
                self._commits[key] = replace(generation, unused_usd=unused_usd, questions=questions)
                self._attempts[key].inbox.put(events.Commit(key, self._commits[key]))
            case events.Reload():
                self._events.put(self._reload())
            case events.GiveUp(number, place):
                with contextlib.suppress(EnvironmentFault, HistoryError):
                    record.give_up(self._run.files, number, place)
                self._run.progress.forget(number)
            case events.Say(text):
                self._run.progress.note(text)
            case events.Phase(name, generation):
                self._run.progress.enter(name, generation)
            case events.Pause(seconds, said):
                self._pause(seconds, said, now)
            case events.Close():
                left_s = self._seconds_left(self._run.run.problem.settings.sampling.timeout_s)
                self._run.finish(left_s)
            case events.Finish():
                self._finish = action

    def _begin(self, key: int, number: int) -> None:
        attempt = _Unstarted(key, number)
        self._attempts[key] = attempt if self._context is None else self._start(key, attempt)
        run = self._run
        try:
            run.files.probe()
            run.limits.can_keep = True
            run.stores.open(number)
            run.evaluator.begin_attempt(number)
            self._events.put(events.Opened(key, run.stores.samples(number), run.files.failed_attempts(number)))
        except OvernightError as error:
            self._events.put(events.Failed(key, error))

    def _start(self, key: int, attempt: _Unstarted | GenerationAttempt) -> GenerationAttempt:
        from overnight.flows.night.attempt import GenerationAttempt  # loading Prefect takes a second

        assert self._context is not None
        assert self._flow is not None
        started = GenerationAttempt(
            self._run, key, attempt.number, self._events.put, self._flow, self._flow_runs, inbox=attempt.inbox
        )
        self._threads = [*(one for one in self._threads if one.is_alive()), started.start(self._context)]
        return started

    def _pass_on(self, action: events.Ask | events.Confirm | events.Abandon) -> None:
        if isinstance(action, events.Ask):
            if action.group:
                for number in action.group:
                    self._run.stores.open(number)
                self._run.batch_jobs.expect(action.number, action.group)
            elif self._context is None and all(prompt.model != TUNER for prompt in action.prompts):
                self._run.sampler.begin(action.number, action.prompts)
        self._attempts[action.attempt].inbox.put(action)

    def _reload(self) -> events.Reloaded:
        try:
            self._run.files.require_run()  # reading what is left of a removed history would fail again and again
            self._run.files.catch_up()
            history = self._read_history()
            if drops := [one for one in pending_requests(self._run.files) if one.kind is Kind.DROP]:
                taken = self._record(drops, history)
                history = self._read_history()
                self._run.progress.fall_back(best_of(history.programs.values()))
                self._note_taken(taken)
            return events.Reloaded(history)
        except OvernightError as error:
            return events.Reloaded(None, error)

    def _read_history(self) -> RunHistory:
        samples = self._run.run.problem.settings.candidates_per_prompt
        return stored_run.read_run_history(self._run.files, samples=samples)

    def _pause(self, seconds: float | None, said: str, now: float) -> None:
        if seconds is None and self._paused_at is not None:
            if self._observer:
                self._observer.paused("", now - self._paused_at)
            self._paused_at = None
        elif seconds is not None:
            self._paused_at = now if self._paused_at is None else self._paused_at
            if self._observer:
                self._observer.paused(said, 0.0)

    def _note_committed(self, generation: GenerationRecord) -> None:
        self._run.committed(generation)
        outcomes = [one.verdict.outcome for one in generation.judged if one.candidate.completion.model != TUNER]
        self._run.progress.committed(generation.number, outcomes, generation.best)
        if self._observer:
            self._observer.committed(generation)

    def _seconds_left(self, most: float) -> float:
        """Return the seconds until the generations under way are cut short, `most` at most."""
        if self._conditions.cut_at is None:
            return most
        return min(most, (self._conditions.cut_at - datetime.now(UTC)).total_seconds())


class _Unstarted:
    """An attempt whose flow run cannot start yet."""

    def __init__(self, key: int, number: int) -> None:
        self.key = key
        self.number = number
        self.inbox: SimpleQueue[events.Ask | events.Confirm | events.Commit | events.Abandon] = SimpleQueue()
