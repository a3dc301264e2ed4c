"""Decide whether a program that could not be run or the sandbox is at fault."""

from __future__ import annotations

from schemas.bundle import Source
from schemas.errors import SandboxUnavailable
from schemas.outcome import Outcome, Verdict
from tasks.evaluate.sandbox import Sandbox


def evaluate_with_retry(sandbox: Sandbox, source: Source, *, honest: Source) -> Verdict:
    """Evaluate a program; return `sandbox_error` only if it failed twice and the sandbox can run another program.

    Args:
        sandbox: Sandbox that runs the program.
        source: The program.
        honest: A program that this sandbox has run before, such as the start program. If it cannot be run
            either, the sandbox is at fault, and no program is judged.

    Raises:
        SandboxUnavailable: If the sandbox is at fault.
    """
    verdict = sandbox.evaluate(source)
    if verdict.outcome is Outcome.SANDBOX_ERROR:
        verdict = sandbox.evaluate(source)
    if verdict.outcome is not Outcome.SANDBOX_ERROR:
        return verdict
    if sandbox.evaluate(honest).outcome is Outcome.SANDBOX_ERROR:
        raise SandboxUnavailable(
            f"no candidate can be run: {verdict.error}", remedy="`overnight doctor` says what is wrong."
        )
    return verdict
