"""The open state of a run in this process: sandboxes, models, the search algorithm and the files."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

from prefect.exceptions import TerminationSignal

from flows.batch_requests import BatchRequests, NightCompletionStore
from flows.compaction import Compaction
from flows.generation_pipeline import GenerationPipeline
from flows.notifications import Notifier
from flows.planning import asked_after, plan_generation, rebuild, with_feedback
from flows.progress import Progress
from flows.sandboxes import open_confirmations, open_sandboxes, slots_of
from flows.trust import require_trusted_models
from schemas.algorithm import Algorithm, Plan
from schemas.feedback import Feedback, latest_feedback
from schemas.generation import GenerationRecord, RunHistory, RunRecord
from schemas.outcome import Outcome
from schemas.program import Program, Prompt
from schemas.settings import Search
from tasks.evaluate.confirmation import Confirmer
from tasks.evaluate.evaluator import Evaluator
from tasks.evaluate.pool import FreshContainerPool, SandboxPool
from tasks.history import record
from tasks.history.files import RunFiles
from tasks.history.journal import Journal
from tasks.history.recorded_rows import read_seconds_since_reset
from tasks.history.run_lock import run_lock
from tasks.sample.budget import Budget
from tasks.sample.completion_request import CompletionRequest, CompletionSource
from tasks.sample.gateway import Gateway
from tasks.sample.prompts import build_prompts

STOPPED_AT_ONCE = (KeyboardInterrupt, TerminationSignal)
"""Ctrl-C twice, and SIGTERM, which is also how Prefect cancels."""

GRACE_S = 5.0
"""Seconds that a night which is stopped at once waits for completions in flight."""


class Session:
    """A run that is open in this process. Only the process that holds the run's lock has one.

    Attributes:
        algorithm: After the last generation that is committed.
        compaction: Compaction of the files in the background.
        plans: What it was asked for the generations to come.
        best: The best program of the run so far, alive or not.
        generations: Number of the last generation that ended, committed or given up.
        failed: Numbers of generations that were given up and not committed since.
        place: Position in the order of endings that the next generation to end will have.
        threads: Evaluation threads, one for each slot.
        hashes: Code hashes of all bodies evaluated so far.
        can_keep: Whether completions could be written to disk so far.
        completion_source: Source of completions: models, or a record.
        may_begin: Predicate: whether a later generation will be begun, as far as can be known now.
        until: Deadline of the night.
        cut_at: Time at which a generation under way is cut short.
        is_cut: Whether a generation was cut short.
        notifier: Sender of notifications; `None` leaves it to the environment.
        feedback: Feedback by the id of the base program, where prompts show it.
        last_reset: `time.monotonic()` of the last reset, as if nights followed each other without a gap.
    """

    algorithm: Algorithm
    start: Program
    plans: dict[int, list[Plan]]
    generations: int
    failed: set[int]
    place: int
    best: Program
    programs: dict[str, Program]
    hashes: set[str]
    feedback: dict[str, Feedback]

    def __init__(
        self,
        files: RunFiles,
        run: RunRecord,
        sandbox: SandboxPool,
        confirmations: FreshContainerPool,
        threads: ThreadPoolExecutor,
        progress: Progress,
        past: RunHistory,
    ) -> None:
        self.files = files
        self.run = run
        self.sandbox = sandbox
        self.confirmations = confirmations
        self.threads = threads
        self.progress = progress
        self._gateway = Gateway(run.problem.settings.sampling, self.may_ask, progress.budget, progress.note)
        self.completion_source: CompletionSource = self._gateway
        self.night = len(files.nights())
        self.until: datetime | None = None
        self.cut_at: datetime | None = None
        self.is_cut = False
        self._is_over = False
        self.may_begin: Callable[[int], bool] = lambda _: False
        self.notifier: Notifier | None = None
        self.last_reset = time.monotonic()
        if self.search.algorithm.resets_by_the_hour:
            self.last_reset -= read_seconds_since_reset(files)
        self.can_keep = True
        self._closing = False
        self._confirmers: dict[int, Confirmer] = {}
        self._evaluators: dict[int, Evaluator] = {}
        self._completion_requests: dict[int, CompletionRequest] = {}
        self._journals: dict[int, Journal] = {}
        self.mail = BatchRequests(self)
        self._pipelines: dict[int, GenerationPipeline] = {}
        self.compaction = Compaction(files, progress.note)
        self.adopt(past)

    @property
    def search(self) -> Search:
        return self.run.problem.settings.search

    def pipeline(self, generation: int, left_out: Collection[int] = ()) -> GenerationPipeline:
        """Return a generation's pipeline from prompts to verdicts; begin it unless it was begun before.

        Args:
            generation: Its number.
            left_out: Indices of candidates that a record says were cut short; they are not evaluated.
        """
        if generation not in self._pipelines:
            evaluator = self._evaluator(generation)
            evaluator.leave_out(left_out)
            self._pipelines[generation] = GenerationPipeline(
                self._completion_request(generation), evaluator, self.run.problem.specification
            )
        return self._pipelines[generation]

    def confirmer(self, generation: int) -> Confirmer | None:
        """Return a generation's confirmer, the same for every attempt; `None` where nothing is confirmed."""
        settings = self.run.problem.settings
        which = settings.sandbox.confirm
        if which == "never":
            return None
        if generation not in self._confirmers:
            self._confirmers[generation] = Confirmer(
                self.confirmations,
                self.run.problem.specification,
                which=which,
                reducer=settings.reducer,
                noise=settings.noise,
                workers=slots_of(self.run.problem),
            )
        if self._is_over:
            self._confirmers[generation].cut()
        return self._confirmers[generation]

    def begin_later_generations(self, generation: int) -> None:
        """Begin the generations after this one, as far as the lookahead and the stop conditions allow."""
        for number in range(generation + 1, generation + 1 + self.search.lookahead):
            if number in self.plans and self.may_begin(number):
                self.pipeline(number)

    def _completion_request(self, generation: int) -> CompletionRequest:
        """Return a generation's request for completions. It outlives a failed attempt, unless it failed itself."""
        request = self._completion_requests.get(generation)
        if request is None or request.has_failed():
            sampling = self.run.problem.settings.sampling
            if self.completion_source is self._gateway:
                require_trusted_models(sampling, self.run.run_id)
            is_mailed = sampling.batch_api and self.completion_source is self._gateway
            completion_source = self.mail.completion_source(generation) if is_mailed else self.completion_source
            request = CompletionRequest(
                self.prompts(generation), completion_source, self.completion_store(generation), sampling.batch
            )
            if self.is_cut:
                request.cut()
            self._completion_requests[generation] = request
        return request

    def completion_store(self, generation: int) -> NightCompletionStore:
        """Return the store of a generation's completions."""
        if generation not in self._journals:
            self._journals[generation] = Journal(self.files.journal(generation), self.files.backend)
        return NightCompletionStore(self._journals[generation], self)

    def _evaluator(self, generation: int) -> Evaluator:
        """Return a generation's evaluator, which keeps its verdicts over attempts."""
        if generation not in self._evaluators:
            self._evaluators[generation] = Evaluator(
                self.sandbox, self.run.problem.specification, self.known, self.progress.judged, self.threads
            )
        self._evaluators[generation].begin_attempt()
        if self.is_cut:
            self._evaluators[generation].cut()
        return self._evaluators[generation]

    @property
    def known(self) -> set[str] | None:
        """Code hashes of all evaluated bodies; `None` where the algorithm evaluates duplicates again."""
        return None if self.search.algorithm.evaluates_duplicates else self.hashes

    def may_ask(self) -> bool:
        """Return whether completions can be kept and there is time for a request. The budget is checked elsewhere."""
        has_time = self.until is None or datetime.now(UTC) < self.until
        return has_time and self.can_keep and not self._closing

    def probe_disk(self) -> None:
        """Check that completions can be written to disk, before any is requested.

        Raises:
            HistoryGone: If the history's folder is gone.
            DiskFault: If they cannot be written.
        """
        self.files.probe()
        self.can_keep = True

    def finish(self) -> None:
        """Stop requesting and wait for requests in flight, whose completions the next night uses.

        The wait ends with the night's grace period at the latest.
        """
        self._closing = True
        self._stop_pipelines()
        timeout_s = self.run.problem.settings.sampling.timeout_s
        if self.cut_at is not None:
            timeout_s = min(timeout_s, (self.cut_at - datetime.now(UTC)).total_seconds())
        self._wait_for_purchases(timeout_s)

    def cut(self) -> None:
        """End the generation under way with the results so far; may be called from another thread."""
        self._closing = self.is_cut = True
        self.progress.note("the deadline has passed: this generation is cut short")
        for cut in (*self._completion_requests.values(), *self._evaluators.values()):
            cut.cut()
        self.mail.give_up()
        self.sandbox.close()

    def cut_confirmations(self) -> None:
        """End confirmations, too; may be called from another thread."""
        self._is_over = True
        for confirmer in list(self._confirmers.values()):
            confirmer.cut()
        self.confirmations.close()

    def stop_now(self) -> None:
        """Keep completions that arrive within a moment and cancel the other requests."""
        self._closing = True
        self.progress.note(f"waiting {GRACE_S:.0f} s for what is in flight; Ctrl-C again gives it up")
        try:
            self._wait_for_purchases(GRACE_S)
        finally:
            self.mail.give_up()
            for request in self._completion_requests.values():
                request.give_up()
            self.sandbox.close()
            self.confirmations.close()

    def _wait_for_purchases(self, timeout_s: float) -> None:
        until = time.monotonic() + timeout_s
        for request in list(self._completion_requests.values()):
            request.finish(timeout_s=max(0.0, until - time.monotonic()))

    def _stop_pipelines(self) -> None:
        for one in self._pipelines.values():
            one.stop()
        self._pipelines.clear()

    def prompts(self, generation: int) -> list[Prompt]:
        problem = self.run.problem
        return build_prompts(
            self.plans[generation],
            problem.specification,
            problem.settings.sampling,
            statement=problem.settings.statement,
            feedback_chars=self.search.feedback_chars,
            samples=self.search.samples,
            seed=self.run.seed,
            generation=generation,
        )

    def is_time_to_reset(self, generation: int) -> bool:
        hours = (time.monotonic() - self.last_reset) / 3600
        return self.search.algorithm.is_reset_due(generation, hours)

    def commit(self, generation: GenerationRecord) -> None:
        """Commit a generation to the files and update the open state."""
        record.commit(self.files, generation)
        self.compaction.committed()
        number = generation.number
        self.best = generation.best
        self.hashes.update(
            judged.candidate.code_hash
            for judged in generation.judged
            if judged.candidate.body and judged.verdict.outcome is not Outcome.SANDBOX_ERROR
        )
        self.programs.update((judged.id, judged.program()) for judged in generation.judged if judged.score is not None)
        if self.search.feedback_chars:
            self.feedback |= latest_feedback([judged.feedback() for judged in generation.judged], self._score_of)
        self.progress.committed([judged.verdict.outcome for judged in generation.judged], generation.best.score)
        for held in (
            self._pipelines,
            self._evaluators,
            self._confirmers,
            self._completion_requests,
            self._journals,
            self.plans,
        ):
            held.pop(number, None)
        self._generation_ended(number)

    def _score_of(self, program_id: str) -> float | None:
        program = self.programs.get(program_id)
        return program.score if program else None

    def give_up(self, number: int) -> None:
        """Continue without a generation that failed; its completions are kept for a retry.

        Raises:
            EnvironmentFault: If that cannot be written; the generation is not given up then.
        """
        record.give_up(self.files, number, self.place)
        self.failed.add(number)
        self._generation_ended(number)

    def _generation_ended(self, number: int) -> None:
        self.place += 1
        if number <= self.generations:
            self.failed.discard(number)
            return
        self.generations = number
        for ahead in asked_after(number, self.run):
            self.plans[ahead] = with_feedback(
                plan_generation(self.algorithm, ahead, self.search.prompts), self.feedback
            )

    def is_committed(self, number: int) -> bool:
        return number <= self.generations and number not in self.failed

    def settle(self) -> None:
        """Read the state again if the last write to object storage had no answer."""
        if self.files.is_unsure():
            self.reload()

    def reload(self) -> None:
        """Read everything that is committed again, after an attempt that failed half-way.

        Raises:
            StoreUnavailable: If the history is on object storage that does not answer.
        """
        self._stop_pipelines()
        self.files.catch_up()
        self.adopt(record.read_run_history(self.files, with_feedback=self.search.feedback_chars > 0))

    def adopt(self, past: RunHistory) -> None:
        """Replace the open state by what the files say."""
        self.algorithm, self.plans, self.feedback = rebuild(self.run, past)
        self.start = past.start
        self.generations, self.failed, self.place = past.generations, set(past.failed), len(past.steps) + 1
        self.best = max(past.programs.values(), key=lambda program: program.score)
        self.programs = dict(past.programs)
        self.hashes = set(past.code_hashes)
        for held in (self._evaluators, self._confirmers, self._completion_requests, self._journals):
            for number in [number for number in held if self.is_committed(number)]:
                del held[number]


_open: dict[Path, Session] = {}


@contextlib.contextmanager
def open_session(files: RunFiles) -> Iterator[Session]:
    """Open the session of a run: the one that is open in this process already, else a new one from the files.

    Raises:
        RunIsBusy: If another process has the run open.
        SandboxUnavailable: If no sandbox can be started.
    """
    if files.directory in _open:
        yield _open[files.directory]
        return
    with run_lock(files), contextlib.ExitStack() as stack:
        session = _new_session(files, stack)
        _open[files.directory] = session
        stack.callback(_open.pop, files.directory)
        try:
            yield session
        except STOPPED_AT_ONCE:
            session.stop_now()
            raise
        except BaseException:
            session.finish()
            raise
        session.finish()


def _new_session(files: RunFiles, stack: contextlib.ExitStack) -> Session:
    run = record.read_run(files)
    past = record.read_run_history(files, with_feedback=run.problem.settings.search.feedback_chars > 0)
    sandbox = stack.enter_context(open_sandboxes(run.problem, "train", seed=run.seed, run_id=run.run_id))
    confirmations = open_confirmations(run.problem, seed=run.seed, run_id=run.run_id)
    stack.callback(confirmations.close)
    threads = stack.enter_context(ThreadPoolExecutor(slots_of(run.problem), "overnight-slot"))
    progress = Progress(
        best=max(program.score for program in past.programs.values()),
        generation=past.generations,
        budget=Budget(before_usd=record.read_spent_usd(files)),
    )
    session = Session(files, run, sandbox, confirmations, threads, progress, past)
    stack.callback(session.compaction.close)
    return session
