"""A night of an open run: its row in the history, artifacts, notifications and final evaluation around the loop."""

from __future__ import annotations

import contextlib
import contextvars
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from overnight.flows.formatting import error_text, few_scored, history_flag, score
from overnight.flows.night.core import NightCore
from overnight.flows.night.events import Clock
from overnight.flows.night.facts import LogLine, ShownNight, counts, ending, generation_line, without_any_score
from overnight.flows.night.final_evaluation import judge_finalists
from overnight.flows.night.loop import NightLoop, Observer
from overnight.flows.night.night_limits import NightPlan, unknown_metrics
from overnight.flows.night.notifications import Notifier, night_summary, notification_addresses
from overnight.flows.night.open_run import OpenRun
from overnight.flows.night.retry_policy import RetryPolicy
from overnight.flows.night.samples_in_flight import samples_of_night
from overnight.flows.night.stop_conditions import StopConditions, share_done
from overnight.schemas.errors import (
    EnvironmentFault,
    Outage,
    QuestionUnanswered,
    SandboxUnavailable,
    TerminalProviderError,
)
from overnight.schemas.generation import Finalist, GenerationRecord, NightRecord, StopReason
from overnight.schemas.interventions import Intervention
from overnight.schemas.report_data import NO_DRAWINGS, Drawings
from overnight.tasks.evaluate.host_slots import HostSlots
from overnight.tasks.history import record, stored_run
from overnight.tasks.history.night_log import log_line
from overnight.tasks.sample.provider import require_prices

if TYPE_CHECKING:
    from overnight.flows.night.prefect_artifacts import PrefectArtifacts

_LOG_LINES = 10_000
"""Most lines of a night's log that are kept while Prefect's server does not answer."""

ROW_S = 60.0
"""Seconds after which a night's row is written again, so that a killed night leaves a recent one."""


class Night:
    """One night of an open run.

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
        if conditions.budget.is_in_usd:
            require_prices(run.run.problem.settings.sampling)
        self.run = run
        settings = run.run.problem.settings
        if not settings.objectives.searches_front:  # else the search goes on for the other objectives
            conditions = conditions.with_optimum(settings.known.optimum)
        if unknown := unknown_metrics(conditions.target, run.state.programs.values()):
            run.progress.note(f"the target asks for {', '.join(unknown)}, which no program has; is the name right?")
        self._conditions = conditions
        self._flag = history_flag(run.files.backend)  # for the commands that are named
        self.notifier = notifier or Notifier(notification_addresses(None), warn=run.progress.note)
        self._drawings = NO_DRAWINGS
        self._warned = ""
        self._log: deque[LogLine] = deque(maxlen=_LOG_LINES)
        self._artifacts: PrefectArtifacts | None = None
        in_flight, self.in_flight = samples_of_night(run, conditions)
        now = datetime.now(UTC)
        best = run.state.best
        self._record = NightRecord(
            number=run.files.last_night() + 1,
            started_at=now,
            best_before=best.score,
            best_after=best.score,
            best_program_id=best.id,
            samples_in_flight=in_flight,
            first_generation=run.state.generations + 1,
        )
        self._written = time.monotonic()
        run.limits.until = conditions.until
        run.progress.begin_night(conditions.budget)
        plan = NightPlan(
            number=self._record.number,
            conditions=conditions,
            samples_in_flight=in_flight,
            most_confirmations=run.most_confirmations,
            retried=None if retried is None else tuple(retried),
            history_flag=self._flag,
            after_empty_night=stored_run.ended_without_generation(run.files, self._record.number - 1),
        )
        budget = run.progress.budget
        clock = Clock(now, time.monotonic(), total_usd=budget.total_usd, interrupted=run.progress.interrupted)
        self._core = NightCore(run.state, plan, clock)
        self._loop = NightLoop(run, self._core, conditions)

    @property
    def number(self) -> int:
        return self._record.number

    def ask_early(self) -> None:
        """Ask for the first prompts, while Prefect's server starts."""
        self._loop.ask_early()

    def search(
        self,
        artifacts: PrefectArtifacts,
        flow_run_id: str,
        context: contextvars.Context,
        generation: Callable[[str, int, str], Any],
    ) -> dict[str, Any]:
        """Run the night with the flow of its generations, in a context with Prefect's settings; show it in artifacts.

        Returns:
            `stop_reason`, `best`, `generations` (the last one's number), `failed` (those of the run that are) and
            `night`.
        """
        run, self._artifacts = self.run, artifacts
        self._record = replace(self._record, flow_run_id=flow_run_id)
        record.write_night(run.files, self._record)
        HostSlots.holder = f"run {run.run.run_id}, night {self._record.number}"
        self._say(f"started, {self._conditions}; best {score(self._record.best_before)}; {self.in_flight}")
        if warning := run.run.sandbox_warning:
            self._say(f"warning: {warning}")
        self.notifier.report_best(run.run.run_id, run.state.best.score, self._flag)
        artifacts.begin(run.run.run_id, run.run.problem.name, self._record.number)
        try:
            observer = Observer(self._note_commit, self._note_pause, self._note_time, self._note_taken)
            reason = self._loop.run(context, generation, observer)
        except BaseException as error:
            self._break_off(error)
            raise
        self._end(reason)
        self._final()
        self._tell()
        return {
            "stop_reason": reason.value,
            "best": run.state.best.score,
            "generations": run.state.generations,
            "failed": sorted(run.state.failed),
            "night": self._record.number,
        }

    def show_drawings(self, drawings: Drawings) -> None:
        """Show pictures of programs in the artifacts, once the night is over."""
        self._drawings = drawings
        self._show(now=True)

    # What the loop tells

    def _note_commit(self, generation: GenerationRecord) -> None:
        self.notifier.report_best(self.run.run.run_id, generation.best.score, self._flag)
        self._say(generation_line(generation.number, self.run.progress))
        if failure := without_any_score(generation):
            self._say(failure)
        if warning := self._warning() or failure:
            self.run.progress.note(warning)
        self._show()

    def _note_pause(self, said: str, seconds: float) -> None:
        if said:
            self._say(self.run.progress.message)
            self._write(replace(self._reached(), paused_by=said))
            self._show(now=True)
        else:
            self._write(replace(self._reached(), paused_s=self._record.paused_s + seconds))

    def _note_taken(self, taken: Sequence[Intervention]) -> None:
        first, *others = taken
        more = f", and {len(others)} more" if others else ""  # only one message is shown
        self.run.progress.note(
            f"{first.words}{more}, from prompt {first.prompt + 1} of generation {first.generation} on"
        )
        for one in taken:
            place = f"from prompt {one.prompt + 1} of generation {one.generation} on"
            self._say(f"{one.author or 'somebody'} asked: {one.words}; {place}")

    def _note_time(self) -> None:
        if time.monotonic() - self._written >= ROW_S:
            self._write(self._reached())

    def _say(self, text: str) -> None:
        """Write a line to the night's log, in the history and in Prefect."""
        self._log.append(LogLine(datetime.now(UTC), text))
        log_line(self.run.files, self._record.number, text)

    def _warning(self) -> str:
        """Return the warning that nearly no sample is scored, as the log has it; empty if that is over."""
        warning = few_scored(self.run.progress.outcomes)
        if warning and not self._warned:
            self._say(f"warning: {warning}")
        self._warned = (self._warned or f"warning: {warning}") if warning else ""
        return self._warned

    # The row of the night

    def _reached(self) -> NightRecord:
        """Return the night's row as it is now."""
        run, best = self.run, self.run.state.best
        return replace(
            self._record,
            machine_faults=tuple(sorted(run.cluster.slots.faults().items())) if run.cluster else (),
            generations=run.progress.generations,
            samples=run.progress.candidates,
            cost_usd=run.progress.budget.night_usd,
            best_after=best.score,
            best_program_id=best.id,
            warning=few_scored(run.progress.outcomes),
        )

    def _write(self, reached: NightRecord) -> None:
        """Write the row of the night under way, to be seen meanwhile and kept if the night is killed."""
        self._record, self._written = reached, time.monotonic()
        with contextlib.suppress(EnvironmentFault):  # a disk that is full may be what it waits for
            record.write_night(self.run.files, reached)

    def _break_off(self, error: BaseException) -> None:
        """End the night after an error, or when a person stops it at once."""
        interrupted = not isinstance(error, Exception)
        try:
            self._loop.stop_now() if interrupted else self._loop.abandon("the night has failed")
        finally:
            with contextlib.suppress(EnvironmentFault):  # a disk that is full must not hide why the night ended
                self._end(StopReason.INTERRUPTED if interrupted else StopReason.FAILED, error=str(error))
            self._tell()

    def _end(self, reason: StopReason, error: str = "") -> None:
        """Write the night's row, before the final evaluation, which may fail."""
        self._record = night = replace(self._reached(), ended_at=datetime.now(UTC), stop_reason=reason, error=error)
        self._say(f"ended, {ending(self.shown)}; best {score(night.best_after)}; {counts(self.shown)}")
        record.write_night(self.run.files, self._record)

    # What is shown

    @property
    def shown(self) -> ShownNight:
        """The night as it is now, for all that show it."""
        run, is_over = self.run, self._record.ended_at is not None
        return ShownNight(
            run=run.run,
            state=run.state,
            progress=run.progress,
            record=self._record if is_over else self._reached(),
            flag=self._flag,
            share=1.0 if is_over else share_done(self._conditions, self._core.limits.tally(self._loop.clock())),
            pictures=self._drawings.pictures,
            log=self._log,
        )

    def _show(self, *, now: bool = False) -> None:
        if self._artifacts is not None:
            self._artifacts.update(self.shown, now=now)

    def _tell(self) -> None:
        self.run.progress.enter("over")
        self._show(now=True)
        self.notifier.report_end(self.run.run.run_id, self._record.stop_reason, night_summary(self.shown))

    # The final evaluation

    def _final(self) -> None:
        finalists = self._finalists(RetryPolicy(retries=0, failures=1))
        best = finalists[0].program if finalists else self.run.state.best
        self._record = replace(self._record, ended_at=datetime.now(UTC), finalists=finalists, best_program_id=best.id)
        record.write_night(self.run.files, self._record)

    def _finalists(self, retries: RetryPolicy) -> tuple[Finalist, ...]:
        """Hold the final evaluation, which waits for a lost engine, too, as long as the night may."""
        while True:
            self.run.progress.enter("final")
            try:
                return judge_finalists(self.run)
            except (QuestionUnanswered, TerminalProviderError) as error:
                self._say(f"warning: no final evaluation: {error.message}")
                return ()
            except Outage as error:
                if self._is_past_the_deadline() or self.run.progress.interrupted:
                    run_id = self.run.run.run_id
                    again = f"`overnight resume {run_id} --generations 1{self._flag}` holds it again."
                    raise SandboxUnavailable(f"the final is undecided: {error.message}", remedy=again) from error
                retries.count(self._record.number, error, time.monotonic())
                self._wait(retries, error)

    def _wait(self, retries: RetryPolicy, error: Outage) -> None:
        """Wait, longer each time, until the deadline or an interruption at the latest."""
        progress, said, begin = self.run.progress, error_text(error), time.monotonic()
        progress.enter("paused")
        progress.note(retries.message(said, error, datetime.now(UTC), begin))
        self._note_pause(said, 0.0)
        until = begin + retries.wait_s
        while time.monotonic() < until and not progress.interrupted and not self._is_past_the_deadline():
            time.sleep(min(0.2, retries.wait_s))
        self._note_pause("", time.monotonic() - begin)
        progress.note("")

    def _is_past_the_deadline(self) -> bool:
        return self._conditions.until is not None and datetime.now(UTC) >= self._conditions.until
