"""A whole night with a hint, a pin and a drop, and one killed in between: it goes on and is replayed the same.

Kills at any moment are tried by `test_interventions.py`, without sandbox and files.
"""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from overnight.flows.night.requests import ask
from overnight.schemas.interventions import Kind
from overnight.tasks.history import stored_run
from overnight.tasks.history.database import Database
from overnight.tasks.history.files import RunFiles
from overnight.tasks.history.interventions import new_request, read_interventions
from overnight.testing.fake_provider import Answer, Provider, Request
from overnight.testing.made import run_at
from tests.flows.conftest import JUDGED, Night
from tests.flows.nights import by_prompt, require_replay

pytestmark = pytest.mark.heavy

GENERATIONS = 6


def best_of(files: RunFiles) -> str:
    past = stored_run.read_run_history(files)
    return max(past.programs.values(), key=lambda program: program.score).id


def hint(files: RunFiles) -> bool:
    ask(files, new_request(Kind.HINT, "try a two-pass scheme", prompts=4))
    return True


def pin(files: RunFiles) -> bool:
    ask(files, new_request(Kind.PIN, program_id=best_of(files), prompts=5))
    return True


def drop(files: RunFiles) -> bool:
    """Ask for the best program to be dropped, once there is one beside the start program."""
    best = best_of(files)
    if is_found := best != stored_run.read_run_history(files).start.id:
        ask(files, new_request(Kind.DROP, "it knows the input", best, with_descendants=True))
    return is_found


ASKED: dict[int, Callable[[RunFiles], bool]] = {7: hint, 16: pin, 22: drop}
"""What a person asks for, by the number of the request to the provider from which on it can be."""

KILLED_AT = 18
"""The request during which the files are kept that a killed night would leave, after the hint and the pin."""


@pytest.fixture
def asked_night(night: Night, provider: Provider, asks: dict[str, Any], tmp_path: Path) -> RunFiles:
    """The files of a night in which a person asked for everything; as they were after each of these, too."""
    files, left, asking = run_at(tmp_path / "runs/toy"), dict(ASKED), threading.Lock()

    def answer(number: int, request: Request) -> Answer:
        if number == KILLED_AT:
            shutil.copytree(tmp_path / "runs", tmp_path / "killed/runs", ignore=lambda *_: [".writing"])
        with asking:
            for due in [each for each in left if number >= each]:
                if left[due](files):
                    del left[due]
        return by_prompt(number, request)

    provider.script = answer
    asks["sampling"] |= {"concurrency": 6}
    settings = {**asks, **JUDGED, "search": {"prompts": 6, "samples": 1}, "sandbox": {"confirm": "best"}}
    night(GENERATIONS, settings=settings)
    provider.script = by_prompt
    return files


def test_what_people_ask_for_in_a_night_counts_and_is_replayed(asked_night: RunFiles, tmp_path: Path):
    hinted, pinned, dropped, *family = read_interventions(asked_night)
    assert [one.kind for one in (hinted, pinned, dropped)] == [Kind.HINT, Kind.PIN, Kind.DROP]
    assert {one.kind for one in family} <= {Kind.DROP}
    assert {one.night for one in (hinted, pinned, dropped)} == {1}
    database = Database(tmp_path)
    rows = database.rows("FROM programs WHERE operator = 'hint' ORDER BY generation, index")
    assert sum("try a two-pass scheme" in row["prompt"] for row in rows) == 4
    assert sum(row["parent_ids"][-1] == pinned.program_id for row in rows) >= 1
    (program,) = database.rows("FROM programs WHERE program_id = ?", [dropped.program_id])
    assert (program["outcome"], program["score"]) == ("unconfirmed", None)
    assert program["error"] == "a person took it out of the search: it knows the input"
    asked = database.rows("SELECT kind, author, samples FROM interventions")
    assert [row["samples"] for row in asked][:1] == [4]
    assert all(row["author"] for row in asked)
    assert any(
        "asked: hint: try a two-pass scheme" in line for line in asked_night.night_log(1).read_text().splitlines()
    )
    require_replay(asked_night, tmp_path / "again")


def test_a_night_that_is_killed_goes_on_with_what_people_asked_for(asked_night: RunFiles, night: Night, tmp_path: Path):
    killed = run_at(tmp_path / "killed/runs/toy")
    done = stored_run.read_run_history(killed).generations
    night(GENERATIONS - done, history=tmp_path / "killed")
    require_replay(killed, tmp_path / "replayed")
