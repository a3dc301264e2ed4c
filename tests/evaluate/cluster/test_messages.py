"""Messages between the head and the machines: what one side writes the other reads, and nothing else is believed."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overnight.schemas.bundle import ProgramBundle, Source
from overnight.schemas.errors import SpecificationError
from overnight.schemas.job import Call, Command, Isolation, Job
from overnight.schemas.limits_settings import Limits
from overnight.schemas.outcome import Outcome, Verdict
from overnight.tasks.evaluate.cluster.messages import (
    MAX_ANSWER,
    Answer,
    MessageFault,
    Request,
    answer_bytes,
    job_text,
    read_answer,
    read_job,
    read_source,
    read_verdict,
    source_text,
    verdict_fields,
)

HEAD_ONLY = [outcome for outcome in Outcome if not outcome.facts.is_of_sandbox]
"""Outcomes that no machine gives."""

JOB = Job("evaluate", (Call((3,)), Call((4,)), Call((5,))), Limits(output_kib=1))
SCORED = Verdict(Outcome.SCORED, (1.0, 2.0, 3.0), wall_s=0.5, cpu_s=0.25, peak_mib=12.5, input_wall_s=(0.1, 0.2, 0.2))

PAIR = re.compile("[\ud800-\udbff][\udc00-\udfff]")
"""Two halves of one character, which JSON cannot tell from the character."""

TEXT = st.text(st.characters(exclude_categories=[]), max_size=20).filter(lambda text: not PAIR.search(text))
"""Text with halves of characters, of which none is beside its other half."""

FINITE = st.floats(allow_nan=False, allow_infinity=False)
SIMPLE = st.none() | st.booleans() | st.integers() | FINITE | TEXT
KEYS = st.recursive(SIMPLE, lambda inner: st.lists(inner, max_size=3).map(tuple), max_leaves=4)
PLAIN = st.recursive(
    SIMPLE,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(KEYS, inner, max_size=4)
        | st.dictionaries(st.sampled_from(["tuple", "dict"]), inner)
    ),
    max_leaves=15,
)
CALLS = st.builds(Call, st.lists(PLAIN, max_size=3).map(tuple), st.dictionaries(TEXT, PLAIN, max_size=3))
LIMITS = st.builds(
    Limits,
    wall_s=st.floats(0.001, 1e7),
    cpu_s=st.none() | st.floats(0.001, 1e7),
    memory_mib=st.integers(32, 2**24),
    output_kib=st.integers(1, 2**20),
    scratch_mib=st.integers(0, 2**24),
)
NAMES = st.lists(TEXT, max_size=3).map(tuple)
JOBS = st.builds(
    Job,
    TEXT,
    st.lists(CALLS, max_size=4).map(tuple),
    LIMITS,
    st.lists(st.none() | FINITE, max_size=4).map(tuple),
    st.integers(),
    st.none() | st.builds(Isolation, NAMES, TEXT),
    st.none() | st.builds(Command, TEXT, NAMES, TEXT, TEXT, NAMES),
    honest=st.none() | TEXT | st.deferred(lambda: BUNDLES),
)

PATHS = st.lists(
    st.from_regex(r"[a-z]{1,8}(/[a-z]{1,8}\.py)?", fullmatch=True), min_size=1, max_size=4, unique_by=str.lower
)


def bundle_of(paths: list[str], texts: list[str]) -> ProgramBundle | None:
    """Return a bundle, or none if the paths cannot be files beside each other."""
    try:
        return ProgramBundle(tuple(zip(paths, texts, strict=False)))
    except SpecificationError:
        return None


BUNDLES = st.builds(bundle_of, PATHS, st.lists(TEXT, min_size=4, max_size=4)).filter(lambda bundle: bundle is not None)

SECONDS = st.floats(0, 1e9)
CLEAN = st.text(st.characters(codec="ascii", categories=["L", "N", "P", "Z", "S"]) | st.sampled_from("\n\té🙂"))


@st.composite
def verdicts(draw: st.DrawFn) -> Verdict:
    """Return a verdict that some program of `JOB` can have."""
    outcome = draw(st.sampled_from([one for one in Outcome if one not in HEAD_ONLY]))
    skipped = draw(st.integers(0, 2)) if outcome is Outcome.REJECTED else 0
    count = len(JOB.inputs) - skipped if outcome in (Outcome.SCORED, Outcome.REJECTED) else 0
    return Verdict(
        outcome,
        tuple(draw(st.lists(FINITE, min_size=count, max_size=count))),
        draw(CLEAN),
        draw(SECONDS),
        draw(SECONDS),
        draw(SECONDS),
        tuple(draw(st.lists(SECONDS, max_size=len(JOB.inputs)))),
        draw(CLEAN),
        skipped,
        "a machine",
        metrics=draw(st.dictionaries(st.sampled_from("ab"), st.tuples(*[st.none() | FINITE] * count))),
        notes=tuple(draw(st.lists(CLEAN, max_size=len(JOB.inputs)))),
        calls=tuple(draw(st.lists(st.integers(0, 2**40), max_size=len(JOB.inputs)))),
    )


def kinds(value: Any) -> Any:
    """Return the types of all parts of a value and the signs of its zeros, since 0, -0.0 and False compare equal."""
    if isinstance(value, list | tuple):
        return type(value), [kinds(item) for item in value]
    if isinstance(value, dict):
        return dict, [(kinds(key), kinds(item)) for key, item in value.items()]
    return type(value), repr(value) if isinstance(value, float) else ""


def sent(verdict: Verdict, **changes: Any) -> bytes:
    """Return an answer with a verdict in which a machine has changed fields."""
    return json.dumps({"verdict": verdict_fields(verdict) | changes}).encode()


def received(data: bytes, job: Job = JOB, machine: str = "a machine") -> Verdict:
    fields = read_answer(data).verdict
    assert fields is not None
    return read_verdict(fields, job, machine)


@given(JOBS)
def test_a_machine_reads_the_job_that_the_head_wrote_in_ascii(job: Job):
    text = job_text(job)
    assert text.isascii()
    read = read_job(text)
    assert read == job
    for before, after in zip(job.inputs, read.inputs, strict=True):
        assert kinds(after.args) == kinds(before.args)
        assert kinds(after.kwargs) == kinds(before.kwargs)


@pytest.mark.parametrize("value", [{1, 2}, object(), 1j, [range(3)]], ids=lambda value: type(value).__name__)
def test_a_job_with_an_input_that_is_no_plain_data_is_not_written(value: Any):
    with pytest.raises(SpecificationError, match="not plain data"):
        job_text(Job("evaluate", (Call((value,)),)))


@given(TEXT | BUNDLES)
def test_a_machine_reads_the_program_that_the_head_wrote_in_ascii(source: Source):
    text = source_text(source)
    assert text.isascii()
    read = read_source(text)
    assert read == source
    assert type(read) is type(source)


@given(verdicts())
def test_the_head_reads_the_verdict_that_a_machine_wrote(verdict: Verdict):
    read = received(answer_bytes(Answer(verdict=verdict_fields(verdict))))
    assert read == verdict
    assert kinds(read.scores) == kinds(verdict.scores)


@pytest.mark.parametrize(
    "answer",
    [
        Answer(),
        Answer(fault="no engine"),
        Answer(fault="no image", lacks_image=True),
        Answer(facts={"Overnight": "1.0", "engine": "Docker 29, 2 cores"}),
        Answer(verdict={"outcome": "scored"}),
    ],
)
def test_the_head_reads_the_answer_that_a_machine_wrote(answer: Answer):
    assert read_answer(answer_bytes(answer)) == answer


NO_ANSWERS: dict[str, Any] = {
    "nothing": None,
    "text": '{"fault": ""}',
    "an array of bytes": bytearray(b"{}"),
    "an object": {"fault": ""},
    "too long": b'{"fault": "' + b"x" * MAX_ANSWER + b'"}',
    "empty": b"",
    "noise": b"\xff\x00\x80",
    "half of one": b'{"fault": "no',
    "no object": b"[]",
    "null": b"null",
    "deep": b'{"verdict": {"x": ' + b"[" * 100_000,
    "half a character": b'{"fault": "\\ud800"}',
    "an unknown field": b'{"fault": "", "command": "rm"}',
    "a fault that is a number": b'{"fault": 1}',
    "a flag that is text": b'{"lacks_image": "yes"}',
    "a verdict that is a list": b'{"verdict": []}',
    "facts that are numbers": b'{"facts": {"Overnight": 1}}',
    "a number without end": b'{"verdict": {"scores": [' + b"9" * 5000 + b"]}}",
}


@pytest.mark.parametrize("data", NO_ANSWERS.values(), ids=NO_ANSWERS)
def test_what_is_no_answer_is_refused(data: Any):
    with pytest.raises(MessageFault, match="expected an answer") as raised:
        read_answer(data)
    assert len(str(raised.value)) < 1500
    assert str(raised.value).isprintable()


@given(st.binary(max_size=100) | st.text().map(str.encode))
def test_noise_is_refused_or_an_answer_as_any_other(data: bytes):
    try:
        answer = read_answer(data)
    except MessageFault:
        return
    assert read_answer(answer_bytes(answer)) == answer


LIES: dict[str, dict[str, Any]] = {
    "nan": {"scores": [1.0, 2.0, float("nan")]},
    "infinite": {"scores": [1.0, 2.0, float("inf")]},
    "minus infinite": {"scores": [1.0, 2.0, float("-inf")]},
    "true": {"scores": [1.0, 2.0, True]},
    "text": {"scores": [1.0, 2.0, "3"]},
    "null": {"scores": [1.0, 2.0, None]},
    "too large for a float": {"scores": [1.0, 2.0, 10**400]},
    "a score that is a list": {"scores": [1.0, 2.0, [3.0]]},
    "too few scores": {"scores": [1.0, 2.0]},
    "too many scores": {"scores": [1.0, 2.0, 3.0, 4.0]},
    "one score": {"scores": 1.0},
    "no score": {"scores": []},
    "a crash with a score": {"outcome": "crashed"},
    "a time-out with a score": {"outcome": "timed_out", "scores": [1.0]},
    "rejected with all scores, of which one was skipped": {"outcome": "rejected", "skipped": 1},
    "rejected with more skipped than there are": {"outcome": "rejected", "scores": [], "skipped": 4},
    "scored, and skipped beside": {"skipped": 10**9},
    "a crash that skipped": {"outcome": "crashed", "scores": [], "skipped": 1},
    "skipped less than none": {"outcome": "rejected", "scores": [1.0] * 4, "skipped": -1},
    "skipped half": {"outcome": "rejected", "skipped": 0.5},
    "skipped true": {"outcome": "rejected", "scores": [1.0, 2.0], "skipped": True},
    "negative seconds": {"wall_s": -0.1},
    "negative seconds of processor": {"cpu_s": -1},
    "infinite seconds": {"cpu_s": float("inf")},
    "negative memory": {"peak_mib": -1.0},
    "no seconds": {"wall_s": None},
    "negative seconds of an input": {"input_wall_s": [0.1, -0.1]},
    "seconds of more inputs than there are": {"input_wall_s": [0.1] * 4},
    "an outcome that does not exist": {"outcome": "best"},
    "no outcome": {"outcome": ""},
    "an error that is a number": {"error": 1},
    "an output that is a list": {"output": ["x"]},
    "a machine that is a number": {"machine": 1},
    "a drawing": {"drawing": "<svg/>"},
    "an unknown field": {"best": True},
}


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES)
def test_a_verdict_that_no_program_of_the_job_can_have_is_refused(lie: dict[str, Any]):
    assert received(sent(SCORED)).is_scored
    with pytest.raises(MessageFault, match=r"^expected ") as raised:
        received(sent(SCORED, **lie))
    assert len(str(raised.value)) < 500


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from(list(verdict_fields(SCORED))), JSON, min_size=1))
def test_a_verdict_with_changed_fields_is_refused_or_as_plain_as_any_other(changes: dict[str, Any]):
    try:
        verdict = received(sent(SCORED, **changes))
    except MessageFault:
        return
    assert verdict.machine == "a machine"
    assert received(answer_bytes(Answer(verdict=verdict_fields(verdict)))) == verdict


@pytest.mark.parametrize(
    "changes",
    [{"metrics": {"a": [1]}}, {"metrics": {"a\n": [1, 2, 3]}}, {"notes": ["x"] * 4}, {"metrics": {"a": [1, 2, "3"]}}],
)
def test_metrics_and_notes_of_other_inputs_are_refused(changes: dict[str, Any]):
    with pytest.raises(MessageFault):
        received(sent(SCORED, **changes))


@pytest.mark.parametrize("outcome", HEAD_ONLY)
def test_an_outcome_that_only_the_head_gives_is_refused(outcome: Outcome):
    with pytest.raises(MessageFault, match="expected a verdict"):
        received(sent(Verdict(outcome)))


@pytest.mark.parametrize("field", verdict_fields(SCORED))
def test_a_verdict_without_one_of_its_fields_is_refused(field: str):
    fields = verdict_fields(SCORED)
    del fields[field]
    with pytest.raises(MessageFault, match="expected a verdict"):
        read_verdict(fields, JOB, "a machine")


def test_text_that_is_too_long_is_cut():
    verdict = received(sent(Verdict(Outcome.CRASHED, error="e" * 5000, output="o" * 5000)))
    assert verdict.error == "e" * 2000
    assert verdict.output == "o" * 1024, "the job's limit on output is 1 KiB"
    assert read_answer(b'{"fault": "' + b"f" * 5000 + b'"}').fault == "f" * 2000
    facts = read_answer(json.dumps({"facts": {"k" * 5000: "v" * 5000}}).encode()).facts
    assert facts == {"k" * 2000: "v" * 2000}


def test_an_answer_with_a_very_long_output_is_not_too_long_to_be_read():
    job = replace(JOB, limits=Limits(output_kib=2**20))
    verdict = replace(SCORED, output="🙂" * (MAX_ANSWER // 4 + 1))
    read = received(answer_bytes(Answer(verdict=verdict_fields(verdict))), job)
    assert read.scores == verdict.scores
    assert verdict.output.startswith(read.output)
    assert len(read.output) >= 2**20


def test_control_characters_are_replaced_wherever_a_machine_sends_text():
    hostile, cleaned = "\x1b[2J\x00\u202e\u2028\x9b\r ok\n\t", "�[2J����� ok\n\t"
    verdict = received(sent(Verdict(Outcome.CRASHED, error=hostile, output=hostile)))
    assert verdict.error == verdict.output == cleaned
    answer = read_answer(json.dumps({"fault": hostile, "facts": {hostile: hostile}}).encode())
    assert answer.fault == cleaned
    assert answer.facts == {cleaned: cleaned}


def test_a_machine_can_tell_any_fault():
    assert read_answer(answer_bytes(Answer(fault="file \udcff is gone\x1b"))).fault == "file � is gone�"


def test_the_name_of_a_machine_is_the_one_that_the_head_knows():
    assert received(sent(SCORED, machine="another"), machine="this one").machine == "this one"


REQUEST = Request(
    job=job_text(JOB),
    image="sha256:1",
    backend="docker",
    runtime=None,
    labels={"overnight.run": "r", "more": "m"},
    slots=4,
    is_fresh=False,
)
