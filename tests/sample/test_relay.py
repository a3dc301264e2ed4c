"""A folder is a model: whoever writes the answer of a request answers it."""

from __future__ import annotations

import os
import threading
from concurrent.futures import Future
from pathlib import Path

import pytest

from overnight.schemas.completion_source import Sample
from overnight.schemas.errors import EnvironmentFault, UsageError
from overnight.schemas.program import Completion, Prompt
from overnight.schemas.sampling_settings import Sampling
from overnight.tasks.sample.gateway import Gateway, await_cancellation
from overnight.tasks.sample.provider import require_keys
from overnight.tasks.sample.providers import relay
from overnight.tasks.sample.providers.relay import (
    GUIDE,
    About,
    Request,
    answers_to_nothing,
    open_relay,
    read_about,
    requests_in,
)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(relay, "_LOOK_S", 0.02)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "relay"


def ask(folder: Path, samples: int = 1, text: str = "improve this") -> Future[list[Completion]]:
    """Ask for samples of a prompt, and return their future."""
    name = f"relay:{folder}"
    prompt = Prompt(
        0, "0", ("0", "1"), name, "chat", text, tuple(range(samples)), "return 0", "", "refine", "4f00aa", 2.5
    )
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
    assert read_about(request) == About("refine", "4f00aa", 2.5, base_body="return 0", shown=2)
    asked.cancel()
    while read_about(request).is_wanted:
        threading.Event().wait(0.01)
    request.answer.write_text("while nobody waited")
    assert ask(folder).result(30)[0].text == "while nobody waited"
    assert requests_in(folder) == [request], "the same request, not another one"


def test_a_request_keeps_its_id_whatever_its_base_took_this_time(folder: Path):
    ask(folder, text="Measured: it took 1.5 s.\n\nimprove this")
    (request,) = wait_for(folder, 1)
    request.answer.write_text("done")
    assert ask(folder, text="Measured: it took 1.6 s.\n\nimprove this").result(30)[0].text == "done"


def test_a_request_can_be_withdrawn_where_its_folder_is_gone(folder: Path, tmp_path: Path):
    asked = ask(folder)
    wait_for(folder, 1)
    folder.rename(tmp_path / "elsewhere")
    asked.cancel()
    await_cancellation()
    assert asked.cancelled()
    assert not folder.exists()


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


def test_too_long_an_answer_is_refused_with_a_message_and_nothing_else_is_lost(folder: Path):
    asked = ask(folder, samples=2)
    long, good = wait_for(folder, 2)
    with long.answer.open("wb") as file:
        file.truncate(100 * 2**20)
    good.answer.write_text("fine")
    answers = asked.result(60)
    assert sorted(answer.text for answer in answers) == ["", "fine"]
    refused = [answer.error for answer in answers if answer.error]
    assert refused == [f"{long.answer.name} is longer than 4 MiB"], "without the folder, which agents could read"
    assert long.answer.stat().st_size == 100 * 2**20


# A folder to which others may write


@pytest.fixture
def private(tmp_path: Path) -> Path:
    path = tmp_path / "private"
    path.write_text("a key")
    return path


def test_nobody_else_reads_what_is_asked(folder: Path):
    open_relay(folder)
    (folder).chmod(0o777)
    ask(folder)
    (request,) = wait_for(folder, 1)
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in (request.prompt, folder / GUIDE)} == {0o600}


def test_what_another_program_of_the_same_user_writes_is_taken_whatever_its_mode(folder: Path):
    asked = ask(folder)
    (request,) = wait_for(folder, 1)
    partial = folder / "partial"
    partial.write_text("from elsewhere")
    partial.chmod(0o664)
    partial.replace(request.answer)
    assert asked.result(30)[0].text == "from elsewhere"


@pytest.mark.parametrize("kind", ["link", "second name", "pipe", "folder"])
def test_an_answer_that_is_no_file_of_this_user_is_refused_and_not_read(folder: Path, private: Path, kind: str):
    asked = ask(folder)
    (request,) = wait_for(folder, 1)
    match kind:
        case "link":
            request.answer.symlink_to(private)
        case "second name":
            request.answer.hardlink_to(private)
        case "pipe":
            os.mkfifo(request.answer)
        case _:
            request.answer.mkdir()
    (answer,) = asked.result(60)
    assert answer.text == ""
    assert "is no file of this user's" in answer.error


def test_no_link_is_followed_on_writing(folder: Path, private: Path):
    open_relay(folder)
    name = relay.ask(folder, "improve this", 0).prompt
    name.unlink()
    name.symlink_to(private)
    (folder / f".{name.name}.{os.getpid()}").symlink_to(private)
    request = relay.ask(folder, "improve this", 0)
    assert not request.prompt.is_symlink()
    request.answer.symlink_to(private)
    with pytest.raises(UsageError, match="is answered already"):
        relay.write_answer(request, "fine")
    assert private.read_text() == "a key"


def test_a_planted_guide_or_link_makes_no_folder_of_requests(folder: Path, private: Path, tmp_path: Path):
    folder.mkdir()
    (folder / GUIDE).symlink_to(private)
    with pytest.raises(UsageError, match="holds something else"):
        open_relay(folder)
    link = tmp_path / "link"
    link.symlink_to(tmp_path, target_is_directory=True)
    with pytest.raises(EnvironmentFault, match="cannot use the folder"):
        open_relay(link)


def test_another_user_s_folder_is_refused_with_a_remedy(folder: Path, monkeypatch: pytest.MonkeyPatch):
    open_relay(folder)
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    with pytest.raises(EnvironmentFault, match=f"is of user {os.getuid()}") as refused:
        open_relay(folder)
    assert "a folder of your own" in refused.value.remedy
