"""What comes out of a completion, and the fences in which models write code."""

from __future__ import annotations

import re
from dataclasses import dataclass

from schemas.outcome import Verdict

FENCE = re.compile(r"^[ \t]*(?:```|~~~)[^\n]*\n(.*?)(?:^[ \t]*(?:```|~~~)|\Z)", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class ParsedCompletion:
    """A body and its hash; or no body and the verdict that says why."""

    body: str = ""
    code_hash: str = ""
    verdict: Verdict | None = None
