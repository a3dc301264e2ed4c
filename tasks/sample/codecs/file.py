"""Prompts and completions for one file with marked blocks, and edits of the best version as any codec reads them.

The format of edits is Aider's, which OpenEvolve and ShinkaEvolve use, too: `<<<<<<< SEARCH`, the old lines, `=======`,
the new lines, `>>>>>>> REPLACE`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import chain, zip_longest

from overnight.schemas.errors import SpecificationError
from overnight.schemas.sampling_settings import Model
from overnight.tasks.program.marked_file import END, START, MarkedFile, split_at_marks
from overnight.tasks.sample.codecs import (
    FENCE,
    LONG_LINES,
    ParsedCompletion,
    PromptContent,
    fill_template,
    readable,
    rejected,
    unparsable,
)

_MARKS = tuple(
    re.compile(mark) for mark in (r"[ \t]*<{5,9} ?SEARCH[ \t]*$", r"[ \t]*={5,9}[ \t]*$", r"[ \t]*>{5,9} ?REPLACE")
)
"""Lines before the old lines of an edit, between the old and the new lines, and after the new lines."""


def render(skeleton: MarkedFile, content: PromptContent, model: Model) -> str:  # noqa: ARG001
    """Return the prompt: earlier bodies, and the whole best version; one form for chat and completion models."""
    *earlier, (best, note) = zip_longest(content.bodies, content.notes, fillvalue="")
    return fill_template(
        "file.jinja",
        content,
        skeleton,
        marked=skeleton.has_marks,
        blocks=len(skeleton.fixed) - 1,
        language=skeleton.language,
        name=skeleton.name,
        earlier=earlier,
        note=note,
        file=skeleton.with_body(best).rstrip("\n"),
        is_long=best.count("\n") >= LONG_LINES,
    )


def parse(text: str, skeleton: MarkedFile, shown: int, base: str) -> ParsedCompletion:  # noqa: ARG001
    """Return the blocks in a completion, written out or as edits of the best version."""
    text = readable(text)
    edits = parse_edits(text)
    try:
        blocks = edited_blocks(edits, skeleton, base) if edits else _find_blocks(text, skeleton)
    except EditError as error:
        return unparsable(str(error))
    if blocks is None:
        return unparsable(no_blocks(skeleton))
    if not any(block.strip() for block in blocks):
        return rejected("the blocks are empty")
    body = skeleton.join(blocks)
    return ParsedCompletion(body, skeleton.code_hash(body))


def no_blocks(file: MarkedFile) -> str:
    """Return the error of a completion without the blocks of a file."""
    count = len(file.fixed) - 1
    return f"no code block with the {count} evolved block{'s' if count > 1 else ''}"


def _find_blocks(text: str, file: MarkedFile) -> list[str] | None:
    """Return the evolved blocks that are written out in a completion; `None` if there are none.

    Code blocks with all marks come before those that lack one.
    """
    codes = list(_code_blocks(text))
    whole = (evolved_blocks(code, file) for code, _ in codes)
    halves = (_half_marked_block(code, file) for code, is_cut in codes if not is_cut)
    return next((blocks for blocks in chain(whole, halves) if blocks is not None), None)


def edited_blocks(edits: list[tuple[str, str]], file: MarkedFile, base: str) -> list[str]:
    """Apply edits to the best version and return its evolved blocks.

    Raises:
        EditError: If an edit does not fit, or changes text outside of the marks.
    """
    whole = apply_edits(file.with_body(base or file.start_body), edits)
    if file.fixed == ("", ""):
        return [whole.rstrip("\n")]
    try:
        fixed, blocks = split_at_marks(whole, "the completion")
    except SpecificationError as error:
        raise EditError(f"after the edits: {error}") from error
    if tuple(fixed) != file.fixed:
        raise EditError("the edits change what stands outside of the marks")
    return blocks


def _code_blocks(text: str) -> Iterator[tuple[str, bool]]:
    """Yield the fenced code blocks, the last first; if there are none, the whole text if it has marks.

    Each comes with whether the end of the completion may have cut it off: no fence closes it.
    """
    fenced = [match for match in FENCE.finditer(text) if match[1].strip()]
    yield from ((match[1], match.end() == match.end(1)) for match in reversed(fenced))
    if not fenced and START in text:
        yield text, True


def evolved_blocks(code: str, file: MarkedFile) -> list[str] | None:
    """Return the evolved blocks in a code block; `None` if their number is wrong."""
    count = len(file.fixed) - 1
    if START in code or END in code:
        try:
            _, blocks = split_at_marks(code, "the completion")
        except SpecificationError:
            return None
        return blocks if len(blocks) == count else None
    if count > 1:
        return None
    return [_remove_fixed_text(code, file.fixed[0], file.fixed[-1])]


def _half_marked_block(code: str, file: MarkedFile) -> list[str] | None:
    """Return the evolved block in a code block that has one of its two marks; `None` if it is not clear which it is."""
    lines = code.splitlines()
    marked = [number for number, line in enumerate(lines) if START in line or END in line]
    if len(marked) != 1 or len(file.fixed) != 2:
        return None
    (number,) = marked
    if START in lines[number]:
        return [_remove_fixed_text("\n".join(lines[number + 1 :]), "", file.fixed[-1])]
    return [_remove_fixed_text("\n".join(lines[:number]), file.fixed[0], "")]


def _remove_fixed_text(code: str, head: str, tail: str) -> str:
    """Remove the file's text before and after the evolved block, if the model repeated it."""
    lines, before, after = code.splitlines(), _code_lines(head), _code_lines(tail)
    if before and [line.strip() for line in lines if line.strip()][: len(before)] == before:
        lines = _drop_code_lines(lines, len(before))
    if after and [line.strip() for line in lines if line.strip()][-len(after) :] == after:
        lines = _drop_code_lines(lines[::-1], len(after))[::-1]
    return "\n".join(lines).strip("\n")


def _code_lines(fixed: str) -> list[str]:
    """Return the lines that are neither blank nor marks, without indentation."""
    return [line.strip() for line in fixed.splitlines() if line.strip() and not re.search(f"{START}|{END}", line)]


def _drop_code_lines(lines: list[str], count: int) -> list[str]:
    """Drop lines from the start until `count` of them were not blank."""
    for index, line in enumerate(lines):
        if not count:
            return lines[index:]
        count -= bool(line.strip())
    return []


class EditError(Exception):
    """Error of an edit that cannot be applied."""


def begins_edit(line: str) -> bool:
    """Return whether a line is the mark before the old lines of an edit."""
    return _MARKS[0].match(line) is not None


def ends_edit(line: str) -> bool:
    """Return whether a line is the mark after the new lines of an edit."""
    return _MARKS[2].match(line) is not None


def has_edits(text: str) -> bool:
    """Return whether an edit begins in a completion."""
    return any(map(begins_edit, text.split("\n")))


def parse_edits(text: str) -> list[tuple[str, str]]:
    """Return the old and new lines of each edit in a completion, in order."""
    # Line by line: one pattern for a whole edit would search for its end from every line that may begin one.
    edits: list[tuple[str, str]] = []
    parts: list[str] = []
    for line in text.split("\n"):
        if _MARKS[len(parts)].match(line):
            parts.append("")
        elif parts:
            parts[-1] += f"{line}\n"
        if len(parts) == len(_MARKS):
            edits.append((parts[0], parts[1]))
            parts = []
    return edits


def apply_edits(text: str, edits: Sequence[tuple[str, str]]) -> str:
    """Apply all edits to a text, each at the first match of its old lines, and return the result.

    Spaces at the ends of lines are ignored; so are blank lines where the other old lines are at one place alone. An
    old text that begins or ends within a line has to be at one place alone, too.

    Raises:
        EditError: If the old lines of an edit are not in the text.
    """
    lines = text.splitlines()
    for number, (old, new) in enumerate(edits, start=1):
        place = _find_lines(lines, old.splitlines())
        whole, part = "\n".join(lines), old.strip("\n")
        if place is not None:
            lines[place] = new.splitlines()
        elif part.strip() and whole.count(part) == 1:
            lines = whole.replace(part, new.strip("\n")).split("\n")
        else:
            raise EditError(f"edit {number} of {len(edits)}: the lines to replace are not in the best version")
    return "".join(f"{line}\n" for line in lines)


def _find_lines(lines: Sequence[str], wanted: Sequence[str]) -> slice | None:
    """Return the place of the wanted lines; `None` if they are blank or not found."""
    lines, wanted = [line.rstrip() for line in lines], [line.rstrip() for line in wanted]
    if not any(wanted):
        return None
    exact = next(_matches(lines, wanted), None)
    if exact is not None:
        return slice(exact, exact + len(wanted))
    filled, wanted = [index for index, line in enumerate(lines) if line], [line for line in wanted if line]
    starts = list(_matches([lines[index] for index in filled], wanted))
    if len(starts) != 1:
        return None
    return slice(filled[starts[0]], filled[starts[0] + len(wanted) - 1] + 1)


def _matches(lines: Sequence[str], wanted: Sequence[str]) -> Iterator[int]:
    """Yield the indices at which the wanted lines start."""
    return (start for start in range(len(lines)) if lines[start : start + len(wanted)] == wanted)
