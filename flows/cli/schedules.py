"""`overnight schedules`: what is scheduled, and changes to it."""

from __future__ import annotations

import shlex
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter

from flows.cli.notification_options import NotificationOptions
from flows.cli.options import Rules
from flows.cli.printing import out, say, table
from flows.cli.schedule import TimeZone, Until, deadline_of, tell
from schemas.errors import UsageError

if TYPE_CHECKING:
    from flows.schedules import Schedule

schedules = App(name="schedules", help="The schedules; pause, resume, change or remove one.")

Name = Annotated[str, Parameter(help="of the schedule, as `overnight schedules` shows it")]


@schedules.default
def show() -> None:
    """The schedules there are, with their next night and how the last one ended."""
    from flows.schedules import open_schedules

    with open_schedules() as there:
        found = there.all()
    if not found:
        say("no schedule yet; make one: overnight schedule PROBLEM --cron '0 22 * * 1-5' --until 07:00")
        return
    now = datetime.now(UTC)
    rows = [
        (
            one.name,
            one.run_id,
            one.cron,
            one.time_zone,
            _moment(one, now),
            rules_in_words(one.parameters),
            one.last,
        )
        for one in found
    ]
    out().print(table(("schedule", "run", "cron", "time zone", "next night", "stops", "last night"), rows))


def _moment(one: Schedule, now: datetime) -> str:
    if one.is_paused:
        return "paused"
    moment = one.next_night(now)
    return f"{moment:%Y-%m-%d %H:%M}" if moment else "–"


def rules_in_words(parameters: dict[str, Any]) -> str:
    """`until 07:00, budget 5`, as they were typed."""
    deadline = parameters.get("deadline") or {}
    words = [f"until {deadline['until']}"] if deadline else []
    words += [
        f"{name.removesuffix('_usd').replace('_', ' ')} {value:,.10g}"
        for name, value in parameters.get("rules", {}).items()
        if value is not None
    ]
    return ", ".join(words) or "never"


@schedules.command
def pause(name: Name, /) -> None:
    """Plan no further nights; one that is under way goes on."""
    from flows.schedules import open_schedules

    with open_schedules() as there:
        there.pause(name)
    say(f"schedule {name} is paused; go on with: overnight schedules resume {name}")


@schedules.command
def resume(name: Name, /) -> None:
    """Plan nights again."""
    from flows.schedules import open_schedules

    with open_schedules() as there:
        there.resume(name)
        tell(there.find(name))


@schedules.command
def change(
    name: Name,
    /,
    *,
    cron: Annotated[str | None, Parameter(help="when nights begin")] = None,
    time_zone: TimeZone = None,
    until: Until = None,
    rules: Rules = Rules(),  # noqa: B008  (frozen)
    notices: NotificationOptions = NotificationOptions(),  # noqa: B008  (frozen)
) -> None:
    """Change when nights begin, what ends them or who is told; what is not given stays."""
    from flows.schedules import cron_schedule, open_schedules

    rules.checked()
    notices.notifier()
    if cron is time_zone is until is None and not rules.given() and notices == NotificationOptions():
        raise UsageError("nothing to change was given", remedy="For example: --cron '0 23 * * *' or --budget 10")
    with open_schedules() as there:
        before = there.find(name)
        zone = time_zone or before.time_zone
        deadline = before.parameters.get("deadline") or {}
        kept = {"rules": before.parameters["rules"] | rules.given()} if rules.given() else {}
        if until or (time_zone and deadline):
            kept["deadline"] = deadline_of(until or deadline["until"], zone)
        if told := there.save_notification_settings(before.run_id, notices.notify, notices.notify_gain):
            kept["notices"] = (before.parameters.get("notices") or {}) | told
        line = cron_schedule(cron or before.cron, zone) if cron or time_zone else None
        there.change(name, cron=line, parameters=kept)
        tell(there.find(name))


@schedules.command
def remove(name: Name, /) -> None:
    """Remove a schedule. Its run stays in the history, and can be gone on with."""
    from flows.schedules import open_schedules

    with open_schedules() as there:
        before = there.find(name)
        there.remove(name)
    again = f"overnight resume {before.run_id} --history {shlex.quote(before.parameters['history'])}"
    say(f"schedule {name} is removed; {f'its run stays: {again}' if before.last else 'none of its nights had begun'}")
