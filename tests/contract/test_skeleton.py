"""What every kind of skeleton keeps to, with its codec: bodies go into prompts and come back from completions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from overnight.schemas.bundle import ProgramBundle
from overnight.schemas.outcome import Outcome
from overnight.schemas.problem import Problem
from overnight.schemas.sampling_settings import Model
from overnight.schemas.skeleton import Skeleton
from overnight.tasks.problems.loading.load import load_problem
from overnight.tasks.program.evolving_files import EvolvingFiles
from overnight.tasks.program.make_problem import restore_problem
from overnight.tasks.sample.builtin import mutate
from overnight.tasks.sample.codecs import PromptContent, codec_of

SPECIFICATIONS = Path(__file__).parents[1] / "specifications"
CHAT = Model(name="m")

LINES = st.lists(st.text("abcxyz=+ #é123", min_size=1, max_size=12), min_size=1, max_size=6)
"""Lines of a text in any language, some of them indented."""

TEXTS = LINES.map("\n".join).filter(lambda text: bool(text.strip()))
STATEMENTS = st.lists(st.tuples(st.sampled_from("xyz"), st.integers(0, 99)), min_size=1, max_size=4)
CODE = STATEMENTS.map(lambda pairs: "\n".join([*(f"{name} = {value}" for name, value in pairs), "return 1.0"]))


def answer_with_functions(skeleton: Skeleton, body: str) -> str:
    return f"Here it is.\n\n```python\n{skeleton.bare_text(body)}\n```\n"


def answer_with_the_blocks(_: Skeleton, body: str) -> str:
    return f"```\n{body}\n```"


def answer_with_files(skeleton: Skeleton, body: str) -> str:
    assert isinstance(skeleton, EvolvingFiles)
    return "\n\n".join(f"{path}\n```\n{text}\n```" for path, text in skeleton.split(body).items())


@dataclass(frozen=True)
class Kind:
    """An example of one kind of skeleton.

    Attributes:
        problem: Path of a problem with such a skeleton.
        bodies: Makes a body of generated texts.
        texts: Strategy for these texts.
        answer: Returns the completion of a model that answers with a body.
    """

    problem: str
    bodies: Callable[[Any, list[str]], str]
    texts: st.SearchStrategy[str]
    answer: Callable[[Skeleton, str], str]

    def load(self) -> Problem:
        return load_problem(SPECIFICATIONS / self.problem)

    @property
    def skeleton(self) -> Skeleton:
        return self.load().specification


def several_files(skeleton: EvolvingFiles, texts: list[str]) -> str:
    return skeleton.join({path: text.strip("\n") for path, text in zip(skeleton.paths, texts, strict=False)})


KINDS = {
    "functions: one": Kind("toy.py", lambda _, texts: texts[0], CODE, answer_with_functions),
    "functions: two": Kind("several.py", lambda skeleton, texts: skeleton.join(texts[:2]), CODE, answer_with_functions),
    "file": Kind("hill", lambda _, texts: texts[0].strip("\n"), TEXTS, answer_with_the_blocks),
    "files": Kind("ridge", several_files, TEXTS, answer_with_files),
}

every_kind = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)


def generated_body(kind: Kind, skeleton: Skeleton, data: st.DataObject) -> str:
    return kind.bodies(skeleton, [data.draw(kind.texts) for _ in range(2)])


def test_there_is_an_example_of_every_kind():
    codecs = Path(codec_of.__code__.co_filename).parent.glob("*.py")
    shipped = {path.stem for path in codecs} - {"__init__", "codec"}
    assert {kind.skeleton.kind for kind in KINDS.values()} == shipped


@every_kind
def test_the_start_body_makes_the_start_program(kind: Kind):
    skeleton = kind.skeleton
    made, start = skeleton.program(skeleton.start_body), skeleton.start_program
    assert made.paths == start.paths
    assert [text.rstrip() for _, text in made.files] == [text.rstrip() for _, text in start.files]


@every_kind
def test_it_is_restored_from_its_text_and_the_settings_of_the_run(kind: Kind):
    problem = kind.load()
    stored = problem.settings.model_dump(mode="json")
    again = restore_problem(problem.name, problem.specification.text, stored, problem.files)
    assert (again.specification, again.hash) == (problem.specification, problem.hash)
    assert again.job() == problem.job()
    assert again.specification.shape == problem.specification.shape


@every_kind
@given(data=st.data())
def test_a_body_comes_back_from_an_answer_that_holds_it(kind: Kind, data: st.DataObject):
    skeleton = kind.skeleton
    body = generated_body(kind, skeleton, data)
    parsed = codec_of(skeleton.kind).parse(kind.answer(skeleton, body), skeleton, 1, "")
    assert parsed.verdict is None
    assert parsed.code_hash == skeleton.code_hash(body) == skeleton.code_hash(parsed.body)
    again = codec_of(skeleton.kind).parse(kind.answer(skeleton, parsed.body), skeleton, 1, "")
    assert again == parsed


@every_kind
@given(data=st.data())
def test_the_hash_of_a_body_does_not_depend_on_its_layout_but_on_its_text(kind: Kind, data: st.DataObject):
    skeleton = kind.skeleton
    texts = [data.draw(kind.texts) for _ in range(2)]
    body = kind.bodies(skeleton, texts)
    spaced = kind.bodies(skeleton, ["\n\n".join(line + "  " for line in text.split("\n")) for text in texts])
    other = kind.bodies(skeleton, [f"w = 1234\n{texts[0]}", texts[1]])
    for key in (skeleton.code_hash, skeleton.meaning_hash):
        assert key(body) == key(spaced)
        assert key(body) != key(other)


@every_kind
def test_a_prompt_shows_the_best_body_and_the_statement(kind: Kind):
    skeleton = kind.skeleton
    bodies = (skeleton.start_body,) * 2
    shown = PromptContent(bodies, statement="Climb, then rest.", feedback="The last try fell.")
    prompt = codec_of(skeleton.kind).render(skeleton, shown, CHAT)
    assert "Climb, then rest." in prompt
    assert "The last try fell." in prompt
    for text in skeleton.bare_text(skeleton.start_body).splitlines():
        words = text.strip("#= ").split()
        assert not words or words[-1] in prompt


@every_kind
def test_a_prompt_after_a_system_message_has_the_score_of_the_best_and_asks_for_an_idea(kind: Kind):
    shown = PromptContent(
        (kind.skeleton.start_body,) * 2, ("scores 1.5", "scores 2.5"), "Climb.", has_system_message=True
    )
    prompt = codec_of(kind.skeleton.kind).render(kind.skeleton, shown, CHAT)
    assert "scores 2.5" in prompt
    assert "`# idea: `" in prompt
    assert "Climb." not in prompt, "the system message says it"


@every_kind
@pytest.mark.parametrize("shown", [{}, {"notes": ("scores 1.5", "scores 2.5"), "has_system_message": True}])
def test_the_built_in_model_answers_the_prompt_with_new_programs(kind: Kind, shown: dict[str, Any]):
    skeleton = kind.skeleton
    prompt = codec_of(skeleton.kind).render(skeleton, PromptContent((skeleton.start_body,) * 2, **shown), CHAT)
    parsed = [codec_of(skeleton.kind).parse(mutate(prompt, seed), skeleton, 2, "") for seed in range(12)]
    assert all(each.verdict is None for each in parsed)
    assert len({each.code_hash for each in parsed} - {skeleton.code_hash(skeleton.start_body)}) >= 6


PIECES = st.sampled_from(
    (
        *("```", "```python lib/offset.py", "~~~~", "position.py", "# lib/offset.py", "../../etc/passwd", "\0", "\r\n"),
        *("<<<<<<< SEARCH", "=======", ">>>>>>> REPLACE", "x = 1.0", "def offset():", "    return 2", "\ud800"),
        *("# EVOLVE-BLOCK-START", "# EVOLVE-BLOCK-END", "=== position.py, 1 lines ===", "`position.py`:", "", "é", "("),
    )
)


@every_kind
@settings(max_examples=2 * settings().max_examples)
@given(text=st.lists(PIECES, max_size=14).map("\n".join))
def test_any_completion_has_a_body_or_a_verdict(kind: Kind, text: str):
    skeleton = kind.skeleton
    parsed = codec_of(skeleton.kind).parse(text, skeleton, 1, "")
    if parsed.verdict is not None:
        assert parsed.verdict.outcome in (Outcome.UNPARSABLE, Outcome.REJECTED)
        assert (parsed.body, parsed.code_hash) == ("", "")
    else:
        assert parsed.code_hash == skeleton.code_hash(parsed.body)
        assert skeleton.program(parsed.body).paths == skeleton.start_program.paths


@settings(max_examples=2 * settings().max_examples)
@given(
    texts=st.lists(
        st.lists(st.sampled_from(["=== a.py, 1 lines ===", "=== b.py, 2 lines ===", "x", ""]) | st.text()).map(
            "\n".join
        ),
        min_size=1,
        max_size=4,
    )
)
def test_no_text_of_a_file_is_mistaken_for_the_beginning_of_another(texts: list[str]):
    bundle = ProgramBundle(tuple((f"lib/{number}.py", text) for number, text in enumerate(texts)))
    assert ProgramBundle.decode(bundle.encode()) == bundle
