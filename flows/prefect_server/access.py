"""Access to the Prefect servers of this installation: their password, and where `overnight serve` has its server.

Prefect calls the password an auth string. One is made for each installation, in a file that only its owner can read.
It is sent to servers that Overnight starts, and never to one that `PREFECT_API_URL` names: that one's password is the
user's to give, in `PREFECT_API_AUTH_STRING`.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path

from flows.state_folder import require_own, state_folder
from schemas.errors import EnvironmentFault

_USER = "overnight"
_LISTENING = "0A"
_TABLES = ("/proc/net/tcp", "/proc/net/tcp6")


def password_file() -> Path:
    """Return the path of the file that holds the password of this installation."""
    return state_folder() / "prefect-password"


def installation_password() -> str:
    """Return the password of this installation, `user:password` as Prefect wants it; make one at the first call.

    Raises:
        EnvironmentFault: If the file cannot be made, or belongs to another user.
    """
    file = password_file()
    if not file.exists():
        _create_once(file, f"{_USER}:{secrets.token_urlsafe(32)}\n")
    require_own(file)
    file.chmod(0o600)
    return file.read_text(encoding="ascii").strip()


def server_password() -> str:
    """Return the password for servers that Overnight starts: the user's own from Prefect's settings, else ours."""
    from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_SERVER_API_AUTH_STRING

    return PREFECT_SERVER_API_AUTH_STRING.value() or PREFECT_API_AUTH_STRING.value() or installation_password()


def remember_served_port(port: int) -> None:
    """Write down where `overnight serve` has its server, for the other commands."""
    file = _served_port_file()
    writing = file.with_name(f"{file.name}.{os.getpid()}")
    writing.write_text(f"{port}\n", encoding="ascii")
    writing.replace(file)


def forget_served_port(port: int) -> None:
    """Remove what `remember_served_port` wrote, unless another `overnight serve` has written since."""
    if served_port() == port:
        _served_port_file().unlink(missing_ok=True)


def served_port() -> int | None:
    """Return the port of the server of `overnight serve`; `None` if none was written down."""
    with contextlib.suppress(FileNotFoundError, ValueError):
        return int(_served_port_file().read_text(encoding="ascii"))
    return None


def require_own_listener(port: int) -> None:
    """Refuse a port on loopback where a process of another user listens: it must not get the password.

    Without /proc (macOS) the owner is not known, and the port is accepted.

    Raises:
        EnvironmentFault: If the port is another user's.
    """
    owners = _owners_of_listeners(port)
    if owners - {os.getuid()}:
        raise EnvironmentFault(
            f"expected your own Prefect server at port {port}, got one of user {min(owners - {os.getuid()})}",
            remedy="Start yours at another port: overnight serve --port 4201",
        )


def _served_port_file() -> Path:
    return state_folder() / "served-port"


def _owners_of_listeners(port: int) -> set[int]:
    owners: set[int] = set()
    for table in map(Path, _TABLES):
        if not table.exists():
            continue
        for line in table.read_text(encoding="ascii").splitlines()[1:]:
            fields = line.split()
            if fields[3] == _LISTENING and int(fields[1].rpartition(":")[2], 16) == port:
                owners.add(int(fields[7]))
    return owners


def _create_once(file: Path, text: str) -> None:
    """Write a file that is complete from the moment it exists; keep the one that another process made first."""
    writing = file.with_name(f"{file.name}.{secrets.token_hex(8)}")
    with os.fdopen(os.open(writing, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as handle:
        handle.write(text)
        handle.flush()
        os.fsync(handle.fileno())
    try:
        with contextlib.suppress(FileExistsError):
            os.link(writing, file)
    finally:
        writing.unlink()
