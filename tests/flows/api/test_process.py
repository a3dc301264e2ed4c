"""Arguments become the words of a command, its lines become events, and its errors are raised as what they are."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import overnight
from overnight.flows.api.evolve import SearchOptions
from overnight.flows.api.process import call, command
from overnight.flows.api.run import NightOptions
from overnight.flows.cli.main import app
from overnight.schemas.errors import SpecificationError, UsageError

TOLD = {"on_generation", "on_best", "progress"}
"""Options that are not flags."""


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, []),
        (False, []),
        (True, ["--flag"]),
        (3, ["--flag", "3"]),
        ("text", ["--flag", "text"]),
        (Path("a/b"), ["--flag", "a/b"]),
        (["a", "b"], ["--flag", "a", "--flag", "b"]),
        ({"a": 1, "b": [1, "x"], "c": "d"}, ["--flag", "a=1", "--flag", 'b=[1, "x"]', "--flag", "c=d"]),
        (datetime(2030, 1, 2, 3, 4, tzinfo=UTC), ["--flag", "2030-01-02T03:04:00+00:00"]),
        (timedelta(hours=1.5), ["--flag", "5400s"]),
    ],
)
def test_a_value_is_written_as_its_flag_is_read(value: Any, words: list[str]):
    assert command("run", "problem", flags={"flag": value}) == ["run", *words, "--", "problem"]


def _flags(name: str) -> set[str]:
    """Return the long flags of a command."""
    flags = {flag[2:] for argument in app[name].assemble_argument_collection() for flag in argument.names}
    return {flag for flag in flags if flag.islower() and not flag.startswith(("no-", "empty-", "-"))}


def test_the_options_are_the_flags_of_the_commands():
    spelled = {name.replace("_", "-") for name in NightOptions.__annotations__ if name not in TOLD}
    assert spelled <= _flags("resume"), "each is a flag"
    assert _flags("resume") - spelled == {"format", "history"}, "and each flag is one"
    assert spelled - _flags("retry") == {"pin"}, "prompts that are there already build on no other program"
    fixed = {name.replace("_", "-") for name in SearchOptions.__annotations__ if name not in TOLD}
    assert fixed - {"settings"} <= _flags("run")
    assert _flags("run") - fixed == {"set", "inputs", "format", "start"}


@pytest.mark.parametrize(
    ("arguments", "kind", "message", "remedy"),
    [
        ({"problem": "nothing-such"}, UsageError, "no problem 'nothing-such'", "overnight problems"),
        (
            {"problem": "cap-set", "inputs": [{1}]},
            SpecificationError,
            "not JSON serializable",
            "plain data",
        ),
        ({}, UsageError, "evolve takes a problem", "overnight.evolve("),
        ({"problem": "cap-set", "held_out": [1]}, UsageError, "evolve takes a problem", ""),
        ({"start": len}, UsageError, "both `start` and `score`", ""),
    ],
)
def test_wrong_arguments_raise_what_the_command_prints(
    tmp_path: Path, arguments: dict[str, Any], kind: type[overnight.errors.OvernightError], message: str, remedy: str
):
    problem = arguments.pop("problem", None)
    with pytest.raises(kind) as error:
        overnight.evolve(problem, history=tmp_path / "history", progress=False, **arguments)
    assert message in error.value.message
    assert remedy in error.value.remedy


def test_a_command_that_ends_without_an_error_of_its_own_says_its_last_messages(toy: Path, tmp_path: Path):
    unsteady = tmp_path / "unsteady.py"
    unsteady.write_text(toy.read_text().replace("return -abs(", "import time\n\n    return time.time_ns() - abs("))
    with pytest.raises(overnight.errors.OvernightError, match=r"ended with exit code 2: [\s\S]*warning"):
        call(command("check", str(unsteady), flags={"format": "json", "sandbox": "process", "without_pace": True}))


def test_what_is_no_event_on_the_standard_output_of_a_command_is_shown():
    with pytest.raises(overnight.errors.OvernightError, match="expected an event of the night as JSON, got 'Usage"):
        call(["run", "--help"])
