"""A transcript of an agent becomes a conversation that people can follow, whatever is in it."""

from __future__ import annotations

import json

from overnight.tasks.report.conversation import as_text, read_conversation

CALL = {"function": {"name": "bash", "arguments": '{"command": "ls"}'}}
EVENTS = [
    {
        "event": "turn",
        "messages": [{"role": "user", "content": [{"type": "text", "text": "the task"}]}],
        "answer": {"role": "assistant", "content": "I look.", "tool_calls": [CALL]},
    },
    {"event": "evaluation", "sample": 1, "answer": {"outcome": "scored", "score": 1.5}},
    {"event": "evaluation", "sample": 2, "answer": {"outcome": "crashed", "error": "KeyError: 1"}},
    {"event": "query", "sql": "SELECT 1", "answer": "1"},
    {"event": "refusal", "path": "/v1/x", "reason": "there is nothing"},
    {"event": "turn", "messages": [{"role": "tool", "content": ""}], "answer": {"content": None, "tool_calls": [
        {"function": {"name": "edit", "arguments": "no JSON"}},
    ]}},
]  # fmt: skip


def test_each_event_is_a_step_in_order_and_what_is_empty_is_none():
    text = json.dumps({"agent": "pi", "model": "m", "events": EVENTS, "ended": "exit code 0", "output": "x" * 9_000})
    conversation = read_conversation(text)
    assert [(step.who, step.text) for step in conversation.steps] == [
        ("task", "the task"),
        ("model", "I look."),
        ("call", "bash: ls"),
        ("scoring", "scores 1.5"),
        ("scoring", "crashed: KeyError: 1"),
        ("query", "SELECT 1"),
        ("refused", "/v1/x: there is nothing"),
        ("call", "edit: no JSON"),
    ]
    assert (conversation.agent, conversation.turns, len(conversation.output)) == ("pi", 2, 6_000)
    assert as_text(conversation).endswith("[ended] exit code 0")
