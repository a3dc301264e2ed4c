"""Write prompts and parse completions, by kind of skeleton: each kind is the module of this package with its name.

Start reading in `codec.py`, then `file.py`.
"""

from __future__ import annotations

from importlib import import_module

from tasks.sample.codecs.codec import Codec


def codec_of(kind: str) -> Codec:
    """Return the codec of a kind of skeleton.

    Args:
        kind: `Skeleton.kind`.
    """
    return import_module(f"tasks.sample.codecs.{kind}").CODEC
