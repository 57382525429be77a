"""A page as Markdown: its words, tables and commands as they stand, and its figures as links to their files.

It is made from the page's own HTML, so that neither says what the other does not. Text that means something to a
Markdown reader, or to a browser behind it, is escaped, as a receipt may come from a stranger.
"""

from __future__ import annotations

import re
from html.parser import HTMLParser

_SKIPPED = frozenset({"head", "nav", "svg"})
_HEADINGS = {"h1": "#", "h2": "##", "h3": "###"}
_TEXTS = frozenset({*_HEADINGS, "p", "li", "caption", "figcaption", "th", "td", "dt", "dd"})
_MARKS = re.compile(r"[\\`*\[\]<>|$]|(?<!\w)_|_(?!\w)|&(?=#?\w+;)")
_STARTS = re.compile(r"(\d*)([#+=-]|(?<=\d)[.)](?=\s|$))")


def of_page(page: str) -> str:
    """The Markdown (CommonMark with tables) of a page that `growjax.report.document` wrote."""
    writer = _Writer()
    writer.feed(page)
    writer.close()
    return "\n\n".join(writer.blocks) + "\n"


def escaped(text: str) -> str:
    """Text that is read as the same text within a line of Markdown."""
    return _MARKS.sub(lambda found: f"\\{found[0]}", text)


def code(text: str) -> str:
    """Text as code within a line."""
    text = " ".join(text.split())
    fence = "`" * (1 + max(map(len, re.findall("`+", text)), default=0))
    inner = f" {text} " if text.startswith("`") or text.endswith("`") else text
    return f"{fence}{inner}{fence}" if text else ""


def _line(text: str) -> str:
    """A line that begins a block as a paragraph does, whatever its first characters are."""
    found = _STARTS.match(text)
    return text if found is None else f"{found[1]}\\{text[len(found[1]) :]}"


class _Table:
    """A table that is being read."""

    def __init__(self) -> None:
        self.caption = ""
        self.head: list[str] = []
        self.body: list[list[str]] = []
        self.numeric: list[bool] = []

    def text(self) -> str:
        width = max(map(len, [self.head, *self.body]))
        numeric = [*self.numeric, *[False] * width][:width]
        lines = [[*row, *[""] * width][:width] for row in (self.head, *self.body)]
        rule = ["--:" if right else "---" for right in numeric]
        return "\n".join(f"| {' | '.join(row)} |" for row in (lines[0], rule, *lines[1:]))


class _Writer(HTMLParser):
    """Reads a page and gathers its blocks."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks: list[str] = []
        self.words: list[str] = []
        self.items: list[str] = []
        self.skipped: list[str] = []
        self.raw: str | None = None  # of code or a command, as far as it was read
        self.table: _Table | None = None
        self.row: list[str] = []
        self.term = self.label = self.file = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "svg":
            self.label = given.get("aria-label", "")
        if self.skipped or tag in _SKIPPED:
            self.skipped += [tag] if tag in (self.skipped or _SKIPPED) else []
        elif tag == "figure":
            self.file = given.get("data-file", "")
        elif tag == "table":
            self.table = _Table()
        elif tag == "tr":
            self.row = []
        elif tag in ("pre", "code"):
            self.raw = ""
        elif tag == "br":
            self._add("; " if self.raw is not None else " ")
        elif tag in ("strong", "small", "sub"):
            self.words.append({"strong": "**", "small": " (", "sub": "_{"}[tag])
        elif tag in _TEXTS:
            self.words = []
            if self.table is not None and tag == "th" and not self.table.body and given.get("scope") == "col":
                self.table.numeric.append(given.get("class") == "n")

    def handle_endtag(self, tag: str) -> None:
        if self.skipped:
            self.skipped = self.skipped[:-1] if tag == self.skipped[-1] else self.skipped
        elif tag == "pre":
            fence = "`" * max(3, 1 + max(map(len, re.findall("`+", self.raw or "")), default=0))
            self.blocks.append(f"{fence}sh\n{(self.raw or '').strip()}\n{fence}")
            self.raw = None
        elif tag == "code":
            spelled, self.raw = code(self.raw or ""), None
            self.words.append(spelled.replace("|", "\\|") if self.table is not None else spelled)
        elif tag in ("strong", "small", "sub"):
            self.words.append({"strong": "**", "small": ")", "sub": "}"}[tag])
        elif tag == "figcaption":
            self.blocks += [f"![{escaped(self.label)}]({self.file})", _line(self._text())]
        elif tag == "p":
            self.blocks.append(_line(self._text()))
        elif tag in _HEADINGS:
            self.blocks.append(f"{_HEADINGS[tag]} {self._text()}")
        elif tag == "li":
            self.items.append(f"- {_line(self._text())}")
        elif tag == "dt":
            self.term = self._text()
        elif tag == "dd":
            self.items.append(f"- {self.term}: {self._text()}")
        elif tag in ("ul", "dl"):
            self.blocks.append("\n".join(self.items))
            self.items = []
        elif self.table is not None:
            self._in_table(tag, self.table)

    def handle_data(self, data: str) -> None:
        if not self.skipped:
            self._add(data)

    def _in_table(self, tag: str, table: _Table) -> None:
        if tag == "caption":
            table.caption = self._text()
        elif tag in ("th", "td"):
            self.row.append(self._text())
        elif tag == "thead":
            table.head, table.body = table.body[0], []
        elif tag == "tr":
            group = len(self.row) == 1 and len(table.head) > 1
            table.body.append([f"**{self.row[0]}**"] if group else self.row)
        elif tag == "table":
            self.blocks += [_line(table.caption), table.text()]
            self.table = None

    def _add(self, data: str) -> None:
        if self.raw is not None:
            self.raw += data
        else:
            self.words.append(escaped(re.sub(r"\s+", " ", data)))

    def _text(self) -> str:
        found, self.words = re.sub(r" +", " ", "".join(self.words)).strip(), []
        return re.sub(r"(?<!\\)_\{(\w)\}", r"_\1", found)
