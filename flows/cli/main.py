"""Entry point of the `overnight` command: the table of commands, error output and exit codes.

Slow libraries are imported by the commands that need them, so that `overnight --help` answers at once.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Sequence
from pathlib import Path

from cyclopts import App, CycloptsError, Parameter

from flows.cli.printing import print_error, route_warnings_to_stderr
from flows.cli.terminal import protect
from schemas.errors import ExitCode, OvernightError

_OBJECTS_BETWEEN_COLLECTIONS = 50_000


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
    "problems": ("problems:problems", "List the built-in problems, their best known scores, and your own best."),
    "algorithms": ("algorithms:algorithms", "List the search algorithms, and where each is from."),
    "init": ("init:init", "Write a commented example specification to start from."),
    "check": (
        "check:check",
        "Run a problem's start program twice: scores, seconds, memory, and whether the runs agree.",
    ),
    "prompt": ("prompt:prompt", "Print what a model would be sent first."),
    "baseline": ("baseline:baseline", "Compute the score that a problem allows without a model."),
    "doctor": ("doctor:doctor", "Check engine, image, Prefect, keys and disk; say how to fix what is missing."),
    "run": ("run:run", "Start a run: search for a better program."),
    "resume": ("run:resume", "Continue a run, from its files alone."),
    "schedule": ("schedule:schedule", "Continue a run every night, at the times of a cron expression."),
    "schedules": ("schedules:schedules", "List the schedules; pause, resume, change or remove one."),
    "serve": ("serve:serve", "Run scheduled nights for as long as this command runs."),
    "cluster": (
        "cluster:cluster",
        "Evaluate on several machines: make certificates, start a scheduler, list machines.",
    ),
    "worker": ("cluster:worker", "Be a machine of a cluster: evaluate programs for its nights."),
    "retry": (
        "retry:retry",
        "Run the generations that were given up again; their programs join the current population.",
    ),
    "runs": ("runs:runs", "List the runs in the history, or show the log of one."),
    "watch": ("watch:watch", "Follow a run on a live page, or in the terminal."),
    "best": ("best:best", "Show the best program of a run, or write it to a file."),
    "show": ("programs:show", "Show one program: code, scores, outcome, parents."),
    "diff": ("programs:diff", "Show the differences between two programs."),
    "lineage": ("programs:lineage", "Show the ancestors of a program, from the start program on."),
    "explain": ("programs:explain", "Explain why a program was kept or dropped."),
    "report": ("report:report", "Write the morning report of a run: one self-contained HTML file."),
    "compare": ("report:compare", "Compare runs: medians and quartiles over seeds."),
    "replay": (
        "replay:replay",
        "Repeat a run from its recorded completions, without a model, and compare the histories.",
    ),
    "rescore": ("rescore:rescore", "Score the survivors of a run under a changed specification, as a new run."),
    "export": ("archive:export", "Export a run to one file, for another machine."),
    "import": ("archive:import_run", "Import a run that was exported elsewhere."),
    "compact": (
        "archive:compact",
        "Merge the files of many generations, so that queries are faster.",
    ),
    "sql": ("sql:sql", "Query the history in SQL."),
}
for _name, (_function, _help) in _COMMANDS.items():
    app.command(f"flows.cli.{_function}", name=_name, help=_help)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and exit with its exit code."""
    # Libraries make a million objects that stay; looking at them every 700 new ones takes an eighth of the start.
    gc.set_threshold(_OBJECTS_BETWEEN_COLLECTIONS)
    code = run(sys.argv[1:] if arguments is None else arguments)
    if "flows.night.signals" in sys.modules:
        from flows.night.signals import exit_promptly

        exit_promptly(code)
    sys.exit(code)


def run(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code; expected errors are printed without a traceback."""
    from flows.environment import prepare, require_neutral_folder

    prepare()
    protect()
    route_warnings_to_stderr()
    try:
        require_neutral_folder(Path.cwd())
        code = app(arguments, exit_on_error=False, print_error=False, result_action="return_value")
    except CycloptsError as error:
        print_error(str(error), _usage_remedy(arguments))
        return ExitCode.USAGE
    except OvernightError as error:
        print_error(error.message, error.remedy)
        return error.exit_code
    except KeyboardInterrupt:
        sys.stderr.write("overnight: interrupted\n")
        return ExitCode.INTERRUPTED
    except BrokenPipeError:
        sys.stderr.close()
        return ExitCode.DONE
    except OSError as error:
        print_error(f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}", "")
        return ExitCode.ENVIRONMENT
    return code if isinstance(code, int) else ExitCode.DONE


_RUN_SETTINGS_FLAGS = frozenset(
    {"--model", "--api-base", "--style", "--batch", "--confirm", "--seed", "--image", "--runtime", "--inputs", "--set"}
)
"""Flags whose values are fixed when a run is created."""


def _usage_remedy(arguments: Sequence[str]) -> str:
    """Return the advice to print below a usage error."""
    command = arguments[0] if arguments else ""
    if command in ("resume", "retry") and _RUN_SETTINGS_FLAGS & {argument.partition("=")[0] for argument in arguments}:
        return "A run keeps its models and settings; `overnight run` starts a new run with different ones."
    if command in _COMMANDS:
        return f"`overnight {command} --help` lists its arguments and flags."
    return "`overnight --help` lists the commands."


if __name__ == "__main__":
    main()
