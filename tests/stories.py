"""Stories in files, and how they are read: what the tests of corpora share."""

from __future__ import annotations

import json

import pytest

from growjax.config import DataConfig
from growjax.data import corpus
from growjax.errors import UserError

STORIES = [f"Story {i}.\nIt has two lines, and café 🐟 number {i * i}." for i in range(60)]


def write_jsonl(path, stories=STORIES, field="text"):
    path.write_text("".join(json.dumps({field: s, "n": i}) + "\n" for i, s in enumerate(stories)), encoding="utf-8")
    return path


def read(path, **changes):
    return corpus.read_stories(DataConfig(corpus=str(path), stories=0, validation_fraction=0.3).replace(**changes))


def fault(path, **changes) -> str:
    with pytest.raises(UserError) as caught:
        read(path, **changes)
    text = str(caught.value)
    assert "\n" not in text
    assert caught.value.hint
    return text
