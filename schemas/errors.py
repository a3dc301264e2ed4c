"""Every error a user can meet: what was expected, what was got, and the next command."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """What the `overnight` command returns to the shell."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    ENVIRONMENT = 3
    INTERRUPTED = 130


class OvernightError(Exception):
    """An error that is printed without a traceback.

    Attributes:
        exit_code: What the command line exits with.
        remedy: The next thing to do, usually a command; empty if there is none.
    """

    exit_code = ExitCode.FAILED

    def __init__(self, message: str, *, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message}\n{self.remedy}" if self.remedy else self.message

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), self.message, self.remedy)


def _rebuild(kind: type[OvernightError], message: str, remedy: str) -> OvernightError:
    return kind(message, remedy=remedy)


class Outage(OvernightError):
    """What a night needs does not answer, and may again: a night waits for it, as long as its rules allow."""


class UsageError(OvernightError):
    """The command, a setting or a name is wrong."""

    exit_code = ExitCode.USAGE


class UntrustedSettings(UsageError):
    """A problem's files or a run propose settings that reach outside of the sandbox, and nobody accepted them."""


class RunIsBusy(UsageError):
    """Another process has the run open: two nights of one run are never under way at once."""


class SpecificationError(UsageError):
    """The specification, its inputs or its start program is wrong; nothing has been spent."""


class EnvironmentFault(OvernightError):
    """The engine, the image, a key or the disk is at fault, not the program and not the user's file."""

    exit_code = ExitCode.ENVIRONMENT


class SandboxUnavailable(EnvironmentFault, Outage):
    """No sandbox can be had now: the engine is down or the image is missing."""


class PrefectUnavailable(EnvironmentFault, Outage):
    """The Prefect server does not answer now."""


class DiskFault(EnvironmentFault):
    """The history cannot be written now: the disk is full, or read-only. There may be room again."""


class HistoryGone(EnvironmentFault):
    """The files of a run were taken away while it is under way: nothing could be kept any more."""


class StoreUnavailable(EnvironmentFault, Outage):
    """The object storage that keeps the history does not answer now."""


class ProviderError(OvernightError):
    """A model's provider refused or failed."""


class TransientProviderError(ProviderError):
    """Worth asking again: a time-out, a rate limit, a server's error.

    Attributes:
        retry_after_s: Seconds that the provider asks to wait; `None` if it does not say.
    """

    retry_after_s: float | None = None


class ProviderOutage(TransientProviderError, Outage):
    """Every attempt failed, and nothing else was answered meanwhile: it is the provider, not the prompt."""


class TerminalProviderError(ProviderError):
    """Asking again cannot help: a wrong key, an unknown model, a malformed request."""

    exit_code = ExitCode.ENVIRONMENT


class PromptRefused(TerminalProviderError):
    """The provider refuses this one request as it is.

    Attributes:
        is_about_the_text: Whether it said so: too long, or against its policy. Else others may fare no better.
    """

    is_about_the_text = False


class ImpossibleScore(OvernightError):
    """A score is better than what is proven to be the best: what checks it is wrong."""


class HistoryError(OvernightError):
    """A file of the history is missing, damaged or of an unknown version."""


class QueryError(OvernightError):
    """The SQL is wrong or asks for what the locked database refuses."""
