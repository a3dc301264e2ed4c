"""Start and best on each split, on one scale with what is known."""

from __future__ import annotations

from schemas.report_data import ReportData
from tasks.report.drawing import Chart, Circle, Drawing, Line, Mark, Paper, Text, axis_below
from tasks.report.scale import Scale, padded, score_text

_ROW = 36.0


def splits_chart(story: ReportData) -> Chart:
    """A line for each split, from the start program's score to the best one's."""
    rows = split_rows(story)
    height = 44 + _ROW * len(rows) + 30
    papers = (
        Paper("wide", 760, height, left=86, right=64, top=44),
        Paper("narrow", 344, height, left=70, right=34, top=44),
    )
    words = [f"{name}: from {score_text(start)} to {score_text(best)}" for name, start, best in rows]
    text = f"{'; '.join(words)}." + "".join(f" {name}: {score_text(value)}." for value, name in _levels(story))
    return Chart("splits", "From start to best, on each split", text, tuple(_draw(story, paper) for paper in papers))


def split_rows(story: ReportData) -> list[tuple[str, float | None, float | None]]:
    """Name of the split, score of the start program, score of the best; splits without scores are left out."""
    rows = [
        ("train", story.start.train, story.best.train),
        ("validation", story.start.validation, story.best.validation),
        ("held-out", story.start.held_out, story.best.held_out),
    ]
    return [row for row in rows if row[1] is not None or row[2] is not None]


def _levels(story: ReportData) -> list[tuple[float, str]]:
    known = story.run.problem.settings.known
    levels = [(known.honesty, "without a model"), (known.best, "best known")]
    return [(value, name) for value, name in levels if value is not None]


def _draw(story: ReportData, paper: Paper) -> Drawing:
    rows = split_rows(story)
    values = [value for _, start, best in rows for value in (start, best) if value is not None]
    across = paper.across(*padded([*values, *(value for value, _ in _levels(story))], 0.04))
    marks = [*axis_below(paper, across, ""), *_level_marks(story, paper, across)]
    for place, (name, start, best) in enumerate(rows):
        y = paper.top + _ROW * (place + 0.6)
        marks += [Text("row", 0, y + 4, name), Line("grid", f"M{across.start} {y}H{across.end}")]
        marks += _row(across, y, start, best)
    return Drawing(paper.look, paper.width, paper.height, marks)


def _row(across: Scale, y: float, start: float | None, best: float | None) -> list[Mark]:
    marks: list[Mark] = []
    if start is not None and best is not None:
        marks.append(Line("best", f"M{across(start)} {y}H{across(best)}"))
    if start is not None:
        marks.append(Circle("start", across(start), y, 5, tip=f"start {score_text(start)}"))
    if best is not None:
        right = start is None or best >= start
        marks += [
            Circle("best", across(best), y, 5.5, tip=f"best {score_text(best)}"),
            Text("label-best", across(best), y - 9, _short(best), "middle" if right else "end"),
        ]
    if start is not None and best is not None and abs(across(best) - across(start)) > 60:
        marks.append(Text("label", across(start), y - 9, _short(start), "middle"))
    return marks


def _level_marks(story: ReportData, paper: Paper, across: Scale) -> list[Mark]:
    """Known levels as lines through all rows; their names above, on lines of their own and clear of all of them."""
    levels = _levels(story)
    places = [across(value) for value, _ in levels]
    at_right = bool(places) and max(places) > (across.start + across.end) / 2
    edge = min(places) - 6 if at_right else max(places, default=0) + 6
    marks: list[Mark] = []
    for place, ((value, name), x) in enumerate(zip(levels, places, strict=True)):
        y = 12.0 + 14 * place
        said = f"{name} {_short(value)}"
        marks += [
            Line("level", f"M{x} {y - 8}V{paper.height - paper.bottom}"),
            Text("label", edge, y, said, "end" if at_right else "start"),
        ]
    return marks


def _short(value: float) -> str:
    return f"{value:.4g}".replace("-", "−")
