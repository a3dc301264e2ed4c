"""Run the same search with several models, on the same seeds and with equally many samples, to compare them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from flows.cli.options import overrides
from flows.cli.printing import say, say_notes
from flows.night.stop_conditions import StopConditions
from flows.start.sandboxes import image_of
from flows.start.trust import accept
from schemas.errors import UsageError
from schemas.generation import StopReason
from schemas.history_backend import HistoryBackend
from schemas.problem import Problem
from tasks.history.files import RunFiles
from tasks.problems import find
from tasks.problems.loading.load import load_problem
from tasks.sample.provider import require_keys, require_prices


class Compared(NamedTuple):
    """The runs of a comparison.

    Attributes:
        is_interrupted: Whether Ctrl-C ended it before the last night.
    """

    run_ids: list[str]
    is_interrupted: bool


def compare_models(
    problem: str,
    models: Sequence[str],
    history: HistoryBackend,
    *,
    conditions: StopConditions,
    seeds: int,
    api_base: str | None = None,
    style: str | None = None,
    sets: Sequence[str] = (),
    trust: bool = False,
    as_json: bool = False,
    leaves_stdout: bool = False,
) -> Compared:
    """Run one search for each model and seed, and return the runs.

    All models run with one seed before the next seed begins, so that an interrupted comparison stays balanced.

    Args:
        problem: Problem name or path, as for `overnight run`.
        models: LiteLLM model strings to compare.
        history: The history that gets the runs.
        conditions: Stop conditions of each run.
        seeds: Number of seeds; they are 1, 2, 3 and so on.
        api_base: Address of the server for models that are not built in.
        style: Prompt style of these models.
        sets: Settings, as key=value.
        trust: Whether to accept the settings that the problem's files propose.
        as_json: Whether stdout gets lines of JSON about each night, in place of summaries.
        leaves_stdout: Whether nothing is written to stdout, which a page is written to afterwards.

    Raises:
        UsageError: If there are fewer than two models, or the problem or a setting is wrong.
        EnvironmentFault: If a key, a price or the sandbox is missing; nothing has been spent then.
    """
    if len(set(models)) < 2:
        raise UsageError(
            f"expected two models or more, got {', '.join(models) or 'none'}",
            remedy="For example: --model openai/gpt-5-mini --model builtin/mutate",
        )
    path = find(problem)
    given = [_settings_of(model, api_base, style, sets) for model in dict.fromkeys(models)]
    problems = [load_problem(path, settings) for settings in given]
    for loaded, settings in zip(problems, given, strict=True):
        accept(loaded, settings, trust=trust)
        require_keys(loaded.settings.sampling)
        if conditions.budget.is_in_usd:
            require_prices(loaded.settings.sampling)
    say_notes(problems[0])
    image_of(problems[0], say)
    searches = [(loaded, seed) for seed in range(1, seeds + 1) for loaded in problems]
    return _run_all(searches, path, history, conditions, as_json=as_json, leaves_stdout=leaves_stdout)


def _settings_of(model: str, api_base: str | None, style: str | None, sets: Sequence[str]) -> dict[str, Any]:
    """Return the settings that the flags give for one model."""
    if model.startswith("builtin/"):
        api_base = style = None
    return overrides([model], api_base, style, None, list(sets))


def _run_all(
    searches: Sequence[tuple[Problem, int]],
    path: Path,
    history: HistoryBackend,
    conditions: StopConditions,
    *,
    as_json: bool,
    leaves_stdout: bool,
) -> Compared:
    """Run a night for each problem and seed on one Prefect server, until one is interrupted."""
    from flows.cli.foreground_night import run_with_view
    from flows.prefect_server.embedded import PrefectServer

    run_ids: list[str] = []
    with PrefectServer(nights=len(searches)) as server:
        for number, (problem, seed) in enumerate(searches, start=1):
            (model,) = problem.settings.sampling.models
            say(f"\n{number} of {len(searches)}: {model.name}, seed {seed}")
            create = _creator(problem, path, history, seed)
            run_id, result = run_with_view(
                server, create, conditions, history, as_json=as_json, leaves_stdout=leaves_stdout
            )
            run_ids.append(run_id)
            if result["stop_reason"] == StopReason.INTERRUPTED:
                say(f"{len(searches) - number} runs were not started")
                return Compared(run_ids, is_interrupted=True)
    return Compared(run_ids, is_interrupted=False)


def _creator(problem: Problem, path: Path, history: HistoryBackend, seed: int) -> Callable[[], RunFiles]:
    """Return a function that creates the run of a problem and seed."""
    from flows.start.create_run import create_run

    return lambda: create_run(problem, path, history, seed=seed)
