"""SQL over the history: views and macros match the record, and any Parquet tool reads the files."""

from __future__ import annotations

import glob
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from overnight.schemas import tables
from overnight.schemas.algorithm import Expand, Join
from overnight.schemas.errors import HistoryError, QueryError
from overnight.schemas.generation import NightRecord
from overnight.schemas.outcome import Outcome
from overnight.schemas.program import Judged, Program
from overnight.schemas.views import MACROS, VIEWS, cookbook_questions
from overnight.tasks.history import database as of_history
from overnight.tasks.history import definitions, record, stored_run
from overnight.tasks.history.compact import compact
from overnight.tasks.history.database import Database
from overnight.tasks.history.files import RunFiles
from overnight.tasks.history.run_lock import night_lock
from overnight.testing.made import NOW, a_generation, a_judged, create, grow, grow_with_a_retry, rebuilt
from overnight.testing.population import Population

CALLS = {
    "best_programs": "'{run}'",
    "progress": "'{run}'",
    "lineage": "'{program}'",
    "descendants": "'{program}'",
    "cost_by_model": "",
    "outcomes_by_model": "",
    "niches_over_time": "'{run}'",
    "duplicates": "'{run}'",
    "improvements": "'{run}'",
    "failures": "'{run}'",
    "ideas": "'{run}'",
}


# Views and macros


@pytest.mark.parametrize("view", VIEWS)
def test_every_view_can_be_read_without_a_history(database: Database, no_history: Database, view: str):
    assert no_history.rows(f"FROM {view}") == []
    columns = "SELECT column_name, column_type FROM (DESCRIBE {})"
    assert no_history.rows(columns.format(view)) == database.rows(columns.format(view))
    assert not no_history.history.exists()


def test_every_macro_runs_with_and_without_a_history(grown: RunFiles, database: Database, no_history: Database):
    assert set(CALLS) == set(MACROS)
    program = next(iter(stored_run.read_run_history(grown).programs))
    for macro, arguments in CALLS.items():
        call = f"FROM {macro}({arguments})"
        assert no_history.rows(call.format(run="last", program=program)) == []
        assert database.rows(call.format(run=grown.run_id, program=program)) or macro in ("duplicates", "ideas")


@pytest.mark.parametrize("view", VIEWS)
def test_every_column_of_every_view_is_described_and_commented(database: Database, view: str):
    described = [row["column_name"] for row in database.rows(f"DESCRIBE {view}")]
    assert described == list(VIEWS[view].columns)
    comments = database.rows(
        "SELECT column_name, comment FROM duckdb_columns() WHERE schema_name = 'main' AND table_name = ?", [view]
    )
    assert {row["column_name"]: row["comment"] for row in comments} == VIEWS[view].columns
    assert all(VIEWS[view].columns.values())
    found = database.rows("SELECT comment FROM duckdb_views() WHERE schema_name = 'main' AND view_name = ?", [view])
    assert found == [{"comment": VIEWS[view].description}]


def test_a_query_defines_what_it_names_alone_and_a_wrong_name_is_answered_with_the_right_one(grown: RunFiles):
    mine = Database(grown.backend.root)
    assert mine.rows("""FROM "Best_Programs" ('last')""")
    found = mine._connection.execute("SELECT function_name FROM duckdb_functions() WHERE NOT internal").fetchall()
    assert {name for (name,) in found} == {"best_programs", "programs_of", "the_run"}
    with pytest.raises(QueryError, match='Did you mean "kind_of"'):
        mine.rows("SELECT kind_off('')")


@pytest.mark.parametrize("view", ["generations", "programs"])
def test_the_files_of_a_view_are_read_once_while_there_are_no_others(tmp_path: Path, view: str):
    files = create(tmp_path)
    grow(files, 2)
    mine, plan, count = Database(tmp_path), f"EXPLAIN FROM {view}", f"SELECT count(*) AS n FROM {view}"
    (before,), (first, second) = mine.rows(count), (reads(mine, plan) for _ in range(2))
    assert Database(tmp_path).rows(count) == [before]
    assert first == second < reads(Database(tmp_path), plan)
    grow(files, 1)
    (after,) = mine.rows(count)
    assert [after] == mine.rows(count) == Database(tmp_path).rows(count)
    assert after["n"] > before["n"]


def test_programs_whose_files_are_large_are_read_by_each_query(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    grow(create(tmp_path), 2)
    monkeypatch.setattr(of_history, "_MOST_HELD_BYTES", 0)
    mine, plan = Database(tmp_path), "EXPLAIN FROM files.programs"
    assert reads(mine, plan) == reads(mine, plan) == 1


def reads(database: Database, plan: str) -> int:
    return str(database.rows(plan)).count("READ_PARQUET")


@pytest.mark.parametrize("macro", MACROS)
def test_every_macro_is_commented(database: Database, macro: str):
    rows = database.rows("SELECT comment FROM duckdb_functions() WHERE function_name = ?", [macro])
    assert rows
    assert all(MACROS[macro].description in row["comment"] for row in rows)


@pytest.mark.parametrize("question", cookbook_questions())
def test_every_question_of_the_cookbook_is_answered(database: Database, no_history: Database, question: str):
    assert question.endswith("?")
    assert database.query(cookbook_questions()[question]).num_columns > 0
    assert no_history.query(cookbook_questions()[question]).num_columns > 0


def test_a_killed_night_lasts_until_its_own_last_commit(tmp_path: Path):
    files = create(tmp_path)
    grow(files, 3)
    best = stored_run.read_run_history(files).start
    record.write_night(files, NightRecord(1, NOW, best.score, best.score, best.id))
    record.write_night(files, NightRecord(2, NOW + timedelta(days=1), best.score, best.score, best.id))
    rows = Database(tmp_path).rows("SELECT ended_at, epoch(seen_at - started_at) AS lasted FROM nights ORDER BY night")
    assert [row["ended_at"] for row in rows] == [None, None]
    assert [row["lasted"] for row in rows] == [180.0, 0.0]


def test_a_night_is_running_until_its_end_or_until_it_no_longer_writes_its_row(tmp_path: Path):
    files, now = create(tmp_path), datetime.now(UTC)
    for number, hours in ((1, 1), (2, -1)):
        record.write_night(files, NightRecord(number, NOW, -9, -9, "", alive_until=now + timedelta(hours=hours)))
    record.write_night(files, NightRecord(3, NOW, -9, -9, "", ended_at=NOW))
    states = "SELECT list(state ORDER BY night) AS states FROM nights"
    assert Database(tmp_path).rows(states)[0]["states"] == ["killed", "killed", "ended"]
    record.write_night(files, NightRecord(4, NOW, -9, -9, "", alive_until=now + timedelta(hours=1)))
    assert Database(tmp_path).rows(states)[0]["states"] == ["killed", "killed", "ended", "running"]


def test_a_night_that_holds_its_lock_here_is_running_though_it_cannot_write_its_row(tmp_path: Path):
    files, past = create(tmp_path), datetime.now(UTC) - timedelta(hours=1)
    for number in (1, 2):
        record.write_night(files, NightRecord(number, NOW, -9, -9, "", alive_until=past))
    database, states = Database(tmp_path), "SELECT list(state ORDER BY night) AS states FROM nights"
    with night_lock(files, 1), night_lock(files, 2):
        assert database.rows(states)[0]["states"] == ["killed", "running"]
    assert database.rows(states)[0]["states"] == ["killed", "killed"]
    with night_lock(files, 1):
        assert database.rows(states)[0]["states"] == ["killed", "killed"], "of a night that a later one has followed"


def test_samples_records_and_parents_match_the_record(grown: RunFiles, database: Database):
    rows = database.rows("FROM programs ORDER BY generation, index")
    scores = {row["program_id"]: row["score"] for row in rows if row["score"] is not None}
    best, expected = scores[rows[0]["program_id"]], []
    for row in rows[1:]:
        parents = [scores[parent] for parent in row["parent_ids"] if parent in scores]
        is_record = row["score"] is not None and row["score"] > best
        best = row["score"] if is_record else best
        expected.append((len(expected) + 1, 1, max(parents), is_record))
    found = [(row["sample"], row["night"], row["best_parent_score"], row["is_record"]) for row in rows]
    assert found == [(0, 0, None, False), *expected]
    assert any(is_record for *_, is_record in expected)


def test_improvements_are_the_records_and_their_gains_sum_up_to_the_gain_of_the_run(database: Database):
    found = database.rows("FROM improvements('last')")
    records = database.rows("SELECT sample, score FROM programs WHERE is_record ORDER BY sample")
    assert [(row["sample"], row["score"]) for row in found] == [tuple(row.values()) for row in records]
    (run,) = database.rows("SELECT best_score - start_score AS gain FROM runs")
    assert sum(row["gain"] for row in found) == pytest.approx(run["gain"])


def test_failures_are_counted_by_kind(database: Database):
    found = database.rows("FROM failures('last')")
    (total,) = database.rows("SELECT count(*) AS n FROM programs WHERE outcome NOT IN ('scored', 'duplicate')")
    assert sum(row["times"] for row in found) == total["n"]
    assert {row["kind"] for row in found} == {f"it is {row['outcome']}" for row in found}


def test_ideas_are_listed_with_what_they_brought(tmp_path: Path):
    files = create(tmp_path)
    start = stored_run.read_run_history(files).start
    judged = [
        a_judged(
            files.run_id,
            1,
            index,
            scores=scores,
            outcome=Outcome.CRASHED,
            parents=[start.id],
            text=f"# idea: {idea}\n{index}",
        )
        for index, (idea, scores) in enumerate([("wait", (1.0, 1.0)), ("hurry", ()), ("wait", (3.0, 3.0))])
    ]
    record.commit(files, a_generation(1, judged, judged[2].program()))
    found = Database(tmp_path).rows("SELECT idea, times, scored, records, best_score, best_gain FROM ideas('last')")
    assert [tuple(row.values()) for row in found] == [("wait", 2, 2, 2, 3.0, 12.0), ("hurry", 1, 0, 0, None, None)]


def test_programs_and_scores_match_the_record(grown: RunFiles, database: Database):
    past = stored_run.read_run_history(grown)
    found = database.rows("SELECT program_id, score, scores FROM programs WHERE outcome = 'scored'")
    assert {row["program_id"]: (row["score"], tuple(row["scores"])) for row in found} == {
        program.id: (program.score, program.scores) for program in past.programs.values()
    }
    assert database.rows("SELECT count(*) AS n FROM programs WHERE (outcome = 'scored') <> (score IS NOT NULL)") == [
        {"n": 0}
    ]
    by_input = database.rows("FROM scores ORDER BY program_id, input")
    expected = [
        (program.id, place, score)
        for program in sorted(past.programs.values(), key=lambda program: program.id)
        for place, score in enumerate(program.scores, start=1)
    ]
    assert [(row["program_id"], row["input"], row["score"]) for row in by_input] == expected


def test_totals_of_a_run_match_its_generations(grown: RunFiles, database: Database):
    past = stored_run.read_run_history(grown)
    best = max(past.programs.values(), key=lambda program: program.score)
    (row,) = database.rows("FROM runs")
    assert (row["run_id"], row["generations"], row["samples"]) == (grown.run_id, 8, 64)
    assert (row["best_score"], row["best_program_id"], row["start_score"]) == (best.score, best.id, past.start.score)
    (total,) = database.rows("SELECT sum(cost_usd) AS usd FROM programs")
    assert row["cost_usd"] == pytest.approx(total["usd"])


@pytest.fixture(scope="module")
def populations(tmp_path_factory: pytest.TempPathFactory) -> tuple[Database, list[Population]]:
    """Provide a run, and its population after each generation, as it was in memory."""
    files = create(tmp_path_factory.mktemp("history"), islands=5, prompts=6)
    found = [grow(files, 1) for _ in range(7)]
    return Database(files.directory.parents[1]), found


def test_programs_alive_after_a_generation_match_the_population(populations: tuple[Database, list[Population]]):
    database, after = populations
    for generation, population in enumerate(after, start=1):
        expected = {
            str(number): sorted(sorted(program.id for program in programs) for programs in island.by_signature.values())
            for number, island in enumerate(population.islands)
        }
        stays = database.rows(
            "SELECT niche, cluster, program_id FROM population "
            "WHERE from_place <= $1 AND (to_place IS NULL OR to_place > $1)",
            [generation],
        )
        clusters: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
        for stay in stays:
            clusters[stay["niche"]][stay["cluster"]].append(stay["program_id"])
        assert {
            niche: sorted(sorted(programs) for programs in by_cluster.values())
            for niche, by_cluster in clusters.items()
        } == expected


def test_expansions_are_no_stays_and_no_programs_of_a_niche(tmp_path: Path):
    files = create(tmp_path, islands=1)
    start = stored_run.read_run_history(files).start
    child = a_judged(files.run_id, 1, 0, scores=(1.0, 2.0), parents=[start.id])
    changes = [Expand("0", start.id, 4), Join("0", child.id), Expand("0", start.id, 4)]
    record.commit(files, a_generation(1, [child], child.program(), changes))
    database = Database(tmp_path)
    stays = database.rows("SELECT program_id, event, from_generation, to_generation FROM population ORDER BY ALL")
    expected = [(start.id, 0), (child.id, 1)]
    assert sorted((row["program_id"], row["from_generation"]) for row in stays) == sorted(expected)
    assert {(row["event"], row["to_generation"]) for row in stays} == {("joined", None)}
    states = database.rows("SELECT generation, programs, was_reset FROM niches_over_time('last')")
    assert [(row["generation"], row["programs"], row["was_reset"]) for row in states] == [(0, 1, False), (1, 2, False)]


def depths_of_ancestors(program: str, parents: dict[str, list[str]]) -> dict[str, int]:
    """Return the shortest distance to every ancestor, and 0 for the program itself."""
    depth = {program: 0}
    queue = [program]
    for child in queue:
        for parent in parents[child]:
            if parent not in depth:
                depth[parent] = depth[child] + 1
                queue.append(parent)
    return depth


def test_lineage_has_all_ancestors_with_the_shortest_distance(grown: RunFiles, database: Database):
    parents = {row["program_id"]: row["parent_ids"] for row in database.rows("FROM programs")}
    start = stored_run.read_run_history(grown).start.id
    for program in list(parents)[-10:]:
        depth = depths_of_ancestors(program, parents)
        found = database.rows("FROM lineage(?)", [program])
        assert {row["program_id"]: row["depth"] for row in found} == depth
        assert len(found) == len(depth)
        assert found[0]["program_id"] == program
        assert found[0].keys() >= {"niche", "operator"}
        assert start in depth


def test_the_best_programs_are_distinct_and_best_first(grown: RunFiles, database: Database):
    found = database.rows("FROM best_programs(?, how_many := 5)", [grown.run_id])
    best = sorted((program.score for program in stored_run.read_run_history(grown).programs.values()), reverse=True)
    assert [row["score"] for row in found] == best[:5]
    assert len({row["body"] for row in found}) == 5
    assert len(database.rows("FROM best_programs(?)", [grown.run_id])) == 10


def test_descendants_are_the_inverse_of_lineage(database: Database):
    parents = {row["program_id"]: row["parent_ids"] for row in database.rows("FROM programs ORDER BY generation")}
    programs = list(parents)
    ancestors = {program: depths_of_ancestors(program, parents) for program in programs}
    for program in [*programs[:3], programs[20]]:
        found = database.rows("FROM descendants(?)", [program])
        assert {row["program_id"]: row["depth"] for row in found} == {
            other: depths[program] for other, depths in ancestors.items() if program in depths
        }
        assert found[0]["program_id"] == program


def test_niches_over_time_match_the_population(populations: tuple[Database, list[Population]]):
    database, after = populations
    expected = [
        (
            generation,
            str(number),
            len(island.programs),
            len(island.by_signature),
            island.best.score,
        )
        for generation, population in enumerate(after, start=1)
        for number, island in enumerate(population.islands)
    ]
    found = database.rows("FROM niches_over_time('last') WHERE generation > 0")
    columns = ("generation", "niche", "programs", "clusters", "best_score")
    assert [tuple(row[column] for column in columns) for row in found] == expected
    resets = database.rows("SELECT generation, unnest(reset_niches) AS niche FROM generations ORDER BY ALL")
    assert [(row["generation"], row["niche"]) for row in found if row["was_reset"]] == [
        (row["generation"], row["niche"]) for row in resets
    ]


def test_duplicates_are_bodies_proposed_more_than_once(tmp_path: Path):
    files = create(tmp_path)
    best = stored_run.read_run_history(files).start
    for number, (body, outcome) in enumerate(
        [("return 1", Outcome.CRASHED), ("return 1", Outcome.DUPLICATE), ("return 2", Outcome.CRASHED)], start=1
    ):
        judged = a_judged(files.run_id, number, 0, body=body, outcome=outcome)
        record.commit(files, a_generation(number, [judged], best))
    (row,) = Database(tmp_path).rows("FROM duplicates('last')")
    assert (row["times"], row["body"], row["outcome"]) == (2, "return 1", "crashed")
    assert (row["first_generation"], row["last_generation"]) == (1, 2)


def test_a_run_is_named_by_its_id_a_prefix_or_last(tmp_path: Path):
    create(tmp_path, "20260101-0000-toy-0001")
    create(tmp_path, "20260101-0000-toy-0001-again", NOW + timedelta(hours=1))
    create(tmp_path, "20260102-0000-toy-0002")
    database = Database(tmp_path)
    for name, meant in {
        "last": "20260101-0000-toy-0001-again",
        "20260101-0000-toy-0001": "20260101-0000-toy-0001",
        "20260102": "20260102-0000-toy-0002",
        None: None,
    }.items():
        assert database.rows("SELECT the_run(?) AS run", [name]) == [{"run": meant}]
    with pytest.raises(QueryError, match="no run begins with nobody"):
        database.rows("FROM best_programs('nobody')")
    with pytest.raises(QueryError, match="several runs begin with 2026"):
        database.rows("FROM progress('2026')")


def test_a_time_of_day_is_asked_for_without_a_zone(database: Database):
    with pytest.raises(QueryError) as caught:
        database.rows("SELECT started_at::time FROM runs")
    assert caught.value.remedy.endswith("started_at::timestamp::time")
    (row,) = database.rows("SELECT started_at::timestamp::time AS at FROM runs")
    assert row["at"] == NOW.time()


# Retried generations, which are committed after later ones


@pytest.fixture(scope="module", params=["as committed", "compacted"])
def retried(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> tuple[RunFiles, dict[int, list[Program]], Database]:
    files = create(tmp_path_factory.mktemp("retried"), islands=2)
    programs = grow_with_a_retry(files)
    if request.param == "compacted":
        compact(files, 1)
    return files, programs, Database(files.directory.parents[1])


Retried = tuple[RunFiles, dict[int, list[Program]], Database]


def test_the_best_program_is_that_of_the_last_commit(retried: Retried):
    files, programs, database = retried
    best = programs[2][0]
    assert max(stored_run.read_run_history(files).programs.values(), key=lambda program: program.score) == best
    assert database.rows("SELECT best_score, best_program_id FROM runs") == [
        {"best_score": best.score, "best_program_id": best.id}
    ]
    # One night was killed, so that its commits say what it reached.
    record.write_night(files, NightRecord(1, NOW, -9.0, -9.0, programs[0][0].id))
    record.write_night(files, NightRecord(2, NOW + timedelta(days=1), -3.0, -3.0, programs[4][0].id))
    assert [row["best_program_id"] for row in database.rows("FROM nights")] == [programs[4][0].id, best.id]


def test_progress_and_samples_are_in_the_order_of_commits(retried: Retried):
    _, programs, database = retried
    expected = [(0, 0, -9.0), (1, 1, -5.0), (3, 2, -4.0), (4, 3, -3.0), (2, 6, 1.0)]
    for call in ("progress('last')", "progress()"):
        found = database.rows(f"SELECT generation, samples, best_score FROM {call}")
        assert [tuple(row.values()) for row in found] == expected
    found = database.rows("SELECT generation, place, sample, is_record FROM programs ORDER BY place, index")
    assert [tuple(row.values()) for row in found] == [
        (0, 0, 0, False), (1, 1, 1, True), (3, 3, 2, True), (4, 4, 3, True), (2, 5, 4, True), (2, 5, 5, False),
        (2, 5, 6, False),
    ]  # fmt: skip
    found = database.rows("SELECT generation, gain FROM improvements('last')")
    assert [tuple(row.values()) for row in found] == [(1, 4.0), (3, 1.0), (4, 1.0), (2, 4.0)]
    question = "How long did the search go on after its last improvement?"
    assert database.rows(dict(cookbook_questions())[question]) == [{"generations": 0, "samples": 0}]
    assert [row["program_id"] for row in database.rows("FROM best_programs('last', how_many := 3)")] == [
        programs[2][0].id, programs[4][0].id, programs[2][1].id
    ]  # fmt: skip


def test_a_repeated_body_was_first_proposed_in_the_first_commit(retried: Retried):
    _, programs, database = retried
    columns = "first_program_id, first_generation, last_generation, outcome"
    (found,) = database.rows(f"SELECT {columns} FROM duplicates('last')")
    assert tuple(found.values()) == (programs[3][0].id, 3, 2, "scored")


def test_a_session_that_is_put_off_is_there_once_and_later_ones_are_merged_without_it(tmp_path: Path):
    """Its place is no failed attempt, which a generation would be given up at."""
    files = create(tmp_path)
    grow(files, 1)
    start = stored_run.read_run_history(files).start
    session = replace(a_generation(2, [], start), place=2, prompts=1, agent="agent:pi/openai/test")
    record.put_off(files, session)
    for number in (3, 4):
        record.commit(files, replace(a_generation(number, [], start), place=number))
    states = "SELECT generation, state, attempt FROM generations WHERE generation > 1 ORDER BY place"
    assert [tuple(row.values()) for row in Database(tmp_path).rows(states)] == [
        (2, "put off", 0), (3, "committed", 1), (4, "committed", 1),
    ]  # fmt: skip
    past = stored_run.read_run_history(files)
    assert (past.put_off, past.failed, past.sessions) == ({2}, set(), {2: session.agent})
    with pytest.raises(HistoryError):
        record.give_up(files, 2, 5)
    assert compact(files, 2) == 2
    record.commit(files, replace(session, place=5))
    assert [tuple(row.values()) for row in Database(tmp_path).rows(states)] == [
        (3, "committed", 1), (4, "committed", 1), (2, "committed", 1),
    ]  # fmt: skip
    past = stored_run.read_run_history(files)
    assert [(step.generation, step.is_put_off) for step in past.steps] == [
        (1, False), (2, True), (3, False), (4, False), (2, False),
    ]  # fmt: skip
    assert not past.put_off


def test_only_generations_that_a_retry_takes_are_given_up(tmp_path: Path):
    files = create(tmp_path)
    grow(files, 1)
    start = stored_run.read_run_history(files).start
    for attempt in (1, 2):
        record.record_failure(files, replace(a_generation(2, [], start, error="no answer"), attempt=attempt))
    states = "SELECT state FROM generations WHERE generation = 2 ORDER BY attempt"
    record.give_up(files, 2, 2)
    assert [row["state"] for row in Database(tmp_path).rows(states)] == ["failed", "given up"]
    record.commit(files, a_generation(2, [a_judged(files.run_id, 2, 0, parents=[start.id])], start, place=3))
    found = [row["state"] for row in Database(tmp_path).rows(states)]
    assert sorted(found) == ["committed", "failed", "failed"], "it was retried since"


def test_programs_that_joined_in_a_retried_generation_outlive_a_reset_before_it(retried: Retried):
    files, programs, database = retried
    alive = database.rows("SELECT program_id FROM population WHERE niche = '0' AND to_generation IS NULL")
    island = rebuilt(files).islands[0]
    expected = sorted(program.id for program in island.programs)
    assert sorted(row["program_id"] for row in alive) == expected
    found = database.rows("SELECT from_place, to_place FROM population WHERE program_id = ?", [programs[2][0].id])
    assert found == [{"from_place": 5, "to_place": None}]
    found = database.rows(
        "SELECT generation, programs, best_score, was_reset FROM niches_over_time('last') WHERE niche = '0'"
    )
    assert [tuple(row.values()) for row in found] == [
        (0, 1, -9.0, False), (1, 2, -5.0, False), (3, 3, -4.0, False), (4, 1, -9.0, True), (2, 3, 1.0, False)
    ]  # fmt: skip


def test_models_are_compared_by_cost_and_by_outcome(database: Database):
    costs, outcomes = database.rows("FROM cost_by_model()"), database.rows("FROM outcomes_by_model()")
    assert {row["model"] for row in costs} == {"test/cheap", "test/dear"}, "the start program has no model"
    assert sum(row["samples"] for row in costs) == sum(row["candidates"] for row in outcomes) == 64
    for row in costs:
        assert row["samples"] == sum(other["candidates"] for other in outcomes if other["model"] == row["model"])


def test_runs_are_kept_apart(tmp_path: Path):
    first, second = create(tmp_path, "20260101-0000-toy-0001"), create(tmp_path, "20260101-0000-toy-0002")
    grow(first, 2, seed=1)
    grow(second, 4, seed=2)
    database = Database(tmp_path)
    found = database.rows("SELECT run_id, generations, best_score FROM runs ORDER BY run_id")
    assert [(row["run_id"], row["generations"]) for row in found] == [(first.run_id, 2), (second.run_id, 4)]
    assert len(database.rows("FROM progress(?)", [first.run_id])) == 3
    of_all = "SELECT * EXCLUDE (run_id, problem) FROM progress() WHERE run_id = ?"
    assert database.rows(of_all, [first.run_id]) == database.rows("FROM progress(?)", [first.run_id])
    for files in (first, second):
        best = max(program.score for program in stored_run.read_run_history(files).programs.values())
        assert database.rows("FROM best_programs(?, how_many := 1)", [files.run_id])[0]["score"] == best


def test_a_history_may_have_a_quote_and_a_space_in_its_path(tmp_path: Path):
    create(tmp_path / "it's mine")
    assert len(Database(tmp_path / "it's mine").rows("FROM runs")) == 1


def test_times_are_utc(database: Database):
    (row,) = database.rows("SELECT started_at, started_at::VARCHAR AS text FROM runs")
    assert row["started_at"] == NOW
    assert row["text"].startswith("2026-01-01 22:00:00+00")


# Any Parquet tool


@pytest.mark.parametrize(
    ("pattern", "view"),
    [
        ("runs/*/run.parquet", "runs"),
        ("runs/*/generations/*/generation.parquet", "generations"),
        ("runs/*/generations/*/programs.parquet", "programs"),
        ("runs/*/generations/*/population.parquet", "population"),
    ],
)
def test_plain_tools_read_the_files_by_their_pattern(grown: RunFiles, database: Database, pattern: str, view: str):
    history = grown.directory.parents[1]
    paths = sorted(glob.glob(str(history / pattern)))
    read = pa.concat_tables([pq.read_table(path) for path in paths])
    assert read.num_rows == database.rows(f"SELECT count(*) AS n FROM {view}")[0]["n"] > 0
    assert read.schema.names == tables.ALL[view].names
    with duckdb.connect() as plain:
        assert plain.sql(f"SELECT count(*) FROM '{history / pattern}'").fetchall() == [(read.num_rows,)]


@pytest.mark.parametrize(("step", "argument"), [("sql_of", "programs"), ("named_in", "FROM progress('last')")])
def test_a_history_can_be_opened_while_a_compaction_removes_the_files_of_its_generations(
    step: str, argument: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    files = create(tmp_path, islands=2, prompts=3)
    grow(files, 4)
    original = getattr(definitions, step)

    def compact_meanwhile(given: str, *more: object) -> object:
        if given == argument:
            compact(files, 1)
        return original(given, *more)

    monkeypatch.setattr(definitions, step, compact_meanwhile)
    database = Database(tmp_path)
    assert len(database.rows("FROM programs")) == 1 + 3 * 4
    assert len(database.rows("FROM progress('last')")) == 1 + 4
    assert len(files.blocks()) == 1


# Machines


def a_night(number: int, faults: tuple[tuple[str, int], ...] = ()) -> NightRecord:
    return NightRecord(number, NOW, -9.0, 1.0, "p", machine_faults=faults)


def test_machines_are_counted_by_night_with_what_they_lost(tmp_path: Path):
    files = create(tmp_path)
    start = stored_run.read_run_history(files).start

    def on(machine: str, generation: int, index: int, wall_s: float) -> Judged:
        one = a_judged(files.run_id, generation, index, scores=(1.0, 1.0))
        return replace(one, verdict=replace(one.verdict, machine=machine, wall_s=wall_s))

    fast = [on("fast", 1, index, wall_s) for index, wall_s in enumerate((1.0, 2.0, 6.0))]
    record.commit(files, a_generation(1, [*fast, on("slow", 1, 3, 10.0)], start, night=1))
    record.commit(files, a_generation(2, [on("fast", 2, 0, 1.0)], start, night=2))
    record.write_night(files, a_night(1, (("broken", 3), ("slow", 1))))
    record.write_night(files, a_night(2))
    columns = "night, machine, candidates, scored, faults, wall_s, mean_wall_s, median_wall_s, per_minute"
    rows = Database(tmp_path).rows(f"SELECT {columns} FROM machines WHERE night > 0 ORDER BY night, machine")
    assert [tuple(row.values()) for row in rows] == [
        (1, "broken", 0, 0, 3, 0.0, None, None, None),
        (1, "fast", 3, 3, 0, 9.0, 3.0, 2.0, 3.0),
        (1, "slow", 1, 1, 1, 10.0, 10.0, 10.0, 1.0),
        (2, "fast", 1, 1, 0, 1.0, 1.0, 1.0, 0.5),
    ]
    assert stored_run.read_night(files, 1, {}).machine_faults == (("broken", 3), ("slow", 1))


def test_a_row_that_is_replaced_while_it_is_read_is_read_again_and_a_damaged_one_is_an_error(tmp_path: Path):
    files = create(tmp_path)
    grow(files, 1)
    database, faults = Database(tmp_path), [duckdb.Error("TProtocolException: Invalid data")]

    def read() -> str:
        if faults:
            raise faults.pop()
        return "the new row"

    assert database._read_consistently("FROM runs", read) == "the new row"
    files.night(1).parent.mkdir(exist_ok=True)
    files.night(1).write_bytes(b"PAR1, and then nothing that is one")
    with pytest.raises(QueryError, match=r"\.parquet"):
        database.query("FROM nights")
    record.write_night(files, a_night(1))
    assert database.rows("SELECT night FROM nights WHERE night > 0") == [{"night": 1}], "restored, it is read"


def test_what_could_not_be_defined_is_defined_by_the_next_query(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    grow(create(tmp_path), 1)
    faults, relation_of = [duckdb.IOException("x.parquet: no magic bytes")], definitions.relation_of

    def torn(source: str, committed: Mapping[str, Sequence[str]], columns: Mapping[str, str]) -> str:
        if faults and committed["runs"]:
            raise faults.pop()
        return relation_of(source, committed, columns)

    monkeypatch.setattr(definitions, "relation_of", torn)
    assert len(Database(tmp_path).rows("FROM runs")) == 1
