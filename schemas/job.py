"""What a sandbox needs to know to judge the programs of one problem."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class Limits(BaseModel):
    """What one candidate may use; a setting, `[tool.overnight.limits]`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    wall_s: float = Field(default=30.0, gt=0, le=10_000_000, description="seconds of wall clock for each input")
    cpu_s: float | None = Field(
        default=None,
        gt=0,
        le=10_000_000,
        description="seconds of processor time for all inputs together; default wall_s for each input",
    )
    memory_mib: int = Field(default=2048, ge=32, le=2**24, description="memory, MiB")
    output_kib: int = Field(default=64, ge=1, le=2**20, description="what a candidate may print, KiB")
    scratch_mib: int = Field(
        default=0, ge=0, le=2**24, description="files a candidate may write, in /tmp, MiB; they count as memory"
    )


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
    """What a split evaluation needs: the evolved functions in one process, what scores them in another.

    Attributes:
        evolved: Names of the evolved functions.
        specification: The specification's text, which scores; of a candidate's program only those functions are called.
    """

    evolved: tuple[str, ...]
    specification: str


@dataclass(frozen=True, slots=True)
class Command:
    """How a candidate that is a whole file is scored: by a command, a fresh process for each input.

    Attributes:
        program: What the candidate's file is called.
        arguments: The command; `{program}` is the candidate's path, `{input}` the input as JSON.
        metric: The one of its metrics that is the score.
        metrics_file: Where it writes them, from the working directory; empty if it prints them.
    """

    program: str
    arguments: tuple[str, ...]
    metric: str
    metrics_file: str = ""


@dataclass(frozen=True, slots=True)
class Job:
    """One problem as a sandbox sees it.

    Attributes:
        run_function: Name of the function that scores one input; empty where a command does.
        inputs: One call for each input, in order.
        limits: What one candidate may use.
        thresholds: For each input in order the score below which a program is rejected and the rest is not evaluated;
            `None`, or nothing for the last ones, where there is none.
        seed: Seeds `random` and `numpy.random` in every candidate, so that unseeded draws repeat.
        isolation: Set where every program is evaluated split; `None` where it is one process with what scores it.
        command: Set where a program is a file that a command scores.
    """

    run_function: str
    inputs: tuple[Call, ...]
    limits: Limits = Limits()
    thresholds: tuple[float | None, ...] = ()
    seed: int = 0
    isolation: Isolation | None = None
    command: Command | None = None
