"""Tell the pace, duration and cost of a night, from a short one and a few answers of its models."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from overnight.flows.cli.printing import count, duration, out, say, table, usd, working
from overnight.flows.cli.readiness import require_listening
from overnight.flows.formatting import round_up
from overnight.flows.night.samples_in_flight import most_samples, samples_in_flight
from overnight.flows.night.stop_conditions import StopConditions
from overnight.flows.start.sandboxes import slots_of
from overnight.schemas.errors import UsageError
from overnight.schemas.outcome import Verdict
from overnight.schemas.problem import Problem
from overnight.schemas.sampling_settings import BUILTIN, Model, Sampling
from overnight.schemas.settings import Settings
from overnight.tasks.program.user_config import user_agent
from overnight.tasks.sample.provider import require_keys, require_prices
from overnight.tasks.sample.providers import DEFAULT_COMPLETION_TOKENS

if TYPE_CHECKING:
    from overnight.flows.cli.short_night import ShortNight
    from overnight.flows.prefect_server.embedded import PrefectServer
    from overnight.tasks.sample.probe import Probe


_LONGEST_S = 4.0
"""Seconds of an evaluation from which on a short night would show too little."""

_HOUR_S = 3600.0

_FEWEST_TURNS, _CONTAINER_S = 3, 2.0
"""Turns of a short session of an agent, and seconds to start its container."""

_DEAR, _DEAR_S = 10.0, 1.0
"""Evaluations, and seconds, that a confirmation takes from which on it is said how to make it cheaper."""


@dataclass(frozen=True, slots=True)
class Pace:
    """Samples a second of a night, as a range.

    Attributes:
        limited_by: Cause of most of a night's waits.
        measured: How it is known, in words.
        others: Mean number of the machine's slots that other nights had in use.
    """

    low: float
    high: float
    limited_by: str
    measured: str
    others: float = 0.0

    @property
    def hourly(self) -> str:
        """Samples an hour, such as `1,200 to 1,500`."""
        return span(_HOUR_S * self.low, _HOUR_S * self.high)

    def capped(self, most: float) -> Pace:
        """Return the pace where models answer so many samples a second at most."""
        if self.high <= most:
            return self
        return replace(self, low=min(self.low, most), high=most, limited_by="the model")


def span(low: float, high: float) -> str:
    """Format a range, or one number where both ends are about the same."""
    return _round(low) if _round(low) == _round(high) else f"{_round(low)} to {_round(high)}"


def measured_pace(
    problem: Problem,
    path: Path,
    start: Verdict,
    conditions: StopConditions,
    server: PrefectServer,
    probes: Sequence[Probe],
) -> Pace:
    """Return the pace of a night: from a short one, or, where that would show too little, from the start program's."""
    from overnight.flows.cli.short_night import play
    from overnight.tasks.sample.probe import mean_latency_s, most_per_second

    settings = problem.settings
    latency_s, most = (mean_latency_s(probes), most_per_second(probes)) if probes else (0.0, math.inf)
    if probes and all(model.agent for model in settings.sampling.models):
        return _pace_of_agents(settings, latency_s)
    if start.wall_s < _LONGEST_S and not problem.asks:
        with working("measuring the pace: a short night in a temporary history"):
            night = play(problem, path, start, conditions, server, probes)
        return pace_of(night, latency_s).capped(most)
    slots, in_flight = slots_of(problem), _in_flight(settings, conditions, latency_s)
    high = min(slots / start.wall_s, in_flight / (latency_s + start.wall_s))
    limited_by = "evaluations" if high * start.wall_s > 0.9 * slots else "the model"
    how = f"reckoned from an evaluation of {_brief(start.wall_s)}, {count(slots, 'candidate')} at a time"
    return Pace(high / 2, high, limited_by, how).capped(most)


def _in_flight(settings: Settings, conditions: StopConditions, latency_s: float = 0.0) -> int:
    return settings.sampling.concurrency or samples_in_flight(most_samples(settings, conditions), latency_s)


def _pace_of_agents(settings: Settings, latency_s: float) -> Pace:
    """Return the pace of agents alone: between sessions of a few turns and those that use up their limits."""
    limits, agents = settings.agent, [user_agent(model.agent) for model in settings.sampling.models]
    at_once = settings.sampling.concurrency or sum(agent.at_once for agent in agents)
    longest, shortest = min(limits.seconds, limits.turns * latency_s), _FEWEST_TURNS * latency_s + _CONTAINER_S
    turns = f"{_FEWEST_TURNS} to {limits.turns} turns of {_brief(latency_s)}"
    how = f"reckoned from {turns}, {count(at_once, 'session')} at a time"
    return Pace(
        at_once / max(longest, shortest), at_once / shortest, "the agent's turns, which only a night shows", how
    )


def pace_of(night: ShortNight, latency_s: float) -> Pace:
    """Return the pace that a short night had, if its models had taken their time."""
    how = (
        f"a short night had it{_with_model(latency_s)}, {count(night.in_flight, 'sample')} in flight, "
        f"{count(night.slots, 'candidate')} at a time"
    )
    if night.faster == 1:
        return Pace(*night.rates, night.limited_by, how, night.others)
    # A turn of the samples in flight takes longer in proportion, or by the seconds of the answers alone.
    turns = [night.in_flight / rate for rate in night.rates]
    slowest, quickest = max(turns) * night.faster, min(turns) - night.latency_s + latency_s
    return Pace(night.in_flight / slowest, night.in_flight / quickest, "the model", how, night.others)


def _with_model(latency_s: float) -> str:
    return f" whose answers take {_brief(latency_s)}" if latency_s else " with the built-in model"


def print_pace(pace: Pace, load: float) -> None:
    """Print the samples an hour, what limits them, and how busy the machine is."""
    say(f"pace: {pace.hourly} samples an hour ({pace.measured}), limited by {pace.limited_by}")
    others = f", {pace.others:.1f} slots in use by other nights" if pace.others >= 0.05 else ""
    say(f"  this machine now: load {load:.1f} on {count(os.cpu_count() or 1, 'processor')}{others}")


def say_dear_confirmation(problem: Problem, evaluation_s: float, confirmation_s: float) -> None:
    """Say how a confirmation that takes much longer than an evaluation becomes cheaper."""
    if problem.settings.sandbox.confirm == "never" or confirmation_s <= max(_DEAR_S, _DEAR * evaluation_s):
        return
    say(f"confirmations take {_brief(confirmation_s)} each, an evaluation {_brief(evaluation_s)}")
    if problem.specification.isolation:
        say(
            "  in a confirmation, each call of the evolved function crosses between two processes: fewer calls that do "
            "more each make it cheaper"
        )


def _brief(seconds: float) -> str:
    return "less than 0.01 s" if seconds < 0.01 else f"{seconds:.2g} s" if seconds < 10 else duration(seconds)


@dataclass(frozen=True, slots=True)
class NightEstimate:
    """Estimate of a night: samples, seconds and cost as ranges; the cost is None if a price is unknown.

    Attributes:
        ends_by: Stop condition that ends the night, or `an hour` if there is none.
    """

    samples: tuple[float, float]
    seconds: tuple[float, float]
    usd: tuple[float, float] | None
    ends_by: str


def forecast(
    pace: Pace,
    usd_per_sample: float | None,
    *,
    seconds: float | None,
    budget: float | None = None,
    samples: int | None = None,
) -> NightEstimate:
    """Estimate a night from its pace, limited by the seconds until its deadline, a budget and samples.

    Without these, estimate one hour. Without a price of a sample, its cost is unknown.
    """
    ends: dict[str, float] = {} if seconds is None else {"deadline": seconds * pace.high}
    if samples is not None:
        ends["number of samples"] = samples
    if budget is not None and usd_per_sample:
        ends["budget"] = budget / usd_per_sample
    ends_by = min(ends, key=ends.__getitem__, default="an hour")
    high = ends.get(ends_by, _HOUR_S * pace.high)
    low = min(high, (_HOUR_S if ends_by == "an hour" else seconds or math.inf) * pace.low)
    longest = high / pace.low if pace.low else math.inf
    until = min(longest, seconds or (_HOUR_S if ends_by == "an hour" else math.inf))
    cost = None if usd_per_sample is None else (low * usd_per_sample, high * usd_per_sample)
    return NightEstimate((low, high), (high / pace.high, until), cost, ends_by)


def require_models(problem: Problem, conditions: StopConditions, samples: int | None, *, is_named: bool) -> bool:
    """Check keys, prices and addresses of the models before anything is run; return whether there are any to ask.

    Models that the user did not name on the command line are not asked.
    """
    if samples is not None and samples < 1:
        raise UsageError(f"--samples: expected at least 1, got {samples}", remedy="For example: --samples 4")
    if not is_named:
        return False
    require_keys(problem.settings.sampling)
    if conditions.budget.is_in_usd:
        require_prices(problem.settings.sampling)
    require_listening(problem.settings.sampling)
    return not all(model.name.startswith(BUILTIN) for model in problem.settings.sampling.models)


def ask_models(problem: Problem, samples: int | None, conditions: StopConditions, *, show_table: bool) -> list[Probe]:
    """Send each model a few prompts, print the results, and return them.

    Without a number of `samples`, as many are sent as tell enough. The built-in model, which is free, is asked, too.
    """
    from overnight.tasks.sample.probe import probe_size

    settings = problem.settings
    _say_limits_of_agents(settings)
    asked = {model.asked.name: model.asked for model in settings.sampling.models}
    in_flight = _in_flight(settings, conditions)
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
    return probes


def _usd_per_sample(settings: Settings, probes: Sequence[Probe]) -> float | None:
    """Return the cost of a sample; `None` where it is unknown, as that of an agent's session."""
    from overnight.tasks.sample.probe import mean_usd_per_sample

    if settings.sampling.has_agents:
        return None
    is_free = all(model.name.startswith(BUILTIN) for model in settings.sampling.models)
    return mean_usd_per_sample(probes) if probes else 0.0 if is_free else None


def print_night(problem: Problem, conditions: StopConditions, pace: Pace, probes: Sequence[Probe]) -> NightEstimate:
    """Print and return the estimate of a night."""
    # A deadline may pass while models are asked.
    seconds = max(1.0, (conditions.until - datetime.now(UTC)).total_seconds()) if conditions.until else None
    night = forecast(
        pace,
        _usd_per_sample(problem.settings, probes),
        seconds=seconds,
        budget=conditions.budget_usd,
        samples=most_samples(problem.settings, conditions),
    )
    if night.ends_by == "an hour" and not probes:  # the pace says all of it
        return night
    how_long = " to ".join(dict.fromkeys(duration(one) for one in night.seconds))
    dollars = None if night.usd is None else " to ".join(dict.fromkeys(usd(one) for one in night.usd))
    say(
        f"night: {span(*night.samples)} samples in {how_long}, {dollars or 'cost unknown (no price for the tokens)'}, "
        f"{'at this pace' if night.ends_by == 'an hour' else f'ended by its {night.ends_by}'}"
    )
    return night


def _say_limits_of_agents(settings: Settings) -> None:
    """Say what a session of each agent may use: what it will use, only a night shows."""
    limits = settings.agent
    for model in settings.sampling.models:
        if model.agent:
            say(
                f"{model.name}: a session uses at most {limits.turns:,} answers, {limits.tokens:,} tokens, "
                f"{usd(limits.usd)} and {duration(limits.seconds)} (agent.*); what follows is of prompts to its "
                "model, the pace apart"
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


def facts_of_models(probes: Sequence[Probe]) -> dict[str, Any]:
    """Return the answers of each model, and the cost that they imply, as plain data; empty without any."""
    return {"models": [_facts(probe) for probe in probes]} if probes else {}


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
