"""Stories: the built-in grammar, every kind of file, every fault in one, and the two sides."""

from __future__ import annotations

import gzip
import hashlib
import json
import pathlib
import socket

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from growjax.config import DataConfig
from growjax.data import corpus, grammar
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
    assert caught.value.mend
    return text


# --- the grammar ---


def test_grammar_is_distinct_at_20000():
    stories = list(grammar.stories(20000))
    assert len(set(stories)) == 20000
    words = sorted(len(s.split()) for s in stories)
    assert words[0] >= 80
    assert words[-1] <= 230
    for story in stories:
        assert story == story.strip()
        assert story[-1] in '.!?"'
        assert not set(story) & set("{}")
        assert "\n\n" not in story
        assert "  " not in story


def test_grammar_is_pinned():
    digest = corpus.stories_digest(grammar.stories(1000))
    assert digest == "6c7af017561364744e19ebc3c919dc828753970a875a4af7fa200105cee777ee", (
        "stories changed: raise GRAMMAR_VERSION"
    )


def test_grammar_streams_nest_and_seeds_differ():
    assert list(grammar.stories(30))[:10] == list(grammar.stories(10))
    assert not set(grammar.stories(300)) & set(grammar.stories(300, seed=1))
    assert list(grammar.stories(0)) == []
    with pytest.raises(ValueError, match="-1"):
        list(grammar.stories(-1))


def test_splitmix64_is_the_published_one():
    # first outputs of SplitMix64 from state 0, as its reference implementation gives them
    gamma = 0x9E3779B97F4A7C15
    first = [grammar.splitmix64(k * gamma & (2**64 - 1)) for k in (1, 2, 3)]
    assert first == [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]


# --- sides ---


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


# --- files ---


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
    (mixed / "README.md").write_text("not a story")
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


# --- faults ---


def test_paths_that_lead_nowhere(tmp_path):
    assert "no file matches" in fault(tmp_path / "none.txt")
    assert "no file matches" in fault(tmp_path / "*.jsonl")
    assert "no file to read" in fault(tmp_path)
    (tmp_path / "a.csv").write_text("x")
    assert "no file to read" in fault(tmp_path)
    assert "a.csv has an ending that is not known" in fault(tmp_path / "a.csv")
    (tmp_path / "a.parquet.gz").write_text("x")
    assert "ending that is not known" in fault(tmp_path / "a.parquet.gz")


def test_files_that_may_not_be_read(tmp_path, monkeypatch):
    path = write_jsonl(tmp_path / "a.jsonl")
    real = pathlib.Path.open

    def refuse(self, *args, **kwargs):
        if self.name == "a.jsonl":
            raise PermissionError(13, "Permission denied")
        return real(self, *args, **kwargs)

    monkeypatch.setattr(pathlib.Path, "open", refuse)
    assert "a.jsonl may not be read" in fault(path)


@pytest.mark.parametrize("name", ["a.txt", "a.jsonl", "a.parquet"])
def test_empty_files(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(b"")
    assert f"{name} is empty" in fault(path)


def test_files_without_a_story(tmp_path):
    (tmp_path / "a.txt").write_text(" \n\n \n")
    assert "a.txt holds no story" in fault(tmp_path / "a.txt")
    (tmp_path / "a.jsonl").write_text('{"text": " "}\n')
    assert "a.jsonl holds no story" in fault(tmp_path / "a.jsonl")
    (tmp_path / "b.jsonl").write_text("\n\n")
    assert "b.jsonl" in fault(tmp_path / "b.jsonl")
    pq.write_table(pa.table({"text": pa.array([], pa.string())}), tmp_path / "a.parquet")
    assert "a.parquet holds no story" in fault(tmp_path / "a.parquet")


@pytest.mark.parametrize("name", ["a.txt", "a.jsonl"])
def test_undecodable_bytes(tmp_path, name):
    path = tmp_path / name
    path.write_bytes('{"text": "café"}\n'.encode("latin-1"))
    message = fault(path)
    assert f"{name} is not utf-8" in message
    assert "--data.encoding" in message
    path.write_bytes(b"abc\xe2\x82")  # ends inside a character
    assert f"{name} is not utf-8" in fault(path)
    path.write_bytes(b"\x7fELF\0\0\0\1 program")
    message = fault(path)
    assert f"{name} is no text file" in message
    assert "--data.encoding" in message


def test_encodings(tmp_path):
    path = write_jsonl(tmp_path / "a.jsonl")
    assert "'klingon' is no text encoding" in fault(path, encoding="klingon")
    assert "'base64' is no text encoding" in fault(path, encoding="base64")
    assert "convert it to UTF-8" in fault(path, encoding="utf-16")


def test_damaged_gzip(tmp_path):
    path = tmp_path / "a.jsonl.gz"
    whole = gzip.compress(write_jsonl(tmp_path / "b.jsonl").read_bytes())
    for data in (b"plain text", whole[:-20], whole[:40] + b"\xff\xff\xff" + whole[43:]):
        path.write_bytes(data)
        assert "a.jsonl.gz" in fault(path)


def test_json_that_is_none(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "one"}\n{"text": "two"\n{"text": "three"}\n')
    assert "line 2 of" in fault(path)
    path.write_text('{"text": "one"}\n{"text": "tw')
    assert "line 2 of" in fault(path)
    path.write_text("just words\n")
    assert "line 1 of" in fault(path)
    path.write_text('"just a string"\n')
    assert "a.jsonl" in fault(path)
    path.write_text('{"text": "half \\ud83d of a pair"}\n')
    assert "a.jsonl" in fault(path)


def test_fields(tmp_path):
    path = write_jsonl(tmp_path / "a.jsonl", field="tale")
    message = fault(path)
    assert "record 1 of" in message
    assert "no field 'text' (fields there: tale, n)" in message
    assert "--data.text-field" in message
    path.write_text('{"text": "one"}\n{"tale": "two"}\n')
    assert "record 2 of" in fault(path)
    path.write_text('{"text": 3}\n')
    assert "no text but int" in fault(path)
    path.write_text('{"text": "one"}\n{"text": 3}\n')
    assert "a.jsonl" in fault(path)
    path.write_text('{"text": ["one"]}\n')
    assert "no text but list" in fault(path)
    pq.write_table(pa.table({"tale": ["one"], "n": [1]}), tmp_path / "a.parquet")
    assert "no field 'text' (fields there: tale, n)" in fault(tmp_path / "a.parquet")
    pq.write_table(pa.table({"text": [1.5]}), tmp_path / "a.parquet")
    assert "no text but float" in fault(tmp_path / "a.parquet")


def test_damaged_parquet(tmp_path):
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": STORIES}), path, compression="gzip")
    whole = path.read_bytes()
    for data in (b"PAR1 no more", whole[:-30], whole[:20] + b"\xff" * 200 + whole[220:]):
        path.write_bytes(data)
        assert "a.parquet" in fault(path)


def test_a_side_that_is_empty(tmp_path):
    path = write_jsonl(tmp_path / "a.jsonl", STORIES[:1])
    text = fault(path, validation_fraction=0.999999)
    assert "to train on" in text
    assert "lower --data.validation-fraction" in text
    text = fault(path, validation_fraction=0.000001)
    assert "to validate on" in text
    assert "raise --data.validation-fraction" in text


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
