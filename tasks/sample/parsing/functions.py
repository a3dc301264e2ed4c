"""From a completion to a body: bare bodies, functions, fenced blocks, whole modules, prose around them.

The public code of FunSearch takes the completion for a bare body, so that a chat model's answer yields nothing.
"""

from __future__ import annotations

import ast
import re
import textwrap
from collections.abc import Iterator, Sequence

from schemas import source
from schemas.evolved_function import EvolvedFunction
from schemas.outcome import Outcome, Verdict
from schemas.specification import Specification
from tasks.sample.parsing.parsed import FENCE, ParsedCompletion

_MAX_CUTS = 200
"""Lines dropped from the end of a text that stops in mid-air until it parses, at most."""


def parse_functions(text: str, specification: Specification, version: int, base: str = "") -> ParsedCompletion:
    """The body that a completion gives for what evolves.

    Where several functions evolve, one that the completion leaves out stays as it is in `base`. With several, only
    the first may come as a bare body, which continues the prompt.

    Args:
        text: The completion.
        specification: Says what the functions and their parameters are called.
        version: Number of the version that was asked for; lower ones are the parents and never taken.
        base: The body of the best parent that was shown; by default the one that the file has.

    Returns:
        The body under the specification's own names, or a verdict: `UNPARSABLE` or `REJECTED`.
    """
    try:
        found = [_find_body(text, specification, function, version) for function in specification.functions]
        if not any(found):
            names = " or ".join(f"{name}_v{version}" for name in specification.evolved)
            return _refused(Outcome.UNPARSABLE, f"no function {names} and no body of one")
        return _checked(found, specification, version, specification.split(base or specification.start_body))
    except source.SourceError as error:
        return _refused(Outcome.UNPARSABLE, str(error))


def _checked(
    found: Sequence[str | None], specification: Specification, version: int, base: Sequence[str]
) -> ParsedCompletion:
    names = {f"{name}_v{version}": name for name in specification.evolved}
    bodies = [source.rename(body, names) if body else None for body in found]
    trees = [source.parse(_as_function(body)) for body in bodies if body]
    called = sorted(
        name for tree in trees for name in source.called_names(tree) if _versions(specification).fullmatch(name)
    )
    if called:
        return _refused(Outcome.REJECTED, f"calls its ancestor {called[0]}")
    if not any(_does_something(source.functions(tree)[0].body) for tree in trees):
        return _refused(Outcome.REJECTED, "the body does nothing")
    body = specification.join([new or old for new, old in zip(bodies, base, strict=True)])
    return ParsedCompletion(body, source.code_hash(body))


def _versions(specification: Specification) -> re.Pattern[str]:
    """Of the name of any version of any evolved function."""
    return re.compile(rf"(?:{'|'.join(map(re.escape, specification.evolved))})_v\d+")


def _refused(outcome: Outcome, why: str) -> ParsedCompletion:
    return ParsedCompletion(verdict=Verdict(outcome, error=why))


def _find_body(text: str, specification: Specification, function: EvolvedFunction, version: int) -> str | None:
    text = text.replace("\r\n", "\n").replace("\0", "")
    fenced = [textwrap.dedent(match) for match in FENCE.findall(text)]
    is_first = function is specification.functions[0]
    if is_first and not fenced and _continues_header(text):
        return _bare_body(text) or _function_body([text], specification, function, version)
    blocks = fenced or [text]
    body = _function_body(blocks, specification, function, version)
    if body is not None or len(specification.functions) > 1:
        return body
    return _first_bare_body(blocks)


def _continues_header(text: str) -> bool:
    lines = [line for line in text.splitlines() if line.strip()]
    return bool(lines) and lines[0][0] in " \t" and not lines[0].lstrip().startswith("def ")


def _function_body(
    blocks: list[str], specification: Specification, evolved: EvolvedFunction, version: int
) -> str | None:
    for block in reversed(blocks):
        for module in _modules(block):
            function = _choose(source.parse_shallow(module), specification, evolved, version)
            if function is not None:
                return _body_with_helpers(module, function, specification, evolved)
    return None


def _first_bare_body(blocks: list[str]) -> str | None:
    """Of the blocks that define no function: one that does is an echo of the parents, or something else."""
    plain = [block for block in blocks if not re.search(r"^def ", block, re.MULTILINE)]
    return next((body for block in reversed(plain) if (body := _bare_body(block)) is not None), None)


def _modules(block: str) -> Iterator[str]:
    """The block as a module, and where that is no Python, the part of it from each `def` on that is."""
    if _parses(block):
        yield block
        return
    starts = [match.start() for match in re.finditer(r"^(?:@|def |import |from )", block, re.MULTILINE)]
    for start in starts[:20]:
        trimmed = _trim(block[start:])
        if trimmed is not None:
            yield trimmed
    inner = re.search(r"^[ \t]+def ", block, re.MULTILINE)
    if not starts and inner is not None:
        trimmed = _trim(textwrap.dedent(block[inner.start() :]))
        if trimmed is not None:
            yield trimmed


def _trim(text: str) -> str | None:
    """The longest head of the text, by lines, that parses and is not empty."""
    lines = text.splitlines()
    end = len(lines)
    while end > max(len(lines) - _MAX_CUTS, 0):
        head = "\n".join(lines[:end])
        try:
            if source.parse(head).body:
                return head
            broken = end
        except source.SourceError as error:
            broken = error.line or end
        # What breaks a line breaks it whatever follows: no longer head will do.
        end = min(end, broken) - 1
    return None


def _parses(text: str) -> bool:
    try:
        return bool(source.parse(text).body)
    except source.SourceError:
        return False


def _choose(
    tree: ast.Module, specification: Specification, evolved: EvolvedFunction, version: int
) -> ast.FunctionDef | None:
    """The version asked for, else a later one, else one under the plain name, else the last other that would fit."""
    name = evolved.name
    versions: dict[int, ast.FunctionDef] = {}
    others: list[ast.FunctionDef] = []
    for function in source.functions(tree):
        if match := re.fullmatch(rf"{re.escape(name)}_v(\d+)", function.name):
            versions[int(match[1])] = function
        elif function.name == name or _may_be_meant(function, specification, evolved):
            others.append(function)
    if version in versions:
        return versions[version]
    if versions and max(versions) > version:
        return versions[max(versions)]
    plain = [function for function in others if function.name == name]
    return (plain or others or [None])[-1]


def _may_be_meant(function: ast.FunctionDef, specification: Specification, evolved: EvolvedFunction) -> bool:
    """Whether a function of another name would fit; of several that evolve, nobody knows which one is meant."""
    if len(specification.functions) > 1 or function.name == specification.run:
        return False
    return len(_parameters(function)) == len(evolved.parameters)


def _parameters(function: ast.FunctionDef) -> list[str]:
    return [argument.arg for argument in [*function.args.posonlyargs, *function.args.args]]


def _body_with_helpers(
    module: str, function: ast.FunctionDef, specification: Specification, evolved: EvolvedFunction
) -> str | None:
    """The function's body; imports and helpers it uses are put inside, and its parameters get the known names."""
    body = source.body_of(module, function)
    if not body:
        return None
    body = source.rename(body, {function.name: evolved.name})
    theirs, ours = _parameters(function), evolved.parameters
    aliases = [f"{mine} = {own}" for mine, own in zip(theirs, ours, strict=False) if mine != own]
    return "\n".join([*_helpers(module, function, specification), *aliases, body])


def _helpers(module: str, function: ast.FunctionDef, specification: Specification) -> list[str]:
    known = _defined(source.parse(specification.text))
    needed = source.called_names(function)
    kept: list[ast.stmt] = []
    for node in reversed(source.parse(module).body):
        names = _names(node)
        versioned = any(name in specification.evolved or _versions(specification).fullmatch(name) for name in names)
        if names & needed - known and not versioned:
            kept.append(node)
            needed |= source.called_names(node)
    return [ast.get_source_segment(module, node) or source.unparse(node) for node in reversed(kept)]


def _defined(tree: ast.Module) -> set[str]:
    return {name for node in tree.body for name in _names(node)}


def _names(node: ast.stmt) -> set[str]:
    match node:
        case ast.Import() | ast.ImportFrom():
            return {alias.asname or alias.name.split(".")[0] for alias in node.names} - {"funsearch"}
        case ast.FunctionDef() | ast.ClassDef():
            return {node.name}
        case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
            return {name}
        case _:
            return set()


def _bare_body(block: str) -> str | None:
    """The head of a text that continues after a header: what parses as the body of a function."""
    lines = [line for line in block.splitlines() if line.strip()]
    if not lines:
        return None
    text = block if lines[0][0] in " \t" else textwrap.indent(block, "    ")
    text = "def f():\n" + text.strip("\n")
    trimmed = _trim(text)
    if trimmed is None:
        return None
    function = source.functions(source.parse_shallow(trimmed))[0]
    body = source.body_of(trimmed, function)
    return body if _is_code(function.body) else None


def _is_code(statements: list[ast.stmt]) -> bool:
    """Whether it is more than prose that happens to parse, such as `Yes` or a lone string."""
    return any(not isinstance(statement, ast.Expr) for statement in statements)


def _does_something(statements: list[ast.stmt]) -> bool:
    idle = (ast.Pass, ast.Import, ast.ImportFrom)
    return any(
        not isinstance(statement, idle)
        and not (isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant))
        for statement in statements
    )


def _as_function(body: str) -> str:
    return "def f():\n" + textwrap.indent(body, "    ")
