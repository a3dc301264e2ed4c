"""The agents that need no definition, from their packages, against a model on loopback that makes tool calls."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from overnight.schemas.agent_settings import PRESETS
from overnight.tasks.history.database import Database
from overnight.testing.fake_provider import Answer, Provider, Request
from tests.flows.conftest import Call

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

COMMANDS = [
    "cat program/program.py",
    "sed -i 's/offset + 1.0/offset + 9.0/' program/program.py && overnight-evaluate",
    "overnight-sql 'SELECT program_id, score FROM programs'",
    "echo nine > IDEA.md",
    "echo COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUT",
]


def script(_: int, request: Request) -> Answer:
    place = sum(one["role"] == "assistant" for one in request["messages"])
    message: dict[str, Any] = {"role": "assistant", "content": f"step {place}"}
    if place < len(COMMANDS):
        function = {"name": "bash", "arguments": json.dumps({"command": COMMANDS[place]})}
        message["tool_calls"] = [{"id": f"c{place}", "type": "function", "function": function}]
    choice = {"index": 0, "message": message, "finish_reason": "tool_calls" if place < len(COMMANDS) else "stop"}
    usage = {"prompt_tokens": 50, "completion_tokens": 5, "total_tokens": 55}
    return Answer({"id": "x", "object": "chat.completion", "created": 0, "choices": [choice], "usage": usage})


@pytest.mark.parametrize("name", PRESETS)
def test_it_works_on_a_program_has_it_scored_and_hands_it_back(
    name: str, prefect: str, call: Call, toy: Path, tmp_path: Path, provider: Provider, monkeypatch: pytest.MonkeyPatch
):
    """It needs an index of packages, and npm for those of npm, the first time."""
    monkeypatch.setenv("OPENAI_API_KEY", "test")
    provider.script = script
    flags = ("--api-base", provider.api_base, "--generations", "1", "--set", "search.prompts=1", "--history", tmp_path)
    code, said = call("run", toy, "--model", f"agent:{name}/openai/test", *flags)
    assert code == 0, said
    (row,) = Database(tmp_path).rows("SELECT score, idea, transcript FROM programs WHERE generation > 0")
    assert (row["score"], row["idea"]) == (-1.0, "nine")
    events = [event["event"] for event in json.loads(row["transcript"])["events"]]
    assert events.count("evaluation") == events.count("query") == 1
