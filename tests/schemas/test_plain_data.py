"""Plain data: the files of a program as one text, dependencies, outcomes, and text without invisible characters."""

from __future__ import annotations

import sys
import unicodedata
from pathlib import Path
from typing import Any

import pytest

from overnight.schemas.bundle import MAX_FILES, ProgramBundle
from overnight.schemas.dependencies import Dependencies, read_dependencies
from overnight.schemas.errors import SpecificationError
from overnight.schemas.escaping import INVISIBLE, escape_invisible
from overnight.schemas.outcome import Outcome
from overnight.tasks.problems.loading.load import load_problem
from overnight.tasks.program.make_problem import restore_problem

# The files of a program as one text, and back: nothing else than what was encoded is read


TWO = ProgramBundle((("a.py", "x = 1\n"), ("lib/b.py", "=== c.py, 1 lines ===\n")))


def test_a_line_above_each_file_says_how_many_follow():
    assert TWO.encode() == "=== a.py, 2 lines ===\nx = 1\n\n=== lib/b.py, 2 lines ===\n=== c.py, 1 lines ===\n"
    assert ProgramBundle.decode(TWO.encode()) == TWO


def test_people_see_the_only_file_as_it_is_and_several_below_their_paths():
    assert ProgramBundle((("a.py", "x = 1\n"),)).shown == "x = 1\n"
    assert TWO.shown == "# === a.py ===\nx = 1\n\n# === lib/b.py ===\n=== c.py, 1 lines ===\n"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x = 1",
        "=== a.py, 3 lines ===\nx = 1",
        "=== a.py, 1 lines ===\nx = 1\n",
        "=== a.py, 01 lines ===\nx = 1",
        "=== a.py, 1 lines ===\r\nx = 1",
        "=== a.py, 0 lines ===",
        "=== a.py, 1 lines ===\nx = 1\n=== a.py, 1 lines ===\nx = 2",
        "=== a, 1 lines ===\nx\n=== a/b.py, 1 lines ===\nx",
        "=== ../a.py, 1 lines ===\nx = 1",
        "=== /etc/passwd, 1 lines ===\nx = 1",
        "=== .git/config, 1 lines ===\nx = 1",
        "=== lib/../../a.py, 1 lines ===\nx = 1",
        "=== a\\b.py, 1 lines ===\nx = 1",
        f"=== {'a' * 300}, 1 lines ===\nx = 1",
        "\n".join(f"=== {n}.py, 1 lines ===\n" for n in range(MAX_FILES + 1)),
    ],
)
def test_a_text_that_is_damaged_or_names_an_unsafe_path_is_refused(text: str):
    with pytest.raises(SpecificationError):
        ProgramBundle.decode(text)


# Dependencies are read from script blocks, and invalid ones are refused


def test_the_dependencies_of_all_scripts_are_merged():
    scripts = {
        "a.py": {"dependencies": ["scipy >= 1.16", "numpy"], "requires-python": ">=3.12"},
        "b.py": {"dependencies": ["numpy", "networkx[extra]; python_version > '3'"], "requires-python": "<4"},
        "c.py": {},
    }
    packages = ('networkx[extra]; python_version > "3"', "numpy", "scipy>=1.16")
    assert read_dependencies(scripts) == Dependencies(packages, "<4,>=3.12")


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ({"dependencies": "numpy"}, "`dependencies` is 'numpy', expected an array of strings"),
        ({"dependencies": [1]}, "expected an array of strings"),
        ({"dependencies": ["scipy>>1"]}, "a.py: 'scipy>>1' in `dependencies` is not a requirement"),
        ({"dependencies": ["--index-url=https://x"]}, "is not a requirement"),
        ({"dependencies": [""]}, "is not a requirement"),
        ({"requires-python": "3.x"}, "`requires-python` is '3.x'"),
        ({"requires-python": 3.12}, "`requires-python` is 3.12"),
    ],
)
def test_an_invalid_dependency_is_named(script: dict[str, Any], message: str):
    with pytest.raises(SpecificationError, match=message):
        read_dependencies({"a.py": script})


def test_the_settings_may_name_dependencies_too(tmp_path: Path):
    (tmp_path / "climb.py").write_text("x = 1\n")
    settings = (
        'dependencies = ["scipy >= 1.16"]\ncommand = {program = "climb.py", evaluate = ["python3", "climb.py"]}\n'
    )
    (tmp_path / "overnight.toml").write_text(settings)
    assert load_problem(tmp_path).dependencies.packages == ("scipy>=1.16",)
    given = {"dependencies": ["scipy>>1"]}
    with pytest.raises(SpecificationError, match="'scipy>>1' in `dependencies`"):
        load_problem(tmp_path, given)


def test_a_directory_has_the_dependencies_of_its_program_and_its_command(tmp_path: Path):
    block = "# /// script\n# dependencies = ['{}']\n# ///\n"
    (tmp_path / "climb.py").write_text(block.format("a") + "# EVOLVE-BLOCK-START\nx = 1\n# EVOLVE-BLOCK-END\n")
    (tmp_path / "score.py").write_text(block.format("b"))
    (tmp_path / "other.py").write_text(block.format("c"))
    settings = 'files = ["other.py"]\ncommand.evaluate = ["python3", "score.py", "{program}"]\n'
    (tmp_path / "overnight.toml").write_text(settings)
    problem = load_problem(tmp_path)
    assert problem.dependencies.packages == ("a", "b")
    written = problem.settings.model_dump(mode="json")
    restored = restore_problem(problem.name, problem.specification.text, written, problem.files)
    assert restored.dependencies == problem.dependencies


# Outcomes


def test_outcomes_have_names_and_colours_of_their_own():
    assert [Outcome(kind.value) for kind in Outcome] == list(Outcome)
    for colours in ({kind.facts.on_light for kind in Outcome}, {kind.facts.on_dark for kind in Outcome}):
        assert len(colours) == len(Outcome)


def test_every_row_reads_as_part_of_a_sentence():
    for kind in Outcome:
        assert kind.facts.meaning[0].islower(), kind
        assert kind.facts.explanation[0].isupper(), kind
        assert not {kind.facts.meaning[-1], kind.facts.explanation[-1]} & set(".:"), kind


def test_a_program_that_is_repaired_is_one_that_prompts_show_and_that_is_known():
    for kind in Outcome:
        if kind.facts.is_repairable:
            assert kind.facts.is_informative, kind
            assert kind.facts.counts_as_known, kind
    assert Outcome.TIMED_OUT.facts.is_repairable
    assert not Outcome.SANDBOX_ERROR.facts.counts_as_known


# Invisible characters and control characters are escaped; all other characters are unchanged


def test_every_control_format_and_separator_character_of_unicode_is_escaped():
    missing = [
        f"U+{number:04X}"
        for number in range(sys.maxunicode + 1)
        if unicodedata.category(chr(number)) in {"Cc", "Cf", "Cs", "Zl", "Zp"}
        and chr(number) not in "\n\t"
        and not INVISIBLE.match(chr(number))
    ]
    assert missing == []


@pytest.mark.parametrize(
    ("character", "escape"),
    [
        ("\x1b", r"\x1b"), ("\r", r"\x0d"), ("\x7f", r"\x7f"), ("\x9b", r"\x9b"), ("\xad", r"\xad"),
        ("\u200b", r"\u200b"), ("\u202e", r"\u202e"), ("\u2066", r"\u2066"), ("\u2028", r"\u2028"),
        ("\u3164", r"\u3164"), ("\ufe0f", r"\ufe0f"), ("\ufeff", r"\ufeff"), ("\udc80", r"\udc80"),
        ("\U000e0041", r"\U000e0041"), ("\U000e0101", r"\U000e0101"),
    ],
)  # fmt: skip
def test_a_character_becomes_its_python_escape(character: str, escape: str):
    assert escape_invisible(f"a{character}b") == f"a{escape}b"
    assert escape_invisible(escape_invisible(character)) == escape, "escaped text is unchanged"


def test_letters_symbols_and_spaces_of_all_languages_are_unchanged():
    text = "def f(x):\n\treturn 'naïve Ω ж 漢字 عربي 🎉 – … “quoted” \u00a0 \u3000'"
    assert escape_invisible(text) == text


def test_marks_on_one_letter_are_escaped_beyond_the_number_that_languages_use():
    assert escape_invisible("o" + "\u0301" * 5000) == "o" + "\u0301" * 8 + "\\u0301" * 4992
    assert escape_invisible("漢字漢字漢字漢字o\u0301\u0323漢字") == "漢字漢字漢字漢字o\u0301\u0323漢字"
    stacked = escape_invisible("é" + "\u20dd" * 20)
    assert escape_invisible(stacked) == stacked
