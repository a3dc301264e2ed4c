"""`overnight retry`: run the generations again that were given up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from flows.cli.options import Budget, ClusterName, MaxTokens, RunId, TotalBudget, TrustSettings, Until, stop_conditions
from flows.cli.printing import DEFAULT_HISTORY, History, history_flag, say
from schemas.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from schemas.generation import RunHistory


def retry(
    run: RunId,
    /,
    *,
    generation: Annotated[
        list[int] | None, Parameter(help="generation to run again; repeatable; default: all that were given up")
    ] = None,
    max_tokens: MaxTokens = None,
    until: Until = None,
    budget: Budget = None,
    total_budget: TotalBudget = None,
    trust_settings: TrustSettings = False,
    cluster: ClusterName = None,
    history: History = DEFAULT_HISTORY,
) -> int:
    """Run the generations again that a night has given up and gone on without.

    Completions already paid for are reused; programs join the current population. An outage gives up no generation: the
    night waits for its end, and `overnight resume` goes on after any other end of a night.
    """
    from flows.cluster.choice import choose_cluster
    from flows.start.trust import accept
    from tasks.history import record
    from tasks.history.files import find_run

    choose_cluster(cluster)
    conditions = stop_conditions(until, max_tokens=max_tokens, budget_usd=budget, total_budget_usd=total_budget)
    files = find_run(history, run)
    record.require_present_format(files)
    failed = failed_generations(record.read_run_history(files), files.run_id, generation, history_flag(history))
    if not failed:
        command = f"overnight resume {files.run_id}{history_flag(history)}"
        say(f"no generation of {files.run_id} is given up, so none is retried; `{command}` continues with new ones")
        return ExitCode.DONE
    accept(record.read_run(files).problem, trust=trust_settings)
    from flows.prefect_server.embedded import PrefectServer

    with PrefectServer() as server:
        from flows.cli.foreground_night import run_night

        return run_night(server, lambda: files, conditions, history, failed)


def failed_generations(past: RunHistory, run_id: str, wanted: list[int] | None, flag: str) -> list[int]:
    """Return the given-up generations to run again, in order.

    Args:
        past: History of the run.
        run_id: Id of the run, for messages.
        wanted: Generations that the user named; None for all that were given up.
        flag: `--history` flag for the commands that are named.

    Raises:
        UsageError: If a generation that the user named was not given up.
    """
    for number in wanted or ():
        if number > past.generations:
            raise UsageError(
                f"generation {number} of {run_id} was not given up: the last one tried is {past.generations}",
                remedy=f"Run new generations with: overnight resume {run_id}{flag}",
            )
        if number not in past.failed:
            raise UsageError(
                f"generation {number} of {run_id} is committed, and is never run again",
                remedy="List those given up with: overnight sql "
                f"\"SELECT generation, error FROM generations WHERE state = 'given up' AND run_id = '{run_id}'\"{flag}",
            )
    return sorted(past.failed if wanted is None else set(wanted))
