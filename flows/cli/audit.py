"""`overnight audit`: try a scoring with programs that should not win, and a winner under other circumstances."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from overnight.flows.cli import options
from overnight.flows.cli.printing import (
    DEFAULT_HISTORY,
    History,
    OutputFormat,
    count,
    out,
    say,
    say_score_warning,
    score,
    table,
    working,
    write_json,
    write_text,
)
from overnight.flows.start.audit import Finding
from overnight.flows.start.audit import audit as try_scoring
from overnight.flows.start.judging import judge_entry, judge_of, with_judge
from overnight.flows.start.own_process import settle_process
from overnight.flows.start.trust import accept, accept_sandbox
from overnight.schemas.errors import ExitCode, OvernightError, UsageError
from overnight.schemas.history_backend import HistoryBackend
from overnight.schemas.problem import Problem
from overnight.tasks.problems import find
from overnight.tasks.problems.loading.load import load_problem

if TYPE_CHECKING:
    from overnight.tasks.history.files import RunFiles


_MOST_CHARS = 100
"""Most characters of what came of a trial, in the table."""


def audit(
    what: str,
    /,
    *,
    model: str | None = None,
    api_base: options.ApiBase = None,
    judge: options.JudgeName = None,
    trust_settings: options.TrustSettings = False,
    format: OutputFormat = "text",  # noqa: A002
    history: History = DEFAULT_HISTORY,
) -> int:
    """Try a scoring with programs that should not win; of a run, its best program with other seeds, orders, parts.

    Exits with 2 if something has to be looked at. Each trial is told as it ends, and an audit that is cut short, by
    Ctrl-C or a sandbox that fails, shows what was tried until then.

    Args:
        what: a problem, as for `overnight check`; or a run: its id, a unique prefix of one, or `last`
        model: also ask this model where the winner of a run may exploit the scoring; it flags, it never scores
    """
    readers = [{"name": model, "api_base": api_base}] if model and api_base else []
    given = {"sampling": {"judge": judge_entry(judge, readers, api_base)}} if judge else {}
    problem, files = _find(what, history, given)
    if model is not None and files is None:
        remedy = f"overnight audit last --model {model}"
        raise UsageError("--model reads the winner of a run, not a problem", remedy=remedy)
    if files is None:
        problem, _ = settle_process(accept(problem, given, trust=trust_settings), seed=0, run_id="audit", tell=say)
        body, name, seed = problem.specification.start_body, "the start program", 0
        found: list[Finding] = []
    else:
        accept_sandbox(problem, trust=trust_settings)
        problem = with_judge(problem, given.get("sampling", {}).get("judge"))
        body, name, seed, found = _winner(files)
    cut, words = None, ""
    try:
        with working("trying the scoring"):
            for one in try_scoring(problem, body, name, seed=seed, note=say, ask=judge_of(problem).ask):
                found.append(one)
                say(f"{one.result}: {one.tried}")
        if files and model:
            from overnight.flows.start.second_reader import read_winner

            with working(f"{model} reads the winner"):
                words = read_winner(files, problem, body, model, api_base)
    except (KeyboardInterrupt, OvernightError) as error:
        cut = error
    open_points = [one for one in found if one.result in ("look", "wrong")]
    if format == "json":
        findings = [asdict(one) for one in found]
        write_json({"audited": name, "findings": findings, "reading": words, "is_complete": cut is None})
    elif found or cut is None:
        _print(problem, found, words, model)
    if cut is not None:
        say(f"cut short after {count(len(found), 'trial')}, {len(open_points) or 'none'} of them to be looked at")
        raise cut
    say_score_warning(problem)
    say(f"{len(open_points) or 'none'} of {count(len(found), 'trial')} to be looked at")
    return ExitCode.USAGE if open_points or problem.score_warning else ExitCode.DONE


def _find(what: str, history: HistoryBackend, given: dict[str, Any]) -> tuple[Problem, RunFiles | None]:
    """Return the problem that is meant, and the run whose it is; `None` for a problem by itself."""
    from overnight.tasks.history import stored_run
    from overnight.tasks.history.find_run import find_run

    try:
        path = find(what)
    except UsageError:
        try:
            files = find_run(history, what)
        except UsageError as error:
            raise UsageError(
                f"{what!r} is neither a problem nor a run in {history.location}",
                remedy="`overnight problems` lists problems, and `overnight runs` runs; `last` is the newest run.",
            ) from error
        return stored_run.read_run(files).problem, files
    return load_problem(path, given), None


def _winner(files: RunFiles) -> tuple[str, str, int, list[Finding]]:
    """Return the body of a run's best program, what it is, the run's seed, and what the held-out inputs say."""
    from overnight.tasks.history import stored_run
    from overnight.tasks.history.winners import best_program

    past, run = stored_run.read_run_history(files), stored_run.read_run(files)
    best, _ = best_program(files, past)
    night = stored_run.last_finished_night(files, past.programs)
    finalists = {one.program.id: one for one in night.finalists} if night else {}
    return best.body, f"the best program, {best.id},", run.seed, _on_held_out(finalists, best.id, past.start.id)


def _on_held_out(finalists: dict[str, Any], best: str, start: str) -> list[Finding]:
    """Return whether a winner is better on held-out inputs, too, as the last final evaluation has it."""
    own, first = finalists.get(best), finalists.get(start)
    if own is None or first is None or own.held_out is None or first.held_out is None or best == start:
        return []
    came = f"held out {score(own.held_out)}, the start program {score(first.held_out)}"
    if own.held_out > first.held_out:
        return [Finding("held-out inputs", came)]
    return [Finding("held-out inputs", came, "look", "it is better on the training inputs alone")]


def _print(problem: Problem, found: list[Finding], words: str, model: str | None) -> None:
    rows = [(one.result, one.tried, "; ".join(filter(None, (one.came[:_MOST_CHARS], one.remark)))) for one in found]
    title = f"{problem.settings.title or problem.name}: what should not win"
    out().print(table(("", "tried", "what came of it"), rows, title=title))
    if words:
        write_text(f"── what {model} says: a model's words, which score nothing ──")
        write_text(words)
