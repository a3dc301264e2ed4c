"""Read a specification from its text: which functions are marked, and what is wrong with it."""

from __future__ import annotations

import ast
import difflib
import re

from overnight.schemas.errors import SpecificationError
from overnight.tasks.program import python_source
from overnight.tasks.program.evolved_function import read_evolved_function
from overnight.tasks.program.source_lines import split_lines
from overnight.tasks.program.specification import Specification

_MARKS = ("evolve", "run", "draw", "inputs")


def read_specification(text: str, name: str) -> Specification:
    """Read a specification.

    Raises:
        SpecificationError: If the text is not Python, `run` is not marked exactly once, or `evolve` not at all.
    """
    try:
        tree = python_source.parse(text)
    except python_source.SourceError as error:
        raise SpecificationError(
            f"{name}:{error.line}: {error}", remedy="Correct the file; `python -m py_compile` shows the place."
        ) from error
    try:
        return _read(tree, text, name)
    except (RecursionError, python_source.SourceError) as error:
        raise SpecificationError(
            f"{name}: the code is nested too deeply, or has too large a number", remedy="Simplify the code."
        ) from error


def _read(tree: ast.Module, text: str, name: str) -> Specification:
    _refuse_misspelt_marks(tree, name)
    evolved = _marked_functions(tree, text, "evolve", name)
    run = _require_single_run(_marked_functions(tree, text, "run", name), name)
    if run in evolved:
        raise SpecificationError(
            f"{name}:{run.lineno}: `{run.name}` is marked both @funsearch.evolve and @funsearch.run",
            remedy="Mark the function to improve with the first, and the function that scores it with the second.",
        )
    _refuse_duplicates(evolved, name)
    draw = _optional(tree, text, "draw", [*evolved, run], name)
    generator = _optional(tree, text, "inputs", [*evolved, run, *([draw] if draw else [])], name)
    _refuse_unknown_marks(tree, name)
    text = text if text.endswith("\n") else text + "\n"
    return Specification(
        text=text,
        functions=tuple(read_evolved_function(text, function) for function in evolved),
        run=run.name,
        run_arity=_arity(run),
        draw=draw.name if draw else "",
        generator=generator.name if generator else "",
    )


def _marked_functions(tree: ast.Module, text: str, mark: str, name: str) -> list[ast.FunctionDef]:
    """Return the functions with a mark, in the order of the file."""
    if found := _find(tree, text, mark):
        return found
    _refuse_unread_marks(tree, name)
    needed = {
        "evolve": "at least one top-level function needs it",
        "run": "exactly one top-level function needs it",
    }[mark]
    nested = [node for node in python_source.nodes(tree) if isinstance(node, ast.FunctionDef) and _has_mark(node, mark)]
    where = f":{nested[0].lineno}" if nested else ""
    fault = "is inside another block" if nested else "is missing"
    raise SpecificationError(
        f"{name}{where}: @funsearch.{mark} {fault}; {needed}",
        remedy=f"Write {_missing_marks(tree, text)}.",
    )


def _optional(
    tree: ast.Module, text: str, mark: str, others: list[ast.FunctionDef], name: str
) -> ast.FunctionDef | None:
    """Return the function with a mark that one may have, `draw` or `inputs`, if any.

    One that draws takes the arguments of the run function, the last of `others` then, and one of inputs takes a seed.
    """
    found = _find(tree, text, mark)
    if not found:
        return None
    marked, run = found[0], others[-1]
    fault = ""
    if len(found) > 1:
        fault = f"is on {len(found)} functions, expected one at most"
    elif marked in others:
        fault = f"is on `{marked.name}`, which has another mark, too"
    elif mark == "draw" and _arity(marked) != _arity(run):
        fault = f"is on `{marked.name}`, which does not take as many arguments as `{run.name}`"
    elif mark == "inputs" and not _takes_one(marked):
        fault = f"is on `{marked.name}`, which does not take one argument, a seed"
    if fault:
        wanted = {
            "draw": f"takes the arguments of `{run.name}` and returns an SVG drawing as text",
            "inputs": "takes a seed, a whole number, and returns an input as it may stand in `inputs`",
        }
        raise SpecificationError(
            f"{name}:{found[-1].lineno}: @funsearch.{mark} {fault}", remedy=f"Mark one function that {wanted[mark]}."
        )
    return marked


def _find(tree: ast.Module, text: str, mark: str) -> list[ast.FunctionDef]:
    marked = [function for function in python_source.functions(tree) if _has_mark(function, mark)]
    return marked or [function for function in python_source.functions(tree) if _has_comment(function, text, mark)]


def _missing_marks(tree: ast.Module, text: str) -> str:
    """Return the missing marks and the place of each, in words."""
    places = {"evolve": "the function to improve", "run": "the function that scores one input"}
    missing = [mark for mark in places if not _find(tree, text, mark)]
    return " and ".join(f"`@funsearch.{mark}` above {places[mark]}" for mark in missing)


def _require_single_run(found: list[ast.FunctionDef], name: str) -> ast.FunctionDef:
    if len(found) == 1:
        return found[0]
    lines = " and ".join(str(function.lineno) for function in found)
    raise SpecificationError(
        f"{name}:{found[1].lineno}: @funsearch.run is on {len(found)} functions (lines {lines}), expected one",
        remedy="Keep it only on the function that scores one input.",
    )


def _refuse_misspelt_marks(tree: ast.Module, name: str) -> None:
    """Refuse `@funsearch.evolved` and the like, which would only be said to be missing."""
    for function in python_source.functions(tree):
        for module, _, mark in (_dotted(decorator).rpartition(".") for decorator in function.decorator_list):
            if module == "funsearch" and mark not in _MARKS:
                close = difflib.get_close_matches(mark, _MARKS, n=1, cutoff=0.5)
                raise SpecificationError(
                    f"{name}:{function.lineno}: there is no `@funsearch.{mark}`",
                    remedy=f"{f'Did you mean @funsearch.{close[0]}? ' if close else ''}The marks are "
                    "@funsearch.evolve, @funsearch.run, @funsearch.draw and @funsearch.inputs.",
                )


def _refuse_unread_marks(tree: ast.Module, name: str) -> None:
    """Refuse a mark on an `async def` and one under another name, which would only be said to be missing."""
    for node in python_source.nodes(tree):
        if isinstance(node, ast.AsyncFunctionDef) and (found := [mark for mark in _MARKS if _has_mark(node, mark)]):
            raise SpecificationError(
                f"{name}:{node.lineno}: @funsearch.{found[0]} is on `{node.name}`, an `async def`",
                remedy="Write `def`: the function is called and its result is taken, nothing awaits it.",
            )
        if isinstance(node, ast.Import | ast.ImportFrom):
            from_it = isinstance(node, ast.ImportFrom) and node.module == "funsearch"
            for alias in node.names:
                if alias.asname not in (None, alias.name) and (from_it or alias.name == "funsearch"):
                    raise SpecificationError(
                        f"{name}:{node.lineno}: `{alias.name}` is imported as `{alias.asname}`, and marks are found by "
                        "their own names",
                        remedy="Write `import funsearch`, and `@funsearch.evolve` and `@funsearch.run` as marks.",
                    )


def _refuse_unknown_marks(tree: ast.Module, name: str) -> None:
    """Refuse `@run` without `funsearch.` in a file that does not import it: a program could not be loaded."""
    bound = python_source.bound_names(tree)
    imports = [node for node in python_source.nodes(tree) if isinstance(node, ast.ImportFrom)]
    if any(alias.name == "*" for node in imports for alias in node.names):
        return
    for function in python_source.functions(tree):
        for mark in {*_MARKS} & {_dotted(decorator) for decorator in function.decorator_list} - bound:
            raise SpecificationError(
                f"{name}:{function.lineno}: `@{mark}` is not defined",
                remedy=f"Write `@funsearch.{mark}`, or put this line at the top: from funsearch import {mark}",
            )


def _refuse_duplicates(evolved: list[ast.FunctionDef], name: str) -> None:
    """Refuse two functions of one name, since the later would hide the earlier."""
    seen: set[str] = set()
    for function in evolved:
        if function.name in seen:
            raise SpecificationError(
                f"{name}:{function.lineno}: `{function.name}` is marked @funsearch.evolve twice",
                remedy="Give each evolved function its own name.",
            )
        seen.add(function.name)


def _has_mark(function: ast.FunctionDef | ast.AsyncFunctionDef, mark: str) -> bool:
    return any(_dotted(decorator) in (f"funsearch.{mark}", mark) for decorator in function.decorator_list)


def _has_comment(function: ast.FunctionDef, text: str, mark: str) -> bool:
    """Return whether the line above is `# @funsearch.…`, as in the notebooks that DeepMind published."""
    above = split_lines(text)[function.lineno - 2] if function.lineno > 1 else ""
    return re.fullmatch(rf"#\s*@funsearch\.{mark}(\(\))?\s*", above) is not None


def _dotted(node: ast.expr) -> str:
    """Return the dotted name of a decorator: `funsearch.run` for both `@funsearch.run` and `@funsearch.run()`."""
    target = node.func if isinstance(node, ast.Call) else node
    return ast.unparse(target)


def _takes_one(function: ast.FunctionDef) -> bool:
    fewest, most = _arity(function)
    required = any(default is None for default in function.args.kw_defaults)
    return fewest <= 1 <= (most if most >= 0 else 1) and not required


def _arity(function: ast.FunctionDef) -> tuple[int, int]:
    positional = len(function.args.posonlyargs) + len(function.args.args)
    return positional - len(function.args.defaults), -1 if function.args.vararg else positional
