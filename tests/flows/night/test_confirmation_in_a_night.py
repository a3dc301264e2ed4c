"""A night with programs that lie or fail where it matters: what is confirmed, what is not, and what is told of both."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from overnight.flows.start.create_run import create_run
from overnight.schemas.errors import SandboxUnavailable
from overnight.schemas.job import Job
from overnight.schemas.outcome import Outcome, Verdict
from overnight.tasks.history.database import Database
from overnight.tasks.history.local_backend import LocalBackend
from overnight.tasks.problems.loading.load import load_problem
from overnight.testing.fake_provider import Provider, says
from tests.flows.conftest import JUDGED, Call, Night
from tests.in_process import InProcess

SANDBOX = {"slots": 2, "confirm": "best", "backend": "process"}
"""The programs here lie, and do no harm: the runner, which confirms, is the same in each backend."""
HONEST = "return offset + 4.0"
FORGED = "import builtins\n    builtins.abs = lambda value: -1000.0\n    return offset + 2.0"
REMEMBERS = "evaluate.calls = getattr(evaluate, 'calls', 0) + 1\n    return offset + 3.0 + 7.0 * (evaluate.calls > 1)"
CLOCK = "import time\n    return offset + 5.0 + time.time_ns() % 9973 / 1e4"
UNSEEDED = "import os\n    return offset + 5.0 + int.from_bytes(os.urandom(4), 'big') / 2**33"


def answers(provider: Provider, bodies: Sequence[str]) -> None:
    """The provider answers the n-th request with the n-th of these bodies."""

    provider.script = lambda number, request: says(
        request, f"def guess_v9(offset):\n    {bodies[number % len(bodies)]}"
    )


def one_island(asks: dict[str, Any], prompts: int, **more: Any) -> dict[str, Any]:
    asks["sampling"] |= {"concurrency": 1}  # so that prompts are asked in order
    search = {"prompts": prompts, "samples": 1, "algorithm": {"islands": 1}}
    return {**asks, "search": search, "sandbox": SANDBOX, **more}


def rows(history: Path) -> list[dict[str, Any]]:
    return Database(history).rows(
        "SELECT outcome, score, confirmed_score, error, body FROM programs WHERE generation = 1 ORDER BY index"
    )


@pytest.mark.heavy
def test_what_lies_is_unconfirmed_with_both_scores_and_what_is_honest_is_registered(
    docker_night: Night, provider: Provider, asks: dict[str, Any], tmp_path: Path
):
    bodies = [FORGED, REMEMBERS, CLOCK, UNSEEDED, HONEST]
    answers(provider, bodies)
    docker_night(1, settings=one_island(asks, len(bodies)))
    *liars, honest = rows(tmp_path)
    assert [row["outcome"] for row in liars] == ["unconfirmed"] * 4
    assert [row["score"] for row in liars] == [None] * 4
    assert liars[0]["confirmed_score"] == -8.0
    assert liars[0]["error"].startswith("scored 496.0, then -8.0: run again, in a fresh container")
    assert liars[1]["error"].startswith("scored -3.5, then -7.0: ")
    assert (honest["outcome"], honest["score"], honest["confirmed_score"]) == ("scored", -6.0, -6.0)
    history = Database(tmp_path)
    (run,) = history.rows("FROM runs")
    assert run["best_score"] == -6.0
    (generation,) = history.rows("FROM generations WHERE generation = 1")
    assert dict(generation["outcomes"]) == {"scored": 1, "unconfirmed": 4}
    assert len(history.rows("FROM population WHERE from_generation = 1")) == 1


LIES_ON_VALIDATION = (
    "lie = {'__sub__': lambda value, other: float(offset) if offset == 2 else float(value) - other}\n"
    "    return type('F', (float,), lie)(offset + 4.0)"
)


@pytest.mark.heavy
def test_the_winner_of_a_night_is_run_split_on_the_inputs_it_has_not_seen(
    docker_night: Night, provider: Provider, asks: dict[str, Any], tmp_path: Path
):
    answers(provider, [LIES_ON_VALIDATION, HONEST.replace("4.0", "3.0")])
    docker_night(1, settings={**one_island(asks, 2), **JUDGED})
    assert [row["score"] for row in rows(tmp_path)] == [-6.0, -7.0]
    (row,) = Database(tmp_path).rows("FROM nights")
    first, second, start = row["finalists"]
    assert (first["train"], first["validation"], first["held_out"]) == (-6.0, -6.0, -6.0)
    assert (second["validation"], start["validation"]) == (-7.0, -9.0)
    (row,) = Database(tmp_path).rows("SELECT calls, scores FROM programs WHERE generation = 0")
    assert row["calls"] == [1] * len(row["scores"]), "counted when the start program was confirmed"


def test_an_engine_that_fails_meanwhile_costs_an_attempt_and_no_candidate(
    night: Night,
    in_process: InProcess,
    provider: Provider,
    asks: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr("overnight.flows.night.retry_policy.FIRST_WAIT_S", 0.01)
    lost, failures, confirmed = Verdict(Outcome.SANDBOX_ERROR, error="the engine is gone"), iter(range(3)), list[str]()

    def fault(job: Job, text: str) -> Verdict | None:
        """Let the first confirmation of the candidate fail, the second attempt at it, and the start program then."""
        if not job.isolation or (HONEST not in text and not confirmed):
            return None
        confirmed.append(text)
        return lost if next(failures, None) is not None else None

    in_process.fault = fault
    answers(provider, [HONEST])
    night(1, settings=one_island(asks, 1))
    attempts = Database(tmp_path).rows("FROM generations WHERE generation = 1 ORDER BY attempt")
    assert [row["state"] for row in attempts] == ["failed", "committed"]
    assert "the engine is gone" in attempts[0]["error"]
    assert [row["outcome"] for row in rows(tmp_path)] == ["scored"]
    assert len(confirmed) == 4, "three that failed, and the next attempt's"
    assert len(provider.requests) == 1, "nothing is bought again"


def test_an_engine_that_is_down_is_no_verdict_on_the_start_program(toy: Path, tmp_path: Path, in_process: InProcess):
    in_process.fault = lambda job, text: Verdict(Outcome.SANDBOX_ERROR, error="the engine is gone")
    problem = load_problem(toy, {"sandbox": {"confirm": "best"}})
    with pytest.raises(SandboxUnavailable, match="the engine is gone"):
        create_run(problem, toy, LocalBackend(tmp_path), seed=1, run_id="gone")


# `overnight best --write`: the program that is written runs on the held-out inputs, though the best one may not


FAILS = "return offset + 9.0 if offset < 3 else 1 / 0"
HOLDS = "return offset + 8.0"


@pytest.mark.heavy
@pytest.mark.parametrize("bodies", [(FAILS, HOLDS), (FAILS,)])
def test_the_next_finalist_is_written_where_the_best_one_fails_on_held_out_inputs(
    bodies: tuple[str, ...], night: Night, call: Call, tmp_path: Path, provider: Provider, asks: dict[str, Any]
):
    codes = [f"```python\ndef guess(offset):\n    {body}\n```" for body in bodies]
    provider.script = lambda _, request: says(request, *codes)
    night(1, settings={**asks, **JUDGED, "search": {"prompts": 1, "samples": len(bodies)}})
    code, said = call("best", "last", "--history", tmp_path, "--write", tmp_path / "better.py")
    assert code == 0, said
    assert "gets no score on the held-out inputs" in said
    assert "the next finalist" in said
    written = (tmp_path / "better.py").read_text()
    assert (HOLDS if HOLDS in bodies else "return offset + 1.0") in written
    assert "1 / 0" not in written
