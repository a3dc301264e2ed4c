"""A night of an open run: one loop takes events from one queue, hands them to the core, and does what that asks for."""

from __future__ import annotations

import contextlib
import contextvars
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

from overnight.flows.formatting import history_flag
from overnight.flows.night import events
from overnight.flows.night.calendar_budget import count_other_nights
from overnight.flows.night.core import NightCore
from overnight.flows.night.facts import ShownNight
from overnight.flows.night.final_evaluation import hold_final
from overnight.flows.night.night_limits import NightPlan, unknown_metrics
from overnight.flows.night.notifications import Notifier, notification_addresses
from overnight.flows.night.open_run import OpenRun
from overnight.flows.night.reporting import NightReporter
from overnight.flows.night.requests import NewRequests, take
from overnight.flows.night.samples_in_flight import (
    said_of_sessions,
    samples_if_slow,
    samples_of_night,
    sessions_beside,
)
from overnight.flows.night.stop_conditions import StopConditions
from overnight.schemas.errors import EnvironmentFault, HistoryError, OvernightError
from overnight.schemas.generation import GenerationRecord, NightRecord, RunHistory, StopReason
from overnight.schemas.interventions import Intervention, Kind
from overnight.schemas.program import NO_MODELS, best_of
from overnight.schemas.report_data import Drawings
from overnight.tasks.evaluate.host_slots import HostSlots
from overnight.tasks.history import record, stored_run
from overnight.tasks.history.interventions import pending_requests
from overnight.tasks.sample.provider import require_prices

if TYPE_CHECKING:
    from overnight.flows.night.attempt import Work
    from overnight.flows.night.prefect_artifacts import PrefectArtifacts

_TICK_S = 0.2
"""Longest seconds between two looks at the clock, which may be set or may advance while the machine sleeps."""


class Night:
    """One night of an open run. One thread runs it; others only put events into its queue.

    Args:
        retried: Numbers of failed generations that are tried again in place of new ones.
        notifier: Sender of notifications; by default, that of the environment.

    Attributes:
        in_flight: Number of samples in flight, and why, in words.
    """

    def __init__(
        self,
        run: OpenRun,
        conditions: StopConditions,
        retried: list[int] | None = None,
        notifier: Notifier | None = None,
    ) -> None:
        settings = run.run.problem.settings
        if conditions.budget.is_in_usd:
            require_prices(settings.sampling)
        if not settings.objectives.searches_front:  # see `Settings.is_won_by`
            conditions = conditions.with_optimum(settings.known.optimum)
        if unknown := unknown_metrics(conditions.target, run.state.programs.values()):
            run.progress.note(f"the target asks for {', '.join(unknown)}, which no program has; is the name right?")
        self.run = run
        self.number = run.files.last_night() + 1
        self.notifier = notifier or Notifier(notification_addresses(None), warn=run.progress.note)
        in_flight, self.in_flight = samples_of_night(run, conditions)
        flag = history_flag(run.files.backend)  # for the commands that are named
        run.limits.until = conditions.until
        run.progress.begin_night(conditions.budget, self.number)
        began = datetime.now(UTC)
        count_other_nights(run.progress.budget, run.files, self.number, began)
        plan = NightPlan(
            number=self.number,
            conditions=conditions,
            samples_in_flight=in_flight,
            most_confirmations=run.most_confirmations,
            retried=None if retried is None else tuple(retried),
            samples_if_slow=samples_if_slow(run) if retried is None else None,
            history_flag=flag,
            after_empty_night=stored_run.ended_without_generation(run.files, self.number - 1),
            sessions=sessions_beside(settings) if retried is None else (),
        )
        self.in_flight += said_of_sessions(plan.sessions)
        best, clock = run.state.best, run.clock()
        row = NightRecord(
            number=self.number,
            started_at=began,
            best_before=best.score,
            best_after=best.score,
            best_program_id=best.id,
            samples_in_flight=in_flight,
            first_generation=run.state.generations + 1,
        )
        self._conditions = conditions
        self._core = NightCore(run.state, plan, clock)
        self._reporter = NightReporter(run, conditions, self._core.limits, row, flag, self.notifier)
        self._events: SimpleQueue[events.Event] = SimpleQueue()
        self._inboxes: dict[int, SimpleQueue[Work]] = {}
        self._unstarted: list[events.Begin] = []
        self._commits: dict[int, GenerationRecord] = {}
        self._threads: list[threading.Thread] = []
        self._flow_runs = threading.Lock()
        self._context: contextvars.Context | None = None
        self._flow: Callable[[str, int, str], Any] | None = None
        self._finish: events.Finish | None = None
        self._is_cut = self._are_confirmations_cut = False
        self._new_requests = NewRequests(run.files)

    @property
    def shown(self) -> ShownNight:
        """The night as it is now, for all that show it."""
        return self._reporter.shown

    def show_drawings(self, drawings: Drawings) -> None:
        """Show pictures of programs in the artifacts, once the night is over."""
        self._reporter.show_drawings(drawings)

    def cut(self) -> None:
        """Have what is under way cut short, from any thread, after which the night ends."""
        self._events.put(events.Cut())
        self.run.cut()
        self.run.cut_confirmations()

    @contextlib.contextmanager
    def begun(self) -> Iterator[Night]:
        """Begin the night: write its row, then ask for the first prompts, before the flow runs can start.

        The answers are kept whatever happens. A block that fails before the night has ended, as without a Prefect
        server, ends it.
        """
        with self._reporter.under_way(self.in_flight):
            try:
                if self._core.plan.retried is None:
                    self._ask_early()
                yield self
            except BaseException as error:
                if self._reporter.row.ended_at is None:
                    self._break_off(error)
                raise

    def _ask_early(self) -> None:
        self._take(events.Tick())
        while not self._events.empty():
            self._take(self._events.get())

    def search(
        self,
        artifacts: PrefectArtifacts,
        flow_run_id: str,
        context: contextvars.Context,
        generation: Callable[[str, int, str], Any],
    ) -> dict[str, Any]:
        """Run a night that has begun to its end, and show it in artifacts.

        Args:
            artifacts: The night's artifacts in Prefect.
            flow_run_id: Id of its flow run.
            context: Context with Prefect's settings for the flow runs of generations.
            generation: Their flow, which takes the id of the run, a number and the history.

        Returns:
            `stop_reason`, `best`, `generations` (the last one's number), `failed` (those of the run that are) and
            `night`.

        Raises:
            OvernightError: If the night fails.
        """
        run, self._context, self._flow = self.run, context, generation
        HostSlots.holder = f"run {run.run.run_id}, night {self.number}"
        self._reporter.show_in(artifacts, flow_run_id)
        try:
            reason = self._search()
        except BaseException as error:
            self._break_off(error)
            raise
        self._reporter.end(reason)
        self._reporter.note_finalists(hold_final(run, self._reporter, self._conditions))
        self._reporter.tell()
        return {
            "stop_reason": reason.value,
            "best": run.state.best.score,
            "generations": run.state.generations,
            "failed": sorted(run.state.failed),
            "night": self.number,
        }

    def _search(self) -> StopReason:
        """Run the loop until the core ends the night; return its reason, or raise its error."""
        for begun in self._unstarted:
            self._start(begun)
        while self._finish is None:
            self._look_at_the_clock()
            self._look_for_requests()
            try:
                event = self._events.get(timeout=_TICK_S)
            except Empty:
                event = events.Tick()
            self._take(event)
            self._reporter.note_time()
        self._join()
        if self._finish.error is not None:
            raise self._finish.error
        return self._finish.reason

    def _break_off(self, error: BaseException) -> None:
        """End the night after an error, or when a person stops it at once."""
        interrupted = not isinstance(error, Exception)
        try:
            if interrupted:
                self.run.stop_now()
            else:  # a flow run may wait for a relay, which has no time-out
                self.run.finish(self._seconds_left(self.run.run.problem.settings.sampling.timeout_s))
            self._abandon("the night was stopped at once" if interrupted else "the night has failed")
        finally:
            with contextlib.suppress(EnvironmentFault):  # a disk that is full must not hide why the night ended
                self._reporter.end(StopReason.INTERRUPTED if interrupted else StopReason.FAILED, error=str(error))
            self._reporter.tell()

    def _abandon(self, why: str) -> None:
        """End the flow runs that wait for work."""
        for key, inbox in self._inboxes.items():
            inbox.put(events.Abandon(key, why, is_cancelled=True))
        self._join()
        while not self._events.empty():
            event = self._events.get()
            if isinstance(event, events.Committed):  # it was under way
                self._note_committed(self._commits.pop(event.attempt))

    def _join(self) -> None:
        for thread in self._threads:
            thread.join()

    def _take(self, event: events.Event) -> None:
        for action in self._core.handle(event, self.run.clock()):
            self._perform(action)
        if isinstance(event, events.Committed):
            self._note_committed(self._commits.pop(event.attempt))
        if isinstance(event, events.Reloaded) and event.history is not None:
            self._note_lost_answers(event.history)
        if isinstance(event, events.Ended):
            del self._inboxes[event.attempt]

    def _note_lost_answers(self, history: RunHistory) -> None:
        """Note commits that took effect although they seemed to fail, as where a store's answer was lost."""
        committed = {step.generation for step in history.steps if step.is_committed}
        tried, self._commits = self._commits, {}
        for generation in tried.values():
            if generation.number in committed:
                self._note_committed(generation)

    def _look_at_the_clock(self) -> None:
        """Cut short what is under way, once it is time."""
        now, conditions = datetime.now(UTC), self._conditions
        if not self._is_cut and conditions.cut_at is not None and now >= conditions.cut_at:
            self._is_cut = True
            self._take(events.Cut())
            self.run.cut()
        if not self._are_confirmations_cut and conditions.ends_by is not None and now >= conditions.ends_by:
            self._are_confirmations_cut = True
            self.run.cut_confirmations()

    def _look_for_requests(self) -> None:
        """Take what people ask for meanwhile: hints and pins at once, drops when the history is read again."""
        taken, is_drop_wanted = self._new_requests.take(self._record)
        if taken:
            self._reporter.note_taken(taken)
            self._take(events.Suggested(taken))
        if is_drop_wanted:
            self._take(events.DropWanted())

    def _record(self, requests: Sequence[Intervention], past: RunHistory | None = None) -> list[Intervention]:
        first = self._core.state.planner.next_turn
        return take(self.run.files, requests, first, past, self._core.plan.number)

    def _perform(self, action: events.Action) -> None:
        match action:
            case events.Begin():
                self._begin(action)
            case events.Ask() | events.Confirm() | events.Prune() | events.Abandon():
                self._pass_on(action)
            case events.Commit(key, generation):
                questions = tuple(self.run.stores.take_answers(generation.number))
                self._commits[key] = replace(generation, questions=questions)
                self._inboxes[key].put(events.Commit(key, self._commits[key]))
            case events.EndEarly(key, number, prompts, agent):
                with self._posting_failure(key):
                    self.run.stores.of(number).end_early(prompts, agent)
            case events.PutOff(key, session):
                with self._posting_failure(key):
                    record.put_off(self.run.files, session)
                    self._events.put(events.HasPlace(key))
            case events.EndTuning():
                self.run.trials.is_last.set()
            case events.Reload():
                self._events.put(self._reload())
            case events.GiveUp(number, place):
                with contextlib.suppress(EnvironmentFault, HistoryError):
                    record.give_up(self.run.files, number, place)
                self.run.progress.forget(number)
            case events.Say(text):
                self.run.progress.note(text)
            case events.Phase(name, generation):
                self.run.progress.enter(name, generation)
            case events.Pause(None, _):
                self._reporter.note_end_of_pause()
            case events.Pause(_, said):
                self._reporter.note_pause(said)
            case events.Close():
                left_s = self._seconds_left(self.run.run.problem.settings.sampling.timeout_s)
                self.run.finish(left_s)
            case events.Finish():
                self._finish = action

    @contextlib.contextmanager
    def _posting_failure(self, attempt: int) -> Iterator[None]:
        """Let an attempt fail whose block cannot write."""
        try:
            yield
        except OvernightError as error:
            self._events.put(events.Failed(attempt, error))

    def _begin(self, begun: events.Begin) -> None:
        self._inboxes[begun.attempt] = SimpleQueue()
        if self._context is None:
            self._unstarted.append(begun)
        else:
            self._start(begun)
        run, number = self.run, begun.number
        with self._posting_failure(begun.attempt):
            with run.limits.noting_fault():
                run.files.probe()
            run.stores.write_waiting()
            run.begin_attempt(number)
            self._events.put(
                events.Opened(begun.attempt, run.stores.samples(number), run.files.failed_attempts(number))
            )

    def _start(self, begun: events.Begin) -> None:
        """Start the flow run of an attempt, with what was asked for before it could start."""
        from overnight.flows.night.attempt import GenerationAttempt  # loading Prefect takes a second

        assert self._context is not None
        assert self._flow is not None
        key, inbox = begun.attempt, self._inboxes[begun.attempt]
        attempt = GenerationAttempt(
            self.run, key, begun.number, self._events.put, self._flow, self._flow_runs, inbox=inbox
        )
        self._threads = [*(one for one in self._threads if one.is_alive()), attempt.start(self._context)]

    def _pass_on(self, action: events.Ask | events.Confirm | events.Prune | events.Abandon) -> None:
        if isinstance(action, events.Ask):
            if action.group:
                for number in action.group:
                    self.run.stores.open(number)
                self.run.batch_jobs.expect(action.number, action.group)
            elif self._context is None and all(prompt.model not in NO_MODELS for prompt in action.prompts):
                self.run.sampler.begin(action.number, action.prompts)
        self._inboxes[action.attempt].put(action)

    def _reload(self) -> events.Reloaded:
        try:
            self.run.files.require_run()  # reading what is left of a removed history would fail again and again
            self.run.files.catch_up()
            history = self._read_history()
            if drops := [one for one in pending_requests(self.run.files) if one.kind is Kind.DROP]:
                taken = self._record(drops, history)
                history = self._read_history()
                self.run.progress.fall_back(best_of(history.programs.values()))
                self._reporter.note_taken(taken)
            return events.Reloaded(history)
        except OvernightError as error:
            return events.Reloaded(None, error)

    def _read_history(self) -> RunHistory:
        samples = self.run.run.problem.settings.candidates_per_prompt
        return stored_run.read_run_history(self.run.files, samples=samples)

    def _note_committed(self, generation: GenerationRecord) -> None:
        self.run.committed(generation)
        outcomes = [one.verdict.outcome for one in generation.judged if one.candidate.completion.model not in NO_MODELS]
        self.run.progress.committed(generation.number, outcomes, generation.best)
        self._reporter.note_commit(generation)

    def _seconds_left(self, most: float) -> float:
        """Return the seconds until the generations under way are cut short, `most` at most."""
        if self._conditions.cut_at is None:
            return most
        return min(most, (self._conditions.cut_at - datetime.now(UTC)).total_seconds())
