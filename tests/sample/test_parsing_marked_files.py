"""Test that the blocks of a marked file, or edits of them, are parsed from completions."""

from __future__ import annotations

import re
import time

import pytest

from overnight.schemas.outcome import Outcome
from overnight.schemas.sampling_settings import Model
from overnight.tasks.program.marked_file import MarkedFile, read_marked
from overnight.tasks.sample.builtin import mutate
from overnight.tasks.sample.codecs import LAST_TRY, ParsedCompletion, PromptContent
from overnight.tasks.sample.codecs.file import parse, render

HEAD, TAIL = "#include <stdio.h>\nint f() {\n", '}\nint main() { printf("%d", f()); }\n'
FILE = read_marked(f"{HEAD}// EVOLVE-BLOCK-START\nreturn 1;\n// EVOLVE-BLOCK-END\n{TAIL}", "f.c")
TWO_TEXT = """\
# EVOLVE-BLOCK-START
a = 1
# EVOLVE-BLOCK-END
x
# EVOLVE-BLOCK-START
b = 2
# EVOLVE-BLOCK-END
"""
TWO = read_marked(TWO_TEXT, "f.py")
WHOLE = read_marked("echo '{\"score\": 1}'\n", "f.sh")


def parse_marked_file(answer: str, file: MarkedFile, base: str = "") -> ParsedCompletion:
    return parse(answer, file, 1, base)


def fenced(text: str) -> str:
    return f"Here it is:\n```c\n{text}\n```\nDone."


@pytest.mark.parametrize(
    "answer",
    [
        fenced("return 2;"),
        fenced("// EVOLVE-BLOCK-START\nreturn 2;\n// EVOLVE-BLOCK-END"),
        fenced(FILE.with_body("return 2;")),
        fenced(f"{HEAD}return 2;\n{TAIL}"),
        FILE.with_body("return 2;"),
        fenced("return 0;") + "\nNo, better:\n" + fenced("return 2;"),
    ],
    ids=["the block", "with marks", "the whole file", "the file without marks", "no fence", "two answers"],
)
def test_the_block_is_found_in_every_style(answer: str):
    assert parse_marked_file(answer, FILE).body == "return 2;"


def edit(old: str, new: str) -> str:
    return f"<<<<<<< SEARCH\n{old}\n=======\n{new}\n>>>>>>> REPLACE\n"


@pytest.mark.parametrize(
    "answer",
    [
        edit("return 1;", "return 2;"),
        fenced(edit("return 1;  ", "return 2;")),
        f"One step:\n{edit('return 1;', 'return 0;')}\nand another:\n{edit('return 0;', 'return 2;')}",
        edit("int f() {\n// EVOLVE-BLOCK-START\nreturn 1;", "int f() {\n// EVOLVE-BLOCK-START\nreturn 2;"),
        edit("1;\n// EVOLVE-BLOCK-END", "2;\n// EVOLVE-BLOCK-END"),
    ],
    ids=["alone", "in a fence, with spaces", "one after another", "with lines around", "from within a line on"],
)
def test_edits_are_applied_to_the_best_version_in_the_prompt(answer: str):
    assert parse_marked_file(answer, FILE).body == "return 2;"
    assert parse_marked_file(answer.replace("1", "3"), FILE, "return 3;").body == "return 2;"


def test_edits_apply_to_several_blocks_and_to_a_file_without_marks():
    assert parse_marked_file(edit("a = 1", "a = 7") + edit("b = 2", "b = 8"), TWO).body == (
        TWO.start_body.replace("1", "7").replace("2", "8")
    )
    whole = edit("echo '{\"score\": 1}'", "echo '{\"score\": 2}'")
    assert parse_marked_file(whole, WHOLE).body == "echo '{\"score\": 2}'"


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (edit("return 9;", "return 2;"), "edit 1 of 1: the lines to replace are not in the best version"),
        (edit("return 1;", "return 2;") + edit("", "x"), "edit 2 of 2: the lines to replace are not"),
        (edit("int f() {", "int g() {"), "the edits change what stands outside of the marks"),
        (edit("// EVOLVE-BLOCK-END", ""), "after the edits: the completion:3: EVOLVE-BLOCK-START without"),
    ],
)
def test_an_edit_that_cannot_be_applied_is_unparsable_with_the_reason(answer: str, error: str):
    verdict = parse_marked_file(answer, FILE).verdict
    assert verdict is not None
    assert verdict.outcome is Outcome.UNPARSABLE
    assert error in verdict.error


def test_several_blocks_need_their_marks():
    assert parse_marked_file(
        fenced(TWO.with_body(TWO.start_body.replace("1", "7"))), TWO
    ).body == TWO.start_body.replace("1", "7")
    refused = parse_marked_file(fenced("a = 1"), TWO).verdict
    assert refused is not None
    assert refused.error == "no code block with the 2 evolved blocks"


@pytest.mark.parametrize(
    "code",
    [
        "// EVOLVE-BLOCK-START\nreturn 2;",
        "return 2;\n// EVOLVE-BLOCK-END",
        f"{HEAD}return 2;\n// EVOLVE-BLOCK-END\n{TAIL}",
    ],
)
def test_a_block_may_lack_one_of_its_marks(code: str):
    assert parse_marked_file(fenced(code), FILE).body == "return 2;"


def test_a_block_with_all_marks_is_taken_before_one_without():
    whole, half = fenced(FILE.with_body("return 2;")), fenced("// EVOLVE-BLOCK-START\n…")
    assert parse_marked_file(whole + half, FILE).body == "return 2;"


def test_blank_lines_of_an_edit_matter_only_where_its_lines_are_there_twice():
    body = "a;\n\nb;\nc;"
    assert parse_marked_file(edit("a;\nb;\n\nc;", "d;"), FILE, base=body).body == "d;"
    assert parse_marked_file(edit("a;\n\n\nb;", "d;"), FILE, base=f"{body}\n{body}").verdict is not None


def test_a_file_without_marks_is_taken_as_a_whole():
    assert parse_marked_file(fenced("echo '{\"score\": 2}'"), WHOLE).body == "echo '{\"score\": 2}'"


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        ("I cannot help with that.", Outcome.UNPARSABLE),
        ("", Outcome.UNPARSABLE),
        ("```c\n// EVOLVE-BLOCK-START\nreturn 2;", Outcome.UNPARSABLE),
        (fenced("// EVOLVE-BLOCK-START\n\n// EVOLVE-BLOCK-END"), Outcome.REJECTED),
    ],
)
def test_a_completion_without_a_block_gets_a_verdict(answer: str, outcome: Outcome):
    verdict = parse_marked_file(answer, FILE).verdict
    assert verdict is not None
    assert verdict.outcome is outcome


def test_a_prompt_shows_the_best_version_in_its_file_after_the_earlier_ones():
    prompt = render(FILE, PromptContent(("return 1;", "return 2;"), statement="A larger number."), Model(name="m"))
    assert "A larger number." in prompt
    assert prompt.index("return 1;") < prompt.index(FILE.with_body("return 2;").strip())
    assert "everything that stands between the two marks" in prompt


def test_the_built_in_model_returns_valid_python_for_python():
    text = "# EVOLVE-BLOCK-START\nif a < 1.5:\n    b = min(a, 2)\nelse:\n    b = 3\n# EVOLVE-BLOCK-END\n"
    file = read_marked(text, "f.py")
    prompt = render(file, PromptContent((file.start_body,)), Model(name="m"))
    for seed in range(50):
        compile(parse_marked_file(mutate(prompt, seed), file).body, "f.py", "exec")


def test_the_built_in_model_does_not_change_the_printed_output():
    printed = f"{LAST_TRY}\n\n```c\nreturn 0;\n```\n\nIt printed:\n\n```text\nx 1\n```"
    prompt = render(FILE, PromptContent((FILE.start_body,), feedback=printed), Model(name="m"))
    for seed in range(10):
        assert parse_marked_file(mutate(prompt, seed), FILE).body.startswith("return")


def test_a_prompt_for_a_long_file_offers_edits():
    long = "\n".join(f"a{number} = {number}" for number in range(100))
    assert "<<<<<<< SEARCH" in render(TWO, PromptContent((long,)), Model(name="m"))
    assert "SEARCH" not in render(TWO, PromptContent((TWO.start_body,)), Model(name="m"))


@pytest.mark.parametrize("line", ["<<<<<<< SEARCH\n=======\n", "<<<<<<< SEARCH\n", "=======\n", "```\n"])
def test_a_repetitive_completion_is_parsed_in_less_than_a_second(line: str):
    began = time.process_time()
    assert parse_marked_file(line * 2000, FILE).verdict is not None
    assert time.process_time() - began < 1


def test_the_built_in_model_changes_more_than_comments_and_docstrings():
    code = 'def f():\n    """The 1 of 2 or 3 < 4."""\n    # 5 and 6\n    return 7\n'
    file = read_marked(f"# EVOLVE-BLOCK-START\n{code}# EVOLVE-BLOCK-END\n", "f.py")
    prompt = render(file, PromptContent((file.start_body,)), Model(name="m"))
    for seed in range(30):
        body = parse_marked_file(mutate(prompt, seed), file).body
        assert re.sub(r'""".*?"""|#.*', "", body).split() != ["def", "f():", "return", "7"]
