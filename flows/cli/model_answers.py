"""Ask the models of a problem for a few answers before a night, and tell what these say of its pace and cost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from overnight.flows.cli.forecast import in_flight_of, rounded
from overnight.flows.cli.printing import count, duration, out, say, table, usd, working
from overnight.flows.cli.readiness import require_listening
from overnight.flows.formatting import round_up
from overnight.flows.night.stop_conditions import StopConditions
from overnight.schemas.errors import UsageError
from overnight.schemas.problem import Problem
from overnight.schemas.sampling_settings import BUILTIN, Model, Sampling
from overnight.schemas.settings import Settings
from overnight.tasks.sample.provider import require_keys, require_prices
from overnight.tasks.sample.providers import DEFAULT_COMPLETION_TOKENS

if TYPE_CHECKING:
    from overnight.tasks.sample.probe import Probe


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
    in_flight = in_flight_of(settings, conditions)
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
            tell=lambda answered: show(f"{model.name}: answers to {answered} of {at_most}{count(size, 'prompt')}"),
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
    hourly = rounded(3600 * probe.completions_per_second)
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
            f"{probe.model.name}: {probe.samples_per_request:g} answers to each prompt (search.samples) take "
            f"{probe.tokens_per_sample:,.0f} tokens each; one answer to each would take "
            f"{probe.tokens_in + probe.tokens_out:,.0f}, and know more answers before it"
        )


def _dollars(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.6f}"
