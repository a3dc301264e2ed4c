"""Access to the Prefect servers of this installation: their password, and the port of `overnight schedule serve`.

Prefect calls the password an auth string. Each installation generates one, in a file that only its owner can read.
It is sent only to servers that Overnight starts. For a server that `PREFECT_API_URL` names, the user sets the password
in `PREFECT_API_AUTH_STRING`.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Sequence
from pathlib import Path

from overnight.flows.state_folder import require_own, state_folder
from overnight.schemas.errors import EnvironmentFault
from overnight.tasks.history.private_files import create_once

_USER = "overnight"
_LISTENING = "0A"
_TABLES = ("/proc/net/tcp", "/proc/net/tcp6")


def password_file() -> Path:
    """Return the path of the file that holds the password of this installation."""
    return state_folder() / "prefect-password"


def installation_password() -> str:
    """Return the password of this installation, in Prefect's form `user:password`; generate it at the first call.

    Raises:
        EnvironmentFault: If the file cannot be written, or belongs to another user.
    """
    file = password_file()
    if not file.exists():
        create_once(file, f"{_USER}:{secrets.token_urlsafe(32)}\n".encode())
    require_own(file)
    file.chmod(0o600)
    return file.read_text(encoding="ascii").strip()


def server_password() -> str:
    """Return the password for servers that Overnight starts: from Prefect's settings, else the installation's."""
    if not may_be_set("PREFECT_SERVER_API_AUTH_STRING", "PREFECT_API_AUTH_STRING"):
        return installation_password()
    from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_SERVER_API_AUTH_STRING

    return PREFECT_SERVER_API_AUTH_STRING.value() or PREFECT_API_AUTH_STRING.value() or installation_password()


def may_be_set(*names: str) -> bool:
    """Return whether the environment, or a file that Prefect reads, may set one of Prefect's settings.

    To read them takes Prefect's settings half a second.
    """
    home = Path(os.environ.get("PREFECT_HOME") or Path.home() / ".prefect")
    named = os.environ.get("PREFECT_PROFILES_PATH")
    files = [Path(named) if named else home / "profiles.toml", *map(Path, (".env", "prefect.toml", "pyproject.toml"))]
    return not {name.upper() for name in os.environ}.isdisjoint(names) or any(_mentions(file, names) for file in files)


def _mentions(file: Path, names: Sequence[str]) -> bool:
    """Return whether a file may set a value: by its name, or in a table `[api]`, in a project's file of Prefect's."""
    try:
        text = file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    if file.name == "pyproject.toml" and "prefect" not in text:  # many a project has an API of its own
        return False
    return "api" in text.lower() or any(name in text for name in names)


def remember_served_port(port: int) -> None:
    """Store the port of the server of `overnight schedule serve`, for the other commands."""
    file = _served_port_file()
    temporary = file.with_name(f"{file.name}.{os.getpid()}")
    temporary.write_text(f"{port}\n", encoding="ascii")
    temporary.replace(file)


def forget_served_port(port: int) -> None:
    """Remove the stored port, unless another `overnight schedule serve` has stored its own since."""
    if served_port() == port:
        _served_port_file().unlink(missing_ok=True)


def served_port() -> int | None:
    """Return the stored port of the server of `overnight schedule serve`; `None` if there is none."""
    with contextlib.suppress(FileNotFoundError, ValueError):
        return int(_served_port_file().read_text(encoding="ascii"))
    return None


def require_own_listener(port: int) -> None:
    """Raise an EnvironmentFault if a process of another user listens at a port on loopback: it would get the password.

    Without /proc (macOS) the owner is not known, and the port is accepted.
    """
    owners = _owners_of_listeners(port)
    if owners - {os.getuid()}:
        raise EnvironmentFault(
            f"expected your own Prefect server at port {port}, got one of user {min(owners - {os.getuid()})}",
            remedy="Start yours at another port: overnight schedule serve --port 4201",
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
