"""`overnight schedules`: list, pause, resume, change and remove schedules."""

from __future__ import annotations

import shlex
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import App, Parameter

from flows.cli.options import NotificationOptions, StopOptions
from flows.cli.printing import OutputFormat, out, say, table, write_json
from flows.cli.schedule import TimeZone, Until, deadline_of, print_schedule
from schemas.errors import UsageError

if TYPE_CHECKING:
    from flows.schedules.deployments import Schedule

schedules = App(name="schedules", help="List the schedules; pause, resume, change or remove one.")

StopName = Literal[
    "until", "generations", "max-samples", "max-tokens", "budget", "total-budget", "target", "patience", "grace"
]

_NAMES: dict[str, StopName] = {
    "generations": "generations",
    "max_samples": "max-samples",
    "max_tokens": "max-tokens",
    "budget_usd": "budget",
    "total_budget_usd": "total-budget",
    "target": "target",
    "patience": "patience",
    "grace_s": "grace",
}
"""Names of the flags by the names in `StopConditions`; the deadline is a parameter of its own."""

Name = Annotated[str, Parameter(help="name of the schedule, as `overnight schedules` shows it")]


@schedules.default
def show(*, format: OutputFormat = "text") -> None:  # noqa: A002
    """List the schedules, with their next night and how the last one ended."""
    from flows.schedules.deployments import open_schedules

    with open_schedules() as server:
        found = server.all()
    if format == "json":
        now = datetime.now(UTC)
        write_json([_facts(schedule, now) for schedule in found])
        return
    if not found:
        say("no schedule yet; create one: overnight schedule PROBLEM --cron '0 22 * * 1-5' --until 07:00")
        return
    now = datetime.now(UTC)
    rows = [
        (
            schedule.name,
            schedule.run_id,
            schedule.cron,
            schedule.time_zone,
            _next_night(schedule, now),
            stop_conditions_text(schedule.parameters),
            schedule.last,
        )
        for schedule in found
    ]
    out().print(table(("schedule", "run", "cron", "time zone", "next night", "stops", "last night"), rows))


def _facts(schedule: Schedule, now: datetime) -> dict[str, Any]:
    """Return what there is to know about a schedule, as plain data."""
    return {
        "schedule": schedule.name,
        "run_id": schedule.run_id,
        "cron": schedule.cron,
        "time_zone": schedule.time_zone,
        "is_paused": schedule.is_paused,
        "next_night": schedule.next_night(now),
        "deadline": schedule.parameters.get("deadline"),
        "rules": schedule.parameters.get("rules", {}),
        "last_night": schedule.last,
    }


def _next_night(schedule: Schedule, now: datetime) -> str:
    if schedule.is_paused:
        return "paused"
    moment = schedule.next_night(now)
    return f"{moment:%Y-%m-%d %H:%M}" if moment else "–"


def stop_conditions_text(parameters: dict[str, Any]) -> str:
    """Return the stop conditions of a schedule as text, such as `until 07:00, budget 5`."""
    from flows.night.stop_conditions import limits_text

    deadline = parameters.get("deadline") or {}
    parts = [f"until {deadline['until']}"] if deadline else []
    return ", ".join(parts + limits_text(parameters.get("rules", {}))) or "never"


@schedules.command
def pause(name: Name, /) -> None:
    """Plan no further nights; a running night continues."""
    from flows.schedules.deployments import open_schedules

    with open_schedules() as server:
        server.pause(name)
    say(f"schedule {name} is paused; resume it with: overnight schedules resume {name}")


@schedules.command
def resume(name: Name, /) -> None:
    """Plan nights again."""
    from flows.schedules.deployments import open_schedules

    with open_schedules() as server:
        server.resume(name)
        print_schedule(server.find(name))


@schedules.command
def change(
    name: Name,
    /,
    *,
    cron: Annotated[str | None, Parameter(help="cron expression of the nights' start")] = None,
    time_zone: TimeZone = None,
    until: Until = None,
    drop: Annotated[
        list[StopName] | None,
        Parameter(help="stop condition to remove, by the name of its flag, such as budget; repeatable"),
    ] = None,
    stop: StopOptions = StopOptions(),  # noqa: B008  (frozen)
    notifications: NotificationOptions = NotificationOptions(),  # noqa: B008  (frozen)
) -> None:
    """Change the start of nights, their stop conditions or the notified addresses; the rest is kept."""
    from flows.schedules.deployments import cron_schedule, open_schedules

    stop.conditions()  # refuses invalid values
    notifications.notifier()  # refuses invalid addresses
    dropped = set(drop or ())
    if both := dropped & ({_NAMES[key] for key in stop.given()} | ({"until"} if until else set())):
        raise UsageError(f"--drop {min(both)} and --{min(both)} contradict each other", remedy="Leave out one of them.")
    is_unchanged = cron is None and time_zone is None and until is None and not dropped
    if is_unchanged and not stop.given() and notifications == NotificationOptions():
        raise UsageError("no change was given", remedy="For example: --cron '0 23 * * *', --budget 10 or --drop budget")
    with open_schedules() as server:
        old = server.find(name)
        zone = time_zone or old.time_zone
        deadline = old.parameters.get("deadline") or {}
        changes: dict[str, Any] = {}
        if stop.given() or dropped:
            rules = old.parameters["rules"] | stop.given()
            changes["rules"] = {key: value for key, value in rules.items() if _NAMES.get(key) not in dropped}
        if "until" in dropped:
            changes["deadline"] = None
        elif until or (time_zone and deadline):
            changes["deadline"] = deadline_of(until or deadline["until"], zone)
        cron_line = cron_schedule(cron or old.cron, zone) if cron or time_zone else None
        if notices := server.save_notification_settings(old.run_id, notifications.notify, notifications.notify_gain):
            changes["notices"] = (old.parameters.get("notices") or {}) | notices
        server.change(name, cron=cron_line, parameters=changes)
        print_schedule(server.find(name))


@schedules.command
def remove(name: Name, /) -> None:
    """Remove a schedule. Its run stays in the history, and `overnight resume` can continue it."""
    from flows.schedules.deployments import open_schedules

    with open_schedules() as server:
        old = server.find(name)
        server.remove(name)
    if old.last:
        command = f"overnight resume {old.run_id} --history {shlex.quote(old.parameters['history'])}"
        say(f"schedule {name} is removed; its run stays, continue it with: {command}")
    else:
        say(f"schedule {name} is removed; none of its nights had started")
