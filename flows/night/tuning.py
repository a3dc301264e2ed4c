"""The tuner of an open run, and the evaluations that it makes in the run's slots."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial

from overnight.flows.cluster.open_cluster import Cluster
from overnight.flows.start.sandboxes import open_sandboxes
from overnight.schemas.errors import SandboxUnavailable
from overnight.schemas.generation import RunRecord
from overnight.schemas.outcome import Verdict
from overnight.schemas.problem import Problem
from overnight.schemas.question import Ask
from overnight.tasks.evaluate.evaluator import Evaluator
from overnight.tasks.evaluate.pool import host_slots
from overnight.tasks.evaluate.sandbox import Sandbox
from overnight.tasks.sample.codecs import codec_of
from overnight.tasks.tune.bodies import sizes_of
from overnight.tasks.tune.source import Inputs, TunedProblem, TunerSource

_RACED_INPUTS = 3
"""Fewest training inputs for which it pays to evaluate on the first one alone."""

_LOOK_S = 0.05
"""Seconds between two looks at whether another night waits for a slot."""

_LONGEST_S = 20.0
"""Longest time for which a trial gives way, so that a night which ends does not wait for others."""


class RunTrials:
    """The evaluations of a run's tuner, in slots that no candidate or confirmation needs; a `TrialSandbox`.

    None begins while any night of this machine waits for a slot, until the models have given their last answer.
    Containers with other inputs than those of the candidates are started when they are first needed, and stay for the
    run. Whatever the container, an evaluation takes a slot. On a cluster, the machines evaluate on training inputs; the
    few evaluations on validation inputs stay on this machine, as those inputs do.

    Attributes:
        is_last: Set once the models have given their last answer.
    """

    def __init__(
        self, run: RunRecord, evaluator: Evaluator, cluster: Cluster | None = None, ask: Ask | None = None
    ) -> None:
        self.is_last = threading.Event()
        self._run = run
        self._evaluator = evaluator
        self._cluster = cluster
        self._ask = ask
        self._machine = host_slots(run.problem.settings.sandbox.slots)
        self._opened: dict[Inputs, Sandbox] = {}
        self._is_closed = False
        self._lock = threading.Lock()

    def has(self, inputs: Inputs) -> bool:
        """See `TrialSandbox.has`."""
        problem = self._run.problem
        match inputs:
            case "train":
                return True
            case "first":
                return len(problem.inputs["train"]) >= _RACED_INPUTS and problem.settings.reducer != "last"
            case "validation":
                return bool(problem.inputs["validation"])

    def submit(self, body: str, inputs: Inputs) -> Future[Verdict]:
        """See `TrialSandbox.submit`; return once no other night waits for a slot, or after a while."""
        until = time.monotonic() + _LONGEST_S
        while self._gives_way and time.monotonic() < until and self._machine.are_awaited():
            time.sleep(_LOOK_S)
        return self._evaluator.submit_trial(body, None if inputs == "train" else self._sandbox(inputs))

    @property
    def _gives_way(self) -> bool:
        return self._cluster is None and not (self._is_closed or self.is_last.is_set())

    def _sandbox(self, inputs: Inputs) -> Sandbox:
        with self._lock:
            if self._is_closed:
                raise SandboxUnavailable("the sandbox was closed", remedy="`overnight resume` goes on.")
            if inputs not in self._opened:
                self._opened[inputs] = self._open(inputs)
            return self._opened[inputs]

    def _open(self, inputs: Inputs) -> Sandbox:
        run = self._run
        if inputs == "first":
            start = partial(open_sandboxes, ask=self._ask) if self._cluster is None else self._cluster.pool
            return start(run.problem, "train", seed=run.seed, run_id=run.run_id, inputs=1)
        return open_sandboxes(run.problem, "validation", seed=run.seed, run_id=run.run_id, programs=2, ask=self._ask)

    def close(self) -> None:
        """End its containers; calling it again does nothing."""
        with self._lock:
            self._is_closed = True
            opened = list(self._opened.values())
        with contextlib.ExitStack() as stack:
            for pool in opened:
                stack.callback(pool.close)


def tuner_source(run: RunRecord, trials: RunTrials, may_ask: Callable[[], bool]) -> TunerSource:
    """Return what answers the samples of the tuner of a run, as long as it `may_ask`."""
    settings, is_last = run.problem.settings.tuner, trials.is_last.is_set
    return TunerSource(tuned_problem(run.problem), trials, settings, may_ask, is_last=is_last)


def tuned_problem(problem: Problem) -> TunedProblem:
    """Return what a tuner knows of a problem."""
    skeleton = problem.specification

    def parse(text: str, base: str) -> str:
        return codec_of(skeleton.kind).parse(text, skeleton, 1, base).body

    return TunedProblem(
        skeleton=skeleton,
        parse=parse,
        reducer=problem.settings.reducer,
        noise=problem.settings.noise,
        objectives=problem.settings.objectives,
        sizes=sizes_of([(call.args, call.kwargs) for call in problem.inputs["train"]]),
    )
