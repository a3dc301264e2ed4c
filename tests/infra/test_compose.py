"""The compose file: from nothing to a night that two machines evaluate, by the lines of the README."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import pty
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from overnight.flows.environment import SERVER_VARIABLES
from overnight.flows.prefect_server.pruning import environment_of_pruning
from overnight.tasks.history.database import Database
from tests.ports import free_port
from tests.test_readme import blocks

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "infra/compose"
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load((FOLDER / "compose.yaml").read_text())["services"]


def lines_to_type() -> list[str]:
    (block,) = (block for block in blocks(ROOT / "infra/README.md", "text") if "docker compose up" in block)
    return block.splitlines()


def test_the_server_has_the_settings_of_the_servers_that_overnight_starts():
    assert SERVICES["server"]["environment"].items() >= {**SERVER_VARIABLES, **environment_of_pruning()}.items()


def test_only_what_needs_an_engine_has_its_socket_and_only_nights_have_the_keys_and_the_history():
    volumes = {name: " ".join(service.get("volumes", [])) for name, service in SERVICES.items()}
    assert {name for name, text in volumes.items() if "docker.sock" in text} == {"machine", "nights"}
    assert {name for name, text in volumes.items() if "history:" in text} == {"nights"}
    assert {name for name, text in volumes.items() if re.search("certificates:/certificates(?!:ro)", text)} == {
        "certificates"
    }
    assert {name for name, service in SERVICES.items() if "env_file" in service} == {"nights"}
    assert not any(service.get("privileged") for service in SERVICES.values())


@pytest.fixture
def setup(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """The module that `make compose` runs, for a folder of the test's own."""
    monkeypatch.syspath_prepend(str(ROOT / "infra"))
    module = importlib.import_module("compose_setup")
    monkeypatch.setattr(module, "ROOT", tmp_path)
    return module


def test_passwords_are_made_once_and_what_a_user_added_is_kept(setup: Any, tmp_path: Path):
    file = tmp_path / ".env"
    socket = {"DOCKER_SOCKET": "/run/docker.sock", "DOCKER_GID": "1"}
    assert setup.write_settings(file, {"OVERNIGHT_BASE": "one"}, socket) == ".env written"
    assert file.stat().st_mode & 0o777 == 0o600
    first = setup.read_settings(file)
    assert len({first[name] for name in setup.PASSWORDS}) == 2
    file.write_text(f"# mine\nMACHINE_SLOTS=8\n{file.read_text()}")
    assert setup.write_settings(file, {"OVERNIGHT_BASE": "one"}, socket) == ".env is left as it is"
    setup.write_settings(file, {"OVERNIGHT_BASE": "two"}, {"DOCKER_GID": "2"})
    assert setup.read_settings(file) == {**first, "MACHINE_SLOTS": "8", "OVERNIGHT_BASE": "two"}
    assert "# mine" in file.read_text()


@pytest.mark.parametrize(("version", "is_enough"), [("2.24.0", True), ("v5.1.2", True), ("2.9.0", False), ("", False)])
def test_an_older_compose_is_refused_with_the_command_that_installs_one(
    setup: Any, version: str, is_enough: bool, monkeypatch: pytest.MonkeyPatch
):
    answer = subprocess.CompletedProcess([], 0 if version else 1, f"{version}\n")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: answer)
    with contextlib.nullcontext() if is_enough else pytest.raises(setup.SetupError, match="install docker-compose"):
        setup.require_compose()


@dataclass
class Installation:
    """A compose project of the test's own, apart from one that a user has on this machine.

    Attributes:
        name: Name of the project.
        port: Port of Prefect's server on this machine.
        folder: Folder of the terminal.
    """

    name: str
    port: int
    folder: Path = ROOT

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "COMPOSE_PROJECT_NAME": self.name, "PREFECT_PORT": str(self.port)}

    def type(self, line: str) -> str:
        """Run a line as typed in a terminal; return what it printed."""
        if line.startswith("cd "):
            self.folder = self.folder / line.removeprefix("cd ")
            return ""
        master, slave = pty.openpty()
        process = subprocess.Popen(
            ["bash", "-c", line], cwd=self.folder, env=self.environment, stdin=slave, stdout=slave, stderr=slave,
            start_new_session=True,
        )  # fmt: skip
        os.close(slave)
        said = b"".join(iter(lambda: _read(master), b"")).decode(errors="replace")
        os.close(master)
        assert process.wait() == 0, f"{line}\n{said}"
        return said

    def read(self, *command: str) -> str:
        """Return the output of a compose command."""
        done = subprocess.run(
            ["docker", "compose", *command],
            cwd=FOLDER,
            env=self.environment,
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout

    def left(self) -> str:
        """Containers, volumes and networks of the project."""
        label = f"label=com.docker.compose.project={self.name}"
        found = [_docker("container", "ls", "--all", "--quiet", "--filter", label)]
        found += [_docker(kind, "ls", "--quiet", "--filter", label) for kind in ("volume", "network")]
        return "".join(found)


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 65536)
    except OSError:  # the process has ended
        return b""


def _docker(*command: str) -> str:
    return subprocess.run(["docker", *command], capture_output=True, text=True, check=True).stdout


@pytest.fixture
def installation() -> Iterator[Installation]:
    if (
        shutil.which("docker") is None
        or subprocess.run(["docker", "compose", "version"], capture_output=True).returncode
    ):
        pytest.skip("Docker Compose is not installed: apt-get install docker-compose")
    had_settings = (FOLDER / ".env").exists()
    started = Installation(f"overnight-test-{os.getpid()}", free_port())
    try:
        yield started
    finally:
        if (FOLDER / ".env").exists():
            subprocess.run(
                ["docker", "compose", "down", "--volumes", "--timeout", "5"],
                cwd=FOLDER, env=started.environment, capture_output=True, check=False,
            )  # fmt: skip
        if not had_settings:
            (FOLDER / ".env").unlink(missing_ok=True)


def until(action: Callable[[], str], holds: Callable[[str], bool]) -> str:
    """Repeat a command until its output is right, as a user who is told that machines join within seconds."""
    said = ""
    for _ in range(20):
        if holds(said := action()):
            return said
    raise AssertionError(said)


@pytest.mark.slow
@pytest.mark.docker
@pytest.mark.timeout(1800)
def test_the_lines_of_the_readme_make_a_cluster_whose_machines_share_a_night(
    installation: Installation, tmp_path: Path
):
    *lines, down = lines_to_type()
    for line in lines:
        if "cluster show" in line:
            until(lambda line=line: installation.type(line), lambda said: len(re.findall(r"Docker \d", said)) == 2)
        else:
            installation.type(line)
    installation.read("cp", "nights:/history", str(tmp_path / "history"))
    run_id = require_complete_history(Database(tmp_path / "history"))
    query = "SELECT machine, candidates FROM machines WHERE machine IS NOT NULL"
    machines = json.loads(installation.read("exec", "-T", "nights", "overnight", "sql", "--format", "json", query))
    hosts = installation.read("ps", "machine", "--quiet").split()
    assert {row["machine"] for row in machines} == {host[:12] for host in hosts}
    assert all(row["candidates"] > 0 for row in machines)
    logs = installation.read("logs", "--no-color")
    assert "Traceback" not in logs, logs
    installation.type(down)
    assert installation.left() == ""
    assert _docker("container", "ls", "--all", "--quiet", "--filter", f"label=overnight.run={run_id}") == ""


def require_complete_history(history: Database) -> str:
    """Require one ended night with all its generations and programs; return the run's id."""
    (night,) = history.rows("SELECT run_id, stop_reason, generations FROM nights")
    assert (night["stop_reason"], night["generations"]) == ("generations", 3)
    generations = history.rows("SELECT generation, state FROM generations ORDER BY generation")
    assert [(row["generation"], row["state"]) for row in generations] == [(n, "committed") for n in range(4)]
    (counts,) = history.rows(
        "SELECT count(*) AS rows, count(DISTINCT program_id) AS programs,"
        " count(*) FILTER (outcome = 'sandbox_error') AS faults,"
        " count(DISTINCT machine) AS machines FROM programs"
    )
    assert counts["rows"] == counts["programs"] > 100
    assert (counts["faults"], counts["machines"]) == (0, 2)
    return str(night["run_id"])
