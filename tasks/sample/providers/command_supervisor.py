"""Run one command, and end with it all that it started: a process of its own, of the standard library only.

It stands between the night and the command because it adopts what loses its parent below it, which the night's own
process must not do: others start processes there. It reads its job from a socket that no other process has, a line of
JSON and the prompt, and writes lines of JSON, of the command's group and of its end, and the output. When the socket is
closed, the night is gone or wants no answer any more, and everything ends. When this process is killed, the night ends
the group.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import IO, Any

_PR_SET_CHILD_SUBREAPER = 36
_END_S = 5.0
"""Seconds in which what does not end, as it has other rights, is waited for."""


def main() -> None:
    """Do the job of the socket whose number is the first argument."""
    night = socket.socket(fileno=int(sys.argv[1]))
    stream = night.makefile("rb")
    job = json.loads(stream.readline())
    prompt = stream.read(job["prompt_bytes"])
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    try:
        command = subprocess.Popen(
            job["words"],
            stdin=subprocess.PIPE if job["takes_input"] else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
    except (OSError, ValueError) as error:  # such as a word with a null byte
        _answer(night, {"fault": getattr(error, "strerror", None) or str(error)}, b"")
        return
    with contextlib.suppress(OSError):  # the night may be gone
        night.sendall(json.dumps({"group": command.pid}).encode() + b"\n")
    threading.Thread(target=_watch, args=(stream, command.pid), daemon=True).start()
    printed, said = bytearray(), bytearray()
    threads = [
        threading.Thread(target=_write, args=(command.stdin, prompt), daemon=True),
        threading.Thread(target=_read, args=(command, job["most_bytes"], printed), daemon=True),
        threading.Thread(target=_read_last, args=(command.stderr, job["most_said"], said), daemon=True),
    ]
    for thread in threads:
        thread.start()
    code = _wait_for(command.pid)
    end_all(command.pid)  # what it left behind would keep its output open
    for thread in threads[1:]:
        thread.join(_END_S)
    _answer(night, {"code": code, "said": said.decode("utf-8", "replace")}, bytes(printed))


def _answer(night: socket.socket, what: dict[str, Any], printed: bytes) -> None:
    with contextlib.suppress(OSError):  # the night may be gone
        night.sendall(json.dumps({**what, "printed_bytes": len(printed)}).encode() + b"\n" + printed)


def _watch(stream: IO[bytes], command: int) -> None:
    """Wait for the end of the socket, which ends everything."""
    with contextlib.suppress(OSError):
        stream.read(1)
    end_all(command)
    os._exit(1)


def _write(stdin: IO[bytes] | None, prompt: bytes) -> None:
    if stdin is not None:
        with contextlib.suppress(OSError):  # it need not read all of it
            stdin.write(prompt)
            stdin.close()


def _read(command: subprocess.Popen[bytes], most: int, printed: bytearray) -> None:
    """Read the output up to a limit, at which the command is ended."""
    assert command.stdout is not None
    while part := os.read(command.stdout.fileno(), 2**16):
        printed += part[: most - len(printed)]
        if len(printed) >= most:
            end_all(command.pid)
            return


def _read_last(stream: IO[bytes] | None, most: int, said: bytearray) -> None:
    assert stream is not None
    while part := os.read(stream.fileno(), 2**16):
        said += part
        del said[:-most]


def _wait_for(wanted: int) -> int:
    """Wait for a process, and meanwhile for all that are adopted."""
    while True:
        pid, status = os.wait()
        if pid == wanted:
            return os.waitstatus_to_exitcode(status)


def end_all(command: int) -> None:
    """End all that runs below this process, and the command's group: elsewhere than on Linux nothing is adopted."""
    until = time.monotonic() + _END_S
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(command, signal.SIGKILL)
    while (found := _descendants()) and time.monotonic() < until:
        for pid in found:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)


def _descendants() -> set[int]:
    """Return all processes below this one that run."""
    children: dict[int, list[int]] = {}
    for pid, parent in _parents():
        children.setdefault(parent, []).append(pid)
    found, to_visit = set[int](), [os.getpid()]
    while to_visit:
        below = children.pop(to_visit.pop(), [])
        found.update(below)
        to_visit += below
    return found


def _parents() -> Iterator[tuple[int, int]]:
    """Yield each process that runs with its parent."""
    if sys.platform != "linux":
        lister = subprocess.Popen(("ps", "-A", "-o", "pid=,ppid=,stat="), stdout=subprocess.PIPE, text=True)
        for line in lister.communicate()[0].splitlines():
            pid, parent, state = line.split()[:3]
            if not state.startswith("Z") and int(pid) != lister.pid:
                yield int(pid), int(parent)
        return
    for name in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError), open(f"/proc/{name}/stat", encoding="utf-8", errors="replace") as file:
            state, parent = file.read().rpartition(")")[2].split()[:2]
            if state != "Z":
                yield int(name), int(parent)


if __name__ == "__main__":
    main()
