"""Make the ids of runs and programs: short, sortable, and derived from the named thing alone."""

from __future__ import annotations

import hashlib
import re
import secrets
from datetime import datetime

RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}", re.ASCII)
"""Valid run ids."""


def new_run_id(problem: str, now: datetime) -> str:
    """Return a run id such as `20261125-0312-bin-packing-or-7f3a`, which sorts by time and names the problem."""
    return f"{now:%Y%m%d-%H%M}-{slug(problem)}-{secrets.token_hex(2)}"


def slug(name: str) -> str:
    """Return a name reduced to lower-case letters, digits and dashes; at most 40 characters."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:40] or "problem"


def problem_in(run_id: str) -> str:
    """Return the part of a run id that names the problem; empty if the id is of another form."""
    found = re.fullmatch(r"\d{8}-\d{4}-(.+)-[0-9a-f]{4}", run_id)
    return found[1] if found else ""


def program_id(run_id: str, generation: int, index: int) -> str:
    """Return the 12 hex digits that a run, a generation and an index always give."""
    return hashlib.sha256(f"{run_id}/{generation}/{index}".encode()).hexdigest()[:12]
