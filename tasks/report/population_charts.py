"""Draws the population as a whole: its diversity, its scores and outcomes by model, and its niches over time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from overnight.schemas.outcome import Outcome
from overnight.schemas.report_data import ReportData
from overnight.schemas.report_rows import DiversityPoint, ModelSummary, NicheHistory, ScorePoint
from overnight.tasks.report.number_format import grouped, padded, score_text
from overnight.tasks.report.score_charts import shown_range
from overnight.tasks.report.vega import (
    ACCENT,
    OTHERS,
    WARM,
    Chart,
    Layout,
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

_TALL, _LOW = 27, 10
_MAX_TALL_ROWS = 20
_MAX_ROWS = 60
_BOTTOM = {"value": "height"}

_BAR = 20
"""Height of a bar of outcomes, in pixels."""
_CHARACTER = 7.5
"""Width of a character of a label, in pixels."""


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


def niches_chart(report: ReportData) -> Chart | None:
    """Draw a row for each niche, all on the same scale; return `None` before the first commit, and for one niche."""
    if len(report.generations) < 2 or len(report.niches) < 2:
        return None
    shown = shown_niches(report.niches)
    left_out = len(report.niches) - len(shown)
    return draw_chart(
        "niches",
        "Best score of each niche",
        _niches_text(report),
        layouts(0),
        lambda layout: _niches(report, shown, layout),
        note=f"{grouped(left_out)} niches with lower scores are not shown" if left_out else "",
    )


def shown_niches(niches: Sequence[NicheHistory], at_most: int = _MAX_ROWS) -> list[NicheHistory]:
    """Return the niches that are shown, in order: all, or those with the best scores."""
    best = {niche.niche for niche in sorted(niches, key=lambda niche: -niche.steps[-1][1])[:at_most]}
    return [niche for niche in niches if niche.niche in best]


def _niches_text(report: ReportData) -> str:
    resets = sum(len(niche.resets) for niche in report.niches)
    best = max(report.niches, key=lambda niche: niche.steps[-1][1])
    worst = min(report.niches, key=lambda niche: niche.steps[-1][1])
    return (
        f"{len(report.niches)} niches with {resets} resets in all. Best now: niche {best.niche} with "
        f"{score_text(best.steps[-1][1])}; worst: niche {worst.niche} with {score_text(worst.steps[-1][1])}."
    )


def _niches(report: ReportData, niches: Sequence[NicheHistory], layout: Layout) -> Spec:
    begin, end = report.generations[0].samples, report.generations[-1].samples
    end = max(end, begin + 1)
    leader = max(niche.steps[-1][1] for niche in niches)
    is_tall = len(niches) <= _MAX_TALL_ROWS
    rows = [
        {**row, "niche": niche.niche, "is_leader": niche.steps[-1][1] == leader}
        for niche in niches
        for row in _niche_rows(niche, end, with_counts=layout.is_wide and is_tall)
    ]
    colour = {"condition": {"test": "datum.is_leader", "value": ACCENT}, "value": OTHERS}
    x = number("sample", [begin, end], title="samples")
    y = number("score", padded([score for niche in niches for _, score in niche.steps], 0.05), axis=None)
    layers = [
        mark("rule", only="reset", x=x, color=WARM, strokeWidth=1.5),
        mark("line", only="step", x=x, y=y, color=colour, order={"field": "at"}, interpolate="step-after"),
        mark("text", only="end", x=x, y=_BOTTOM, text={"field": "text"}, color=colour, align="left", dx=6, dy=-6),
    ]
    return rows_of(
        rows,
        layers,
        by={"field": "niche", "sort": None, "header": {"labelAngle": 0, "labelAlign": "left", "title": None}},
        width=layout.width - (300 if layout.is_wide else 110),
        height=_TALL if is_tall else _LOW,
        spacing=6 if is_tall else 3,
    )


def _niche_rows(niche: NicheHistory, end: int, *, with_counts: bool) -> list[Spec]:
    last = niche.steps[-1][1]
    counts = f" · {grouped(niche.programs)} programs, {grouped(niche.clusters)} clusters" if with_counts else ""
    steps = [*niche.steps, (end, last)]
    resets = [
        {"kind": "reset", "sample": at, "label": f"niche {niche.niche} was reset after {grouped(at)} samples"}
        for at in niche.resets
    ]
    return [
        *({"kind": "step", "sample": at, "score": score, "at": place} for place, (at, score) in enumerate(steps)),
        *resets,
        {"kind": "end", "sample": end, "score": last, "text": f"{score_text(last)}{counts}"},
    ]


def outcomes_chart(models: Sequence[ModelSummary]) -> Chart | None:
    """Draw the bars; return `None` if there are no candidates."""
    if not models:
        return None
    text = " ".join(f"{model.model}: {_counts(model)}." for model in models)
    return draw_chart(
        "outcomes", "Outcomes of each model's candidates", text, layouts(0), lambda layout: _outcomes(models, layout)
    )


def _counts(model: ModelSummary) -> str:
    return ", ".join(f"{name} {grouped(count)}" for name, count in model.outcomes.items())


def _outcomes(models: Sequence[ModelSummary], layout: Layout) -> Spec:
    width = layout.width - 8
    rows = [row for model in models for row in _bars(model, width)]
    colours = {kind.value: f"light-dark({kind.facts.on_light}, {kind.facts.on_dark})" for kind in Outcome}
    x = {"field": "from", "type": "quantitative", "scale": {"domain": [0, 1]}, "axis": None}
    inks = {"field": "ink", "type": "nominal", "scale": None}
    colour = category("outcome", colours, has_legend=False)
    shares = {"text": {"field": "text"}, "color": inks, "align": "left", "dx": 6, "fontSize": 11.5, "strokeWidth": 0}
    layers = [
        mark("rect", x=x, x2={"field": "to"}, y={"value": 0}, y2={"value": _BAR}, color=colour),
        mark("text", x=x, y={"value": _BAR / 2}, **shares),
    ]
    header = {"orient": "top", "labelOrient": "top", "labelAnchor": "start", "labelLimit": width, "title": None}
    by = {"field": "model", "sort": None, "header": header}
    return rows_of(rows, layers, by=by, width=width, height=_BAR, spacing=12)


def _bars(model: ModelSummary, width: int) -> list[Spec]:
    name = f"{model.model} · {grouped(model.samples)} candidates"
    rows: list[Spec] = []
    begin = 0.0
    for kind in Outcome:
        if not (count := model.outcomes.get(kind.value, 0)):
            continue
        share = count / model.samples
        text = f"{kind.value} {share:.0%}"
        rows.append({
            "model": name,
            "outcome": kind.value,
            "from": begin,
            "to": begin + share,
            "text": text if width * share > _CHARACTER * len(text) else "",
            "ink": label_colour(kind),
            "label": f"{kind.value}: {grouped(count)} of {grouped(model.samples)}, {share:.1%}",
        })  # fmt: skip
        begin += share
    return rows


def label_colour(kind: Outcome) -> str:
    """Return the colour of a label on an outcome's colour: of paper and ink, the one that can be read there."""
    on_light, on_dark = _is_bright(kind.facts.on_light), _is_bright(kind.facts.on_dark)
    return f"light-dark(var(--{'ink' if on_light else 'paper'}), var(--{'paper' if on_dark else 'ink'}))"


def _is_bright(colour: str) -> bool:
    """Return whether dark text on a colour has more contrast than light text."""
    red, green, blue = ((int(colour[place : place + 2], 16) / 255) ** 2.2 for place in (1, 3, 5))
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.18
