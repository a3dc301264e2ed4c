"""Prompts and completions for several files that evolve together.

Models name a file in the info string of a code block, alone on the line above it, in a comment that is its first line,
or in a sentence above it; edits stand below the path, inside a code block or without one. All of these are read, in
this order of preference.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from overnight.schemas.sampling_settings import Model
from overnight.tasks.program.evolving_files import EvolvingFiles
from overnight.tasks.program.marked_file import MarkedFile
from overnight.tasks.sample.codecs import (
    LONG_LINES,
    ParsedCompletion,
    PromptContent,
    fence_for,
    fill_template,
    readable,
    rejected,
    unparsable,
)
from overnight.tasks.sample.codecs.file import (
    EditError,
    begins_edit,
    edited_blocks,
    ends_edit,
    evolved_blocks,
    no_blocks,
    parse_edits,
)

_FENCE = re.compile(r"([ \t]*)(`{3,}|~{3,})(.*)")
_COMMENT = re.compile(r"[ \t]*(?:#|//|/\*|<!--|--|;|%|\"\"\")")
_PATH = re.compile(r"(?:\.{0,2}/)*(?:[\w@+-][\w.@+-]*/)*[\w@+-][\w.@+-]*\.[A-Za-z][A-Za-z0-9]{0,5}")
_BETWEEN_WORDS = re.compile(r"[\s`*'\"()\[\]<>{}:,;=|!]+")
_LABEL_WORDS = frozenset(
    {"file", "filename", "name", "path", "new", "updated", "modified", "edited", "changed", "the", "in"}
)
_MAX_LABEL_CHARS = 2000
_MAX_SCANS = 10
"""Limit on how often a completion is read in search of the ends of code blocks with edits, which may be nested."""

_CLOSING_INDENT = 3
"""Most spaces by which a closing fence is indented deeper than the opening one, as in CommonMark."""

_MAX_COMPARED_LINES = 2000
"""Most lines of a file that are compared: the time may grow with the square of their number."""

_MAX_DIFF_LINES = 120
"""Most lines that a prompt shows of what changed from one version to the next."""

_MAX_NAMED, _MAX_NAME_CHARS = 10, 100
"""Most files, and most characters of each, that an error names."""


def render(skeleton: EvolvingFiles, content: PromptContent, model: Model) -> str:  # noqa: ARG001
    """Return the prompt: what earlier versions changed, then all files of the best one; one form for all models."""
    *earlier, last = content.bodies
    files = [(path, text.rstrip("\n")) for path, text in skeleton.program(last).files]
    better = ()
    if content.shows_best:
        change = _diff(skeleton, last, earlier.pop())
        better = (content.notes[-2] if content.notes else "scores more", fence_for(change), change)
    changes = [change for pair in pairwise([*earlier, last]) if (change := _diff(skeleton, *pair))]
    return fill_template(
        "files.jinja",
        content,
        skeleton,
        note=content.notes[-1] if content.notes else "",
        marked=any(file.has_marks for file in skeleton.files),
        better=better,
        changes=[(fence_for(change), change) for change in changes],
        files=[
            (path, fence_for(text), file.language, text)
            for file, (path, text) in zip(skeleton.files, files, strict=True)
        ],
        is_long=any(body.count("\n") >= LONG_LINES for body in skeleton.split(last).values()),
    )


def parse(text: str, skeleton: EvolvingFiles, shown: int, base: str) -> ParsedCompletion:  # noqa: ARG001
    """Return the bodies of the files in a completion; a file that it leaves out stays as it is in the base."""
    bodies = skeleton.split(base or skeleton.start_body)
    try:
        changed = _changed_bodies(read_sections(readable(text), skeleton.paths), skeleton, bodies)
    except EditError as error:
        return unparsable(str(error))
    if not any(body.strip() for body in changed.values()):
        return rejected("the files are empty")
    body = skeleton.join(bodies | changed)
    return ParsedCompletion(body, skeleton.code_hash(body))


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
            faults[path] = f"{path}: {no_blocks(files[path])}"
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


@dataclass(frozen=True, slots=True)
class Section:
    """A code block, or an edit.

    Attributes:
        path: Path that is given for it; empty if there is none.
        text: Lines of the code block, or of the edit with its marks.
        is_edit: Whether it is an edit.
    """

    path: str
    text: str
    is_edit: bool


@dataclass(frozen=True, slots=True)
class _Label:
    """A path that a line names.

    Attributes:
        path: The path; empty if the line names none.
        is_alone: Whether the line does nothing but name it.
    """

    path: str = ""
    is_alone: bool = False


def read_sections(text: str, known: Collection[str]) -> Iterator[Section]:
    """Yield the code blocks and edits of a completion, in order.

    Args:
        text: Text of the completion.
        known: Paths of the files that may be named in a sentence; other paths count only where they stand alone.
    """
    lines = text.split("\n")
    label, edited, place, scanned = _Label(), "", 0, 0
    while place < len(lines):
        line, fence = lines[place], _FENCE.fullmatch(lines[place])
        place += 1
        if begins_edit(line):
            end = _edit_end(lines, place)
            edited = label.path or edited
            yield Section(edited, "\n".join(lines[place - 1 : end]), is_edit=True)
            place = end
        elif fence and not (fence[2][0] == "`" and "`" in fence[3]) and scanned <= _MAX_SCANS * len(lines):
            end = _block_end(lines, place, fence)
            info = _label(fence[3], known, is_info=True)
            label = info if info.path else label
            if any(map(begins_edit, lines[place:end])):
                # The lines inside are read like those outside; the closing fence names nothing.
                if end < len(lines):
                    lines[end] = ""
                scanned += end - place
                continue
            # In a list of Markdown, blocks are indented as their fences are.
            yield _block([line.removeprefix(fence[1]) for line in lines[place:end]], label, known)
            label, place = _Label(), end + 1
        elif line.strip():
            label = _label(line, known)


def _edit_end(lines: Sequence[str], place: int) -> int:
    """Return the index after the last line of an edit that has begun before `place`."""
    while place < len(lines):
        place += 1
        if ends_edit(lines[place - 1]):
            break
    return place


def _block_end(lines: Sequence[str], place: int, fence: re.Match[str]) -> int:
    """Return the index of the fence that closes a code block; the number of lines if there is none."""
    while place < len(lines):
        if begins_edit(lines[place]):
            place = _edit_end(lines, place + 1)
            continue
        other = _FENCE.fullmatch(lines[place])
        if (
            other
            and other[2].startswith(fence[2])
            and not other[3].strip()
            and len(other[1]) <= len(fence[1]) + _CLOSING_INDENT
        ):
            return place
        place += 1
    return len(lines)


def _block(lines: list[str], label: _Label, known: Collection[str]) -> Section:
    """Return a code block; a comment that only names its file is left out, unless the path is known from elsewhere."""
    first = _label(lines[0], known) if lines and _COMMENT.match(lines[0]) else _Label()
    if first.is_alone and not label.is_alone:
        return Section(first.path, "\n".join(lines[1:]), is_edit=False)
    return Section(label.path, "\n".join(lines), is_edit=False)


def _label(line: str, known: Collection[str], *, is_info: bool = False) -> _Label:
    """Return the path that a line names, or the info string of a code block."""
    if len(line) > _MAX_LABEL_CHARS:
        return _Label()
    words = [word for word in map(_cleaned, _BETWEEN_WORDS.split(line)) if re.search(r"\w", word)]
    mentioned = {word for word in words if word in known} or {path for path in known if " " in path and path in line}
    if len(mentioned) == 1:
        others = [word for word in words if word not in mentioned and word.lower() not in _LABEL_WORDS]
        return _Label(mentioned.pop(), is_info or not others)
    if mentioned:
        return _Label()
    paths = [word for word in words if _PATH.fullmatch(word)]
    others = [word for word in words if word not in paths and word.lower() not in _LABEL_WORDS]
    return _Label(paths[0], is_alone=True) if len(paths) == 1 and (is_info or not others) else _Label()


def _cleaned(word: str) -> str:
    """Return a word without the point after it, signs of a comment around it, and `./` before it."""
    word = word.strip("#%").rstrip(".")
    for sign in ("//", "/*", "--", "*/", "-->"):
        word = word.removeprefix(sign).removesuffix(sign)
    return word.removeprefix("./")
