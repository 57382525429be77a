"""Every fault in a file of stories, and what is said of it."""

from __future__ import annotations

import gzip
import pathlib

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from stories import STORIES, fault, write_jsonl


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
    assert "a.jsonl" in fault(path, encoding="utf-16")


def test_damaged_gzip(tmp_path):
    path = tmp_path / "a.jsonl.gz"
    whole = gzip.compress(write_jsonl(tmp_path / "b.jsonl").read_bytes())
    for data in (b"plain text", whole[:-20], whole[:40] + b"\xff\xff\xff" + whole[43:]):
        path.write_bytes(data)
        assert "a.jsonl.gz" in fault(path)


def test_json_that_is_none(tmp_path):
    path = tmp_path / "a.jsonl"
    for content, described in (
        ('{"text": "one"}\n{"text": "two"\n{"text": "three"}\n', "line 2 of"),
        ('{"text": "one"}\n{"text": "tw', "line 2 of"),
        ("just words\n", "line 1 of"),
        ('"just a string"\n', "a.jsonl"),
        ('{"text": "half \\ud83d of a pair"}\n', "a.jsonl"),
    ):
        path.write_text(content)
        assert described in fault(path)


def test_fields(tmp_path):
    path = write_jsonl(tmp_path / "a.jsonl", field="tale")
    message = fault(path)
    assert "record 1 of" in message
    assert "no field 'text' (fields there: tale, n)" in message
    assert "--data.text-field" in message
    for content, described in (
        ('{"text": "one"}\n{"tale": "two"}\n', "record 2 of"),
        ('{"text": 3}\n', "no text but int"),
        ('{"text": "one"}\n{"text": 3}\n', "a.jsonl"),
        ('{"text": ["one"]}\n', "no text but list"),
    ):
        path.write_text(content)
        assert described in fault(path)
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
