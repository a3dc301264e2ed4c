"""The data a sandbox needs to evaluate the programs of one problem."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from overnight.schemas.bundle import Source
from overnight.schemas.limits_settings import Limits

_ROUNDS_WITH_CHECK, _ROUNDS_WITH_NOISE = 18, 44
"""Number of times that a program may use up `limits.wall_s` on an input whose calls are checked, without noise and with
it: 2 for the scoring, and twice for the loading and for each call that a check makes whatever time it takes."""


@dataclass(frozen=True, slots=True)
class Call:
    """The arguments of one call of the run function: plain data (None, bool, int, float, str, list, tuple, dict)."""

    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        named = [f"{name}={_short(value)}" for name, value in self.kwargs.items()]
        return ", ".join([_short(value) for value in self.args] + named)


def _short(value: Any, width: int = 40) -> str:
    text = repr(value)
    return text if len(text) <= width else text[: width - 1] + "…"


@dataclass(frozen=True, slots=True)
class Isolation:
    """Data of an isolated evaluation: the evolved functions run in one process, the scoring in another.

    Attributes:
        specification: Text of the specification, which does the scoring; only the evolved functions of a candidate's
            program are called.
        checks_calls: Whether a program whose answers depend on more than the arguments of a call is rejected.
        may_vary: Whether it is not, if its answers differ from run to run by themselves.
    """

    evolved: tuple[str, ...]
    specification: str
    checks_calls: bool = False
    may_vary: bool = False


@dataclass(frozen=True, slots=True)
class Command:
    """A command that scores a candidate which is one or more whole files, in a fresh process for each input.

    Attributes:
        program: Path of the candidate's file; of the first one, if there are several.
        arguments: The command line; `{program}` is the candidate's path, `{input}` the input as JSON.
        metric: Name of the metric that is the score.
        metrics_file: Path of the file of metrics, relative to the working directory; empty if the command prints them.
        files: Paths of all files of a candidate, if it is a bundle; empty if it is one file in the working directory.
        apart: Whether the program, a Python file, runs in a process of its own. The command then gets a stand-in in its
            place: a module with the same functions, which are called in that process.
    """

    program: str
    arguments: tuple[str, ...]
    metric: str
    metrics_file: str = ""
    files: tuple[str, ...] = ()
    apart: bool = False


@dataclass(frozen=True, slots=True)
class Job:
    """One problem, as a sandbox sees it.

    Attributes:
        run_function: Name of the function that scores one input; empty if a command does.
        limits: Limits of one candidate.
        thresholds: For each input, in order, the score below which a program is rejected and not evaluated on the
            remaining inputs; `None` for no threshold. The last ones may be missing.
        seed: Seed of `random` and `numpy.random` in every candidate, so that unseeded draws repeat.
        isolation: Data of isolated evaluations; `None` if programs and scoring share a process.
        command: Command that scores programs, if they are whole files; else `None`.
        draws: Whether the function or command draws the only input, instead of scoring it: its result is an SVG file.
        asks: Whether the scoring may ask a model, where it `is_isolated`.
        honest: A program that a sound sandbox runs, such as the start program; `None` if none is known.
    """

    run_function: str
    inputs: tuple[Call, ...]
    limits: Limits = Limits()
    thresholds: tuple[float | None, ...] = ()
    seed: int = 0
    isolation: Isolation | None = None
    command: Command | None = None
    draws: bool = False
    asks: bool = False
    honest: Source | None = None

    @property
    def is_isolated(self) -> bool:
        """Whether programs and what scores them are in processes of their own."""
        return self.isolation is not None or (self.command is not None and self.command.apart)

    @property
    def rounds(self) -> int:
        """Number of times that a candidate may use up `limits.wall_s`: at each loading, and for each input."""
        if self.isolation is not None and self.isolation.checks_calls:
            return len(self.inputs) * (_ROUNDS_WITH_NOISE if self.isolation.may_vary else _ROUNDS_WITH_CHECK)
        return len(self.inputs) * 2 if self.is_isolated else len(self.inputs) + 1

    def on_first(self, inputs: int | None) -> Job:
        """Return the same job on so many of its inputs, from the first one on; by default on all."""
        return replace(self, inputs=self.inputs[:inputs], thresholds=self.thresholds[:inputs])
