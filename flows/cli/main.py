"""The `overnight` command: its commands by name, its errors, its exit codes. Nothing slow is imported here."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from cyclopts import App, CycloptsError, Parameter

from flows.cli.printing import say_error, tell_of_waiting
from flows.cli.terminal import protect
from schemas.errors import ExitCode, OvernightError


def _version() -> str:
    from importlib.metadata import version

    return version("overnight")


app = App(
    name="overnight",
    help="Search for programs while you sleep.",
    version=_version,
    version_flags=["--version"],
    help_format="plaintext",
    default_parameter=Parameter(negative=()),
    suppress_keyboard_interrupt=False,
)

_COMMANDS = {
    "problems": ("list:problems", "The built-in problems, what is known of them, and your own best."),
    "init": ("init:init", "A commented specification that runs, to make your own of it."),
    "check": ("check:check", "Run a problem's start program twice: scores, seconds, memory, whether they agree."),
    "baseline": ("baseline:baseline", "Compute what can be had on a problem without any model."),
    "doctor": ("doctor:doctor", "Engine, image, Prefect, keys, disk: what is there and what to do."),
    "run": ("run:run", "Start a run: search for a better program."),
    "resume": ("run:resume", "Go on with a run, from its files alone."),
    "schedule": ("schedule:schedule", "Have a run go on every night, as a cron line says."),
    "schedules": ("schedules:schedules", "The schedules; pause, resume, change or remove one."),
    "serve": ("serve:serve", "Spend the nights that are scheduled, as long as this runs."),
    "retry": ("retry:retry", "Run the generations again that failed; their programs join the search as it is now."),
    "runs": ("list:runs", "The runs in the history."),
    "watch": ("watch:watch", "Watch a run: a page that follows the night, or a view for the terminal."),
    "best": ("list:best", "The best program of a run."),
    "show": ("programs:show", "One program: code, scores, outcome, where it comes from."),
    "diff": ("programs:diff", "What one program has that another has not."),
    "lineage": ("programs:lineage", "The line from the start program to one."),
    "explain": ("programs:explain", "Why a program was kept or dropped, in words."),
    "report": ("report:report", "The morning report of a run: one HTML file that needs nothing else."),
    "compare": ("report:compare", "Runs side by side: medians and quartiles over seeds."),
    "replay": (
        "replay:replay",
        "Repeat a run from its recorded completions, without a model; is it the same?",
    ),
    "rescore": ("rescore:rescore", "Score the kept programs of a run under a changed specification, as a new run."),
    "export": ("archive:export", "Write a run into one file, for another machine."),
    "import": ("archive:import_run", "Take in a run that was exported elsewhere."),
    "compact": (
        "archive:compact",
        "Put the files of many generations together, so that questions are answered faster.",
    ),
    "sql": ("sql:sql", "Ask the history in SQL."),
}
for _name, (_place, _help) in _COMMANDS.items():
    app.command(f"flows.cli.{_place}", name=_name, help=_help)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs one command and exits with its code."""
    code = run(sys.argv[1:] if arguments is None else arguments)
    if "flows.signals" in sys.modules:
        from flows.signals import exit_promptly

        exit_promptly(code)
    sys.exit(code)


def run(arguments: Sequence[str]) -> int:
    """Runs one command; errors of a user's are told in words, without a traceback."""
    from flows.environment import prepare, require_neutral_folder

    prepare()
    protect()
    tell_of_waiting()
    try:
        require_neutral_folder(Path.cwd())
        code = app(arguments, exit_on_error=False, print_error=False, result_action="return_value")
    except CycloptsError as error:
        say_error(str(error), _usage(arguments))
        return ExitCode.USAGE
    except OvernightError as error:
        say_error(error.message, error.remedy)
        return error.exit_code
    except KeyboardInterrupt:
        sys.stderr.write("overnight: interrupted\n")
        return ExitCode.INTERRUPTED
    except BrokenPipeError:
        sys.stderr.close()
        return ExitCode.DONE
    except OSError as error:
        say_error(f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}", "")
        return ExitCode.ENVIRONMENT
    return code if isinstance(code, int) else ExitCode.DONE


_OF_A_RUN = frozenset(
    {"--model", "--api-base", "--style", "--batch", "--confirm", "--seed", "--image", "--runtime", "--inputs", "--set"}
)
"""What says what a run is."""


def _usage(arguments: Sequence[str]) -> str:
    command = arguments[0] if arguments else ""
    if command in ("resume", "retry") and _OF_A_RUN & {argument.partition("=")[0] for argument in arguments}:
        return "A run keeps its models and settings; `overnight run` begins one with others."
    if command in _COMMANDS:
        return f"`overnight {command} --help` lists what it takes."
    return "`overnight --help` lists the commands."


if __name__ == "__main__":
    main()
