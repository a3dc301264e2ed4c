"""What is told while a night goes on, in a line."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console

from flows.cli import printing
from flows.cli.live_view import spent
from flows.cli.summary import passed_over
from tasks.sample.budget import Budget, BudgetLimits
from tests.history.made import a_judged


def test_what_has_no_price_is_not_told_as_free():
    completion = a_judged("run", 1, 0).candidate.completion
    budget = Budget()
    budget.limits = BudgetLimits(tokens=5_000)
    budget.record([replace(completion, cost_usd=None, tokens_in=1_000, tokens_out=200)])
    assert spent(budget) == "price unknown, 1,200 of 5,000 tokens"
    budget.record([replace(completion, cost_usd=0.25, tokens_in=0, tokens_out=0)])
    assert spent(budget).startswith("$0.25 and what has no known price, ")


def test_a_best_that_validation_chose_is_told_from_the_highest_in_training():
    low, high = (a_judged("run", 1, index, scores=(float(index),)).program() for index in range(2))
    assert passed_over(high, [low, high]) == ""
    assert passed_over(low, [low, high]).startswith(f"{high.id} scores 1 on the training inputs, but")


@pytest.mark.parametrize(("said", "is_wrapped"), [("much talk " * 20, True), ("overnight resume last " * 20, False)])
def test_talk_is_wrapped_between_words_and_a_command_is_left_whole(
    said: str, is_wrapped: bool, monkeypatch: pytest.MonkeyPatch
):
    console = Console(file=io.StringIO(), width=72, force_terminal=True)
    monkeypatch.setattr(printing, "err", lambda: console)
    printing.say(said)
    assert isinstance(console.file, io.StringIO)
    lines = console.file.getvalue().splitlines()
    assert (max(map(len, lines)) <= 72) is is_wrapped
    assert " ".join(" ".join(lines).split()) == said.strip()
