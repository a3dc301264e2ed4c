"""Prompts and completions for several files that evolve together."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from itertools import pairwise

from schemas.outcome import Outcome, Verdict
from schemas.sampling_settings import Model
from tasks.program.edits import EditError, parse_edits
from tasks.program.evolving_files import EvolvingFiles
from tasks.program.marked_file import MarkedFile
from tasks.sample.codecs.codec import LONG_LINES, ParsedCompletion, PromptContent, fence_for, templates
from tasks.sample.codecs.file import edited_blocks, evolved_blocks
from tasks.sample.sections import Section, read_sections

_MAX_COMPARED_LINES = 2000
"""Most lines of a file that are compared: the time may grow with the square of their number."""

_MAX_DIFF_LINES = 120
"""Most lines that a prompt shows of what changed from one version to the next."""

_MAX_NAMED, _MAX_NAME_CHARS = 10, 100
"""Most files, and most characters of each, that an error names."""


class FilesCodec:
    """Codec of `EvolvingFiles`: what earlier versions changed, then all files of the best version."""

    def render(self, skeleton: EvolvingFiles, content: PromptContent, model: Model) -> str:  # noqa: ARG002
        """Return the prompt, which has one form for chat and completion models."""
        bodies = content.bodies
        files = [(path, text.rstrip("\n")) for path, text in skeleton.program(bodies[-1]).files]
        changes = [change for older, newer in pairwise(bodies) if (change := _diff(skeleton, older, newer))]
        return (
            templates()
            .get_template("files.jinja")
            .render(
                **content.facts,
                wanted="" if content.has_system_message else content.statement,
                note=content.notes[-1] if content.notes else "",
                marked=any(file.has_marks for file in skeleton.files),
                changes=[(fence_for(change), change) for change in changes],
                files=[
                    (path, fence_for(text), file.language, text)
                    for file, (path, text) in zip(skeleton.files, files, strict=True)
                ],
                is_long=any(body.count("\n") >= LONG_LINES for body in skeleton.split(bodies[-1]).values()),
            )
        )

    def parse(self, text: str, skeleton: EvolvingFiles, shown: int, base: str) -> ParsedCompletion:  # noqa: ARG002
        """Return the bodies of the files in a completion."""
        return parse_evolving_files(text, skeleton, base)


def _diff(skeleton: EvolvingFiles, older: str, newer: str) -> str:
    """Return the changes between two versions of all files, shortened; empty if there are none."""
    before, after = skeleton.split(older), skeleton.split(newer)
    lines: list[str] = []
    for path in skeleton.paths:
        texts = (before[path].split("\n"), after[path].split("\n"))
        if max(map(len, texts)) <= _MAX_COMPARED_LINES:
            lines += difflib.unified_diff(*texts, path, path, lineterm="", n=1)
        elif texts[0] != texts[1]:
            lines.append(f"{path}: too long to compare")
    return "\n".join([*lines[:_MAX_DIFF_LINES], "…"] if len(lines) > _MAX_DIFF_LINES else lines)


def parse_evolving_files(text: str, skeleton: EvolvingFiles, base: str = "") -> ParsedCompletion:
    """Return the body that a completion contains; a file that it leaves out stays as it is in the base.

    Args:
        text: Text of the completion.
        skeleton: The evolving files.
        base: Body of the best version in the prompt, to which edits are applied; by default the start program's own.

    Returns:
        The body, or a verdict: `UNPARSABLE` or `REJECTED`.
    """
    text = text.replace("\r\n", "\n").replace("\0", "")
    bodies = skeleton.split(base or skeleton.start_body)
    try:
        changed = _changed_bodies(read_sections(text, skeleton.paths), skeleton, bodies)
    except EditError as error:
        return ParsedCompletion(verdict=Verdict(Outcome.UNPARSABLE, error=str(error)))
    if not any(body.strip() for body in changed.values()):
        return ParsedCompletion(verdict=Verdict(Outcome.REJECTED, error="the files are empty"))
    body = skeleton.join(bodies | changed)
    return ParsedCompletion(body, skeleton.code_hash(body))


def _changed_bodies(sections: Iterable[Section], skeleton: EvolvingFiles, bodies: dict[str, str]) -> dict[str, str]:
    """Return the new body of each file that the sections change, by path.

    Raises:
        EditError: If they change no file, another file, or one in a way that does not fit.
    """
    files = {file.name: file for file in skeleton.files}
    only = skeleton.paths[0] if len(files) == 1 else ""
    changed: dict[str, str] = {}
    faults: dict[str, str] = {}
    for section in sections:
        path = section.path or only
        if not path and section.is_edit:
            raise EditError(f"an edit without the path of its file above it, expected one of {_names(skeleton)}")
        if not path:
            continue  # code that explains something
        if path not in files:
            raise EditError(
                f"{path[:_MAX_NAME_CHARS]!r} is not a file that evolves, expected one of {_names(skeleton)}"
            )
        blocks = _blocks(section, files[path], changed.get(path, bodies[path]))
        if blocks is None:
            count = len(files[path].fixed) - 1
            faults[path] = f"{path}: no code block with the {count} evolved block{'s' if count > 1 else ''}"
        else:
            changed[path] = files[path].join(blocks)
    if unread := [fault for path, fault in faults.items() if path not in changed]:
        raise EditError(unread[0])
    if not changed:
        raise EditError(f"no code block below the path of a file, expected one of {_names(skeleton)}")
    return changed


def _blocks(section: Section, file: MarkedFile, body: str) -> list[str] | None:
    """Return the evolved blocks of a file after a section; `None` if their number is wrong.

    Raises:
        EditError: If an edit does not fit.
    """
    if not section.is_edit:
        return evolved_blocks(section.text, file)
    edits = parse_edits(section.text)
    if not edits:
        raise EditError(f"{file.name}: an edit that has no end")
    try:
        return edited_blocks(edits, file, body)
    except EditError as error:
        raise EditError(f"{file.name}: {error}") from error


def _names(skeleton: EvolvingFiles) -> str:
    named = [path[:_MAX_NAME_CHARS] for path in skeleton.paths[:_MAX_NAMED]]
    return ", ".join([*named, "…"] if len(skeleton.paths) > _MAX_NAMED else named)


CODEC = FilesCodec()
