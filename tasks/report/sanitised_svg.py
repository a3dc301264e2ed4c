"""Make an SVG file safe to show: only listed elements and attributes, with listed kinds of values, are kept.

Programs draw inside the sandbox, so what they draw is hostile text. nh3 (the sanitiser ammonia, on the HTML parser of
Servo) keeps the elements and attributes below; it knows no entities but those of HTML. The rest is a tree without
markup of any other kind, whose values, references and size are checked here. Pages show the result as an image, in
which a browser runs no script and loads nothing either.
"""

from __future__ import annotations

import base64
import re
from collections import Counter
from collections.abc import Iterator
from xml.etree import ElementTree

import nh3

from overnight.schemas.errors import OvernightError
from overnight.schemas.escaping import escape_invisible

MAX_CHARS = 512 * 1024
"""Maximum size of a drawing, characters; also of its sanitised form."""

MAX_ELEMENTS = 10_000
"""Maximum number of elements, as often as a browser draws them; long paths and texts count several times."""

_CHARS_OF_ELEMENT = 1000
"""Characters of a path or a text that count as one more element."""

_MAX_SIDE = 2000.0
"""Maximum width and height at which a drawing is shown, pixels."""

_TAGS = {
    *("svg", "g", "defs", "title", "desc", "path", "rect", "circle", "ellipse", "line", "polyline", "polygon"),
    *("text", "tspan", "use", "clipPath", "linearGradient", "radialGradient", "stop"),
}
_PRESENTATION = {
    *("clip-path", "clip-rule", "dominant-baseline", "fill", "fill-opacity", "fill-rule", "font-family", "font-size"),
    *("font-style", "font-weight", "opacity", "paint-order", "stop-color", "stop-opacity", "stroke"),
    *("stroke-dasharray", "stroke-linecap", "stroke-linejoin", "stroke-miterlimit", "stroke-opacity", "stroke-width"),
    *("text-anchor", "transform"),
}
"""Attributes that may also be given as properties in `style`."""

_GEOMETRY = {
    *("clipPathUnits", "cx", "cy", "d", "dx", "dy", "fx", "fy", "gradientTransform", "gradientUnits", "height", "id"),
    *("offset", "points", "preserveAspectRatio", "r", "rotate", "rx", "ry", "spreadMethod", "textLength", "viewBox"),
    *("width", "x", "x1", "x2", "y", "y1", "y2"),
}
_ATTRIBUTES = _PRESENTATION | _GEOMETRY | {"href"}
_NOT_SHOWN = {
    *("script", "style", "metadata", "foreignObject", "iframe", "object", "embed", "image", "math", "template"),
    *("noscript", "textarea", "select", "xmp", "noembed", "noframes", "plaintext", "a", "textPath", "view", "audio"),
    *("video", "animate", "animateTransform", "animateMotion", "set", "filter", "mask", "pattern", "symbol", "marker"),
    *("switch",),
}
"""Elements that are removed with all that is in them."""

_VALUE = re.compile(r"[\w\s.,#%()+-]*", re.ASCII)
"""Values of attributes: no colon, slash, quote, backslash, semicolon or angle bracket, so no address and no CSS."""

_FUNCTION = re.compile(r"([\w-]*)\s*\(([^()]*)\)?")
_FUNCTIONS = {"rgb", "rgba", "hsl", "hsla", "translate", "scale", "rotate", "skewX", "skewY", "matrix"}
_FRAGMENT = re.compile(r"#([A-Za-z_][\w.-]*)", re.ASCII)
_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")
_NOT_XML = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that an XML file cannot have."""

_LEAST_DASH = 0.1
"""Minimum length of a dash, as a browser draws each dash by itself."""

_STYLE = (
    "svg{color:#1d1d1b;font-family:system-ui,sans-serif;font-size:12px}"
    "@media(prefers-color-scheme:dark){svg{color:#e9e6df}}"
)
"""Our own style of every drawing, for `currentColor` and text."""

_SVG = "{http://www.w3.org/2000/svg}"
_XLINK = "{http://www.w3.org/1999/xlink}href"


class DrawingRefused(OvernightError):
    """A drawing that is not shown; the message says why."""


def sanitise(drawing: str) -> str:
    """Return an SVG file as one that can be shown: well-formed XML with a view box, a size and a style of ours.

    Raises:
        DrawingRefused: If it is no SVG file, too large, or too complex.
    """
    if len(drawing) > MAX_CHARS:
        raise DrawingRefused(f"the drawing has {len(drawing):,} characters, expected at most {MAX_CHARS:,}")
    start, end = drawing.find("<svg"), drawing.rfind("</svg>")
    if start < 0:
        raise DrawingRefused(f"expected an SVG file, got {drawing[:60]!r}")
    root = _parsed(drawing[start : end + len("</svg>") if end > start else None])
    _keep_values(root)
    _check_references(root)
    _set_size(root)
    style = ElementTree.Element(f"{_SVG}style")
    style.text = _STYLE
    root.insert(0, style)
    text = ElementTree.tostring(root, encoding="unicode")
    if len(text) > MAX_CHARS:
        raise DrawingRefused(f"the sanitised drawing has {len(text):,} characters, expected at most {MAX_CHARS:,}")
    return text


def title_of(picture: str) -> str:
    """Return the title of a sanitised drawing; empty if it has none."""
    return next(
        (text.strip() for child in ElementTree.fromstring(picture) if _is(child, "title") and (text := child.text)), ""
    )


def size_of(picture: str) -> tuple[int, int]:
    """Return the width and height of a sanitised drawing, pixels."""
    root = ElementTree.fromstring(picture)
    return round(float(root.attrib["width"])), round(float(root.attrib["height"]))


def data_uri(picture: str) -> str:
    """Return a sanitised drawing as the address of an image."""
    return f"data:image/svg+xml;base64,{base64.b64encode(picture.encode()).decode()}"


def _parsed(drawing: str) -> ElementTree.Element:
    """Return the tree of the elements and attributes that are kept."""
    kept = nh3.clean(
        _NOT_XML.sub("\ufffd", drawing),
        tags=_TAGS,
        clean_content_tags=_NOT_SHOWN,
        attributes={"*": _PRESENTATION | _GEOMETRY | {"style"}, "use": {"href", "xlink:href"}},
        attribute_filter=_local_reference,
        url_schemes=set(),
        link_rel=None,
        strip_comments=True,
    )
    kept = kept[kept.find("<svg") :].replace("&nbsp;", "&#160;")
    kept = _NOT_XML.sub("\ufffd", kept)
    # Two names that the HTML parser knows by itself. There can be no declaration in the text.
    names = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    try:
        root = ElementTree.fromstring(f"<svg {names}{kept.removeprefix('<svg')}")
    except ElementTree.ParseError as error:
        raise DrawingRefused(f"the drawing is no well-formed SVG file: {error}") from error
    if not _is(root, "svg"):
        raise DrawingRefused("expected an SVG file")
    return root


def _local_reference(tag: str, attribute: str, value: str) -> str | None:  # noqa: ARG001
    """Keep attributes, except references to anything but an element of the same drawing."""
    if attribute.rpartition(":")[2] == "href":
        return value if _FRAGMENT.fullmatch(value) else None
    return value


def _keep_values(root: ElementTree.Element) -> None:
    """Keep the attributes with safe values, turn styles into attributes, and show invisible characters of texts."""
    for element, depth in _walk(root):
        if depth > 100:
            raise DrawingRefused("the drawing is nested more than 100 levels deep")
        if not any(_is(element, tag) for tag in _TAGS):
            raise DrawingRefused("the drawing is no well-formed SVG file")
        given = dict(element.attrib)
        style = given.pop("style", "")
        for declaration in style.split(";"):
            name, _, value = declaration.partition(":")
            if name.strip() in _PRESENTATION:
                given[name.strip()] = value.strip()
        element.attrib.clear()
        for name, value in given.items():
            name = "href" if name == _XLINK else name
            value = re.sub("[\"']", "", value) if name == "font-family" else value
            if name in _ATTRIBUTES and _is_safe(name, value):
                element.set(name, value)
        element.text = escape_invisible(element.text or "")
        element.tail = escape_invisible(element.tail or "")


def _walk(root: ElementTree.Element) -> Iterator[tuple[ElementTree.Element, int]]:
    """Yield each element with its depth; without recursion, as the tree may be deep."""
    stack = [(root, 0)]
    while stack:
        element, depth = stack.pop()
        yield element, depth
        stack += [(child, depth + 1) for child in element]


def _is_safe(name: str, value: str) -> bool:
    """Return whether a value is plain, and refers to nothing but an element of the drawing."""
    if name == "href":
        return True  # checked before
    if not _VALUE.fullmatch(value):
        return False
    if name == "stroke-dasharray":
        numbers = [float(number) for number in _NUMBER.findall(value)]
        return not any(number < _LEAST_DASH for number in numbers if number)
    return all(
        (function == "url" and _FRAGMENT.fullmatch(argument.strip()) is not None) or function in _FUNCTIONS
        for function, argument in _FUNCTION.findall(value)
    )


def _check_references(root: ElementTree.Element) -> None:
    """Refuse drawings that grow when shown: a used element may not use others, nor may clip paths be clipped."""
    sizes = {element: _size(element) for element in root.iter()}
    if sum(sizes.values()) > MAX_ELEMENTS:
        raise DrawingRefused(f"the drawing has more than {MAX_ELEMENTS:,} elements")
    _refuse_forms(root)
    inner = {name: list(element.iter()) for element in sizes if (name := element.get("id"))}
    # The first shape of a clip path is free, as a rectangle around what is drawn is the common one.
    clips = {name: max(0, sum(map(sizes.__getitem__, found[1:])) - 1) for name, found in inner.items()}
    sizes = {element: size + clips.get(_reference(element, "clip-path"), 0) for element, size in sizes.items()}
    drawn = 0
    for element, size in sizes.items():
        used = inner.get(_reference(element, "href"), []) if _is(element, "use") else []
        if any(_is(one, "use") for one in used):
            raise DrawingRefused("the drawing uses an element that uses others")
        drawn += size + sum(map(sizes.__getitem__, used))
        if drawn > MAX_ELEMENTS:
            raise DrawingRefused(f"a browser draws more than {MAX_ELEMENTS:,} elements, as some are used or clip often")


def _refuse_forms(root: ElementTree.Element) -> None:
    """Refuse elements that cannot be counted."""
    ids = Counter(element.get("id") for element in root.iter())
    if repeated := next((name for name, count in ids.items() if name and count > 1), None):
        raise DrawingRefused(f"the drawing has several elements with the id {repeated!r}")
    for element in root.iter():
        if _is(element, "clipPath") and any(one.get("clip-path") or _is(one, "use") for one in element.iter()):
            raise DrawingRefused("the drawing has a clip path that is clipped itself, or uses an element")
        if element is not root and _is(element, "svg"):
            raise DrawingRefused("the drawing has an SVG element within another")


def _size(element: ElementTree.Element) -> int:
    """Return the number of elements as which one counts."""
    texts = (element.text, element.tail, *element.attrib.values())
    return 1 + sum(len(text or "") for text in texts) // _CHARS_OF_ELEMENT


def _reference(element: ElementTree.Element, attribute: str) -> str:
    """Return the id of the element to which an attribute refers; a name that no element has if there is none."""
    found = _FRAGMENT.search(element.get(attribute, ""))
    return found[1] if found else "#"


def _set_size(root: ElementTree.Element) -> None:
    """Give the drawing a view box and a size in pixels."""
    box = [float(number) for number in _NUMBER.findall(root.get("viewBox", ""))]
    if len(box) != 4:
        sides = [_NUMBER.match(root.get(name, "")) for name in ("width", "height")]
        if not all(sides):
            raise DrawingRefused("the drawing has neither a viewBox nor a width and a height")
        box = [0.0, 0.0, *(float(side.group()) for side in sides if side)]
    width, height = box[2:]
    if not (0 < width < 1e6 and 0 < height < 1e6 and 0.05 < width / height < 20):
        raise DrawingRefused(f"the drawing is {width:g} wide and {height:g} high")
    scale = min(1.0, _MAX_SIDE / max(width, height))
    for name in ("x", "y", "transform"):
        root.attrib.pop(name, None)
    root.set("viewBox", " ".join(f"{number:g}" for number in box))
    root.set("width", f"{width * scale:.0f}")
    root.set("height", f"{height * scale:.0f}")


def _is(element: ElementTree.Element, tag: str) -> bool:
    return element.tag in (tag, f"{_SVG}{tag}")


ElementTree.register_namespace("", _SVG[1:-1])
