"""`overnight init`: a problem of one's own to begin with."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from flows.cli.printing import say, write_new


def init(
    directory: Annotated[
        Path, Parameter(help="the folder it goes into, made if it is not there; or a new file NAME.py")
    ],
    /,
    *,
    from_: Annotated[str | None, Parameter(name="--from", help="a name from `overnight problems`, to copy")] = None,
) -> None:
    """Write a commented specification that runs, to make your own of it; or a copy of a built-in problem."""
    from tasks.problems import TEMPLATE, find_builtin

    source = TEMPLATE if from_ is None else find_builtin(from_)
    target = directory if directory.suffix == ".py" else directory / source.name
    write_new(target, source.read_text(encoding="utf-8"))
    say(f"wrote {target}; look whether it runs, and what it takes:")
    say(f"  overnight check {target}")
    say(f"  overnight run {target} --generations 10")
