"""Run an agent, and pass its requests on to the host: the first process of an agent's container.

It has the only way out of the container, its standard input and output. It serves the agent on loopback: what is sent
there goes to the host as a frame of JSON, and the host's answer comes back. Frames from the host are the job, answers
by the number of their request, and `stop`. The last frame to the host has the agent's files.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import stat
import subprocess
import threading
from collections import deque
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from runner.frames import frame, read_frame  # pyright: ignore[reportMissingImports]  (loaded from the host's frames)

PORT = 8099
_USER = 1000
_HOME = "/tmp/work"
_TOOLS = "/tmp/tools"
_MAX_REQUEST = 16 * 2**20
_MAX_FILE = 2**20
_MAX_LEFT, _MAX_LEFT_FILES = 256 * 1024, 40
_NOT_LEFT = ("__pycache__", "node_modules", "earlier")
_OUTPUT = 20_000
"""Most bytes of the agent's output that are kept, the last ones."""


class Host:
    """The way to the host: requests are numbered, and wait for their answers."""

    def __init__(self) -> None:
        self._writing = threading.Lock()
        self._waiting: dict[int, tuple[threading.Event, dict[str, Any]]] = {}
        self._number = 0

    def send(self, message: dict[str, Any]) -> None:
        data = frame(json.dumps(message).encode())
        with self._writing:
            view = memoryview(data)
            while view:
                view = view[os.write(1, view) :]

    def ask(self, path: str, body: str) -> dict[str, Any]:
        arrived, answer = threading.Event(), {}
        with self._writing:
            self._number += 1
            number = self._number
            self._waiting[number] = arrived, answer
        self.send({"request": number, "path": path, "body": body})
        arrived.wait()
        return answer

    def read(self, stop: Callable[[], None]) -> None:
        """Take frames from the host until it is gone, which ends everything."""
        with contextlib.suppress(EOFError, OSError, ValueError):
            while True:
                message = json.loads(read_frame(0))
                if message.get("stop"):
                    stop()
                elif waiting := self._waiting.pop(message["answer"], None):
                    waiting[1].update(message)
                    waiting[0].set()
        os._exit(1)


def _handler(host: Host) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._pass_on("")

        def do_POST(self) -> None:
            length = self.headers.get("Content-Length", "")
            if not length.isdigit() or int(length) > _MAX_REQUEST:
                self._answer(413, "application/json", '{"error": {"message": "expected at most 16 MiB with a length"}}')
                return
            self._pass_on(self.rfile.read(int(length)).decode("utf-8", "replace"))

        def _pass_on(self, body: str) -> None:
            answer = host.ask(self.path.partition("?")[0], body)
            self._answer(answer["status"], answer["type"], answer["body"])

        def _answer(self, status: int, kind: str, text: str) -> None:
            data = text.encode()
            with contextlib.suppress(OSError):  # the agent need not wait for it
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            pass

    return Handler


def as_agent(work: Callable[[], bytes]) -> bytes:
    """Do something in a process with the agent's rights, and return what it returns; empty if it fails."""
    readable, writable = os.pipe()
    child = os.fork()
    if child == 0:
        with contextlib.suppress(BaseException):
            os.close(readable)
            os.setgroups([])
            os.setgid(_USER)
            os.setuid(_USER)
            with open(writable, "wb") as out:
                out.write(work())
        os._exit(0)
    os.close(writable)
    with open(readable, "rb") as read:
        data = read.read()
    os.waitpid(child, 0)
    return data


def write_files(files: dict[str, str], executable: dict[str, str]) -> bytes:
    """Write the agent's files, and its tools."""
    for path, text in [*files.items(), *executable.items()]:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8", errors="surrogatepass") as file:
            file.write(text)
        if path in executable:
            os.chmod(path, 0o755)
    return b""


def read_files(paths: list[str]) -> bytes:
    """Return the texts of files by path, as JSON; a reason as a list where one cannot be read."""
    return json.dumps({path: _read(path) for path in paths}).encode()


def read_left(given: list[str]) -> bytes:
    """Return other texts below the agent's home by path, as JSON, but for hidden, given and large ones."""
    texts, room = {}, _MAX_LEFT
    for folder, names, files in os.walk(_HOME):
        names[:] = sorted(name for name in names if name[0] != "." and name not in _NOT_LEFT)
        for name in sorted(files):
            path = os.path.join(folder, name)
            if name[0] == "." or path in given or len(texts) >= _MAX_LEFT_FILES or os.lstat(path).st_size > room:
                continue
            text = _read(path)
            if isinstance(text, str) and "\0" not in text and "\ufffd" not in text and len(text) <= room:
                texts[os.path.relpath(path, _HOME)] = text
                room -= len(text)
    return json.dumps(texts).encode()


def _read(path: str) -> str | list[str]:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        return [error.strerror or str(error)]
    with open(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return ["it is no file"]
        data = file.read(_MAX_FILE + 1)
    if len(data) > _MAX_FILE:
        return [f"it has more than {_MAX_FILE} bytes"]
    return data.decode("utf-8", "replace")


def end_all() -> None:
    """End all other processes of the container, which are the agent's; it needs no process of its own for that."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(-1, signal.SIGKILL)


def main() -> None:
    """Run one agent."""
    job = json.loads(read_frame(0))
    host = Host()
    texts = {f"{_HOME}/{path}": text for path, text in job["files"].items()}
    as_agent(lambda: write_files(texts, {f"{_TOOLS}/{name}": text for name, text in job["tools"].items()}))
    server = ThreadingHTTPServer(("127.0.0.1", PORT), _handler(host))
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    threading.Thread(target=host.read, args=(end_all,), daemon=True).start()
    output: deque[bytes] = deque(maxlen=_OUTPUT // 100)
    code = _run(job, output)
    files = json.loads(as_agent(lambda: read_files([f"{_HOME}/{path}" for path in job["answer"]])) or b"{}")
    left = json.loads(as_agent(lambda: read_left([*texts, *(f"{_HOME}/{path}" for path in job["answer"])])) or b"{}")
    host.send(
        {
            "ended": code,
            "output": b"".join(output)[-_OUTPUT:].decode("utf-8", "replace"),
            "files": {path.removeprefix(f"{_HOME}/"): text for path, text in files.items()},
            "left": left,
        }
    )


def _run(job: dict[str, Any], output: deque[bytes]) -> int | str:
    """Run the agent's command; return its exit code, or why it cannot be run."""
    url = f"http://127.0.0.1:{PORT}"
    words = [word.replace("{task_file}", f"{_HOME}/TASK.md").replace("{url}", f"{url}/v1") for word in job["command"]]
    environment = {
        **os.environ,
        "HOME": _HOME,
        "PATH": f"{_TOOLS}:/usr/local/bin:/usr/bin:/bin",
        "PYTHONPATH": job["packages"],
        "OVERNIGHT_URL": url,
        "OPENAI_BASE_URL": f"{url}/v1",
        "OPENAI_API_BASE": f"{url}/v1",
        "OPENAI_API_KEY": "none-is-needed",
        **job["environment"],
    }
    try:
        process = subprocess.Popen(
            [word.replace("{task}", job["task"]) for word in words],
            cwd=_HOME,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            user=_USER,
            group=_USER,
            extra_groups=[],
            start_new_session=True,
        )
    except OSError as error:
        return f"{words[0]} cannot be run: {error.strerror}"

    def read() -> None:
        assert process.stdout is not None
        while part := os.read(process.stdout.fileno(), 100):
            output.append(part)

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    code = _wait_for(process.pid)
    end_all()  # what it left behind would keep its output open, and go on writing
    with contextlib.suppress(ChildProcessError):
        while True:
            os.wait()
    reader.join(timeout=5)
    return code


def _wait_for(wanted: int) -> int:
    """Wait for a process, and meanwhile for all that have lost their parents: else they would count as running."""
    while True:
        pid, status = os.wait()
        if pid == wanted:
            return os.waitstatus_to_exitcode(status)
