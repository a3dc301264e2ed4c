"""The built-in model `builtin/mutate`: classical genetic programming behind the interface of a language model.

It sees the text of a prompt, as any model does, and answers with a new version of the function. It needs no key and
costs nothing, and it is the baseline which a language model has to beat: FunSearch's own random-mutation ablation
(Romera-Paredes et al., Nature 625, 2023, SI A.2), extended by crossover and typed growth.
"""

from __future__ import annotations

import ast
from random import Random

from tasks.sample.builtin.breeding import mutate_once
from tasks.sample.builtin.growing import Grower
from tasks.sample.builtin.kinds import FLOAT, NUMBERS, OTHER, Kind
from tasks.sample.builtin.lesson import Lesson, learn
from tasks.sample.builtin.lines import mutate_lines, shows_a_file
from tasks.sample.builtin.operators import Tools
from tasks.sample.builtin.pruning import prune
from tasks.sample.builtin.reading import Scene, parse
from tasks.sample.builtin.several import mutate_several, take_apart
from tasks.sample.builtin.simplify import simplify
from tasks.sample.builtin.sites import survey
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
    if parts := take_apart(prompt):
        return mutate_several(parts, seed, random, mutate)
    lesson = learn(prompt)
    scene = lesson.scene
    grower = Grower(random, scene.typical, lesson.blocks)
    for _ in range(_ATTEMPTS):
        text = _child(lesson, grower)
        if text:
            return text
    for _ in range(_ATTEMPTS):
        body = _fresh(scene, grower)
        if dump(body) not in lesson.known:
            return _write(scene, body)
    # Where all that can be grown is shown already (`True` and `False`, without arguments), a number is still new.
    return _write(scene, [ast.Return(ast.Constant(random.random()))])


def _child(lesson: Lesson, grower: Grower) -> str:
    """One child of the parents; empty if it would not do."""
    random, scene = grower.random, lesson.scene
    # One parent only is shown while a population is young: then breadth is worth more than depth.
    if not scene.parents or random.random() < (_FRESH if len(scene.parents) > 1 else _FRESH_WHEN_ALONE):
        body = _fresh(scene, grower)
        return _write(scene, body) if lesson.is_news(body, random) else ""
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
    if size(child.body) > limit or not _is_sound(child, base, lesson) or not lesson.is_news(child.body, random):
        return ""
    if prune(child, scene.env, lesson.scenarios):
        simplify(child, scene.env)
    text = _write(scene, child.body)
    return "" if dump(child.body) in lesson.known or parse(text) is None else text


def _is_sound(child: ast.FunctionDef, base: ast.FunctionDef, lesson: Lesson) -> bool:
    """Whether a child reads and returns what its parent could."""
    scene = lesson.scene
    before, after = lesson.surveys[scene.parents.index(base)], survey(child, scene.env)
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
