"""Deadlines as users write them, and a real one."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from overnight.flows.cli.main import run
from overnight.flows.night.deadlines import local_now, local_zone, parse_until
from overnight.schemas.errors import UsageError
from overnight.schemas.outcome import STOPPED_BY_DEADLINE
from overnight.tasks.history.database import Database
from overnight.testing.fake_provider import Answer, Provider, says
from tests.flows.conftest import Night

NOW = datetime(2026, 11, 25, 22, 30, tzinfo=ZoneInfo("Europe/Stockholm"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("07:00", datetime(2026, 11, 26, 7, 0, tzinfo=NOW.tzinfo)),
        ("23:00", datetime(2026, 11, 25, 23, 0, tzinfo=NOW.tzinfo)),
        ("7h30m", NOW + timedelta(hours=7, minutes=30)),
        ("90m", NOW + timedelta(minutes=90)),
        ("0.5h", NOW + timedelta(minutes=30)),
        ("45s", NOW + timedelta(seconds=45)),
        ("2026-12-01T07:00", datetime(2026, 12, 1, 7, 0, tzinfo=NOW.tzinfo)),
        ("2026-12-01T07:00+00:00", datetime(2026, 12, 1, 8, 0, tzinfo=NOW.tzinfo)),
    ],
)
def test_times_of_day_durations_and_dates(text: str, expected: datetime):
    assert parse_until(text, NOW) == expected


@pytest.mark.parametrize("text", ["soon", "25:00", "7:99", "", "2026-01-01", "-3h", "0h"])
def test_an_invalid_or_past_deadline_is_refused(text: str):
    with pytest.raises(UsageError):
        parse_until(text, NOW)


@pytest.mark.parametrize(
    "text",
    [f"{'9' * 400}h", "9999999999h", "0001-01-01T00:00+05:00", "9999-12-31T23:59-12:00", "9999-12-31T23:59:59"],
)
def test_a_deadline_beyond_the_calendar_is_refused(text: str):
    with pytest.raises(UsageError, match="the year 9998"):
        parse_until(text, NOW)


@pytest.mark.parametrize(
    ("text", "hours"), [("07:00", 8), ("7h30m", 7.5), ("2026-03-29T07:00", 8)], ids=["time", "duration", "date"]
)
def test_a_clock_change_does_not_move_a_deadline(text: str, hours: float):
    evening = datetime(2026, 3, 28, 22, 0, tzinfo=NOW.tzinfo)  # summer time begins at 02:00
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


# A generation is cut short after the grace period, with its verdicts so far; `test_core.py` has a clock of its own


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
