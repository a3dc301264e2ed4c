"""The built-in model `builtin/mutate`: genetic programming behind the interface of a language model.

Like any model, it reads the text of a prompt and answers with a new version of the function. It needs no key and costs
nothing. It is the baseline that a language model has to beat: FunSearch's random-mutation ablation (Romera-Paredes et
al., Nature 625, 2023, SI A.2), extended by crossover and typed growth. Start reading at `mutate`.

Of several functions that evolve together, a mutation usually changes one, as in AutoML-Zero (Real et al., ICML 2020,
section 3.2); one that the answer leaves out stays as it is in the best version. Crossover takes a whole function of
another version.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from random import Random

from overnight.tasks.program.module_parts import with_needs
from overnight.tasks.program.source_lines import split_lines
from overnight.tasks.sample.builtin.expression_types import FLOAT, NUMBERS, OBJECT, OTHER, Kind
from overnight.tasks.sample.builtin.forms import PAIRS
from overnight.tasks.sample.builtin.growth import Grower
from overnight.tasks.sample.builtin.mutation_sites import survey
from overnight.tasks.sample.builtin.operators import MutationContext, mutate_once
from overnight.tasks.sample.builtin.prompt_parsing import (
    ParsedPrompt,
    argument_names,
    find_functions,
    helpers_shown,
    is_empty,
    parse_module,
    parse_prompt,
)
from overnight.tasks.sample.builtin.simplify import simplify
from overnight.tasks.sample.builtin.text_mutation import mutate_files, mutate_lines, shows_a_file, shows_several_files
from overnight.tasks.sample.builtin.trees import clone, dump, nodes, size

__all__ = ["mutate"]

_MAX_SIZE = 80
_ATTEMPTS = 40
_P_MORE_CHANGES, _P_MORE_CHANGES_WHEN_SHORT = 0.45, 0.75
_SHORT = 16
_P_LAST_PARENT = 0.65
_P_FRESH, _P_FRESH_OF_WORDS = 0.02, 0.3
_P_PAIR = 0.7
_P_ONE_MORE_FUNCTION = 0.35
_P_CROSSOVER = 0.15
_VERSIONED = re.compile(r"^def (\w+)_v(\d+)\(", re.MULTILINE)


def mutate(prompt: str, seed: int, facts: str = "") -> str:
    """Answer a prompt with a new version of the function that it shows.

    Args:
        prompt: A prompt that ends in an empty header, or a chat prompt around one. Any other text is answered, too.
        seed: Seed of all random choices. The same seed and prompt always give the same answer; other seeds most
            likely give other answers.
        facts: The system message; only what it says of the arguments is used.

    Returns:
        The source of the complete function under the name that the prompt asks for. It parses, reads only names
        that the prompt brings into scope, calls no earlier version, and differs from each of them. If the prompt
        shows several functions, one or more of them. If it shows a file, the file's evolved blocks; if it shows several
        files, one of them below its path.
    """
    random = _random(seed, prompt)
    if shows_a_file(prompt):
        return mutate_lines(prompt, random)
    if shows_several_files(prompt):
        return mutate_files(prompt, random)
    if prompts := _prompts_by_function(prompt):
        return _with_helpers(_mutate_several(prompts, seed, random, facts), prompt)
    return _with_helpers(_mutate_one(prompt, random, facts), prompt)


def _random(seed: int, prompt: str) -> Random:
    return Random(f"{seed}:".encode() + prompt.encode("utf-8", "surrogatepass"))


def _mutate_one(prompt: str, random: Random, facts: str) -> str:
    parsed = parse_prompt(prompt, facts)
    grower = Grower(random, parsed.typical, parsed.reusable, argument_names(parsed.header))
    for make in [_child] * _ATTEMPTS + [_fresh] * _ATTEMPTS:
        body = make(parsed, grower)
        if body and dump(body) not in parsed.parent_dumps:
            text = _source_of(parsed, body)
            if parse_module(text) is not None:
                return text
    # If the prompt already shows everything that can be grown (`True` and `False`, without arguments), a number is new.
    return _source_of(parsed, [ast.Return(ast.Constant(random.random()))])


def _with_helpers(answer: str, prompt: str) -> str:
    """Return an answer below the helpers that it uses: the program keeps those of the last version alone."""
    helpers, module = helpers_shown(prompt), parse_module(answer)
    if not helpers or module is None:
        return answer
    needed = with_needs(module.body, helpers)
    return "\n\n\n".join([*(ast.unparse(one) for one in helpers if one in needed), answer])


def _child(parsed: ParsedPrompt, grower: Grower) -> list[ast.stmt]:
    """Return the body of a child of the parents; empty if the child is not sound."""
    random = grower.random
    is_of_words = grower.is_of_words(_wanted(parsed), parsed.env)
    is_early = is_of_words and all(size(parent.body) <= _SHORT for parent in parsed.parents)
    if not parsed.parents or random.random() < (_P_FRESH_OF_WORDS if is_early else _P_FRESH):
        return _fresh(parsed, grower)
    *others, last = list(parsed.parents)
    base = last if not others or random.random() < _P_LAST_PARENT else random.choice(others)
    donor = random.choice([p for p in parsed.parents if p is not base] or [base])
    limit = max(_MAX_SIZE, size(base.body))
    child = clone(base)
    mutation = MutationContext(random, grower, parsed.env, donor, limit)
    is_changed = mutate_once(child, mutation)
    # A single change of a short program has few possible results without words, and most of them were seen before.
    while random.random() < (
        _P_MORE_CHANGES if is_of_words or size(child.body) > _SHORT else _P_MORE_CHANGES_WHEN_SHORT
    ):
        is_changed |= mutate_once(child, mutation)
    simplify(child)
    return child.body if is_changed and size(child.body) <= limit and _is_sound(child, base, parsed) else []


def _is_sound(child: ast.FunctionDef, base: ast.FunctionDef, parsed: ParsedPrompt) -> bool:
    """Return whether a child reads only names and returns only kinds that its parent or the prompt allows."""
    before, after = parsed.surveys[parsed.parents.index(base)], survey(child, parsed.env)
    if not after.undefined <= before.undefined or after.undefined & parsed.forbidden:
        return False
    if not after.returns or not isinstance(child.body[-1], ast.Return | ast.If | type(base.body[-1])):
        return False
    wanted = OBJECT if parsed.returns == OTHER and OBJECT in before.returns else parsed.returns
    return all(_may_return(kind, wanted) or kind in before.returns for kind in after.returns)


def _may_return(kind: Kind, wanted: Kind) -> bool:
    return wanted == OTHER or kind == wanted or (kind in NUMBERS and wanted in NUMBERS)


def _fresh(parsed: ParsedPrompt, grower: Grower) -> list[ast.stmt]:
    """Return a body that does not use any parent; empty where what is returned cannot be grown."""
    if parsed.returns == OBJECT or any(OBJECT in one.returns for one in parsed.surveys):
        return []
    wanted = _wanted(parsed)
    function = clone(parsed.header)
    pair = grower.draw(PAIRS, parsed.env) if grower.is_of_words(wanted, parsed.env) else None
    if pair and grower.random.random() < _P_PAIR:
        value = grower.fill_expression(pair, parsed.env, 0)
    else:
        value = grower.grow(wanted, parsed.env, grower.random.choice((1, 2, 3)))
    function.body = [ast.Return(value)]
    simplify(function)
    return function.body


def _wanted(parsed: ParsedPrompt) -> Kind:
    return FLOAT if parsed.returns == OTHER else parsed.returns


def _source_of(parsed: ParsedPrompt, body: list[ast.stmt]) -> str:
    """Return the source of the function that the prompt asks for, with this body."""
    header = parsed.header
    function = ast.FunctionDef(header.name, header.args, [*header.body, *body], [], header.returns, None, lineno=0)
    return ast.unparse(function)


@dataclass(frozen=True, slots=True)
class _FunctionPrompt:
    """The part of a prompt that is about one function.

    Attributes:
        prompt: A prompt for this function alone.
        earlier: Sources of the function's versions before the best one, under the name of the new version.
    """

    prompt: str
    earlier: tuple[str, ...]


def _mutate_several(prompts: Sequence[_FunctionPrompt], seed: int, random: Random, facts: str) -> str:
    """Return new versions of one or several functions."""
    prompts = random.sample(prompts, len(prompts))
    changed = 1
    while changed < len(prompts) and random.random() < _P_ONE_MORE_FUNCTION:
        changed += 1
    answer = [_mutate_one(p.prompt, _random(seed, p.prompt), facts) for p in prompts[:changed]]
    answer += [random.choice(p.earlier) for p in prompts[changed:] if p.earlier and random.random() < _P_CROSSOVER]
    return "\n\n\n".join(answer)


@lru_cache(maxsize=64)
def _prompts_by_function(prompt: str) -> tuple[_FunctionPrompt, ...]:
    """Return a prompt for each evolved function, in the order of the given prompt; empty if only one evolves."""
    versions = _VERSIONED.findall(prompt)
    families = tuple(dict.fromkeys(name for name, _ in versions))
    if len(families) < 2:
        return ()
    target = max(int(number) for _, number in versions)
    found = find_functions(split_lines(prompt))
    shown = {family: [f for f in found.functions if _family(f.name, (family,))] for family in families}
    outside = "\n".join(found.outside)
    return tuple(
        _prompt_of(family, functions, families, outside, target) for family, functions in shown.items() if functions
    )


def _family(name: str, families: Sequence[str]) -> str | None:
    match = re.fullmatch(r"(\w+)_v\d+", name)
    return match[1] if match and match[1] in families else None


def _prompt_of(
    family: str, functions: list[ast.FunctionDef], families: Sequence[str], outside: str, target: int
) -> _FunctionPrompt:
    last = functions[-1]
    header = ast.FunctionDef(f"{family}_v{target}", last.args, [ast.Pass()], [], last.returns, lineno=0)
    versions = [function for function in functions if not is_empty(function)]
    for function in versions:
        _call_new_versions(function, [other for other in families if other != family], target)
    prompt = "\n\n".join([outside, *map(ast.unparse, versions), ast.unparse(header)]) + "\n"
    return _FunctionPrompt(prompt, tuple(_renamed(function, header.name) for function in versions[:-1]))


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
