"""Export and import of a run: exactly the exported files arrive, and manipulated archives are refused."""

from __future__ import annotations

import hashlib
import io
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from overnight.schemas import tables
from overnight.schemas.errors import EnvironmentFault, HistoryError, OvernightError, UsageError
from overnight.tasks.history import stored_run
from overnight.tasks.history.archive import describe, pack, unpack
from overnight.tasks.history.atomic_files import append_lines
from overnight.tasks.history.compact import compact
from overnight.tasks.history.database import Database
from overnight.tasks.history.files import RunFiles, files_of, runs_in
from overnight.tasks.history.local_backend import LocalBackend
from overnight.testing.made import create, grow
from tests.history.test_compact import all_rows
from tests.history.writer import ROOT

Member = tuple[tarfile.TarInfo, bytes]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> RunFiles:
    """A run with compacted generations, single ones, and an uncommitted completion, and its archive beside it."""
    folder = tmp_path_factory.mktemp("made")
    files = create(folder / "here", islands=3, prompts=4)
    grow(files, 6)
    compact(files, 1)
    grow(files, 2)
    append_lines(files.journal(9), [b'{"half": "known"}'])
    pack(files, folder / "run.tar.zst")
    return files


@pytest.fixture
def files(made: RunFiles, tmp_path: Path) -> RunFiles:
    """A copy of that run."""
    shutil.copytree(made.backend.root, tmp_path / "here")
    return files_of(LocalBackend(tmp_path / "here"), made.run_id)


@pytest.fixture
def archive(files: RunFiles, made: RunFiles, tmp_path: Path) -> Path:
    return Path(shutil.copy(made.backend.root.with_name("run.tar.zst"), tmp_path))


def test_an_imported_run_equals_the_exported_one(files: RunFiles, archive: Path, tmp_path: Path):
    there, is_new = unpack(archive, LocalBackend(tmp_path / "there"))
    assert is_new
    assert describe(there) == describe(files)
    assert all_rows(tmp_path / "there") == all_rows(tmp_path / "here")
    assert stored_run.read_run_history(there) == stored_run.read_run_history(files)
    assert there.journal(9).read_bytes() == files.journal(9).read_bytes()
    assert (tmp_path / "there").exists()
    assert [path.name for path in (tmp_path / "there").iterdir()] == ["runs"], "nothing else is left"
    grow(there, 1)
    assert there.committed()[-1] == 9


def test_the_archive_can_be_read_with_tar(archive: Path, tmp_path: Path):
    with pa.input_stream(str(archive), compression="zstd") as stream:
        (tmp_path / "run.tar").write_bytes(stream.read())
    listed = subprocess.run(["tar", "tf", tmp_path / "run.tar"], capture_output=True, text=True, check=True).stdout
    assert listed.splitlines()[0].endswith("/manifest.json")
    assert "/generations/000000-000006/programs.parquet" in listed


def test_importing_again_changes_nothing_and_other_content_is_refused(files: RunFiles, archive: Path, tmp_path: Path):
    there, _ = unpack(archive, LocalBackend(tmp_path / "there"))
    assert unpack(archive, LocalBackend(tmp_path / "there")) == (there, False)
    grow(there, 1)
    before = describe(there)
    with pytest.raises(UsageError, match="already, with other content"):
        unpack(archive, LocalBackend(tmp_path / "there"))
    assert describe(there) == before


def members(archive: Path) -> list[Member]:
    with (
        pa.input_stream(str(archive), compression="zstd") as stream,
        tarfile.open(fileobj=io.BytesIO(stream.read())) as opened,
    ):
        return [(info, opened.extractfile(info).read()) for info in opened]  # pyright: ignore[reportOptionalMemberAccess]


def rewrite(archive: Path, change: Callable[[list[Member]], object]) -> None:
    found = members(archive)
    change(found)
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as opened:
        for info, content in found:
            if info.isreg():
                info.size = len(content)
            opened.addfile(info, io.BytesIO(content))
    with pa.output_stream(str(archive), compression="zstd") as stream:
        stream.write(packed.getvalue())


def insert_member(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> Callable[[list[Member]], object]:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return lambda found: found.insert(1, (info, b"evil" if info.isreg() else b""))


def replace_content(name: str, content: bytes) -> Callable[[list[Member]], object]:
    def change(found: list[Member]) -> None:
        place = next(n for n, (info, _) in enumerate(found) if info.name.endswith(name))
        found[place] = (found[place][0], content)

    return change


RUN = "20260101-2200-toy-aaaa"
MANIPULATIONS: dict[str, Callable[[list[Member]], object]] = {
    "a path upwards": insert_member(f"{RUN}/../../../evil"),
    "an absolute path": insert_member("/tmp/evil"),
    "a path upwards as a run": insert_member("../run.parquet"),
    "a file that no run has": insert_member(f"{RUN}/evil.sh"),
    "a symbolic link": insert_member(f"{RUN}/nights/0001.parquet", tarfile.SYMTYPE, "/etc/passwd"),
    "a hard link": insert_member(f"{RUN}/nights/0001.parquet", tarfile.LNKTYPE, "/etc/passwd"),
    "a device": insert_member(f"{RUN}/nights/0001.parquet", tarfile.CHRTYPE),
    "a folder": insert_member(f"{RUN}/nights", tarfile.DIRTYPE),
    "a file that the manifest does not name": insert_member(f"{RUN}/nights/0007.parquet"),
    "a file twice": lambda found: found.append(found[-1]),
    "a file of another run": insert_member("other/run.parquet"),
    "another content": replace_content("run.parquet", b"PAR1"),
    "another content of the same length": lambda found: found.insert(1, (found.pop(1)[0], bytes(found[0][0].size))),
    "a file too few": lambda found: found.pop(),
    "no manifest": lambda found: found.pop(0),
    "an invalid manifest": replace_content("manifest.json", b"{}"),
    "nothing": lambda found: found.clear(),
}


def add_file_of_zeros(found: list[Member]) -> None:
    """Add a large file of zeros, which compresses to almost nothing, with a matching manifest."""
    content = bytes(100 << 20)
    found[1] = (found[1][0], content)
    manifest = json.loads(found[0][1])
    name = found[1][0].name.partition("/")[2]
    manifest["files"][name] = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    found[0] = (found[0][0], json.dumps(manifest).encode())


def add_large_header(found: list[Member]) -> None:
    """Add an extended header of a megabyte."""
    found[1][0].pax_headers = {"comment": "x" * 2**20}


MANIPULATIONS |= {
    "a small archive that becomes large": add_file_of_zeros,
    "a header that becomes large": add_large_header,
}


@pytest.mark.parametrize("what", MANIPULATIONS)
def test_a_manipulated_archive_is_refused_and_changes_nothing(what: str, archive: Path, tmp_path: Path):
    rewrite(archive, MANIPULATIONS[what])
    outside = sorted(tmp_path.iterdir())
    with pytest.raises(HistoryError, match="not a complete archive of a run"):
        unpack(archive, LocalBackend(tmp_path / "there"))
    assert list((tmp_path / "there").iterdir()) == []
    assert sorted(tmp_path.iterdir()) == sorted([*outside, tmp_path / "there"])


def test_a_damaged_archive_is_refused(archive: Path, tmp_path: Path):
    whole, chance = archive.read_bytes(), random.Random(5)
    damaged = [whole[: chance.randrange(len(whole) - 100)] for _ in range(15)]
    damaged += [b"", b"nonsense" * 100]
    for place in [chance.randrange(len(whole)) for _ in range(15)]:
        damaged.append(whole[:place] + bytes([whole[place] ^ 1 << chance.randrange(8)]) + whole[place + 1 :])
    refused = 0
    for content in damaged:
        archive.write_bytes(content)
        try:
            unpack(archive, LocalBackend(tmp_path / "there"))
        except OvernightError:
            refused += 1
            assert not runs_in(LocalBackend(tmp_path / "there"))
        else:
            assert all_rows(tmp_path / "there") == all_rows(tmp_path / "here"), "the damage did not affect the content"
            shutil.rmtree(tmp_path / "there")
    assert refused >= len(damaged) - 2


def test_an_archive_of_a_later_version_is_refused(archive: Path, tmp_path: Path):
    rewrite(archive, lambda found: found.__setitem__(0, (found[0][0], with_later_version(found[0][1]))))
    with pytest.raises(HistoryError, match=r"format 99, and this Overnight reads formats up to \d") as error:
        unpack(archive, LocalBackend(tmp_path / "there"))
    assert "newer Overnight" in error.value.remedy


def with_later_version(manifest: bytes) -> bytes:
    return manifest.replace(b'"schema_version": 2', b'"schema_version": 99')


def test_unreadable_and_unwritable_paths_are_errors_with_a_remedy(files: RunFiles, tmp_path: Path):
    with pytest.raises(UsageError, match="cannot read"):
        unpack(tmp_path / "nowhere.tar.zst", LocalBackend(tmp_path / "there"))
    with pytest.raises(EnvironmentFault, match="cannot write") as error:
        pack(files, tmp_path / "nowhere" / "run.tar.zst")
    assert "--write" in error.value.remedy


def test_a_killed_import_leaves_the_whole_run_or_nothing(files: RunFiles, archive: Path, tmp_path: Path):
    """Kill imports at random moments, then import once more."""
    history, chance, whole = tmp_path / "there", random.Random(3), all_rows(tmp_path / "here")
    script = "import sys; from pathlib import Path; from overnight.tasks.history.archive import unpack; "
    script += "from overnight.tasks.history.local_backend import LocalBackend; print(flush=True)\n"
    script += "unpack(Path(sys.argv[1]), LocalBackend(Path(sys.argv[2])))"
    for _ in range(3):
        process = subprocess.Popen(
            [sys.executable, "-c", script, archive, history], cwd=ROOT, stdout=subprocess.PIPE, env=os.environ
        )
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(chance.uniform(0.0, 0.1))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        if runs_in(LocalBackend(history)):
            assert all_rows(history) == whole
            shutil.rmtree(history / "runs")
    unpack(archive, LocalBackend(history))
    assert all_rows(history) == whole
    assert [path.name for path in history.iterdir()] == ["runs"]
    assert pq.read_table(files.run).equals(pq.read_table(runs_in(LocalBackend(history))[0].run))
    assert Database(history).rows("SELECT count(*) AS n FROM runs")[0]["n"] == 1


def replace_table(archive: Path, name: str, table: pa.Table) -> None:
    """Replace a table in an archive, with a matching manifest."""
    file = io.BytesIO()
    pq.write_table(table, file, compression="zstd")
    content = file.getvalue()

    def change(found: list[Member]) -> None:
        manifest = json.loads(found[0][1])
        manifest["files"][name] = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
        found[0] = (found[0][0], json.dumps(manifest).encode())
        run_id = found[0][0].name.partition("/")[0]
        found[:] = [member for member in found if not member[0].name.endswith(f"/{name}")]
        found.append((tarfile.TarInfo(f"{run_id}/{name}"), content))

    rewrite(archive, change)


def test_a_small_table_that_becomes_large_is_refused(archive: Path, tmp_path: Path):
    replace_table(archive, "nights/0001.parquet", pa.table({"run_id": pa.nulls(40_000_000, pa.int32())}))
    with pytest.raises(HistoryError, match=r"0001.parquet has \d+ bytes and would take 305 MiB"):
        unpack(archive, LocalBackend(tmp_path / "there"))
    assert list((tmp_path / "there").iterdir()) == []


@pytest.mark.parametrize("path", ["../Dockerfile", "/etc/passwd", "a/../../Dockerfile", "Dockerfile\n"])
def test_a_file_of_a_problem_stays_in_its_folder_on_import_and_on_resume(path: str, archive: Path, tmp_path: Path):
    there, _ = unpack(archive, LocalBackend(tmp_path / "there"))
    content = b"FROM scratch"
    row = pq.read_table(there.run)
    at = row.schema.get_field_index("files")
    named = pa.array([[(path, hashlib.sha256(content).hexdigest())]], row.schema.field(at).type)
    changed, files = row.set_column(at, row.schema.field(at), named), {"path": [path], "content": [content]}
    pq.write_table(changed, there.run)
    pq.write_table(pa.table(files, schema=tables.FILES), there.problem_files)
    with pytest.raises(HistoryError, match="is not a path inside of a problem's folder"):
        stored_run.read_run(there)
    pack(there, archive)
    with pytest.raises(HistoryError, match="is not a path inside of a problem's folder"):
        unpack(archive, LocalBackend(tmp_path / "elsewhere"))
