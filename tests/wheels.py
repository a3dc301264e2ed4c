"""Wheels made on the spot, so that no test asks a package registry."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path


def make_wheel(
    folder: Path,
    name: str,
    version: str,
    files: Mapping[str, str] | None = None,
    *,
    requires: Sequence[str] = (),
    tag: str = "py3-none-any",
) -> Path:
    """A wheel in a folder.

    Args:
        folder: Where.
        name: Of the package.
        version: Of it.
        files: What is in it; by default a module of its name that knows its version.
        requires: What it depends on.
        tag: What it fits.
    """
    files = files or {f"{name}.py": f"VERSION = {version!r}\nTAG = {tag!r}\n"}
    about = f"{name}-{version}.dist-info"
    metadata = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
    metadata += [f"Requires-Dist: {one}" for one in requires]
    pure = "true" if tag.endswith("any") else "false"
    inside = {
        **files,
        f"{about}/METADATA": "\n".join(metadata) + "\n",
        f"{about}/WHEEL": f"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: {pure}\nTag: {tag}\n",
    }
    record = "".join(f"{path},,\n" for path in [*inside, f"{about}/RECORD"])
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}-{version}-{tag}.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for member, text in {**inside, f"{about}/RECORD": record}.items():
            archive.writestr(member, text)
    return path
