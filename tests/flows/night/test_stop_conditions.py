"""Stop conditions of a night: which is met first, deadlines as users write them, a real one, and proven optima."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from overnight.flows.cli.main import run
from overnight.flows.cli.options import stop_conditions
from overnight.flows.night.deadlines import local_now, local_zone, parse_until
from overnight.flows.night.events import Clock
from overnight.flows.night.night_limits import NightLimits, unknown_metrics
from overnight.flows.night.search_state import SearchState
from overnight.flows.night.stop_conditions import StopConditions, Tally, reason_to_stop
from overnight.schemas.algorithm import Join
from overnight.schemas.errors import ImpossibleScore, UsageError
from overnight.schemas.generation import StopReason
from overnight.schemas.objectives import Objectives
from overnight.schemas.outcome import STOPPED_BY_DEADLINE
from overnight.schemas.program import Program
from overnight.schemas.settings import Known
from overnight.tasks.history import record, stored_run
from overnight.tasks.history.backends import open_history
from overnight.tasks.history.database import Database
from overnight.tasks.history.files import files_of
from overnight.testing.fake_provider import Answer, Provider, says
from overnight.testing.made import a_generation, a_judged, a_problem, a_run
from tests.flows.conftest import Night

NOW = datetime(2026, 11, 25, tzinfo=UTC)
RUN = "20261125-2200-toy-aaaa"


@pytest.mark.parametrize(
    ("conditions", "tally", "reason"),
    [
        ({}, {}, None),
        ({}, {"interrupted": True}, StopReason.INTERRUPTED),
        ({"generations": 3}, {"generations": 2}, None),
        ({"generations": 3}, {"generations": 3}, StopReason.GENERATIONS),
        ({"max_samples": 10}, {"samples": 10}, StopReason.SAMPLES),
        ({"max_tokens": 10}, {"tokens": 9}, None),
        ({"max_tokens": 10}, {"tokens": 10}, StopReason.TOKENS),
        ({"total_budget_usd": 2.0}, {"cost_usd": 0.5, "total_usd": 2.1}, StopReason.BUDGET),
        ({"budget_usd": 1.0}, {"cost_usd": 0.99}, None),
        ({"budget_usd": 1.0}, {"cost_usd": 1.0}, StopReason.BUDGET),
        ({"target": 5.0}, {"best": 5.0}, StopReason.TARGET),
        ({"target": "s < 1"}, {"best": 5.0, "meets_target": False}, None),
        ({"target": "s < 1"}, {"best": 5.0, "meets_target": True}, StopReason.TARGET),
        ({"until": NOW + timedelta(seconds=60)}, {"usual_generation_s": 50.0}, None),
        ({"until": NOW + timedelta(seconds=60)}, {"usual_generation_s": 61.0}, StopReason.DEADLINE),
        ({"until": NOW - timedelta(seconds=1)}, {}, StopReason.DEADLINE),
        ({"until": NOW, "target": 5.0}, {"best": 6.0}, StopReason.TARGET),
    ],
)
def test_the_first_condition_that_is_met_is_the_reason(conditions: dict, tally: dict, reason: StopReason | None):
    assert (
        reason_to_stop(StopConditions(**conditions), Tally(**{"since": NOW, "now": NOW, "best": 0.0, **tally}))
        is reason
    )


def test_metrics_of_a_target_that_no_program_has_are_found():
    programs = [Program("1", "", (1.0,), 1.0, metrics={"size": 2.0}), Program("2", "", (1.0,), 1.0)]
    assert unknown_metrics("score > 1, size < 3", programs) == []
    assert unknown_metrics("sise < 3, size < 3", programs) == ["sise"]
    assert unknown_metrics(5.0, programs) == []


def test_a_night_ends_at_a_proven_optimum_unless_the_user_names_a_target():
    proven = Known(best=112.0, proven=True)
    assert StopConditions().with_optimum(proven.optimum).target == pytest.approx(112.0)
    assert StopConditions(target=5.0).with_optimum(proven.optimum).target == 5.0
    assert StopConditions().with_optimum(Known(best=112.0).optimum).target is None


def test_what_is_no_condition_of_a_target_is_said_once():
    with pytest.raises(UsageError) as raised:
        stop_conditions(None, target="speed = 1")
    expected = "--target: expected conditions such as `seconds < 1, score >= 0.5`, got 'speed = 1'"
    assert raised.value.message == expected


def test_a_new_member_of_the_front_is_a_gain_where_the_front_is_searched(tmp_path: Path):
    problem = a_problem()
    objectives = Objectives(metrics={"size": "minimize"}, preference="pareto")
    problem = replace(problem, settings=problem.settings.model_copy(update={"objectives": objectives}))
    run, files = a_run(RUN, problem), files_of(open_history(str(tmp_path)), RUN)
    start = replace(a_judged(RUN, 0, 0, scores=(0.0,)), metrics={"size": 5.0})
    record.create(files, run, a_generation(0, [start], start.program(), [Join("0", start.id)], night=0))
    state = SearchState(run, stored_run.read_run_history(files))
    limits = NightLimits(state, StopConditions(), NOW)
    found = []
    for number, (score, size) in enumerate([(-1.0, 4.0), (-2.0, 5.0), (-1.0, 4.0), (0.0, 5.0), (1.0, 9.0)], start=1):
        one = replace(a_judged(RUN, number, 0, scores=(score,)), metrics={"size": size})
        generation = a_generation(number, [one], objectives.best([state.best, one.program()]))
        limits.count(generation, 1.0)
        state.settle(generation)
        found.append(limits.tally(Clock(NOW, 1.0)).generations_since_best)
    assert found == [0, 1, 2, 3, 0], "what equals a member is no gain"


# Deadlines as users write them


EVENING = datetime(2026, 11, 25, 22, 30, tzinfo=ZoneInfo("Europe/Stockholm"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("07:00", datetime(2026, 11, 26, 7, 0, tzinfo=EVENING.tzinfo)),
        ("23:00", datetime(2026, 11, 25, 23, 0, tzinfo=EVENING.tzinfo)),
        ("7h30m", EVENING + timedelta(hours=7, minutes=30)),
        ("90m", EVENING + timedelta(minutes=90)),
        ("0.5h", EVENING + timedelta(minutes=30)),
        ("45s", EVENING + timedelta(seconds=45)),
        ("2026-12-01T07:00", datetime(2026, 12, 1, 7, 0, tzinfo=EVENING.tzinfo)),
        ("2026-12-01T07:00+00:00", datetime(2026, 12, 1, 8, 0, tzinfo=EVENING.tzinfo)),
    ],
)
def test_times_of_day_durations_and_dates(text: str, expected: datetime):
    assert parse_until(text, EVENING) == expected


@pytest.mark.parametrize("text", ["soon", "25:00", "7:99", "", "2026-01-01", "-3h", "0h"])
def test_an_invalid_or_past_deadline_is_refused(text: str):
    with pytest.raises(UsageError):
        parse_until(text, EVENING)


@pytest.mark.parametrize(
    "text",
    [f"{'9' * 400}h", "9999999999h", "0001-01-01T00:00+05:00", "9999-12-31T23:59-12:00", "9999-12-31T23:59:59"],
)
def test_a_deadline_beyond_the_calendar_is_refused(text: str):
    with pytest.raises(UsageError, match="the year 9998"):
        parse_until(text, EVENING)


@pytest.mark.parametrize(
    ("text", "hours"), [("07:00", 8), ("7h30m", 7.5), ("2026-03-29T07:00", 8)], ids=["time", "duration", "date"]
)
def test_a_clock_change_does_not_move_a_deadline(text: str, hours: float):
    evening = datetime(2026, 3, 28, 22, 0, tzinfo=EVENING.tzinfo)  # summer time begins at 02:00
    assert parse_until(text, evening).astimezone(UTC) - evening.astimezone(UTC) == timedelta(hours=hours)


@pytest.mark.parametrize(("named", "zone"), [("Europe/Stockholm", "Europe/Stockholm"), ("no/such", None), (None, None)])
def test_the_local_time_has_a_named_zone_if_there_is_one(
    named: str | None, zone: str | None, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("tzlocal.get_localzone_name", lambda: named)
    assert local_zone() == zone
    now = local_now()
    assert now.utcoffset() is not None
    assert zone is None or now.tzinfo == ZoneInfo(zone)


# A real deadline: the generation under way is cut short, with its verdicts so far (`test_core.py`: a simulated clock)


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


# A score that is better than a proven optimum: the checker is wrong, and the night stops and says so


def proven(best: float) -> dict[str, object]:
    return {"known": {"best": best, "proven": True, "label": "by counting", "source": "a book"}}


@pytest.mark.heavy
def test_a_score_beyond_a_proven_optimum_stops_the_night_and_every_one_after_it(night: Night, tmp_path: Path):
    with pytest.raises(ImpossibleScore, match=r"proven to be the best \(by counting; a book\)") as caught:
        night(20, settings=proven(-8.61))
    history = Database(tmp_path)
    (ended,) = history.rows("FROM nights")
    assert ended["stop_reason"] == "failed"
    assert "what checks it has a bug" in ended["error"]
    (best,) = history.rows("SELECT * FROM best_programs('toy', how_many := 1)")
    assert best["score"] > -8.61
    assert caught.value.remedy.endswith(f": overnight show {best['program_id']} --history {tmp_path}")
    committed = history.rows("SELECT max(generation) AS last FROM generations WHERE state = 'committed'")[0]["last"]
    assert best["generation"] == committed < 20, "it stops with the generation that found it, which is kept"
    with pytest.raises(ImpossibleScore):
        night(1)
    assert history.rows("SELECT count(*) AS n FROM nights")[0]["n"] == 2
    assert history.rows("SELECT max(generation) AS last FROM generations")[0]["last"] == committed


def test_the_optimum_itself_is_no_bug_nor_is_rounding():
    known = Known(best=3003.0, proven=True)
    assert not known.is_beaten_by(3003.0)
    assert not known.is_beaten_by(3003.0 * (1 + 1e-12))
    assert known.is_beaten_by(3003.001)
    assert known.is_beaten_by(3004)
    assert not Known(best=3003.0).is_beaten_by(3004)
    assert not Known(proven=True).is_beaten_by(3004)
