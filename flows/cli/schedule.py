"""`overnight schedule`: schedule a run to continue every night, at the times of a cron expression."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cyclopts import Parameter

from flows.cli.options import NotificationOptions, ProblemName, RunOptions, Seed, StopOptions, TrustSettings
from flows.cli.printing import DEFAULT_HISTORY, NewRun, say
from schemas.errors import UsageError

if TYPE_CHECKING:
    from flows.schedules.deployments import Schedule

TimeZone = Annotated[
    str | None, Parameter(help="time zone of the cron expression and of --until; default: this machine's")
]
Until = Annotated[str | None, Parameter(help="stop each night at a time of day or after a duration: 07:00, 7h30m")]


def schedule(
    problem: ProblemName,
    /,
    *,
    cron: Annotated[str, Parameter(help="cron expression of the nights' start: minute, hour, day, month, weekday")],
    time_zone: TimeZone = None,
    until: Until = None,
    stop: StopOptions = StopOptions(),  # noqa: B008  (frozen)
    name: Annotated[str | None, Parameter(help="name of the schedule; default: the problem's name")] = None,
    pool: Annotated[str | None, Parameter(help="Prefect work pool; default: the pool of `overnight serve`")] = None,
    options: RunOptions = RunOptions(),  # noqa: B008  (frozen)
    seed: Seed = None,
    trust_settings: TrustSettings = False,
    notifications: NotificationOptions = NotificationOptions(),  # noqa: B008  (frozen)
    history: NewRun = DEFAULT_HISTORY,
) -> None:
    """Schedule a run: the first night starts it, and each later night continues it."""
    from flows.start.sandboxes import require_sandbox
    from flows.start.trust import proposals_of
    from schemas.ids import new_run_id
    from schemas.settings import Sandbox
    from tasks.problems import find, names

    zone = time_zone or _local_zone()
    deadline = deadline_of(until, zone)
    path = find(problem)
    loaded, settings = options.load(path, stop.conditions(), trust=trust_settings)
    sandbox = loaded.settings.sandbox
    if (options.image or options.runtime or sandbox.backend != Sandbox().backend) and pool is None:
        # With a pool of the user's own, nights may run on another machine, which has them.
        require_sandbox(sandbox)
    from flows.schedules.deployments import POOL, cron_schedule, open_schedules, require_name
    from flows.schedules.scheduled_night import Start

    cron_line = cron_schedule(cron, zone)
    name, pool = require_name("--name", name or loaded.name), require_name("--pool", pool or POOL)
    start = Start(
        problem=problem if problem in names() else str(path.resolve()),
        settings=settings,
        seed=secrets.randbelow(2**31) if seed is None else seed,
        accepted=[(proposal.setting, proposal.value) for proposal in proposals_of(loaded)],
    )
    parameters: dict[str, Any] = {
        "run_id": new_run_id(loaded.name, datetime.now(UTC)),
        "history": history.absolute_location,
        "start": start.model_dump(mode="json"),
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
        print_schedule(schedules.find(name))
    say(f"nights run while `overnight serve` runs, or a worker: prefect worker start --pool {pool}")


def print_schedule(schedule: Schedule) -> None:
    """Print one line about a schedule that was created or changed."""
    moment = schedule.next_night(datetime.now(UTC))
    unplanned = "paused" if schedule.is_paused else "next night unknown"
    at = f"next night {moment:%Y-%m-%d %H:%M %Z}" if moment else unplanned
    say(f"schedule {schedule.name}: run {schedule.run_id}, `{schedule.cron}` in {schedule.time_zone}; {at}")


def _local_zone() -> str:
    """Return the name of this machine's time zone.

    Raises:
        UsageError: If it has no name.
    """
    from flows.night.deadlines import local_zone

    if zone := local_zone():
        return zone
    raise UsageError("this machine's time zone has no name", remedy="Name one: --time-zone Europe/Stockholm, or UTC")


def deadline_of(until: str | None, time_zone: str) -> dict[str, str] | None:
    """Return `--until` as a parameter of every night.

    Raises:
        UsageError: If it is neither a time of day nor a duration, or the time zone is unknown.
    """
    from flows.night.deadlines import is_every_night, parse_until

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
