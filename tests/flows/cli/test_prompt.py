"""`overnight prompt`: what a model would be sent first, without a run, an engine or a model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from overnight.flows.cli.main import run

HILL = Path(__file__).parents[2] / "specifications/hill"


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[str, str]:
    assert run(["prompt", *arguments]) == 0
    captured = capsys.readouterr()
    return captured.out, captured.err


def test_it_is_the_system_message_and_the_first_prompt_of_a_chat_model(capsys: pytest.CaptureFixture[str]):
    text, said = printed(capsys, "bin-packing-or")
    assert text.startswith("You improve one program")
    assert "The best known score is -3.11" in text
    assert "# Version 0 scores -5.28375." in text
    assert "Write `priority_v1`" in text
    assert "what a chat model would be sent first" in said


def test_json_has_the_messages(capsys: pytest.CaptureFixture[str]):
    text, _ = printed(capsys, "bin-packing-or", "--model", "openai/gpt-5-mini", "--format", "json")
    assert [message["role"] for message in json.loads(text)] == ["system", "user"]


def test_a_model_that_continues_text_gets_python_alone(capsys: pytest.CaptureFixture[str]):
    text, _ = printed(capsys, "bin-packing-or", "--model", "openai/gpt-5-mini", "--style", "completion")
    assert "You improve" not in text
    compile(text, "prompt", "exec")


def test_a_problem_without_a_declared_score_is_shown_with_0_and_a_note(capsys: pytest.CaptureFixture[str]):
    text, said = printed(capsys, str(HILL))
    assert "which scores 0, in the file `climb.py`" in text
    assert "declares no score of its start program" in said
