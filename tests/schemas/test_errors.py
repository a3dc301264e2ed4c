"""Errors are kept in histories and sent in notifications, so they hold no key of the environment."""

from __future__ import annotations

import pickle

import pytest

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
