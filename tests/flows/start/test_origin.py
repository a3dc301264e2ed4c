"""Location of a run's problem: no folder of this machine is stored in files that are exported, yet it is found."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from overnight.flows.report.repeat_command import command_of
from overnight.flows.start.create_run import create_run
from overnight.flows.start.origin import origin_of, problem_label, problem_path
from overnight.schemas.generation import RunRecord
from overnight.tasks.history import stored_run
from overnight.tasks.history.archive import pack, unpack
from overnight.tasks.history.local_backend import LocalBackend
from overnight.tasks.history.rows import without_machine_paths
from overnight.tasks.problems import find
from overnight.tasks.problems.loading.load import load_problem
from overnight.tasks.problems.loading.stored_problem import changed_since
from overnight.testing.made import run_at
from tests.in_process import InProcess


@pytest.fixture(autouse=True)
def _in_process(in_process: InProcess) -> None:
    """Start programs are scored in this process."""


def run_of(path: Path, history: Path) -> RunRecord:
    settings = {"sandbox": {"slots": 1, "confirm": "never"}, "search": {"algorithm": {"islands": 1}}}
    files = create_run(load_problem(path, settings), path, LocalBackend(history), seed=1, run_id="it")
    return stored_run.read_run(files)


def packed(history: Path) -> bytes:
    """Return the uncompressed archive of a run, with the decoded content of its tables."""
    pack(run_at(history / "runs" / "it"), history / "it.tar.zst")
    unpacked, _ = unpack(history / "it.tar.zst", LocalBackend(history / "unpacked"))
    tables = [pq.read_table(path).to_pylist() for paths in unpacked.tables().values() for path in paths]
    with pa.input_stream(str(history / "it.tar.zst"), compression="zstd") as stream:
        return stream.read() + repr(tables).encode()


@pytest.fixture
def _problem_in_working_directory(toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "problems").mkdir()
    (tmp_path / "problems" / "mine.py").write_text(toy.read_text())
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("_problem_in_working_directory")
@pytest.mark.parametrize(
    ("given", "label"),
    [("problems/mine.py", "problems/mine.py"), ("ABSOLUTE", "mine.py"), ("problems/../problems/mine.py", "mine.py")],
)
def test_an_exported_run_names_no_folder_of_this_machine(
    given: str, label: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    path = Path(given.replace("ABSOLUTE", str(tmp_path / "problems" / "mine.py")))
    run = run_of(path, tmp_path / "history")
    assert run.specification_path == label
    content = packed(tmp_path / "history")
    for place in (str(tmp_path), os.getcwd(), str(Path.home()) + "/", sys.prefix, "site-packages"):
        assert place.encode() not in content
    monkeypatch.chdir("/")
    assert problem_path(run).samefile(tmp_path / "problems" / "mine.py"), "it is found from any working directory"
    assert changed_since(run.problem, problem_path(run)) == []
    assert str(tmp_path / "problems") in command_of(run, 1, None)
    (tmp_path / "problems" / "mine.py").write_text("other")
    assert changed_since(run.problem, problem_path(run)) == ["mine.py"]


def test_a_built_in_problem_is_located_by_its_name(tmp_path: Path):
    run = run_of(find("cap-set"), tmp_path / "history")
    assert (run.specification_path, run.origin) == ("cap-set", "")
    assert problem_path(run) == find("cap-set")
    assert changed_since(run.problem, problem_path(run)) == []
    content = packed(tmp_path / "history")
    assert str(find("cap-set").parent).encode() not in content
    unpacked, _ = unpack(tmp_path / "history" / "it.tar.zst", LocalBackend(tmp_path / "elsewhere"))
    assert problem_path(stored_run.read_run(unpacked)) == find("cap-set")


def test_a_run_of_an_earlier_version_is_found_by_its_absolute_path(tmp_path: Path, toy: Path):
    run = replace(run_of(toy, tmp_path), origin="", specification_path=str(toy))
    assert problem_path(run) == toy
    assert changed_since(run.problem, problem_path(run)) == []


def test_a_link_in_place_of_the_origin_file_is_not_followed(tmp_path: Path, toy: Path):
    run_of(toy, tmp_path)
    files = run_at(tmp_path / "runs" / "it")
    files.origin.unlink()
    files.origin.symlink_to("/etc/hostname")
    assert stored_run.read_run(files).origin == ""


def test_messages_have_paths_relative_to_the_working_directory_or_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    message = f"cannot write {tmp_path}/work/history/x nor {tmp_path}/y"
    assert without_machine_paths(message) == "cannot write ./history/x nor ~/y"
    monkeypatch.chdir("/")
    assert without_machine_paths("cannot write /tmp/x") == "cannot write /tmp/x"


def test_a_label_is_relative(tmp_path: Path):
    assert [problem_label(Path(given)) for given in ("a/b.py", "./b.py", "/x/b.py", "../x/b.py", "a")] == [
        "a/b.py",
        "b.py",
        "b.py",
        "b.py",
        "a",
    ]
    assert origin_of(tmp_path / "b.py") == str(tmp_path / "b.py")


def test_the_command_that_repeats_a_run_names_no_sandbox_backend(toy: Path):
    settings = {"sandbox": {"backend": "theirs", "slots": 3}}
    run = RunRecord(
        run_id="it",
        problem=load_problem(toy, settings),
        seed=1,
        started_at=datetime.now(UTC),
        specification_path=str(toy),
        origin="",
        image_id="",
        versions={},
    )
    command = command_of(run, 1, None)
    assert "sandbox.slots=3" in command
    assert "theirs" not in command
