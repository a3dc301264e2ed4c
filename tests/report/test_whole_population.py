"""The whole population in the report: which candidates are drawn, their code, diversity, and gains without rounding."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overnight.flows.report import population
from overnight.flows.report.build import build_report
from overnight.flows.report.comparison_data import all_score_curves, score_curves
from overnight.flows.report.run_data import RunData, read_run_data
from overnight.schemas.algorithm import Join
from overnight.schemas.program import TUNER
from overnight.schemas.report_data import ReportData
from overnight.schemas.sampling_settings import Model
from overnight.tasks.history import record, stored_run
from overnight.tasks.history.database import Database
from overnight.tasks.history.files import RunFiles
from overnight.tasks.report.comparison import groups_of, render_comparison, render_index, shared_seeds
from overnight.tasks.report.number_format import gain_of, padded
from overnight.tasks.report.page import render
from overnight.tasks.report.population_charts import histogram_chart
from overnight.tasks.report.score_charts import over_samples
from overnight.tasks.report.vega import Layout, draw_chart, mark, number, reading
from overnight.testing.made import a_generation, a_judged, create, grow
from tests.report.browser import CUT_TABLES, Page


@pytest.fixture(scope="module")
def grown_run(tmp_path_factory: pytest.TempPathFactory) -> RunFiles:
    files = create(tmp_path_factory.mktemp("grown"), islands=3)
    grow(files, 6)
    return files


@pytest.fixture(scope="module")
def run_data(grown_run: RunFiles) -> RunData:
    return data_of(grown_run)


@pytest.fixture(scope="module")
def grown(grown_run: RunFiles) -> ReportData:
    return build_report(Database(grown_run.backend.root), grown_run)


def data_of(files: RunFiles) -> RunData:
    return read_run_data(Database(files.backend.root), files, None)


def test_every_scored_candidate_is_drawn_with_its_niche_model_and_code(grown: ReportData):
    rows = grown.points
    assert grown.points_left_out == 0
    assert {point.niche for point in rows} == {"0", "1", "2"}
    assert {point.program_id for point in rows} <= grown.functions.keys()
    assert all(text.startswith("def guess(offset: int)") for text in grown.functions.values())
    titles = over_samples(grown).drawings[0].count("<title>")
    lowest = min(point.score for point in rows if point.score >= -9)
    assert titles >= sum(point.score >= lowest for point in rows)


def test_of_a_large_population_every_kth_candidate_and_every_new_best_are_drawn(
    grown: ReportData, run_data: RunData, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(population, "MAX_POINTS", 5)
    points, left_out = population.scored_points(run_data)
    assert len(points) + left_out == len(grown.points)
    assert left_out > 0
    bests = {summary.best_program_id for summary in grown.generations[1:]} - {grown.start.program_id}
    assert bests <= {point.program_id for point in points}
    note = over_samples(replace(grown, points=points, points_left_out=left_out)).note
    assert f"{left_out} candidates are left out evenly" in note


def test_code_beyond_what_a_page_has_room_for_is_left_out_the_worst_first(
    grown: ReportData, run_data: RunData, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(population, "_MAX_CHARACTERS", 500)
    functions = population.functions_of(run_data, grown.points)
    assert 0 < len(functions) < len(grown.points)
    assert sum(map(len, functions.values())) <= 500
    assert grown.best.program_id in functions


def test_niches_are_the_same_in_whatever_order_their_rows_are_read(grown: ReportData, run_data: RunData):
    def backwards(*query: Any) -> list[dict[str, Any]]:
        return run_data.database.rows(*query)[::-1]

    read_backwards = replace(run_data, database=cast("Database", SimpleNamespace(rows=backwards)))
    assert population.niches(read_backwards) == grown.niches


def test_diversity_counts_programs_and_their_different_behaviours(tmp_path: Path):
    files = create(tmp_path, islands=1)
    judged = [a_judged(files.run_id, 1, index, scores=(score, 0.0)) for index, score in enumerate((1.0, 1.0, 2.0))]
    changes = [Join("0", one.id) for one in judged]
    record.commit(files, a_generation(1, judged, judged[2].program(), changes))
    states = population.diversity(data_of(files))
    assert [(state.programs, state.behaviours) for state in states] == [(1, 1), (4, 3)]
    assert states[1].sample == 3


def test_the_histogram_counts_every_score_that_is_shown(grown: ReportData):
    chart = histogram_chart(grown)
    assert chart is not None
    counted = sum(int(count) for count in re.findall(r"<title>[^<]*, any: (\d+) from", chart.drawings[0]))
    hidden = int(re.findall(r"\d+", chart.note)[0]) if chart.note else 0
    assert counted + hidden == len(grown.points)


# Gains


@given(st.floats(-1e9, 1e9), st.floats(-1e9, 1e9))
def test_a_gain_has_the_sign_of_the_difference_or_is_0(before: float, after: float):
    gain = gain_of(before, after)
    assert gain in (0.0, after - before)
    assert gain_of(after, before) == -gain
    assert gain != 0 or abs(after - before) <= 1e-12 * max(abs(before), abs(after))


def test_a_difference_by_rounding_is_no_gain_anywhere(tmp_path: Path):
    files = create(tmp_path, islands=1)
    start = stored_run.read_run_history(files).start
    best = a_judged(files.run_id, 1, 0, scores=tuple(score + 2e-15 for score in start.scores), parents=[start.id])
    record.commit(files, a_generation(1, [best], best.program(), [Join("0", best.id)]))
    report = build_report(Database(tmp_path), files)
    assert report.best.train != report.start.train, "the case is one of rounding"
    page = render(report)
    assert "e−" not in page
    assert ": no gain" in page
    assert len(report.new_bests) == 1


def test_ticks_have_few_digits_even_where_all_scores_are_equal_but_for_rounding():
    rows = [{"x": index, "score": 0.1 + index * 1e-17} for index in range(10)]
    y = number("score", padded([float(row["score"]) for row in rows]))
    layer = mark("circle", rows, x=number("x"), y=y)
    chart = draw_chart("flat", "Flat", "Nothing.", [Layout("wide", 400, 200)], lambda _: {"layer": [layer]})
    texts = [text.text or "" for text in ElementTree.fromstring(chart.drawings[0]).iter() if text.tag.endswith("text")]
    assert texts
    assert max(map(len, texts)) <= 6, texts


# Charts


def test_a_chart_is_the_same_every_time_and_holds_hostile_text_as_text():
    hostile = '</svg><script>alert(1)</script>\u202e & "x" \''
    rows = [{"x": 1, "y": 2, "name": hostile, "label": reading(hostile, "id")}]
    layer = mark("text", rows, x=number("x"), y=number("y"), text={"field": "name"})
    dot = mark("circle", rows, x=number("x"), y=number("y"))

    def drawn() -> str:
        chart = draw_chart("c", "C", hostile, [Layout("wide", 300, 100)], lambda _: {"layer": [layer, dot]})
        return chart.drawings[0]

    svg = drawn()
    assert svg == drawn()
    assert "<script" not in svg
    assert "\u202e" not in svg
    root = ElementTree.fromstring(svg)
    titles = [element.text for element in root.iter() if element.tag.endswith("title")]
    assert titles == [hostile.replace("\u202e", "\\u202e")]
    assert {element.tag.rpartition("}")[2] for element in root.iter()} <= {
        *("svg", "g", "path", "text", "line", "title", "rect", "circle")
    }


@pytest.mark.usefixtures("without_charts")
def test_the_report_names_niches_that_are_cells_of_a_grid(tmp_path: Path):
    files = create(tmp_path, algorithm={"name": "map-elites"})
    judged = [a_judged(files.run_id, 1, index, scores=(index + 1.0, 0.0)) for index in range(3)]
    changes = [Join(f"{index},0", one.id) for index, one in enumerate(judged)]
    record.commit(files, a_generation(1, judged, judged[2].program(), changes))
    report = build_report(Database(tmp_path), files)
    assert {"0,0", "1,0", "2,0"} <= {niche.niche for niche in report.niches}
    shown = render(report).partition('id="population"')[2].partition('id="models"')[0]
    assert ">2,0</td>" in shown
    assert "None" not in shown


# Pages of several runs


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> Path:
    history = tmp_path_factory.mktemp("several")
    for place in range(6):
        files = create(history, f"20260101-220{place}-toy-aaaa", islands=3 if place % 2 else 5)
        grow(files, 2 + place, seed=place)
    return history


def test_the_index_is_sorted_and_filtered(page: Page, several: Path):
    (several / "index.html").write_text(render_index(all_score_curves(Database(several)), []), encoding="utf-8")
    page.open((several / "index.html").as_uri(), width=1280)
    heads = page.value("[...document.querySelectorAll('th')].map((head) => head.innerText)")
    column = next(place for place, head in enumerate(heads) if head.startswith("Samples"))
    shown = f"[...document.querySelectorAll('tbody tr')].map((row) => Number(row.cells[{column}].dataset.value))"
    page.value(f"document.querySelectorAll('th')[{column}].querySelector('button').click()")
    assert page.value(shown) == sorted(page.value(shown), reverse=True)
    page.value(f"document.querySelectorAll('th')[{column}].querySelector('button').click()")
    assert page.value(shown) == sorted(page.value(shown))
    assert page.value(f"document.querySelectorAll('th')[{column}].ariaSort") == "ascending"
    field = "Object.assign(document.getElementById('filter'), {value: '2203 TOY'})"
    page.value(f"{field}.dispatchEvent(new Event('input'))")
    assert page.value("[...document.querySelectorAll('tbody tr')].filter((row) => !row.hidden).length") == 1
    assert page.value("document.getElementById('shown').textContent") == "1 of 6 runs"


def test_a_comparison_and_all_runs_are_drawn_and_fit_the_screen(page: Page, several: Path):
    ids = [run.name for run in (several / "runs").iterdir()]
    path = several / "compare.html"
    for html in (
        render_comparison(score_curves(Database(several), ids)),
        render_index(all_score_curves(Database(several)), ids[:1]),
    ):
        path.write_text(html, encoding="utf-8")
        page.open(path.as_uri(), width=1280)
        assert page.value(CUT_TABLES) == []
        assert page.value("document.querySelectorAll('svg path').length") > 5
        assert page.console == []
        page.open(path.as_uri(), width=360)
        assert page.value("document.scrollingElement.scrollWidth") <= 360


def test_the_gain_of_the_tuner_is_that_of_its_programs_which_became_the_best(tmp_path: Path):
    made = create(tmp_path, "tuned")
    create(tmp_path, "untouched", prompts=5)
    candidates = [(-5.0, "a/model"), (-4.0, TUNER), (-4.5, TUNER), (-3.0, "a/model"), (-1.0, TUNER)]
    judged = [
        a_judged("tuned", 1, index, scores=(score,), model=model) for index, (score, model) in enumerate(candidates)
    ]
    record.commit(made, a_generation(1, judged, judged[-1].program()))
    curves = score_curves(Database(tmp_path), ["tuned", "untouched"])
    assert {curve.run_id: curve.tuner_gain for curve in curves} == {"tuned": 1.0 + 2.0, "untouched": 0.0}
    assert [group.tuner_gain for group in groups_of(curves)] == [3.0, 0.0]
    assert "Gain by the tuner" in render_comparison(curves)


def test_runs_whose_models_differ_in_more_than_their_names_are_no_group(tmp_path: Path):
    chats = [("a", "chat", None), ("b", "completion", None), ("c", "chat", None), ("d", "chat", "http://127.0.0.1:1")]
    for run_id, style, api_base in chats:
        models = (Model(name="a/model", style=style, api_base=api_base),)
        create(tmp_path, run_id, sampling={"models": models})
    curves = score_curves(Database(tmp_path), ["a", "b", "c", "d"])
    assert {group.name: len(group.runs) for group in groups_of(curves)} == {
        "a/model, api_base null, style chat": 2,
        "a/model, api_base null, style completion": 1,
        "a/model, api_base http://127.0.0.1:1, style chat": 1,
    }
    assert [note.partition(" share")[0] for note in shared_seeds(curves)] == ["a and c"]


def test_new_bests_stand_at_their_own_samples(grown_run: RunFiles, run_data: RunData):
    shown = [(one.samples, one.best, one.best_program_id) for one in run_data.new_bests[1:]]
    rows = run_data.database.rows(f"FROM improvements('{grown_run.run_id}')")
    assert shown == [(row["sample"], row["score"], row["program_id"]) for row in rows]
    assert len({sample % 2 for sample, _, _ in shown}) == 2, "and not at the ends of generations"
