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
        ("scoring", "program 1 of the session scores 1.5"),
        ("scoring", "program 2 of the session crashed: KeyError: 1"),
        ("query", "SELECT 1"),
        ("refused", "/v1/x: there is nothing"),
        ("call", "edit: no JSON"),
    ]
    assert (conversation.agent, conversation.turns, len(conversation.output)) == ("pi", 2, 6_000)
    assert as_text(conversation).endswith("[ended] exit code 0")


def read(*events: object, prompt: str = "") -> list[tuple[str, str, str]]:
    text = json.dumps({"agent": "pi", "model": "m", "events": events, "ended": "exit code 0", "output": ""})
    return [(step.who, step.text, step.note) for step in read_conversation(text, prompt).steps]


def test_outputs_in_json_are_text_and_a_turn_has_its_tokens_and_price_once():
    output = json.dumps({"returncode": 1, "output": "a\nb <c>", "exception_info": ""})
    steps = read(
        {
            "event": "turn",
            "messages": [
                {"role": "user", "content": "Do it: what is wanted. End."},
                {"role": "tool", "content": output},
            ],
            "answer": {"content": None, "tool_calls": [CALL, CALL]},
            "tokens_in": 1234,
            "tokens_out": 5,
            "cost_usd": 0.25,
        },
        prompt="what is wanted",
    )
    assert steps == [
        ("task", "Do it: (the prompt). End.", ""),
        ("output", "returncode: 1\na\nb <c>", ""),
        ("call", "bash: ls", "1,234 tokens in, 5 out, $0.25"),
        ("call", "bash: ls", ""),
    ]


def test_a_refused_query_is_told_and_an_evaluation_has_its_inputs():
    steps = read(
        {"event": "refusal", "path": "/sql", "reason": "read_csv is refused", "asked": "FROM read_csv('x')"},
        {"event": "evaluation", "sample": 2, "answer": {"score": 1.5, "score_on_each_input": [1, 2]}},
    )
    assert steps == [
        ("refused", "/sql: read_csv is refused\nFROM read_csv('x')", ""),
        ("scoring", "program 2 of the session scores 1.5; on the inputs, in order: 1, 2", ""),
    ]
