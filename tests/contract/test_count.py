"""The README of the sandbox says how many programs try to get out."""

from __future__ import annotations

from pathlib import Path

import bombs
import candidates
import forgers
import intruders
import liars
import litterers
import test_command
import wreckers

README = Path(__file__).parents[2] / "tasks/evaluate/README.md"


def test_the_readme_counts_the_programs_that_mean_harm():
    functions = sum(len(module.CASES) for module in (candidates, intruders, bombs, liars, litterers))
    files = (test_command.OUTCOMES, wreckers.ENDS, test_command.REFUSALS, test_command.LITTER, wreckers.IN_A_FILE)
    whole = sum(map(len, files)) + len(wreckers.SHELL)
    text = " ".join(README.read_text().split())
    assert f"{functions + len(forgers.FORGERS) + whole} programs in `tests/contract/`" in text
    assert f"{functions} functions, {len(forgers.FORGERS)} forgers of scores and {whole} whole files" in text
