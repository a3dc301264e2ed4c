"""The command that compares systems prints readable tables, keeps searches, and refuses what is not there."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from tests.bench import search
from tests.bench.simulated import systems
from tests.bench.simulated.comparison import Key
from tests.bench.simulated.problems import names_of, problem_named
from tests.bench.simulated.split import HELD_OUT, PUBLIC
from tests.bench.simulated.systems import Setup, merged
from tests.bench.simulated.tables import by_tokens, main_table
from tests.bench.simulated.trace import Trace, area, load_trace

WINDOWS = ("greedy+sampling.concurrency=8", "greedy+sampling.concurrency=16")
SMALL = ["--answers", "8", "--seeds", "1", "--personas", "1", "--problems", "F3-a,F1-k1"]


def trace(gaps: list[float], tokens: float = 1000.0, wanted: int = 0) -> Trace:
    count = np.arange(1, len(gaps) + 1, dtype=np.float64)
    return Trace(np.array(gaps), count * tokens, count // 2, count // 4, count // 3, wanted or len(gaps), 1.5)


def test_the_area_is_the_mean_of_the_decades():
    assert area([1.0, 0.1, 0.01, 0.0]) == pytest.approx((0 - 1 - 2 - 6) / 4)


def test_one_search_has_figures_at_every_budget():
    found = trace([1.0, 0.5, 0.1, 0.1, 0.02, 0.02, 0.02, 0.02])
    assert found.area(2) == pytest.approx(np.log10([1.0, 0.5]).mean())
    assert (found.gap(3), found.depth(3), found.depth(8)) == (0.1, 1.0, 2.0)
    assert (found.answers_to(0.1, 8), found.answers_to(0.03, 4), found.answers_to(0.03, 8)) == (3, None, 5)
    assert (found.repeated_share(8), found.unscored_share(8)) == (0.25, 0.25)
    early = trace([1.0, 0.1], wanted=4)
    assert early.ended_early
    assert early.area(4) == pytest.approx(-0.75)


def test_an_answer_counts_over_tokens_once_it_is_complete():
    found = trace([0.1, 0.01], tokens=1500.0)
    assert found.area_by_tokens(3000) == pytest.approx((0 - 1 - 2) / 3)


def test_equal_tokens_are_those_that_both_spent():
    keys: list[Key] = [("F1-a", 0, seed) for seed in range(4)]
    traces = {
        "plain": {key: trace([0.5, 0.1, 0.1, 0.1], 2000.0) for key in keys},
        "iid": {key: trace([0.5, 0.1, 0.1, 0.1], 1000.0) for key in keys},
        "mutate": {key: trace([0.5, 0.1, 0.1, 0.1], 0.0) for key in keys},
    }
    found = by_tokens(traces, 4)
    assert list(found) == ["iid"]
    assert found["iid"].iqm == pytest.approx(
        np.log10([0.5, 0.1, 0.1, 0.1]).mean() - np.log10([1, 0.5, 0.5, 0.1]).mean()
    )
    lines = main_table(traces, [2, 4]).splitlines()
    assert [line.split()[0] for line in lines[1:]] == ["plain", "iid", "mutate"]
    assert "–" in lines[3]


def test_a_trace_is_read_back_as_it_was_kept(tmp_path: Path):
    kept = trace([0.5, 0.25], wanted=3)
    kept.save(tmp_path / "system" / "one.npz")
    found = load_trace(tmp_path / "system" / "one.npz")
    assert (found.gaps.tolist(), found.tokens.tolist()) == (kept.gaps.tolist(), kept.tokens.tolist())
    assert (found.wanted, found.seconds, found.ended_early) == (3, 1.5, True)


def test_the_command_prints_a_table_with_a_reference(capsys: pytest.CaptureFixture[str]):
    search.main([*SMALL, "--systems", "tree,iid", "--budgets", "4", "--details"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "8 answers, 2 searches for each system, public problems, weak personas"
    assert [line.split()[0] for line in lines[2:6]] == ["system", "plain", "tree", "iid"]
    titles = ["answers", "targets", "all", "F1", "F3"]
    assert [line for line in lines if line in titles] == titles


def test_searches_of_other_systems_are_kept_and_not_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    runs = []
    monkeypatch.setattr(systems, "run_peer", lambda *arguments: runs.append(arguments) or trace([0.5, 0.1]))
    setup = Setup(2, pythons={"shinka": "python"}, folder=tmp_path)
    for key in (("F1-k1", 0, 0), ("F1-k1", 0, 0), ("F1-k1", 1, 0)):
        assert systems.search("shinka", key, setup).gaps.tolist() == [0.5, 0.1]
    assert len(runs) == 2
    assert len(systems.search("iid", ("F1-k1", 0, 0), setup).gaps) == 2
    assert {path.parent.name for path in tmp_path.rglob("*.npz")} == {"shinka"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--systems", "greed"], "no such system: greed"),
        (["--problems", "F7"], "got F7"),
        (["--systems", "shinka+evo.x=1"], "other systems run at their defaults"),
        (["--systems", "shinka"], "expected --shinka PYTHON"),
        (["--openevolve", "/nowhere/python"], "/nowhere/python cannot be run"),
    ],
)
def test_what_is_not_there_is_refused(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit):
        search.main(arguments)
    assert message in capsys.readouterr().err


def test_settings_are_whole_ones():
    options = search._options(["--set", "search.feedback=9", "--set", "search.ledger=3", "--tuner", "on"])
    expected = {"search": {"feedback": "9", "ledger": "3"}, "tuner": {"enabled": "True"}}
    assert search._setup(options, 0).settings == expected
    assert merged({"a": {"b": 1, "c": 2}}, {"a": {"b": 3}, "d": 4}) == {"a": {"b": 3, "c": 2}, "d": 4}


def test_the_size_of_a_search_is_known_to_the_product_s_algorithms():
    narrow = {"search": {"algorithm": {"name": "halving", "budget": 100}}}
    assert systems._defaults("halving", Setup(100)) == narrow
    key = ("F1-k1", PUBLIC.personas[0], 0)
    gaps = {name: systems.search(name, key, Setup(60)).gaps.tolist() for name in ("greedy", *WINDOWS)}
    assert gaps["greedy"] == gaps[WINDOWS[0]] != gaps[WINDOWS[1]]


def test_one_system_may_stand_there_with_several_settings(capsys: pytest.CaptureFixture[str]):
    both = "greedy+sampling.concurrency=1+search.samples=1,greedy+search.samples=4"
    search.main([*SMALL, "--reference", "greedy", "--systems", both])
    lines = capsys.readouterr().out.splitlines()
    assert lines[4].startswith("greedy+sampling.concurrency=1+search.samples=1 ")
    assert "+0.000 [+0.000, +0.000]" in lines[5]  # four samples are the default


def test_other_systems_are_compared_when_their_python_is_given():
    options = search._options(["--shinka", sys.executable, "--answers", "100"])
    assert options.systems[0] == "plain"
    assert options.systems[-1] == "shinka"
    assert "openevolve" not in options.systems
    assert (options.budgets, search._setup(options, 0)) == ([100], Setup(100, pythons={"shinka": sys.executable}))


def test_the_halves_have_nothing_in_common_and_both_are_sound():
    assert (len(PUBLIC.personas), len(HELD_OUT.personas)) == (8, 24)
    assert not {*PUBLIC.personas} & {*HELD_OUT.personas}
    assert (HELD_OUT.problem_seed, sum(HELD_OUT.personas)) == (993931811, 11516670034)
    for name in names_of("F1-k3,F2,F3,F4"):
        problem = problem_named(name, HELD_OUT.problem_seed)
        assert problem.landscape != problem_named(name, PUBLIC.problem_seed).landscape
        assert problem.evaluate(problem.source(problem.best)) == problem.optimum
        assert problem.optimum - problem.start_score > 0.3 * problem.landscape.scale
