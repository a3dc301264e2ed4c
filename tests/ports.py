"""Free ports on loopback for servers of tests."""

from __future__ import annotations

from overnight.flows.prefect_server.process import listen


def free_port() -> int:
    """Return a port at which nothing listens now."""
    with listen(None) as probe:
        return probe.getsockname()[1]
