"""Islands over time: one small line each, on one scale, with their resets."""

from __future__ import annotations

from schemas.report_data import IslandHistory, ReportData
from tasks.report.drawing import Chart, Circle, Drawing, Line, Mark, Paper, Text, axis_below, stairs
from tasks.report.scale import Scale, grouped, padded, score_text

_TALL, _LOW = 34.0, 14.0


def islands_chart(story: ReportData) -> Chart | None:
    """A row for each island; `None` where there is but one moment to show."""
    if len(story.moments) < 2 or not story.islands:
        return None
    row = _TALL if len(story.islands) <= 20 else _LOW
    height = 14 + row * len(story.islands) + 34
    papers = (
        Paper("wide", 760, height, left=52, right=250),
        Paper("narrow", 344, height, left=26, right=70),
    )
    return Chart("islands", "Best score of each island", _told(story), tuple(_draw(story, one, row) for one in papers))


def _told(story: ReportData) -> str:
    resets = sum(len(island.resets) for island in story.islands)
    best = max(story.islands, key=lambda island: island.steps[-1][1])
    worst = min(story.islands, key=lambda island: island.steps[-1][1])
    return (
        f"{len(story.islands)} islands, emptied {resets} times in all. Best now: island {best.island} with "
        f"{score_text(best.steps[-1][1])}; worst: island {worst.island} with {score_text(worst.steps[-1][1])}."
    )


def _draw(story: ReportData, paper: Paper, row: float) -> Drawing:
    begin, end = story.moments[0].samples, story.moments[-1].samples
    across = paper.across(begin, max(end, begin + 1))
    low, high = padded([score for island in story.islands for _, score in island.steps], 0.02)
    leader = max(island.steps[-1][1] for island in story.islands)
    marks = axis_below(paper, across, "samples")
    for place, island in enumerate(story.islands):
        floor = paper.top + row * (place + 1) - 4
        up = Scale(low, high, floor, floor - row + 7)
        marks += _island(island, across, up, is_leader=island.steps[-1][1] == leader)
        marks += _words(island, paper, across, floor, row, is_leader=island.steps[-1][1] == leader)
    return Drawing(paper.look, paper.width, paper.height, marks)


def _island(island: IslandHistory, across: Scale, up: Scale, *, is_leader: bool) -> list[Mark]:
    points = [(across(sample), up(score)) for sample, score in island.steps]
    resets: list[Mark] = []
    for sample in island.resets:
        x = across(sample)
        resets += [
            Line("reset", f"M{x} {up.end}V{up.start}"),
            Circle("reset", x, up.start, 2.6, tip=f"island {island.island} emptied after {grouped(sample)} samples"),
        ]
    line = Line("best" if is_leader else "island", stairs(points, across.end))
    return [Line("grid", f"M{across.start} {up.start}H{across.end}"), *resets, line]


def _words(
    island: IslandHistory, paper: Paper, across: Scale, floor: float, row: float, *, is_leader: bool
) -> list[Mark]:
    y = floor - row / 2 + 7
    look = "label-best" if is_leader else "label"
    marks: list[Mark] = [
        Text("tick", paper.left - 8, y, str(island.island), "end"),
        Text(look, across.end + 8, y, score_text(island.steps[-1][1])),
    ]
    if paper.is_wide and row == _TALL:
        said = f"{grouped(island.programs)} programs, {grouped(island.clusters)} clusters"
        marks.append(Text("note", across.end + 88, y, said))
    return marks
