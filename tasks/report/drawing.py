"""Describes drawings as plain data; the template turns them into SVG and escapes every text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from tasks.report.scale import Scale

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Line:
    """A path.

    Attributes:
        css_class: CSS class.
        path: SVG path data.
    """

    css_class: str
    path: str
    kind: str = "line"


@dataclass(frozen=True, slots=True)
class Text:
    """Text at a point, which is its start, middle or end, as `anchor` says."""

    css_class: str
    x: float
    y: float
    text: str
    anchor: str = "start"
    kind: str = "text"


@dataclass(frozen=True, slots=True)
class Circle:
    """A disc, with a tooltip."""

    css_class: str
    x: float
    y: float
    radius: float
    tooltip: str = ""
    kind: str = "circle"


@dataclass(frozen=True, slots=True)
class Box:
    """A filled rectangle, with a tooltip."""

    css_class: str
    x: float
    y: float
    width: float
    height: float
    tooltip: str = ""
    kind: str = "box"


Mark = Line | Text | Circle | Box


@dataclass(frozen=True, slots=True)
class Drawing:
    """Marks on a canvas.

    Attributes:
        layout: `wide` or `narrow`, for screens of that width.
        readings: Points of the crosshair from left to right: x, y and the text that is shown there.
    """

    layout: str
    width: float
    height: float
    marks: Sequence[Mark]
    readings: Sequence[tuple[float, float, str]] = field(default=())


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart, drawn for wide and for narrow screens.

    Attributes:
        name: Name that is unique on the page, of letters, digits and dashes.
        title: Short title.
        text: Description of the chart in a sentence or two, for screen readers.
    """

    name: str
    title: str
    text: str
    drawings: tuple[Drawing, ...]


@dataclass(frozen=True, slots=True)
class Canvas:
    """Size of a drawing, and the margins around its plot.

    Attributes:
        layout: `wide` or `narrow`, for screens of that width.
    """

    layout: str
    width: float
    height: float
    left: float = 52.0
    right: float = 110.0
    top: float = 14.0
    bottom: float = 34.0

    @property
    def is_wide(self) -> bool:
        return self.layout == "wide"

    def x_scale(self, low: float, high: float) -> Scale:
        """Return the horizontal scale for data from `low` to `high`."""
        return Scale(low, high, self.left, self.width - self.right)

    def y_scale(self, low: float, high: float) -> Scale:
        """Return the vertical scale for data from `low` to `high`."""
        return Scale(low, high, self.height - self.bottom, self.top)


def x_axis(canvas: Canvas, scale: Scale, name: str, count: int = 6) -> list[Mark]:
    """Draw a horizontal axis with ticks, numbers and its name."""
    bottom = canvas.height - canvas.bottom
    marks: list[Mark] = [Line("axis", f"M{scale.start} {bottom}H{scale.end}")]
    for value, text in scale.labels(count if canvas.is_wide else 3):
        marks += [Line("axis", f"M{scale(value)} {bottom}v4"), Text("tick", scale(value), bottom + 16, text, "middle")]
    return [*marks, Text("name", scale.end, bottom + 30, name, "end")]


def y_axis(canvas: Canvas, scale: Scale, count: int = 5) -> list[Mark]:
    """Draw the numbers of a vertical axis with horizontal grid lines; the chart's title names the axis."""
    marks: list[Mark] = []
    for value, text in scale.labels(count):
        marks += [
            Line("grid", f"M{canvas.left} {scale(value)}H{canvas.width - canvas.right}"),
            Text("tick", canvas.left - 8, scale(value) + 4, text, "end"),
        ]
    return marks


def step_path(points: Sequence[Point], end: float) -> str:
    """Return the path of a step line, in which each value holds until the next point, and the last until `end`."""
    (x, y), *rest = points
    return f"M{x} {y}" + "".join(f"H{x}V{y}" for x, y in rest) + f"H{end}"


def dots_path(points: Iterable[Point]) -> str:
    """Return the path of small round dots, at most one for each pixel."""
    pixels = dict.fromkeys((round(x), round(y)) for x, y in points)
    return "".join(f"M{x} {y}h0" for x, y in pixels)


def spread_labels(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Return positions of labels close to the wanted ones (ascending), at least `gap` apart where there is room."""
    placed = list(wanted)
    for index in range(1, len(placed)):
        placed[index] = max(placed[index], placed[index - 1] + gap)
    if placed and placed[-1] > high:
        placed[-1] = high
        for index in range(len(placed) - 2, -1, -1):
            placed[index] = min(placed[index], placed[index + 1] - gap)
    return [max(value, low) for value in placed]
