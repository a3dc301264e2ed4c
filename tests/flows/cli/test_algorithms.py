"""`overnight algorithms` lists every algorithm with a line of text, its source, and a mark at the default."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from overnight.flows.cli.main import run
from overnight.schemas.algorithm_settings import GreedySettings, algorithm_kinds
from tests.plugins import install


def test_it_lists_every_algorithm_and_marks_the_default(capsys: pytest.CaptureFixture[str]):
    assert run(["algorithms"]) == 0
    written = capsys.readouterr()
    lines = [line for line in written.out.splitlines() if line.strip()]
    for line, kind in zip(lines[2:], algorithm_kinds(), strict=True):
        assert line.split()[0] == kind.algorithm_name()
        assert kind.summary() in line
        assert kind.source in line
        assert (line.split()[1] == "yes") == (kind is GreedySettings)
    assert "--set search.algorithm=NAME" in written.err


def test_it_lists_those_of_plug_ins_by_their_packages_description_and_so_does_the_doctor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    install(tmp_path, "algorithms", "mine", "my_algorithm", "raise RuntimeError('imported')\n", package="my-package")
    install(tmp_path, "algorithms", "greedy", "not_greedy")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PREFECT_API_URL", "")
    assert run(["algorithms", "--format", "json"]) == 0
    *ours, mine = json.loads(capsys.readouterr().out)
    summary = {"summary": "About mine.", "source": "plug-in: my-package 1"}
    assert mine == {"algorithm": "mine", "is_default": False, **summary}
    assert len(ours) == len(algorithm_kinds())
    run(["doctor", "--format", "json", "--history", str(tmp_path / "history")])
    found = {row["check"]: row for row in json.loads(capsys.readouterr().out)}
    assert found["plug-in mine"]["is_ok"]
    assert found["plug-in mine"]["found"] == "overnight.algorithms/mine, my-package 1"
