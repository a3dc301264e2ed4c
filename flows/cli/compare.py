"""`overnight compare`: compare runs of one problem, and run models side by side on the same seeds and samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from overnight.flows.cli import options
from overnight.flows.cli.printing import (
    DEFAULT_HISTORY,
    History,
    OutputFormat,
    duration,
    out,
    say,
    say_notes,
    score,
    table,
    write_json,
)
from overnight.flows.cli.readiness import require_listening
from overnight.flows.cli.report import Write, unwritable, write_page
from overnight.flows.formatting import cost
from overnight.flows.night.stop_conditions import StopConditions
from overnight.flows.start.trust import accept
from overnight.schemas.errors import ExitCode, UsageError
from overnight.schemas.generation import StopReason
from overnight.schemas.history_backend import HistoryBackend
from overnight.schemas.problem import Problem
from overnight.tasks.history.private_files import open_private
from overnight.tasks.problems import find
from overnight.tasks.problems.loading.load import load_problem
from overnight.tasks.sample.provider import require_keys, require_prices

if TYPE_CHECKING:
    from rich.table import Table

    from overnight.tasks.report.comparison import Group, Quartiles

_TWO_RUNS = (
    "Name two that `overnight runs` lists, or run models side by side: "
    "overnight compare --problem NAME --model MODEL --model MODEL"
)
"""Remedy where there are too few runs to compare."""

_SAMPLES = 1000
"""Samples of each run, unless the user gives another number."""


def compare(
    *runs: str,
    problem: str | None = None,
    model: list[str] | None = None,
    seeds: int = 5,
    stop: options.Stop = options.NO_CONDITIONS,
    api_base: options.ApiBase = None,
    style: options.Style = None,
    set: options.Sets = None,  # noqa: A002
    trust_settings: options.TrustSettings = False,
    write: Write = None,
    format: OutputFormat = "text",  # noqa: A002
    history: History = DEFAULT_HISTORY,
) -> ExitCode:
    """Compare runs of one problem: grouped by models and settings, with medians and quartiles over their seeds.

    With --problem, first run a search for each model and seed; all models get the same seeds and the same stop
    conditions: 1000 samples in each run, or as many as --max-samples says, unless another condition ends it earlier.
    Then, --format json prints the lines of JSON of each night, as `overnight run` does, before the comparison.

    Args:
        runs: run ids, or unique prefixes of them
        problem: run models on this problem, instead of naming runs
        model: model to compare, as for `overnight run`; repeatable
        seeds: number of runs of each model
    """
    as_json = format == "json"
    _require_output(write, as_json=as_json)
    if problem is None:
        if model or set or api_base or style or stop.given():
            raise UsageError(
                "these flags describe a comparison of models, but no problem is named", remedy="Add --problem NAME"
            )
        _compare_runs(runs, write, history, as_json=as_json)
        return ExitCode.DONE
    if runs:
        raise UsageError("--problem starts new runs, and cannot be combined with existing ones")
    if seeds < 1:
        raise UsageError(f"--seeds: expected 1 or more, got {seeds}")
    conditions = StopConditions.model_validate({"max_samples": _SAMPLES} | stop.given())
    given = [_settings_of(each, api_base, style, set) for each in dict.fromkeys(model or ())]
    path, problems = _load(problem, given, conditions, trust=trust_settings)
    searches = [(loaded, seed) for seed in range(1, seeds + 1) for loaded in problems]
    leaves_stdout = str(write) == "-"
    run_ids, code = _run_all(searches, path, history, conditions, as_json=as_json, leaves_stdout=leaves_stdout)
    if len(run_ids) > 1:
        _compare_runs(run_ids, write, history, as_json=as_json)
    return code


def _settings_of(model: str, api_base: str | None, style: str | None, sets: list[str] | None) -> dict[str, Any]:
    """Return the settings that the flags give for one model; the address is for those that are not built in."""
    if model.startswith("builtin/"):
        api_base = style = None
    return options.RunOptions(model=[model], api_base=api_base, style=style, set=sets).settings()


def _load(
    name: str, given: Sequence[dict[str, Any]], conditions: StopConditions, *, trust: bool
) -> tuple[Path, list[Problem]]:
    """Load a problem with the settings of each model; return its path and the problems."""
    from overnight.flows.start.generated_inputs import settle_alike
    from overnight.flows.start.sandboxes import image_of

    if len(given) < 2:
        raise UsageError(
            f"expected two models or more, got {len(given)}",
            remedy="For example: --model openai/gpt-5-mini --model builtin/mutate",
        )
    path = find(name)
    problems = [accept(load_problem(path, settings), settings, trust=trust) for settings in given]
    for loaded in problems:
        require_keys(loaded.settings.sampling)
        require_listening(loaded.settings.sampling)
        if conditions.budget.is_in_usd:
            require_prices(loaded.settings.sampling)
    say_notes(problems[0])
    image_of(problems[0], say)
    return path, settle_alike(problems, run_id="compare")


def _run_all(
    searches: Sequence[tuple[Problem, int]],
    path: Path,
    history: HistoryBackend,
    conditions: StopConditions,
    *,
    as_json: bool,
    leaves_stdout: bool,
) -> tuple[list[str], ExitCode]:
    """Run a night for each problem and seed on one Prefect server, until one is interrupted; return the runs' ids.

    All models run with one seed before the next seed begins, so that an interrupted comparison stays balanced.
    """
    from overnight.flows.cli import foreground_night
    from overnight.flows.prefect_server.embedded import PrefectServer
    from overnight.flows.start.create_run import create_run

    run_ids: list[str] = []
    with PrefectServer(nights=len(searches)) as server:
        for number, (problem, seed) in enumerate(searches, start=1):
            (model,) = problem.settings.sampling.models
            say(f"\n{number} of {len(searches)}: {model.name}, seed {seed}")
            create = partial(create_run, problem, path, history, seed=seed)
            run_id, result = foreground_night.run_with_view(
                server, create, conditions, history, as_json=as_json, leaves_stdout=leaves_stdout
            )
            run_ids.append(run_id)
            if result["stop_reason"] == StopReason.INTERRUPTED:
                say(f"{len(searches) - number} runs were not started")
                return run_ids, ExitCode.INTERRUPTED
    return run_ids, ExitCode.DONE


def _require_output(write: Path | None, *, as_json: bool) -> None:
    """Refuse stdout for a page beside JSON, and a file that cannot be written, before nights that may take hours."""
    if as_json and str(write) == "-":
        raise UsageError("--format json and --write - both write to stdout", remedy="Name a file with --write.")
    if write is None or str(write) == "-" or (write.exists() and not write.is_file() and not write.is_dir()):
        return  # a pipe or a device may be opened once only
    is_new = not write.exists()
    try:
        open_private(write, "ab", follows_link=True).close()
        if is_new:
            write.unlink()
    except OSError as error:
        raise unwritable(write, error) from error


def _compare_runs(runs: Sequence[str], write: Path | None, history: HistoryBackend, *, as_json: bool) -> None:
    from overnight.flows.report.comparison_data import score_curves
    from overnight.tasks.history.database import Database
    from overnight.tasks.history.find_run import find_run
    from overnight.tasks.report.comparison import groups_of, render_comparison, shared_seeds

    ids = list(dict.fromkeys(find_run(history, run).run_id for run in runs))
    if len(ids) < 2:
        raise UsageError(f"expected two runs or more, got {len(ids)}", remedy=_TWO_RUNS)
    curves = score_curves(Database(history.root), ids)
    notes = shared_seeds(curves)
    for note in notes:
        say(f"note: {note}")
    if as_json:
        write_json({"groups": [_group(group) for group in groups_of(curves)], "notes": notes})
    elif str(write) != "-":
        out().print(_comparison_table(groups_of(curves)))
    if write is not None:
        write_page(write, render_comparison(curves))


def _group(group: Group) -> dict[str, Any]:
    """Return a group and its runs as plain data; of the steps of its runs, only the last scores."""
    facts = asdict(group)
    for run in facts["runs"]:
        del run["steps"], run["group"]
    return facts


def _comparison_table(groups: Sequence[Group]) -> Table:
    scores = ("best (train)", "quartiles", "held-out", "quartiles ", "by tuner")
    has_fronts = any(group.hypervolume for group in groups)
    columns = ("group", "runs", *scores, *(["hypervolume"] if has_fronts else []), "samples", "time", "cost")
    rows = [
        (
            group.name,
            str(len(group.runs)),
            *_quartiles(group.best),
            *_quartiles(group.held_out),
            score(group.tuner_gain),
            *([score(group.hypervolume and group.hypervolume.middle)] if has_fronts else []),
            f"{group.samples:,.0f}",
            duration(group.seconds),
            cost(group.cost_usd, is_partly_unknown=group.has_unknown_costs),
        )
        for group in groups
    ]
    return table(columns, rows, right=columns[1:], title="medians over seeds; higher scores are better")


def _quartiles(quartiles: Quartiles | None) -> tuple[str, str]:
    """Return two table cells: the median and the range between the quartiles."""
    if quartiles is None:
        return score(None), ""
    low, high = quartiles.low, quartiles.high
    return score(quartiles.middle), "" if low == high else f"{score(low)} to {score(high)}"
