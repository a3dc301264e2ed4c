"""`overnight hint`, `overnight drop` and pins, between nights: what they change, and what is refused."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from overnight.flows.cli.interventions import drop, pin_until_withdrawn
from overnight.flows.night.given_starts import create_run_from
from overnight.schemas.generation import Finalist, NightRecord
from overnight.schemas.interventions import MAX_CHARS, Kind
from overnight.tasks.history import record, stored_run
from overnight.tasks.history.database import Database
from overnight.tasks.history.files import RunFiles
from overnight.tasks.history.interventions import pending_requests, read_interventions
from overnight.tasks.history.local_backend import LocalBackend
from overnight.tasks.history.run_lock import run_lock
from overnight.tasks.problems.loading.load import load_problem
from overnight.testing.fake_provider import Provider, says
from overnight.testing.made import NOW, create, grow, run_at
from tests.flows.conftest import Call, Night
from tests.flows.nights import require_replay
from tests.toys import toy_with


@pytest.fixture
def begin(night: Night, provider: Provider, asks: dict[str, Any]) -> Callable[[Path], RunFiles]:
    """Runs two generations in a history; each answer of the model is better than the one before it."""
    provider.script = lambda number, request: says(
        request, f"def guess(offset):\n    return offset + {1.1 + number / 10}"
    )
    asks["sampling"] |= {"concurrency": 1}
    settings = {**asks, "search": {"prompts": 4, "samples": 1, "repairs": 0.0}}
    return lambda history: night(2, history=history, settings=settings)


@pytest.fixture
def files(begin: Callable[[Path], RunFiles], tmp_path: Path) -> RunFiles:
    """The files of such a run, which the test's provider can continue."""
    return begin(tmp_path)


@pytest.fixture
def over(
    begin: Callable[[Path], RunFiles], finished: Callable[[str, Callable[[Path], object]], Path], tmp_path: Path
) -> RunFiles:
    """The same, which is not continued."""
    (finished("improving", begin) / "runs").rename(tmp_path / "runs")
    return run_at(tmp_path / "runs/toy")


def best_of(files: RunFiles) -> str:
    return max(stored_run.read_run_history(files).programs.values(), key=lambda program: program.score).id


def test_a_hint_between_nights_is_kept_for_the_next_one(files: RunFiles, call: Call, night: Night, tmp_path: Path):
    code, said = call("hint", "toy", "try a two-pass scheme", "--prompts", 2, "--history", tmp_path)
    assert (code, "from prompt 1 of generation 3 on" in said) == (0, True), said
    assert "the next one begins with it: overnight resume toy" in said
    night(2)
    (row,) = Database(tmp_path).rows("FROM interventions")
    assert (row["kind"], row["text"], row["samples"], row["night"]) == ("hint", "try a two-pass scheme", 2, None)
    hinted = Database(tmp_path).rows("FROM programs WHERE operator = 'hint' ORDER BY generation, index")
    assert [(one["generation"], one["index"]) for one in hinted] == [(3, 0), (3, 2)]
    assert all("try a two-pass scheme" in one["prompt"] for one in hinted)
    require_replay(files, tmp_path / "again")


def test_a_drop_names_the_best_program_that_the_validation_inputs_chose(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    files = create(tmp_path, islands=2, prompts=6)
    grow(files, 3)
    first, second, third = sorted(
        stored_run.read_run_history(files).programs.values(), key=lambda one: one.score, reverse=True
    )[:3]
    finalists = tuple(Finalist(one, one.score, value, None) for one, value in ((second, 2.0), (first, 1.0)))
    record.write_night(files, NightRecord(1, NOW, -9.0, first.score, second.id, ended_at=NOW, finalists=finalists))
    drop(files.run_id, third.id, history=LocalBackend(tmp_path))
    assert f"the best program is now {second.id}" in capsys.readouterr().err


def test_a_dropped_program_counts_as_failed_everywhere(files: RunFiles, call: Call, night: Night, tmp_path: Path):
    gone = best_of(files)
    code, said = call("drop", "toy", gone[:8], "--why", "it knows the input", "--history", tmp_path)
    assert code == 0, said
    left = best_of(files)
    assert left != gone
    assert f"the best program is now {left}" in said
    assert left in call("best", "toy", "--history", tmp_path)[1]
    assert (
        "Dropped: a person took it out of the search: it knows the input."
        in call("show", gone, "--why", "--history", tmp_path)[1]
    )
    database = Database(tmp_path)
    assert gone not in {row["program_id"] for row in database.rows("FROM best_programs('toy', how_many := 99)")}
    assert gone not in {row["program_id"] for row in database.rows("FROM population")}
    assert [row["best_program_id"] for row in database.rows("FROM runs")] == [left]
    assert gone not in {row["best_program_id"] for row in database.rows("FROM generations")}
    report = tmp_path / "report.html"
    assert call("report", "toy", "--write", report, "--history", tmp_path)[0] == 0
    assert f"dropped {gone}: it knows the input" in report.read_text()
    night(2)
    shown = database.rows("FROM programs WHERE generation > 2 AND list_contains(parent_ids, ?)", [gone])
    assert shown == [], "no prompt was in flight"
    require_replay(files, tmp_path / "again")


def test_a_drop_takes_what_was_built_on_the_program_along(over: RunFiles, call: Call, tmp_path: Path):
    rows = Database(tmp_path).rows("SELECT program_id, parent_ids FROM programs WHERE outcome = 'scored'")
    parents = {row["program_id"]: row["parent_ids"][-1] for row in rows if row["parent_ids"]}
    base = next(parent for parent in parents.values() if parent in parents)
    call("drop", "toy", base, "--descendants", "--history", tmp_path)
    past = stored_run.read_run_history(over)
    assert base in past.dropped
    assert not [name for name in past.programs if parents.get(name) in past.dropped]


def test_what_is_asked_for_goes_along_into_an_archive(over: RunFiles, call: Call, tmp_path: Path):
    gone = best_of(over)
    call("drop", "toy", gone, "--history", tmp_path)
    assert call("export", "toy", "--write", tmp_path / "toy.tar.zst", "--history", tmp_path)[0] == 0
    assert call("import", tmp_path / "toy.tar.zst", "--history", tmp_path / "elsewhere")[0] == 0
    (there,) = Database(tmp_path / "elsewhere").rows("FROM interventions")
    assert there == Database(tmp_path).rows("FROM interventions")[0]


def test_while_a_night_holds_the_run_a_request_waits_for_it(over: RunFiles, call: Call, tmp_path: Path):
    with run_lock(over):
        code, said = call("hint", "toy", "try a two-pass scheme", "--history", tmp_path)
    assert code == 0, said
    words = r"takes it with the first prompt that is not planned yet, after up to \d+ samples? that it has in flight"
    assert re.search(words, " ".join(said.split())), said
    assert [one.text for one in pending_requests(over)] == ["try a two-pass scheme"]
    assert read_interventions(over) == ()


def test_a_second_request_to_drop_a_program_is_refused(over: RunFiles, call: Call, tmp_path: Path):
    gone = best_of(over)
    call("drop", "toy", gone, "--history", tmp_path)
    code, said = call("drop", "toy", gone, "--history", tmp_path)
    assert code == 2
    assert f"{gone} was dropped already, by " in said
    assert len(read_interventions(over)) == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["hint", "toy"], "expected a text, --pin PROGRAM, or --withdraw"),
        (["hint", "toy", "  "], "the hint is empty"),
        (["hint", "toy", "a", "--withdraw"], "expected a text"),
        (["hint", "toy", "a" * (MAX_CHARS + 1)], "the hint has 2,001 characters, and 2,000 are the most"),
        (["hint", "toy", "a\x00b"], "it has control characters"),
        (["hint", "toy", "a\udcff"], "it has control characters"),
        (["hint", "nowhere", "a"], "no run 'nowhere'"),
        (["hint", "toy", "a", "--prompts", "0"], "prompts"),
        (["hint", "toy", "--pin", "ffff"], "no scored programs of toy begin with 'ffff'"),
        (["drop", "toy", "ffff"], "no scored programs of toy begin with 'ffff'"),
        (["drop", "toy", ""], "no scored programs of toy"),
        (["drop", "toy", "START"], "is the start program"),
    ],
)
def test_what_cannot_be_asked_for_is_named_and_nothing_is_kept(
    over: RunFiles, call: Call, tmp_path: Path, arguments: list[str], said: str
):
    start = stored_run.read_run_history(over).start.id
    code, output = call(*(start if one == "START" else one for one in arguments), "--history", tmp_path)
    assert code == 2
    assert said in output
    assert not over.requests.exists()


def test_a_program_that_every_night_is_resumed_with_is_pinned_once_until_it_is_withdrawn(
    over: RunFiles, call: Call, tmp_path: Path
):
    history, best = LocalBackend(tmp_path), best_of(over)
    pin_until_withdrawn(over, best[:8], history)
    pin_until_withdrawn(over, best, history)
    call("hint", "toy", "--withdraw", "--history", tmp_path)
    assert [(one.kind, one.program_id) for one in read_interventions(over)] == [("pin", best), ("withdrawal", "")]
    pin_until_withdrawn(over, best, history)
    assert [one.program_id for one in pending_requests(over)] == [best]


def test_models_that_continue_text_are_told_nothing(night: Night, call: Call, tmp_path: Path):
    night(1)
    code, said = call("hint", "toy", "try a two-pass scheme", "--history", tmp_path)
    assert (code, "the models of toy continue text" in said) == (2, True)
    assert call("hint", "toy", "--pin", best_of(night(1)), "--history", tmp_path)[0] == 0


def test_a_pinned_start_is_the_base_of_every_second_prompt_until_it_is_withdrawn(
    night: Night, call: Call, toy: Path, tmp_path: Path, sandbox_image: str
):
    pinned = toy_with(tmp_path / "pinned.py", start="return offset - 5.0")
    problem = load_problem(
        toy, {"sandbox": {"image": sandbox_image, "slots": 1}, "search": {"prompts": 6, "samples": 1}}
    )
    run = create_run_from(problem, toy, LocalBackend(tmp_path), [], pin=str(pinned), seed=1)
    night(2, run_id=run.run_id)
    (pin,) = read_interventions(run)
    assert (pin.kind, pin.prompts) == (Kind.PIN, None)
    rows = Database(tmp_path).rows("FROM programs WHERE generation > 1 AND model != 'builtin/tuner' ORDER BY ALL")
    based = [row for row in rows if row["parent_ids"][-1] == pin.program_id]
    assert len(based) >= len(rows) / 2 - 1
    call("hint", run.run_id, "--withdraw", "--history", tmp_path)
    night(2, run_id=run.run_id)
    assert not Database(tmp_path).rows("FROM programs WHERE generation > 3 AND parent_ids[-1] = ?", [pin.program_id])
    require_replay(run, tmp_path / "again")
