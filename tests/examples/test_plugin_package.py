"""The example package is built and installed beside Overnight's own wheel; a night runs with it, and its tests pass."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
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

    def run(
        self, *arguments: object, cwd: Path, with_plugins: bool = True, **more: str
    ) -> subprocess.CompletedProcess[str]:
        """Run Python in a process that imports these packages."""
        path = [str(folder) for folder in ((self.theirs, self.ours) if with_plugins else (self.ours,))]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path), **more}
        command = [sys.executable, *map(str, arguments)]
        return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)

    def overnight(
        self, *lines: Sequence[object], cwd: Path, api: str, with_plugins: bool = True
    ) -> tuple[list[int], str]:
        """Run `overnight` commands, one after the other in one process; return their exit codes and messages."""
        code = (
            "import json, sys; from overnight.flows.cli.main import run; "
            "print(*[run(line) for line in json.loads(sys.argv[1])])"
        )
        given = json.dumps([[str(word) for word in line] for line in lines])
        done = self.run("-c", code, given, cwd=cwd, with_plugins=with_plugins, PREFECT_API_URL=api)
        assert done.returncode == 0, done.stderr
        return [int(each) for each in done.stdout.splitlines()[-1].split()], done.stderr


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


@pytest.mark.slow
@pytest.mark.parametrize("which", ["not docker", pytest.param("docker", marks=pytest.mark.docker)], ids=str)
def test_its_own_tests_pass_with_the_contracts_of_the_wheel(which: str, installed: Installed, tmp_path: Path):
    """They run apart from its sources; of the history's contract, kills and other processes are tried with ours."""
    left_out = shutil.ignore_patterns("overnight_example", "__pycache__")
    tests = shutil.copytree(PACKAGE, tmp_path / "tests", ignore=left_out)
    place = f"assert overnight.testing.__file__.startswith({str(installed.ours)!r})"
    (tests / "test_place.py").write_text(f"import overnight.testing\n\ndef test_place():\n    {place}\n")
    chosen = ("-m", which, "-k", "not kill and not another_process")
    done = installed.run("-m", "pytest", "-q", *chosen, "-p", "no:cacheprovider", cwd=tests)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.prefect
def test_a_night_runs_with_its_algorithm_and_goes_on_only_where_the_package_is(
    installed: Installed, toy: Path, tmp_path: Path, prefect_api: str
):
    algorithm = ("--set", "search.algorithm.name=recent", "--set", "search.algorithm.latest=3")
    begin = ("run", toy, "--generations", "1", "--seed", "1", "--sandbox", "process", *algorithm)
    go_on, report = ("resume", "last", "--generations", "1"), ("report", "last")
    codes, said = installed.overnight(begin, go_on, cwd=tmp_path, api=prefect_api)
    assert codes == [0, 0], said
    codes, said = installed.overnight(go_on, report, cwd=tmp_path, api=prefect_api, with_plugins=False)
    assert codes == [3, 0], said
    assert "the algorithm recent is of overnight-example 1.0, which is not installed here" in said
