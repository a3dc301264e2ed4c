"""Budgets of a day, a week and a month over all runs of a history."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from overnight.flows.night import calendar_budget
from overnight.flows.night.calendar_budget import beginning_of, count_other_nights
from overnight.flows.night.stop_conditions import StopConditions
from overnight.schemas.errors import UsageError
from overnight.schemas.generation import NightRecord, StopReason
from overnight.schemas.program import Completion
from overnight.tasks.history import record
from overnight.tasks.history.backends import open_history
from overnight.tasks.history.database import Database
from overnight.tasks.history.files import RunFiles, files_of
from overnight.tasks.history.journal import Journal
from overnight.tasks.sample.budget import Budget
from overnight.testing.fake_provider import Provider
from overnight.testing.made import a_problem, a_run
from tests.flows.conftest import Night

NOW = datetime(2026, 12, 2, 23, 30, tzinfo=ZoneInfo("Europe/Stockholm"))  # a Wednesday
RUNS = ("20261101-2200-toy-aaaa", "20261201-2200-toy-bbbb")


@pytest.mark.parametrize(
    ("period", "began"),
    [
        ("day", "2026-12-02T00:00+01:00"),
        ("week", "2026-11-30T00:00+01:00"),
        ("month", "2026-12-01T00:00+01:00"),
    ],
)
def test_a_period_begins_at_midnight_of_the_local_time(period: str, began: str):
    assert beginning_of(period, NOW).isoformat(timespec="minutes") == began


def test_a_period_that_has_a_clock_change_begins_at_its_own_midnight():
    at = datetime(2026, 10, 25, 12, tzinfo=ZoneInfo("Europe/Stockholm"))
    assert beginning_of("day", at).isoformat() == "2026-10-25T00:00:00+02:00"


@pytest.fixture
def history(tmp_path: Path) -> list[RunFiles]:
    """Two runs with nights of 1, 2, 4, … USD that began at several times."""
    began = [
        [NOW - timedelta(days=20), NOW - timedelta(days=2, hours=20), NOW - timedelta(days=1)],
        [NOW - timedelta(hours=2), NOW + timedelta(days=3)],
    ]
    found, usd = [], 1.0
    for run_id, times in zip(RUNS, began, strict=True):
        files = files_of(open_history(str(tmp_path)), run_id)
        record.create(files, a_run(run_id, a_problem()))
        for number, at in enumerate(times, start=1):
            night = NightRecord(number, at.astimezone(UTC), 0.0, 0.0, "x", cost_usd=usd, stop_reason=StopReason.BUDGET)
            record.write_night(files, night)
            usd *= 2
        found.append(files)
    return found


def spent(
    files: RunFiles, night: int, monkeypatch: pytest.MonkeyPatch, now: datetime = NOW, began: datetime | None = None
) -> dict[str, Any]:
    monkeypatch.setattr(calendar_budget, "local_now", lambda: now)
    budget = Budget()
    budget.limits = StopConditions(day_budget_usd=9, week_budget_usd=9, month_budget_usd=9).budget
    count_other_nights(budget, files, night, began or now)
    return dict(budget.others_usd)


def test_nights_of_all_runs_count_where_they_began(history: list[RunFiles], monkeypatch: pytest.MonkeyPatch):
    # Those of 8 USD two hours ago and 16 USD three days ahead; of 4 the day before; of 2 on Monday at 3:30.
    assert spent(history[0], 9, monkeypatch) == {"day": 24.0, "week": 30.0, "month": 28.0}


def test_a_night_stays_in_the_periods_in_which_it_began(history: list[RunFiles], monkeypatch: pytest.MonkeyPatch):
    before = spent(history[0], 9, monkeypatch)
    past_midnight = NOW + timedelta(hours=1)
    assert spent(history[0], 9, monkeypatch, past_midnight, began=NOW.astimezone(UTC)) == before


def test_a_night_s_own_row_does_not_count_twice(history: list[RunFiles], monkeypatch: pytest.MonkeyPatch):
    assert spent(history[1], 1, monkeypatch)["day"] == 16.0


def test_a_clock_that_is_set_back_lets_nobody_spend_more(history: list[RunFiles], monkeypatch: pytest.MonkeyPatch):
    before = spent(history[0], 9, monkeypatch)
    after = spent(history[0], 9, monkeypatch, NOW - timedelta(days=30))
    assert all(after[period] >= before[period] for period in before)


def test_a_month_s_budget_holds_over_runs(night: Night, provider: Provider, asks: dict[str, Any], tmp_path: Path):
    models = [{**asks["sampling"]["models"][0], "input_usd": 0, "output_usd": 100.0}]
    settings = {"sampling": {**asks["sampling"], "models": models}}
    first = night(50, settings=settings, month_budget_usd=0.01)
    database = Database(first.backend.root)
    (one,) = database.rows("SELECT stop_reason, cost_usd FROM nights")
    assert one["stop_reason"] == "budget"
    served = len(provider.requests)
    night(50, settings=settings, month_budget_usd=0.01, run_id="other")
    assert len(provider.requests) == served, "what another run has spent this month is spent"
    assert database.rows("SELECT count(*) AS n FROM nights WHERE stop_reason = 'budget'")[0]["n"] == 2


def test_without_prices_it_is_refused(night: Night, asks: dict[str, Any]):
    with pytest.raises(UsageError, match="price"):
        night(1, settings=asks, day_budget_usd=1.0)


def test_what_was_paid_before_a_night_had_a_row_counts(history: list[RunFiles], monkeypatch: pytest.MonkeyPatch):
    began = a_run(RUNS[1], a_problem()).started_at
    before = spent(history[0], 9, monkeypatch, began)
    answer = Completion(
        0, 0, "hash", "", "m", tokens_in=1, tokens_out=1, cost_usd=0.5, latency_s=0.1, finish_reason="stop",
        asked_at=began, night=7,
    )  # fmt: skip
    Journal(history[1].journal(1), history[1].backend).record([answer])
    after = spent(history[0], 9, monkeypatch, began)
    assert {period: after[period] - before[period] for period in before} == {"day": 0.5, "week": 0.5, "month": 0.5}
