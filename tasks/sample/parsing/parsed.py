"""Define the result of parsing a completion, and the pattern of fenced code blocks."""

from __future__ import annotations

import re
from dataclasses import dataclass

from schemas.outcome import Verdict

FENCE = re.compile(r"^[ \t]*(?:```|~~~)[^\n]*\n(.*?)(?:^[ \t]*(?:```|~~~)|\Z)", re.MULTILINE | re.DOTALL)


def fence_for(text: str) -> str:
    """Return a fence for a code block that no line of its text closes."""
    return "`" * (max(map(len, re.findall(r"`{3,}", text)), default=2) + 1)


@dataclass(frozen=True, slots=True)
class ParsedCompletion:
    """Result of parsing a completion: a body and its hash, or a verdict with the reason why there is none."""

    body: str = ""
    code_hash: str = ""
    verdict: Verdict | None = None
