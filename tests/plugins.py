"""Packages with plug-ins, as an installer leaves them in a folder of the import path."""

from __future__ import annotations

from pathlib import Path


def install(folder: Path, kind: str, name: str, module: str, text: str | None = None, *, package: str = "") -> None:
    """Install a package, by default one of the plug-in's name, whose version is 1; `text` is that of its module."""
    package = package or name
    metadata = folder / f"{package}-1.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1\nSummary: About {name}.\n")
    (metadata / "entry_points.txt").write_text(f"[overnight.{kind}]\n{name} = {module}\n")
    if text is not None:
        (folder / f"{module}.py").write_text(text)
