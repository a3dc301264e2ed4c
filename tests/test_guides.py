"""The guides are true: pages beside the READMEs, whose commands run in the order of reading."""

from __future__ import annotations

from pathlib import Path

import pytest

from overnight.testing.fake_provider import Provider
from tests import docs
from tests.page_commands import blocks, clone_tools, commands, name_of, programs_in, run_blocks

NOT_GUIDES = ("README.md", "SKILL.md")
"""Names of pages whose commands other tests run."""
GUIDES = [page for page in docs.readmes() if page.name not in NOT_GUIDES and commands(page)]


@pytest.mark.timeout(900)
@pytest.mark.parametrize("page", GUIDES, ids=name_of)
def test_the_commands_of_a_guide_run_after_the_problem_of_the_main_readme_was_written(
    page: Path, tmp_path: Path, provider: Provider
):
    folder = tmp_path / "folder"
    folder.mkdir()
    specification, _ = blocks(docs.ROOT / "README.md", "python")
    (folder / "spread.py").write_text(specification)
    clone_tools(folder)
    run_blocks(page, folder, "", provider, programs_in(tmp_path))


def test_there_are_guides():
    assert GUIDES
