"""Draws the population as a whole: how diverse it is, and which scores each model and operator reach."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from schemas.report_data import DiversityPoint, ReportData, ScorePoint
from tasks.report.number_format import grouped, score_text
from tasks.report.progress_charts import shown_range
from tasks.report.vega import (
    ACCENT,
    WARM,
    Chart,
    Spec,
    category,
    draw_chart,
    layouts,
    mark,
    number,
    rows_of,
    series_colours,
)

_BINS = 30
_WHOLE = {"format": ",d", "labelExpr": "datum.value % 1 ? '' : datum.label"}
"""Properties of an axis of counts, which has no numbers between them."""
_MAX_MODELS = 6
"""Models with a histogram of their own, those of the most candidates."""


def diversity_chart(report: ReportData) -> Chart | None:
    """Draw how many programs the population has, and how many of them differ in behaviour.

    Programs behave in the same way if they have the same score on every input. Return `None` before the first commit.
    """
    states = report.diversity
    if len(states) < 2:
        return None
    first, last = states[0], states[-1]
    text = (
        f"From {_state(first)} to {_state(last)}. "
        f"The most different behaviours were {grouped(max(state.behaviours for state in states))}."
    )
    return draw_chart("diversity", "Diversity of the population", text, layouts(220), lambda _: _diversity(states))


def histogram_chart(report: ReportData) -> Chart | None:
    """Draw how often each score was reached, a row for each model, coloured by operator; `None` without scores."""
    low, high = shown_range(report)
    points = [point for point in report.points if point.score >= low]
    if not points:
        return None
    models = [model for model, _ in Counter(point.model for point in points).most_common(_MAX_MODELS)]
    row = 150 if len(models) == 1 else 84
    below = len(report.points) - len(points)
    text = " ".join(_model_text(model, [point for point in points if point.model == model]) for model in models)
    notes = [f"{grouped(below)} lower scores are not shown"] if below else []
    return draw_chart(
        "histogram",
        "Scores by model and operator",
        text,
        layouts(row),
        lambda layout: _histogram(points, models, low, high, width=layout.width - 60, row=row),
        note="; ".join(notes),
    )


def _state(state: DiversityPoint) -> str:
    return f"{grouped(state.programs)} programs of {grouped(state.behaviours)} behaviours"


def _diversity(states: Sequence[DiversityPoint]) -> Spec:
    rows = [
        {"sample": state.sample, "count": count, "series": name}
        for state in states
        for name, count in (("programs", state.programs), ("behaviours", state.behaviours))
    ]
    x = number("sample", [states[0].sample, max(states[-1].sample, states[0].sample + 1)], title="samples")
    y = number("count", [0, 1.08 * max(row["count"] for row in rows)], axis=_WHOLE)
    colours = {"programs": ACCENT, "behaviours": WARM}
    labels = [
        {**rows[2 * place + 1], "label": f"{_state(state)} after {grouped(state.sample)} samples"}
        for place, state in enumerate(states)
    ]
    return {
        "layer": [
            mark("line", rows, x=x, y=y, color=category("series", colours), interpolate="step-after", strokeWidth=2),
            mark("circle", labels, x=x, y=y, color=WARM, size=16, opacity=1),
        ]
    }


def _histogram(
    points: Sequence[ScorePoint], models: Sequence[str], low: float, high: float, *, width: int, row: int
) -> Spec:
    operators = sorted({point.operator or "any" for point in points})
    size = (high - low) / _BINS
    counts = Counter(
        (point.model, point.operator or "any", min(int((point.score - low) / size), _BINS - 1))
        for point in points
        if point.model in models
    )
    rows = _stacked(counts, models, operators, low, size)
    bar = mark(
        "rect",
        x=number("from", [low, high], title="score"),
        x2={"field": "to"},
        y={"field": "bottom", "type": "quantitative", "title": None, "axis": {"tickCount": 2, **_WHOLE}},
        y2={"field": "top"},
        color=category("operator", series_colours(operators), title="operator", has_legend=len(operators) > 1),
    )
    header = {"orient": "top", "labelOrient": "top", "labelAnchor": "start", "labelLimit": 300, "title": None}
    return rows_of(
        rows,
        [bar],
        by={"field": "model", "sort": list(models), "header": header},
        width=width,
        height=row,
        spacing=26,
        resolve={"scale": {"y": "independent"}},
    )


def _stacked(
    counts: Counter[tuple[str, str, int]], models: Sequence[str], operators: Sequence[str], low: float, size: float
) -> list[dict[str, object]]:
    """Return bars whose operators stand on each other."""
    rows = []
    for model in models:
        for place in range(_BINS):
            top = 0
            for operator in operators:
                if count := counts[model, operator, place]:
                    begin, end = low + place * size, low + (place + 1) * size
                    rows.append({
                        "model": model, "operator": operator, "from": begin, "to": end, "bottom": top,
                        "top": top + count,
                        "label": f"{model}, {operator}: {grouped(count)} "
                        f"from {score_text(begin, 4)} to {score_text(end, 4)}",
                    })  # fmt: skip
                    top += count
    return rows


def _model_text(model: str, points: Sequence[ScorePoint]) -> str:
    best = max(point.score for point in points)
    operators = Counter(point.operator or "any" for point in points).most_common()
    of = ", ".join(f"{operator} {grouped(count)}" for operator, count in operators)
    return f"{model}: {grouped(len(points))} scored, best {score_text(best)}; by operator {of}."
