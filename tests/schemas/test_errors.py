"""Errors hold no key of the environment, and every one that a person is shown names the next step."""

from __future__ import annotations

import ast
import inspect
import pickle
from collections.abc import Iterator
from pathlib import Path

import pytest

from overnight.schemas import errors
from overnight.schemas.errors import EnvironmentFault, without_keys


def test_values_of_key_variables_are_replaced(monkeypatch: pytest.MonkeyPatch):
    for name in ("SOME_API_KEY", "AWS_SECRET_ACCESS_KEY", "HF_TOKEN", "DB_PASSWORD", "gemini_apikey"):
        monkeypatch.setenv(name, f"value of {name}")
        assert without_keys(f"401: value of {name} is wrong") == "401: … is wrong"
    monkeypatch.setenv("SOME_TOKEN", "value of SOME_API_KEY and more")
    assert without_keys("value of SOME_API_KEY and more") == "…", "the longest first"


def test_other_variables_and_short_values_stay(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("KEYBOARD_LAYOUT", "something long")
    monkeypatch.setenv("PWD", "/a/long/path")
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    assert without_keys("something long in /a/long/path: none") == "something long in /a/long/path: none"


def test_no_error_of_ours_holds_a_key(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("REGISTRY_PASSWORD", "correct horse")
    error = EnvironmentFault("login with correct horse failed", remedy="Log in.")
    for one in (error, pickle.loads(pickle.dumps(error))):
        assert str(one) == "login with … failed\nLog in."
        assert "horse" not in repr(one)


# Every error that a person is shown names the next step, wherever it is raised


ROOT = Path(__file__).parents[2]
ERRORS = {
    name: kind
    for name, kind in vars(errors).items()
    if inspect.isclass(kind) and issubclass(kind, errors.OvernightError)
}
HELPED = errors.UsageError
"""Errors that get the help of their command for a remedy where they have none; `flows/cli/test_errors.py`."""

ANSWERED = (errors.TransientProviderError, errors.PromptRefused, errors.QuestionRefused)
"""Errors that a night answers by itself: it asks again, or writes them to the row of the sample."""

WITHOUT = {"the rest of the budget does not cover one more request in a batch"}
"""Messages of errors that nobody is shown: a batch job ends by it."""


def raised() -> Iterator[tuple[str, type[errors.OvernightError], ast.Call]]:
    """Yield each place of the source that makes an error of ours, with its class."""
    for path in (path for room in ("flows", "tasks", "schemas") for path in sorted((ROOT / room).rglob("*.py"))):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and (kind := ERRORS.get(ast.unparse(node.func).rpartition(".")[2])):
                yield f"{path.relative_to(ROOT)}:{node.lineno}", kind, node


def has_remedy(call: ast.Call) -> bool:
    given = [word.value for word in call.keywords if word.arg in ("remedy", None)]
    return any(not isinstance(value, ast.Constant) or value.value for value in given)


def test_every_error_has_a_remedy():
    without = [
        place
        for place, kind, call in raised()
        if not issubclass(kind, (HELPED, *ANSWERED))
        if not has_remedy(call) and not any(ast.unparse(word).strip("'") in WITHOUT for word in call.args)
    ]
    assert without == []


def test_errors_of_a_wrong_file_or_of_settings_have_one_of_their_own():
    own = (errors.SpecificationError, errors.UntrustedSettings, errors.RunIsBusy)
    assert [place for place, kind, call in raised() if issubclass(kind, own) and not has_remedy(call)] == []
