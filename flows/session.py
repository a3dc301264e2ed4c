"""An open run in this process: its state, its resources and the limits of the night."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from flows.batch_requests import BatchRequests
from flows.cluster.open_cluster import Cluster, open_cluster
from flows.compaction import Compaction
from flows.completion_stores import CompletionStores
from flows.flow_run_changes import FlowRunChanges
from flows.night_control import NightControl
from flows.notifications import Notifier
from flows.progress import Progress
from flows.run_resources import RunResources, open_resources
from flows.run_state import RunState
from flows.trust import require_trusted_models
from flows.tuning import tuner_source
from schemas.algorithm import Plan
from schemas.completion_source import CompletionSource
from schemas.generation import GenerationRecord, RunRecord
from schemas.program import TUNER, Judged, Prompt
from schemas.search_settings import Search
from tasks.evaluate.confirmation import confirmers
from tasks.evaluate.evaluator import evaluators
from tasks.history import record
from tasks.history.files import RunFiles
from tasks.history.run_lock import run_lock
from tasks.sample.budget import Budget
from tasks.sample.gateway import Gateway
from tasks.sample.prompts import build_prompts
from tasks.sample.routed_completions import RoutedCompletions
from tasks.sample.sampler import Sampler, samplers
from tasks.select.selection import committers

GRACE_S = 5.0
"""Seconds that a night which is stopped at once waits for completions in flight."""

SourceOf = Callable[[int], CompletionSource]
"""Returns the completion source of a generation."""


def stops_at_once() -> tuple[type[BaseException], ...]:
    """Return what ends a night at once: Ctrl-C twice, and SIGTERM, which is also how Prefect cancels."""
    from prefect.exceptions import TerminationSignal  # loading Prefect takes a second, so not before it is needed

    return KeyboardInterrupt, TerminationSignal


class Session:
    """A run that is open in this process. Only the process that holds the run's lock has one.

    Args:
        files: Files of the run.
        run: The run.
        state: Its state.
        resources: Its sandboxes.
        progress: Progress of the night.
        control: Limits of the night.
        cluster: Cluster that evaluates; `None` for this machine.
        notifier: Sender of notifications; `None` leaves it to the environment.
        source: Returns the completion source of a generation; by default, the models of the settings.

    Attributes:
        batch_requests: Its batch jobs.
        flow_run_changes: Starts and ends of flow runs, one at a time.
        sampler: What samples its prompts.
        work_s: Seconds that models and the sandbox took for a prompt lately; infinite before any is settled.
    """

    def __init__(
        self,
        files: RunFiles,
        run: RunRecord,
        state: RunState,
        resources: RunResources,
        progress: Progress,
        control: NightControl,
        *,
        cluster: Cluster | None = None,
        notifier: Notifier | None = None,
        source: SourceOf | None = None,
    ) -> None:
        self.files = files
        self.run = run
        self.state = state
        self.resources = resources
        self.progress = progress
        self.control = control
        self.cluster = cluster
        self.notifier = notifier
        self.work_s = math.inf
        self.flow_run_changes = FlowRunChanges()
        self._gateway = Gateway(
            run.problem.settings.sampling, control.may_ask, progress.budget, progress.note, progress.requests
        )
        self._stores = CompletionStores(files, progress, control)
        self.batch_requests = BatchRequests(run, files, self.prompts, self._stores, progress, control)
        self._tuner = tuner_source(run, resources.trials, control.may_ask)
        self.sampler = Sampler(run.problem, source or self._models, self._stores.of)
        self._compaction = Compaction(files, progress.note)

    @property
    def search(self) -> Search:
        return self.run.problem.settings.search

    @property
    def key(self) -> str:
        """Name by which Prefect's tasks find the run's services in this process."""
        return str(self.files.directory)

    def prompts(self, generation: int, plans: Mapping[int, Plan] | None = None) -> list[Prompt]:
        """Return prompts of a generation: for these plans by index, by default for all that are due."""
        due = self.state.plans(generation) if plans is None else plans
        asked = {index: plan for index, plan in due.items() if plan}
        return build_prompts(asked, self.run.problem, seed=self.run.seed, generation=generation)

    def stored_samples(self, generation: int) -> dict[tuple[int, str], int]:
        """Return how many samples of each prompt of a generation are paid for, by its index and hash."""
        found: dict[tuple[int, str], int] = {}
        for index, sample, prompt_hash in self._stores.known(generation):
            found[index, prompt_hash] = max(found.get((index, prompt_hash), 0), sample + 1)
        return found

    def unused_usd(self, generation: int, judged: Sequence[Judged]) -> float:
        """Return the price of a generation's stored answers that none of its candidates has, USD.

        An attempt that failed may have paid for answers to prompts which the next one does not ask.
        """
        completions = [one.candidate.completion for one in judged]
        used = {(one.prompt, one.sample, one.prompt_hash) for one in completions}
        stored = self._stores.known(generation).items()
        return math.fsum(answer.cost_usd or 0.0 for key, answer in stored if key not in used)

    def last_night_committed_nothing(self) -> bool:
        """Return whether the night before this one ended at its deadline without a generation."""
        return record.ended_without_generation(self.files, self.control.number - 1)

    def _models(self, generation: int) -> CompletionSource:
        sampling = self.run.problem.settings.sampling
        require_trusted_models(sampling, self.run.run_id)

        def models() -> CompletionSource:
            return self.batch_requests.completion_source(generation) if sampling.batch_api else self._gateway

        return RoutedCompletions({TUNER: self._tuner}, models)

    def give_turn(self, generation: int) -> None:
        """Let a generation settle its results and commit."""
        with self.state.changed:
            self.control.give_turn(generation)
            self.state.changed.notify_all()

    def probe_disk(self) -> None:
        """Check that completions can be written to disk, before any is requested.

        Raises:
            HistoryGone: If the history's folder is gone.
            DiskFault: If they cannot be written.
        """
        self.files.probe()
        self.control.note_disk(can_keep=True)

    def commit(self, generation: GenerationRecord) -> float:
        """Commit a generation; return the best score of the run after it.

        Raises:
            HistoryGone: If the run's files are gone; folders may have been made again by what was being written.
        """
        self.files.require_run()
        self.state.commit(generation)
        self._compaction.committed()
        outcomes = [one.verdict.outcome for one in generation.judged if one.candidate.completion.model != TUNER]
        self.progress.committed(generation.number, outcomes, generation.best.score)
        self.sampler.forget(self.state.is_committed)
        self._stores.forget(self.state.is_committed)
        self.resources.forget(self.state.is_committed)
        return generation.best.score

    def finish(self) -> None:
        """Stop requesting and wait for requests in flight, whose completions the next night uses.

        The wait ends with the night's grace period at the latest.
        """
        self.control.close()
        self.state.withdraw()
        self.resources.evaluator.stop()
        self.sampler.finish(self.control.seconds_left(self.run.problem.settings.sampling.timeout_s))

    def cut(self) -> None:
        """End the generation under way with the results so far; may be called from another thread."""
        self.control.cut()
        self.progress.note("the deadline has passed: this generation is cut short")
        self.sampler.cut()
        self.batch_requests.give_up()
        self.resources.cut()
        with self.state.changed:
            self.state.changed.notify_all()

    def cut_confirmations(self) -> None:
        """End confirmations, too; may be called from another thread."""
        self.resources.cut_confirmations()

    def stop_now(self) -> None:
        """Keep completions that arrive within a moment and cancel the other requests."""
        self.control.close()
        self.state.withdraw()
        self.progress.note(f"waiting {GRACE_S:.0f} s for what is in flight; Ctrl-C again gives it up")
        try:
            self.sampler.finish(GRACE_S)
        finally:
            self.batch_requests.give_up()
            self.sampler.give_up()
            self.resources.close()

    def close(self) -> None:
        """Compact the files."""
        self._compaction.close()


_open: dict[Path, Session] = {}


@contextlib.contextmanager
def open_session(
    files: RunFiles, *, notifier: Notifier | None = None, source: SourceOf | None = None
) -> Iterator[Session]:
    """Open the session of a run: the one that is open in this process already, else a new one from the files.

    Args:
        files: Files of the run.
        notifier: As for `Session`.
        source: As for `Session`.

    Raises:
        UsageError: If an earlier version wrote the run.
        RunIsBusy: If another process has the run open.
        SandboxUnavailable: If no sandbox can be started.
    """
    if files.directory in _open:
        yield _open[files.directory]
        return
    record.require_present_format(files)
    with run_lock(files), contextlib.ExitStack() as stack:
        session = _new_session(files, stack, notifier, source)
        _open[files.directory] = session
        stack.callback(_open.pop, files.directory)
        try:
            yield session
        except stops_at_once():
            session.stop_now()
            raise
        except BaseException:
            session.finish()
            raise
        session.finish()


def _new_session(
    files: RunFiles, stack: contextlib.ExitStack, notifier: Notifier | None, source: SourceOf | None
) -> Session:
    run = record.read_run(files)
    past = record.read_run_history(files, samples=run.problem.settings.samples_to_learn_from)
    record.require_no_gap(files, past)
    state = RunState(files, run, past)
    progress = Progress(
        best=state.best.score, generation=past.generations, budget=Budget(before_usd=record.read_spent_usd(files))
    )
    cluster = stack.enter_context(open_cluster(progress.note))
    resources = stack.enter_context(open_resources(run, lambda: state.known, progress.judged, cluster))
    control = NightControl(files.last_night())
    session = Session(
        files, run, state, resources, progress, control, cluster=cluster, notifier=notifier, source=source
    )
    stack.callback(session.close)
    stack.enter_context(samplers.serving(session.key, session.sampler))
    stack.enter_context(evaluators.serving(session.key, resources.evaluator))
    stack.enter_context(confirmers.serving(session.key, resources.confirmer))
    stack.enter_context(committers.serving(session.key, session))
    return session
