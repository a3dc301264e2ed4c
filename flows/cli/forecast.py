"""Tell the pace, duration and cost of a night, from a short one and a few answers of its models."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from overnight.flows.cli.printing import count, duration, say, usd, working
from overnight.flows.night.samples_in_flight import most_samples, samples_in_flight
from overnight.flows.night.stop_conditions import StopConditions
from overnight.flows.start.sandboxes import slots_of
from overnight.schemas.outcome import Verdict
from overnight.schemas.problem import Problem
from overnight.schemas.sampling_settings import BUILTIN
from overnight.schemas.settings import Settings
from overnight.tasks.program.user_config import user_agent

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
    return rounded(low) if rounded(low) == rounded(high) else f"{rounded(low)} to {rounded(high)}"


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
    slots, in_flight = slots_of(problem), in_flight_of(settings, conditions, latency_s)
    high = min(slots / start.wall_s, in_flight / (latency_s + start.wall_s))
    limited_by = "evaluations" if high * start.wall_s > 0.9 * slots else "the model"
    how = f"reckoned from an evaluation of {_brief(start.wall_s)}, {count(slots, 'candidate')} at a time"
    return Pace(high / 2, high, limited_by, how).capped(most)


def in_flight_of(settings: Settings, conditions: StopConditions, latency_s: float = 0.0) -> int:
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


def rounded(value: float) -> str:
    """Return a number rounded to two significant digits, since an estimate is no more exact than that."""
    return f"{float(f'{value:.2g}'):,.0f}"
