"""A drawing: marks on paper, without a word of SVG. The template draws them, and escapes every text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from tasks.report.scale import Scale

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Line:
    """A path.

    Attributes:
        look: Class that the style sheet knows.
        path: SVG path data.
    """

    look: str
    path: str
    kind: str = "line"


@dataclass(frozen=True, slots=True)
class Text:
    """Text that ends, begins or is centred at a point."""

    look: str
    x: float
    y: float
    text: str
    anchor: str = "start"
    kind: str = "text"


@dataclass(frozen=True, slots=True)
class Circle:
    """A disc; `tip` is shown where a pointer rests on it, `link` is where it leads."""

    look: str
    x: float
    y: float
    radius: float
    tip: str = ""
    link: str = ""
    kind: str = "circle"


@dataclass(frozen=True, slots=True)
class Box:
    """A filled rectangle."""

    look: str
    x: float
    y: float
    width: float
    height: float
    tip: str = ""
    kind: str = "box"


Mark = Line | Text | Circle | Box


@dataclass(frozen=True, slots=True)
class Drawing:
    """Marks on paper.

    Attributes:
        look: `wide` or `narrow`: which screens it is for.
        readings: For the crosshair: x, y and what is read there, left to right.
    """

    look: str
    width: float
    height: float
    marks: Sequence[Mark]
    readings: Sequence[tuple[float, float, str]] = field(default=())
    floor: float = 0.0


@dataclass(frozen=True, slots=True)
class Chart:
    """One chart for wide and narrow screens.

    Attributes:
        name: Unique on the page; letters, digits and dashes.
        title: What is shown, in a few words.
        text: What is seen, in a sentence or two, for those who do not see it.
    """

    name: str
    title: str
    text: str
    drawings: tuple[Drawing, ...]


@dataclass(frozen=True, slots=True)
class Paper:
    """Where a drawing is made: its size, and the margins around the plot."""

    look: str
    width: float
    height: float
    left: float = 52.0
    right: float = 110.0
    top: float = 14.0
    bottom: float = 34.0

    @property
    def is_wide(self) -> bool:
        return self.look == "wide"

    def across(self, low: float, high: float) -> Scale:
        return Scale(low, high, self.left, self.width - self.right)

    def up(self, low: float, high: float) -> Scale:
        return Scale(low, high, self.height - self.bottom, self.top)


def axis_below(paper: Paper, scale: Scale, name: str, count: int = 6) -> list[Mark]:
    """Ticks, numbers and the name of a horizontal axis."""
    floor = paper.height - paper.bottom
    marks: list[Mark] = [Line("axis", f"M{scale.start} {floor}H{scale.end}")]
    for value, text in scale.labels(count if paper.is_wide else 3):
        marks += [Line("axis", f"M{scale(value)} {floor}v4"), Text("tick", scale(value), floor + 16, text, "middle")]
    return [*marks, Text("name", scale.end, floor + 30, name, "end")]


def axis_left(paper: Paper, scale: Scale, count: int = 5) -> list[Mark]:
    """Numbers of a vertical axis with fine lines across; the name stands in the chart's title."""
    marks: list[Mark] = []
    for value, text in scale.labels(count):
        marks += [
            Line("grid", f"M{paper.left} {scale(value)}H{paper.width - paper.right}"),
            Text("tick", paper.left - 8, scale(value) + 4, text, "end"),
        ]
    return marks


def stairs(points: Sequence[Point], until: float) -> str:
    """The path of a value that holds until the next point."""
    (x, y), *rest = points
    return f"M{x} {y}" + "".join(f"H{x}V{y}" for x, y in rest) + f"H{until}"


def specks(points: Iterable[Point]) -> str:
    """The path of many small round dots, one for each spot of a pixel's size."""
    spots = dict.fromkeys((round(x), round(y)) for x, y in points)
    return "".join(f"M{x} {y}h0" for x, y in spots)


def spread(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Places for labels, near where they are wanted, at least `gap` apart, in the order given (ascending)."""
    placed = list(wanted)
    for place in range(1, len(placed)):
        placed[place] = max(placed[place], placed[place - 1] + gap)
    if placed and placed[-1] > high:
        placed[-1] = high
        for place in range(len(placed) - 2, -1, -1):
            placed[place] = min(placed[place], placed[place + 1] - gap)
    return [max(value, low) for value in placed]
