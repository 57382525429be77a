"""Stories of every kind of file and of the hub, and the two sides they fall on."""

from __future__ import annotations

import gzip
import hashlib
import socket

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stories import STORIES, fault, read, write_jsonl

from growjax.config import DataConfig
from growjax.data import corpus, grammar
from growjax.errors import UserError


@given(st.lists(st.text(st.characters(codec="utf-8")), max_size=30), st.floats(0.01, 0.99))
@settings(max_examples=50, deadline=None)
def test_a_side_follows_from_the_text_alone(stories, fraction):
    held = {s for s in stories if corpus.held_out(s, fraction)}
    kept = {s for s in reversed(stories) if not corpus.held_out(s, fraction)}
    assert not held & kept
    assert held | kept == set(stories)
    for story in stories:
        share = int(hashlib.sha256(story.encode()).hexdigest()[:16], 16) / 2**64
        assert corpus.held_out(story, fraction) == (share < fraction)


def test_builtin():
    config = DataConfig(stories=500)
    found = corpus.read_stories(config)
    assert sorted(found.train + found.validation) == sorted(grammar.stories(500))
    assert found.source == {"kind": "builtin", "version": 1, "seed": 0, "count": 500}
    assert found.source == corpus.source_digests(config)
    assert corpus.source_digests(config.replace(stories=0))["count"] == 20000
    total = hashlib.sha256()
    for story in [*found.train, *found.validation]:
        total.update(len(story.encode()).to_bytes(8, "little"))
        total.update(story.encode())
    assert found.digest == total.hexdigest()


def test_duplicates_fall_on_one_side(tmp_path):
    found = read(write_jsonl(tmp_path / "a.jsonl", STORIES + STORIES))
    assert len(found.train) + len(found.validation) == 120
    assert not set(found.train) & set(found.validation)


def test_every_kind_of_file_gives_the_same_stories(tmp_path):
    folders = {name: tmp_path / name for name in ("jsonl", "gz", "blank", "marked", "parquet", "mixed", "txtgz")}
    for folder in folders.values():
        folder.mkdir()
    plain = write_jsonl(folders["jsonl"] / "a.jsonl")
    (folders["gz"] / "a.jsonl.gz").write_bytes(gzip.compress(plain.read_bytes()))
    blank = "\n\n".join(STORIES)
    (folders["blank"] / "a.txt").write_text(blank, encoding="utf-8")
    (folders["marked"] / "a.txt").write_text("\n<|endoftext|>\n".join(STORIES), encoding="utf-8")
    (folders["txtgz"] / "a.txt.gz").write_bytes(gzip.compress(blank.encode()))
    pq.write_table(pa.table({"text": STORIES}), folders["parquet"] / "a.parquet")
    mixed = folders["mixed"]
    write_jsonl(mixed / "a.json", STORIES[:20])
    pq.write_table(pa.table({"n": list(range(20)), "text": STORIES[20:40]}), mixed / "b.parquet")
    (mixed / "c [1].text").write_text("\ufeff" + "\r\n\r\n".join(STORIES[40:]), encoding="utf-8", newline="")
    (mixed / "notes.csv").write_text("not a story")
    (mixed / ".hidden.txt").write_text("not a story")

    first = read(plain)
    assert sorted(first.train + first.validation) == sorted(STORIES)
    assert first.train and first.validation
    for name, folder in folders.items():
        found = read(folder)
        assert (found.train, found.validation, found.digest) == (first.train, first.validation, first.digest), name
        assert found.source == corpus.source_digests(DataConfig(corpus=str(folder)))
    assert read(mixed / "[abc]*.*").digest == first.digest
    assert read(tmp_path / "**" / "b.parquet").source["files"][0]["name"] == "b.parquet"
    assert [one["name"] for one in read(mixed).source["files"]] == ["a.json", "b.parquet", "c [1].text"]
    assert first.source == {
        "kind": "files",
        "files": [
            {
                "name": "a.jsonl",
                "sha256": hashlib.sha256(plain.read_bytes()).hexdigest(),
                "size": plain.stat().st_size,
            }
        ],
    }


def test_first_stories_field_and_encoding(tmp_path):
    path = write_jsonl(tmp_path / "a.jsonl", ["  ", *STORIES], field="tale")
    found = read(path, text_field="tale", stories=25)
    assert sorted(found.train + found.validation) == sorted(STORIES[:25])
    latin = tmp_path / "b.txt"
    words = [f"caf\u00e9 {i}" for i in range(30)]
    latin.write_text("\n\n".join(words), encoding="latin-1")
    assert read(latin, encoding="latin-1").digest == corpus.stories_digest(
        [s for s in words if not corpus.held_out(s, 0.3)], [s for s in words if corpus.held_out(s, 0.3)]
    )
    latin.write_text("\n\n".join(words), encoding="utf-16")
    assert len(read(latin, encoding="utf-16").train) > 0


def test_local_files_leave_the_library_as_it_was(tmp_path, monkeypatch, capfd):
    import datasets.config

    calls = []

    def call_out(*args, **kwargs):
        calls.append(args)
        raise OSError("no network here")

    monkeypatch.setattr(socket, "getaddrinfo", call_out)
    cache = tmp_path / "cache"
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(cache))
    before = datasets.logging.get_verbosity(), datasets.are_progress_bars_disabled()
    read(write_jsonl(tmp_path / "a.jsonl"))
    assert not cache.exists()
    assert calls == []  # the library would swallow an error
    assert (datasets.logging.get_verbosity(), datasets.are_progress_bars_disabled()) == before
    assert capfd.readouterr() == ("", "")


def test_hub_names_that_do_not_load(monkeypatch, tmp_path):
    import datasets.config
    import huggingface_hub.constants

    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path))
    assert "cannot be loaded from the hub" in fault("hf:nobody/has-this-data-set")
    with pytest.raises(UserError, match="nobody/has-this"):
        corpus.source_digests(DataConfig(corpus="hf:nobody/has-this-data-set:test"))
    assert "no name of a data set" in fault("hf:a/b/c")
    assert "no name of a data set" in fault("hf:")


def test_a_hub_data_set_is_read_by_split_and_field(monkeypatch):
    import datasets

    class Builder:
        hash = "abc"

        def as_streaming_dataset(self, split):
            if split != "test":
                raise ValueError(f"no split {split}")
            return [{"tale": s} for s in STORIES]

    monkeypatch.setattr(datasets, "load_dataset_builder", lambda name: Builder())
    found = read("hf:some/tales:test", text_field="tale")
    assert sorted(found.train + found.validation) == sorted(STORIES)
    assert found.source == {"kind": "hf", "name": "some/tales", "split": "test", "fingerprint": "abc"}
    assert "no split train" in fault("hf:some/tales")
    assert "fields there: tale" in fault("hf:some/tales:test")
