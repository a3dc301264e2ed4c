"""Prefect artifacts of a night: its progress, a table of its best programs, the best program with its changes."""

from __future__ import annotations

import contextlib
import contextvars
import json
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
from overnight.flows.night.view import LogLine, NightView
from overnight.flows.prefect_server.crash_detection import mark_crashed, watch_for_crashes
from overnight.tasks.report.code_view import unified_diff
from overnight.tasks.report.sanitised_svg import data_uri

TAG = "overnight"

_MAX_PICTURE_CHARS = 300_000
"""Maximum size of a picture in an artifact, which Prefect's pages load whole."""

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
        self._shown_best = "", 0
        self._logged_until: datetime | None = None
        self._last: NightView | None = None
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
            watch_for_crashes(self._client)

    def update(self, view: Callable[[], NightView], *, now: bool = False) -> None:
        """Show the current state now, or at most every 20 s."""
        if now or time.monotonic() - self._shown_at >= _INTERVAL_S:
            self._shown_at = time.monotonic()
            self._context.copy().run(self._show, view())

    def _show(self, view: NightView) -> None:
        self._last = view
        with self._noting_errors():
            self._put("progress", "progress", round(100 * view.share, 1), progress_text(view))
            if self._shown_best != (view.best.id, len(view.pictures)):
                text = best_program_markdown(self._run_id, view)
                self._put("best", "markdown", text, "The best program and its changes")
                self._shown_best = view.best.id, len(view.pictures)
            self._put("best-programs", "table", json.dumps(best_program_rows(view)), "The best programs, best first")
            if view.stop_reason:
                self._put_report()
            self._send_log(view.log)

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
            text = report_markdown(self._run_id, self._last, self._report_path)
            self._put("report", "markdown", text, "The report of the run, in short")

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


def progress_text(view: NightView) -> str:
    """Return one line of text on the progress of a night."""
    text = (
        f"generation {view.generation}, {view.phase}; {view.candidates} candidates, {view.scored} scored; "
        f"best {score(view.best.score)}, start {score(view.start.score)}; "
        f"cost {cost(view.cost_usd, is_partly_unknown=view.has_unknown_costs)}"
    )
    return f"{text}; {printable(view.message)}" if view.message else text


def best_program_rows(view: NightView) -> list[dict[str, Any]]:
    """Return the rows of the table of best programs, best first."""
    return [
        {
            "program": program.id,
            view.score_name: score(program.score),
            "gain on start": score(program.score - view.start.score),
            "lines": program.body.count("\n") + 1,
        }
        for program in view.best_programs
    ]


def report_markdown(run_id: str, view: NightView, path: Path | None = None) -> str:
    """Return the report of a night in short; untrusted text cannot leave its code fences and tables.

    There is no link to a file: a browser opens none from a page that a server sent.
    """
    parts = [
        f"## {_cell(view.title)}: {score(view.best.score)}",
        f"Stopped by: {view.stop_reason or 'nothing yet'}. {printable(progress_text(view))}.",
        _scores_table(view),
        *_pictures(view),
        "### Best score over the night",
        _fenced(f"{spark(view.curve, len(view.curve))}\n{score(view.curve[0])} to {score(view.curve[-1])}", "text")
        if view.curve
        else "",
        "### Best programs",
        _markdown_table(best_program_rows(view)),
        "### The winner",
        _fenced(printable(view.best_text), "python"),
        "### The whole report",
        f"On the machine of the night: `overnight watch {run_id} --port {_PAGE_PORT}{view.flag}`, then open "
        f"[{_PAGE}]({_PAGE}). Or write it to a file: `overnight report {run_id}{view.flag}`.",
        f"It is already in a file there: `{path}`." if path else "",
    ]
    return "\n\n".join(part for part in parts if part)


def _scores_table(view: NightView) -> str:
    by_id = {finalist.program.id: finalist for finalist in view.finalists}
    rows: list[dict[str, Any]] = []
    for label, program in (("start program", view.start), ("best program", view.best)):
        finalist = by_id.get(program.id)
        others = (finalist.validation, finalist.held_out) if finalist else (None, None)
        rows.append(_scores_row(label, program.id, program.score, *others))
    if view.known_best is not None:
        rows.append(_scores_row("best known", view.known_label, view.known_best, None, None))
    return _markdown_table(rows)


def _scores_row(label: str, source: str, *scores: float | None) -> dict[str, Any]:
    named = zip(("train", "validation", "held-out"), map(score, scores), strict=True)
    return {"": label, **dict(named), "program or source": source}


def _markdown_table(rows: Sequence[Mapping[str, Any]]) -> str:
    names = list(rows[0]) if rows else []
    lines = [names, ["---"] * len(names), *([str(value) for value in row.values()] for row in rows)]
    return "\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines)


def _cell(text: str) -> str:
    """Escape what would be read as Markdown or HTML in a line of text."""
    return re.sub(r"([\\`*_{}\[\]<>|#!])", r"\\\1", printable(text).replace("\n", " "))


def best_program_markdown(run_id: str, view: NightView) -> str:
    """Return the best program and its difference to the start program; untrusted text cannot leave its code fences."""
    best, flag = view.best, view.flag
    best_text, start_text = printable(view.best_text), printable(view.start_text)
    difference = "\n".join(unified_diff(start_text, best_text, "start", best.id))
    parts = [
        f"## {view.title}: {score(best.score)}",
        *_pictures(view),
        f"The start program has {score(view.start.score)}. Program `{best.id}` of run `{run_id}`.",
        _fenced(best_text, "python"),
        "### Changes" if difference else "No better program than the start program yet.",
        _fenced(difference, "diff") if difference else "",
        f"Save it: `overnight best {run_id} --write best.py{flag}`. Report: `overnight report {run_id}{flag}`.",
    ]
    return "\n\n".join(part for part in parts if part)


def _pictures(view: NightView) -> list[str]:
    """Return the pictures of the start program and the best one as images, if they are not too large."""
    names = {view.start.id: "start", view.best.id: "best"}
    uris = {label: data_uri(view.pictures[name]) for name, label in names.items() if name in view.pictures}
    return [f"{label}:\n\n![{label}]({uri})" for label, uri in uris.items() if len(uri) <= _MAX_PICTURE_CHARS]


def _fenced(text: str, language: str) -> str:
    longest = max((len(backticks) for backticks in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text}\n{fence}"
