"""Draws the score over samples, over time and over cost."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

from schemas.report_data import GenerationSummary, ReportData
from tasks.report.drawing import (
    Canvas,
    Chart,
    Circle,
    Drawing,
    Line,
    Mark,
    Text,
    dots_path,
    spread_labels,
    step_path,
    x_axis,
    y_axis,
)
from tasks.report.scale import Scale, grouped, padded, score_text

_XValue = Callable[[GenerationSummary], float]

_MIN_SHOWN = 0.7
"""Least share of the scored candidates that is shown, even if they are far worse than the start program."""

_CANVASES = (Canvas("wide", 760, 340), Canvas("narrow", 344, 290, left=44, right=72))
_SMALL = (Canvas("wide", 372, 210, left=48, right=24), Canvas("narrow", 344, 210, left=44, right=24))


def over_samples(report: ReportData) -> Chart:
    """Draw every scored candidate as a dot, and the best score so far as a line."""
    levels = _levels(report)
    low, high = _range(report, levels)
    drawings = tuple(_over_samples(report, canvas, levels, low, high) for canvas in _CANVASES)
    return Chart("over-samples", "Score over samples", _description(report), drawings)


def over_time(report: ReportData) -> Chart:
    """Draw the best score so far over the running time in hours, minutes or seconds."""
    last = report.generations[-1].seconds
    unit, size = next(
        (unit, size) for unit, size in (("hours", 3600), ("minutes", 60), ("seconds", 1)) if last >= size or size == 1
    )
    return _small(
        report, "over-time", f"Score over {unit} of running time", lambda summary: summary.seconds / size, unit
    )


def over_cost(report: ReportData) -> Chart | None:
    """Draw the best score so far over the cost in USD; return `None` if there is no known cost."""
    if report.generations[-1].cost_usd <= report.generations[0].cost_usd:
        return None
    return _small(report, "over-money", "Score over cost", lambda summary: summary.cost_usd, "USD")


def new_bests(summaries: Sequence[GenerationSummary]) -> list[GenerationSummary]:
    """Return the first summary and every one with a new best score."""
    return [summaries[0], *(after for before, after in pairwise(summaries) if after.best > before.best)]


def _levels(report: ReportData) -> list[tuple[float, str]]:
    known = report.run.problem.settings.known
    levels = [(known.best, "best known"), (known.honesty, "without a model")]
    return [(value, name) for value, name in levels if value is not None]


def _range(report: ReportData, levels: Sequence[tuple[float, str]]) -> tuple[float, float]:
    """Return the range of scores that is shown.

    It covers the start, the best and most of the candidates, and known scores that are close to them.
    """
    first, last = report.generations[0].best, report.generations[-1].best
    scores = sorted((point.score for point in report.points), reverse=True)
    worst = scores[: max(1, int(len(scores) * _MIN_SHOWN))][-1] if scores else first
    gain = (last - first) or abs(first) or 1.0
    low = max(min(first, worst), first - 2 * gain)
    close = [value for value, _ in levels if low <= value <= last + 3 * gain]
    return padded([low, last, *close])


def _over_samples(
    report: ReportData, canvas: Canvas, levels: Sequence[tuple[float, str]], low: float, high: float
) -> Drawing:
    summaries = report.generations
    x_scale = canvas.x_scale(summaries[0].samples, max(summaries[-1].samples, summaries[0].samples + 1))
    y_scale = canvas.y_scale(low, high)
    marks = [
        *y_axis(canvas, y_scale),
        *x_axis(canvas, x_scale, "samples"),
        *_nights(canvas, x_scale, summaries),
        Line(
            "dots",
            dots_path((x_scale(point.sample), y_scale(point.score)) for point in report.points if point.score >= low),
        ),
        *_best_line(summaries, x_scale, y_scale, lambda summary: summary.samples),
        *_names(canvas, x_scale, y_scale, [(summaries[-1].best, "best"), *levels]),
    ]
    if below := sum(point.score < low for point in report.points):
        note = f"{grouped(below)} lower scores not shown" if canvas.is_wide else f"{grouped(below)} lower"
        marks.append(Text("note", canvas.left, canvas.height - 4, note))
    return Drawing(canvas.layout, canvas.width, canvas.height, marks, _readings(summaries, x_scale, y_scale))


def _nights(canvas: Canvas, x_scale: Scale, summaries: Sequence[GenerationSummary]) -> list[Mark]:
    """Draw a thin line where each further night begins."""
    marks: list[Mark] = []
    for before, after in pairwise(summaries[1:]):
        if after.night != before.night:
            x = x_scale(before.samples)
            marks += [
                Line("night", f"M{x} {canvas.top}V{canvas.height - canvas.bottom}"),
                Text("note", x + 4, canvas.top + 8, f"night {after.night}"),
            ]
    return marks


def _best_line(
    summaries: Sequence[GenerationSummary],
    x_scale: Scale,
    y_scale: Scale,
    x_value: _XValue,
) -> list[Mark]:
    """Draw the best score so far as a step line, with a disc at every new best."""
    steps = new_bests(summaries)
    points = [(x_scale(x_value(summary)), y_scale(summary.best)) for summary in steps]
    discs = [
        Circle("best", x, y, 2.8, tooltip=f"{score_text(summary.best)}: {summary.best_program_id}, {_when(summary)}")
        for summary, (x, y) in zip(steps, points, strict=True)
    ]
    return [Line("best", step_path(points, x_scale.end)), *discs]


def _names(canvas: Canvas, x_scale: Scale, y_scale: Scale, levels: Sequence[tuple[float, str]]) -> list[Mark]:
    """Draw lines at known scores, and their names at the right end without overlap."""
    shown = sorted((level for level in levels if y_scale.low <= level[0] <= y_scale.high), reverse=True)
    places = spread_labels(
        [y_scale(value) + 4 for value, _ in shown], 27, canvas.top + 4, canvas.height - canvas.bottom
    )
    marks: list[Mark] = []
    for (value, name), y in zip(shown, places, strict=True):
        if name != "best":
            marks.append(Line("level", f"M{x_scale.start} {y_scale(value)}H{x_scale.end}"))
        css_class = "label-best" if name == "best" else "label"
        marks += [
            Text(css_class, x_scale.end + 8, y, name if canvas.is_wide else _SHORT[name]),
            Text(css_class, x_scale.end + 8, y + 13, score_text(value)),
        ]
    return marks


_SHORT = {"best": "best", "best known": "known", "without a model": "no model"}


def _readings(summaries: Sequence[GenerationSummary], x_scale: Scale, y_scale: Scale) -> list[tuple[float, float, str]]:
    shown: dict[float, GenerationSummary] = {x_scale(summary.samples): summary for summary in summaries}
    return [
        (x, y_scale(summary.best), f"best {score_text(summary.best)} after {_when(summary)}")
        for x, summary in shown.items()
    ]


def _when(summary: GenerationSummary) -> str:
    return f"{grouped(summary.samples)} samples, generation {summary.generation}"


def _small(report: ReportData, name: str, title: str, x_value: _XValue, unit: str) -> Chart:
    summaries = report.generations
    first, last = x_value(summaries[0]), x_value(summaries[-1])
    bests = [summary.best for summary in summaries]
    drawings = []
    for canvas in _SMALL:
        x_scale = canvas.x_scale(first, last if last > first else first + 1)
        y_scale = canvas.y_scale(*padded(bests, 0.08))
        marks = [
            *y_axis(canvas, y_scale, 4),
            *x_axis(canvas, x_scale, unit, 4),
            *_best_line(summaries, x_scale, y_scale, x_value),
        ]
        drawings.append(Drawing(canvas.layout, canvas.width, canvas.height, marks))
    end = f"{grouped(last, 0 if last >= 100 else 2)} {unit}"
    text = f"From {score_text(bests[0])} to {score_text(bests[-1])} in {end}; the table of new bests lists each step."
    return Chart(name, title, text, tuple(drawings))


def _description(report: ReportData) -> str:
    steps = new_bests(report.generations)
    first, last = steps[0], steps[-1]
    samples = grouped(report.generations[-1].samples)
    if len(steps) == 1:
        return f"No candidate was better than {score_text(first.best)} in {samples} samples."
    return (
        f"The best score rose in {len(steps) - 1} steps from {score_text(first.best)} to {score_text(last.best)}, "
        f"the last of them after {_when(last)}; {samples} samples in all, "
        f"{grouped(len(report.points))} of them scored."
    )
