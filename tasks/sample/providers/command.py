"""The provider of models named `command:NAME`: a command of the user's answers prompts, one process for each sample.

It runs on this machine with the user's rights, so a problem's files can never name one (`schemas/trust.py`).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import socket
import sys
import tempfile
from pathlib import Path
from typing import Any

from overnight.schemas.command_settings import CommandSettings
from overnight.schemas.errors import ProviderError, TerminalProviderError, TransientProviderError
from overnight.schemas.program import Prompt
from overnight.schemas.sampling_settings import Model, Sampling
from overnight.tasks.program.user_config import user_command
from overnight.tasks.sample.providers import (
    Answer,
    Choice,
    Price,
    ReportedUsage,
    about_the_text,
    is_too_long,
    rough_tokens,
    to_valid_text,
)

PREFIX = "command:"
_FILE = "{prompt_file}"
_MAX_BYTES = 4 * 2**20
"""Most bytes of an answer; a command that prints more is ended."""

_MOST_USD = 1e9
_SUPERVISOR = Path(__file__).with_name("command_supervisor.py")
_WRONG_USE = re.compile(
    r"\b(unknown|unrecognized|unsupported|unexpected|no such) (option|argument|parameter|command|flag|model)",
    re.IGNORECASE,
)
"""Texts with which commands refuse their own arguments, which every try has."""

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
        TerminalProviderError: If it does not exist, or ends with an exit code that is final; PromptRefused if the
            prompt or the answer is at fault.
    """
    given, empty = folder / "prompt.md", folder / "empty"
    empty.mkdir()
    words, text = [*command.command, *command.arguments], prompt.encode("utf-8", "replace")
    takes_file = any(_FILE in word for word in words)
    if takes_file:
        given.write_bytes(text)
    ended, printed = await _supervise([word.replace(_FILE, str(given)) for word in words], text, empty, takes_file)
    if fault := ended.get("fault"):
        raise TerminalProviderError(
            f"{name}: {words[0]!r} cannot be run: {fault}",
            remedy="Install it, or name its path in your configuration file.",
        )
    if len(printed) > _MAX_BYTES:
        raise about_the_text(f"{name}: printed more than {_MAX_BYTES // 2**20} MiB")
    if code := ended["code"]:
        raise _failure(name, command, code, ended["said"])
    return printed


async def _supervise(words: list[str], prompt: bytes, folder: Path, takes_file: bool) -> tuple[dict[str, Any], bytes]:
    """Run words as a command that is ended with all that it started; return how it ended, and what it printed."""
    ours, theirs = socket.socketpair()
    with theirs:
        # Without pipes: whoever keeps one would be waited for.
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-S", str(_SUPERVISOR), str(theirs.fileno())),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            cwd=folder,
            pass_fds=[theirs.fileno()],
            start_new_session=True,
        )
    reader, writer = await asyncio.open_unix_connection(sock=ours)
    job = {"words": words, "takes_input": not takes_file, "prompt_bytes": len(prompt)}
    job |= {"most_bytes": _MAX_BYTES + 1, "most_said": 4 * _SHOWN}
    group = None
    try:
        writer.write(json.dumps(job).encode() + b"\n" + prompt)
        await writer.drain()
        ended = json.loads(await reader.readline())
        if group := ended.get("group"):
            ended = json.loads(await reader.readline())
        return ended, await reader.readexactly(ended["printed_bytes"])
    except (OSError, ValueError, asyncio.IncompleteReadError) as error:
        raise TransientProviderError(f"{words[0]} was ended together with the process that watches it") from error
    finally:
        writer.close()  # which ends the command, where it has not ended
        if await process.wait() < 0 and group:  # it was killed, and could end nothing
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(group, signal.SIGKILL)


def _failure(name: str, command: CommandSettings, code: int, said: str) -> ProviderError:
    """Return the error of a command that failed: final where each try would say the same, else worth another try."""
    lines = to_valid_text(said).strip().splitlines()
    how = f"was ended by signal {-code}" if code < 0 else f"failed with exit code {code}"
    message = f"{name}: {Path(command.command[0]).name} {how}: {(lines or ['it printed no message'])[-1][:_SHOWN]}"
    if is_too_long(said):
        return about_the_text(message)
    if code in command.final_codes or _WRONG_USE.search(message):
        return TerminalProviderError(message, remedy="Try the command by hand; your configuration file defines it.")
    return TransientProviderError(message)


def _answer(name: str, command: CommandSettings, printed: bytes) -> Answer:
    """Return the answer in what a command printed.

    Raises:
        PromptRefused: If it is not in the form that its settings say.
        TransientProviderError: If it reports an error.
    """
    text = to_valid_text(printed.decode("utf-8", "replace"))
    if command.output == "text":
        return Answer((Choice(text.strip("\n"), "stop"),), ReportedUsage(None, None, None))
    try:
        data = json.loads(text)
        answer, failed = _field(data, command.text), _field(data, command.error) if command.error else None
        said = f"{answer or failed!s:.{_SHOWN}}" if failed else f"{answer!r:.80}"
    except (ValueError, RecursionError) as error:  # also of numbers of thousands of digits
        raise about_the_text(f"{name}: printed no JSON, but {text[:_SHOWN]!r}") from error
    if failed:
        message = f"{name}: reported an error: {said}"
        raise about_the_text(message) if is_too_long(said) else TransientProviderError(message)
    if not isinstance(answer, str):
        raise about_the_text(f"{name}: expected text in the field `{command.text}`, got {said}")
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
    """Return a number, if it is one that a price can be."""
    return float(value) if isinstance(value, int | float) and abs(value) <= _MOST_USD else None
