"""`overnight algorithms` lists every algorithm with a line of text, its source, and a mark at the default."""

from __future__ import annotations

import pytest

from overnight.flows.cli.main import run
from overnight.schemas.algorithm_settings import GreedySettings, algorithm_kinds
from overnight.schemas.search_settings import Search


def test_it_lists_every_algorithm_and_marks_the_default(capsys: pytest.CaptureFixture[str]):
    assert run(["algorithms"]) == 0
    written = capsys.readouterr()
    lines = [line for line in written.out.splitlines() if line.strip()]
    for line, kind in zip(lines[2:], algorithm_kinds(), strict=True):
        assert line.split()[0] == kind.algorithm_name()
        assert kind.summary() in line
        assert kind.source in line
        assert (line.split()[1] == "yes") == (kind is GreedySettings)
    assert "--set search.algorithm=NAME" in written.err


@pytest.mark.parametrize("kind", algorithm_kinds(), ids=lambda kind: kind.algorithm_name())
def test_what_it_lists_can_be_chosen_by_name(kind: type):
    chosen = Search.model_validate({"algorithm": kind.algorithm_name()}).algorithm
    assert type(chosen) is kind
    assert kind.summary().endswith(".")
    assert kind.source


def test_the_first_is_the_default():
    assert type(Search().algorithm) is algorithm_kinds()[0]
