"""The example package is built and installed beside Overnight's own wheel; a night runs with it, and its tests pass."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = Path(__file__).with_name("plugin_package")


@dataclass(frozen=True)
class Installed:
    """Packages in folders of their own, which precede the clone on the import path.

    Attributes:
        ours: Folder of Overnight.
        theirs: Folder of the example package.
    """

    ours: Path
    theirs: Path

    def run(self, *arguments: object, cwd: Path, with_plugins: bool = True) -> subprocess.CompletedProcess[str]:
        """Run Python in a process that imports these packages."""
        path = [str(folder) for folder in ((self.theirs, self.ours) if with_plugins else (self.ours,))]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path), "PYTHONDONTWRITEBYTECODE": "1"}
        command = [sys.executable, *map(str, arguments)]
        return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)

    def overnight(self, *arguments: object, cwd: Path, with_plugins: bool = True) -> subprocess.CompletedProcess[str]:
        """Run an `overnight` command."""
        code = "from overnight.flows.cli.main import main; main()"
        return self.run("-c", code, *arguments, cwd=cwd, with_plugins=with_plugins)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    folder = tmp_path_factory.mktemp("installed")
    return Installed(install(ROOT, folder / "overnight"), install(PACKAGE, folder / "example"))


def install(project: Path, target: Path) -> Path:
    """Build the wheel of a project and install it, without its dependencies, into a folder."""
    wheels, uv = target.with_suffix(".wheels"), Path(sys.executable).with_name("uv")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", wheels]
    subprocess.run(build, cwd=project, check=True, capture_output=True)
    pip = [uv, "pip", "install", "--offline", "--no-index", "--no-deps", "--python", sys.executable, "--target", target]
    subprocess.run([*pip, *wheels.glob("*.whl")], check=True, capture_output=True)
    return target


@pytest.mark.heavy
def test_its_own_tests_pass_with_the_contracts_of_the_wheel(installed: Installed, tmp_path: Path):
    require_own_tests(installed, tmp_path, "not docker")


@pytest.mark.docker
def test_its_own_tests_of_the_sandbox_pass_with_the_contract_of_the_wheel(installed: Installed, tmp_path: Path):
    require_own_tests(installed, tmp_path, "docker")


def require_own_tests(installed: Installed, folder: Path, marks: str) -> None:
    """Run the package's tests apart from its sources."""
    tests = shutil.copytree(
        PACKAGE, folder / "tests", ignore=shutil.ignore_patterns("overnight_example", "__pycache__")
    )
    done = installed.run("-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", marks, cwd=tests)
    assert done.returncode == 0, done.stdout + done.stderr
    found = installed.run("-c", "import overnight.testing as it; print(it.__file__)", cwd=tests)
    assert Path(found.stdout.strip()).is_relative_to(installed.ours)


@pytest.mark.prefect
def test_a_night_runs_with_its_algorithm_and_goes_on_only_where_the_package_is(
    installed: Installed, toy: Path, tmp_path: Path
):
    algorithm = ("--set", "search.algorithm.name=recent", "--set", "search.algorithm.latest=3")
    flags = ("--generations", "1", "--seed", "1", "--sandbox", "process", *algorithm)
    begun = installed.overnight("run", toy, *flags, cwd=tmp_path)
    assert begun.returncode == 0, begun.stderr
    asked = installed.overnight("resume", "last", "--generations", "1", cwd=tmp_path, with_plugins=False)
    assert asked.returncode == 3
    assert "the algorithm recent is of overnight-example 1.0, which is not installed here" in asked.stderr
    assert installed.overnight("report", "last", cwd=tmp_path, with_plugins=False).returncode == 0
    resumed = installed.overnight("resume", "last", "--generations", "1", cwd=tmp_path)
    assert resumed.returncode == 0, resumed.stderr
