"""`overnight relay` lists what waits and writes answers."""

from __future__ import annotations

import io
import json
import os
import socket
import sys
from pathlib import Path

import pytest

from overnight.flows.cli.relay import relay
from overnight.schemas.errors import EnvironmentFault, UsageError
from overnight.tasks.sample.providers.relay import About, Request, ask, open_relay

Output = pytest.CaptureFixture[str]


@pytest.fixture
def request_(tmp_path: Path) -> Request:
    return ask(open_relay(tmp_path / "relay"), "improve this\nnow", seed=1, about=About("refine", "4f00aa", 2.5))


def test_what_waits_is_listed_shown_and_answered(
    request_: Request, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Output
):
    folder = request_.prompt.parent
    relay(folder)
    listed = capsys.readouterr()
    assert request_.id in listed.out
    assert all(fact in listed.out for fact in ("refine", "4f00aa", "2.5", " s"))
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


@pytest.mark.parametrize(("text", "message"), [("\n", "is empty"), ("x" * (4 * 2**20 + 1), "is longer than 4 MiB")])
def test_an_answer_that_is_empty_or_too_long_is_refused(
    request_: Request, monkeypatch: pytest.MonkeyPatch, text: str, message: str
):
    monkeypatch.setattr("sys.stdin", io.StringIO(text))
    with pytest.raises(UsageError, match=f"the answer {message}; nothing was written"):
        relay(request_.prompt.parent, answer=request_.id)
    assert not request_.answer.exists()


def test_a_folder_without_requests_of_ours_is_refused(tmp_path: Path):
    with pytest.raises(UsageError, match="no folder of requests"):
        relay(tmp_path)


def test_the_oldest_is_shown_and_facts_of_the_wait_are_data(request_: Request, capsys: Output):
    folder = request_.prompt.parent
    later = ask(folder, "improve that", seed=2)
    os.utime(request_.prompt, (1.0, 1.0))
    relay(folder, next=True)
    shown = capsys.readouterr()
    assert shown.out == "improve this\nnow\n"
    assert f"--answer {request_.id}" in shown.err
    relay(folder, format="json")
    first, second = json.loads(capsys.readouterr().out)
    assert (first["id"], first["operator"], first["base"], first["score"]) == (request_.id, "refine", "4f00aa", 2.5)
    assert first["waited_s"] > 1e9
    assert (second["id"], second["operator"]) == (later.id, "")
    request_.answer.write_text("return 1")
    later.answer.write_text("return 1")
    relay(folder, next=True)
    assert "0 requests wait" in capsys.readouterr().err


def test_an_answer_to_a_request_that_was_withdrawn_is_kept_and_told(
    request_: Request, monkeypatch: pytest.MonkeyPatch, capsys: Output
):
    ask(request_.prompt.parent, "improve this\nnow", seed=1, about=About(is_wanted=False))
    relay(request_.prompt.parent)
    assert "nobody waits" in capsys.readouterr().out
    monkeypatch.setattr("sys.stdin", io.StringIO("return 2\n"))
    relay(request_.prompt.parent, answer=request_.id)
    assert "nobody waits now: a night that asks the same takes it" in capsys.readouterr().err
    assert request_.answer.read_text() == "return 2\n"


@pytest.mark.parametrize("about", ["", "[", '{"score": "many"}', '{"operator": 7}'])
def test_what_is_said_of_a_request_may_be_damaged(request_: Request, capsys: Output, about: str):
    request_.prompt.with_name(f".{request_.id}.about.json").write_text(about)
    relay(request_.prompt.parent)
    assert request_.id in capsys.readouterr().out


def test_a_page_is_not_served_on_a_port_that_is_taken(request_: Request):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(EnvironmentFault, match=f"cannot listen on port {port}"):
            relay(request_.prompt.parent, serve=True, port=port)
