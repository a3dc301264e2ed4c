"""A real S3 server on loopback: Ceph's gateway on a database file, which may be killed and started again."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import pytest
from pyarrow import fs

NAME = "radosgw"
KEY, SECRET = "overnight", "a-secret-of-the-tests"
_PATIENCE_S = 20


class ObjectStore:
    """The server.

    Args:
        folder: Of its database; a new one.

    Attributes:
        requests: What it was asked for, one line each, as it logs them.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        with socket.create_server(("127.0.0.1", 0)) as free:
            self._port = free.getsockname()[1]
        self._process: subprocess.Popen[bytes] | None = None
        self._configuration = [
            "--no-mon-config", "--conf", "/dev/null", "-n", "client.rgw", "--rgw-backend-store=dbstore",
            "--rgw-config-store=dbstore", f"--dbstore-db-dir={folder}", f"--rgw-data={folder}",
            f"--run-dir={folder}", f"--log-file={folder}/log", f"--admin-socket={folder}/admin",
            f"--rgw-frontends=beast endpoint=127.0.0.1:{self._port}",
        ]  # fmt: skip
        user = [
            "user",
            "create",
            "--uid=tests",
            "--display-name=tests",
            f"--access-key={KEY}",
            f"--secret-key={SECRET}",
        ]
        subprocess.run(["radosgw-admin", *self._configuration, *user], check=True, capture_output=True)

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

    @property
    def requests(self) -> list[str]:
        lines = (self._folder / "log").read_text(errors="replace").splitlines()
        return [line.split('"')[1].removesuffix(" HTTP/1.1") for line in lines if "HTTP/1.1" in line]

    def start(self) -> None:
        self._process = subprocess.Popen(
            [NAME, "-f", *self._configuration], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        until = time.monotonic() + _PATIENCE_S
        while not self._answers():
            assert self._process.poll() is None, (self._folder / "log").read_text(errors="replace")[-2000:]
            assert time.monotonic() < until, "the server does not answer"
            time.sleep(0.02)

    def stop(self) -> None:
        """As a power cut does."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
            self._process = None

    @contextmanager
    def down(self) -> Iterator[None]:
        """Inside, it does not answer."""
        self.stop()
        try:
            yield
        finally:
            self.start()

    def _answers(self) -> bool:
        with socket.socket() as attempt:
            return attempt.connect_ex(("127.0.0.1", self._port)) == 0


@contextmanager
def object_store(folder: Path) -> Iterator[ObjectStore]:
    """A running server."""
    if shutil.which(NAME) is None:
        pytest.skip(f"{NAME} is not there: make store")
    store = ObjectStore(folder)
    store.start()
    try:
        yield store
    finally:
        store.stop()
