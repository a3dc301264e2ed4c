"""Evaluate a problem's start program several times, for `overnight check`, and print what the runs tell."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from flows.cli.printing import out, say, score, table, working
from flows.formatting import round_up
from schemas.errors import SpecificationError
from schemas.outcome import Outcome
from tasks.program.specification import Specification

if TYPE_CHECKING:
    from pathlib import Path

    from schemas.outcome import Verdict
    from schemas.problem import Problem, Split

_SEED, _OTHER_SEED = 0, 1

_NOISE_FACTOR = 2
"""Proposed noise as a multiple of the largest difference between the runs, which are few."""


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


def require_start_body(problem: Problem, path: Path) -> None:
    """Refuse a file that its start body would change: the start program would score, and no candidate be right.

    Raises:
        SpecificationError: If the start body in its place is not the code of the file.
    """
    specification = problem.specification
    if isinstance(specification, Specification) and not specification.keeps_start_program:
        raise SpecificationError(
            f"{path}: {specification.evolved_parts} cannot be taken out of the file and put back: expected the code of "
            "the file, got other code",
            remedy="Write header, docstring and body of each evolved function on lines of their own.",
        )


def run_start(problem: Problem, path: Path, split: Split) -> StartRuns:
    """Evaluate the start program with two seeds, and once more with the first if the scores differ.

    Raises:
        SpecificationError: If the start program gets no score.
        OvernightError: If the sandbox failed.
    """
    from flows.start.create_run import sandbox_fault, start_remedy

    first = _run(problem, split, _SEED)
    if first.outcome is Outcome.SANDBOX_ERROR:
        raise sandbox_fault(first)
    if not first.is_scored:
        if first.outcome is not Outcome.CRASHED:  # the error of a crash contains the last output
            _print_output(first.output)
        raise SpecificationError(
            f"{split}: the start program has no score: {first.outcome.value}: {first.error}",
            remedy=f"The start program must run unchanged. {start_remedy(first, problem, path) or 'Correct the file.'}",
        )
    other = _run(problem, split, _OTHER_SEED)
    again = other if other.scores == first.scores else _run(problem, split, _SEED)
    return StartRuns(first, again, other)


def _run(problem: Problem, split: Split, seed: int) -> Verdict:
    from flows.start.sandboxes import open_sandboxes

    name = split.replace("_", "-")
    with (
        working(f"{name}: running the start program"),
        open_sandboxes(problem, split, seed=seed, run_id="check", programs=1) as sandbox,
    ):
        return sandbox.evaluate(problem.specification.start_program)


def print_runs(problem: Problem, path: Path, split: Split, runs: StartRuns, *, show_table: bool) -> None:
    """Print the scores and the use of resources of the first run, and whether the others agree."""
    from flows.start.create_run import printed_error
    from schemas.program import reduced

    name, verdict, limits = split.replace("_", "-"), runs.first, problem.settings.limits
    rows = [
        (str(number), str(call), score(value), f"{seconds:.3f}")
        for number, (call, value, seconds) in enumerate(
            zip(problem.inputs[split], verdict.scores, verdict.input_wall_s, strict=True), start=1
        )
    ]
    if show_table:
        out().print(table(("input", "arguments", "score", "seconds"), rows, right=("score", "seconds"), title=name))
    total = reduced(verdict.scores, problem.settings.reducer)
    say(
        f"{name}: {problem.settings.reducer} {score(total)} ({problem.settings.score_name}); "
        f"{verdict.wall_s:.2f} s, {verdict.cpu_s:.2f} s of processor time, "
        f"{verdict.peak_mib:.0f} MiB of {limits.memory_mib} MiB; limit {limits.wall_s:g} s per input"
    )
    _print_output(verdict.output)
    if message := printed_error(verdict, problem, path):
        say(message)
    say(agreement(runs, problem))


_PRINTED_FIRST, _PRINTED_LAST, _PRINTED_CHARS = 2, 6, 160
"""Numbers of first and last lines of the start program's output that are shown, and of characters per line."""


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


def agreement(runs: StartRuns, problem: Problem) -> str:
    """Return whether the runs of the start program agree, and what to do if they do not."""
    from schemas.program import reduced

    settings = problem.settings
    more = "" if problem.inputs["validation"] else ", and with validation inputs, which choose among the best"
    if runs.depends_on_seed and runs.other_seed.is_scored:
        first, other = (score(reduced(run.scores, settings.reducer)) for run in (runs.first, runs.other_seed))
        return (
            f"two runs agree, but with another seed the score is {other}, not {first}: all programs of a run are "
            f"scored with its seed, so that a best may only be lucky with it; less so with more inputs{more}"
        )
    if runs.repeats:
        return "two runs agree, also with another seed"
    if not runs.again.is_scored:
        reason = f"the second is {runs.again.outcome.value}: {runs.again.error}"
        return f"warning: two runs do not agree: {reason}. Seed all random numbers, and do not read the clock."
    if runs.spread <= settings.noise:
        return f"two runs differ by up to {runs.spread:.3g} on an input, which noise = {settings.noise:g} allows for"
    pairs = enumerate(zip(runs.first.scores, runs.again.scores, strict=True), start=1)
    differing = ", ".join(str(number) for number, (old, new) in pairs if old != new)
    return (
        f"warning: two runs do not agree: inputs {differing} differ, by up to {runs.spread:.3g}. Seed all random "
        "numbers, and do not read the clock. Where that cannot be, allow for it with "
        f"--set noise={round_up(_NOISE_FACTOR * runs.spread):g}{more}"
    )


def facts_of(runs: StartRuns, problem: Problem) -> dict[str, Any]:
    """Return the results of the runs as plain data."""
    from schemas.program import reduced

    verdict, other = runs.first, runs.other_seed
    return {
        "score": reduced(verdict.scores, problem.settings.reducer),
        "scores": verdict.scores,
        "seconds": verdict.input_wall_s,
        "cpu_s": verdict.cpu_s,
        "peak_mib": verdict.peak_mib,
        "repeats": runs.repeats,
        "score_with_another_seed": reduced(other.scores, problem.settings.reducer) if other.is_scored else None,
        "spread": runs.spread,
    }


def try_confirmation(problem: Problem, verdict: Verdict) -> str:
    """Run the start program as a new best program would be confirmed, and print whether its score is the same.

    Returns:
        How the score differs; empty if it is the same.
    """
    from flows.start.create_run import confirmation_remedy, score_isolated
    from tasks.evaluate.confirmation import disagreement

    isolated = score_isolated(problem, seed=_SEED, run_id="check")
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
    return difference
