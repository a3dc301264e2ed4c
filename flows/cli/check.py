"""`overnight check`: a specification's start program in fresh containers, twice and split, before anything is spent."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from flows.cli.options import Image, Runtime, TrustSettings, overrides, stop_rules
from flows.cli.printing import out, say, say_notes, score, table
from schemas.errors import SpecificationError
from schemas.outcome import Outcome

if TYPE_CHECKING:
    from pathlib import Path

    from schemas.outcome import Verdict
    from schemas.problem import Problem, Split


def check(
    problem: Annotated[str, Parameter(help="a name from `overnight problems`, or a specification file")],
    /,
    *,
    model: Annotated[
        list[str] | None, Parameter(help="also ask this model, a few times, what a night will bring; repeatable")
    ] = None,
    api_base: Annotated[str | None, Parameter(help="address of an OpenAI-compatible server for these models")] = None,
    style: Annotated[str | None, Parameter(help="`chat` or `completion`: how prompts are written")] = None,
    samples: Annotated[int, Parameter(help="prompts that each model is sent")] = 3,
    until: Annotated[str | None, Parameter(help="deadline of the night that is estimated: 07:00, 7h30m")] = None,
    budget: Annotated[float | None, Parameter(help="USD that the night may cost")] = None,
    inputs: Annotated[str | None, Parameter(help="training inputs as JSON, in place of the specification's")] = None,
    image: Image = None,
    runtime: Runtime = None,
    set: Annotated[list[str] | None, Parameter(help="any setting, as key=value; repeatable")] = None,  # noqa: A002
    trust_settings: TrustSettings = False,
) -> None:
    """Run the start program: scores, seconds, memory, whether three runs agree; propose limits, say what is missing.

    With a model, send it a few real prompts, and estimate what a night brings and costs.
    """
    from flows.cli.forecast import ask_models, require_models
    from flows.cli.proposed_limits import candidates_a_second, print_limits, propose, say_pace
    from flows.images import image_of
    from flows.sandboxes import slots_of
    from flows.trust import accept
    from schemas.problem import load_problem
    from schemas.specification import Specification
    from tasks.problems import find

    path = find(problem)
    given = overrides(model, api_base, style, inputs, set, image=image, runtime=runtime)
    loaded = load_problem(path, given)
    say(f"{path.name}: {_what_evolves(loaded)}")
    say_notes(loaded)
    accept(loaded, given, trust=trust_settings)
    rules = stop_rules(until, budget_usd=budget)
    asks = require_models(loaded, rules, samples, is_named=bool(model))
    image_of(loaded, say)
    splits: tuple[Split, ...] = ("train", "validation", "held_out")
    verdicts = {split: _check_split(loaded, path, split) for split in splits if loaded.inputs[split]}
    limits = propose(list(verdicts.values()), loaded.settings.limits)
    print_limits(limits, as_comment=isinstance(loaded.specification, Specification))
    say_pace(loaded, verdicts["train"].wall_s, slots_of(loaded))
    _say_what_is_missing(loaded)
    if asks:
        ask_models(loaded, samples, rules, candidates_a_second(verdicts["train"].wall_s, slots_of(loaded)))
    say(f"next: overnight run {problem}{_flags(model, api_base, style)} --generations 10")


def _flags(models: list[str] | None, api_base: str | None, style: str | None) -> str:
    """What was said of models, once more, for a command that is to be copied."""
    said = [("--model", one) for one in models or ()] + [("--api-base", api_base), ("--style", style)]
    return "".join(f" {flag} {shlex.quote(value)}" for flag, value in said if value)


def _what_evolves(problem: Problem) -> str:
    from schemas.specification import Specification

    skeleton, command = problem.specification, problem.settings.command
    if isinstance(skeleton, Specification):
        evolved = [f"`{function.name}({', '.join(function.parameters)})`" for function in skeleton.functions]
        return f"evolves {' and '.join(evolved)}, scored by `{skeleton.run}`"
    if problem.is_of_another_tool:
        return f"evolves {command.program}, scored by {command.metric!r} of its evaluator"
    return f"evolves {command.program}, scored by {command.metric!r} of `{' '.join(command.evaluate)}`"


_PRINTED_FIRST, _PRINTED_LAST, _PRINTED_CHARS = 2, 6, 160
"""Of what the start program prints, so many lines are shown, and of each so many characters."""


def _check_split(problem: Problem, path: Path, split: Split) -> Verdict:
    """The verdict on the start program, which is scored; told, and compared with a second."""
    from flows.create_run import printed_error, sandbox_fault, start_remedy

    first, second = (_run_in_fresh_containers(problem, split) for _ in range(2))
    if first.outcome is Outcome.SANDBOX_ERROR:
        raise sandbox_fault(first)
    if not first.is_scored:
        if first.outcome is not Outcome.CRASHED:  # whose error has what it printed last
            _say_what_it_printed(first.output)
        raise SpecificationError(
            f"{split}: the start program has no score: {first.outcome.value}: {first.error}",
            remedy=f"It must run as it stands. {start_remedy(first, problem, path) or 'Mend the file.'}",
        )
    _print_split(problem, split, first)
    if said := printed_error(first, problem, path):
        say(said)
    _say_whether_they_agree(first, second)
    if split == "train":
        _say_whether_it_can_be_confirmed(problem, first)
    return first


def _run_in_fresh_containers(problem: Problem, split: Split) -> Verdict:
    from flows.sandboxes import open_sandboxes

    with open_sandboxes(problem, split, seed=0, run_id="check", programs=1) as sandbox:
        return sandbox.evaluate(problem.specification.text)


def _print_split(problem: Problem, split: Split, verdict: Verdict) -> None:
    from schemas.program import reduced

    name = split.replace("_", "-")
    rows = [
        (str(number), str(call), score(value), f"{seconds:.3f}")
        for number, (call, value, seconds) in enumerate(
            zip(problem.inputs[split], verdict.scores, verdict.input_wall_s, strict=True), start=1
        )
    ]
    out().print(table(("input", "arguments", "score", "seconds"), rows, right=("score", "seconds"), title=name))
    total = reduced(verdict.scores, problem.settings.reducer)
    limits = problem.settings.limits
    say(
        f"{name}: {problem.settings.reducer} {score(total)} ({problem.settings.score_name}); "
        f"{verdict.wall_s:.2f} s, {verdict.cpu_s:.2f} s of processor, "
        f"{verdict.peak_mib:.0f} MiB of {limits.memory_mib} MiB; limit {limits.wall_s:g} s for an input"
    )
    _say_what_it_printed(verdict.output)


def _say_what_it_printed(output: str) -> None:
    lines = output.strip().splitlines()
    left_out = len(lines) - _PRINTED_FIRST - _PRINTED_LAST
    if left_out > 0:
        lines[_PRINTED_FIRST:-_PRINTED_LAST] = [f"… {left_out} more lines"]
    if lines:
        say("it printed:")
    for line in lines:
        say(f"  | {line[:_PRINTED_CHARS]}")


def _say_whether_they_agree(first: Verdict, second: Verdict) -> None:
    if second.scores == first.scores:
        say("two runs agree")
        return
    differ = [
        str(place) for place, pair in enumerate(zip(first.scores, second.scores, strict=False), 1) if pair[0] != pair[1]
    ]
    what = (
        f"inputs {', '.join(differ)} differ"
        if second.is_scored
        else f"the second is {second.outcome.value}: {second.error}"
    )
    say(f"warning: two runs do not agree: {what}. Seed what is random, and read no clock.")


def _say_whether_it_can_be_confirmed(problem: Problem, verdict: Verdict) -> None:
    """Runs it as a best is confirmed."""
    from flows.create_run import confirmation_remedy, score_isolated
    from tasks.evaluate.confirmation import disagreement

    split = score_isolated(problem, seed=0, run_id="check")
    said = disagreement(verdict, split, problem.settings.noise)
    if not said:
        say(f"confirmed: run again, in a fresh container, it scores the same ({split.wall_s:.2f} s)")
    elif problem.settings.sandbox.confirm == "never":
        say(f"no best is confirmed here (sandbox.confirm=never), and none could be: {said}")
    else:
        say(
            f"warning: no best could be confirmed: {said}. {confirmation_remedy(problem)}, "
            "which is sandbox.confirm=never"
        )


def _say_what_is_missing(problem: Problem) -> None:
    takes_inputs = _takes_inputs(problem)
    missing = {
        "validation inputs, which choose the best": takes_inputs and not problem.inputs["validation"],
        "held-out inputs, without which the best may only fit the others": takes_inputs
        and not problem.inputs["held_out"],
        "a statement or docstring that says what is wanted": not _says_what_is_wanted(problem),
    }
    if absent := [what for what, is_missing in missing.items() if is_missing]:
        say(f"missing, though a night runs without: {'; '.join(absent)}")
    else:
        there = "validation and held-out inputs are there, and " if takes_inputs else ""
        say(f"nothing is missing: {there}words that say what is wanted")


def _takes_inputs(problem: Problem) -> bool:
    """Whether a program is scored on inputs at all: a command may have none."""
    command = problem.settings.command.evaluate
    return not command or any("{input}" in part for part in command)


def _says_what_is_wanted(problem: Problem) -> bool:
    from schemas.specification import Specification

    skeleton = problem.specification
    return bool(problem.settings.statement or (isinstance(skeleton, Specification) and skeleton.docstring))
