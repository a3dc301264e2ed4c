"""An attempt at a generation: the work of its flow run, whose tasks are sample, evaluate, confirm, prune and select."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import threading
import time
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from functools import partial
from queue import SimpleQueue
from typing import Any, cast

from prefect.client.schemas.objects import State
from prefect.exceptions import CancelledRun
from prefect.futures import PrefectConcurrentFuture
from prefect.runtime import flow_run
from prefect.states import Cancelled, Completed
from prefect.utilities.annotations import opaque

from overnight.flows.formatting import score
from overnight.flows.night import events
from overnight.flows.night.open_run import OpenRun
from overnight.flows.night.pruning import prune_best
from overnight.flows.prefect_server.connection import outages
from overnight.schemas.errors import EnvironmentFault
from overnight.schemas.generation import GenerationRecord
from overnight.tasks.evaluate.evaluation_task import confirm, evaluate
from overnight.tasks.history import record
from overnight.tasks.sample.sampling_task import sample
from overnight.tasks.select.selection_task import select
from overnight.tasks.tune.pruning_task import prune

Work = events.Ask | events.Confirm | events.Prune | events.Commit | events.Abandon


@dataclass
class GenerationAttempt:
    """An attempt at a generation, in a thread and a flow run of its own.

    Attributes:
        run: The open run.
        key: Number of the attempt in the night.
        number: Number of the generation.
        post: Takes events, from any thread.
        flow: The flow `generation`, which calls `work`.
        flow_runs: Lock of starts and ends of flow runs. Each is a few writes of Prefect's server; with SQLite, two that
            meet wait for each other for about two seconds, whereas one takes some hundredths.
        inbox: Work to be done.
    """

    run: OpenRun
    key: int
    number: int
    post: Callable[[events.Event], None]
    flow: Callable[[str, int, str], Any]
    flow_runs: threading.Lock
    inbox: SimpleQueue[Work] = field(default_factory=SimpleQueue)
    _batches: int = 0
    _is_abandoned: threading.Event = field(default_factory=threading.Event)

    def start(self, context: contextvars.Context) -> threading.Thread:
        """Start the flow run in a thread, with a context that has the night's settings of Prefect."""
        # A daemon, so that a thread which waits for a dead server cannot keep the process alive.
        thread = threading.Thread(
            target=context.copy().run, args=(self._run,), name=f"overnight-g{self.number}", daemon=True
        )
        thread.start()
        return thread

    def _run(self) -> None:
        ATTEMPT.set(self)
        try:
            with outages(), self.flow_runs:
                self.flow(self.run.run.run_id, self.number, self.run.files.backend.location)
        except CancelledRun:
            pass
        except Exception as error:  # noqa: BLE001  (the core decides what follows)
            self.post(events.Failed(self.key, error))
        finally:
            self.post(events.Ended(self.key))

    def work(self) -> State[float]:
        """Do what is asked for, until the generation is committed or abandoned; others may start and end meanwhile."""
        self.flow_runs.release()
        try:
            while True:
                match self.inbox.get():
                    case events.Ask() as asked:
                        self._ask(asked)
                    case events.Confirm(_, claim):
                        confirmed = confirm.submit(self.run.confirmer, self.number, _unsearched(claim))
                        confirmed.add_done_callback(lambda future, name=claim.id: self._post_confirmed(future, name))
                    case events.Prune() as wanted:
                        pruned = prune.submit(partial(prune_best, self.run, wanted, self._is_abandoned))
                        pruned.add_done_callback(self._post_pruned)
                    case events.Commit(_, record):
                        return self._commit(record)
                    case events.Abandon() as abandoned:
                        return self._abandon(abandoned)
        finally:
            self.flow_runs.acquire()

    def _ask(self, asked: events.Ask) -> None:
        self._batches += 1
        sampled = sample.submit(self.run.sampler, self.number, self._batches, _unsearched(asked.prompts))
        sampled_at = list[float]()
        sampled.add_done_callback(lambda _: sampled_at.append(time.monotonic()))
        evaluated = evaluate.submit(self.run.evaluator, self.number, self._batches, _unsearched(sampled))

        def post(future: PrefectConcurrentFuture[Any]) -> None:
            with self._posting_failure():
                sampled.result()  # its error: the evaluate task after it only says that it was not run
                self.post(events.Evaluated(self.key, asked.prompts, _result(future), max(sampled_at, default=0.0)))

        evaluated.add_done_callback(cast("Any", post))

    def _post_confirmed(self, future: Any, program_id: str) -> None:
        with self._posting_failure():
            self.post(events.Confirmed(self.key, program_id, _result(future)))

    def _post_pruned(self, future: Any) -> None:
        with self._posting_failure():
            self.post(events.Pruned(self.key, _result(future)))

    @contextlib.contextmanager
    def _posting_failure(self) -> Any:
        try:
            with outages():  # a task run that starts may ask Prefect's server for those before it
                yield
        except asyncio.CancelledError:
            pass  # Prefect's end of a task run that began after its flow run had ended, for which nobody waits
        except Exception as error:  # noqa: BLE001  (the core decides what follows)
            self.post(events.Failed(self.key, error))

    def _commit(self, generation_record: GenerationRecord) -> State[float]:
        record = replace(generation_record, flow_run_id=_flow_run_id())
        self.run.stores.of(record.number).journal.write_waiting()  # what was paid for is read from it
        best = select(_unsearched(record), self.run.write)
        self.post(events.Committed(self.key))
        scored = sum(one.score is not None for one in record.judged)
        message = f"{scored} of {len(record.judged)} candidates scored; best {score(best.score)}"
        return Completed(message=message, data=best.score)

    def _abandon(self, abandoned: events.Abandon) -> State[float]:
        self._is_abandoned.set()
        if abandoned.error is not None:
            if abandoned.record is not None:
                # A disk that is full, which may be the very reason, must not hide it.
                with contextlib.suppress(EnvironmentFault):
                    record.record_failure(self.run.files, replace(abandoned.record, flow_run_id=_flow_run_id()))
            raise abandoned.error
        if abandoned.is_cancelled:
            return Cancelled(message=abandoned.why)
        return Completed(message=abandoned.why, data=self.run.state.best.score)


ATTEMPT: ContextVar[GenerationAttempt | None] = ContextVar("attempt", default=None)
"""The attempt whose flow run this thread is."""


def _unsearched(value: Any) -> Any:
    """Return an argument of a task in which Prefect looks for no futures, beside `value` itself.

    It would visit every field of every candidate, and ask its server for the state of each future.
    """
    return opaque(value)


def _flow_run_id() -> str:
    return str(flow_run.id or "")


def _result(future: PrefectConcurrentFuture[Any]) -> Any:
    """Return the result of a task run that is done; raise its error."""
    future.wait()  # takes the state over from the task; without it, the server is asked
    return future.result()
