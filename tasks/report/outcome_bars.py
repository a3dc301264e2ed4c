"""Draws the outcomes of each model's candidates as a bar."""

from __future__ import annotations

from collections.abc import Sequence

from schemas.outcome import Outcome
from schemas.report_data import ModelSummary
from tasks.report.number_format import grouped
from tasks.report.vega import Chart, Layout, Spec, category, draw_chart, layouts, mark, rows_of

_CHARACTER = 7.5
"""Width of a character of a label, in pixels."""


def outcomes_chart(models: Sequence[ModelSummary]) -> Chart | None:
    """Draw the bars; return `None` if there are no candidates."""
    if not models:
        return None
    text = " ".join(f"{model.model}: {_counts(model)}." for model in models)
    return draw_chart(
        "outcomes", "Outcomes of each model's candidates", text, layouts(0), lambda layout: _draw(models, layout)
    )


def _counts(model: ModelSummary) -> str:
    return ", ".join(f"{name} {grouped(count)}" for name, count in model.outcomes.items())


def _draw(models: Sequence[ModelSummary], layout: Layout) -> Spec:
    width = layout.width - 8
    rows = [row for model in models for row in _bars(model, width)]
    colours = {kind.value: f"light-dark({kind.facts.on_light}, {kind.facts.on_dark})" for kind in Outcome}
    x = {"field": "from", "type": "quantitative", "scale": {"domain": [0, 1]}, "axis": None}
    inks = {"field": "ink", "type": "nominal", "scale": None}
    layers = [
        mark("rect", x=x, x2={"field": "to"}, color=category("outcome", colours, has_legend=False), height=20),
        mark("text", x=x, text={"field": "text"}, color=inks, align="left", dx=6, fontSize=11.5, strokeWidth=0),
    ]
    header = {"orient": "top", "labelOrient": "top", "labelAnchor": "start", "labelLimit": width, "title": None}
    by = {"field": "model", "sort": None, "header": header}
    return rows_of(rows, layers, by=by, width=width, height=20, spacing=8)


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
