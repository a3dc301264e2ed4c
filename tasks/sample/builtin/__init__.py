"""The built-in model `builtin/mutate`: genetic programming behind the interface of a language model.

Like any model, it reads the text of a prompt and answers with a new version of the function. It needs no key and costs
nothing. It is the baseline that a language model has to beat: FunSearch's random-mutation ablation (Romera-Paredes et
al., Nature 625, 2023, SI A.2), extended by crossover and typed growth. Start reading at `mutate`.
"""

from __future__ import annotations

import ast
from random import Random

from tasks.sample.builtin.expression_types import FLOAT, NUMBERS, OTHER, Kind
from tasks.sample.builtin.growth import Grower
from tasks.sample.builtin.mutation_sites import survey
from tasks.sample.builtin.operators import MutationContext, mutate_once
from tasks.sample.builtin.prompt_context import PromptContext, read_context
from tasks.sample.builtin.prompt_parsing import ParsedPrompt, parse_module
from tasks.sample.builtin.several_functions import mutate_several, prompts_by_function
from tasks.sample.builtin.simplify import simplify
from tasks.sample.builtin.text_mutation import mutate_files, mutate_lines, shows_a_file, shows_several_files
from tasks.sample.builtin.trees import clone, dump, size

__all__ = ["mutate"]

_MAX_SIZE = 80
_ATTEMPTS = 40
_P_MORE_CHANGES, _P_MORE_CHANGES_WHEN_SHORT = 0.45, 0.75
_SHORT = 16
_P_LAST_PARENT = 0.65
_P_FRESH = 0.02


def mutate(prompt: str, seed: int) -> str:
    """Answer a prompt with a new version of the function that it shows.

    Args:
        prompt: A prompt that ends in an empty header, or a chat prompt around one. Any other text is answered, too.
        seed: Seed of all random choices. The same seed and prompt always give the same answer; other seeds most
            likely give other answers.

    Returns:
        The source of the complete function under the name that the prompt asks for. It parses, reads only names
        that the prompt brings into scope, calls no earlier version, and differs from each of them. If the prompt
        shows several functions, one or more of them. If it shows a file, the file's evolved blocks; if it shows several
        files, one of them below its path.
    """
    random = Random(f"{seed}:".encode() + prompt.encode("utf-8", "surrogatepass"))
    if shows_a_file(prompt):
        return mutate_lines(prompt, random)
    if shows_several_files(prompt):
        return mutate_files(prompt, random)
    if prompts := prompts_by_function(prompt):
        return mutate_several(prompts, seed, random, mutate)
    context = read_context(prompt)
    grower = Grower(random, context.parsed.typical, context.reusable)
    for make in [_child] * _ATTEMPTS + [_fresh] * _ATTEMPTS:
        body = make(context, grower)
        if body and dump(body) not in context.parent_dumps:
            text = _source_of(context.parsed, body)
            if parse_module(text) is not None:
                return text
    # If the prompt already shows everything that can be grown (`True` and `False`, without arguments), a number is new.
    return _source_of(context.parsed, [ast.Return(ast.Constant(random.random()))])


def _child(context: PromptContext, grower: Grower) -> list[ast.stmt]:
    """Return the body of a child of the parents; empty if the child is not sound."""
    random, parsed = grower.random, context.parsed
    if not parsed.parents or random.random() < _P_FRESH:
        return _fresh(context, grower)
    *others, last = list(parsed.parents)
    base = last if not others or random.random() < _P_LAST_PARENT else random.choice(others)
    donor = random.choice([p for p in parsed.parents if p is not base] or [base])
    limit = max(_MAX_SIZE, size(base.body))
    child = clone(base)
    mutation = MutationContext(random, grower, parsed.env, donor, limit)
    is_changed = mutate_once(child, mutation)
    # A single change of a short program has few possible results, and most of them were seen before.
    while random.random() < (_P_MORE_CHANGES if size(child.body) > _SHORT else _P_MORE_CHANGES_WHEN_SHORT):
        is_changed |= mutate_once(child, mutation)
    simplify(child)
    return child.body if is_changed and size(child.body) <= limit and _is_sound(child, base, context) else []


def _is_sound(child: ast.FunctionDef, base: ast.FunctionDef, context: PromptContext) -> bool:
    """Return whether a child reads only names and returns only kinds that its parent or the prompt allows."""
    parsed = context.parsed
    before, after = context.surveys[parsed.parents.index(base)], survey(child, parsed.env)
    if not after.undefined <= before.undefined or after.undefined & parsed.forbidden:
        return False
    if not after.returns or not isinstance(child.body[-1], ast.Return | ast.If | type(base.body[-1])):
        return False
    return all(_may_return(kind, parsed.returns) or kind in before.returns for kind in after.returns)


def _may_return(kind: Kind, wanted: Kind) -> bool:
    return wanted == OTHER or kind == wanted or (kind in NUMBERS and wanted in NUMBERS)


def _fresh(context: PromptContext, grower: Grower) -> list[ast.stmt]:
    """Return a body that does not use any parent."""
    parsed = context.parsed
    wanted = FLOAT if parsed.returns == OTHER else parsed.returns
    function = clone(parsed.header)
    function.body = [ast.Return(grower.grow(wanted, parsed.env, grower.random.choice((1, 2, 3))))]
    simplify(function)
    return function.body


def _source_of(parsed: ParsedPrompt, body: list[ast.stmt]) -> str:
    """Return the source of the function that the prompt asks for, with this body."""
    header = parsed.header
    function = ast.FunctionDef(header.name, header.args, [*header.body, *body], [], header.returns, None, lineno=0)
    return ast.unparse(function)
