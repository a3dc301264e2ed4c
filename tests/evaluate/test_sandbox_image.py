"""The sandbox image: what it is built from, in which order, and what is said where that fails."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable
from typing import Any

import docker
import pytest

from overnight.schemas.errors import EnvironmentFault, SandboxUnavailable
from overnight.tasks.evaluate import debian_image, sandbox_image
from overnight.tasks.evaluate.backends.docker import DockerBackend


class _Engine:
    """An engine with a few images, whose registry does not answer, and which remembers the changes."""

    def __init__(self, *images: str, is_down: bool = False) -> None:
        self.images, self.is_down = list(images), is_down
        self.events: list[str] = []

    def __call__(self, **_: Any) -> _Engine:
        return self

    def has_image(self, image: str) -> bool:
        if self.is_down:
            raise SandboxUnavailable("no Docker engine answers", remedy="Start it.")
        return image in self.images

    def pull(self, image: str) -> str:
        return f"no route to the registry of {image}"

    def import_files(self, archive: object, name: str, changes: list[str]) -> None:
        self.events.append(f"import {name}")

    def run_python(self, image: str, code: str) -> tuple[str, str]:
        return '{"python": "3.13.5", "numpy": "2.4.6"}', ""

    def tag(self, image: str, name: str) -> None:
        self.events.append(f"tag {image} {name}")

    def close(self) -> None:
        pass


Use = Callable[[_Engine], _Engine]


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Use:
    """A function that puts an engine in place of Docker's; Debian packages are written without mmdebstrap."""
    for name in ("FROM", "BASE"):
        monkeypatch.delenv(f"OVERNIGHT_SANDBOX_{name}", raising=False)
    monkeypatch.setattr(debian_image, "write_files", lambda *_: None)
    monkeypatch.setattr(debian_image, "is_debian", lambda: True)
    monkeypatch.setattr(sandbox_image.shutil, "which", lambda name: f"/usr/bin/{name}")

    def put(engine: _Engine) -> _Engine:
        monkeypatch.setattr(sandbox_image, "EngineImages", engine)
        return engine

    return put


def _name() -> str:
    return f"overnight-sandbox:{sandbox_image.recipe_hash()}"


def test_an_image_that_is_there_only_becomes_the_latest(use: Use):
    engine = use(_Engine(_name()))
    assert sandbox_image.ensure_image(pytest.fail) == _name()
    assert engine.events == [f"tag {_name()} overnight-sandbox:latest"]


def test_without_a_registry_it_is_built_of_debian_packages(use: Use):
    engine, notes = use(_Engine()), list[str]()
    sandbox_image.ensure_image(notes.append)
    assert engine.events == [f"import {_name()}", f"tag {_name()} overnight-sandbox:latest"]
    assert any("no route to the registry of python:" in note for note in notes)


@pytest.mark.parametrize(
    ("source", "missing", "remedy"),
    [
        ("registry", "", "OVERNIGHT_SANDBOX_BASE=IMAGE"),
        ("debian", "mmdebstrap", "apt-get install --no-install-recommends mmdebstrap; overnight doctor --fix"),
        ("debian", "apt-get", "docker pull python:"),
        ("elsewhere", "", "unset OVERNIGHT_SANDBOX_FROM"),
    ],
)
def test_where_nothing_builds_it_the_remedy_fits_a_machine_without_a_clone(
    use: Use, monkeypatch: pytest.MonkeyPatch, source: str, missing: str, remedy: str
):
    use(_Engine())
    monkeypatch.setenv("OVERNIGHT_SANDBOX_FROM", source)
    monkeypatch.setattr(debian_image, "is_debian", lambda: missing != "apt-get")
    monkeypatch.setattr(sandbox_image.shutil, "which", lambda name: None if name == missing else f"/usr/bin/{name}")
    with pytest.raises(EnvironmentFault) as caught:
        sandbox_image.ensure_image(lambda _: None)
    assert remedy in caught.value.remedy
    assert "make" not in caught.value.remedy


def test_an_engine_that_is_down_is_not_taken_for_a_missing_registry(use: Use):
    use(_Engine(is_down=True))
    with pytest.raises(SandboxUnavailable, match="no Docker engine answers"):
        sandbox_image.ensure_image(pytest.fail)


def test_a_changed_recipe_gives_another_image(monkeypatch: pytest.MonkeyPatch):
    before = sandbox_image.recipe_hash()
    monkeypatch.setenv("OVERNIGHT_SANDBOX_BASE", "python:3.14-slim")
    assert re.fullmatch(r"[0-9a-f]{12}", before)
    assert sandbox_image.recipe_hash() != before


@pytest.mark.docker
def test_programs_can_import_their_modules_in_the_image_without_network(sandbox_image: str):
    from overnight.tasks.evaluate.sandbox_image import CHECK

    engine = DockerBackend(runners=1)
    found = json.loads(engine.run_python(sandbox_image, CHECK)[0])
    engine.close()
    with contextlib.closing(docker.from_env()) as client:
        settings = client.images.get(sandbox_image).attrs["Config"]
    assert found["numpy"]
    assert "PATH=/usr/local/bin:/usr/bin:/bin" in settings["Env"]
    assert settings["Labels"]["overnight.from"] in ("registry", "debian")
