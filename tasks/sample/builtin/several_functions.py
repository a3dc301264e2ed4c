"""A prompt that shows several functions which evolve together, taken apart into one prompt for each.

As in AutoML-Zero (Real et al., ICML 2020, section 3.2), a mutation most often changes one of the functions; what is
left out of an answer stays as it is in the best version. Crossover takes a whole function of another version.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from random import Random

from tasks.sample.builtin.prompt_parsing import find_functions, is_empty
from tasks.sample.builtin.trees import nodes

_VERSIONED = re.compile(r"^def (\w+)_v(\d+)\(", re.MULTILINE)
_ONE_MORE = 0.35
_TAKEN = 0.15


@dataclass(frozen=True, slots=True)
class Part:
    """What a prompt shows of one function.

    Attributes:
        prompt: As if it were the only one.
        earlier: The function in versions before the best, as they are called in the new one.
    """

    prompt: str
    earlier: tuple[str, ...]


def mutate_several(parts: Sequence[Part], seed: int, random: Random, mutate: Callable[[str, int], str]) -> str:
    """Answers with new versions of one function or several.

    Args:
        parts: What the prompt shows.
        seed: Of the answer.
        random: Everything random that is not of a single function.
        mutate: Answers a prompt that shows one function.
    """
    parts = random.sample(parts, len(parts))
    changed = 1
    while changed < len(parts) and random.random() < _ONE_MORE:
        changed += 1
    answer = [mutate(part.prompt, seed) for part in parts[:changed]]
    answer += [random.choice(p.earlier) for p in parts[changed:] if p.earlier and random.random() < _TAKEN]
    return "\n\n\n".join(answer)


@lru_cache(maxsize=64)
def split_prompt(prompt: str) -> tuple[Part, ...]:
    """A part for each function that evolves, in the order in which they are shown; none where only one does."""
    versions = _VERSIONED.findall(prompt)
    families = tuple(dict.fromkeys(name for name, _ in versions))
    if len(families) < 2:
        return ()
    target = max(int(number) for _, number in versions)
    found = find_functions(prompt.splitlines())
    shown = {family: [f for f in found.functions if _is_of(f, (family,))] for family in families}
    outside = "\n".join(found.outside)
    return tuple(
        _part(family, functions, families, outside, target) for family, functions in shown.items() if functions
    )


def _is_of(function: ast.FunctionDef, families: Sequence[str]) -> bool:
    return _family(function.name, families) is not None


def _family(name: str, families: Sequence[str]) -> str | None:
    match = re.fullmatch(r"(\w+)_v\d+", name)
    return match[1] if match and match[1] in families else None


def _part(family: str, functions: list[ast.FunctionDef], families: Sequence[str], outside: str, target: int) -> Part:
    last = functions[-1]
    header = ast.FunctionDef(f"{family}_v{target}", last.args, [ast.Pass()], [], last.returns, lineno=0)
    versions = [function for function in functions if not is_empty(function)]
    for function in versions:
        _renew(function, [other for other in families if other != family], target)
    prompt = "\n\n".join([outside, *map(ast.unparse, versions), ast.unparse(header)]) + "\n"
    return Part(prompt, tuple(_renamed(function, header.name) for function in versions[:-1]))


def _renew(function: ast.FunctionDef, others: Sequence[str], target: int) -> None:
    """Calls of the other functions become calls of their new versions."""
    for node in nodes(function):
        if isinstance(node, ast.Name) and (family := _family(node.id, others)):
            node.id = f"{family}_v{target}"


def _renamed(function: ast.FunctionDef, name: str) -> str:
    """The function under another name, which it also calls itself by."""
    old, function.name = function.name, name
    for node in nodes(function):
        if isinstance(node, ast.Name) and node.id == old:
            node.id = name
    return ast.unparse(function)
