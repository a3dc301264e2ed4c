"""`overnight report` and `overnight compare`: write HTML pages about one run or several."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from flows.cli.options import ApiBase, Style, TrustSettings
from flows.cli.printing import DEFAULT_HISTORY, History, OutputFormat, duration, out, say, score, table, write_json
from flows.formatting import cost
from schemas.errors import ExitCode, UsageError
from schemas.report_data import NO_DRAWINGS
from tasks.history.private_files import open_private

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table

    from schemas.history_backend import HistoryBackend
    from schemas.report_data import Drawings, ReportData
    from tasks.history.database import Database
    from tasks.report.comparison import Group, Quartiles


_TWO_RUNS = (
    "Name two that `overnight runs` lists, or run models side by side: "
    "overnight compare --problem NAME --model MODEL --model MODEL"
)
"""Remedy where there are too few runs to compare."""


def _refuse_flag(_: object, path: Path | None) -> None:
    """Refuse another flag in the place of a file: leading hyphens are allowed for `-` alone."""
    if str(path).startswith("-") and str(path) != "-":
        raise ValueError(f"expected a file, got the flag {path}; a file of that name is ./{path}")


Write = Annotated[
    Path | None,
    Parameter(
        help="file to write; an existing one is replaced; `-` is stdout",
        allow_leading_hyphen=True,
        validator=_refuse_flag,
    ),
]


def report(
    run: Annotated[str | None, Parameter(help="a run id, a unique prefix of one, or `last`")] = None,
    /,
    *,
    all: Annotated[bool, Parameter(help="write an index of all runs instead")] = False,  # noqa: A002
    night: Annotated[int | None, Parameter(name=["--night", "--nights"], help="report this night only")] = None,
    without_pictures: Annotated[
        bool, Parameter(help="leave out what the problem draws of programs, in the sandbox")
    ] = False,
    trust_settings: TrustSettings = False,
    write: Write = None,
    history: History = DEFAULT_HISTORY,
) -> None:
    """Write the morning report of a run, by default the last one, as one self-contained HTML file."""
    if all:
        if run is not None or night is not None:
            raise UsageError("--all lists every run, and takes neither a run nor --night")
        _write_index(history, write)
        return
    from flows.report.build import build_report
    from tasks.history.database import Database
    from tasks.history.files import find_run
    from tasks.report.page import render

    files, database = find_run(history, run or "last"), Database(history.root)
    data = build_report(database, files, night)
    drawings = NO_DRAWINGS if without_pictures else _drawings(database, data, trust=trust_settings)
    name = f"report-{files.run_id}{f'-night-{night}' if night else ''}.html"
    write_page(write or Path(name), render(data, drawings), is_named=write is not None)


def _drawings(database: Database, data: ReportData, *, trust: bool) -> Drawings:
    """Draw the programs of a report; say why some could not be drawn."""
    if not data.run.problem.draws:
        return NO_DRAWINGS
    from flows.report.build import draw_report
    from flows.start.trust import accept_sandbox

    if trust:
        accept_sandbox(data.run.problem, trust=True)
    drawings = draw_report(database, data, note=say)
    if drawings.remark:
        say(drawings.remark)
    return drawings


def write_page(path: Path, html: str, *, is_named: bool = True) -> None:
    """Write a page to a file and print its path, or write it to stdout for `-`.

    Args:
        path: File to write.
        html: The page.
        is_named: Whether the user named the file, which may then be a link. A link with the predictable default name is
            not followed: another user of the folder could have placed it.

    Raises:
        UsageError: If the file cannot be written.
    """
    if str(path) == "-":
        sys.stdout.buffer.write(html.encode())
        return
    try:
        with open_private(path, "wb", follows_link=is_named) as file:
            file.write(html.encode())
    except OSError as error:
        raise _unwritable(path, error) from error
    say(f"wrote {path.resolve()}, {len(html.encode()) / 1024:.0f} KiB; open it in a browser")


def _unwritable(path: Path, error: OSError) -> UsageError:
    return UsageError(f"cannot write {path}: {error.strerror}", remedy="Name another file with --write.")


def compare(
    *runs: Annotated[str, Parameter(help="run ids, or unique prefixes of them")],
    problem: Annotated[str | None, Parameter(help="run models on this problem, instead of naming runs")] = None,
    model: Annotated[list[str] | None, Parameter(help="model to compare, as for `overnight run`; repeatable")] = None,
    seeds: Annotated[int, Parameter(help="number of runs of each model")] = 5,
    max_samples: Annotated[
        int, Parameter(name=("--max-samples", "--samples"), help="number of samples of each run")
    ] = 1000,
    budget: Annotated[float | None, Parameter(help="budget of each run, in USD; it may end the run earlier")] = None,
    api_base: ApiBase = None,
    style: Style = None,
    set: Annotated[  # noqa: A002
        list[str] | None, Parameter(help="any setting of these runs, as key=value; repeatable")
    ] = None,
    trust_settings: TrustSettings = False,
    write: Write = None,
    format: OutputFormat = "text",  # noqa: A002
    history: History = DEFAULT_HISTORY,
) -> ExitCode:
    """Compare runs of one problem: grouped by models and settings, with medians and quartiles over their seeds.

    With --problem, first run a search for each model and seed; all models get the same seeds and as many samples.
    Then, --format json prints the lines of JSON of each night, as `overnight run --json` does, before the comparison.
    """
    as_json = format == "json"
    _require_output(write, as_json=as_json)
    if problem is None:
        if model or set or api_base or style or budget is not None:
            raise UsageError(
                "these flags describe a comparison of models, but no problem is named", remedy="Add --problem NAME"
            )
        _compare_runs(runs, write, history, as_json=as_json)
        return ExitCode.DONE
    from flows.cli.compare_models import compare_models
    from flows.cli.options import stop_conditions

    if runs:
        raise UsageError("--problem starts new runs, and cannot be combined with existing ones")
    if seeds < 1:
        raise UsageError(f"--seeds: expected 1 or more, got {seeds}")
    conditions = stop_conditions(None, max_samples=max_samples, budget_usd=budget)
    compared = compare_models(
        problem,
        model or [],
        history,
        conditions=conditions,
        seeds=seeds,
        api_base=api_base,
        style=style,
        sets=set or (),
        trust=trust_settings,
        as_json=as_json,
        leaves_stdout=str(write) == "-",
    )
    if len(compared.run_ids) > 1:
        _compare_runs(compared.run_ids, write, history, as_json=as_json)
    return ExitCode.INTERRUPTED if compared.is_interrupted else ExitCode.DONE


def _require_output(write: Path | None, *, as_json: bool) -> None:
    """Check where a page goes, before nights that may take hours.

    Raises:
        UsageError: If stdout is also for JSON, or the file cannot be written.
    """
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
        raise _unwritable(write, error) from error


def _compare_runs(runs: Sequence[str], write: Path | None, history: HistoryBackend, *, as_json: bool) -> None:
    from flows.report.score_curves import score_curves
    from tasks.history.database import Database
    from tasks.history.files import find_run
    from tasks.report.comparison import groups_of, render_comparison, shared_seeds

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
    columns = ("group", "runs", *scores, "samples", "time", "cost")
    rows = [
        (
            group.name,
            str(len(group.runs)),
            *_quartiles(group.best),
            *_quartiles(group.held_out),
            score(group.tuner_gain),
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


def _write_index(history: HistoryBackend, write: Path | None) -> None:
    from flows.report.score_curves import all_score_curves
    from tasks.history.database import Database
    from tasks.report.comparison import render_index

    runs = all_score_curves(Database(history.root))
    if not runs:
        raise UsageError(f"no run in {history.location}", remedy="Start one: overnight run bin-packing-or")
    path = write or Path("report-all.html")
    pages = [run.run_id for run in runs if (path.parent / f"report-{run.run_id}.html").exists()]
    write_page(path, render_index(runs, pages), is_named=write is not None)
