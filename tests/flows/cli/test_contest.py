"""`overnight compare --problem`: models are compared on the same seeds, with equally many samples."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import pytest

from overnight.flows.cli.main import run
from overnight.schemas.generation import StopReason
from overnight.schemas.report_rows import SplitScores
from overnight.schemas.run_curve import RunCurve
from overnight.tasks.report.comparison import groups_of, shared_seeds
from overnight.testing.fake_provider import Provider
from overnight.testing.made import NOW
from tests.flows.cli.conftest import Command


@pytest.mark.usefixtures("plain")
def test_each_model_gets_the_same_seeds_and_samples_and_a_group_in_the_comparison(
    here: Command, toy: Path, tmp_path: Path, provider: Provider
):
    done = here(
        [
            *("compare", "--problem", str(toy), "--model", "openai/small", "--model", "builtin/mutate"),
            *("--api-base", provider.api_base, "--seeds", "1", "--max-samples", "6", "--set", "search.prompts=3"),
            *("--set", "search.samples=2", "--write", str(tmp_path / "comparison.html"), "--format", "json"),
        ],
        tmp_path / "history",
        OPENAI_API_KEY="test",
    )
    assert done.returncode == 0, done.stderr
    *nights, comparison = map(json.loads, done.stdout.splitlines())
    assert [line["event"] for line in nights] == ["run", "generation", "night"] * 2
    assert {group["name"] for group in comparison["groups"]} == {"openai/small", "builtin/mutate"}
    assert (tmp_path / "comparison.html").exists()
    query = "SELECT settings::JSON->>'$.sampling.models[0].name' AS model, seed, samples FROM runs ORDER BY ALL"
    rows = json.loads(here(["sql", query, "--format", "json"], tmp_path / "history").stdout)
    assert [(row["model"], row["seed"], row["samples"]) for row in rows] == [
        (model, 1, 6) for model in ("builtin/mutate", "openai/small")
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--problem", "cap-set", "--model", "builtin/mutate"], "expected two models or more"),
        (["--model", "builtin/mutate"], "Add --problem"),
        (["last", "--problem", "cap-set", "--model", "a", "--model", "b"], "cannot be combined with existing ones"),
        (["--problem", "cap-set", "--model", "a", "--model", "b", "--seeds", "0"], "--seeds"),
        (["--problem", "cap-set", "--model", "a", "--model", "b", "--max-samples", "0"], "--max-samples"),
    ],
)
def test_invalid_arguments_are_refused(here: Command, arguments: list[str], message: str, tmp_path: Path):
    done = here(["compare", *arguments], tmp_path / "history")
    assert done.returncode == 2
    assert message in done.stderr
    assert not (tmp_path / "history").exists()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--write", "-", "--format", "json"], "both write to stdout"),
        (["--write", "/nowhere/comparison.html"], "cannot write /nowhere/comparison.html"),
        (["--write", "/"], "cannot write /"),
    ],
)
def test_a_page_that_cannot_be_written_is_refused_before_any_night(
    here: Command, flags: list[str], message: str, tmp_path: Path
):
    models = ["--model", "builtin/mutate", "--model", "openai/small"]
    # There is no key for this model, which is said later.
    done = here(["compare", "--problem", "cap-set", *models, *flags], tmp_path / "history")
    assert done.returncode == 2
    assert message in done.stderr
    assert not (tmp_path / "history").exists()


@pytest.mark.parametrize("style", ["text", "json"])
def test_an_interrupted_comparison_has_the_exit_code_of_an_interrupt(
    style: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    results = iter([StopReason.SAMPLES, StopReason.INTERRUPTED])

    def night(*_: object, **__: object) -> tuple[str, dict[str, object]]:
        return "a-run", {"stop_reason": next(results)}

    monkeypatch.setattr("overnight.flows.prefect_server.embedded.PrefectServer", lambda **_: contextlib.nullcontext())
    monkeypatch.setattr("overnight.flows.cli.foreground_night.run_with_view", night)
    monkeypatch.setattr("overnight.flows.start.sandboxes.image_of", lambda *_: None)
    monkeypatch.setattr("overnight.flows.cli.compare.require_listening", lambda _: None)
    monkeypatch.setattr("overnight.flows.cli.compare._compare_runs", lambda *_, **__: None)
    models = ["--model", "builtin/mutate", "--model", "openai/small", "--api-base", "http://127.0.0.1:9/v1"]
    monkeypatch.setenv("OPENAI_API_KEY", "test")
    flags = ["--format", style, "--seeds", "2", "--history", str(tmp_path)]
    assert run(["compare", "--problem", "cap-set", *models, *flags]) == 130
    assert "2 runs were not started" in capsys.readouterr().err


def test_runs_of_a_group_that_share_a_seed_are_named():
    runs = [
        RunCurve(run_id, "toy", group, seed, NOW, 8, 1.0, 0.0, 0.0, ((0, 0.0),), 0.0, SplitScores("p", 0.0), "samples")
        for run_id, group, seed in (("a", "x", 1), ("b", "x", 2), ("c", "x", 1), ("d", "y", 1))
    ]
    (note,) = shared_seeds(runs)
    assert note.startswith("a and c share seed 1")


def test_the_training_score_beside_a_held_out_one_is_of_the_same_program():
    chosen = SplitScores("p", 3.0, held_out=2.0)
    run = RunCurve("a", "toy", "x", 1, NOW, 8, 1.0, 0.0, 0.0, ((0, 0.0), (4, 5.0)), 0.0, chosen, "samples")
    (group,) = groups_of([run])
    assert group.held_out is not None
    assert (group.best.middle, group.held_out.middle) == (3.0, 2.0)
