"""Answers that change several files: the path of each may be given in any of the ways that models use."""

from __future__ import annotations

import time

import pytest

from overnight.schemas.bundle import ProgramBundle
from overnight.schemas.outcome import Outcome
from overnight.schemas.sampling_settings import Model
from overnight.tasks.program.evolving_files import read_evolving_files
from overnight.tasks.sample.codecs import PromptContent
from overnight.tasks.sample.codecs.files import parse, render

MAIN = "import lib.speed\n# EVOLVE-BLOCK-START\nx = 1\n# EVOLVE-BLOCK-END\nprint(x)\n"
SPEED = "def speed():\n    return 1\n"
FILES = read_evolving_files(ProgramBundle((("main.py", MAIN), ("lib/speed.py", SPEED), ("notes.md", "slow\n"))))
NEW = "def speed():\n    return 2"


def bodies(completion: str, base: str = "") -> dict[str, str]:
    """Return the bodies that a completion changes."""
    parsed = parse(completion, FILES, 1, base)
    assert parsed.verdict is None, parsed.verdict
    before = FILES.split(base or FILES.start_body)
    return {path: body for path, body in FILES.split(parsed.body).items() if body != before[path]}


def refusal(completion: str) -> str:
    parsed = parse(completion, FILES, 1, "")
    assert parsed.verdict is not None
    assert parsed.verdict.outcome is Outcome.UNPARSABLE
    return parsed.verdict.error


NAMED = {
    "alone on the line above": f"lib/speed.py\n```python\n{NEW}\n```",
    "in bold": f"**lib/speed.py**\n\n```python\n{NEW}\n```",
    "in backticks, with a colon": f"`lib/speed.py`:\n```python\n{NEW}\n```",
    "as a heading": f"### File: `lib/speed.py`\n\n```python\n{NEW}\n```",
    "in a list, indented": "1. lib/speed.py\n   ```python\n   def speed():\n       return 2\n   ```",
    "in a sentence": f"The new version of lib/speed.py is twice as fast:\n\n```python\n{NEW}\n```",
    "with the folder it is in": f"./lib/speed.py\n```\n{NEW}\n```",
    "in the info string": f"```python lib/speed.py\n{NEW}\n```",
    "in the info string, after a colon": f"```python:lib/speed.py\n{NEW}\n```",
    "as a title": f'```python title="lib/speed.py"\n{NEW}\n```',
    "as the info string": f"```lib/speed.py\n{NEW}\n```",
    "in a comment that is the first line": f"```python\n# lib/speed.py\n{NEW}\n```",
    "in a comment of another language": f"```\n// File: lib/speed.py\n{NEW}\n```",
    "with tildes": f"lib/speed.py\n~~~~python\n{NEW}\n~~~~",
    "without an end": f"lib/speed.py\n```python\n{NEW}\n",
    "after code that explains": f"Instead of\n```python\nreturn 1\n```\nwrite, in lib/speed.py:\n```python\n{NEW}\n```",
    "after an idea in a comment": f"lib/speed.py\n```python\n{NEW}\n```\nRun it:\n```sh\npython main_program\n```",
    "with lines that end as on Windows": f"lib/speed.py\n```python\n{NEW}\n```".replace("\n", "\r\n"),
    "twice, the last one counts": f"lib/speed.py\n```\nold\n```\nBetter:\n\nlib/speed.py\n```\n{NEW}\n```",
}


@pytest.mark.parametrize("completion", NAMED.values(), ids=NAMED)
def test_a_file_is_found_whose_path_is_given(completion: str):
    assert bodies(completion) == {"lib/speed.py": NEW}


EDIT = "<<<<<<< SEARCH\n    return 1\n=======\n    return 2\n>>>>>>> REPLACE"
EDITED = {
    "below the path": f"lib/speed.py\n{EDIT}",
    "in a code block below the path": f"lib/speed.py\n```python\n{EDIT}\n```",
    "with the path in the code block": f"```python\nlib/speed.py\n{EDIT}\n```",
    "with the path in a comment": f"```python\n# lib/speed.py\n{EDIT}\n```",
    "with the path in the info string": f"```diff lib/speed.py\n{EDIT}\n```",
}


@pytest.mark.parametrize("completion", EDITED.values(), ids=EDITED)
def test_an_edit_changes_the_file_whose_path_is_above_it(completion: str):
    assert bodies(completion) == {"lib/speed.py": NEW}


def test_edits_of_several_files_and_a_whole_file_may_come_together():
    first = "<<<<<<< SEARCH\nx = 1\n=======\nx = 5\n>>>>>>> REPLACE"
    second = "<<<<<<< SEARCH\nx = 5\n=======\nx = 6\n>>>>>>> REPLACE"
    completion = f"main.py\n```\n{first}\n```\n```\n{second}\n```\n\n`lib/speed.py`\n```\n{NEW}\n```\n"
    assert bodies(completion) == {"main.py": "x = 6", "lib/speed.py": NEW}


def test_edits_are_applied_to_the_best_version_shown():
    base = FILES.join({"lib/speed.py": "def speed():\n    return 1\n    # best"})
    assert bodies(f"lib/speed.py\n{EDIT}", base) == {"lib/speed.py": "def speed():\n    return 2\n    # best"}
    assert FILES.split(parse("main.py\n```\nx = 3\n```", FILES, 1, base).body)["lib/speed.py"].endswith("# best")


def test_of_a_file_with_marks_only_the_blocks_are_taken():
    whole = MAIN.replace("x = 1", "x = 7").replace("print(x)", "print(99)")
    block = "# EVOLVE-BLOCK-START\nx = 7\n# EVOLVE-BLOCK-END"
    for answer in (whole, block, "x = 7"):
        assert bodies(f"main.py\n```python\n{answer}\n```") == {"main.py": "x = 7"}


def test_a_block_may_hold_fences_where_its_own_is_longer():
    text = "# Use\n```sh\nrun\n```\nfast"
    assert bodies(f"notes.md\n````markdown\n{text}\n````") == {"notes.md": text}


REFUSED = {
    "no code": ("I cannot do better.", "no code block below the path of a file, expected one of main.py, lib/speed.py"),
    "code without a path": (f"```python\n{NEW}\n```", "no code block below the path of a file"),
    "another file": (
        f"evaluate.py\n```python\n{NEW}\n```",
        "'evaluate.py' is not a file that evolves, expected one of",
    ),
    "a new file": (
        f"lib/new.py\n```python\n{NEW}\n```\nmain.py\n```\nx = 2\n```",
        "'lib/new.py' is not a file that evolves",
    ),
    "a file outside": (f"../main.py\n```python\n{NEW}\n```", "'../main.py' is not a file that evolves"),
    "a file of the system": (f"```python /etc/cron.py\n{NEW}\n```", "'/etc/cron.py' is not a file that evolves"),
    "an edit of another file": (f"evaluate.py\n{EDIT}", "'evaluate.py' is not a file that evolves"),
    "an edit without a path": (EDIT, "an edit without the path of its file above it, expected one of main.py"),
    "an edit that does not fit": (f"main.py\n{EDIT}", "main.py: edit 1 of 1: the lines to replace are not in the best"),
    "an edit of what is fixed": (
        "main.py\n<<<<<<< SEARCH\nprint(x)\n=======\nprint(9)\n>>>>>>> REPLACE",
        "main.py: the edits change what stands outside of the marks",
    ),
    "an edit without an end": ("main.py\n<<<<<<< SEARCH\nx = 1\n=======\nx = 2\n", "main.py: an edit that has no end"),
    "too many blocks": (
        "main.py\n```\n" + "# EVOLVE-BLOCK-START\nx = 1\n# EVOLVE-BLOCK-END\n" * 2 + "```",
        "main.py: no code block with the 1 evolved block",
    ),
}


@pytest.mark.parametrize(("completion", "error"), REFUSED.values(), ids=REFUSED)
def test_an_answer_that_fits_no_evolving_file_is_refused_with_the_reason(completion: str, error: str):
    assert error in refusal(completion)


@pytest.mark.parametrize(
    "text",
    [
        "```a\n" * 100_000 + EDIT,
        f"```\n{EDIT}\n" * 5_000,
        "main.py\n" * 100_000,
        "a." * 500_000 + "\n```\nx\n```",
        "<<<<<<< SEARCH\n" * 100_000,
    ],
)
def test_a_hostile_completion_is_read_in_a_moment(text: str):
    begin = time.process_time()
    parse(text, FILES, 1, "")
    assert time.process_time() - begin < 20


def test_empty_files_are_rejected():
    parsed = parse("lib/speed.py\n```\n\n```", FILES, 1, "")
    assert parsed.verdict is not None
    assert parsed.verdict.outcome is Outcome.REJECTED


def test_the_prompt_shows_whole_files_and_of_earlier_versions_only_what_changed():
    older = FILES.join({"lib/speed.py": "def speed():\n    return 0"})
    long = FILES.join({"lib/speed.py": "\n".join(["def speed():", *[f"    x{n} = {n}" for n in range(500)]])})
    prompt = render(FILES, PromptContent((older, FILES.start_body)), Model(name="m"))
    assert "\nlib/speed.py\n```python\ndef speed():\n    return 1\n```\n" in prompt
    assert f"\nmain.py\n```python\n{MAIN}```\n" in prompt
    assert "\nnotes.md\n```\nslow\n```\n" in prompt
    assert "-    return 0\n+    return 1" in prompt
    assert prompt.count("print(x)") == 1
    huge = FILES.join({"lib/speed.py": "x = 1\n" * 100_000})
    assert "lib/speed.py: too long to compare" in render(
        FILES, PromptContent((huge, FILES.start_body)), Model(name="m")
    )
    assert len(render(FILES, PromptContent((long, FILES.start_body)), Model(name="m"))) < len(prompt) + 4000
