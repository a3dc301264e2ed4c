"""Plug-ins are found by their packages' metadata alone, and loaded with a clear error where that fails."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from overnight.schemas import plugins
from overnight.schemas.errors import EnvironmentFault
from tests.plugins import install


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of the import path, for packages."""
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def find(name: str) -> plugins.Plugin:
    plugins._installed.cache_clear()
    found = plugins.find("providers", name)
    assert found
    return found


def test_what_is_installed_is_listed_with_its_package_and_version_and_not_imported(folder: Path):
    install(folder, "providers", "mine", "my_provider", "raise RuntimeError('imported')\n", package="my-package")
    plugin = find("mine")
    assert plugin in plugins.installed()
    assert (plugin.key, plugin.release, plugin.summary) == ("overnight.providers/mine", "my-package 1", "About mine.")
    assert "mine" in plugins.names("providers")
    assert plugins.find("algorithms", "mine") is None, "it is of another kind"
    assert "my_provider" not in sys.modules


def test_a_plug_in_is_a_module_or_an_object_in_one(folder: Path):
    install(folder, "providers", "mine", "of_mine", "create = 1\n")
    install(folder, "providers", "other", "of_mine:Other", package="other")
    (folder / "of_mine.py").write_text("create = 1\nclass Other:\n    create = 2\n")
    assert (find("mine").load("create"), find("other").load("create")) == (1, 2)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("import no_such_module\n", "no_such_module"),
        ("made = 1\n", "'create'"),
        ("create = (\n", "was never closed"),
        ("create = NoSuchName\n", "NoSuchName"),
    ],
)
def test_one_that_cannot_be_loaded_is_an_error_that_names_its_package(text: str, reason: str, folder: Path):
    install(folder, "providers", "broken", f"broken_{abs(hash(text))}", text, package="broken-package")
    with pytest.raises(EnvironmentFault, match=r"overnight\.providers/broken of broken-package 1 ") as refused:
        find("broken").load("create")
    assert reason in refused.value.message
    assert "broken-package" in refused.value.remedy


def test_two_packages_with_the_same_plug_in_are_refused(folder: Path):
    for package in ("first", "second"):
        install(folder, "providers", "mine", "mine", package=package)
    with pytest.raises(EnvironmentFault, match="got first 1 and second 1"):
        find("mine")


def test_what_names_no_plug_in_reads_no_metadata(tmp_path: Path):
    code = (
        "import contextlib, io, overnight.flows.cli.main as m\nfrom overnight.schemas import plugins\n"
        "with contextlib.redirect_stdout(io.StringIO()):\n"
        "    assert [m.run(words) for words in (['--help'], ['problems'], ['prompt', 'cap-set'])] == [0, 0, 0]\n"
        "assert plugins._installed.cache_info().misses == 0"
    )
    environment = {**os.environ, "OVERNIGHT_HISTORY": str(tmp_path / "history")}
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, check=True)
