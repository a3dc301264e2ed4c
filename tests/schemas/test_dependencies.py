"""Dependencies are read from script blocks, and invalid ones are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from overnight.schemas.dependencies import Dependencies, read_dependencies
from overnight.schemas.errors import SpecificationError
from overnight.tasks.problems.loading.load import load_problem
from overnight.tasks.program.make_problem import restore_problem


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
