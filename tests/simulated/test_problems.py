"""Simulated problems have known optima, are plain Python, and are read from their text whatever else stands there."""

from __future__ import annotations

import itertools
import subprocess
import sys
from pathlib import Path
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from overnight.tasks.problems.loading.load import load_problem
from tests.bench.simulated.designs import block_of, read_design, with_design
from tests.bench.simulated.landscape import PROBE, Design, Landscape, _outputs, contribution
from tests.bench.simulated.problems import best_of_pipeline, contributions, names_of, problem_named

NAMES = names_of()


def a_design(name: str, seed: int) -> Design:
    landscape, rng = problem_named(name).landscape, Random(seed)
    numbers = tuple(target * 10 ** rng.gauss(0.0, 0.5) for target in landscape.targets)
    return Design(tuple(rng.randrange(len(names)) for names in landscape.options), numbers)


def test_there_are_three_problems_of_each_family():
    assert [name[:2] for name in NAMES] == ["F1"] * 3 + ["F2"] * 3 + ["F3"] * 3 + ["F4"] * 3
    assert names_of("F3,F1-k6") == ("F1-k6", "F3-a", "F3-b", "F3-c")
    with pytest.raises(ValueError, match="got F9"):
        names_of("F1,F9")


@pytest.mark.parametrize("name", NAMES)
def test_the_best_program_reaches_the_optimum_and_the_start_is_far_from_it(name: str):
    problem = problem_named(name)
    assert problem.evaluate(problem.source(problem.best)) == problem.optimum
    assert problem.evaluate(problem.source(problem.start)) == problem.start_score
    assert (problem.gap(problem.optimum), problem.gap(problem.start_score)) == (0.0, 1.0)
    assert problem.optimum - problem.start_score > 0.3 * problem.landscape.scale


@pytest.mark.parametrize("name", NAMES)
@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 10**6))
def test_nothing_scores_more_than_the_optimum(name: str, seed: int):
    problem, design = problem_named(name), a_design(name, seed)
    assert problem.landscape.score(design) <= problem.optimum
    near = list(problem.best.choices)
    near[seed % len(near)] = design.choices[seed % len(near)]
    assert problem.landscape.score(problem.best._replace(choices=tuple(near))) <= problem.optimum


@pytest.mark.parametrize("epistasis", [1, 2, 3])
def test_the_best_of_a_short_pipeline_is_the_best_of_all(epistasis: int):
    landscape = Landscape(7 + epistasis, (("",) * 8,) * 4, epistasis)
    best = max((Design(choices) for choices in itertools.product(range(8), repeat=4)), key=landscape.score)
    assert best_of_pipeline(landscape) == best


def test_contributions_are_the_same_for_one_and_for_many():
    assert contributions(12345, 3, 2).ravel().tolist() == [contribution(12345, 3, index) for index in range(64)]


def test_the_best_algorithm_starts_lowest_and_needs_both_edits():
    problem = problem_named("F3-a")
    score, best = problem.landscape._replace(scale=1.0, offset=0.0).score, problem.best.choices
    half = score(Design((*best[:-1], (best[-1] + 1) % 8)))
    ceilings = [max(score(Design((k, *a_design("F3-a", seed).choices[1:]))) for seed in range(200)) for k in range(4)]
    assert half == pytest.approx(0.15)
    assert score(problem.best) == pytest.approx(1.0)
    assert all(0.15 < ceiling < 0.7 + 0.3 * k / 4 + 1e-9 for k, ceiling in enumerate(ceilings))


def test_a_forbidden_pair_raises_and_says_which():
    problem = problem_named("F4-k1")
    first, one, second, other = problem.landscape.pairs[0]
    choices = list(problem.best.choices)
    choices[first], choices[second] = one, other
    with pytest.raises(ValueError, match=r"stage_\d\d \(\w+\) and stage_\d\d \(\w+\) do not work together"):
        problem.evaluate(problem.source(Design(tuple(choices))))


def test_no_two_fragments_do_the_same():
    outputs = [tuple(round(value, 9) for value in output) for output in _outputs().values()]
    assert len(set(outputs)) == len(outputs)
    assert tuple(PROBE) not in outputs


@settings(deadline=None, max_examples=40)
@given(name=st.sampled_from(NAMES), one=st.integers(0, 999), other=st.integers(0, 999))
def test_a_design_survives_its_text_and_so_do_comments_and_helpers(name: str, one: int, other: int):
    problem, old, new = problem_named(name), a_design(name, one), a_design(name, other)
    block = block_of(problem.source(old)).replace(
        "def stage_02", "# a remark\ndef helper(x):\n    return x\n\n\ndef stage_02"
    )
    assert read_design(problem.source(old), problem.landscape) == read_design(block, problem.landscape) == old
    changed = with_design(block, old, new, problem.landscape)
    assert read_design(changed, problem.landscape) == new
    assert "# a remark\ndef helper(x):\n    return x\n" in changed


def test_an_unknown_fragment_counts_as_none():
    problem = problem_named("F1-k1")
    source = problem.source(problem.best).replace('"""Stage 3."""', '"""Stage 3."""\n    v = v * 2')
    design = read_design(source, problem.landscape)
    assert design is not None
    assert design.choices[2] == -1
    assert problem.evaluate(source) == problem.landscape.score(design) < problem.optimum


@pytest.mark.parametrize("name", ["F2-c3", "F3-b", "F4-k2"])
def test_it_is_a_task_directory_that_loads_and_scores_the_same(name: str, tmp_path: Path):
    problem = problem_named(name)
    directory = problem.write(tmp_path / name)
    assert load_problem(directory).specification.start_body == problem.file.start_body
    program = directory / "best.py"
    program.write_text(problem.source(problem.best))
    code = "import sys, evaluator; print(repr(evaluator.evaluate(sys.argv[1])['combined_score']))"
    command = [sys.executable, "-S", "-c", code, str(program)]
    printed = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=True).stdout
    assert float(printed) == problem.optimum


@pytest.mark.parametrize(("name", "decades"), [("F2-c2", 2), ("F2-c3", 3), ("F2-c4", 4)])
def test_the_constants_are_as_hard_as_the_name_says(name: str, decades: int):
    axes = np.array(problem_named(name).landscape.axes)
    assert np.linalg.cond(axes.T @ axes) == pytest.approx(10**decades, rel=1e-6)
