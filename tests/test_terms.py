"""The words that were growjax's own are gone: what has a name in the field has that name."""

from __future__ import annotations

import re

import pytest
from conftest import ROOT

GONE = (
    "luck", "mend", "mended", "mends", "told", "tells", "seal", "seals", "sealed", "lane", "lanes", "specimen",
    "witness",
)  # fmt: skip
"""As whole words, in any case, within names as well (`told` in `is_told`)."""

FUNCTIONS = ("need", "_require")
"""As names of functions."""

STORIES = {"words.py", "plots_events.py", "plots_people.py", "grammar.py", "frames.py"}
"""The built-in corpus is written in the words of stories."""

TEXTS = sorted(
    path
    for pattern in (
        "growjax/**/*.py",
        "experiments/**/*.py",
        "tests/**/*.py",
        "*.md",
        "growjax/*.md",
        "artifacts/README.md",
    )
    for path in ROOT.glob(pattern)
    if path.name not in STORIES and path.name != "test_terms.py"
)


def test_there_are_texts_to_look_at():
    assert len(TEXTS) > 200


@pytest.mark.parametrize("word", (*GONE, *FUNCTIONS))
def test_a_word_is_gone(word: str):
    place = rf"\bdef {word}\b" if word in FUNCTIONS else rf"(?<![A-Za-z]){word}(?![A-Za-z])"
    pattern = re.compile(place, re.IGNORECASE)
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()[:100]}"
        for path in TEXTS
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if pattern.search(line)
    ]
    assert not found, "\n".join(found[:20])
