"""Whatever an agent's container sends: it gets an answer or a reason, and a provider gets known fields alone."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from overnight.tasks.agent.door import RequestRefused
from overnight.tasks.agent.model_requests import read_request
from overnight.testing.fake_provider import Provider, says
from tests.agent.scripted import BETTER, Message, Office, Work, asking, ended, problem

CHAT, EVALUATE, SQL = "/v1/chat/completions", "/evaluate", "/sql"
CALL = {"id": "c", "type": "function", "function": {"name": "bash", "arguments": "{}"}}
TOOL = {"type": "function", "function": {"name": "bash", "description": "run", "parameters": {"type": "object"}}}
VALID = {
    "model": "model",
    "messages": [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": [{"type": "text", "text": "begin"}]},
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "c", "content": "done"},
    ],
    "tools": [TOOL],
    "tool_choice": "auto",
    "temperature": 0.5,
    "max_completion_tokens": 100,
    "response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "object"}}},
    "stream": True,
    "user": "me",
}
SENT = {
    *("messages", "tools", "tool_choice", "parallel_tool_calls", "temperature", "top_p", "stop", "response_format"),
    *("reasoning_effort", "max_tokens"),
}
NAMES = [
    *("urlContext", "googleSearch", "codeExecution", "web_search_options", "computer_use", "type", "function", "name"),
    *("api_base", "base_url", "api_key", "model", "fallbacks", "extra_body", "extra_headers", "image_url", "file_data"),
    *("cache_control", "custom_llm_provider", "mock_response", "metadata", "thinking", "tool_calls", "content", "n"),
]
HOSTILE = {
    **{repr(value): value for value in (math.inf, math.nan, 10**30, -(10**30), "many", True, None, [], {}, 0, -1, 7.5)},
    "half a character": "\ud800",
    "long": "x" * 10_000,
    "deep": json.loads("[" * 300 + "]" * 300),
}
NO_JSON = {
    "nothing": "",
    "deep": "[" * 100_000,
    "many digits": "9" * 5000,
    "too large": '{"a": 1e999}',
    "half a character": '"\\ud800"',
    "null byte": "\x00",
}

values = st.one_of(
    st.sampled_from(sorted(HOSTILE)).map(lambda name: HOSTILE[name]),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=8),
        lambda inner: (
            st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=5), inner)
        ),
        max_leaves=8,
    ),
)


def paths_in(data: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of each value of a JSON value."""
    yield path
    pairs = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, value in pairs:
        yield from paths_in(value, (*path, key))


@st.composite
def mutated(draw: st.DrawFn) -> Any:
    """Return the valid request with up to three of its values replaced, added or taken away."""
    data: Any = json.loads(json.dumps(VALID))
    for _ in range(draw(st.integers(0, 3))):
        *parents, last = draw(st.sampled_from([path for path in paths_in(data) if path] or [("model",)]))
        place = data
        for key in parents:
            place = place[key]
        what = draw(st.sampled_from(["replace", "add", "remove"]))
        if what == "remove":
            del place[last]
        elif what == "replace" or not isinstance(place, dict):
            place[last] = draw(values)
        else:
            place[draw(st.sampled_from(NAMES))] = draw(values)
    return data


bodies = st.one_of(
    *(mutated().map(json.dumps) for _ in range(3)),
    values.map(json.dumps),
    st.text(max_size=30),
    st.sampled_from(sorted(NO_JSON)).map(lambda name: NO_JSON[name]),
)


def unknown_in(sent: dict[str, Any]) -> set[str]:
    """Return the fields of a request to a provider that are not of the protocol."""
    found = sent.keys() - SENT
    for message in sent["messages"]:
        found |= message.keys() - {"role", "content", "tool_calls", "tool_call_id", "reasoning_content"}
        for part in message["content"] if isinstance(message.get("content"), list) else ():
            found |= part.keys() - {"type", "text"} | {part["type"]} - {"text"}
        for call in message.get("tool_calls", ()):
            found |= call.keys() - {"id", "type", "function"} | call["function"].keys() - {"name", "arguments"}
    for tool in sent.get("tools", ()):
        found |= tool.keys() - {"type", "function"} | {tool["type"]} - {"function"}
        found |= tool["function"].keys() - {"name", "description", "parameters", "strict"}
    return found


def sent_for(body: str) -> dict[str, Any] | None:
    """Return what a provider is sent for a request; `None` if it is refused."""
    try:
        return read_request(body).sent
    except RequestRefused:
        return None


def test_any_request_is_refused_with_a_reason_or_made_anew_of_known_fields():
    seen: Counter[str] = Counter()

    @given(st.lists(bodies, min_size=20, max_size=40))
    def check(tried: list[str]) -> None:
        for body in tried:
            sent = sent_for(body)
            if sent is not None:
                json.dumps(sent, allow_nan=False).encode()
                assert not unknown_in(sent)
            seen["refused" if sent is None else "sent"] += 1

    check()
    assert seen["refused"] > 300, seen
    assert seen["sent"] > 25, seen


frames = st.one_of(
    st.builds(
        lambda number, path, body: {"request": number, "path": path, "body": body},
        st.integers(0, 99),
        st.sampled_from([CHAT, CHAT, CHAT, EVALUATE, SQL, "/v1/models", "/etc/passwd", ""]) | st.text(max_size=9),
        bodies
        | st.sampled_from(['{"files": {"program.py": "\\ud800"}}', '{"files": []}', '{"query": "SELECT 1\\u0000"}']),
    )
)


def test_a_session_of_any_requests_ends_with_its_program_without_an_outage(provider: Provider):
    """Requests that the provider is sent are of known fields; the answers that were paid for are kept."""
    provider.script = lambda _, request: says(request, "fine")
    seen: Counter[str] = Counter()

    @given(st.lists(frames, min_size=5, max_size=12))
    def check(tried: list[Message]) -> None:
        office, answers = Office(problem(provider.api_base)), []
        provider.requests.clear()

        def agent(_: Message) -> Work:
            yield from asking(tried, answers)
            yield ended(BETTER)

        handed, *_ = office.run(agent)
        assert "x * 2" in handed.text
        assert not handed.error
        assert all(answer["status"] in (200, 400, 403, 404, 413) for answer in answers)
        for request in provider.requests:
            assert not unknown_in({name: value for name, value in request.items() if name != "model"})
        assert handed.tokens_in == 100 * len(provider.requests)
        seen.update(tried=len(tried), sent=len(provider.requests))

    check()
    assert seen["tried"] > 100, seen
    assert seen["sent"] > 5, seen


def test_a_container_that_sends_anything_has_died_or_is_answered(provider: Provider):
    @given(st.lists(values.filter(bool), min_size=1, max_size=4))
    def check(tried: list[Any]) -> None:
        def agent(_: Message) -> Work:
            yield from asking(tried, [])
            yield ended(BETTER)

        handed, *_ = Office(problem(provider.api_base)).run(agent)
        assert handed.text or handed.error

    check()
