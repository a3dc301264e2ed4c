"""Report a night while it runs: its row in the history, its log, Prefect's artifacts, and notifications."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from overnight.flows.formatting import few_scored, score
from overnight.flows.night.calendar_budget import count_other_nights
from overnight.flows.night.facts import LogLine, ShownNight, counts, ending, generation_line, without_any_score
from overnight.flows.night.night_limits import NightLimits
from overnight.flows.night.notifications import Notifier, night_summary
from overnight.flows.night.open_run import OpenRun
from overnight.flows.night.samples_in_flight import said_of
from overnight.flows.night.stop_conditions import StopConditions, share_done
from overnight.schemas.errors import EnvironmentFault, OvernightError
from overnight.schemas.generation import Finalist, GenerationRecord, NightRecord, StopReason
from overnight.schemas.interventions import Intervention
from overnight.schemas.report_data import NO_DRAWINGS, Drawings
from overnight.tasks.history import record, stored_run
from overnight.tasks.history.night_log import log_line
from overnight.tasks.history.run_lock import night_lock

if TYPE_CHECKING:
    from overnight.flows.night.prefect_artifacts import PrefectArtifacts

_LOG_LINES = 10_000
"""Most lines of a night's log that are kept while Prefect's server does not answer."""

ROW_S = 60.0
"""Seconds after which a night's row is written again, so that a killed night leaves a recent one."""

RENEWAL_S = 15.0
"""Seconds after which the time until which a night counts as alive is renewed, whatever its loop waits for."""

_ALIVE_S = 90.0
"""Seconds that a night counts as alive without a renewal: a busy machine, disk or store may hold up some of them."""


class NightReporter:
    """Reports one night, from the thread that runs it.

    Args:
        run: The open run.
        conditions: Stop conditions of the night.
        limits: Counts of the night.
        row: The night's row as it begins.
        flag: `--history` flag of commands that are named.
        notifier: Sender of notifications.

    Attributes:
        row: The night's row as it was written last.
    """

    def __init__(
        self,
        run: OpenRun,
        conditions: StopConditions,
        limits: NightLimits,
        row: NightRecord,
        flag: str,
        notifier: Notifier,
    ) -> None:
        self.row = row
        self._run = run
        self._conditions = conditions
        self._limits = limits
        self._flag = flag
        self._notifier = notifier
        self._drawings = NO_DRAWINGS
        self._warned = ""
        self._log: deque[LogLine] = deque(maxlen=_LOG_LINES)
        self._artifacts: PrefectArtifacts | None = None
        self._written = time.monotonic()
        self._paused_at: float | None = None
        self._writing = threading.Lock()
        self._is_over = threading.Event()

    @property
    def shown(self) -> ShownNight:
        """The night as it is now, for all that show it."""
        run, is_over = self._run, self.row.ended_at is not None
        return ShownNight(
            run=run.run,
            state=run.state,
            progress=run.progress,
            record=self.row if is_over else self._reached(),
            flag=self._flag,
            share=1.0 if is_over else share_done(self._conditions, self._limits.tally(run.clock())),
            pictures=self._drawings.pictures,
            log=self._log,
        )

    @contextlib.contextmanager
    def under_way(self, in_flight: str) -> Iterator[None]:
        """Write the night's row and the first lines of its log, and show that it is alive until the block ends.

        `in_flight` says how many samples are in flight, and why.
        """
        run = self._run.run
        self._note_killed()
        self._put(self.row)
        self.say(f"started, {self._conditions}; best {score(self.row.best_before)}; {in_flight}")
        if run.sandbox_warning:
            self.say(f"warning: {run.sandbox_warning}")
        self._notifier.report_best(run.run_id, self._run.state.best.score, self._flag)
        threading.Thread(target=self._renew, name="overnight-row", daemon=True).start()
        try:
            with night_lock(self._run.files, self.row.number):
                yield
        finally:
            self._is_over.set()

    def show_in(self, artifacts: PrefectArtifacts, flow_run_id: str) -> None:
        """Show the night in Prefect from now on."""
        self._artifacts = artifacts
        self._write(replace(self.row, flow_run_id=flow_run_id))
        artifacts.begin(self._run.run.run_id, self._run.run.problem.name, self.row.number)

    def _renew(self) -> None:
        """Write the row again and again, as it was written last; the loop may wait for long."""
        while not self._is_over.wait(RENEWAL_S):
            with contextlib.suppress(OvernightError), self._writing:  # a disk that is full, a store that is away
                if self.row.ended_at is None:
                    self._run.files.require_run()
                    record.write_night(self._run.files, _alive(self.row))

    def _put(self, row: NightRecord) -> None:
        with self._writing:
            self.row = _alive(row)
            record.write_night(self._run.files, self.row)

    def _note_killed(self) -> None:
        """Write to the log of the night before that it was killed, if it has no end: this one has the run's lock."""
        files, before = self._run.files, self.row.number - 1
        if before in files.night_numbers() and stored_run.read_night(files, before, {}).ended_at is None:
            log_line(files, before, "killed: it left no end; what it committed and paid for is used")

    def say(self, text: str) -> None:
        """Write a line to the night's log, in the history and in Prefect."""
        self._log.append(LogLine(datetime.now(UTC), text))
        log_line(self._run.files, self.row.number, text)

    def note_commit(self, generation: GenerationRecord) -> None:
        self._notifier.report_best(self._run.run.run_id, generation.best.score, self._flag)
        self.say(generation_line(generation.number, self._run.progress))
        if fewer := said_of(generation):
            self.say(fewer)
            self._run.progress.note(fewer)
        if failure := without_any_score(generation):
            self.say(failure)
        if warning := self._warning() or failure:
            self._run.progress.note(warning)
        self._show()

    def note_pause(self, said: str) -> None:
        """Note that a pause begins, or that its cause is another one."""
        self.say(self._run.progress.message)
        self._count_pause()
        self._paused_at = time.monotonic()
        self.row = self.row.with_pause(said, 0.0)
        self._write(self._reached())
        self._show(now=True)

    def note_end_of_pause(self) -> None:
        self._count_pause()
        self._write(self._reached())

    def _count_pause(self) -> None:
        """Count the seconds of the pause under way, if there is one, to its cause."""
        if self._paused_at is not None:
            self.row = self.row.with_pause(self.row.paused_by, time.monotonic() - self._paused_at)
            self._paused_at = None

    def note_taken(self, taken: Sequence[Intervention]) -> None:
        """Note what people asked for, once it is recorded."""
        first, *others = taken
        more = f", and {len(others)} more" if others else ""  # only one message is shown
        self._run.progress.note(
            f"{first.words}{more}, from prompt {first.prompt + 1} of generation {first.generation} on"
        )
        for one in taken:
            place = f"from prompt {one.prompt + 1} of generation {one.generation} on"
            self.say(f"{one.author or 'somebody'} asked: {one.words}; {place}")

    def note_time(self) -> None:
        """Write the row again now and then, and look at what other nights of the history have spent."""
        if time.monotonic() - self._written >= ROW_S:
            self._write(self._reached())
            with contextlib.suppress(OvernightError):  # what was read last counts until the files can be read again
                count_other_nights(self._run.progress.budget, self._run.files, self.row.number, self.row.started_at)

    def end(self, reason: StopReason, error: str = "") -> None:
        """Write the night's row, before the final evaluation, which may fail."""
        self.row = replace(self._reached(), ended_at=datetime.now(UTC), stop_reason=reason, error=error)
        self.say(f"ended, {ending(self.shown)}; best {score(self.row.best_after)}; {counts(self.shown)}")
        self._put(self.row)

    def note_finalists(self, finalists: tuple[Finalist, ...]) -> None:
        best = finalists[0].program if finalists else self._run.state.best
        self._put(replace(self.row, ended_at=datetime.now(UTC), finalists=finalists, best_program_id=best.id))

    def tell(self) -> None:
        """Show and send the result of the night."""
        self._run.progress.enter("over")
        self._show(now=True)
        self._notifier.report_end(self._run.run.run_id, self.row.stop_reason, night_summary(self.shown))

    def show_drawings(self, drawings: Drawings) -> None:
        """Show pictures of programs in the artifacts, once the night is over."""
        self._drawings = drawings
        self._show(now=True)

    def _warning(self) -> str:
        """Return the warning that nearly no sample is scored, as the log has it; empty if that is over."""
        warning = few_scored(self._run.progress.outcomes)
        if warning and not self._warned:
            self.say(f"warning: {warning}")
        self._warned = (self._warned or f"warning: {warning}") if warning else ""
        return self._warned

    def _reached(self) -> NightRecord:
        """Return the night's row as it is now."""
        run, progress = self._run, self._run.progress
        return replace(
            self.row,
            machine_faults=tuple(sorted(run.cluster.slots.faults().items())) if run.cluster else (),
            generations=progress.generations,
            samples=progress.candidates,
            cost_usd=progress.budget.night_usd,
            best_after=progress.best,  # of what is committed; the state of the search is ahead of it
            best_program_id=progress.best_id,
            warning=few_scored(progress.outcomes),
        )

    def _write(self, reached: NightRecord) -> None:
        """Write the row of the night under way, to be seen meanwhile and kept if the night is killed."""
        self._written = time.monotonic()
        with contextlib.suppress(EnvironmentFault):  # a disk that is full may be what it waits for
            self._put(reached)

    def _show(self, *, now: bool = False) -> None:
        if self._artifacts is not None:
            self._artifacts.update(self.shown, now=now)


def _alive(row: NightRecord) -> NightRecord:
    """Return the row of a night that is alive now."""
    return replace(row, alive_until=datetime.now(UTC) + timedelta(seconds=_ALIVE_S))
