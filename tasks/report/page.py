"""The page of a run: its story as one file of HTML, with its style and script inside and nothing from elsewhere."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from importlib.resources import files
from itertools import pairwise
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from schemas.escaping import escape_invisible
from schemas.outcome import Outcome
from schemas.report_data import Ancestor, ReportData
from tasks.report.code_view import DiffLine, coloured, difference
from tasks.report.drawing import Chart
from tasks.report.island_chart import islands_chart
from tasks.report.lineage_graph import lineage_chart, main_line
from tasks.report.outcome_bars import outcomes_chart
from tasks.report.progress_charts import over_money, over_samples, over_time, records
from tasks.report.scale import gain_text, grouped, score_text
from tasks.report.split_chart import split_rows, splits_chart

_STEPS = 200
"""Steps of a lineage that are told with their differences; of longer ones the last."""


@dataclass(frozen=True, slots=True)
class Step:
    """One step of the line of descent."""

    mother: Ancestor
    child: Ancestor
    lines: Sequence[DiffLine]

    @property
    def gain(self) -> float:
        return self.child.score - self.mother.score


def render(story: ReportData, *, live: bool = False) -> str:
    """The page.

    Args:
        story: Of the run.
        live: Whether it is served by `overnight watch`, and asks for itself again.
    """
    line = main_line(story.lineage)
    pairs = list(pairwise(line))[-_STEPS:]
    return write(
        "report.html.jinja",
        live=live,
        story=story,
        settings=story.run.problem.settings,
        splits=splits_chart(story),
        split_rows=split_rows(story),
        charts=progress_charts(story),
        records=records(story.moments),
        best=coloured(story.best_function),
        steps=[Step(mother, child, difference(mother.function, child.function)) for mother, child in pairs],
        lineage=lineage_chart(story.lineage),
        islands=islands_chart(story),
        outcomes=outcomes_chart(story.models),
        kinds=[kind.value for kind in Outcome if any(kind.value in model.outcomes for model in story.models)],
        share_closed=share_closed(story),
        highlight=coloured,
    )


def progress_charts(story: ReportData) -> list[Chart]:
    charts = [over_samples(story), over_time(story), over_money(story)] if len(story.moments) > 1 else []
    return [chart for chart in charts if chart is not None]


def share_closed(story: ReportData) -> float | None:
    """How much of the way from the start to the best known was made, on held-out inputs where there are any."""
    known = story.run.problem.settings.known.best
    start, best = story.start.held_out, story.best.held_out
    if start is None or best is None:
        start, best = story.start.train, story.best.train
    if known is None or start is None or best is None or known <= start:
        return None
    return (best - start) / (known - start)


def write(template: str, *, live: bool = False, **content: Any) -> str:
    """A whole page from a template, with style, script and the policy that lets nothing else in."""
    style, script = (_asset(name) for name in ("page.css", "page.js"))
    live_script = _asset("live.js") if live else ""
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
    """Text in which nothing is hidden and nothing is out of order; what is safe as HTML stays so."""
    if not isinstance(value, str):
        return value
    text = escape_invisible(value)
    return type(value)(text) if hasattr(value, "__html__") else text


def duration(seconds: float) -> str:
    """`3.2 s`, `4 min 05 s`, `7 h 12 min`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def usd(value: float | None) -> str:
    if value is None:
        return "unknown"
    return f"${value:,.2f}" if value >= 0.1 or value == 0 else f"${value:.4f}"


def time_text(value: datetime) -> str:
    return f"{value:%Y-%m-%d %H:%M} UTC"


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


@cache
def _asset(name: str) -> str:
    return files("tasks.report").joinpath("templates", name).read_text(encoding="utf-8")


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("tasks.report"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        score=score_text,
        gain=gain_text,
        size=lambda value: gain_text(value)[1:],
        count=grouped,
        duration=duration,
        usd=usd,
        moment=time_text,
        json=json.dumps,
    )
    return environment
