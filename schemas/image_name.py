"""Names of container images as settings give them."""

from __future__ import annotations

import re

_IMAGE = re.compile(
    r"(?:[A-Za-z0-9][A-Za-z0-9.-]*(?::\d{1,5})?/|\[[0-9A-Fa-f:]+\](?::\d{1,5})?/)?"  # a registry
    r"[a-z0-9]+(?:[._/-]+[a-z0-9]+)*"
    r"(?::[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(?:@?sha256:[0-9a-f]{64})?",
    re.ASCII,
)
_MAX_IMAGE_CHARS = 512


def as_image_name(value: str) -> str:
    """Refuse anything but the name of an image, since it becomes the first line of a build file."""
    if len(value) > _MAX_IMAGE_CHARS or not (_IMAGE.fullmatch(value) or re.fullmatch("sha256:[0-9a-f]{12,64}", value)):
        raise ValueError("expected the name of an image, such as python:3.12-slim")
    return value
