"""Prompts in ShinkaEvolve's form are understood, and answered in the form that it parses."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.bench.simulated.model import SimulatedModel, text_of
from tests.bench.simulated.personas import persona_of
from tests.bench.simulated.problems import problem_named
from tests.bench.simulated.reading import read_request

MODEL = SimulatedModel(replace(persona_of(1), valid=1.0, slope=1.0, power=0.0, bad_edits=0.0, reasoning_tokens=0))
PROBLEM = problem_named("F4-k1")


def shinka_prompt(system: str, *, cross: bool = False) -> dict[str, Any]:
    """Return a request in ShinkaEvolve's form: scores stand below their programs, to two decimals."""
    low, middle, base = (PROBLEM.start._replace(choices=(k, *PROBLEM.start.choices[1:])) for k in range(3))
    program = {design: f"```python\n{PROBLEM.source(design)}\n```\n\n" for design in (low, middle, base)}
    user = (
        "Here are the performance metrics of a set of prioviously implemented programs:\n\n# Prior programs\n\n"
        f"{program[low]}Performance metrics:\nCombined score to maximize: 1.10\nscore: 1.10\n\n"
        f"{program[middle]}Performance metrics:\nCombined score to maximize: 1.20\nscore: 1.20\n\n\n"
        f"# Current program\n\nHere is the current program we are trying to improve:\n\n{program[base]}"
        "Here are the performance metrics of the program:\n\nCombined score to maximize: 1.30\nscore: 1.30\n\n"
    )
    if cross:
        user += "Perform a cross-over between the code script above and the one below.\n\n# Crossover Programs\n"
        user += f"{program[low]}Performance metrics: Combined score to maximize: 1.10\nscore: 1.10\n\n"
    return {"messages": [{"role": "system", "content": system}, {"role": "user", "content": user}], "temperature": 0.0}


DIFF = (
    "You MUST repond using a edit name, description and the exact SEARCH/REPLACE diff format shown below:\n\n"
    "<NAME>\nA shortened name.\n</NAME>\n\n<DESCRIPTION>\nA description.\n</DESCRIPTION>\n\n<DIFF>\n</DIFF>"
)
FULL = "You MUST respond using a short summary name, description and the full code:\n\n<NAME>\nA name.\n</NAME>\n"


@pytest.mark.parametrize("cross", [False, True])
def test_a_prompt_in_shinka_s_form_is_understood(cross: bool):
    reading = read_request(text_of(shinka_prompt(FULL, cross=cross)))
    assert reading.base is not None
    assert (reading.base.score, reading.base.design.choices[0]) == (1.3, 2)
    assert [other.score for other in reading.beside] == [1.1, 1.2, *([1.1] if cross else [])]


def test_answers_have_the_tags_that_shinka_parses():
    for number in range(12):
        edits = MODEL.answer(shinka_prompt(DIFF), number).text
        assert edits.startswith("<NAME>\n")
        assert "\n</DESCRIPTION>\n\n<DIFF>\n<<<<<<< SEARCH\n" in edits
        assert edits.endswith(">>>>>>> REPLACE\n</DIFF>\n")
        whole = MODEL.answer(shinka_prompt(FULL), number).text
        assert "<CODE>\n```python\n" in whole
        assert "# EVOLVE-BLOCK-END" in whole


def test_a_temperature_of_zero_is_one():
    model = SimulatedModel(replace(MODEL.persona, collapses=0.5, copies=0.0))
    cold, usual = (
        len({model.answer({**shinka_prompt(DIFF), "temperature": heat}, number).text for number in range(40)})
        for heat in (0.0, None)
    )
    assert cold < usual
