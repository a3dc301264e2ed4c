"""Backends are found by name: those that come with Overnight, and those of plug-ins."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from overnight.schemas.errors import SandboxUnavailable, UsageError
from overnight.schemas.settings import Sandbox, parse_settings
from overnight.tasks.evaluate.registry import backend_names, create_backend
from tests.plugins import install

ROOT = Path(__file__).parents[2]


def test_the_default_is_a_backend_that_comes_with_overnight():
    assert Sandbox().backend in backend_names()


def test_making_a_backend_connects_to_nothing_and_imports_no_engine(tmp_path: Path):
    code = (
        "from overnight.tasks.evaluate.registry import create_backend\nimport sys\n"
        "backend = create_backend('docker')\nassert 'docker' not in sys.modules\nbackend.close()"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, env={"DOCKER_HOST": f"unix://{tmp_path}/none"})


def test_a_plug_in_adds_a_backend_and_cannot_take_the_place_of_one_of_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    install(tmp_path, "sandboxes", "mine", "mine", "def create(*, runners):\n    return ['mine', runners]\n")
    install(tmp_path, "sandboxes", "docker", "not_docker", "def create(*, runners):\n    return 'theirs'\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert create_backend("mine", runners=3) == ["mine", 3]
    assert create_backend("docker") != "theirs"
    with pytest.raises(UsageError, match=r"expected one of docker, .*mine.*, got 'dokcer'") as refused:
        create_backend("dokcer")
    assert "CONTRIBUTING.md" in refused.value.remedy


@pytest.mark.parametrize("name", ["../docker", "docker.engine", "Docker", "", "a" * 65])
def test_a_name_that_no_backend_can_have_is_refused_as_a_setting(name: str):
    with pytest.raises(UsageError, match=r"sandbox\.backend"):
        parse_settings({"sandbox": {"backend": name}}, "test")


def test_a_closed_backend_starts_nothing():
    backend = create_backend("docker")
    backend.close()
    with pytest.raises(SandboxUnavailable, match="the sandbox was closed"):
        backend.describe()
