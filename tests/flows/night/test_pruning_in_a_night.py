"""A night whose best program is pruned at its end: what is recorded, repeated, resumed and left as it is."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from overnight.flows.cli import main
from overnight.flows.night.open_run import OpenRun
from overnight.flows.night.progress import Progress
from overnight.schemas.errors import SandboxUnavailable
from overnight.schemas.interventions import Kind
from overnight.schemas.job import Job
from overnight.schemas.outcome import Outcome, Verdict
from overnight.tasks.history.database import Database
from overnight.tasks.history.interventions import add_request, new_request
from overnight.tasks.tune.pruning import Pruning
from overnight.testing.fake_provider import Provider, says
from tests.flows.conftest import Night
from tests.flows.nights import everything, require_replay
from tests.in_process import InProcess
from tests.toys import TOY, toy_with

BLOATED = """\
    spare = max(offset, 3)
    if offset > 100:
        return spare
    return offset + 6.0 * (1.0 if spare or not offset else 2.0)"""
BARE = "return offset + 6.0"


@pytest.fixture
def bloated(provider: Provider, asks: dict[str, Any]) -> dict[str, Any]:
    """Settings of a night whose only answer has a good program with what it does not need."""
    provider.script = lambda _, request: says(request, f"def guess_v9(offset):\n{BLOATED}")
    return {**asks, "search": {"prompts": 1, "samples": 1, "prune": 100}}


def pruned(history: Path) -> list[dict[str, Any]]:
    return Database(history).rows(
        "SELECT program_id, parent_ids, outcome, score, body, model, proposer, idea, finish_reason, evaluations, error "
        "FROM programs WHERE operator = 'prune' ORDER BY generation"
    )


def test_the_best_program_of_a_night_is_pruned_before_it_is_shown(
    night: Night, bloated: dict[str, Any], tmp_path: Path
):
    files = night(2, settings=bloated)
    (row,) = pruned(tmp_path)
    assert row["body"] == BARE
    assert (row["outcome"], row["score"], row["model"]) == ("scored", -4.0, "builtin/pruner")
    assert row["idea"] == "left out what no score needs: 5 -> 2 lines, 28 -> 5 nodes"
    history = Database(tmp_path)
    (parent,) = history.rows("SELECT operator, score FROM programs WHERE program_id = ?", [row["parent_ids"][0]])
    assert parent["operator"] != "prune"
    (found,) = history.rows("SELECT best_program_id, finalists, samples FROM nights")
    assert found["best_program_id"] == row["program_id"]
    assert found["samples"] == 2, "nobody was asked for it"
    require_replay(files, tmp_path / "again")


def test_what_was_pruned_is_not_pruned_again(night: Night, bloated: dict[str, Any], tmp_path: Path):
    night(1, settings=bloated)
    files = night(1)
    assert [row["outcome"] for row in pruned(tmp_path)] == ["scored"]
    require_replay(files, tmp_path / "again")


def test_what_has_nothing_to_leave_out_is_tried_once(
    night: Night, bloated: dict[str, Any], provider: Provider, tmp_path: Path
):
    provider.script = lambda _, request: says(request, f"def guess_v9(offset):\n    {BARE}")
    night(1, settings=bloated)
    files = night(1)
    (row,) = pruned(tmp_path)
    assert (row["outcome"], row["finish_reason"]) == ("duplicate", "no_gain")
    assert row["evaluations"] > 0
    (best,) = Database(tmp_path).rows("SELECT program_id FROM winners ORDER BY night DESC LIMIT 1")
    assert best["program_id"] == row["parent_ids"][0]
    require_replay(files, tmp_path / "again")


def test_a_program_keeps_what_the_validation_inputs_need(
    night: Night, bloated: dict[str, Any], provider: Provider, tmp_path: Path
):
    body = "if offset > 100:\n    return 206.0\nreturn [6.0, 7.0][offset]"
    text = "def guess_v9(offset):\n" + "".join(f"    {line}\n" for line in ["spare = 3", *body.split("\n")])
    provider.script = lambda _, request: says(request, text)
    night(1, settings={**bloated, "validation": [200]})
    (row,) = pruned(tmp_path)
    assert row["body"] == body
    (night_row,) = Database(tmp_path).rows("SELECT best_program_id, finalists FROM nights")
    assert night_row["best_program_id"] == row["program_id"]
    assert night_row["finalists"][0]["validation"] == -4.0


def test_a_smaller_program_that_is_worse_held_out_does_not_become_the_best(
    night: Night, bloated: dict[str, Any], provider: Provider, tmp_path: Path
):
    text = "def guess_v9(offset):\n    if offset > 100:\n        return 206.0\n    return [6.0, 7.0][offset]\n"
    provider.script = lambda _, request: says(request, text)
    files = night(1, settings={**bloated, "held_out": [200]})
    (row,) = pruned(tmp_path)
    assert "206" not in row["body"]
    (found,) = Database(tmp_path).rows("SELECT best_program_id, finalists FROM nights")
    assert found["best_program_id"] == row["parent_ids"][0]
    assert [(one["program_id"], one["held_out"]) for one in found["finalists"][:2]] == [
        (row["parent_ids"][0], -4.0),
        (row["program_id"], None),
    ]
    require_replay(files, tmp_path / "again")


@pytest.mark.parametrize("settings", [{"search": {"prune": 0}}, {"noise": 0.1, "search": {}}])
def test_nothing_is_pruned_where_that_is_not_wanted(
    settings: dict[str, Any], night: Night, bloated: dict[str, Any], tmp_path: Path
):
    search = {"prompts": 1, "samples": 1, **settings["search"]}
    problem = tmp_path / "problem/toy.py"
    problem.parent.mkdir()
    problem.write_text(TOY.read_text().replace("# prune = 0\n", ""))
    files = night(1, settings={**bloated, **settings, "search": search}, problem=problem)
    assert not pruned(tmp_path)
    require_replay(files, tmp_path / "again")


def test_within_the_noise_the_smaller_program_is_the_best_where_pruning_is_asked_for(
    night: Night, bloated: dict[str, Any], provider: Provider, tmp_path: Path
):
    code = "def guess_v9(offset):\n    if offset == 1:\n        return offset + 6.004\n    return offset + 6.0"
    provider.script = lambda _, request: says(request, code)
    files = night(1, settings={**bloated, "noise": 0.01, "validation": [5]})
    (row,) = pruned(tmp_path)
    assert (row["body"], row["score"]) == (BARE, -4.0)
    history = Database(tmp_path)
    (parent,) = history.rows("SELECT score FROM programs WHERE program_id = ?", [row["parent_ids"][0]])
    assert parent["score"] == pytest.approx(-3.998)
    (best,) = history.rows("SELECT program_id FROM winners ORDER BY night DESC LIMIT 1")
    assert best["program_id"] == row["program_id"]
    require_replay(files, tmp_path / "again")


def test_a_night_that_is_killed_while_it_prunes_goes_on_to_the_same_history(
    night: Night, bloated: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    run, killed = Pruning.run, tmp_path / "killed"

    def cut(self: Pruning) -> None:
        run(self)
        shutil.copytree(tmp_path / "whole", killed)

    monkeypatch.setattr(Pruning, "run", cut)
    whole = night(1, settings=bloated, history=tmp_path / "whole")
    monkeypatch.setattr(Pruning, "run", run)
    assert not Database(killed).rows("FROM programs WHERE generation > 0")
    files = night(1, history=killed)
    assert everything(files) == everything(whole)
    require_replay(files, tmp_path / "again")


def test_a_smaller_program_that_is_not_confirmed_is_not_shown(
    night: Night, bloated: dict[str, Any], in_process: InProcess, tmp_path: Path
):
    def fails_when_isolated(job: Job, text: str) -> Verdict | None:
        is_bare = f'"""A number."""\n    {BARE}' in text
        return Verdict(Outcome.CRASHED, error="it lied") if job.isolation and is_bare else None

    in_process.fault = fails_when_isolated
    files = night(1, settings={**bloated, "sandbox": {"confirm": "best"}})
    (row,) = pruned(tmp_path)
    assert (row["outcome"], row["score"]) == ("unconfirmed", None)
    assert "it lied" in row["error"]
    (found,) = Database(tmp_path).rows("SELECT best_program_id FROM nights")
    assert found["best_program_id"] == row["parent_ids"][0]
    require_replay(files, tmp_path / "again")


def test_forms_that_time_out_or_that_no_sandbox_runs_lose_nothing(
    night: Night, bloated: dict[str, Any], in_process: InProcess, tmp_path: Path
):
    def stops(_job: Job, text: str) -> Verdict | None:
        if "spare" not in text or "guess" not in text or "offset > 100" in text:
            return None
        return Verdict(Outcome.TIMED_OUT, error="too long")

    in_process.fault = stops
    night(1, settings=bloated)
    (row,) = pruned(tmp_path)
    assert (row["body"], row["outcome"]) == (BARE, "scored")


def test_forms_that_take_much_more_processor_time_are_not_kept(
    night: Night, bloated: dict[str, Any], in_process: InProcess, tmp_path: Path
):
    def slow(job: Job, text: str) -> Verdict | None:
        is_bloated, is_start = "spare or not offset" in text, "offset + 1.0" in text
        score, seconds = -9.0 if is_start else -4.0, 1.0 if is_bloated else 2.0
        return Verdict(Outcome.SCORED, (score,) * len(job.inputs), cpu_s=seconds)

    in_process.fault = slow
    night(1, settings=bloated)
    (row,) = pruned(tmp_path)
    assert "spare or not offset" in row["body"]


def test_a_night_says_what_was_pruned(
    night: Night, bloated: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    said = list[str]()
    monkeypatch.setattr(Progress, "note", lambda _, text: said.append(text))
    night(1, settings=bloated)
    (row,) = pruned(tmp_path)
    begin, end = [one for one in said if "prun" in one]
    (best,) = row["parent_ids"]
    assert begin.startswith(f"pruning {best}: what no score needs is left out, in at most 100 evaluations and ")
    assert end == f"pruned {best}: 5 -> 2 lines, 28 -> 5 nodes, in {row['evaluations']} evaluations"


def test_an_engine_that_goes_away_while_a_program_is_pruned_loses_nothing(
    night: Night, bloated: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    said = list[str]()
    monkeypatch.setattr(Progress, "note", lambda _, text: said.append(text))

    def away(self: Pruning) -> None:
        raise SandboxUnavailable("it is away", remedy="Wait.")

    monkeypatch.setattr(Pruning, "run", away)
    night(1, settings=bloated)
    assert not pruned(tmp_path)
    assert "pruning failed, and the best program stays as it was found: it is away; Wait." in said
    (found,) = Database(tmp_path).rows("SELECT stop_reason, generations, best_after FROM nights")
    assert (found["stop_reason"], found["generations"], found["best_after"]) == ("generations", 1, -4.0)
    monkeypatch.undo()


def test_a_night_that_a_person_ends_prunes_nothing(
    night: Night, bloated: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    run = Pruning.run

    def interrupted(self: Pruning) -> None:
        self.keeps.__self__.run.progress.interrupt()  # type: ignore[attr-defined]
        run(self)

    monkeypatch.setattr(Pruning, "run", interrupted)
    night(1, settings=bloated)
    assert not pruned(tmp_path)
    monkeypatch.setattr(Pruning, "run", run)
    night(1)
    assert [row["body"] for row in pruned(tmp_path)] == [BARE]


def test_a_withdrawn_attempt_ends_its_pruning(
    night: Night, bloated: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    run, counts = Pruning.run, list[int]()

    def withdrawn(self: Pruning) -> None:
        self.keeps.__self__.stopped.set()  # type: ignore[attr-defined]
        try:
            run(self)
        finally:
            counts.append(self.used)

    monkeypatch.setattr(Pruning, "run", withdrawn)
    night(1, settings=bloated)
    assert counts == [0]
    assert not pruned(tmp_path)


def test_the_deadline_ends_a_pruning_and_keeps_what_it_has(
    night: Night, bloated: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    run = Pruning.run

    def cut(self: Pruning) -> None:
        trials: Any = self.keeps.__self__  # type: ignore[attr-defined]
        keeps, self.keeps = self.keeps, lambda bodies: _cut_after(bodies, keeps, trials.run)
        run(self)

    def _cut_after(bodies: Any, keeps: Any, opened: OpenRun) -> Any:
        kept = keeps(bodies)
        if any(kept):
            opened.cut()
        return kept

    monkeypatch.setattr(Pruning, "run", cut)
    night(1, settings=bloated)
    (row,) = pruned(tmp_path)
    assert row["outcome"] == "scored"
    assert BARE != row["body"] != BLOATED


def test_no_objective_gets_worse(night: Night, bloated: dict[str, Any], tmp_path: Path):
    score = "return {'score': -abs(guess(offset) - 10.0 - offset), 'kept': len(guess.__code__.co_varnames)}"
    problem = toy_with(tmp_path / "problem/toy.py", score=score)
    settings = {**bloated, "objectives": {"metrics": {"kept": "maximize"}}}
    night(1, settings=settings, problem=problem)
    (row,) = pruned(tmp_path)
    assert "spare = max(offset, 3)" in row["body"]
    assert "100" not in row["body"]


def test_a_dropped_program_gives_way_and_the_next_night_goes_on(night: Night, bloated: dict[str, Any], tmp_path: Path):
    files = night(1, settings=bloated)
    (row,) = pruned(tmp_path)
    add_request(files, new_request(Kind.DROP, program_id=row["program_id"]))
    night(1)
    (best,) = Database(tmp_path).rows("SELECT program_id FROM winners ORDER BY night DESC LIMIT 1")
    assert best["program_id"] == row["parent_ids"][0]


def test_the_program_before_is_shown_with_its_own_scores(
    night: Night, bloated: dict[str, Any], capsys: pytest.CaptureFixture[str], tmp_path: Path
):
    night(1, settings={**bloated, "held_out": [2]})
    (row,) = pruned(tmp_path)
    capsys.readouterr()
    assert main.run(["best", "--as-found", "--format", "json", "--history", str(tmp_path)]) == 0
    shown = capsys.readouterr()
    found = json.loads(shown.out)
    assert (found["program_id"], found["held_out"]) == (row["parent_ids"][0], -4.0)
    assert f"program {found['program_id']}, score -4 on the training inputs, -4 on the held-out inputs" in shown.err


def test_what_is_left_of_a_dropped_program_is_dropped_with_it(night: Night, bloated: dict[str, Any], tmp_path: Path):
    files = night(1, settings=bloated)
    (row,) = pruned(tmp_path)
    add_request(files, new_request(Kind.DROP, program_id=row["parent_ids"][0]))
    night(1)
    (best,) = Database(tmp_path).rows("SELECT program_id FROM winners ORDER BY night DESC LIMIT 1")
    assert best["program_id"] not in (row["program_id"], *row["parent_ids"])
