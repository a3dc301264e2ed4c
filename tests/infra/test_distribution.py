"""The wheel and the sdist: complete, described, and used where the user has modules of the names of our folders."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from dataclasses import dataclass
from email import message_from_bytes
from pathlib import Path

import pytest

from overnight.tasks.history.database import Database
from tests.accidents import wait_until
from tests.standing import process

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
SPECIFICATION = ROOT / "tests/specifications/toy.py"
_STRANGER = 'raise SystemExit("a module of the working directory was imported")\n'

pytestmark = pytest.mark.heavy


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the sdist and the wheel that is built from it: `make dist` names its own."""
    if named := os.environ.get("OVERNIGHT_DIST"):
        return ROOT / named
    folder = tmp_path_factory.mktemp("dist")
    build = [BIN / "uv", "build", "--quiet", "--offline", "--no-build-isolation", "--python", sys.executable]
    subprocess.run([*build, "--out-dir", folder], cwd=ROOT, check=True)
    return folder


@pytest.fixture(scope="module")
def wheel(dist: Path) -> Path:
    (found,) = dist.glob("*.whl")
    return found


def tracked(*folders: str) -> set[str]:
    done = subprocess.run(["git", "ls-files", *folders], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip("not a clone")
    return {name for name in done.stdout.splitlines() if (ROOT / name).is_file()}


def test_the_wheel_holds_the_files_of_the_clone_below_one_name(wheel: Path):
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    package = {name.removeprefix("infra/package/") for name in tracked("infra/package")}
    expected = package | {f"overnight/{name}" for name in tracked("flows", "tasks", "schemas")}
    assert expected - names == set()
    assert {name for name in names if not name.startswith(("overnight/", "funsearch/"))} == set()


def test_the_sdist_holds_the_clone_but_for_what_only_its_host_reads(dist: Path):
    (sdist,) = dist.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {name for name in tracked() - names if not name.startswith((".ci/", ".github/"))} == set()


def test_the_metadata_says_what_it_is_and_needs(dist: Path, wheel: Path):
    archives = [path for path in dist.iterdir() if path.suffix in (".whl", ".gz")]
    subprocess.run([BIN / "twine", "check", "--strict", *archives], check=True, stdout=subprocess.DEVNULL)
    with zipfile.ZipFile(wheel) as archive:
        about = next(name.partition("/")[0] for name in archive.namelist() if ".dist-info/" in name)
        metadata = message_from_bytes(archive.read(f"{about}/METADATA"))
        assert archive.read(f"{about}/licenses/LICENSE") == (ROOT / "LICENSE").read_bytes()
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["Requires-Python"] == ">=3.11"
    assert metadata["Keywords"]
    assert metadata.get_all("Classifier")


@dataclass(frozen=True)
class Installation:
    """The wheel in an environment of its own, and a user's folder to work in.

    Attributes:
        programs: Folder of the environment's programs.
        folder: Working directory, with modules of the names of our folders.
        environment: Environment variables.
    """

    programs: Path
    folder: Path
    environment: dict[str, str]

    def run(self, program: str, *arguments: str) -> str:
        """Run a program of the environment in the user's folder; return its standard output."""
        done = subprocess.run(
            [self.programs / program, *arguments],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def programs(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of a new environment with the wheel; its dependencies are those of the tests' environment.

    They are on the path without their `.pth` files, of which one leads to the clone.
    """
    place = tmp_path_factory.mktemp("environment")
    uv = [BIN / "uv", "--quiet", "--offline"]
    subprocess.run([*uv, "venv", "--python", sys.executable, place / "venv"], check=True)
    python = place / "venv/bin/python"
    subprocess.run([*uv, "pip", "install", "--no-deps", "--python", python, wheel], check=True)
    (packages,) = (place / "venv/lib").glob("python*/site-packages")
    (packages / "dependencies.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    return python.parent


@pytest.fixture
def installed(programs: Path, tmp_path: Path, prefect_api: str) -> Installation:
    folder = tmp_path / "project"
    (folder / "schemas").mkdir(parents=True)
    for name in ("tasks.py", "flows.py", "schemas/__init__.py"):
        (folder / name).write_text(_STRANGER)
    shutil.copy(SPECIFICATION, folder / "toy.py")
    environment = {
        **{name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "OVERNIGHT_HISTORY")},
        "PATH": f"{programs}:{os.environ['PATH']}",
        "PREFECT_API_URL": prefect_api,
    }
    return Installation(programs, folder, environment)


def nights(installed: Installation) -> list[str | None]:
    """Why the nights in the user's history ended."""
    history = installed.folder / "history"
    rows = Database(history).rows("SELECT stop_reason FROM nights") if history.exists() else []
    return [row["stop_reason"] for row in rows]


@pytest.mark.slow
@pytest.mark.docker
@pytest.mark.prefect
def test_a_night_runs_beside_modules_of_the_names_of_our_folders(installed: Installation):
    installed.run("overnight", "run", "toy.py", "--generations", "1", "--seed", "1")
    installed.run("overnight", "report", "last", "--write", "report.html")
    assert (installed.folder / "report.html").stat().st_size > 10_000
    script = (
        "import funsearch, overnight; print(overnight.__file__); run = overnight.load()\n"
        "print(len(run.sql('SELECT outcome FROM programs').fetchall()))\n"
        "print(run.resume(generations=1, progress=False).generations)"
    )
    place, programs, generations = installed.run("python", "-c", script).split()
    assert Path(place).is_relative_to(installed.programs.parent)
    assert (int(programs) > 1, int(generations)) == (True, 2)
    assert nights(installed) == ["generations", "generations"]


@pytest.mark.slow
@pytest.mark.docker
@pytest.mark.prefect
def test_a_worker_runs_a_scheduled_night_beside_them(installed: Installation):
    schedule = ["schedule", "add", "toy.py", "--cron", "0 22 1 1 *", "--generations", "1", "--seed", "1"]
    installed.run("overnight", *schedule, "--name", "installed")
    try:
        log = installed.folder / "worker.log"
        there = ["env", f"--chdir={installed.folder}", installed.programs / "python", "-m", "prefect"]
        with process(log, *there, "worker", "start", "--pool", "overnight", **installed.environment):
            installed.run("python", "-m", "prefect", "deployment", "run", "night/installed")
            wait_until(lambda: nights(installed) == ["generations"], lambda: f"the night; see {log}", timeout_s=180)
    finally:
        installed.run("overnight", "schedule", "remove", "installed")
