"""Read the transcript of an agent as a conversation that people can follow: for the report and for `overnight show`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from overnight.schemas.report_rows import Conversation, ConversationStep
from overnight.tasks.program.bounded_parsing import parse_json
from overnight.tasks.report.number_format import usd

_MOST_CHARS = 6_000
"""Most characters of one step; the task itself is shown with the prompt."""


def read_conversation(transcript: str, prompt: str = "") -> Conversation:
    """Return a transcript, as the column `transcript` has it, as a conversation; a prompt is not told once more."""
    data = json.loads(transcript)
    steps = [step for event in data["events"] for step in _steps(event, prompt.strip())]
    files = data.get("files")
    left = files.items() if isinstance(files, dict) else ()
    steps += [ConversationStep("file", _cut(text), path) for path, text in left if isinstance(text, str)]
    turns = sum(event["event"] == "turn" for event in data["events"])
    return Conversation(data["agent"], tuple(steps), turns, data["ended"], data["output"].strip()[-_MOST_CHARS:])


def as_text(conversation: Conversation) -> str:
    parts = [f"[{' · '.join(filter(None, (step.who, step.note)))}] {step.text}" for step in conversation.steps]
    return "\n\n".join([*parts, f"[ended] {conversation.ended}"])


def _steps(event: Mapping[str, Any], prompt: str) -> Iterator[ConversationStep]:
    match event["event"]:
        case "turn":
            yield from _turn(event, prompt)
        case "evaluation":
            yield ConversationStep("scoring", _cut(_evaluation(event)))
        case "query":
            yield ConversationStep("query", _cut(event["sql"]))
        case "refusal":
            asked = event.get("asked", "")
            yield ConversationStep("refused", _cut(f"{event['path']}: {event['reason']}{asked and chr(10) + asked}"))
        case _:
            pass


def _evaluation(event: Mapping[str, Any]) -> str:
    """Return what was told of a program, with its place among those that the session had scored."""
    answer = event["answer"]
    score, on_inputs = answer.get("score"), answer.get("score_on_each_input") or ()
    said = f"scores {score:z.6g}" if score is not None else f"{answer['outcome']}: {answer.get('error', '')}"
    if len(on_inputs) > 1:
        said += f"; on the inputs, in order: {', '.join(f'{one:z.6g}' for one in on_inputs)}"
    return f"program {event['sample']} of the session {said}" if event.get("sample") else said


def _turn(event: Mapping[str, Any], prompt: str) -> Iterator[ConversationStep]:
    for message in event["messages"]:
        who = {"tool": "output", "user": "task", "system": "system"}.get(message.get("role"), "message")
        if text := _text(message.get("content")):
            text = _output(text) if who == "output" else text.replace(prompt, "(the prompt)") if prompt else text
            yield ConversationStep(who, _cut(text))
    answer, note = event["answer"], _spent(event)
    if said := _text(answer.get("content")):
        yield ConversationStep("model", _cut(said), note)
        note = ""
    for call in answer.get("tool_calls") or ():
        function = call.get("function") or {}
        yield ConversationStep("call", _cut(_call(function.get("name", ""), function.get("arguments", ""))), note)
        note = ""


def _spent(event: Mapping[str, Any]) -> str:
    """Return the tokens and the price of a turn in words."""
    if "tokens_in" not in event:
        return ""
    price = f", {usd(event['cost_usd'])}" if event.get("cost_usd") is not None else ""
    return f"{event['tokens_in']:,} tokens in, {event['tokens_out']:,} out{price}"


def _output(text: str) -> str:
    """Return the output of a command; where an agent wraps it in JSON, such as with an exit code, as lines of text."""
    try:
        given = parse_json(text)
    except ValueError:
        return text
    if not isinstance(given, dict):
        return text
    texts = [value.strip() for value in given.values() if isinstance(value, str) and value.strip()]
    others = [f"{name}: {json.dumps(value)}" for name, value in given.items() if not isinstance(value, str) and value]
    return "\n".join([*others, *texts]) or text


def _call(name: str, arguments: str) -> str:
    """Return a call of a tool; of one with a single text, such as a shell, the text itself."""
    try:
        given = parse_json(arguments)
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
