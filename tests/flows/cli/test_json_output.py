"""`--format json`: the data of a command as one line of JSON, in which unknown prices are told from none."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from overnight.tasks.history import record, stored_run
from overnight.tasks.history.find_run import find_run
from overnight.tasks.history.local_backend import LocalBackend
from overnight.testing.made import a_generation, a_judged, an_answer, create
from tests.flows.cli.conftest import Command
from tests.report.conftest import write_night

Data = Callable[..., Any]


@pytest.fixture
def history(tmp_path: Path) -> Path:
    """Two runs with the same settings and seed: `priced`, and `unpriced`, of whose model no price is known."""
    for run_id, cost_usd in (("priced", 0.5), ("unpriced", None)):
        files = create(tmp_path, run_id)
        start = stored_run.read_run_history(files).start
        judged = [
            a_judged(run_id, 1, index, scores=(float(index),), parents=[start.id], cost_usd=cost_usd)
            for index in range(2)
        ]
        record.commit(files, a_generation(1, judged, judged[1].program()))
    return tmp_path


@pytest.fixture
def data(history: Path, here: Command) -> Data:
    """A function that runs a command on that history and returns its JSON."""

    def data(*arguments: str) -> Any:
        done = here([*arguments, "--format", "json"], history)
        assert done.returncode == 0, done.stderr
        (line,) = done.stdout.splitlines()
        return json.loads(line)

    return data


def test_compare_has_the_groups_their_runs_and_the_notes(data: Data):
    found = data("compare", "priced", "unpriced")
    (group,) = found["groups"]
    assert [run["run_id"] for run in group["runs"]] == ["priced", "unpriced"]
    assert (group["best"]["middle"], group["has_unknown_costs"]) == (1.0, True)
    assert "share seed" in found["notes"][0]


def test_watch_has_the_state_of_the_run_and_ends(data: Data):
    found = data("watch", "priced")
    assert (found["run_id"], found["generation"], found["samples"], found["has_ended"]) == ("priced", 1, 2, False)
    assert (found["best_score"], found["cost_usd"], found["has_unknown_costs"]) == (1.0, 1.0, False)
    assert found["state"] == ""


def test_diff_has_both_programs_and_the_difference(data: Data):
    program = data("watch", "priced")["best_program_id"]
    found = data("show", program, "--diff")
    assert (found["after"]["program_id"], found["after"]["score"]) == (program, 1.0)
    assert found["diff"].startswith(f"--- {found['before']['program_id']}")
    assert "\n+    return 1 + 1\n" in found["diff"]


def test_unknown_prices_are_unknown_wherever_costs_are_shown(history: Path, tmp_path: Path, data: Data, here: Command):
    program = data("watch", "unpriced")["best_program_id"]
    page = tmp_path / "page.html"
    for arguments in (["report", "unpriced"], ["report", "--all"], ["compare", "priced", "unpriced"]):
        done = here([*arguments, "--write", str(page)], history)
        assert done.returncode == 0, done.stderr
        assert "unknown" in page.read_text()
        assert "$0.00" not in page.read_text().partition('id="records"')[0], "but in the table of bests, for the start"
        assert "compare" not in arguments or "unknown" in done.stdout
    assert "share seed" in page.read_text(), "the last page is the comparison"
    for arguments in (["runs"], ["watch", "unpriced", "--terminal"], ["show", program]):
        shown = here(arguments, history).stdout
        assert "unknown" in shown
        assert "$0.00" not in shown


def test_an_unknown_price_of_a_question_makes_that_of_its_run_unknown(history: Path, data: Data):
    files = find_run(LocalBackend(history), "priced")
    best = stored_run.read_run_history(files).start
    record.commit(files, a_generation(2, [], best, questions=(an_answer(cost_usd=None),)))
    assert all(run["has_unknown_costs"] for run in data("runs"))
    assert data("watch", "priced")["has_unknown_costs"]
    create(history, "fresh")
    assert data("compare", "fresh", "priced")["groups"][0]["has_unknown_costs"]


def test_runs_and_best_name_the_same_program_and_the_same_scores(history: Path, data: Data, here: Command):
    files = find_run(LocalBackend(history), "priced")
    write_night(files, 1, first=1, last=1, winner=2)  # the start program
    best = data("best", "priced")
    listed = {run["run_id"]: run for run in data("runs")}["priced"]
    assert listed["best"]["program_id"] == best["program_id"] != listed["best_program_id"]
    assert listed["best"]["train"] == best["score"] < listed["best_score"]
    shown = here(["runs"], history)
    (row,) = (line.split() for line in shown.stdout.splitlines() if line.split()[:1] == ["priced"])
    assert f"{best['score']:g}" in row
    assert "priced: another program scores higher on the training inputs" in shown.stderr
