"""Recorded nights of built-in problems: imported by name, read without an engine, and refused with a reason."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from overnight.flows.start import sandboxes
from overnight.flows.start.recorded_night import change_since
from overnight.schemas.errors import ExitCode
from overnight.tasks.evaluate.packages import Interpreter
from overnight.tasks.evaluate.registry import create_backend
from overnight.tasks.problems import find_builtin, names, recorded
from overnight.tasks.problems.loading.load import load_problem
from overnight.testing.made import a_run
from tests.flows.cli.conftest import Command

pytestmark = pytest.mark.usefixtures("without_charts")

NAME = "sorting-network"
"""A problem whose recorded night is short."""

Said = Callable[..., tuple[int, str, str]]

RUN = recorded.nights()[NAME].run_id


@pytest.fixture
def command(here: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Said:
    """A function that runs a command in an empty folder, where no engine answers; it returns what it said."""
    (tmp_path / "folder").mkdir()
    monkeypatch.chdir(tmp_path / "folder")
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere")

    def run(*arguments: str) -> tuple[int, str, str]:
        done = here(list(arguments), tmp_path / "history")
        return done.returncode, done.stdout, done.stderr

    return run


def test_it_is_imported_by_name_and_read_and_queried_without_an_engine(command: Said):
    code, out, err = command("import", NAME)
    night = recorded.nights()[NAME]
    assert (code, out) == (ExitCode.DONE, "")
    assert f"{RUN}: imported: the recorded night of {NAME}" in err
    assert f"{night.answers} answers of {night.by}" in err
    assert f"overnight report {RUN}" in err
    assert f"overnight replay {RUN}" in err
    assert "MODEL" not in err, "its best score is proven, so that nothing goes on from it"
    assert command("report", NAME, "--write", "page.html")[0] == ExitCode.DONE
    assert Path("page.html").stat().st_size > 10_000
    code, out, _ = command("sql", f"FROM improvements('{RUN}')", "--format", "json")
    assert json.loads(out)[-1]["score"] == night.found
    code, out, err = command("import", NAME)
    assert code == ExitCode.DONE
    assert "already in the history, with the same content" in err


def test_a_night_whose_best_is_not_proven_is_gone_on_from_as_long_as_its_problem_is_the_same(
    command: Said, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    name = "kakeya-needle"
    run, text = recorded.nights()[name].run_id, find_builtin(name).read_text()
    _, _, err = command("import", name)
    assert f"overnight run {name} --start {run}" in err
    assert f"overnight rescore {run}" in err
    changed = tmp_path / "kakeya_needle.py"
    changed.write_text(text.replace("32", "33"))
    monkeypatch.setattr("overnight.flows.start.recorded_night.find_builtin", lambda _: changed)
    _, _, err = command("import", name)
    assert f"overnight run {name}" not in err


def test_a_night_that_went_on_is_not_overwritten(command: Said, tmp_path: Path):
    command("import", NAME)
    (night,) = (tmp_path / "history/runs" / RUN / "nights").glob("*.parquet")
    night.unlink()
    code, _, err = command("import", NAME)
    assert code == ExitCode.USAGE
    assert "in the history already, with other content" in err
    assert "--history DIR" in err


def test_a_file_of_the_name_is_taken_before_and_a_folder_is_not(command: Said):
    shutil.copy(recorded.archive("cap-set"), NAME)
    code, _, err = command("import", NAME)
    assert code == ExitCode.DONE
    assert f"note: {NAME} is a file here, and is imported" in err
    assert recorded.nights()["cap-set"].run_id in err
    Path(NAME).unlink()
    Path(NAME).mkdir()
    assert f"the recorded night of {NAME}" in command("import", NAME)[2]
    code, _, err = command("import", f"./{NAME}")
    assert code == ExitCode.USAGE
    assert "Name a file that `overnight export` wrote" in err


def test_what_has_no_recorded_night_is_told_what_has(command: Said, monkeypatch: pytest.MonkeyPatch):
    code, _, err = command("import", "sorting-netwrok")
    assert (code, "Did you mean sorting-network?" in err) == (ExitCode.USAGE, True)
    assert "no file sorting-netwrok, and no built-in problem of that name" in err
    monkeypatch.setattr(recorded, "names", lambda: [NAME])
    code, _, err = command("import", "cap-set")
    assert code == ExitCode.USAGE
    assert "cap-set has no recorded night" in err
    assert f"These have one: {NAME}." in err


def test_a_damaged_one_is_to_be_installed_again(command: Said, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    text = recorded.archive(NAME).read_bytes()
    (tmp_path / "damaged").mkdir()
    (tmp_path / f"damaged/{NAME}.tar.zst").write_bytes(text[: len(text) // 2])
    monkeypatch.setattr(recorded, "FOLDER", tmp_path / "damaged")
    code, _, err = command("import", NAME)
    assert code == ExitCode.FAILED
    assert "is not a complete archive of a run" in err
    assert "install that again" in err
    assert not list(tmp_path.glob("history/runs/*"))


@pytest.mark.parametrize(
    ("old", "new", "remedy"),
    [
        ("", "", ""),
        ("# inputs = [", "# inputs = [3, ", f"rescore {RUN} --history HERE {NAME}` scores its programs"),
        ('"""Draw', '"""Now draw', ""),
        (
            "touching[-1] + 1",
            "touching[-1] + 2",
            f"`overnight rescore {RUN} --history HERE {NAME}` scores its programs",
        ),
        ("priority(", "rank(", f"so only `overnight rescore {RUN} --history HERE` goes on"),
    ],
    ids=["nothing", "an input", "a text", "the code", "the function"],
)
def test_of_a_problem_that_has_changed_since_it_is_said_what_can_still_be_done(
    command: Said,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    old: str,
    new: str,
    remedy: str,
):
    path = tmp_path / "sorting_network.py"
    text = find_builtin(NAME).read_text()
    assert old in text
    path.write_text(text.replace(old, new) if old else text)
    monkeypatch.setattr("overnight.flows.start.recorded_night.find_builtin", lambda _: path)
    code, _, err = command("import", NAME)
    note = f"note: the problem {NAME} has changed since {RUN} was recorded"
    assert (code, note in err) == (ExitCode.DONE, bool(remedy))
    assert remedy.replace("HERE", str(tmp_path / "history")) in err
    code, _, err = command("replay", RUN)  # which needs an engine
    assert (code, note in err) == (ExitCode.ENVIRONMENT, bool(remedy))


def test_a_replay_without_the_packages_that_it_needs_names_them(command: Said, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sandboxes, "create_backend", lambda _: create_backend("process"))
    monkeypatch.setattr(Interpreter, "has", lambda *_: False)
    command("import", "circle-packing-26")
    code, out, err = command("replay", "circle-packing-26")
    assert (code, out) == (ExitCode.USAGE, "")
    assert "the problem requires numpy, scipy" in err
    assert "use a Docker engine, for which packages are fetched" in err


def test_problems_have_what_was_found(command: Said):
    listed = json.loads(command("problems", "--format", "json")[1])
    assert [one["problem"] for one in listed] == names()
    found = {one["problem"]: one["found"] for one in listed}
    assert {name for name, facts in found.items() if facts} == set(recorded.names())
    night = recorded.nights()[NAME]
    assert (found[NAME]["run_id"], found[NAME]["found"]) == (RUN, night.found)
    code, out, err = command("problems", NAME)
    assert code == ExitCode.DONE
    assert f"{night.found:g}, after {night.found_after} of {night.answers} answers of {night.by}" in out
    assert f"overnight import {NAME}" in out + err
    assert json.loads(command("problems", NAME, "--format", "json")[1])["found"] == found[NAME]
    code, _, err = command("problems", "sorting-netwrok")
    assert (code, "Did you mean sorting-network?" in err) == (ExitCode.USAGE, True)


def test_a_recorded_night_is_not_the_user_s_own_best(command: Said):
    command("import", NAME)
    listed = json.loads(command("problems", NAME, "--format", "json")[1])
    assert listed["your_best"] is None


def test_inputs_of_a_flag_are_no_change_of_the_problem():
    run = a_run("it", load_problem(find_builtin(NAME), {"inputs": [5]}))
    assert change_since(replace(run, specification_path=NAME, origin="")) == ""


def test_a_directory_of_the_name_of_a_problem_is_not_taken_for_it(tmp_path: Path):
    (tmp_path / NAME).mkdir()
    command = 'program = "x.sh"\nevaluate = ["sh", "{program}"]'
    (tmp_path / NAME / "overnight.toml").write_text(f"inputs = [1]\n[command]\n{command}\n")
    (tmp_path / NAME / "x.sh").write_text("echo 1 (\n")
    run = a_run("it", load_problem(tmp_path / NAME))
    assert change_since(replace(run, specification_path=NAME, origin="")) == ""
