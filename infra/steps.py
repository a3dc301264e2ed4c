"""How set-up speaks: one line a step on stderr, details in a log file, and errors that name the way out."""

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
"""What set-up leaves behind beside `.venv`: its own uv, and the logs."""

ENVIRONMENT = 3
"""Exit code of everything that is at fault here, as `schemas.errors.ExitCode.ENVIRONMENT`."""


class StopError(Exception):
    """Set-up cannot go on: what was expected, what was got, and what to do."""

    def __init__(self, expected: str, got: str, remedy: str) -> None:
        super().__init__(f"expected: {expected}\n     got: {got}\n    next: {remedy}")


class Step:
    """One line of output: its title while the step runs, then how it ended and how long that took."""

    def __init__(self, title: str) -> None:
        self.outcome = "ready"
        self.log = STATE / "log" / f"{title.replace(' ', '-')}.log"
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self.log.write_text("")

    def note(self, text: str) -> None:
        """Write a line to the log only."""
        with self.log.open("a") as log:
            log.write(f"{text}\n")

    def run(self, command: Sequence[str | Path], *, remedy: str, env: Mapping[str, str] | None = None) -> None:
        """Run a command with its output in the log; stop with the end of that output if it fails."""
        words = [str(word) for word in command]
        self.note(f"$ {' '.join(words)}")
        with self.log.open("ab") as log:
            begun = log.tell()
            try:
                code = subprocess.run(
                    words, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env={**os.environ, **(env or {})}
                ).returncode
            except OSError as error:
                raise StopError(f"{words[0]} to run", str(error), remedy) from None
        if code:
            got = f"exit code {code}; {self.log} ends:\n{tail(self.log, begun)}"
            raise StopError(f"`{' '.join(words[:6])} …` to succeed", got, remedy)


@contextmanager
def step(title: str) -> Iterator[Step]:
    """Say that a step begins and how it ended."""
    started = time.monotonic()
    say(f"overnight: {title} … ", end="")
    this = Step(title)
    try:
        yield this
    except BaseException:
        say(f"failed after {time.monotonic() - started:.1f} s")
        raise
    say(f"{this.outcome} in {time.monotonic() - started:.1f} s")


def main(function: Callable[[], None]) -> None:
    """Run one set-up script: exit 3 with the message of a `StopError`, 130 when interrupted."""
    try:
        function()
    except StopError as stop:
        say(str(stop))
        sys.exit(ENVIRONMENT)
    except KeyboardInterrupt:
        sys.exit(130)


def say(text: str, end: str = "\n") -> None:
    sys.stderr.write(text + end)
    sys.stderr.flush()


def tail(path: Path, begun: int = 0, lines: int = 12) -> str:
    """The last lines of a file from a byte on, indented for an error message."""
    with path.open("rb") as file:
        file.seek(begun)
        said = file.read().decode(errors="replace").splitlines()
    return "\n".join(f"          {line}" for line in said[-lines:])
