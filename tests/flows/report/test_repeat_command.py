"""The command that repeats a run is read back as the settings that it was made of."""

from __future__ import annotations

import math
import shlex
from datetime import UTC, datetime
from pathlib import Path

import pytest

from overnight.flows.cli.options import RunOptions
from overnight.flows.report.build import build_report
from overnight.flows.report.repeat_command import command_of
from overnight.schemas.generation import RunRecord
from overnight.tasks.history import stored_run
from overnight.tasks.history.database import Database
from overnight.tasks.history.files import RunFiles, runs_in
from overnight.tasks.history.local_backend import LocalBackend
from overnight.tasks.problems.loading.load import load_problem
from tests.flows.conftest import Call


@pytest.mark.parametrize("statement", ["Climb.", "[1, 2] or more", "{x}: as high as can be", "42", "true"])
def test_texts_come_back_as_texts_whatever_they_look_like(toy: Path, statement: str):
    problem = load_problem(
        toy, {"statement": statement, "search": {"algorithm": {"islands": 3}}, "thresholds": [0.5, -math.inf]}
    )
    run = RunRecord("run", problem, 7, datetime.now(UTC), str(toy), "image", {})
    words = shlex.split(command_of(run, 2, None))
    sets = [words[place + 1] for place, word in enumerate(words) if word == "--set"]
    again = load_problem(toy, RunOptions(set=sets).settings())
    assert again.settings == problem.settings


def only_run(history: Path) -> RunFiles:
    (files,) = runs_in(LocalBackend(history))
    return files


@pytest.mark.usefixtures("plain")
def test_the_printed_command_repeats_a_run_that_several_limits_have_shaped(call: Call, toy: Path, tmp_path: Path):
    first, second = tmp_path / "first", tmp_path / "second"
    shape = ("--set", "search.prompts=3", "--set", "search.samples=2", "--set", "tuner.evaluations=5")
    code, said = call("run", toy, *shape, "--seed", 5, "--max-samples", 11, "--history", first)
    assert code == 0, said
    command = build_report(Database(first), only_run(first)).command
    assert "--max-samples 11" in command
    code, said = call(*shlex.split(command)[1:], "--history", second)
    assert code == 0, said
    one, other = (stored_run.read_run(only_run(place)).problem.settings for place in (first, second))
    assert other.sampling.concurrency
    assert other.model_copy(update={"sampling": one.sampling}) == one
    programs = "SELECT generation, index, model, code_hash, score FROM programs ORDER BY place, index"
    assert Database(first).rows(programs) == Database(second).rows(programs)
