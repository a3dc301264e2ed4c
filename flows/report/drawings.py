"""Draw programs of a run: in the sandbox, with the function or command of the problem, under the limits of candidates.

Nothing here changes a run. Pictures are kept outside of its history, in this user's state folder, so that a report
after a night shows them at once.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path

from overnight.flows.start.sandboxes import containers_of, image_of, slots_of
from overnight.flows.state_folder import state_folder
from overnight.schemas.bundle import ProgramBundle
from overnight.schemas.errors import OvernightError
from overnight.schemas.job import Job
from overnight.schemas.outcome import Verdict
from overnight.schemas.problem import Problem
from overnight.schemas.report_data import NO_DRAWINGS, Drawings
from overnight.tasks.evaluate.pool import open_pool
from overnight.tasks.report.sanitised_svg import DrawingRefused, sanitise

TOTAL_S = 60.0
"""Longest time that all programs together are drawn, and that one is, seconds without those of waiting for a slot."""

_MAX_KEPT = 300
"""Number of pictures that are kept in the state folder."""


def draw_programs(
    problem: Problem, bodies: Mapping[str, str], *, seed: int, run_id: str, note: Callable[[str], None] = lambda _: None
) -> Drawings:
    """Draw what programs do with the last training input, by program id; what fails is a remark, never an error.

    `note` takes a message about a step that takes long.
    """
    if not problem.draws or not bodies:
        return NO_DRAWINGS
    try:
        job, image = problem.drawing_job(seed), image_of(problem, note)
        folder = _kept_pictures()
    except OvernightError as error:
        return Drawings(remark=f"not drawn: {error.message}")
    programs = {name: problem.specification.program(body) for name, body in bodies.items()}
    keys = {name: _key(job, image, program) for name, program in programs.items()}
    pictures = {name: kept for name in programs if (kept := _read(folder / keys[name]))}
    missing = {name: program for name, program in programs.items() if name not in pictures}
    try:
        verdicts, reasons = _run(problem, run_id, job, missing) if missing else ({}, {})
    except OvernightError as error:
        return Drawings(pictures, f"not drawn: {error.message}")
    for name, verdict in verdicts.items():
        try:
            pictures[name] = _picture(verdict)
        except DrawingRefused as error:
            reasons[name] = error.message
        else:
            _keep(folder / keys[name], pictures[name])
    return Drawings(pictures, _remark(reasons, len(programs)))


def _run(
    problem: Problem, run_id: str, job: Job, programs: Mapping[str, ProgramBundle]
) -> tuple[dict[str, Verdict], dict[str, str]]:
    """Run programs until the total time is over; return their verdicts, and why others have none, by program id."""
    slots, spent = min(slots_of(problem), len(programs)), list[float]()
    limits = job.limits.model_copy(update={"wall_s": min(job.limits.wall_s, TOTAL_S)})

    def run(program: ProgramBundle) -> Verdict | None:
        if sum(spent) >= slots * TOTAL_S:
            return None
        verdict = pool.evaluate(program)
        spent.append(verdict.wall_s)
        return verdict

    with (
        ThreadPoolExecutor(slots, "overnight-drawing") as threads,
        open_pool(replace(job, limits=limits), slots=slots, **containers_of(problem, run_id)) as pool,
    ):
        found = dict(zip(programs, threads.map(run, programs.values()), strict=True))
    late = {name: f"drawing all took more than {TOTAL_S:g} s" for name, verdict in found.items() if verdict is None}
    return {name: verdict for name, verdict in found.items() if verdict is not None}, late


def _picture(verdict: Verdict) -> str:
    if not verdict.is_scored:
        raise DrawingRefused(verdict.error)
    return sanitise(verdict.drawing)


def _remark(reasons: Mapping[str, str], programs: int) -> str:
    """Return why pictures are missing, with the first reason; empty if none is."""
    if not reasons:
        return ""
    name, reason = next(iter(reasons.items()))
    return f"{len(reasons)} of {programs} programs not drawn; {name}: {reason[:300]}"


def _key(job: Job, image: str, program: ProgramBundle) -> str:
    """Return the name of the file that keeps a picture: a hash of all that decides what it shows."""
    text = json.dumps([asdict(job), image, program.files], default=repr, sort_keys=True)
    return f"{hashlib.sha256(text.encode('utf-8', 'surrogatepass')).hexdigest()}.svg"


def _kept_pictures() -> Path:
    folder = state_folder() / "drawings"
    with contextlib.suppress(OSError):
        folder.mkdir(mode=0o700, exist_ok=True)
    return folder


def _read(path: Path) -> str:
    """Return a kept picture, sanitised as this version does it; empty if there is none."""
    try:
        return sanitise(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, DrawingRefused):
        return ""


def _keep(path: Path, picture: str) -> None:
    """Keep a picture, and remove the oldest ones; where that is not possible, it is drawn again the next time."""
    with contextlib.suppress(OSError):
        path.write_text(picture, encoding="utf-8")
        kept = sorted(path.parent.glob("*.svg"), key=lambda file: file.stat().st_mtime)
        for file in kept[:-_MAX_KEPT]:
            file.unlink(missing_ok=True)
