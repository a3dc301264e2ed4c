"""`overnight watch`: the report on this machine only, updated as generations are committed."""

from __future__ import annotations

import json
import os
import threading
from contextlib import AbstractContextManager
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from rich.console import Console
from starlette.testclient import TestClient

import overnight
from overnight.flows.cli.under_way import in_short, note
from overnight.flows.cli.watch import state, view
from overnight.flows.night.facts import commands
from overnight.flows.report.build import build_report
from overnight.flows.report.live_report import LiveReport, application
from overnight.schemas.generation import NightRecord
from overnight.schemas.ids import program_id
from overnight.schemas.outcome import Outcome, StoredVerdict, Verdict
from overnight.schemas.program import Completion
from overnight.schemas.report_data import Claim, ReportData, UnderWay
from overnight.schemas.settings import Known
from overnight.tasks.history import record
from overnight.tasks.history.database import Database
from overnight.tasks.history.files import RunFiles, files_of
from overnight.tasks.history.journal import Journal
from overnight.tasks.history.local_backend import LocalBackend
from overnight.tasks.history.under_way import read_under_way
from overnight.tasks.report.page import render
from overnight.testing.made import NOW, a_generation, a_judged, a_problem, a_run, create, grow
from tests.command_server import run_command, serving
from tests.flows.night.shown import a_night
from tests.report.browser import Page

NIGHT = NightRecord(1, NOW, -9.0, -9.0, "start", alive_until=datetime.now(UTC) + timedelta(hours=1))


@pytest.fixture
def growing(tmp_path: Path) -> RunFiles:
    files = create(tmp_path, islands=2)
    record.write_night(files, NIGHT)
    grow(files, 3)
    return files


def watching(history: Path) -> AbstractContextManager[str]:
    return serving(["watch", "last"], {**os.environ, "OVERNIGHT_HISTORY": str(history)})


def client_of(files: RunFiles) -> TestClient:
    return TestClient(application(LiveReport(files)), base_url="http://127.0.0.1")


@pytest.mark.usefixtures("without_charts")
def test_the_page_is_sent_again_only_when_the_run_has_changed_and_to_no_other_page_s_frame(growing: RunFiles):
    client = client_of(growing)
    first = client.get("/")
    version = {"If-None-Match": first.headers["etag"]}
    assert (first.status_code, growing.run_id in first.text) == (200, True)
    unchanged = client.get("/page", headers=version)
    assert unchanged.status_code == 304
    grow(growing, 1)
    again = client.get("/page", headers=version)
    assert (again.status_code, growing.run_id in again.text) == (200, True)
    for answer in (first, unchanged, again):
        assert answer.headers["x-frame-options"] == "DENY"
        assert answer.headers["content-security-policy"] == "frame-ancestors 'none'"


@pytest.mark.usefixtures("without_charts")
def test_it_answers_only_requests_for_a_local_host_name(growing: RunFiles):
    client = client_of(growing)
    assert client.get("/", headers={"Host": "evil.example"}).status_code == 400
    assert client.get("/etc/passwd").status_code == 404


def test_a_port_that_is_taken_is_reported(growing: RunFiles):
    history = growing.directory.parents[1]
    with watching(history) as address:
        assert address.startswith("http://127.0.0.1:")
        port = address.rstrip("/").rpartition(":")[2]
        done = run_command(["watch", "--port", port, "--history", str(history)], os.environ)
    assert done.returncode == 3
    assert f"cannot listen on port {port}" in done.stderr


def test_the_browser_shows_a_new_generation_without_a_reload(growing: RunFiles, page: Page):
    with watching(growing.directory.parents[1]) as address:
        page.open(address)
        page.until("document.getElementById('live').textContent.startsWith('live: changes')")
        before = page.value("document.querySelector('main').innerText")
        grow(growing, 1)
        page.until(f"document.querySelector('main').innerText !== {before!r}")
        assert page.value("document.querySelectorAll('svg').length") > 0
        record.write_night(growing, replace(NIGHT, ended_at=NOW))
        page.until("document.getElementById('live').textContent.startsWith('no night is under way')")
        assert all(request.startswith((address, "data:")) for request in page.requests)
        assert page.console == []
    page.until("document.getElementById('live').textContent.startsWith('not live')")


def test_the_terminal_shows_nights_niches_and_models(growing: RunFiles):
    environment = {**os.environ, "OVERNIGHT_HISTORY": str(growing.directory.parents[1])}
    done = run_command(["watch", "--terminal"], environment)
    assert done.returncode == 0, done.stderr
    assert "Ctrl-C" not in done.stdout, "only a view that stays says how to leave it"
    for part in (growing.run_id, "generation 3", "niche", "model", "night 1 is under way"):
        assert part in done.stdout


@pytest.mark.usefixtures("without_charts")
def test_answers_of_a_generation_under_way_are_seen(growing: RunFiles):
    journal = Journal(growing.journal(4), growing.backend)
    answered = Completion(0, 0, "hash", "return 1", "test/model", 10, 2, 0.5, 0.25, "stop", NOW)
    journal.record([answered, replace(answered, sample=1)])
    journal.end_early(1)
    report = build_report(Database(growing.backend.root), growing)
    assert state(report)["samples_under_way"] == 2
    assert f"{report.generations[-1].samples} samples and 2 of a generation under way, " in shown(report)
    assert ", and 2 under way</dd>" in render(report)
    best = report.generations[-1].best
    scored = [Verdict(Outcome.SCORED, (best + more, best + more)) for more in (1.0, 5.0)]
    growing.verdict_key.write_text("key")
    journal.keep_verdicts([StoredVerdict(index, f"h{index}", False, "", one) for index, one in enumerate(scored)])
    claim = Claim(best + 5, 4, 2, program_id(growing.run_id, 4, 1))
    report = replace(report, under_way=read_under_way(growing, best))
    assert report.under_way == UnderWay(2, 2, claim)
    assert state(report)["claim_under_way"] == asdict(claim)
    assert f"2 of a generation under way, the best so far {best + 5:g} (uncommitted), " in shown(report)
    assert f", and 2 under way, the best of which scores {best + 5:g} so far</dd>" in render(report)
    journal.keep_verdicts([StoredVerdict(1, "h1", True, "", Verdict(Outcome.CRASHED, error="no"))])
    refused = read_under_way(growing, best).claim
    assert refused == Claim(best + 1, 4, 1, program_id(growing.run_id, 4, 0)), "a claim that fell is none"


def test_runs_and_best_tell_of_a_better_score_that_is_not_committed(growing: RunFiles):
    environment = {**os.environ, "OVERNIGHT_HISTORY": str(growing.directory.parents[1])}
    journal = Journal(growing.journal(4), growing.backend)
    journal.record([Completion(0, 0, "hash", "return 1", "test/model", 10, 2, 0.5, 0.25, "stop", NOW)])
    assert "not committed" not in run_command(["best"], environment).stderr
    growing.verdict_key.write_text("key")
    journal.keep_verdicts([StoredVerdict(0, "h", False, "", Verdict(Outcome.SCORED, (99.0, 99.0)))])
    said = (
        f"1 sample of {growing.run_id} not committed yet, the best so far 99 with sample 1 of generation 4, "
        f"unconfirmed; go on with it: overnight resume {growing.run_id}"
    )
    for command in ("best", "runs"):
        assert said in " ".join(run_command([command], environment).stderr.split())
        found = json.loads(run_command([command, "--format", "json"], environment).stdout)
        claim = found["claim_under_way"] if command == "best" else found[0]["under_way"]["claim"]
        assert claim["score"] == 99.0
    assert " + 1 " in run_command(["runs"], environment).stdout
    assert overnight.load(history=growing.directory.parents[1]).under_way.claim == Claim(
        99.0, 4, 1, program_id(growing.run_id, 4, 0)
    )


def test_answers_that_a_proven_best_score_leaves_out_are_not_to_be_gone_on_with(tmp_path: Path):
    problem, files = a_problem(), files_of(LocalBackend(tmp_path), "20260101-2200-toy-bbbb")
    known = Known(best=-9.0, proven=True)
    problem = replace(problem, settings=problem.settings.model_copy(update={"known": known}))
    start = a_judged(files.run_id, 0, 0, scores=(-9.0, -9.0), body="return 1")
    record.create(files, a_run(files.run_id, problem), a_generation(0, [start], start.program(), [], NOW, night=0))
    journal = Journal(files.journal(1), files.backend)
    journal.record([Completion(0, 0, "hash", "return 1", "test/model", 10, 2, 0.5, 0.25, "stop", NOW)])
    under_way = read_under_way(files, -9.0)
    assert note(files, under_way).startswith(f"1 sample of {files.run_id} left out: the best score was reached")
    assert in_short(under_way) == "1 left out, as the best score is proven"
    assert not read_under_way(files, -10.0).is_left_out
    assert "continue" not in commands(a_night(-9.0, problem=problem))
    assert "continue" in commands(a_night(-10.0, problem=problem))


def shown(report: ReportData) -> str:
    console = Console(width=200)
    with console.capture() as captured:
        console.print(view(report))
    return captured.get()


@pytest.mark.usefixtures("without_charts")
def test_what_changed_while_the_page_was_sent_is_shown_when_it_first_asks(page: Page, growing: RunFiles):
    report = build_report(Database(growing.backend.root), growing)
    first, later = (render(replace(report, generations=report.generations[:end]), live=True) for end in (3, 4))

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            is_known = self.headers.get("If-None-Match") == '"later"'
            self.send_response(304 if is_known else 200)
            self.send_header("Content-Type", "text/html")
            self.send_header("ETag", '"later"')
            self.end_headers()
            if not is_known:
                self.wfile.write((later if self.path == "/page" else first).encode())

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Write no log."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        page.open(f"http://127.0.0.1:{server.server_port}/")
        generations = (
            "[...document.querySelectorAll('.facts div')].find((one) => one.innerText.startsWith('Gen')).innerText"
        )
        page.until(f"{generations}.includes('3')")
        page.open("about:blank")
        server.shutdown()
