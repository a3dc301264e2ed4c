"""The README of the sandbox says how many programs try to get out."""

from __future__ import annotations

from pathlib import Path

import test_command
import test_own_process

from overnight.testing.programs import bombs, candidates, forgers, intruders, liars, litterers, wreckers

README = Path(__file__).parents[2] / "tasks/evaluate/README.md"


def test_the_readme_counts_the_programs_that_mean_harm():
    functions = sum(len(module.CASES) for module in (candidates, intruders, bombs, liars, litterers))
    files = (test_command.OUTCOMES, wreckers.ENDS, test_command.REFUSALS, test_command.LITTER, wreckers.IN_A_FILE)
    imported = len(test_own_process.FORGERS) + len(test_own_process.DEEPER)
    whole = sum(map(len, files)) + len(wreckers.SHELL) + imported
    text = " ".join(README.read_text().split())
    assert f"{functions + len(forgers.FORGERS) + whole} programs in `tests/testing/programs/`" in text
    assert f"{functions} functions, {len(forgers.FORGERS)} forgers of scores and {whole} whole files" in text
