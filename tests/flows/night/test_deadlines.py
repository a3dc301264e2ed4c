"""Deadlines as users write them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from overnight.flows.night.deadlines import local_now, local_zone, parse_until
from overnight.schemas.errors import UsageError

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
