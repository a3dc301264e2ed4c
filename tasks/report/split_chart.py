"""Draws the scores of the start and the best program on each split, with known scores for comparison."""

from __future__ import annotations

from collections.abc import Sequence

from schemas.report_data import ReportData
from tasks.report.number_format import padded, score_text
from tasks.report.vega import ACCENT, LEVEL, PAPER, Chart, Spec, draw_chart, layouts, mark, number

_ROW = 36


def splits_chart(report: ReportData) -> Chart:
    """Draw a line for each split, from the start program's score to the best program's."""
    rows = split_rows(report)
    gains = [f"{name}: from {score_text(start)} to {score_text(best)}" for name, start, best in rows]
    text = f"{'; '.join(gains)}." + "".join(f" {name}: {score_text(value)}." for value, name in _levels(report))
    height = 40 + _ROW * len(rows) + 16 * len(_levels(report))
    return draw_chart("splits", "From start to best, on each split", text, layouts(height), lambda _: _draw(report))


def split_rows(report: ReportData) -> list[tuple[str, float | None, float | None]]:
    """Return the name of each split with the scores of the start and the best program, if it has any score."""
    rows = [
        ("train", report.start.train, report.best.train),
        ("validation", report.start.validation, report.best.validation),
        ("held-out", report.start.held_out, report.best.held_out),
    ]
    return [row for row in rows if row[1] is not None or row[2] is not None]


def _levels(report: ReportData) -> list[tuple[float, str]]:
    known = report.run.problem.settings.known
    levels = [(known.honesty, "without a model"), (known.best, "best known")]
    return [(value, name) for value, name in levels if value is not None]


def _draw(report: ReportData) -> Spec:
    splits = split_rows(report)
    levels = _levels(report)
    values = [value for _, start, best in splits for value in (start, best) if value is not None]
    domain = padded([*values, *(value for value, _ in levels)], 0.06)
    names = [f"{name} {score_text(value, 4)}" for value, name in levels]
    y = {"field": "split", "type": "nominal", "title": None, "sort": [*names, *(name for name, _, _ in splits)]}
    y["axis"] = {"grid": True, "ticks": False, "labelExpr": f"indexof({names}, datum.value) < 0 ? datum.value : ''"}
    x, both = number("score", domain, axis={"tickCount": 6}), [row for row in splits if None not in row]
    start = [_end(name, value, "start") for name, value, _ in splits if value is not None]
    best = [_end(name, value, "best") for name, _, value in splits if value is not None]
    lines = [{"split": name, "score": begin, "to": end} for name, begin, end in both]
    return {
        "layer": [
            *_level_marks(levels, names, x, y, domain),
            mark("rule", lines, x=x, y=y, x2={"field": "to"}, color=ACCENT, strokeWidth=2),
            mark("point", start, x=x, y=y, color=ACCENT, fill=PAPER, filled=False, size=90, opacity=1),
            mark("circle", best, x=x, y=y, color=ACCENT, size=110, opacity=1, stroke=PAPER),
            mark("text", best, x=x, y=y, text={"field": "text"}, color=ACCENT, fontWeight=600, dy=-13),
        ]
    }


def _end(split: str, value: float, name: str) -> Spec:
    return {"split": split, "score": value, "text": score_text(value, 4), "label": f"{name} {score_text(value)}"}


def _level_marks(
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
