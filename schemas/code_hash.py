"""Hashes by which bodies of programs count as the same. They are stored with each candidate."""

from __future__ import annotations

import hashlib

_DIGITS = 20


def code_hash_of(text: str) -> str:
    """Return the hash of a text that is equal for all bodies which count as the same."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:_DIGITS]


def is_of_older_form(code_hash: str) -> bool:
    """Return whether a stored hash has 16 digits, as before hashes were the same with every version of Python.

    It agrees with no hash of today; the body has to be hashed anew.
    """
    return 0 < len(code_hash) < _DIGITS
