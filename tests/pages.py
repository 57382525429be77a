"""What holds of any page: balanced tags, no network, figures with a text alternative."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

from markdown_it import MarkdownIt

VOID = {"meta", "br", "link", "img", "hr", "input"}


class Checker(HTMLParser):
    """Balances tags, gathers text and every attribute that could reach out."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.words: list[str] = []
        self.ids: list[str] = []
        self.reaches: list[str] = []
        self.conclusion: list[str] = []
        self.depth = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag not in {"script", "link", "iframe", "object", "img"}
        found = dict(attrs)
        self.reaches += [v or "" for k, v in attrs if k in {"href", "src", "xlink:href", "action", "data"}]
        self.ids += [found["id"] or ""] if "id" in found else []
        if tag not in VOID:
            self.open.append(tag)
            if found.get("id") == "conclusion":
                self.depth = len(self.open)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-3:]}"
        if len(self.open) == self.depth:
            self.depth = 0
        self.open.pop()

    def handle_data(self, data: str) -> None:
        self.words.append(data)
        if self.depth:
            self.conclusion.append(data)


def checked(directory: Path) -> Checker:
    """The page, parsed, with everything that holds for any page."""
    page = (directory / "index.html").read_text()
    parser = Checker()
    parser.feed(page)
    parser.close()
    assert parser.open == []
    assert len(parser.ids) == len(set(parser.ids))
    assert all(target.startswith("#") and target[1:] in parser.ids for target in parser.reaches)
    assert not re.search(r"https?:|@import|url\((?!#)", page)
    assert "nan" not in re.findall(r"[a-z]+", " ".join(parser.words).lower())
    for svg in (directory / "figures").glob("*.svg"):
        ElementTree.parse(svg)
    return parser


class Rendered(HTMLParser):
    """What Markdown comes to: its text, its tags, and where they lead."""

    def __init__(self, directory: Path, name: str):
        super().__init__()
        self.words: list[str] = []
        self.tags: set[str] = set()
        self.targets: set[str] = set()
        self.feed(MarkdownIt("commonmark").enable("table").render((directory / name).read_text()))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.targets |= {value or "" for name, value in attrs if name in ("src", "href")}

    def handle_data(self, data: str) -> None:
        self.words.append(data)
