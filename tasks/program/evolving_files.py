"""Several files that evolve together: between their marks, or whole where they have none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from overnight.schemas.bundle import ProgramBundle
from overnight.schemas.code_hash import code_hash_of
from overnight.schemas.errors import SpecificationError
from overnight.tasks.program.marked_file import MarkedFile, read_marked
from overnight.tasks.program.scored_by_command import ScoredByCommand


@dataclass(frozen=True)
class EvolvingFiles(ScoredByCommand):
    """Evolving files of one problem; a `Skeleton`.

    A body is the encoded bundle of the bodies of all files, in their order.

    Attributes:
        files: The files, each named by its path; the first one is the file that the command is given as `{program}`.
    """

    kind: ClassVar[str] = "files"

    files: tuple[MarkedFile, ...]

    @property
    def paths(self) -> tuple[str, ...]:
        return tuple(file.name for file in self.files)

    @property
    def text(self) -> str:
        return self.start_program.encode()

    @property
    def start_body(self) -> str:
        return self.join({})

    @property
    def start_program(self) -> ProgramBundle:
        return ProgramBundle(tuple((file.name, file.text) for file in self.files))

    @property
    def language(self) -> str:
        """Language of all files; empty if they have several."""
        languages = {file.language for file in self.files}
        return languages.pop() if len(languages) == 1 else ""

    @property
    def evolved_parts(self) -> str:
        return ", ".join(self.paths)

    @property
    def shape(self) -> str:
        """Path and shape of each file, in which bodies of equal problems agree."""
        parts = [f"{file.name} ({file.shape if file.has_marks else 'whole'})" for file in self.files]
        return ", ".join(parts)

    def join(self, bodies: Mapping[str, str]) -> str:
        """Return the body of all files. A file that is missing gets its body from the start program."""
        return ProgramBundle(tuple((file.name, bodies.get(file.name, file.start_body)) for file in self.files)).encode()

    def split(self, body: str) -> dict[str, str]:
        """Return the body of each file by path, the inverse of `join`; it must be a body of exactly these files."""
        bundle = ProgramBundle.decode(body)
        if bundle.paths != self.paths:
            raise SpecificationError(
                f"a stored program has the files {', '.join(bundle.paths)}, expected {self.evolved_parts}",
                remedy="Restore the run from another copy.",
            )
        return dict(bundle.files)

    def program(self, body: str) -> ProgramBundle:
        bodies = self.split(body)
        return ProgramBundle(tuple((file.name, file.with_body(bodies[file.name])) for file in self.files))

    def function_text(self, body: str) -> str:
        """Return the bodies of all files, each below a line with its path; empty if there is no body."""
        return ProgramBundle.decode(body).shown.rstrip("\n") if body else ""

    def code_hash(self, body: str) -> str:
        bodies = self.split(body)
        return _joint_hash({file.name: file.code_hash(bodies[file.name]) for file in self.files})

    def meaning_hash(self, body: str) -> str:
        bodies = self.split(body)
        return _joint_hash({file.name: file.meaning_hash(bodies[file.name]) for file in self.files})


def _joint_hash(hashes: Mapping[str, str]) -> str:
    digests = [f"{path}\n{digest}" for path, digest in hashes.items()]
    return code_hash_of("\n".join(digests))


def read_evolving_files(bundle: ProgramBundle) -> EvolvingFiles:
    """Read the files of a start program."""
    return EvolvingFiles(tuple(read_marked(text, path) for path, text in bundle.files))


def restore_evolving_files(text: str, paths: Sequence[str]) -> EvolvingFiles:
    """Restore the files from the text that a run stores, which must have these paths."""
    bundle = ProgramBundle.decode(text)
    if bundle.paths != tuple(paths):
        raise SpecificationError(
            f"the run stores the files {', '.join(bundle.paths)}, and its settings name {', '.join(paths)}",
            remedy="Restore the run from another copy.",
        )
    return read_evolving_files(bundle)
