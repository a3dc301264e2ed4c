"""Jupyter notebooks as FunSearch's were published."""

from __future__ import annotations

import json
from pathlib import Path

RUN = "# @funsearch.run\ndef evaluate(n):\n  return priority(n)\n"
EVOLVE = "# @funsearch.evolve\ndef priority(n):\n  return 0.0\n"


def write_notebook(path: Path, *cells: str) -> Path:
    """Write a notebook of a text that names the marks, and of code cells."""
    kinds = [("markdown", "Mark `@funsearch.run` and `@funsearch.evolve`."), *(("code", cell) for cell in cells)]
    content = [{"cell_type": kind, "source": text.splitlines(keepends=True)} for kind, text in kinds]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"cells": content, "nbformat": 4}))
    return path
