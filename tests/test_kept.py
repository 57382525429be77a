"""Tokens kept between runs: the same bytes as made anew, made anew where they do not fit or are damaged."""

from __future__ import annotations

from pathlib import Path

import pytest

from growjax.config import DataConfig, ModelConfig
from growjax.data import corpus, kept, tokens
from growjax.errors import UserError
from growjax.record.rundir import RunDir
from growjax.study.context import prepare_tokens
from growjax.study.presets import presets
from growjax.study.runner import run_study
from growjax.study.spec import StudySpec

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


def test_what_is_kept_is_of_the_corpus_that_it_is_known_by(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The file is another one between its digest and its reading; what such a run once kept is not taken either."""
    stories = tmp_path / "stories.jsonl"

    def tell(word: str) -> None:
        stories.write_text("".join(f'{{"text": "The {word} number {n} ran home and slept."}}\n' for n in range(3000)))

    spec = presets()["smoke"]
    spec = spec.replace(data=spec.data.replace(corpus=str(stories), stories=0))
    tell("cat")
    cats = prepare_tokens(tmp_path / "cats", spec)
    digests = "growjax.study.context.source_digests"
    monkeypatch.setattr(digests, lambda config: (corpus.source_digests(config), tell("dog"))[0])
    dogs = prepare_tokens(tmp_path / "dogs", spec, keep=tmp_path / "keep")
    assert dogs.digest != cats.digest and not (tmp_path / "keep").exists()
    monkeypatch.setattr(digests, corpus.source_digests)
    prepare_tokens(tmp_path / "more dogs", spec, keep=tmp_path / "keep")
    tell("cat")
    prepare_tokens(tmp_path / "more cats", spec, keep=tmp_path / "keep")
    for place in list((tmp_path / "keep").iterdir()):
        tokens.write_files(place, contents(tmp_path / "dogs"))
    assert prepare_tokens(tmp_path / "again", spec, keep=tmp_path / "keep").digest == cats.digest


def test_a_corpus_that_changes_while_it_is_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "a.txt").write_text("One cat.\n\nOne dog.\n\n" * 50)
    read = corpus.file_stories

    def read_and_change(config: DataConfig):
        yield from read(config)
        (tmp_path / "a.txt").write_text("Another.\n\n")

    monkeypatch.setattr(corpus, "file_stories", read_and_change)
    with pytest.raises(UserError, match="was changed while it was read"):
        corpus.read_stories(CONFIG.replace(corpus=str(tmp_path / "a.txt"), validation_fraction=0.5))


def test_a_result_does_not_depend_on_where_the_corpus_lies(tmp_path: Path):
    """One file in two folders: one specification and one receipt, without a folder's name."""
    receipts = []
    for place in ("here", "elsewhere/far"):
        (tmp_path / place).mkdir(parents=True)
        path = tmp_path / place / "tales.txt"
        path.write_text("\n\n".join(f"The cat number {n} ran home, and {n} mice ran too." for n in range(400)))
        spec = StudySpec(
            preset="train", operators=(), regimes=(), source_steps=(2,), source_eval_every=2,
            model=ModelConfig(d_model=8, n_layers=1, n_heads=1, n_kv_heads=1, head_dim=8, d_ff=8),
            data=DataConfig(corpus=str(path), vocab_size=300, seq_len=8, batch_size=2, eval_batches=1),
        )  # fmt: skip
        run = RunDir(tmp_path / f"run-{path.parent.name}")
        receipts.append(run_study(spec, run))
        assert run_study(spec, run)["root"] == receipts[-1]["root"]  # gone on with, from the same place
    first, second = receipts
    assert first["root"] == second["root"] and first["config"]["data"]["corpus"] == "tales.txt"
    assert str(tmp_path) not in (tmp_path / "run-far" / "receipt.json").read_text()
    path.write_text("\n\n".join(f"The dog number {n} ran home, and {n} cats ran too." for n in range(400)))
    with pytest.raises(UserError, match=f"the corpus {path} is no longer"):
        run_study(spec, run)


@pytest.mark.parametrize(
    ("word", "name"),
    [("a/b.txt", "b.txt"), ("a/*.txt", "*.txt"), ("a/b/", "b"), ("/", "/"), ("builtin", "builtin"),
     ("a/builtin", "a/builtin"), ("hf:one/two", "hf:one/two"), ("a/hf:one", "a/hf:one"), (".", ".")],
)  # fmt: skip
def test_names_of_corpora(word: str, name: str):
    assert corpus.corpus_name(word) == name
