"""Access to Prefect servers of Overnight: only their owner, with the password, and no other web page."""

from __future__ import annotations

import contextlib
import http.server
import itertools
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
import websockets.sync.client
from prefect.blocks.system import Secret
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_HOME, temporary_settings
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocket, WebSocketDisconnect
from websockets.exceptions import ConnectionClosed, InvalidHandshake
from websockets.typing import Subprotocol

from overnight.flows.cli.main import run
from overnight.flows.prefect_server import access
from overnight.flows.prefect_server.embedded import EmbeddedServer, using_server
from overnight.flows.prefect_server.request_guard import LocalGuard
from overnight.flows.schedules.deployments import Schedules, cron_schedule
from overnight.flows.state_folder import state_folder
from overnight.schemas.errors import EnvironmentFault
from tests.accidents import wait_until
from tests.flows.cli.conftest import call
from tests.ports import free_port
from tests.prefect_database import MigratedDatabase

EVIL = "http://evil.example"


@pytest.fixture
def installation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The state folder of an installation whose user has set no password."""
    for name in ("PREFECT_SERVER_API_AUTH_STRING", "PREFECT_API_AUTH_STRING"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state/overnight"


@pytest.mark.parametrize(
    ("text", "may_be"), [('dependencies = ["fastapi"]', False), ('[tool.prefect.api]\nurl = "http://x/api"', True)]
)
def test_only_a_project_that_configures_prefect_has_prefects_settings_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, *, may_be: bool
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    (tmp_path / "pyproject.toml").write_text(text)
    assert access.may_be_set("PREFECT_API_URL") is may_be


class Requests(http.server.BaseHTTPRequestHandler):
    """Handler that answers every request with `200` and records the headers."""

    headers_seen: list[dict[str, str]]

    def _answer(self) -> None:
        self.headers_seen.append(dict(self.headers))
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    do_GET = do_POST = _answer  # noqa: N815  (the names that the library calls)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        return


@contextlib.contextmanager
def stranger() -> Iterator[tuple[str, list[dict[str, str]]]]:
    """Run a foreign server on loopback; yield its address and the headers that it receives."""
    seen: list[dict[str, str]] = []
    handler = type("Handler", (Requests,), {"headers_seen": seen})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as listening:
        threading.Thread(target=listening.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{listening.server_port}/api", seen
        listening.shutdown()


@pytest.fixture(scope="module")
def working_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A stranger's folder, whose modules leave a file behind if they are imported."""
    folder = tmp_path_factory.mktemp("stranger")
    for name in ("flows", "uvicorn", "json", "sitecustomize"):
        (folder / f"{name}.py").write_text("open('ran', 'w')\nraise SystemExit(1)\n")
    return folder


@pytest.fixture(scope="module")
def server(
    tmp_path_factory: pytest.TempPathFactory, migrated_database: MigratedDatabase, working_directory: Path
) -> Iterator[EmbeddedServer]:
    """A server with all services, as of `overnight schedule serve`, whose database was readable by all users before."""
    home = migrated_database.home(tmp_path_factory.mktemp("home"))
    home.chmod(0o755)
    (home / "prefect.db").chmod(0o644)
    with pytest.MonkeyPatch.context() as patch, temporary_settings({PREFECT_HOME: home}):
        patch.setenv("PREFECT_HOME", str(home))
        with contextlib.chdir(working_directory):
            started = EmbeddedServer(with_services=True)
        try:
            started.wait()
            yield started
        finally:
            started.stop()


def send(server: EmbeddedServer, method: str, path: str, *, password: bool = True, **more: Any) -> httpx.Response:
    user, _, secret = server.password.partition(":")
    auth = (user, secret) if password else None
    return httpx.request(method, f"http://127.0.0.1:{server.port}{path}", auth=auth, timeout=60, **more)


@pytest.mark.prefect
def test_it_imports_nothing_of_the_working_directory(server: EmbeddedServer, working_directory: Path):
    assert send(server, "GET", "/api/health").status_code == 200
    assert not (working_directory / "ran").exists()


@pytest.mark.prefect
def test_requests_without_the_password_are_refused(server: EmbeddedServer):
    for method, path in (("GET", "/api/admin/version"), ("POST", "/api/deployments/filter"), ("GET", "/api/docs")):
        assert send(server, method, path, password=False).status_code == 401, path
    assert send(server, "GET", "/api/admin/version").status_code == 200
    wrong = httpx.get(f"{server.url}/admin/version", auth=("overnight", "guessed"))
    assert wrong.status_code == 401


@pytest.mark.prefect
def test_another_host_is_refused_even_with_the_password(server: EmbeddedServer):
    for host in ("evil.example", f"evil.example:{server.port}", "127.0.0.1", f"127.0.0.1.evil.example:{server.port}"):
        assert send(server, "GET", "/api/admin/version", headers={"Host": host}).status_code == 403, host
        assert send(server, "GET", "/", headers={"Host": host}).status_code == 403, host
    for name in ("127.0.0.1", "localhost", "LocalHost", "[::1]"):
        host = f"{name}:{server.port}"
        assert send(server, "GET", "/api/admin/version", headers={"Host": host}).status_code == 200, host


def raw(port: int, request: str) -> str:
    """Send a raw request; return the first line of the answer, or an empty one if the connection is closed."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        connection.sendall(request.encode("latin-1"))
        return connection.makefile("rb").readline().decode("latin-1").strip()


@pytest.mark.prefect
@pytest.mark.parametrize(
    "request_lines",
    [
        "GET /api/health HTTP/1.0",
        "GET /api/health HTTP/1.1\r\nHost:",
        "GET /api/health HTTP/1.1\r\nHost: evil.example\r\nX-Forwarded-Host: 127.0.0.1:PORT",
        "GET /api/health HTTP/1.1\r\nHost: 127.0.0.1:PORT\r\nHost: evil.example",
        "GET /api/health HTTP/1.1\r\nHost: 127.0.0.1.:PORT",
        "GET /api/health HTTP/1.1\r\nHost: localhost.:PORT",
        "GET /api/health HTTP/1.1\r\nHost: evil@127.0.0.1:PORT",
        "GET /api/health HTTP/1.1\r\nHost: 127.0.0.1:PORT@evil.example",
        "GET /api/health HTTP/1.1\r\nHost: 127.0.0.1:PORT, evil.example",
        "GET /api/health HTTP/1.1\r\nHost: 127.0.0.1:0PORT",
        "GET /api/health HTTP/1.1\r\nHost: 2130706433:PORT",
        "GET /api/health HTTP/1.1\r\nHost: 127.1:PORT",
        "GET /api/health HTTP/1.1\r\nHost: 0.0.0.0:PORT",
        "GET /api/health HTTP/1.1\r\nHost: [::ffff:127.0.0.1]:PORT",
        "GET /api/health HTTP/1.1\r\nHost: 127.0.0.1:PORT\r\nOrigin: null",
        "GET /api/health HTTP/1.1\r\nHost: 127.0.0.1:PORT\r\nOrigin: file://",
        "GET /api/health HTTP/1.1\r\nHost: 127.0.0.1:PORT\r\nOrigin:",
        "GET /api/health HTTP/1.1\r\nHost: 127.0.0.1:PORT\r\nOrigin: https://127.0.0.1:PORT",
        "GET /api/health HTTP/1.1\r\nHost: 127.0.0.1:PORT\r\nOrigin: http://127.0.0.1",
        "GET /api/health HTTP/1.1\r\nHost: 127.0.0.1:PORT\r\nOrigin: http://127.0.0.1:PORT.evil.example",
        "GET /api/health HTTP/1.1\r\nHost: 127.0.0.1:PORT\r\nOrigin: http://127.0.0.1:PORT\r\nOrigin: http://evil.example",
        "GET http://127.0.0.1:PORT/api/health HTTP/1.1\r\nHost: evil.example",
    ],
)
def test_hosts_that_only_resemble_loopback_are_refused(server: EmbeddedServer, request_lines: str):
    request = request_lines.replace("PORT", str(server.port)) + "\r\nConnection: close\r\n\r\n"
    assert raw(server.port, request).split()[1:2] in (["403"], ["400"], [])


@pytest.mark.prefect
def test_no_page_may_show_the_server_s_pages_in_a_frame(server: EmbeddedServer):
    for path in ("/", "/api/health", "/dashboard"):
        headers = send(server, "GET", path).headers
        assert headers["x-frame-options"] == "DENY", path
        assert "frame-ancestors 'none'" in headers["content-security-policy"], path


@pytest.mark.prefect
def test_answers_never_contain_the_password(server: EmbeddedServer):
    secret = server.password.partition(":")[2]
    for path in ("/ui-settings", "/", "/api/health", "/api/ready", "/api/admin/settings", "/api/openapi.json"):
        assert secret not in send(server, "GET", path, password=False).text, path
    assert secret not in send(server, "GET", "/api/admin/settings").text


@pytest.mark.prefect
def test_deployments_of_other_programs_are_no_schedules(server: EmbeddedServer, tmp_path: Path):
    with using_server(server), get_client(sync_client=True) as client:
        flow = client.create_flow_from_name("night")
        every_hour = [{"schedule": {"interval": 3600}, "active": True}]
        deployment = {"flow_id": str(flow), "schedules": every_hour}
        ours = {"run_id": "toy", "history": "/nowhere", "start": {"problem": "toy", "seed": 1}, "rules": {}}
        client.request("POST", "/deployments/", json=deployment | {"name": "theirs"})
        client.request("POST", "/deployments/", json=deployment | {"name": "changed", "parameters": ours})
    environment = {"PREFECT_API_URL": server.url, "PREFECT_API_AUTH_STRING": server.password}
    listed = call(["schedule", "list"], tmp_path, **environment)
    assert "theirs" not in listed.stdout
    assert "changed" in listed.stdout, "a schedule of ours that was changed in Prefect's UI"
    removed = call(["schedule", "remove", "theirs"], tmp_path, **environment)
    assert (listed.returncode, removed.returncode) == (0, 2), listed.stderr + removed.stderr
    assert "Traceback" not in listed.stderr + removed.stderr
    with using_server(server), get_client(sync_client=True) as client:
        for deployment in client.read_deployments():
            client.delete_deployment(deployment.id)


def test_starting_a_server_is_retried_after_a_lack_of_memory(monkeypatch: pytest.MonkeyPatch):
    start, tries = subprocess.Popen, itertools.count(1)

    def fails_the_second_time(_: Any, **more: Any) -> subprocess.Popen[bytes]:
        if next(tries) == 2:
            raise BlockingIOError(11, "Resource temporarily unavailable")
        return start(["cat"], **more)  # it ends with its standard input, as a server does

    monkeypatch.setattr(subprocess, "Popen", fails_the_second_time)
    started = EmbeddedServer()
    try:
        first = started.pid
        started.keep_running(lambda _: None)
        os.kill(first, signal.SIGKILL)
        wait_until(lambda: started.pid != first)
    finally:
        started.stop()
    assert next(tries) == 4


def exchange(url: str, protocols: list[Subprotocol] | None, message: str) -> str | bytes:
    """Send a message to a web socket; return its answer."""
    with websockets.sync.client.connect(url, subprotocols=protocols, proxy=None) as connection:
        connection.send(message)
        return connection.recv(60)


@pytest.mark.prefect
@pytest.mark.parametrize("path", ["events/in", "events/out", "logs/out", "work_pools/overnight/workers/connect"])
@pytest.mark.parametrize("message", ['{"type": "auth", "token": "overnight:guessed"}', '{"type": "auth"}', "{}"])
def test_a_web_socket_without_the_password_is_refused(server: EmbeddedServer, path: str, message: str):
    for protocols in ([Subprotocol("prefect")], None):
        with pytest.raises((ConnectionClosed, InvalidHandshake)):
            exchange(f"ws://127.0.0.1:{server.port}/api/{path}", protocols, message)


@pytest.mark.prefect
def test_a_page_of_another_origin_is_refused(server: EmbeddedServer):
    preflight_headers = {
        "Origin": EVIL,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization",
    }
    preflight = send(server, "OPTIONS", "/api/deployments/filter", headers=preflight_headers, password=False)
    plain = send(server, "GET", "/api/health", headers={"Origin": EVIL})
    for answer in (preflight, plain):
        assert answer.status_code == 403
        assert not [name for name in answer.headers if name.startswith("access-control-")]
    own = send(server, "GET", "/api/health", headers={"Origin": f"http://localhost:{server.port}"})
    assert own.headers["access-control-allow-origin"] == f"http://localhost:{server.port}"


@pytest.mark.prefect
def test_another_origin_can_neither_start_a_night_nor_read_notification_addresses(server: EmbeddedServer):
    with using_server(server), get_client(sync_client=True) as client:
        parameters = {"run_id": "toy", "history": "/nowhere", "start": {"problem": "toy", "seed": 1}, "rules": {}}
        cast("Any", Secret)(value=["ntfy://secret-topic"]).save("overnight-toy")
        Schedules(client).add("toy", cron_schedule("0 22 * * *", "UTC"), parameters)
        (deployment,) = client.read_deployments()
        night = f"/api/deployments/{deployment.id}/create_flow_run"
        secret = "/api/block_types/slug/secret/block_documents/name/overnight-toy?include_secrets=true"
        # With and without the password, which a browser might add, and as a form, which needs no preflight request.
        for password in (True, False):
            for headers in ({"Origin": EVIL}, {"Origin": EVIL, "Content-Type": "text/plain"}, {"Origin": "null"}):
                assert send(server, "POST", night, headers=headers, content="{}", password=password).status_code == 403
                read = send(server, "GET", secret, headers=headers, password=password)
                assert (read.status_code, "secret-topic" in read.text) == (403, False)
        assert send(server, "GET", secret, password=False).status_code == 401
        assert "secret-topic" in send(server, "GET", secret).text
        flow_runs = client.read_flow_runs()
        assert [flow_run for flow_run in flow_runs if flow_run.state is not None and not flow_run.auto_scheduled] == []


def test_a_web_socket_of_another_origin_or_host_is_closed():
    async def accept(socket: WebSocket) -> None:
        await socket.accept()
        await socket.close()

    application = Starlette(
        routes=[Route("/", lambda _: PlainTextResponse("there")), WebSocketRoute("/events", accept)]
    )
    with TestClient(cast("Any", LocalGuard(cast("Any", application), 4200)), "http://127.0.0.1:4200") as client:
        assert client.get("/").text == "there"
        with client.websocket_connect("ws://127.0.0.1:4200/events"):
            pass
        for headers in ({"origin": EVIL}, {"host": "evil.example:4200"}):
            with (
                pytest.raises(WebSocketDisconnect) as refused,
                client.websocket_connect("ws://127.0.0.1:4200/events", headers=headers),
            ):
                pass
            assert refused.value.code == 1008


@pytest.mark.prefect
def test_only_the_owner_can_read_an_existing_database(server: EmbeddedServer):
    home = PREFECT_HOME.value()
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in home.iterdir() if path.is_file()}
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    assert {"prefect.db", "prefect.db-wal", "prefect.db-shm"} <= modes.keys()
    assert {name: oct(mode) for name, mode in modes.items() if mode & 0o077} == {}


def test_a_database_in_another_folder_is_restricted_but_not_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o755)
    for suffix in ("", "-wal"):
        (shared / f"mine.db{suffix}").touch(mode=0o644)
    script = "from overnight.flows.prefect_server.process import secure_database; secure_database()"
    named = f"sqlite+aiosqlite:///{shared}/mine.db"
    environment = {**os.environ, "PREFECT_HOME": str(tmp_path / "home"), "PREFECT_API_DATABASE_CONNECTION_URL": named}
    subprocess.run([sys.executable, "-c", script], env=environment, check=True)
    assert [oct(stat.S_IMODE(path.stat().st_mode)) for path in sorted(shared.iterdir())] == ["0o600", "0o600"]
    assert stat.S_IMODE(shared.stat().st_mode) == 0o755


def test_the_password_is_generated_once_and_only_its_owner_can_read_it(installation: Path):
    passwords = {access.installation_password() for _ in range(3)}
    assert len(passwords) == 1
    assert len(passwords.pop()) > 40
    file = installation / "prefect-password"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(installation.stat().st_mode) == 0o700
    file.chmod(0o644)
    installation.chmod(0o755)
    access.installation_password()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(installation.stat().st_mode) == 0o700
    assert [path.name for path in installation.iterdir()] == ["prefect-password"]


def test_a_password_file_that_is_a_link_is_refused(installation: Path, tmp_path: Path):
    (tmp_path / "theirs").write_text("overnight:known\n")
    state_folder()
    (installation / "prefect-password").symlink_to(tmp_path / "theirs")
    with pytest.raises(EnvironmentFault, match="no link"):
        access.installation_password()


@pytest.mark.prefect
def test_the_password_is_on_no_command_line(server: EmbeddedServer):
    secret = server.password.partition(":")[2].encode()
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            assert secret not in process.read_bytes()


def test_a_configured_server_never_gets_the_password_of_this_installation(installation: Path, tmp_path: Path):
    secret = access.installation_password()
    access.remember_served_port(free_port())
    with stranger() as (url, seen):
        for command in (["schedule", "list"], ["doctor"]):
            call(command, tmp_path / "history", PREFECT_API_URL=url, PREFECT_HOME=str(tmp_path / "home"))
        assert seen
        assert {headers.get("Authorization") for headers in seen} == {None}
        assert secret not in repr(seen)


def test_a_proxy_never_gets_the_password(installation: Path, tmp_path: Path):
    secret = access.installation_password()
    with stranger() as (proxy, seen_by_proxy), stranger() as (own, seen):
        access.remember_served_port(int(own.split(":")[2].split("/")[0]))
        proxies = dict.fromkeys(("HTTP_PROXY", "http_proxy", "ALL_PROXY"), proxy.removesuffix("/api"))
        none = dict.fromkeys(("NO_PROXY", "no_proxy", "PREFECT_API_URL"), "")
        call(["schedule", "list"], tmp_path / "history", PREFECT_HOME=str(tmp_path / "home"), **proxies, **none)
        assert {"Authorization"} <= {name for headers in seen for name in headers}, "the right server received it"
        assert seen_by_proxy == [], secret


@pytest.mark.skipif(os.getuid() != 0, reason="only root can be another user")
def test_a_port_of_another_user_gets_no_password(installation: Path):
    os.seteuid(65534)  # a socket belongs to the user who creates it
    try:
        listening = socket.create_server(("127.0.0.1", 0))
    finally:
        os.seteuid(0)
    with listening, pytest.raises(EnvironmentFault, match="one of user 65534"):
        access.require_own_listener(listening.getsockname()[1])
    with socket.create_server(("127.0.0.1", 0)) as own:
        access.require_own_listener(own.getsockname()[1])


@pytest.mark.prefect
def test_a_configured_server_with_another_password_is_reported(
    server: EmbeddedServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    environment = {"PREFECT_API_URL": server.url, "PREFECT_API_AUTH_STRING": "overnight:wrong"}
    listed = call(["schedule", "list"], tmp_path, **environment)
    assert listed.returncode == 3
    assert "401" in listed.stderr
    assert "PREFECT_API_AUTH_STRING" in listed.stderr
    assert "Traceback" not in listed.stderr
    assert "refuses access: 401" in call(["doctor"], tmp_path, **environment).stdout


def test_a_port_that_is_in_use_is_reported(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    with stranger() as (url, _):
        port = url.split(":")[2].split("/")[0]
        assert run(["schedule", "serve", "--port", port]) == 3
    assert f"expected port {port} to be free" in capsys.readouterr().err
