"""`overnight relay --serve`: requests in a browser, with what an answer makes before it is sent."""

from __future__ import annotations

import json
import os
import shutil
from datetime import timedelta
from html import unescape
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from overnight.flows.report.relay_page import Made, application, find_problem, look_at
from overnight.schemas.sampling_settings import Model, Sampling
from overnight.tasks.history.local_backend import LocalBackend
from overnight.tasks.sample.providers.relay import About, Request, ask, open_relay
from overnight.testing.made import NOW, create
from tests.command_server import serving
from tests.report.browser import Page
from tests.report.conftest import HOSTILE

PORT, SECRET = 8000, "secret"
BASE = "x = 1\nreturn x + offset"
BLOCK = "```python\ndef guess_v1(offset: int) -> float:\n    x = {}\n    return x + offset\n```\n"
ABOUT = About("refine", "4f00aa", 2.5, base_body=BASE, shown=1)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return open_relay(tmp_path / "relay")


@pytest.fixture
def request_(folder: Path) -> Request:
    return ask(folder, "improve this", 1, ABOUT)


@pytest.fixture
def history(folder: Path) -> LocalBackend:
    """A history with a run whose model is the folder, and a newer one with another model."""
    backend = LocalBackend(folder.with_name("history"))
    create(backend, sampling=models_of(folder))
    create(backend, "20260102-2200-toy-bbbb")
    return backend


def models_of(folder: Path) -> dict[str, tuple[Model, ...]]:
    """Return the settings of a run whose model is a folder."""
    return {"models": Sampling.model_validate({"models": [f"relay:{folder}"]}).models}


def client_of(folder: Path, history: LocalBackend) -> TestClient:
    return TestClient(application(folder, history, PORT, SECRET), base_url=f"http://127.0.0.1:{PORT}")


def changed(made: Made) -> list[tuple[str, str]]:
    """Return the changed lines of a comparison."""
    lines = [(line.kind, "".join(text for text, _ in line.pieces).strip()) for line in made.lines]
    return [(kind, text) for kind, text in lines if kind in ("removed", "added")]


def test_what_an_answer_makes_of_its_base_is_read_as_the_night_reads_it(request_: Request, history: LocalBackend):
    problem = find_problem(history, request_.prompt.parent, "4f00aa")
    assert problem is not None
    made = look_at(f"I doubled it.\n\n{BLOCK.format(2)}", request_, problem)
    assert (made.is_parsed, changed(made)) == (True, [("removed", "x = 1"), ("added", "x = 2")])
    edit = "<<<<<<< SEARCH\n    x = 1\n=======\n    x = 3\n>>>>>>> REPLACE\n"
    assert changed(look_at(edit, request_, problem)) == [("removed", "x = 1"), ("added", "x = 3")]
    assert look_at(BLOCK.format("1  # the same"), request_, problem).refusal == ""
    assert look_at("I cannot.", request_, problem).refusal.startswith("unparsable: no function guess_v1")
    assert look_at("x" * 200_000, request_, problem).refusal.startswith("unparsable: 200000 characters")
    assert "U+202E" in look_at(BLOCK.format("'\u202e'"), request_, problem).warning


def test_without_the_run_its_code_block_is_compared(request_: Request, folder: Path):
    assert find_problem(LocalBackend(folder.with_name("nothing")), folder, "4f00aa") is None
    made = look_at(BLOCK.format(2), request_, None)
    added = [("added", "def guess_v1(offset: int) -> float:"), ("added", "x = 2")]
    assert (made.is_parsed, changed(made)) == (False, [("removed", "x = 1"), *added])
    without_base = ask(folder, f"improve this\n\n{BLOCK.format(1)}", 3)
    assert changed(look_at(BLOCK.format(2), without_base, None)) == [("removed", "x = 1"), ("added", "x = 2")]
    assert look_at("x" * 200_000, request_, None).refusal == "200000 characters are too long to compare"


def test_a_folder_that_two_runs_used_belongs_to_the_one_with_the_base(folder: Path, history: LocalBackend):
    older = create(history, "20250101-2200-toy-cccc", NOW - timedelta(days=365), sampling=models_of(folder), islands=5)
    (start,) = older.rows_of("programs", ["program_id"])
    found = [find_problem(history, folder, base) for base in ("", start["program_id"])]
    assert [problem and len(problem.settings.search.algorithm.founded_niches) for problem in found] == [3, 5]


def test_only_who_has_the_address_and_no_other_page_is_answered(request_: Request, folder: Path, history: LocalBackend):
    client, path = client_of(folder, history), f"/{SECRET}/{request_.id}"
    assert client.get(f"/{SECRET}/").url.path == path, "the oldest request"
    assert client.get(path).headers["content-security-policy"] == "frame-ancestors 'none'"
    for elsewhere in ("/", f"/{request_.id}", f"/guess/{request_.id}"):
        assert client.get(elsewhere).status_code == 404
        assert client.post(f"{elsewhere}?send", content="mine").status_code == 404
    for header in ({"Host": "evil.example"}, {"Origin": "http://evil.example"}, {"Origin": "null"}):
        assert client.post(f"{path}?send", content="mine", headers=header).status_code == 403
    assert client.get(path, headers={"Host": f"evil.example:{PORT}"}).status_code == 403
    assert not request_.answer.exists()


def test_an_answer_is_sent_once_and_checked_as_on_the_command_line(
    request_: Request, folder: Path, history: LocalBackend
):
    client, path = client_of(folder, history), f"/{SECRET}/{request_.id}"
    for text, message in (("\n", "the answer is empty"), ("x" * (4 * 2**20 + 1), "the answer is longer than 4 MiB")):
        assert message in client.post(f"{path}?send", content=text).text
    assert "would count" not in client.post(f"{path}?look", content=BLOCK.format(2)).text
    assert "would count as a duplicate" in client.post(f"{path}?look", content=BLOCK.format(1)).text
    assert not request_.answer.exists()
    other = ask(folder, "improve that", 2)
    sent = client.post(f"{path}?send", content="é one")
    assert f"Answered {request_.id}." in sent.text
    assert f'Next: <a href="./{other.id}">' in sent.text
    assert "1 request waits" in sent.text
    assert f"{request_.id} is answered already" in client.post(f"{path}?send", content="two").text
    assert request_.answer.read_text() == "é one"


def test_what_happened_meanwhile_is_a_message(request_: Request, folder: Path, history: LocalBackend):
    client, path = client_of(folder, history), f"/{SECRET}/{request_.id}"
    ask(folder, request_.prompt.read_text(), 1, About(is_wanted=False))
    assert "nobody waits" in client.get(path).text
    assert "nobody waits now: a night that asks the same takes it" in client.post(f"{path}?send", content="one").text
    assert "0 requests wait" in client.get(f"/{SECRET}/").text
    request_.prompt.unlink()
    assert "there is no request" in client.post(f"{path}?send", content="one").text
    shutil.rmtree(folder)
    for answer in (client.post(f"{path}?send", content="one"), client.get(f"/{SECRET}/")):
        assert answer.status_code == 200
        assert "The folder is gone." in answer.text
        assert "is no folder of requests" in answer.text


def test_text_of_strangers_is_shown_and_not_executed(folder: Path, history: LocalBackend):
    about = About(HOSTILE, HOSTILE, base_body=BASE, shown=1)
    request = ask(folder, HOSTILE, 1, about)
    planted = folder / "javascript:alert(1)&?.prompt.md"
    planted.write_text(HOSTILE)
    os.utime(planted, (1.0, 1.0))
    client = client_of(folder, history)
    assert client.get(f"/{SECRET}/").url.path == f"/{SECRET}/javascript:alert(1)&?"
    html = client.post(f"/{SECRET}/{request.id}?look", content=BLOCK.format(HOSTILE)).text
    assert "<img src=http" not in html
    assert "<script>alert" not in html
    assert 'href="javascript' not in html
    assert "alert(1)" in unescape(html)
    assert "\u202e" not in html


def test_a_browser_looks_at_an_answer_and_sends_it_and_loses_nothing(
    request_: Request, folder: Path, history: LocalBackend, page: Page
):
    def write_and(press: str, text: str) -> None:
        area = "document.getElementById('answer')"
        page.value(f"{area}.value = {json.dumps(text)}; {area}.dispatchEvent(new Event('input'))")
        page.value(f"document.querySelector('[data-post=\"?{press}\"]').click()")

    arguments = ["relay", str(folder), "--serve", "--history", str(history.root)]
    with serving(arguments, os.environ) as address:
        page.open(address)
        write_and("look", BLOCK.format(2))
        page.until("document.querySelectorAll('#result .added').length === 1")
        later = ask(folder, "improve that", 2)
        page.until(f"document.getElementById('waiting').textContent.includes('{later.id}')")
        page.open(f"{address}{request_.id}")
        assert page.value("document.getElementById('answer').value") == BLOCK.format(2), "a draft stays"
        write_and("send", BLOCK.format(3))
        page.until("document.getElementById('result').textContent.includes('Answered')")
        assert request_.answer.read_text() == BLOCK.format(3)
        assert all(request.startswith((address, "data:")) for request in page.requests)
        assert page.console == []
    write_and("send", "too late")
    page.until("document.getElementById('live').textContent.startsWith('not live')")
    assert page.value("document.getElementById('answer').value") == "too late"
    page.open("about:blank")
