"""From what a runner sent to a verdict. Pure: nothing here runs, imports or believes anything of the candidate.

Of the three parts of a reply the header is the runner's word; what the candidate reported and printed is hostile text.
"""

from __future__ import annotations

import json
import math
import re
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from schemas.job import Job
from schemas.outcome import Outcome, Verdict
from tasks.evaluate import delivery

_ERROR = 2000
"""Characters of an error's text that are kept."""

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""What a terminal or a page might obey: control characters but newline and tab, and marks that reverse text."""

_CONFINED = frozenset({"PermissionError", "OSError", "FileNotFoundError", "BlockingIOError"})
"""Errors that a candidate meets where it touches what a sandbox does not have."""

_LOADING = "while it was loaded"

_HINT = " [a candidate has no network, no files to write, and cannot start other programs]"


class ReplyFault(Exception):
    """The runner's own header is not what a runner writes: a fault of ours."""


@dataclass(frozen=True)
class Reply:
    """What came back for one candidate.

    Attributes:
        header: JSON of the runner's own making.
        results: What the candidate reported.
        output: What it printed.
    """

    header: bytes
    results: bytes
    output: bytes


@dataclass(frozen=True)
class Header:
    """What the runner saw; see `runner/fork_server.py`.

    Attributes:
        number: Of the request that this answers.
        broken: The bound that it broke: `wall`, `output`, `results`; `starved` where others kept it from running for
            longer than anybody waits; empty if none.
        status: The child's exit code; minus the signal's number if one killed it.
        wall_s: Seconds from the lock-down to the end.
        cpu_s: Seconds of processor time of all its processes.
        peak_mib: Peak resident memory of its largest process, MiB.
        input_wall_s: Seconds for each input that was finished.
        loaded: Whether the program was loaded.
        memory_kills: Processes that the kernel killed for want of memory.
        evolved_status: In a split evaluation, exit code of the process that had the evolved function.
        starved_s: Seconds by which its last deadline was put off, because others kept it from running.
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


def read_header(data: bytes) -> Header:
    """Parses a header.

    Raises:
        ReplyFault: If it is none.
    """
    try:
        fields = json.loads(data)
        return Header(**fields | {"input_wall_s": tuple(fields["input_wall_s"])})
    except (ValueError, TypeError, KeyError) as error:
        raise ReplyFault(f"expected a runner's header, got {data[:200]!r}") from error


def judge(reply: Reply, job: Job) -> Verdict:
    """The verdict on one candidate.

    Args:
        reply: What came back.
        job: What was asked.

    Raises:
        ReplyFault: If the runner's header is malformed.
    """
    header = read_header(reply.header)
    outcome, scores, error = _decide(header, reply.results, job)
    skipped = len(job.inputs) - len(scores) if outcome is Outcome.REJECTED else 0
    return Verdict(
        outcome=outcome,
        scores=scores,
        error=clean(error)[:_ERROR],
        wall_s=header.wall_s,
        cpu_s=header.cpu_s,
        peak_mib=header.peak_mib,
        input_wall_s=header.input_wall_s[: len(job.inputs)],
        output=clean(reply.output.decode("utf-8", "replace")),
        skipped=skipped,
    )


def clean(text: str) -> str:
    """The text as valid UTF-8 without anything a terminal would obey."""
    return _CONTROL.sub("�", text)


_Decision = tuple[Outcome, tuple[float, ...], str]


def _decide(header: Header, results: bytes, job: Job) -> _Decision:
    """The runner's own observations first; the candidate's report counts only where they leave it standing."""
    where = _place(header, job)
    limits, cpu_s = job.limits, delivery.cpu_limit(job)
    if header.broken == "output":
        return Outcome.OUTPUT_LIMIT, (), f"printed more than {limits.output_kib} KiB {where}"
    if header.broken == "results":
        return Outcome.BAD_SCORE, (), "wrote more into the result channel than any report can hold"
    report = _read_report(results, header, job)
    if header.memory_kills and (header.broken or report[0] is not Outcome.SCORED):
        # Whatever came of it afterwards: a process of its own that waited for the one that was killed, for instance.
        return Outcome.OUT_OF_MEMORY, (), f"used more than {limits.memory_mib} MiB {where}"
    if header.broken == "wall":
        return Outcome.TIMED_OUT, (), f"took more than {limits.wall_s:g} s of wall clock {where}{_uncounted(header)}"
    if header.cpu_s > cpu_s or -signal.SIGXCPU in (header.status, header.evolved_status):
        return Outcome.TIMED_OUT, (), f"took more than {cpu_s:g} s of processor time {where}"
    if header.broken == "starved":
        return Outcome.SANDBOX_ERROR, (), f"the machine is too busy: it got no processor for {header.starved_s:.0f} s"
    if header.status:
        return Outcome.CRASHED, (), f"{_ending(header.status)} {where}"
    return report


def _uncounted(header: Header) -> str:
    """Tells of time that did not count, where that is worth a word."""
    if header.starved_s < 1:
        return ""
    return f", not counting {header.starved_s:.1f} s in which other programs kept it from running"


def _ending(status: int) -> str:
    return f"killed by {_signal_name(-status)}" if status < 0 else f"exited with code {status}"


def _read_report(results: bytes, header: Header, job: Job) -> _Decision:
    """What the candidate claims: one score for each input, or the first thing that went wrong."""
    # The first line is the lock-down's, and empty; after the last newline stands nothing.
    lines, rest = results.split(b"\n")[1:-1], results.rpartition(b"\n")[2]
    if not lines:
        return Outcome.CRASHED, (), f"ended itself with exit code 0 {_LOADING}"
    if lines[0]:
        return _read_failure(_read_record(lines[0]), _LOADING, header, job)
    scores: list[float] = []
    for line in lines[1 : len(job.inputs) + 1]:
        record, where = _read_record(line), _input_name(len(scores), job)
        if set(record) != {"score"}:
            return _read_failure(record, where, header, job)
        score, fault = _read_score(record["score"])
        if fault:
            return Outcome.BAD_SCORE, (), f"expected one finite number, got {fault} {where}"
        scores.append(score)
        if said := _shortfall(scores, where, job):
            # Here it ends, whatever else was reported: only these scores say whether the rest is skipped.
            return Outcome.REJECTED, tuple(scores), said
    if len(lines) - 1 > len(job.inputs) or rest:
        return Outcome.BAD_SCORE, (), f"reported more than the {len(job.inputs)} scores that were asked for"
    if len(scores) < len(job.inputs):
        return Outcome.CRASHED, (), f"ended itself with exit code 0 {_input_name(len(scores), job)}"
    return Outcome.SCORED, tuple(scores), ""


def _shortfall(scores: Sequence[float], where: str, job: Job) -> str:
    """How the last score falls below the threshold of its input, in words; empty if it does not.

    Such a program is rejected and has no score. Whatever stood for the inputs that were skipped would be made up: the
    scores on the first inputs reduced alone are not comparable with those of programs that had the hard inputs, too,
    and may win; a worst score is not known. And a program of which some scores are unknown has no signature.
    """
    place = len(scores) - 1
    threshold = job.thresholds[place] if place < len(job.thresholds) else None
    if threshold is None or scores[place] >= threshold:
        return ""
    rest = len(job.inputs) - len(scores)
    skipped = f"; {rest} more {'input was' if rest == 1 else 'inputs were'} skipped" if rest else ""
    return f"scored {scores[place]!r}, below the threshold of {threshold:g}, {where}{skipped}"


def _read_record(line: bytes) -> dict[str, Any]:
    """One line of a report; empty if it is none."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return record if isinstance(record, dict) else {}


def _read_score(value: Any) -> tuple[float, str]:
    """The score, or what is wrong with it."""
    # The exact types: a truth value is an int to isinstance.
    if type(value) not in (int, float):
        return 0.0, type(value).__name__
    try:
        score = float(value)
    except OverflowError:
        return 0.0, "a whole number too large for a float"
    return (score, "") if math.isfinite(score) else (0.0, repr(score))


def _read_failure(record: dict[str, Any], where: str, header: Header, job: Job) -> _Decision:
    """A record that is no score."""
    if record.get("gone") is True:
        return Outcome.CRASHED, (), f"the evolved function's process {_going(header.evolved_status)} {where}"
    if record.get("out_of_memory") is True:
        return Outcome.OUT_OF_MEMORY, (), f"used more than {job.limits.memory_mib} MiB {where}"
    if isinstance(found := record.get("not_a_number"), str):
        return Outcome.BAD_SCORE, (), f"expected one finite number, got {_shorten(found, 300)} {where}"
    if isinstance(error := record.get("error"), dict):
        return Outcome.CRASHED, (), _describe(error, where)
    return Outcome.BAD_SCORE, (), f"the report is not what a program's score makes {where}"


def _going(status: int) -> str:
    """How the process of the evolved function went; the runner's own kill came after it had stopped answering."""
    if status == -signal.SIGKILL:
        return "closed its channel"
    return _ending(status) if status else "ended itself with exit code 0"


def _describe(error: dict[str, Any], where: str) -> str:
    """`ZeroDivisionError: division by zero, in line 12 (return 1 / 0), on input 1 of 6 (500, 1)`."""
    texts = {key: value for key in _WIDTHS if isinstance(value := error.get(key), str)}
    kind, text, code = (_shorten(texts.get(key, ""), width) for key, width in _WIDTHS.items())
    said = f"{kind}: {text}" if text else kind
    if kind in _CONFINED:
        said += _HINT
    line = error.get("line")
    if type(line) is int and line > 0:
        said += f", in line {line}" + (f" ({code})" if code else "")
    return f"{said}, {where}"


_WIDTHS = {"type": 100, "text": 1400, "code": 200}
"""Characters of an error's parts, so that the line and the input are never cut off."""


def _place(header: Header, job: Job) -> str:
    """Where it was when it ended."""
    if not header.loaded:
        return _LOADING
    return _input_name(len(header.input_wall_s), job)


def _input_name(index: int, job: Job) -> str:
    """Names an input by its place and its arguments."""
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
