"""Estimate the pace, duration and cost of a night from the start program's runs and a few answers of its models."""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from statistics import fmean
from typing import TYPE_CHECKING, Any

from overnight.flows.cli.printing import count, duration, out, say, table, usd, working
from overnight.flows.formatting import round_up
from overnight.flows.night.block import LEAST_PROMPTS_TO_VERDICT
from overnight.flows.night.samples_in_flight import most_samples, samples_in_flight
from overnight.flows.night.stop_conditions import StopConditions, flag_of
from overnight.flows.start.sandboxes import open_sandboxes, slots_of
from overnight.schemas.completion_source import Sample
from overnight.schemas.errors import UsageError
from overnight.schemas.outcome import Verdict
from overnight.schemas.problem import Problem
from overnight.schemas.sampling_settings import BUILTIN, Model, Sampling
from overnight.schemas.settings import Settings
from overnight.tasks.sample.provider import require_keys, require_prices
from overnight.tasks.sample.providers import DEFAULT_COMPLETION_TOKENS

if TYPE_CHECKING:
    from overnight.tasks.sample.probe import Probe


_ADD_MODEL = "Add --model, for example --model openai/gpt-5-mini."


_SANDBOX_S = 0.004
"""Seconds that the sandbox adds to each candidate, as measured by `tests/bench`."""

_CONTAINER_S = 0.24
"""Processor seconds to start and remove the container of a confirmation, as measured by `tests/bench`."""

_MOST_PER_SECOND = 50.0
"""Candidates per second that a night with few samples in flight can plan, ask for and commit, on two cores."""

_MOST_TUNED = 0.4
"""Largest share of the tuner in all evaluations that is reckoned with; nights had 9 to 43 %."""

_DEAR, _DEAR_S = 10.0, 1.0
"""Evaluations, and seconds, that a confirmation takes from which on it is said how to make it cheaper."""

_HOUR_S = 3600.0
_CHANGES, _LONGEST_S = 8, 1.0
"""Changes of the start program that are timed, and seconds of the start program beyond which they are not."""


@dataclass(frozen=True, slots=True)
class Pace:
    """Facts that the number of candidates in some time follows from, if the models keep up.

    Attributes:
        evaluation_s: Seconds of one evaluation.
        confirmation_s: Seconds of one confirmation.
        slots: Number of evaluations at a time.
        confirm: Which candidates are confirmed.
        tuned: Share of the tuner in all evaluations.
        told: Candidates after a claim until its confirmation is waited for.
    """

    evaluation_s: float
    confirmation_s: float
    slots: int
    confirm: str
    tuned: float
    told: int = 16

    @property
    def per_second(self) -> float:
        """Candidates per second while no claim is confirmed."""
        evaluation_s = (self.evaluation_s + _SANDBOX_S) / (1 - self.tuned)
        each_s = evaluation_s + (self._confirmation_s if self.confirm == "always" else 0.0)
        return min(_MOST_PER_SECOND, self.slots / each_s)

    @property
    def _confirmation_s(self) -> float:
        return self.confirmation_s + _CONTAINER_S

    def candidates_in(self, seconds: float) -> float:
        """Return the number of candidates in so many seconds.

        Of n, about ln(n) are confirmed as a best: of 25 nights of 192 to 2,400, half had 2 to 8. A confirmation takes a
        slot, and the search waits for one that is not there by the time its claim counts.
        """
        rate = self.per_second
        if self.confirm != "best":
            return rate * seconds
        waits_s = max(self._confirmation_s / self.slots, self._confirmation_s - self.told / rate)
        low, high = 0.0, rate * seconds
        for _ in range(50):  # n / rate + ln(1 + n) * waits_s grows with n
            middle = (low + high) / 2
            low, high = (middle, high) if middle / rate + math.log1p(middle) * waits_s < seconds else (low, middle)
        return low

    def as_data(self) -> dict[str, Any]:
        return asdict(self) | {"candidates_per_hour": self.candidates_in(_HOUR_S)}


def pace_of(problem: Problem, evaluation_s: float, confirmation_s: float, slots: int) -> Pace:
    """Return the pace of a problem, given the seconds of an evaluation and of a confirmation."""
    tuner = problem.settings.tuner
    is_tuned = tuner.enabled and problem.specification.language == "python"
    tuned = min(tuner.share, _MOST_TUNED) if is_tuned else 0.0
    told = LEAST_PROMPTS_TO_VERDICT * problem.settings.search.samples
    return Pace(evaluation_s, confirmation_s, slots, problem.settings.confirmations, tuned, told)


def seconds_of_changes(problem: Problem, start: Verdict) -> float:
    """Return the mean seconds of the start program and of some changes of it, as other programs of a night may take.

    A start program that does next to nothing is quicker than what is found. The changes are the built-in model's.
    Where they cost much, or cannot be made, the start program alone counts.
    """
    from overnight.tasks.sample.gateway import Gateway
    from overnight.tasks.sample.probe import build_probe_prompts, only
    from overnight.tasks.sample.sampler import to_candidates

    if start.wall_s > _LONGEST_S or problem.asks or problem.specification.language != "python":
        return start.wall_s
    model = Model(name=f"{BUILTIN}mutate", style="completion")
    prompts = build_probe_prompts(problem, model, _CHANGES)
    wanted = [Sample(prompt, 0) for prompt in prompts]
    completions = Gateway(only(problem.settings.sampling, model)).sample(wanted, lambda _: None)
    bodies = [one.body for one in to_candidates(prompts, completions, problem) if one.body]
    with (
        open_sandboxes(problem, "train", seed=0, run_id="check") as pool,
        ThreadPoolExecutor(slots_of(problem), "overnight-check") as threads,
    ):
        verdicts = list(threads.map(pool.evaluate, map(problem.specification.program, bodies)))
    return fmean([start.wall_s, *(one.wall_s for one in verdicts if one.is_scored)])


def print_pace(problem: Problem, pace: Pace) -> None:
    """Print the candidates per hour, the duration of a generation, and what confirmations and the tuner take of it."""
    size = problem.settings.search.prompts * problem.settings.search.samples
    worst = problem.settings.limits.wall_s * len(problem.inputs["train"])
    say(
        f"pace: about {_hourly(pace)} candidates per hour if the models keep up and programs stay as quick, "
        f"{count(pace.slots, 'candidate')} at a time; {_brief(size / pace.per_second)} for a generation of {size}; "
        f"{_brief(pace.evaluation_s)} per candidate, at most {_brief(worst)} with the current limits"
    )
    if pace.confirm != "never":
        hourly = f"about {math.log1p(pace.candidates_in(_HOUR_S)):.0f} in an hour"
        which = "one for each candidate" if pace.confirm == "always" else hourly
        say(
            f"  confirmations take {_brief(pace.confirmation_s)} each, {which}; without them (--confirm never), about "
            f"{_hourly(replace(pace, confirm='never'))} candidates per hour"
        )
    if pace.tuned:
        say(
            f"  the tuner of numbers makes up to {pace.tuned:.0%} of all evaluations; without it "
            f"(--set tuner.enabled=false), about {_hourly(replace(pace, tuned=0.0))} per hour"
        )
    is_dear = pace.confirmation_s > max(_DEAR_S, _DEAR * pace.evaluation_s)
    if is_dear and problem.specification.isolation:
        say(
            "  in a confirmation, each call of the evolved function crosses between two processes: fewer calls that do "
            "more each make it cheaper"
        )


def _hourly(pace: Pace) -> str:
    return _round(pace.candidates_in(_HOUR_S))


def _brief(seconds: float) -> str:
    return "less than 0.01 s" if seconds < 0.01 else f"{seconds:.2g} s" if seconds < 10 else duration(seconds)


@dataclass(frozen=True, slots=True)
class NightEstimate:
    """Estimate of a night; its cost is None if a price is unknown.

    Attributes:
        ends_by: Stop condition that ends the night, or `an hour` if there is none.
    """

    samples: float
    seconds: float
    usd: float | None
    ends_by: str


def forecast(
    rate: float,
    usd_per_sample: float | None,
    *,
    seconds: float | None,
    budget: float | None,
    samples: int | None = None,
) -> NightEstimate:
    """Estimate a night from its samples per second, limited by the seconds until its deadline, a budget and samples.

    Without these, estimate one hour. Without a price of a sample, its cost is unknown.
    """
    ends: dict[str, float] = {} if seconds is None else {"deadline": seconds * rate}
    if samples is not None:
        ends["number of samples"] = samples
    if budget is not None and usd_per_sample:
        ends["budget"] = budget / usd_per_sample
    ends_by = min(ends, key=ends.__getitem__, default="an hour")
    number = ends.get(ends_by, 3600 * rate)
    cost = None if usd_per_sample is None else number * usd_per_sample
    return NightEstimate(number, number / rate, cost, ends_by)


def require_models(problem: Problem, conditions: StopConditions, samples: int | None, *, is_named: bool) -> bool:
    """Check keys and prices of the models before anything is run, and return whether there are models to ask.

    Models that the user did not name on the command line are not asked.
    """
    if samples is not None and samples < 1:
        raise UsageError(f"--samples: expected at least 1, got {samples}")
    if not is_named:
        if given := [f"--{flag_of(name)}" for name in conditions.given()]:
            raise UsageError(
                f"{', '.join(given)}: stop conditions describe a night with a model, but no model is named",
                remedy=_ADD_MODEL,
            )
        return False
    require_keys(problem.settings.sampling)
    if conditions.budget.is_in_usd:
        require_prices(problem.settings.sampling)
    return not all(model.name.startswith(BUILTIN) for model in problem.settings.sampling.models)


def ask_models(
    problem: Problem, samples: int | None, conditions: StopConditions, pace: Pace, *, show_table: bool
) -> dict[str, Any]:
    """Send each model a few prompts, print the results and the estimate of a night, and return both as plain data.

    Without a number of `samples`, as many are sent as tell enough. The built-in model, which is free, is asked, too.
    """
    from overnight.tasks.sample.probe import mean_usd_per_sample, probe_size, samples_per_second

    settings = problem.settings
    _say_limits_of_agents(settings)
    asked = {model.asked.name: model.asked for model in settings.sampling.models}
    most = most_samples(settings, conditions)
    in_flight = settings.sampling.concurrency or samples_in_flight(most)
    probes = [
        _ask(problem, model, samples or probe_size(model, in_flight), conditions, is_given=samples is not None)
        for model in asked.values()
    ]
    if show_table:
        _print_results(probes)
    for result in probes:
        _warn_of_missing_programs(result, settings.sampling)
        _print_measured_pace(result, in_flight, settings.sampling.timeout_s)
        print_samples_per_prompt(result)
    sampled_per_second = samples_per_second(probes, in_flight, pace.evaluation_s)
    # A deadline may pass while models are asked.
    seconds = max(1.0, (conditions.until - datetime.now(UTC)).total_seconds()) if conditions.until else None
    evaluated_per_second = pace.candidates_in(seconds or _HOUR_S) / (seconds or _HOUR_S)
    rate = min(sampled_per_second, evaluated_per_second)
    night = forecast(rate, mean_usd_per_sample(probes), seconds=seconds, budget=conditions.budget_usd, samples=most)
    limited_by = "the models" if sampled_per_second <= evaluated_per_second else "the sandbox"
    say(
        f"night: about {_round(night.samples)} samples in {duration(night.seconds)}, "
        f"{'cost unknown (no price for the tokens)' if night.usd is None else usd(night.usd)}, "
        f"{'at this pace' if night.ends_by == 'an hour' else f'ended by its {night.ends_by}'}: "
        f"{_round(3600 * rate)} per hour, limited by {limited_by}"
    )
    return {"models": [_facts(probe) for probe in probes], "night": asdict(night) | {"limited_by": limited_by}}


def _say_limits_of_agents(settings: Settings) -> None:
    """Say what a session of each agent may use: what it will use, only a night shows."""
    limits = settings.agent
    for model in settings.sampling.models:
        if model.agent:
            say(
                f"{model.name}: a session uses at most {limits.turns:,} answers, {limits.tokens:,} tokens, "
                f"{usd(limits.usd)} and {duration(limits.seconds)} (agent.*); what follows is of prompts to its model"
            )


def _ask(problem: Problem, model: Model, size: int, conditions: StopConditions, *, is_given: bool) -> Probe:
    """Announce the highest cost, send a model the prompts, and return the result."""
    from overnight.tasks.sample.probe import build_probe_prompts, is_local, max_usd, probe

    prompts = build_probe_prompts(problem, model, size)
    most = max_usd(prompts, model, problem.settings.sampling)
    cost = "at an unknown price (LiteLLM lists none)" if most is None else f"which costs {usd(most)} at most"
    in_steps = not is_given and is_local(model)
    at_most = "at most " if in_steps else ""
    say(f"{model.name} is sent {at_most}{count(size, 'prompt')} as in a night, {cost}")
    with working(f"{model.name}: waiting for the first completion") as show:
        result = probe(
            problem,
            model,
            prompts,
            conditions.budget,
            in_steps=in_steps,
            tell=lambda arrived: show(f"{model.name}: {count(arrived, 'completion')} of {at_most}{size}"),
        )
    if result is None:
        raise UsageError(
            "--budget is too small for a single sample", remedy="Set a higher budget, or name a cheaper model."
        )
    return result


def _facts(probe: Probe) -> dict[str, Any]:
    """Return the answers of a model, and the pace and cost that they imply, as plain data."""
    return {
        "model": probe.model.name,
        "completions": len(probe.completions),
        "with_a_program": len(probe.completions) - len(probe.errors),
        "errors": probe.errors,
        "tokens_in": probe.tokens_in,
        "tokens_out": probe.tokens_out,
        "usd": probe.usd,
        "seconds": probe.seconds,
        "usd_per_sample": probe.usd_per_sample,
        "completions_per_second": probe.completions_per_second,
    }


def _print_results(probes: Sequence[Probe]) -> None:
    columns = ("model", "completions", "with a program", "tokens in", "tokens out", "USD", "seconds", "USD per sample")
    rows = [
        (
            result.model.name,
            str(len(result.completions)),
            str(len(result.completions) - len(result.errors)),
            f"{result.tokens_in:.0f}",
            f"{result.tokens_out:.0f}",
            _dollars(result.usd),
            f"{result.seconds:.2f}",
            _dollars(result.usd_per_sample),
        )
        for result in probes
    ]
    out().print(table(columns, rows, right=columns[1:], title="a few real prompts (tokens and seconds are means)"))


_LONGER = 4
"""Advised length of completions as a multiple of the one at which they were cut short."""


def _warn_of_missing_programs(probe: Probe, sampling: Sampling) -> None:
    """Print a warning if completions of a model hold no program."""
    if not probe.errors:
        return
    share = f"{len(probe.errors)} of {len(probe.completions)} completions of {probe.model.name}"
    say(f"warning: {share} hold no program: {probe.errors[0]}")
    if any(completion.finish_reason == "length" for completion in probe.completions):
        longer = _LONGER * (sampling.max_tokens or DEFAULT_COMPLETION_TOKENS)
        say(f"  completions were cut short; allow longer ones with --set sampling.max_tokens={longer}")


def _print_measured_pace(probe: Probe, in_flight: int, timeout_s: float) -> None:
    """Print how many requests a local server answers at once, and a longer time-out if requests would wait too long."""
    if probe.completions_per_second is None:
        return
    hourly = _round(3600 * probe.completions_per_second)
    say(
        f"{probe.model.name}: its server brought up to {hourly} completions per hour, with "
        f"{count(probe.most_at_once, 'request')} at once"
    )
    waiting_s = in_flight / probe.completions_per_second
    if waiting_s > timeout_s / 2:
        say(
            f"  with {in_flight} samples in flight, each may take {duration(waiting_s)}, but the "
            f"time-out is {timeout_s:g} s: --set sampling.concurrency={max(1, probe.most_at_once)}, or "
            f"--set sampling.timeout_s={round_up(3 * waiting_s):g}"
        )


def print_samples_per_prompt(probe: Probe) -> None:
    """Print what it takes to ask for one answer to each prompt, where a night asks for several."""
    if probe.samples_per_request > 1:
        say(
            f"{probe.model.name}: {probe.samples_per_request} answers to each prompt (search.samples) take "
            f"{probe.tokens_per_sample:,.0f} tokens each; one answer to each would take "
            f"{probe.tokens_in + probe.tokens_out:,.0f}, and know more answers before it"
        )


def _dollars(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.6f}"


def _round(value: float) -> str:
    """Return a number rounded to two significant digits, since an estimate is no more exact than that."""
    return f"{float(f'{value:.2g}'):,.0f}"
