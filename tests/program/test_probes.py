"""Programs that should not win can be run, and each is what its name says."""

from __future__ import annotations

import pytest

from overnight.tasks.program.probes import empty_answers, endless, nonsense, with_memory
from overnight.tasks.program.read_specification import read_specification
from overnight.tasks.program.specification import Specification

ONE = read_specification(
    "import funsearch\n@funsearch.run\ndef evaluate(n): return f(n, 2)\n"
    "@funsearch.evolve\ndef f(x, y):\n    if x > y:\n        return x - y\n    return y * 3\n",
    "one",
)
TWO = read_specification(
    "import funsearch\n@funsearch.run\ndef evaluate(n): return f(n) + g(n)\n"
    "@funsearch.evolve\ndef f(x):\n    return x\n\n\n@funsearch.evolve\ndef g(z):\n    return z + 1\n",
    "two",
)


def functions(specification: Specification, body: str) -> dict:
    scope: dict = {}
    exec(specification.function_text(body), scope)
    return scope


@pytest.mark.parametrize("specification", [ONE, TWO], ids=["one", "two"])
def test_programs_without_work_return_what_they_say_whatever_they_are_given(specification: Specification):
    probes = {probe.name: functions(specification, probe.body)["f"] for probe in empty_answers(specification)}
    arguments = (5, 6)[: 2 if specification is ONE else 1]
    assert probes["returns nothing"](*arguments) is None
    assert probes["returns a large number"](*arguments) == 1e9
    assert probes["returns its argument x"](*arguments) == 5
    lie = probes["returns a number that lies"](*arguments)
    assert lie > 10**400
    assert lie == "anything"
    assert len(probes["returns a list that lies"](*arguments)) == 10**6


def test_one_that_remembers_fails_at_its_second_call_or_repeats_its_first_answer():
    fails, alike = (functions(ONE, probe.body)["f"] for probe in with_memory(ONE, ONE.start_body))
    assert fails(5, 2) == 3
    with pytest.raises(RuntimeError, match="was called before"):
        fails(5, 2)
    assert (alike(5, 2), alike(1, 2)) == (3, 3)


def test_what_stands_beside_the_function_stays_beside_it():
    body = ONE.join(["return STEP - y"], "STEP = 7")
    fails, alike = (functions(ONE, probe.body)["f"] for probe in with_memory(ONE, body))
    assert (fails(5, 2), alike(5, 2), alike(5, 3)) == (5, 5, 5)
    assert [functions(ONE, one.body)["f"](5, 2) for one in nonsense(ONE, body, 1, 9)] == [-5, -5]


def test_of_several_functions_the_first_remembers_and_the_others_stay():
    scope = functions(TWO, with_memory(TWO, TWO.start_body)[1].body)
    assert (scope["f"](1), scope["f"](2), scope["g"](2)) == (1, 1, 3)


def test_variants_of_a_program_have_one_part_turned_around_and_are_the_same_for_a_seed():
    variants = nonsense(ONE, ONE.start_body, 1, 100)
    assert {"a condition turned around in line 1", "a result negated in line 2"} <= {one.name for one in variants}
    by_name = {one.name: functions(ONE, one.body)["f"] for one in variants}
    assert by_name["a condition turned around in line 1"](5, 2) == 6
    assert by_name["a result negated in line 2"](5, 2) == -3
    assert by_name["two operands swapped in line 2"](5, 2) == -3
    assert nonsense(ONE, ONE.start_body, 1, 2) == nonsense(ONE, ONE.start_body, 1, 2)
    assert len(nonsense(ONE, ONE.start_body, 1, 2)) == 2


def test_the_endless_one_parses():
    assert "while True: pass" in ONE.function_text(endless(ONE).body)
