"""Worked examples of plug-ins, one module for each kind; `pyproject.toml` names them as entry points."""
