"""Evaluate a problem's start program several times, for `overnight check`; print what the runs tell, and limits."""

from __future__ import annotations

import ast
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from overnight.flows.cli.printing import out, say, score, table, working, write_text
from overnight.flows.formatting import round_up
from overnight.flows.start.sandboxes import open_sandboxes, require_ran
from overnight.schemas.errors import SpecificationError
from overnight.schemas.limits_settings import Limits
from overnight.schemas.outcome import Outcome, Verdict
from overnight.schemas.problem import Problem, Split
from overnight.schemas.question import Ask
from overnight.schemas.scores import reduced, reduced_metrics
from overnight.tasks.evaluate.confirmation import confirmation, disagreement
from overnight.tasks.problems.loading.formats import NamedProblem
from overnight.tasks.program import python_source
from overnight.tasks.program.config_layers import script_block
from overnight.tasks.program.specification import Specification

_SEED, _OTHER_SEED = 0, 1

_NOISE_FACTOR = 2
"""Proposed noise as a multiple of the largest difference between the runs, which are few."""

_SECONDS_FACTOR = 10
"""Proposed limit of seconds as a multiple of the start program's: better programs are often slower."""

_MEMORY_FACTOR = 4

_MIN_LIMIT_S = 1.0
"""Shortest limit that is proposed: shorter times depend on the machine more than on the program."""

_MIN_MEMORY_MIB = 64

_NEAR = 0.5
"""Share of the time limit of a confirmation from which on it is said to be near."""

_LONG_S, _LONG_FACTOR = 60.0, 10
"""Seconds, and multiple of the proposed limit, from which on a limit is said to be long."""


@dataclass(frozen=True, slots=True)
class StartRuns:
    """Evaluations of the start program on one split, each in a fresh container.

    Attributes:
        first: Verdict of the first run, which is scored.
        again: Verdict of a run with the same seed; if another seed changes nothing, that of the run with it.
        other_seed: Verdict of a run with another seed.
    """

    first: Verdict
    again: Verdict
    other_seed: Verdict

    @property
    def repeats(self) -> bool:
        """Whether a run with the same seed has the same scores."""
        return self.again.scores == self.first.scores

    @property
    def depends_on_seed(self) -> bool:
        """Whether scores repeat with the same seed alone."""
        return self.repeats and self.other_seed.scores != self.first.scores

    @property
    def spread(self) -> float:
        """Largest difference between two scores on one input, among the runs that are scored."""
        scored = [run.scores for run in (self.first, self.again, self.other_seed) if run.is_scored]
        return max((max(values) - min(values) for values in zip(*scored, strict=True)), default=0.0)


def begins_without_program(problem: Problem, ask: Ask | None = None) -> bool:
    """Return whether a run would begin without a start program: with a signature and a docstring, and no score."""
    return problem.specification.is_stub and not _run(problem, "train", _SEED, ask).is_scored


_MARK = "what is to be written was called"


def fails_before_call(problem: Problem, ask: Ask | None = None) -> str:
    """Return the error of a scoring that fails although what is to be written was not called yet; else empty."""
    skeleton = problem.specification
    assert isinstance(skeleton, Specification)
    body = skeleton.join([f"raise NotImplementedError({_MARK!r})" for _ in skeleton.functions])
    verdict = _run(problem, "train", _SEED, ask, body)
    return "" if verdict.is_scored or _MARK in verdict.error else f"{verdict.outcome.value}: {verdict.error}"


def require_start_body(problem: Problem, path: Path) -> None:
    """Raise a SpecificationError if a file is changed by its own start body: no candidate would be right then."""
    specification = problem.specification
    if isinstance(specification, Specification) and not specification.keeps_start_program:
        raise SpecificationError(
            f"{path}: {specification.evolved_parts} cannot be taken out of the file and put back: expected the code of "
            "the file, got other code",
            remedy="Write header, docstring and body of each evolved function on lines of their own.",
        )


def require_returned_score(problem: Problem, path: Path) -> None:
    """Raise a SpecificationError if the run function never returns a value: no program would have a score."""
    run = problem.specification.run
    if run and run in _without_value(problem.specification):
        raise SpecificationError(
            f"{path}: `{run}` never returns a value: expected the score, a number of which higher is better",
            remedy=f"End it with a return, such as: return score, in the function `{run}` under @funsearch.run.",
        )


def unreturned(problem: Problem) -> list[str]:
    """Return a warning for each evolved function that never returns a value, although its header promises one."""
    skeleton = problem.specification
    if not isinstance(skeleton, Specification):
        return []
    promises = {
        function.name: ast.unparse(function.returns)
        for function in python_source.functions(python_source.parse(skeleton.text))
        if function.returns is not None and ast.unparse(function.returns) not in ("None", "'None'")
    }
    return [
        f"`{name}` promises to return {promises[name]}, and has no return with a value"
        for name in skeleton.evolved
        if name in promises and name in _without_value(skeleton)
    ]


def _without_value(skeleton: object) -> set[str]:
    """Return the names of the functions that neither return nor yield a value, nor end by an error."""
    if not isinstance(skeleton, Specification):
        return set()
    functions = python_source.functions(python_source.parse(skeleton.text))
    return {function.name for function in functions if not any(map(_gives_value, _own_nodes(function)))}


def _gives_value(node: ast.AST) -> bool:
    is_none = isinstance(node, ast.Return) and (node.value is None or ast.unparse(node.value) == "None")
    return isinstance(node, ast.Return | ast.Yield | ast.YieldFrom | ast.Raise) and not is_none


def _own_nodes(function: ast.AST) -> Iterator[ast.AST]:
    """Yield the nodes of a function without those of functions and classes within it."""
    for node in ast.iter_child_nodes(function):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.ClassDef):
            yield node
            yield from _own_nodes(node)


def run_start(problem: Problem, path: Path, split: Split, ask: Ask | None = None) -> StartRuns:
    """Evaluate the start program, which has to score, with two seeds, and again with the first if scores differ."""
    from overnight.flows.start.create_run import start_remedy

    first = _run(problem, split, _SEED, ask)
    if not first.is_scored:
        if first.outcome is not Outcome.CRASHED:  # the error of a crash contains the last output
            _print_lines("the start program printed:", first.output)
        raise SpecificationError(
            f"{split}: the start program has no score: {first.outcome.value}: {first.error}",
            remedy=f"The start program must run unchanged. {start_remedy(first, problem, path) or 'Correct the file.'}",
        )
    other = _run(problem, split, _OTHER_SEED, ask)
    again = other if other.scores == first.scores else _run(problem, split, _SEED, ask)
    return StartRuns(first, again, other)


def _run(problem: Problem, split: Split, seed: int, ask: Ask | None, body: str | None = None) -> Verdict:
    name = split.replace("_", "-")
    with (
        working(f"{name}: running the start program"),
        open_sandboxes(problem, split, seed=seed, run_id="check", programs=1, ask=ask) as sandbox,
    ):
        skeleton = problem.specification
        return require_ran(sandbox.evaluate(skeleton.start_program if body is None else skeleton.program(body)))


def print_runs(problem: Problem, path: Path, split: Split, runs: StartRuns, *, show_table: bool) -> list[str]:
    """Print the scores and the use of resources of the first run, and whether the others agree; return warnings."""
    from overnight.flows.start.create_run import printed_error

    name, verdict, limits = split.replace("_", "-"), runs.first, problem.settings.limits
    rows = [
        (str(number), str(call), score(value), *map(score, others), f"{seconds:.3f}")
        for number, (call, value, seconds, *others) in enumerate(
            zip(problem.inputs[split], verdict.scores, verdict.input_wall_s, *verdict.metrics.values(), strict=True),
            start=1,
        )
    ]
    if show_table:
        columns = ("input", "arguments", "score", *verdict.metrics, "seconds")
        out().print(table(columns, rows, right=columns[2:], title=name))
        for number, text in enumerate(verdict.notes, start=1):
            _print_lines(f"note on input {number}:", text)
    total = reduced(verdict.scores, problem.settings.reducer)
    say(
        f"{name}: {problem.settings.reducer} {score(total)} ({problem.settings.score_name}); "
        f"{verdict.wall_s:.2f} s, {verdict.cpu_s:.2f} s of processor time, "
        f"{verdict.peak_mib:.0f} MiB of {limits.memory_mib} MiB; limit {limits.wall_s:g} s per input"
    )
    _print_lines("the start program printed:", verdict.output)
    found = agreement(runs, problem)
    if not found.is_warning:
        say(found.text)
    metrics, objectives = reduced_metrics(verdict.metrics, problem.settings.reducer), problem.settings.objectives
    warnings = [printed_error(verdict, problem, path).removeprefix("warning: "), found.text if found.is_warning else ""]
    warnings.append(objectives.missing(metrics) or objectives.broken(total or 0.0, metrics))
    return [f"{name}: {warning}" for warning in warnings if warning]


_PRINTED_FIRST, _PRINTED_LAST, _PRINTED_CHARS = 2, 6, 160
"""Numbers of first and last lines of the start program's output that are shown, and of characters per line."""


def _print_lines(title: str, text: str) -> None:
    """Print the first and last lines of a text below a title; nothing if it is empty."""
    lines = text.strip().splitlines()
    left_out = len(lines) - _PRINTED_FIRST - _PRINTED_LAST
    if left_out > 0:
        lines[_PRINTED_FIRST:-_PRINTED_LAST] = [f"… {left_out} more lines"]
    if lines:
        say(title)
    for line in lines:
        say(f"  | {line[:_PRINTED_CHARS]}")


class Agreement(NamedTuple):
    """Agreement between runs of the start program, in words."""

    text: str
    is_warning: bool = False


def agreement(runs: StartRuns, problem: Problem) -> Agreement:
    """Return whether the runs of the start program agree, and what to do if they do not."""
    settings = problem.settings
    more = "" if problem.inputs["validation"] else ", and with validation inputs, which choose among the best"
    if runs.depends_on_seed and runs.other_seed.is_scored:
        first, other = (score(reduced(run.scores, settings.reducer)) for run in (runs.first, runs.other_seed))
        return Agreement(
            f"two runs agree, but with another seed the score is {other}, not {first}: all programs of a run are "
            f"scored with its seed, so that a best may only be lucky with it; less so with more inputs{more}"
        )
    if runs.repeats:
        return Agreement("two runs agree, also with another seed")
    if not runs.again.is_scored:
        reason = f"the second is {runs.again.outcome.value}: {runs.again.error}"
        advice = "Seed all random numbers, and do not read the clock."
        return Agreement(f"two runs do not agree: {reason}. {advice}", is_warning=True)
    if runs.spread <= settings.noise:
        noise = f"noise = {settings.noise:g}"
        return Agreement(f"two runs differ by up to {runs.spread:.3g} on an input, which {noise} allows for")
    pairs = enumerate(zip(runs.first.scores, runs.again.scores, strict=True), start=1)
    differing = ", ".join(str(number) for number, (old, new) in pairs if old != new)
    return Agreement(
        f"two runs do not agree: inputs {differing} differ, by up to {runs.spread:.3g}. Seed all random "
        "numbers, and do not read the clock. Where that cannot be, allow for it with "
        f"--set noise={round_up(_NOISE_FACTOR * runs.spread):g}{more}",
        is_warning=True,
    )


def facts_of(runs: StartRuns, problem: Problem) -> dict[str, Any]:
    """Return the results of the runs as plain data."""
    verdict, other = runs.first, runs.other_seed
    return {
        "score": reduced(verdict.scores, problem.settings.reducer),
        "scores": verdict.scores,
        "metrics": verdict.metrics,
        "notes": verdict.notes,
        "seconds": verdict.input_wall_s,
        "cpu_s": verdict.cpu_s,
        "peak_mib": verdict.peak_mib,
        "repeats": runs.repeats,
        "score_with_another_seed": reduced(other.scores, problem.settings.reducer) if other.is_scored else None,
        "spread": runs.spread,
    }


def try_confirmation(
    problem: Problem, verdict: Verdict, warnings: list[str], ask: Ask | None = None
) -> tuple[Verdict, bool]:
    """Run the start program as a new best program would be confirmed, and warn if the score differs where that counts.

    Return the verdict of the confirmation, and whether the score is the same.
    """
    from overnight.flows.start.create_run import confirmation_remedy, score_isolated

    with working("confirming the start program"):
        isolated = score_isolated(problem, seed=_SEED, run_id="check", ask=ask)
    difference = disagreement(verdict, isolated, problem.settings.noise)
    if problem.settings.sandbox.confirm != "never" and isolated.is_scored:
        warnings += _near_limit(isolated, confirmation(problem.job("train"), 0.0).limits.wall_s)
    if not difference:
        say(f"confirmed: run again, in a fresh container, it scores the same ({isolated.wall_s:.2f} s)")
        say_calls(problem, isolated)
    elif problem.settings.sandbox.confirm == "never":
        say(f"confirmation is off (sandbox.confirm=never), and no best program could be confirmed: {difference}")
    else:
        remedy = f"{confirmation_remedy(problem)}, which is sandbox.confirm=never"
        warnings.append(f"no best program could be confirmed: {difference}. {remedy}")
    return isolated, not difference


def say_calls(problem: Problem, isolated: Verdict) -> None:
    """Say how often an input calls the evolved functions, and what a confirmation demands of their values."""
    most = max(isolated.calls, default=0)
    if most <= 1:
        return
    counted = f"an input makes up to {most} calls of the evolved part"
    if problem.settings.state == "calls":
        say(f'{counted}; a call may keep what it likes for the next ones on the same input (state = "calls")')
    else:
        say(
            f"{counted}: each has to give the value that it would give as the only call. A confirmation repeats calls "
            "in new processes and another order; what a call keeps for the next may save time and change nothing"
        )


def _near_limit(isolated: Verdict, limit_s: float) -> list[str]:
    """Return a warning if the start program's confirmation took most of the time that one may take on an input."""
    slowest = max(isolated.input_wall_s, default=0.0)
    if slowest < _NEAR * limit_s:
        return []
    return [
        f"the start program's confirmation took {slowest:.2g} s on an input, where {limit_s:g} s are allowed, twice "
        "limits.wall_s: a better program may need more, and would not be confirmed. Let the evolved function do more "
        f"in fewer calls, or allow more: --set limits.wall_s={round_up(slowest / _NEAR):g}"
    ]


def propose(verdicts: Sequence[Verdict], limits: Limits) -> Limits:
    """Return limits with a margin above the start program's use of time and memory; others are kept."""
    wall_s = round_up(_SECONDS_FACTOR * max(seconds for verdict in verdicts for seconds in verdict.input_wall_s))
    cpu_s = round_up(_SECONDS_FACTOR * max(verdict.cpu_s for verdict in verdicts))
    peak_mib = _MEMORY_FACTOR * max(verdict.peak_mib for verdict in verdicts)
    memory_mib = max(_MIN_MEMORY_MIB, 2 ** math.ceil(math.log2(max(1.0, peak_mib))))
    return limits.model_copy(
        update={"wall_s": max(_MIN_LIMIT_S, wall_s), "cpu_s": max(_MIN_LIMIT_S, cpu_s), "memory_mib": memory_mib}
    )


def print_limits(proposed: Limits, existing: Mapping[str, Any], *, as_comment: bool) -> None:
    """Print limits as settings for a specification's script block (`as_comment`) or for `overnight.toml`.

    They replace the existing ones of the file, of which those not proposed are repeated.
    """
    section = "[tool.overnight.limits]" if as_comment else "[limits]"
    values = {"wall_s": proposed.wall_s, "cpu_s": proposed.cpu_s, "memory_mib": proposed.memory_mib}
    values = values | {name: value for name, value in existing.items() if name not in values}
    place = "the `# /// script` block" if as_comment else "overnight.toml"
    say(
        f"proposed limits, rounded up: {_SECONDS_FACTOR} times the seconds of the slowest input, {_SECONDS_FACTOR} "
        f"times the processor seconds of all inputs, {_MEMORY_FACTOR} times the memory; "
        + (f"to replace {section} in {place}:" if existing else f"to paste into {place}:")
    )
    for line in (section, *(f"{name} = {_toml(value)}" for name, value in values.items())):
        write_text(f"# {line}" if as_comment else line)


def long_limit(limits: Limits, proposed: Limits, verdicts: Sequence[Verdict]) -> str:
    """Return a message if the time limit is much longer than the start program needs; else empty."""
    if limits.wall_s < max(_LONG_S, _LONG_FACTOR * proposed.wall_s):
        return ""
    slowest = max(seconds for verdict in verdicts for seconds in verdict.input_wall_s)
    return (
        f"the slowest input took {slowest:.2g} s, and {limits.wall_s:g} s are allowed, for which a program that never "
        f"ends would hold a slot: set limits.wall_s = {proposed.wall_s:g}, or --set limits.wall_s={proposed.wall_s:g}"
    )


def _toml(value: float | bool) -> str:
    return str(value).lower() if isinstance(value, bool) else f"{value:.10g}"


def existing_limits(problem: Problem, path: Path) -> Mapping[str, Any]:
    """Return the limits in the problem's own file: the script block of a specification, or `overnight.toml`."""
    if problem.specification.run:
        limits = script_block(problem.specification.text, path.name).get("tool", {}).get("overnight", {})
    else:
        limits = NamedProblem(path).settings_file
    return dict(limits.get("limits", {}))
