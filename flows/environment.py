"""Settings of the libraries that must be there before they are imported: quiet, nothing calls home, little overhead."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Callable
from pathlib import Path

from schemas.errors import UsageError

_ALWAYS = {
    "DO_NOT_TRACK": "1",  # Prefect reports a first import on a terminal otherwise
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # the price list that LiteLLM brings, instead of one from the network
    "LITELLM_MODE": "PRODUCTION",  # else it reads a `.env` file, which may name another server for the user's keys
    "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",  # the shortest: a night that was killed is soon shown as crashed
    "PREFECT_LOGGING_LEVEL": "WARNING",
    "PREFECT_SERVER_LOGGING_LEVEL": "ERROR",
    "PREFECT_LOGGING_INTERNAL_LEVEL": "CRITICAL",
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",  # errors are told once, in words, by the command line
}

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


_DOTENV = re.compile(r"(?:^|[\r\n])\s*(?:export\s+)?'?PREFECT_", re.IGNORECASE)


def _has_tool_prefect(text: str) -> bool:
    try:
        tool = tomllib.loads(text).get("tool")
    except tomllib.TOMLDecodeError:
        return "prefect" in text
    return isinstance(tool, dict) and "prefect" in tool


_SETTINGS_OF_PREFECT: dict[str, Callable[[str], object]] = {
    ".env": _DOTENV.search,
    "prefect.toml": str.strip,
    "pyproject.toml": _has_tool_prefect,
}
"""Files of the working directory in which Prefect looks for settings, and what they hold if it finds some."""

_LARGEST = 2**20
"""Bytes of such a file that are looked through; a larger one counts as one with settings."""


def require_no_settings_of_prefect(folder: Path) -> None:
    """Require that no file of the working directory says which server Prefect talks to.

    Prefect reads its settings there, and the folder may be a stranger's: a task directory that somebody is in.

    Raises:
        UsageError: If one does.
    """
    for name, has_settings in _SETTINGS_OF_PREFECT.items():
        path = folder / name
        if not path.is_file():
            continue
        with path.open("rb") as file:
            text = file.read(_LARGEST + 1)
        if len(text) > _LARGEST or has_settings(text.decode("utf-8", "replace")):
            raise UsageError(
                f"{path} has settings of Prefect's, which would count here whoever wrote them",
                remedy="Start from another folder. Settings of your own go into the environment (PREFECT_API_URL=…) or "
                "into a profile: prefect config set PREFECT_API_URL=…",
            )
