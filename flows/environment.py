"""Environment variables that libraries read when they are imported: less output and overhead, and no telemetry."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from overnight.schemas.errors import UsageError

_DEFAULTS = {
    "LITELLM_MODE": "PRODUCTION",  # otherwise it reads a `.env` file from the parents of its own folder
    "DO_NOT_TRACK": "1",  # otherwise Prefect reports its first import on a terminal
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # the price list in LiteLLM's package instead of one from the network
    # By default 500 to a host; `sampling.concurrency` alone limits requests.
    "AIOHTTP_CONNECTOR_LIMIT": "10000",
    "AIOHTTP_CONNECTOR_LIMIT_PER_HOST": "10000",
    "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",  # the minimum, so that a killed night is soon marked as crashed
    "PREFECT_LOGGING_LEVEL": "WARNING",
    "PREFECT_SERVER_LOGGING_LEVEL": "ERROR",
    "PREFECT_LOGGING_INTERNAL_LEVEL": "CRITICAL",
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",  # the command line shows each error itself
}

_MAX_BYTES = 2**20
"""Size in bytes above which a file of the working directory is not read."""

SERVER_VARIABLES = {
    # With batches of one, the recorder of task runs keeps SQLite locked: the client loses two seconds a generation.
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE": "1000",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_READ_BATCH_SIZE": "1000",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_FLUSH_INTERVAL": "5",
    "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_BATCH_SIZE": "1000",
    "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_READ_BATCH_SIZE": "200",
    "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_FLUSH_INTERVAL": "10",
    # Nearly all of the database is events. Logs and artifacts of deleted flow runs are deleted, too.
    "PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED": "events,orphans",
    # In memory, the lease of a night that died with its server would never expire, and would block its schedule.
    "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
}
"""Defaults for servers that Overnight starts; the user's own environment takes precedence."""


def prepare() -> None:
    """Set the variables that are not set yet. Call this before Prefect or LiteLLM is imported."""
    for name, value in _DEFAULTS.items():
        os.environ.setdefault(name, value)
    _reach_loopback_directly()


def _reach_loopback_directly() -> None:
    """Exempt loopback addresses from any proxy of the environment.

    A proxy would receive the password of the Prefect server, and could not reach that server anyway.
    """
    proxies = {name: value for name, value in os.environ.items() if name.lower().endswith("_proxy") and value}
    given = [proxies.pop(name, "") for name in _NO_PROXY]
    if not proxies:
        return
    hosts = [host.strip() for value in given for host in value.split(",") if host.strip()]
    for name in _NO_PROXY:
        os.environ[name] = ",".join(dict.fromkeys([*hosts, *_LOOPBACK]))


_NO_PROXY = ("no_proxy", "NO_PROXY")
"""Both spellings of the variable, since programs read one or the other; hosts of the first come first."""

_LOOPBACK = ("127.0.0.1", "localhost")


def require_neutral_folder(folder: Path) -> None:
    """Refuse a working directory with a file that configures Prefect, which would read it.

    The folder may hold files of strangers. Such a file can name a server, or a logging configuration that runs
    commands.
    """
    checks: dict[str, Callable[[bytes], bool]] = {
        "prefect.toml": lambda content: bool(content.strip()),
        ".env": lambda content: b"prefect_" in content.lower(),
        "pyproject.toml": _has_prefect_table,
    }
    for name, configures_prefect in checks.items():
        content = _content(folder / name)
        if content is None or configures_prefect(content):
            raise UsageError(
                f"{folder / name} configures Prefect, which reads it from the working directory, whoever wrote it",
                remedy="Run the command from another folder, or remove these settings from the file. Set your own in "
                "the environment or in a profile: prefect config set NAME=VALUE",
            )


def _has_prefect_table(content: bytes) -> bool:
    if b"prefect" not in content and b"\\" not in content:  # a key may be written with escapes
        return False
    from overnight.tasks.program.bounded_parsing import parse_toml

    try:
        tool = parse_toml(content.decode("utf-8")).get("tool")
    except ValueError:
        return True
    return isinstance(tool, dict) and "prefect" in tool


def _content(file: Path) -> bytes | None:
    """Return the content of a file: empty if there is no file, `None` if it is too large or unreadable."""
    try:
        if not file.exists() or file.is_dir():
            return b""
        return file.read_bytes() if file.is_file() and file.stat().st_size <= _MAX_BYTES else None
    except OSError:
        return None
