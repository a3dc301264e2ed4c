"""The command that repeats a run is read back as the settings that it was made of."""

from __future__ import annotations

import math
import shlex
from datetime import UTC, datetime
from pathlib import Path

import pytest

from overnight.flows.cli.options import RunOptions
from overnight.flows.report.repeat_command import command_of
from overnight.schemas.generation import RunRecord
from overnight.tasks.problems.loading.load import load_problem


@pytest.mark.parametrize("statement", ["Climb.", "[1, 2] or more", "{x}: as high as can be", "42", "true"])
def test_texts_come_back_as_texts_whatever_they_look_like(toy: Path, statement: str):
    problem = load_problem(
        toy, {"statement": statement, "search": {"algorithm": {"islands": 3}}, "thresholds": [0.5, -math.inf]}
    )
    run = RunRecord("run", problem, 7, datetime.now(UTC), str(toy), "image", {})
    words = shlex.split(command_of(run, 2))
    sets = [words[place + 1] for place, word in enumerate(words) if word == "--set"]
    again = load_problem(toy, RunOptions(set=sets).settings())
    assert again.settings == problem.settings
