"""Draws the outcomes of each model's candidates as a bar."""

from __future__ import annotations

from collections.abc import Sequence

from schemas.outcome import Outcome
from schemas.report_data import ModelSummary
from tasks.report.drawing import Box, Canvas, Chart, Drawing, Mark, Text
from tasks.report.scale import grouped

_ROW = 46.0


def outcomes_chart(models: Sequence[ModelSummary]) -> Chart | None:
    """Draw the bars; return `None` if there are no candidates."""
    if not models:
        return None
    height = _ROW * len(models) + 6
    canvases = (Canvas("wide", 760, height, left=0, right=0), Canvas("narrow", 344, height, left=0, right=0))
    text = " ".join(f"{model.model}: {_counts(model)}." for model in models)
    drawings = tuple(_draw(models, canvas) for canvas in canvases)
    return Chart("outcomes", "Outcomes of each model's candidates", text, drawings)


def _counts(model: ModelSummary) -> str:
    return ", ".join(f"{name} {grouped(count)}" for name, count in model.outcomes.items())


def _draw(models: Sequence[ModelSummary], canvas: Canvas) -> Drawing:
    marks: list[Mark] = []
    for index, model in enumerate(models):
        top = _ROW * index + 16
        name = model.model if len(model.model) < 40 or canvas.is_wide else model.model[:38] + "…"
        marks += [
            Text("row", 0, top - 4, name),
            Text("note", canvas.width, top - 4, f"{grouped(model.samples)} candidates", "end"),
            *_bar(model, canvas, top),
        ]
    return Drawing(canvas.layout, canvas.width, canvas.height, marks)


def _bar(model: ModelSummary, canvas: Canvas, top: float) -> list[Mark]:
    marks: list[Mark] = []
    x = 0.0
    for kind in Outcome:
        count = model.outcomes.get(kind.value, 0)
        width = canvas.width * count / model.samples
        if not count:
            continue
        share = f"{count / model.samples:.1%}"
        tooltip = f"{kind.value}: {grouped(count)} of {grouped(model.samples)}, {share}"
        marks.append(Box(f"o-{kind.value}", round(x, 1), top, round(max(width - 1, 0.5), 1), 20, tooltip))
        label = f"{kind.value} {count / model.samples:.0%}"
        if width > 7.5 * len(label):
            marks.append(Text(f"on o-on-{kind.value}", round(x + 6, 1), top + 14, label))
        x += width
    return marks
