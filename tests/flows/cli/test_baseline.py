"""`overnight check --baseline`: the score without a model, computed in the sandbox."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from overnight.flows.cli.baseline import standard_error
from overnight.schemas.errors import SpecificationError
from overnight.schemas.problem import Split
from overnight.tasks.problems import find, names
from overnight.tasks.problems.loading.load import load_problem
from overnight.tasks.problems.loading.stored_problem import settings_not_in_specification
from tests.flows.cli.conftest import Command
from tests.problems.library import execute, load

RANDOM_SEARCHES = {
    "autocorrelation-inequality": {"STARTS": 1, "STEPS": 2000},
    "circle-packing-26": {"STARTS": 1},
    "circle-packing-32": {"STARTS": 1},
    "distance-ratio": {"STARTS": 1},
    "erdos-overlap": {"STARTS": 1, "STEPS": 500},
    "happy-ending": {"STEPS": 30},
    "heilbronn-triangle": {"STARTS": 1, "STEPS": 4000},
    "matrix-multiplication": {"FEWEST": 24},
    "matrix-multiplication-4": {"FEWEST": 49},
}
"""Baselines that are random searches, with smaller settings that make them quicker."""


def slow_rule(name: str) -> Any:
    """A parameter for a problem; the baselines of some take seconds."""
    is_slow = name in ("optimizer-rule", "sort3", "matrix-multiplication-4")
    return pytest.param(name, marks=pytest.mark.slow if is_slow else ())


def computed(name: str, split: Split = "train", **smaller: int) -> float:
    """Compute the baseline on the inputs of a split."""
    problem, program = load(name), execute(name)
    program.update(smaller)
    scores = [program[problem.settings.known.baseline](*arguments.args) for arguments in problem.inputs[split]]
    return sum(scores) if problem.settings.reducer == "sum" else sum(scores) / len(scores)


@pytest.mark.parametrize("name", [*map(slow_rule, names())])
def test_the_computed_baseline_is_the_recorded_one(name: str):
    known = load(name).settings.known
    assert known.honesty is not None
    assert known.start is not None
    smaller = RANDOM_SEARCHES.get(name, {})
    found = computed(name, "train", **smaller)
    if "FEWEST" in smaller:
        assert found == -smaller["FEWEST"] <= known.honesty
    elif smaller:
        assert found <= known.honesty + 1e-4
        assert found - known.start > 0.6 * (known.honesty - known.start)
    else:
        assert found == pytest.approx(known.honesty, abs=1e-4)


@pytest.mark.parametrize(
    "name",
    [slow_rule(name) for name in names() if name not in RANDOM_SEARCHES],
)
def test_the_computed_baseline_on_held_out_inputs_is_the_recorded_one(name: str):
    problem = load(name)
    recorded = problem.settings.known.honesty_held_out
    assert (recorded is None) == (not problem.inputs["held_out"])
    assert recorded is None or computed(name, "held_out") == pytest.approx(recorded, abs=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("name", RANDOM_SEARCHES)
def test_a_full_random_search_finds_the_recorded_baseline(name: str):
    known = load(name).settings.known
    assert computed(name) == pytest.approx(known.honesty, rel=0.003)


@pytest.mark.usefixtures("plain")
def test_the_baseline_of_each_split_is_shown_next_to_the_start_program(here: Command, tmp_path: Path):
    done = here(["check", "--without-pace", "automl-zero", "--baseline"], tmp_path)
    assert done.returncode == 0, done.stderr
    lines = [line.split() for line in done.stdout.splitlines() if line.strip()]
    shown = {
        (line[0], line[1]): line
        for line in lines
        if line[0] in ("train", "validation", "held_out") and line[1:2] in (["start"], ["without"])
    }
    assert len(shown) == 6
    assert shown["train", "start"][3] == "0.726771"
    assert shown["train", "without"][5] == "8.09361"
    assert float(shown["held_out", "without"][5]) > 4 > float(shown["held_out", "start"][3])
    assert "recorded in the specification: 8.09361" in done.stderr
    only = ["--set", "validation=[]", "--set", "held_out=[]"]
    found = json.loads(
        here(["check", "--without-pace", "automl-zero", "--baseline", *only, "--format", "json"], tmp_path).stdout
    )
    assert [each["split"] for each in found["baseline"]] == ["train", "train"]
    assert [each["score"] for each in found["baseline"]] == pytest.approx([0.726771, 8.09361], abs=1e-4)


def test_a_problem_without_a_baseline_is_an_error_with_a_remedy(here: Command, tmp_path: Path):
    toy = Path(__file__).parents[2] / "specifications/toy.py"
    done = here(["check", "--without-pace", str(toy), "--baseline"], tmp_path)
    assert done.returncode == 2
    assert "no function that computes a score without a model" in done.stderr
    assert "known.baseline" in done.stderr


def test_an_unknown_baseline_function_is_refused(tmp_path: Path):
    toy = Path(__file__).parents[2] / "specifications/toy.py"
    with pytest.raises(SpecificationError, match="no such function"):
        load_problem(toy, {"known": {"baseline": "missing"}})


def test_the_standard_error_is_the_mean_s():
    assert standard_error((1.0, 3.0)) == pytest.approx(1)
    assert standard_error((2.0, 2.0, 2.0)) == 0


def test_known_scores_are_dropped_for_other_inputs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("OVERNIGHT_CONFIG", str(tmp_path / "none.toml"))
    known = load_problem(find("sorting-network"), {"inputs": [4]}).settings.known
    assert (known.best, known.honesty, known.proven) == (None, None, False)
    assert known.baseline == "largest_share"
    other = load_problem(
        find("sorting-network"), {"inputs": [4, 5, 6, 7, 8, 9], "search": {"algorithm": {"islands": 2}}}
    )
    assert other.settings.known.proven
    changed = load_problem(find("sorting-network"), {"inputs": [4]})
    assert settings_not_in_specification(changed) == {"inputs": [4]}
