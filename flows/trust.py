"""Which proposals of a problem's files or a history's runs the user has accepted.

A proposal (`schemas/trust.py`) is accepted by naming it in a flag or in the user's configuration file, or by
`--trust-settings`. What was accepted is remembered by setting and value: a changed address asks again, an edit
elsewhere in the file does not.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from flows.state_folder import require_own, state_folder
from schemas.errors import EnvironmentFault, UntrustedSettings
from schemas.problem import Problem
from schemas.settings import Sampling
from schemas.trust import Proposal, given_proposals, model_proposals, sandbox_proposals
from schemas.user_config import user_settings


def accept(problem: Problem, given: Mapping[str, Any] | None = None, *, trust: bool = False) -> None:
    """Remember what the user named of a problem's proposals, then require that all of them are accepted.

    Args:
        problem: As it will be searched.
        given: Settings from flags, nested as in TOML.
        trust: Whether `--trust-settings` was given.

    Raises:
        UntrustedSettings: If one is neither named nor accepted.
        UsageError: If a setting of `given` or of the user's configuration file is wrong.
        EnvironmentFault: If what was accepted cannot be remembered.
    """
    proposals = proposals_of(problem)
    named = set(given_proposals(given or {}))
    remember(proposals if trust else [one for one in proposals if one in named])
    _require(proposals, problem.name)


def accept_sandbox(problem: Problem, *, trust: bool) -> None:
    """Like `accept`, for commands that run programs and ask no model."""
    if trust:
        remember(sandbox_proposals(problem.settings.sandbox, problem.dependencies))
    require_trusted_sandbox(problem)


def proposals_of(problem: Problem) -> list[Proposal]:
    """Return all proposals of a problem."""
    settings = problem.settings
    return [*model_proposals(settings.sampling), *sandbox_proposals(settings.sandbox, problem.dependencies)]


def require_trusted_sandbox(problem: Problem) -> None:
    """Require that a problem's image, runtime and downloads are accepted; called wherever a sandbox is opened.

    Raises:
        UntrustedSettings: If one is not.
    """
    _require(sandbox_proposals(problem.settings.sandbox, problem.dependencies), problem.name)


def require_trusted_models(sampling: Sampling, name: str) -> None:
    """Require that the addresses of models are accepted; called wherever models are asked.

    Args:
        sampling: Says which models.
        name: The problem's or the run's, for people.

    Raises:
        UntrustedSettings: If one is not.
    """
    _require(model_proposals(sampling), name)


def remember(proposals: Iterable[Proposal]) -> None:
    """Accept proposals for this and all later commands of this user.

    Raises:
        EnvironmentFault: If they cannot be written down.
    """
    known = _remembered()
    new = [one for one in proposals if (one.setting, one.value) not in known]
    if not new:
        return
    at = datetime.now(UTC).isoformat(timespec="seconds")
    lines = [json.dumps({"setting": one.setting, "value": one.value, "accepted_at": at}) + "\n" for one in new]
    path = _path()
    if path.is_symlink() or path.exists():
        require_own(path)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        with open(descriptor, "w", encoding="utf-8") as file:
            file.write("".join(lines))
    except OSError as error:
        raise EnvironmentFault(
            f"cannot write {path}, which remembers what you accept: {error.strerror}",
            remedy="Name a folder that can be written: XDG_STATE_HOME=DIR",
        ) from error


def _require(proposals: Iterable[Proposal], name: str) -> None:
    proposals = list(proposals)
    if not proposals:
        return
    configured = set(given_proposals(user_settings()))
    known = _remembered()
    unknown = [one for one in proposals if one not in configured and (one.setting, one.value) not in known]
    if unknown:
        lines = "".join(f"\n  {one.setting} = {one.value}: {one.effect}" for one in unknown)
        raise UntrustedSettings(
            f"{name} proposes settings that reach outside of the sandbox, and you have not accepted them:{lines}",
            remedy="If you trust where they come from: --trust-settings accepts them, until they change. Or name your "
            "own: --model NAME --api-base URL, --image NAME, --runtime NAME.",
        )


def _remembered() -> set[tuple[str, str]]:
    """Settings and values that were accepted; lines that a crash cut off are none."""
    try:
        lines = _path().read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return set()
    found = set()
    for line in lines:
        try:
            entry = json.loads(line)
            found.add((str(entry["setting"]), str(entry["value"])))
        except (ValueError, KeyError, TypeError):
            continue
    return found


def _path() -> Path:
    return state_folder() / "accepted-settings.jsonl"
