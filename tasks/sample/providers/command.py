"""The provider of models named `command:NAME`: a command of the user's answers prompts, one process for each sample.

It runs on this machine with the user's rights, so a problem's files can never name one (`schemas/trust.py`).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import tempfile
from pathlib import Path
from typing import Any

from overnight.schemas.command_settings import CommandSettings
from overnight.schemas.errors import ProviderError, TerminalProviderError, TransientProviderError
from overnight.schemas.program import Prompt
from overnight.schemas.sampling_settings import Model, Sampling
from overnight.tasks.program.user_config import user_command
from overnight.tasks.sample.providers import Answer, Choice, Price, ReportedUsage, rough_tokens, to_valid_text

PREFIX = "command:"
_FILE = "{prompt_file}"
_MAX_BYTES = 4 * 2**20
"""Most bytes of an answer; a command that prints more is ended."""

_LOOK_S = 0.1
_SHOWN = 300
"""Most characters of a command's messages in an error."""


class CommandProvider:
    """`Provider` of commands."""

    def __init__(self) -> None:
        self._at_once: dict[tuple[str, int], asyncio.Semaphore] = {}

    def require(self, model: Model) -> None:
        _settings(model.name)

    def missing_keys(self, name: str) -> list[str]:  # noqa: ARG002
        return []

    def takes_n(self, name: str) -> bool:  # noqa: ARG002
        return False

    def price(self, name: str) -> Price | None:  # noqa: ARG002
        return None  # of a command, only what it reports itself is known

    def count_tokens(self, name: str, text: str) -> int:  # noqa: ARG002
        return rough_tokens(text)

    def timeout_s(self, model: Model, settings: Sampling) -> None:  # noqa: ARG002
        """Return no limit: a command waits for its turn first, and then has its own."""
        return

    async def send(self, model: Model, prompt: Prompt, settings: Sampling, *, samples: int, seed: int) -> Answer:  # noqa: ARG002
        command = _settings(model.name)
        turn = self._at_once.setdefault((model.name, command.at_once), asyncio.Semaphore(command.at_once))
        async with turn:
            with tempfile.TemporaryDirectory(prefix="overnight-command-") as folder:
                try:
                    async with asyncio.timeout(command.seconds):
                        printed = await _run(model.name, command, prompt.whole_text, Path(folder))
                except TimeoutError as error:
                    raise TransientProviderError(f"{model.name}: no answer in {command.seconds:g} s") from error
        return _answer(model.name, command, printed)

    async def close(self) -> None:
        pass


create = CommandProvider


def _settings(name: str) -> CommandSettings:
    return user_command(name.removeprefix(PREFIX))


async def _run(name: str, command: CommandSettings, prompt: str, folder: Path) -> bytes:
    """Run a command on a prompt, in an empty folder below one that is private, and return what it prints.

    Raises:
        TransientProviderError: If it fails, and may not fail again.
        TerminalProviderError: If it does not exist, or ends with an exit code that is final.
    """
    given, empty = folder / "prompt.md", folder / "empty"
    empty.mkdir()
    words = [*command.command, *command.arguments]
    takes_file = any(_FILE in word for word in words)
    try:
        if takes_file:
            given.write_text(prompt, encoding="utf-8", errors="replace")
            words = [word.replace(_FILE, str(given)) for word in words]
        process = await asyncio.create_subprocess_exec(
            *words,
            stdin=asyncio.subprocess.DEVNULL if takes_file else asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            cwd=empty,
            start_new_session=True,  # a group of its own, which is ended as a whole
            limit=_MAX_BYTES,
        )
        try:
            printed, said = await _talk(process, b"" if takes_file else prompt.encode("utf-8", "replace"))
        finally:
            _end(process)
            await process.wait()
    except OSError as error:
        raise TerminalProviderError(
            f"{name}: {words[0]!r} cannot be run: {error.strerror or error}",
            remedy="Install it, or name its path in your configuration file.",
        ) from error
    if len(printed) > _MAX_BYTES:
        raise TransientProviderError(f"{name}: printed more than {_MAX_BYTES // 2**20} MiB")
    if process.returncode:
        raise _failure(name, command, process.returncode, said)
    return printed


async def _talk(process: asyncio.subprocess.Process, prompt: bytes) -> tuple[bytes, bytes]:
    """Write the prompt, and return the standard output, cut at the limit, and the last part of the messages."""

    async def write() -> None:
        if process.stdin is not None:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it need not read all of it
                process.stdin.write(prompt)
                await process.stdin.drain()
            process.stdin.close()

    async def read() -> bytes:
        printed = await _read(process.stdout, _MAX_BYTES + 1)
        if len(printed) > _MAX_BYTES:
            _end(process)
        return printed

    async def end_what_is_left() -> None:
        while process.returncode is None:
            await asyncio.sleep(_LOOK_S)
        _end(process)  # what it left behind would keep its streams open

    messages = _read_last(process.stderr, 4 * _SHOWN)
    _, printed, said, _ = await asyncio.gather(write(), read(), messages, end_what_is_left())
    return printed, said


def _end(process: asyncio.subprocess.Process) -> None:
    """End a command with all that it has started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


async def _read(stream: asyncio.StreamReader | None, most: int) -> bytes:
    """Return what a stream holds, up to a number of bytes."""
    parts = bytearray()
    while stream and len(parts) < most and (part := await stream.read(min(2**16, most - len(parts)))):
        parts += part
    return bytes(parts)


async def _read_last(stream: asyncio.StreamReader | None, most: int) -> bytes:
    """Return the last bytes of a stream."""
    last = b""
    while stream and (part := await stream.read(2**16)):
        last = (last + part)[-most:]
    return last


def _failure(name: str, command: CommandSettings, code: int, said: bytes) -> ProviderError:
    """Return the error of a command that failed: final for some exit codes, else worth another try."""
    lines = to_valid_text(said.decode("utf-8", "replace")).strip().splitlines()
    how = f"was ended by signal {-code}" if code < 0 else f"failed with exit code {code}"
    message = f"{name}: {command.command[0]} {how}: {(lines or ['it printed no message'])[-1][:_SHOWN]}"
    if code in command.final_codes:
        return TerminalProviderError(message, remedy="Try the command by hand; your configuration file defines it.")
    return TransientProviderError(message)


def _answer(name: str, command: CommandSettings, printed: bytes) -> Answer:
    """Return the answer in what a command printed.

    Raises:
        TransientProviderError: If it is not in the form that its settings say, or reports an error.
    """
    text = to_valid_text(printed.decode("utf-8", "replace"))
    if command.output == "text":
        return Answer((Choice(text.strip("\n"), "stop"),), ReportedUsage(None, None, None))
    try:
        data = json.loads(text)
    except ValueError as error:
        raise TransientProviderError(f"{name}: printed no JSON, but {text[:_SHOWN]!r}") from error
    if command.error and (failed := _field(data, command.error)):
        said = _field(data, command.text) or failed
        raise TransientProviderError(f"{name}: reported an error: {str(said)[:_SHOWN]}")
    answer = _field(data, command.text)
    if not isinstance(answer, str):
        raise TransientProviderError(f"{name}: expected text in the field `{command.text}`, got {answer!r:.80}")
    cost = _field(data, command.cost_usd) if command.cost_usd else None
    usage = ReportedUsage(_sum(data, command.tokens_in), _sum(data, command.tokens_out), _as_float(cost))
    return Answer((Choice(to_valid_text(answer), "stop"),), usage)


def _field(data: Any, name: str) -> Any:
    """Return the field of nested JSON objects with a dotted name; None if there is none."""
    for part in name.split("."):
        data = data.get(part) if isinstance(data, dict) else None
    return data


def _sum(data: Any, names: tuple[str, ...]) -> int | None:
    """Return the sum of the fields that are numbers; None if none is."""
    found = [value for name in names if isinstance(value := _field(data, name), int)]
    return sum(found) if found else None


def _as_float(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) else None
