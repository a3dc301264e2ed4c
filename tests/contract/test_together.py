"""Test several evolved functions in isolated evaluation: they share one process, and each is called from the scoring
one."""

from __future__ import annotations

from dataclasses import replace

from overnight.schemas.job import Call, Isolation, Job
from overnight.schemas.limits_settings import Limits
from overnight.schemas.outcome import Outcome, Verdict
from overnight.tasks.evaluate.pool import open_pool
from overnight.tasks.program.read_specification import read_specification

TEXT = """
import funsearch
KEPT = [0]
@funsearch.evolve
def keep(x):
    KEPT[0] += x
    return KEPT[0]
@funsearch.run
def evaluate(n):
    if KEPT != [0]:
        raise ValueError("the scoring sees what a candidate keeps")
    return [keep(n), keep(x=n), tell(1)][-1]
@funsearch.evolve
def tell(times):
    return KEPT[0] * times + helper()
def helper():
    return 1000
"""
SPECIFICATION = read_specification(TEXT, "test")
JOB = Job(
    "evaluate",
    (Call((3,)), Call((4,))),
    Limits(wall_s=2, memory_mib=96),
    isolation=Isolation(SPECIFICATION.evolved, TEXT),
)


def judged(program: str) -> Verdict:
    with open_pool(JOB, image="", backend="process", slots=1) as pool:
        return pool.evaluate(program)


def test_they_share_globals_with_each_other_but_not_with_the_scoring_or_between_inputs():
    verdict = judged(TEXT)
    assert verdict.outcome is Outcome.SCORED, verdict
    assert verdict.scores == (1006, 1008)


def test_they_call_each_other_directly():
    body = SPECIFICATION.join(["return tell(x)", "return 5 * times"])
    assert judged(SPECIFICATION.with_body(body)).scores == (5, 5)


def test_an_error_names_the_line_of_the_function_that_raised_it():
    verdict = judged(SPECIFICATION.with_body(SPECIFICATION.join(["return x", "return [][times]"])))
    assert verdict.outcome is Outcome.CRASHED
    assert "return [][times]" in verdict.error


def test_arguments_that_are_not_plain_data_are_reported_with_the_function_s_name():
    program = TEXT.replace("tell(1)]", "tell(object())]")
    job = replace(JOB, inputs=(Call((3,)),), isolation=Isolation(SPECIFICATION.evolved, program))
    with open_pool(job, image="", backend="process", slots=1) as pool:
        assert "`tell` runs in a process of its own" in pool.evaluate(program).error


def test_a_program_that_lacks_one_of_them_crashes():
    verdict = judged(TEXT.replace("def tell(", "def told("))
    assert verdict.outcome is Outcome.CRASHED
    assert "no function 'tell'" in verdict.error
