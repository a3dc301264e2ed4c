"""A real deadline: the generation under way is cut short after the grace period, with its verdicts so far.

What a night decides then is tried in `test_core.py`, which has a clock of its own.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from overnight.flows.cli.main import run
from overnight.schemas.outcome import STOPPED_BY_DEADLINE
from overnight.tasks.history.database import Database
from overnight.testing.fake_provider import Answer, Provider, says
from tests.flows.conftest import Night

QUICK = "def guess(offset):\n    return offset + 9.0\n"
ASLEEP = "import time\ndef guess(offset):\n    time.sleep(300)\n    return offset + 2.0\n"
NIGHT_S, GRACE_S = 7.0, 10.0


@pytest.mark.slow
@pytest.mark.docker
def test_verdicts_until_the_cut_are_committed_and_a_replay_is_identical(
    docker_night: Night, provider: Provider, asks: dict[str, Any], tmp_path: Path
):
    answers = [QUICK, ASLEEP, "no program"]
    provider.script = lambda number, request: (
        says(request, answers[number]) if number < len(answers) else Answer(hang=True)
    )
    search = {"prompts": 4, "samples": 1}
    # Of two slots, since the candidate that is asleep keeps one until the cut, and may be the first to have it.
    settings = {**asks, "search": search, "limits": {"wall_s": 400}, "sandbox": {"slots": 2}}
    asks["sampling"]["concurrency"] = 4  # one generation, so that it has the answers, whichever request comes first
    begin = time.monotonic()
    docker_night(None, within_s=NIGHT_S, grace_s=GRACE_S, settings=settings)
    assert time.monotonic() - begin < 100, "a request has 120 s, a candidate 400 s"
    rows = Database(tmp_path).rows("FROM programs WHERE generation = 1")
    found = {row["completion"]: (row["outcome"], row["error"]) for row in rows}
    assert found == {
        QUICK: ("scored", ""),
        ASLEEP: ("sandbox_error", STOPPED_BY_DEADLINE.error),
        "no program": ("unparsable", found["no program"][1]),
    }, "the unanswered request has no row"
    assert Database(tmp_path).rows("SELECT stop_reason FROM nights") == [{"stop_reason": "deadline"}]
    assert run(["replay", "last", "--history", str(tmp_path)]) == 0
