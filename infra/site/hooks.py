"""Give MkDocs the pages of the repository: READMEs and guides where they are, sources that they link to, the commands.

A page has the path that it has in the repository, so that its links lead on unchanged.
"""

from __future__ import annotations

import posixpath
import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from mkdocs.structure.files import File, Files

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[2]

_LINK = re.compile(r'(?P<before>\]\(|(?:src|srcset|href)=")(?!https?:|#|mailto:)(?P<path>[^)#"\s]+)')
_CODE = re.compile(r"^ *```.*?^ *```$|`[^`\n]*`", re.MULTILINE | re.DOTALL)
_ITEM = re.compile(r"(?:[-*]|\d+\.) +")
_FENCE = re.compile(r"```|~~~")
_PICTURES = (".svg", ".png", ".webp")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages, the files and folders that they link to, and the reference of commands."""
    pages = sorted(path for path in _tracked("*.md") if not path.startswith("infra/site/"))
    linked = {path for page in pages for path in _links(page, (ROOT / page).read_text()) if not path.endswith(".md")}
    for path in [*pages, *(path for path in linked if path.endswith(_PICTURES))]:
        files.append(File.generated(config, path, abs_src_path=str(ROOT / path)))
    for path in sorted(linked):
        if (ROOT / path).is_dir():
            _add_folder(files, config, path)
        elif not path.endswith(_PICTURES):
            _add_source(files, config, path)
    files.append(File.generated(config, "commands.md", content=_commands()))
    return files


def on_page_markdown(markdown: str, page: Page, files: Files, **_: MkDocsConfig) -> str:
    """Lead links to the pages of sources and folders, and indent lists as Python-Markdown wants them."""

    def leading_to_a_page(link: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(page.file.src_uri), link["path"]))
        added = next((name for name in (f"{target}.md", f"{target}/contents.md") if files.get_file_from_path(name)), "")
        return f"{link[0]}{added.removeprefix(target)}"

    return _indented(_LINK.sub(leading_to_a_page, markdown))


def _tracked(*patterns: str) -> list[str]:
    """Return the paths of the files in the repository, new ones too, that match a pattern or are in a folder."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", *patterns]
    found = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines()
    return [path for path in found if (ROOT / path).exists()]


def _links(page: str, markdown: str) -> set[str]:
    """Return the paths in the repository that a page links to, outside of code."""
    folder = posixpath.dirname(page)
    return {
        posixpath.normpath(posixpath.join(folder, link["path"])) for link in _LINK.finditer(_CODE.sub("", markdown))
    }


def _add_source(files: Files, config: MkDocsConfig, path: str) -> None:
    if files.get_file_from_path(f"{path}.md"):
        return
    language = Path(path).suffix.removeprefix(".")
    text = f"# {path}\n\n````{language}\n{(ROOT / path).read_text()}````\n"
    files.append(File.generated(config, f"{path}.md", content=text))


def _add_folder(files: Files, config: MkDocsConfig, path: str) -> None:
    """Add a page with the pictures and the sources in a folder."""
    names = [posixpath.relpath(name, path) for name in _tracked(path)]
    for name in names:
        if name.endswith(_PICTURES):
            files.append(File.generated(config, f"{path}/{name}", abs_src_path=str(ROOT / path / name)))
        else:
            _add_source(files, config, f"{path}/{name}")
    lines = [f"![{name}]({name})" if name.endswith(_PICTURES) else f"- [{name}]({name}.md)" for name in names]
    files.append(File.generated(config, f"{path}/contents.md", content=f"# {path}\n\n" + "\n".join(lines) + "\n"))


def _commands() -> str:
    """Return the reference of all commands, from their help."""
    from overnight.flows.cli.main import app

    text = app.generate_docs(output_format="markdown")
    text = text.replace("(#overnight-install-completion)", "(#overnight---install-completion)")
    # The site has its own table of contents.
    return re.sub(r"\A# overnight(.*?)^## Table of Contents\n.*?(?=^\*\*)", r"# Commands\1", text, flags=re.M | re.S)


def _indented(markdown: str) -> str:
    """Indent what belongs to an item of a list by four spaces a level, where GitHub takes the width of the marker."""
    lines, widths, fence = list[str](), list[int](), ""
    for line in markdown.splitlines():
        text = line.lstrip(" ")
        indent = len(line) - len(text)
        if not text:
            lines.append("")
            continue
        if not fence:
            while widths and indent < widths[-1]:
                widths.pop()
        item = None if fence else _ITEM.match(text)
        if item and not widths and lines and lines[-1] and not lines[-1].startswith((" ", "- ", "* ")):
            lines.append("")  # a list may follow a paragraph without a blank line
        within = 0 if item else max(0, indent - (widths[-1] if widths else 0))
        lines.append(" " * (4 * len(widths) + within) + text)
        if marker := _FENCE.match(text):
            fence = "" if fence == marker[0] else fence or marker[0]
        if item:
            widths.append(indent + len(item[0]))
    return "\n".join(lines) + "\n"
