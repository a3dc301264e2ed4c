"""Deadlines as users write them: a time of day, a duration, or a date with a time."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from overnight.schemas.errors import UsageError

_LATEST = datetime(9999, 1, 1, tzinfo=UTC)
"""Latest deadline; the end of the grace period after it, and its local time, are still dates that Python has."""

_DURATION = re.compile(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m(?:in)?)?(?:(\d+(?:\.\d+)?)s)?")


def parse_until(text: str, now: datetime) -> datetime:
    """Return the time that a text names: the next `07:00`, `7h30m` from now, or an ISO date and time.

    The time zone of `now` also holds for times without one.

    Raises:
        UsageError: If the text is none of these, or the time is past or too far off.
    """
    try:
        moment = _time_of_day(text, now) or _duration(text, now) or _moment(text, now)
        in_utc = moment.astimezone(UTC) if moment else None
    except OverflowError as error:
        raise _out_of_range(text) from error
    if moment is None or in_utc is None:
        raise UsageError(f"--until takes a time, got {text!r}", remedy="For example: 07:00, 7h30m or 2026-12-01T07:00")
    if in_utc <= now.astimezone(UTC):
        raise UsageError(f"--until {text} is past: it is {now:%Y-%m-%d %H:%M %Z}", remedy="Name a future time.")
    if in_utc >= _LATEST:
        raise _out_of_range(text)
    return moment


def _out_of_range(text: str) -> UsageError:
    return UsageError(
        f"--until: expected a time between now and the year {_LATEST.year - 1}, got {text}",
        remedy="For example: 07:00, 7h30m or 2026-12-01T07:00",
    )


def local_now() -> datetime:
    """Return the local time, in a named zone that knows its clock changes; without a name, at the current offset."""
    zone = local_zone()
    return datetime.now(ZoneInfo(zone)) if zone else datetime.now().astimezone()


def local_zone() -> str | None:
    """Return the name of this machine's time zone; `None` if it has none."""
    from tzlocal import get_localzone_name

    try:
        name = get_localzone_name()
        return ZoneInfo(name).key if name else None
    except (ZoneInfoNotFoundError, ValueError):
        return None


def is_every_night(text: str) -> bool:
    """Return whether a text is a time of day or a duration, which apply to every night, rather than a date."""
    any_time = datetime(2000, 1, 1, tzinfo=UTC)
    return (_time_of_day(text, any_time) or _duration(text, any_time)) is not None


def _time_of_day(text: str, now: datetime) -> datetime | None:
    match = re.fullmatch(r"(\d{1,2}):(\d{2})", text)
    if match is None or int(match[1]) > 23 or int(match[2]) > 59:
        return None
    moment = now.replace(hour=int(match[1]), minute=int(match[2]), second=0, microsecond=0)
    return moment if moment > now else moment + timedelta(days=1)


def _duration(text: str, now: datetime) -> datetime | None:
    match = _DURATION.fullmatch(text.replace(" ", ""))
    if match is None or not any(match.groups()):
        return None
    hours, minutes, seconds = (float(part or 0) for part in match.groups())
    # In UTC: adding to a zone's local time would ignore a clock change in between.
    end = now.astimezone(UTC) + timedelta(hours=hours, minutes=minutes, seconds=seconds)
    return end.astimezone(now.tzinfo)


def _moment(text: str, now: datetime) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=now.tzinfo)
