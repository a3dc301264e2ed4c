"""Metrics and notes: what a scoring says beside the score, by input, in whatever process it runs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from overnight.schemas.job import Call, Isolation, Job
from overnight.schemas.limits_settings import Limits
from overnight.schemas.outcome import Outcome, Verdict
from overnight.tasks.evaluate.pool import SandboxPool
from overnight.tasks.program.read_specification import read_specification
from tests.contract.conftest import on_processes

TEXT = '''
import funsearch

funsearch.note("while it was loaded")

@funsearch.run
def evaluate(n):
    """Return what the evolved function says, and say what was seen."""
    funsearch.note(f"input {n}")
    found = f(n)
    funsearch.note([("step", "value"), (1, 2.5)])
    return found

@funsearch.evolve
def f(n):
    funsearch.note("of the candidate")
    return {"score": n, "seconds": n / 2, "notes": {"far": n}}
'''
SPECIFICATION = read_specification(TEXT, "test")
ISOLATION = Isolation(SPECIFICATION.evolved, TEXT)
JOB = Job(SPECIFICATION.run, (Call((3,)), Call((4,))), Limits(wall_s=5, memory_mib=96), isolation=ISOLATION)


def returning(*lines: str) -> str:
    """Return the program whose evolved function has this body."""
    return TEXT[: TEXT.index('    funsearch.note("of the candidate")')] + "".join(f"    {line}\n" for line in lines)


@pytest.fixture(scope="module")
def isolated() -> Iterator[SandboxPool]:
    with on_processes(JOB) as pool:
        yield pool


@pytest.fixture(scope="module")
def inline() -> Iterator[SandboxPool]:
    with on_processes(Job(JOB.run_function, JOB.inputs, JOB.limits)) as pool:
        yield pool


def test_further_numbers_are_metrics_and_what_is_noted_is_kept_by_input(isolated: SandboxPool):
    verdict = isolated.evaluate(TEXT)
    assert (verdict.outcome, verdict.scores, verdict.metrics) == (Outcome.SCORED, (3, 4), {"seconds": (1.5, 2)})
    assert verdict.notes == tuple(f"input {n}\nstep | value\n1 | 2.5\nfar: {n}" for n in (3, 4))


def test_a_candidate_that_shares_the_process_can_note_something(inline: SandboxPool):
    verdict = inline.evaluate(TEXT)
    assert verdict.metrics == {"seconds": (1.5, 2)}
    assert verdict.notes[0] == "input 3\nof the candidate\nstep | value\n1 | 2.5\nfar: 3"


def test_what_was_noted_before_a_failure_is_kept(isolated: SandboxPool):
    verdict = isolated.evaluate(returning("assert n == 3", "return 1"))
    assert (verdict.outcome, verdict.scores, verdict.notes[1]) == (Outcome.CRASHED, (), "input 4")


def test_a_long_or_binary_note_has_head_and_tail_and_fails_nothing(isolated: SandboxPool):
    verdict = isolated.evaluate(returning(r"return {'score': 1, 'notes': b'a' + bytes(5_000_000) + b'\xffz'}"))
    assert verdict.is_scored
    for note in verdict.notes:
        assert len(note) <= 4096
        assert note.startswith("input")
        assert "…" in note
        assert note.endswith("\ufffdz")


WRONG = [
    ("{'score': 1, 'seconds': float('inf')}", "expected a finite number as the metric 'seconds', got float inf"),
    ("{'score': 1, 'seconds': 2**2000}", "expected a finite number as the metric 'seconds', got int"),
    ("{'score': 1, 'fast': True}", "expected a finite number as the metric 'fast', got bool True"),
    ("{'score': 1, 'a\\nb': 1}", r"a dict with a metric of the name 'a\nb'"),
    ("{'score': 1, 2: 1}", "a dict with a metric of the name 2"),
    ("{'score': 1} | {f'm{i}': 1 for i in range(40)}", "a dict of 40 metrics, of which there may be 32"),
    ("{'seconds': 1}", "a dict without 'score': ['seconds']"),
    ("{'score': None}", "expected one finite number, got NoneType None"),
]


@pytest.mark.parametrize(("value", "says"), WRONG)
def test_a_wrong_dict_is_a_bad_score_that_says_why(isolated: SandboxPool, value: str, says: str):
    verdict = isolated.evaluate(returning(f"return {value}"))
    assert verdict.outcome is Outcome.BAD_SCORE
    assert says in verdict.error
    assert verdict.error.endswith("on input 1 of 2 (3)")


def test_a_metric_that_an_input_lacks_is_missing_there_alone(isolated: SandboxPool):
    verdict = isolated.evaluate(returning("return {'score': 1, 'even' if n % 2 == 0 else 'odd': 7}"))
    assert verdict.metrics == {"even": (None, 7.0), "odd": (7.0, None)}


def test_scores_below_a_threshold_keep_their_metrics():
    with on_processes(Job(JOB.run_function, JOB.inputs, JOB.limits, thresholds=(5.0,), isolation=ISOLATION)) as pool:
        verdict: Verdict = pool.evaluate(TEXT)
    assert (verdict.outcome, verdict.scores, verdict.skipped) == (Outcome.REJECTED, (3.0,), 1)
    assert verdict.metrics == {"seconds": (1.5,)}
