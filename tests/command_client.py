"""Ask the server of commands to fork one. Imports little, so that a program `overnight` of the tests starts at once."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Mapping, Sequence


def fork(
    address: str, arguments: Sequence[str], environment: Mapping[str, str], streams: Sequence[int], **more: object
) -> tuple[socket.socket, int]:
    """Fork a command with these streams; return the connection, on which its exit code comes, and its process id."""
    server = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    server.connect(address)
    request = {"arguments": list(arguments), "environment": dict(environment), "cwd": os.getcwd(), **more}
    socket.send_fds(server, [json.dumps(request).encode()], list(streams))
    return server, int(server.recv(32))


def pass_on(address: str, arguments: Sequence[str]) -> int:
    """Run a command with the streams of this process; return its exit code."""
    server, _ = fork(address, arguments, os.environ, (0, 1, 2))
    return int(server.recv(32))
