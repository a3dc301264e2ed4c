"""Tasks of SkyDiscover: a small one in their form, scored by the evaluator in its folder."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from overnight.tasks.problems.loading.load import load_problem

DOCKERFILE = "FROM python:3.12-slim\nCOPY . .\nRUN pip install --no-cache-dir -r requirements.txt\nRUN chmod +x it.sh\n"
FILES = {
    "initial_program.py": "x = 3\n",
    "config.yaml": "prompt: {system_message: Climb the hill.}\nevaluator: {timeout: 20}\n",
    "evaluator/evaluator.py": "from beside import height\n\ndef evaluate(path):\n    return height(path)\n",
    "evaluator/beside.py": "import runpy\nimport scipy\n\n"
    "def height(path):\n    return {'combined_score': 2.0 * runpy.run_path(path)['x']}\n",
    "evaluator/requirements.txt": "numpy>=1.26\n",
    "evaluator/Dockerfile": DOCKERFILE,
}


def write(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def test_packages_are_those_of_the_evaluator_s_folder(tmp_path: Path):
    problem = load_problem(write(tmp_path / "hill", FILES))
    assert problem.dependencies.packages == ("numpy>=1.26", "scipy")
    assert problem.settings.statement == "Climb the hill."
    assert not any("Dockerfile" in note for note in problem.notes)


def test_commands_of_a_dockerfile_are_not_run_but_named(tmp_path: Path):
    more = FILES | {"evaluator/Dockerfile": DOCKERFILE + "RUN apt-get install -y gfortran\n"}
    notes = "\n".join(load_problem(write(tmp_path / "hill", more)).notes)
    assert "it may lack: RUN apt-get install -y gfortran" in notes
    assert "chmod" not in notes


def test_the_evaluator_scores_with_the_modules_beside_it(tmp_path: Path):
    files = FILES | {"evaluator/beside.py": FILES["evaluator/beside.py"].replace("import scipy\n", "")}
    problem = load_problem(write(tmp_path / "hill", files))
    work = tmp_path / "work"
    write(work, {file.path: file.content.decode() for file in problem.files})
    program = write(work, {"initial_program.py": "x = 4\n"}) / "initial_program.py"
    _, *arguments = (word.replace("{program}", str(program)) for word in problem.settings.command.evaluate)
    subprocess.run([sys.executable, *arguments], cwd=work, check=True, timeout=60)
    assert json.loads((work / "overnight_metrics.json").read_text())["score"] == 8.0
