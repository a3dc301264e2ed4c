"""The backend `process`: how it confines, and what it says of it. `tests/contract/` has what every backend does."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from overnight.schemas.dependencies import Dependencies
from overnight.schemas.errors import SandboxUnavailable, SpecificationError
from overnight.schemas.files import File
from overnight.schemas.generation import BUBBLEWRAP, UNCONFINED
from overnight.schemas.job import Call, Command, Job
from overnight.schemas.limits_settings import Limits
from overnight.tasks.evaluate.backends import process
from overnight.tasks.evaluate.backends.process import ProcessBackend, bubblewrap
from overnight.tasks.evaluate.pool import open_pool
from overnight.tasks.evaluate.sandbox import RunnerConfig

LOOKS = """
import os
def evaluate(path):
    print(os.getpid() < 10, os.path.exists(path), open("number").read())
    try: open("number", "a")
    except OSError as error: print(error.strerror)
    return len([name for name in os.listdir("/proc") if name.isdigit()])
"""


@pytest.fixture
def backend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ProcessBackend]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    made = ProcessBackend(runners=1)
    yield made
    made.close()


def test_a_runner_without_a_directory_to_write_to_has_none_of_this_machine_to_empty(backend: ProcessBackend):
    config = RunnerConfig("", 128)
    told = backend.start(config)._environment(config)
    assert told["OVERNIGHT_SCRATCH"] == "/proc/none", "by default it is /tmp, which is right in a container alone"


@pytest.mark.skipif(not bubblewrap(), reason="no bubblewrap here, or the kernel does not let it")
def test_with_bubblewrap_a_candidate_sees_no_process_and_no_file_of_the_user_s(backend: ProcessBackend, tmp_path: Path):
    notes: list[str] = []
    image = backend.prepare("any", Dependencies(), (File("number", b"42"),), notes.append)
    assert backend.image_id(image).startswith(f"{BUBBLEWRAP}, Python 3.")
    assert "bubblewrap alone" in notes[0]
    job = Job("evaluate", (Call((str(tmp_path),)),), Limits(wall_s=5, memory_mib=96))
    with open_pool(job, image=image, backend="process", slots=1) as pool:
        verdict = pool.evaluate(LOOKS)
    assert verdict.output == "True False 42\nRead-only file system\n", verdict
    assert verdict.scores == (2.0,), "the runner and this candidate"


@pytest.mark.parametrize("installed", ["", "/bin/false"], ids=["not installed", "refused by the kernel"])
def test_without_bubblewrap_it_says_that_candidates_are_not_confined(
    backend: ProcessBackend, monkeypatch: pytest.MonkeyPatch, installed: str
):
    notes: list[str] = []
    monkeypatch.setattr(process.shutil, "which", lambda _: installed or None)
    bubblewrap.cache_clear()
    try:
        backend.prepare("any", Dependencies(), (), notes.append)
        assert "not confined" in notes[0]
        assert backend.image_id("any").startswith(f"{UNCONFINED}, ")
        assert UNCONFINED in backend.describe()
    finally:
        bubblewrap.cache_clear()


def test_packages_are_those_of_this_python(backend: ProcessBackend):
    assert backend.prepare("any", Dependencies(("numpy>=2",)), (), print) == "any"
    with pytest.raises(SpecificationError, match="no-such-package>=3") as refused:
        backend.prepare("any", Dependencies(("no-such-package>=3",)), (), print)
    assert "sandbox.backend=docker" in refused.value.remedy


def test_a_problem_s_files_are_kept_once_for_equal_content(backend: ProcessBackend, tmp_path: Path):
    files = (File("data/number", b"42"), File("helper.py", b""))
    first, second = (backend.prepare("any", Dependencies(), files, print) for _ in range(2))
    assert first == second != backend.prepare("any", Dependencies(), files[:1], print)
    folder = tmp_path / "overnight" / "problem-files" / first.rpartition(":")[2]
    assert sorted(str(path.relative_to(folder)) for path in folder.rglob("*")) == ["data", "data/number", "helper.py"]


def test_files_that_another_process_keeps_at_the_same_time_are_the_same(
    backend: ProcessBackend, monkeypatch: pytest.MonkeyPatch
):
    files, write, others = (File("helper.py", b""),), Path.write_bytes, []

    def slowly(path: Path, content: bytes) -> int:
        if not others:
            others.append("")
            others[0] = backend.prepare("any", Dependencies(), files, print)
        return write(path, content)

    monkeypatch.setattr(Path, "write_bytes", slowly)
    assert [backend.prepare("any", Dependencies(), files, print)] == others


def test_byte_code_beside_a_problem_s_files_is_not_that_of_the_next_candidate(backend: ProcessBackend):
    script = b"import helper, json, os\nprint(*sorted(os.listdir()))\nprint(json.dumps({'score': 1}))\n"
    image = backend.prepare("any", Dependencies(), (File("score.py", script), File("helper.py", b"")), print)
    command = Command("candidate.py", ("python3", "score.py", "{program}"), metric="score")
    job = Job("", (Call(),), Limits(wall_s=5, memory_mib=96, scratch_mib=1), command=command)
    with open_pool(job, image=image, backend="process", slots=1) as pool:
        outputs = [pool.evaluate(f"# {number}\n").output.splitlines()[0] for number in (1, 2)]
    assert outputs == ["candidate.py helper.py score.py"] * 2


def test_the_id_of_an_image_is_its_name_on_another_machine_which_needs_the_same_files_and_confinement(
    backend: ProcessBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    name = backend.prepare("any", Dependencies(), (File("number", b"42"),), print)
    identity = backend.image_id(name)
    assert backend.image_id(identity) == identity
    how = identity.partition(",")[0]
    with pytest.raises(SandboxUnavailable, match="expected processes as on the head"):
        backend.image_id(identity.replace(how, UNCONFINED if how == BUBBLEWRAP else BUBBLEWRAP))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "another"))
    with pytest.raises(SandboxUnavailable, match="the problem's files are not here"):
        backend.image_id(identity)


def test_a_closed_runner_leaves_no_descriptor_and_no_folder(
    backend: ProcessBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(process.tempfile, "tempdir", str(tmp_path))
    before = set(os.listdir("/proc/self/fd"))
    runner = backend.start(RunnerConfig("any", 96, scratch_mib=1))
    assert list(tmp_path.glob("overnight-scratch-*"))
    runner.close()
    assert runner.death(since_s=0.0).reason.startswith("the runner ended with exit code")
    assert set(os.listdir("/proc/self/fd")) <= before, "others may be closed meanwhile"
    assert not list(tmp_path.glob("overnight-scratch-*"))
