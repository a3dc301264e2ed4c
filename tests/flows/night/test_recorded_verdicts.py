"""What a replay takes from the record: what time decided, and nothing else."""

from __future__ import annotations

from dataclasses import replace

import pytest

from overnight.flows.night.recorded_verdicts import RecordedFinalists, RecordedVerdicts
from overnight.schemas.generation import Finalist
from overnight.schemas.limits_settings import Limits
from overnight.schemas.outcome import STOPPED_BY_DEADLINE, Outcome, Verdict
from overnight.schemas.program import Judged, Program
from overnight.tasks.evaluate.confirmation import ConfirmationRules
from overnight.tasks.history.rows import program_row
from overnight.testing.made import a_generation, a_judged, a_problem

SETTINGS = a_problem().settings
BEST = Program("start", "return 0", (-9.0, -9.0), -9.0)
GOOD = Verdict(Outcome.SCORED, (1.0, 2.0))
LATE = Verdict(Outcome.TIMED_OUT, error="took more than 20 s of processor time on input 2")
CRASHED = Verdict(Outcome.CRASHED, error="ValueError: no")
FULL = Verdict(Outcome.OUT_OF_MEMORY, error="used more than 512 MiB on input 2")
FAILED = Verdict(Outcome.SANDBOX_ERROR, error="the machine is too busy: it got no processor for 30 s")


def a_claim(verdict: Verdict = GOOD) -> Judged:
    return replace(a_judged("r", 1, 0, scores=verdict.scores), verdict=verdict)


def recorded(judged: Judged) -> RecordedVerdicts:
    return RecordedVerdicts.of_rows(SETTINGS, [program_row("r", a_generation(1, [judged], BEST), judged)])


def settled(claim: Judged, again: Verdict, *, was_told: bool = True) -> Judged:
    """Return a candidate after its confirmation, as a night records it."""
    rules = ConfirmationRules(which="best", reducer=SETTINGS.reducer, noise=0.0)
    found = rules.settled(claim, again)
    is_changed = was_told and found.verdict != claim.verdict
    return replace(found, claimed_scores=claim.verdict.scores) if is_changed else found


@pytest.mark.parametrize(
    ("then", "now", "is_taken"),
    [
        (GOOD, LATE, True),
        (LATE, GOOD, True),
        (LATE, replace(LATE, error="took more than 20 s of processor time on input 1"), True),
        (CRASHED, LATE, True),
        (FAILED, GOOD, True),
        (GOOD, FAILED, True),
        (STOPPED_BY_DEADLINE, GOOD, True),
        (GOOD, GOOD, False),
        (LATE, LATE, False),
        (GOOD, CRASHED, False),
        (GOOD, replace(GOOD, scores=(1.0, 2.5)), False),
        (GOOD, FULL, False),
        (FULL, CRASHED, False),
    ],
)
def test_an_evaluation_that_time_decided_then_or_now_is_the_record_s(then: Verdict, now: Verdict, is_taken: bool):
    verdicts = recorded(a_claim(then))
    ((_, counts),) = verdicts.evaluated([(a_claim().candidate, now)])
    assert counts == (then if is_taken else now)
    assert len(verdicts.taken) == is_taken


@pytest.mark.parametrize("then", [GOOD, LATE])
def test_a_claim_that_fell_is_evaluated_to_the_scores_that_the_search_went_on_with(then: Verdict):
    verdicts = recorded(settled(a_claim(), then))
    ((_, counts),) = verdicts.evaluated([(a_claim().candidate, LATE)])
    assert counts == GOOD
    assert verdicts.taken


@pytest.mark.parametrize(
    ("then", "now", "is_taken"),
    [
        (GOOD, LATE, True),
        (LATE, GOOD, True),
        (LATE, CRASHED, True),
        (GOOD, FAILED, True),
        (STOPPED_BY_DEADLINE, STOPPED_BY_DEADLINE, False),
        (GOOD, GOOD, False),
        (GOOD, CRASHED, False),
        (CRASHED, GOOD, False),
        (GOOD, replace(GOOD, scores=(1.0, 1.5)), False),
        (replace(GOOD, scores=(1.0, 1.5)), LATE, True),
        (FULL, GOOD, False),
    ],
)
@pytest.mark.parametrize("was_told", [True, False], ids=["told at once", "confirmed first"])
def test_a_confirmation_that_time_decided_then_or_now_is_the_record_s(
    then: Verdict, now: Verdict, is_taken: bool, was_told: bool
):
    judged = settled(a_claim(), then, was_told=was_told)
    verdicts = recorded(judged)
    found = verdicts.settled(a_claim(), now)
    expected = judged if is_taken else settled(a_claim(), now)
    assert replace(found, claimed_scores=()) == replace(expected, claimed_scores=())
    assert len(verdicts.taken) == is_taken


def test_a_program_that_was_not_confirmed_then_is_not_taken_to_be():
    verdicts = recorded(a_claim())
    assert verdicts.settled(a_claim(), LATE).verdict.outcome is Outcome.UNCONFIRMED
    assert not verdicts.taken


def test_what_was_confirmed_before_it_was_told_is_complete_where_its_evaluation_is_too_slow_now():
    judged = replace(settled(a_claim(), replace(GOOD, scores=(1.0, 1.5)), was_told=False), metrics={"m": 1.0})
    verdicts = recorded(judged)
    ((_, counts),) = verdicts.evaluated([(judged.candidate, LATE)])
    unfinished = replace(judged, verdict=counts, confirmed_score=None, metrics={})
    assert verdicts.completed(unfinished) == judged


def test_a_text_that_differs_by_moments_alone_is_the_record_s():
    then = replace(CRASHED, error="no luck at 0x7f01 after 3.25 s", output="pid 17", notes=("took 1.5",))
    now = replace(CRASHED, error="no luck at 0x7fab after 12 s", output="pid 4321", notes=("took 2.75",))
    verdicts = recorded(a_claim(then))
    ((_, counts),) = verdicts.evaluated([(a_claim().candidate, now)])
    assert counts == then
    ((_, counts),) = verdicts.evaluated([(a_claim().candidate, replace(now, error="no luck at all"))])
    assert counts.error == "no luck at all"
    assert not verdicts.taken, "its outcome is the same"


def test_calls_that_a_confirmation_counted_are_the_record_s():
    verdicts = recorded(a_claim(replace(GOOD, calls=(3, 4))))
    ((_, counts),) = verdicts.evaluated([(a_claim().candidate, GOOD)])
    assert counts.calls == (3, 4)


SLOW = replace(GOOD, input_wall_s=(0.1, 0.6), cpu_s=0.7)


@pytest.mark.parametrize(
    ("then", "now", "counts", "is_taken"),
    [
        (1.5, (LATE, None), 1.5, True),
        (1.5, (FAILED, None), 1.5, True),
        (None, (SLOW, 1.5), None, True),
        (None, (replace(GOOD, cpu_s=1.2, input_wall_s=(0.1, 0.1)), 1.5), None, True),
        (None, (GOOD, 1.5), 1.5, False),
        (1.5, (CRASHED, None), None, False),
        (1.5, (SLOW, 1.0), 1.0, False),
        (None, (LATE, None), None, False),
    ],
)
def test_a_score_of_a_final_evaluation_that_time_decided_is_the_record_s(
    then: float | None, now: tuple[Verdict, float | None], counts: float | None, is_taken: bool
):
    recorded = RecordedFinalists({BEST.id: Finalist(BEST, -9.0, then, None)}, Limits(wall_s=1.0))
    assert recorded.score("validation", BEST, *now) == counts
    assert recorded.taken == ({BEST.id} if is_taken else set())
    assert recorded.score("held_out", BEST, GOOD, 1.5) == 1.5
    assert recorded.score("validation", Program("other", "", (), 0.0), LATE, None) is None
