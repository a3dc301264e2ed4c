"""From a completion to the body of a marked file: the block, with marks or without, the whole file, or edits of it."""

from __future__ import annotations

import re
from collections.abc import Iterator

from schemas.errors import SpecificationError
from schemas.marked_file import END, START, MarkedFile, split_at_marks
from schemas.outcome import Outcome, Verdict
from tasks.sample.parsing.edits import EditError, edited, edits_of
from tasks.sample.parsing.parsed import FENCE, ParsedCompletion


def parse_marked_file(text: str, file: MarkedFile, base: str = "") -> ParsedCompletion:
    """The body that a completion gives.

    Args:
        text: The completion.
        file: Says how many blocks there are and what stands around them.
        base: The body of the best version that was shown, which edits begin with; by default the file's own.

    Returns:
        The body, or a verdict: `UNPARSABLE` or `REJECTED`.
    """
    text = text.replace("\r\n", "\n").replace("\0", "")
    try:
        blocks = _edited(edits, file, base) if (edits := edits_of(text)) else _written(text, file)
    except EditError as error:
        return ParsedCompletion(verdict=Verdict(Outcome.UNPARSABLE, error=str(error)))
    if blocks is None:
        count = len(file.fixed) - 1
        said = f"no code block with the {count} evolved block{'s' * (count > 1)}"
        return ParsedCompletion(verdict=Verdict(Outcome.UNPARSABLE, error=said))
    if not any(block.strip() for block in blocks):
        return ParsedCompletion(verdict=Verdict(Outcome.REJECTED, error="the blocks are empty"))
    body = file.join(blocks)
    return ParsedCompletion(body, file.code_hash(body))


def _written(text: str, file: MarkedFile) -> list[str] | None:
    """The blocks as they are written out; `None` where none are."""
    return next((blocks for answer in _answers(text) if (blocks := _blocks(answer, file)) is not None), None)


def _edited(edits: list[tuple[str, str]], file: MarkedFile, base: str) -> list[str]:
    """The blocks of the best version once it is edited.

    Raises:
        EditError: If an edit does not fit, or changes what stands outside of the marks.
    """
    whole = edited(file.with_body(base or file.start_body), edits)
    if file.fixed == ("", ""):
        return [whole.rstrip("\n")]
    try:
        fixed, blocks = split_at_marks(whole, "the completion")
    except SpecificationError as error:
        raise EditError(f"after the edits: {error}") from error
    if tuple(fixed) != file.fixed:
        raise EditError("the edits change what stands outside of the marks")
    return blocks


def _answers(text: str) -> Iterator[str]:
    """The fenced blocks, the last first; without any, the text, where it has marks."""
    fenced = [match for match in FENCE.findall(text) if match.strip()]
    yield from reversed(fenced)
    if not fenced and START in text:
        yield text


def _blocks(answer: str, file: MarkedFile) -> list[str] | None:
    count = len(file.fixed) - 1
    if START in answer or END in answer:
        try:
            _, blocks = split_at_marks(answer, "the completion")
        except SpecificationError:
            return None
        return blocks if len(blocks) == count else None
    if count > 1:
        return None
    return [_without(answer, file.fixed[0], file.fixed[-1])]


def _without(answer: str, head: str, tail: str) -> str:
    """The answer without what stands around the block in the file, if a model wrote that down, too."""
    lines, before, after = answer.splitlines(), _code(head), _code(tail)
    if before and [line.strip() for line in lines if line.strip()][: len(before)] == before:
        lines = _dropped(lines, len(before))
    if after and [line.strip() for line in lines if line.strip()][-len(after) :] == after:
        lines = _dropped(lines[::-1], len(after))[::-1]
    return "\n".join(lines).strip("\n")


def _code(fixed: str) -> list[str]:
    return [line.strip() for line in fixed.splitlines() if line.strip() and not re.search(f"{START}|{END}", line)]


def _dropped(lines: list[str], count: int) -> list[str]:
    """Without the first `count` lines that are not empty."""
    for place, line in enumerate(lines):
        if not count:
            return lines[place:]
        count -= bool(line.strip())
    return []
