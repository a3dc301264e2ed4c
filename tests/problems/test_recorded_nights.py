"""Recorded nights: the index agrees with them, today's parsers read each answer as then, and a replay is the same.

They are tried as they are found in `tasks/problems/recorded`. The one that is evaluated most quickly is replayed with
all tests, the others by `make soak`: a replay takes five seconds or more of both processors.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from filelock import FileLock

from overnight.flows.cli.main import run
from overnight.flows.start.recorded_night import change_since
from overnight.schemas.generation import RunRecord
from overnight.schemas.outcome import Outcome
from overnight.schemas.program import TUNER, Candidate
from overnight.tasks.history.database import Database
from overnight.tasks.history.files import RunFiles, files_of
from overnight.tasks.history.local_backend import LocalBackend
from overnight.tasks.history.rows import Row, completions_of, prompts_of, read_rows
from overnight.tasks.history.stored_run import read_run
from overnight.tasks.problems import find_builtin, names, recorded
from overnight.tasks.problems.loading.load import load_problem
from overnight.tasks.sample.sampler import to_candidates
from tests import recorded as reading

IN_IMAGE = {"numpy"}
"""Packages of the sandbox image; others are fetched."""

OTHERWISE: dict[tuple[str, str], str] = {}
"""Answers that are read otherwise today, by problem and id of the program, with the reason."""


def quickest(names: Iterable[str]) -> str:
    """Return the problem whose recorded night took the least for its evaluations, and needs no more packages."""
    nights = recorded.nights()
    return min((name for name in names if packages_of(name) <= IN_IMAGE), key=lambda name: nights[name].seconds)


def packages_of(name: str) -> set[str]:
    return set(load_problem(find_builtin(name)).dependencies.packages)


QUICKEST = quickest(recorded.names())


@pytest.fixture(scope="session")
def history(shared_folder: Path) -> Path:
    """A history of all nights, which one process of a test run unpacks for all; no test writes to it."""
    folder = shared_folder / "recorded-nights"
    with FileLock(f"{folder}.lock"):
        if not folder.exists():
            reading.unpack_all(shared_folder / "recorded-nights.partial")
            (shared_folder / "recorded-nights.partial").rename(folder)
    return folder


@pytest.fixture(params=recorded.names())
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def files(name: str, history: Path) -> RunFiles:
    return files_of(LocalBackend(history), recorded.nights()[name].run_id)


def test_there_is_nothing_but_nights_of_problems_and_notes_on_them():
    assert set(recorded.names()) <= set(names())
    notes = {path.stem for path in recorded.FOLDER.glob("*.txt")}
    assert notes <= set(recorded.names())
    known = {*(f"{name}.tar.zst" for name in recorded.names()), *(f"{name}.txt" for name in notes)}
    there = {path.name for path in recorded.FOLDER.iterdir() if path.name != "__pycache__"}
    assert there == {*known, "__init__.py", "index.json"}


def test_the_index_has_each_night():
    assert sorted(recorded.nights()) == recorded.names(), "run `make docs`"


def test_the_index_has_the_facts_of_each_night(history: Path):
    nights = {name: files_of(LocalBackend(history), night.run_id) for name, night in recorded.nights().items()}
    assert reading.facts_of(nights, history) == recorded.nights(), "run `make docs`"


def test_samples_are_numbered_one_by_one(history: Path):
    """Those of prompts and of agents, whose indexes in a generation have gaps."""
    rows = Database(history).rows(
        "SELECT run_id, count(*) AS samples, count(DISTINCT sample) AS numbers, max(sample) AS last FROM programs "
        "WHERE generation > 0 AND proposer IN ('prompt', 'agent', 'relay', 'command') GROUP BY run_id"
    )
    assert rows
    assert [row for row in rows if len({row["samples"], row["numbers"], row["last"]}) > 1] == []


def test_it_is_of_its_problem_and_small(name: str, files: RunFiles):
    then = read_run(files)
    assert (then.problem.name, then.specification_path) == (name, name)
    assert recorded.archive(name).stat().st_size < 400_000
    assert change_since(then) == "" or name in change_since(then)


def answers(files: RunFiles, then: RunRecord) -> Iterator[tuple[Row, Candidate]]:
    """Yield the row of each answer, and what today's parsers make of its text."""
    samples = then.problem.settings.candidates_per_prompt
    rows = [row for number in files.committed() for row in read_rows(files, "programs", number)]
    bodies = {row["program_id"]: row["body"] for row in rows}
    for number in filter(None, files.committed()):
        of_models = [row for row in rows if row["generation"] == number and row["model"] not in ("", TUNER)]
        prompts = prompts_of(of_models, samples, bodies)
        read = to_candidates(list(prompts.values()), completions_of(of_models, samples), then.problem)
        yield from zip(of_models, read, strict=True)


def test_today_s_parsers_read_each_answer_as_they_did(name: str, files: RunFiles):
    then = read_run(files)
    found = {}
    for row, candidate in answers(files, then):
        if row["outcome"] != Outcome.UNPARSABLE and row["body"]:
            same = candidate.body == row["body"] or candidate.code_hash == then.problem.code_hash(row["body"])
        else:
            same = candidate.verdict is not None
        if not same:
            found[name, row["program_id"]] = f"{row['outcome']}, now {candidate.verdict or 'another program'}"
    assert found.keys() == {key for key in OTHERWISE if key[0] == name}, found


@pytest.mark.docker
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(
    "name",
    [name if name == QUICKEST else pytest.param(name, marks=pytest.mark.slow) for name in recorded.names()],
    indirect=True,
)
def test_its_replay_scores_each_program_as_then(files: RunFiles, capsys: pytest.CaptureFixture[str]):
    code = run(["replay", files.run_id, "--trust-settings", "--history", files.backend.location])
    said = capsys.readouterr()
    assert code == 0, said
    assert "without a model: the same history" in said.out
