"""An S3 server on loopback: moto's, which keeps objects in memory and may be stopped and started again."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import quote

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from pyarrow import fs
from werkzeug.serving import BaseWSGIServer, make_server

KEY, SECRET = "overnight", "a-secret-of-the-tests"


class ObjectServer:
    """The server, running.

    Attributes:
        requests: What it was asked for, in order, like `PUT /bucket/key`.
    """

    def __init__(self) -> None:
        self.requests: list[str] = []
        # It never listens: it keeps the port for the server while that is down.
        self._reserved = _bound(0)
        self._port: int = self._reserved.getsockname()[1]
        self._application = DomainDispatcherApplication(create_backend_app)
        self._server = self._started()

    def url(self, bucket: str, prefix: str = "histories") -> str:
        return f"s3://{bucket}/{prefix}?endpoint_override={quote(f'127.0.0.1:{self._port}')}&scheme=http"

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    @property
    def files(self) -> fs.S3FileSystem:
        """What another client sees."""
        return fs.S3FileSystem(
            access_key=KEY,
            secret_key=SECRET,
            endpoint_override=f"127.0.0.1:{self._port}",
            scheme="http",
            allow_bucket_creation=True,
        )

    def stop(self) -> None:
        """From now on connections are refused."""
        self._server.shutdown()
        self._server.server_close()

    def close(self) -> None:
        """Stop it for good."""
        self.stop()
        self._reserved.close()

    @contextmanager
    def down(self) -> Iterator[None]:
        """Inside, it does not answer."""
        self.stop()
        try:
            yield
        finally:
            self._server = self._started()

    def _started(self) -> BaseWSGIServer:
        """A server at the same port as the last, with the objects of the last."""
        requests = self.requests

        class Handler(MotoRequestHandler):
            def log_request(self, code: object = "-", size: object = "-") -> None:
                requests.append(f"{self.command} {self.path}")

        with _bound(self._port) as listener:
            listener.listen(128)
            server = make_server(
                "127.0.0.1", self._port, self._application, threaded=True, request_handler=Handler, fd=listener.fileno()
            )
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return server


def _bound(port: int) -> socket.socket:
    """Return a socket at a port of loopback that other sockets of this process may share."""
    bound = socket.socket()
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    bound.bind(("127.0.0.1", port))
    return bound


@contextmanager
def object_store() -> Iterator[ObjectServer]:
    """A running server."""
    store = ObjectServer()
    try:
        yield store
    finally:
        store.close()
