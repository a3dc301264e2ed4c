"""`overnight check`: evaluate a problem's start program in fresh containers before any money is spent."""

from __future__ import annotations

import contextlib
import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from overnight.flows.cli import options
from overnight.flows.cli.baseline import print_baseline
from overnight.flows.cli.forecast import measured_pace, print_night, print_pace, say_dear_confirmation
from overnight.flows.cli.model_answers import ask_models, facts_of_models, require_models
from overnight.flows.cli.printing import OutputFormat, say, say_notes, say_score_warning, working, write_json
from overnight.flows.cli.start_program import (
    StartRuns,
    begins_without_program,
    existing_limits,
    facts_of,
    fails_before_call,
    long_limit,
    print_limits,
    print_runs,
    propose,
    require_returned_score,
    require_start_body,
    run_start,
    try_confirmation,
    unreturned,
)
from overnight.flows.night.stop_conditions import StopConditions, flag_of
from overnight.flows.start.audit import quick_audit
from overnight.flows.start.generated_inputs import describe_generator, settle_inputs
from overnight.flows.start.judging import judge_of
from overnight.flows.start.own_process import settle_process
from overnight.flows.start.sandboxes import image_of
from overnight.flows.start.trust import accept
from overnight.schemas.errors import ExitCode, SpecificationError
from overnight.schemas.limits_settings import Limits
from overnight.schemas.outcome import Verdict
from overnight.schemas.problem import SPLITS, Problem, Split
from overnight.schemas.question import Ask
from overnight.tasks.problems import find
from overnight.tasks.problems.loading.load import is_of_another_tool, load_problem

if TYPE_CHECKING:
    from overnight.flows.prefect_server.embedded import PrefectServer
    from overnight.tasks.sample.probe import Probe


def check(
    problem: options.ProblemName,
    /,
    *,
    settings: options.RunOptions = options.NO_SETTINGS,
    samples: int | None = None,
    until: options.Until = None,
    stop: options.Stop = options.NO_CONDITIONS,
    baseline: bool = False,
    without_pace: bool = False,
    trust_settings: options.TrustSettings = False,
    format: OutputFormat = "text",  # noqa: A002
) -> int:
    """Run the start program: show scores, seconds, memory and whether three runs agree; propose limits; list omissions.

    Then measure the pace: a short night of the built-in model in a temporary history, of which nothing is kept. With a
    model, send it a few real prompts, and have the answers of the short night take as long as its own; from both follow
    the samples and the cost of a night. Exits with 2 if something has to be looked at before a night.

    Args:
        settings.model: also send this model a few prompts and estimate a night; repeatable
        samples: number of prompts to send to each model; default: 3, or up to 32 to a server on this machine or
            network, to see how many it answers at once
        without_pace: leave the pace out, which takes some 20 s
        baseline: also compute the score that can be had without a model, where the problem says how
    """
    path = find(problem)
    given = settings.settings()
    loaded = load_problem(path, given)
    say(f"{path.resolve().name}: {_describe(loaded)}")
    loaded = accept(loaded, given, trust=trust_settings)
    conditions = options.conditions_of_night(stop, until)
    ask = judge_of(loaded).ask
    asks_models = require_models(loaded, conditions, samples, is_named="models" in given.get("sampling", {}))
    with working("preparing the image"):
        image_of(loaded, say)
    warnings = _try_generator(loaded)
    with working("drawing inputs"):
        loaded = settle_inputs(loaded, run_id="check")
    with working("running the start program in a process of its own"):
        loaded, _ = settle_process(loaded, seed=0, run_id="check", tell=say)
    limits = {"until": until} | {flag_of(name): value for name, value in stop.given().items()}
    flags = vars(settings) | {"trust_settings": trust_settings} | limits
    as_text, next_line = format == "text", next_command(problem, flags)
    if begins_without_program(loaded, ask):
        return _check_without_start(loaded, path, next_line, ask, as_text=as_text)
    warnings += unreturned(loaded) + repeated_inputs(loaded)
    with contextlib.nullcontext() if without_pace else _server() as server:
        load = os.getloadavg()[0]
        facts, first = _check_start(loaded, path, warnings, ask, baseline=baseline, as_text=as_text)
        probes = ask_models(loaded, samples, conditions, show_table=as_text) if asks_models else []
        facts |= facts_of_models(probes)
        if server is not None:
            facts |= _tell_pace(loaded, path, first, conditions, server, probes, load)
    for warning in warnings:
        say(f"warning: {warning}")
    say(f"next: {'look at the warnings, then ' if warnings else ''}{next_line}")
    if not as_text:
        write_json(facts | {"warnings": warnings, "notes": list(loaded.notes), "next": next_line})
    return ExitCode.USAGE if warnings else ExitCode.DONE


def _server() -> PrefectServer:
    """Return the server of a short night; it starts in a process of its own, while the start program is run."""
    from overnight.flows.prefect_server.embedded import PrefectServer  # late: not for a problem that is refused

    return PrefectServer()


def _check_start(
    problem: Problem, path: Path, warnings: list[str], ask: Ask | None, *, baseline: bool, as_text: bool
) -> tuple[dict[str, Any], Verdict]:
    """Say what the start program does; return it as plain data, with its verdict, and add warnings."""
    runs = _run_start(problem, path, warnings, ask, show_tables=as_text)
    first = runs["train"].first
    without_model = print_baseline(problem, show_table=as_text) if baseline else None
    confirmation, is_confirmed = try_confirmation(problem, first, warnings, ask)
    _try_scoring(problem, first, confirmation.wall_s, warnings, ask)
    verdicts = [each.first for each in runs.values()]
    facts = _facts(problem, runs) | {"confirmed": is_confirmed, "calls": confirmation.calls, "baseline": without_model}
    facts |= _limits(problem, path, propose(verdicts, problem.settings.limits), verdicts, show=as_text)
    say_dear_confirmation(problem, first.wall_s, confirmation.wall_s)
    if problem.draws:
        facts["drawing"] = _draw(problem)
    say_notes(problem)
    say_score_warning(problem)
    facts["missing"] = _print_omissions(problem, warnings)
    return facts, first


def _tell_pace(
    problem: Problem,
    path: Path,
    start: Verdict,
    conditions: StopConditions,
    server: PrefectServer,
    probes: Sequence[Probe],
    load: float,
) -> dict[str, Any]:
    """Measure and print the pace of a night, and what it comes to; return both as plain data."""
    pace = measured_pace(problem, path, start, conditions, server, probes)
    print_pace(pace, load)
    night = print_night(problem, conditions, pace, probes)
    hourly = {"samples_per_hour": (3600 * pace.low, 3600 * pace.high)}
    return {"pace": asdict(pace) | hourly | {"load": load}, "night": asdict(night)}


def _try_generator(problem: Problem) -> list[str]:
    """Say what the problem's function that draws inputs does, if there is one; return a warning if it cannot."""
    if not problem.specification.generator:
        return []
    try:
        with working("drawing an input"):
            described = describe_generator(problem, "check")
    except SpecificationError as error:
        say(f"no inputs are drawn: {error.message}")
        return [f"{error.message}. {error.remedy}"]
    say(described)
    return []


def _check_without_start(problem: Problem, path: Path, next_line: str, ask: Ask | None, *, as_text: bool) -> int:
    """Say that there is no start program, and check what can be without one: that the scoring gets as far as that."""
    require_start_body(problem, path)
    require_returned_score(problem, path)
    say(
        f"no start program: {problem.specification.evolved_parts} is to be written. The first prompts ask for whole "
        "functions, each for one of another kind, and the first with a score begin the search. Limits and pace can be "
        "told with a program in the file"
    )
    warnings = [f"the scoring fails by itself: {error}"] if (error := fails_before_call(problem, ask)) else []
    if not warnings:
        say("the scoring runs as far as to call what is to be written")
    say_notes(problem)
    missing = _print_omissions(problem, warnings)
    for warning in warnings:
        say(f"warning: {warning}")
    say(f"next: {'look at the warnings, then ' if warnings else ''}{next_line}")
    if not as_text:
        data = {"problem": problem.name, "evolves": problem.specification.evolved_parts, "results": {}}
        write_json(data | {"missing": missing, "warnings": warnings, "notes": list(problem.notes), "next": next_line})
    return ExitCode.USAGE if warnings else ExitCode.DONE


def _run_start(
    problem: Problem, path: Path, warnings: list[str], ask: Ask | None, *, show_tables: bool
) -> dict[Split, StartRuns]:
    """Evaluate the start program on each split that has inputs, print the results, and add warnings about them."""
    require_start_body(problem, path)
    require_returned_score(problem, path)
    found: dict[Split, StartRuns] = {}
    for split in SPLITS:
        if problem.inputs[split]:
            found[split] = run_start(problem, path, split, ask)
            warnings += print_runs(problem, path, split, found[split], show_table=show_tables)
    return found


def _try_scoring(problem: Problem, start: Verdict, confirmation_s: float, warnings: list[str], ask: Ask | None) -> None:
    """Try the scoring with programs that do no work, and tell of those that beat the start program.

    That is a warning where they reach the best known score; else the start program may be weak.
    """
    with working("trying the scoring with programs that do no work"):
        found = quick_audit(problem, start, confirmation_s=confirmation_s, ask=ask)
    warnings += [f"{one.tried} {one.came}: {one.remark}" for one in found if one.result == "wrong"]
    better = [one for one in found if one.result == "look"]
    for one in better:
        say(f"note: on the first input, {one.tried} {one.came}, {one.remark}: is that honest?")
    if found and not better:
        say(
            f"{len(found)} programs that do no work were tried on the first input, and none scores more than the start "
            "program"
        )


def _facts(problem: Problem, runs: Mapping[Split, StartRuns]) -> dict[str, Any]:
    return {
        "problem": problem.name,
        "evolves": problem.specification.evolved_parts,
        "score_name": problem.settings.score_name,
        "results": {split: facts_of(each, problem) for split, each in runs.items()},
    }


def _limits(
    problem: Problem, path: Path, proposed: Limits, verdicts: Sequence[Verdict], *, show: bool
) -> dict[str, Any]:
    """Print the proposed limits, and return them as plain data beside the present ones."""
    if show:
        print_limits(proposed, existing_limits(problem, path), as_comment=bool(problem.specification.run))
    if message := long_limit(problem.settings.limits, proposed, verdicts):
        say(message)
    return {
        "limits": problem.settings.limits.model_dump(mode="json"),
        "proposed_limits": proposed.model_dump(mode="json"),
    }


def next_command(problem: str, given: Mapping[str, Any]) -> str:
    """Return the command that runs a problem with the flags that `check` was given, without those that are not set."""
    words = ["overnight", "run", problem]
    for name, value in given.items():
        flag = f"--{name.replace('_', '-')}"
        if value is True:
            words.append(flag)
        elif value is not None and value is not False:
            values = value if isinstance(value, list) else [value]
            words += [word for each in values for word in (flag, each if isinstance(each, str) else _exactly(each))]
    if not any(given.get(flag_of(name)) is not None for name in StopConditions.model_fields):
        words += ["--generations", "10"]
    return shlex.join(words)


def _exactly(value: float) -> str:
    """Return a number with all its digits and without an exponent, such as `1234567`."""
    text = f"{Decimal(repr(value)):f}"
    return text.removesuffix(".0")


def _describe(problem: Problem) -> str:
    skeleton, command = problem.specification, problem.settings.command
    evolved = f"evolves {skeleton.evolved_parts}, scored by"
    if skeleton.run:
        return f"{evolved} `{skeleton.run}`"
    if is_of_another_tool(problem):
        return f"{evolved} {command.metric!r} of its evaluator"
    return f"{evolved} {command.metric!r} of `{' '.join(command.evaluate)}`"


def _draw(problem: Problem) -> dict[str, Any]:
    """Draw the start program; print and return what its picture shows, or why there is none."""
    from overnight.flows.report.drawings import draw_programs
    from overnight.tasks.report.sanitised_svg import size_of, title_of

    body = problem.specification.start_body
    drawings = draw_programs(problem, {"the start program": body}, seed=0, run_id="check")
    facts: dict[str, Any] = {"remark": drawings.remark}
    for picture in drawings.pictures.values():
        width, height = size_of(picture)
        facts |= {"width": width, "height": height, "title": title_of(picture)}
        say(f"draws the start program, {width} x {height}: {title_of(picture) or 'without a title'}")
    if drawings.remark:
        say(f"{drawings.remark} (a run works without)")
    return facts


def repeated_inputs(problem: Problem) -> list[str]:
    """Return a warning of held-out inputs that are others, too; a score on them says nothing new of a program."""
    used = {repr(call) for split in SPLITS if split != "held_out" for call in problem.inputs[split]}
    shared = [str(call) for call in problem.inputs["held_out"] if repr(call) in used]
    if not shared:
        return []
    return [
        f"{len(shared)} of {len(problem.inputs['held_out'])} held-out inputs, such as ({shared[0]}), choose programs "
        "as training or validation inputs, too: expected others, since a score on them says nothing new of a program"
    ]


def _print_omissions(problem: Problem, warnings: Sequence[str]) -> list[str]:
    """Print and return which optional parts of a problem are missing."""
    command = problem.settings.command.evaluate
    takes_inputs = not command or any("{input}" in part for part in command)
    missing = []
    if takes_inputs and not problem.inputs["validation"]:
        missing.append("validation inputs, which select the best program")
    if takes_inputs and not problem.inputs["held_out"]:
        missing.append("held-out inputs, without which overfitting to the other inputs goes unnoticed")
    if not (problem.settings.statement or problem.specification.docstring):
        missing.append("a statement or docstring that describes the task")
    if missing:
        say(f"missing, but not required: {'; '.join(missing)}")
    elif takes_inputs and not warnings:
        say("nothing is missing: there are validation and held-out inputs, and a description of the task")
    elif not warnings:
        say("nothing is missing: there is a description of the task")
    return missing
