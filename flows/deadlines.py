"""When a night ends, as a person says it: a time of day, a duration, a moment."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from schemas.errors import UsageError

_DURATION = re.compile(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m(?:in)?)?(?:(\d+(?:\.\d+)?)s)?")


def parse_until(text: str, now: datetime) -> datetime:
    """The next `07:00` after now, `7h30m` from now, or the moment an ISO time names.

    Args:
        text: What was typed.
        now: With a time zone; times without one are in it.

    Raises:
        UsageError: If it is none of these, or past.
    """
    moment = _time_of_day(text, now) or _duration(text, now) or _moment(text, now)
    if moment is None:
        raise UsageError(f"--until takes a time, got {text!r}", remedy="For example: 07:00, 7h30m or 2026-12-01T07:00")
    if moment.astimezone(UTC) <= now.astimezone(UTC):
        raise UsageError(f"--until {text} is past: it is {now:%Y-%m-%d %H:%M %Z}", remedy="Name a time to come.")
    return moment


def local_now() -> datetime:
    """The time here, in a zone that knows when its clocks change; where that has no name, at the offset it has now."""
    zone = local_zone()
    return datetime.now(ZoneInfo(zone)) if zone else datetime.now().astimezone()


def local_zone() -> str | None:
    """The name of this machine's time zone; `None` where it has none."""
    from tzlocal import get_localzone_name

    try:
        name = get_localzone_name()
        return ZoneInfo(name).key if name else None
    except (ZoneInfoNotFoundError, ValueError):
        return None


def is_every_night(text: str) -> bool:
    """Whether it is a time of day or a duration, which every night has, rather than one moment."""
    anywhen = datetime(2000, 1, 1, tzinfo=UTC)
    return (_time_of_day(text, anywhen) or _duration(text, anywhen)) is not None


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
    # In UTC: what is added to a time of a zone moves its hands, over a changed clock, too.
    end = now.astimezone(UTC) + timedelta(hours=hours, minutes=minutes, seconds=seconds)
    return end.astimezone(now.tzinfo)


def _moment(text: str, now: datetime) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=now.tzinfo)
