"""The system message of chat models: the facts of a task, the same in all prompts of a run."""

from __future__ import annotations

from schemas.problem import Problem
from schemas.program import Program
from schemas.settings import Reducer, Sandbox
from tasks.sample.codecs.codec import templates
from tasks.sample.feedback import format_scores

_REDUCED: dict[Reducer, str] = {
    "mean": "It is the mean of the scores on {count} inputs.",
    "min": "It is the lowest of the scores on {count} inputs.",
    "sum": "It is the sum of the scores on {count} inputs.",
    "last": "It is the score on the last of {count} inputs.",
}


def system_message(problem: Problem) -> str:
    """Return the facts of a task; it is the same for all prompts, so that providers can cache it."""
    settings, count = problem.settings, len(problem.inputs["train"])
    known = settings.known
    return (
        templates()
        .get_template("system.jinja")
        .render(
            wanted=settings.statement or problem.specification.docstring,
            score_name=settings.score_name,
            reduced=_REDUCED[settings.reducer].format(count=count) if count > 1 else "",
            known=None if known.best is None else f"{known.best:.6g}" + (f" ({known.label})" if known.label else ""),
            is_proven=known.proven,
            seconds=f"{settings.limits.wall_s:g}",
            memory_mib=settings.limits.memory_mib,
            packages=packages_in_words(problem) if problem.specification.language == "python" else None,
        )
        .strip()
    )


def packages_in_words(problem: Problem) -> str:
    """Return the packages besides the standard library that programs may import; empty if none are known."""
    numpy = ["numpy"] if problem.settings.sandbox.image == Sandbox().image else []
    names = list(dict.fromkeys([*problem.dependencies.packages, *numpy]))
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}" if names else ""


def score_note(program: Program, base: Program) -> str:
    """Return what a prompt says of a program's score, to 6 significant digits, beside that of the best one shown."""
    parts = [f"scores {program.score:.6g}"]
    difference = base.score - program.score
    if program.id != base.id:
        parts.append(f"{difference:.3g} less than the last version" if difference else "the same as the last version")
    on_inputs = f"; on the inputs, in order: {format_scores(program.scores)}" if len(program.scores) > 1 else ""
    return ", ".join(parts) + on_inputs
