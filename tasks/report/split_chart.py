"""Draws the scores of the start and the best program on each split, with known scores for comparison."""

from __future__ import annotations

from schemas.report_data import ReportData
from tasks.report.drawing import Canvas, Chart, Circle, Drawing, Line, Mark, Text, x_axis
from tasks.report.scale import Scale, padded, score_text

_ROW = 36.0


def splits_chart(report: ReportData) -> Chart:
    """Draw a line for each split, from the start program's score to the best program's."""
    rows = split_rows(report)
    height = 44 + _ROW * len(rows) + 30
    canvases = (
        Canvas("wide", 760, height, left=86, right=64, top=44),
        Canvas("narrow", 344, height, left=70, right=34, top=44),
    )
    gains = [f"{name}: from {score_text(start)} to {score_text(best)}" for name, start, best in rows]
    text = f"{'; '.join(gains)}." + "".join(f" {name}: {score_text(value)}." for value, name in _levels(report))
    return Chart(
        "splits", "From start to best, on each split", text, tuple(_draw(report, canvas) for canvas in canvases)
    )


def split_rows(report: ReportData) -> list[tuple[str, float | None, float | None]]:
    """Return the name of each split with the scores of the start and the best program, if it has any score."""
    rows = [
        ("train", report.start.train, report.best.train),
        ("validation", report.start.validation, report.best.validation),
        ("held-out", report.start.held_out, report.best.held_out),
    ]
    return [row for row in rows if row[1] is not None or row[2] is not None]


def _levels(report: ReportData) -> list[tuple[float, str]]:
    known = report.run.problem.settings.known
    levels = [(known.honesty, "without a model"), (known.best, "best known")]
    return [(value, name) for value, name in levels if value is not None]


def _draw(report: ReportData, canvas: Canvas) -> Drawing:
    rows = split_rows(report)
    values = [value for _, start, best in rows for value in (start, best) if value is not None]
    x_scale = canvas.x_scale(*padded([*values, *(value for value, _ in _levels(report))], 0.04))
    marks = [*x_axis(canvas, x_scale, ""), *_level_marks(report, canvas, x_scale)]
    for index, (name, start, best) in enumerate(rows):
        y = canvas.top + _ROW * (index + 0.6)
        marks += [Text("row", 0, y + 4, name), Line("grid", f"M{x_scale.start} {y}H{x_scale.end}")]
        marks += _row(x_scale, y, start, best)
    return Drawing(canvas.layout, canvas.width, canvas.height, marks)


def _row(x_scale: Scale, y: float, start: float | None, best: float | None) -> list[Mark]:
    marks: list[Mark] = []
    if start is not None and best is not None:
        marks.append(Line("best", f"M{x_scale(start)} {y}H{x_scale(best)}"))
    if start is not None:
        marks.append(Circle("start", x_scale(start), y, 5, tooltip=f"start {score_text(start)}"))
    if best is not None:
        is_centred = start is None or best >= start
        marks += [
            Circle("best", x_scale(best), y, 5.5, tooltip=f"best {score_text(best)}"),
            Text("label-best", x_scale(best), y - 9, _short(best), "middle" if is_centred else "end"),
        ]
    if start is not None and best is not None and abs(x_scale(best) - x_scale(start)) > 60:
        marks.append(Text("label", x_scale(start), y - 9, _short(start), "middle"))
    return marks


def _level_marks(report: ReportData, canvas: Canvas, x_scale: Scale) -> list[Mark]:
    """Draw known scores as lines through all rows; their names are above, one below the other and beside the lines."""
    levels = _levels(report)
    places = [x_scale(value) for value, _ in levels]
    at_right = bool(places) and max(places) > (x_scale.start + x_scale.end) / 2
    edge = min(places) - 6 if at_right else max(places, default=0) + 6
    marks: list[Mark] = []
    for index, ((value, name), x) in enumerate(zip(levels, places, strict=True)):
        y = 12.0 + 14 * index
        label = f"{name} {_short(value)}"
        marks += [
            Line("level", f"M{x} {y - 8}V{canvas.height - canvas.bottom}"),
            Text("label", edge, y, label, "end" if at_right else "start"),
        ]
    return marks


def _short(value: float) -> str:
    return f"{value:.4g}".replace("-", "−")
