"""Draws the best score of each niche over time, with its resets."""

from __future__ import annotations

from collections.abc import Sequence

from schemas.report_data import NicheHistory, ReportData
from tasks.report.number_format import grouped, padded, score_text
from tasks.report.vega import ACCENT, OTHERS, WARM, Chart, Layout, Spec, draw_chart, layouts, mark, number, rows_of

_TALL, _LOW = 27, 10
_MAX_TALL_ROWS = 20
_MAX_ROWS = 60
_BOTTOM = {"value": "height"}


def niches_chart(report: ReportData) -> Chart | None:
    """Draw a row for each niche, all on the same scale; return `None` before the first commit, and for one niche."""
    if len(report.generations) < 2 or len(report.niches) < 2:
        return None
    shown = shown_niches(report.niches)
    left_out = len(report.niches) - len(shown)
    return draw_chart(
        "niches",
        "Best score of each niche",
        _description(report),
        layouts(0),
        lambda layout: _draw(report, shown, layout),
        note=f"{grouped(left_out)} niches with lower scores are not shown" if left_out else "",
    )


def shown_niches(niches: Sequence[NicheHistory], at_most: int = _MAX_ROWS) -> list[NicheHistory]:
    """Return the niches that are shown, in order: all, or those with the best scores."""
    best = {niche.niche for niche in sorted(niches, key=lambda niche: -niche.steps[-1][1])[:at_most]}
    return [niche for niche in niches if niche.niche in best]


def _description(report: ReportData) -> str:
    resets = sum(len(niche.resets) for niche in report.niches)
    best = max(report.niches, key=lambda niche: niche.steps[-1][1])
    worst = min(report.niches, key=lambda niche: niche.steps[-1][1])
    return (
        f"{len(report.niches)} niches with {resets} resets in all. Best now: niche {best.niche} with "
        f"{score_text(best.steps[-1][1])}; worst: niche {worst.niche} with {score_text(worst.steps[-1][1])}."
    )


def _draw(report: ReportData, niches: Sequence[NicheHistory], layout: Layout) -> Spec:
    begin, end = report.generations[0].samples, report.generations[-1].samples
    end = max(end, begin + 1)
    leader = max(niche.steps[-1][1] for niche in niches)
    is_tall = len(niches) <= _MAX_TALL_ROWS
    rows = [
        {**row, "niche": niche.niche, "is_leader": niche.steps[-1][1] == leader}
        for niche in niches
        for row in _rows(niche, end, with_counts=layout.is_wide and is_tall)
    ]
    colour = {"condition": {"test": "datum.is_leader", "value": ACCENT}, "value": OTHERS}
    x = number("sample", [begin, end], title="samples")
    y = number("score", padded([score for niche in niches for _, score in niche.steps], 0.05), axis=None)
    layers = [
        mark("rule", only="reset", x=x, color=WARM, strokeWidth=1.5),
        mark("line", only="step", x=x, y=y, color=colour, order={"field": "at"}, interpolate="step-after"),
        mark("text", only="end", x=x, y=_BOTTOM, text={"field": "text"}, color=colour, align="left", dx=6, dy=-6),
    ]
    return rows_of(
        rows,
        layers,
        by={"field": "niche", "sort": None, "header": {"labelAngle": 0, "labelAlign": "left", "title": None}},
        width=layout.width - (300 if layout.is_wide else 110),
        height=_TALL if is_tall else _LOW,
        spacing=6 if is_tall else 3,
    )


def _rows(niche: NicheHistory, end: int, *, with_counts: bool) -> list[Spec]:
    last = niche.steps[-1][1]
    counts = f" · {grouped(niche.programs)} programs, {grouped(niche.clusters)} clusters" if with_counts else ""
    steps = [*niche.steps, (end, last)]
    resets = [
        {"kind": "reset", "sample": at, "label": f"niche {niche.niche} was reset after {grouped(at)} samples"}
        for at in niche.resets
    ]
    return [
        *({"kind": "step", "sample": at, "score": score, "at": place} for place, (at, score) in enumerate(steps)),
        *resets,
        {"kind": "end", "sample": end, "score": last, "text": f"{score_text(last)}{counts}"},
    ]
