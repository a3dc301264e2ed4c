"""Prefect artifacts of a night: its progress, a table of its best programs, the best program with its changes."""

from __future__ import annotations

import contextlib
import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

import httpx
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import ArtifactCreate, ArtifactUpdate
from prefect.exceptions import PrefectException
from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, temporary_settings

from flows.formatting import history_flag, printable, score, usd
from flows.prefect_server.crash_detection import mark_crashed, watch_for_crashes
from schemas.outcome import Outcome
from tasks.report.code_view import unified_diff

if TYPE_CHECKING:
    from flows.session import Session

TAG = "overnight"

_INTERVAL_S = 20.0
"""Seconds between two updates, each of which takes some milliseconds."""

_TIMEOUT_S = 5.0
"""Timeout of requests to the server in seconds; it is short, since the night waits for them."""

_TABLE_ROWS = 10
"""Number of programs in the table."""


class NightArtifacts:
    """Artifacts of one night, created once and then updated in place. Errors of the server are only noted.

    The artifacts of all nights of a run have the same keys, so that Prefect shows them as versions.

    Args:
        flow_run_id: Id of the night's flow run.
        session: Session that the artifacts describe.
    """

    def __init__(self, flow_run_id: str, session: Session) -> None:
        self._flow_run_id = UUID(flow_run_id)
        self._session = session
        self._client = get_client(sync_client=True, httpx_settings={"timeout": _TIMEOUT_S})
        self._artifacts: dict[str, UUID] = {}
        self._shown: dict[str, Any] = {}
        self._shown_at = float("-inf")

    def begin(self, night: int) -> None:
        """Name and tag the night's flow run, and mark flow runs of earlier nights that died as crashed."""
        run = self._session.run
        tags = [TAG, run.run_id, run.problem.name]
        with _noting_errors(self._session):
            self._client.update_flow_run(self._flow_run_id, name=f"{run.run_id}-night-{night}", tags=tags)
            mark_crashed(self._client, run.run_id, self._flow_run_id)
            watch_for_crashes(self._client)

    def update(self, share: float, *, now: bool = False) -> None:
        """Update the artifacts, at most every 20 s.

        Args:
            share: Share of the night that is over by the stop condition nearest to its limit, 0 to 1.
            now: Whether to update regardless of the last time.
        """
        if not now and time.monotonic() - self._shown_at < _INTERVAL_S:
            return
        session = self._session
        self._shown_at = time.monotonic()
        with _noting_errors(session):
            self._put("progress", "progress", round(100 * share, 1), progress_text(session))
            if self._shown.get("best") != session.state.best.id:
                self._put("best", "markdown", best_program_markdown(session), "The best program and its changes")
                self._shown["best"] = session.state.best.id
            self._put("best-programs", "table", json.dumps(best_program_rows(session)), "The best programs, best first")

    def link_report(self, path: Path) -> None:
        """Add a link to the report on this machine."""
        with _noting_errors(self._session):
            self._put("report", "markdown", f"[{path.name}]({path.as_uri()}): `{path}`", "The report of the run")

    def _put(self, key: str, kind: str, data: Any, description: str) -> None:
        if self._shown.get(key) == (data, description):
            return
        if key in self._artifacts:
            self._client.update_artifact(self._artifacts[key], ArtifactUpdate(data=data, description=description))
        else:
            artifact = ArtifactCreate(
                key=f"{self._session.run.run_id}-{key}",
                type=kind,
                data=data,
                description=description,
                flow_run_id=self._flow_run_id,
            )
            self._artifacts[key] = self._client.create_artifact(artifact).id
        self._shown[key] = data, description


@contextlib.contextmanager
def _noting_errors(session: Session) -> Iterator[None]:
    """Note errors of the server in place of raising them; requests are retried once, in case the database is busy."""
    try:
        with temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 1}):
            yield
    except (httpx.HTTPError, PrefectException) as error:
        session.progress.note(f"Prefect's pages are incomplete: {error}")


def progress_text(session: Session) -> str:
    """Return one line of text on the progress of a night."""
    progress = session.progress
    text = (
        f"generation {progress.generation}, {progress.phase}; {progress.candidates} candidates, "
        f"{progress.outcomes[Outcome.SCORED]} scored; best {score(session.state.best.score)}, start "
        f"{score(session.state.start.score)}; {usd(progress.budget.night_usd)}"
    )
    return f"{text}; {printable(progress.message)}" if progress.message else text


def best_program_rows(session: Session) -> list[dict[str, Any]]:
    """Return the rows of the table of best programs, best first."""
    ranked = sorted(session.state.programs.values(), key=lambda program: program.score, reverse=True)[:_TABLE_ROWS]
    start = session.state.start
    return [
        {
            "program": program.id,
            session.run.problem.settings.score_name: score(program.score),
            "gain on start": score(program.score - start.score),
            "lines": program.body.count("\n") + 1,
        }
        for program in ranked
    ]


def best_program_markdown(session: Session) -> str:
    """Return the best program and its difference to the start program; untrusted text cannot leave its code fences."""
    run, best, start = session.run, session.state.best, session.state.start
    flag = history_flag(session.files.directory.parents[1])
    specification = run.problem.specification
    best_text, start_text = (printable(specification.function_text(program.body)) for program in (best, start))
    difference = "\n".join(unified_diff(start_text, best_text, "start", best.id))
    parts = [
        f"## {run.problem.settings.title or run.problem.name}: {score(best.score)}",
        f"The start program has {score(start.score)}. Program `{best.id}` of run `{run.run_id}`.",
        _fenced(best_text, "python"),
        "### Changes" if difference else "No better program than the start program yet.",
        _fenced(difference, "diff") if difference else "",
        f"Save it: `overnight best {run.run_id} --write best.py{flag}`. Report: `overnight report {run.run_id}{flag}`.",
    ]
    return "\n\n".join(part for part in parts if part)


def _fenced(text: str, language: str) -> str:
    longest = max((len(backticks) for backticks in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text}\n{fence}"
