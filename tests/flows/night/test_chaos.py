"""Random kills of containers, engine and night: each candidate has one verdict, and nothing is left over."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from overnight.tasks.evaluate.pool import open_pool
from overnight.tasks.history import stored_run
from overnight.tasks.history.database import Database
from tests.accidents import Accidents, NightProcess
from tests.conftest import SPECIFICATIONS
from tests.engine import PrivateEngine

pytestmark = [pytest.mark.docker, pytest.mark.prefect]

FIFTY = SPECIFICATIONS / "fifty.py"


@pytest.fixture
def night(engine: PrivateEngine, prefect_api: str, tmp_path: Path) -> Iterator[NightProcess]:
    process = NightProcess(tmp_path / "history", {"PREFECT_API_URL": prefect_api})
    yield process
    process.kill_if_running()


def start(night: NightProcess, prompts: int, *more: str) -> None:
    settings = {"search.prompts": prompts, "search.samples": 4, "search.algorithm.islands": 3, "sandbox.slots": 2}
    sets = [part for name, value in settings.items() for part in ("--set", f"{name}={value}")]
    night.start(str(FIFTY), "--seed", "1", *sets, *more)
    # A night that is killed before its first generation leaves no row.
    night.wait_for_generations()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_thousand_candidates(night: NightProcess, engine: PrivateEngine):
    start(night, 5)
    accidents = Accidents(night, engine, seed=1)
    for which in accidents.shuffled(container=16, engine_killed=2, engine_ended=2, night=5, all_at_once=1):
        accidents.cause(which)
    finish(night, generations=50)
    assert_history_is_consistent(night, engine, size=20, generations=50)


def finish(night: NightProcess, generations: int) -> None:
    """Kill the night; resume the run without further accidents up to a number of generations."""
    night.kill()
    committed = len(night.files.committed()) - 1
    night.resume("--generations", str(max(1, generations - committed)))
    night.wait_for_success()


def assert_history_is_consistent(night: NightProcess, engine: PrivateEngine, *, size: int, generations: int) -> None:
    database = Database(night.files.directory.parents[1])
    numbers = night.files.committed()
    assert numbers == list(range(len(numbers)))
    assert len(numbers) - 1 >= generations
    assert_one_verdict_each(database, size)
    assert_best_never_falls(database)
    assert_verdicts_are_reproducible(database, night)
    assert database.rows("SELECT count(*) AS n FROM nights") == [{"n": night.kills + 1}]
    assert engine.containers() == []
    assert engine.processes() == []
    assert night.leftovers() == []


def assert_one_verdict_each(database: Database, size: int) -> None:
    wrong = database.rows(
        f"SELECT generation FROM programs WHERE generation > 0 GROUP BY generation HAVING count(*) != {size} "
        f"""OR list_sort(list("index")) != range({size})"""
    )
    assert wrong == []
    counted = database.rows("SELECT count(*) AS rows, count(DISTINCT program_id) AS ids FROM programs")[0]
    assert counted["rows"] == counted["ids"]
    assert database.rows("SELECT program_id, error FROM programs WHERE outcome = 'sandbox_error'") == []


def assert_best_never_falls(database: Database) -> None:
    best = [row["best_score"] for row in database.rows("FROM generations WHERE state = 'committed' ORDER BY place")]
    assert best == sorted(best)
    assert database.rows("SELECT max(score) AS best FROM programs") == [{"best": best[-1]}]


def assert_verdicts_are_reproducible(database: Database, night: NightProcess, limit: int = 200) -> None:
    """Require that evaluating some of the programs again gives the same outcomes and scores."""
    problem = stored_run.read_run(night.files).problem
    rows = database.rows(
        "SELECT DISTINCT ON (code_hash) body, outcome, scores FROM programs "
        f"WHERE generation > 0 AND outcome IN ('scored', 'crashed', 'bad_score') ORDER BY code_hash LIMIT {limit}"
    )
    assert len(rows) > 10
    with closing(open_pool(problem.job("train", 1), image=problem.settings.sandbox.image, slots=2)) as pool:
        for row in rows:
            verdict = pool.evaluate(problem.specification.program(row["body"]))
            assert (verdict.outcome.value, list(verdict.scores)) == (row["outcome"], row["scores"] or []), row
