"""What skeletons have in common whose programs a command scores, in whatever language they are."""

from __future__ import annotations

from typing import Any, NoReturn

from schemas.job import Call
from schemas.skeleton import Skeleton
from tasks.program.calls import call_of_command


class ScoredByCommand:
    """The part that skeletons of files have in common: a command scores them, no function of theirs does."""

    @property
    def run(self) -> str:
        """Empty: no function scores the files."""
        return ""

    @property
    def docstring(self) -> str:
        """Empty: the task is described in the settings."""
        return ""

    @property
    def draw(self) -> str:
        """Empty: a command draws, if anything does."""
        return ""

    @property
    def isolation(self) -> None:
        """`None`: a command decides itself how it runs a program."""
        return

    def defines(self, name: str) -> bool:  # noqa: ARG002
        """Return False."""
        return False

    def with_run(self, function: str) -> NoReturn:
        """Refuse a function that scores.

        Raises:
            ValueError: Always.
        """
        raise ValueError(f"a command scores the files, {function} cannot")

    def call(self, item: Any, where: str) -> Call:  # noqa: ARG002
        """Return one input as it is."""
        return call_of_command(item)

    def bare_text(self: Skeleton, body: str) -> str:
        """Return the `function_text`: there is no part that all bodies share."""
        return self.function_text(body)

    def meaning_hash(self: Skeleton, body: str) -> str:
        """Return the `code_hash`: of what the files mean, nothing is known."""
        return self.code_hash(body)
