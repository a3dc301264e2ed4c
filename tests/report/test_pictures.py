"""Pictures in the report: start and best side by side, the lineage as small multiples, else a remark."""

from __future__ import annotations

import base64
import re

import pytest

from overnight.flows.report.build import spread
from overnight.schemas.report_data import Drawings, ReportData
from overnight.tasks.evaluate.runner.svg import Picture
from overnight.tasks.report.page import render
from overnight.tasks.report.sanitised_svg import sanitise
from tests.report.browser import Page


def drawn(text: str) -> str:
    picture = Picture(200, 100, text)
    picture.rect(0, 0, 200, 100, fill="currentColor")
    return sanitise(str(picture))


@pytest.fixture(scope="module")
def pages(reported: ReportData, html: str) -> dict[str, str]:
    """Return the report with all pictures, with one, and with none."""
    line = [ancestor.program_id for ancestor in reported.lineage]
    hostile = '"><script>alert(1)</script> & \u202e'
    pictures = {
        name: drawn(f"{name} {hostile}") for name in {reported.start.program_id, reported.best.program_id, *line}
    }
    return {
        "all": render(reported, Drawings(pictures)),
        "one": render(reported, Drawings({reported.best.program_id: drawn("best")}, f"not drawn: {hostile}")),
        "none": html,
    }


def test_start_and_best_are_side_by_side_and_the_lineage_follows(pages: dict[str, str]):
    section = pages["all"][pages["all"].index('<section id="pictures"') : pages["all"].index('<section id="program"')]
    pair, line = section.split("From the start to the best")
    assert re.findall(r"<figcaption>(\w+)", pair) == ["Start", "Best"]
    assert len(re.findall("<figcaption>", line)) > 2
    assert section.count('<img src="data:image/svg+xml;base64,') == section.count("<img")
    assert "<script>" not in section
    assert "\u202e" not in section


def test_a_missing_picture_is_a_remark_and_without_any_there_is_no_section(pages: dict[str, str]):
    assert "not drawn: &#34;&gt;&lt;script&gt;" in pages["one"]
    assert "From the start to the best" not in pages["one"]
    assert 'id="pictures"' not in pages["none"]


@pytest.mark.parametrize(("width", "dark"), [(390, True), (1280, False)])
def test_pictures_are_shown_with_a_description_at_every_width(
    page: Page, pages: dict[str, str], tmp_path_factory: pytest.TempPathFactory, width: int, dark: bool
):
    path = tmp_path_factory.mktemp("pictures") / "report.html"
    path.write_text(pages["all"], encoding="utf-8")
    page.open(path.as_uri(), width=width, dark=dark)
    images = "[...document.querySelectorAll('#pictures img')]"
    assert page.value(f"Promise.all({images}.map((image) => image.decode())).then(() => {images}.length)") > 4
    assert page.value(f"{images}.every((image) => image.getBoundingClientRect().width > 60 && image.alt.length > 5)")
    assert page.value("document.documentElement.scrollWidth <= window.innerWidth")
    assert page.console == []


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_ink_follows_the_theme_of_the_page(
    page: Page, pages: dict[str, str], tmp_path_factory: pytest.TempPathFactory, theme: str
):
    path = tmp_path_factory.mktemp("pictures") / "report.html"
    path.write_text(pages["all"], encoding="utf-8")
    page.open(path.as_uri(), dark=theme == "light")  # the system has the other one
    page.value(f"document.documentElement.dataset.theme = '{theme}'")
    picture = path.with_suffix(".png")
    page.value("document.getElementById('pictures').scrollIntoView({behavior: 'instant'})")
    page.picture(picture, whole=False)
    middle = page.value(
        "(() => { const box = document.querySelector('#pictures img').getBoundingClientRect();"
        " return [box.x + box.width / 2, box.y + box.height / 2]; })()"
    )
    shot = base64.b64encode(picture.read_bytes()).decode()
    colour = page.value(
        f"""(async () => {{
            const image = new Image(); image.src = 'data:image/png;base64,{shot}';
            await image.decode();
            const canvas = document.createElement('canvas'); canvas.width = image.width; canvas.height = image.height;
            const context = canvas.getContext('2d'); context.drawImage(image, 0, 0);
            return [...context.getImageData({middle[0]}, {middle[1]}, 1, 1).data].slice(0, 3);
        }})()"""
    )
    assert (sum(colour) > 380) is (theme == "dark"), colour


def test_programs_of_a_long_lineage_are_evenly_spread():
    assert spread([str(n) for n in range(50)], 4) == ["0", "16", "33", "49"]
    assert spread(["a", "b"], 8) == ["a", "b"]
