"""Draws the score: over samples, time and cost, of start and best on each split, and beside other objectives."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from itertools import combinations, islice, pairwise

from overnight.schemas.report_data import ReportData
from overnight.schemas.report_rows import GenerationSummary, ObjectivePoint, ScorePoint
from overnight.tasks.report.number_format import gain_of, grouped, padded, score_text
from overnight.tasks.report.vega import (
    ACCENT,
    FINE,
    LEVEL,
    LINE,
    OTHERS,
    PAPER,
    SERIES,
    WARM,
    Chart,
    Layout,
    Rows,
    Spec,
    category,
    draw_chart,
    layouts,
    mark,
    number,
    reading,
    series_colours,
)

_XValue = Callable[[GenerationSummary], float]

_MIN_SHOWN = 0.7
"""Least share of the scored candidates that is shown, even if they are far worse than the start program."""

_SPLIT_HEIGHT = 36
_MAX_FRONT_CHARTS = 6


def over_samples(report: ReportData) -> Chart:
    """Draw every scored candidate as a dot, coloured by its niche, and the best score so far as a line."""
    low, high = shown_range(report)
    below = sum(point.score < low for point in report.points)
    notes = [f"{grouped(below)} lower scores are not shown"] if below else []
    if report.points_left_out:
        notes.append(f"{grouped(report.points_left_out)} candidates are left out evenly")
    return draw_chart(
        "over-samples",
        "Score over samples",
        _description(report),
        layouts(400, 340),
        lambda layout: _over_samples(report, layout, low, high),
        note="; ".join(notes),
    )


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


def shown_range(report: ReportData) -> list[float]:
    """Return the range of scores that is shown.

    It covers the start, the best and most of the candidates, and known scores that are close to them.
    """
    first, last = report.generations[0].best, report.generations[-1].best
    scores = sorted((point.score for point in report.points), reverse=True)
    worst = scores[: max(1, int(len(scores) * _MIN_SHOWN))][-1] if scores else first
    gain = gain_of(first, last) or abs(first) or 1.0
    low = max(min(first, worst), first - 2 * gain)
    close = [value for value, _ in _levels(report) if low <= value <= last + 3 * gain]
    return padded([low, last, *close])


def niche_colours(points: Sequence[ScorePoint]) -> dict[str, str]:
    """Return the colour of each niche, those of the most candidates first; beyond the palette all are `other`."""
    counts = Counter(point.niche for point in points)
    names = [name for name, _ in counts.most_common()]
    if len(names) <= len(SERIES):
        return series_colours(sorted(names, key=lambda name: (len(name), name)))
    return {**series_colours(names[: len(SERIES)]), "other": OTHERS}


def _levels(report: ReportData) -> list[tuple[float, str]]:
    known = report.run.problem.settings.known
    levels = [(known.best, known.best_name), (known.honesty, "without a model")]
    return [(value, name) for value, name in levels if value is not None]


def _over_samples(report: ReportData, layout: Layout, low: float, high: float) -> Spec:
    summaries = report.generations
    x = number("sample", [summaries[0].samples, max(summaries[-1].samples, summaries[0].samples + 1)], title="samples")
    y = number("score", [low, high])
    return {
        "layer": [
            *_night_marks(summaries, x, layout),
            *_dots(report.points, low, x, y),
            *_best_line(report, x, y, lambda summary: summary.samples),
            *_level_marks(report, y, low, high),
        ]
    }


def _dots(points: Sequence[ScorePoint], low: float, x: Spec, y: Spec) -> list[Spec]:
    colours = niche_colours(points)
    rows = [
        {
            "sample": point.sample,
            "score": point.score,
            "niche": point.niche if point.niche in colours else "other",
            "label": reading(
                f"{score_text(point.score)}: {point.program_id}, sample {grouped(point.sample)}, niche {point.niche}, "
                f"{point.model}{f', {point.operator}' if point.operator else ''}",
                point.program_id,
            ),
        }
        for point in points
        if point.score >= low
    ]
    has_legend = len(colours) > 1
    return [
        mark(
            "circle", rows, size=14, opacity=0.75, x=x, y=y,
            color=category("niche", colours, title="niche", has_legend=has_legend),
        )
    ]  # fmt: skip


def _night_marks(summaries: Sequence[GenerationSummary], x: Spec, layout: Layout) -> list[Spec]:
    """Draw a thin line where each further night begins."""
    rows = [
        {"sample": before.samples, "night": f"night {after.night}"}
        for before, after in pairwise(summaries[1:])
        if after.night != before.night
    ]
    if not rows:
        return []
    text = mark("text", rows, x=x, y={"value": 6}, text={"field": "night"}, align="left", dx=4)
    return [
        mark("rule", rows, x=x, color=LINE, strokeDash=[1, 3]),
        *([text] if len(rows) <= (20 if layout.is_wide else 4) else []),
    ]


def _level_marks(report: ReportData, y: Spec, low: float, high: float) -> list[Spec]:
    """Draw lines at known scores; one is named at its right end, the next one at its left end."""
    digits = report.digits
    shown = [(value, name) for value, name in _levels(report) if low <= value <= high]
    marks: list[Spec] = []
    for (value, name), (place, align) in zip(shown, (("width", "right"), (0, "left")), strict=False):
        rows = [{"score": value, "name": f"{name} {score_text(value, digits)}"}]
        marks += [
            mark("rule", rows, y=y, color=LEVEL, strokeDash=[2, 4]),
            mark(
                "text", rows, x={"value": place}, y=y, text={"field": "name"}, align=align, dy=-7, color=LEVEL,
            ),
        ]  # fmt: skip
    return marks


def _best_line(report: ReportData, x: Spec, y: Spec, x_value: _XValue) -> list[Spec]:
    """Draw the best score so far as a step line, with a disc at every new best."""
    steps = _line_rows(report.new_bests, x["field"], x_value, report.digits)
    end = _line_rows([report.generations[-1]], x["field"], x_value, report.digits)
    return [
        mark("line", [*steps, *end], x=x, y=y, interpolate="step-after", color=ACCENT, strokeWidth=2, clip=True),
        mark("circle", steps, x=x, y=y, color=ACCENT, size=36, opacity=1, stroke=PAPER),
        mark("circle", end, x=x, y=y, color=ACCENT, size=10, opacity=1),
        mark("text", end, x=x, y=y, text={"field": "text"}, color=ACCENT, fontWeight=600, align="right", dy=-9),
    ]


def _line_rows(summaries: Sequence[GenerationSummary], x_field: str, x_value: _XValue, digits: int) -> Rows:
    return [
        {
            x_field: x_value(summary),
            "score": summary.best,
            "text": score_text(summary.best, digits),
            "label": reading(
                f"best {score_text(summary.best, digits)} after {_when(summary)}", summary.best_program_id, is_stop=True
            ),
        }
        for summary in summaries
    ]


def _when(summary: GenerationSummary) -> str:
    return f"{grouped(summary.samples)} samples, generation {summary.generation}"


def _small(report: ReportData, name: str, title: str, x_value: _XValue, unit: str) -> Chart:
    summaries = report.generations
    first, last = x_value(summaries[0]), x_value(summaries[-1])
    bests = [summary.best for summary in summaries]
    x = number("at", [first, last if last > first else first + 1], title=unit, axis={"tickCount": 4})
    y = number("score", padded(bests, 0.12), axis={"tickCount": 4, "gridColor": FINE})
    end = f"{grouped(last, 0 if last >= 100 else 2)} {unit}"
    text = f"From {score_text(bests[0])} to {score_text(bests[-1])} in {end}; the table of new bests lists each step."
    return draw_chart(
        name, title, text, layouts(230, is_half=True), lambda _: {"layer": _best_line(report, x, y, x_value)}
    )


def _description(report: ReportData) -> str:
    steps = report.new_bests
    first, last = steps[0], steps[-1]
    samples = grouped(report.generations[-1].samples)
    if len(steps) == 1:
        return f"No candidate was better than {score_text(first.best)} in {samples} samples."
    return (
        f"The best score rose in {len(steps) - 1} steps from {score_text(first.best)} to {score_text(last.best)}, "
        f"the last of them after {_when(last)}; {samples} samples in all, "
        f"{grouped(len(report.points) + report.points_left_out)} of them scored."
    )


def splits_chart(report: ReportData) -> Chart:
    """Draw a line for each split, from the start program's score to the best program's."""
    rows = split_rows(report)
    digits = report.digits
    gains = [f"{name}: from {score_text(start, digits)} to {score_text(best, digits)}" for name, start, best in rows]
    known = [f" {name}: {score_text(value, digits)}." for value, name in _levels(report)[::-1]]
    text = f"{'; '.join(gains)}.{''.join(known)}"
    height = 40 + _SPLIT_HEIGHT * len(rows) + 16 * len(known)
    return draw_chart("splits", "From start to best, on each split", text, layouts(height), lambda _: _splits(report))


def split_rows(report: ReportData) -> list[tuple[str, float | None, float | None]]:
    """Return the name of each split with the scores of the start and the best program, if it has any score."""
    rows = [
        ("train", report.start.train, report.best.train),
        ("validation", report.start.validation, report.best.validation),
        ("held-out", report.start.held_out, report.best.held_out),
    ]
    return [row for row in rows if row[1] is not None or row[2] is not None]


def _splits(report: ReportData) -> Spec:
    splits = split_rows(report)
    levels = _levels(report)[::-1]
    values = [value for _, start, best in splits for value in (start, best) if value is not None]
    domain = padded([*values, *(value for value, _ in levels)], 0.06)
    digits = report.run.problem.settings.known.digits_beside(*values, least=4)
    names = [f"{name} {score_text(value, digits)}" for value, name in levels]
    y = {"field": "split", "type": "nominal", "title": None, "sort": [*names, *(name for name, _, _ in splits)]}
    y["axis"] = {"grid": True, "ticks": False, "labelExpr": f"indexof({names}, datum.value) < 0 ? datum.value : ''"}
    x, both = number("score", domain, axis={"tickCount": 6}), [row for row in splits if None not in row]
    start = [_split_end(name, value, "start", digits) for name, value, _ in splits if value is not None]
    best = [_split_end(name, value, "best", digits) for name, _, value in splits if value is not None]
    lines = [{"split": name, "score": begin, "to": end} for name, begin, end in both]
    return {
        "layer": [
            *_split_level_marks(levels, names, x, y, domain),
            mark("rule", lines, x=x, y=y, x2={"field": "to"}, color=ACCENT, strokeWidth=2),
            mark("point", start, x=x, y=y, color=ACCENT, fill=PAPER, filled=False, size=90, opacity=1),
            mark("circle", best, x=x, y=y, color=ACCENT, size=110, opacity=1, stroke=PAPER),
            mark("text", best, x=x, y=y, text={"field": "text"}, color=ACCENT, fontWeight=600, dy=-13),
        ]
    }


def _split_end(split: str, value: float, name: str, digits: int) -> Spec:
    label = f"{name} {score_text(value, max(6, digits))}"
    return {"split": split, "score": value, "text": score_text(value, digits), "label": label}


def _split_level_marks(
    levels: Sequence[tuple[float, str]], names: list[str], x: Spec, y: Spec, domain: list[float]
) -> list[Spec]:
    """Draw known scores as lines through all rows; each name has a row of its own above, beside its line."""
    marks: list[Spec] = []
    for (value, _), name in zip(levels, names, strict=True):
        is_right = value > sum(domain) / 2
        rows = [{"split": name, "score": value}]
        marks += [
            mark("rule", rows, x=x, color=LEVEL, strokeDash=[2, 4]),
            mark(
                "text", rows, x=x, y=y, text={"field": "split"}, color=LEVEL, align="right" if is_right else "left",
                dx=-6 if is_right else 6,
            ),
        ]  # fmt: skip
    return marks


def front_charts(report: ReportData) -> list[Chart]:
    """Draw what programs reach in each pair of objectives; none where the score alone counts."""
    if not report.objective_points:
        return []
    names = list(report.objective_points[0].values)
    return [_front_of_pair(report, one, other) for one, other in islice(combinations(names, 2), _MAX_FRONT_CHARTS)]


def _front_of_pair(report: ReportData, one: str, other: str) -> Chart:
    points = report.objective_points
    front = [point for point in points if point.is_on_front]
    less = {name for name, how in report.run.problem.settings.objectives.metrics.items() if how == "minimize"}
    best = {name: (min if name in less else max)(point.values[name] for point in front) for name in (one, other)}
    names = list(points[0].values)
    return draw_chart(
        f"front-{names.index(one)}-{names.index(other)}",
        f"{one} and {other}",
        f"{grouped(len(front))} programs are on the front; "
        + " and ".join(f"the best {name} is {score_text(value)}" for name, value in best.items()),
        layouts(320),
        lambda _: _front(report, one, other),
        note="wanted is " + " and ".join(f"{'less' if name in less else 'more'} {name}" for name in best),
    )


def _front(report: ReportData, one: str, other: str) -> Spec:
    points, start = report.objective_points, report.start.program_id
    rows = [
        {
            "x": point.values[one],
            "y": point.values[other],
            "label": _objectives_label(point, is_start=point.program_id == start),
        }
        for point in points
    ]
    x = number("x", padded([row["x"] for row in rows]), title=one)
    y = number("y", padded([row["y"] for row in rows]), title=other)

    pairs = list(zip(points, rows, strict=True))
    others = [row for point, row in pairs if not point.is_on_front]
    front = [row for point, row in pairs if point.is_on_front]
    first = [row for point, row in pairs if point.program_id == start]
    return {
        "layer": [
            mark("circle", others, x=x, y=y, color=OTHERS, size=16, opacity=0.6),
            mark("circle", front, x=x, y=y, color=ACCENT, size=70, opacity=1, stroke=PAPER),
            mark("point", first, x=x, y=y, color=WARM, fill=PAPER, filled=False, size=90, opacity=1),
        ]
    }


def _objectives_label(point: ObjectivePoint, *, is_start: bool) -> str:
    values = ", ".join(f"{name} {score_text(value)}" for name, value in point.values.items())
    what = "start program" if is_start else "on the front" if point.is_on_front else "candidate"
    return reading(f"{what} {point.program_id}: {values}", point.program_id, is_stop=point.is_on_front)
