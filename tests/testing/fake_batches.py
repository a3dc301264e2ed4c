"""Serve the Batch API of the provider on loopback: OpenAI's /v1/files and /v1/batches, with faults on demand."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from overnight.testing.fake_provider import Answer, Provider

Row = dict[str, Any]


class BatchServer:
    """Server for files and batches, which answers each line as the provider answers a request.

    Attributes:
        seconds: Seconds from a batch's creation until it ends.
        end: Returns the final status of the n-th batch, from 0: completed, failed or expired.
        fault: Returns the faulty row for a line, or `None` for a good one; called with the number of the batch, the
            index of the line and the line.
        sent: Lines of each batch, in order.
        created: Called when a batch is created, before its id is returned.
    """

    def __init__(self, provider: Provider) -> None:
        self.seconds = 0.0
        self.end: Callable[[int], str] = lambda number: "completed"
        self.fault: Callable[[int, int, Row], Row | None] = lambda number, index, line: None
        self.created: Callable[[], None] = lambda: None
        self.sent: list[list[Row]] = []
        self._provider = provider
        self._files: dict[str, bytes] = {}
        self._batches: dict[str, dict[str, Any]] = {}
        self._lock = threading.RLock()

    def post(self, path: str, body: bytes) -> Answer:
        with self._lock:
            if path == "/v1/files":
                lines = re.findall(rb'^{"custom_id".*}$', body.replace(b"\r\n", b"\n"), re.MULTILINE)
                return self._answer(self._file(b"\n".join(lines)))
            batch = self._new_batch(json.loads(body))
        self.created()
        return self._answer(batch)

    def get(self, path: str) -> Answer:
        with self._lock:
            if match := re.fullmatch(r"/v1/files/([^/]+)/content", path):
                return self._answer(self._files[match[1]])
            if match := re.fullmatch(r"/v1/batches/([^/?]+)", path):
                return self._answer(self._updated(self._batches[match[1]]))
            return self._answer({"object": "list", "data": list(self._batches.values()), "has_more": False})

    def _answer(self, body: Any) -> Answer:
        from overnight.testing.fake_provider import Answer

        return Answer(body)

    def _file(self, content: bytes) -> dict[str, Any]:
        name = f"file-{len(self._files)}"
        self._files[name] = content
        description = {"id": name, "object": "file", "bytes": len(content), "created_at": 1, "filename": "x.jsonl"}
        return {**description, "purpose": "batch", "status": "processed"}

    def _new_batch(self, request: dict[str, Any]) -> dict[str, Any]:
        name = f"batch_{len(self._batches)}"
        self.sent.append([json.loads(line) for line in self._files[request["input_file_id"]].splitlines()])
        self._batches[name] = {
            "id": name,
            "object": "batch",
            "endpoint": request["endpoint"],
            "input_file_id": request["input_file_id"],
            "completion_window": "24h",
            "status": "in_progress",
            "created_at": int(time.time()),
            "began": time.monotonic(),
            "metadata": request.get("metadata"),
            "output_file_id": None,
            "error_file_id": None,
            "request_counts": {"total": len(self.sent[-1]), "completed": 0, "failed": 0},
        }
        return self._batches[name]

    def _updated(self, batch: dict[str, Any]) -> dict[str, Any]:
        """End the batch if it is due, and return it."""
        if batch["status"] == "in_progress" and time.monotonic() >= batch["began"] + self.seconds:
            number = int(batch["id"].removeprefix("batch_"))
            batch["status"] = self.end(number)
            if batch["status"] == "failed":
                batch["errors"] = {"object": "list", "data": [{"code": "bad_file", "message": "this file is no good"}]}
            else:
                self._finish(batch, number)
        return batch

    def _finish(self, batch: dict[str, Any], number: int) -> None:
        good, bad = [], []
        for index, line in enumerate(self.sent[number]):
            fault = self.fault(number, index, line)
            row = {"id": f"r{index}", "custom_id": line["custom_id"], "error": None}
            if fault is not None:
                bad.append({**row, **fault})
            else:
                body = self._provider.answer(line["body"]).body
                self._provider.responses.append(body)
                good.append({**row, "response": {"status_code": 200, "request_id": "x", "body": body}})
        for field, rows in (("output_file_id", good), ("error_file_id", bad)):
            if rows:
                batch[field] = self._file("\n".join(json.dumps(row) for row in rows).encode())["id"]
