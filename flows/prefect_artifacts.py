"""Prefect artifacts of a night: its progress, a table of its best programs, the best program with its changes."""

from __future__ import annotations

import contextlib
import contextvars
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import ArtifactCreate, ArtifactUpdate
from prefect.exceptions import PrefectException
from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, temporary_settings

from flows.formatting import cost, printable, score
from flows.prefect_server.crash_detection import mark_crashed, watch_for_crashes
from schemas.errors import PrefectUnavailable
from schemas.night_view import NightStart, NightView
from tasks.report.code_view import unified_diff
from tasks.report.sanitised_svg import data_uri

TAG = "overnight"

_MAX_PICTURE_CHARS = 300_000
"""Maximum size of a picture in an artifact, which Prefect's pages load whole."""

_TIMEOUT_S = 5.0
"""Timeout of requests to the server in seconds; it is short, since the night waits for them."""


class PrefectArtifacts:
    """Artifacts of one night in Prefect, created once and then updated in place.

    The artifacts of all nights of a run have the same keys, so that Prefect shows them as versions.

    Args:
        flow_run_id: Id of the night's flow run.
    """

    def __init__(self, flow_run_id: str) -> None:
        self._flow_run_id = UUID(flow_run_id)
        self._run_id = ""
        # Requests are repeated once, in case the database is busy. To make settings takes 20 ms, so it is done once.
        with temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 1}):
            self._context = contextvars.copy_context()
        self._client = get_client(sync_client=True, httpx_settings={"timeout": _TIMEOUT_S})
        self._artifacts: dict[str, UUID] = {}
        self._shown: dict[str, Any] = {}
        self._shown_best = "", 0

    def begin(self, night: NightStart) -> None:
        """Name and tag the night's flow run, and mark flow runs of earlier nights that died as crashed."""
        self._context.copy().run(self._begin, night)

    def _begin(self, night: NightStart) -> None:
        self._run_id = night.run_id
        tags = [TAG, night.run_id, night.problem]
        with _server_errors():
            self._client.update_flow_run(self._flow_run_id, name=f"{night.run_id}-night-{night.number}", tags=tags)
            mark_crashed(self._client, night.run_id, self._flow_run_id)
            watch_for_crashes(self._client)

    def show(self, view: NightView) -> None:
        """Update the artifacts that have changed."""
        self._context.copy().run(self._show, view)

    def _show(self, view: NightView) -> None:
        with _server_errors():
            self._put("progress", "progress", round(100 * view.share, 1), progress_text(view))
            if self._shown_best != (view.best.id, len(view.pictures)):
                text = best_program_markdown(self._run_id, view)
                self._put("best", "markdown", text, "The best program and its changes")
                self._shown_best = view.best.id, len(view.pictures)
            self._put("best-programs", "table", json.dumps(best_program_rows(view)), "The best programs, best first")

    def link_report(self, path: Path) -> None:
        """Say where the report is, and how to see it in a browser."""
        self._context.copy().run(self._link_report, path)

    def _link_report(self, path: Path) -> None:
        with _server_errors():
            # No link: a browser opens no file from a page that a server sent.
            text = (
                f"`{path}` on the machine of the night. To see it in a browser: `overnight watch {self._run_id}`, with "
                "`--history` where the run is not in the default place."
            )
            self._put("report", "markdown", text, "The report of the run")

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


def open_sink(flow_run_id: str) -> PrefectArtifacts:
    """Return the Prefect artifacts of the night with a flow run."""
    return PrefectArtifacts(flow_run_id)


@contextlib.contextmanager
def _server_errors() -> Iterator[None]:
    """Raise errors of the server as `PrefectUnavailable`."""
    try:
        yield
    except (httpx.HTTPError, PrefectException) as error:
        raise PrefectUnavailable(f"Prefect's UI is incomplete: {error}") from error


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
