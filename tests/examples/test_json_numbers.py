"""The worked example of a kind of skeleton passes the contract."""

from __future__ import annotations

import inspect
import json
import sys
from typing import Any

import pytest
from hypothesis import strategies as st

from overnight.schemas.skeleton import Skeleton
from tests.contract import test_skeleton as skeleton_contract
from tests.examples import json_numbers_codec
from tests.examples.json_numbers import Numbers

_OF_SHIPPED_KINDS = (
    skeleton_contract.test_there_is_an_example_of_every_kind,
    skeleton_contract.test_it_is_restored_from_its_text_and_the_settings_of_the_run,
    skeleton_contract.test_the_built_in_model_answers_the_prompt_with_new_programs,
)
SKELETON_CHECKS = [
    check
    for name, check in inspect.getmembers(skeleton_contract, inspect.isfunction)
    if name.startswith("test_") and "kind" in inspect.signature(check).parameters and check not in _OF_SHIPPED_KINDS
]


class NumbersKind(skeleton_contract.Kind):
    """The example's kind of skeleton."""

    @property
    def skeleton(self) -> Skeleton:
        return Numbers("numbers.json", '{\n"x": 1,\n"y": 2.5\n}\n')


def numbers(_: Skeleton, texts: list[str]) -> str:
    """Return a body whose numbers follow from the letters of the texts, and whose layout from their blanks."""
    x, y = (sum(map(ord, "".join(text.split()))) for text in texts)
    return json.dumps({"x": x, "y": y}, indent=texts[0].count(" "))


@pytest.fixture
def numbers_kind(monkeypatch: pytest.MonkeyPatch) -> NumbersKind:
    """The example's kind of skeleton, with its codec in place."""
    monkeypatch.setitem(sys.modules, f"overnight.tasks.sample.codecs.{Numbers.kind}", json_numbers_codec)
    texts = st.lists(st.text("abc 123", min_size=1), min_size=1).map("\n".join)
    return NumbersKind("", numbers, texts, skeleton_contract.answer_with_the_blocks)


@pytest.mark.parametrize("check", SKELETON_CHECKS, ids=lambda check: check.__name__)
def test_the_example_of_a_kind_of_skeleton_passes_the_contract(check: Any, numbers_kind: NumbersKind):
    check(kind=numbers_kind)
