"""The lineage of a program as a graph: samples across, score up, the line of descent from the start program bold."""

from __future__ import annotations

from collections.abc import Sequence

from schemas.report_data import Ancestor
from tasks.report.drawing import Chart, Circle, Drawing, Line, Mark, Paper, Text, axis_below, axis_left
from tasks.report.scale import Scale, padded, score_text

_PAPERS = (Paper("wide", 760, 300, right=40), Paper("narrow", 344, 260, left=44, right=16))


def main_line(ancestors: Sequence[Ancestor]) -> list[Ancestor]:
    """From the start program to the youngest, by mothers."""
    by_id = {one.program_id: one for one in ancestors}
    line = [ancestors[-1]]
    while (mother := by_id.get(line[-1].mother_id)) is not None:
        line.append(mother)
    return line[::-1]


def lineage_chart(ancestors: Sequence[Ancestor]) -> Chart | None:
    """The graph; `None` where the start program itself is the best."""
    if len(ancestors) < 2:
        return None
    line = main_line(ancestors)
    text = (
        f"{len(ancestors) - 1} ancestors. The line of descent has {len(line) - 1} steps: "
        + ", ".join(score_text(one.score) for one in line)
        + ". Each step is told below, with what it changed."
    )
    drawings = tuple(_draw(ancestors, line, paper) for paper in _PAPERS)
    return Chart("lineage", "Lineage of the best", text, drawings)


def _draw(ancestors: Sequence[Ancestor], line: Sequence[Ancestor], paper: Paper) -> Drawing:
    across = paper.across(0, max(one.sample for one in ancestors))
    up = paper.up(*padded([one.score for one in ancestors], 0.1))
    on_line = {one.program_id for one in line}
    place = {one.program_id: (across(one.sample), up(one.score)) for one in ancestors}
    marks: list[Mark] = [*axis_left(paper, up), *axis_below(paper, across, "samples")]
    marks += _edges(ancestors, place, on_line)
    for one in ancestors:
        x, y = place[one.program_id]
        look, radius = ("best", 5.0) if one.program_id in on_line else ("ancestor", 3.2)
        link = f"#step-{one.program_id}" if one.program_id in on_line and one.mother_id else ""
        marks.append(Circle(look, x, y, radius, tip=_tip(one), link=link))
    if paper.is_wide:
        marks += _labels(line, place, across)
    return Drawing(paper.look, paper.width, paper.height, marks)


def _edges(ancestors: Sequence[Ancestor], place: dict[str, tuple[float, float]], on_line: set[str]) -> list[Mark]:
    fine, bold = [], []
    for one in ancestors:
        for parent in one.parent_ids:
            if parent in place:
                is_bold = one.program_id in on_line and parent == one.mother_id
                (bold if is_bold else fine).append(_curve(place[parent], place[one.program_id]))
    return [Line("edge", "".join(fine)), Line("descent", "".join(bold))]


def _curve(start: tuple[float, float], end: tuple[float, float]) -> str:
    middle = round((start[0] + end[0]) / 2, 1)
    return f"M{start[0]} {start[1]}C{middle} {start[1]} {middle} {end[1]} {end[0]} {end[1]}"


def _labels(line: Sequence[Ancestor], place: dict[str, tuple[float, float]], across: Scale) -> list[Mark]:
    """Scores along the line of descent, where there is room for them."""
    marks: list[Mark] = []
    last_x = float("-inf")
    for one in line:
        x, y = place[one.program_id]
        rises_at_once = one is line[0] and line[1].score > one.score
        if x - last_x > 58 and (one is line[-1] or across.end - x > 58 or x == across.start):
            anchor = "end" if one is line[-1] else "middle" if x > across.start else "start"
            marks.append(Text("label-best", x, y + (18 if rises_at_once else -10), score_text(one.score), anchor))
            last_x = x
    return marks


def _tip(one: Ancestor) -> str:
    made = f"generation {one.generation}, island {one.island}, {one.model}" if one.generation else "the start program"
    return f"{one.program_id}: {score_text(one.score)}, {made}"
