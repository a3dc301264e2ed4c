"""`overnight check --model`: a few real prompts and the estimate of a night."""

from __future__ import annotations

import json
import math
import re
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from overnight.flows.cli.forecast import (
    Pace,
    forecast,
    pace_of,
    print_pace,
    print_samples_per_prompt,
    seconds_of_changes,
)
from overnight.flows.cli.main import run
from overnight.schemas.completion_source import Record, Sample
from overnight.schemas.outcome import Outcome, Verdict
from overnight.schemas.program import Completion
from overnight.schemas.sampling_settings import Model
from overnight.tasks.problems.loading.load import load_problem
from overnight.tasks.sample.budget import BudgetLimits
from overnight.tasks.sample.gateway import Gateway
from overnight.tasks.sample.probe import (
    Probe,
    build_probe_prompts,
    is_local,
    mean_usd_per_sample,
    probe,
    probe_size,
    samples_per_second,
)
from overnight.testing.fake_provider import Answer, Provider, default_response
from overnight.testing.made import TOY, a_problem
from tests.flows.cli.conftest import Command


def test_stop_conditions_of_no_model_are_refused(capsys: pytest.CaptureFixture[str]):
    assert run(["check", "cap-set", "--until", "8h", "--budget", "1"]) == 2
    refused = (
        "overnight: error: --budget, --until: stop conditions describe a night with a model, but no model is named"
    )
    assert refused in capsys.readouterr().err


def test_the_first_stop_condition_ends_the_night():
    assert forecast(2.0, 0.01, seconds=100, budget=None).samples == 200
    assert forecast(2.0, 0.01, seconds=100, budget=1.0).ends_by == "budget"
    assert forecast(2.0, 0.01, seconds=100, budget=1.0).seconds == 50
    assert forecast(2.0, 0.01, seconds=100, budget=9.0).ends_by == "deadline"
    assert forecast(2.0, 0.01, seconds=None, budget=None).usd == 72
    assert forecast(2.0, 0.01, seconds=100, budget=9.0, samples=50).ends_by == "number of samples"
    assert forecast(2.0, None, seconds=100, budget=None).usd is None


@pytest.mark.parametrize(
    ("pace", "per_second"),
    [
        (Pace(0.096, 8.0, 2, "never", tuned=0.0), 20.0),
        (Pace(0.096, 8.0, 2, "never", tuned=0.5), 10.0),
        (Pace(0.096, 9.66, 2, "always", tuned=0.0), 0.2),
        (Pace(0.0, 0.0, 2, "never", tuned=0.0), 50.0),
    ],
    ids=["evaluations alone", "the tuner takes as many", "confirmations", "what takes no time"],
)
def test_the_pace_counts_confirmations_and_the_tuner(pace: Pace, per_second: float):
    assert pace.candidates_in(1000) == pytest.approx(1000 * per_second)


def test_a_search_waits_for_confirmations_of_its_bests_fewer_and_fewer():
    pace = Pace(0.096, 8.0, 2, "best", tuned=0.0, told=16)  # each takes 8.24 s, of which 0.8 s are hidden
    short, long = pace.candidates_in(100), pace.candidates_in(10_000)
    assert short / 20 + math.log1p(short) * 7.44 == pytest.approx(100)
    assert 20 * 9_900 < long < 20 * 9_920


@pytest.mark.usefixtures("processes")
def test_changes_of_a_start_program_that_does_nothing_are_timed():
    problem = load_problem(TOY)
    start = Verdict(Outcome.SCORED, (1.0,), wall_s=0.0)
    assert 0 < seconds_of_changes(problem, start) < 1
    assert seconds_of_changes(problem, replace(start, wall_s=60.0)) == 60.0


def test_dear_confirmations_are_named_with_what_spares_them(capsys: pytest.CaptureFixture[str]):
    problem = load_problem(TOY, {"sandbox": {"confirm": "best"}, "tuner": {"enabled": True}})
    print_pace(problem, pace_of(problem, evaluation_s=0.1, confirmation_s=8.0, slots=2))
    said = capsys.readouterr().err
    assert (
        "confirmations take 8 s each, about 11 in an hour; without them (--confirm never), about 42,000 candidates per"
        in said
    )
    assert "up to 40% of all evaluations; without it (--set tuner.enabled=false), about 68,000 per hour" in said
    assert "fewer calls that do more each" in said
    print_pace(problem, pace_of(problem, evaluation_s=0.1, confirmation_s=0.1, slots=2))
    assert "fewer calls" not in capsys.readouterr().err


def completion(**more: Any) -> Completion:
    return Completion(0, 0, "", text="x", model="x", finish_reason="stop", asked_at=datetime.now(UTC), **more)


def result(model: Model, *, together: int = 1, seconds: float = 2.0, usd: float | None = 0.003) -> Probe:
    return Probe(model, (completion(tokens_in=1000, tokens_out=500, latency_s=seconds, cost_usd=usd),), (), together)


def test_samples_of_one_prompt_share_its_cost():
    model = Model(name="openai/x", input_usd=1.0, output_usd=4.0)
    assert mean_usd_per_sample([result(model)]) == pytest.approx(0.003)
    assert mean_usd_per_sample([result(model, together=4)]) == pytest.approx(0.00025 + 0.002)


def test_what_one_answer_to_each_prompt_would_take_is_said(capsys: pytest.CaptureFixture[str]):
    print_samples_per_prompt(result(Model(name="openai/x"), together=4))
    assert "take 750 tokens each; one answer to each would take 1,500," in capsys.readouterr().err
    print_samples_per_prompt(result(Model(name="openai/x")))
    assert not capsys.readouterr().err


def test_an_unknown_price_makes_the_cost_unknown():
    priced = Model(name="openai/x", input_usd=1.0, output_usd=4.0)
    assert mean_usd_per_sample([result(priced), result(Model(name="openai/nowhere"), usd=None)]) is None


@pytest.mark.parametrize(
    ("model", "together", "rate"),
    [
        (Model(name="openai/x"), 1, 8 / 2.5),
        (Model(name="openai/x"), 4, 8 / 2.5),
        (Model(name="openai/x", rpm=30), 4, 2.0),
        (Model(name="openai/x", tpm=9000), 1, 0.1),
    ],
)
def test_the_rate_follows_from_samples_in_flight_or_rate_limits(model: Model, together: int, rate: float):
    probes = [result(model, together=together)]
    assert samples_per_second(probes, 8, evaluation_s=0.5) == pytest.approx(rate)


def test_the_rate_of_a_server_that_was_measured_is_not_exceeded():
    measured = replace(result(Model(name="openai/x")), completions_per_second=0.05, most_at_once=2)
    assert samples_per_second([measured], 8, evaluation_s=0.5) == pytest.approx(0.05)


@pytest.mark.parametrize(
    ("address", "is_there"),
    [
        ("http://127.0.0.1:8000/v1", True),
        ("http://localhost:11434", True),
        ("http://192.168.1.7:8000", True),
        ("http://gpu-box:8000", True),
        ("https://api.example.com/v1", False),
        (None, False),
    ],
    ids=["loopback", "localhost", "private", "host name", "hosted", "no address"],
)
def test_only_local_servers_are_asked_for_many_completions(address: str | None, is_there: bool):
    model = Model(name="openai/x", api_base=address)
    assert is_local(model) is is_there
    assert probe_size(model, 8) == (16 if is_there else 3)
    assert probe_size(model, 4) == (8 if is_there else 3)


@pytest.mark.parametrize(("at_once", "asked"), [(1, 4), (4, 16)], ids=["one after the other", "four at once"])
def test_a_local_server_is_asked_for_more_at_once_until_it_answers_no_faster(
    provider: Provider, monkeypatch: pytest.MonkeyPatch, at_once: int, asked: int
):
    """A server that takes a second for as many requests as it answers at once; nobody waits for it."""
    began = datetime(2026, 1, 1, tzinfo=UTC)
    sample = Gateway.sample

    def timed(gateway: Gateway, wanted: Sequence[Sample], record: Record) -> list[Completion]:
        answers = sample(gateway, wanted, record)
        return [
            replace(answer, asked_at=began, latency_s=1.0 + number // at_once) for number, answer in enumerate(answers)
        ]

    monkeypatch.setattr(Gateway, "sample", timed)
    model = Model(name="openai/x", api_base=provider.api_base)
    problem = a_problem(sampling={"models": (model,)})
    found = probe(problem, model, build_probe_prompts(problem, model, 32), BudgetLimits(), in_steps=True)
    assert found is not None
    assert len(found.completions) == len(provider.requests) == asked
    assert found.completions_per_second == at_once


Check = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def check(toy: Path, provider: Provider, tmp_path: Path, here: Command) -> Check:
    """A function that checks the toy problem with the provider's model."""
    model = ["--model", "openai/gpt-4o", "--api-base", provider.api_base]
    only = ["--set", "validation=[]", "--set", "held_out=[]"]
    line = ["check", str(toy), *model, *only]
    return lambda *more: here([*line, *more], tmp_path / "history", OPENAI_API_KEY="test")


@pytest.mark.usefixtures("plain")
def test_the_highest_cost_is_printed_before_a_model_is_sent_prompts(check: Check, provider: Provider, tmp_path: Path):
    def cut_one_short(number: int, request: dict) -> Answer:
        answer = default_response(request, number)
        if number == 1:
            answer["choices"][0] |= {"message": {"role": "assistant", "content": "Well,"}, "finish_reason": "length"}
        return Answer(answer)

    provider.script = cut_one_short
    done = check("--samples", "4", "--budget", "2", "--until", "8h")
    assert done.returncode == 0, done.stderr
    assert len(provider.requests) == 4
    announced = re.search(r"openai/gpt-4o is sent 4 prompts as in a night, which costs \$(\S+) at most", done.stderr)
    assert announced
    cost = 4 * (100 * 2.5e-6 + 20 * 1e-5)
    assert float(announced[1]) > cost
    assert f"{cost:.6f}" in done.stdout
    assert "warning: 1 of 4 completions of openai/gpt-4o hold no program" in done.stderr
    assert "--set sampling.max_tokens=65536" in done.stderr, "four times the limit at which it was cut"
    assert re.search(r"night: about [\d,]+ samples in .*, \$2.00, ended by its budget", done.stderr)
    assert not (tmp_path / "history").exists()


@pytest.mark.usefixtures("plain")
def test_as_json_the_models_and_the_night_are_beside_the_start_program(
    check: Check, provider: Provider, tmp_path: Path
):
    done = check("--until", "8h", "--format", "json")
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    found = json.loads(line)
    assert found["results"]["train"]["repeats"]
    assert found["confirmed"]
    (model,) = found["models"]
    assert (model["model"], model["with_a_program"]) == ("openai/gpt-4o", model["completions"])
    assert (found["night"]["ends_by"], found["night"]["seconds"]) == ("deadline", pytest.approx(8 * 3600, abs=120))
    assert found["night"]["usd"] == pytest.approx(found["night"]["samples"] * model["usd_per_sample"])


@pytest.mark.usefixtures("plain")
def test_a_wrong_key_is_an_error_and_no_request_is_repeated(check: Check, provider: Provider, tmp_path: Path):
    provider.script = lambda number, request: Answer({"error": {"message": "bad key"}}, status=401)
    done = check()
    assert done.returncode == 3
    assert "error: openai/gpt-4o: AuthenticationError: bad key\n  Check the key" in done.stderr
    assert "Traceback" not in done.stderr
    assert len(provider.requests) <= 4


@pytest.mark.usefixtures("plain")
def test_a_deadline_that_passes_during_the_check_leaves_a_night_of_a_second(check: Check):
    done = check("--samples", "1", "--until", "1s", "--format", "json")
    assert done.returncode == 0, done.stderr
    assert 0 < json.loads(done.stdout)["night"]["seconds"] <= 1
