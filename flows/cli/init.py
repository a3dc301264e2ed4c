"""`overnight init`: write a first specification of a problem of your own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from flows.cli.printing import say, write_new


def init(
    directory: Annotated[Path, Parameter(help="folder to write to, created if needed; or a new file NAME.py")],
    /,
    *,
    from_: Annotated[
        str | None, Parameter(name="--from", help="built-in problem to copy, a name from `overnight problems`")
    ] = None,
) -> None:
    """Write a commented example specification to start from, or a copy of a built-in problem."""
    from tasks.problems import TEMPLATE, find_builtin

    source = TEMPLATE if from_ is None else find_builtin(from_)
    target = directory if directory.suffix == ".py" else directory / source.name
    write_new(target, source.read_text(encoding="utf-8"))
    say(f"wrote {target}; check that it runs, and what it uses:")
    say(f"  overnight check {target}")
    say(f"  overnight run {target} --generations 10")
