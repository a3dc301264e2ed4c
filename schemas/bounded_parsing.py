"""Parse JSON, TOML and YAML of strangers: in bounded time and memory, and with nothing but a `ValueError` in words.

What comes out can be merged, walked and written down: it is not nested deeply, its whole numbers have 64 bits, and
its text is text.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterable
from typing import Any

import yaml

MOST_BYTES = 2**20
"""Limit on a text of settings, in bytes."""

MOST_LEVELS = 64
"""Limit on nesting."""

MOST_KEY_PARTS = 32
"""Limit on the parts of a dotted key in TOML: `tomllib` takes quadratic time and memory for them."""

MOST_ALIASES = 100
"""Limit on the aliases of a YAML text."""

MOST_YAML_NODES = 100_000
"""Limit on the nodes of a YAML text, each alias counted as all that it stands for."""

_MOST_NUMBER_CHARS = 100
_YAML_NUMBERS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")
_TOO_DEEP = f"it is nested more than {MOST_LEVELS} levels deep"
_TOO_LARGE = "a whole number has more than 64 bits"


def parse_json(text: str | bytes) -> Any:
    """Parse JSON.

    Raises:
        ValueError: If it is no JSON, or beyond the limits of this module.
    """
    try:
        value = json.loads(text)
    except RecursionError:
        raise ValueError(_TOO_DEEP) from None
    except (json.JSONDecodeError, UnicodeDecodeError):
        raise
    except ValueError:  # Python reads no number of more than some thousand digits
        raise ValueError(_TOO_LARGE) from None
    require_plain(value)
    return value


def parse_toml(text: str) -> dict[str, Any]:
    """Parse TOML.

    Raises:
        ValueError: If it is no TOML, or beyond the limits of this module.
    """
    _require_size(text)
    _require_short_keys(text)
    try:
        tables = tomllib.loads(text)
    except RecursionError:
        raise ValueError(_TOO_DEEP) from None
    except tomllib.TOMLDecodeError:
        raise
    except ValueError:
        raise ValueError(_TOO_LARGE) from None
    require_plain(tables)
    return tables


def parse_yaml(text: str) -> Any:
    """Parse YAML without tags; `None` where there is nothing.

    Raises:
        ValueError: If it is no YAML, or beyond the limits of this module.
    """
    _require_size(text)
    loader = _BoundedLoader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        _require_few_nodes(node)
        value = loader.construct_document(node)
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from error
    finally:
        loader.dispose()
    require_plain(value)
    return value


def require_plain(value: Any) -> None:
    """Check that a parsed value can be merged, walked and written down.

    Raises:
        ValueError: If it is nested too deeply, has a number of more than 64 bits, or text that is no Unicode.
    """
    level, depth = [value], 0
    while level:
        if depth > MOST_LEVELS:
            raise ValueError(_TOO_DEEP)
        for item in level:
            _require_plain_leaf(item)
        level, depth = [child for item in level for child in _children(item)], depth + 1


def _children(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return [*value, *value.values()]
    return value if isinstance(value, list | tuple | set) else ()


def _require_plain_leaf(value: Any) -> None:
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise ValueError(_TOO_LARGE)
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            raise ValueError("a text holds half of a character") from None


def _require_size(text: str) -> None:
    if len(text) > MOST_BYTES:
        raise ValueError(f"it has {len(text) // 1024} KiB, at most {MOST_BYTES // 1024} KiB are read")


_TOML_TOKEN = re.compile(
    r'"""(?:[^"\\]|\\.|"{1,2}(?!"))*(?:""")?'
    r"|'''(?:[^']|'{1,2}(?!'))*(?:''')?"
    r"""|"(?:[^"\\\n]|\\.)*"?|'[^'\n]*'?"""
    r"|\#[^\n]*|[\w+-]+|[ \t]+|.",
    re.DOTALL,
)
"""One piece of a TOML text. Every alternative matches what has no end, too, so that no text is looked at twice."""


def _require_short_keys(text: str) -> None:
    """Refuse dotted keys of many parts, wherever they stand; dots within strings and comments do not count."""
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
        if parts > MOST_KEY_PARTS:
            raise ValueError(f"a key has more than {MOST_KEY_PARTS} parts")


class _BoundedLoader(yaml.SafeLoader):
    """Load plain YAML: few aliases, no tags, little nesting."""

    def __init__(self, text: str) -> None:
        try:
            super().__init__(text)
        except yaml.YAMLError as error:
            raise ValueError(str(error)) from error
        self._depth = self._aliases = self._nodes = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """Compose one node, within the limits.

        Raises:
            ValueError: Beyond them.
        """
        event: Any = self.peek_event()
        if isinstance(event, yaml.AliasEvent):
            self._aliases += 1
        elif event.tag is not None:
            raise ValueError(f"line {event.start_mark.line + 1}: tags such as {event.tag} are not read")
        self._depth, self._nodes = self._depth + 1, self._nodes + 1
        if self._aliases > MOST_ALIASES:
            raise ValueError(f"it has more than {MOST_ALIASES} aliases")
        if self._nodes > MOST_YAML_NODES:
            raise ValueError(f"it has more than {MOST_YAML_NODES} nodes")
        if self._depth > MOST_LEVELS:
            raise ValueError(_TOO_DEEP)
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node


def _require_few_nodes(root: yaml.Node) -> None:
    """Refuse a graph of nodes that grows large where every alias is written out, or that holds itself."""
    if _expanded_size(root, {}) > MOST_YAML_NODES:
        raise ValueError(f"with its aliases written out, it has more than {MOST_YAML_NODES} nodes")


def _expanded_size(node: yaml.Node, sizes: dict[int, int | None], depth: int = 0) -> int:
    """Return the number of nodes below a node, itself included, with aliases written out.

    Raises:
        ValueError: If a node holds itself, is nested too deeply, or is a number of very many digits.
    """
    if id(node) in sizes:
        known = sizes[id(node)]
        if known is None:
            raise ValueError("an alias stands within what it stands for")
        return known
    if depth > 2 * MOST_LEVELS:
        raise ValueError(_TOO_DEEP)
    sizes[id(node)] = None
    total = 1
    if isinstance(node, yaml.ScalarNode):
        if node.tag in _YAML_NUMBERS and len(node.value) > _MOST_NUMBER_CHARS:
            raise ValueError(_TOO_LARGE)
    else:
        is_table = isinstance(node, yaml.MappingNode)
        children = [part for pair in node.value for part in pair] if is_table else node.value
        total += sum(_expanded_size(child, sizes, depth + 1) for child in children)
    sizes[id(node)] = total
    return total
