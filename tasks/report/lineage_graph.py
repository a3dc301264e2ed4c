"""Draws a program's ancestors as a graph of score over samples, with the line of descent in bold."""

from __future__ import annotations

from collections.abc import Sequence

from overnight.schemas.report_rows import Ancestor
from overnight.tasks.report.number_format import padded, score_text
from overnight.tasks.report.vega import (
    ACCENT,
    LINE,
    OTHERS,
    PAPER,
    Chart,
    Layout,
    Spec,
    draw_chart,
    layouts,
    mark,
    number,
    reading,
)

_LEAST_GAP = 0.12
"""Least distance of two scores that are written on the line of descent, as a share of the chart's width."""


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
    return draw_chart(
        "lineage", "Lineage of the best", text, layouts(320, 270), lambda layout: _draw(ancestors, line, layout)
    )


def _draw(ancestors: Sequence[Ancestor], line: Sequence[Ancestor], layout: Layout) -> Spec:
    last = max(ancestor.sample for ancestor in ancestors)
    x = number("sample", [0, last], title="samples", axis={"tickMinStep": 1})
    y = number("score", padded([ancestor.score for ancestor in ancestors], 0.12))
    on_line = {ancestor.program_id for ancestor in line}
    edges = _edges(ancestors, on_line)
    ends = {"x": x, "y": y, "x2": {"field": "to_sample"}, "y2": {"field": "to_score"}}
    discs = [_row(ancestor) for ancestor in ancestors if ancestor.program_id not in on_line]
    texts = [_row(ancestor) for ancestor in _labelled(line)] if layout.is_wide else []
    return {
        "layer": [
            mark("rule", [edge for edge in edges if not edge["is_bold"]], **ends, color=LINE, strokeWidth=1),
            mark("rule", [edge for edge in edges if edge["is_bold"]], **ends, color=ACCENT, strokeWidth=2.4),
            mark("circle", discs, x=x, y=y, color=OTHERS, size=36, opacity=1, stroke=PAPER),
            mark("circle", [_row(one) for one in line], x=x, y=y, color=ACCENT, size=80, opacity=1, stroke=PAPER),
            mark(
                "text", texts, x=x, y=y, text={"field": "text"}, color=ACCENT, fontWeight=600, dy=-12, align="right"
            ),
        ]
    }  # fmt: skip


def _edges(ancestors: Sequence[Ancestor], on_line: set[str]) -> list[Spec]:
    by_id = {ancestor.program_id: ancestor for ancestor in ancestors}
    return [
        {
            "sample": parent.sample,
            "score": parent.score,
            "to_sample": child.sample,
            "to_score": child.score,
            "is_bold": child.program_id in on_line and parent.program_id == child.nearest_parent_id,
        }
        for child in ancestors
        for parent_id in child.parent_ids
        if (parent := by_id.get(parent_id)) is not None
    ]


def _labelled(line: Sequence[Ancestor]) -> list[Ancestor]:
    """Return the programs of the line whose scores have room to be written, the last one among them."""
    gap = _LEAST_GAP * line[-1].sample
    shown = [line[-1]]
    for program in reversed(line[1:-1]):
        is_new = score_text(program.score) != score_text(shown[-1].score)
        if is_new and shown[-1].sample - program.sample >= gap <= program.sample:
            shown.append(program)
    return shown


def _row(program: Ancestor) -> Spec:
    origin = f"generation {program.generation}, niche {program.niche}, {program.model}"
    text = f"{program.program_id}: {score_text(program.score)}, {origin if program.generation else 'the start program'}"
    return {
        "sample": program.sample,
        "score": program.score,
        "text": score_text(program.score),
        "label": reading(text, program.program_id),
    }
