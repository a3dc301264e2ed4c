"""The table at the end of a night."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from overnight.flows.cli import foreground_night
from overnight.flows.cli.foreground_night import file_name_of, result_table, write_beginning
from overnight.schemas.generation import Finalist
from overnight.tasks.problems.loading.load import load_problem
from overnight.testing.made import TOY
from tests.flows.night.shown import a_night


@pytest.mark.parametrize(("held_out", "cell"), [(None, ""), (-3.5, "-3.5")])
def test_scores_without_a_model_are_in_the_columns_of_their_inputs(held_out: float | None, cell: str):
    known = {"honesty": -3.25, "honesty_held_out": held_out, "honesty_label": "by hand"}
    problem = load_problem(TOY, {"known": known})
    night = a_night(5.0, problem=problem)
    finalists = (Finalist(night.best, 5.0, -2.0, -3.0), Finalist(night.start, 1.0, -8.0, -7.0))
    table = result_table(replace(night, record=replace(night.record, finalists=finalists)))
    columns = {str(column.header): [str(cell) for cell in column.cells] for column in table.columns}
    assert columns["train"] == ["1", "5", "-3.25"]
    assert columns["validation"] == ["-8", "-2", ""]
    assert columns["held-out"] == ["-7", "-3", cell]


def test_of_a_long_program_the_beginning_is_shown(capsys: pytest.CaptureFixture[str]):
    write_beginning("\n".join(f"line {number}" for number in range(108)))
    printed = capsys.readouterr()
    assert printed.out.splitlines() == [f"line {number}" for number in range(15)]
    assert "93 more lines, shown by `show` below" in printed.err
    write_beginning("short")
    assert capsys.readouterr() == ("short\n", "")


@pytest.mark.parametrize("as_json", [False, True])
def test_a_night_that_is_stopped_at_once_tells_what_is_committed(
    as_json: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    night = a_night(5.0)
    monkeypatch.setattr(foreground_night, "read_state", lambda *_: night.state)
    run = SimpleNamespace(files=None, run=night.run)
    stopped = cast("Any", SimpleNamespace(shown=replace(night, state=cast("Any", None)), run=run))
    with (
        pytest.raises(KeyboardInterrupt),
        foreground_night._summary_if_stopped(stopped, as_json=as_json, leaves_stdout=False),
    ):
        raise KeyboardInterrupt
    printed = capsys.readouterr()
    if as_json:
        assert json.loads(printed.out)["best_score"] == 5.0
    else:
        assert "best program" in printed.out
        assert night.text_of(night.best) in printed.out
        assert f"overnight report {night.run.run_id}" in printed.err


@pytest.mark.parametrize(("program", "name"), [("solve.sh", "best.sh"), (["a.py", "lib/b.py"], "best")])
def test_the_command_that_saves_a_program_names_a_file_of_its_kind(program: str | list[str], name: str, tmp_path: Path):
    for file in [program] if isinstance(program, str) else program:
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_text("x = 1\n")
    (tmp_path / "score.py").write_text("")
    (tmp_path / "overnight.toml").write_text(
        f"files = ['score.py']\ncommand.program = {json.dumps(program)}\n"
        "command.evaluate = ['python3', 'score.py', '{program}']\ncommand.metric = 'x'\n"
    )
    assert file_name_of(load_problem(tmp_path)) == name
    assert file_name_of(load_problem(TOY)) == "best.py"
