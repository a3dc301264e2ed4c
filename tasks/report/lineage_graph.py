"""Draws a program's ancestors as a graph of score over samples, with the line of descent in bold."""

from __future__ import annotations

from collections.abc import Sequence

from schemas.report_data import Ancestor
from tasks.report.drawing import Canvas, Chart, Circle, Drawing, Line, Mark, Point, Text, x_axis, y_axis
from tasks.report.scale import Scale, padded, score_text

_CANVASES = (Canvas("wide", 760, 300, right=40), Canvas("narrow", 344, 260, left=44, right=16))


def line_of_descent(ancestors: Sequence[Ancestor]) -> list[Ancestor]:
    """Return the line of most similar parents, from the start program to the last of the ancestors."""
    by_id = {ancestor.program_id: ancestor for ancestor in ancestors}
    line = [ancestors[-1]]
    while (parent := by_id.get(line[-1].nearest_parent_id)) is not None:
        line.append(parent)
    return line[::-1]


def lineage_chart(ancestors: Sequence[Ancestor]) -> Chart | None:
    """Draw the graph; return `None` if the start program is the best."""
    if len(ancestors) < 2:
        return None
    line = line_of_descent(ancestors)
    text = (
        f"{len(ancestors) - 1} ancestors. The line of descent has {len(line) - 1} steps: "
        + ", ".join(score_text(ancestor.score) for ancestor in line)
        + ". Each step and its changes are listed below."
    )
    drawings = tuple(_draw(ancestors, line, canvas) for canvas in _CANVASES)
    return Chart("lineage", "Lineage of the best", text, drawings)


def _draw(ancestors: Sequence[Ancestor], line: Sequence[Ancestor], canvas: Canvas) -> Drawing:
    x_scale = canvas.x_scale(0, max(ancestor.sample for ancestor in ancestors))
    y_scale = canvas.y_scale(*padded([ancestor.score for ancestor in ancestors], 0.1))
    on_line = {ancestor.program_id for ancestor in line}
    points = {ancestor.program_id: (x_scale(ancestor.sample), y_scale(ancestor.score)) for ancestor in ancestors}
    marks: list[Mark] = [*y_axis(canvas, y_scale), *x_axis(canvas, x_scale, "samples")]
    marks += _edges(ancestors, points, on_line)
    for ancestor in ancestors:
        x, y = points[ancestor.program_id]
        css_class, radius = ("best", 5.0) if ancestor.program_id in on_line else ("ancestor", 3.2)
        marks.append(Circle(css_class, x, y, radius, tooltip=_tooltip(ancestor)))
    if canvas.is_wide:
        marks += _labels(line, points, x_scale)
    return Drawing(canvas.layout, canvas.width, canvas.height, marks)


def _edges(ancestors: Sequence[Ancestor], points: dict[str, Point], on_line: set[str]) -> list[Mark]:
    thin, bold = [], []
    for child in ancestors:
        for parent_id in child.parent_ids:
            if parent_id in points:
                is_bold = child.program_id in on_line and parent_id == child.nearest_parent_id
                (bold if is_bold else thin).append(_curve(points[parent_id], points[child.program_id]))
    return [Line("edge", "".join(thin)), Line("descent", "".join(bold))]


def _curve(start: Point, end: Point) -> str:
    middle = round((start[0] + end[0]) / 2, 1)
    return f"M{start[0]} {start[1]}C{middle} {start[1]} {middle} {end[1]} {end[0]} {end[1]}"


def _labels(line: Sequence[Ancestor], points: dict[str, Point], x_scale: Scale) -> list[Mark]:
    """Draw the scores along the line of descent where there is room for them."""
    marks: list[Mark] = []
    last_x = float("-inf")
    for program in line:
        x, y = points[program.program_id]
        is_first, is_last = program is line[0], program is line[-1]
        has_room = x - last_x > 58 and (is_last or x_scale.end - x > 58 or x == x_scale.start)
        if has_room:
            anchor = "end" if is_last else "middle" if x > x_scale.start else "start"
            # Below the start program if the line rises from there.
            offset = 18 if is_first and line[1].score > program.score else -10
            marks.append(Text("label-best", x, y + offset, score_text(program.score), anchor))
            last_x = x
    return marks


def _tooltip(program: Ancestor) -> str:
    origin = f"generation {program.generation}, island {program.island}, {program.model}"
    return f"{program.program_id}: {score_text(program.score)}, {origin if program.generation else 'the start program'}"
