from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overnight.schemas.job import Call, Job
from overnight.schemas.limits_settings import Limits
from overnight.schemas.outcome import Outcome, Verdict
from overnight.tasks.evaluate.verdicts import Reply, ReplyFault, clean, judge

JOB = Job("evaluate", (Call((500, 1)), Call((500, 2))), Limits(wall_s=2, memory_mib=64))
SEEN = {
    "number": 1,
    "broken": "",
    "status": 0,
    "wall_s": 0.5,
    "cpu_s": 0.25,
    "peak_mib": 20.0,
    "input_wall_s": [0.1, 0.2],
    "loaded": True,
    "memory_kills": 0,
}


def verdict(results: bytes, output: bytes = b"", **seen: Any) -> Verdict:
    return judge(Reply(json.dumps(SEEN | seen).encode(), results, output), JOB)


def report(*records: object) -> bytes:
    return b"\n\n" + b"".join(json.dumps(record).encode() + b"\n" for record in records)


KEYS = ["score", "error", "type", "text", "line", "metrics", "notes", "metric", "not_a_number"]

GOOD = report({"score": 1}, {"score": -2.5})


def test_a_number_for_each_input_is_a_score():
    expected = Verdict(Outcome.SCORED, (1.0, -2.5), "", 0.5, 0.25, 20.0, (0.1, 0.2), "hi")
    assert verdict(GOOD, b"hi") == expected


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=2, max_size=2))
def test_scores_are_exact(scores: list[float]):
    assert verdict(report(*({"score": score} for score in scores))).scores == tuple(scores)


@given(st.binary() | st.binary().map(lambda data: b"\n\n" + data) | st.text().map(lambda t: b"\n\n" + t.encode()))
def test_noise_never_scores_and_never_raises(data: bytes):
    got = verdict(data, data)
    assert got.outcome is not Outcome.SCORED
    assert got.scores == ()
    assert got.error
    got.error.encode()
    got.output.encode()


def test_what_is_said_beside_a_score_is_kept_and_cleaned():
    found = verdict(report({"score": 1, "metrics": {"b": 2, "a": 1.5}}, {"score": 2, "notes": "x\x1b[2J" + "y" * 9000}))
    assert found.metrics == {"a": (1.5, None), "b": (2.0, None)}
    assert found.notes[0] == ""
    assert found.notes[1].startswith("x�[2Jyy")
    assert len(found.notes[1]) <= 4096


@pytest.mark.parametrize(
    "metrics", [{"a": math.nan}, {"a": True}, {"a": 10**400}, {"": 1}, {"a\n": 1}, [1], None, {"a": "1"}]
)
def test_metrics_that_no_runner_writes_are_a_bad_score(metrics: Any):
    found = verdict(report({"score": 1, "metrics": metrics}, {"score": 2}))
    assert (found.outcome, found.scores, found.metrics) == (Outcome.BAD_SCORE, (), {})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(KEYS), inner),
)


@given(JSON, JSON)
def test_only_two_exact_finite_numbers_score(first: Any, second: Any):
    got = verdict(report({"score": first}, {"score": second}))
    right = all(type(value) in (int, float) and math.isfinite(value) for value in (first, second))
    assert got.is_scored == right


@given(JSON)
def test_any_record_gives_a_clean_verdict(record: Any):
    got = verdict(report(record, {"score": 1}))
    assert got.is_scored == bool(got.scores)
    assert len(got.error) <= 2000
    assert clean(got.error) == got.error


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (b"NaN", "nan"),
        (b"Infinity", "inf"),
        (b"1e999", "inf"),
        (b"-1e999", "-inf"),
        (b"true", "bool"),
        (b'"1"', "str"),
        (b"null", "NoneType"),
        (b"[1]", "list"),
        (b"1" + b"0" * 400, "too large"),
        (b"1" * 5000, "not what"),
        (b"[" * 50_000, "not what"),
    ],
)
def test_a_value_that_is_not_a_finite_number_is_a_bad_score(value: bytes, says: str):
    got = verdict(b'\n\n{"score": ' + value + b"}\n")
    assert got.outcome is Outcome.BAD_SCORE
    assert says in got.error
    assert "input 1 of 2 (500, 1)" in got.error


@pytest.mark.parametrize(
    ("results", "outcome", "says"),
    [
        (b"\n", Outcome.CRASHED, "while it was loaded"),
        (b"\n\n", Outcome.CRASHED, "on input 1 of 2"),
        (report({"score": 1}), Outcome.CRASHED, "on input 2 of 2"),
        (report({"score": 1}) + b'{"score": 2}', Outcome.BAD_SCORE, "more than the 2 scores"),
        (GOOD + b'{"score": 3}\n', Outcome.BAD_SCORE, "more than the 2 scores"),
        (GOOD + b"x", Outcome.BAD_SCORE, "more than the 2 scores"),
        (report({"score": 1}, {"out_of_memory": True}), Outcome.OUT_OF_MEMORY, "64 MiB on input 2"),
        (report({"score": 1, "x": 2}), Outcome.BAD_SCORE, "not what"),
    ],
)
def test_a_partial_or_longer_report_is_never_scored(results: bytes, outcome: Outcome, says: str):
    got = verdict(results)
    assert (got.outcome, got.scores) == (outcome, ())
    assert says in got.error


@pytest.mark.parametrize(
    ("seen", "outcome", "says"),
    [
        ({"broken": "wall", "input_wall_s": [0.1]}, Outcome.TIMED_OUT, "2 s of wall clock on input 2"),
        ({"broken": "wall", "input_wall_s": [], "loaded": False}, Outcome.TIMED_OUT, "while it was loaded"),
        ({"broken": "output"}, Outcome.OUTPUT_LIMIT, "64 KiB"),
        ({"broken": "results"}, Outcome.BAD_SCORE, "result channel"),
        ({"cpu_s": 4.1}, Outcome.TIMED_OUT, "4 s of processor time"),
        ({"status": -24}, Outcome.TIMED_OUT, "processor time"),
        ({"status": -11}, Outcome.CRASHED, "SIGSEGV"),
        ({"status": -40}, Outcome.CRASHED, "signal 40"),
        ({"status": 7}, Outcome.CRASHED, "code 7"),
        ({"broken": "wall", "memory_kills": 1}, Outcome.OUT_OF_MEMORY, "64 MiB"),
    ],
)
def test_the_runner_s_observations_override_a_perfect_report(seen: dict[str, Any], outcome: Outcome, says: str):
    got = verdict(GOOD, **seen)
    assert (got.outcome, got.scores) == (outcome, ())
    assert says in got.error


def test_a_kill_for_memory_explains_a_missing_score_but_removes_no_score():
    assert verdict(report({"score": 1}), status=-9, memory_kills=1).outcome is Outcome.OUT_OF_MEMORY
    assert verdict(GOOD, memory_kills=1).outcome is Outcome.SCORED


def test_an_error_names_type_text_line_and_input():
    error = {"type": "ValueError", "text": "no", "line": 12, "code": "raise ValueError('no')"}
    got = verdict(report({"score": 1}, {"error": error}))
    assert got.error == "ValueError: no, in line 12 (raise ValueError('no')), on input 2 of 2 (500, 2)"


@given(st.text())
def test_clean_text_is_utf8_without_control_characters(text: str):
    for character in clean(text):
        assert character.encode()
        assert character in "\n\t" or character.isprintable() or ord(character) > 0x9F


@pytest.mark.parametrize("header", [b"", b"[]", b"{}", b'{"number": 1}', b"\xff"])
def test_a_malformed_header_is_our_fault(header: bytes):
    with pytest.raises(ReplyFault):
        judge(Reply(header, GOOD, b""), JOB)


LADDER = replace(JOB, inputs=(Call((1,)), Call((2,)), Call((3,))), thresholds=(0.5, None))


def climbed(*scores: float, **seen: Any) -> Verdict:
    header = json.dumps(SEEN | seen).encode()
    return judge(Reply(header, report(*({"score": score} for score in scores)), b""), LADDER)


def test_below_a_threshold_it_is_rejected_without_a_score_and_the_rest_is_skipped():
    got = climbed(0.25)
    assert (got.outcome, got.scores, got.skipped) == (Outcome.REJECTED, (0.25,), 2)
    assert got.error == "scored 0.25, below the threshold of 0.5, on input 1 of 3 (1); 2 more inputs were skipped"


def test_a_score_at_a_threshold_or_without_one_goes_on():
    assert climbed(0.5, -9.0, -9.0).scores == (0.5, -9.0, -9.0)


def test_missing_scores_without_one_below_a_threshold_are_a_crash():
    for claimed in ((0.75,), (0.75, 0.1)):
        got = climbed(*claimed)
        assert (got.outcome, got.scores, got.skipped) == (Outcome.CRASHED, (), 0)


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=4))
def test_a_score_below_a_threshold_is_rejected_whatever_is_reported_afterwards(more: list[float]):
    got = climbed(0.49, *more)
    assert (got.outcome, got.scores, got.skipped) == (Outcome.REJECTED, (0.49,), 2)


def test_the_runner_s_observations_override_a_threshold():
    assert climbed(0.25, broken="wall").outcome is Outcome.TIMED_OUT
    assert climbed(0.25, status=-9).outcome is Outcome.CRASHED
