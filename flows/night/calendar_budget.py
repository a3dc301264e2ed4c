"""Budgets of a day, a week or a month over all runs of a history, read from its files."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path

from overnight.flows.night.deadlines import local_now
from overnight.tasks.history.database import Database
from overnight.tasks.history.files import RunFiles
from overnight.tasks.sample.budget import Budget

_SPENT = """
SELECT coalesce(sum(greatest(usd, 0)), 0) AS usd FROM (
    SELECT run_id, night, started_at, cost_usd AS usd FROM nights
    UNION ALL
    SELECT run_id, night, runs.started_at, costs.cost_usd FROM costs JOIN runs USING (run_id)
    ANTI JOIN nights USING (run_id, night)
) WHERE started_at >= ?::TIMESTAMPTZ AND NOT (run_id = ? AND night = ?)
"""
"""Costs of other nights, and of what was paid without a night: for a start program, or by a process that was killed
before its night had a row; that counts where its run began. Nights that seem to begin in the future count, too, as
after the clock was set back."""


def count_other_nights(budget: Budget, files: RunFiles, night: int, began: datetime) -> None:
    """Count what other nights of the history have spent in each period that has a limit, as their rows say now.

    A night belongs to the periods in which it began, also once these are over. Rows of nights under way on this machine
    are at most a minute old; of a history on object storage, other machines' are as this night found them.

    Raises:
        QueryError: If a file of the history is damaged.
    """
    budget.others_usd = spent_by_others(files.backend.root, budget.limits.period_usd, began, files.run_id, night)


def spent_by_others(
    history: Path, periods: Iterable[str], began: datetime, run_id: str = "", night: int = 0
) -> dict[str, float]:
    """Return what nights have spent in each of the periods in which one began, without that one, if it has a number.

    Raises:
        QueryError: If a file of the history is damaged.
    """
    began = began.astimezone(local_now().tzinfo)
    with closing(Database(history)) as database:
        return {
            period: database.rows(_SPENT, [beginning_of(period, began).isoformat(), run_id, night])[0]["usd"]
            for period in periods
        }


def beginning_of(period: str, now: datetime) -> datetime:
    """Return when the day, week or month of a time began, in its time zone; a week begins on Monday."""
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    days = {"day": 0, "week": now.weekday(), "month": now.day - 1}[period]
    return midnight - timedelta(days=days)
