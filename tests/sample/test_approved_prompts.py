"""Whole prompts are as they were approved; `python -m tests.approved_prompts` writes them, to be read as a diff."""

from __future__ import annotations

import pytest

from tests.approved_prompts import FOLDER, KINDS


@pytest.mark.parametrize("kind", KINDS)
def test_a_prompt_is_as_it_was_approved(kind: str):
    assert KINDS[kind]() == (FOLDER / f"{kind}.txt").read_text()


def test_every_approved_prompt_is_of_a_kind():
    assert {path.stem for path in FOLDER.iterdir()} == set(KINDS)
