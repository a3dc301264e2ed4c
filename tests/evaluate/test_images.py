"""Test the build context sent to the engine: our Dockerfile, and the problem's files in a directory of their own."""

from __future__ import annotations

import tarfile
from typing import IO, Any, cast

from overnight.schemas.files import File
from overnight.tasks.evaluate.backends.docker import DockerBackend
from overnight.tasks.evaluate.images import with_files


class _Recorder:
    """Engine that has one image and records the build context."""

    def __init__(self) -> None:
        self.context: dict[str, bytes] = {}

    def image_id(self, image: str) -> str:
        return f"id of {image}"

    def has_image(self, image: str) -> bool:
        return image == "base"

    def build(self, context: IO[bytes], name: str, labels: dict[str, str]) -> None:
        with tarfile.open(fileobj=context) as archive:
            files: Any = {member.name: archive.extractfile(member) for member in archive}
            self.context = {name: file.read() for name, file in files.items()}


def test_no_file_name_is_written_to_the_dockerfile():
    engine = _Recorder()
    names = ["Dockerfile", "files/Dockerfile", ".dockerignore", "Dockerfile.dockerignore", "a/Dockerfile"]
    with_files(cast("DockerBackend", engine), "base", [File(name, b"RUN id") for name in names])
    assert set(engine.context) == {"Dockerfile", *(f"files/{name}" for name in names)}
    assert engine.context["Dockerfile"].startswith(b"FROM base\nCOPY files/ ")
    assert b"RUN" not in engine.context["Dockerfile"]


def test_different_sets_of_files_have_different_images():
    """If a name such as `x|HASH y` were read as two files, a foreign problem's image could be used for another
    problem."""
    engine, x, y = cast("DockerBackend", _Recorder()), File("x", b"1"), File("y", b"2")
    names = {
        with_files(engine, "base", [x, y]),
        with_files(engine, "base", [File(f"x|{y.hash} y", b"1")]),
        with_files(engine, "base", [File(f"x, {y.hash} y", b"1")]),
        with_files(engine, "base", [File(f'x", "{y.hash} y', b"1")]),
    }
    assert len(names) == 4
    assert all(len(name.partition(":")[2]) == 64 for name in names), "found by no search for equal hashes"
