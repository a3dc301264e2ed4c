"""The search flow: a night of generations, until a stop condition or a person ends it."""

from __future__ import annotations

import contextlib
import time
from collections import deque
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from prefect import flow, get_run_logger
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings
from prefect.states import Cancelled, Completed

from flows.artifacts import generation_line, night_view, open_artifacts
from flows.cutoff import cut_off
from flows.final_evaluation import judge_finalists
from flows.formatting import cost, count, error_text, few_scored, history_flag, score
from flows.generation import generation
from flows.notifications import Notifier, notification_addresses
from flows.overlap import OverlappingGenerations, generations_ahead
from flows.prefect_server.connection import outages
from flows.prefect_server.night_state import NightState
from flows.retry_policy import RetryPolicy
from flows.session import Session, open_session
from flows.stop_conditions import StopConditions, Tally, reason_to_stop, share_done
from schemas.drawings import NO_DRAWINGS, Drawings
from schemas.errors import (
    EnvironmentFault,
    HistoryError,
    HistoryGone,
    ImpossibleScore,
    Outage,
    PrefectUnavailable,
    SandboxUnavailable,
    TerminalProviderError,
    UsageError,
)
from schemas.generation import Finalist, NightRecord, StopReason
from schemas.history_backend import HistoryBackend
from schemas.night_view import LogLine, NightStart
from tasks.evaluate.host_slots import HostSlots
from tasks.history import record
from tasks.history.backends import open_history
from tasks.history.files import files_of
from tasks.history.night_log import log_line
from tasks.sample.provider import require_prices

_CLIENT_RETRIES = 2
"""Times that a generation's request to Prefect's server is repeated, after 2 and 4 seconds."""

_LOG_LINES = 10_000
"""Most lines of a night's log that are kept while Prefect's server does not answer."""

_ROW_S = 60.0
"""Seconds after which a night's row is written again, so that a killed night leaves a recent one."""


@flow(name="search", flow_run_name="{run_id}")
def search(run_id: str, history: str, rules: StopConditions, again: list[int] | None = None) -> Any:
    """Run one night of a run. Cancelled in Prefect's UI, it stops at once.

    Args:
        run_id: Id of a run that exists.
        history: Directory of the history, or its URL.
        rules: Stop conditions.
        again: Numbers of generations given up, to be retried in this night in place of new ones.

    Returns:
        `stop_reason`, `best`, `generations` (the last one's number), `failed` (those that are given up) and `night`.
    """
    with open_session(files_of(open_history(history), run_id)) as session:
        notifier = session.notifier or Notifier(notification_addresses(None), warn=get_run_logger().warning)
        state = NightState(str(flow_run.id), session.progress.interrupt)
        try:
            with notifier.reporting_failure(run_id), state.monitored():
                return Night(session, rules, history, again, notifier).run()
        except KeyboardInterrupt:
            if not state.was_cancelled:
                raise
            return stopped_at_once(run_id, session.files.backend)


def stopped_at_once(run_id: str, history: HistoryBackend) -> State[Any]:
    """Return the state of a night that was cancelled in Prefect's UI."""
    return Cancelled(message=f"stopped at once; continue with: overnight resume {run_id}{history_flag(history)}")


class Night:
    """One night of an open session.

    Attributes:
        pages: Its artifacts.
    """

    def __init__(
        self,
        session: Session,
        rules: StopConditions,
        history: str,
        again: list[int] | None = None,
        notifier: Notifier | None = None,
    ) -> None:
        if rules.budget.is_in_usd:
            require_prices(session.run.problem.settings.sampling)
        self._session = session
        self._rules = rules
        self._history = history
        self._flag = history_flag(session.files.backend)  # for the commands that are named
        self._notifier = notifier or Notifier()
        self.pages = open_artifacts(str(flow_run.id), session.progress.note)
        self._drawings = NO_DRAWINGS
        self._log: deque[LogLine] = deque(maxlen=_LOG_LINES)
        self._warned = ""
        self._again = None if again is None else deque(again)
        self._first = session.state.generations
        self._longest_s = 0.0
        self._written = time.monotonic()
        best = session.state.best
        self._record = NightRecord(
            number=session.files.last_night() + 1,
            started_at=datetime.now(UTC),
            best_before=best.score,
            best_after=best.score,
            best_program_id=best.id,
            flow_run_id=str(flow_run.id or ""),
        )
        # A flow run without its own heartbeat thread ends a second sooner; the search's heartbeat goes on. The night
        # itself waits for a server that is down, so the client need not repeat its requests for a minute. To make
        # settings takes 20 ms, so it is done once, in the context that the generations run in.
        with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None, PREFECT_CLIENT_MAX_RETRIES: _CLIENT_RETRIES}):
            ahead = generations_ahead(session.run)
            self._running = OverlappingGenerations(self._run_generation, self._may_begin, ahead)
        session.control.begin(self._record.number, rules, self._may_begin, self._running.begin_next, self._samples_left)
        session.progress.begin_night(rules.budget)
        self._notifier.report_best(session.run.run_id, best.score, self._flag)

    def run(self) -> State[dict[str, Any]]:
        """Run the night; see `search` for what it returns."""
        record.write_night(self._session.files, self._record)
        run = self._session.run
        HostSlots.holder = f"run {run.run_id}, night {self._record.number}"
        self._say(f"started, {self._rules}; best {score(self._record.best_before)}")
        self.pages.begin(NightStart(run.run_id, run.problem.name, self._record.number))
        try:
            with (
                cut_off(self._rules.cut_at, self._session.cut),
                cut_off(self._rules.ends_by, self._session.cut_confirmations),
            ):
                reason = self._generations()
                self._session.finish()  # what is still in flight is paid for in this night
                self._running.wait()
        except BaseException as error:
            self._break_off(error)
            raise
        self._end(reason)
        self._final()
        self._tell()
        result = {
            "stop_reason": reason.value,
            "best": self._session.state.best.score,
            "generations": self._session.state.generations,
            "failed": sorted(self._session.state.failed),
            "night": self._record.number,
        }
        return Completed(message=f"stopped by: {reason.value}; best {score(result['best'])}", data=result)

    def _break_off(self, error: BaseException) -> None:
        """End the night after an error, or when a person stops it at once."""
        interrupted = not isinstance(error, Exception)
        try:
            self._session.stop_now() if interrupted else self._session.finish()
            self._running.wait()
        finally:
            with contextlib.suppress(EnvironmentFault):  # a disk that is full must not hide why the night ended
                self._end(StopReason.INTERRUPTED if interrupted else StopReason.FAILED, error=str(error))
            self._tell()

    def _generations(self) -> StopReason:
        """Run generations until a stop condition holds, and return its reason."""
        retries = self._retry_policy()
        while (reason := self._reason_to_stop()) is None:
            begin = time.monotonic()
            number = self._number
            try:
                self._attempt(number)
            except (TerminalProviderError, UsageError, HistoryGone):
                raise
            except Exception as error:
                retries.count(number, error)
                if retries.given_up is not None:
                    self._give_up(number, error)
                if retries.ends_night(error):
                    raise
                if self._reason_to_stop() is None:
                    self._pause(retries, error)
                continue
            retries = self._retry_policy()
            self._session.progress.note(self._warning())
            self._longest_s = max(self._longest_s, self._session.batch_requests.seconds_since(begin))
            if time.monotonic() - self._written >= _ROW_S:
                self._write(self._reached())
        return reason

    def _say(self, text: str) -> None:
        """Write a line to the night's log, in the history and in Prefect."""
        self._log.append(LogLine(datetime.now(UTC), text))
        log_line(self._session.files, self._record.number, text)

    def _warning(self) -> str:
        """Return the warning that nearly no sample is scored, as the log has it; empty if that is over."""
        warning = few_scored(self._session.progress.outcomes)
        if warning and not self._warned:
            self._say(f"warning: {warning}")
        self._warned = (self._warned or f"warning: {warning}") if warning else ""
        return self._warned

    def _retry_policy(self) -> RetryPolicy:
        return RetryPolicy(self._session.search.retries, self._session.search.failures)

    def _reason_to_stop(self) -> StopReason | None:
        self._refuse_the_impossible()
        reason = reason_to_stop(self._rules, self._tally(), datetime.now(UTC))
        if self._session.control.is_cut:
            # The clock may have been set back since.
            return reason or StopReason.DEADLINE
        is_spent = reason in (StopReason.BUDGET, StopReason.TOKENS)
        if is_spent and self._again is None and self._session.batch_requests.brought(self._number):
            return None  # what a batch brought is paid for
        return StopReason.GENERATIONS if reason is None and self._again is not None and not self._again else reason

    def _refuse_the_impossible(self) -> None:
        """Check that the best score does not exceed a proven optimum, which would show a bug in the checker.

        Raises:
            ImpossibleScore: If it does.
        """
        best, known = self._session.state.best, self._session.run.problem.settings.known
        if known.is_beaten_by(best.score):
            raise ImpossibleScore(
                f"program {best.id} scores {best.score:g}, but {known.best:g} is proven to be the best "
                f"({known.label}; {known.source}): what checks it has a bug",
                remedy=f"Mend the check, then start a new run. Look at it: overnight show {best.id}{self._flag}",
            )

    @property
    def _number(self) -> int:
        """Number of the generation whose turn it is."""
        return self._session.state.generations + 1 if self._again is None else self._again[0]

    def _give_up(self, number: int, error: Exception) -> None:
        """Continue without a generation, unless that cannot be recorded."""
        if self._again is not None:
            self._again.popleft()
        else:
            with contextlib.suppress(EnvironmentFault, HistoryError):
                self._session.state.give_up(number)
        self._session.progress.forget(number)
        self._session.progress.note(f"generation {number} is given up: {error_text(error)}")

    def _pause(self, retries: RetryPolicy, error: Exception) -> None:
        """Wait, longer each time, until the deadline or an interruption at the latest."""
        progress, said = self._session.progress, error_text(error)
        message = retries.message(said, error)
        progress.enter("paused")
        progress.note(message)
        self._say(message)
        self._show(now=True)
        begin = time.monotonic()
        until = begin + retries.wait_s
        while time.monotonic() < until and not progress.interrupted and not self._is_past_the_deadline():
            time.sleep(min(0.2, retries.wait_s))
        paused_s = self._record.paused_s + time.monotonic() - begin
        self._write(replace(self._reached(), paused_s=paused_s, paused_by=said))
        if progress.message == message:
            progress.note("")

    def _is_past_the_deadline(self) -> bool:
        return self._rules.until is not None and datetime.now(UTC) >= self._rules.until

    def _may_begin(self, generation: int) -> bool:
        """Return whether the stop conditions allow a later generation; generations sampled ahead count as done."""
        if self._again is not None:
            return False
        size = self._session.search.prompts * self._session.search.samples
        ahead = generation - 1 - self._session.state.generations
        tally = self._tally()
        tally = tally.model_copy(
            update={
                "generations": generation - 1 - self._first,
                "samples": (generation - 1 - self._first) * size,
                "longest_generation_s": self._longest_s * (1 + ahead),
            }
        )
        return reason_to_stop(self._rules, tally, datetime.now(UTC)) is None

    def _samples_left(self, generation: int) -> int | None:
        """Return how many samples a generation may ask for, if those before it ask for all of theirs."""
        if self._rules.max_samples is None or self._session.run.problem.settings.sampling.batch_api:
            return None
        size = self._session.search.prompts * self._session.search.samples
        ahead = max(0, generation - 1 - self._session.state.generations)
        return max(0, self._rules.max_samples - self._session.progress.candidates - ahead * size)

    def _run_generation(self, number: int) -> None:
        with outages(), self._session.flow_run_changes.alone():
            generation(self._session.run.run_id, number, self._history)

    def _attempt(self, number: int) -> None:
        state = self._session.state
        try:
            self._session.give_turn(number)
            self._running.run(number)
        except PrefectUnavailable:
            if not state.is_committed(number):
                raise
        if not state.is_committed(number):
            if self._reason_to_stop() is None:
                raise Outage(f"no completion arrived for generation {number}", remedy="It is asked for again.")
            return
        self._notifier.report_best(self._session.run.run_id, state.best.score, self._flag)
        self._say(generation_line(number, self._session.progress))
        self._show()
        if self._again is not None:
            self._again.popleft()

    def _tally(self) -> Tally:
        progress, state = self._session.progress, self._session.state
        return Tally(
            generations=state.generations - self._first,
            samples=progress.candidates,
            tokens=progress.budget.tokens,
            cost_usd=progress.budget.night_usd,
            total_usd=progress.budget.total_usd,
            best=state.best.score,
            generations_since_best=state.generations - max(progress.best_at, self._first),
            longest_generation_s=self._longest_s,
            is_exhausted=progress.budget.is_exhausted,
            interrupted=progress.interrupted,
        )

    def _end(self, reason: StopReason, error: str = "") -> None:
        """Write the night's row, before the final evaluation, which may fail."""
        self._record = night = replace(self._reached(), ended_at=datetime.now(UTC), stop_reason=reason, error=error)
        spent = cost(night.cost_usd, is_partly_unknown=self._session.progress.budget.has_unknown_costs)
        self._say(
            f"ended, stopped by: {reason.value}{f': {error}' if error else ''}; best {score(night.best_after)}; "
            f"{count(night.generations, 'generation')}, {count(night.samples, 'sample')}, cost {spent}"
        )
        record.write_night(self._session.files, self._record)

    def _reached(self) -> NightRecord:
        """Return the night's row as it is now."""
        best, cluster = self._session.state.best, self._session.cluster
        return replace(
            self._record,
            machine_faults=tuple(sorted(cluster.slots.faults().items())) if cluster else (),
            generations=self._session.progress.generations,
            samples=self._session.progress.candidates,
            cost_usd=self._tally().cost_usd,
            best_after=best.score,
            best_program_id=best.id,
            warning=few_scored(self._session.progress.outcomes),
        )

    def _write(self, reached: NightRecord) -> None:
        """Write the row of the night under way, to be seen meanwhile and kept if the night is killed."""
        self._record, self._written = reached, time.monotonic()
        with contextlib.suppress(EnvironmentFault):  # a disk that is full may be what it waits for
            record.write_night(self._session.files, reached)

    def _show(self, *, now: bool = False) -> None:
        share = share_done(self._rules, self._tally(), self._record.started_at, datetime.now(UTC))
        session, state = self._session, self._session.state
        # Once the finalists are scored on other inputs, the best of them is chosen, as `overnight best` does.
        best = self._record.finalists[0].program if self._record.finalists else state.best
        if self._record.ended_at is not None:
            share = 1.0
        self.pages.update(
            lambda: night_view(
                session.run,
                session.progress,
                state.programs,
                state.start,
                best,
                share,
                self._flag,
                self._drawings,
                self._record,
                self._log,
            ),
            now=now,
        )

    def show_drawings(self, drawings: Drawings) -> None:
        """Show pictures of programs in the artifacts, once the night is over."""
        self._drawings = drawings
        self._show(now=True)

    def _tell(self) -> None:
        session = self._session
        session.progress.enter("over")
        self._show(now=True)
        start, failed = session.state.start.score, sorted(session.state.failed)
        unknown = session.progress.budget.has_unknown_costs
        self._notifier.report_end(
            session.run.run_id, self._record, start, failed, self._flag, has_unknown_costs=unknown
        )

    def _final(self) -> None:
        finalists = self._finalists(self._retry_policy())
        self._record = replace(
            self._record, ended_at=datetime.now(UTC), finalists=finalists, best_program_id=finalists[0].program.id
        )
        record.write_night(self._session.files, self._record)

    def _finalists(self, retries: RetryPolicy) -> tuple[Finalist, ...]:
        """Hold the final evaluation, which waits for a lost engine, too, as long as the night may."""
        while True:
            self._session.progress.enter("final")
            try:
                return judge_finalists(self._session)
            except Outage as error:
                if self._is_past_the_deadline() or self._session.progress.interrupted:
                    run_id = self._session.run.run_id
                    again = f"`overnight resume {run_id} --generations 1{self._flag}` holds it again."
                    raise SandboxUnavailable(f"the final is undecided: {error.message}", remedy=again) from error
                retries.count(self._number, error)
                self._pause(retries, error)
