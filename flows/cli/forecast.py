"""What `overnight check --model` tells: what a sample of a model takes, and how far a night comes with it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from flows.cli.printing import duration, out, say, table, usd
from schemas.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flows.stop_conditions import StopConditions
    from schemas.problem import Problem
    from schemas.settings import Model
    from tasks.sample.probe import Probe


_ADD = "Add --model, for example --model openai/gpt-5-mini."


@dataclass(frozen=True, slots=True)
class Night:
    """What a night holds.

    Attributes:
        samples: That it buys.
        seconds: That it takes.
        usd: That it costs; `None` where a price is unknown.
        ends_by: Which rule ends it.
    """

    samples: float
    seconds: float
    usd: float | None
    ends_by: str


def forecast(rate: float, usd_a_sample: float | None, *, seconds: float | None, budget: float | None) -> Night:
    """How far a night comes.

    Args:
        rate: Samples a second.
        usd_a_sample: `None` where the price is unknown.
        seconds: Until its deadline; an hour, where there is neither deadline nor budget.
        budget: USD.
    """
    ends: dict[str, float] = {} if seconds is None else {"deadline": seconds * rate}
    if budget is not None and usd_a_sample:
        ends["budget"] = budget / usd_a_sample
    ends_by = min(ends, key=ends.__getitem__, default="an hour")
    samples = ends.get(ends_by, 3600 * rate)
    return Night(samples, samples / rate, None if usd_a_sample is None else samples * usd_a_sample, ends_by)


def require_models(problem: Problem, rules: StopConditions, samples: int, *, is_named: bool) -> bool:
    """Whether there is a model to ask; looks for its key and price before anything is run.

    Args:
        problem: Gives the models.
        rules: A budget in USD needs prices.
        samples: Prompts for each model.
        is_named: Whether the user names them; nobody else is asked.

    Raises:
        UsageError: If a number makes no sense, or a price is unknown.
        EnvironmentFault: If a key is missing.
    """
    from tasks.sample.provider import BUILTIN, require_keys, require_prices

    if samples < 1:
        raise UsageError(f"--samples: at least 1, got {samples}")
    if not is_named:
        if rules.budget.is_in_usd or rules.until:
            raise UsageError("--budget and --until are about a night with a model, and there is none", remedy=_ADD)
        return False
    require_keys(problem.settings.sampling)
    if rules.budget.is_in_usd:
        require_prices(problem.settings.sampling)
    return not all(model.name.startswith(BUILTIN) for model in problem.settings.sampling.models)


def ask_models(problem: Problem, samples: int, rules: StopConditions, judged_a_second: float) -> None:
    """Asks each model a few times and tells what that means for a night.

    Args:
        problem: Gives models and prompts.
        samples: Prompts for each model; the built-in model is asked, too, which costs nothing.
        rules: Deadline and budget of the night.
        judged_a_second: Candidates, as fast as the sandbox is.

    Raises:
        ProviderError: If a model does not answer.
    """
    from tasks.sample.probe import mean_usd_per_sample, samples_per_second

    settings = problem.settings
    probes = [_ask(problem, model, samples, rules) for model in settings.sampling.models]
    _print(probes)
    for one in probes:
        _say_what_holds_no_program(one)
    answered = samples_per_second(probes, settings.search, settings.sampling)
    seconds = (rules.until - datetime.now(UTC)).total_seconds() if rules.until else None
    rate = min(answered, judged_a_second)
    night = forecast(rate, mean_usd_per_sample(probes), seconds=seconds, budget=rules.budget_usd)
    slower = "the models answer" if answered <= judged_a_second else "the sandbox judges"
    say(
        f"night: about {_round(night.samples)} samples in {duration(night.seconds)}, "
        f"{'for tokens without a known price' if night.usd is None else usd(night.usd)}, "
        f"{'at this pace' if night.ends_by == 'an hour' else f'ended by its {night.ends_by}'}: "
        f"{_round(3600 * rate)} an hour, as fast as {slower}"
    )


def _ask(problem: Problem, model: Model, samples: int, rules: StopConditions) -> Probe:
    from tasks.sample.probe import build_probe_prompts, max_usd, probe

    prompts = build_probe_prompts(problem, model, samples)
    most = max_usd(prompts, model, problem.settings.sampling)
    cost = "which LiteLLM knows no price for" if most is None else f"which costs {usd(most)} at most"
    say(f"{model.name} is asked {samples} time{'s' * (samples > 1)} as in a night, {cost}")
    found = probe(problem, model, prompts, rules.budget)
    if found is None:
        raise UsageError("--budget is too small for a single sample", remedy="Give more, or a cheaper model.")
    return found


def _print(probes: Sequence[Probe]) -> None:
    columns = ("model", "answers", "with a program", "tokens in", "tokens out", "USD", "seconds", "USD a sample")
    rows = [
        (
            one.model.name,
            str(len(one.completions)),
            str(len(one.completions) - len(one.errors)),
            f"{one.tokens_in:.0f}",
            f"{one.tokens_out:.0f}",
            _dollars(one.usd),
            f"{one.seconds:.2f}",
            _dollars(one.usd_per_sample),
        )
        for one in probes
    ]
    out().print(table(columns, rows, right=columns[1:], title="a few real prompts (tokens and seconds are means)"))


def _say_what_holds_no_program(probe: Probe) -> None:
    if not probe.errors:
        return
    of = f"{len(probe.errors)} of {len(probe.completions)} answers of {probe.model.name}"
    say(f"warning: {of} hold no program: {probe.errors[0]}")
    if any(one.finish_reason == "length" for one in probe.completions):
        say("  they were cut short: give it more room with --set sampling.max_tokens=16384")


def _dollars(value: float | None) -> str:
    return "–" if value is None else f"{value:.6f}"


def _round(value: float) -> str:
    """Two digits: more would be a promise."""
    return f"{float(f'{value:.2g}'):,.0f}"
