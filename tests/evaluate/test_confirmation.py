from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from typing import Literal

import pytest

from overnight.schemas.bundle import Source
from overnight.schemas.errors import SandboxUnavailable
from overnight.schemas.job import Call, Job
from overnight.schemas.limits_settings import Limits
from overnight.schemas.objectives import Objectives
from overnight.schemas.outcome import Outcome, Verdict
from overnight.schemas.program import Candidate, Completion, Judged, Prompt
from overnight.schemas.scores import reduce_scores
from overnight.schemas.settings import Reducer
from overnight.tasks.evaluate.confirmation import (
    ConfirmationRules,
    Confirmer,
    confirmation,
    disagreement,
    is_decided_by_time,
)
from overnight.tasks.evaluate.evaluator import Evaluator
from overnight.tasks.evaluate.sandbox import Death, Sandbox
from overnight.tasks.program.read_specification import read_specification

SPECIFICATION = read_specification(
    "import funsearch\n@funsearch.run\ndef evaluate(n): return f()\n@funsearch.evolve\ndef f():\n    return 0\n", "made"
)

START = "0"


def scored(*scores: float) -> Verdict:
    return Verdict(Outcome.SCORED, scores, wall_s=0.5, output="said")


class FakeSandbox(Sandbox):
    """Gives to each body what is written down for it; else the verdict of the number it returns."""

    def __init__(self, **verdicts: Verdict | Death) -> None:
        super().__init__(Job("f", (), honest=SPECIFICATION.start_program))
        self.verdicts = verdicts
        self.asked: list[str] = []
        self._lock = threading.Lock()

    def run(self, source: Source) -> Verdict | Death:
        text = source if isinstance(source, str) else source.main
        body = text.rstrip().rpartition("return ")[2]
        with self._lock:
            self.asked.append(body)
        return self.verdicts[body] if body in self.verdicts else scored(float(body))

    def close(self) -> None:
        pass


def claim(index: int, body: str, *scores: float, niche: str = "0", outcome: Outcome = Outcome.CRASHED) -> Judged:
    prompt = Prompt(index, niche, (), "m", "chat", "", (0,))
    completion = Completion(index, 0, "", "", "m", 0, 0, 0.0, 0.0, "stop", datetime.now(UTC))
    candidate = Candidate(index, prompt, completion, f"return {body}", body)
    verdict = scored(*scores) if scores else Verdict(outcome, error="no")
    return Judged(f"p{index}", candidate, verdict, reduce_scores(scores, "mean") if scores else None)


class Made:
    """Rules of confirmations, and a confirmer with its fake sandbox."""

    def __init__(
        self, which: Literal["best", "always", "never"] = "best", noise: float = 0.0, **verdicts: Verdict | Death
    ) -> None:
        self.sandbox = FakeSandbox(**verdicts)
        self.rules = ConfirmationRules(which, "mean", noise)
        self.confirmer = Confirmer(self.sandbox, SPECIFICATION)

    def confirm(self, *judged: Judged, best: tuple[float, ...] = (0.0, 0.0, 0.0)) -> list[Judged]:
        """Run what is missing again until nothing is, as a night does."""
        bests = {str(niche): score for niche, score in enumerate(best)}
        verdicts: dict[str, Verdict] = {}
        while True:
            done, missing = self.rules.confirmed(judged, bests, verdicts)
            if not missing:
                return done
            verdicts |= {one.id: self.confirmer.run_again(one, 1) for one in missing}


def settle(claim: Judged, again: Verdict, reducer: Reducer, noise: float) -> Judged:
    return ConfirmationRules("best", reducer, noise).settled(claim, again)


def test_a_best_that_gets_its_score_again_stays_as_it_is():
    one = claim(0, "5", 5.0)
    assert Made().confirm(one) == [replace(one, confirmed_score=5.0)]


def test_metrics_are_those_of_the_first_evaluation_beside_those_of_the_confirmation():
    one = claim(0, "5", 4.0, 6.0)
    one = replace(one, verdict=replace(one.verdict, metrics={"s": (1.0, 2.0)}), metrics={"s": 1.5})
    again = replace(scored(4.0, 6.0), metrics={"s": (3.0, 4.0), "t": (1.0, None)})
    settled = settle(one, again, "mean", 0.0)
    assert (settled.metrics, settled.confirmed_metrics) == ({"s": 1.5}, {"s": 3.5})
    always = ConfirmationRules("always", "mean", 0.0).settled(one, again)
    assert (always.metrics, always.verdict.metrics) == ({"s": 3.5}, again.metrics)
    limited = ConfirmationRules("best", "mean", 0.0, Objectives(limits={"s": "<= 2"})).settled(one, again)
    assert (limited.verdict.outcome, limited.score) == (Outcome.UNCONFIRMED, None)
    assert limited.verdict.error.endswith("s is 3.5, and its limit is <= 2")


def test_a_forged_score_is_unconfirmed_and_both_are_told():
    made = Made()
    (one,) = made.confirm(claim(0, "1", 1e6))
    assert (one.score, one.confirmed_score, one.verdict.outcome) == (None, 1.0, Outcome.UNCONFIRMED)
    assert one.verdict.scores == ()
    assert one.verdict.output == "said"
    assert one.verdict.error == (
        "scored 1000000.0, then 1.0: run again, in a fresh container, it scores otherwise: 1000000.0 and 1.0 on input 1"
    )


def test_one_whose_values_depend_on_earlier_calls_is_unconfirmed_and_says_which_call_and_what_to_do():
    cause = "f(3) gives another value as the first call of a new process than after other calls: a value may depend on"
    made = Made(x=Verdict(Outcome.REJECTED, error=cause))
    (one,) = made.confirm(claim(0, "x", 3.0))
    assert one.verdict.outcome is Outcome.UNCONFIRMED
    assert one.verdict.error == f"scored 3.0: run again, in a fresh container, it is rejected: {cause}"
    assert not is_decided_by_time(one.verdict)


def test_one_that_fails_when_it_is_split_is_unconfirmed_and_says_how():
    made = Made(x=Verdict(Outcome.TIMED_OUT, error="took more than 4 s"))
    (one,) = made.confirm(claim(0, "x", 3.0))
    assert (one.score, one.confirmed_score, one.verdict.outcome) == (None, None, Outcome.UNCONFIRMED)
    assert one.verdict.error == "scored 3.0: run again, in a fresh container, it is timed_out: took more than 4 s"


CLAIMS = (
    claim(0, "1", 1.0),
    claim(1, "3", 3.0),
    claim(2, "2", 2.0),
    claim(3, "3.0", 3.0),
    claim(4, "4", 4.0),
    claim(5, "5", 5.0, niche="1"),
    claim(6, "6", 6.0, niche="2"),
    claim(7, "7"),
)


def test_of_each_niche_the_highest_claim_alone_is_run_again_if_it_holds():
    made = Made()
    got = made.confirm(*CLAIMS, best=(1.0, 5.0, 5.0))
    assert sorted(made.sandbox.asked) == ["4", "6"], "equal is not better"
    assert [one.score for one in got] == [1.0, 3.0, 2.0, 3.0, 4.0, 5.0, 6.0, None]


def test_where_the_highest_claim_does_not_hold_the_next_one_is_run_again():
    made = Made()
    got = made.confirm(claim(0, "1.5", 1.5), claim(1, "1", 1e6), claim(2, "2", 2.0))
    assert made.sandbox.asked == ["1", "2"]
    assert [one.score for one in got] == [1.5, None, 2.0]


def test_always_means_all_that_are_scored():
    made = Made("always")
    made.confirm(claim(0, "3", 3.0), claim(1, "2", 2.0), claim(2, "x"), best=(9.0,))
    assert made.sandbox.asked == ["3", "2"]


def test_within_the_noise_the_lower_score_of_each_input_counts():
    again = scored(1.9, 3.05)
    one = settle(claim(0, "x", 2.0, 3.0), again, "mean", 0.1001)
    assert one.verdict.scores == (1.9, 3.0)
    assert one.score == reduce_scores((1.9, 3.0), "mean")
    assert one.confirmed_score == reduce_scores(again.scores, "mean")
    assert settle(claim(0, "x", 2.0, 3.0), again, "mean", 0.05).verdict.outcome is Outcome.UNCONFIRMED


def test_scores_too_large_to_be_added_are_unconfirmed():
    one = settle(claim(0, "x", 1.0, 1.0), scored(1.7e308, 1.7e308), "sum", 0.0)
    assert one.verdict.outcome is Outcome.UNCONFIRMED
    assert one.score is None


def test_differences_are_named_up_to_a_few():
    said = disagreement(scored(1, 2, 3, 4, 5), scored(1, 0, 0, 0, 0), 0.0)
    assert said.endswith("2 and 0 on input 2, 3 and 0 on input 3, 4 and 0 on input 4 and 1 more")
    assert disagreement(scored(0.0), scored(-0.0), 0.0) == ""


def test_a_fault_of_ours_is_no_verdict_and_the_next_attempt_goes_on_where_this_one_stopped():
    made = Made("always")
    gone = Death("the engine is gone")
    made.sandbox.verdicts.update({"2": gone, START: gone})
    claims = claim(0, "1", 1.0), claim(1, "2", 2.0)
    with pytest.raises(SandboxUnavailable, match="the engine is gone"):
        made.confirm(*claims)
    made.sandbox.verdicts.clear()
    assert [one.score for one in made.confirm(*claims)] == [1.0, 2.0]
    assert made.sandbox.asked == ["1", "2", "2", START, "2"], "the first is not run a second time"


def test_who_alone_cannot_be_run_again_is_not_judged_and_holds_nobody_up():
    made = Made()
    made.sandbox.verdicts["2"] = Death("the container ended")
    first, second = made.confirm(claim(0, "2", 2.0), claim(1, "1", 1.0))
    assert (first.verdict.outcome, first.score) == (Outcome.SANDBOX_ERROR, None)
    assert second.confirmed_score == second.score == 1.0


def test_there_is_nothing_to_do_where_nobody_is_better_or_nothing_is_confirmed():
    made, never = Made(), Made("never")
    made.confirm(claim(0, "1", 1.0), claim(1, "x"), best=(1.0,))
    never.confirm(claim(0, "1", 1.0))
    assert made.sandbox.asked == never.sandbox.asked == []


def test_a_confirmation_has_more_time_and_nothing_else_more():
    job = Job("evaluate", (Call((1,)),), Limits(wall_s=3, cpu_s=2, memory_mib=64), seed=4)
    more = confirmation(job, 0.0)
    assert (more.limits.wall_s, more.limits.cpu_s, more.limits.memory_mib) == (6, 4, 64)
    assert replace(more, limits=job.limits) == job
    assert confirmation(replace(job, limits=Limits()), 0.0).limits.cpu_s is None


def test_a_confirmation_skips_only_what_would_be_unconfirmed_anyway():
    job = Job("evaluate", (Call((1,)), Call((2,))), thresholds=(1.0, None))
    assert confirmation(job, 0.25).thresholds == (0.75, None)
    below = Verdict(Outcome.REJECTED, (0.5,), error="scored 0.5, below the threshold of 0.75", skipped=1)
    settled = settle(claim(0, "1", 1.0, 1.0), below, "mean", 0.25)
    assert (settled.verdict.outcome, settled.score) == (Outcome.UNCONFIRMED, None)
    assert "below the threshold" in settled.verdict.error


def test_it_takes_what_the_evaluator_of_the_same_generation_gives():
    """The two share nothing but the sandbox protocol: a split sandbox can be either's."""
    sandbox = FakeSandbox()
    evaluator = Evaluator(sandbox, SPECIFICATION, set, lambda *_: None, ThreadPoolExecutor(1))
    ((candidate, verdict),) = evaluator.evaluate([claim(0, "5", 5.0).candidate], 1)
    assert Made().confirm(Judged("p0", candidate, verdict, 5.0))[0].confirmed_score == 5.0
