"""`overnight init`: write a first specification of a problem of your own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from flows.cli.printing import say, write_new


def init(
    file: Annotated[Path, Parameter(help="new file NAME.py, or a folder to write to, created if needed")],
    /,
    *,
    from_: Annotated[
        str | None,
        Parameter(
            name="--from",
            help="built-in problem to copy, a name from `overnight problems`; or a notebook NAME.ipynb, whose "
            "specifications are written as files",
        ),
    ] = None,
) -> None:
    """Write a commented example specification to start from, a copy of a built-in problem, or those of a notebook."""
    from tasks.problems import TEMPLATE, find_builtin

    if from_ is not None and from_.endswith(".ipynb"):
        _write_notebook(file, Path(from_))
        return
    source = TEMPLATE if from_ is None else find_builtin(from_)
    target = file if file.suffix == ".py" else file / source.name
    write_new(target, source.read_text(encoding="utf-8"))
    say(f"wrote {target}; check that it runs, and what it uses:")
    say(f"  overnight check {target}")
    say(f"  overnight run {target} --generations 10")


def _write_notebook(file: Path, notebook: Path) -> None:
    """Write the specifications in a notebook: the first under the given or the notebook's name, others numbered."""
    from tasks.problems.loading.notebook import specifications_in

    first = file if file.suffix == ".py" else file / f"{notebook.stem}.py"
    texts = specifications_in(notebook)
    targets = [first, *(first.with_stem(f"{first.stem}_{number}") for number in range(2, len(texts) + 1))]
    for target, text in zip(targets, texts, strict=True):
        write_new(target, text)
        say(f"wrote {target}; write its inputs into its `# /// script` block, then check it:")
        say(f"  overnight check {target}")
