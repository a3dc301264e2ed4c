"""All errors that a user can meet, each with a message and a remedy."""

from __future__ import annotations

import errno
import os
import re
from enum import IntEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

_KEY_VARIABLE = re.compile(r"(?:^|_)(?:API)?(?:KEY|TOKEN|SECRET|PASSWORD)S?(?:_|$)", re.IGNORECASE)
"""Names of environment variables that hold keys."""

_LEAST_KEY_CHARS = 8
"""Length from which a value is taken for a key; shorter ones, such as `none`, are words of messages."""


def without_keys(text: str) -> str:
    """Replace the values of key variables, since providers repeat a key that they refuse; errors are kept and sent."""
    values = (value.strip() for name, value in os.environ.items() if _KEY_VARIABLE.search(name))
    for value in sorted(values, key=len, reverse=True):
        if len(value) >= _LEAST_KEY_CHARS:
            text = text.replace(value, "…")
    return text


def in_words(problem: ErrorDetails, got: str) -> str:
    """Return what pydantic found wrong with a value, and the value, unless our own words name it already."""
    said = problem["msg"].removeprefix("Value error, ")
    return said if problem["type"] == "value_error" and ", got " in said else f"{said}, got {got}"


class ExitCode(IntEnum):
    """Exit code of the `overnight` command."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    ENVIRONMENT = 3
    INTERRUPTED = 130
    TERMINATED = 143


EXIT_CODES = {
    ExitCode.DONE: "done",
    ExitCode.FAILED: "the search, the query or the comparison failed",
    ExitCode.USAGE: "wrong usage or a wrong specification",
    ExitCode.ENVIRONMENT: "the environment is at fault: engine, image, key, disk",
    ExitCode.INTERRUPTED: "interrupted by Ctrl-C",
    ExitCode.TERMINATED: "ended by SIGTERM",
}
"""Meaning of each exit code."""


class OvernightError(Exception):
    """An error that is printed without a traceback. Its message holds no key.

    Attributes:
        exit_code: Exit code of the command line.
        remedy: Next step for the user, usually a command; empty if there is none.
    """

    exit_code = ExitCode.FAILED

    def __init__(self, message: str, *, remedy: str = "") -> None:
        self.message = without_keys(message)
        super().__init__(self.message)
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message}\n{self.remedy}" if self.remedy else self.message

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), self.message, self.remedy)


def _rebuild(kind: type[OvernightError], message: str, remedy: str) -> OvernightError:
    return kind(message, remedy=remedy)


class Outage(OvernightError):
    """A resource does not answer now but may later; a night waits for it as long as its stop conditions allow."""


class UsageError(OvernightError):
    """A wrong command, setting or name."""

    exit_code = ExitCode.USAGE


class UntrustedSettings(UsageError):
    """Settings from a problem's files or a run that reach outside of the sandbox and that the user has not accepted."""


class RunIsBusy(UsageError):
    """The run is open in another process; two nights of one run never run at the same time."""


class SpecificationError(UsageError):
    """A wrong specification, input or start program; nothing has been spent."""


class EnvironmentFault(OvernightError):
    """A fault of the engine, the image, a key or the disk, not of a program or of the user's file."""

    exit_code = ExitCode.ENVIRONMENT


class SandboxUnavailable(EnvironmentFault, Outage):
    """No sandbox can be started now: the engine is down or the image is missing."""


class QuestionUnanswered(Outage):
    """A question of a scoring is not answered now: the budget is spent, or the night ends. Nothing is judged then."""


class QuestionRefused(OvernightError):
    """A question of a scoring has no answer: its model's provider refuses it, or the record that is repeated lacks it.

    It becomes part of stored verdicts, which a replay compares: do not reword it.
    """

    def __init__(self) -> None:
        super().__init__("a question of the scoring has no answer: it was refused, or the record lacks it")

    def __reduce__(self) -> tuple[object, ...]:
        return QuestionRefused, ()


class PrefectUnavailable(EnvironmentFault, Outage):
    """The Prefect server does not answer now."""


class DiskFault(EnvironmentFault):
    """The history cannot be written now: the disk is full or read-only. A later attempt may succeed.

    Attributes:
        reason: Error of the system, whichever file could not be written.
    """

    def __init__(self, message: str, *, remedy: str = "", reason: str = os.strerror(errno.ENOSPC)) -> None:
        super().__init__(message, remedy=remedy)
        self.reason = reason


class HistoryGone(EnvironmentFault):
    """The files of a run were removed during a night, so that nothing more can be stored."""


class StoreUnavailable(EnvironmentFault, Outage):
    """The object storage that holds the history does not answer now."""


class ProviderError(OvernightError):
    """A model's provider refused a request or failed."""


class TransientProviderError(ProviderError):
    """An error that may not recur: a timeout, a rate limit or a server error.

    Attributes:
        retry_after_s: Waiting time that the provider asks for, seconds; `None` if it names none.
    """

    retry_after_s: float | None = None


class ProviderOutage(TransientProviderError, Outage):
    """All attempts failed and no other request succeeded meanwhile, so the provider is at fault, not the prompt."""


class TerminalProviderError(ProviderError):
    """An error that will recur: a wrong key, an unknown model, a malformed request."""

    exit_code = ExitCode.ENVIRONMENT


class PromptRefused(TerminalProviderError):
    """The provider refused this one request.

    Attributes:
        is_about_the_text: Whether the reason is its text: too long, or against the provider's policy. Otherwise, other
            requests may be refused, too.
    """

    is_about_the_text = False


class ImpossibleScore(OvernightError):
    """A score is better than the proven optimum, so the scoring is wrong."""


class HistoryError(OvernightError):
    """A missing, damaged or unknown file of the history."""


class QueryError(OvernightError):
    """Wrong SQL, or SQL that the locked database refuses."""
