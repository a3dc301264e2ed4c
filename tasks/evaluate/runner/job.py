"""The job that all candidates of a runner share, as the host sends it."""

from __future__ import annotations

import ast
import base64
import marshal
import types
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from . import codec, command, notes, supervisor
from .program import FILE

STUB = "__evolved__"
"""Name in the specification's namespace of the function that calls the evolved functions."""

_RESULTS_BYTES = 65536
_RESULT_BYTES = 128
"""Maximum size of a report, bytes: `_RESULTS_BYTES` for an error's text, and `_RESULT_BYTES` for each input's
number, beside its metrics and notes."""

_SAID_BYTES = 32 * 2**20
"""Maximum size of all metrics and notes in a report, bytes, so that the host takes the report."""

_DRAWING_BYTES = 2**20
"""Maximum size of a drawing in a report, bytes of JSON."""


@dataclass(frozen=True)
class Isolation:
    """Settings of isolated evaluation.

    Attributes:
        evolved: Names of the evolved functions.
        source: Text of the specification.
        code: The specification compiled, with stubs in place of the evolved functions' bodies.
        checks_calls: Whether a program whose answers depend on more than the arguments of a call is rejected.
        may_vary: Whether it is not, if its answers differ from run to run by themselves.
    """

    evolved: list[str]
    source: str
    code: types.CodeType
    checks_calls: bool
    may_vary: bool


@dataclass(frozen=True)
class Job:
    """The job; every child inherits it by fork.

    Attributes:
        run_function: Name of the function that scores one input.
        inputs: Arguments of each call, marshalled, so that each call gets fresh ones; empty if it `is_isolated`,
            where the runner never reads them.
        seed: Seed of `random` and `numpy.random`, set before each input.
        thresholds: Score below which the remaining inputs are skipped, for each input in order; None for no threshold.
        draws: Whether the function or command draws its only input, instead of scoring it.
        asks: Whether the scoring may ask a model; only if the job `is_isolated`.
        command: Command that scores the program as a file; None if the program has a run function.
        isolation: Settings of isolated evaluation; None for evaluation in one process.
        limits: Limits of every child, enforced by the supervisor.
        memory_mib: Memory limit of a child, MiB.
        cpu_s: Limit of a child's processor time, seconds.
        note_chars: Maximum length of the notes on an input, characters.
        scratch: Maximum bytes that a child may write into files; 0 if there is no writable directory.
        first_uid: First user id of this slot's range.
        uids: Number of user ids in the range; 0 if children keep the runner's user.
        idle_s: Seconds without a candidate after which the runner exits, because its engine is gone.
    """

    run_function: str
    inputs: tuple[bytes, ...]
    seed: int
    thresholds: tuple[float | None, ...]
    draws: bool
    asks: bool
    command: command.Command | None
    isolation: Isolation | None
    limits: supervisor.ChildLimits
    memory_mib: int
    cpu_s: float
    note_chars: int
    scratch: int
    first_uid: int
    uids: int
    idle_s: float

    @property
    def is_isolated(self) -> bool:
        """Whether the candidate's program and what scores it are processes of two users."""
        return self.isolation is not None or (self.command is not None and self.command.apart)


def read_job(sent: dict[str, Any]) -> Job:
    """Return the job that the host sent."""
    limits, count, thresholds = sent["limits"], sent["count"], sent["thresholds"]
    results_bytes = _RESULTS_BYTES + (_DRAWING_BYTES if sent["draws"] else _report_bytes(count))
    as_sent = ("run_function", "seed", "draws", "asks", "cpu_s", "first_uid", "uids", "idle_s")
    return Job(
        **{name: sent[name] for name in as_sent},
        memory_mib=limits["memory_mib"],
        note_chars=notes.note_chars(count),
        inputs=marshalled(sent["inputs"]),
        thresholds=(*thresholds, *[None] * (count - len(thresholds))),
        command=sent["command"] and command.Command(**sent["command"], seed=sent["seed"], draws=sent["draws"]),
        isolation=sent["isolation"] and _isolation(**sent["isolation"]),
        limits=supervisor.ChildLimits(limits["wall_s"], count, limits["output_kib"] * 1024, results_bytes),
        scratch=limits["scratch_mib"] * 2**20,
    )


def _report_bytes(inputs: int) -> int:
    """Return the maximum size of the numbers and the notes of so many inputs in a report."""
    said = notes.METRICS_BYTES + notes.ESCAPED_BYTES * notes.note_chars(inputs)
    return _RESULT_BYTES * inputs + min(said * inputs, _SAID_BYTES)


def marshalled(inputs: Sequence[str]) -> tuple[bytes, ...]:
    """Return the arguments of each call, as the host encoded them, in marshalled form."""
    return tuple(marshal.dumps(codec.loads(base64.b64decode(one))) for one in inputs)


def _isolation(evolved: list[str], specification: str, **checks: bool) -> Isolation:
    """Compile the specification with stubs for the evolved functions; line numbers and decorators are kept."""
    tree = ast.parse(specification)
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and node.name in evolved:
            number = evolved.index(node.name)
            header = ast.parse(f"def f(*args, **kwargs):\n return {STUB}({number}, args, kwargs)").body[0]
            assert isinstance(header, ast.FunctionDef)
            node.args, node.body, node.returns = header.args, header.body, None
    return Isolation(evolved, specification, compile(tree, FILE, "exec", dont_inherit=True), **checks)
