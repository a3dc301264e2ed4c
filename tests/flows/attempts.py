"""Attempts at generations of a run in a folder, with models and a sandbox of the test's own."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

import flows.session
from flows.generation_attempt import GenerationAttempt
from flows.replay import RepeatedBatch
from flows.run_resources import RunResources
from flows.session import Session, open_session
from schemas.bundle import Source
from schemas.completion_source import Record, Sample
from schemas.generation import GenerationRecord, RunRecord
from schemas.outcome import Outcome, Verdict
from schemas.program import Completion, Judged, Prompt
from tasks.evaluate.confirmation import Confirmer
from tasks.evaluate.evaluator import Evaluator, Report
from tasks.history.files import RunFiles
from tests.history.made import NOW

USD = 1.0
"""Price of each answer."""


class Killed(Exception):
    """The process ended before a commit."""


@dataclass
class Answers:
    """Source that answers each sample at once, with a number of its own, and counts what was bought."""

    text: Callable[[Sample], str] = lambda sample: f"9.{sample.prompt.index}{sample.number}"
    bought: list[Sample] = field(default_factory=list)

    def submit(self, wanted: Sequence[Sample], record: Record) -> Future[list[Completion]]:
        self.bought += wanted
        answer: Future[list[Completion]] = Future()
        completions = [self._completion(sample) for sample in wanted]
        record(completions)
        answer.set_result(completions)
        return answer

    def _completion(self, sample: Sample) -> Completion:
        prompt = sample.prompt
        text = f"```python\ndef guess(offset):\n    return offset + {self.text(sample)}\n```"
        return Completion(prompt.index, sample.number, prompt.hash, text, prompt.model, 10, 10, USD, 0.1, "stop", NOW)


@dataclass
class Scores:
    """Sandbox in which every program has a score of its own; `before` is called with the number of each evaluation."""

    before: Callable[[int], None] = lambda _: None
    verdict: Callable[[int], Verdict] = lambda number: Verdict(Outcome.SCORED, (float(number), 0.0))
    evaluated: int = 0

    def evaluate(self, source: Source) -> Verdict:
        self.evaluated += 1
        self.before(self.evaluated)
        return self.verdict(self.evaluated)

    def close(self) -> None:
        pass


class Attempt:
    """One attempt at a generation of an open session, without Prefect."""

    sampled_at = 0.0

    def __init__(self, session: Session, number: int, *, is_killed: bool = False) -> None:
        self._session = session
        self._number = number
        self._is_killed = is_killed

    def run(self) -> list[Judged]:
        """Run it; raise `Killed` before its commit if it is to be killed."""
        with ThreadPoolExecutor(4) as self._threads:
            return GenerationAttempt(self._session, self._number, self).run()

    def begin(self, batch: int, prompts: Sequence[Prompt]) -> RepeatedBatch:
        return RepeatedBatch(self._threads.submit(self._evaluated, prompts))

    def _evaluated(self, prompts: Sequence[Prompt]) -> Any:
        candidates = self._session.sampler.sample(self._number, prompts)
        return self._session.resources.evaluator.judge(candidates, self._number)

    def confirm(self, judged: Sequence[Judged]) -> list[Judged]:
        confirmer = self._session.resources.confirmer
        return confirmer.confirm(judged, self._session.state.niche_bests, self._number) if confirmer else list(judged)

    def commit(self, record: GenerationRecord) -> None:
        if self._is_killed:
            raise Killed
        self._session.commit(record)


@contextlib.contextmanager
def opened(
    files: RunFiles,
    monkeypatch: pytest.MonkeyPatch,
    answers: Answers,
    sandbox: Scores,
    *,
    confirms_in: Scores | None = None,
) -> Iterator[Session]:
    """Open a session of a run as a night does, with these in place of models and containers."""

    @contextlib.contextmanager
    def resources(
        run: RunRecord, known: Callable[[], Collection[str] | None], report: Report, _: object
    ) -> Iterator[RunResources]:
        with ThreadPoolExecutor(1) as threads:
            skeleton, confirmer = run.problem.specification, None
            if confirms_in:
                confirmer = Confirmer(
                    confirms_in, skeleton, which="best", reducer="mean", noise=0.0, threads=ThreadPoolExecutor(1)
                )
            evaluator = Evaluator(sandbox, skeleton, known, report, threads)
            yield RunResources(sandbox, confirms_in or sandbox, evaluator, confirmer, cast("Any", Scores()))

    monkeypatch.setattr(flows.session, "open_resources", resources)
    with open_session(files, source=lambda _: answers) as session:
        yield session
