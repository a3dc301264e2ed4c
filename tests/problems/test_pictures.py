"""Pictures of the built-in problems: each draws its start program, well-formed, described, small enough, and unseen."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from overnight.tasks.problems import names
from overnight.tasks.program.read_specification import read_specification
from overnight.tasks.program.specification import Specification
from overnight.tasks.report.sanitised_svg import sanitise, size_of, title_of
from tests.problems.library import execute, load

LONG = "matrix-multiplication"
"""The problem whose start program computes for long; that of `matrix-multiplication-4` is the same."""


@pytest.fixture(
    scope="module",
    params=[pytest.param(name, marks=pytest.mark.slow if name == LONG else ()) for name in names()],
)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


def test_the_start_program_is_drawn_and_its_picture_passes_whole(name: str):
    problem, program = load(name), execute(name)
    assert problem.draws
    (call,) = problem.drawing_job().inputs
    text = program[problem.drawing_job().run_function](*call.args, **call.kwargs)
    kept = sanitise(text)
    assert len(title_of(kept)) > 20
    assert max(size_of(kept)) <= 800
    drawn, shown = ([element.tag for element in ElementTree.fromstring(svg).iter()] for svg in (text, kept))
    assert [tag for tag in shown if not tag.endswith("style")] == drawn, "nothing is lost"
    assert len(kept) < 300_000


def test_a_prompt_is_the_same_with_and_without_the_function_that_draws(name: str):
    specification = load(name).specification
    assert isinstance(specification, Specification)
    text = specification.text
    start = text.index("@funsearch.draw\n")
    without = read_specification(text[:start] + text[text.index("@funsearch.", start + 5) :], name)
    assert without.draw == ""
    assert without.preface == specification.preface
    assert without.start_body == specification.start_body
    assert without.meaning_hash(without.start_body) == specification.meaning_hash(specification.start_body)
