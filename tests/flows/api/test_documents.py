"""The examples of the API's README run in the order of reading, and the notebook runs as a person runs it."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from tests.command_server import start_script
from tests.page_commands import blocks, with_few_samples

pytestmark = pytest.mark.usefixtures("on_processes")

ROOT = Path(__file__).parents[3]
NOTEBOOK = ROOT / "tests/examples/first_night.ipynb"
FORK = f"import sys\nsys.path.append({str(ROOT)!r})\nimport tests.command_server\ntests.command_server.fork_for_api()"


def test_the_examples_of_the_readme_run_in_the_order_of_reading(tmp_path: Path):
    examples = tmp_path / "examples.py"
    examples.write_text(with_few_samples("\n".join(blocks(ROOT / "flows/api/README.md", "python"))))
    with start_script(examples, tmp_path) as process:
        process.communicate(timeout=280)
    assert process.returncode == 0
    assert {"night.html", "better.py", "history"} <= {path.name for path in tmp_path.iterdir()}


def test_a_notebook_shows_progress_in_place_and_the_run(tmp_path: Path):
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    notebook.cells.insert(0, nbformat.v4.new_code_cell(FORK))
    client = NotebookClient(notebook, timeout=200, kernel_name="python3", resources={"metadata": {"path": tmp_path}})
    client.execute()
    night = next(cell for cell in notebook.cells if "overnight.evolve(" in cell.source)
    progress, result = (output for output in night.outputs if output.output_type != "stream")
    assert "night 1 is over, stopped by: samples" in progress["data"]["text/html"]
    assert "def place(" in result["data"]["text/html"]
    assert "scored" in notebook.cells[-1].outputs[0]["data"]["text/plain"]
