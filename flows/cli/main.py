"""Entry point of the `overnight` command: the table of commands, error output and exit codes.

Slow libraries are imported by the commands that need them, so that `overnight --help` answers at once.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cyclopts import App, CycloptsError, Group, Parameter
from cyclopts import ValidationError as RefusedValue
from cyclopts.help import DefaultFormatter, HelpPanel

from overnight.flows.cli.printing import print_error, route_warnings_to_stderr
from overnight.flows.cli.terminal import protect
from overnight.schemas.errors import EXIT_CODES, EnvironmentFault, ExitCode, OvernightError, UsageError, in_words

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions

_OBJECTS_BETWEEN_COLLECTIONS = 50_000


def _version() -> str:
    from importlib.metadata import version

    return version("overnight")


_COMMANDS = {
    "Start": {
        "problems": ("problems:problems", "List the built-in problems, their best known scores, and your own best."),
        "init": ("problems:init", "* Write a commented example specification to start from."),
        "check": ("check:check", "* Test a problem before a night: does its start program run, and how fast?"),
        "audit": ("audit:audit", "Try a scoring with programs that should not win; look at a winner once more."),
        "prompt": ("problems:prompt", "Print what a model would be sent first."),
        "algorithms": ("problems:algorithms", "List the search algorithms, and where each is from."),
        "doctor": ("doctor:doctor", "Check engine, image, Prefect, keys and disk; say how to fix what is missing."),
    },
    "Search": {
        "run": ("run:run", "* Start a run: search for a better program."),
        "resume": ("run:resume", "* Continue a run, from its files alone."),
        "retry": ("run:retry", "Run the generations again that a night has given up."),
        "hint": ("interventions:hint", "Tell a search what to try, also while a night is under way."),
        "drop": ("interventions:drop", "Take a program out that cheats: it counts as failed from then on."),
        "relay": ("relay:relay", "Answer the requests of a folder that is the model of a run: relay:FOLDER."),
    },
    "Look": {
        "runs": ("runs:runs", "List the runs in the history, or show the log of one."),
        "watch": ("watch:watch", "* Follow a run on a live page, or in the terminal."),
        "best": ("best:best", "* Show the best program of a run, or write it to a file."),
        "show": ("show:show", "Show one program: code and scores, changes, ancestors, why it was kept."),
        "report": ("report:report", "* Write the morning report of a run: one self-contained HTML file."),
        "compare": ("compare:compare", "Compare runs, or models: medians and quartiles over seeds."),
    },
    "Every night": {
        "schedule": ("schedule:schedule", "Run nights by the calendar: add, list, change, remove, serve …"),
    },
    "History": {
        "sql": ("sql:sql", "* Query the history in SQL."),
        "replay": ("replay:replay", "Repeat a run from its recorded completions, and compare the histories."),
        "rescore": ("replay:rescore", "Score the survivors of a run under a changed specification, as a new run."),
        "export": ("archive:export", "Export a run to one file, for another machine or as data."),
        "import": ("archive:import_run", "Import a run that was exported elsewhere."),
        "compact": ("archive:compact", "Merge the files of many generations, so that queries are faster."),
    },
    "Several machines": {
        "cluster": ("cluster:cluster", "Evaluate on several machines: init, start, worker, show."),
    },
}
"""Commands of each group: module and function, and a line of help, in which a star marks what everyone needs."""

_GROUPS = [Group(title, sort_key=place) for place, title in enumerate(_COMMANDS)]
_OTHER, _OPTIONS = Group("Other", sort_key=len(_GROUPS)), Group("Options", sort_key=len(_GROUPS))

COMMANDS = tuple(name for commands in _COMMANDS.values() for name in commands)


class _HelpFormatter(DefaultFormatter):
    """Lays out help whose texts are docstrings, with line breaks where the source has them."""

    def __call__(self, console: Console, options: ConsoleOptions, panel: HelpPanel) -> None:
        for entry in panel.entries:
            text = entry.description.primary_renderable
            text.plain = " ".join(text.plain.split())
        super().__call__(console, options, panel)


def _default_in_words(value: Any) -> Any:
    """Return what help says of a default: nothing of one that is empty, or that leaves a flag out."""
    if not value:
        return None
    return f"{value:g}" if isinstance(value, float) else str(value)


def _app(*, lists_commands: bool) -> App:
    """Return the application; its list of commands has a line of help for each, for which no module is imported."""
    made = App(
        name="overnight",
        help="Search for programs while you sleep. A star marks the eight commands that a night and its morning take.",
        version=_version,
        version_flags=["--version"],
        help_format="plaintext",
        help_formatter=_HelpFormatter(),
        help_epilogue=f"Exit codes: {'; '.join(f'{code} {meaning}' for code, meaning in EXIT_CODES.items())}.",
        default_parameter=Parameter(negative=(), show_default=_default_in_words),
        group_commands=_OTHER,
        group_parameters=_OPTIONS,
        suppress_keyboard_interrupt=False,
    )
    for group, commands in zip(_GROUPS, _COMMANDS.values(), strict=True):
        for row, (name, (function, line)) in enumerate(commands.items()):
            listed = {"help": line} if lists_commands else {}
            made.command(f"overnight.flows.cli.{function}", name=name, group=group, sort_key=row, **listed)
    made.register_install_completion_command(help="Install completion of commands and options for your shell.")
    return made


app = _app(lists_commands=False)


def _print(error: OvernightError) -> None:
    print_error(error.message, error.remedy)


def main(arguments: Sequence[str] | None = None, report: Callable[[OvernightError], None] = _print) -> None:
    """Run one command and exit with its exit code; `report` writes an expected error in place of a traceback."""
    # Libraries make a million objects that stay; looking at them every 700 new ones takes an eighth of the start.
    gc.set_threshold(_OBJECTS_BETWEEN_COLLECTIONS)
    code = run(sys.argv[1:] if arguments is None else arguments, report)
    gc.freeze()  # else Python looks at all of them once more when it ends, which takes a second after a night
    if "overnight.flows.night.signals" in sys.modules:
        from overnight.flows.night.signals import exit_promptly

        exit_promptly(code)
    sys.exit(code)


def run(arguments: Sequence[str], report: Callable[[OvernightError], None] = _print) -> int:
    """Run one command and return its exit code; expected errors are reported without a traceback."""
    from overnight.flows.environment import prepare, require_neutral_folder

    prepare()
    protect()
    route_warnings_to_stderr()
    try:
        require_neutral_folder(Path.cwd())
        return _call(arguments)
    except OvernightError as error:
        if isinstance(error, UsageError) and not error.remedy:
            error.remedy = _usage_remedy(arguments)
        report(error)
        return error.exit_code
    except KeyboardInterrupt:
        sys.stderr.write("overnight: interrupted\n")
        return ExitCode.INTERRUPTED
    except BrokenPipeError:
        sys.stderr.close()
        return ExitCode.DONE
    except OSError as error:
        fault = EnvironmentFault(
            f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}",
            remedy="`overnight doctor` checks the disk, the engine and the Prefect server.",
        )
        report(fault)
        return fault.exit_code


def _call(arguments: Sequence[str]) -> int:
    is_list = not arguments or arguments[0].startswith("-")
    chosen = _app(lists_commands=True) if is_list else app
    try:
        code = chosen(arguments, exit_on_error=False, print_error=False, result_action="return_value")
    except CycloptsError as error:
        raise UsageError(_message(error), remedy=_usage_remedy(arguments)) from error
    return code if isinstance(code, int) else ExitCode.DONE


def _message(error: CycloptsError) -> str:
    """Return what is wrong with the arguments; of a stop condition, its field says it."""
    from pydantic import ValidationError

    cause = error.__cause__
    if not isinstance(error, RefusedValue) or not isinstance(cause, ValidationError):
        return str(error)
    from overnight.flows.night.stop_conditions import flag_of

    first = cause.errors()[0]
    return f"--{flag_of(str(first['loc'][0]))}: {in_words(first, first['input'])}"


def _flags(command: str) -> set[str]:
    """Return the flags of a command, with the names of its arguments."""
    return {name for argument in app[command].assemble_argument_collection() for name in argument.names}


def _usage_remedy(arguments: Sequence[str]) -> str:
    command = arguments[0] if arguments else ""
    given = {argument.partition("=")[0] for argument in arguments}
    if command in ("resume", "retry") and given & (_flags("run") - _flags("resume")):
        return "A run keeps its models and settings; `overnight run` starts a new run with different ones."
    if command in COMMANDS:
        return f"`overnight {command} --help` lists its arguments and flags."
    return "`overnight --help` lists the commands."


if __name__ == "__main__":
    main()
