"""An open run: everything that its nights, replays and finals work with, opened in one place."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

from overnight.flows.cluster.open_cluster import Cluster, open_cluster
from overnight.flows.night.agents import Agents
from overnight.flows.night.completions import CompletionStores, RequestLimits
from overnight.flows.night.events import Clock
from overnight.flows.night.progress import Progress
from overnight.flows.night.requests import take_all
from overnight.flows.night.search_state import SearchState
from overnight.flows.night.tuning import RunTrials, tuner_source
from overnight.flows.night.verdict_store import VerdictStore
from overnight.flows.start.judging import require_judge
from overnight.flows.start.sandboxes import open_confirmations, open_sandboxes, slots_of
from overnight.flows.start.trust import require_trusted_models, trusted_run
from overnight.schemas.completion_source import CompletionSource
from overnight.schemas.errors import Outage, OvernightError
from overnight.schemas.generation import GenerationRecord, RunRecord
from overnight.schemas.program import TUNER, Completion, Prompt
from overnight.schemas.question import Ask
from overnight.tasks.evaluate.confirmation import Confirmer
from overnight.tasks.evaluate.evaluator import Evaluator
from overnight.tasks.evaluate.sandbox import Sandbox
from overnight.tasks.history import record, stored_run
from overnight.tasks.history.compact import MIN_AT_END, MIN_DURING_NIGHT, compact
from overnight.tasks.history.files import RunFiles
from overnight.tasks.history.journal import PendingBatches
from overnight.tasks.history.run_lock import run_lock
from overnight.tasks.sample.batch_job import BatchJob
from overnight.tasks.sample.budget import Budget
from overnight.tasks.sample.completion_sources import RoutedCompletions
from overnight.tasks.sample.gateway import Gateway
from overnight.tasks.sample.judge import Judge
from overnight.tasks.sample.sampler import Sampler, samples_of

GRACE_S = 5.0
"""Seconds that a night which is stopped at once waits for completions in flight."""

_QUESTIONS_S = 60.0
"""Seconds that a night waits at its end for answers to questions of the scoring, for which no evaluation waits."""

_CLUSTER_THREADS = 512
"""Threads that may wait for verdicts of a cluster; it has fewer slots that are free at a time."""

_CONFIRMING_SHARE = 4
"""Confirmations at a time are one for so many slots, so that candidates do not wait for them."""

SourceOf = Callable[[int], CompletionSource]
"""Returns the completion source of a generation."""


def stops_at_once() -> tuple[type[BaseException], ...]:
    """Return what ends a night at once: Ctrl-C twice, and SIGTERM, which is also how Prefect cancels."""
    from prefect.exceptions import TerminationSignal  # loading Prefect takes a second, so not before it is needed

    return KeyboardInterrupt, TerminationSignal


class BatchJobs:
    """The batch jobs of an open run: the generations of a group share one."""

    def __init__(self, start: Callable[[Mapping[int, Sequence[Prompt]]], BatchJob]) -> None:
        self._start = start
        self._jobs: list[BatchJob] = []
        self._groups: dict[int, Mapping[int, Sequence[Prompt]]] = {}

    def expect(self, generation: int, group: Mapping[int, Sequence[Prompt]]) -> None:
        """Note the prompts of a generation and of those that are sent together with it."""
        self._groups[generation] = group

    def source(self, generation: int) -> CompletionSource:
        """Return the generation's completion source: its pending batch job, or a new one for its whole group."""
        for job in self._jobs:
            if generation in job.generations and not job.has_failed():
                return job.source(generation)
        job = self._start(self._groups[generation])
        self._jobs = [job, *self._jobs[:1]]
        return job.source(generation)

    @property
    def answered_at(self) -> float:
        """`time.monotonic()` at which the last job ended without an error; 0 without one."""
        return max((job.answered_at for job in self._jobs), default=0.0)

    def answered(self) -> frozenset[int]:
        """Return the numbers of generations whose job has ended."""
        return frozenset(number for job in self._jobs if job.answered_at for number in job.generations)

    def give_up(self) -> None:
        """Stop waiting; a later job collects the pending batches."""
        for job in self._jobs:
            job.give_up()


@dataclass(frozen=True)
class OpenRun:
    """A run that is open in this process. Only the process that holds the run's lock has one.

    Attributes:
        stores: Its completions.
        verdicts: Verdicts on those that are not committed.
        sandbox: Slots for evaluations.
        confirmations: Fresh containers for confirmations.
        confirmer: Runs claims again in them.
        judge: Answers questions of the scoring; `None` if it asks none.
        cluster: Cluster that evaluates; `None` for this machine.
    """

    files: RunFiles
    run: RunRecord
    state: SearchState
    progress: Progress
    limits: RequestLimits
    stores: CompletionStores
    verdicts: VerdictStore
    sampler: Sampler
    batch_jobs: BatchJobs
    sandbox: Sandbox
    evaluator: Evaluator
    confirmations: Sandbox
    confirmer: Confirmer
    trials: RunTrials
    agents: Agents
    judge: Judge | None
    compaction: Compaction
    cluster: Cluster | None = None

    @property
    def slots(self) -> int:
        """Number of candidates that are evaluated at a time."""
        return slots_of(self.run.problem) if self.cluster is None else self.cluster.total_slots

    @property
    def ask(self) -> Ask | None:
        return self.judge and self.judge.answer

    @property
    def most_confirmations(self) -> int:
        return max(1, self.slots // _CONFIRMING_SHARE)

    def clock(self) -> Clock:
        """Return what the core of a night is told of the world."""
        budget = self.progress.budget
        return Clock(
            now=datetime.now(UTC),
            seconds=time.monotonic(),
            tokens=budget.tokens,
            night_usd=budget.night_usd,
            total_usd=budget.total_usd,
            period_usd=budget.period_usd,
            is_exhausted=budget.is_exhausted,
            interrupted=self.progress.interrupted,
            answered_at=self.batch_jobs.answered_at,
            batch_brought=frozenset(filter(self._has_answers, self.batch_jobs.answered())),
        )

    def _has_answers(self, generation: int) -> bool:
        return not self.state.has_ended(generation) and bool(self.stores.known(generation))

    def begin_attempt(self, generation: int) -> None:
        """Prepare an attempt at a generation: what earlier ones paid for and evaluated is used."""
        self.stores.open(generation)
        self.evaluator.begin_attempt(generation, self.verdicts.known(generation))
        self.confirmer.begin_attempt(generation, self.verdicts.known(generation, confirms=True))

    def write(self, generation: GenerationRecord) -> None:
        """Commit a generation to the files.

        Raises:
            HistoryGone: If the run's files are gone; folders may have been made again by what was being written.
        """
        with self.limits.noting_fault():
            self.files.require_run()
            record.commit(self.files, generation)

    def committed(self, generation: GenerationRecord) -> None:
        """Drop what is not needed any more of a generation that is committed."""
        self.compaction.committed()
        self.sampler.forget(generation.number)
        self.stores.forget(generation.number)
        self.evaluator.forget(generation.number)
        self.confirmer.forget(generation.number)

    def finish(self, within_s: float) -> None:
        """Stop requesting and wait for requests in flight, whose completions the next night uses.

        What is not answered by then is cancelled: not every provider has a time-out, as a relay has none.
        """
        self.limits.is_closing = True
        self.agents.stop()
        self.evaluator.stop()
        self._finish_requests(within_s)
        self.sampler.give_up()

    def _finish_requests(self, within_s: float) -> None:
        until = time.monotonic() + within_s
        self.sampler.finish(within_s)
        if self.judge is not None:
            self.judge.finish(min(_QUESTIONS_S, max(0.0, until - time.monotonic())))

    def cut(self) -> None:
        """End sampling and evaluating with the results so far."""
        self.limits.is_closing = True
        self.sampler.cut()
        self.batch_jobs.give_up()
        self.evaluator.cut()
        self.sandbox.close()
        self.trials.close()

    def cut_confirmations(self) -> None:
        self.confirmer.cut()
        self.confirmations.close()

    def stop_now(self) -> None:
        """Keep completions that arrive within a moment and cancel the other requests."""
        self.limits.is_closing = True
        self.progress.note(f"waiting {GRACE_S:.0f} s for what is in flight; Ctrl-C again gives it up")
        try:
            self._finish_requests(GRACE_S)
        finally:
            self.batch_jobs.give_up()
            self.sampler.give_up()
            self.sandbox.close()
            self.trials.close()
            self.confirmations.close()


@contextlib.contextmanager
def open_run(
    files: RunFiles, *, source: SourceOf | None = None, answers: Sequence[Completion] | None = None
) -> Iterator[OpenRun]:
    """Open a run from its files, with its sandboxes and models.

    `source` returns the completion source of a generation; by default, it is the models of the settings.
    `answers` are the only answers to questions of the scoring; by default, the judge of the settings is asked, too.

    Raises:
        RunIsBusy: If another process has the run open.
        SandboxUnavailable: If no sandbox can be started.
    """
    with run_lock(files), contextlib.ExitStack() as stack:
        run = _open(files, stack, source, answers)
        try:
            yield run
        except stops_at_once():
            run.stop_now()
            raise
        except BaseException:
            run.finish(run.run.problem.settings.sampling.timeout_s)
            raise
        run.finish(run.run.problem.settings.sampling.timeout_s)


def read_state(files: RunFiles, run: RunRecord) -> SearchState:
    """Read the state of a run's search; raise a HistoryError if a generation is missing or a file is damaged."""
    past = stored_run.read_run_history(files, samples=run.problem.settings.candidates_per_prompt)
    stored_run.require_no_gap(files, past)
    return SearchState(run, past)


def _open(
    files: RunFiles, stack: contextlib.ExitStack, source: SourceOf | None, answers: Sequence[Completion] | None
) -> OpenRun:
    run = trusted_run(stored_run.read_run(files))
    problem, sampling = run.problem, run.problem.settings.sampling
    take_all(files, run)
    state = read_state(files, run)
    budget = Budget(before_usd=stored_run.read_spent_usd(files))
    best = state.best
    progress = Progress(
        best.score,
        problem.settings.reducer,
        problem.settings.objectives,
        state.generations,
        best_id=best.id,
        budget=budget,
    )
    limits = RequestLimits(files, progress.requests)
    stores = CompletionStores(files, progress, limits)
    stack.callback(stores.close)  # before the run's lock is released
    stores.open(state.generations + 1)
    verdicts = VerdictStore(run, stores, files.verdict_key)
    stack.callback(verdicts.close)
    gateway = Gateway(sampling, limits.may_ask, budget, progress.note, progress.requests)
    cluster = stack.enter_context(open_cluster(progress.note))
    require_judge(problem, on_cluster=cluster is not None)
    judge = None
    if problem.asks and answers is None:
        require_trusted_models(problem, run.run_id)
        known = stored_run.read_answers(files)
        judge = Judge(sampling, gateway, stores.keep_answer, limits.may_judge, known)
    elif problem.asks:
        judge = Judge(sampling, None, stores.keep_answer, known=answers or ())
    ask = judge and judge.answer
    sandbox, confirmations = _sandboxes(run, cluster, ask, stack)
    slots = slots_of(problem) if cluster is None else _CLUSTER_THREADS
    threads = stack.enter_context(ThreadPoolExecutor(slots, "overnight-slot"))
    if judge is not None:
        stack.callback(judge.close)  # before its lock is released, and before the threads that wait for answers end
    evaluator = Evaluator(
        sandbox, problem.specification, lambda: state.known, progress.judged, threads, slots, verdicts.keep
    )
    progress.evaluations = evaluator.under_way_s
    stack.callback(evaluator.stop)
    trials = RunTrials(run, evaluator, cluster, ask)
    stack.callback(trials.close)
    compaction = Compaction(files, progress.note)
    stack.callback(compaction.close)

    pending = PendingBatches(files.directory / "paid", files.backend)

    def start_batch_job(group: Mapping[int, Sequence[Prompt]]) -> BatchJob:
        wanted = {number: samples_of(prompts) for number, prompts in group.items()}
        may_wait = lambda: limits.may_ask() and not progress.interrupted  # noqa: E731
        return BatchJob(sampling, wanted, stores.of, pending, budget, may_wait, progress.note)

    batch_jobs = BatchJobs(start_batch_job)
    tuner = tuner_source(run, trials, limits.may_ask)
    agents = Agents(run, files, gateway, evaluator, progress)
    stack.callback(agents.close)
    if sampling.has_agents and source is None:
        agents.open()

    def models(generation: int) -> CompletionSource:
        require_trusted_models(problem, run.run_id)
        own = {TUNER: tuner} | agents.sources(generation, stores.of)
        return RoutedCompletions(own, lambda: batch_jobs.source(generation) if sampling.batch_api else gateway)

    return OpenRun(
        files=files,
        run=run,
        state=state,
        progress=progress,
        limits=limits,
        stores=stores,
        verdicts=verdicts,
        sampler=Sampler(problem, source or models, stores.of),
        batch_jobs=batch_jobs,
        sandbox=sandbox,
        evaluator=evaluator,
        confirmations=confirmations,
        confirmer=Confirmer(
            confirmations, problem.specification, evaluator.reserve_slot, partial(verdicts.keep, confirms=True)
        ),
        trials=trials,
        agents=agents,
        judge=judge,
        compaction=compaction,
        cluster=cluster,
    )


def _sandboxes(
    run: RunRecord, cluster: Cluster | None, ask: Ask | None, stack: contextlib.ExitStack
) -> tuple[Sandbox, Sandbox]:
    """Start the slots for evaluations, and what starts containers for confirmations."""
    start = partial(open_sandboxes, ask=ask) if cluster is None else cluster.pool
    sandbox = start(run.problem, "train", seed=run.seed, run_id=run.run_id)
    stack.callback(sandbox.close)
    fresh = partial(open_confirmations, ask=ask) if cluster is None else cluster.confirmations
    confirmations = fresh(run.problem, seed=run.seed, run_id=run.run_id)
    stack.callback(confirmations.close)
    return sandbox, confirmations


class Compaction:
    """Compaction of one run, whose lock is held, in a thread of its own.

    A failure only makes queries slower, so it is noted. After an outage the next compaction is attempted as usual;
    after any other failure none is.
    """

    def __init__(self, files: RunFiles, note: Callable[[str], None]) -> None:
        self._files = files
        self._note = note
        self._has_failed = False
        self._thread = ThreadPoolExecutor(1, "overnight-compact")
        self._running: Future[None] | None = None

    def committed(self) -> None:
        """Start a compaction if enough generations have accumulated and none is running; return at once."""
        if self._running is None or self._running.done():
            self._running = self._thread.submit(self._compact, MIN_DURING_NIGHT)

    def close(self) -> None:
        """Compact the remaining generations, unless they are few, and wait until that is done."""
        self._thread.submit(self._compact, MIN_AT_END)
        self._thread.shutdown()

    def _compact(self, minimum: int) -> None:
        if self._has_failed:
            return
        try:
            compact(self._files, minimum)
        except OvernightError as error:
            self._has_failed = not isinstance(error, Outage)
            self._note(error.message)
