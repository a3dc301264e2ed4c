"""Models on equal terms: each searches the same problem, with the same seeds and equally many samples."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from flows.cli.options import overrides
from flows.cli.printing import say, say_notes
from flows.images import image_of
from flows.stop_conditions import StopConditions
from flows.trust import accept
from schemas.errors import UsageError
from schemas.generation import StopReason
from schemas.problem import Problem, load_problem
from tasks.history.files import RunFiles
from tasks.problems import find
from tasks.sample.provider import require_keys, require_prices


def compare_models(
    problem: str,
    models: Sequence[str],
    history: Path,
    *,
    rules: StopConditions,
    seeds: int,
    api_base: str | None = None,
    style: str | None = None,
    sets: Sequence[str] = (),
    trust: bool = False,
) -> list[str]:
    """One run for each model and seed, a seed of all models before the next, so that what is cut short is even.

    Args:
        problem: As `overnight run` takes it.
        models: LiteLLM model strings, each a competitor.
        history: Directory of the history.
        rules: When each run stops.
        seeds: How many; they are 1, 2, 3 and so on.
        api_base: Address of the server of those that are not built in.
        style: How their prompts are written.
        sets: Settings, as key=value.
        trust: Whether to accept what the problem's files propose.

    Returns:
        Ids of the runs.

    Raises:
        UsageError: If there are not two models, or the problem or a setting is wrong.
        EnvironmentFault: If a key, a price or the sandbox is missing; nothing is spent then.
    """
    if len(set(models)) < 2:
        raise UsageError(
            f"expected two models or more, got {', '.join(models) or 'none'}",
            remedy="For example: --model openai/gpt-5-mini --model builtin/mutate",
        )
    path = find(problem)
    givens = [_given(model, api_base, style, sets) for model in dict.fromkeys(models)]
    problems = [load_problem(path, given) for given in givens]
    for each, given in zip(problems, givens, strict=True):
        accept(each, given, trust=trust)
        require_keys(each.settings.sampling)
        if rules.budget.is_in_usd:
            require_prices(each.settings.sampling)
    say_notes(problems[0])
    image_of(problems[0], say)
    return _spend_nights([(each, seed) for seed in range(1, seeds + 1) for each in problems], path, history, rules)


def _given(model: str, api_base: str | None, style: str | None, sets: Sequence[str]) -> dict[str, Any]:
    """The settings that the flags say for one of the models."""
    if model.startswith("builtin/"):
        api_base = style = None
    return overrides([model], api_base, style, None, list(sets))


def _spend_nights(
    entries: Sequence[tuple[Problem, int]], path: Path, history: Path, rules: StopConditions
) -> list[str]:
    from flows.cli.foreground_night import run_with_view
    from flows.prefect_server.embedded import PrefectServer

    run_ids: list[str] = []
    with PrefectServer() as server:
        for number, (problem, seed) in enumerate(entries, start=1):
            (model,) = problem.settings.sampling.models
            say(f"\n{number} of {len(entries)}: {model.name}, seed {seed}")
            run_id, result = run_with_view(server, _maker(problem, path, history, seed), rules, history)
            run_ids.append(run_id)
            if result["stop_reason"] == StopReason.INTERRUPTED:
                say(f"{len(entries) - number} runs are left out")
                break
    return run_ids


def _maker(problem: Problem, path: Path, history: Path, seed: int) -> Callable[[], RunFiles]:
    from flows.create_run import create_run

    return lambda: create_run(problem, path, history, seed=seed)
