"""The built-in model `builtin/mutate`: classical genetic programming behind the interface of a language model.

It sees the text of a prompt, as any model does, and answers with a new version of the function. It needs no key and
costs nothing, and it is the baseline which a language model has to beat: FunSearch's own random-mutation ablation
(Romera-Paredes et al., Nature 625, 2023, SI A.2), extended by crossover and typed growth.
"""

from __future__ import annotations

import ast
from random import Random

from tasks.sample.builtin.expression_types import FLOAT, NUMBERS, OTHER, Kind
from tasks.sample.builtin.mutation_sites import survey
from tasks.sample.builtin.operator_mix import mutate_once
from tasks.sample.builtin.operators import Tools
from tasks.sample.builtin.prompt_context import PromptContext, read_context
from tasks.sample.builtin.prompt_parsing import Scene, parse
from tasks.sample.builtin.pruning import prune
from tasks.sample.builtin.random_expressions import Grower
from tasks.sample.builtin.several_functions import mutate_several, split_prompt
from tasks.sample.builtin.simplify import simplify
from tasks.sample.builtin.text_mutation import mutate_lines, shows_a_file
from tasks.sample.builtin.trees import clone, dump, size

__all__ = ["mutate"]

_MAX_SIZE = 80
_ATTEMPTS = 40
_MORE_CHANGES, _MORE_CHANGES_WHEN_SHORT = 0.45, 0.75
_SHORT = 16
_LAST_PARENT = 0.65
_FRESH, _FRESH_WHEN_ALONE = 0.02, 0.2


def mutate(prompt: str, seed: int) -> str:
    """Answer a prompt with a new version of the function that it shows.

    Args:
        prompt: A prompt that ends in an empty header, or a chat prompt around one. Any other text is answered too.
        seed: Another seed gives another answer, most likely; the same seed and prompt always give the same one.

    Returns:
        The source of the complete function under the name that the prompt asks for. It parses, reads only names
        that the prompt brings into scope, calls no earlier version, and differs from each of them. Where the prompt
        shows several functions, one of them or more. Where it shows a file, its evolved blocks.
    """
    random = Random(f"{seed}:".encode() + prompt.encode("utf-8", "surrogatepass"))
    if shows_a_file(prompt):
        return mutate_lines(prompt, random)
    if parts := split_prompt(prompt):
        return mutate_several(parts, seed, random, mutate)
    feedback = read_context(prompt)
    scene = feedback.scene
    grower = Grower(random, scene.typical, feedback.blocks)
    for _ in range(_ATTEMPTS):
        text = _child(feedback, grower)
        if text:
            return text
    for _ in range(_ATTEMPTS):
        body = _fresh(scene, grower)
        if dump(body) not in feedback.known:
            return _write(scene, body)
    # Where all that can be grown is shown already (`True` and `False`, without arguments), a number is still new.
    return _write(scene, [ast.Return(ast.Constant(random.random()))])


def _child(feedback: PromptContext, grower: Grower) -> str:
    """One child of the parents; empty if it would not do."""
    random, scene = grower.random, feedback.scene
    # One parent only is shown while a population is young: then breadth is worth more than depth.
    if not scene.parents or random.random() < (_FRESH if len(scene.parents) > 1 else _FRESH_WHEN_ALONE):
        body = _fresh(scene, grower)
        return _write(scene, body) if feedback.is_news(body, random) else ""
    *others, last = list(scene.parents)
    base = last if not others or random.random() < _LAST_PARENT else random.choice(others)
    donor = random.choice([p for p in scene.parents if p is not base] or [base])
    limit = max(_MAX_SIZE, size(base.body))
    child = clone(base)
    tools = Tools(random, grower, scene.env, donor, limit)
    changed = mutate_once(child, tools)
    # One change of a short program has few outcomes, and most of them were seen before.
    while random.random() < (_MORE_CHANGES if size(child.body) > _SHORT else _MORE_CHANGES_WHEN_SHORT):
        changed |= mutate_once(child, tools)
    if not changed:
        return ""
    simplify(child, scene.env)
    if size(child.body) > limit or not _is_sound(child, base, feedback) or not feedback.is_news(child.body, random):
        return ""
    if prune(child, scene.env, feedback.scenarios):
        simplify(child, scene.env)
    text = _write(scene, child.body)
    return "" if dump(child.body) in feedback.known or parse(text) is None else text


def _is_sound(child: ast.FunctionDef, base: ast.FunctionDef, feedback: PromptContext) -> bool:
    """Whether a child reads and returns what its parent could."""
    scene = feedback.scene
    before, after = feedback.surveys[scene.parents.index(base)], survey(child, scene.env)
    if not after.undefined <= before.undefined or after.undefined & scene.forbidden:
        return False
    if not after.returns or not isinstance(child.body[-1], ast.Return | ast.If | type(base.body[-1])):
        return False
    return all(_may_return(kind, scene.returns) or kind in before.returns for kind in after.returns)


def _may_return(kind: Kind, wanted: Kind) -> bool:
    return wanted == OTHER or kind == wanted or (kind in NUMBERS and wanted in NUMBERS)


def _fresh(scene: Scene, grower: Grower) -> list[ast.stmt]:
    """A body grown from nothing."""
    wanted = FLOAT if scene.returns == OTHER else scene.returns
    value = grower.grow(wanted, scene.env, grower.random.choice((1, 2, 3)))
    function = clone(scene.header)
    function.body = [ast.Return(value)]
    simplify(function, scene.env)
    return function.body


def _write(scene: Scene, body: list[ast.stmt]) -> str:
    header = scene.header
    function = ast.FunctionDef(header.name, header.args, [*header.body, *body], [], header.returns, None, lineno=0)
    return ast.unparse(function)
