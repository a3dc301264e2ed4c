"""Outcomes by model: a bar for each model, from scored to failed."""

from __future__ import annotations

from collections.abc import Sequence

from schemas.outcome import Outcome
from schemas.report_data import ModelSummary
from tasks.report.drawing import Box, Chart, Drawing, Mark, Paper, Text
from tasks.report.scale import grouped

_ROW = 46.0


def outcomes_chart(models: Sequence[ModelSummary]) -> Chart | None:
    """The bars; `None` without candidates."""
    if not models:
        return None
    height = _ROW * len(models) + 6
    papers = (Paper("wide", 760, height, left=0, right=0), Paper("narrow", 344, height, left=0, right=0))
    text = " ".join(f"{model.model}: {_counts(model)}." for model in models)
    return Chart("outcomes", "Outcomes of each model's candidates", text, tuple(_draw(models, one) for one in papers))


def _counts(model: ModelSummary) -> str:
    return ", ".join(f"{name} {grouped(count)}" for name, count in model.outcomes.items())


def _draw(models: Sequence[ModelSummary], paper: Paper) -> Drawing:
    marks: list[Mark] = []
    for place, model in enumerate(models):
        top = _ROW * place + 16
        name = model.model if len(model.model) < 40 or paper.is_wide else model.model[:38] + "…"
        marks += [
            Text("row", 0, top - 4, name),
            Text("note", paper.width, top - 4, f"{grouped(model.samples)} candidates", "end"),
            *_bar(model, paper, top),
        ]
    return Drawing(paper.look, paper.width, paper.height, marks)


def _bar(model: ModelSummary, paper: Paper, top: float) -> list[Mark]:
    marks: list[Mark] = []
    x = 0.0
    for kind in Outcome:
        count = model.outcomes.get(kind.value, 0)
        width = paper.width * count / model.samples
        if not count:
            continue
        share = f"{count / model.samples:.1%}"
        tip = f"{kind.value}: {grouped(count)} of {grouped(model.samples)}, {share}"
        marks.append(Box(f"o-{kind.value}", round(x, 1), top, round(max(width - 1, 0.5), 1), 20, tip))
        if width > 7.5 * len(said := f"{kind.value} {count / model.samples:.0%}"):
            marks.append(Text(f"on o-on-{kind.value}", round(x + 6, 1), top + 14, said))
        x += width
    return marks
