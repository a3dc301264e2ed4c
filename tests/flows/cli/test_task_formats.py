"""A task directory of another tool on the command line, from `check` to its best file."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.flows.cli.conftest import Command

LINE_FIT = Path(__file__).parents[2] / "task_formats" / "openevolve" / "line_fit"


@pytest.mark.usefixtures("processes")
@pytest.mark.prefect
def test_check_and_run_accept_an_unchanged_task(overnight: Command, prefect_api: str, tmp_path: Path):
    done = overnight("check", str(LINE_FIT))
    assert done.returncode == 0, done.stderr
    for message in ("note: a task of OpenEvolve", "| error 2.500", "confirmed"):
        assert message in done.stderr
    assert done.stderr.count("scores can be forged") == 1
    history = str(tmp_path / "history")
    done = overnight(
        *("run", str(LINE_FIT), "--max-samples", "6", "--seed", "1", "--set", "tuner.enabled=false"),
        PREFECT_API_URL=prefect_api,
        OVERNIGHT_HISTORY=history,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("scores can be forged") == 1
    assert overnight("best", "last", "--write", str(tmp_path / "best.py"), OVERNIGHT_HISTORY=history).returncode == 0
    said = overnight("best", "last", OVERNIGHT_HISTORY=history).stderr
    assert said.count("scores can be forged") == ("it is the start program" not in said)
    page = overnight("report", "last", "--write=-", OVERNIGHT_HISTORY=history)
    assert page.stdout.count("scores can be forged") == 1
