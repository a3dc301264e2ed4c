"""`overnight run` and `overnight resume`: run a night in the foreground."""

from __future__ import annotations

import secrets
import threading
from functools import partial
from typing import TYPE_CHECKING

from flows.cli.options import (
    ClusterName,
    Json,
    NotificationOptions,
    ProblemName,
    RunId,
    RunOptions,
    Seed,
    StopOptions,
    TrustSettings,
    Until,
)
from flows.cli.printing import DEFAULT_HISTORY, History, NewRun, say

if TYPE_CHECKING:
    from schemas.sampling_settings import Sampling


def _load_early(sampling: Sampling) -> None:
    """Load the libraries of the models' providers in a thread, which takes seconds."""
    from tasks.sample.provider import load_providers

    threading.Thread(target=load_providers, args=[sampling], daemon=True).start()


def run(
    problem: ProblemName,
    /,
    *,
    options: RunOptions = RunOptions(),  # noqa: B008  (frozen)
    seed: Seed = None,
    until: Until = None,
    stop: StopOptions = StopOptions(),  # noqa: B008  (frozen)
    trust_settings: TrustSettings = False,
    notifications: NotificationOptions = NotificationOptions(),  # noqa: B008  (frozen)
    cluster: ClusterName = None,
    json: Json = False,
    history: NewRun = DEFAULT_HISTORY,
) -> int:
    """Start a run: score the start program, then search until a stop condition is met or you press Ctrl-C."""
    from flows.cluster.choice import choose_cluster
    from flows.start.sandboxes import image_of
    from tasks.problems import find
    from tasks.sample.provider import require_keys

    choose_cluster(cluster)
    conditions = stop.conditions(until)
    path = find(problem)
    loaded, _ = options.load(path, conditions, trust=trust_settings)
    seed = secrets.randbelow(2**31) if seed is None else seed
    say(f"starting: {loaded.settings.title or loaded.name}")
    from flows.prefect_server.embedded import PrefectServer  # late, as what follows: not for a refused command

    # The server starts in a process of its own, while this one loads the libraries.
    with notifications.notifier().reporting_failure(loaded.name) as notifier, PrefectServer() as server:
        _load_early(loaded.settings.sampling)

        def tell(message: str) -> None:
            require_keys(loaded.settings.sampling)  # before an image is built, which may take minutes
            say(message)

        image_of(loaded, tell)
        from flows.cli.foreground_night import run_night
        from flows.start.create_run import create_run

        create = partial(create_run, loaded, path, history, seed=seed, tell=say)
        return run_night(server, create, conditions, history, notifier=notifier, as_json=json)


def resume(
    run: RunId,
    /,
    *,
    until: Until = None,
    stop: StopOptions = StopOptions(),  # noqa: B008  (frozen)
    trust_settings: TrustSettings = False,
    notifications: NotificationOptions = NotificationOptions(),  # noqa: B008  (frozen)
    cluster: ClusterName = None,
    json: Json = False,
    history: History = DEFAULT_HISTORY,
) -> int:
    """Continue a run, from its files alone. Completions that are already paid for are not requested again."""
    from flows.cluster.choice import choose_cluster
    from flows.start.sandboxes import image_of
    from flows.start.trust import accept
    from tasks.history import record
    from tasks.history.files import find_run

    choose_cluster(cluster)
    conditions = stop.conditions(until)
    files = find_run(history, run)
    record.require_present_format(files)
    say(f"continuing: {files.run_id}")
    from flows.prefect_server.embedded import PrefectServer

    with notifications.notifier().reporting_failure(files.run_id) as notifier:
        problem = record.read_run(files).problem
        accept(problem, trust=trust_settings)
        with PrefectServer() as server:
            _load_early(problem.settings.sampling)
            image_of(problem, say)
            from flows.cli.foreground_night import run_night

            return run_night(server, lambda: files, conditions, history, notifier=notifier, as_json=json)
