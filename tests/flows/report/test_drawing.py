"""Pictures of a night: drawn when asked for, kept apart from the history, and never an error of anything else."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from overnight.flows.report import drawings
from overnight.flows.report.build import build_report, draw_report, write_report
from overnight.flows.report.live_report import LiveReport
from overnight.flows.state_folder import state_folder
from overnight.tasks.history import stored_run
from overnight.tasks.history.database import Database
from overnight.tasks.history.files import RunFiles
from overnight.tasks.report.sanitised_svg import title_of
from overnight.testing.made import run_at
from tests.accidents import wait_until
from tests.flows.conftest import Call, Night
from tests.in_process import InProcess

pytestmark = pytest.mark.usefixtures("plain")

DRAW = '''

@funsearch.draw
def draw(offset):
    """The guess."""
    picture = funsearch.svg.Picture(100, 40, f"guess {guess(offset)}")
    picture.circle(5 * guess(offset), 20, 4, fill=funsearch.svg.BLUE)
    return picture
'''
HOSTILE = '''

@funsearch.draw
def draw(offset):
    """Text that no page may show as it is."""
    script = "<script>alert(1)</script><image href='http://127.0.0.1:9/x'/>"
    return f"<svg viewBox='0 0 9 9' onload='alert(2)'><title>guess {guess(offset)}</title>{script}</svg>"
'''
FAILING = "\n\n@funsearch.draw\ndef draw(offset):\n    return 1 / 0\n"


@pytest.fixture
def toy(toy: Path, tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """The toy problem with the function of a test's parameter, or one that draws."""
    path = tmp_path / "toy.py"
    path.write_text(toy.read_text() + getattr(request, "param", DRAW))
    return path


@pytest.fixture
def drawn(night: Night, finished: Callable[..., Path]) -> RunFiles:
    """Files of a night whose programs draw."""
    history = finished("drawn", lambda history: night(4, history=history))
    return run_at(history / "runs/toy")


def contents(files: RunFiles) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in files.directory.rglob("*") if path.is_file()}


def test_report_and_best_draw_and_change_nothing_of_the_run(drawn: RunFiles, call: Call, tmp_path: Path):
    before = contents(drawn)
    history = ("--history", drawn.backend.location)
    code, said = call("report", "last", "--write", tmp_path / "r.html", *history)
    assert code == 0, said
    page = (tmp_path / "r.html").read_text()
    assert "Start: guess 2.0" in page, "on the last input"
    assert re.search(r'alt="Best: guess [\d.]+"', page)
    code, said = call("best", "last", "--write", tmp_path / "best.png", *history)
    assert (code, "pictures are written as SVG, got best.png" in said) == (2, True)
    assert not (tmp_path / "best.png").exists()
    code, said = call("best", "last", "--write", tmp_path / "best.svg", *history)
    assert code == 0, said
    assert title_of((tmp_path / "best.svg").read_text()).startswith("guess ")
    assert contents(drawn) == before
    assert call("report", "last", "--without-pictures", "--write", tmp_path / "r.html", *history)[0] == 0
    assert 'id="pictures"' not in (tmp_path / "r.html").read_text()


def test_a_picture_is_drawn_once_and_then_kept_in_the_state_folder(drawn: RunFiles, monkeypatch: pytest.MonkeyPatch):
    database = Database(drawn.backend.root)
    report = build_report(database, drawn)
    first = draw_report(database, report)
    assert set(first.pictures) == {report.start.program_id, report.best.program_id}
    with monkeypatch.context() as without_sandbox:
        without_sandbox.setattr(drawings, "open_pool", None)
        assert draw_report(database, report) == first
    for kept in (state_folder() / "drawings").glob("*.svg"):
        kept.write_text("<svg onload='alert(1)'")
    assert draw_report(database, report) == first, "what is broken there is drawn again"


@pytest.mark.parametrize("toy", [HOSTILE], indirect=True)
def test_a_hostile_drawing_leaves_only_what_is_harmless(night: Night, tmp_path: Path):
    files, database = night(1), Database(tmp_path)
    report = build_report(database, files)
    pictures = draw_report(database, report).pictures
    assert {title_of(picture).partition(" ")[0] for picture in pictures.values()} == {"guess"}
    assert not re.search("script|image|onload|127", "".join(pictures.values()))
    assert write_report(files, report, draw_report(database, report)).read_text().count("data:image") == len(pictures)


@pytest.mark.parametrize("toy", [FAILING], indirect=True)
def test_a_drawing_that_fails_is_a_remark_in_the_report_and_an_error_where_it_was_asked_for(
    night: Night, call: Call, tmp_path: Path
):
    files = night(1)
    assert stored_run.read_run_history(files).programs, "the night is as any other"
    code, said = call("report", "last", "--write", tmp_path / "r.html", "--history", tmp_path)
    assert (code, "ZeroDivisionError" in said) == (0, True)
    assert "ZeroDivisionError" in (tmp_path / "r.html").read_text()
    code, said = call("best", "last", "--write", tmp_path / "best.svg", "--history", tmp_path)
    assert (code, "ZeroDivisionError" in said) == (1, True)
    assert not (tmp_path / "best.svg").exists()


def test_a_night_in_the_foreground_draws_nothing_and_says_how_its_best_program_is_drawn(
    call: Call, toy: Path, tmp_path: Path, in_process: InProcess, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    short = ("--generations", 1, "--seed", 1, "--history", tmp_path / "h")
    code, said = call("run", toy, *short)
    assert code == 0, said
    command = next(line.split() for line in said.splitlines() if line.startswith("picture "))
    code, said = call(*command[2:], "--trust-settings")
    assert code == 0, said
    (run,) = (tmp_path / "h" / "runs").iterdir()
    assert not (run / "report.html").exists()
    assert (tmp_path / "best.svg").read_text().startswith("<svg")


def test_without_an_engine_the_report_is_written_with_a_remark(
    drawn: RunFiles, call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("OVERNIGHT_CONFIG", str(tmp_path / "none.toml"))
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/nothing.sock")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    code, said = call("report", "last", "--write", tmp_path / "r.html", "--history", drawn.backend.location)
    assert (code, "not drawn: " in said) == (0, True)
    assert "not drawn: " in (tmp_path / "r.html").read_text()


def test_what_takes_too_long_altogether_is_left_out(drawn: RunFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    database = Database(drawn.backend.root)
    monkeypatch.setattr(drawings, "TOTAL_S", 0.0)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    pictures = draw_report(database, build_report(database, drawn))
    assert "took more than 0 s" in pictures.remark


def test_pictures_that_wait_for_a_slot_are_not_slow(
    drawn: RunFiles, in_process: InProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    in_process.fault = lambda *_: time.sleep(0.4)
    database = Database(drawn.backend.root)
    monkeypatch.setattr(
        drawings, "TOTAL_S", 0.6
    )  # less than both wait, and far more than drawing takes on a busy machine
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    assert draw_report(database, build_report(database, drawn)).remark == ""


def test_the_live_page_gets_pictures_once_they_are_drawn(
    drawn: RunFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    live = LiveReport(drawn, draws=True)
    version, page = live.page()
    wait_until(lambda: live.version() != version, lambda: "no picture came")
    assert 'id="pictures"' not in page
    assert 'alt="Best: guess' in live.page()[1]
    assert live.version() == live.page()[0], "nothing more is drawn"


@pytest.mark.parametrize("toy", [""], indirect=True)
def test_a_problem_that_does_not_draw_has_a_remedy(night: Night, call: Call, tmp_path: Path):
    night(1)
    code, said = call("best", "last", "--write", tmp_path / "best.svg", "--history", tmp_path)
    assert (code, "@funsearch.draw" in said) == (2, True)
