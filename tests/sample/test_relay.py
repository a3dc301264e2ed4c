"""A folder is a model: whoever writes the answer of a request answers it."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from pathlib import Path

import pytest

from overnight.schemas.completion_source import Sample
from overnight.schemas.errors import EnvironmentFault, UsageError
from overnight.schemas.program import Completion, Prompt
from overnight.schemas.sampling_settings import Sampling
from overnight.tasks.sample.gateway import Gateway
from overnight.tasks.sample.provider import require_keys
from overnight.tasks.sample.providers import relay
from overnight.tasks.sample.providers.relay import GUIDE, Request, answers_to_nothing, open_relay, requests_in


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(relay, "_LOOK_S", 0.02)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "relay"


def ask(folder: Path, samples: int = 1, text: str = "improve this") -> Future[list[Completion]]:
    """Ask for samples of a prompt, and return their future."""
    name = f"relay:{folder}"
    prompt = Prompt(0, "0", (), name, "chat", text, tuple(range(samples)))
    gateway = Gateway(Sampling.model_validate({"models": [name]}))
    return gateway.submit([Sample(prompt, number) for number in range(samples)], lambda _: None)


def wait_for(folder: Path, number: int) -> list[Request]:
    """Wait until a folder has so many requests, and return them."""
    while len(found := requests_in(folder) if folder.is_dir() else []) < number:
        threading.Event().wait(0.01)
    return found


def test_a_request_is_a_file_and_its_answer_is_one(folder: Path):
    asked = ask(folder, samples=2)
    first, second = wait_for(folder, 2)
    assert first.prompt.read_text() == second.prompt.read_text() == "improve this"
    second.answer.write_text("two")
    first.answer.write_text("one")
    assert {completion.text for completion in asked.result(30)} == {"one", "two"}
    assert all(completion.cost_usd == 0.0 for completion in asked.result())


def test_the_folder_tells_how_to_answer(folder: Path):
    open_relay(folder)
    guide = (folder / GUIDE).read_text()
    for name in ("ID.prompt.md", "ID.answer.md", "rename", "fresh context"):
        assert name in guide


def test_an_answer_that_came_meanwhile_is_taken_by_the_next_night(folder: Path):
    asked = ask(folder)
    (request,) = wait_for(folder, 1)
    asked.cancel()
    request.answer.write_text("while nobody waited")
    assert ask(folder).result(30)[0].text == "while nobody waited"
    assert requests_in(folder) == [request], "the same request, not another one"


def test_an_answer_is_read_once_nobody_writes_it_any_longer(folder: Path):
    asked = ask(folder)
    (request,) = wait_for(folder, 1)
    request.answer.touch()
    with request.answer.open("a") as file:
        for part in ("half of ", "an ", "answer"):
            assert not asked.done()
            file.write(part)
            file.flush()
            threading.Event().wait(0.005)
    assert asked.result(30)[0].text == "half of an answer"


def test_answers_to_no_request_are_named(folder: Path):
    open_relay(folder)
    stray = folder / "abc.answer.md"
    stray.write_text("to nothing")
    assert answers_to_nothing(folder) == [stray]


def test_a_folder_of_something_else_is_refused(folder: Path, tmp_path: Path):
    folder.mkdir()
    (folder / "thesis.md").write_text("mine")
    with pytest.raises(UsageError, match="holds something else than requests"):
        require_keys(Sampling.model_validate({"models": [f"relay:{folder}"]}))
    assert [path.name for path in folder.iterdir()] == ["thesis.md"]
    (tmp_path / "file").write_text("")
    with pytest.raises(EnvironmentFault, match="cannot use the folder"):
        open_relay(tmp_path / "file")


def test_too_long_an_answer_is_an_error_and_no_answer(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(relay, "_MAX_BYTES", 10)
    asked = ask(folder)
    (request,) = wait_for(folder, 1)
    request.answer.write_text("12345678901")
    with pytest.raises(Exception, match="is longer than"):
        asked.result(60)
