"""`overnight report` and `overnight compare`: what was found, as pages of HTML."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from flows.cli.options import TrustSettings
from flows.cli.printing import DEFAULT_HISTORY, History, duration, out, say, score, table, usd
from schemas.errors import UsageError
from tasks.history.private_files import open_private

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table

    from tasks.report.comparison import Group, Quartiles

Write = Annotated[Path | None, Parameter(help="file to write, replacing an older one; `-` is stdout")]


def report(
    run: Annotated[str | None, Parameter(help="a run id, a unique prefix of one, or `last`")] = None,
    /,
    *,
    all: Annotated[bool, Parameter(help="an index of all runs instead")] = False,  # noqa: A002
    night: Annotated[int | None, Parameter(name=["--night", "--nights"], help="tell of this night only")] = None,
    write: Write = None,
    history: History = DEFAULT_HISTORY,
) -> None:
    """Write the morning report of a run: one HTML file that needs nothing else. The last run by default."""
    if all:
        if run is not None or night is not None:
            raise UsageError("--all tells of every run, and takes neither a run nor a night")
        _index(history, write)
        return
    from flows.report.build import build_report
    from tasks.history.database import Database
    from tasks.history.files import find_run
    from tasks.report.page import render

    files = find_run(history, run or "last")
    story = build_report(Database(history), files, night)
    name = f"report-{files.run_id}{f'-night-{night}' if night else ''}.html"
    write_page(write or Path(name), render(story), is_named=write is not None)


def write_page(path: Path, html: str, *, is_named: bool = True) -> None:
    """Writes a page and says where, or to stdout for `-`.

    Args:
        path: Where to.
        html: The page.
        is_named: Whether the user has named the file, which may then be a link; in a folder of a stranger's, one of a
            name that can be known before may lead anywhere.

    Raises:
        UsageError: If it cannot be written there.
    """
    if str(path) == "-":
        sys.stdout.buffer.write(html.encode())
        return
    try:
        with open_private(path, "wb", follows_link=is_named) as file:
            file.write(html.encode())
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}", remedy="Name another file with --write.") from error
    say(f"wrote {path.resolve()}, {len(html.encode()) / 1024:.0f} KiB; open it in a browser")


def compare(
    *runs: Annotated[str, Parameter(help="run ids, or unique prefixes of them")],
    problem: Annotated[str | None, Parameter(help="instead of runs: have models compete on this problem")] = None,
    model: Annotated[list[str] | None, Parameter(help="a competitor, as `overnight run` takes it; repeatable")] = None,
    seeds: Annotated[int, Parameter(help="runs of each model")] = 5,
    max_samples: Annotated[int, Parameter(name=("--max-samples", "--samples"), help="of each run")] = 1000,
    budget: Annotated[float | None, Parameter(help="USD for each run, which then ends earlier")] = None,
    api_base: Annotated[str | None, Parameter(help="address of an OpenAI-compatible server for these models")] = None,
    style: Annotated[str | None, Parameter(help="`chat` or `completion`: how prompts are written")] = None,
    set: Annotated[  # noqa: A002
        list[str] | None, Parameter(help="any setting of these runs, as key=value; repeatable")
    ] = None,
    trust_settings: TrustSettings = False,
    write: Write = None,
    history: History = DEFAULT_HISTORY,
) -> None:
    """Compare runs of one problem: grouped by models and settings, with medians and quartiles over their seeds.

    With --problem, models compete first: each is given as many runs and samples as the others, on the same seeds.
    """
    if problem is None:
        if model or set or api_base or style or budget is not None:
            raise UsageError("these flags say how models compete, and on what is not said", remedy="Add --problem NAME")
        _compare(runs, write, history)
        return
    from flows.cli.compare_models import compare_models
    from flows.cli.options import stop_rules

    if runs:
        raise UsageError("--problem begins runs of its own, and takes none that are there")
    if seeds < 1:
        raise UsageError(f"--seeds: expected 1 or more, got {seeds}")
    rules = stop_rules(None, max_samples=max_samples, budget_usd=budget)
    ids = compare_models(
        problem,
        model or [],
        history,
        rules=rules,
        seeds=seeds,
        api_base=api_base,
        style=style,
        sets=set or (),
        trust=trust_settings,
    )
    if len(ids) > 1:
        _compare(ids, write, history)


def _compare(runs: Sequence[str], write: Path | None, history: Path) -> None:
    from flows.report.score_curves import score_curves
    from tasks.history.database import Database
    from tasks.history.files import find_run
    from tasks.report.comparison import groups_of, render_comparison

    ids = list(dict.fromkeys(find_run(history, run).run_id for run in runs))
    if len(ids) < 2:
        raise UsageError(f"expected two runs or more, got {len(ids)}", remedy="`overnight runs` lists them.")
    curves = score_curves(Database(history), ids)
    if write is None or str(write) != "-":
        out().print(_table(groups_of(curves)))
    if write is not None:
        write_page(write, render_comparison(curves))


def _table(groups: Sequence[Group]) -> Table:
    columns = ("group", "runs", "best (train)", "quartiles", "held-out", "quartiles ", "samples", "time", "cost")
    rows = [
        (
            group.name,
            str(len(group.runs)),
            *_span(group.best),
            *_span(group.held_out),
            f"{group.samples:,.0f}",
            duration(group.seconds),
            usd(group.cost_usd),
        )
        for group in groups
    ]
    return table(columns, rows, right=columns[1:], title="medians over seeds; higher scores are better")


def _span(span: Quartiles | None) -> tuple[str, str]:
    if span is None:
        return score(None), ""
    return score(span.middle), "" if span.low == span.high else f"{score(span.low)} to {score(span.high)}"


def _index(history: Path, write: Path | None) -> None:
    from flows.report.score_curves import all_score_curves
    from tasks.history.database import Database
    from tasks.history.mirror import place_of
    from tasks.report.comparison import render_index

    runs = all_score_curves(Database(history))
    if not runs:
        raise UsageError(f"no run in {place_of(history)}", remedy="Start one: overnight run bin-packing-or")
    path = write or Path("report-all.html")
    pages = [run.run_id for run in runs if (path.parent / f"report-{run.run_id}.html").exists()]
    write_page(path, render_index(runs, pages), is_named=write is not None)
