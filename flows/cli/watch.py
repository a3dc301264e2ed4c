"""`overnight watch`: follow a run on a live page or in the terminal."""

from __future__ import annotations

import contextlib
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from overnight.flows.cli.options import RunId
from overnight.flows.cli.page_server import Port, listening, serve_page
from overnight.flows.cli.printing import (
    DEFAULT_HISTORY,
    History,
    OutputFormat,
    duration,
    out,
    printable,
    say,
    score,
    table,
    write_json,
)
from overnight.flows.cli.under_way import in_short
from overnight.flows.formatting import cost, spark
from overnight.schemas.report_data import ReportData
from overnight.tasks.report.population_charts import shown_niches

if TYPE_CHECKING:
    from rich.console import Group

    from overnight.flows.report.live_report import LiveReport

_REFRESH_S = 2.0
_WIDTH = 60
"""Most bars in a sparkline."""
_MAX_NICHES = 20


def watch(
    run: RunId = "last",
    /,
    *,
    terminal: Annotated[
        bool, Parameter(show_default=False, help="show the run in the terminal, instead of on a page")
    ] = False,
    port: Port = 0,
    format: OutputFormat = "text",  # noqa: A002
    history: History = DEFAULT_HISTORY,
) -> None:
    """Follow a run: on a page with the live report, or in the terminal. Ctrl-C ends the view, not the run.

    With --format json, print the state of the run once.
    """
    from overnight.flows.report.live_report import LiveReport
    from overnight.tasks.history.find_run import find_run

    report = LiveReport(find_run(history, run), draws=not terminal and format == "text")
    data = report.data()
    if format == "json":
        write_json(state(data))
        return
    with contextlib.suppress(KeyboardInterrupt):
        if terminal:
            _show(report)
        else:
            _serve(report, port, data.run.run_id)


def _serve(report: LiveReport, port: int, run_id: str) -> None:
    from overnight.flows.report.live_report import application

    with listening(port) as listener:
        say(f"http://127.0.0.1:{listener.getsockname()[1]}/ follows run {run_id}; Ctrl-C ends this page, not the run")
        serve_page(application(report), listener)


def _show(report: LiveReport) -> None:
    from rich.live import Live

    if not out().is_terminal:
        out().print(view(report.data()))
        return
    with Live(_screen(report.data()), console=out(), auto_refresh=False, screen=True) as live:
        while True:
            time.sleep(_REFRESH_S)
            live.update(_screen(report.data()), refresh=True)


def _screen(data: ReportData) -> Group:
    """Return the state of a run, and how to leave the view, which goes on after a night because another may follow."""
    from rich.console import Group
    from rich.text import Text

    hint = f"read every {_REFRESH_S:.0f} s, also in nights to come; Ctrl-C ends this view, not the run"
    return Group(view(data), Text(hint, style="dim"))


def state(data: ReportData) -> dict[str, Any]:
    last, night = data.generations[-1], data.nights[-1] if data.nights else None
    return {
        "run_id": data.run.run_id,
        "problem": data.run.problem.name,
        "night": night.night if night else 1,
        "has_ended": night is not None and night.ended_at is not None,
        "state": night.state if night else "",
        "stop_reason": night.stop_reason if night else "",
        "generation": _last_number(data),
        "samples": last.samples,
        "samples_under_way": data.under_way.samples,
        "claim_under_way": data.under_way.claim and asdict(data.under_way.claim),
        "seconds": last.seconds,
        "cost_usd": data.cost_usd,
        "has_unknown_costs": data.has_unknown_costs,
        "start_score": data.generations[0].best,
        "best_score": last.best,
        "best_program_id": last.best_program_id,
        "best": asdict(data.best),
        "niches": [
            {
                "niche": niche.niche,
                "best_score": niche.steps[-1][1] if niche.steps else None,
                "programs": niche.programs,
                "clusters": niche.clusters,
                "resets": len(niche.resets),
            }
            for niche in data.niches
        ],
        "models": [asdict(model) for model in data.models],
        "machines": [asdict(machine) for machine in data.machines],
    }


def view(data: ReportData) -> Group:
    """Return the current state of a run: its last night, best score over samples, niches and models."""
    from rich.console import Group
    from rich.text import Text

    settings = data.run.problem.settings
    last, known = data.generations[-1], settings.known.best
    head = f"{settings.title or data.run.problem.name} · {data.run.run_id} · {_state(data)}"
    best_known = "" if known is None else f", best known {score(known, data.digits)}"
    started = f"started with {score(data.generations[0].best)}"
    best = f"best on the training inputs {score(last.best, data.digits)} ({started}{best_known}): {settings.score_name}"
    cost_text = cost(data.cost_usd, is_partly_unknown=data.has_unknown_costs)
    under_way = f" and {in_short(data.under_way)}" if data.under_way.samples else ""
    samples = f"{last.samples:,} samples{under_way}"
    spent = f"generation {_last_number(data)}, {samples}, {duration(last.seconds)}, cost {cost_text}"
    machines = [_machines(data)] if data.machines else []
    return Group(
        Text(head, style="bold"),
        Text(best),
        Text(spent),
        Text(spark([generation.best for generation in data.generations], _WIDTH, out().encoding)),
        _niches(data),
        _models(data),
        *machines,
        *(Text(printable(line), style="dim") for line in data.log),
    )


def _last_number(data: ReportData) -> int:
    """Return the number of the last generation, after which a retried one may have been committed."""
    return max(generation.generation for generation in data.generations)


def _state(data: ReportData) -> str:
    night = data.nights[-1] if data.nights else None
    if night is None:
        return "no night has begun"
    said = {"ended": f"ended: {night.stop_reason}", "running": "is under way"}
    return f"night {night.night} {said.get(night.state, 'was killed')}"


def _niches(data: ReportData):  # noqa: ANN202  (rich is imported late)

    rows = [
        (
            niche.niche,
            score(niche.steps[-1][1] if niche.steps else None),
            str(niche.programs),
            str(niche.clusters),
            str(len(niche.resets)),
        )
        for niche in shown_niches(data.niches, _MAX_NICHES)
    ]
    columns = ("niche", "best", "programs", "clusters", "resets")
    title = "niches: sub-populations of the search; clusters: programs of a niche with the same scores"
    return table(columns, rows, right=columns, title=title)


def _models(data: ReportData):  # noqa: ANN202  (rich is imported late)
    rows = [
        (
            model.model,
            f"{model.samples:,}",
            score(model.best),
            ", ".join(f"{outcome} {count}" for outcome, count in model.outcomes.items()),
            cost(model.cost_usd or 0.0, is_partly_unknown=model.has_unknown_costs),
        )
        for model in data.models
    ]
    return table(("model", "samples", "best", "outcomes", "cost"), rows, right=("samples", "best", "cost"))


def _machines(data: ReportData):  # noqa: ANN202  (rich is imported late)
    rows = [
        (
            machine.name or "the night's own",
            f"{machine.candidates:,}",
            str(machine.faults),
            "–" if machine.mean_s is None else f"{machine.mean_s:.2f} s",
            "–" if machine.per_minute is None else f"{machine.per_minute:,.0f}",
        )
        for machine in data.machines
    ]
    columns = ("machine", "candidates", "faults", "mean time", "per minute")
    return table(columns, rows, right=columns[1:])
