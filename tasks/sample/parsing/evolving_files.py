"""Parse the body of several evolving files from a completion: whole files, blocks or edits below their paths."""

from __future__ import annotations

from collections.abc import Iterable

from schemas.outcome import Outcome, Verdict
from tasks.program.edits import EditError, parse_edits
from tasks.program.evolving_files import EvolvingFiles
from tasks.program.marked_file import MarkedFile
from tasks.sample.parsing.marked_files import edited_blocks, evolved_blocks
from tasks.sample.parsing.parsed import ParsedCompletion
from tasks.sample.parsing.sections import Section, read_sections

_MAX_NAMED, _MAX_NAME_CHARS = 10, 100
"""Most files, and most characters of each, that an error names."""


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
