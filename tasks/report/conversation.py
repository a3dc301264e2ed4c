"""Read the transcript of an agent as a conversation that people can follow: for the report and for `overnight show`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from overnight.schemas.report_data import Conversation, ConversationStep

_MOST_CHARS = 6_000
"""Most characters of one step; the task itself is shown with the prompt."""


def read_conversation(transcript: str) -> Conversation:
    """Return a transcript, as the column `transcript` has it, as a conversation."""
    data = json.loads(transcript)
    steps = tuple(step for event in data["events"] for step in _steps(event))
    turns = sum(event["event"] == "turn" for event in data["events"])
    return Conversation(data["agent"], steps, turns, data["ended"], data["output"].strip()[-_MOST_CHARS:])


def as_text(conversation: Conversation) -> str:
    parts = [f"[{step.who}] {step.text}" for step in conversation.steps]
    return "\n\n".join([*parts, f"[ended] {conversation.ended}"])


def _steps(event: Mapping[str, Any]) -> Iterator[ConversationStep]:
    match event["event"]:
        case "turn":
            yield from _turn(event)
        case "evaluation":
            answer = event["answer"]
            score = answer.get("score")
            said = f"scores {score:.6g}" if score is not None else f"{answer['outcome']}: {answer.get('error', '')}"
            yield ConversationStep("scoring", _cut(said))
        case "query":
            yield ConversationStep("query", _cut(event["sql"]))
        case "refusal":
            yield ConversationStep("refused", _cut(f"{event['path']}: {event['reason']}"))
        case _:
            pass


def _turn(event: Mapping[str, Any]) -> Iterator[ConversationStep]:
    for message in event["messages"]:
        who = {"tool": "output", "user": "task", "system": "system"}.get(message.get("role"), "message")
        if text := _text(message.get("content")):
            yield ConversationStep(who, _cut(text))
    answer = event["answer"]
    if said := _text(answer.get("content")):
        yield ConversationStep("model", _cut(said))
    for call in answer.get("tool_calls") or ():
        function = call.get("function") or {}
        yield ConversationStep("call", _cut(_call(function.get("name", ""), function.get("arguments", ""))))


def _call(name: str, arguments: str) -> str:
    """Return a call of a tool; of one with a single text, such as a shell, the text itself."""
    try:
        given = json.loads(arguments)
    except ValueError:
        given = None
    if isinstance(given, dict) and len(given) == 1 and isinstance(only := next(iter(given.values())), str):
        return f"{name}: {only}"
    return f"{name}: {arguments}"


def _text(content: Any) -> str:
    if isinstance(content, list):
        return "\n".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return content.strip() if isinstance(content, str) else ""


def _cut(text: str) -> str:
    return text if len(text) <= _MOST_CHARS else f"{text[:_MOST_CHARS]}…"
