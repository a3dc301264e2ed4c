"""`overnight check --model`: a few real prompts and the estimate of a night."""

from __future__ import annotations

import json
import math
import re
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import pytest

from overnight.flows.cli.forecast import (
    Pace,
    forecast,
    measured_pace,
    pace_of,
    say_dear_confirmation,
)
from overnight.flows.cli.model_answers import print_samples_per_prompt
from overnight.flows.cli.short_night import Look, ShortNight
from overnight.flows.night.stop_conditions import StopConditions
from overnight.schemas.completion_source import Answer as Answered
from overnight.schemas.completion_source import Record, Sample
from overnight.schemas.outcome import Outcome, Verdict
from overnight.schemas.program import Completion
from overnight.schemas.sampling_settings import Model
from overnight.tasks.problems.loading.load import load_problem
from overnight.tasks.sample.budget import BudgetLimits
from overnight.tasks.sample.gateway import Gateway
from overnight.tasks.sample.probe import (
    DelayedModel,
    Probe,
    build_probe_prompts,
    is_local,
    mean_usd_per_sample,
    most_per_second,
    probe,
    probe_size,
)
from overnight.testing.fake_provider import Answer, Provider, default_response
from overnight.testing.made import TOY, a_problem
from tests.flows.cli.conftest import Command

STEADY = Pace(2.0, 4.0, "evaluations", "measured")


def test_the_first_stop_condition_ends_the_night():
    assert forecast(STEADY, 0.01, seconds=100).samples == (200, 400)
    assert forecast(STEADY, 0.01, seconds=100, budget=1.0).ends_by == "budget"
    assert forecast(STEADY, 0.01, seconds=100, budget=1.0).samples == (100, 100)
    assert forecast(STEADY, 0.01, seconds=100, budget=1.0).seconds == (25, 50)
    assert forecast(STEADY, 0.01, seconds=100, budget=9.0).ends_by == "deadline"
    assert forecast(STEADY, 0.01, seconds=100, budget=3.0).samples == (200, 300), "the slower end is the deadline's"
    assert forecast(STEADY, 0.01, seconds=None).usd == (72, 144)
    assert forecast(STEADY, 0.01, seconds=100, budget=9.0, samples=50).ends_by == "number of samples"
    assert forecast(STEADY, None, seconds=100).usd is None


def looks(*samples: int, **more: Any) -> list[Look]:
    """Looks at a night, one a second, with so many samples."""
    facts = {"waiting": 0, "is_confirming": False, "own": 0, "others": 0, **more}
    return [Look(at=float(second), samples=number, **facts) for second, number in enumerate(samples)]


def test_the_pace_is_a_range_between_the_slower_and_the_faster_half_of_a_short_night():
    night = ShortNight(2, 8, 0.0, 1.0, 5.0, looks(0, 10, 20, 20, 20, 40, 60))
    assert night.rates == (pytest.approx(10 / 3), pytest.approx(50 / 3))
    stalled = ShortNight(2, 8, 0.0, 1.0, 5.0, looks(0, 0, 0, 0, 30, 30, 60))
    assert stalled.rates == (20 / 8, 20), "a search that waited for three of six seconds does not wait for ever"


def test_a_short_night_without_a_sample_in_what_is_measured_tells_at_most_the_mean_of_all_of_it():
    assert ShortNight(2, 8, 0.0, 1.0, 0.8, looks(5, 5, 5, 5, 5, 5, 5)).rates == (0.1, 0.8)
    unseen = ShortNight(2, 8, 0.0, 1.0, 0.8, [])
    assert (unseen.rates, unseen.limited_by) == ((0.1, 0.8), "other work on this machine")


@pytest.mark.parametrize(
    ("seen", "limited_by"),
    [
        ({"waiting": 7}, "the model"),
        ({"is_confirming": True, "own": 2}, "confirmations"),
        ({"own": 2}, "evaluations"),
        ({"others": 2}, "evaluations of other nights"),
        ({}, "what surrounds evaluations"),
    ],
)
def test_what_limits_the_pace_is_what_most_of_it_waited_for(seen: dict[str, Any], limited_by: str):
    assert ShortNight(2, 8, 0.0, 1.0, 1.0, looks(*range(7), **seen)).limited_by.startswith(limited_by)


def test_answers_that_take_long_are_reckoned_from_quicker_ones():
    """8 samples in flight had a turn in 2 s, of which the answers took 1.5; they will take 15."""
    pace = pace_of(ShortNight(2, 8, 1.5, 10.0, 4.0, looks(*range(0, 28, 4))), latency_s=15.0)
    assert pace.low == pytest.approx(8 / 20)
    assert pace.high == pytest.approx(8 / 15.5)


def test_a_server_that_was_measured_and_rate_limits_are_not_exceeded():
    assert STEADY.capped(3.0) == replace(STEADY, high=3.0, limited_by="the model")
    assert STEADY.capped(1.0).low == 1.0
    assert STEADY.capped(5.0) == STEADY


def test_a_long_evaluation_is_reckoned_with_and_none_is_played():
    problem = load_problem(TOY, {"sandbox": {"slots": 2}})
    start = Verdict(Outcome.SCORED, (1.0,), wall_s=30.0)
    pace = measured_pace(problem, TOY, start, StopConditions(), cast("Any", None), ())
    assert (pace.low, pace.high) == (1 / 30, 1 / 15)
    assert "reckoned from an evaluation of 30 s" in pace.measured


def test_a_slow_model_is_reckoned_with_as_few_in_flight_as_its_night_goes_on_with():
    problem = load_problem(TOY, {"sandbox": {"slots": 2}, "sampling": {"models": [{"name": "openai/x"}]}})
    start = Verdict(Outcome.SCORED, (1.0,), wall_s=30.0)
    probes = [result(Model(name="openai/x"), seconds=170.0)]
    pace = measured_pace(problem, TOY, start, StopConditions(), cast("Any", None), probes)
    assert pace.high == pytest.approx(4 / 200)


def test_agents_are_reckoned_with_from_few_turns_to_their_limits():
    problem = load_problem(TOY, {"sampling": {"models": [{"name": "agent:pi/openai/x", "style": "chat"}]}})
    start = Verdict(Outcome.SCORED, (1.0,), wall_s=0.1)
    probes = [result(Model(name="openai/x"), seconds=2.0)]
    pace = measured_pace(problem, TOY, start, StopConditions(), cast("Any", None), probes)
    assert pace.low == pytest.approx(2 / 100)
    assert pace.high == pytest.approx(2 / 8)


def test_dear_confirmations_are_named_with_what_spares_them(capsys: pytest.CaptureFixture[str]):
    problem = load_problem(TOY, {"sandbox": {"confirm": "best"}})
    say_dear_confirmation(problem, evaluation_s=0.1, confirmation_s=8.0)
    said = capsys.readouterr().err
    assert "confirmations take 8 s each, an evaluation 0.1 s" in said
    assert "fewer calls that do more each" in said
    say_dear_confirmation(problem, evaluation_s=0.1, confirmation_s=0.1)
    assert not capsys.readouterr().err


class Instant:
    """A `CompletionSource` that answers at once."""

    def submit(self, wanted: Sequence[Sample], record: Record) -> Answered:
        answers = [replace(completion(**NO_COST), prompt=one.prompt.index, sample=one.number) for one in wanted]
        record(answers)
        done = Answered()
        done.set_result(answers)
        return done


NO_COST = {"tokens_in": 1, "tokens_out": 1, "latency_s": 0.0, "cost_usd": 0.0}


def test_answers_are_delayed_by_the_seconds_of_other_models_and_recorded_as_they_come():
    probed = Probe(Model(name="openai/x"), tuple(completion(**{**NO_COST, "latency_s": s}) for s in (0.2, 0.4)), (), 1)
    delayed, arrived = DelayedModel(Instant(), [probed], faster=10.0), list[Completion]()
    prompt = replace(build_probe_prompts(a_problem(), Model(name="openai/x"), 1)[0], seeds=(0, 1, 2, 3))
    begin = time.monotonic()
    answer = delayed.submit([Sample(prompt, number) for number in range(4)], arrived.extend)
    assert delayed.waiting > 0
    assert [one.sample for one in answer.result()] == [0, 1, 2, 3]
    assert time.monotonic() - begin >= 0.02
    assert len(arrived) == 4
    assert delayed.waiting == 0


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
        (Model(name="openai/x"), 4, math.inf),
        (Model(name="openai/x", rpm=30), 4, 2.0),
        (Model(name="openai/x", tpm=9000), 1, 0.1),
    ],
)
def test_rate_limits_are_the_most_that_models_answer(model: Model, together: int, rate: float):
    assert most_per_second([result(model, together=together)]) == pytest.approx(rate)


def test_a_server_that_was_measured_answers_no_more_than_that():
    measured = replace(result(Model(name="openai/x")), completions_per_second=0.05, most_at_once=2)
    assert most_per_second([measured]) == pytest.approx(0.05)


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
    assert len(provider.requests) == asked
    assert len(found.completions) == asked - 1 + problem.settings.search.samples, "the first as many as in a night"
    assert found.completions_per_second == at_once


def test_a_server_that_brings_one_answer_whatever_it_is_asked_for_is_noticed(provider: Provider):
    provider.script = lambda number, request: Answer(default_response({**request, "n": 1}, number))
    model = Model(name="openai/x", api_base=provider.api_base)
    problem = a_problem(sampling={"models": (model,)})
    assert problem.settings.search.samples > 1
    found = probe(problem, model, build_probe_prompts(problem, model, 3), BudgetLimits())
    assert found is not None
    assert found.samples_per_request == 1
    assert found.tokens_per_sample == found.tokens_in + found.tokens_out


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
    cost = 4 * 100 * 2.5e-6 + (4 + 1) * 20 * 1e-5  # one of them brings two answers, as in a night
    assert float(announced[1]) > cost
    assert f"{cost:.6f}" in done.stdout
    assert "warning: 1 of 5 completions of openai/gpt-4o hold no program" in done.stderr
    assert "--set sampling.max_tokens=65536" in done.stderr, "four times the limit at which it was cut"
    assert re.search(r"night: [\d,]+.* samples in .*\$2.00, ended by its budget", done.stderr)
    assert not (tmp_path / "history").exists()


@pytest.mark.usefixtures("plain")
def test_a_model_that_set_names_is_asked_and_one_that_takes_no_n_is_said_to_be_one(
    toy: Path, provider: Provider, tmp_path: Path, here: Command
):
    refusal = {"error": {"message": "n > 1 is not supported", "type": "invalid_request_error", "param": "n"}}
    provider.script = lambda number, request: Answer(refusal, 400)
    model = f'sampling.models=[{{name="openai/x", api_base="{provider.api_base}", input_usd=1, output_usd=10}}]'
    line = ["check", str(toy), "--set", model, "--budget", "1", "--without-pace"]
    done = here(line, tmp_path / "history", OPENAI_API_KEY="test")
    assert provider.requests
    assert done.returncode != 0
    assert "--set search.samples=1" in done.stderr


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
    night, pace = found["night"], found["pace"]
    assert (night["ends_by"], night["seconds"][1]) == ("deadline", pytest.approx(8 * 3600, abs=120))
    assert night["usd"] == pytest.approx([each * model["usd_per_sample"] for each in night["samples"]])
    assert 0 <= pace["low"] <= pace["high"] > 0
    assert pace["samples_per_hour"] == [3600 * pace["low"], 3600 * pace["high"]]
    assert pace["measured"].startswith("a short night")


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
    assert 0 < json.loads(done.stdout)["night"]["seconds"][1] <= 1


@pytest.mark.usefixtures("plain")
def test_a_short_night_tells_the_pace_without_a_model_and_leaves_nothing(
    here: Command, toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    done = here(["check", str(toy), "--until", "8h", "--max-samples", "100"], tmp_path / "history")
    assert done.returncode == 0, done.stderr
    assert re.search(r"pace: [\d,]+( to [\d,]+)? samples an hour \(a short night had it with the built-in", done.stderr)
    assert re.search(r"this machine now: load [\d.]+ on \d+ processor", done.stderr)
    assert re.search(r"night: 100 samples in .*, \$0.00, ended by its number of samples", done.stderr)
    assert f"next: overnight run {toy} --until 8h --max-samples 100\n" in done.stderr
    assert not (tmp_path / "history").exists()
    assert not [*(tmp_path / "temporary").glob("overnight-check-*")]


@pytest.mark.usefixtures("plain")
def test_the_pace_is_left_out_where_it_is_not_wanted(here: Command, toy: Path, tmp_path: Path):
    done = here(["check", str(toy), "--without-pace", "--format", "json"], tmp_path / "history")
    assert done.returncode == 0, done.stderr
    assert not {"pace", "night"} & json.loads(done.stdout).keys()
