"""Names of runs and programs: short, sortable, and made from nothing but what they name."""

from __future__ import annotations

import hashlib
import re
import secrets
from datetime import datetime

RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}", re.ASCII)
"""What the name of a run may be made of."""


def new_run_id(problem: str, now: datetime) -> str:
    """Like `20261125-0312-bin-packing-or-7f3a`: sorts by time, says what it is about."""
    return f"{now:%Y%m%d-%H%M}-{slug(problem)}-{secrets.token_hex(2)}"


def slug(name: str) -> str:
    """Lower case, digits and dashes."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:40] or "problem"


def program_id(run_id: str, generation: int, index: int) -> str:
    """12 hex digits; the same run, generation and place always give the same id."""
    return hashlib.sha256(f"{run_id}/{generation}/{index}".encode()).hexdigest()[:12]
