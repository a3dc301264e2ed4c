"""Pictures of what programs do, as plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Drawings:
    """Pictures of programs, as far as they could be drawn.

    Attributes:
        pictures: Sanitised SVG files by program id.
        remark: Why some or all pictures are missing; empty if none is, or the problem does not draw.
    """

    pictures: Mapping[str, str] = field(default_factory=dict)
    remark: str = ""


NO_DRAWINGS = Drawings()
