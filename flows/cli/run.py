"""`overnight run` and `overnight resume`: a night in the foreground."""

from __future__ import annotations

import secrets
from functools import partial
from typing import Annotated, Literal

from cyclopts import Parameter

from flows.cli.notification_options import NotificationOptions
from flows.cli.options import Batch, Image, Rules, Runtime, TrustSettings, Until, overrides
from flows.cli.printing import DEFAULT_HISTORY, History, NewRun, say, say_notes


def run(
    problem: Annotated[str, Parameter(help="a name from `overnight problems`, or a specification file")],
    /,
    *,
    model: Annotated[
        list[str] | None, Parameter(help="LiteLLM model string; NAME=WEIGHT for a share; repeatable")
    ] = None,
    api_base: Annotated[str | None, Parameter(help="address of an OpenAI-compatible server for these models")] = None,
    style: Annotated[str | None, Parameter(help="`chat` or `completion`: how prompts are written")] = None,
    batch: Batch = False,
    until: Until = None,
    rules: Rules = Rules(),  # noqa: B008  (frozen)
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
) -> int:
    """Start a run: score the start program, then search until a rule stops the night or you do (Ctrl-C)."""
    from flows.images import image_of
    from flows.trust import accept
    from schemas.problem import load_problem
    from tasks.problems import find
    from tasks.sample.batch_api import require_batches
    from tasks.sample.provider import require_keys, require_prices

    checked = rules.checked(until)
    path = find(problem)
    settings = overrides(model, api_base, style, inputs, set, batch, confirm=confirm, image=image, runtime=runtime)
    loaded = load_problem(path, settings)
    say_notes(loaded)
    accept(loaded, settings, trust=trust_settings)
    require_batches(loaded.settings.sampling)
    if checked.budget.is_in_usd:
        require_prices(loaded.settings.sampling)
    seed = secrets.randbelow(2**31) if seed is None else seed
    with notices.notifier().reporting_failure(loaded.name) as notifier:
        require_keys(loaded.settings.sampling)
        image_of(loaded, say)
        from flows.cli.foreground_night import run_night  # here: nothing of Prefect is imported for what is refused
        from flows.create_run import create_run

        begin = partial(create_run, loaded, path, history, seed=seed, tell=say)
        return run_night(begin, checked, history, notifier=notifier)


def resume(
    run: Annotated[str, Parameter(help="a run id, a unique prefix of one, or `last`")],
    /,
    *,
    until: Until = None,
    rules: Rules = Rules(),  # noqa: B008  (frozen)
    trust_settings: TrustSettings = False,
    notices: NotificationOptions = NotificationOptions(),  # noqa: B008  (frozen)
    history: History = DEFAULT_HISTORY,
) -> int:
    """Go on with a run, from its files alone. What was paid for before is not bought again."""
    from flows.images import image_of
    from flows.trust import accept
    from tasks.history import record
    from tasks.history.files import find_run

    checked = rules.checked(until)
    files = find_run(history, run)
    with notices.notifier().reporting_failure(files.run_id) as notifier:
        problem = record.read_run(files).problem
        accept(problem, trust=trust_settings)
        image_of(problem, say)
        from flows.cli.foreground_night import run_night

        return run_night(lambda: files, checked, history, notifier=notifier)
