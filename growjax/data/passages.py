"""Stories out of a file of text: the whole file, its paragraphs, or what stands between marks. Characters stay as they
are; only what parts two stories belongs to neither."""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO

from growjax.errors import UserError

MARK = "<|endoftext|>"
"""Parts two stories in a file that has it."""

LONGEST = 1 << 27
"""Characters that one story, or one record, may have."""

PIECE = 1 << 16
"""Characters that are read at a time."""


def too_long(what: str) -> UserError:
    """What is said of a story, or a record, of more than `LONGEST` characters."""
    return UserError(f"{what} has more than {LONGEST} characters", "cut it into several")


def whole(file: IO[str], where: str) -> Iterator[str]:
    """All of an open file as one story."""
    text = file.read(LONGEST + 1)
    if len(text) > LONGEST:
        raise too_long(where)
    yield from _described(text)


def paragraphs(file: IO[str], where: str) -> Iterator[str]:
    """Runs of lines that are not blank, without the end of their last line."""
    part: list[str] = []
    size = 0
    while line := file.readline(LONGEST + 1):
        size += len(line)
        if size > LONGEST:
            raise too_long(f"a paragraph of {where}")
        if not line.isspace():
            part.append(line)
            continue
        yield from _described("".join(part).rstrip("\r\n"))
        part, size = [], 0
    yield from _described("".join(part).rstrip("\r\n"))


def between_marks(file: IO[str], where: str) -> Iterator[str]:
    """What stands between `MARK`s, without the ends of lines around it."""
    rest = ""
    while piece := file.read(PIECE):
        *stories, rest = (rest + piece).split(MARK)
        for story in stories:
            yield from _described(story.strip("\r\n"))
        if len(rest) > LONGEST:
            raise too_long(f"a story of {where}")
    yield from _described(rest.strip("\r\n"))


def _described(story: str) -> Iterator[str]:
    if story and not story.isspace():
        yield story
