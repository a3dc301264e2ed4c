"""Score over samples, over time and over money."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

from schemas.report_data import Improvement, ReportData
from tasks.report.drawing import (
    Chart,
    Circle,
    Drawing,
    Line,
    Mark,
    Paper,
    Text,
    axis_below,
    axis_left,
    specks,
    spread,
    stairs,
)
from tasks.report.scale import Scale, grouped, padded, score_text

_SHOWN = 0.7
"""Share of the scored candidates that is shown even where they are far worse than the start program."""

_PAPERS = (Paper("wide", 760, 340), Paper("narrow", 344, 290, left=44, right=72))
_SMALL = (Paper("wide", 372, 210, left=48, right=24), Paper("narrow", 344, 210, left=44, right=24))


def over_samples(story: ReportData) -> Chart:
    """Every scored candidate as a speck, and the best so far as a line."""
    levels = _levels(story)
    low, high = _range(story, levels)
    drawings = tuple(_over_samples(story, paper, levels, low, high) for paper in _PAPERS)
    return Chart("over-samples", "Score over samples", _told(story), drawings)


def over_time(story: ReportData) -> Chart:
    """The best so far over hours, minutes or seconds under way."""
    last = story.moments[-1].seconds
    unit, size = next(
        (unit, size) for unit, size in (("hours", 3600), ("minutes", 60), ("seconds", 1)) if last >= size or size == 1
    )
    return _small(story, "over-time", f"Score over {unit} under way", lambda moment: moment.seconds / size, unit)


def over_money(story: ReportData) -> Chart | None:
    """The best so far over USD; `None` where nothing was spent."""
    if story.moments[-1].cost_usd <= story.moments[0].cost_usd:
        return None
    return _small(story, "over-money", "Score over money spent", lambda moment: moment.cost_usd, "USD")


def records(moments: Sequence[Improvement]) -> list[Improvement]:
    """The first moment and every one that brought a new best."""
    return [moments[0], *(after for before, after in pairwise(moments) if after.best > before.best)]


def _levels(story: ReportData) -> list[tuple[float, str]]:
    known = story.run.problem.settings.known
    levels = [(known.best, "best known"), (known.honesty, "without a model")]
    return [(value, name) for value, name in levels if value is not None]


def _range(story: ReportData, levels: Sequence[tuple[float, str]]) -> tuple[float, float]:
    """From the worse of the start and most candidates to the best, known levels included where they are near."""
    first, last = story.moments[0].best, story.moments[-1].best
    scores = sorted((dot.score for dot in story.dots), reverse=True)
    worst = scores[: max(1, int(len(scores) * _SHOWN))][-1] if scores else first
    reach = (last - first) or abs(first) or 1.0
    low = max(min(first, worst), first - 2 * reach)
    near = [value for value, _ in levels if low <= value <= last + 3 * reach]
    return padded([low, last, *near])


def _over_samples(
    story: ReportData, paper: Paper, levels: Sequence[tuple[float, str]], low: float, high: float
) -> Drawing:
    moments = story.moments
    across = paper.across(moments[0].samples, max(moments[-1].samples, moments[0].samples + 1))
    up = paper.up(low, high)
    marks = [
        *axis_left(paper, up),
        *axis_below(paper, across, "samples"),
        *_nights(paper, across, moments),
        Line("specks", specks((across(dot.sample), up(dot.score)) for dot in story.dots if dot.score >= low)),
        *_best_line(moments, across, up, lambda moment: moment.samples),
        *_names(paper, across, up, [(moments[-1].best, "best"), *levels]),
    ]
    if below := sum(dot.score < low for dot in story.dots):
        said = f"{grouped(below)} worse ones below" if paper.is_wide else f"{grouped(below)} below"
        marks.append(Text("note", paper.left, paper.height - 4, said))
    return Drawing(paper.look, paper.width, paper.height, marks, _readings(moments, across, up), across.start)


def _nights(paper: Paper, across: Scale, moments: Sequence[Improvement]) -> list[Mark]:
    """A fine line where a further night begins."""
    marks: list[Mark] = []
    for before, after in pairwise(moments[1:]):
        if after.night != before.night:
            x = across(before.samples)
            marks += [
                Line("night", f"M{x} {paper.top}V{paper.height - paper.bottom}"),
                Text("note", x + 4, paper.top + 8, f"night {after.night}"),
            ]
    return marks


def _best_line(
    moments: Sequence[Improvement], across: Scale, up: Scale, place: Callable[[Improvement], float]
) -> list[Mark]:
    steps = records(moments)
    points = [(across(place(moment)), up(moment.best)) for moment in steps]
    discs = [
        Circle("best", x, y, 2.8, tip=f"{score_text(moment.best)}: {moment.best_program_id}, {_when(moment)}")
        for moment, (x, y) in zip(steps, points, strict=True)
    ]
    return [Line("best", stairs(points, across.end)), *discs]


def _names(paper: Paper, across: Scale, up: Scale, levels: Sequence[tuple[float, str]]) -> list[Mark]:
    """Lines at known levels, and their names at the right end, kept apart."""
    shown = sorted((level for level in levels if up.low <= level[0] <= up.high), reverse=True)
    places = spread([up(value) + 4 for value, _ in shown], 27, paper.top + 4, paper.height - paper.bottom)
    marks: list[Mark] = []
    for (value, name), y in zip(shown, places, strict=True):
        if name != "best":
            marks.append(Line("level", f"M{across.start} {up(value)}H{across.end}"))
        look = "label-best" if name == "best" else "label"
        marks += [
            Text(look, across.end + 8, y, name if paper.is_wide else _SHORT[name]),
            Text(look, across.end + 8, y + 13, score_text(value)),
        ]
    return marks


_SHORT = {"best": "best", "best known": "known", "without a model": "no model"}


def _readings(moments: Sequence[Improvement], across: Scale, up: Scale) -> list[tuple[float, float, str]]:
    shown: dict[float, Improvement] = {across(moment.samples): moment for moment in moments}
    return [
        (x, up(moment.best), f"best {score_text(moment.best)} after {_when(moment)}") for x, moment in shown.items()
    ]


def _when(moment: Improvement) -> str:
    return f"{grouped(moment.samples)} samples, generation {moment.generation}"


def _small(story: ReportData, name: str, title: str, place: Callable[[Improvement], float], unit: str) -> Chart:
    moments = story.moments
    first, last = place(moments[0]), place(moments[-1])
    bests = [moment.best for moment in moments]
    drawings = []
    for paper in _SMALL:
        across = paper.across(first, last if last > first else first + 1)
        up = paper.up(*padded(bests, 0.08))
        marks = [
            *axis_left(paper, up, 4),
            *axis_below(paper, across, unit, 4),
            *_best_line(moments, across, up, place),
        ]
        drawings.append(Drawing(paper.look, paper.width, paper.height, marks))
    end = f"{grouped(last, 0 if last >= 100 else 2)} {unit}"
    text = f"From {score_text(bests[0])} to {score_text(bests[-1])} in {end}; the table of new bests has each step."
    return Chart(name, title, text, tuple(drawings))


def _told(story: ReportData) -> str:
    steps = records(story.moments)
    first, last = steps[0], steps[-1]
    if len(steps) == 1:
        return f"No candidate was better than {score_text(first.best)} in {grouped(story.moments[-1].samples)} samples."
    return (
        f"The best score rose in {len(steps) - 1} steps from {score_text(first.best)} to {score_text(last.best)}, "
        f"the last of them after {_when(last)}; {grouped(story.moments[-1].samples)} samples in all, "
        f"{grouped(len(story.dots))} of them scored."
    )
