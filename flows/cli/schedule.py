"""`overnight schedule`: a run that goes on every night, as a cron line says."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cyclopts import Parameter

from flows.cli.notification_options import NotificationOptions
from flows.cli.options import Batch, Image, Rules, Runtime, TrustSettings, overrides
from flows.cli.printing import DEFAULT_HISTORY, NewRun, say
from schemas.errors import UsageError

if TYPE_CHECKING:
    from flows.schedules import Schedule

TimeZone = Annotated[str | None, Parameter(help="of the cron line and of --until; default: this machine's")]
Until = Annotated[str | None, Parameter(help="stop each night at a time of day or after a duration: 07:00, 7h30m")]


def schedule(
    problem: Annotated[str, Parameter(help="a name from `overnight problems`, or a specification file")],
    /,
    *,
    cron: Annotated[str, Parameter(help="when nights begin: minute, hour, day, month, weekday")],
    time_zone: TimeZone = None,
    until: Until = None,
    rules: Rules = Rules(),  # noqa: B008  (frozen)
    name: Annotated[str | None, Parameter(help="of the schedule; default: the problem's")] = None,
    pool: Annotated[str | None, Parameter(help="Prefect work pool; default: the one of `overnight serve`")] = None,
    model: Annotated[
        list[str] | None, Parameter(help="LiteLLM model string; NAME=WEIGHT for a share; repeatable")
    ] = None,
    api_base: Annotated[str | None, Parameter(help="address of an OpenAI-compatible server for these models")] = None,
    style: Annotated[str | None, Parameter(help="`chat` or `completion`: how prompts are written")] = None,
    batch: Batch = False,
    confirm: Annotated[
        Literal["never", "best", "always"] | None,
        Parameter(help="which programs are run again, split, in a fresh container, before their score counts"),
    ] = None,
    image: Image = None,
    runtime: Runtime = None,
    seed: Annotated[int | None, Parameter(help="everything random comes from it; default: drawn and shown")] = None,
    inputs: Annotated[str | None, Parameter(help="training inputs as JSON, in place of the specification's")] = None,
    set: Annotated[list[str] | None, Parameter(help="any setting, as key=value; repeatable")] = None,  # noqa: A002
    trust_settings: TrustSettings = False,
    notices: NotificationOptions = NotificationOptions(),  # noqa: B008  (frozen)
    history: NewRun = DEFAULT_HISTORY,
) -> None:
    """Schedule a run: the first night begins it, each one after it goes on with it."""
    from flows.images import require_image_and_runtime
    from flows.trust import accept, proposals_of
    from schemas.ids import new_run_id
    from schemas.problem import load_problem
    from tasks.history.remote.mirror import place_of
    from tasks.problems import find, names
    from tasks.sample.batch_api import require_batches
    from tasks.sample.provider import require_prices

    zone = time_zone or _zone_here()
    deadline = deadline_of(until, zone)
    checked = rules.checked()
    path = find(problem)
    settings = overrides(model, api_base, style, inputs, set, batch, confirm=confirm, image=image, runtime=runtime)
    loaded = load_problem(path, settings)
    accept(loaded, settings, trust=trust_settings)
    require_batches(loaded.settings.sampling)
    if checked.budget.is_in_usd:
        require_prices(loaded.settings.sampling)
    if (image or runtime) and pool is None:
        # With a pool of your own, nights may be spent on another machine, which has it.
        require_image_and_runtime(loaded.settings.sandbox)
    from flows.scheduled import Start
    from flows.schedules import POOL, cron_schedule, open_schedules

    line = cron_schedule(cron, zone)
    start = Start(
        problem=problem if problem in names() else str(path.resolve()),
        settings=settings,
        seed=secrets.randbelow(2**31) if seed is None else seed,
        accepted=[(one.setting, one.value) for one in proposals_of(loaded)],
    )
    parameters: dict[str, Any] = {
        "run_id": new_run_id(loaded.name, datetime.now(UTC)),
        "history": place_of(history.resolve()),
        "start": start.model_dump(mode="json"),
        "rules": rules.given(),
        "deadline": deadline,
    }
    name = name or loaded.name
    notices.notifier()
    with open_schedules() as schedules:
        parameters["notices"] = schedules.save_notification_settings(
            parameters["run_id"], notices.notify, notices.notify_gain
        )
        schedules.add(name, line, parameters, pool=pool or POOL)
        tell(schedules.find(name))
    say(f"nights are spent while `overnight serve` runs, or a worker: prefect worker start --pool {pool or POOL}")


def tell(schedule: Schedule) -> None:
    """One line on a schedule that was made or changed."""
    moment = schedule.next_night(datetime.now(UTC))
    at = f"next night {moment:%Y-%m-%d %H:%M %Z}" if moment else "paused"
    say(f"schedule {schedule.name}: run {schedule.run_id}, `{schedule.cron}` in {schedule.time_zone}; {at}")


def _zone_here() -> str:
    from flows.deadlines import local_zone

    if zone := local_zone():
        return zone
    raise UsageError("this machine's time zone has no name", remedy="Give one: --time-zone Europe/Stockholm, or UTC")


def deadline_of(until: str | None, time_zone: str) -> dict[str, str] | None:
    """`--until` as a parameter of every night.

    Raises:
        UsageError: If it is neither a time of day nor a duration, or there is no such zone.
    """
    from flows.deadlines import is_every_night, parse_until

    try:
        zone = ZoneInfo(time_zone)
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise UsageError(
            f"--time-zone: there is no zone {time_zone!r}", remedy="Names are like Europe/Stockholm, or UTC."
        ) from error
    if until is None:
        return None
    parse_until(until, datetime.now(zone))
    if not is_every_night(until):
        raise UsageError(
            f"--until {until} comes once, not every night", remedy="Name a time of day or a duration: 07:00 or 7h30m"
        )
    return {"until": until, "time_zone": time_zone}
