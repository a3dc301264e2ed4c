"""The skill file for coding agents: its commands run as they are written, and say what it tells."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.command_server import install

SKILL = Path(__file__).parents[2] / "infra" / "agent" / "SKILL.md"

pytestmark = [pytest.mark.docker, pytest.mark.prefect]


def blocks() -> list[str]:
    return re.findall(r"^```sh\n(.*?)^```", SKILL.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory, prefect_api: str) -> dict[str, Any]:
    """What each command printed, by its first words; JSON is parsed."""
    folder = tmp_path_factory.mktemp("agent")
    programs = tmp_path_factory.mktemp("programs")
    places = [*([programs] if install(programs) else []), Path(sys.executable).parent, os.environ["PATH"]]
    path = os.pathsep.join(map(str, places))
    environment = {**os.environ, "PATH": path, "PREFECT_API_URL": prefect_api}
    found: dict[str, Any] = {}
    for line in "".join(blocks()).splitlines():
        done = subprocess.run(
            ["bash", "-c", line], cwd=folder, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{line}\n{done.stderr}"
        text = done.stdout or (folder / "progress.jsonl").read_text() if " run " in line else done.stdout
        lines = [json.loads(each) for each in text.splitlines()] if "json" in line else text
        found[line] = lines
    assert (folder / "best.py").read_text().count("@funsearch.evolve") == 1
    return found


def answer(answers: dict[str, Any], begin: str) -> Any:
    return next(lines for command, lines in answers.items() if command.startswith(f"overnight {begin}"))


def test_every_command_of_the_skill_runs(answers: dict[str, Any]):
    assert len(answers) == 10


def test_checks_name_scores_limits_and_the_next_command(answers: dict[str, Any]):
    (found,) = answer(answers, "check")
    assert found["results"]["train"]["scores"]
    assert found["proposed_limits"]["wall_s"] >= 1
    assert found["next"].startswith("overnight run mine.py --inputs '[5]'")


def test_a_run_prints_its_id_each_generation_and_its_end(answers: dict[str, Any]):
    first, *generations, last = answer(answers, "run")
    assert (first["event"], last["event"]) == ("run", "night")
    assert [line["event"] for line in generations] == ["generation"] * len(generations)
    assert [line["generation"] for line in generations] == list(range(1, len(generations) + 1))
    assert (last["samples"], last["stop_reason"]) == (40, "samples")
    assert sum(generations[-1]["outcomes"].values()) == 40
    assert last["best_score"] >= first["start_score"]


def test_the_best_program_has_code_and_scores(answers: dict[str, Any]):
    (best,) = answer(answers, "best last --format json")
    assert best["code"].startswith("def priority")
    assert best["score"] >= best["start_score"]
    assert answer(answers, "doctor")[0][0]["is_ok"]
    assert {problem["origin"] for problem in answer(answers, "problems")[0]} >= {"FunSearch, Nature 2023"}
