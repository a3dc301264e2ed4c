"""The messages between the head and the machines of a cluster: JSON texts of plain data, never pickled objects.

What a machine answers is not trusted: each field is checked before it is used.
"""

from __future__ import annotations

import base64
import json
from dataclasses import asdict, replace
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, FiniteFloat, TypeAdapter, ValidationError

from overnight.schemas.bundle import ProgramBundle, Source
from overnight.schemas.job import Call, Job
from overnight.schemas.outcome import Outcome, Verdict
from overnight.tasks.evaluate.delivery import job_fields
from overnight.tasks.evaluate.runner import codec
from overnight.tasks.evaluate.runner.notes import METRIC_NAME, MOST_METRICS, head_and_tail, note_chars
from overnight.tasks.evaluate.verdicts import clean

MAX_ANSWER = 16 * 2**20
"""Maximum length of an answer, bytes."""

_ERROR_CHARS = 2000

_OUTPUT_CHARS = 2 * 2**20
"""Maximum length of a program's output that is sent, characters, so that an answer with it is not too long."""


def _shown(text: str) -> str:
    return clean(text)[:_ERROR_CHARS]


def _of_sandbox(outcome: Outcome) -> Outcome:
    if not outcome.facts.is_of_sandbox:
        raise ValueError(f"expected an outcome of a sandbox, got {outcome}")
    return outcome


_Shown = Annotated[str, AfterValidator(_shown)]
"""Text of a machine that people are shown."""

_Number = Annotated[FiniteFloat, Field(strict=True)]
_Amount = Annotated[_Number, Field(ge=0)]


class MessageFault(Exception):
    """An answer is not what a machine of the same version sends."""


class Request(BaseModel):
    """Message with all that a machine needs to open a job.

    Attributes:
        job: The job, as `job_text` writes it.
        runtime: Container runtime; `None` for the default.
        is_fresh: Whether each program gets a fresh container.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    job: str
    image: str
    backend: str
    runtime: str | None
    labels: dict[str, str]
    slots: int
    is_fresh: bool


class Answer(BaseModel):
    """Answer of a machine to any request; fields that do not apply are left out.

    Attributes:
        fault: Reason why the machine cannot do what was asked, through no fault of a program.
        lacks_image: Whether the reason is that the machine does not have the image.
        verdict: Fields of the verdict on a program.
        lost: Reason why a run of a program came to no verdict, though the machine is sound.
        out_of_memory: Whether the reason is that memory ran out in its container.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    fault: _Shown = ""
    lacks_image: bool = False
    verdict: dict[str, Any] | None = None
    lost: _Shown = ""
    out_of_memory: bool = False
    facts: dict[_Shown, _Shown] = {}


def answer_bytes(answer: Answer) -> bytes:
    return answer.model_dump_json(exclude_defaults=True).encode("utf-8", "replace")


def read_answer(data: object) -> Answer:
    if not isinstance(data, bytes) or len(data) > MAX_ANSWER:
        found = f"{len(data)} bytes" if isinstance(data, bytes) else type(data).__name__
        raise MessageFault(f"expected an answer of at most {MAX_ANSWER} bytes, got {found}")
    try:
        return Answer.model_validate_json(data)
    except ValidationError as error:
        raise MessageFault(f"expected an answer, got {data[:200]!r}") from error


_JOB = TypeAdapter(Job)


def job_text(job: Job) -> str:
    """Return a job as text: as it is sent to a container, and its honest program.

    Raises:
        SpecificationError: If its inputs are not plain data.
    """
    honest = None if job.honest is None else source_text(job.honest)
    return json.dumps(job_fields(job) | {"honest": honest})


def read_job(text: str) -> Job:
    """Return the job of a text by `job_text`."""
    fields = json.loads(text)
    inputs = tuple(Call(*codec.loads(base64.b64decode(one))) for one in fields["inputs"])
    honest = fields["honest"] and read_source(fields["honest"])
    return replace(_JOB.validate_python(fields | {"inputs": (), "honest": None}), inputs=inputs, honest=honest)


def source_text(source: Source) -> str:
    """Return a program as text: of one file, or of several."""
    return json.dumps(source if isinstance(source, str) else source.files)


def read_source(text: str) -> Source:
    """Return the program of a text by `source_text`."""
    read = json.loads(text)
    return read if isinstance(read, str) else ProgramBundle(tuple((path, file) for path, file in read))


class _VerdictMessage(BaseModel):
    """A verdict, as a machine may send it: without a drawing, since programs draw on the head alone."""

    model_config = ConfigDict(extra="forbid")

    outcome: Annotated[Outcome, AfterValidator(_of_sandbox)]
    scores: tuple[_Number, ...]
    error: _Shown
    wall_s: _Amount
    cpu_s: _Amount
    peak_mib: _Amount
    input_wall_s: tuple[_Amount, ...]
    calls: tuple[Annotated[int, Field(ge=0, strict=True)], ...]
    output: str
    skipped: Annotated[int, Field(ge=0, strict=True)]
    drawing: Literal[""]
    machine: str
    metrics: Annotated[
        dict[Annotated[str, Field(pattern=f"^{METRIC_NAME.pattern}$")], tuple[_Number | None, ...]],
        Field(max_length=MOST_METRICS),
    ]
    notes: tuple[str, ...]


def verdict_fields(verdict: Verdict) -> dict[str, Any]:
    """Return a verdict as plain data; of a very long output, the beginning."""
    return asdict(verdict) | {"output": verdict.output[:_OUTPUT_CHARS]}


def read_verdict(fields: dict[str, Any], job: Job, machine: str) -> Verdict:
    """Return the verdict of an answer.

    Raises:
        MessageFault: If no program of this job can have this verdict.
    """
    try:
        said = _VerdictMessage.model_validate(fields)
    except ValidationError as error:
        raise MessageFault(f"expected a verdict, got {str(fields)[:200]}") from error
    inputs, outcome = len(job.inputs), said.outcome
    expected = {Outcome.SCORED: inputs, Outcome.REJECTED: inputs - said.skipped}.get(outcome, 0)
    if len(said.scores) != expected:
        raise MessageFault(f"expected {expected} scores of a program that is {outcome}, got {len(said.scores)}")
    if any(len(values) != expected for values in said.metrics.values()) or len(said.notes) > inputs:
        raise MessageFault(f"expected metrics of {expected} inputs and notes of at most {inputs}, got others")
    if max(len(said.input_wall_s), len(said.calls)) > inputs:
        got = f"{len(said.input_wall_s)} and {len(said.calls)}"
        raise MessageFault(f"expected the seconds and the calls of at most {inputs} inputs, got {got}")
    if said.skipped and outcome is not Outcome.REJECTED:
        raise MessageFault(f"expected no skipped inputs of a program that is {outcome}, got {said.skipped}")
    return Verdict(
        outcome=outcome,
        scores=said.scores,
        error=said.error,
        wall_s=said.wall_s,
        cpu_s=said.cpu_s,
        peak_mib=said.peak_mib,
        input_wall_s=said.input_wall_s,
        calls=said.calls,
        output=clean(said.output)[: job.limits.output_kib * 1024],
        skipped=said.skipped,
        machine=machine,
        metrics=said.metrics,
        notes=tuple(head_and_tail(clean(text), note_chars(inputs)) for text in said.notes),
    )
