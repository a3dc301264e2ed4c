"""What is sent to the engine to build an image: our build file, and a problem's files in a folder of their own."""

from __future__ import annotations

import tarfile
from typing import IO, Any, cast

from schemas.files import File
from tasks.evaluate.engine import Engine
from tasks.evaluate.images import with_files


class _Recorder:
    """An engine that has one image and notes what it is to build."""

    def __init__(self) -> None:
        self.context: dict[str, bytes] = {}

    def require_image(self, image: str) -> str:
        return f"id of {image}"

    def has_image(self, image: str) -> bool:
        return image == "base"

    def build(self, context: IO[bytes], name: str, labels: dict[str, str]) -> None:
        with tarfile.open(fileobj=context) as archive:
            files: Any = {member.name: archive.extractfile(member) for member in archive}
            self.context = {name: file.read() for name, file in files.items()}


def test_no_name_of_a_file_reaches_the_build_file():
    engine = _Recorder()
    names = ["Dockerfile", "files/Dockerfile", ".dockerignore", "Dockerfile.dockerignore", "a/Dockerfile"]
    with_files(cast("Engine", engine), "base", [File(name, b"RUN id") for name in names])
    assert set(engine.context) == {"Dockerfile", *(f"files/{name}" for name in names)}
    assert engine.context["Dockerfile"].startswith(b"FROM base\nCOPY files/ ")
    assert b"RUN" not in engine.context["Dockerfile"]


def test_no_two_sets_of_files_have_one_image():
    """A name such as `x|HASH y` would be read as two files, and a stranger's image taken for another problem's."""
    engine, x, y = cast("Engine", _Recorder()), File("x", b"1"), File("y", b"2")
    names = {
        with_files(engine, "base", [x, y]),
        with_files(engine, "base", [File(f"x|{y.hash} y", b"1")]),
        with_files(engine, "base", [File(f"x, {y.hash} y", b"1")]),
        with_files(engine, "base", [File(f'x", "{y.hash} y', b"1")]),
    }
    assert len(names) == 4
    assert all(len(name.partition(":")[2]) == 64 for name in names), "found by no search for equal hashes"
