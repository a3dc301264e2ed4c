"""Test batches at providers with protocols of their own, as LiteLLM speaks them, over real HTTP on loopback."""

from __future__ import annotations

import asyncio
import gc
import json
import re
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

import pytest

from overnight.schemas.errors import TerminalProviderError, TransientProviderError, UsageError
from overnight.schemas.program import Prompt
from overnight.schemas.sampling_settings import Model, Sampling
from overnight.tasks.sample import batch_api
from overnight.tasks.sample.provider import event_loop
from overnight.testing.fake_provider import Provider

Answer = tuple[int, Any, dict[str, str]]
USAGE = {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120}
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


class BatchServer:
    """Server that responds as Mistral, xAI and Google do, and records the requests.

    Attributes:
        lines: Lines of the file that was sent.
        batch_request: Body of the request that created the batch.
        status: HTTP status of every response.
    """

    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = []
        self.batch_request: dict[str, Any] = {}
        self.status = 200

    def answer(self, path: str, body: bytes, address: str) -> Answer:
        """Return status, body and headers of the response."""
        if self.status != 200:
            return self.status, {"error": {"message": "not now"}}, {}
        if lines := re.findall(rb'^{"custom_id".*}$', body.replace(b"\r\n", b"\n"), re.MULTILINE):
            self.lines = [json.loads(line) for line in lines]
            file = {"name": "files/f1", "uri": f"{address}/v1beta/files/f1", "displayName": "x", "sizeBytes": "1"}
            file |= {"createTime": "2026-01-01T00:00:00Z", "state": "ACTIVE"}
            return 200, {"id": "file-1", "file": file}, {}
        if path.startswith("/upload"):
            return 200, {}, {"X-Goog-Upload-URL": f"{address}/upload-target"}
        if body:
            self.batch_request = json.loads(body)
            return 200, self._batch(path), {}
        if re.search(r"/files/.*(content|download)", path):
            return 200, b"\n".join(json.dumps(self._row(line)).encode() for line in self.lines), {}
        if path.endswith("results") or "results?" in path:
            return 200, {"results": [self._result(line) for line in self.lines]}, {}
        if "limit=" in path:
            return 200, {"batches": [self._batch(path)]}, {}
        return 200, self._batch(path), {}

    def _batch(self, path: str) -> dict[str, Any]:
        if "v1beta" in path:
            return OPERATION
        if "/batch/jobs" in path:
            return JOB
        return {
            "batch_id": "batch_1",
            "name": self.batch_request["name"],
            "state": {"num_requests": 1, "num_success": 1},
        }

    def _row(self, line: dict[str, Any]) -> dict[str, Any]:
        body = {"choices": [{"message": {"content": "return 1"}}], "usage": USAGE}
        return {"custom_id": line["custom_id"], "response": {"status_code": 200, "body": body}}

    def _result(self, line: dict[str, Any]) -> dict[str, Any]:
        body = self._row(line)["response"]["body"]
        return {"batch_request_id": line["custom_id"], "batch_result": {"response": {"chat_get_completion": body}}}


@pytest.fixture
def batch_server() -> Iterator[tuple[BatchServer, str]]:
    """Yield the server and its address."""
    batch_server = BatchServer()

    class Handler(BaseHTTPRequestHandler):
        answers: ClassVar = batch_server

        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            address = f"http://127.0.0.1:{self.connection.getsockname()[1]}"
            status, data, headers = self.answers.answer(self.path, body, address)
            content = data if isinstance(data, bytes) else json.dumps(data).encode()
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
    yield batch_server, f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


@pytest.fixture
def model(
    request: pytest.FixtureRequest, batch_server: tuple[BatchServer, str], monkeypatch: pytest.MonkeyPatch
) -> Model:
    for provider in ("MISTRAL", "XAI", "GEMINI"):
        monkeypatch.setenv(f"{provider}_API_KEY", "test")
    return Model(name=request.param, api_base=batch_server[1])


def run(call: Any) -> Any:
    """Run a coroutine in the event loop of LiteLLM and return its result."""
    return asyncio.run_coroutine_threadsafe(call, event_loop()).result(timeout=30)


PROVIDERS = pytest.mark.parametrize(
    "model", ["mistral/mistral-small-latest", "xai/grok-4", "gemini/gemini-2.5-flash"], indirect=True
)


@PROVIDERS
def test_a_batch_is_created_retrieved_and_downloaded(model: Model, batch_server: tuple[BatchServer, str]):
    prompt = Prompt(0, niche="0", parent_ids=(), model=model.name, style="chat", text="improve", seeds=(1,))
    line = batch_api.request_line("1.0.0.x", model, prompt, Sampling(models=(model,), max_tokens=100), 1)
    batch_id = run(batch_api.create_batch(model, [line], "our-key"))
    sent = batch_server[0].lines
    assert [line["custom_id"] for line in sent] == ["1.0.0.x"]
    assert sent[0]["body"]["messages"] == [{"role": "user", "content": "improve"}]
    assert sent[0]["body"]["max_tokens"] == 100, "the lines are in OpenAI's format"
    assert "our-key" in json.dumps(batch_server[0].batch_request)
    status = run(batch_api.retrieve_status(model, batch_id))
    assert status.is_final
    assert status.status == "completed"
    rows = [row for name in status.files for row in run(batch_api.download_rows(model, name))]
    assert [row["custom_id"] for row in rows] == ["1.0.0.x"]
    assert rows[0]["response"]["body"]["choices"][0]["message"]["content"] == "return 1"
    assert run(batch_api.find_batch(model, "our-key")) == (batch_id if model.name.startswith("xai") else None)


@PROVIDERS
@pytest.mark.parametrize(("status", "error"), [(503, TransientProviderError), (401, TerminalProviderError)])
def test_a_rejected_request_raises_a_provider_error(
    model: Model, batch_server: tuple[BatchServer, str], status: int, error: type[Exception]
):
    batch_server[0].status = status
    with pytest.raises(error):
        run(batch_api.create_batch(model, [b'{"custom_id": "1.0.0.x"}'], "our-key"))
    with pytest.raises(error):
        run(batch_api.retrieve_status(model, "batch_1"))


def test_connections_that_are_collected_as_garbage_do_not_end_a_later_request(provider: Provider):
    model = Model(name="openai/gpt-4o", api_base=provider.api_base)
    provider.batches.seconds = 60.0
    batch_id = run(batch_api.create_batch(model, [b'{"custom_id": "1.0.0.x"}'], "our-key"))
    arrived, may_answer, get = threading.Event(), threading.Event(), provider.batches.get

    def answer_later(path: str) -> Any:
        arrived.set()
        assert may_answer.wait(30)
        return get(path)

    async def request_after_a_collection() -> Future[batch_api.BatchStatus]:
        # A finalizer that finds a running loop closes its connections there, some turns later.
        gc.collect()
        status = asyncio.run_coroutine_threadsafe(batch_api.retrieve_status(model, batch_id), event_loop())
        assert arrived.wait(30)
        for _ in range(100):
            await asyncio.sleep(0)
        return status

    provider.batches.get = answer_later
    status = asyncio.run(request_after_a_collection())
    may_answer.set()
    assert status.result(timeout=10).status == "in_progress"


@pytest.mark.parametrize("name", ["anthropic/claude-haiku-4-5", "groq/llama-3.3-70b-versatile", "ollama/llama3"])
def test_a_provider_without_batch_api_is_refused_by_name(name: str):
    sampling = Sampling(models=(Model(name="openai/gpt-4o"), Model(name=name)), batch_api=True)
    with pytest.raises(UsageError, match=f"{name}: LiteLLM cannot create a batch for {name.partition('/')[0]}"):
        batch_api.require_batches(sampling)
    batch_api.require_batches(sampling.model_copy(update={"batch_api": False}))


def test_litellm_knows_every_supported_provider():
    for provider in batch_api.PROVIDERS:
        model = Model(name=f"{provider}/some-model", api_base="http://127.0.0.1:9/v1")
        batch_api.require_batches(Sampling(models=(model,), batch_api=True))


def test_an_error_names_the_missing_environment_variable(monkeypatch: pytest.MonkeyPatch):
    for name in ("GEMINI_API_KEY", "GOOGLE_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(TerminalProviderError, match="GEMINI_API_KEY is required"):
        run(batch_api.retrieve_status(Model(name="gemini/gemini-2.5-flash"), "job-1"))
