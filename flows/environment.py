"""Settings of the libraries that must be there before they are imported: quiet, nothing calls home, little overhead."""

from __future__ import annotations

import os

_ALWAYS = {
    "DO_NOT_TRACK": "1",  # Prefect reports a first import on a terminal otherwise
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # the price list that LiteLLM brings, instead of one from the network
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
