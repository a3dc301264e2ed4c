"""Settings: the limits of one candidate."""

from __future__ import annotations

from pydantic import Field

from overnight.schemas.section import Section


class Limits(Section):
    """Limits of one candidate; a setting, `[tool.overnight.limits]`."""

    wall_s: float = Field(default=30.0, gt=0, le=10_000_000)
    """limit on wall-clock time for each input, seconds"""
    cpu_s: float | None = Field(default=None, gt=0, le=10_000_000)
    """limit on processor time for all inputs together, seconds; default: `wall_s` for each input"""
    memory_mib: int = Field(default=2048, ge=32, le=2**24)
    """limit on memory, MiB"""
    output_kib: int = Field(default=64, ge=1, le=2**20)
    """limit on the output that a candidate prints, KiB"""
    scratch_mib: int = Field(default=0, ge=0, le=2**24)
    """limit on the files a candidate writes to /tmp, MiB; they count as memory"""
