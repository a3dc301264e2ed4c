"""Draws the front of a run with several objectives: a chart for each pair of them."""

from __future__ import annotations

from itertools import combinations, islice

from overnight.schemas.report_data import ObjectivePoint, ReportData
from overnight.tasks.report.number_format import grouped, padded, score_text
from overnight.tasks.report.vega import (
    ACCENT,
    OTHERS,
    PAPER,
    WARM,
    Chart,
    Rows,
    Spec,
    draw_chart,
    layouts,
    mark,
    number,
    reading,
)

_MAX_CHARTS = 6


def front_charts(report: ReportData) -> list[Chart]:
    """Draw what programs reach in each pair of objectives; none where the score alone counts."""
    if not report.objective_points:
        return []
    names = list(report.objective_points[0].values)
    return [_pair(report, one, other) for one, other in islice(combinations(names, 2), _MAX_CHARTS)]


def _pair(report: ReportData, one: str, other: str) -> Chart:
    points = report.objective_points
    front = [point for point in points if point.is_on_front]
    less = {name for name, how in report.run.problem.settings.objectives.metrics.items() if how == "minimize"}
    best = {name: (min if name in less else max)(point.values[name] for point in front) for name in (one, other)}
    names = list(points[0].values)
    return draw_chart(
        f"front-{names.index(one)}-{names.index(other)}",
        f"{one} and {other}",
        f"{grouped(len(front))} programs are on the front; "
        + " and ".join(f"the best {name} is {score_text(value)}" for name, value in best.items()),
        layouts(320),
        lambda _: _drawn(report, one, other),
        note="wanted is " + " and ".join(f"{'less' if name in less else 'more'} {name}" for name in best),
    )


def _drawn(report: ReportData, one: str, other: str) -> Spec:
    points, start = report.objective_points, report.start.program_id
    rows = [
        {"x": point.values[one], "y": point.values[other], "label": _label(point, is_start=point.program_id == start)}
        for point in points
    ]
    x = number("x", padded([row["x"] for row in rows]), title=one)
    y = number("y", padded([row["y"] for row in rows]), title=other)

    def some(chosen: list[bool]) -> Rows:
        return [row for row, is_chosen in zip(rows, chosen, strict=True) if is_chosen]

    others = some([not point.is_on_front for point in points])
    front, first = some([point.is_on_front for point in points]), some([point.program_id == start for point in points])
    return {
        "layer": [
            mark("circle", others, x=x, y=y, color=OTHERS, size=16, opacity=0.6),
            mark("circle", front, x=x, y=y, color=ACCENT, size=70, opacity=1, stroke=PAPER),
            mark("point", first, x=x, y=y, color=WARM, fill=PAPER, filled=False, size=90, opacity=1),
        ]
    }


def _label(point: ObjectivePoint, *, is_start: bool) -> str:
    values = ", ".join(f"{name} {score_text(value)}" for name, value in point.values.items())
    what = "start program" if is_start else "on the front" if point.is_on_front else "candidate"
    return reading(f"{what} {point.program_id}: {values}", point.program_id, is_stop=point.is_on_front)
