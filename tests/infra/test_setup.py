"""Set-up: valid scripts, consistent locks, errors with remedies, and engines that are found or started."""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import re
import signal
import socketserver
import subprocess
import sys
import threading
import tomllib
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from overnight.schemas.errors import SandboxUnavailable
from overnight.tasks.evaluate import engine as night_engine

ROOT = Path(__file__).resolve().parents[2]
INFRA = ROOT / "infra"
SCRIPTS = [*INFRA.glob("*.sh"), ROOT / ".ci/run"]
LOCKS = [*sorted(INFRA.glob("*.lock")), ROOT / "tasks/evaluate/numpy.lock"]
FILES = [*INFRA.glob("*.py"), *INFRA.glob("*.in"), ROOT / "Makefile", *SCRIPTS, *LOCKS]


@pytest.fixture
def infra(monkeypatch):
    """A function that imports a module of infra/, which is a folder of scripts and not a package."""
    monkeypatch.syspath_prepend(str(INFRA))
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    return importlib.import_module


def run(*command, **environment):
    done = subprocess.run(
        [str(word) for word in command], cwd=ROOT, capture_output=True, text=True, env={**os.environ, **environment}
    )
    return done.returncode, done.stdout + done.stderr


# Files


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_scripts_are_valid_and_stop_at_the_first_error(script):
    assert run("bash", "-n", script) == (0, "")
    assert "set -euo pipefail" in script.read_text()
    assert os.access(script, os.X_OK)


def targets():
    return re.findall(r"^\.PHONY: (.+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)[0].split()


def test_help_is_the_default_target_and_lists_every_target():
    code, output = run("make", "--no-print-directory")
    assert code == 0
    assert re.findall(r"^  make (\S+) ", output, re.MULTILINE) == targets()


@pytest.mark.parametrize("target", targets())
def test_every_target_can_be_made(target):
    code, output = run("make", "--no-print-directory", "--dry-run", target)
    assert code == 0, output


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_no_file_names_a_host_or_a_path_of_one_machine(path):
    pattern = r"https?://[\w<]|/root/|/home/\w|/Users/|--(extra-)?index-url[ =]|--find-links"
    assert not re.search(pattern, path.read_text())


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.name)
def test_every_pin_of_a_lock_is_exact_and_hashed(lock):
    pins = re.split(r"^(?=[a-z0-9])", lock.read_text(), flags=re.MULTILINE)[1:]
    assert pins
    for pin in pins:
        assert re.match(r"[\w.-]+(\[[\w,-]+\])?==\S+", pin), pin
        assert "--hash=sha256:" in pin


def test_the_lock_matches_pyproject():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    requirements = [
        *project["project"]["dependencies"],
        *project["dependency-groups"]["dev"],
        *project["build-system"]["requires"],
    ]
    locked = dict[str, list[str]]()
    for name, version in re.findall(r"^([\w.-]+)(?:\[.*?\])?==(\S+)", (INFRA / "requirements.lock").read_text(), re.M):
        locked.setdefault(name.lower(), []).append(version)
    for requirement in map(Requirement, requirements):
        versions = locked.get(requirement.name.lower())
        assert versions, f"{requirement.name} is not in the lock: make lock"
        assert all(requirement.specifier.contains(version) for version in versions), f"{requirement}: make lock"


def test_the_image_has_the_numpy_of_the_lock(infra):
    environment = infra("environment")
    assert environment.pins_of("numpy") == environment.NUMPY_LOCK.read_text(), "make lock"


def test_continuous_integration_runs_make_test():
    assert (ROOT / ".ci/run").read_text().strip().splitlines()[-1] == "exec make test"


def test_linters_accept_the_workflows_whose_commands_exist():
    workflows = sorted((ROOT / ".github/workflows").glob("*.yml"))
    assert [path.name for path in workflows] == ["ci.yml", "release.yml"]
    tools = Path(sys.executable).parent
    for linter in (["zizmor", "--offline"], ["check-jsonschema", "--builtin-schema", "vendor.github-workflows"]):
        code, output = run(tools / linter[0], *linter[1:], *workflows)
        assert code == 0, output
    commands = re.findall(r"run: (\S+) ?(\S*)$", "\n".join(path.read_text() for path in workflows), re.MULTILINE)
    assert {words for words in commands if words[0] in ("make", ".ci/run")} == {
        ("make", "check"),
        ("make", "dist"),
        (".ci/run", ""),
    }


# Errors


def test_set_up_without_a_new_enough_python_is_an_error_with_a_remedy(tmp_path):
    for tool in ("bash", "dirname"):
        (tmp_path / tool).symlink_to(f"/usr/bin/{tool}")
    old = tmp_path / "python3"
    old.write_text('#!/bin/sh\n[ "$1" = --version ] && echo Python 3.9.2 && exit 0\nexit 1\n')
    old.chmod(0o755)
    code, output = run(INFRA / "setup.sh", PATH=str(tmp_path), PYTHON="python3")
    assert code == 3
    assert "expected: Python 3.11" in output
    assert "got: Python 3.9.2" in output
    assert "next: " in output


def test_an_engine_in_docker_host_that_does_not_answer_is_not_replaced_by_another(tmp_path):
    code, output = run(sys.executable, INFRA / "engine.py", "start", DOCKER_HOST=f"unix://{tmp_path}/none.sock")
    assert code == 3
    assert f"expected: an engine at DOCKER_HOST=unix://{tmp_path}/none.sock" in output
    assert "unset DOCKER_HOST" in output


def test_if_nothing_may_be_installed_the_remedy_is_a_command(infra, monkeypatch):
    engine, steps = infra("engine"), infra("steps")
    monkeypatch.setattr(engine.shutil, "which", lambda name: None)
    monkeypatch.setattr(engine.debian, "root_prefix", lambda: None)
    with pytest.raises(steps.SetupError, match=r"may not install one here\n    next: .*make setup"):
        engine.ensure_dockerd(None)


@pytest.mark.parametrize(("platform", "remedy"), [("darwin", "colima start"), ("linux", "make setup")])
def test_the_remedy_depends_on_the_system(infra, monkeypatch, platform, remedy):
    engine = infra("engine")
    monkeypatch.setattr(engine.sys, "platform", platform)
    assert remedy in engine.manual_remedy()


def test_a_failed_step_shows_the_last_lines_of_its_output(infra, monkeypatch, tmp_path, capsys):
    steps = infra("steps")
    monkeypatch.setattr(steps, "STATE", tmp_path)
    with (
        pytest.raises(steps.SetupError, match=r"exit code 5(.|\n)*line 40\n    next: do this") as caught,
        steps.step("a") as a,
    ):
        a.run(["sh", "-c", "seq -f 'line %g' 40; exit 5"], remedy="do this")
    assert "line 20" not in str(caught.value)
    assert "line 1\n" in (tmp_path / "log/a.log").read_text()
    assert re.search(r"overnight: a … failed after \d", capsys.readouterr().err)


# Engines


class FakeEngine(BaseHTTPRequestHandler):
    """A server that answers like an engine, as far as set-up asks before it uses one."""

    def do_GET(self):
        body = json.dumps({"ApiVersion": "1.45", "Version": "99.0"}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def address_string(self):
        return "socket"

    def log_message(self, format, *args):  # noqa: A002 - the base class has that name
        pass


@pytest.fixture
def empty_home(infra, monkeypatch, tmp_path):
    """A machine without engines: no Docker context, no socket."""
    engine = infra("engine")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    monkeypatch.delenv("DOCKER_CONFIG", raising=False)
    for module in (engine, night_engine):
        monkeypatch.setattr(module, "DEFAULT_SOCKET", tmp_path / "d.sock")
    monkeypatch.setattr(night_engine, "PODMAN_SOCKET", tmp_path / "p.sock")
    monkeypatch.setattr(engine, "LOG", tmp_path / "dockerd.log")
    monkeypatch.setattr(engine, "PID", tmp_path / "dockerd.pid")
    monkeypatch.setattr(engine.debian, "root_prefix", list)
    return engine


@pytest.mark.parametrize(
    "socket", ["run/docker.sock", ".rd/docker.sock", "run/podman/podman.sock", "named by a context"]
)
def test_an_engine_that_answers_is_used_by_set_up_and_by_nights(empty_home, tmp_path, socket):
    assert empty_home.find() is None
    with pytest.raises(SandboxUnavailable, match="no Docker engine answers"):
        night_engine.connect(1)
    (tmp_path / socket).parent.mkdir(parents=True, exist_ok=True)
    if socket == "named by a context":
        name_in_context(tmp_path / ".docker", f"unix://{tmp_path / socket}")
    with socketserver.ThreadingUnixStreamServer(str(tmp_path / socket), FakeEngine) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        assert empty_home.find() == f"unix://{tmp_path / socket}"
        night_engine.connect(1).close()
        server.shutdown()


def name_in_context(folder, host):
    """Make an address that of the docker command's current context."""
    meta = folder / "contexts/meta" / hashlib.sha256(b"mine").hexdigest()
    meta.mkdir(parents=True)
    (meta / "meta.json").write_text(
        json.dumps({"Name": "mine", "Metadata": {}, "Endpoints": {"docker": {"Host": host}}})
    )
    (folder / "config.json").write_text(json.dumps({"currentContext": "mine"}))


def test_a_damaged_configuration_of_the_docker_command_is_ignored(empty_home, tmp_path):
    (tmp_path / ".docker").mkdir()
    (tmp_path / ".docker/config.json").write_text("{")
    assert empty_home.find() is None


def fake_dockerd(tmp_path, monkeypatch, *lines):
    program = tmp_path / "dockerd"
    program.write_text("\n".join(lines))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")


class Notes(list[str]):
    """A replacement for a step, which collects its notes."""

    note = list.append


def test_an_engine_that_does_not_start_is_tried_with_all_options_and_its_output_is_shown(
    empty_home, tmp_path, monkeypatch
):
    if Path("/run/systemd/system").is_dir():
        pytest.skip("systemd starts the engine here")
    fake_dockerd(tmp_path, monkeypatch, "#!/bin/sh", f'echo "$@" >>{tmp_path}/tried; echo no such device; exit 1')
    with pytest.raises(Exception, match=r"it ended; (.|\n)*no such device"):
        empty_home.start(Notes())
    assert (tmp_path / "tried").read_text().splitlines() == [
        " ".join(options) for options in empty_home.DOCKERD_OPTIONS
    ]


def test_an_engine_that_never_answers_is_stopped(empty_home, tmp_path, monkeypatch):
    fake_dockerd(tmp_path, monkeypatch, f"#!{sys.executable}", "import time", "time.sleep(100)")
    monkeypatch.setattr(empty_home, "START_TIMEOUT_S", 1)
    process = empty_home.launch([], [])
    with pytest.raises(Exception, match="does not"):
        empty_home.wait(process)
    assert process.wait(10) == -signal.SIGTERM


def test_only_the_engine_that_set_up_started_is_stopped(empty_home):
    other = subprocess.Popen(["sleep", "100"])
    empty_home.PID.write_text(str(other.pid))  # an id that another process has got
    assert not empty_home.end_started()
    assert other.poll() is None
    other.kill()
    other.wait()
