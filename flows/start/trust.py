"""The user's acceptance of proposals, settings of a problem's files or of a history's runs that need consent.

Code of a plug-in is loaded only for what the user has accepted: `accept` and `trusted_run` return problems with it.

The user accepts a proposal (`schemas/trust.py`) by naming it in a flag or in the configuration file, or by
`--trust-settings`. Accepted proposals are stored by setting and value: a changed address must be accepted again, while
other edits of the file need no new consent. A sandbox backend is accepted for one problem, and only by name, since it
decides whether programs are confined at all.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from overnight.flows.state_folder import require_own, state_folder
from overnight.schemas.algorithm_settings import UnloadedSettings
from overnight.schemas.errors import EnvironmentFault, UntrustedSettings
from overnight.schemas.generation import RunRecord
from overnight.schemas.problem import Problem
from overnight.schemas.settings import load_algorithm
from overnight.schemas.trust import (
    Proposal,
    algorithm_proposals,
    backend_proposal,
    given_proposals,
    model_proposals,
    sandbox_proposals,
)
from overnight.tasks.history.private_files import open_private
from overnight.tasks.program.user_config import user_settings


def accept(
    problem: Problem,
    given: Mapping[str, Any] | None = None,
    *,
    trust: bool = False,
    versions: Mapping[str, str] | None = None,
) -> Problem:
    """Store the proposals of a problem that the user named in flags, then require that all of them are accepted.

    Args:
        problem: Problem with its final settings.
        given: Settings from flags, nested as in TOML.
        trust: Whether `--trust-settings` was given.
        versions: Versions that the run recorded whose problem it is, for the error if a plug-in is missing.

    Returns:
        The problem; the settings of an algorithm of a plug-in are validated in it.

    Raises:
        UntrustedSettings: If a proposal is neither named nor accepted.
        UsageError: If a setting of `given`, of the user's configuration file or of the algorithm is wrong.
        EnvironmentFault: If accepted proposals cannot be stored, or a plug-in is missing or cannot be loaded.
    """
    proposals = proposals_of(problem)
    named = _named(given or {}, problem)
    remember(proposal for proposal in proposals if proposal in named or (trust and not proposal.must_be_named))
    _require(proposals, problem.name, _named(user_settings(), problem))
    return _with_algorithm(problem, versions)


def _with_algorithm(problem: Problem, versions: Mapping[str, str] | None = None) -> Problem:
    """Return a problem with the loaded settings of its algorithm, if that is of a plug-in and accepted."""
    algorithm = problem.settings.search.algorithm
    if not isinstance(algorithm, UnloadedSettings):
        return problem
    _require(algorithm_proposals(algorithm), problem.name, set())
    release = (versions or {}).get(f"overnight.algorithms/{algorithm.name}", "")
    return replace(problem, settings=load_algorithm(problem.settings, problem.name, release))


def trusted_run(run: RunRecord, *, trust: bool = False) -> RunRecord:
    """Return a stored run whose search can be continued or repeated, with the loaded settings of its algorithm.

    Raises:
        UntrustedSettings: If its algorithm is of a plug-in and not accepted.
        UsageError: If a setting of the algorithm is wrong.
        EnvironmentFault: If the plug-in is missing or cannot be loaded.
    """
    if trust:
        remember(algorithm_proposals(run.problem.settings.search.algorithm))
    return replace(run, problem=_with_algorithm(run.problem, run.versions))


def accept_sandbox(problem: Problem, *, trust: bool) -> None:
    """Accept as `accept` does, for commands that run programs but request no completions."""
    if trust:
        remember(sandbox_proposals(problem.settings.sandbox, problem.dependencies))
    require_trusted_sandbox(problem)


def proposals_of(problem: Problem) -> list[Proposal]:
    settings = problem.settings
    algorithm = algorithm_proposals(settings.search.algorithm)
    return [*_bound(model_proposals(settings.sampling), problem), *algorithm, *_sandbox_proposals(problem)]


def require_trusted_sandbox(problem: Problem) -> None:
    """Refuse a backend, image, runtime or download that is not accepted, before a sandbox is opened."""
    _require(_sandbox_proposals(problem), problem.name, _named(user_settings(), problem))


def require_trusted_models(problem: Problem, name: str) -> None:
    """Refuse models and addresses of a problem or run that are not accepted, before completions are requested."""
    _require(_bound(model_proposals(problem.settings.sampling), problem), name, _named(user_settings(), problem))


def can_be_accepted(problem: Problem) -> bool:
    """Return whether all proposals of a problem are accepted, or would be by `--trust-settings`."""
    accepted, configured = _accepted(), _named(user_settings(), problem)
    return all(
        not one.must_be_named or one in configured or (one.setting, one.value) in accepted
        for one in proposals_of(problem)
    )


def remember(proposals: Iterable[Proposal]) -> None:
    """Store proposals as accepted, for this and all later commands of this user."""
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
        with open_private(path, "ab") as file:
            file.write("".join(json.dumps(entry) + "\n" for entry in entries).encode())
    except OSError as error:
        raise EnvironmentFault(
            f"cannot write {path}, the list of settings that you have accepted: {error.strerror}",
            remedy="Name a writable folder: XDG_STATE_HOME=DIR",
        ) from error


def _sandbox_proposals(problem: Problem) -> list[Proposal]:
    sandbox = problem.settings.sandbox
    return _bound([*backend_proposal(sandbox), *sandbox_proposals(sandbox, problem.dependencies)], problem)


def _named(given: Mapping[str, Any], problem: Problem) -> set[Proposal]:
    """Return what the user accepts by naming it in flags or in the configuration file, nested as in TOML."""
    return set(_bound(given_proposals(given), problem))


def _bound(proposals: Iterable[Proposal], problem: Problem) -> list[Proposal]:
    """Return proposals of which those that only the user can name count for one problem as it is now.

    So a choice for a problem of the user's own never counts for a stranger's.
    """
    suffix = f" (for {_hash_of(problem)})"
    return [replace(one, value=one.value + suffix) if one.must_be_named else one for one in proposals]


def _hash_of(problem: Problem) -> str:
    """Return a hash of all code of a problem that its sandbox runs, beside candidates."""
    code = [problem.specification.text, *sorted(f"{file.hash} {file.path}" for file in problem.files)]
    return hashlib.sha256(json.dumps(code).encode()).hexdigest()[:16]


def _require(proposals: Sequence[Proposal], name: str, configured: Set[Proposal]) -> None:
    """Refuse proposals that were accepted neither in the user's configuration file nor earlier."""
    accepted = _accepted() if proposals else set()
    open_proposals = [
        proposal
        for proposal in proposals
        if proposal not in configured and (proposal.setting, proposal.value) not in accepted
    ]
    if open_proposals:
        lines = "".join(f"\n  {proposal.setting} = {proposal.value}: {proposal.effect}" for proposal in open_proposals)
        raise UntrustedSettings(
            f"{name} proposes settings that reach outside of the sandbox, and you have not accepted them:{lines}",
            remedy=next((_NAMED[one.setting] for one in open_proposals if one.must_be_named), _REMEDY),
        )


_REMEDY = (
    "If you trust their source, --trust-settings accepts them until they change. Or name your own: "
    "--model NAME --api-base URL, --image NAME, --runtime NAME, --set search.algorithm=NAME."
)

_NAMED = {
    "sandbox.backend": "Keep the sandbox that comes with Overnight: --set sandbox.backend=docker. Only you can choose "
    "another one, with --set or, for all problems on this machine, as `sandbox.backend` in your configuration file; "
    "--trust-settings does not.",
    "sampling.models": "Only you can name a command or a folder as the model, and only for this problem as it is: "
    "--model NAME, or, for a run from elsewhere, overnight rescore RUN --set sampling.models=NAME; --trust-settings "
    "does not.",
    "sampling.judge": "Only you can name the model that a scoring asks, and only for this problem as it is: --judge "
    "NAME, or [sampling] judge in your configuration file; --trust-settings does not.",
}
"""Remedies for proposals that only the user can name, by setting."""


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
