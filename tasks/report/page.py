"""Renders reports as single HTML files that contain their style and script and load nothing."""

from __future__ import annotations

import base64
import hashlib
import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from itertools import pairwise
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from overnight.schemas.escaping import escape_invisible
from overnight.schemas.outcome import Outcome
from overnight.schemas.report_data import NO_DRAWINGS, Drawings, ReportData
from overnight.schemas.report_rows import Ancestor
from overnight.tasks.report.code_view import DiffLine, diff_lines, highlighted
from overnight.tasks.report.lineage_graph import line_of_descent, lineage_chart
from overnight.tasks.report.number_format import (
    cost,
    duration,
    gain_of,
    gain_text,
    grouped,
    percent_text,
    score_text,
    time_text,
)
from overnight.tasks.report.population_charts import (
    diversity_chart,
    histogram_chart,
    niches_chart,
    outcomes_chart,
    shown_niches,
)
from overnight.tasks.report.sanitised_svg import data_uri, size_of, title_of
from overnight.tasks.report.score_charts import (
    front_charts,
    over_cost,
    over_samples,
    over_time,
    split_rows,
    splits_chart,
)
from overnight.tasks.report.vega import Chart

_MAX_STEPS = 200
"""Steps of the line of descent that are shown with their changes; of a longer line, the last ones."""


@dataclass(frozen=True, slots=True)
class Step:
    """A step of the line of descent, and the lines that it changed."""

    parent: Ancestor
    child: Ancestor
    lines: Sequence[DiffLine]

    @property
    def gain(self) -> float:
        return gain_of(self.parent.score, self.child.score)


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture of a program.

    Attributes:
        text: The picture's title, which says what is to be seen.
    """

    label: str
    program_id: str
    score: float
    text: str
    uri: str
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Pictures:
    """The pictures of a report.

    Attributes:
        pair: The start program and the best one.
        line: Programs of the line of descent between them and these, if there are any between.
        remark: Why some or all are missing.
    """

    pair: tuple[Picture, ...] = ()
    line: tuple[Picture, ...] = ()
    remark: str = ""


def render(report: ReportData, drawings: Drawings = NO_DRAWINGS, *, live: bool = False) -> str:
    """Return the HTML page of a run's report; a live one is served by `overnight watch`, and asks for its changes."""
    steps = list(pairwise(line_of_descent(report.lineage)))[-_MAX_STEPS:]
    return render_template(
        "report.html.jinja",
        live="live.js" if live else "",
        report=report,
        settings=report.run.problem.settings,
        pictures=pictures_of(report, drawings),
        splits=splits_chart(report),
        split_rows=split_rows(report),
        digits=report.digits,
        charts=progress_charts(report),
        new_bests=report.new_bests,
        best=highlighted(report.best_function),
        left_out=_left_out(report),
        steps=[Step(parent, child, diff_lines(parent.function, child.function)) for parent, child in steps],
        lineage=lineage_chart(report.lineage),
        niches=niches_chart(report),
        shown_niches=shown_niches(report.niches),
        population=population_charts(report),
        front=front_charts(report),
        functions=_packed(report.functions),
        outcomes=outcomes_chart(report.models),
        kinds=[kind.value for kind in Outcome if any(kind.value in model.outcomes for model in report.models)],
        share_closed=share_closed(report),
        passed_known=report.run.problem.passed_known(report.best.train) if report.best.train is not None else "",
        highlight=highlighted,
    )


def _left_out(report: ReportData) -> Sequence[DiffLine]:
    """Return the lines that were left out of the best program as it was found; none if it was not pruned."""
    last = next((one for one in report.lineage if one.program_id == report.best.program_id), None)
    return diff_lines(report.as_found.function, last.function) if report.as_found and last else []


def progress_charts(report: ReportData) -> list[Chart]:
    """Return the charts of the score over samples, over time and over cost; none before the first commit."""
    charts = [over_samples(report), over_time(report), over_cost(report)] if len(report.generations) > 1 else []
    return [chart for chart in charts if chart is not None]


def population_charts(report: ReportData) -> list[Chart]:
    """Return the charts of the whole population: its diversity, and its scores by model and operator."""
    return [chart for chart in (diversity_chart(report), histogram_chart(report)) if chart is not None]


def pictures_of(report: ReportData, drawings: Drawings) -> Pictures:
    start_label = "Best of the nights before" if report.night else "Start"
    start, best = report.start, report.best
    labels = {start.program_id: start_label, best.program_id: "Best"}
    scores = {start.program_id: start.train, best.program_id: best.train}
    pair = tuple(
        _picture(drawings, name, labels[name], scores[name] or 0.0) for name in labels if name in drawings.pictures
    )
    line = tuple(
        _picture(
            drawings, ancestor.program_id, f"Sample {ancestor.sample:,}" if ancestor.sample else "Start", ancestor.score
        )
        for ancestor in line_of_descent(report.lineage)
        if ancestor.program_id in drawings.pictures
    )
    return Pictures(pair, line if len(line) > len(pair) else (), drawings.remark)


def _picture(drawings: Drawings, program_id: str, label: str, score: float) -> Picture:
    svg = drawings.pictures[program_id]
    width, height = size_of(svg)
    return Picture(label, program_id, score, title_of(svg), data_uri(svg), width, height)


def share_closed(report: ReportData) -> float | None:
    """Return the share of the gap between start and best known score that was closed, on the inputs of the known one.

    There is none where the best score is above the known one, or that is of inputs which the program was not scored on.
    """
    known = report.run.problem.settings.known
    start, best = getattr(report.start, known.split, None), getattr(report.best, known.split, None)
    if known.best is None or start is None or best is None or known.best <= start or best > known.best:
        return None
    return (best - start) / (known.best - start)


def render_template(template: str, *, live: str = "", **content: Any) -> str:
    """Return a whole page from a template, with style, script and a policy that allows nothing else.

    `live` names the script of a page that asks the server which sent it.
    """
    style, script = (_asset(name) for name in ("page.css", "page.js"))
    live_script = _asset(live) if live else ""
    scripts = " ".join(f"'sha256-{_digest(text)}'" for text in (script, live_script) if text)
    connect = "connect-src 'self'; " if live else ""
    policy = (
        f"default-src 'none'; style-src 'sha256-{_digest(style)}'; script-src {scripts}; img-src data:; {connect}"
        "base-uri 'none'; form-action 'none'"
    )
    return (
        _environment()
        .get_template(template)
        .render(style=style, script=script, live_script=live_script, policy=policy, live=live, **content)
    )


def shown(value: Any) -> Any:
    """Return a value with invisible and reversing characters escaped; text that is marked as safe HTML stays safe."""
    if not isinstance(value, str):
        return value
    text = escape_invisible(value)
    return type(value)(text) if hasattr(value, "__html__") else text


def _packed(functions: Mapping[str, str]) -> str:
    """Return functions by program id as compressed JSON in base64, which the page unpacks when one is looked at."""
    shown_functions = {program_id: escape_invisible(text) for program_id, text in functions.items()}
    return base64.b64encode(zlib.compress(json.dumps(shown_functions).encode(), 9)).decode()


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


@cache
def _asset(name: str) -> str:
    return files("overnight.tasks.report").joinpath("templates", name).read_text(encoding="utf-8")


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("overnight.tasks.report"),
        autoescape=True,
        undefined=StrictUndefined,
        auto_reload=False,
        finalize=shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        score=score_text,
        gain=gain_text,
        gain_from=lambda after, before: gain_of(before, after),
        size=lambda value: gain_text(value)[1:],
        count=grouped,
        percent=percent_text,
        duration=duration,
        cost=cost,
        time=time_text,
        json=json.dumps,
    )
    return environment
