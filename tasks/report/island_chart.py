"""Draws the best score of each island over time, with its resets."""

from __future__ import annotations

from schemas.report_data import IslandHistory, ReportData
from tasks.report.drawing import Canvas, Chart, Circle, Drawing, Line, Mark, Text, step_path, x_axis
from tasks.report.scale import Scale, grouped, padded, score_text

_TALL, _LOW = 34.0, 14.0
_MAX_TALL_ROWS = 20


def islands_chart(report: ReportData) -> Chart | None:
    """Draw a row for each island, all on the same scale; return `None` before the first generation is committed."""
    if len(report.generations) < 2 or not report.islands:
        return None
    row = _TALL if len(report.islands) <= _MAX_TALL_ROWS else _LOW
    height = 14 + row * len(report.islands) + 34
    canvases = (
        Canvas("wide", 760, height, left=52, right=250),
        Canvas("narrow", 344, height, left=26, right=70),
    )
    drawings = tuple(_draw(report, canvas, row) for canvas in canvases)
    return Chart("islands", "Best score of each island", _description(report), drawings)


def _description(report: ReportData) -> str:
    resets = sum(len(island.resets) for island in report.islands)
    best = max(report.islands, key=lambda island: island.steps[-1][1])
    worst = min(report.islands, key=lambda island: island.steps[-1][1])
    return (
        f"{len(report.islands)} islands with {resets} resets in all. Best now: island {best.island} with "
        f"{score_text(best.steps[-1][1])}; worst: island {worst.island} with {score_text(worst.steps[-1][1])}."
    )


def _draw(report: ReportData, canvas: Canvas, row: float) -> Drawing:
    begin, end = report.generations[0].samples, report.generations[-1].samples
    x_scale = canvas.x_scale(begin, max(end, begin + 1))
    low, high = padded([score for island in report.islands for _, score in island.steps], 0.02)
    leader = max(island.steps[-1][1] for island in report.islands)
    marks = x_axis(canvas, x_scale, "samples")
    for index, island in enumerate(report.islands):
        bottom = canvas.top + row * (index + 1) - 4
        y_scale = Scale(low, high, bottom, bottom - row + 7)
        is_leader = island.steps[-1][1] == leader
        marks += _island(island, x_scale, y_scale, is_leader=is_leader)
        marks += _labels(island, canvas, x_scale, bottom, row, is_leader=is_leader)
    return Drawing(canvas.layout, canvas.width, canvas.height, marks)


def _island(island: IslandHistory, x_scale: Scale, y_scale: Scale, *, is_leader: bool) -> list[Mark]:
    points = [(x_scale(sample), y_scale(score)) for sample, score in island.steps]
    resets: list[Mark] = []
    for sample in island.resets:
        x = x_scale(sample)
        resets += [
            Line("reset", f"M{x} {y_scale.end}V{y_scale.start}"),
            Circle(
                "reset",
                x,
                y_scale.start,
                2.6,
                tooltip=f"island {island.island} was reset after {grouped(sample)} samples",
            ),
        ]
    line = Line("best" if is_leader else "island", step_path(points, x_scale.end))
    return [Line("grid", f"M{x_scale.start} {y_scale.start}H{x_scale.end}"), *resets, line]


def _labels(
    island: IslandHistory, canvas: Canvas, x_scale: Scale, bottom: float, row: float, *, is_leader: bool
) -> list[Mark]:
    y = bottom - row / 2 + 7
    css_class = "label-best" if is_leader else "label"
    marks: list[Mark] = [
        Text("tick", canvas.left - 8, y, str(island.island), "end"),
        Text(css_class, x_scale.end + 8, y, score_text(island.steps[-1][1])),
    ]
    if canvas.is_wide and row == _TALL:
        text = f"{grouped(island.programs)} programs, {grouped(island.clusters)} clusters"
        marks.append(Text("note", x_scale.end + 88, y, text))
    return marks
