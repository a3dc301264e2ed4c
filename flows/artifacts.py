"""What a night shows in Prefect's pages: how far it is, its best programs, the best one and what it changed."""

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

_EVERY_S = 20.0
"""Seconds between two looks; each costs some milliseconds."""

_ANSWER_S = 5.0
"""Seconds that the server may take for an answer: the night does not wait for what is only shown."""

_LISTED = 10
"""Programs in the table."""


class NightArtifacts:
    """The artifacts of one night: made once, then changed in place. A server that fails costs a note, no more.

    Args:
        flow_run_id: Of the night.
        session: What is shown. Artifacts of all nights of a run have the same keys, which Prefect takes for versions.
    """

    def __init__(self, flow_run_id: str, session: Session) -> None:
        self._flow_run_id = UUID(flow_run_id)
        self._session = session
        self._client = get_client(sync_client=True, httpx_settings={"timeout": _ANSWER_S})
        self._artifacts: dict[str, UUID] = {}
        self._shown: dict[str, Any] = {}
        self._shown_at = float("-inf")

    def begin(self, night: int) -> None:
        """Names and tags the night's flow run, and clears up what nights left that have died."""
        run = self._session.run
        tags = [TAG, run.run_id, run.problem.name]
        with _noted(self._session):
            self._client.update_flow_run(self._flow_run_id, name=f"{run.run_id}-night-{night}", tags=tags)
            mark_crashed(self._client, run.run_id, self._flow_run_id)
            watch_for_crashes(self._client)

    def look(self, share: float, *, now: bool = False) -> None:
        """Shows how things stand, if that was not done a moment ago.

        Args:
            share: Of the night that is over, by the rule that is nearest, 0 to 1.
            now: However short ago the last time was.
        """
        if not now and time.monotonic() - self._shown_at < _EVERY_S:
            return
        session = self._session
        self._shown_at = time.monotonic()
        with _noted(session):
            self._put("progress", "progress", round(100 * share, 1), in_words(session))
            if self._shown.get("best") != session.best.id:
                self._put("best", "markdown", best_in_markdown(session), "The best program, and what it changed")
                self._shown["best"] = session.best.id
            self._put("best-programs", "table", json.dumps(best_programs(session)), "The best programs, best first")

    def report(self, path: Path) -> None:
        """Links to the report on this machine."""
        with _noted(self._session):
            self._put("report", "markdown", f"[{path.name}]({path.as_uri()}): `{path}`", "The report of the run")

    def _put(self, key: str, kind: str, data: Any, description: str) -> None:
        if self._shown.get(key) == (data, description):
            return
        if key in self._artifacts:
            self._client.update_artifact(self._artifacts[key], ArtifactUpdate(data=data, description=description))
        else:
            full_key, of = f"{self._session.run.run_id}-{key}", self._flow_run_id
            artifact = ArtifactCreate(key=full_key, type=kind, data=data, description=description, flow_run_id=of)
            self._artifacts[key] = self._client.create_artifact(artifact).id
        self._shown[key] = data, description


@contextlib.contextmanager
def _noted(session: Session) -> Iterator[None]:
    """Note what a server that fails does not show; try once more at most, for a database that is busy."""
    try:
        with temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 1}):
            yield
    except (httpx.HTTPError, PrefectException) as error:
        session.progress.note(f"Prefect's pages do not show everything: {error}")


def in_words(session: Session) -> str:
    """How far a night is: one line."""
    progress = session.progress
    said = (
        f"generation {progress.generation}, {progress.phase}; {progress.candidates} candidates, "
        f"{progress.outcomes[Outcome.SCORED]} scored; best {score(session.best.score)}, start "
        f"{score(session.start.score)}; {usd(progress.budget.night_usd)}"
    )
    return f"{said}; {printable(progress.message)}" if progress.message else said


def best_programs(session: Session) -> list[dict[str, Any]]:
    """Rows of a table, best first."""
    ranked = sorted(session.programs.values(), key=lambda program: program.score, reverse=True)[:_LISTED]
    start = session.start
    return [
        {
            "program": program.id,
            session.run.problem.settings.score_name: score(program.score),
            "gain on start": score(program.score - start.score),
            "lines": program.body.count("\n") + 1,
        }
        for program in ranked
    ]


def best_in_markdown(session: Session) -> str:
    """The best program and its difference to the start program. Strangers' text stays inside of its fences."""
    run, best, start = session.run, session.best, session.start
    flag = history_flag(session.files.directory.parents[1])
    specification = run.problem.specification
    text, before = (printable(specification.function_text(one.body)) for one in (best, start))
    difference = "\n".join(unified_diff(before, text, "start", best.id))
    parts = [
        f"## {run.problem.settings.title or run.problem.name}: {score(best.score)}",
        f"The start program has {score(start.score)}. Program `{best.id}` of run `{run.run_id}`.",
        _fenced(text, "python"),
        "### What it changed" if difference else "No better program than the start program yet.",
        _fenced(difference, "diff") if difference else "",
        f"Keep it: `overnight best {run.run_id} --write best.py{flag}`. Report: `overnight report {run.run_id}{flag}`.",
    ]
    return "\n\n".join(part for part in parts if part)


def _fenced(text: str, language: str) -> str:
    fence = "`" * (max((len(run) for run in re.findall("`+", text)), default=2) + 1)
    fence = max(fence, "```", key=len)
    return f"{fence}{language}\n{text}\n{fence}"
