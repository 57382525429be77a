"""Texts come through as they are: files, paragraphs, marks, and records whatever else they hold."""

from __future__ import annotations

import io
import itertools
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stories import STORIES, fault, read

from growjax.config import DataConfig
from growjax.data import corpus, files, passages, records
from growjax.errors import UserError

CODE = "    def f(self):\n\treturn 1  \n\n\n    def g(self):\r\n        return 2\n"

LINES = st.lists(
    st.sampled_from(["", " ", "\t", "a", "  b ", "\u3000", "é\ufeff", "x\x0cy", "<|endoftext|"]), max_size=12
)
ENDS = st.sampled_from(["\n", "\r\n", "\r"])


def described(path: Path, **changes) -> list[str]:
    """All stories of a corpus, sides together, in order."""
    return list(files.file_stories(DataConfig(corpus=str(path), **changes)))


@given(LINES, ENDS)
def test_paragraphs_keep_every_character_of_their_lines(lines: list[str], end: str):
    """Put together again they are the lines that are not blank, and a blank line lies between any two."""
    text = end.join(lines)
    found = list(passages.paragraphs(io.StringIO(text, newline=""), "here"))
    kept = [line for line in lines if line and not line.isspace()]
    assert [line for story in found for line in story.split(end)] == kept
    full = [False, *(bool(line) and not line.isspace() for line in lines)]
    assert len(found) == sum(now and not before for before, now in itertools.pairwise(full))


@given(
    st.lists(st.text(st.characters(codec="utf-8", exclude_characters="<"), max_size=9), max_size=6), st.integers(1, 20)
)
def test_marks_part_stories_wherever_reading_stops(parts: list[str], piece: int):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(passages, "PIECE", piece)
        file = io.StringIO(passages.MARK.join(parts), newline="")
        found = list(passages.between_marks(file, "here"))
    stripped = [part.strip("\r\n") for part in parts]
    assert found == [part for part in stripped if part and not part.isspace()]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
TEXT = (
    st.none() | st.text(st.characters(codec="utf-8"), max_size=9) | st.sampled_from(["2020-01-01T00:00:00", "1e3", " "])
)


@given(st.lists(st.tuples(TEXT, st.dictionaries(st.text(max_size=3), JSON, max_size=3)), max_size=6),
       st.sampled_from(["lines", "list", "pretty", "one line"]), st.integers(1, 40))  # fmt: skip
@settings(deadline=None)
def test_only_the_text_of_a_record_counts(rows: list, layout: str, piece: int):
    """Whatever other fields hold, in any layout, and wherever reading stops."""
    objects = [{**other, "text": text} for text, other in rows]
    indent = 1 if layout == "pretty" else None
    between = {"lines": "\n", "pretty": "\r\n"}.get(layout, " ")
    content = json.dumps(objects) if layout == "list" else between.join(json.dumps(o, indent=indent) for o in objects)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(records, "PIECE", piece)
        found = list(records.texts("here", records.json_objects(Path("here"), io.StringIO(content)), "text"))
    assert found == [text for text, _ in rows if text and not text.isspace()]


def test_records_that_change_beyond_the_first_megabytes(tmp_path: Path):
    first = [{"text": "word " * 200 + str(i), "id": i} for i in range(11_000)]
    last = [{"text": f"b {i}", "id": "x", "extra": [i]} for i in range(20)]
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in first + last))
    assert path.stat().st_size > 10 << 20
    assert described(path) == [row["text"] for row in first + last]


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch):
    """Reading stops soon after the longest that a story may be, whatever comes behind."""

    class Endless(io.StringIO):
        taken = 0

        def read(self, size: int | None = -1) -> str:
            assert size is not None and size > 0
            self.taken += size
            return "x" * size

        readline = read  # pyright: ignore[reportAssignmentType]

    for module in (passages, records):
        monkeypatch.setattr(module, "LONGEST", 1 << 20)
    for cut in (passages.whole, passages.paragraphs, passages.between_marks):
        file = Endless()
        with pytest.raises(UserError, match="characters"):
            list(cut(file, "here"))
        assert file.taken <= 4 << 20
    quoted = io.StringIO('{"text": "' + "x" * (8 << 20))
    with pytest.raises(UserError, match="line 1 of here has more than"):
        list(records.json_objects(Path("here"), quoted))
    assert quoted.tell() <= 4 << 20


def test_what_a_story_is(tmp_path: Path):
    """By the option, or by the ending of the file."""
    for name in ("a.py", "a.txt", "a.md", "a.rs", "marked.txt"):
        (tmp_path / name).write_bytes(CODE.encode() + (b"<|endoftext|>\n\n  end" if name == "marked.txt" else b""))
    pieces = ["    def f(self):\n\treturn 1  ", "    def g(self):\r\n        return 2"]
    for name in ("a.py", "a.md", "a.rs"):
        assert described(tmp_path / name) == [CODE] and described(tmp_path / name, split="paragraph") == pieces
    assert described(tmp_path / "a.txt") == pieces and described(tmp_path / "a.txt", split="file") == [CODE]
    assert described(tmp_path / "marked.txt") == [CODE.strip("\r\n"), "  end"]
    assert len(described(tmp_path / "marked.txt", split="file")) == 1
    with pytest.raises(UserError, match=r"data\.split"):
        DataConfig(split="line")  # pyright: ignore[reportArgumentType]


def test_no_file_stands_on_both_sides(tmp_path: Path):
    """With one story a file, every line of a file is trained on, or held out."""
    for number in range(40):
        (tmp_path / f"m{number}.py").write_text("".join(f"v{number}_{k} = 1\n\n" for k in range(9)))
    found = read(tmp_path)
    assert len(found.train) + len(found.validation) == 40
    names = [{story.split("_")[0] for story in side} for side in (found.train, found.validation)]
    assert not names[0] & names[1]


@pytest.mark.parametrize("name", ["a.parquet", "a.jsonl"])
def test_nulls_and_edges_of_records(tmp_path: Path, name: str):
    rows = [*STORIES, None, " ", "\n  indented\n", "2020-01-01"]
    path = tmp_path / name
    if name == "a.parquet":
        pq.write_table(pa.table({"n": list(range(len(rows))), "text": rows}), path)
    else:
        path.write_text(
            "\n".join(json.dumps({"text": row, "n": None if n % 2 else {"k": n}}) for n, row in enumerate(rows))
        )
    assert described(path) == [*STORIES, "\n  indented\n", "2020-01-01"]


def test_json_in_other_encodings_and_with_endless_numbers(tmp_path: Path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "ünd", "n": ' + "9" * 5000 + ', "x": 1e999}\n', encoding="utf-16")
    assert described(path, encoding="utf-16") == ["ünd"]
    path.write_text("\ufeff" + '{"text": "\ufeff mark"}\n', encoding="utf-8")
    assert described(path) == ["\ufeff mark"]
    path.write_text('{"text": "deep", "n": ' + "[" * 10**6)
    assert "line 1 of" in fault(path)


def test_the_fault_is_said_of_the_line_it_begins_on(tmp_path: Path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "one",\n "n": 1}\n\n{"text": "two" "three"}\n' + '{"text": "four"}\n' * 10**4)
    assert "line 4 of" in fault(path)
    path.write_text('{"text": "one"}\n["two"]\n')
    assert "line 2 of" in fault(path)


def test_the_built_in_corpus_stands():
    digest = "30036042d6b8d2e4540a0c6b1482f534a3ae7bece53dd3fa249c6ed64916d2c8"
    assert corpus.read_stories(DataConfig(stories=400)).digest == digest
