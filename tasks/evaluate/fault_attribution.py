"""Whose fault it is that a program could not be run: the sandbox's, or its own."""

from __future__ import annotations

from schemas.errors import SandboxUnavailable
from schemas.outcome import Outcome, Verdict
from tasks.evaluate.sandbox import Sandbox


def evaluate_with_retry(sandbox: Sandbox, source: str, *, honest: str) -> Verdict:
    """A verdict that is `sandbox_error` only where the program was run again and the sandbox runs others.

    Args:
        sandbox: Where it runs.
        source: The program.
        honest: One that this sandbox has run before, such as the start program: where that cannot be run either,
            the sandbox is at fault, and nobody is judged.

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
