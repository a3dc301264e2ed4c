"""Sandboxes of a problem: slots for evaluations, and fresh containers for confirmations."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from typing import Any

from overnight.flows.start.trust import require_trusted_sandbox
from overnight.schemas.dependencies import Dependencies
from overnight.schemas.errors import EnvironmentFault, SandboxUnavailable, SpecificationError, UsageError
from overnight.schemas.job import Job
from overnight.schemas.outcome import QUESTION_REFUSED, Outcome, Verdict
from overnight.schemas.problem import Problem, Split
from overnight.schemas.question import Ask
from overnight.schemas.settings import Sandbox, Settings
from overnight.tasks.evaluate.confirmation import confirmation
from overnight.tasks.evaluate.pool import FreshContainerPool, SandboxPool, open_fresh_pool, open_pool
from overnight.tasks.evaluate.registry import create_backend
from overnight.tasks.evaluate.sandbox import SandboxBackend
from overnight.tasks.program.user_config import config_path, user_agent


def open_sandboxes(
    problem: Problem,
    split: Split,
    *,
    seed: int,
    run_id: str,
    isolation: bool | None = None,
    programs: int | None = None,
    inputs: int | None = None,
    ask: Ask | None = None,
) -> SandboxPool:
    """Start slots for one split of a problem's inputs; they are removed when the context is left.

    Args:
        problem: Problem to evaluate programs on.
        split: Split whose inputs are used.
        seed: Seed of the run.
        run_id: Id of the run.
        isolation: Whether evaluation is isolated, with a process for the evolved function; by default, as in the
            settings. `True` has the time limits of a confirmation.
        programs: Number of programs to evaluate, if known; no more slots are started than that.
        inputs: Number of inputs that are used, from the first one on; by default all.
        ask: Answers questions of the scoring; `None` if no model is named.
    """
    slots = slots_of(problem)
    job = problem.job(split, seed, isolation=isolation).on_first(inputs)
    job = confirmation(job, problem.settings.noise) if isolation else job
    return open_job(problem, job, run_id, slots=slots if programs is None else max(1, min(slots, programs)), ask=ask)


def open_job(problem: Problem, job: Job, run_id: str, *, slots: int, ask: Ask | None) -> SandboxPool:
    """Start slots for a job of a problem; they are removed when the context is left."""
    return open_pool(job, slots=slots, ask=ask, **containers_of(problem, run_id))


def containers_of(problem: Problem, run_id: str) -> dict[str, Any]:
    """Return the image of a problem, and how its containers are run and found."""
    sandbox = problem.settings.sandbox
    labels = {"overnight.run": run_id}
    return {"image": image_of(problem), "backend": sandbox.backend, "labels": labels, "runtime": sandbox.runtime}


def require_ran(verdict: Verdict) -> Verdict:
    """Return a verdict.

    Raises:
        SandboxUnavailable: If the sandbox could not run the program.
        SpecificationError: If a question of the scoring was refused.
    """
    if verdict == QUESTION_REFUSED:
        raise SpecificationError(
            verdict.error, remedy="Ask what the provider of the model answers, or name another model: --judge MODEL"
        )
    if verdict.outcome is Outcome.SANDBOX_ERROR:
        raise SandboxUnavailable(
            f"the sandbox could not run the program: {verdict.error}", remedy="`overnight doctor` says what is wrong."
        )
    return verdict


def open_confirmations(problem: Problem, *, seed: int, run_id: str, ask: Ask | None = None) -> FreshContainerPool:
    """Return a pool that confirms programs on the training inputs; it starts no container before the first program."""
    job = confirmation(problem.job("train", seed, isolation=True), problem.settings.noise)
    return open_fresh_pool(job, slots=slots_of(problem), ask=ask, **containers_of(problem, run_id))


def slots_of(problem: Problem) -> int:
    """Return the number of slots of a problem: that of its settings, or the number of processors."""
    return problem.settings.sandbox.slots or os.cpu_count() or 1


def require_sandbox(sandbox: Sandbox) -> None:
    """Raise an error unless the backend of the settings exists, answers, and has their image and runtime."""
    with contextlib.closing(create_backend(sandbox.backend)) as backend:
        backend.require(sandbox.image, sandbox.runtime)


def image_id(sandbox: Sandbox) -> str:
    """Return the id of the settings' image, which a run records; raise SandboxUnavailable if there is none."""
    with contextlib.closing(create_backend(sandbox.backend)) as backend:
        return backend.image_id(sandbox.image)


def require_agents(settings: Settings) -> None:
    """Raise a UsageError unless all agents of the settings are defined, and the sandbox can confine them."""
    for model in settings.sampling.models:
        if model.agent:
            user_agent(model.agent)
    if not settings.sampling.has_agents:
        return
    backend = settings.sandbox.backend
    with contextlib.closing(create_backend(backend)) as created:
        if not created.own_users:
            raise UsageError(
                f"agents work in containers, which the sandbox {backend!r} has not: it would give them your rights",
                remedy="Use the Docker engine (--sandbox docker), or leave the agent out: --model NAME",
            )


def agent_image(name: str, problem: Problem, backend: SandboxBackend, note: Callable[[str], None]) -> str:
    """Return the name of an agent's image; build it if necessary.

    Beside the agent it has the packages of the problem, so that programs run there; not if the agent names an image of
    its own.

    Raises:
        UsageError: If the agent is not defined, or its packages do not exist.
        EnvironmentFault: If the image cannot be obtained.
    """
    agent, sandbox = user_agent(name), problem.settings.sandbox
    of_problem = () if agent.image else problem.dependencies.packages
    packages = tuple(sorted({*agent.packages, *of_problem}))
    try:
        return backend.prepare(
            agent.image or sandbox.image, Dependencies(packages, npm=tuple(sorted(agent.npm))), (), note
        )
    except SpecificationError as error:
        raise UsageError(
            f"the image of the agent {name} cannot be built: {error.message}",
            remedy=f"Correct `packages` of [agents.{name}] in {config_path()}, or name an image that has the agent and "
            f"{', '.join(of_problem) or 'what it needs'}: `image`.",
        ) from error
    except EnvironmentFault as error:
        raise EnvironmentFault(
            f"the image of the agent {name} cannot be built: {error.message}", remedy=error.remedy
        ) from error


def build_agent_images(problem: Problem, note: Callable[[str], None]) -> None:
    """Build the images of a problem's agents that are missing, which takes minutes the first time.

    Raises:
        UsageError, EnvironmentFault: As for `require_agents` and `agent_image`.
    """
    names = dict.fromkeys(model.agent for model in problem.settings.sampling.models if model.agent)
    require_agents(problem.settings)
    for name in names:
        with contextlib.closing(create_backend(problem.settings.sandbox.backend)) as backend:
            agent_image(name, problem, backend, lambda text, of=name: note(f"agent {of}: {text}"))


def image_of(problem: Problem, note: Callable[[str], None] = lambda _: None) -> str:
    """Return the name of a problem's image, the sandbox image with the problem's additions; build it if necessary.

    `note` takes a message about a step that takes long.

    Raises:
        UntrustedSettings: If the backend, the image, the runtime or a download is not accepted.
        UsageError: If there is no such backend.
        SpecificationError: If a package does not exist, or the sandbox image's Python does not suit the problem.
        EnvironmentFault: If the image cannot be obtained.
    """
    require_trusted_sandbox(problem)
    sandbox = problem.settings.sandbox
    with contextlib.closing(create_backend(sandbox.backend)) as backend:
        return backend.prepare(sandbox.image, problem.dependencies, problem.files, note)
