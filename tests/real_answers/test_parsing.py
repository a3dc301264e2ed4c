"""Answers as other systems keep them become the same programs here; each other case has a name."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from tests.bench.real_answers import store
from tests.bench.real_answers.parsing import compare
from tests.bench.real_answers.sources import OWN_ANSWERS, SPECIFICATION, read_own
from tests.real_answers.stand_ins import CHILD, EDIT, GRANDCHILD, HEAD, PARENT

FIXTURES = Path(__file__).parents[1] / "fixtures"
OWN_RUN = "0.2-answers-binpack-12x4-1"
ROW: dict[str, Any] = {"source": "shinka", "run_id": "toy", "program_id": "x", "form": "edits", "parent": PARENT}


def kind(source: str, form: str, answer: str, body: str, parent: str = PARENT) -> str:
    row = {**ROW, "source": source, "form": form, "completion": answer, "body": body, "parent": parent}
    return compare(row, {"toy": PARENT})["kind"]


@pytest.mark.parametrize(
    ("source", "form", "answer", "body"),
    [
        ("shinka", "edits", EDIT, CHILD),
        ("shinka", "whole", GRANDCHILD.strip(), GRANDCHILD),
        ("shinka", "whole", HEAD + "def f():\n    return 3", GRANDCHILD),
        ("openevolve", "whole", f"Better:\n```python\n{CHILD}```", CHILD),
        ("shinka", "edits", EDIT.replace("    return 1\n", "def f():\n\n    return 1\n# EVOLVE-BLOCK-END\n", 1)
            .replace("    return 2\n", "def f():\n    return 2\n# EVOLVE-BLOCK-END\n"), CHILD),
    ],
    ids=["edits", "a file", "a file without its last mark", "a file in a fence", "other blank lines"],
)  # fmt: skip
def test_the_same_program_results(source: str, form: str, answer: str, body: str):
    assert kind(source, form, answer, body) == "same"


def test_an_answer_to_a_parent_that_lost_a_mark_is_a_program():
    lost = PARENT.replace("# EVOLVE-BLOCK-END\n", "")
    assert kind("openevolve", "whole", f"```python\n{CHILD}```", CHILD, parent=lost) == "same"


def test_other_cases_are_named():
    cut = f"```python\n{HEAD}def f():\n    return (\n"
    assert kind("openevolve", "whole", cut, cut) == "cut off"
    renamed = CHILD.replace("def run", "def walk")
    assert kind("openevolve", "whole", f"```python\n{renamed}```", renamed) == "outside of the marks"
    nested = PARENT.replace("    return 1\n", "    if f:\n        return 1\n    return 1\n")
    wrong = nested.replace("        return 1", "        return 2")
    assert kind("shinka", "edits", EDIT, wrong, parent=nested) == "inside a line"
    assert kind("shinka", "edits", EDIT, GRANDCHILD) == "different"
    assert kind("shinka", "edits", EDIT, CHILD, parent=GRANDCHILD) == "unparsable"


@pytest.mark.parametrize("run", [OWN_RUN, pytest.param("%", marks=pytest.mark.slow)])
def test_our_own_answers_are_parsed_by_their_specification(run: str):
    rows = [row for row in store.read(OWN_ANSWERS.parent, OWN_ANSWERS.name) if run in ("%", row["run_id"])]
    texts = {row["run_id"]: row["body"] for row in rows if row["form"] == SPECIFICATION}
    answers = [row for row in rows if row["form"] != SPECIFICATION]
    assert len(answers) == 48 * len(texts)
    assert {compare(row, texts)["kind"] for row in answers} == {"same"}
    assert compare({**answers[0], "body": "return item"}, texts)["kind"] == "different"


def test_answers_of_an_exported_run_are_read_and_parsed_likewise():
    start, *answers = read_own(FIXTURES / "0.3-answers-bin-packing-or.tar.zst")
    assert (start.sample, len(answers)) == (0, 24)
    assert answers[0].parent_score == pytest.approx(-5.28, abs=0.01)
    rows = [{**asdict(answer), "program_id": answer.key} for answer in answers]
    assert {compare(row, {start.run_id: start.body})["kind"] for row in rows} == {"same"}
