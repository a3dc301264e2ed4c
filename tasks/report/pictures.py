"""Pictures of what programs do, as the report shows them: as images, which a browser keeps apart from the page."""

from __future__ import annotations

from dataclasses import dataclass

from schemas.drawings import Drawings
from schemas.report_data import ReportData
from tasks.report.lineage_graph import line_of_descent
from tasks.report.sanitised_svg import data_uri, size_of, title_of


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture of a program.

    Attributes:
        label: Which program it is.
        text: What is to be seen, as the picture's title says.
        uri: The picture as the address of an image.
    """

    label: str
    program_id: str
    score: float
    text: str
    uri: str
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Pictures:
    """The pictures of a report.

    Attributes:
        pair: The start program and the best one.
        line: Programs of the line of descent between them and these, if there are any between.
        remark: Why some or all are missing.
    """

    pair: tuple[Picture, ...] = ()
    line: tuple[Picture, ...] = ()
    remark: str = ""


def pictures_of(report: ReportData, drawings: Drawings) -> Pictures:
    """Return the pictures that the report shows."""
    start_label = "Best of the nights before" if report.night else "Start"
    start, best = report.start, report.best
    labels = {start.program_id: start_label, best.program_id: "Best"}
    scores = {start.program_id: start.train, best.program_id: best.train}
    pair = tuple(
        _picture(drawings, name, labels[name], scores[name] or 0.0) for name in labels if name in drawings.pictures
    )
    line = tuple(
        _picture(
            drawings, ancestor.program_id, f"Sample {ancestor.sample:,}" if ancestor.sample else "Start", ancestor.score
        )
        for ancestor in line_of_descent(report.lineage)
        if ancestor.program_id in drawings.pictures
    )
    return Pictures(pair, line if len(line) > len(pair) else (), drawings.remark)


def _picture(drawings: Drawings, program_id: str, label: str, score: float) -> Picture:
    svg = drawings.pictures[program_id]
    width, height = size_of(svg)
    return Picture(label, program_id, score, title_of(svg), data_uri(svg), width, height)
