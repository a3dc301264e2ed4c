"""Test a specification's dependencies: wheels only, for the image's Python, in an image that is built once."""

from __future__ import annotations

import contextlib
import io
import os
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import docker
import docker.errors
import pytest

from overnight.schemas.dependencies import Dependencies
from overnight.schemas.errors import EnvironmentFault, OvernightError, SandboxUnavailable, SpecificationError
from overnight.schemas.job import Call, Command, Isolation, Job
from overnight.schemas.limits_settings import Limits
from overnight.tasks.evaluate import images
from overnight.tasks.evaluate.backends.docker import DockerBackend
from overnight.tasks.evaluate.packages import Interpreter, examine, fetch, resolve
from overnight.tasks.evaluate.pool import open_pool
from tests.wheels import make_wheel

pytestmark = pytest.mark.docker

Make = Callable[..., str]
LIMITS = Limits(wall_s=5, memory_mib=128)
SOURCE = "import counting\ndef evaluate(n):\n    return guess(n) * 2\ndef guess(n):\n    return counting.next(n)\n"


@pytest.fixture
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a directory that is the only source of wheels."""
    for name in ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "UV_INDEX", "UV_EXTRA_INDEX_URL"):
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path / "wheels"
    folder.mkdir()
    monkeypatch.setenv("UV_NO_INDEX", "1")
    monkeypatch.setenv("UV_FIND_LINKS", str(folder))
    return folder


@pytest.fixture
def make(sandbox_image: str) -> Iterator[Make]:
    """Yield a function that builds images, which are removed after the test."""
    connected, names = DockerBackend(runners=1), set[str]()

    def make(*packages: str, python: str = "", base: str = sandbox_image, note: Callable[[str], None] = print) -> str:
        name = images.with_packages(connected, base, Dependencies(packages, python), note)
        if not any(package.startswith("numpy") for package in packages):  # nights of other tests build on that one
            names.add(name)
        return name

    yield make
    connected.close()
    client = docker.from_env()
    for tag in {tag for name in names for tag in client.images.get(name).tags if tag.startswith(images.NAME)}:
        with contextlib.suppress(docker.errors.APIError):  # a test of another worker may use the same image
            client.images.remove(tag)
    client.close()


@pytest.fixture(scope="module")
def interpreter(sandbox_image: str) -> Interpreter:
    connected = DockerBackend(runners=1)
    found = examine(connected, sandbox_image)
    connected.close()
    return found


def test_dependencies_can_be_imported_and_are_fetched_once(make: Make, wheels: Path):
    messages: list[str] = []
    module = "from steps import STEP\ndef next(n):\n    return n + STEP\n"
    wheel = make_wheel(wheels, "counting", "1.5", {"counting.py": module}, requires=["steps>=2"])
    steps = make_wheel(wheels, "steps", "2.0", {"steps/__init__.py": "STEP = 10\n"})
    image = make("counting>=1", note=messages.append)
    assert len(messages) == 2
    for file in (wheel, steps):
        file.unlink()
    assert make("counting>=1", note=messages.append) == image
    assert len(messages) == 2
    job = Job("evaluate", (Call((1,)), Call((2,))), LIMITS)
    with open_pool(job, image=image, slots=1) as pool:
        assert pool.evaluate(SOURCE).scores == (22.0, 24.0)
        assert {"counting": "1.5", "steps": "2.0"}.items() <= pool.versions.items()
    with open_pool(
        Job("evaluate", job.inputs, LIMITS, isolation=Isolation(("guess",), SOURCE)), image=image, slots=1
    ) as pool:
        assert pool.evaluate(SOURCE).scores == (22.0, 24.0)


def test_a_command_and_its_child_processes_can_import_them(make: Make, wheels: Path):
    make_wheel(wheels, "counting", "1.5")
    command = Command("candidate.py", ("python3", "{program}"), metric="score")
    limits = LIMITS.model_copy(update={"scratch_mib": 8})
    job = Job("", (Call((None,)),), limits, command=command)
    with open_pool(job, image=make("counting"), slots=1) as pool:
        verdict = pool.evaluate("import counting\nprint('{\"score\": %s}' % counting.VERSION)")
    assert verdict.scores == (1.5,), verdict


def test_a_problem_s_folder_cannot_choose_the_package_index(
    make: Make, wheels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    make_wheel(wheels, "counting", "1.5")
    make_wheel(tmp_path / "poison", "counting", "1.6")
    problem = tmp_path / "problem"
    problem.mkdir()
    for name in ("uv.toml", "pyproject.toml"):
        table = "tool.uv.pip" if name == "pyproject.toml" else "pip"
        (problem / name).write_text(f"[{table}]\nno-index = true\nfind-links = ['{tmp_path / 'poison'}']\n")
    monkeypatch.chdir(problem)
    monkeypatch.setenv("UV_FIND_LINKS", "../wheels")
    with open_pool(Job("evaluate", (Call((1,)),), LIMITS), image=make("counting"), slots=1) as pool:
        assert pool.versions["counting"] == "1.5"


def test_packages_of_another_index_go_into_another_image(make: Make, wheels: Path, monkeypatch: pytest.MonkeyPatch):
    make_wheel(wheels, "counting", "1.5")
    ours = make("counting")
    poison = wheels.parent / "poison"
    make_wheel(poison, "counting", "1.5", {"counting.py": "VERSION = 'poison'\n"})
    monkeypatch.setenv("UV_FIND_LINKS", str(poison))
    assert make("counting") != ours
    monkeypatch.setenv("UV_FIND_LINKS", str(wheels))
    assert make("counting") == ours


def test_the_same_wheels_of_two_indexes_go_into_one_image(make: Make, wheels: Path, monkeypatch: pytest.MonkeyPatch):
    wheel = make_wheel(wheels, "counting", "1.5")
    ours = make("counting")
    mirror = wheels.parent / "mirror"
    mirror.mkdir()
    (mirror / wheel.name).write_bytes(wheel.read_bytes())
    monkeypatch.setenv("UV_FIND_LINKS", str(mirror))
    client = docker.from_env()
    assert client.images.get(make("counting")).id == client.images.get(ours).id
    client.close()


def test_fetching_is_announced_in_advance(wheels: Path, make: Make):
    make_wheel(wheels, "counting", "1.5")

    def stop(text: str) -> None:
        messages.append(text)
        raise KeyboardInterrupt

    messages: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        make("counting", note=stop)
    assert "fetching counting" in messages[0]
    assert str(wheels) in messages[0]


def test_no_code_of_a_package_runs_unless_a_program_imports_it(make: Make, wheels: Path):
    files = {"sly.pth": "import sly\n", "sly.py": "raise SystemExit('it ran')\n", "sitecustomize.py": "import sly\n"}
    make_wheel(wheels, "sly", "1.0", files)
    with open_pool(Job("evaluate", (Call((1,)),), LIMITS), image=make("sly"), slots=1) as pool:
        verdict = pool.evaluate("import sys\ndef evaluate(n):\n    return 'sly' in sys.modules or 1")
        assert verdict.scores == (1.0,), verdict
        assert "it ran" in pool.evaluate("import sly").error


def test_packages_of_the_image_are_not_fetched(make: Make, wheels: Path):
    messages: list[str] = []
    with open_pool(
        Job("evaluate", (Call((1,)),), LIMITS), image=make("numpy>=1", note=messages.append), slots=1
    ) as pool:
        assert pool.evaluate("import numpy\ndef evaluate(n):\n    return n").scores == (1.0,)
    assert messages == []


def test_a_newer_version_replaces_the_image_s(make: Make, wheels: Path):
    make_wheel(wheels, "numpy", "999.0", {"numpy/__init__.py": "__version__ = '999.0'\nclass integer: pass\n"})
    image = make("numpy>=999")
    client = docker.from_env()
    code = "import sys; sys.path.insert(0, '/overnight/packages'); import numpy; print(numpy.__version__)"
    messages = client.containers.run(image, ["python3", "-c", code], network_mode="none", remove=True)
    client.close()
    assert messages == b"999.0\n"


def test_wheels_are_chosen_for_the_image_s_python(wheels: Path, interpreter: Interpreter, tmp_path: Path):
    digits = "".join(interpreter.version.split(".")[:2])
    for tag in (f"cp{digits}", "cp39", "cp311" if digits != "311" else "cp312"):
        make_wheel(wheels, "compiled", "1.0", tag=f"{tag}-{tag}-manylinux_2_17_{interpreter.machine}")
    make_wheel(wheels, "compiled", "1.0", tag="py3-none-macosx_11_0_arm64")
    make_wheel(wheels, "old", "1.0")
    make_wheel(wheels, "asking", "1.0", requires=["compiled", f"old; python_full_version != '{interpreter.version}'"])
    fetch(["asking"], resolve(["asking"], interpreter), interpreter, tmp_path / "target")
    assert f"cp{digits}" in (tmp_path / "target/compiled.py").read_text()
    assert not (tmp_path / "target/old.py").exists()


@pytest.mark.parametrize(
    ("packages", "says"),
    [
        (["nowhere-to-be-found"], "nowhere-to-be-found"),
        (["counting>=3"], "only counting<=2.0 is available|counting>=3"),
        (["counting>=2", "asking"], r"asking==1\.0 depends on counting<2|counting"),
        (["source-only"], "source-only"),
        (["elsewhere"], "elsewhere"),
    ],
)
def test_unavailable_packages_are_named(packages: list[str], says: str, make: Make, wheels: Path):
    make_wheel(wheels, "counting", "1.0")
    make_wheel(wheels, "counting", "2.0")
    make_wheel(wheels, "asking", "1.0", requires=["counting<2"])
    make_wheel(wheels, "elsewhere", "1.0", tag="py3-none-win_amd64")
    _make_source_distribution(wheels)
    with pytest.raises(SpecificationError, match=says) as raised:
        make(*packages)
    assert "cannot get wheels of" in raised.value.message
    assert str(wheels) in raised.value.message
    assert "dependencies" in raised.value.remedy
    assert not (wheels / "ran").exists()


def _make_source_distribution(folder: Path) -> None:
    with tarfile.open(folder / "source-only-1.0.tar.gz", "w:gz") as archive:
        setup = f"open({str(folder / 'ran')!r}, 'w')\nfrom setuptools import setup\nsetup(name='source-only')\n"
        for name, text in {"setup.py": setup, "PKG-INFO": "Name: source-only\nVersion: 1.0\n"}.items():
            member = tarfile.TarInfo(f"source-only-1.0/{name}")
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text.encode()))


@pytest.mark.parametrize(
    ("arguments", "kind", "says"),
    [
        ({"python": ">=3.99"}, SpecificationError, "requires Python >=3.99 .* has 3"),
        ({"base": "nowhere:latest"}, SandboxUnavailable, "no image 'nowhere:latest'"),
        ({"base": "empty"}, EnvironmentFault, "has no `python3` that runs: .*not found"),
        ({"base": "old"}, EnvironmentFault, "has Python 3.9.2, but 3.11 or newer is required"),
        ({"base": "broken"}, EnvironmentFault, "no `python3` that runs: it is broken"),
    ],
)
def test_an_unsuitable_base_image_is_named(
    arguments: dict[str, str], kind: type[OvernightError], says: str, make: Make, bases: dict[str, str]
):
    base = arguments.get("base", "")
    with pytest.raises(kind, match=says):
        make(**{**arguments, **({"base": bases.get(base, base)} if base else {})})


OLD = '{"version": "3.9.2", "machine": "x86_64", "libc": ["glibc", "2.31"], "packages": {}}'


@pytest.fixture(scope="module")
def bases(sandbox_image: str) -> Iterator[dict[str, str]]:
    """Yield images without Python, with an old Python, and with one that does not run."""
    client, connected = docker.from_env(), DockerBackend(runners=1)
    names = {name: f"overnight-test-{name}-{os.getpid()}:latest" for name in ("empty", "old", "broken")}
    client.api.import_image_from_data(tar(nothing=""), names["empty"].removesuffix(":latest"), "latest")
    for name, line in {"old": f"echo '{OLD}'", "broken": "echo it is broken >&2"}.items():
        recipe = f"FROM {sandbox_image}\nCOPY python3 /usr/local/bin/\n"
        connected.build(io.BytesIO(tar(Dockerfile=recipe, python3=f"#!/bin/sh\n{line}\n")), names[name], {})
    yield names
    for name in names.values():
        client.images.remove(name)
    client.close()
    connected.close()


def tar(**texts: str) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, text in texts.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(text), 0o755
            archive.addfile(member, io.BytesIO(text.encode()))
    return stream.getvalue()
