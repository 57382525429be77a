"""Tokens kept between runs: the same bytes as made anew, made anew where they do not fit or are damaged."""

from __future__ import annotations

from pathlib import Path

import pytest

from growjax.config import DataConfig
from growjax.data import corpus, kept, tokens
from growjax.study.context import prepare_tokens
from growjax.study.presets import presets

CONFIG = DataConfig(stories=200, vocab_size=300, seq_len=32, batch_size=4, eval_batches=1)
NAMES = (*tokens.FILES, tokens.INFO)


def contents(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in NAMES}


class Made:
    """Makes tokens in a folder, and counts how often."""

    def __init__(self, keep: Path):
        self.keep, self.times = keep, 0

    def into(self, folder: Path, config: DataConfig = CONFIG) -> dict[str, bytes]:
        def make() -> tokens.TokenFile:
            self.times += 1
            return tokens.write_tokens(folder, corpus.read_stories(config), config)

        kept.kept_or_made(folder, self.keep, config, corpus.source_digests(config), make)
        return contents(folder)


def test_what_is_kept_is_what_was_made(tmp_path: Path):
    made = Made(tmp_path / "keep")
    assert made.into(tmp_path / "a") == made.into(tmp_path / "b")
    assert made.times == 1
    made.into(tmp_path / "c", CONFIG.replace(vocab_size=301))
    assert made.times == 2


@pytest.mark.parametrize("name", NAMES)
def test_damage_is_made_anew(tmp_path: Path, name: str):
    made = Made(tmp_path / "keep")
    first = made.into(tmp_path / "a")
    file = next((tmp_path / "keep").iterdir()) / name
    file.write_bytes(file.read_bytes()[:-2])
    assert made.into(tmp_path / "b") == first and made.times == 2
    assert made.into(tmp_path / "c") == first and made.times == 2  # and fixed


def test_a_place_that_cannot_be_written_costs_nothing(tmp_path: Path):
    (tmp_path / "keep").write_text("a file where a folder is needed")
    made = Made(tmp_path / "keep")
    assert made.into(tmp_path / "a") == made.into(tmp_path / "b") and made.times == 2


def test_the_oldest_are_let_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(kept, "MOST", 1)
    made = Made(tmp_path / "keep")
    made.into(tmp_path / "a")
    made.into(tmp_path / "b", CONFIG.replace(vocab_size=301))
    assert len(list((tmp_path / "keep").iterdir())) == 1
    monkeypatch.setattr(kept, "LARGEST", 1)
    made.into(tmp_path / "c", CONFIG.replace(vocab_size=302))
    assert len(list((tmp_path / "keep").iterdir())) == 1 and made.times == 3


def test_a_corpus_that_changed_is_read_anew(tmp_path: Path):
    stories = tmp_path / "stories.jsonl"
    spec = presets()["smoke"]
    spec = spec.replace(data=spec.data.replace(corpus=str(stories), stories=0))
    found = []
    for word in ("cat", "dog"):
        stories.write_text("".join(f'{{"text": "The {word} number {n} ran home and slept."}}\n' for n in range(3000)))
        found.append(prepare_tokens(tmp_path / word, spec, keep=tmp_path / "keep").digest)
    assert found[0] != found[1]
