"""A finished run and its history, read from Python."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

import overnight

pytestmark = pytest.mark.usefixtures("on_processes")

Finished = tuple[Path, str]


@pytest.fixture
def charts() -> None:
    """They are drawn."""


def test_a_run_is_loaded_by_its_id_a_prefix_or_as_the_last_one(finished_history: Finished):
    history, run_id = finished_history
    run = overnight.load(run_id, history=history)
    assert run == overnight.load(history=history) == overnight.load(run_id[:-2], history=history)
    assert [run] == overnight.open(history).runs()
    assert run.id == run_id
    assert run.best.score > run.start.score
    assert run.best.code.startswith("def guess(")
    with pytest.raises(overnight.errors.UsageError):
        overnight.load("no-such-run", history=history)


def test_sql_of_a_run_sees_that_run_alone(finished_history: Finished):
    history, run_id = finished_history
    run = overnight.load(history=history)
    assert run.sql("SELECT DISTINCT run_id FROM programs").fetchall() == [(run_id,)]
    assert run.history.sql("SELECT count(*) FROM programs", run_id="another").fetchall() == [(0,)]
    counted = run.sql("SELECT outcome, count(*) AS n FROM programs GROUP BY ALL")
    assert counted.arrow().read_all().column_names == ["outcome", "n"]
    assert counted.filter("n > 0").fetchall() == counted.fetchall(), "it is a relation, to go on from"
    if not importlib.util.find_spec("pandas"):
        with pytest.raises(duckdb.InvalidInputException, match="'pandas' is required"):
            counted.df()
    with pytest.raises(overnight.errors.QueryError):
        run.sql("DELETE FROM programs")


def test_a_program_of_a_run(finished_history: Finished):
    run = overnight.load(history=finished_history[0])
    assert run.program(run.best.id) == run.best
    with pytest.raises(overnight.errors.UsageError, match="no scored program 'abc'"):
        run.program("abc")


def test_report_and_best_are_written(finished_history: Finished, tmp_path: Path):
    run = overnight.load(history=finished_history[0])
    page = run.report(tmp_path / "night.html")
    assert page == tmp_path / "night.html"
    assert run.id in page.read_text()
    written = run.write_best(tmp_path / "better.py", unchecked=True)
    assert run.best.code.splitlines()[-1].strip() in written.read_text()
    with pytest.raises(overnight.errors.UsageError, match="exists already"):
        run.write_best(tmp_path / "better.py", unchecked=True)


def test_a_word_to_a_search_is_the_command_s(finished_history: Finished):
    run = overnight.load(history=finished_history[0])
    run.hint(pin=run.best.id, prompts=3)
    with pytest.raises(overnight.errors.UsageError, match="continue text"):
        run.hint("try a two-pass scheme")
    assert run.drop(run.best.id, why="it knows the input").best.id != run.best.id
    asked = run.sql("SELECT kind, program_id, prompts, text FROM interventions").fetchall()
    assert asked == [("pin", run.best.id, 3, ""), ("drop", run.best.id, None, "it knows the input")]


def test_a_notebook_shows_a_sentence_the_curve_and_the_best_program(finished_history: Finished):
    run = overnight.load(history=finished_history[0])
    html = run._repr_html_()
    assert f"{run.best.score:.6g} from {run.start.score:.6g}" in html
    assert "<svg" in html
    assert "def guess(" in html


def test_importing_overnight_loads_nothing_slow():
    slow = {"duckdb", "prefect", "litellm", "pydantic", "docker"}
    code = f"import overnight, sys; print(sorted({slow} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "[]\n"


def test_every_name_is_there_and_has_a_docstring():
    assert all(getattr(overnight, name).__doc__ for name in overnight.__all__)
    assert set(overnight.__all__) <= set(dir(overnight))
    with pytest.raises(AttributeError):
        overnight.nothing_such  # noqa: B018
