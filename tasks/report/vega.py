"""Renders charts: Vega-Lite specifications, drawn as SVG by vl-convert, which makes scales, ticks and legends.

The SVG is made part of a page: colours are the page's variables, texts have the page's font, and marks with a label
are read by pointer and keyboard.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any
from xml.etree import ElementTree

from markupsafe import Markup

from overnight.schemas.escaping import escape_invisible

Spec = dict[str, Any]
Rows = Sequence[dict[str, Any]]

VERSION = "6.4"
"""Version of Vega-Lite for which the specifications are written."""

SERIES = tuple(f"var(--g{number})" for number in range(6))
"""Colours of series; what is beyond them is drawn in `OTHERS`."""
OTHERS = "var(--dot)"
ACCENT, LEVEL, FINE, LINE, PAPER, WARM = (
    f"var(--{name})" for name in ("accent", "level", "fine", "line", "paper", "warm")
)

_SVG = "{http://www.w3.org/2000/svg}"
_DROPPED = re.compile(r"role|aria-.*|font-family|class|pointer-events|version|stroke-miterlimit")
_GEOMETRY = {"d", "transform", "x", "x1", "x2", "y", "y1", "y2", "width", "height"}
_LONG_NUMBER = re.compile(r"\d+\.\d{2,}")
_CONFIG: Spec = {
    "background": None,
    "aria": False,
    "view": {"stroke": None},
    "text": {"color": "var(--soft)", "fontSize": 12},
    "axis": {
        "labelColor": "var(--soft)",
        "titleColor": "var(--soft)",
        "labelFontSize": 12,
        "titleFontSize": 12,
        "titleFontWeight": "normal",
        "gridColor": FINE,
        "domainColor": LINE,
        "tickColor": LINE,
    },
    "axisY": {"domain": False, "ticks": False, "tickCount": 5, "labelPadding": 6},
    # The separation leaves out every second label of a dense axis: the page's font is wider than the measured one.
    "axisX": {"grid": False, "titleAnchor": "end", "labelFlush": False, "labelOverlap": True, "labelSeparation": 16},
    "legend": {
        "orient": "top",
        "labelColor": "var(--soft)",
        "titleColor": "var(--soft)",
        "labelFontSize": 12,
        "titleFontSize": 12,
        "titleFontWeight": "normal",
        "labelLimit": 300,
        "symbolOpacity": 1,
    },
    "header": {"labelColor": "var(--soft)", "labelFontSize": 12, "title": None},
}


@dataclass(frozen=True, slots=True)
class Layout:
    """Size of a drawing in pixels; `wide` or `narrow`, for screens of that width."""

    name: str
    width: int
    height: int

    @property
    def is_wide(self) -> bool:
        return self.name == "wide"


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart, drawn for wide and for narrow screens.

    Attributes:
        name: Name that is unique on the page, of letters, digits and dashes.
        text: Description of the chart in a sentence or two, for screen readers.
        note: Remark on what is not shown, if anything.
    """

    name: str
    title: str
    text: str
    drawings: tuple[Markup, ...] = field(repr=False)
    note: str = ""


def draw_chart(
    name: str, title: str, text: str, layouts: Sequence[Layout], draw: Callable[[Layout], Spec], *, note: str = ""
) -> Chart:
    """Return a chart, drawn once for each layout by the specification that `draw` returns."""
    label = escape_invisible(f"{title}. {text}")
    drawings = tuple(_render(draw(layout), layout, label) for layout in layouts)
    return Chart(name, title, text, drawings, note)


def layouts(height: int, narrow_height: int | None = None, *, is_half: bool = False) -> tuple[Layout, Layout]:
    """Return the layouts of a chart of the page's whole or half width."""
    wide = Layout("wide", 372 if is_half else 760, height)
    return wide, Layout("narrow", 344, height if narrow_height is None else narrow_height)


def mark(kind: str, rows: Rows | None = None, *, only: str = "", **properties: Any) -> Spec:
    """Return a layer; a dictionary is what a channel encodes, and all other properties are the mark's.

    Without rows, its data are those of the whole chart; of these, `only` those whose field `kind` has that value. A
    row's `label` is made by `reading`.
    """
    encoding = {name: properties.pop(name) for name in _CHANNELS if isinstance(properties.get(name), dict)}
    if rows is None or any("label" in row for row in rows):
        encoding["description"] = {"field": "label"}
        properties["aria"] = kind not in _WITHOUT_LABELS
    halo = _HALO if kind == "text" else {}
    layer: Spec = {"mark": {"type": kind, **halo, **properties}, "encoding": encoding}
    if rows is not None:
        layer["data"] = {"values": list(rows)}
    if only:
        layer["transform"] = [{"filter": {"field": "kind", "equal": only}}]
    return layer


def rows_of(
    rows: Rows, layers: Sequence[Spec], *, by: Spec, width: int, height: int, spacing: int, **more: Any
) -> Spec:
    """Return a chart of several rows, one for each value of the field `by`."""
    return {
        "data": {"values": list(rows)},
        "facet": {"row": {"type": "nominal", **by}},
        "spec": {"width": width, "height": height, "layer": list(layers)},
        "spacing": spacing,
        **more,
    }


def reading(text: str, program_id: str = "", *, is_stop: bool = False) -> str:
    """Return the label of a mark, with the program whose code is shown there, if any.

    The arrow keys stop at marks with `is_stop`; in a chart without such marks, they stop at every label.
    """
    return f"{' '.join(text.split())}\t{program_id}\t{'stop' if is_stop else ''}"


_CHANNELS = ("x", "x2", "y", "y2", "color", "text", "order", "detail")
_HALO = {"stroke": PAPER, "strokeWidth": 3}
_WITHOUT_LABELS = {"line", "area", "text"}
"""Marks that are not read: one of them is of many rows, or is read as it stands."""


def number(name: str, domain: Sequence[float] | None = None, **more: Any) -> Spec:
    """Return a channel of numbers on a linear scale, whose ends are the domain's if there is one."""
    scale = {"zero": False} if domain is None else {"domain": list(domain), "nice": False}
    return {"field": name, "type": "quantitative", "scale": scale, "title": None, **more}


def category(name: str, colours: dict[str, str], *, title: str | None = None, has_legend: bool = True) -> Spec:
    """Return a channel of colours by name, in the order of the names."""
    scale = {"domain": list(colours), "range": list(colours.values())}
    legend = {"title": title} if has_legend else None
    return {"field": name, "type": "nominal", "scale": scale, "legend": legend}


def series_colours(names: Sequence[str]) -> dict[str, str]:
    """Return a colour for each name; names beyond the palette share one."""
    return {name: SERIES[place] if place < len(SERIES) else OTHERS for place, name in enumerate(names)}


def _render(spec: Spec, layout: Layout, label: str) -> Markup:
    import vl_convert  # 84 MB, needed by reports only

    fit: Spec = {"width": layout.width, "height": layout.height, "autosize": {"type": "fit", "contains": "padding"}}
    sized = {**({} if "facet" in spec else fit), "padding": 2, **spec, "config": _CONFIG}
    svg = vl_convert.vegalite_to_svg(_escaped(sized), vl_version=VERSION, allowed_base_urls=[])
    return Markup(_of_page(ElementTree.fromstring(svg), layout, label))


def _escaped(value: Any) -> Any:
    """Return a specification whose texts have invisible and reversing characters escaped."""
    match value:
        case str():
            return escape_invisible(value)
        case dict():
            return {key: _escaped(inner) for key, inner in value.items()}
        case list() | tuple():
            return [_escaped(inner) for inner in value]
        case _:
            return value


def _of_page(root: ElementTree.Element, layout: Layout, label: str) -> str:
    """Return the SVG with a description of its own, and a title at each mark that has a label."""
    readable = [_make_part_of_page(element) for element in root.iter()]
    root.attrib |= {"class": layout.name, "role": "img", "aria-label": label}
    if any(readable):
        root.set("tabindex", "0")
    ElementTree.register_namespace("", _SVG[1:-1])
    return ElementTree.tostring(root, encoding="unicode")


def _make_part_of_page(element: ElementTree.Element) -> bool:
    """Move a mark's label to a title, drop what the page decides itself, and return whether there was a label."""
    label = element.get("aria-label") if element.get("role") == "graphics-symbol" else None
    for name in [name for name in element.attrib if _DROPPED.fullmatch(name)]:
        del element.attrib[name]
    for name in _GEOMETRY & element.attrib.keys():
        element.set(name, _LONG_NUMBER.sub(_to_a_tenth, element.attrib[name]))
    for part in [part for part in element if _is_unseen(part)]:
        element.remove(part)
    if label is None:
        return False
    text, program_id, stop = [*label.split("\t"), "", ""][:3]
    ElementTree.SubElement(element, f"{_SVG}title").text = text
    element.attrib |= {"data-program": program_id} if program_id else {}
    element.attrib |= {"data-stop": ""} if stop else {}
    return True


def _is_unseen(part: ElementTree.Element) -> bool:
    """Return whether nothing of a part is seen, such as a number of an axis that would be too near to the next."""
    is_left_out = part.tag == f"{_SVG}text" and part.get("opacity") == "0"
    return part.get("display") == "none" or part.get("d") == "" or is_left_out


def _to_a_tenth(number: re.Match[str]) -> str:
    return f"{float(number.group()):.1f}".removesuffix(".0")
