"""`overnight hint` and `overnight drop`: say something to a search, between its nights or while one is under way."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

from overnight.flows.cli import options
from overnight.flows.cli.printing import DEFAULT_HISTORY, History, count, history_flag, say, score
from overnight.schemas.errors import UsageError
from overnight.schemas.generation import RunHistory
from overnight.schemas.history_backend import HistoryBackend
from overnight.schemas.interventions import MAX_CHARS, MAX_PROMPTS, Intervention, Kind
from overnight.schemas.operators import PROMPTS_PER_HINT

if TYPE_CHECKING:
    from overnight.tasks.history.files import RunFiles

_PROMPTS = 20


def hint(
    run: options.RunId,
    text: str = "",
    /,
    *,
    pin: str | None = None,
    prompts: Annotated[
        int | None,
        Parameter(
            help=f"number of prompts that it is for; default: {_PROMPTS}", validator=Number(gte=1, lte=MAX_PROMPTS)
        ),
    ] = None,
    withdraw: bool = False,
    history: History = DEFAULT_HISTORY,
) -> None:
    """Tell a search what to try: every second prompt that is not planned yet asks for it, as the operator `hint`.

    A night under way takes it after the prompts that it has in flight, else the next night does. It is part of the
    history, and replayed like answers.

    Args:
        text: what the model is told, such as "try a two-pass scheme"
        pin: program of the run, by its id or a prefix, that prompts build on, in place of a text
        withdraw: end all hints and pins of the run
    """
    from overnight.tasks.history import stored_run
    from overnight.tasks.history.find_run import find_run
    from overnight.tasks.history.interventions import new_request

    if sum(map(bool, (text, pin, withdraw))) != 1 or (withdraw and prompts):
        raise UsageError(
            "expected a text, --pin PROGRAM, or --withdraw alone",
            remedy=f'For example: overnight hint {run} "try a two-pass scheme"',
        )
    files = find_run(history, run)
    if withdraw:
        _tell(files, new_request(Kind.WITHDRAWAL), history)
    elif pin:
        program = scored_program(files, pin, history)
        _tell(files, new_request(Kind.PIN, program_id=program, prompts=prompts or _PROMPTS), history)
    else:
        models = stored_run.read_run(files).problem.settings.sampling.models
        if all(model.style == "completion" for model in models):
            pin_it = f"overnight hint {files.run_id} --pin PROGRAM{history_flag(history)}"
            raise UsageError(
                f"the models of {files.run_id} continue text, and are told nothing",
                remedy=f"Pin a program in its place: {pin_it}",
            )
        _tell(files, new_request(Kind.HINT, _plain(text, "the hint"), prompts=prompts or _PROMPTS), history)


def drop(
    run: options.RunId,
    program: str,
    /,
    *,
    why: str = "",
    descendants: bool = False,
    history: History = DEFAULT_HISTORY,
) -> None:
    """Take a program out that cheats: from now on it counts as failed, as if it had never been told of.

    It is not the best, not shown and in no niche any more; a night under way goes on without it after its generation.

    Args:
        program: program of the run, by its id or a prefix
        why: reason, for the history and the report
        descendants: drop what was built on it, too, and what still will be
    """
    from overnight.tasks.history import stored_run
    from overnight.tasks.history.find_run import find_run
    from overnight.tasks.history.interventions import new_request

    files = find_run(history, run)
    name, past = scored_program(files, program, history), stored_run.read_run_history(files)
    if name == past.start.id:
        raise UsageError(
            f"{name} is the start program, without which there is no search",
            remedy="Begin a new run with another one: overnight run PROBLEM",
        )
    reason = _plain(why, "--why") if why else ""
    _tell(files, new_request(Kind.DROP, reason, name, with_descendants=descendants), history)


def pin_until_withdrawn(files: RunFiles, program: str, history: HistoryBackend) -> None:
    """Pin a program of a run before a night, unless it is pinned already; raise RunIsBusy if one is under way."""
    from overnight.flows.night.requests import ask_before_a_night
    from overnight.tasks.history.interventions import new_request

    request = new_request(Kind.PIN, program_id=scored_program(files, program, history))
    say(f"{request.words}; it ends with: overnight hint {files.run_id} --withdraw{history_flag(history)}")
    ask_before_a_night(files, request)


def _plain(text: str, what: str) -> str:
    """Return a text that may be told to a model; refuse one that is empty, too long, or has control characters."""
    text = text.strip()
    if not text:
        raise UsageError(f"{what} is empty", remedy='Say it in words, such as: "try a two-pass scheme"')
    if len(text) > MAX_CHARS:
        raise UsageError(
            f"{what} has {len(text):,} characters, and {MAX_CHARS:,} are the most",
            remedy="Say the idea in a few sentences: it is part of many prompts.",
        )
    if not all(character.isprintable() or character in "\n\t" for character in text):
        raise UsageError(f"{what} is no plain text: it has control characters", remedy="Write it in UTF-8.")
    return text


def scored_program(files: RunFiles, program: str, history: HistoryBackend) -> str:
    """Return the id of a scored program of a run, by its id or a prefix; raise a UsageError if it was dropped."""
    from overnight.tasks.history import stored_run
    from overnight.tasks.history.interventions import pending_requests

    past = stored_run.read_run_history(files)
    found = [name for name in past.told if name.startswith(program)] if program else []
    if len(found) != 1:
        raise UsageError(
            f"{len(found) or 'no'} scored programs of {files.run_id} begin with {program!r}",
            remedy=f"List them: overnight sql \"FROM best_programs('{files.run_id}')\"{history_flag(history)}",
        )
    waiting = {one.program_id for one in pending_requests(files) if one.kind is Kind.DROP}
    if found[0] in past.dropped or found[0] in waiting:
        raise UsageError(
            f"{found[0]} was dropped already{_by(past, found[0])}",
            remedy=f'See what was asked for: overnight sql "FROM interventions"{history_flag(history)}',
        )
    return found[0]


def _by(past: RunHistory, program: str) -> str:
    drop = next((one for one in past.drops if one.program_id == program), None)
    return f", by {drop.author or 'somebody'} at {drop.asked_at:%Y-%m-%d %H:%M} UTC" if drop else ""


def _first_prompt(files: RunFiles) -> str:
    """Return which prompt of a night under way is the first that may ask for something."""
    from overnight.tasks.history import stored_run

    number = files.last_night()
    before = stored_run.read_night(files, number, {}).samples_in_flight if number else 0
    which = "with the first prompt that is not planned yet"
    return f"{which}, after up to {count(before, 'sample')} that it has in flight" if before else which


def _tell(files: RunFiles, request: Intervention, history: HistoryBackend) -> None:
    """Ask, and say what becomes of it."""
    from overnight.flows.night.requests import ask
    from overnight.tasks.history import stored_run
    from overnight.tasks.history.winners import best_program

    taken = ask(files, request)
    if taken is None:
        when = "after its generation" if request.kind is Kind.DROP else _first_prompt(files)
        report = f"`overnight report {files.run_id}{history_flag(history)}`"
        say(f"{request.words}: the night under way takes it {when}; {report} shows it")
        return
    more = f", and {len(taken) - 1} built on it" if len(taken) > 1 else ""
    how = f", in {request.prompts} prompts, one of {PROMPTS_PER_HINT}" if request.prompts else ""
    say(f"{request.words}{more}{how}, from prompt {taken[0].prompt + 1} of generation {taken[0].generation} on")
    if request.kind is Kind.DROP:
        best, _ = best_program(files, stored_run.read_run_history(files))
        say(f"the best program is now {best.id}, score {score(best.score)}")
    say(f"no night is under way; the next one begins with it: overnight resume {files.run_id}{history_flag(history)}")
