"""Bodies with numbers, for every kind of skeleton that may hold Python, and the answers that hold them."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from overnight.schemas.skeleton import Skeleton
from overnight.tasks.problems.loading.load import load_problem
from overnight.tasks.program.evolving_files import EvolvingFiles
from overnight.tasks.program.marked_file import MarkedFile, read_marked
from overnight.tasks.program.specification import Specification
from overnight.tasks.sample.codecs import codec_of
from overnight.tasks.tune.bodies import NumberedBody, completion_text, sizes_of

SPECIFICATIONS = Path(__file__).parents[1] / "specifications"
SKELETONS = {
    name: load_problem(SPECIFICATIONS / name).specification for name in ("toy.py", "several.py", "hill", "ridge")
}
BLOCKS = """\
# EVOLVE-BLOCK-START
a = 1
# EVOLVE-BLOCK-END
fixed = 9
if a:
    # EVOLVE-BLOCK-START
    b = 2
    # EVOLVE-BLOCK-END
"""
SKELETONS |= {
    "blocks": read_marked(BLOCKS, "a.py"),
    "whole file": read_marked("a = 1\n", "a.py"),
    "files": EvolvingFiles(
        (read_marked(BLOCKS, "a.py"), read_marked("b = 2\n", "lib/b.py"), read_marked("3\n", "c.txt"))
    ),
}
every_kind = pytest.mark.parametrize("skeleton", SKELETONS.values(), ids=SKELETONS)

NUMBERS = st.one_of(st.integers(2, 999), st.floats(1.5, 1e4)).map(repr)
STATEMENTS = st.lists(
    st.tuples(st.sampled_from(["x = {}", "y = -{}  # é {}", "if x > {}: y = {}"]), NUMBERS), min_size=1
)
CODE = STATEMENTS.map(lambda lines: "\n".join(line.format(number, number) for line, number in lines))


def body_of(skeleton: Skeleton, codes: list[str]) -> str:
    if isinstance(skeleton, Specification):
        return skeleton.join([f"{code}\nreturn 1.5" for code in codes][: len(skeleton.functions)])
    if isinstance(skeleton, MarkedFile):
        indented = [codes[0], "\n".join(f"    {line}" for line in codes[1].split("\n"))]
        return skeleton.join(indented[: len(skeleton.fixed) - 1]) if skeleton.has_marks else codes[0]
    assert isinstance(skeleton, EvolvingFiles)
    bodies = {file.name: body_of(file, codes) for file in skeleton.files if file.language == "python"}
    return skeleton.join(bodies)


def parse(skeleton: Skeleton, text: str, base: str) -> str:
    parsed = codec_of(skeleton.kind).parse(text, skeleton, 1, base)
    assert parsed.verdict is None, parsed.verdict
    return parsed.body


@every_kind
@settings(max_examples=settings().max_examples // 4)
@given(data=st.data())
def test_an_answer_is_read_as_exactly_the_tuned_body(skeleton: Skeleton, data: st.DataObject):
    base = body_of(skeleton, data.draw(st.lists(CODE, min_size=2, max_size=2)))
    body = NumberedBody(skeleton, base)
    assert body.literals
    assert body.with_numbers({}) == base
    assert body.with_numbers({number: body.written(number) for number in range(len(body.literals))}) == base
    tuned = body.with_numbers({number: data.draw(NUMBERS) for number in range(len(body.literals))})
    assert len(NumberedBody(skeleton, tuned).literals) == len(body.literals)
    text = completion_text(skeleton, base, tuned, "tuned numbers: 1 -> 2")
    assert text.startswith("# idea: tuned numbers: 1 -> 2\n")
    assert parse(skeleton, text, base) == tuned
    assert parse(skeleton, completion_text(skeleton, base, base, "nothing"), base) == base


def test_headers_of_functions_and_text_outside_of_marks_stay():
    several = SKELETONS["several.py"]
    assert isinstance(several, Specification)
    base = several.join(["return 2.5", "def g(a=3.5): return a\nreturn 4.5"])
    numbers = NumberedBody(several, base.replace("state: float)", "state: float, z=7.5)"))
    assert [numbers.written(i) for i in range(len(numbers.literals))] == ["2.5", "3.5", "4.5"]
    blocks = NumberedBody(SKELETONS["blocks"], SKELETONS["blocks"].start_body)
    assert blocks.with_numbers({0: "11", 1: "22"}) == SKELETONS["blocks"].start_body.replace("1", "11").replace(
        "2", "22"
    )
    assert len(blocks.literals) == 2


@pytest.mark.parametrize("name", ["toy.py", "several.py"])
def test_numbers_beside_the_functions_are_tuned_too(name: str):
    skeleton = SKELETONS[name]
    assert isinstance(skeleton, Specification)
    base = skeleton.join(["return 2.5"] * len(skeleton.functions), "STEP = 3.5\n\n\ndef g(a=4.5):\n    return a")
    body = NumberedBody(skeleton, base)
    assert [body.written(number) for number in range(3)] == ["3.5", "4.5", "2.5"]
    tuned = body.with_numbers({0: "30", 2: "20"})
    assert skeleton.beside(tuned).startswith("STEP = 30\n")
    used = tuned.replace("20", "g(STEP)")
    assert parse(skeleton, completion_text(skeleton, base, used, "tuned"), base) == used


@pytest.mark.parametrize("name", ["a.rs", "a.txt"])
def test_other_languages_have_no_numbers_to_tune(name: str):
    skeleton = read_marked("let x = 1.5;\n", name)
    assert NumberedBody(skeleton, skeleton.start_body).literals == ()


@every_kind
@pytest.mark.parametrize("text", ["", "return (", "# EVOLVE-BLOCK-START\nx = 1.5", "x = 1.5\r\ny = 2.5"])
def test_a_body_that_cannot_be_put_back_has_no_numbers(skeleton: Skeleton, text: str):
    base = skeleton.join({file.name: text for file in skeleton.files}) if isinstance(skeleton, EvolvingFiles) else text
    body = NumberedBody(skeleton, base)
    assert body.with_numbers(dict.fromkeys(range(len(body.literals)), "7.5")) == base or body.literals


def test_sizes_are_all_numbers_of_the_inputs():
    assert sizes_of([((500, "7", True, None), {"n": [1.5, {"m": 3}]})]) == {500, 1.5, 3}
