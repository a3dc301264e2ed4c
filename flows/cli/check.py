"""`overnight check`: evaluate a problem's start program in fresh containers before any money is spent."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from flows.cli.options import (
    ApiBase,
    Image,
    Inputs,
    ProblemName,
    Runtime,
    Sets,
    Style,
    TrustSettings,
    overrides,
    stop_conditions,
)
from flows.cli.printing import OutputFormat, out, printable, say, say_notes, score, table, working, write_json
from schemas.errors import SpecificationError, UsageError
from schemas.outcome import Outcome

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from schemas.job import Limits
    from schemas.outcome import Verdict
    from schemas.problem import Problem, Split


def check(
    problem: ProblemName,
    /,
    *,
    model: Annotated[
        list[str] | None, Parameter(help="also send this model a few prompts and estimate a night; repeatable")
    ] = None,
    api_base: ApiBase = None,
    style: Style = None,
    samples: Annotated[
        int | None,
        Parameter(
            help="number of prompts to send to each model; default: 3, or up to 32 to a server on this machine or "
            "network, to see how many it answers at once"
        ),
    ] = None,
    until: Annotated[str | None, Parameter(help="deadline of the night to estimate: 07:00, 7h30m")] = None,
    budget: Annotated[float | None, Parameter(help="budget of the night to estimate, in USD")] = None,
    inputs: Inputs = None,
    image: Image = None,
    runtime: Runtime = None,
    set: Sets = None,  # noqa: A002
    trust_settings: TrustSettings = False,
    format: OutputFormat = "text",  # noqa: A002
    cluster: Annotated[
        str | None, Parameter(help="also run the start program on each machine of this cluster, or of local:N")
    ] = None,
) -> None:
    """Run the start program: show scores, seconds, memory and whether three runs agree; propose limits; list omissions.

    With a model, send it a few real prompts and estimate the samples and cost of a night. With a cluster, show how fast
    each machine is.
    """
    from flows.cli.forecast import ask_models, require_models
    from flows.cli.proposed_limits import candidates_per_second, existing_limits, print_limits, print_pace, propose
    from flows.cluster.choice import choose_cluster, named_cluster
    from flows.images import image_of
    from flows.sandboxes import slots_of
    from flows.trust import accept
    from tasks.problems import find
    from tasks.problems.loading.load import load_problem

    repeated = {
        "--model": model,
        "--api-base": api_base,
        "--style": style,
        "--inputs": inputs,
        "--image": image,
        "--runtime": runtime,
        "--set": set,
        "--trust-settings": trust_settings,
        "--cluster": cluster,
        "--until": until,
        "--budget": budget,
    }
    if cluster:
        choose_cluster(cluster)
    if format == "json" and (model or cluster):
        raise UsageError(
            "--format json is for the start program on this machine", remedy="Leave out --model and --cluster."
        )
    path = find(problem)
    given = overrides(model, api_base, style, inputs, set, image=image, runtime=runtime)
    loaded = load_problem(path, given)
    say(f"{path.resolve().name}: {_describe(loaded)}")
    say_notes(loaded)
    accept(loaded, given, trust=trust_settings)
    conditions = stop_conditions(until, budget_usd=budget)
    asks_models = require_models(loaded, conditions, samples, is_named=bool(model))
    with working("preparing the image"):
        image_of(loaded, say)
    splits: tuple[Split, ...] = ("train", "validation", "held_out")
    verdicts: dict[Split, Verdict] = {
        split: _check_split(loaded, path, split, show_table=format == "text")
        for split in splits
        if loaded.inputs[split]
    }
    limits = propose(list(verdicts.values()), loaded.settings.limits)
    next_line = next_command(problem, repeated)
    if format == "json":
        write_json(_facts(loaded, verdicts, limits, next_line))
        return
    print_limits(limits, existing_limits(loaded, path), as_comment=bool(loaded.specification.run))
    print_pace(loaded, verdicts["train"].wall_s, slots_of(loaded))
    if loaded.draws:
        _print_drawing(loaded)
    if cluster and named_cluster():  # and not `none`
        _print_machines(loaded)
    _print_omissions(loaded)
    if asks_models:
        ask_models(loaded, samples, conditions, candidates_per_second(verdicts["train"].wall_s, slots_of(loaded)))
    say(f"next: {next_line}")


def _facts(problem: Problem, verdicts: Mapping[Split, Verdict], limits: Limits, next_line: str) -> dict[str, Any]:
    """Return the results of the check as plain data."""
    from schemas.program import reduced

    results = {
        split: {
            "score": reduced(verdict.scores, problem.settings.reducer),
            "scores": verdict.scores,
            "seconds": verdict.input_wall_s,
            "cpu_s": verdict.cpu_s,
            "peak_mib": verdict.peak_mib,
        }
        for split, verdict in verdicts.items()
    }
    return {
        "problem": problem.name,
        "evolves": problem.specification.evolved_parts,
        "score_name": problem.settings.score_name,
        "results": results,
        "limits": problem.settings.limits.model_dump(mode="json"),
        "proposed_limits": limits.model_dump(mode="json"),
        "notes": list(problem.notes),
        "next": next_line,
    }


def next_command(problem: str, given: Mapping[str, Any]) -> str:
    """Return the command that runs a problem with the flags that `check` was given.

    Args:
        problem: The problem as the user named it.
        given: Values of the flags by their names; those that are not set are left out.
    """
    words = ["overnight", "run", problem]
    for flag, value in given.items():
        if value is True:
            words.append(flag)
        elif value is not None and value is not False:
            values = value if isinstance(value, list) else [value]
            words += [word for each in values for word in (flag, f"{each:g}" if isinstance(each, float) else each)]
    if not given.get("--until") and given.get("--budget") is None:
        words += ["--generations", "10"]
    return shlex.join(words)


def _describe(problem: Problem) -> str:
    """Return the evolved part of a problem and its scoring, as text."""
    from tasks.problems.loading.load import is_of_another_tool

    skeleton, command = problem.specification, problem.settings.command
    evolved = f"evolves {skeleton.evolved_parts}, scored by"
    if skeleton.run:
        return f"{evolved} `{skeleton.run}`"
    if is_of_another_tool(problem):
        return f"{evolved} {command.metric!r} of its evaluator"
    return f"{evolved} {command.metric!r} of `{' '.join(command.evaluate)}`"


_PRINTED_FIRST, _PRINTED_LAST, _PRINTED_CHARS = 2, 6, 160
"""Numbers of first and last lines of the start program's output that are shown, and of characters per line."""


def _check_split(problem: Problem, path: Path, split: Split, *, show_table: bool) -> Verdict:
    """Evaluate the start program twice, print and compare the results, and return the first verdict.

    Raises:
        SpecificationError: If the start program gets no score.
        OvernightError: If the sandbox failed.
    """
    from flows.create_run import printed_error, sandbox_fault, start_remedy

    first, second = (_run_in_fresh_containers(problem, split) for _ in range(2))
    if first.outcome is Outcome.SANDBOX_ERROR:
        raise sandbox_fault(first)
    if not first.is_scored:
        if first.outcome is not Outcome.CRASHED:  # the error of a crash contains the last output
            _print_output(first.output)
        raise SpecificationError(
            f"{split}: the start program has no score: {first.outcome.value}: {first.error}",
            remedy=f"The start program must run unchanged. {start_remedy(first, problem, path) or 'Correct the file.'}",
        )
    _print_split(problem, split, first, show_table=show_table)
    if message := printed_error(first, problem, path):
        say(message)
    _print_agreement(first, second)
    if split == "train":
        _try_confirmation(problem, first)
    return first


def _run_in_fresh_containers(problem: Problem, split: Split) -> Verdict:
    from flows.sandboxes import open_sandboxes

    name = split.replace("_", "-")
    with (
        working(f"{name}: running the start program"),
        open_sandboxes(problem, split, seed=0, run_id="check", programs=1) as sandbox,
    ):
        return sandbox.evaluate(problem.specification.start_program)


def _print_split(problem: Problem, split: Split, verdict: Verdict, *, show_table: bool) -> None:
    from schemas.program import reduced

    name = split.replace("_", "-")
    rows = [
        (str(number), str(call), score(value), f"{seconds:.3f}")
        for number, (call, value, seconds) in enumerate(
            zip(problem.inputs[split], verdict.scores, verdict.input_wall_s, strict=True), start=1
        )
    ]
    if show_table:
        out().print(table(("input", "arguments", "score", "seconds"), rows, right=("score", "seconds"), title=name))
    total = reduced(verdict.scores, problem.settings.reducer)
    limits = problem.settings.limits
    say(
        f"{name}: {problem.settings.reducer} {score(total)} ({problem.settings.score_name}); "
        f"{verdict.wall_s:.2f} s, {verdict.cpu_s:.2f} s of processor time, "
        f"{verdict.peak_mib:.0f} MiB of {limits.memory_mib} MiB; limit {limits.wall_s:g} s per input"
    )
    _print_output(verdict.output)


def _print_output(output: str) -> None:
    """Print the first and last lines of the start program's output."""
    lines = output.strip().splitlines()
    left_out = len(lines) - _PRINTED_FIRST - _PRINTED_LAST
    if left_out > 0:
        lines[_PRINTED_FIRST:-_PRINTED_LAST] = [f"… {left_out} more lines"]
    if lines:
        say("the start program printed:")
    for line in lines:
        say(f"  | {line[:_PRINTED_CHARS]}")


def _print_agreement(first: Verdict, second: Verdict) -> None:
    """Print whether two evaluations of the start program gave the same scores."""
    if second.scores == first.scores:
        say("two runs agree")
        return
    if second.is_scored:
        pairs = enumerate(zip(first.scores, second.scores, strict=False), start=1)
        differing = [str(number) for number, (old, new) in pairs if old != new]
        reason = f"inputs {', '.join(differing)} differ"
    else:
        reason = f"the second is {second.outcome.value}: {second.error}"
    say(f"warning: two runs do not agree: {reason}. Seed all random numbers, and do not read the clock.")


def _try_confirmation(problem: Problem, verdict: Verdict) -> None:
    """Run the start program as a new best program would be confirmed, and print whether its score is the same."""
    from flows.create_run import confirmation_remedy, score_isolated
    from tasks.evaluate.confirmation import disagreement

    isolated = score_isolated(problem, seed=0, run_id="check")
    difference = disagreement(verdict, isolated, problem.settings.noise)
    if not difference:
        say(f"confirmed: run again, in a fresh container, it scores the same ({isolated.wall_s:.2f} s)")
    elif problem.settings.sandbox.confirm == "never":
        say(f"confirmation is off (sandbox.confirm=never), and no best program could be confirmed: {difference}")
    else:
        say(
            f"warning: no best program could be confirmed: {difference}. {confirmation_remedy(problem)}, "
            "which is sandbox.confirm=never"
        )


def _print_machines(problem: Problem) -> None:
    """Run the start program on each machine of the cluster, and print how long it takes there."""
    from flows.cluster.speeds import measure_machines

    rows = [
        (
            machine.name,
            str(machine.slots),
            f"{machine.verdict.wall_s:.3f}" if machine.verdict.is_scored else "",
            f"{machine.verdict.cpu_s:.3f}" if machine.verdict.is_scored else "",
            "" if machine.speed is None else f"{machine.speed:.2f}",
            printable(machine.remark),
        )
        for machine in measure_machines(problem, say)
    ]
    columns = ("machine", "slots", "seconds", "processor seconds", "speed", "")
    out().print(table(columns, rows, right=columns[1:5], title="the start program on each machine"))


def _print_drawing(problem: Problem) -> None:
    """Draw the start program, and print what its picture shows, or why there is none."""
    from flows.drawings import draw_programs
    from tasks.report.sanitised_svg import size_of, title_of

    body = problem.specification.start_body
    drawings = draw_programs(problem, {"the start program": body}, seed=0, run_id="check")
    for picture in drawings.pictures.values():
        width, height = size_of(picture)
        say(f"draws the start program, {width} x {height}: {title_of(picture) or 'without a title'}")
    if drawings.remark:
        say(f"{drawings.remark} (a run works without)")


def _print_omissions(problem: Problem) -> None:
    """Print which optional parts of a problem are missing."""
    takes_inputs = _takes_inputs(problem)
    missing = []
    if takes_inputs and not problem.inputs["validation"]:
        missing.append("validation inputs, which select the best program")
    if takes_inputs and not problem.inputs["held_out"]:
        missing.append("held-out inputs, without which overfitting to the other inputs goes unnoticed")
    if not _has_statement(problem):
        missing.append("a statement or docstring that describes the task")
    if missing:
        say(f"missing, but not required: {'; '.join(missing)}")
    elif takes_inputs:
        say("nothing is missing: there are validation and held-out inputs, and a description of the task")
    else:
        say("nothing is missing: there is a description of the task")


def _takes_inputs(problem: Problem) -> bool:
    """Return whether programs are scored on inputs; a command may take none."""
    command = problem.settings.command.evaluate
    return not command or any("{input}" in part for part in command)


def _has_statement(problem: Problem) -> bool:
    return bool(problem.settings.statement or problem.specification.docstring)
