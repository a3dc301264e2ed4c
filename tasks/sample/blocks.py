"""From a completion to the body of a marked file: a fenced block with the marks, without them, or the whole file."""

from __future__ import annotations

import re
from collections.abc import Iterator

from schemas.errors import SpecificationError
from schemas.marked import END, START, MarkedFile, cut
from schemas.outcome import Outcome, Verdict
from tasks.sample.extracted import FENCE, Extracted


def extract_blocks(text: str, file: MarkedFile) -> Extracted:
    """The body that a completion gives.

    Args:
        text: The completion.
        file: Says how many blocks there are and what stands around them.

    Returns:
        The body, or a verdict: `UNPARSABLE` or `REJECTED`.
    """
    text = text.replace("\r\n", "\n").replace("\0", "")
    for answer in _answers(text):
        blocks = _blocks(answer, file)
        if blocks is None:
            continue
        body = file.join(blocks)
        if not any(block.strip() for block in blocks):
            return Extracted(verdict=Verdict(Outcome.REJECTED, error="the blocks are empty"))
        return Extracted(body, file.code_hash(body))
    count = len(file.fixed) - 1
    return Extracted(
        verdict=Verdict(Outcome.UNPARSABLE, error=f"no code block with the {count} evolved block{'s' * (count > 1)}")
    )


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
            _, blocks = cut(answer, "the completion")
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
