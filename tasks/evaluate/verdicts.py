"""Convert a runner's reply to a verdict, by pure functions that neither run nor import nor trust anything of the
candidate.

The header of a reply comes from the runner; the other two parts, the candidate's report and output, are hostile text.
"""

from __future__ import annotations

import json
import math
import re
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from overnight.schemas.job import Job
from overnight.schemas.outcome import Outcome, Verdict
from overnight.tasks.evaluate import delivery
from overnight.tasks.evaluate.runner import notes

_ERROR_CHARS = 2000
"""Maximum length of a verdict's error text, characters."""

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Characters that a terminal or a web page might interpret: control characters other than newline and tab, and marks
that reverse text; also surrogates."""

_CONFINEMENT_ERRORS = frozenset({"PermissionError", "OSError", "FileNotFoundError", "BlockingIOError"})
"""Names of errors that a candidate gets if it uses something that the sandbox does not offer."""

_LOADING = "while it was loaded"

_HINT = " [a candidate has no network, no files to write, and cannot start other programs]"


class ReplyFault(Exception):
    """The header is not one that a runner writes, which is a fault of ours."""


@dataclass(frozen=True)
class Reply:
    """Reply of the runner for one candidate.

    Attributes:
        header: JSON written by the runner.
        results: The candidate's report.
        output: The candidate's output.
    """

    header: bytes
    results: bytes
    output: bytes


@dataclass(frozen=True)
class Header:
    """The runner's observations; see `runner/supervisor.py`.

    Attributes:
        number: Number of the request that this answers.
        broken: Limit that the candidate broke: `wall`, `output` or `results`; `starved` if other programs kept it from
            running until the maximum extension; empty if none.
        status: Exit code of the child; the negated signal number if a signal killed it.
        wall_s: Time from the lock-down to the end, seconds.
        cpu_s: Processor time of all its processes, seconds.
        peak_mib: Peak resident memory of its largest process, MiB.
        input_wall_s: Seconds for each finished input.
        loaded: Whether the program was loaded.
        memory_kills: Number of processes that the kernel killed because memory ran out.
        evolved_status: Exit code of the evolved functions' process in isolated evaluation.
        starved_s: Seconds by which its last deadline was extended, because other programs kept it from running.
        calls: Number of calls of evolved functions on each finished input in isolated evaluation.
        checks: Whether it ended while its calls were repeated in new processes, after its last input was scored.
    """

    number: int
    broken: str
    status: int
    wall_s: float
    cpu_s: float
    peak_mib: float
    input_wall_s: tuple[float, ...]
    loaded: bool
    memory_kills: int
    evolved_status: int = 0
    starved_s: float = 0.0
    calls: tuple[int, ...] = ()
    checks: bool = False


def read_header(data: bytes) -> Header:
    """Parse a header.

    Raises:
        ReplyFault: If it is not a valid header.
    """
    try:
        fields = json.loads(data)
        lists = {"input_wall_s": tuple(fields["input_wall_s"]), "calls": tuple(fields.get("calls", ()))}
        return Header(**fields | lists)
    except (ValueError, TypeError, KeyError) as error:
        raise ReplyFault(f"expected a runner's header, got {data[:200]!r}") from error


def judge(reply: Reply, job: Job) -> Verdict:
    """Return the verdict on one candidate.

    Args:
        reply: The runner's reply.
        job: Job that the candidate was run for.

    Raises:
        ReplyFault: If the runner's header is malformed.
    """
    header = read_header(reply.header)
    results, drawing = _take_drawing(reply.results) if job.draws else (reply.results, "")
    outcome, scores, error = _decide(header, results, job)
    if job.draws:
        scores = ()
    records = _records_beside(results, job)
    skipped = len(job.inputs) - len(scores) if outcome is Outcome.REJECTED else 0
    return Verdict(
        outcome=outcome,
        scores=scores,
        error=clean(error)[:_ERROR_CHARS],
        wall_s=header.wall_s,
        cpu_s=header.cpu_s,
        peak_mib=header.peak_mib,
        input_wall_s=header.input_wall_s[: len(job.inputs)],
        calls=header.calls[: len(job.inputs)],
        output=clean(reply.output.decode("utf-8", "replace")),
        skipped=skipped,
        drawing=drawing if outcome is Outcome.SCORED else "",
        metrics=_metrics_of(records[: len(scores)]),
        notes=_notes_of(records, job),
    )


def _take_drawing(results: bytes) -> tuple[bytes, str]:
    """Return a report with a score in place of its drawing, so that it is judged like one, and the drawing."""
    *lines, last, rest = results.rsplit(b"\n", 2) if results.count(b"\n") > 1 else (results, b"", b"")
    record = _read_record(last)
    drawing = record.get("drawing")
    if set(record) != {"drawing"} or not isinstance(drawing, str):
        return results, ""
    return b"\n".join([*lines, b'{"score": 0}', rest]), drawing


def clean(text: str) -> str:
    """Return the text as valid UTF-8, with each character that a terminal might interpret replaced by `�`."""
    return _CONTROL.sub("�", text)


def _records_beside(results: bytes, job: Job) -> list[dict[str, Any]]:
    """Return the records of inputs of a report in which anything is beside the scores; else none."""
    if b'"notes": ' not in results and b'"metrics": ' not in results:
        return []
    return [_read_record(line) for line in results.split(b"\n")[2 : len(job.inputs) + 2]]


def _metrics_of(records: Sequence[dict[str, Any]]) -> dict[str, tuple[float | None, ...]]:
    """Return the metrics of inputs that have a score, whose records were checked, by name."""
    found = [record.get("metrics", {}) for record in records]
    names = sorted({name for metrics in found for name in metrics})
    return {
        name: tuple(float(metrics[name]) if name in metrics else None for metrics in found)
        for name in names[: notes.MOST_METRICS]
    }


def _notes_of(records: Sequence[dict[str, Any]], job: Job) -> tuple[str, ...]:
    """Return the notes on the inputs up to the last that has any."""
    chars = notes.note_chars(len(job.inputs))
    texts = [record.get("notes", "") for record in records]
    texts = [notes.head_and_tail(clean(text), chars) if isinstance(text, str) else "" for text in texts]
    while texts and not texts[-1]:
        texts.pop()
    return tuple(texts)


_Decision = tuple[Outcome, tuple[float, ...], str]


def _decide(header: Header, results: bytes, job: Job) -> _Decision:
    """Decide by the runner's observations first; the candidate's report only counts if they do not rule it out."""
    where = _describe_position(header, job)
    limits, cpu_s = job.limits, delivery.cpu_limit(job)
    if header.broken == "output":
        return Outcome.OUTPUT_LIMIT, (), f"printed more than {limits.output_kib} KiB {where}"
    if header.broken == "results":
        return Outcome.BAD_SCORE, (), "wrote more into the result channel than any report can hold"
    report = _read_report(results, header, job)
    if header.memory_kills and (header.broken or report[0] is not Outcome.SCORED):
        # Whatever happened afterwards: for instance, another of its processes may have waited for the killed one.
        return Outcome.OUT_OF_MEMORY, (), f"used more than {limits.memory_mib} MiB {where}"
    if header.broken == "wall" and header.checks:
        return Outcome.TIMED_OUT, (), f"{_SLOW_CALL.format(2 * limits.wall_s)}, {where}{_starvation_note(header)}"
    if header.broken == "wall":
        return (
            Outcome.TIMED_OUT,
            (),
            f"took more than {limits.wall_s:g} s of wall clock {where}{_starvation_note(header)}",
        )
    if header.cpu_s > cpu_s or -signal.SIGXCPU in (header.status, header.evolved_status):
        return Outcome.TIMED_OUT, (), f"took more than {cpu_s:g} s of processor time {where}"
    if header.broken == "starved":
        return Outcome.SANDBOX_ERROR, (), f"the machine is too busy: it got no processor for {header.starved_s:.0f} s"
    if header.status:
        return Outcome.CRASHED, (), f"{_describe_exit(header.status)} {where}"
    return report


_SLOW_CALL = (
    "a single call took more than {:g} s of wall clock, twice as long as all calls on an input may: what one call "
    "keeps for the next may save time, but no call may need it"
)


def _starvation_note(header: Header) -> str:
    """Return a note on the time that did not count; empty if it is less than a second."""
    if header.starved_s < 1:
        return ""
    return f", not counting {header.starved_s:.1f} s in which other programs kept it from running"


def _describe_exit(status: int) -> str:
    return f"killed by {_signal_name(-status)}" if status < 0 else f"exited with code {status}"


def _read_report(results: bytes, header: Header, job: Job) -> _Decision:
    """Parse the candidate's report: one score for each input, or the first failure."""
    # The first line, written after the lock-down, is empty; nothing may follow the last newline.
    lines, rest = results.split(b"\n")[1:-1], results.rpartition(b"\n")[2]
    if not lines:
        return Outcome.CRASHED, (), f"ended itself with exit code 0 {_LOADING}"
    if lines[0]:
        return _read_failure(_read_record(lines[0]), _LOADING, header, job)
    scores: list[float] = []
    for line in lines[1 : len(job.inputs) + 1]:
        record, where = _read_record(line), _input_name(len(scores), job)
        if "score" not in record or not record.keys() <= _BESIDE or not _are_metrics(record.get("metrics", {})):
            return _read_failure(record, where, header, job)
        score, fault = _read_score(record["score"])
        if fault:
            return Outcome.BAD_SCORE, (), f"expected one finite number, got {fault} {where}"
        scores.append(score)
        if message := _describe_shortfall(scores, where, job):
            # The report ends here, whatever else it contains: only these scores determine whether the rest is skipped.
            return Outcome.REJECTED, tuple(scores), message
    if len(lines) - 1 > len(job.inputs) or rest:
        return Outcome.BAD_SCORE, (), f"reported more than the {len(job.inputs)} scores that were asked for"
    if len(scores) < len(job.inputs):
        return Outcome.CRASHED, (), f"ended itself with exit code 0 {_input_name(len(scores), job)}"
    return Outcome.SCORED, tuple(scores), ""


def _describe_shortfall(scores: Sequence[float], where: str, job: Job) -> str:
    """Describe how the last score falls below the threshold of its input; empty if it does not.

    Such a program is rejected and has no score. Any value for the skipped inputs would be invented: the reduced scores
    of the first inputs alone are not comparable with those of programs that also ran the hard inputs, and might win; a
    worst possible score is not known. And a program with unknown scores has no signature.
    """
    index = len(scores) - 1
    threshold = job.thresholds[index] if index < len(job.thresholds) else None
    if threshold is None or scores[index] >= threshold:
        return ""
    rest = len(job.inputs) - len(scores)
    skipped = f"; {rest} more {'input was' if rest == 1 else 'inputs were'} skipped" if rest else ""
    return f"scored {scores[index]!r}, below the threshold of {threshold:g}, {where}{skipped}"


def _read_record(line: bytes) -> dict[str, Any]:
    """Parse one line of a report; return an empty dict if it is not a JSON object."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return record if isinstance(record, dict) else {}


def _read_score(value: Any) -> tuple[float, str]:
    """Return the score, and a description of what is wrong with it; empty if nothing is."""
    # Exact types are compared, because a bool passes isinstance of int.
    if type(value) not in (int, float):
        return 0.0, type(value).__name__
    try:
        score = float(value)
    except OverflowError:
        return 0.0, "a whole number too large for a float"
    return (score, "") if math.isfinite(score) else (0.0, repr(score))


_BESIDE = {"score", "metrics", "notes"}
"""Fields that the record of an input with a score may have."""


def _are_metrics(found: Any) -> bool:
    return isinstance(found, dict) and all(
        notes.METRIC_NAME.fullmatch(name) and not _read_score(value)[1] for name, value in found.items()
    )


def _read_failure(record: dict[str, Any], where: str, header: Header, job: Job) -> _Decision:
    """Decide on a record that is not a score."""
    if record.get("gone") is True:
        return (
            Outcome.CRASHED,
            (),
            f"the evolved function's process {_describe_evolved_exit(header.evolved_status)} {where}",
        )
    if record.get("out_of_memory") is True:
        return Outcome.OUT_OF_MEMORY, (), f"used more than {job.limits.memory_mib} MiB {where}"
    if isinstance(found := record.get("not_a_number"), str):
        wanted = "one finite number"
        if isinstance(name := record.get("metric"), str):
            wanted = f"a finite number as the metric {_shorten(name, 64)!r}"
        return Outcome.BAD_SCORE, (), f"expected {wanted}, got {_shorten(found, 300)} {where}"
    if isinstance(found := record.get("no_drawing"), str):
        return Outcome.BAD_SCORE, (), f"expected a drawing as text, got {_shorten(found, 300)} {where}"
    if header.checks and isinstance(found := record.get("depends"), str):
        return Outcome.REJECTED, (), f"{_shorten(found, 1500)}, {where}"
    if isinstance(error := record.get("error"), dict):
        return Outcome.CRASHED, (), _describe_error(error, where)
    return Outcome.BAD_SCORE, (), f"the report is not what a program's score makes {where}"


def _describe_evolved_exit(status: int) -> str:
    """Describe how the evolved functions' process ended; a SIGKILL was the runner's own, after it stopped answering."""
    if status == -signal.SIGKILL:
        return "closed its channel"
    return _describe_exit(status) if status else "ended itself with exit code 0"


def _describe_error(error: dict[str, Any], where: str) -> str:
    """Return, such as `ZeroDivisionError: division by zero, in line 12 (return 1 / 0), on input 1 of 6 (500, 1)`."""
    texts = {key: value for key in _WIDTHS if isinstance(value := error.get(key), str)}
    kind, text, code = (_shorten(texts.get(key, ""), width) for key, width in _WIDTHS.items())
    message = f"{kind}: {text}" if text else kind
    if kind in _CONFINEMENT_ERRORS:
        message += _HINT
    line = error.get("line")
    if type(line) is int and line > 0:
        message += f", in line {line}" + (f" ({code})" if code else "")
    return f"{message}, {where}"


_WIDTHS = {"type": 100, "text": 1400, "code": 200}
"""Maximum lengths of an error's parts, characters, so that the line and the input are never cut off."""


def _describe_position(header: Header, job: Job) -> str:
    """Describe which input the candidate was running when it ended."""
    if not header.loaded:
        return _LOADING
    where = _input_name(len(header.input_wall_s), job)
    return f"{where}, where its calls were repeated in new processes" if header.checks else where


def _input_name(index: int, job: Job) -> str:
    """Name an input by its position and its arguments."""
    if index >= len(job.inputs):
        return "after its last input"
    return f"on input {index + 1} of {len(job.inputs)} ({_shorten(str(job.inputs[index]), 120)})"


def _shorten(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
