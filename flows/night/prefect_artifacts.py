"""Prefect artifacts of a night: its progress, and its report in short, which is there from the beginning on."""

from __future__ import annotations

import contextlib
import contextvars
import heapq
import logging
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import ArtifactCreate, ArtifactUpdate
from prefect.exceptions import PrefectException
from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, temporary_settings

from overnight.flows.formatting import cost, printable, score, spark
from overnight.flows.night.facts import LogLine, ShownNight, first_line, remarks, score_rows
from overnight.flows.prefect_server.crash_detection import mark_crashed, watch_for_crashes
from overnight.schemas.outcome import Outcome
from overnight.tasks.report.code_view import unified_diff
from overnight.tasks.report.sanitised_svg import data_uri

TAG = "overnight"

_MAX_PICTURE_CHARS = 300_000
"""Maximum size of a picture in an artifact, which Prefect's pages load whole."""

_BEST_PROGRAMS = 10
_CURVE_POINTS = 60

_LINES_PER_REQUEST = 500
_PAGE_PORT = 8787
"""Port that the report's artifact proposes for the page of `overnight watch`."""

_PAGE = f"http://127.0.0.1:{_PAGE_PORT}/"

_INTERVAL_S = 20.0
"""Seconds between two updates, each of which takes some milliseconds."""

_TIMEOUT_S = 5.0
"""Timeout of requests to the server in seconds; it is short, since the night waits for them."""


class PrefectArtifacts:
    """Artifacts of one night in Prefect, created once and then updated in place. Errors of the server are only noted.

    The artifacts of all nights of a run have the same keys, so that Prefect shows them as versions.
    """

    def __init__(self, flow_run_id: str, note: Callable[[str], None]) -> None:
        self._flow_run_id = UUID(flow_run_id)
        self._note = note
        self._run_id = ""
        # Requests are repeated once, in case the database is busy. To make settings takes 20 ms, so it is done once.
        with temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 1}):
            self._context = contextvars.copy_context()
        self._client = get_client(sync_client=True, httpx_settings={"timeout": _TIMEOUT_S})
        self._artifacts: dict[str, UUID] = {}
        self._shown: dict[str, Any] = {}
        self._shown_at = float("-inf")
        self._logged_until: datetime | None = None
        self._last: ShownNight | None = None
        self._report_path: Path | None = None

    def begin(self, run_id: str, problem: str, number: int) -> None:
        """Name and tag the flow run of a night, and mark flow runs of earlier nights that died as crashed."""
        self._context.copy().run(self._begin, run_id, problem, number)

    def _begin(self, run_id: str, problem: str, number: int) -> None:
        self._run_id = run_id
        with self._noting_errors():
            self._client.update_flow_run(
                self._flow_run_id, name=f"{run_id}-night-{number}", tags=[TAG, run_id, problem]
            )
            mark_crashed(self._client, run_id, self._flow_run_id)
            watch_for_crashes(self._client, self._flow_run_id)

    def update(self, night: ShownNight, *, now: bool = False) -> None:
        """Show the current state now, or at most every 20 s."""
        if now or time.monotonic() - self._shown_at >= _INTERVAL_S:
            self._shown_at = time.monotonic()
            self._context.copy().run(self._show, night)

    def _show(self, night: ShownNight) -> None:
        self._last = night
        with self._noting_errors():
            self._put("progress", "progress", round(100 * night.share, 1), progress_text(night))
            self._put_report()
            self._send_log(night.log)

    def _send_log(self, log: Sequence[LogLine]) -> None:
        """Send the lines that are new to the log of the night's flow run, in time, without waiting for a thread."""
        lines = [line for line in log if self._logged_until is None or line.at > self._logged_until]
        for first in range(0, len(lines), _LINES_PER_REQUEST):
            part = lines[first : first + _LINES_PER_REQUEST]
            self._client.create_logs(
                {
                    "name": "prefect.flow_runs",
                    "level": logging.INFO,
                    "message": printable(line.text),
                    "timestamp": line.at.isoformat(),
                    "flow_run_id": str(self._flow_run_id),
                }
                for line in part
            )
            self._logged_until = part[-1].at

    def _put_report(self) -> None:
        if self._last is not None:
            self._put("report", "markdown", report_markdown(self._last, self._report_path), "The night in short")

    def link_report(self, path: Path) -> None:
        """Say in the report's artifact where the whole report is."""
        self._context.copy().run(self._link_report, path)

    def _link_report(self, path: Path) -> None:
        self._report_path = path
        with self._noting_errors():
            self._put_report()

    @contextlib.contextmanager
    def _noting_errors(self) -> Iterator[None]:
        try:
            yield
        except (httpx.HTTPError, PrefectException) as error:
            self._note(f"Prefect's UI is incomplete: {error}")

    def _put(self, key: str, kind: str, data: Any, description: str) -> None:
        if self._shown.get(key) == (data, description):
            return
        if key in self._artifacts:
            self._client.update_artifact(self._artifacts[key], ArtifactUpdate(data=data, description=description))
        else:
            artifact = ArtifactCreate(
                key=f"{self._run_id}-{key}",
                type=kind,
                data=data,
                description=description,
                flow_run_id=self._flow_run_id,
            )
            self._artifacts[key] = self._client.create_artifact(artifact).id
        self._shown[key] = data, description


def progress_text(night: ShownNight) -> str:
    """Return one line of text on the progress of a night."""
    progress, scored = night.progress, night.progress.outcomes[Outcome.SCORED]
    budget = progress.budget
    text = (
        f"generation {progress.generation}, {progress.phase}; {progress.candidates} candidates, {scored} scored; "
        f"best {score(night.best.score)}, start {score(night.start.score)}; "
        f"cost {cost(budget.night_usd, is_partly_unknown=budget.has_unknown_costs)}"
    )
    return f"{text}; {printable(progress.message)}" if progress.message else text


def best_program_rows(night: ShownNight) -> list[dict[str, str]]:
    """Return the rows of the table of best programs, best first."""
    scored = [program for program in night.state.programs.values() if program.is_scored]
    return [
        {
            "program": program.id,
            night.run.problem.settings.score_name: score(program.score),
            "gain on start": score(program.score - night.start.score),
            "lines": str(program.body.count("\n") + 1),
        }
        for program in heapq.nlargest(_BEST_PROGRAMS, scored, key=lambda program: program.score)
    ]


def report_markdown(night: ShownNight, path: Path | None = None) -> str:
    """Return the report of a night in short; untrusted text cannot leave its code fences and tables.

    There is no link to a file: a browser opens none from a page that a server sent.
    """
    run_id, flag, best = night.run.run_id, night.flag, night.best
    best_text, start_text = printable(night.text_of(best)), printable(night.text_of(night.start))
    difference = "\n".join(unified_diff(start_text, best_text, "start", best.id))
    curve = night.progress.bests(_CURVE_POINTS)
    is_over = night.record.stop_reason is not None
    parts = [
        f"## {_escaped(night.title)}: {score(best.score)}",
        _list([first_line(night), *remarks(night)] if is_over else [progress_text(night)]),
        _markdown_table(score_rows(night)),
        *_pictures(night),
        "### Best score over the night" if curve else "",
        _fenced(f"{spark(curve, len(curve))}\n{score(curve[0])} to {score(curve[-1])}", "text") if curve else "",
        "### Best programs",
        _markdown_table(best_program_rows(night)),
        f"### The best program, {best.id}",
        _fenced(best_text, "python"),
        "### Its changes" if difference else "",
        _fenced(difference, "diff") if difference else "",
        "### The whole report",
        f"On the machine of the night: `overnight watch {run_id} --port {_PAGE_PORT}{flag}`, then open "
        f"[{_PAGE}]({_PAGE}). Or write it to a file: `overnight report {run_id}{flag}`; the best program: "
        f"`overnight best {run_id} --write best.py{flag}`.",
        f"It is already in a file there: `{path}`." if path else "",
    ]
    return "\n\n".join(part for part in parts if part)


def _list(lines: Sequence[str]) -> str:
    return "\n".join(f"- {_escaped(line)}" for line in lines)


def _markdown_table(rows: Sequence[Mapping[str, Any]]) -> str:
    names = list(rows[0]) if rows else []
    lines = [names, ["---"] * len(names), *([str(value) for value in row.values()] for row in rows)]
    return "\n".join(f"| {' | '.join(map(_escaped, line))} |" for line in lines)


def _escaped(text: str) -> str:
    """Escape what would be read as Markdown or HTML in a line of text."""
    return re.sub(r"([\\`*_{}\[\]<>|#!])", r"\\\1", printable(text).replace("\n", " "))


def _pictures(night: ShownNight) -> list[str]:
    """Return the pictures of the start program and the best one as images, if they are not too large."""
    names = {night.start.id: "start", night.best.id: "best"}
    uris = {label: data_uri(night.pictures[name]) for name, label in names.items() if name in night.pictures}
    return [f"{label}:\n\n![{label}]({uri})" for label, uri in uris.items() if len(uri) <= _MAX_PICTURE_CHARS]


def _fenced(text: str, language: str) -> str:
    longest = max((len(backticks) for backticks in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text}\n{fence}"
