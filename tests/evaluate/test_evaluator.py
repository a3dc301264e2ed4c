"""Each candidate gets one verdict; equal programs of a generation are run once, and verdicts outlive an attempt."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from overnight.schemas.bundle import Source
from overnight.schemas.errors import SandboxUnavailable
from overnight.schemas.outcome import DUPLICATE_IN_RUN, STOPPED_BY_DEADLINE, Outcome, Verdict
from overnight.schemas.program import Candidate
from overnight.tasks.evaluate.confirmation import Confirmer
from overnight.tasks.evaluate.evaluator import Evaluator
from overnight.tasks.evaluate.sandbox import Death
from tests.evaluate.test_confirmation import SPECIFICATION, START, FakeSandbox, claim, scored


def candidate(index: int, body: str) -> Candidate:
    return claim(index, body, 1.0).candidate


class Blocked(FakeSandbox):
    """A sandbox that runs nothing until it is released."""

    def __init__(self) -> None:
        super().__init__()
        self.release = threading.Event()
        self.running = threading.Semaphore(0)

    def run(self, source: Source) -> Verdict | Death:
        self.running.release()
        assert self.release.wait(60)
        return super().run(source)


class Announcing(ThreadPoolExecutor):
    """One thread; says when a call waits for it."""

    def __init__(self) -> None:
        super().__init__(1)
        self.submitted = threading.Semaphore(0)

    def submit(self, *args: Any, **kwargs: Any) -> Any:
        future = super().submit(*args, **kwargs)
        self.submitted.release()
        return future


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as threads:
        yield threads


def evaluator(sandbox: FakeSandbox, threads: ThreadPoolExecutor, known: set[str] | None = None) -> Evaluator:
    return Evaluator(sandbox, SPECIFICATION, lambda: known, lambda *_: None, threads)


def test_equal_programs_are_run_once_and_each_gets_the_verdict(threads: ThreadPoolExecutor):
    sandbox = FakeSandbox()
    mine = evaluator(sandbox, threads, set())
    first = mine.evaluate([candidate(0, "5"), candidate(1, "5")], 1)
    again = mine.evaluate([candidate(2, "5")], 1)
    assert [verdict for _, verdict in (*first, *again)] == [scored(5.0)] * 3
    assert sandbox.asked == ["5"]


def test_where_duplicates_are_evaluated_again_each_is_run(threads: ThreadPoolExecutor):
    sandbox = FakeSandbox()
    evaluator(sandbox, threads, None).evaluate([candidate(0, "5"), candidate(1, "5")], 1)
    assert sandbox.asked == ["5", "5"]


def test_a_program_of_an_earlier_generation_is_not_run(threads: ThreadPoolExecutor):
    sandbox = FakeSandbox()
    ((_, verdict),) = evaluator(sandbox, threads, {"5"}).evaluate([candidate(0, "5")], 2)
    assert verdict == DUPLICATE_IN_RUN
    assert sandbox.asked == []


def test_a_further_attempt_runs_again_only_what_the_sandbox_failed(threads: ThreadPoolExecutor):
    gone = Death("gone")
    sandbox = FakeSandbox(**{"2": gone, START: gone})
    mine = evaluator(sandbox, threads, set())
    with pytest.raises(SandboxUnavailable):
        mine.evaluate([candidate(0, "1"), candidate(1, "2")], 1)
    sandbox.verdicts.clear()
    mine.begin_attempt(1)
    assert [verdict.outcome for _, verdict in mine.evaluate([candidate(0, "1"), candidate(1, "2")], 1)] == [
        Outcome.SCORED,
        Outcome.SCORED,
    ]
    assert sandbox.asked.count("1") == 1


def test_a_sandbox_that_comes_back_between_two_tries_has_failed_no_program(threads: ThreadPoolExecutor):
    sandbox = FakeSandbox(**{"2": Death("gone")})
    run = sandbox.run

    def run_until_it_is_back(source: Source) -> Verdict | Death:
        found = run(source)
        if sandbox.asked[-1] == START:  # which can be run: the engine is back
            sandbox.verdicts.clear()
        return found

    sandbox.run = run_until_it_is_back
    ((_, verdict),) = evaluator(sandbox, threads).evaluate([candidate(0, "2")], 1)
    assert verdict.is_scored


def test_verdicts_are_dropped_with_their_generation(threads: ThreadPoolExecutor):
    sandbox = FakeSandbox()
    mine = evaluator(sandbox, threads, set())
    mine.evaluate([candidate(0, "5")], 1)
    mine.forget(1)
    mine.evaluate([candidate(0, "5")], 2)
    assert sandbox.asked == ["5", "5"]


@pytest.mark.parametrize("is_cut", [True, False])
def test_when_it_is_stopped_candidates_that_wait_are_not_run(is_cut: bool):
    sandbox = Blocked()
    with Announcing() as threads, ThreadPoolExecutor(1) as caller:
        mine = evaluator(sandbox, threads, set())
        pairs = caller.submit(mine.evaluate, [candidate(0, "1"), candidate(1, "2")], 1)
        for event in (sandbox.running, threads.submitted, threads.submitted):
            assert event.acquire(timeout=60)
        mine.cut() if is_cut else mine.stop()
        sandbox.release.set()
        (_, first), (_, second) = pairs.result()
    assert first == scored(1.0), "what was running may end"
    assert second.outcome is Outcome.SANDBOX_ERROR
    assert (second == STOPPED_BY_DEADLINE) == is_cut
    assert sandbox.asked == ["1"]


def test_what_runs_as_its_sandbox_is_closed_by_a_deadline_was_stopped_by_it():
    sandbox = Blocked()
    sandbox.verdicts["1"] = Death("gone")
    with ThreadPoolExecutor(1) as threads, ThreadPoolExecutor(1) as caller:
        mine = evaluator(sandbox, threads, set())
        pairs = caller.submit(mine.evaluate, [candidate(0, "1")], 1)
        assert sandbox.running.acquire(timeout=60)
        mine.cut()
        sandbox.close()
        sandbox.release.set()
        ((_, verdict),) = pairs.result()
    assert verdict == STOPPED_BY_DEADLINE


def test_candidates_that_a_record_says_were_cut_short_are_not_run(threads: ThreadPoolExecutor):
    sandbox = FakeSandbox()
    mine = evaluator(sandbox, threads, set())
    mine.leave_out(3, [1])
    assert [verdict for _, verdict in mine.evaluate([candidate(0, "1"), candidate(1, "2")], 3)] == [
        scored(1.0),
        STOPPED_BY_DEADLINE,
    ]


def test_of_the_candidates_that_wait_the_first_in_the_order_of_generations_runs_next():
    sandbox = Blocked()
    order: list[Source] = []
    sandbox.evaluate, run = (lambda source: order.append(source) or run(source)), sandbox.evaluate
    with Announcing() as threads, ThreadPoolExecutor(4) as callers:
        mine = evaluator(sandbox, threads, None)
        begun = [callers.submit(mine.evaluate, [candidate(0, "1")], 1)]
        assert sandbox.running.acquire(timeout=60)
        for generation, index, body in ((2, 0, "4"), (1, 8, "3"), (1, 4, "2")):
            begun.append(callers.submit(mine.evaluate, [candidate(index, body)], generation))
        for _ in range(4):
            assert threads.submitted.acquire(timeout=60)
        sandbox.release.set()
        for future in begun:
            future.result(timeout=60)
    assert order == [SPECIFICATION.program(candidate(0, body).body) for body in "1234"]


def test_a_trial_runs_when_no_candidate_waits_and_may_be_cancelled(threads: ThreadPoolExecutor):
    sandbox, other = Blocked(), FakeSandbox()
    mine = evaluator(sandbox, threads)
    busy = mine.submit_trial("return 1")
    assert sandbox.running.acquire(timeout=60)
    waiting = [mine.submit_trial(f"return {number}") for number in (2, 3)]
    elsewhere = mine.submit_trial("return 4", other)
    assert waiting[1].cancel()
    with ThreadPoolExecutor(1) as caller:
        judged = caller.submit(mine.evaluate, [candidate(0, "5")], 1)
        while len(mine._threads._waiting) < 4:
            pass
        sandbox.release.set()
        assert [verdict for _, verdict in judged.result(60)] == [scored(5.0)]
    assert [busy.result(60), waiting[0].result(60), elsewhere.result(60)] == [scored(1.0), scored(2.0), scored(4.0)]
    assert sandbox.asked == ["1", "5", "2"]
    assert other.asked == ["4"]


@pytest.mark.parametrize(("slots", "before"), [(1, []), (2, ["1"])])
def test_a_confirmation_keeps_one_slot_free_of_trials(slots: int, before: list[str]):
    sandbox, asked = FakeSandbox(), list[str]()

    class Confirming(FakeSandbox):
        def run(self, source: Source) -> Verdict | Death:
            trials.append(mine.submit_trial("return 1"))
            mine.evaluate([candidate(0, "5")], 1)
            if before:
                trials[0].result(60)
            asked.extend(sandbox.asked)
            return super().run(source)

    trials = list[Future[Verdict]]()
    with ThreadPoolExecutor(1) as threads:
        mine = Evaluator(sandbox, SPECIFICATION, lambda: None, lambda *_: None, threads, slots)
        confirmer = Confirmer(Confirming(), SPECIFICATION, mine.reserve_slot)
        assert confirmer.run_again(claim(1, "7", 7.0), 1) == scored(7.0)
        assert sorted(asked) == [*before, "5"]
        assert trials[0].result(60) == scored(1.0), "it runs after the confirmation"


def test_stopping_cancels_the_trials_that_wait(threads: ThreadPoolExecutor):
    sandbox = Blocked()
    mine = evaluator(sandbox, threads)
    busy, waiting = mine.submit_trial("return 1"), mine.submit_trial("return 2")
    assert sandbox.running.acquire(timeout=60)
    mine.stop()
    assert waiting.cancelled()
    sandbox.release.set()
    assert busy.result(60) == scored(1.0)


def test_after_a_cut_no_trial_runs(threads: ThreadPoolExecutor):
    sandbox = FakeSandbox()
    mine = evaluator(sandbox, threads)
    mine.cut()
    assert mine.submit_trial("return 1").result(60) == STOPPED_BY_DEADLINE
    assert sandbox.asked == []


def test_each_verdict_is_reported_as_soon_as_it_is_there():
    sandbox = Blocked()
    reported: queue.SimpleQueue[tuple[int, int, Verdict]] = queue.SimpleQueue()
    with ThreadPoolExecutor(1) as threads, ThreadPoolExecutor(1) as caller:
        mine = Evaluator(
            sandbox,
            SPECIFICATION,
            lambda: {"known"},
            lambda generation, one, verdict: reported.put((generation, one.index, verdict)),
            threads,
        )
        pairs = caller.submit(mine.evaluate, [candidate(0, "1"), candidate(1, "known")], 2)
        assert reported.get(timeout=60) == (2, 1, DUPLICATE_IN_RUN), "the first candidate runs still"
        sandbox.release.set()
        assert reported.get(timeout=60) == (2, 0, scored(1.0))
        assert [verdict for _, verdict in pairs.result()] == [scored(1.0), DUPLICATE_IN_RUN]


def test_an_error_names_the_line_of_each_answer(threads: ThreadPoolExecutor):
    error = "NameError: name 'x' is not defined, in line 6 (return x), on input 1 of 1 (3)"
    judging = evaluator(FakeSandbox(x=Verdict(Outcome.CRASHED, error=error)), threads)
    short, long = (
        replace(made, completion=replace(made.completion, text=f"```\n{text}```"))
        for made, text in (
            (candidate(0, "x"), "def f():\n    return x\n"),
            (candidate(1, "x"), "# a\ndef f():\n    return x\n"),
        )
    )
    told = [verdict.error for _, verdict in judging.evaluate([short, long], 1)]
    assert told == [error.replace("line 6", "line 2"), error.replace("line 6", "line 3")]
    begun = judging.begin(long, 1)
    assert isinstance(begun, Future)
    assert begun.result(60).error == told[1]
