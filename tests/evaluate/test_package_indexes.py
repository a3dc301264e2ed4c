"""Test where wheels are looked for: uv's settings override those of pip for which uv has an equivalent."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from overnight.tasks.evaluate import packages


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a home directory without settings; files in /etc of this machine still count."""
    for name in os.environ:
        if name.startswith(("PIP_", "UV_", "SSL_CERT", "XDG_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_pip_s_file_is_used_and_its_variables_override_it(home: Path, monkeypatch: pytest.MonkeyPatch):
    text = "[global]\nindex-url = https://mirror/simple\nfind-links =\n    /a\n    /b\n[install]\nno-index = true\n"
    write(home / ".config/pip/pip.conf", text)
    variables = packages.uv_environment()
    assert variables["UV_DEFAULT_INDEX"] == "https://mirror/simple"
    assert variables["UV_FIND_LINKS"] == "/a,/b"
    assert "--no-index" in packages.uv_flags()
    monkeypatch.setenv("PIP_INDEX_URL", "https://other/simple")
    monkeypatch.setenv("PIP_NO_INDEX", "0")
    assert packages.uv_environment()["UV_DEFAULT_INDEX"] == "https://other/simple"
    assert "--no-index" not in packages.uv_flags()


def test_uv_s_configuration_files_are_ignored_unless_the_environment_names_one(monkeypatch: pytest.MonkeyPatch):
    assert "--no-config" in packages.uv_flags()
    monkeypatch.setenv("UV_CONFIG_FILE", "/mine/uv.toml")
    assert "--no-config" not in packages.uv_flags()


@pytest.mark.parametrize("name", ["UV_DEFAULT_INDEX", "UV_INDEX_URL"])
def test_settings_of_uv_override_those_of_pip(name: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PIP_INDEX_URL", "https://pip/simple")
    monkeypatch.setenv(name, "https://uv/simple")
    told = {key: value for key, value in packages.uv_environment().items() if key.startswith("UV_") and "INDEX" in key}
    assert told == {name: "https://uv/simple"}


def test_pip_config_file_overrides_other_files_and_devnull_disables_all(home: Path, monkeypatch: pytest.MonkeyPatch):
    write(home / ".config/pip/pip.conf", "[global]\nextra-index-url = https://a/simple\n")
    monkeypatch.setenv("PIP_CONFIG_FILE", str(write(home / "mine.conf", "[global]\nextra-index-url = https://b/\n")))
    assert packages.uv_environment()["UV_INDEX"] == "https://b/"
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    assert "UV_INDEX" not in packages.uv_environment()


def test_a_malformed_file_is_ignored(home: Path):
    write(home / ".config/pip/pip.conf", "no section\n")
    assert "UV_INDEX" not in packages.uv_environment()


def test_a_password_in_an_address_is_not_shown(home: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    assert packages.describe_indexes() == "looked for at the usual index"
    monkeypatch.setenv("PIP_INDEX_URL", "https://user:password@mirror/simple")
    assert packages.describe_indexes() == "looked for at the index of your settings"
    monkeypatch.setenv("PIP_FIND_LINKS", "/wheels")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    assert packages.describe_indexes() == "looked for in /wheels"
