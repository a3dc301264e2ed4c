"""`overnight relay` lists what waits and writes answers."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pytest

from overnight.flows.cli.relay import relay
from overnight.schemas.errors import UsageError
from overnight.tasks.sample.providers.relay import Request, ask, open_relay

Output = pytest.CaptureFixture[str]


@pytest.fixture
def request_(tmp_path: Path) -> Request:
    return ask(open_relay(tmp_path / "relay"), "improve this\nnow", seed=1)


def test_what_waits_is_listed_shown_and_answered(
    request_: Request, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Output
):
    folder = request_.prompt.parent
    relay(folder)
    listed = capsys.readouterr()
    assert request_.id in listed.out
    assert "1 request waits" in listed.err
    relay(folder, show=request_.id[:4])
    assert capsys.readouterr().out.strip() == "improve this\nnow"
    (tmp_path / "editor.py").write_text("import sys\nopen(sys.argv[1], 'a').write('return 1\\n')\n")
    monkeypatch.setenv("VISUAL", f"{sys.executable} {tmp_path / 'editor.py'}")
    relay(folder, edit=request_.id)
    assert request_.answer.read_text() == "return 1"
    capsys.readouterr()
    relay(folder, format="json")
    assert json.loads(capsys.readouterr().out) == []


def test_an_answer_is_read_from_standard_input_and_one_to_nothing_is_named(
    request_: Request, monkeypatch: pytest.MonkeyPatch, capsys: Output
):
    monkeypatch.setattr("sys.stdin", io.StringIO("return 2\n"))
    relay(request_.prompt.parent, answer=request_.id)
    assert request_.answer.read_text() == "return 2\n"
    request_.answer.with_name("other.answer.md").write_text("x")
    relay(request_.prompt.parent)
    assert "other.answer.md is to no request" in capsys.readouterr().err


def test_a_request_that_is_not_there_or_is_answered_is_refused(request_: Request):
    with pytest.raises(UsageError, match="0 requests have an id that begins with 'nothing'"):
        relay(request_.prompt.parent, show="nothing")
    request_.answer.write_text("answered")
    with pytest.raises(UsageError, match="is answered already"):
        relay(request_.prompt.parent, answer=request_.id)


def test_an_empty_answer_is_refused(request_: Request, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("\n"))
    with pytest.raises(UsageError, match="the answer is empty"):
        relay(request_.prompt.parent, answer=request_.id)
    assert not request_.answer.exists()


def test_a_folder_without_requests_of_ours_is_refused(tmp_path: Path):
    with pytest.raises(UsageError, match="no folder of requests"):
        relay(tmp_path)
