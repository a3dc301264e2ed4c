"""One generation: sample, evaluate, confirm, select. One Prefect flow run, one commit."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, cast

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Completed
from prefect.task_runners import ThreadPoolTaskRunner

from flows.formatting import error_text, score
from flows.session import STOPPED_AT_ONCE, Session, open_session
from schemas.errors import EnvironmentFault, UsageError
from schemas.generation import GenerationRecord
from schemas.outcome import CUT_SHORT
from schemas.program import Judged
from tasks.evaluate.evaluation_task import Pairs, confirm, evaluate
from tasks.history import record
from tasks.history.backends import open_history
from tasks.history.files import files_of
from tasks.sample.sampling_task import sample
from tasks.select.selection_task import Selected, judge, register, select


@flow(name="generation", flow_run_name="{run_id}-g{number}", task_runner=ThreadPoolTaskRunner(max_workers=64))  # pyright: ignore[reportArgumentType, reportCallIssue]
def generation(run_id: str, number: int, history: str) -> State[float]:
    """Run one generation and commit it. A failure is recorded beside the history and raised.

    Args:
        run_id: Id of the run.
        number: Number of the generation: the one after the last, or one that failed. A committed one is left alone.
        history: Directory of the history, or its URL.

    Returns:
        The best score of the run after it.
    """
    with open_session(files_of(open_history(history), run_id)) as session:
        session.settle()
        if session.is_committed(number):
            return Completed(message="it is committed already", data=session.best.score)
        if number > session.generations + 1:
            raise UsageError(f"generation {number} of {run_id} has no turn yet: {session.generations + 1} is the next")
        session.probe_disk()  # before the attempt: a full disk is no fault of the generation's
        attempt = Attempt(session, number)
        try:
            return _completed(attempt.run(), session.best.score)
        except NothingJudged:
            return Completed(message="nothing was judged before it ended; it is not committed", data=session.best.score)
        except STOPPED_AT_ONCE:
            session.stop_now()  # before Prefect waits for the tasks, which wait for what is in flight
            raise
        except Exception as error:
            if attempt.is_committed_after_all():
                return Completed(message="it is committed all the same", data=session.best.score)
            attempt.record_failure(error)
            raise


class NothingJudged(Exception):
    """A generation ended without a verdict. Its completions are kept for the next attempt."""


def _completed(judged: Sequence[Judged], best: float) -> State[float]:
    scored = sum(one.score is not None for one in judged)
    return Completed(message=f"{scored} of {len(judged)} candidates scored; best {score(best)}", data=best)


class Attempt:
    """One attempt at a generation of an open session."""

    def __init__(self, session: Session, number: int) -> None:
        self._session = session
        self._number = number
        self._started_at = datetime.now(UTC)
        session.progress.generation = number

    def run(self) -> list[Judged]:
        """Run the attempt, commit it and return every candidate with its verdict.

        Raises:
            NothingJudged: If there was no completion, or no verdict before the deadline; nothing is committed then.
        """
        session = self._session
        begin = time.monotonic()
        pairs, sample_s = self._sample_and_evaluate()
        if not pairs or (session.is_cut and all(verdict in (None, CUT_SHORT) for _, verdict in pairs)):
            raise NothingJudged
        judged = judge(session.run.run_id, self._number, pairs, session.run.problem.settings.reducer, session.known)
        judged = self._confirmed(judged)
        evaluated = time.monotonic()
        reset = self._number > session.generations and session.is_time_to_reset(self._number)
        session.progress.phase = "select"
        select(
            lambda: register(judged, self._number, session.algorithm, session.best, reset=reset),
            lambda selected: session.commit(self._record(selected, sample_s, evaluated - begin, evaluated)),
        )
        if reset:
            session.last_reset = time.monotonic()
        return judged

    def _confirmed(self, judged: list[Judged]) -> list[Judged]:
        """Return the candidates after confirmation of those that would be the best of their niche."""
        session = self._session
        confirmer = session.confirmer(self._number)
        best = {name: niche.best.score for name, niche in session.algorithm.niches.items()}
        if confirmer is None or not confirmer.concerns(judged, best):
            return judged
        session.progress.phase = "confirm"
        return confirm(judged, best, confirmer)

    def is_committed_after_all(self) -> bool:
        """Read the files again and return whether the error came after the commit."""
        self._session.reload()
        return self._session.is_committed(self._number)

    def record_failure(self, error: Exception) -> None:
        """Record why the attempt failed."""
        session = self._session
        failed = GenerationRecord(
            number=self._number,
            attempt=session.files.failed_attempts(self._number) + 1,
            night=session.night,
            started_at=self._started_at,
            ended_at=datetime.now(UTC),
            best=session.best,
            flow_run_id=str(flow_run.id or ""),
            error=error_text(error),
        )
        # A disk that is full, which may be the very reason, must not hide it.
        with contextlib.suppress(EnvironmentFault):
            record.record_failure(session.files, failed)

    def _sample_and_evaluate(self) -> tuple[Pairs, float]:
        """Sample and evaluate all batches; return the verdicts and the seconds that sampling took.

        A batch is evaluated as soon as it is sampled. Once all are sampled, models go on with the next generation.
        """
        session = self._session
        session.progress.phase = "sample and evaluate"
        begin = time.monotonic()
        current = session.pipeline(self._number)
        numbers = range(1, current.batches + 1)
        sampled = [sample.submit(number, current) for number in numbers]
        batches = zip(numbers, cast("list[Any]", sampled), strict=True)
        evaluated = [evaluate.submit(number, current, batch) for number, batch in batches]
        for future in sampled:
            future.result()
        sample_s = time.monotonic() - begin
        session.begin_later_generations(self._number)
        return [pair for future in evaluated for pair in future.result()], sample_s

    def _record(self, selected: Selected, sample_s: float, evaluate_s: float, evaluated: float) -> GenerationRecord:
        session = self._session
        return GenerationRecord(
            number=self._number,
            attempt=session.files.failed_attempts(self._number) + 1,
            night=session.night,
            started_at=self._started_at,
            ended_at=datetime.now(UTC),
            best=selected.best,
            judged=selected.judged,
            changes=selected.changes,
            sample_s=sample_s,
            evaluate_s=evaluate_s,
            select_s=time.monotonic() - evaluated,
            flow_run_id=str(flow_run.id or ""),
            place=session.place,
        )
