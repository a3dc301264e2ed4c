"""The machines of a cluster in a run's report; nothing of them where there was none."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from io import StringIO
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from overnight.flows.cli.watch import view
from overnight.flows.report.build import build_report
from overnight.schemas import tables
from overnight.schemas.generation import NightRecord
from overnight.schemas.outcome import Outcome
from overnight.schemas.program import Judged
from overnight.schemas.report_data import ReportData
from overnight.schemas.report_rows import MachineSummary
from overnight.tasks.history import record, stored_run
from overnight.tasks.history.database import Database
from overnight.tasks.history.files import RunFiles
from overnight.tasks.history.night_log import log_line
from overnight.tasks.report.page import render
from overnight.testing.made import NOW, a_generation, a_judged, create

pytestmark = pytest.mark.usefixtures("without_charts")

HOSTILE = "<b onclick=alert(1)>"


def two_nights(history: Path) -> RunFiles:
    """Make a run of two nights, each with one generation, on a machine of a hostile name and on the night's own."""
    files = create(history)
    start = stored_run.read_run_history(files).start

    def on(machine: str, generation: int, index: int, outcome: Outcome = Outcome.SCORED) -> Judged:
        scores = (1.0, 1.0) if outcome is Outcome.SCORED else ()
        one = a_judged(files.run_id, generation, index, scores=scores, outcome=outcome)
        return replace(one, verdict=replace(one.verdict, machine=machine, wall_s=2.0))

    first = [on(HOSTILE, 1, 0), on(HOSTILE, 1, 1, Outcome.SANDBOX_ERROR), on("", 1, 2)]
    record.commit(files, a_generation(1, first, start, night=1))
    later = NOW + timedelta(days=1)
    record.commit(files, a_generation(2, [on(HOSTILE, 2, 0)], start, night=2, clock=later))
    for number, faults in ((1, ((HOSTILE, 2), ("gone", 1))), (2, ())):
        record.write_night(files, NightRecord(number, NOW, -9.0, 1.0, start.id, machine_faults=faults))
    return files


def report_of(files: RunFiles, night: int | None = None) -> ReportData:
    return build_report(Database(files.directory.parents[1]), files, night)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> RunFiles:
    return two_nights(tmp_path_factory.mktemp("machines"))


@pytest.fixture(scope="module")
def report(files: RunFiles) -> ReportData:
    return report_of(files)


def test_each_machine_has_a_row_over_all_nights_or_of_one(files: RunFiles, report: ReportData):
    assert report.machines == (
        MachineSummary("", 1, 1, 0, 2.0, 1.0),
        MachineSummary(HOSTILE, 3, 2, 3, 2.0, 3 / (2 / 2 + 1 / 0.5)),
        MachineSummary("gone", 0, 0, 1, None, None),
    )
    assert report_of(files, night=2).machines == (MachineSummary(HOSTILE, 1, 1, 0, 2.0, 0.5),)


def test_the_page_and_the_terminal_have_a_table_of_machines_whose_names_are_no_markup(report: ReportData):
    page = render(report)
    assert 'id="machines"' in page
    assert HOSTILE not in page
    assert "&lt;b onclick=alert(1)&gt;" in page
    console = Console(file=StringIO(), width=120)
    console.print(view(report))
    assert isinstance(console.file, StringIO)
    said = console.file.getvalue()
    assert "the night's own" in said
    assert ["gone", "0", "1", "–", "–"] in [line.split() for line in said.splitlines()]


def test_a_run_on_one_machine_says_nothing_of_machines(reported: ReportData, html: str):
    assert reported.machines == ()
    assert 'id="machines"' not in html


@pytest.mark.parametrize("agents", [("pi",), ("pi", "mine")])
def test_the_turns_of_an_agent_stand_at_the_agent_and_not_at_its_model(tmp_path: Path, agents: tuple[str, ...]):
    files = create(tmp_path)
    names = ["test/model", *(f"agent:{name}/test/model" for name in agents)]
    judged = [a_judged(files.run_id, 1, index, scores=(1.0, 1.0), model=name) for index, name in enumerate(names)]
    record.commit(files, a_generation(1, judged, judged[0].program(), night=1))
    record.write_night(files, NightRecord(1, NOW, -9.0, 1.0, ""))
    path = files.generation(1) / "generation.parquet"
    used = {"night": 1, "model": "test/model", "tokens_out": 40, "tokens_cached": 0, "unpriced": 0}
    paid = [
        used | {"purpose": "sample", "tokens_in": 100, "cost_usd": 1.0},
        used | {"purpose": "turn", "tokens_in": 900, "cost_usd": 8.0},
    ]
    row = pq.read_table(path).to_pylist()[0] | {"paid": paid}
    pq.write_table(pa.Table.from_pylist([row], tables.GENERATIONS), path)
    found = {one.model: (one.tokens_in, one.cost_usd) for one in report_of(files, night=1).models}
    assert found == {"test/model": (100, 1.0)} | {name: (900 / len(agents), 8 / len(agents)) for name in names[1:]}


def test_a_model_that_only_agents_asked_has_no_latency(report: ReportData):
    """Its turns cost something, and no program is its own."""
    asked = replace(report.models[0], model="openai/asked-by-agents", samples=0, outcomes={}, best=None, latency_s=None)
    page = render(replace(report, models=(*report.models, asked)))
    assert "openai/asked-by-agents" in page


def test_a_night_under_way_shows_the_last_lines_of_its_log_on_the_page_and_in_the_terminal(tmp_path: Path):
    files = two_nights(tmp_path)
    for number in range(20):
        log_line(files, 2, f"agent pi 1: {number} turns <b>")
    report = report_of(files)
    console = Console(file=StringIO(), width=120)
    console.print(view(report))
    assert isinstance(console.file, StringIO)
    for said in (render(report), console.file.getvalue()):
        assert "agent pi 1: 19 turns" in said
        assert "agent pi 1: 9 turns" not in said
    assert "19 turns <b>" not in render(report)
    record.write_night(files, NightRecord(2, NOW, -9.0, 1.0, "s", ended_at=NOW))
    assert report_of(files).log == ()
