"""Draw pictures: the module `funsearch.svg` of programs, for functions marked `@funsearch.draw`."""

from __future__ import annotations

import html
import io
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

INK = "currentColor"
"""Colour of text and outlines; it is dark on a light page and light on a dark one."""

SOFT, BLUE, ORANGE, GREEN, PURPLE = "#8c8a84", "#3f87cf", "#dd7138", "#3f9b6c", "#9a6fc4"
"""Colours that can be told from light and from dark paper."""

COLOURS = (BLUE, ORANGE, GREEN, PURPLE, SOFT)

_LEVELS = 8
"""Number of opacities of a heat map."""

_MARGIN = 46.0
"""Room for the labels around a plot."""


class Picture:
    """A drawing of a given size. The origin is at the top left, and y grows downwards.

    Args:
        width: Width, in units of all coordinates.
        height: Height.
        title: Description of what is to be seen, for people who do not see it.
    """

    def __init__(self, width: float, height: float, title: str) -> None:
        self.width, self.height, self.title = float(width), float(height), title
        self._parts: list[str] = []

    def __str__(self) -> str:
        size = f'viewBox="0 0 {_number(self.width)} {_number(self.height)}"'
        title = f"<title>{_escaped(self.title)}</title>"
        return f'<svg xmlns="http://www.w3.org/2000/svg" {size}>{title}{"".join(self._parts)}</svg>'

    def add(self, element: str, content: str = "", **attributes: Any) -> None:
        """Add an element of SVG, such as `add("ellipse", cx=5, cy=5, rx=3, ry=2)`; `_` in names stands for `-`."""
        written = "".join(f' {name.replace("_", "-")}="{_value(value)}"' for name, value in attributes.items())
        self._parts.append(f"<{element}{written}>{_escaped(content)}</{element}>")

    def circle(self, x: float, y: float, r: float, *, fill: str = "none", stroke: str = "none", **style: Any) -> None:
        """Add a circle with a centre and a radius."""
        self.add("circle", cx=x, cy=y, r=r, fill=fill, stroke=stroke, **style)

    def rect(
        self, x: float, y: float, width: float, height: float, *, fill: str = "none", stroke: str = "none", **style: Any
    ) -> None:
        """Add a rectangle, by its top left corner and its size."""
        self.add("rect", x=x, y=y, width=width, height=height, fill=fill, stroke=stroke, **style)

    def line(self, x1: float, y1: float, x2: float, y2: float, *, stroke: str = INK, **style: Any) -> None:
        """Add a line between two points."""
        self.add("line", x1=x1, y1=y1, x2=x2, y2=y2, stroke=stroke, **style)

    def polyline(
        self, points: Iterable[Sequence[float]], *, stroke: str = INK, fill: str = "none", **style: Any
    ) -> None:
        """Add lines from point to point."""
        self.add("polyline", points=_points(points), stroke=stroke, fill=fill, **style)

    def polygon(
        self, points: Iterable[Sequence[float]], *, stroke: str = INK, fill: str = "none", **style: Any
    ) -> None:
        """Add a polygon."""
        self.add("polygon", points=_points(points), stroke=stroke, fill=fill, **style)

    def text(
        self,
        x: float,
        y: float,
        text: object,
        *,
        size: float = 12,
        anchor: str = "start",
        fill: str = INK,
        **style: Any,
    ) -> None:
        """Add a line of text; `anchor` is `start`, `middle` or `end`."""
        self.add("text", str(text), x=x, y=y, font_size=size, text_anchor=anchor, fill=fill, **style)

    def squares(
        self, corners: Iterable[Sequence[float]], side: float, *, fill: str = BLUE, gap: float = 0.0, **style: Any
    ) -> None:
        """Add equal squares, as one element, by their top left corners.

        Args:
            corners: x and y of each.
            side: Distance of two neighbours.
            fill: Colour.
            gap: Room between two neighbours.
            style: Other attributes.
        """
        inner = _number(side - gap)
        squares = (f"M{_number(x)} {_number(y)}h{inner}v{inner}h-{inner}z" for x, y in corners)
        if path := "".join(squares):
            self.add("path", d=path, fill=fill, **style)

    def heat_map(self, rows: Iterable[Iterable[float]], x: float, y: float, side: float) -> None:
        """Add a matrix as squares: positive numbers in blue, negative ones in orange, 0 empty; with a thin frame.

        Args:
            rows: The matrix.
            x: Left edge.
            y: Upper edge.
            side: Side of a square.
        """
        matrix = [[float(value) for value in row] for row in rows]
        largest = max((abs(value) for row in matrix for value in row), default=0.0)
        levels: dict[tuple[str, int], list[tuple[float, float]]] = {}
        for number, row in enumerate(matrix):
            for column, value in enumerate(row):
                if value and largest:
                    key = BLUE if value > 0 else ORANGE, math.ceil(_LEVELS * abs(value) / largest)
                    levels.setdefault(key, []).append((x + column * side, y + number * side))
        for (colour, level), corners in levels.items():
            self.squares(corners, side, fill=colour, fill_opacity=level / _LEVELS)
        columns = max((len(row) for row in matrix), default=0)
        self.rect(x, y, columns * side, len(matrix) * side, stroke=SOFT, stroke_width=0.5)

    def plot(
        self,
        curves: Mapping[str, Iterable[Sequence[float]]],
        *,
        x_label: str = "",
        y_label: str = "",
        dotted: Collection[str] = (),
    ) -> None:
        """Fill the picture with a plot of curves by name; the first is on top.

        Args:
            curves: x and y of the points of each curve.
            x_label: What x is.
            y_label: What y is.
            dotted: Names of the curves of which points are drawn, without lines between them.
        """
        found = {name: [(float(x), float(y)) for x, y in points] for name, points in curves.items()}
        xs, ys = ([point[axis] for points in found.values() for point in points] for axis in (0, 1))
        (left, right), (low, high) = _range(xs), _range(ys)
        head = 14 * len(found) + 8
        across, up = self.width - _MARGIN - 12, self.height - _MARGIN + 8 - head
        bottom = self.height - _MARGIN + 8

        def place(x: float, y: float) -> tuple[float, float]:
            return _MARGIN + across * (x - left) / (right - left), bottom - up * (y - low) / (high - low)

        self.polyline([(_MARGIN, bottom - up), (_MARGIN, bottom), (_MARGIN + across, bottom)], stroke=SOFT)
        for value, anchor in ((left, "start"), (right, "end")):
            self.text(place(value, low)[0], bottom + 15, f"{value:z.4g}", size=11, anchor=anchor)
        for value, shift in ((low, 0), (high, 9)):
            self.text(_MARGIN - 4, place(left, value)[1] + shift, f"{value:z.3g}", size=11, anchor="end")
        self.text(_MARGIN + across / 2, bottom + 15, x_label, size=11, anchor="middle")
        self.text(_MARGIN, 12, y_label, size=11)
        for number, (name, points) in reversed(list(enumerate(found.items()))):
            colour = COLOURS[number % len(COLOURS)]
            places = [place(x, y) for x, y in points]
            if name in dotted:
                for x, y in places:
                    self.circle(x, y, 2, fill=colour, fill_opacity=0.7)
            else:
                self.polyline(places, stroke=colour, stroke_width=1.5, stroke_linejoin="round")
            if len(found) > 1:
                self.text(self.width - 12, 12 + 14 * number, name, size=11, anchor="end", fill=colour)


def drawing_text(value: Any) -> str | None:
    """Return what a function drew as SVG, if it is a text, a `Picture` or a figure of matplotlib; else None."""
    if isinstance(value, str | Picture):
        return str(value)
    if not hasattr(value, "savefig"):
        return None
    file = io.StringIO()
    value.savefig(file, format="svg")
    return file.getvalue()


def _range(values: Sequence[float]) -> tuple[float, float]:
    """Return the smallest and the largest value, made different."""
    if not all(map(math.isfinite, values)):
        raise ValueError("a point of the plot is not finite")
    low, high = min(values, default=0.0), max(values, default=1.0)
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _points(points: Iterable[Sequence[float]]) -> str:
    return " ".join(f"{_number(x)},{_number(y)}" for x, y in points)


def _value(value: Any) -> str:
    return _escaped(value) if isinstance(value, str) else _number(value)


def _number(value: Any) -> str:
    """Return a number with few digits.

    Raises:
        ValueError: If it is not finite.
    """
    number = round(float(value), 3)
    if not math.isfinite(number):
        raise ValueError(f"a coordinate is {number}")
    return f"{number:g}" if abs(number) < 1e5 else f"{number:.0f}"


def _escaped(text: str) -> str:
    return html.escape(text)
