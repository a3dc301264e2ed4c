"""Resources of an open run: sandboxes, threads, models and the services of its Prefect tasks."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from flows.cluster.open_cluster import Cluster
from flows.sandboxes import open_confirmations, open_sandboxes, slots_of
from flows.tuning import RunTrials
from schemas.generation import RunRecord
from tasks.evaluate.confirmation import Confirmer
from tasks.evaluate.evaluator import Evaluator, Report
from tasks.evaluate.sandbox import Sandbox

_CLUSTER_THREADS = 512
"""Threads that may wait for verdicts of a cluster; it has fewer slots that are free at a time."""


@dataclass(frozen=True)
class RunResources:
    """Sandboxes of an open run, and what evaluates and confirms in them.

    Attributes:
        sandbox: Slots for evaluations.
        confirmations: Fresh containers for confirmations.
        evaluator: Evaluates candidates.
        confirmer: Confirms would-be bests; `None` where nothing is confirmed.
        trials: Evaluates what the tuner tries.
    """

    sandbox: Sandbox
    confirmations: Sandbox
    evaluator: Evaluator
    confirmer: Confirmer | None
    trials: RunTrials

    def forget(self, is_over: Callable[[int], bool]) -> None:
        """Drop the verdicts of generations that are over."""
        self.evaluator.forget(is_over)
        if self.confirmer:
            self.confirmer.forget(is_over)

    def cut(self) -> None:
        """End evaluations at once."""
        self.evaluator.cut()
        self.sandbox.close()
        self.trials.close()

    def cut_confirmations(self) -> None:
        """End confirmations at once."""
        if self.confirmer:
            self.confirmer.cut()
        self.confirmations.close()

    def close(self) -> None:
        """End all containers at once."""
        self.sandbox.close()
        self.trials.close()
        self.confirmations.close()


@contextlib.contextmanager
def open_resources(
    run: RunRecord,
    known: Callable[[], Collection[str] | None],
    report: Report,
    cluster: Cluster | None = None,
) -> Iterator[RunResources]:
    """Start the sandboxes of a run; they are removed when the context is left.

    Args:
        run: The run.
        known: Returns the code hashes of bodies evaluated in earlier generations; see `Evaluator`.
        report: Called with each verdict, from any thread.
        cluster: Cluster that evaluates; `None` for this machine.

    Raises:
        SandboxUnavailable: If no sandbox can be started.
    """
    problem = run.problem
    slots = slots_of(problem) if cluster is None else _CLUSTER_THREADS
    with contextlib.ExitStack() as stack:
        sandbox = _evaluations(run, cluster)
        stack.callback(sandbox.close)
        threads = stack.enter_context(ThreadPoolExecutor(slots, "overnight-slot"))
        confirming = stack.enter_context(ThreadPoolExecutor(slots, "overnight-confirm"))
        stack.callback(confirming.shutdown, wait=False, cancel_futures=True)
        confirmations = _confirmations(run, cluster)
        stack.callback(confirmations.close)
        evaluator = Evaluator(sandbox, problem.specification, known, report, threads)
        stack.callback(evaluator.stop)
        trials = RunTrials(run, evaluator, cluster)
        stack.callback(trials.close)
        yield RunResources(sandbox, confirmations, evaluator, confirmer_of(run, confirmations, confirming), trials)


def _evaluations(run: RunRecord, cluster: Cluster | None) -> Sandbox:
    start = open_sandboxes if cluster is None else cluster.pool
    return start(run.problem, "train", seed=run.seed, run_id=run.run_id)


def _confirmations(run: RunRecord, cluster: Cluster | None) -> Sandbox:
    start = open_confirmations if cluster is None else cluster.confirmations
    return start(run.problem, seed=run.seed, run_id=run.run_id)


def confirmer_of(run: RunRecord, sandbox: Sandbox, threads: ThreadPoolExecutor) -> Confirmer | None:
    """Return what confirms the programs of a run; `None` where its settings say that nothing is confirmed."""
    settings = run.problem.settings
    if settings.sandbox.confirm == "never":
        return None
    return Confirmer(
        sandbox,
        run.problem.specification,
        which=settings.sandbox.confirm,
        reducer=settings.reducer,
        noise=settings.noise,
        threads=threads,
    )
