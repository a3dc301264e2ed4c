"""Sanitised drawings: what is drawn is kept, and nothing else is, whatever a program wrote."""

from __future__ import annotations

import base64
import re
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overnight.tasks.evaluate.runner.svg import Picture
from overnight.tasks.report.sanitised_svg import MAX_CHARS, DrawingRefused, data_uri, sanitise, size_of, title_of

NAMESPACE = "{http://www.w3.org/2000/svg}"
OPEN = '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" viewBox="0 0 10 10">'

FORBIDDEN = re.compile(
    r"script|onload|onclick|javascript|data:|https?://(?!www\.w3\.org/2000/svg)|//evil|foreignObject|<image|<a[ >]"
    r"|@import|expression|\\|<!|<\?|url\((?!#)|<animate|<set|<filter|<iframe|<style[^>]*>(?!svg\{color)",
    re.IGNORECASE,
)


def drawing(content: str) -> str:
    return f"{OPEN}{content}</svg>"


def test_a_picture_of_the_helpers_is_kept_as_it_is():
    picture = Picture(40, 20, "A <line> & a curve")
    picture.line(0, 0, 40, 20)
    picture.heat_map([[1, 0], [-0.5, 1]], 1, 1, 3)
    picture.text(1, 2, "x < 3")
    kept = sanitise(str(picture))
    root = ElementTree.fromstring(kept)
    drawn = [element.tag.removeprefix(NAMESPACE) for element in root]
    assert drawn == ["style", "title", "line", "path", "path", "rect", "text"]
    assert root.findtext(f"{NAMESPACE}text") == "x < 3"
    assert (title_of(kept), size_of(kept)) == ("A <line> & a curve", (40, 20))
    assert base64.b64decode(data_uri(kept).partition(",")[2]).decode() == kept


def test_a_sanitised_drawing_is_left_as_it_is():
    kept = sanitise(drawing('<g style="fill: red" transform="translate(1 2)"><text>a&amp;b&nbsp;c</text></g>'))
    assert sanitise(kept) == kept


HOSTILE = {
    "script": "<script>alert(1)</script><rect/>",
    "event handlers": '<rect onload="alert(1)" ONCLICK=alert(2) />',
    "link": '<a href="javascript:alert(1)"><rect/></a><a xlink:href="http://evil/">x</a>',
    "external reference": '<use href="http://evil/x.svg#a"/><use xlink:href="//evil/x#a"/><image href="http://evil/x"/>',
    "data address": '<use href="data:image/svg+xml;base64,PHN2Zy8+#a"/><image href="data:image/png,x"/>',
    "CSS address": '<rect style="fill:url(http://evil/x)" fill="url(//evil/x#a)" stroke="u\\72l(http://evil)"/>',
    "CSS address after a good one": '<rect fill="url(#a) url(http://evil/)" stroke="url( \'http://evil\' )"/>',
    "style element": "<style>@import url(http://evil/);rect{fill:url(http://evil/)}</style><rect/>",
    "style with an import": '<rect style="@import url(http://evil/); behavior:url(x); fill:expression(alert(1))"/>',
    "foreign content": "<foreignObject><iframe src='http://evil/'></iframe><body onload=alert(1)></foreignObject>",
    "animation": '<rect><animate attributeName="href" to="javascript:alert(1)"/><set attributeName="onload"/></rect>',
    "filter and mask": '<filter id="f"><feImage href="http://evil/"/></filter><rect filter="url(#f)" mask="url(#m)"/>',
    "mutation": "<title><style><img onerror=alert(1)></style></title><desc></svg><script>alert(1)</script></desc>",
    "attribute that closes the tag": '<g id="&quot;><script>alert(1)</script>"><rect fill=\'a"><script>\'/></g>',
    "comment": "<!-- --><!--><script>alert(1)</script>--><rect/>",
    "processing instruction": '<?xml-stylesheet href="http://evil/"?><![CDATA[<script>alert(1)</script>]]>',
    "nested document": "<math><mtext><script>alert(1)</script></mtext></math><template><script></script></template>",
}


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE)
def test_nothing_that_runs_or_loads_is_kept(content: str):
    try:
        kept = sanitise(drawing(content))
    except DrawingRefused:
        return
    tree = ElementTree.fromstring(kept)
    # Text is harmless; markup and attributes are not.
    for element in tree.iter():
        if element.tag != f"{NAMESPACE}style":
            element.text = element.tail = None
    assert not FORBIDDEN.search(ElementTree.tostring(tree, encoding="unicode"))


def test_entities_are_neither_expanded_nor_read():
    bomb = "".join(f'<!ENTITY a{i} "{f"&a{i - 1};" * 10}">' for i in range(1, 9))
    text = f'<!DOCTYPE svg [<!ENTITY a0 "ha">{bomb}<!ENTITY x SYSTEM "file:///etc/passwd">]>{drawing("<text>&a8;&x;</text>")}'
    kept = sanitise(text)
    assert len(kept) < 1000
    assert "root:" not in kept
    assert "&amp;a8;" in kept


TOO_MUCH = {
    "many characters": drawing("<rect/>" * (MAX_CHARS // 7)),
    "many elements": drawing("<g/>" * 10_001),
    "use of use": drawing('<g id="a"><rect/></g><g id="b"><use href="#a"/><use href="#a"/></g><use href="#b"/>'),
    "use of itself": drawing('<g id="a"><use href="#a"/></g>'),
    "much use": drawing(f'<g id="a">{"<g/>" * 100}</g>{"""<use href="#a"/>""" * 200}'),
    "clipped clip path": drawing('<clipPath id="a"><rect clip-path="url(#b)"/></clipPath>'),
    "id of two elements, of which browsers take the first": drawing(
        f'<g id="a">{"<rect/>" * 90}</g><g id="b">{"""<use href="#c"/>""" * 90}</g><g id="a"/>'
    ),
    "much clipping": drawing(
        f"""<clipPath id="a">{"<circle/>" * 4000}</clipPath>{"<rect clip-path='url(#a)'/>" * 4000}"""
    ),
    "much clipping, by style": drawing(
        f"""<clipPath id="a">{"<circle/>" * 400}</clipPath>{"<rect style='clip-path: url(#a)'/>" * 40}"""
    ),
    "much clipping of what is used": drawing(
        f"""<clipPath id="a">{"<circle/>" * 40}</clipPath><g id="b">{"<rect clip-path='url(#a)'/>" * 40}</g>"""
        + '<use href="#b"/>' * 40
    ),
    "a long path that is used often": drawing(
        f"""<path id="a" d="{"M0 0L9 9" * 10_000}"/>{"<use href='#a'/>" * 1000}"""
    ),
    "a long path that clips often": drawing(
        f"""<clipPath id="a"><path d="{"M0 0L9 9" * 10_000}"/></clipPath>{"<rect clip-path='url(#a)'/>" * 1000}"""
    ),
    "deep": drawing("<g>" * 200 + "</g>" * 200),
    "very deep": drawing("<g>" * 60_000),
    "drawing within a drawing": drawing("<svg><rect/></svg>"),
}


@pytest.mark.parametrize("text", TOO_MUCH.values(), ids=TOO_MUCH)
def test_a_drawing_that_is_too_much_for_a_browser_is_refused(text: str):
    with pytest.raises(DrawingRefused):
        sanitise(text)


def test_a_plot_of_many_points_that_are_clipped_by_a_rectangle_is_kept():
    point = "<g clip-path='url(#a)'><use href='#b' x='1' y='2'/></g>"
    text = f'<clipPath id="a"><rect width="9" height="9"/></clipPath><path id="b" d="M0 0h1v1z"/>{point * 3000}'
    assert sanitise(drawing(text)).count("<use ") == 3000


@pytest.mark.parametrize(
    "text", ["", "no drawing", "<html><body></body></html>", "<svg></svg>", '<svg viewBox="0 0 0 1"/>']
)
def test_what_is_no_drawing_is_refused(text: str):
    with pytest.raises(DrawingRefused):
        sanitise(text)


def test_short_dashes_are_left_out_since_a_browser_draws_each():
    kept = sanitise(drawing('<path d="M0 0H1e9" stroke-dasharray="0.0001"/><path stroke-dasharray="3 2"/>'))
    assert "0.0001" not in kept
    assert 'stroke-dasharray="3 2"' in kept


def test_a_figure_of_matplotlib_keeps_its_glyphs_and_markers():
    figure = """<?xml version="1.0" encoding="utf-8" standalone="no"?>
<!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN" "http://www.w3.org/Graphics/SVG/1.1/DTD/svg11.dtd">
<svg xmlns:xlink="http://www.w3.org/1999/xlink" width="72pt" height="36pt" viewBox="0 0 72 36"
 xmlns="http://www.w3.org/2000/svg" version="1.1">
 <metadata><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><cc:Work/></rdf:RDF></metadata>
 <defs><style type="text/css">*{stroke-linejoin: round; stroke-linecap: butt}</style></defs>
 <g id="figure_1"><g><defs><path id="m1" d="M 0 0 L 0 3.5" style="stroke: #000; stroke-width: 0.8"/></defs>
 <g clip-path="url(#p1)"><use xlink:href="#m1" x="10" y="3.2e1" style="stroke: #000000; stroke-width: 0.8"/></g></g></g>
 <defs><clipPath id="p1"><rect x="7" y="7" width="50" height="20"/></clipPath></defs>
</svg>"""
    kept = sanitise(figure)
    assert '<use href="#m1" x="10" y="3.2e1" stroke="#000000" stroke-width="0.8" />' in kept
    assert '<g clip-path="url(#p1)">' in kept
    assert "metadata" not in kept
    assert kept.count("<style>") == 1


@given(st.text(alphabet="<>/=\"' &;:#!-[]()svguearct\x00\ud800\u202e@\\", max_size=80))
def test_any_text_gives_a_well_formed_drawing_or_is_refused(content: str):
    try:
        kept = sanitise(drawing(f"<g fill='{content}'>{content}<text>{content}</text></g>"))
    except DrawingRefused:
        return
    kept.encode()
    ElementTree.fromstring(kept)
