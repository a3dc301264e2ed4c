"""`overnight retry`: generations that failed are run again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from flows.cli.options import Budget, MaxTokens, TotalBudget, TrustSettings, Until, stop_rules
from flows.cli.printing import DEFAULT_HISTORY, History, history_flag, say
from schemas.errors import UsageError

if TYPE_CHECKING:
    from schemas.generation import RunHistory


def retry(
    run: Annotated[str, Parameter(help="a run id, a unique prefix of one, or `last`")],
    /,
    *,
    generation: Annotated[
        list[int] | None, Parameter(help="only this one; repeatable; default: all that failed")
    ] = None,
    max_tokens: MaxTokens = None,
    until: Until = None,
    budget: Budget = None,
    total_budget: TotalBudget = None,
    trust_settings: TrustSettings = False,
    history: History = DEFAULT_HISTORY,
) -> int:
    """Run generations again that failed. What is paid for is not bought again; their programs join the search."""
    from flows.trust import accept
    from tasks.history import record
    from tasks.history.files import find_run

    rules = stop_rules(until, max_tokens=max_tokens, budget_usd=budget, total_budget_usd=total_budget)
    files = find_run(history, run)
    again = which_failed(record.read_run_history(files), files.run_id, generation)
    if not again:
        new = f"overnight resume {files.run_id}{history_flag(history)}"
        say(f"no generation of {files.run_id} has failed; `{new}` goes on with new ones")
        return 0
    accept(record.read_run(files).problem, trust=trust_settings)
    from flows.cli.foreground_night import run_night

    return run_night(lambda: files, rules, history, again)


def which_failed(past: RunHistory, run_id: str, wanted: list[int] | None) -> list[int]:
    """The generations to retry, in order.

    Raises:
        UsageError: If one that is wanted has not failed.
    """
    for number in wanted or ():
        if number > past.generations:
            raise UsageError(
                f"generation {number} of {run_id} has not failed: the last that was tried is {past.generations}",
                remedy=f"New ones are run by: overnight resume {run_id}",
            )
        if number not in past.failed:
            raise UsageError(
                f"generation {number} of {run_id} is committed: it is never run again",
                remedy="Failed ones: overnight sql "
                f"\"SELECT generation, error FROM generations WHERE state = 'failed' AND run_id = '{run_id}'\"",
            )
    return sorted(past.failed if wanted is None else set(wanted))
