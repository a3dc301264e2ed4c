"""`overnight run`, `resume` and `retry`: run a night in the foreground."""

from __future__ import annotations

import secrets
import threading
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

from overnight.flows.cli import options
from overnight.flows.cli.interventions import pin_until_withdrawn
from overnight.flows.cli.printing import DEFAULT_HISTORY, History, NewRun, history_flag, say
from overnight.flows.cli.readiness import require_ready
from overnight.flows.cluster.choice import choose_cluster
from overnight.flows.start.trust import accept
from overnight.schemas.errors import ExitCode, UsageError
from overnight.schemas.generation import RunHistory
from overnight.schemas.problem import Problem
from overnight.schemas.sampling_settings import Sampling
from overnight.tasks.problems import find
from overnight.tasks.sample.provider import load_providers

if TYPE_CHECKING:
    from overnight.tasks.history.files import RunFiles


def run(
    problem: options.ProblemName,
    /,
    *,
    settings: options.RunOptions = options.NO_SETTINGS,
    start: options.FurtherStarts = None,
    pin: str | None = None,
    seed: options.Seed = None,
    until: options.Until = None,
    stop: options.Stop = options.NO_CONDITIONS,
    trust_settings: options.TrustSettings = False,
    notifications: options.NotificationOptions = options.NO_NOTIFICATIONS,
    cluster: options.ClusterName = None,
    format: options.NightFormat = "text",  # noqa: A002
    history: NewRun = DEFAULT_HISTORY,
) -> int:
    """Start a run: score the start program, then search until a stop condition is met or you press Ctrl-C.

    Args:
        pin: further program, named as for --start, that every second prompt builds on
    """
    choose_cluster(cluster)
    conditions = options.conditions_of_night(stop, until)
    path = find(problem)
    loaded, _ = settings.load(path, conditions, trust=trust_settings)
    seed = secrets.randbelow(2**31) if seed is None else seed
    with notifications.notifier().reporting_failure(loaded.name) as notifier:
        require_ready(loaded)
        if periods := conditions.budget.period_usd:
            from overnight.flows.night.calendar_budget import spent_by_others

            spent_by_others(history.root, periods, datetime.now(UTC))  # fails before the run is there
        if start or pin:
            from overnight.flows.night.given_starts import require_starts

            require_starts(loaded, history, start or (), pin)
        from overnight.flows.prefect_server.embedded import PrefectServer

        with PrefectServer() as server:  # it starts in a process of its own, while this one loads the libraries
            say(f"starting: {loaded.settings.title or loaded.name}")
            from overnight.flows.cli.foreground_night import run_night
            from overnight.flows.night.given_starts import create_run_from

            create = partial(create_run_from, loaded, path, history, start or (), pin=pin, seed=seed, tell=say)
            return run_night(server, create, conditions, history, notifier=notifier, as_json=format == "json")


def resume(
    run: options.RunId,
    /,
    *,
    pin: str | None = None,
    until: options.Until = None,
    stop: options.Stop = options.NO_CONDITIONS,
    trust_settings: options.TrustSettings = False,
    notifications: options.NotificationOptions = options.NO_NOTIFICATIONS,
    cluster: options.ClusterName = None,
    format: options.NightFormat = "text",  # noqa: A002
    history: History = DEFAULT_HISTORY,
) -> int:
    """Continue a run, from its files alone. Completions that are already paid for are not requested again.

    Args:
        pin: program of the run, by its id or a prefix, that every second prompt builds on
    """
    from overnight.tasks.history.find_run import find_run
    from overnight.tasks.history.night_log import limits_of_last_night

    choose_cluster(cluster)
    conditions = options.conditions_of_night(stop, until)
    files = find_run(history, run)
    before = limits_of_last_night(files)
    of_last = f"; of the last one: {before}" if before else ""
    say(f"continuing: {files.run_id}; limits of this night: {conditions}{of_last}")
    with notifications.notifier().reporting_failure(files.run_id) as notifier:
        problem = _ready_problem(files, trust=trust_settings)
        if pin:
            pin_until_withdrawn(files, pin, history)
        from overnight.flows.prefect_server.embedded import PrefectServer

        with PrefectServer() as server:
            _load_early(problem.settings.sampling)
            from overnight.flows.cli.foreground_night import run_night

            as_json = format == "json"
            return run_night(server, lambda: files, conditions, history, notifier=notifier, as_json=as_json)


def retry(
    run: options.RunId,
    /,
    *,
    generation: list[int] | None = None,
    until: options.Until = None,
    stop: options.Stop = options.NO_CONDITIONS,
    trust_settings: options.TrustSettings = False,
    notifications: options.NotificationOptions = options.NO_NOTIFICATIONS,
    cluster: options.ClusterName = None,
    format: options.NightFormat = "text",  # noqa: A002
    history: History = DEFAULT_HISTORY,
) -> int:
    """Run the generations again that a night has given up and gone on without.

    Completions already paid for are reused; programs join the current population. An outage gives up no generation: the
    night waits for its end, and `overnight resume` goes on after any other end of a night.

    Args:
        generation: generation to run again; repeatable; default: all that were given up
    """
    from overnight.tasks.history import stored_run
    from overnight.tasks.history.find_run import find_run

    choose_cluster(cluster)
    conditions = options.conditions_of_night(stop, until)
    files = find_run(history, run)
    failed = failed_generations(stored_run.read_run_history(files), files.run_id, generation, history_flag(history))
    if not failed:
        command = f"overnight resume {files.run_id}{history_flag(history)}"
        say(f"no generation of {files.run_id} is given up, so none is retried; `{command}` continues with new ones")
        return ExitCode.DONE
    with notifications.notifier().reporting_failure(files.run_id) as notifier:
        _ready_problem(files, trust=trust_settings)
        from overnight.flows.prefect_server.embedded import PrefectServer

        with PrefectServer() as server:
            from overnight.flows.cli.foreground_night import run_night

            as_json = format == "json"
            return run_night(server, lambda: files, conditions, history, failed, notifier, as_json=as_json)


def _ready_problem(files: RunFiles, *, trust: bool) -> Problem:
    """Return the problem of a run that can go on; raise the error of what its next night lacks."""
    from overnight.tasks.history import stored_run
    from overnight.tasks.history.run_lock import locked_here

    stored = stored_run.read_run(files)
    problem = accept(stored.problem, trust=trust, versions=stored.versions)
    with locked_here(files):  # else another night of it is under way
        pass
    require_ready(problem)
    return problem


def _load_early(sampling: Sampling) -> None:
    """Load the libraries of the models' providers in a thread, which takes seconds.

    The process waits for it when it ends: a thread that is stopped within an import keeps Python's lock of imports, and
    what LiteLLM does at the end imports something, too, and would wait for ever.
    """
    threading.Thread(target=load_providers, args=[sampling]).start()


def failed_generations(past: RunHistory, run_id: str, wanted: list[int] | None, flag: str) -> list[int]:
    """Return the given-up generations to run again, in order: those that the user named, or all."""
    for number in wanted or ():
        if number > past.generations:
            raise UsageError(
                f"generation {number} of {run_id} was not given up: the last one tried is {past.generations}",
                remedy=f"Run new generations with: overnight resume {run_id}{flag}",
            )
        if number not in past.failed:
            state = "is put off: its agent goes on in the next night" if number in past.put_off else "is committed"
            raise UsageError(
                f"generation {number} of {run_id} {state}, and is never run again",
                remedy="List those given up with: overnight sql "
                f"\"SELECT generation, error FROM generations WHERE state = 'given up' AND run_id = '{run_id}'\"{flag}",
            )
    return sorted(past.failed if wanted is None else set(wanted))
