"""The user's acceptance of proposals, settings of a problem's files or of a history's runs that need consent.

The user accepts a proposal (`schemas/trust.py`) by naming it in a flag or in the configuration file, or by
`--trust-settings`. Accepted proposals are stored by setting and value: a changed address must be accepted again, while
other edits of the file need no new consent.
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
    """Store the proposals of a problem that the user named in flags, then require that all of them are accepted.

    Args:
        problem: Problem with its final settings.
        given: Settings from flags, nested as in TOML.
        trust: Whether `--trust-settings` was given.

    Raises:
        UntrustedSettings: If a proposal is neither named nor accepted.
        UsageError: If a setting of `given` or of the user's configuration file is wrong.
        EnvironmentFault: If accepted proposals cannot be stored.
    """
    proposals = proposals_of(problem)
    named = set(given_proposals(given or {}))
    remember(proposals if trust else [proposal for proposal in proposals if proposal in named])
    _require(proposals, problem.name)


def accept_sandbox(problem: Problem, *, trust: bool) -> None:
    """Accept as `accept` does, for commands that run programs but request no completions."""
    if trust:
        remember(sandbox_proposals(problem.settings.sandbox, problem.dependencies))
    require_trusted_sandbox(problem)


def proposals_of(problem: Problem) -> list[Proposal]:
    """Return all proposals of a problem."""
    settings = problem.settings
    return [*model_proposals(settings.sampling), *sandbox_proposals(settings.sandbox, problem.dependencies)]


def require_trusted_sandbox(problem: Problem) -> None:
    """Require that a problem's image, runtime and downloads are accepted; called before a sandbox is opened.

    Raises:
        UntrustedSettings: If one is not accepted.
    """
    _require(sandbox_proposals(problem.settings.sandbox, problem.dependencies), problem.name)


def require_trusted_models(sampling: Sampling, name: str) -> None:
    """Require that the addresses of models are accepted; called before completions are requested.

    Args:
        sampling: Settings with the models.
        name: Name of the problem or run, for the error message.

    Raises:
        UntrustedSettings: If one is not accepted.
    """
    _require(model_proposals(sampling), name)


def remember(proposals: Iterable[Proposal]) -> None:
    """Store proposals as accepted, for this and all later commands of this user.

    Raises:
        EnvironmentFault: If they cannot be written.
    """
    accepted = _accepted()
    new = [proposal for proposal in proposals if (proposal.setting, proposal.value) not in accepted]
    if not new:
        return
    now = datetime.now(UTC).isoformat(timespec="seconds")
    entries = [{"setting": proposal.setting, "value": proposal.value, "accepted_at": now} for proposal in new]
    path = _path()
    if path.is_symlink() or path.exists():
        require_own(path)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        with open(descriptor, "w", encoding="utf-8") as file:
            file.write("".join(json.dumps(entry) + "\n" for entry in entries))
    except OSError as error:
        raise EnvironmentFault(
            f"cannot write {path}, the list of settings that you have accepted: {error.strerror}",
            remedy="Name a writable folder: XDG_STATE_HOME=DIR",
        ) from error


def _require(proposals: Iterable[Proposal], name: str) -> None:
    proposals = list(proposals)
    if not proposals:
        return
    configured = set(given_proposals(user_settings()))
    accepted = _accepted()
    open_proposals = [
        proposal
        for proposal in proposals
        if proposal not in configured and (proposal.setting, proposal.value) not in accepted
    ]
    if open_proposals:
        lines = "".join(f"\n  {proposal.setting} = {proposal.value}: {proposal.effect}" for proposal in open_proposals)
        raise UntrustedSettings(
            f"{name} proposes settings that reach outside of the sandbox, and you have not accepted them:{lines}",
            remedy="If you trust their source, --trust-settings accepts them until they change. Or name your own: "
            "--model NAME --api-base URL, --image NAME, --runtime NAME.",
        )


def _accepted() -> set[tuple[str, str]]:
    """Return the settings and values that were accepted; lines that a crash has truncated are ignored."""
    try:
        lines = _path().read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return set()
    accepted = set()
    for line in lines:
        try:
            entry = json.loads(line)
            accepted.add((str(entry["setting"]), str(entry["value"])))
        except (ValueError, KeyError, TypeError):
            continue
    return accepted


def _path() -> Path:
    return state_folder() / "accepted-settings.jsonl"
