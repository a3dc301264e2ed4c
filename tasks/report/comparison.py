"""Compares groups of runs by medians and quartiles, and renders the comparison and the index of all runs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median, quantiles

from markupsafe import Markup

from overnight.schemas.run_curve import RunCurve
from overnight.tasks.report.number_format import grouped, padded, score_text
from overnight.tasks.report.page import render_template
from overnight.tasks.report.vega import Chart, Layout, Spec, category, draw_chart, layouts, mark, number, series_colours

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
        tuner_gain: Median gain of a run that is the tuner's.
        samples: Median number of samples of a run.
        seconds: Median running time of a run, in seconds.
        cost_usd: Median cost of a run, in USD; unknown prices count as 0.
        has_unknown_costs: Whether some prices of its runs are unknown.
        hypervolume: Hypervolumes of its runs' fronts; `None` if not every run has one.
    """

    name: str
    runs: tuple[RunCurve, ...]
    best: Quartiles
    held_out: Quartiles | None
    tuner_gain: float
    samples: float
    seconds: float
    cost_usd: float
    has_unknown_costs: bool
    hypervolume: Quartiles | None


def groups_of(runs: Sequence[RunCurve]) -> list[Group]:
    """Return the groups of runs, the one with the best median first."""
    by_name: dict[str, list[RunCurve]] = defaultdict(list)
    for run in runs:
        by_name[run.group].append(run)
    groups = [_group(name, members) for name, members in by_name.items()]
    return sorted(groups, key=lambda group: -group.best.middle)


def render_comparison(runs: Sequence[RunCurve]) -> str:
    groups = groups_of(runs)
    return render_template(
        "compare.html.jinja", runs=runs, groups=groups, notes=shared_seeds(runs), chart=comparison_chart(groups)
    )


def shared_seeds(runs: Sequence[RunCurve]) -> list[str]:
    """Return a note for each seed that several runs of a group share, since they are then not independent."""
    found: dict[tuple[str, int], list[str]] = {}
    for run in runs:
        found.setdefault((run.group, run.seed), []).append(run.run_id)
    return [
        f"{' and '.join(ids)} share seed {seed} and all settings: they are not independent, and the quartiles of "
        "their group are too narrow"
        for (_, seed), ids in found.items()
        if len(ids) > 1
    ]


def render_index(runs: Sequence[RunCurve], pages: Sequence[str]) -> str:
    """Return the HTML page of all runs, newest first; `pages` are ids of runs whose `report-RUN.html` is beside it."""
    newest_first = sorted(runs, key=lambda run: run.started_at, reverse=True)
    return render_template("index.html.jinja", runs=[(run, sparkline(run)) for run in newest_first], pages=set(pages))


def sparkline(run: RunCurve) -> Markup:
    """Draw a run's best score over its samples as a small SVG without axes, of which an index has hundreds."""
    width, height = 120.0, 24.0
    low, high = padded([score for _, score in run.steps], 0.02)
    points = [
        (round(2 + 114 * at / max(run.samples, 1), 1), round(20 - 16 * (score - low) / (high - low), 1))
        for at, score in run.steps
    ]
    path = f"M{points[0][0]} {points[0][1]}" + "".join(f"H{x}V{y}" for x, y in points[1:]) + "H116"
    label = (
        f"from {score_text(run.steps[0][1])} to {score_text(run.steps[-1][1])} in {grouped(len(run.steps) - 1)} steps"
    )
    return Markup(
        '<svg viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" aria-label="{label}">'
        '<path class="best" d="{path}"/><circle class="best" cx="116" cy="{y}" r="2.4"/></svg>'
    ).format(width=width, height=height, label=label, path=path, y=points[-1][1])


def comparison_chart(groups: Sequence[Group]) -> Chart:
    """Draw each group's median with its quartiles, and every run as a thin line."""
    medians = [f"{group.name}: median {score_text(group.best.middle)} of {len(group.runs)} runs" for group in groups]
    text = f"{'; '.join(medians)}."
    return draw_chart("comparison", "Best score over samples", text, layouts(420, 340), lambda one: _draw(groups, one))


def quartiles(values: Sequence[float]) -> Quartiles:
    if len(values) < _MIN_FOR_QUARTILES:
        middle = median(values)
        return Quartiles(middle, middle, middle)
    low, middle, high = quantiles(values, n=4, method="inclusive")
    return Quartiles(low, middle, high)


def _group(name: str, runs: Sequence[RunCurve]) -> Group:
    held_out = [run.best.held_out for run in runs if run.best.held_out is not None]
    hypervolumes = [run.hypervolume for run in runs if run.hypervolume is not None]
    return Group(
        name=name,
        runs=tuple(runs),
        best=quartiles([run.steps[-1][1] if run.best.train is None else run.best.train for run in runs]),
        held_out=quartiles(held_out) if len(held_out) == len(runs) else None,
        tuner_gain=median(run.tuner_gain for run in runs),
        samples=median(run.samples for run in runs),
        seconds=median(run.seconds for run in runs),
        cost_usd=median(run.cost_usd for run in runs),
        has_unknown_costs=any(run.has_unknown_costs for run in runs),
        hypervolume=quartiles(hypervolumes) if len(hypervolumes) == len(runs) else None,
    )


def _draw(groups: Sequence[Group], layout: Layout) -> Spec:
    runs = [run for group in groups for run in group.runs]
    x = number("sample", [0, max(1, *(run.samples for run in runs))], title="samples")
    y = number("score", padded([score for run in runs for _, score in run.steps]))
    max_chars = 80 if layout.is_wide else 34
    names = [one.name if len(one.name) <= max_chars else f"{one.name[: max_chars - 1]}…" for one in groups]
    colour = category("group", series_colours(names))
    colour["legend"] |= {"columns": 1, "labelLimit": layout.width - 40, "symbolType": "stroke", "symbolStrokeWidth": 3}
    curves = [_median_rows(group, name) for group, name in zip(groups, names, strict=True)]
    medians = [row for rows in curves for row in rows]
    banded = [rows for one, rows in zip(groups, curves, strict=True) if len(one.runs) >= _MIN_FOR_QUARTILES]
    bands = [row for rows in banded for row in rows]
    lines = [
        row for group, name in zip(groups, names, strict=True) for run in group.runs for row in _run_rows(run, name)
    ]
    step: Spec = {"interpolate": "step-after"}
    return {
        "layer": [
            mark("area", bands, x=x, y={**y, "field": "low"}, y2={"field": "high"}, color=colour, opacity=0.16, **step),
            mark("line", lines, x=x, y=y, color=colour, detail={"field": "run"}, strokeWidth=0.8, opacity=0.55, **step),
            mark("line", medians, x=x, y=y, color=colour, strokeWidth=2.4, **step),
            mark("circle", [rows[-1] for rows in curves], x=x, y=y, color=colour, size=40, opacity=1),
        ]
    }


def _run_rows(run: RunCurve, name: str) -> list[Spec]:
    steps = [*run.steps, (run.samples, run.steps[-1][1])]
    return [{"group": name, "run": run.run_id, "sample": at, "score": score} for at, score in steps]


def _median_rows(group: Group, name: str) -> list[Spec]:
    """Return a group's median and quartiles over samples, from where all have a score to the shortest's end."""
    begin, end = max(run.steps[0][0] for run in group.runs), min(run.samples for run in group.runs)
    samples = sorted({at for run in group.runs for at in (begin, end, *dict(run.steps)) if begin <= at <= end})
    rows: list[Spec] = []
    for sample in samples:
        span = quartiles([_best_at(run, sample) for run in group.runs])
        rows.append({
            "group": name, "sample": sample, "score": span.middle, "low": span.low, "high": span.high,
            "label": f"{name}: median {score_text(span.middle)} of {len(group.runs)} runs "
            f"after {grouped(sample)} samples",
        })  # fmt: skip
    return rows


def _best_at(run: RunCurve, sample: int) -> float:
    return [score for at, score in run.steps if at <= sample][-1]
