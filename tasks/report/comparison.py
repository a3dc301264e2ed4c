"""Compares groups of runs by medians and quartiles, and renders the comparison and the index of all runs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median, quantiles

from schemas.report_data import RunCurve
from tasks.report.drawing import (
    Canvas,
    Chart,
    Circle,
    Drawing,
    Line,
    Mark,
    Point,
    Text,
    spread_labels,
    step_path,
    x_axis,
    y_axis,
)
from tasks.report.page import render_template
from tasks.report.scale import Scale, grouped, padded, score_text

_COLOURS = 6
_MIN_FOR_QUARTILES = 3
"""Least number of values for which quartiles are meaningful."""


@dataclass(frozen=True, slots=True)
class Quartiles:
    """Lower quartile, median and upper quartile; all three are the median if there are fewer than three values."""

    low: float
    middle: float
    high: float


@dataclass(frozen=True, slots=True)
class Group:
    """Runs that differ by seed.

    Attributes:
        best: Best scores on the training inputs.
        held_out: Scores on the held-out inputs; `None` if not every run has one.
        tuner_gain: Median gain of a run that is the tuner's.
        samples: Median number of samples of a run.
        seconds: Median running time of a run, in seconds.
        cost_usd: Median cost of a run, in USD.
    """

    name: str
    runs: tuple[RunCurve, ...]
    best: Quartiles
    held_out: Quartiles | None
    tuner_gain: float
    samples: float
    seconds: float
    cost_usd: float


def groups_of(runs: Sequence[RunCurve]) -> list[Group]:
    """Return the groups of runs, the one with the best median first."""
    by_name: dict[str, list[RunCurve]] = defaultdict(list)
    for run in runs:
        by_name[run.group].append(run)
    groups = [_group(name, members) for name, members in by_name.items()]
    return sorted(groups, key=lambda group: -group.best.middle)


def render_comparison(runs: Sequence[RunCurve]) -> str:
    """Return the HTML page of a comparison."""
    groups = groups_of(runs)
    return render_template("compare.html.jinja", runs=runs, groups=groups, chart=comparison_chart(groups))


def render_index(runs: Sequence[RunCurve], pages: Sequence[str]) -> str:
    """Return the HTML page of all runs, the newest first.

    Args:
        runs: All runs of the history.
        pages: Ids of the runs whose report is in the same directory, as `report-RUN.html`.
    """
    newest_first = sorted(runs, key=lambda run: run.started_at, reverse=True)
    return render_template("index.html.jinja", runs=[(run, sparkline(run)) for run in newest_first], pages=set(pages))


def sparkline(run: RunCurve) -> Drawing:
    """Draw a run's best score over its samples, without axes."""
    canvas = Canvas("spark", 120, 24, left=2, right=4, top=4, bottom=4)
    x_scale = canvas.x_scale(0, max(run.samples, 1))
    y_scale = canvas.y_scale(*padded([score for _, score in run.steps], 0.02))
    points = [(x_scale(sample), y_scale(score)) for sample, score in run.steps]
    line = Line("best", step_path(points, x_scale.end))
    return Drawing("spark", canvas.width, canvas.height, [line, Circle("best", x_scale.end, points[-1][1], 2.4)])


def comparison_chart(groups: Sequence[Group]) -> Chart:
    """Draw each group's median with its quartiles, and every run as a thin line."""
    canvases = (Canvas("wide", 760, 380, right=150), Canvas("narrow", 344, 300, left=44, right=64))
    medians = [f"{group.name}: median {score_text(group.best.middle)} of {len(group.runs)} runs" for group in groups]
    drawings = tuple(_draw(groups, canvas) for canvas in canvases)
    return Chart("comparison", "Best score over samples", f"{'; '.join(medians)}.", drawings)


def colour_class(index: int) -> str:
    """Return the CSS class of a group's colour."""
    return f"g{index % _COLOURS}"


def quartiles(values: Sequence[float]) -> Quartiles:
    """Return the quartiles of some values."""
    if len(values) < _MIN_FOR_QUARTILES:
        middle = median(values)
        return Quartiles(middle, middle, middle)
    low, middle, high = quantiles(values, n=4, method="inclusive")
    return Quartiles(low, middle, high)


def _group(name: str, runs: Sequence[RunCurve]) -> Group:
    held_out = [run.best.held_out for run in runs if run.best.held_out is not None]
    return Group(
        name=name,
        runs=tuple(runs),
        best=quartiles([run.steps[-1][1] for run in runs]),
        held_out=quartiles(held_out) if len(held_out) == len(runs) else None,
        tuner_gain=median(run.tuner_gain for run in runs),
        samples=median(run.samples for run in runs),
        seconds=median(run.seconds for run in runs),
        cost_usd=median(run.cost_usd for run in runs),
    )


def _draw(groups: Sequence[Group], canvas: Canvas) -> Drawing:
    runs = [run for group in groups for run in group.runs]
    x_scale = canvas.x_scale(0, max(1, *(run.samples for run in runs)))
    y_scale = canvas.y_scale(*padded([score for run in runs for _, score in run.steps]))
    marks: list[Mark] = [*y_axis(canvas, y_scale), *x_axis(canvas, x_scale, "samples")]
    for index, group in enumerate(groups):
        marks += _curves(group, colour_class(index), x_scale, y_scale)
    marks += _group_labels(groups, canvas, x_scale, y_scale)
    return Drawing(canvas.layout, canvas.width, canvas.height, marks)


def _curves(group: Group, colour: str, x_scale: Scale, y_scale: Scale) -> list[Mark]:
    """Draw a group: its runs, its median and, if it has enough runs, the band between its quartiles."""
    marks: list[Mark] = []
    for run in group.runs:
        points = [(x_scale(sample), y_scale(score)) for sample, score in run.steps]
        marks.append(Line(f"run {colour}", step_path(points, x_scale(run.samples))))
    # Beyond the shortest run, a median would be of fewer runs.
    end = min(run.samples for run in group.runs)
    samples = sorted({0, *(sample for run in group.runs for sample, _ in run.steps if sample <= end)})
    spans = [quartiles([_best_at(run, sample) for run in group.runs]) for sample in samples]
    middle = [(x_scale(x), y_scale(span.middle)) for x, span in zip(samples, spans, strict=True)]
    marks.append(Line(f"line {colour}", step_path(middle, x_scale(end))))
    if len(group.runs) >= _MIN_FOR_QUARTILES:
        high = [(x_scale(x), y_scale(span.high)) for x, span in zip(samples, spans, strict=True)]
        low = [(x_scale(x), y_scale(span.low)) for x, span in zip(samples, spans, strict=True)]
        marks.insert(0, Line(f"band {colour}", _band(low, high, x_scale(end))))
    return marks


def _band(low: Sequence[Point], high: Sequence[Point], end: float) -> str:
    """Return the outline of the area between two step lines: along the upper one, and back along the lower one."""
    back = "".join(f"V{y}H{x}" for x, y in reversed(low))
    return f"{step_path(high, end)}{back}Z"


def _best_at(run: RunCurve, sample: int) -> float:
    return [score for at, score in run.steps if at <= sample][-1]


def _group_labels(groups: Sequence[Group], canvas: Canvas, x_scale: Scale, y_scale: Scale) -> list[Mark]:
    order = sorted(range(len(groups)), key=lambda index: -groups[index].best.middle)
    wanted = [y_scale(groups[index].best.middle) + 4 for index in order]
    marks: list[Mark] = []
    for index, y in zip(order, spread_labels(wanted, 30, canvas.top + 6, canvas.height - canvas.bottom), strict=True):
        group = groups[index]
        max_chars = 21 if canvas.is_wide else 8
        name = group.name if len(group.name) <= max_chars else group.name[: max_chars - 1] + "…"
        marks += [
            Text(colour_class(index), x_scale.end + 8, y, name),
            Text("note", x_scale.end + 8, y + 13, f"{score_text(group.best.middle)}, {grouped(len(group.runs))} runs"),
        ]
    return marks
