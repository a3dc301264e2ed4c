"""A sandbox in this process, for nights whose programs are known and harmless: no container, no limit, no isolation.

What a real sandbox promises is tried by `tests/contract/test_sandbox.py`; nights on it try what surrounds it.
"""

from __future__ import annotations

import math
import sys
import time
import types
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pytest

from overnight.flows.start import sandboxes
from overnight.schemas.bundle import Source
from overnight.schemas.dependencies import Dependencies
from overnight.schemas.files import File
from overnight.schemas.job import Job
from overnight.schemas.outcome import Outcome, Verdict


@dataclass(frozen=True)
class InProcessSandbox:
    """`Sandbox` that executes programs in this process, one after the other.

    Attributes:
        job: What they are evaluated on.
        fault: Returns a verdict that takes the place of an evaluation, or `None`; it may also raise.
    """

    job: Job
    fault: Callable[[Job, str], Verdict | None]

    def evaluate(self, source: Source) -> Verdict:
        """See `Sandbox.evaluate`."""
        text = source if isinstance(source, str) else source.main
        if (verdict := self.fault(self.job, text)) is not None:
            return verdict
        begin, spent = time.perf_counter(), list[float]()
        namespace = {"__name__": "candidate"}
        scores = list[float]()
        try:
            exec(compile(text, "candidate", "exec"), namespace)
            for call in self.job.inputs:
                scores.append(float(namespace[self.job.run_function](*call.args, **call.kwargs)))  # type: ignore[operator]
                spent.append(time.perf_counter() - begin)
        except Exception as error:  # noqa: BLE001  (whatever a candidate raises is its verdict)
            return Verdict(Outcome.CRASHED, error=f"{type(error).__name__}: {error}")
        if not all(map(math.isfinite, scores)):
            return Verdict(Outcome.BAD_SCORE, error=f"expected one finite number, got {scores}")
        return Verdict(Outcome.SCORED, tuple(scores), wall_s=spent[-1], input_wall_s=tuple(spent))

    def close(self) -> None:
        """See `Sandbox.close`."""

    def __enter__(self) -> InProcessSandbox:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class InProcessBackend:
    """What a run asks of its backend beside a pool: there is one image, this Python."""

    def image_id(self, image: str) -> str:
        return "this process"

    def require(self, image: str, runtime: str | None) -> None: ...

    def prepare(
        self, image: str, dependencies: Dependencies, files: Sequence[File], note: Callable[[str], None]
    ) -> str:
        return image

    def close(self) -> None: ...


@dataclass
class InProcess:
    """The sandboxes of all nights of a test.

    Attributes:
        fault: As for `InProcessSandbox`; a test may set it.
        jobs: Jobs for which a sandbox was opened, in order.
    """

    fault: Callable[[Job, str], Verdict | None] = lambda job, text: None
    jobs: list[Job] = field(default_factory=list)

    def open(self, job: Job, **_: object) -> InProcessSandbox:
        self.jobs.append(job)
        return InProcessSandbox(job, lambda job, text: self.fault(job, text))


def use_this_process(monkeypatch: pytest.MonkeyPatch) -> InProcess:
    """Evaluate the programs of all nights in this process; return where faults are caused."""
    opened, funsearch = InProcess(), types.ModuleType("funsearch")
    for name in ("run", "evolve", "draw"):
        setattr(funsearch, name, lambda function: function)
    monkeypatch.setitem(sys.modules, "funsearch", funsearch)
    monkeypatch.setattr(sandboxes, "create_backend", lambda name: InProcessBackend())
    monkeypatch.setattr(sandboxes, "open_pool", opened.open)
    monkeypatch.setattr(sandboxes, "open_fresh_pool", opened.open)
    return opened
