"""Runs beside each other: groups of runs that differ by seed, with medians and quartiles, as a page and as rows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median, quantiles

from schemas.report_data import RunCurve
from tasks.report.drawing import (
    Chart,
    Circle,
    Drawing,
    Line,
    Mark,
    Paper,
    Point,
    Text,
    axis_below,
    axis_left,
    spread,
    stairs,
)
from tasks.report.page import write
from tasks.report.scale import Scale, grouped, padded, score_text

_COLOURS = 6
_ENOUGH = 3
"""Runs of a group from which quartiles say something."""


@dataclass(frozen=True, slots=True)
class Quartiles:
    """Lower quartile, median and upper quartile; all three the same where there are fewer than three values."""

    low: float
    middle: float
    high: float


@dataclass(frozen=True, slots=True)
class Group:
    """Runs that differ by seed.

    Attributes:
        held_out: `None` where not every run of it has such a score.
    """

    name: str
    runs: tuple[RunCurve, ...]
    best: Quartiles
    held_out: Quartiles | None
    samples: float
    seconds: float
    cost_usd: float


def groups_of(runs: Sequence[RunCurve]) -> list[Group]:
    """The groups, the one with the best median first."""
    by_name: dict[str, list[RunCurve]] = defaultdict(list)
    for run in runs:
        by_name[run.group].append(run)
    groups = [_group(name, members) for name, members in by_name.items()]
    return sorted(groups, key=lambda group: -group.best.middle)


def render_comparison(runs: Sequence[RunCurve]) -> str:
    """The page of a comparison."""
    groups = groups_of(runs)
    return write("compare.html.jinja", runs=runs, groups=groups, chart=comparison_chart(groups))


def render_index(runs: Sequence[RunCurve], pages: Sequence[str]) -> str:
    """The page of all runs, the newest first.

    Args:
        runs: Of the history.
        pages: Ids of the runs whose report stands beside it, as `report-RUN.html`.
    """
    newest_first = sorted(runs, key=lambda run: run.started_at, reverse=True)
    return write("index.html.jinja", runs=[(run, spark(run)) for run in newest_first], pages=set(pages))


def spark(run: RunCurve) -> Drawing:
    """The best score over samples, without axes."""
    paper = Paper("spark", 120, 24, left=2, right=4, top=4, bottom=4)
    across, up = paper.across(0, max(run.samples, 1)), paper.up(*padded([score for _, score in run.steps], 0.02))
    points = [(across(sample), up(score)) for sample, score in run.steps]
    line = Line("best", stairs(points, across.end))
    return Drawing("spark", paper.width, paper.height, [line, Circle("best", across.end, points[-1][1], 2.4)])


def comparison_chart(groups: Sequence[Group]) -> Chart:
    """Medians with their quartiles, and every run as a fine line."""
    papers = (Paper("wide", 760, 380, right=150), Paper("narrow", 344, 300, left=44, right=64))
    words = [f"{group.name}: median {score_text(group.best.middle)} of {len(group.runs)}" for group in groups]
    drawings = tuple(_draw(groups, paper) for paper in papers)
    return Chart("comparison", "Best score over samples", f"{'; '.join(words)}.", drawings)


def colour(place: int) -> str:
    """The class of a group's colour."""
    return f"g{place % _COLOURS}"


def quartiles(values: Sequence[float]) -> Quartiles:
    if len(values) < _ENOUGH:
        return Quartiles(*[median(values)] * 3)
    low, middle, high = quantiles(values, n=4, method="inclusive")
    return Quartiles(low, middle, high)


def _group(name: str, runs: Sequence[RunCurve]) -> Group:
    held_out = [run.best.held_out for run in runs if run.best.held_out is not None]
    return Group(
        name=name,
        runs=tuple(runs),
        best=quartiles([run.steps[-1][1] for run in runs]),
        held_out=quartiles(held_out) if len(held_out) == len(runs) else None,
        samples=median(run.samples for run in runs),
        seconds=median(run.seconds for run in runs),
        cost_usd=median(run.cost_usd for run in runs),
    )


def _draw(groups: Sequence[Group], paper: Paper) -> Drawing:
    runs = [run for group in groups for run in group.runs]
    across = paper.across(0, max(1, *(run.samples for run in runs)))
    up = paper.up(*padded([score for run in runs for _, score in run.steps]))
    marks: list[Mark] = [*axis_left(paper, up), *axis_below(paper, across, "samples")]
    for place, group in enumerate(groups):
        marks += _curves(group, colour(place), across, up)
    return Drawing(paper.look, paper.width, paper.height, [*marks, *_names(groups, paper, across, up)])


def _curves(group: Group, look: str, across: Scale, up: Scale) -> list[Mark]:
    threads = [
        Line(
            f"thread {look}", stairs([(across(sample), up(score)) for sample, score in run.steps], across(run.samples))
        )
        for run in group.runs
    ]
    until = min(run.samples for run in group.runs)
    places = sorted({0, *(sample for run in group.runs for sample, _ in run.steps if sample <= until)})
    spans = [quartiles([_best_at(run, sample) for run in group.runs]) for sample in places]
    middle = stairs([(across(x), up(span.middle)) for x, span in zip(places, spans, strict=True)], across(until))
    marks: list[Mark] = [*threads, Line(f"line {look}", middle)]
    if len(group.runs) >= _ENOUGH:
        high = [(across(x), up(span.high)) for x, span in zip(places, spans, strict=True)]
        low = [(across(x), up(span.low)) for x, span in zip(places, spans, strict=True)]
        marks.insert(0, Line(f"band {look}", _band(low, high, across(until))))
    return marks


def _band(low: Sequence[Point], high: Sequence[Point], until: float) -> str:
    """The outline of what lies between two stairs: along the upper one, and back along the lower one."""
    back = "".join(f"V{y}H{x}" for x, y in reversed(low))
    return f"{stairs(high, until)}{back}Z"


def _best_at(run: RunCurve, sample: int) -> float:
    return [score for at, score in run.steps if at <= sample][-1]


def _names(groups: Sequence[Group], paper: Paper, across: Scale, up: Scale) -> list[Mark]:
    order = sorted(range(len(groups)), key=lambda place: -groups[place].best.middle)
    wanted = [up(groups[place].best.middle) + 4 for place in order]
    marks: list[Mark] = []
    for place, y in zip(order, spread(wanted, 30, paper.top + 6, paper.height - paper.bottom), strict=True):
        group = groups[place]
        room = 21 if paper.is_wide else 8
        name = group.name if len(group.name) <= room else group.name[: room - 1] + "…"
        marks += [
            Text(colour(place), across.end + 8, y, name),
            Text("note", across.end + 8, y + 13, f"{score_text(group.best.middle)}, {grouped(len(group.runs))} runs"),
        ]
    return marks
