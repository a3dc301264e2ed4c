"""A notification service: messages are appended to a file, whose address is `notebook:///path/of/the/file`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from apprise import NotifyBase


class Notebook(NotifyBase):
    """Apprise service of one file."""

    service_name = "a notebook"

    def __init__(self, address: str) -> None:
        super().__init__()
        self._address = address

    def url(self, privacy: bool = False, *args: Any, **kwargs: Any) -> str:
        """Return the address."""
        return self._address

    def send(self, body: str, title: str = "", notify_type: Any = None, **kwargs: Any) -> bool:
        """Append a message; return whether it was written."""
        try:
            with Path(self._address.partition("://")[2]).open("a", encoding="utf-8") as file:
                file.write(f"{title}\n{body}\n\n")
        except OSError:
            return False
        return True


create = Notebook
