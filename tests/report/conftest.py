"""Fixtures: a history of two nights with hostile completions, and a browser for its report."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from overnight.flows.report.build import build_report
from overnight.schemas.algorithm import Join
from overnight.schemas.generation import Finalist, NightRecord, StopReason
from overnight.schemas.outcome import Outcome
from overnight.schemas.report_data import ReportData
from overnight.tasks.history import record, stored_run
from overnight.tasks.history.database import Database
from overnight.tasks.history.files import RunFiles
from overnight.tasks.report.page import render
from overnight.testing.made import NOW, a_generation, a_judged, create, grow
from tests.report.browser import Page, browser, find_chromium

HOSTILE = (
    'return "</code></pre></script><script>alert(1)</script><img src=http://127.0.0.1:9/x onerror=alert(2)>" '
    "# \u202e {{ 7 * 7 }} &lt;"
)
HOSTILE_MODEL = "test/<b onclick=alert(3)>\"'&"


def two_nights(history: Path) -> RunFiles:
    """Make a history of ten generations in two nights, with hostile code, a hostile model name and hostile errors."""
    files = create(history, islands=4)
    grow(files, 5)
    write_night(files, 1, first=1, last=5)
    grow(files, 4, clock=NOW + timedelta(days=1))
    past = stored_run.read_run_history(files)
    mother = max(past.programs.values(), key=lambda program: program.score)
    best = a_judged(
        files.run_id, 10, 0, scores=(9.0, 9.0), parents=[mother.id], body=HOSTILE, model=HOSTILE_MODEL, text=HOSTILE
    )
    bad = a_judged(files.run_id, 10, 1, outcome=Outcome.CRASHED, body=HOSTILE, model=HOSTILE_MODEL)
    bad = replace(bad, verdict=replace(bad.verdict, error=f"ValueError: 17 {HOSTILE}"))
    again = a_judged(files.run_id, 10, 2, outcome=Outcome.DUPLICATE, body=HOSTILE, model=HOSTILE_MODEL)
    judged = [best, bad, again, replace(again, id="again")]
    clock = NOW + timedelta(days=1)
    changes = [Join("0", best.id)]
    record.commit(files, a_generation(10, judged, best.program(), changes, clock, night=2, sample_s=3.0))
    write_night(files, 2, first=6, last=10)
    return files


def write_night(
    files: RunFiles, number: int, *, first: int, last: int, winner: int = 0, held_out: float | None = -0.25
) -> None:
    """Write a night whose final evaluation chose the best program so far, or one ranked behind it."""
    past = stored_run.read_run_history(files)
    ranked = sorted(past.programs.values(), key=lambda program: -program.score)
    started_at = NOW + timedelta(days=number - 1)
    finalists = (
        Finalist(ranked[winner], ranked[winner].score, -0.5, held_out),
        *(Finalist(one, one.score, -0.6, None) for one in ranked[:winner]),
        Finalist(past.start, past.start.score, -8.0, -7.0),
    )
    record.write_night(
        files,
        NightRecord(
            number,
            started_at,
            past.start.score,
            ranked[0].score,
            ranked[winner].id,
            ended_at=started_at + timedelta(hours=1),
            generations=last - first + 1,
            samples=100,
            cost_usd=1.5,
            finalists=finalists,
            stop_reason=StopReason.DEADLINE,
        ),
    )


@pytest.fixture(scope="session")
def reported_run(tmp_path_factory: pytest.TempPathFactory) -> RunFiles:
    return two_nights(tmp_path_factory.mktemp("reported"))


@pytest.fixture(scope="session")
def reported(reported_run: RunFiles) -> ReportData:
    """Data of the report of both nights."""
    return build_report(Database(reported_run.directory.parents[1]), reported_run)


@pytest.fixture(scope="session")
def html(reported: ReportData) -> str:
    """That report."""
    return render(reported)


@pytest.fixture(scope="session")
def report(html: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Address of that report."""
    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(html, encoding="utf-8")
    return path.as_uri()


@pytest.fixture(scope="session")
def chromium() -> Iterator[Page]:
    program = find_chromium()
    if program is None:
        pytest.skip("no Chromium on PATH: `make browser` installs it on Debian")
    with browser(program) as page:
        yield page


@pytest.fixture
def page(chromium: Page) -> Page:
    """A tab with an empty console and no requests so far."""
    chromium.console.clear()
    chromium.requests.clear()
    return chromium
