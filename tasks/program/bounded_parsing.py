"""Parse untrusted JSON, TOML and YAML in bounded time and memory; raise nothing but a `ValueError` with a message.

Parsed values are safe to merge, traverse and serialise: they are not nested deeply, their integers fit into 64 bits,
and their text is valid Unicode.
"""

from __future__ import annotations

import json
import re
import tomllib
from typing import Any

import yaml

from overnight.schemas.plain_values import MAX_LEVELS, TOO_DEEP, TOO_LARGE, require_plain

MAX_CHARS = 2**20
"""Limit on a text of settings, characters."""

MAX_KEY_PARTS = 32
"""Limit on the parts of a dotted key in TOML, which take `tomllib` quadratic time and memory."""

MAX_ALIASES = 100
"""Limit on the aliases of a YAML text."""

MAX_YAML_NODES = 100_000
"""Limit on the nodes of a YAML text, where an alias counts as many as the nodes that it stands for."""

_MAX_NUMBER_CHARS = 100
_YAML_NUMBERS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")


def parse_json(text: str | bytes) -> Any:
    try:
        value = json.loads(text)
    except RecursionError:
        raise ValueError(TOO_DEEP) from None
    except (json.JSONDecodeError, UnicodeDecodeError):
        raise
    except ValueError:  # Python parses no integer of more than some thousand digits
        raise ValueError(TOO_LARGE) from None
    require_plain(value)
    return value


def parse_toml(text: str) -> dict[str, Any]:
    _require_size(text)
    _require_short_keys(text)
    try:
        tables = tomllib.loads(text)
    except RecursionError:
        raise ValueError(TOO_DEEP) from None
    except tomllib.TOMLDecodeError:
        raise
    except ValueError:
        raise ValueError(TOO_LARGE) from None
    require_plain(tables)
    return tables


def parse_yaml(text: str) -> Any:
    """Parse YAML without tags; return `None` for an empty text."""
    _require_size(text)
    loader = _BoundedLoader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        value = loader.construct_document(node)
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from error
    finally:
        loader.dispose()
    require_plain(value)
    return value


def _require_size(text: str) -> None:
    if len(text) > MAX_CHARS:
        raise ValueError(f"it has {len(text) // 1024} KiB, expected at most {MAX_CHARS // 1024} KiB")


_TOML_TOKEN = re.compile(
    r'"""(?:[^"\\]|\\.|"{1,2}(?!"))*(?:""")?'
    r"|'''(?:[^']|'{1,2}(?!'))*(?:''')?"
    r"""|"(?:[^"\\\n]|\\.)*"?|'[^'\n]*'?"""
    r"|\#[^\n]*|[\w+-]+|[ \t]+|.",
    re.DOTALL,
)
"""One token of a TOML text. Every alternative also matches an unterminated token, so that no text is scanned twice."""


def _require_short_keys(text: str) -> None:
    """Refuse dotted keys of many parts; dots within strings and comments do not count."""
    parts, follows_dot = 0, False
    for match in _TOML_TOKEN.finditer(text):
        token = match[0]
        if token == ".":
            follows_dot = True
        elif token[0] in "\"'" or token[0] in "_+-" or token[0].isalnum():
            parts = parts + 1 if follows_dot else 1
            follows_dot = False
        elif token[0] not in " \t":
            parts, follows_dot = 0, False
        if parts > MAX_KEY_PARTS:
            raise ValueError(f"a key has more than {MAX_KEY_PARTS} parts")


class _BoundedLoader(yaml.SafeLoader):
    """YAML loader that limits aliases, nodes, nesting and the digits of numbers, and refuses tags."""

    def __init__(self, text: str) -> None:
        try:
            super().__init__(text)
        except yaml.YAMLError as error:
            raise ValueError(str(error)) from error
        self._depth = self._aliases = self._nodes = 0
        self._sizes: dict[yaml.Node, int] = {}
        """Nodes below each node that is complete, and itself."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event: Any = self.peek_event()
        is_alias = isinstance(event, yaml.AliasEvent)
        if not is_alias and event.tag is not None:
            raise ValueError(f"line {event.start_mark.line + 1}: tags such as {event.tag} are not supported")
        self._aliases += is_alias
        if self._aliases > MAX_ALIASES:
            raise ValueError(f"it has more than {MAX_ALIASES} aliases")
        self._depth += 1
        if self._depth > MAX_LEVELS:
            raise ValueError(TOO_DEEP)
        before = self._nodes
        self._count(0 if is_alias else 1)
        node = super().compose_node(parent, index)
        self._depth -= 1
        if node is not None and is_alias:
            if node not in self._sizes:
                raise ValueError("an alias is inside the node that it stands for")
            self._count(self._sizes[node])
        elif node is not None:
            _require_short_number(node)
            self._sizes[node] = self._nodes - before
        return node

    def _count(self, nodes: int) -> None:
        self._nodes += nodes
        if self._nodes > MAX_YAML_NODES:
            raise ValueError(f"it has more than {MAX_YAML_NODES} nodes, with its aliases expanded")


def _require_short_number(node: yaml.Node) -> None:
    if node.tag in _YAML_NUMBERS and len(node.value) > _MAX_NUMBER_CHARS:
        raise ValueError(TOO_LARGE)
