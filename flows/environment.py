"""Settings of the libraries that must be there before they are imported: quiet, nothing calls home, little overhead."""

from __future__ import annotations

import os
from pathlib import Path

from schemas.errors import UsageError

_ALWAYS = {
    "LITELLM_MODE": "PRODUCTION",  # otherwise it reads a `.env` file above the folder in which it is installed
    "DO_NOT_TRACK": "1",  # Prefect reports a first import on a terminal otherwise
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # the price list that LiteLLM brings, instead of one from the network
    "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",  # the shortest: a night that was killed is soon shown as crashed
    "PREFECT_LOGGING_LEVEL": "WARNING",
    "PREFECT_SERVER_LOGGING_LEVEL": "ERROR",
    "PREFECT_LOGGING_INTERNAL_LEVEL": "CRITICAL",
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",  # errors are told once, in words, by the command line
}

_MOST_BYTES = 2**20
"""Limit on a file of the working directory that is looked through, in bytes."""

SERVER = {
    # With batches of one, the recorder of task runs locks SQLite against the client: two seconds a generation.
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE": "1000",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_READ_BATCH_SIZE": "1000",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_FLUSH_INTERVAL": "5",
    "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_BATCH_SIZE": "1000",
    "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_READ_BATCH_SIZE": "200",
    "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_FLUSH_INTERVAL": "10",
    # Events are nearly all of the database. Logs and artifacts of flow runs that are gone go, too.
    "PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED": "events,orphans",
    # Kept in memory, the lease of a night that died with its server would never run out, and its schedule stay blocked.
    "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
}
"""For servers that Overnight starts; what a user sets wins."""


def prepare() -> None:
    """Sets what is not set already. Call it before Prefect or LiteLLM is imported."""
    for name, value in _ALWAYS.items():
        os.environ.setdefault(name, value)
    _reach_loopback_directly()


def _reach_loopback_directly() -> None:
    """Let no proxy of the environment come between this machine and itself.

    It would get the password of the Prefect server, and could not reach that server anyway.
    """
    set_already = {name: value for name, value in os.environ.items() if name.lower().endswith("_proxy") and value}
    given = [set_already.pop(name, "") for name in _NO_PROXY]
    if not set_already:
        return
    hosts = [host.strip() for value in given for host in value.split(",") if host.strip()]
    for name in _NO_PROXY:
        os.environ[name] = ",".join(dict.fromkeys([*hosts, *_LOOPBACK]))


_NO_PROXY = ("no_proxy", "NO_PROXY")
"""Programs read one or the other; the first wins."""

_LOOPBACK = ("127.0.0.1", "localhost")


def require_neutral_folder(folder: Path) -> None:
    """Check that no file of the working directory configures Prefect, which would read it.

    Such a file can name a server, and a configuration of logging that runs commands; the folder may be a stranger's.

    Args:
        folder: The working directory.

    Raises:
        UsageError: If there is one.
    """
    for name, is_meant in (("prefect.toml", _is_not_empty), (".env", _sets_prefect), ("pyproject.toml", _has_table)):
        if is_meant(folder / name):
            raise UsageError(
                f"{folder / name} configures Prefect, which reads it from the working directory, whoever wrote it",
                remedy="Run the command from another folder, or take these settings out of the file; your own go into "
                "the environment or a profile: prefect config set NAME=VALUE",
            )


def _is_not_empty(file: Path) -> bool:
    content = _content(file)
    return content is None or bool(content.strip())


def _sets_prefect(file: Path) -> bool:
    content = _content(file)
    return content is None or b"prefect_" in content.lower()


def _has_table(file: Path) -> bool:
    content = _content(file)
    if content is None:
        return True
    if b"prefect" not in content and b"\\" not in content:  # a key may be written with escapes
        return False
    from schemas.bounded_parsing import parse_toml

    try:
        tool = parse_toml(content.decode("utf-8")).get("tool")
    except ValueError:
        return True
    return isinstance(tool, dict) and "prefect" in tool


def _content(file: Path) -> bytes | None:
    """Return the content of a file; empty where there is none, `None` where it is more than is looked through."""
    try:
        if not file.exists() or file.is_dir():
            return b""
        return file.read_bytes() if file.is_file() and file.stat().st_size <= _MOST_BYTES else None
    except OSError:
        return None
