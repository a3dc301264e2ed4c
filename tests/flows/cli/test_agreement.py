"""All that name the best program, and its scores and those of the start, name the same ones."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from overnight.flows.api.run import load
from overnight.flows.night.facts import ShownNight, remarks
from overnight.flows.night.progress import Progress
from overnight.flows.night.search_state import SearchState
from overnight.flows.report.build import build_report
from overnight.schemas.algorithm import Join
from overnight.schemas.generation import Finalist, NightRecord
from overnight.schemas.operators import Operator
from overnight.schemas.program import Judged, Program
from overnight.schemas.report_rows import SplitScores
from overnight.tasks.history import record, stored_run
from overnight.tasks.history.backends import open_history
from overnight.tasks.history.database import Database
from overnight.tasks.history.files import RunFiles
from overnight.tasks.history.find_run import find_run
from overnight.tasks.report.page import render
from overnight.testing.made import NOW, a_generation, a_judged, create, grow
from tests.flows.cli.conftest import Command

VALIDATION = {"second": 3.0, "third": 2.0, "first": 1.0, "start": 0.0}


@pytest.fixture
def programs(tmp_path: Path) -> dict[str, Program]:
    """Programs of a run by their place in training scores; the validation inputs chose the second."""
    files = create(tmp_path)
    grow(files, 4)
    past = stored_run.read_run_history(files)
    ranked = sorted(past.programs.values(), key=lambda one: one.score, reverse=True)
    found = dict(zip(("first", "second", "third"), ranked, strict=False)) | {"start": past.start}
    finalists = tuple(Finalist(found[name], found[name].score, value, value / 2) for name, value in VALIDATION.items())
    night = NightRecord(1, NOW, -9.0, ranked[0].score, ranked[1].id, ended_at=NOW, finalists=finalists)
    record.write_night(files, night)
    return found


def named(here: Command, place: Path) -> dict[str, SplitScores]:
    """Return the best program and its scores, by who names it."""
    shown = json.loads(here(["best", "--format", "json"], place).stdout)
    (listed,) = json.loads(here(["runs", "--format", "json"], place).stdout)
    run = load(history=place)
    (winner,) = Database(place).rows("FROM winners ORDER BY night DESC LIMIT 1")
    splits = ("validation", "held_out")
    return {
        "best": SplitScores(shown["program_id"], shown["score"], *(shown[name] for name in splits)),
        "runs": SplitScores(**listed["best"]),
        "API": SplitScores(run.best.id, run.best.score, run.best.validation, run.best.held_out),
        "report": build_report(Database(place), files_at(place)).best,
        "SQL": SplitScores(winner["program_id"], winner["train"], *(winner[name] for name in splits)),
    }


def files_at(place: Path) -> RunFiles:
    return find_run(open_history(str(place)), "last")


def test_the_best_is_the_same_everywhere_also_once_it_is_dropped(
    programs: dict[str, Program], here: Command, tmp_path: Path
):
    second, third = programs["second"], programs["third"]
    assert set(named(here, tmp_path).values()) == {SplitScores(second.id, second.score, 3.0, 1.5)}
    told = here(["drop", "last", second.id], tmp_path).stderr
    assert f"the best program is now {third.id}, score {third.score:.6g}" in told
    assert set(named(here, tmp_path).values()) == {SplitScores(third.id, third.score, 2.0, 1.0)}


def test_the_start_program_has_its_scores_on_all_splits_in_python_as_in_the_report(
    programs: dict[str, Program], tmp_path: Path
):
    start, run = programs["start"], load(history=tmp_path)
    assert (run.start.id, run.start.score, run.start.validation, run.start.held_out) == (start.id, -9.0, 0.0, 0.0)
    assert build_report(Database(tmp_path), files_at(tmp_path)).start == SplitScores(start.id, -9.0, 0.0, 0.0)
    assert run.program(programs["first"].id).held_out == 0.5, "any finalist has them"


LONG = "spare = 1\nif offset > 100:\n    return spare\nreturn offset + 6.0"


@pytest.fixture
def pruned(tmp_path: Path) -> tuple[RunFiles, Judged, Judged]:
    """A run whose best program was pruned: its files, the program as it was found, and what is left of it."""
    files = create(tmp_path)
    start = stored_run.read_run_history(files).start
    found = a_judged(files.run_id, 1, 0, scores=(1.0, 1.0), parents=[start.id], body=LONG)
    left = a_judged(files.run_id, 1, 1, scores=(1.0, 1.0), parents=[found.id], body="return offset + 6.0")
    prompt = replace(left.candidate.prompt, operator=Operator.PRUNE)
    left = replace(left, candidate=replace(left.candidate, prompt=prompt))
    record.commit(files, a_generation(1, [found, left], left.program(), [Join("0", found.id), Join("0", left.id)]))
    return files, found, left


def test_all_that_show_the_best_show_what_was_left_out_of_it(
    pruned: tuple[RunFiles, Judged, Judged], here: Command, tmp_path: Path
):
    files, found, left = pruned
    lengths = "5 -> 2 lines, 15 -> 5 nodes"
    said = f"what no score needs was left out of {found.id}: {lengths}; `overnight show {left.id} --diff"
    shown = here(["best"], tmp_path)
    assert said in shown.stderr
    assert "spare" not in shown.stdout
    assert "spare" in here(["best", "--as-found"], tmp_path).stdout

    best = load(history=tmp_path).best
    assert (best.id, best.lengths) == (left.id, lengths)
    assert best.as_found
    assert (best.as_found.id, best.as_found.as_found, best.as_found.lengths) == (found.id, None, "")
    assert "spare" in best.as_found.code

    report = build_report(Database(tmp_path), files)
    assert report.as_found
    assert (report.as_found.program_id, report.as_found.lengths) == (found.id, lengths)
    page = render(report)
    assert f'left out of <span class="id">{found.id}</span>: 5 -&gt; 2 lines' in page
    (left_out,) = re.findall(r'<details id="left-out".*?</details>', page, re.DOTALL)
    assert "−     spare = 1" in re.sub(r"<.*?>", "", left_out)

    run, past = stored_run.read_run(files), stored_run.read_run_history(files)
    state = SearchState(run, past)
    night = ShownNight(run, state, Progress(best=1.0), NightRecord(1, NOW, -9.0, 1.0, left.id))
    assert [one for one in remarks(night) if one.startswith(said)]


def test_where_nothing_was_left_out_nothing_is_said_of_it(programs: dict[str, Program], here: Command, tmp_path: Path):
    assert "left out" not in here(["best"], tmp_path).stderr
    best = load(history=tmp_path).best
    assert (best.as_found, best.lengths) == (None, "")
    report = build_report(Database(tmp_path), files_at(tmp_path))
    assert report.as_found is None
    assert 'id="left-out"' not in render(report)
