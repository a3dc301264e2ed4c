"""Answers prompts with several functions that evolve together, by one prompt for each function.

As in AutoML-Zero (Real et al., ICML 2020, section 3.2), a mutation usually changes one of the functions. A function
that the answer leaves out stays as it is in the best version. Crossover takes a whole function of another version.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from random import Random

from tasks.program.source_lines import split_lines
from tasks.sample.builtin.prompt_parsing import find_functions, is_empty
from tasks.sample.builtin.trees import nodes

_VERSIONED = re.compile(r"^def (\w+)_v(\d+)\(", re.MULTILINE)
_P_ONE_MORE_FUNCTION = 0.35
_P_CROSSOVER = 0.15


@dataclass(frozen=True, slots=True)
class FunctionPrompt:
    """The part of a prompt that is about one function.

    Attributes:
        prompt: A prompt for this function alone.
        earlier: Sources of the function's versions before the best one, under the name of the new version.
    """

    prompt: str
    earlier: tuple[str, ...]


def mutate_several(
    prompts: Sequence[FunctionPrompt], seed: int, random: Random, mutate: Callable[[str, int], str]
) -> str:
    """Return new versions of one or several functions.

    Args:
        prompts: A prompt for each function.
        seed: Seed of the answers for single functions.
        random: Source of the choices between functions.
        mutate: Function that answers a prompt for one function.
    """
    prompts = random.sample(prompts, len(prompts))
    changed = 1
    while changed < len(prompts) and random.random() < _P_ONE_MORE_FUNCTION:
        changed += 1
    answer = [mutate(p.prompt, seed) for p in prompts[:changed]]
    answer += [random.choice(p.earlier) for p in prompts[changed:] if p.earlier and random.random() < _P_CROSSOVER]
    return "\n\n\n".join(answer)


@lru_cache(maxsize=64)
def prompts_by_function(prompt: str) -> tuple[FunctionPrompt, ...]:
    """Return a prompt for each evolved function, in the order of the given prompt; empty if only one evolves."""
    versions = _VERSIONED.findall(prompt)
    families = tuple(dict.fromkeys(name for name, _ in versions))
    if len(families) < 2:
        return ()
    target = max(int(number) for _, number in versions)
    found = find_functions(split_lines(prompt))
    shown = {family: [f for f in found.functions if _is_of(f, (family,))] for family in families}
    outside = "\n".join(found.outside)
    return tuple(
        _function_prompt(family, functions, families, outside, target)
        for family, functions in shown.items()
        if functions
    )


def _is_of(function: ast.FunctionDef, families: Sequence[str]) -> bool:
    return _family(function.name, families) is not None


def _family(name: str, families: Sequence[str]) -> str | None:
    match = re.fullmatch(r"(\w+)_v\d+", name)
    return match[1] if match and match[1] in families else None


def _function_prompt(
    family: str, functions: list[ast.FunctionDef], families: Sequence[str], outside: str, target: int
) -> FunctionPrompt:
    last = functions[-1]
    header = ast.FunctionDef(f"{family}_v{target}", last.args, [ast.Pass()], [], last.returns, lineno=0)
    versions = [function for function in functions if not is_empty(function)]
    for function in versions:
        _call_new_versions(function, [other for other in families if other != family], target)
    prompt = "\n\n".join([outside, *map(ast.unparse, versions), ast.unparse(header)]) + "\n"
    return FunctionPrompt(prompt, tuple(_renamed(function, header.name) for function in versions[:-1]))


def _call_new_versions(function: ast.FunctionDef, others: Sequence[str], target: int) -> None:
    """Turn a function's calls of the other functions into calls of their new versions."""
    for node in nodes(function):
        if isinstance(node, ast.Name) and (family := _family(node.id, others)):
            node.id = f"{family}_v{target}"


def _renamed(function: ast.FunctionDef, name: str) -> str:
    """Return the source of a function under another name, which is also used in its recursive calls."""
    old, function.name = function.name, name
    for node in nodes(function):
        if isinstance(node, ast.Name) and node.id == old:
            node.id = name
    return ast.unparse(function)
