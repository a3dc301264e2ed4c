"""Prompts are built as FunSearch builds them: preface, versions ascending, the header of the next."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from schemas.algorithm import Plan
from schemas.program import Program
from schemas.settings import Model, Sampling
from tasks.problems import find
from tasks.problems.loading.load import load_problem
from tasks.sample.prompts import build_prompts, prompt_hash, render

SPECIFICATION = load_problem(find("bin-packing-or")).specification
COMPLETION = Model(name="m", style="completion")
CHAT = Model(name="m", style="chat")


def test_a_completion_prompt_is_python_that_ends_in_an_empty_header():
    text = render(SPECIFICATION, ["return bins", "x = item\nreturn priority(x, bins)"], COMPLETION)
    tree = ast.parse(text)
    names = [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
    assert names == ["priority_v0", "priority_v1", "priority_v2"]
    assert text.rstrip().endswith('"""Improved version of `priority_v1`."""')
    assert "return priority_v1(x, bins)" in text, "a recursive parent calls itself under its version's name"


def test_only_the_first_version_has_the_specification_s_docstring():
    text = render(SPECIFICATION, ["return bins", "return -bins"], COMPLETION)
    assert text.count("How much we want to put an item") == 1
    assert '"""Improved version of `priority_v0`."""' in text


@pytest.mark.parametrize("model", [COMPLETION, CHAT])
def test_neither_how_it_is_scored_nor_on_what_is_shown(model: Model):
    text = render(SPECIFICATION, ["return bins"], model)
    for hidden in ("evaluate", "held_out", "draw_items", "201", "funsearch"):
        assert hidden not in text


def test_a_chat_prompt_says_what_is_wanted_in_the_problem_s_own_words():
    text = render(SPECIFICATION, ["return bins"], CHAT)
    assert "use few bins" in text
    assert "complete function" in text
    assert "def priority_v1(item: float, bins: np.ndarray) -> np.ndarray:" in text


def test_a_generation_s_prompts_depend_on_seed_and_generation_alone():
    program = Program("p", "return bins", (1.0,), 1.0)
    selections = [Plan("0", (program,))] * 50
    sampling = Sampling.model_validate({"models": ["a=3", "b=1"]})

    def build(seed: int, generation: int):
        return build_prompts(
            dict(enumerate(selections)),
            SPECIFICATION,
            sampling,
            prompts=len(selections),
            samples=4,
            seed=seed,
            generation=generation,
        )

    first = build(1, 1)
    assert first == build(1, 1)
    assert first != build(2, 1)
    assert first != build(1, 2)
    share = sum(prompt.model == "a" for prompt in first) / len(first)
    assert 0.5 < share < 0.95
    assert len({seed for prompt in first for seed in prompt.seeds}) == 200


def test_the_hash_of_a_prompt_knows_text_and_model():
    program = Program("p", "return bins", (1.0,), 1.0)
    one, other = (
        build_prompts(
            {0: Plan("0", (program,))},
            SPECIFICATION,
            Sampling.model_validate({"models": name}),
            prompts=1,
            samples=1,
            seed=0,
            generation=1,
        )[0]
        for name in ("a", "b")
    )
    assert prompt_hash(one) != prompt_hash(other)


def test_a_specification_with_two_spaces_gives_prompts_that_parse(tmp_path: Path):
    path = tmp_path / "two.py"
    path.write_text(
        '"""Q."""\n@funsearch.run\ndef e(n: int) -> int:\n  return p(n)\n\n'
        '@funsearch.evolve\ndef p(n: int) -> float:\n  r"""A \\d doc.\n\n  More.\n  """\n  return 0.0\n'
    )
    specification = load_problem(path, {"inputs": [1]}).specification
    ast.parse(render(specification, [specification.start_body], COMPLETION))
