"""The report in a real browser: all charts are drawn, nothing is requested, and text of models is never executed."""

from __future__ import annotations

import re
import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from overnight.flows.cli.best import best
from overnight.flows.cli.foreground_night import print_summary
from overnight.flows.night.facts import ShownNight
from overnight.flows.night.progress import Progress
from overnight.flows.night.search_state import SearchState
from overnight.flows.report.build import build_report
from overnight.flows.report.explanation import explain
from overnight.schemas.outcome import Outcome
from overnight.schemas.report_data import ReportData
from overnight.schemas.settings import Known
from overnight.tasks.history import stored_run
from overnight.tasks.history.database import Database
from overnight.tasks.report.code_view import DiffLine, diff_lines
from overnight.tasks.report.page import render
from overnight.tasks.report.population_charts import label_colour
from overnight.testing.made import create, grow
from tests.report.browser import CUT_TABLES, Page
from tests.report.conftest import HOSTILE, HOSTILE_MODEL, two_nights, write_night
from tests.report.pictures import PICTURES, draw

CHARTS = {
    *("splits", "over-samples", "over-time", "over-money", "lineage"),
    *("diversity", "histogram", "niches", "outcomes"),
}
TEMPLATES = Path(__file__).parents[2] / "tasks/report/templates"


@pytest.mark.parametrize(("width", "dark"), [(360, True), (900, False)])
def test_every_chart_is_drawn_at_every_width_in_both_schemes(page: Page, report: str, width: int, dark: bool):
    page.open(report, width=width, dark=dark)
    drawn = page.value(
        """[...document.querySelectorAll("figure.chart")].filter((figure) =>
            [...figure.querySelectorAll("svg")].filter((svg) => svg.getBoundingClientRect().width > 100).length === 1
        ).map((figure) => figure.id.replace("chart-", ""))"""
    )
    assert set(drawn) == CHARTS
    paper = page.value("getComputedStyle(document.body).backgroundColor")
    assert (sum(int(part) for part in re.findall(r"\d+", paper)) < 200) is dark


def test_nothing_is_written_to_the_console_and_nothing_is_requested(page: Page, report: str):
    page.open(report)
    page.value("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    assert page.console == []
    assert [address for address in page.requests if address not in (report, "data:,")] == []


def test_the_policy_lets_nothing_in_but_the_pages_own_style_and_script(page: Page, report: str):
    page.open(report)
    assert page.value("document.getElementById('theme').hidden") is False, "the page's own script ran"
    page.value("document.head.append(Object.assign(document.createElement('script'), {text: 'window.owned = 1'}))")
    page.value("document.body.append(Object.assign(new Image(), {src: 'http://127.0.0.1:9/x.png'}))")
    assert page.value("window.owned") is None
    page.until("true")
    assert sum("Content Security Policy" in message for message in page.console) == 2, page.console


def test_text_of_models_is_shown_and_not_executed(page: Page, report: str):
    page.open(report)
    assert page.value("document.querySelectorAll('main script, main img, [onclick], [onerror]').length") == 0
    code = page.value("document.getElementById('best-code').textContent")
    assert HOSTILE.replace("\u202e", "\\u202e") in code, (
        "characters that reverse the text are shown as escape sequences"
    )
    assert HOSTILE_MODEL in page.value("document.getElementById('models').textContent")
    assert "</code></pre></script>" in page.value("document.getElementById('failures').textContent")


def test_the_result_shows_start_best_and_gain_on_every_split(page: Page, report: str):
    page.open(report)
    text = page.value("document.getElementById('result').innerText")
    for part in ("−7", "−0.25", "+6.75", "held-out", "validation", "deadline"):
        assert part in text


@pytest.mark.usefixtures("without_charts")
def test_the_result_says_since_when_nothing_was_gained(reported: ReportData):
    *_, last = reported.generations
    gained_at = reported.new_bests[-1].samples
    assert reported.samples_since_gain == last.samples - gained_at, "since a sample, not since its generation"
    tiny = replace(last, best=last.best + 1e-9, samples=last.samples + 4321)
    later = replace(reported, generations=(*reported.generations, tiny), new_bests=(*reported.new_bests, tiny))
    assert later.samples_since_gain == tiny.samples - gained_at, "a gain that nobody sees is none"
    assert re.search(r"Samples since the last gain</dt><dd>4,3\d\d<", render(later))


@pytest.mark.usefixtures("without_charts")
def test_digits_tell_the_best_score_from_the_best_known_one(reported: ReportData):
    problem, best = reported.run.problem, 2.6359774
    settings = problem.settings.model_copy(update={"known": Known(best=2.6359831)})
    known = replace(reported, run=replace(reported.run, problem=replace(problem, settings=settings)))
    scores = replace(reported.best, train=best, validation=None, held_out=None)
    page = render(replace(known, best=scores, generations=(replace(reported.generations[-1], best=best),)))
    assert "2.635977<" in page
    assert "2.635983<" in page
    assert "99.99995 % of the way" in page


@pytest.mark.usefixtures("without_charts")
def test_a_score_without_a_model_stands_below_the_inputs_that_it_is_of(reported: ReportData):
    known = Known(honesty=-1.5, honesty_held_out=-2.5, honesty_label="by hand")
    problem = reported.run.problem
    known_problem = replace(problem, settings=problem.settings.model_copy(update={"known": known}))
    page = render(replace(reported, run=replace(reported.run, problem=known_problem)))
    row = re.search(r'Without a model</th>(.*?)<td class="source">by hand', page)
    assert row
    assert re.findall(r">([^<]+)</td>", row[1]) == ["−1.5", "–", "−2.5"]


@pytest.mark.usefixtures("without_charts")
@pytest.mark.parametrize(
    ("split", "name", "cells"),
    [
        ("train", "Best known", ["−0.2", "", ""]),
        ("held_out", "Best known, held-out", ["", "", "−0.2"]),
        ("other", "Best known, other inputs", ["−0.2", "", ""]),
    ],
)
def test_the_best_known_score_stands_below_the_inputs_that_it_is_of(
    reported: ReportData, split: Any, name: str, cells: list[str]
):
    known = Known(best=-0.2, label="them", split=split)
    problem = reported.run.problem
    known_problem = replace(problem, settings=problem.settings.model_copy(update={"known": known}))
    row = re.search(
        f'<th scope="row">{name}</th>(.*?)<td class="source">them<',
        render(replace(reported, run=replace(reported.run, problem=known_problem))),
    )
    assert row
    assert re.findall(r">([^<]*)</td>", row[1]) == cells


@pytest.mark.usefixtures("without_charts")
@pytest.mark.parametrize(
    ("held_out", "said"),
    [
        (-2.5, "−2.5 is reached (by hand). The best"),
        (None, "−1.5 is reached on the training inputs (by hand). The best"),
    ],
)
def test_a_score_on_held_out_inputs_is_compared_with_none_on_others(
    reported: ReportData, held_out: float | None, said: str
):
    assert reported.best.held_out is not None
    known = Known(honesty=-1.5, honesty_held_out=held_out, honesty_label="by hand")
    problem = reported.run.problem
    known_problem = replace(problem, settings=problem.settings.model_copy(update={"known": known}))
    assert said in render(replace(reported, run=replace(reported.run, problem=known_problem)))


@pytest.mark.usefixtures("without_charts")
@pytest.mark.parametrize(
    ("known", "has_others", "expected"),
    [
        (-0.75, False, "It is better than the best known score that this problem names (-0.75, them): check it before"),
        (-0.75, True, ""),
        (-0.2, False, ""),  # as good as the known one, in the digits that this has
        (0.5, False, " % of the way to the best known score"),
    ],
)
def test_a_known_score_that_is_passed_is_told_with_care(
    reported: ReportData, known: float, has_others: bool, expected: str
):
    problem, others = reported.run.problem, reported.run.problem.inputs["train"] if has_others else ()
    settings = problem.settings.model_copy(update={"known": Known(best=known, label="them")})
    inputs = {**problem.inputs, "validation": (), "held_out": others}
    run = replace(reported.run, problem=replace(problem, settings=settings, inputs=inputs))
    page = render(replace(reported, run=run, best=replace(reported.best, train=-0.19, held_out=-0.19)))
    headline = re.search(r'<p class="lede">.*', page)
    assert headline
    assert expected in headline[0]
    assert ("best known" in headline[0]) == bool(expected)


@pytest.mark.usefixtures("without_charts")
@pytest.mark.parametrize(
    ("held_out", "pattern"),
    [
        (-0.25, r"a gain of .*\+6\.75"),
        (-7.0, "no gain there, but .* on the training inputs"),
        (-8.0, "worse by 1 there, but .* on the training inputs"),
    ],
)
def test_the_headline_distinguishes_a_gain_no_gain_and_a_loss(reported: ReportData, held_out: float, pattern: str):
    page = render(replace(reported, best=replace(reported.best, held_out=held_out)))
    headline = re.search(r'<p class="lede">.*', page)
    assert headline
    assert re.search(pattern, headline[0])


@pytest.mark.usefixtures("without_charts")
def test_a_best_program_that_fails_on_held_out_inputs_is_reported_as_failing_everywhere(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    files = create(tmp_path, islands=4)
    grow(files, 3)
    write_night(files, 1, first=1, last=3, held_out=None)
    past = stored_run.read_run_history(files)
    night = stored_run.read_night(files, 1, past.programs)
    database = Database(tmp_path)
    (winner,) = database.rows("FROM programs WHERE program_id = ?", [night.best_program_id])
    assert 'id="fails">It <strong>fails on the held-out inputs</strong>' in render(build_report(database, files, None))
    assert "held-out none, it fails there" in " ".join(explain(database, winner))
    run = stored_run.read_run(files)
    print_summary(ShownNight(run, SearchState(run, past), Progress(best=night.best_after), night))
    assert "the best program fails on the held-out inputs" in capsys.readouterr().err
    best(files.run_id, history=files.backend)
    assert "none on the held-out inputs, where it fails" in capsys.readouterr().err


@pytest.mark.usefixtures("without_charts")
def test_a_note_explains_a_best_program_that_validation_chose_over_a_higher_training_score(tmp_path: Path, html: str):
    files = create(tmp_path, islands=4)
    grow(files, 3)
    ranked = sorted(stored_run.read_run_history(files).programs.values(), key=lambda program: -program.score)
    write_night(files, 1, first=1, last=3, winner=1)
    page = render(build_report(Database(tmp_path), files, None))
    assert f'id="passed-over"><span class="id">{ranked[0].id}</span>' in page
    assert 'id="passed-over"' not in html


CLICKED = """new Promise((tell) => {
    const button = document.querySelector('[data-copy=best-code]');
    new MutationObserver(() => tell(button.textContent)).observe(button, {childList: true});
    button.click();
})"""
"""The next text of the copy button, which it shows for a moment only."""


def test_the_copy_button_copies_the_whole_function(page: Page, report: str):
    page.open(report)
    page.call("Browser.grantPermissions", permissions=["clipboardReadWrite", "clipboardSanitizedWrite"])
    page.call("Emulation.setFocusEmulationEnabled", enabled=True)  # a page without focus may not write to the clipboard
    assert page.value(CLICKED) == "Copied"
    copied = page.value("navigator.clipboard.readText()")
    assert copied == page.value("document.getElementById('best-code').textContent")
    assert copied.startswith("def guess(offset: int) -> float:")


def test_the_toggle_changes_the_colour_scheme_permanently(page: Page, report: str):
    page.open(report)
    before = page.value("getComputedStyle(document.body).backgroundColor")
    page.value("document.getElementById('theme').click()")
    after = page.value("getComputedStyle(document.body).backgroundColor")
    assert after != before
    page.open(report)
    assert page.value("getComputedStyle(document.body).backgroundColor") == after
    page.value("document.getElementById('theme').click()")


def test_a_phone_scrolls_only_vertically(page: Page, report: str):
    page.open(report, width=360, height=740)
    page.value("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    assert page.value("document.scrollingElement.scrollWidth") <= 360
    small = """Math.min(...[...document.querySelectorAll("svg text")].map((text) => {
        const svg = text.ownerSVGElement, box = svg.getBoundingClientRect();
        return box.width ? parseFloat(getComputedStyle(text).fontSize) * box.width / svg.viewBox.baseVal.width : 99;
    }))"""
    assert page.value(small) >= 10.5, "charts have their own drawing for a phone instead of being shrunk"


def test_no_table_is_cut_on_a_wide_screen(page: Page, report: str):
    page.open(report, width=1280)
    page.value("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    assert page.value(CUT_TABLES) == []


@pytest.mark.parametrize("width", [390, 1280])
def test_buttons_cover_no_code_and_bars_no_label(page: Page, report: str, width: int):
    page.open(report, width=width)
    covered = """(() => {
        const meet = (a, b) => a.left + 1 < b.right && b.left + 1 < a.right
            && a.top + 1 < b.bottom && b.top + 1 < a.bottom;
        const boxes = (selector) => [...document.querySelectorAll(selector)].map((one) => one.getBoundingClientRect())
            .filter((box) => box.width);
        const range = document.createRange();
        range.selectNodeContents(document.getElementById("best-code"));
        const [button] = boxes("[data-copy=best-code]");
        const labels = [...document.querySelectorAll("#chart-outcomes svg text")]
            .filter((text) => text.textContent.includes("candidates")).map((text) => text.getBoundingClientRect());
        const bars = boxes("#chart-outcomes svg path[d]").filter((box) => box.height > 10 && box.height < 30);
        const shares = [...document.querySelectorAll("#chart-outcomes svg text")]
            .filter((text) => text.textContent.includes("%")).map((text) => text.getBoundingClientRect())
            .filter((box) => box.width);
        const isInBar = (share) => bars.some((bar) => bar.top <= share.top + 1 && share.bottom <= bar.bottom + 1);
        return [[...range.getClientRects()].filter((line) => meet(line, button)).length,
            labels.filter((label) => bars.some((bar) => meet(label, bar))).length,
            shares.filter((share) => !isInBar(share)).length, bars.length > 2 && shares.length > 2];
    })()"""
    assert page.value(covered) == [0, 0, 0, True]


def test_generations_that_overlap_count_once_in_the_time_of_a_run(reported: ReportData):
    assert reported.time_spent.generations_s == (5 + 10) * 60


def test_the_keyboard_reads_the_score_along_the_curve(page: Page, report: str):
    page.open(report)
    page.value("document.querySelector('#chart-over-samples svg.wide').focus()")
    page.press("Home")
    first = page.value("document.querySelector('#chart-over-samples .reading').textContent")
    page.press("End")
    last = page.value("document.querySelector('#chart-over-samples .reading').textContent")
    assert "best −9 after 0 samples" in first
    assert "best 9 after" in last
    assert "generation 10" in last


def test_a_pointer_reads_the_score_along_the_curve(page: Page, report: str):
    page.open(report)
    page.value("document.querySelector('#chart-over-samples').scrollIntoView({behavior: 'instant', block: 'center'})")
    x, y = page.value(
        """(({left, top, width, height}) => [left + width * .8, top + height / 2])(
            document.querySelector('#chart-over-samples svg.wide').getBoundingClientRect())"""
    )
    page.point(x, y)
    page.until("document.querySelector('#chart-over-samples .reading').textContent.includes('sample')")


def test_pointing_at_a_candidate_shows_its_code_which_a_click_keeps(page: Page, report: str):
    page.open(report)
    chart = "document.querySelector('#chart-over-samples')"
    page.value(f"{chart}.scrollIntoView({{behavior: 'instant', block: 'center'}})")

    def place_of(program_id: str) -> list[float]:
        return page.value(
            f"""(({{left, top, width, height}}) => [left + width / 2, top + height / 2])(
                {chart}.querySelector('svg.wide [data-program="{program_id}"]').getBoundingClientRect())"""
        )

    ids = page.value(f"[...{chart}.querySelectorAll('svg.wide [data-program]')].map((one) => one.dataset.program)")
    first, other = ids[0], next(one for one in reversed(ids) if one != ids[0])
    page.point(*place_of(first))
    page.until(f"{chart}.querySelector('.pointed pre').textContent.includes('def guess(offset: int)')")
    assert first in page.value(f"{chart}.querySelector('.pointed p').textContent")
    page.click(*place_of(first))
    page.point(*place_of(other))
    page.until("true")
    assert first in page.value(f"{chart}.querySelector('.pointed p').textContent"), "what was clicked at stays"
    page.click(*place_of(other))
    page.point(*place_of(other))
    page.until(f"{chart}.querySelector('.pointed p').textContent.includes('{other}')")


def test_code_that_is_pointed_at_is_shown_and_not_executed(page: Page, report: str):
    page.open(report)
    page.value("document.querySelector('#chart-over-samples svg.wide').focus()")
    page.press("End")
    page.until("document.querySelector('.pointed pre').textContent.includes('alert(1)')")
    assert page.value("document.querySelectorAll('.pointed img, .pointed script').length") == 0
    assert r"\u202e" in page.value("document.querySelector('.pointed pre').textContent")


def test_a_screen_reader_finds_landmarks_headings_described_charts_and_named_tables(page: Page, report: str):
    page.open(report)
    tree = page.tree()
    roles = {role for role, _ in tree}
    assert {"banner", "main", "navigation", "contentinfo", "table", "heading"} <= roles
    headings = [name for role, name in tree if role == "heading"]
    sections = [
        "Result",
        "The best program",
        "Score",
        "Lineage of the best program",
        "Population",
        "Models",
        "Failures",
    ]
    assert [name for name in headings if name in sections] == sections
    images = [name for role, name in tree if role in ("image", "img")]
    assert len(images) == len(CHARTS)
    assert all(len(name) > 40 for name in images), images
    levels = page.value("[...document.querySelectorAll('h1, h2, h3')].map((one) => Number(one.tagName[1]))")
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert page.value("document.documentElement.lang") == "en"
    assert page.value("[...document.querySelectorAll('a[href^=\"#\"]')].every((a) => document.querySelector(a.hash))")


def test_the_page_prints_with_everything_open(page: Page, report: str):
    page.open(report)
    page.value("window.dispatchEvent(new Event('beforeprint'))")
    assert page.value("document.querySelectorAll('details:not([open])').length") == 0
    page.value("window.dispatchEvent(new Event('afterprint'))")
    assert page.value("document.querySelectorAll('details:not([open])').length") > 0
    assert page.printed().startswith(b"%PDF")


def test_every_id_is_there_once(page: Page, report: str):
    page.open(report)
    ids = page.value("[...document.querySelectorAll('[id]')].map((one) => one.id)")
    assert len(ids) == len(set(ids))


# Without a browser


def brightness(colour: str) -> float:
    """Return the relative luminance of a colour, as in WCAG 2.2."""
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def palette(scheme: int) -> dict[str, str]:
    """Return the page's colours by name: those of the light scheme (0) or of the dark one (1)."""
    pairs = re.findall(
        r"--([\w-]+): light-dark\((#[0-9a-f]{6}), (#[0-9a-f]{6})\)", (TEMPLATES / "page.css").read_text()
    )
    return {name: colours[scheme] for name, *colours in pairs}


def contrast(one: str, other: str) -> float:
    low, high = sorted((brightness(one), brightness(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_every_colour_of_text_can_be_read(scheme: int):
    colours = palette(scheme)
    for name in ("ink", "soft", "accent", "warm", "level", "k", "s", "c", "n", "f"):
        for ground in ("paper", "wash"):
            assert contrast(colours[name], colours[ground]) >= 4.5, (name, ground)


@pytest.mark.parametrize("kind", Outcome)
def test_the_label_of_every_outcome_can_be_read_on_its_colour(kind: Outcome):
    on_light, on_dark = re.findall(r"--(\w+)", label_colour(kind))
    assert contrast(palette(0)[on_light], kind.facts.on_light) >= 4
    assert contrast(palette(1)[on_dark], kind.facts.on_dark) >= 4


def test_templates_escape_everything_but_their_own_assets_and_highlighted_code():
    for path in TEMPLATES.glob("*.jinja"):
        for safe in re.findall(r"\{\{ ([^}]*?) \| safe \}\}", path.read_text()):
            assert safe in ("style", "script", "live_script", "code.html"), safe


def test_equal_texts_have_no_difference():
    assert diff_lines("x = 1", "x = 1") == []


def test_a_very_long_line_is_compared_as_a_whole_and_quickly():
    start = time.process_time()
    old, new = (f"x = '{'`' * 40_000}{end}'" for end in "ab")
    assert diff_lines(old, new) == [DiffLine("removed", ((old, True),)), DiffLine("added", ((new, True),))]
    assert time.process_time() - start < 1


@pytest.mark.slow
def test_the_command_that_draws_the_readme_s_pictures_draws_small_ones(tmp_path: Path):
    files = two_nights(tmp_path / "history")
    for picture in draw(files.run_id, tmp_path / "history", tmp_path / "pictures"):
        assert picture.read_bytes().startswith(b"\x89PNG")
        assert picture.stat().st_size < 400 * 1024


def test_the_readme_s_pictures_are_small():
    readme = Path(__file__).parents[2] / "README.md"
    for name in ("report-light.png", "report-dark.png"):
        assert f"tests/report/pictures/{name}" in readme.read_text()
        assert (PICTURES / name).stat().st_size < 400 * 1024


def test_copy_covers_nothing_of_its_block(page: Page, report: str):
    for width in (390, 1280):
        page.open(report, width=width)
        overlaps = page.value(
            """[...document.querySelectorAll(".code")].filter((one) => one.offsetParent).map((one) => {
                const [button, block] = [one.querySelector("button"), one.querySelector("pre")].map((part) =>
                    part.getBoundingClientRect());
                return button.left < block.right && block.left < button.right &&
                    button.top < block.bottom && block.top < button.bottom;
            })"""
        )
        assert overlaps
        assert not any(overlaps)


def test_the_numbers_of_an_axis_keep_a_distance(page: Page, reported: ReportData, tmp_path: Path):
    last = reported.generations[-1]
    many = replace(reported, generations=(*reported.generations, replace(last, samples=4600)))
    (tmp_path / "many.html").write_text(render(many), encoding="utf-8")
    page.open((tmp_path / "many.html").as_uri(), width=390)
    gaps = page.value(
        """(() => {
            const labels = [...document.querySelectorAll("#chart-over-samples svg.narrow text")].filter((text) =>
                /^[\\d,]+$/.test(text.textContent));
            const row = Math.max(...labels.map((text) => text.getBoundingClientRect().top));
            const boxes = labels.map((text) => text.getBoundingClientRect())
                .filter((box) => box.width && Math.abs(box.top - row) < 2).sort((one, other) => one.left - other.left);
            return boxes.slice(1).map((box, place) => box.left - boxes[place].right);
        })()"""
    )
    assert len(gaps) > 2
    assert min(gaps) > 4
