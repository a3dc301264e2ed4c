"""`overnight schedule`: continue runs every night, at the times of cron expressions."""

from __future__ import annotations

import contextlib
import secrets
import shlex
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cyclopts import App, Parameter

from overnight.flows.cli import options
from overnight.flows.cli.printing import DEFAULT_HISTORY, NewRun, OutputFormat, out, say, table, write_json
from overnight.flows.night.deadlines import is_every_night, local_zone, parse_until
from overnight.flows.night.stop_conditions import NightlyConditions, flag_of, limits_text
from overnight.flows.start.sandboxes import require_sandbox
from overnight.flows.start.trust import proposals_of
from overnight.schemas.errors import OvernightError, UsageError
from overnight.schemas.ids import new_run_id
from overnight.schemas.settings import Sandbox
from overnight.tasks.problems import find, names
from overnight.tasks.sample.provider import require_own_models

if TYPE_CHECKING:
    from overnight.flows.schedules.deployments import Schedule

TimeZone = Annotated[
    str | None, Parameter(help="time zone of the cron expression and of --until; default: this machine's")
]

schedule = App(
    name="schedule", help="Continue runs every night, at the times of cron expressions.", group_commands="Commands"
)

schedule.command(
    "overnight.flows.cli.serve:serve", name="serve", help="Run the scheduled nights until Ctrl-C.", sort_key=9
)

Name = Annotated[str, Parameter(help="name of the schedule, as `overnight schedule list` shows it")]


@schedule.command(sort_key=0)
def add(
    problem: options.ProblemName,
    /,
    *,
    cron: str,
    time_zone: TimeZone = None,
    until: options.UntilEveryNight = None,
    stop: options.Stop = options.NO_CONDITIONS,
    name: str | None = None,
    pool: str | None = None,
    settings: options.RunOptions = options.NO_SETTINGS,
    start: options.FurtherStarts = None,
    seed: options.Seed = None,
    trust_settings: options.TrustSettings = False,
    notifications: options.NotificationOptions = options.NO_NOTIFICATIONS,
    history: NewRun = DEFAULT_HISTORY,
) -> None:
    """Schedule a run: the first night starts it, and each later night continues it.

    Args:
        cron: cron expression of the nights' start: minute, hour, day, month, weekday
        name: name of the schedule; default: the problem's name
        pool: Prefect work pool; default: that of `schedule serve`
    """
    zone = time_zone or _local_zone()
    deadline = deadline_of(until, zone)
    path = find(problem)
    loaded, given = settings.load(path, stop, trust=trust_settings)
    require_own_models(loaded.settings.sampling)
    sandbox = loaded.settings.sandbox
    if (settings.image or settings.runtime or sandbox.backend != Sandbox().backend) and pool is None:
        # With a pool of the user's own, nights may run on another machine, which has them.
        require_sandbox(sandbox)
    from overnight.flows.night.given_starts import lasting_name
    from overnight.flows.schedules.deployments import POOL, cron_schedule, open_schedules, require_name
    from overnight.flows.schedules.scheduled_night import Start

    cron_line = cron_schedule(cron, zone)
    name, pool = require_name("--name", name or loaded.name), require_name("--pool", pool or POOL)
    beginning = Start(
        problem=problem if problem in names() else str(path.resolve()),
        settings=given,
        starts=[lasting_name(text, loaded, history) for text in start or ()],
        seed=secrets.randbelow(2**31) if seed is None else seed,
        accepted=[(proposal.setting, proposal.value) for proposal in proposals_of(loaded)],
    )
    parameters: dict[str, Any] = {
        "run_id": new_run_id(loaded.name, datetime.now(UTC)),
        "history": history.absolute_location,
        "start": beginning.model_dump(mode="json"),
        "rules": stop.given(),
        "deadline": deadline,
    }
    notifications.notifier()  # refuses invalid addresses
    with open_schedules() as schedules:
        run_id = parameters["run_id"]
        parameters["notices"] = schedules.save_notification_settings(
            run_id, notifications.notify, notifications.notify_gain
        )
        schedules.add(name, cron_line, parameters, pool=pool)
        _print_schedule(schedules.find(name))
    say(f"nights run while `overnight schedule serve` runs, or a worker: prefect worker start --pool {pool}")


def _print_schedule(schedule: Schedule) -> None:
    moment = schedule.next_night(datetime.now(UTC))
    unplanned = "paused" if schedule.is_paused else "next night unknown"
    at = f"next night {moment:%Y-%m-%d %H:%M %Z}" if moment else unplanned
    say(f"schedule {schedule.name}: run {schedule.run_id}, `{schedule.cron}` in {schedule.time_zone}; {at}")
    if warning := without_deadline(schedule.parameters):
        say(f"warning: {warning}; to change it: overnight schedule change {schedule.name} --until 07:00")


def without_deadline(parameters: Mapping[str, Any]) -> str:
    """Return what becomes of nights that have no deadline; empty if they have one."""
    if parameters.get("deadline"):
        return ""
    ends = limits_text(parameters.get("rules", {}))
    endless = "" if ends else "nothing ends a night, and while it is under way, later ones are cancelled; "
    return f"{endless}without --until, a night whose process dies is given up"


def last_night(schedule: Schedule) -> str:
    """Return how the last night ended; where one crashed, also how it was gone on with by a later night of the run."""
    if not schedule.last.startswith("Crashed"):
        return schedule.last
    from overnight.tasks.history import stored_run
    from overnight.tasks.history.backends import open_history
    from overnight.tasks.history.files import files_of

    with contextlib.suppress(OvernightError, OSError):
        files = files_of(open_history(schedule.parameters["history"]), schedule.run_id)
        last = stored_run.read_night(files, files.last_night(), {}) if files.night_numbers() else None
        if last and last.stop_reason:
            return f"night {last.number} went on after a crash, and stopped by: {last.stop_reason.value}"
    return schedule.last


def _local_zone() -> str:
    if zone := local_zone():
        return zone
    raise UsageError("this machine's time zone has no name", remedy="Name one: --time-zone Europe/Stockholm, or UTC")


def deadline_of(until: str | None, time_zone: str) -> dict[str, str] | None:
    """Return `--until`, a time of day or a duration, as a parameter of every night."""
    try:
        zone = ZoneInfo(time_zone)
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise UsageError(
            f"--time-zone: unknown time zone {time_zone!r}", remedy="Names look like Europe/Stockholm, or UTC."
        ) from error
    if until is None:
        return None
    parse_until(until, datetime.now(zone))
    if not is_every_night(until):
        raise UsageError(
            f"--until {until} occurs once, not every night", remedy="Give a time of day or a duration: 07:00 or 7h30m"
        )
    return {"until": until, "time_zone": time_zone}


@schedule.command(name="list", sort_key=1)
def list_schedules(*, format: OutputFormat = "text") -> None:  # noqa: A002
    """List the schedules, with their next night and how the last one ended."""
    from overnight.flows.schedules.deployments import open_schedules

    with open_schedules() as server:
        found = server.all()
    if format == "json":
        now = datetime.now(UTC)
        write_json([_facts(schedule, now) for schedule in found])
        return
    if not found:
        say("no schedule yet; create one: overnight schedule add PROBLEM --cron '0 22 * * 1-5' --until 07:00")
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
            last_night(schedule),
        )
        for schedule in found
    ]
    out().print(table(("schedule", "run", "cron", "time zone", "next night", "stops", "last night"), rows))


def _facts(schedule: Schedule, now: datetime) -> dict[str, Any]:
    return {
        "schedule": schedule.name,
        "run_id": schedule.run_id,
        "cron": schedule.cron,
        "time_zone": schedule.time_zone,
        "is_paused": schedule.is_paused,
        "next_night": schedule.next_night(now),
        "deadline": schedule.parameters.get("deadline"),
        "rules": schedule.parameters.get("rules", {}),
        "last_night": last_night(schedule),
    }


def _next_night(schedule: Schedule, now: datetime) -> str:
    if schedule.is_paused:
        return "paused"
    moment = schedule.next_night(now)
    return f"{moment:%Y-%m-%d %H:%M}" if moment else "–"


def stop_conditions_text(parameters: dict[str, Any]) -> str:
    """Return the stop conditions of a schedule as text, such as `until 07:00, budget 5`."""
    deadline = parameters.get("deadline") or {}
    parts = [f"until {deadline['until']}"] if deadline else []
    return ", ".join(parts + limits_text(parameters.get("rules", {}))) or "never"


@schedule.command(sort_key=2)
def pause(name: Name, /) -> None:
    """Plan no further nights; a running night continues."""
    from overnight.flows.schedules.deployments import open_schedules

    with open_schedules() as server:
        server.pause(name)
    say(f"schedule {name} is paused; resume it with: overnight schedule resume {name}")


@schedule.command(sort_key=3)
def resume(name: Name, /) -> None:
    """Plan nights again."""
    from overnight.flows.schedules.deployments import open_schedules

    with open_schedules() as server:
        server.resume(name)
        _print_schedule(server.find(name))


@schedule.command(sort_key=4)
def change(
    name: Name,
    /,
    *,
    cron: str | None = None,
    time_zone: TimeZone = None,
    until: options.UntilEveryNight = None,
    drop: list[str] | None = None,
    stop: options.Stop = options.NO_CONDITIONS,
    notifications: options.NotificationOptions = options.NO_NOTIFICATIONS,
) -> None:
    """Change the start of nights, their stop conditions or the notified addresses; the rest is kept.

    Args:
        cron: cron expression of the nights' start
        drop: stop condition to remove, by the name of its flag, such as budget; repeatable
    """
    from overnight.flows.schedules.deployments import cron_schedule, open_schedules

    notifications.notifier()  # refuses invalid addresses
    dropped, names = set(drop or ()), ["until", *map(flag_of, NightlyConditions.model_fields)]
    if unknown := dropped - set(names):
        raise UsageError(f"--drop: expected one of {', '.join(names)}, got {', '.join(sorted(unknown))}")
    if both := dropped & {*map(flag_of, stop.given()), *(["until"] if until else [])}:
        raise UsageError(f"--drop {min(both)} and --{min(both)} contradict each other", remedy="Leave out one of them.")
    is_unchanged = cron is None and time_zone is None and until is None and not dropped
    if is_unchanged and not stop.given() and notifications == options.NO_NOTIFICATIONS:
        raise UsageError("no change was given", remedy="For example: --cron '0 23 * * *', --budget 10 or --drop budget")
    with open_schedules() as server:
        old = server.find(name)
        zone = time_zone or old.time_zone
        deadline = old.parameters.get("deadline") or {}
        changes: dict[str, Any] = {}
        if stop.given() or dropped:
            rules = old.parameters["rules"] | stop.given()
            changes["rules"] = {key: value for key, value in rules.items() if flag_of(key) not in dropped}
        if "until" in dropped:
            changes["deadline"] = None
        elif until is not None or (time_zone and deadline):
            changes["deadline"] = deadline_of(deadline["until"] if until is None else until, zone)
        cron_line = cron_schedule(cron or old.cron, zone) if cron or time_zone else None
        if notices := server.save_notification_settings(old.run_id, notifications.notify, notifications.notify_gain):
            changes["notices"] = (old.parameters.get("notices") or {}) | notices
        server.change(name, cron=cron_line, parameters=changes)
        _print_schedule(server.find(name))


@schedule.command(sort_key=5)
def remove(name: Name, /) -> None:
    """Remove a schedule. Its run stays in the history, and `overnight resume` can continue it."""
    from overnight.flows.schedules.deployments import open_schedules

    with open_schedules() as server:
        old = server.find(name)
        server.remove(name)
    if old.last:
        command = f"overnight resume {old.run_id} --history {shlex.quote(old.parameters['history'])}"
        say(f"schedule {name} is removed; its run stays, continue it with: {command}")
    else:
        say(f"schedule {name} is removed; none of its nights had started")
