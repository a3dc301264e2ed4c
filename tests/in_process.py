"""Nights in this process alone: programs that are known and harmless, without a container, and no Prefect server.

What a real sandbox promises is tried by `tests/contract/test_sandbox.py`, and what a night tells Prefect by
`tests/flows/night/test_artifacts.py`; nights here try what surrounds them.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import contextvars
import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import funsearch
from markupsafe import Markup
from prefect.utilities.annotations import opaque

from overnight.flows.cli import foreground_night, short_night
from overnight.flows.night import attempt
from overnight.flows.night.facts import ShownNight
from overnight.flows.night.night import Night
from overnight.flows.night.open_run import open_run
from overnight.flows.night.prefect_artifacts import report_markdown
from overnight.flows.night.stop_conditions import StopConditions
from overnight.flows.prefect_server import embedded
from overnight.flows.start import sandboxes
from overnight.schemas.bundle import Source
from overnight.schemas.dependencies import Dependencies
from overnight.schemas.errors import OvernightError, QuestionRefused
from overnight.schemas.files import File
from overnight.schemas.job import Job
from overnight.schemas.outcome import QUESTION_REFUSED, Outcome, Verdict
from overnight.schemas.question import Ask, Question
from overnight.tasks.evaluate.sandbox import Death, Sandbox
from overnight.tasks.history.backends import open_history
from overnight.tasks.history.files import files_of
from overnight.tasks.report import vega

_asking = threading.local()
"""What `funsearch.ask` is in each thread."""


class InProcessSandbox(Sandbox):
    """`Sandbox` that executes programs in this process, one after the other.

    Args:
        job: What they are evaluated on.
        fault_of: Returns a verdict that takes the place of an evaluation, or `None`; it may also raise.
        ask: Answers questions of the scoring.
    """

    def __init__(self, job: Job, fault_of: Callable[[Job, str], Verdict | None], ask: Ask | None = None) -> None:
        super().__init__(job)
        self.fault_of = fault_of
        self.ask = ask

    def run(self, source: Source) -> Verdict | Death:
        """See `Sandbox.run`."""
        text = source if isinstance(source, str) else source.main
        if (verdict := self.fault_of(self.job, text)) is not None:
            is_lost = verdict.outcome is Outcome.SANDBOX_ERROR and verdict != QUESTION_REFUSED
            return Death(verdict.error) if is_lost else verdict
        begin, spent = time.perf_counter(), list[float]()
        namespace: dict[str, Any] = {"__name__": "candidate", "funsearch": funsearch}
        scores, metrics, notes = list[float](), list[dict[str, float]](), list[str]()
        try:
            exec(compile(text, "candidate", "exec"), namespace)
            if self.job.draws:
                return Verdict(Outcome.SCORED, drawing=namespace[self.job.run_function]())  # type: ignore[operator]
            for place, call in enumerate(self.job.inputs, start=1):
                _asking.ask = self._asker(place, "" if isinstance(source, str) else source.name)
                found = namespace[self.job.run_function](*call.args, **call.kwargs)  # type: ignore[operator]
                beside = dict(found) if isinstance(found, dict) else {"score": found}
                notes.append(str(beside.pop("notes", "")))
                scores.append(float(beside.pop("score")))
                metrics.append(beside)
                spent.append(time.perf_counter() - begin)
        except QuestionRefused:
            return QUESTION_REFUSED
        except OvernightError:
            raise
        except Exception as error:  # noqa: BLE001  (whatever a candidate raises is its verdict)
            return Verdict(Outcome.CRASHED, error=f"{type(error).__name__}: {error}")
        if not all(map(math.isfinite, scores)):
            return Verdict(Outcome.BAD_SCORE, error=f"expected one finite number, got {scores}")
        by_name = {
            name: tuple(one.get(name) for one in metrics) for name in sorted({n for one in metrics for n in one})
        }
        told = tuple(notes) if any(notes) else ()
        return Verdict(
            *(Outcome.SCORED, tuple(scores)),
            wall_s=spent[-1],
            input_wall_s=tuple(spent),
            metrics=by_name,
            notes=told,
        )

    def _asker(self, place: int, program: str) -> Callable[[str], str]:
        asked = Counter[str]()

        def ask(text: str) -> str:
            assert self.ask is not None
            asked[text] += 1
            return self.ask(Question(text, place, asked[text] - 1, program)).result(timeout=60)

        return ask

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

    def open(self, job: Job, *, ask: Ask | None = None, **_: object) -> InProcessSandbox:
        self.jobs.append(job)
        return InProcessSandbox(job, lambda job, text: self.fault(job, text), ask)


def use_this_process(patch: Callable[[object, str, object], None] = setattr) -> InProcess:
    """Evaluate the programs of all nights in this process from now on; return where faults are caused.

    Programs that a command scores, or that use files, still run in a plain process where that is the backend.
    """
    opened = InProcess()
    for name in ("open_pool", "open_fresh_pool"):
        patch(sandboxes, name, partial(_open, opened, getattr(sandboxes, name)))
    backend_of = sandboxes.create_backend
    patch(sandboxes, "create_backend", lambda name: backend_of(name) if name == "process" else InProcessBackend())
    patch(funsearch, "ask", lambda text: _asking.ask(text))
    return opened


def _open(opened: InProcess, pool: Callable[..., Any], job: Job, **more: Any) -> Any:
    needs_process = job.command is not None or "problem-files:" in more["image"]
    return (
        pool(job, **more) if needs_process and more["backend"] == "process" else opened.open(job, ask=more.get("ask"))
    )


class Submitted(concurrent.futures.Future[Any]):
    """Result of a task under way, with what a night uses of Prefect's futures."""

    def wait(self) -> None:
        concurrent.futures.wait([self])


@dataclass(frozen=True)
class PlainTask:
    """A task that runs in a thread when it is submitted, and of which no server is told.

    Attributes:
        fn: What it does; a task of Prefect has it under the same name.
    """

    fn: Callable[..., Any]

    def __call__(self, *arguments: object) -> Any:
        return self.fn(*map(_result, arguments))

    def submit(self, *arguments: object) -> Submitted:
        """Run the task; a future among its arguments stands for its result, without which it fails."""
        future = Submitted()
        threading.Thread(target=self._run, args=(future, arguments), daemon=True).start()
        return future

    def _run(self, future: Submitted, arguments: Sequence[object]) -> None:
        try:
            result = self(*arguments)
        except Exception as error:  # noqa: BLE001  (the error of a task is its result)
            future.set_exception(error)
        else:
            future.set_result(result)


def _result(argument: Any) -> Any:
    """Return what a task gets for one of its arguments."""
    value = argument.unwrap() if isinstance(argument, opaque) else argument
    return value.result() if isinstance(value, Submitted) else value


class NoArtifacts:
    """What a night shows is made and not sent anywhere."""

    def begin(self, *_: object) -> None: ...

    def update(self, night: ShownNight, **_: object) -> None:
        report_markdown(night)


def search_without_prefect(
    run_id: str, history: str, rules: StopConditions, again: list[int] | None = None
) -> dict[str, Any]:
    """Run one night of a run as the flow `search` does; the tasks of `attempt` have to be plain ones."""

    with open_run(files_of(open_history(history), run_id)) as run, Night(run, rules, again).begun() as night:
        return _search(night)


def _search(night: Night, *_: object) -> dict[str, Any]:
    def generation(*_: object) -> None:
        under_way = attempt.ATTEMPT.get()
        assert under_way is not None
        under_way.work()

    artifacts: Any = NoArtifacts()
    with night.notifier.reporting_failure(night.run.run.run_id):
        return night.search(artifacts, "", contextvars.copy_context(), generation)


def use_plain_tasks(patch: Callable[[object, str, object], None]) -> None:
    """Run the tasks of all nights in threads, without a server."""
    for name in ("sample", "evaluate", "confirm", "prune", "select"):
        patch(attempt, name, PlainTask(getattr(attempt, name).fn))


class NoServer(contextlib.AbstractContextManager["NoServer"]):
    """What commands use of `PrefectServer`, without a server."""

    def __init__(self, nights: int = 1) -> None: ...

    def __exit__(self, *_: object) -> None: ...

    def connected(self, report: object) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()

    def answers(self) -> bool:
        return True

    def kill(self) -> None: ...

    def forget(self, run_id: str) -> None: ...


def draw_no_charts(patch: Callable[[object, str, object], None] = setattr) -> None:
    """Leave the charts of reports empty: two fifths of a report's processor time. `tests/report` draws them."""
    patch(vega, "_render", lambda spec, layout, label: Markup(f'<svg class="{layout.name}" role="img"></svg>'))


def run_commands_without_prefect(patch: Callable[[object, str, object], None] = setattr) -> None:
    """Let the nights of this process's commands do without Prefect from now on."""
    use_plain_tasks(patch)
    patch(embedded, "PrefectServer", NoServer)
    patch(foreground_night, "search_night", _search)
    patch(short_night, "SECONDS", 0.4)
