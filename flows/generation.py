"""One generation: sample, evaluate, confirm, select. One Prefect flow run, one commit."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.futures import PrefectConcurrentFuture
from prefect.runtime import flow_run
from prefect.states import Cancelled, Completed
from prefect.task_runners import ThreadPoolTaskRunner

from flows.formatting import error_text, score
from flows.generation_attempt import GenerationAttempt, NothingJudged, Pairs
from flows.run_state import Withdrawn
from flows.session import Session, open_session, stops_at_once
from schemas.errors import EnvironmentFault, HistoryGone
from schemas.generation import GenerationRecord
from schemas.program import Candidate, Judged, Prompt
from tasks.evaluate.evaluation_task import confirm, evaluate
from tasks.history import record
from tasks.history.backends import open_history
from tasks.history.files import files_of
from tasks.sample.sampling_task import sample
from tasks.select.selection_task import select

_TASKS_AT_A_TIME = 256
"""Each batch in flight takes two: its evaluate task waits for its sample task."""


@flow(
    name="generation",
    flow_run_name="{run_id}-g{number}",
    task_runner=ThreadPoolTaskRunner(max_workers=_TASKS_AT_A_TIME),  # pyright: ignore[reportArgumentType, reportCallIssue]
)
def generation(run_id: str, number: int, history: str) -> State[float]:
    """Run one generation and commit it. A failure is recorded beside the history and raised.

    Args:
        run_id: Id of the run.
        number: Number of the generation: the one after the last, or one that failed. A committed one is left alone.
        history: Directory of the history, or its URL.

    Returns:
        The best score of the run after it.
    """
    with open_session(files_of(open_history(history), run_id)) as session, session.flow_run_changes.others_allowed():
        state = session.state
        if not state.is_ahead(number):
            session.probe_disk()  # before the attempt: a full disk is no fault of the generation's
            state.settle()
        if state.is_committed(number):
            return Completed(message="it is committed already", data=state.best.score)
        with state.under_way(number):
            stages = FlowStages(session, number)
            attempt = GenerationAttempt(session, number, stages, flow_run_id=str(flow_run.id or ""))
            return _final_state(session, number, attempt)


def _final_state(session: Session, number: int, attempt: GenerationAttempt) -> State[float]:
    """Run an attempt; return the state in which its flow run ends."""
    state = session.state
    try:
        judged = attempt.run()
    except Withdrawn:
        return Cancelled(message="it was begun before its turn, and begins again after the generation before it")
    except NothingJudged:
        state.reload()
        return Completed(message="nothing was judged before it ended; it is not committed", data=state.best.score)
    except HistoryGone:
        raise
    except stops_at_once():
        session.stop_now()  # before Prefect waits for the tasks, which wait for what is in flight
        raise
    except Exception as error:
        state.reload()  # the error may have come after the commit
        if state.is_committed(number):
            return Completed(message="it is committed all the same", data=state.best.score)
        # A disk that is full, which may be the very reason, must not hide it.
        with contextlib.suppress(EnvironmentFault):
            record.record_failure(session.files, attempt.record_of_failure(error_text(error)))
        raise
    scored = sum(one.score is not None for one in judged)
    best = state.best.score
    return Completed(message=f"{scored} of {len(judged)} candidates scored; best {score(best)}", data=best)


@dataclass(frozen=True)
class BatchTasks:
    """The two tasks of a batch."""

    sampled: PrefectConcurrentFuture[list[Candidate]]
    evaluated: PrefectConcurrentFuture[Pairs]

    def result(self) -> Pairs:
        """Wait for the verdicts; raise the error of the first task that failed."""
        self.sampled.result()  # its error: the evaluate task after it only says that it was not run
        return self.evaluated.result()

    def result_if_any(self) -> Pairs | None:
        """Return the verdicts of a batch that is done; `None` if a task failed."""
        if self.evaluated.wrapped_future.cancelled() or self.evaluated.wrapped_future.exception() is not None:
            return None
        self.evaluated.wait()  # takes the state over from the task; without it, the server is asked
        return self.evaluated.result() if self.evaluated.state.is_completed() else None

    def when_done(self, call: Callable[[], None]) -> None:
        """Call a function once the evaluate task is done."""
        self.evaluated.add_done_callback(lambda _: call())


class FlowStages:
    """The work of a generation as tasks of its flow run."""

    def __init__(self, session: Session, number: int) -> None:
        self._session = session
        self._run = session.key
        self._number = number
        self._evaluated: list[Any] = []
        self.sampled_at = 0.0

    def begin(self, batch: int, prompts: Sequence[Prompt]) -> BatchTasks:
        """Submit the sample and the evaluate task of a batch."""
        sampled = sample.submit(self._run, self._number, batch, prompts)
        sampled.add_done_callback(self._note_sampled)
        evaluated = evaluate.submit(self._run, self._number, batch, cast("Any", sampled))
        self._evaluated.append(evaluated)
        return BatchTasks(cast("Any", sampled), cast("Any", evaluated))

    def _note_sampled(self, _: object) -> None:
        self.sampled_at = time.monotonic()

    def confirm(self, judged: Sequence[Judged]) -> list[Judged]:
        """Run the confirm task."""
        return confirm(self._run, self._number, judged, self._session.state.niche_bests)

    def commit(self, record: GenerationRecord) -> None:
        """Run the select task."""
        select(self._run, record, wait_for=self._evaluated)
