"""Backends are found by name: those that come with Overnight, and those that other packages install."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from overnight.schemas.errors import EnvironmentFault, SandboxUnavailable, UsageError
from overnight.schemas.settings import Sandbox, parse_settings
from overnight.tasks.evaluate.registry import backend_names, create_backend

ROOT = Path(__file__).parents[2]


def install(folder: Path, name: str, module: str, text: str = "") -> None:
    """Install a package that adds a backend, as `pip install` leaves it."""
    package = folder / f"{name}-1.dist-info"
    package.mkdir()
    (package / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n")
    (package / "entry_points.txt").write_text(f"[overnight.sandbox_backends]\n{name} = {module}\n")
    (folder / f"{module}.py").write_text(text)


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def test_the_default_is_a_backend_that_comes_with_overnight():
    assert Sandbox().backend in backend_names()


def test_making_a_backend_connects_to_nothing_and_imports_no_engine(tmp_path: Path):
    code = (
        "from overnight.tasks.evaluate.registry import create_backend\nimport sys\n"
        "backend = create_backend('docker')\nassert 'docker' not in sys.modules\nbackend.close()"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, env={"DOCKER_HOST": f"unix://{tmp_path}/none"})


def test_a_package_of_the_user_s_own_adds_a_backend(installed: Path):
    install(installed, "mine", "my_backend", "def create(*, runners):\n    return ['my backend', runners]\n")
    assert "mine" in backend_names()
    assert create_backend("mine", runners=3) == ["my backend", 3]


def test_a_package_cannot_take_the_place_of_a_backend_that_comes_with_overnight(installed: Path):
    install(installed, "docker", "not_docker", "def create(*, runners):\n    return 'theirs'\n")
    assert create_backend("docker") != "theirs"


def test_an_unknown_backend_is_refused_with_the_names_of_all(installed: Path):
    install(installed, "mine", "my_backend")
    with pytest.raises(UsageError, match=r"expected one of docker, .*mine.*, got 'dokcer'") as refused:
        create_backend("dokcer")
    assert "CONTRIBUTING.md" in refused.value.remedy


def test_a_package_that_cannot_be_imported_is_an_error_with_a_remedy(installed: Path):
    install(installed, "broken", "broken_backend", "import no_such_module\n")
    with pytest.raises(EnvironmentFault, match=r"broken cannot be imported .*no_such_module") as refused:
        create_backend("broken")
    assert "sandbox.backend=docker" in refused.value.remedy


@pytest.mark.parametrize("name", ["../docker", "docker.engine", "Docker", "", "a" * 65])
def test_a_name_that_no_backend_can_have_is_refused_as_a_setting(name: str):
    with pytest.raises(UsageError, match=r"sandbox\.backend"):
        parse_settings({"sandbox": {"backend": name}}, "test")


def test_a_closed_backend_starts_nothing():
    backend = create_backend("docker")
    backend.close()
    with pytest.raises(SandboxUnavailable, match="the sandbox was closed"):
        backend.describe()
