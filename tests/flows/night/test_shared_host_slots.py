"""Two nights at the same time on one machine share its slots."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from overnight.tasks.history.database import Database
from tests.evaluate.test_host_slots import most_at_a_time

pytestmark = [pytest.mark.docker, pytest.mark.prefect]

TAKES_S = 0.1
RETURNS_TIME = f"import time\n    guess(offset)\n    time.sleep({TAKES_S})\n    return time.time()"
"""Body of a scoring function that returns the time at which it ends."""


@pytest.mark.slow
def test_two_nights_at_the_same_time_share_the_slots_and_one_history(prefect_api: str, toy: Path, tmp_path: Path):
    timed = tmp_path / "timed.py"
    timed.write_text(toy.read_text().replace("return -abs(guess(offset) - 10.0 - offset)", RETURNS_TIME))
    history, slots = tmp_path / "history", os.cpu_count() or 1
    command = [
        sys.executable,
        "-m",
        "overnight.flows.cli.main",
        "run",
        str(timed),
        "--generations",
        "8",
        "--confirm",
        "never",
    ]
    flags = ["--set", "search.algorithm=funsearch", "--set", f"search.prompts={2 * slots}"]
    environment = {"PREFECT_API_URL": prefect_api, "OVERNIGHT_HISTORY": str(history), "OVERNIGHT_SLOTS": str(tmp_path)}
    nights = [
        subprocess.Popen([*command, *flags], env={**os.environ, **environment}, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    for night in nights:
        _, stderr = night.communicate(timeout=240)
        assert night.returncode == 0, stderr
    rows = Database(history).rows("SELECT run_id, program_id, scores FROM programs WHERE outcome = 'scored'")
    spans = [(end - TAKES_S, end) for row in rows for end in row["scores"]]
    assert most_at_a_time(spans) <= slots
    by_run = {
        row["run_id"]: [other["scores"][-1] for other in rows if other["run_id"] == row["run_id"]] for row in rows
    }
    first, second = by_run.values()
    begin, until = max(min(first), min(second)), min(max(first), max(second))
    shares = [sum(begin <= end <= until for end in ends) for ends in (first, second)]
    assert min(shares) > max(shares) / 4, "neither night starves"
    assert len({row["program_id"] for row in rows}) == len(rows), "no program is in both runs"
