"""Print the progress of set-up: one line for each step on stderr, details in a log file, and errors with remedies."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

ROOT = Path(__file__).resolve().parent.parent
STATE = ROOT / ".setup"
"""Folder that set-up writes beside `.venv`: its own uv, and the logs."""

ENVIRONMENT_FAULT = 3
"""Exit code of a fault of the machine or the network, as `overnight.schemas.errors.ExitCode.ENVIRONMENT`."""


class SetupError(Exception):
    """Set-up cannot continue.

    Args:
        expected: Expected state.
        got: Actual state.
        remedy: Next step for the user.
    """

    def __init__(self, expected: str, got: str, remedy: str) -> None:
        super().__init__(f"expected: {expected}\n     got: {got}\n    next: {remedy}")


class Step:
    """A step of set-up, with its outcome and its log file."""

    def __init__(self, title: str) -> None:
        self.outcome = "ready"
        self.log = STATE / "log" / f"{title.replace(' ', '-')}.log"
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self.log.write_text("")

    def tell(self, text: str) -> None:
        """Print what is done now, on the line of the step, before something that takes long."""
        write(f"{text} … ", end="")

    def note(self, text: str) -> None:
        """Write a line to the log."""
        with self.log.open("a") as log:
            log.write(f"{text}\n")

    def run(self, command: Sequence[str | Path], *, remedy: str, env: Mapping[str, str] | None = None) -> None:
        """Run a command and write its output to the log.

        Raises:
            SetupError: If the command fails; the message has the last lines of its output.
        """
        words = [str(word) for word in command]
        self.note(f"$ {' '.join(words)}")
        with self.log.open("ab") as log:
            start = log.tell()
            try:
                code = subprocess.run(
                    words, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env={**os.environ, **(env or {})}
                ).returncode
            except OSError as error:
                raise SetupError(f"{words[0]} to run", str(error), remedy) from None
        if code:
            got = f"exit code {code}; {self.log} ends:\n{tail(self.log, start)}"
            raise SetupError(f"`{' '.join(words[:6])} …` to succeed", got, remedy)


@contextmanager
def step(title: str) -> Iterator[Step]:
    """Print one line for a step: its title when it begins, then its outcome and its duration."""
    started = time.monotonic()
    write(f"overnight: {title} … ", end="")
    this = Step(title)
    try:
        yield this
    except BaseException:
        write(f"failed after {time.monotonic() - started:.1f} s")
        raise
    write(f"{this.outcome} in {time.monotonic() - started:.1f} s")


def main(function: Callable[[], None]) -> None:
    """Run a set-up script; exit with code 3 and the message of a `SetupError`, or with 130 when interrupted."""
    try:
        function()
    except SetupError as error:
        write(str(error))
        sys.exit(ENVIRONMENT_FAULT)
    except KeyboardInterrupt:
        sys.exit(130)


def write(text: str, end: str = "\n") -> None:
    """Write a line to stderr."""
    sys.stderr.write(text + end)
    sys.stderr.flush()


def tail(path: Path, start: int = 0, lines: int = 12) -> str:
    """Return the last lines of a file, indented for an error message.

    Args:
        path: Path of the file.
        start: Offset from which the file is read, bytes.
        lines: Maximum number of lines.
    """
    with path.open("rb") as file:
        file.seek(start)
        content = file.read().decode(errors="replace").splitlines()
    return "\n".join(f"          {line}" for line in content[-lines:])
