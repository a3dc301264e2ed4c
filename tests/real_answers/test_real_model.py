"""The comparison that anyone with a key can run: its table, and a small one on loopback."""

from __future__ import annotations

from pathlib import Path

import pytest

from overnight.tasks.problems import find
from overnight.testing.fake_provider import Provider
from tests.bench.real_model import Result, main, openevolve_program, table

FIGURES = {"answers": 8, "scored": 6, "repeats": 1, "lost_repairs": 0, "tokens": 900, "usd": 0.25}


def test_a_row_is_a_design_on_a_problem_with_means_and_ranges_over_seeds():
    results = [
        Result("p", "default", 2.0, 1.0, FIGURES),
        Result("p", "default", 4.0, None, FIGURES),
        Result("p", "OpenEvolve", 3.0, None, {}),
    ]
    rows = table("openai/x", 8, results).splitlines()
    assert rows[0] == "`python -m tests.bench.real_model --model openai/x --answers 8`"
    assert rows[4] == (
        "| p | default | 3 (2 to 4) | 1 | 75.0% | 12.5% | 0.0% | 900 (900 to 900) | 0.25 (0.25 to 0.25) |"
    )
    assert rows[5] == "| p | OpenEvolve | 3 | – | – | – | – | – | – |"


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_it_runs_the_designs_and_says_first_what_they_may_cost(
    provider: Provider,
    tmp_path: Path,
    prefect: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    monkeypatch.setenv("OPENAI_API_KEY", "test")
    flags = ["--model", "openai/test", "--api-base", provider.api_base, "--answers", "4", "--usd", "3"]
    assert main([*flags, "--problems", "bin-packing-or", "--out", str(tmp_path / "table.md")]) == 0
    assert "3 runs of 4 answers: 3 USD at most, 1 USD each" in capsys.readouterr().err
    assert len((tmp_path / "table.md").read_text().splitlines()) == 4 + 3
    assert len(provider.requests) >= 3


def test_openevolve_is_shown_what_evolves_and_what_scores_it_and_nothing_that_is_known():
    text = openevolve_program(find("bin-packing-or"))
    assert "# EVOLVE-BLOCK-START\ndef priority(" in text
    assert "def evaluate(" in text
    assert "def pack(" in text
    assert not [word for word in ("two_numbers", "held_out", "funsearch", "def picture") if word in text]
