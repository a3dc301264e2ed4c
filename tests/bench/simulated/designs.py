"""Programs as text: which fragments and constants a block has, and a block with others in their place."""

from __future__ import annotations

import ast
from functools import cache

from overnight.tasks.program.marked_file import END, START
from tests.bench.simulated.landscape import FRAGMENTS, Design, Landscape


def block_of(text: str) -> str:
    """Return what stands between the marks; all of a text without marks."""
    if START not in text or END not in text:
        return text
    inside = text.split(START, 1)[1].split(END, 1)[0]
    return inside.split("\n", 1)[1].rpartition("\n")[0] + "\n"


def write_block(landscape: Landscape, design: Design) -> str:
    """Return a new block with these fragments and constants."""
    numbers = "".join(f"{_number_line(k, value)}\n" for k, value in enumerate(design.numbers))
    stages = [stage_text(stage, names[design.choices[stage]]) for stage, names in enumerate(landscape.options)]
    return (numbers + "\n\n" if numbers else "") + "\n\n\n".join(stages) + "\n\n\n"


def stage_text(stage: int, name: str) -> str:
    """Return the function of a stage, without a line end."""
    lines = [f"    {line}" for line in FRAGMENTS[name].split("\n")]
    return "\n".join([f"def stage_{stage + 1:02}(v):", f'    """Stage {stage + 1}."""', *lines])


def read_design(text: str, landscape: Landscape) -> Design | None:
    """Return the design of a program or block; `None` if it does not parse or lacks a stage.

    Comments, layout and other functions make no difference.
    """
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError):
        return None
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    stages = [functions.get(f"stage_{k + 1:02}") for k in range(len(landscape.options))]
    if any(stage is None for stage in stages):
        return None
    names = [_fragment_of(stage) for stage in stages if stage is not None]
    choices = [
        options.index(name) if name in options else -1 for name, options in zip(names, landscape.options, strict=True)
    ]
    return Design(tuple(choices), tuple(_number(tree, k) for k in range(len(landscape.targets))))


def changed_pieces(block: str, old: Design, new: Design, landscape: Landscape) -> list[tuple[str, str]]:
    """Return the lines of a block that have to change from one design to another, each with those in their place."""
    lines, tree = block.split("\n"), ast.parse(block)
    pieces = []
    for node in tree.body:
        replacement = _replacement(node, old, new, landscape)
        if replacement:
            pieces.append(("\n".join(lines[node.lineno - 1 : node.end_lineno]), replacement))
    return pieces


def with_design(block: str, old: Design, new: Design, landscape: Landscape) -> str:
    """Return a block with another design; everything else in it stays."""
    for before, after in changed_pieces(block, old, new, landscape):
        block = block.replace(before, after, 1)
    return block


def _replacement(node: ast.stmt, old: Design, new: Design, landscape: Landscape) -> str:
    if isinstance(node, ast.FunctionDef) and node.name.startswith("stage_"):
        stage = int(node.name.removeprefix("stage_")) - 1
        if old.choices[stage] != new.choices[stage]:
            return stage_text(stage, landscape.options[stage][new.choices[stage]])
    if isinstance(node, ast.Assign) and (name := _assigned(node)).startswith("number_"):
        k = int(name.removeprefix("number_")) - 1
        if old.numbers[k] != new.numbers[k]:
            return _number_line(k, new.numbers[k])
    return ""


def _number_line(k: int, value: float) -> str:
    return f"number_{k + 1} = {value!r}"


def _assigned(node: ast.Assign) -> str:
    target = node.targets[0]
    return target.id if isinstance(target, ast.Name) else ""


def _number(tree: ast.Module, k: int) -> float:
    """Return a constant; 1 if it is missing or not written as a number."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and _assigned(node) == f"number_{k + 1}":
            value = node.value.value if isinstance(node.value, ast.Constant) else None
            return float(value) if isinstance(value, int | float) else 1.0
    return 1.0


def _fragment_of(function: ast.FunctionDef) -> str:
    body = function.body[1:] if ast.get_docstring(function) is not None else function.body
    return _fragments().get("\n".join(ast.dump(node) for node in body), "")


@cache
def _fragments() -> dict[str, str]:
    """Names of the fragments by their syntax."""
    return {"\n".join(ast.dump(node) for node in ast.parse(code).body): name for name, code in FRAGMENTS.items()}
