"""Batches at providers that do not speak OpenAI's protocol, each as LiteLLM asks it, over real HTTP on loopback."""

from __future__ import annotations

import asyncio
import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

import pytest

from schemas.errors import TerminalProviderError, TransientProviderError, UsageError
from schemas.program import Prompt
from schemas.settings import Model, Sampling
from tasks.sample import batch_api
from tasks.sample.provider import event_loop

Answer = tuple[int, Any, dict[str, str]]
TOLD = {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120}
JOB = {"id": "job-1", "endpoint": "/v1/chat/completions", "status": "SUCCESS", "created_at": 1, "output_file": "out"}
OPERATION = {
    "name": "batches/job-1",
    "metadata": {
        "createTime": "2026-01-01T00:00:00Z",
        "state": "BATCH_STATE_SUCCEEDED",
        "output": {"responsesFile": "files/out"},
        "batchStats": {"requestCount": 1, "successfulRequestCount": 1},
    },
}


class House:
    """Answers as Mistral, xAI and Google do, and keeps what it was sent.

    Attributes:
        lines: Of the file that was sent.
        asked: What the batch was asked for with.
        status: Of every answer.
    """

    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = []
        self.asked: dict[str, Any] = {}
        self.status = 200

    def answer(self, path: str, body: bytes, here: str) -> Answer:
        if self.status != 200:
            return self.status, {"error": {"message": "not now"}}, {}
        told: Any = {"id": "file-1"}
        if found := re.findall(rb'^{"custom_id".*}$', body.replace(b"\r\n", b"\n"), re.MULTILINE):
            self.lines = [json.loads(line) for line in found]
            told |= {"file": {"name": "files/f1", "uri": f"{here}/v1beta/files/f1", "displayName": "x"}}
            told["file"] |= {"sizeBytes": "1", "createTime": "2026-01-01T00:00:00Z", "state": "ACTIVE"}
        elif path.startswith("/upload"):
            return 200, {}, {"X-Goog-Upload-URL": f"{here}/there"}
        elif body:
            self.asked = json.loads(body)
            told = self._batch(path)
        elif re.search(r"/files/.*(content|download)", path):
            told = b"\n".join(json.dumps(self._row(line)).encode() for line in self.lines)
        elif path.endswith("results") or "results?" in path:
            told = {"results": [self._result(line) for line in self.lines]}
        elif "limit=" in path:
            told = {"batches": [self._batch(path)]}
        else:
            told = self._batch(path)
        return 200, told, {}

    def _batch(self, path: str) -> dict[str, Any]:
        if "v1beta" in path:
            return OPERATION
        if "/batch/jobs" in path:
            return JOB
        return {"batch_id": "batch_1", "name": self.asked["name"], "state": {"num_requests": 1, "num_success": 1}}

    def _row(self, line: dict[str, Any]) -> dict[str, Any]:
        body = {"choices": [{"message": {"content": "return 1"}}], "usage": TOLD}
        return {"custom_id": line["custom_id"], "response": {"status_code": 200, "body": body}}

    def _result(self, line: dict[str, Any]) -> dict[str, Any]:
        body = self._row(line)["response"]["body"]
        return {"batch_request_id": line["custom_id"], "batch_result": {"response": {"chat_get_completion": body}}}


@pytest.fixture
def house() -> Iterator[tuple[House, str]]:
    """It, and its address."""
    house = House()

    class Handler(BaseHTTPRequestHandler):
        answers: ClassVar = house

        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            here = f"http://127.0.0.1:{self.connection.getsockname()[1]}"
            status, told, headers = self.answers.answer(self.path, body, here)
            content = told if isinstance(told, bytes) else json.dumps(told).encode()
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(content))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        do_POST = do_GET  # noqa: N815

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    yield house, f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


@pytest.fixture
def model(request: pytest.FixtureRequest, house: tuple[House, str], monkeypatch: pytest.MonkeyPatch) -> Model:
    for provider in ("MISTRAL", "XAI", "GEMINI"):
        monkeypatch.setenv(f"{provider}_API_KEY", "test")
    return Model(name=request.param, api_base=house[1])


def done(call: Any) -> Any:
    return asyncio.run_coroutine_threadsafe(call, event_loop()).result(timeout=30)


HOUSES = pytest.mark.parametrize(
    "model", ["mistral/mistral-small-latest", "xai/grok-4", "gemini/gemini-2.5-flash"], indirect=True
)


@HOUSES
def test_a_batch_is_sent_looked_at_and_collected(model: Model, house: tuple[House, str]):
    prompt = Prompt(0, niche="0", parent_ids=(), model=model.name, style="chat", text="improve", seeds=(1,))
    line = batch_api.request_line("1.0.0.x", model, prompt, Sampling(models=(model,), max_tokens=100), 1)
    batch_id = done(batch_api.send(model, [line], "our-key"))
    sent = house[0].lines
    assert [one["custom_id"] for one in sent] == ["1.0.0.x"]
    assert sent[0]["body"]["messages"] == [{"role": "user", "content": "improve"}]
    assert sent[0]["body"]["max_tokens"] == 100, "in OpenAI's words, whoever translates them"
    assert "our-key" in json.dumps(house[0].asked)
    state = done(batch_api.look(model, batch_id))
    assert state.is_final
    assert state.status == "completed"
    rows = [row for name in state.files for row in done(batch_api.rows(model, name))]
    assert [row["custom_id"] for row in rows] == ["1.0.0.x"]
    assert rows[0]["response"]["body"]["choices"][0]["message"]["content"] == "return 1"
    assert done(batch_api.find(model, "our-key")) == (batch_id if model.name.startswith("xai") else None)


@HOUSES
@pytest.mark.parametrize(("status", "error"), [(503, TransientProviderError), (401, TerminalProviderError)])
def test_what_such_a_provider_refuses_is_an_error_like_any_other(
    model: Model, house: tuple[House, str], status: int, error: type[Exception]
):
    house[0].status = status
    with pytest.raises(error):
        done(batch_api.send(model, [b'{"custom_id": "1.0.0.x"}'], "our-key"))
    with pytest.raises(error):
        done(batch_api.look(model, "batch_1"))


@pytest.mark.parametrize("name", ["anthropic/claude-haiku-4-5", "groq/llama-3.3-70b-versatile", "ollama/llama3"])
def test_a_provider_without_batches_is_refused_by_name(name: str):
    sampling = Sampling(models=(Model(name="openai/gpt-4o"), Model(name=name)), batch_api=True)
    with pytest.raises(UsageError, match=f"{name}: LiteLLM cannot create a batch for {name.partition('/')[0]}"):
        batch_api.require_batches(sampling)
    batch_api.require_batches(sampling.model_copy(update={"batch_api": False}))


def test_every_provider_that_is_let_through_is_known_to_litellm():
    for provider in batch_api.PROVIDERS:
        model = Model(name=f"{provider}/some-model", api_base="http://127.0.0.1:9/v1")
        batch_api.require_batches(Sampling(models=(model,), batch_api=True))


def test_what_a_provider_wants_beside_a_key_is_told(monkeypatch: pytest.MonkeyPatch):
    for name in ("GEMINI_API_KEY", "GOOGLE_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(TerminalProviderError, match="GEMINI_API_KEY is required"):
        done(batch_api.look(Model(name="gemini/gemini-2.5-flash"), "job-1"))
