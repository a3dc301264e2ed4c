"""Messages about the progress of a night."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from rich.console import Console

from overnight.flows.cli import printing
from overnight.flows.cli.best import best_note
from overnight.flows.cli.live_view import live_view
from overnight.flows.night.facts import spent
from overnight.flows.night.progress import Progress
from overnight.flows.night.stop_conditions import StopConditions
from overnight.tasks.problems.loading.load import load_problem
from overnight.tasks.sample.budget import Budget, BudgetLimits
from overnight.testing.made import a_judged

TOY = Path(__file__).parents[2] / "specifications" / "toy.py"
NOISY = load_problem(TOY, {"noise": 0.5, "validation": []})
VALIDATED = load_problem(TOY, {"validation": [[9]]})


def test_tokens_without_a_price_are_not_shown_as_free():
    completion = a_judged("run", 1, 0).candidate.completion
    budget = Budget()
    budget.limits = BudgetLimits(tokens=5_000)
    budget.record([replace(completion, cost_usd=None, tokens_in=1_000, tokens_out=200)])
    assert spent(budget) == "price unknown, 1,200 of 5,000 tokens"
    budget.record([replace(completion, cost_usd=0.25, tokens_in=0, tokens_out=0)])
    assert spent(budget).startswith("$0.25 and tokens without a known price, ")
    assert "cache" not in spent(budget)
    budget.record([replace(completion, cost_usd=0.0, tokens_in=1_500, tokens_out=0, tokens_cached=1_200)])
    assert spent(budget).endswith("2,700 of 5,000 tokens (1,200 from a cache)")


def test_limits_of_a_run_and_of_a_day_stand_with_what_was_spent_of_them():
    budget = Budget(before_usd=0.5)
    assert spent(budget) == "$0.00 ($0.50 with earlier nights), 0 tokens"
    budget.limits = BudgetLimits(total_usd=0.5, period_usd={"day": 2.0})
    budget.others_usd = {"day": 1.75}
    assert spent(budget) == (
        "$0.00 ($0.50 of $0.50 with earlier nights, $1.75 of $2.00 with all nights of the day), 0 tokens"
    )


def test_a_note_explains_a_best_program_below_the_highest_training_score():
    low, high = (a_judged("run", 1, index, scores=(float(index),)).program() for index in range(2))
    assert best_note(high, [low, high], NOISY) == ""
    said = f"{high.id} scores 1 on the training inputs, but the best program is chosen "
    assert best_note(low, [low, high], NOISY) == f"{said}as the simplest of those within the noise"
    assert best_note(low, [low, high], VALIDATED) == f"{said}by its score on the validation inputs"


@pytest.mark.parametrize(("text", "is_wrapped"), [("long message " * 20, True), ("overnight resume last " * 20, False)])
def test_messages_are_wrapped_between_words_unless_they_contain_a_command(
    text: str, is_wrapped: bool, monkeypatch: pytest.MonkeyPatch
):
    console = Console(file=io.StringIO(), width=72, force_terminal=True)
    monkeypatch.setattr(printing, "err", lambda: console)
    printing.say(text)
    assert isinstance(console.file, io.StringIO)
    lines = console.file.getvalue().splitlines()
    assert (max(map(len, lines)) <= 72) is is_wrapped
    assert " ".join(" ".join(lines).split()) == text.strip()


def test_a_log_has_every_message_once_however_short_it_stood(capsys: pytest.CaptureFixture[str]):
    progress = Progress(best=0.0)
    with live_view(cast("Any", SimpleNamespace(progress=progress)), StopConditions()):
        for message in ("the server is restarted", "the server is restarted", "", "the engine does not answer", ""):
            progress.note(message)
    assert capsys.readouterr().err.splitlines() == ["the server is restarted", "the engine does not answer"]
