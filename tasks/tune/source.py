"""The tuner as a completion source: its answer to a sample is the base of the prompt with better numbers."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from queue import Empty, SimpleQueue
from typing import Literal, Protocol

from overnight.schemas.completion_source import Answer, Record, Sample, answer_in_thread
from overnight.schemas.objectives import NO_OBJECTIVES, Objectives
from overnight.schemas.outcome import STOPPED_BY_DEADLINE, Outcome, Verdict
from overnight.schemas.program import NO_GAIN, TUNED, TUNER, Completion
from overnight.schemas.scores import with_score
from overnight.schemas.settings import Reducer, Tuner
from overnight.schemas.skeleton import Skeleton
from overnight.tasks.tune.bodies import NumberedBody, completion_text
from overnight.tasks.tune.tuning import Evaluate, Evaluations, NotJudged, OutOfTime, Trials, tune

Inputs = Literal["train", "first", "validation"]
"""Inputs that a body is evaluated on: all training inputs, the first of them, the validation inputs."""

_SEARCH_SHARE = 0.7
"""Share of the time in which numbers are searched for; the rest is for writing and validating them."""


_LOOK_S = 0.25
"""Seconds between two looks whether a tuning is over."""


class Stopped(Exception):
    """The night ends; the tuning is left, without an answer."""


class TrialSandbox(Protocol):
    """Evaluates bodies that are no candidates, when no candidate waits. Thread-safe."""

    def has(self, inputs: Inputs) -> bool:
        """Return whether it is worth evaluating on these inputs; it always is on the training inputs."""
        ...

    def submit(self, body: str, inputs: Inputs) -> Future[Verdict]:
        """Begin to evaluate a body. Cancelling the future of one that waits leaves it out.

        The verdict is `STOPPED_BY_DEADLINE` if the night's deadline came before.
        """
        ...


@dataclass(frozen=True)
class TunedProblem:
    """Parts of a problem that a tuner needs.

    Attributes:
        parse: Returns the body in the text of a completion, given the base.
        reducer: Way in which the scores of all inputs become one.
        noise: Largest difference between two scores that means nothing.
        objectives: Objectives, whose limits numbers must keep on the training inputs.
    """

    skeleton: Skeleton
    parse: Callable[[str, str], str]
    reducer: Reducer = "mean"
    noise: float = 0.0
    objectives: Objectives = NO_OBJECTIVES
    sizes: frozenset[float] = frozenset()


@dataclass(frozen=True)
class TunerSource:
    """A `CompletionSource` that asks no model.

    Attributes:
        may_ask: Returns false once the night ends; tunings in progress are then left without an answer.
        max_s: Limit on the time of one tuning, seconds.
        is_last: Returns true once the models have given their last answer; a tuning then ends unless it still gains.
    """

    problem: TunedProblem
    sandbox: TrialSandbox
    settings: Tuner
    may_ask: Callable[[], bool] = lambda: True
    max_s: float = 60.0
    is_last: Callable[[], bool] = lambda: False

    def submit(self, wanted: Sequence[Sample], record: Record) -> Answer:
        """Begin to tune the bases of the samples, one after the other; see `CompletionSource.submit`."""
        ordered = sorted(wanted, key=lambda sample: (sample.prompt.index, sample.number))
        return answer_in_thread(partial(self._answer_all, ordered, record), "overnight-tuner")

    def _answer_all(self, wanted: Sequence[Sample], record: Record, answer: Answer) -> list[Completion]:
        completions: list[Completion] = []
        with suppress(Stopped):
            for sample in wanted:
                if answer.cancelled() or not self.may_ask():
                    break
                completion = self._answer(sample, answer)
                if answer.cancelled():
                    break
                record([completion])
                completions.append(completion)
        return completions

    def _answer(self, sample: Sample, answer: Answer) -> Completion:
        asked_at, begin = datetime.now(UTC), time.monotonic()
        run = _Run(self.sandbox, self.problem, self.max_s, self.may_ask, answer)
        trials = Trials(run.evaluations(), self.settings.evaluations, run.is_late, self.is_last)
        run.is_over = lambda: trials.is_over
        text = self._text(sample, trials)
        return Completion(
            prompt=sample.prompt.index,
            sample=sample.number,
            prompt_hash=sample.prompt.hash,
            text=text,
            model=TUNER,
            tokens_in=0,
            tokens_out=0,
            cost_usd=0.0,
            latency_s=time.monotonic() - begin,
            finish_reason=TUNED if text else NO_GAIN,
            asked_at=asked_at,
            evaluations=trials.used,
        )

    def _text(self, sample: Sample, trials: Trials) -> str:
        """Return the answer with better numbers; empty if there are none, or no answer could hold them."""
        problem, base = self.problem, sample.prompt.base or self.problem.skeleton.start_body
        unchanged = completion_text(problem.skeleton, base, base, "nothing")
        if problem.parse(unchanged, base) != base:
            return ""
        body = NumberedBody(problem.skeleton, base, problem.sizes)
        tuned = tune(body, trials, seed=sample.prompt.seeds[sample.number], noise=problem.noise)
        if tuned is None:
            return ""
        idea = "tuned numbers: " + ", ".join(f"{before} -> {after}" for before, after in tuned.changes)
        text = completion_text(problem.skeleton, base, tuned.body, idea)
        return text if problem.parse(text, base) == tuned.body else ""


@dataclass
class _Run:
    """The evaluations of one tuning, as long as it may go on.

    Its time begins with the first verdict, since the wait for the first slot may be long while candidates come in.

    Attributes:
        max_s: Limit on its time, seconds.
        may_ask: Returns false once the night ends.
        begun_at: Time of the first verdict, seconds of the monotonic clock; `None` before.
        is_over: Returns whether it is not waited for any longer.
    """

    sandbox: TrialSandbox
    problem: TunedProblem
    max_s: float
    may_ask: Callable[[], bool]
    answer: Answer
    begun_at: float | None = None
    is_over: Callable[[], bool] = lambda: False

    def evaluations(self) -> Evaluations:
        first, validation = (
            self._on(inputs) if self.sandbox.has(inputs) else None for inputs in ("first", "validation")
        )
        return Evaluations(self._on("train"), first, validation)

    def is_late(self) -> bool:
        """Return whether the time that is left should be kept for writing and validation."""
        return self._seconds_left() < (1 - _SEARCH_SHARE) * self.max_s

    def _seconds_left(self) -> float:
        begun_at = time.monotonic() if self.begun_at is None else self.begun_at
        return max(0.0, begun_at + self.max_s - time.monotonic())

    def _on(self, inputs: Inputs) -> Evaluate:
        return lambda bodies: self._scores(bodies, inputs)

    def _scores(self, bodies: Sequence[str], inputs: Inputs) -> list[float | None]:
        """Evaluate bodies.

        Raises:
            Stopped: If the night ends, or the answer is not wanted any more.
            OutOfTime: If the time of this tuning ends, or it is over.
            NotJudged: If the sandbox failed on a validation input, without which two programs cannot be compared.
        """
        if self.answer.cancelled() or not self.may_ask():
            raise Stopped
        begun = [self.sandbox.submit(body, inputs) for body in bodies]
        self.answer.add_done_callback(lambda _: [one.cancel() for one in begun])
        in_time = self._are_in_time(begun)
        self.begun_at = self.begun_at or time.monotonic()
        if not in_time:
            for one in begun:
                one.cancel()
            raise OutOfTime
        try:
            verdicts = [one.result() for one in begun]
        except CancelledError:
            raise Stopped from None
        if STOPPED_BY_DEADLINE in verdicts:
            raise Stopped
        if inputs == "validation" and any(one.outcome is Outcome.SANDBOX_ERROR for one in verdicts):
            raise NotJudged
        objectives = self.problem.objectives if inputs == "train" else NO_OBJECTIVES
        return [with_score(one, self.problem.reducer, objectives)[1] for one in verdicts]

    def _are_in_time(self, begun: Sequence[Future[Verdict]]) -> bool:
        """Wait until all are done or cancelled; return false if the time ends before, or the tuning is over."""
        while not are_done(begun, _LOOK_S if self.begun_at is None else min(_LOOK_S, self._seconds_left())):
            if self.is_over() or not (self.begun_at is None or self._seconds_left()):
                return False
        return True


def are_done(futures: Sequence[Future[Verdict]], timeout_s: float) -> bool:
    """Wait until all are done or cancelled; return false if that takes longer.

    `concurrent.futures.wait` learns of a cancelled future only once its executor comes to it.
    """
    ended = SimpleQueue[Future[Verdict]]()
    for one in futures:
        one.add_done_callback(ended.put)
    deadline = time.monotonic() + timeout_s
    with suppress(Empty):
        for _ in futures:
            ended.get(timeout=max(0.0, deadline - time.monotonic()))
        return True
    return False
