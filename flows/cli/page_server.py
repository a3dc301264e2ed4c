"""Serve a page on 127.0.0.1 until Ctrl-C."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

from overnight.schemas.errors import EnvironmentFault

if TYPE_CHECKING:
    import socket

    from overnight.flows.prefect_server.request_guard import Application

Port = Annotated[
    int, Parameter(help="port of the page on 127.0.0.1; default: a free one", validator=Number(gte=0, lte=65_535))
]


def listening(port: int) -> socket.socket:
    """Return a socket that listens on a port of 127.0.0.1, or on a free one for 0.

    Raises:
        EnvironmentFault: If the port is taken.
    """
    import socket

    try:
        return socket.create_server(("127.0.0.1", port))
    except OSError as error:
        raise EnvironmentFault(
            f"cannot listen on port {port}: {error.strerror}", remedy="Omit --port to use a free port."
        ) from error


def serve_page(application: Application, listener: socket.socket) -> None:
    import uvicorn

    config = uvicorn.Config(application, log_level="warning", timeout_graceful_shutdown=1)
    uvicorn.Server(config).run(sockets=[listener])
