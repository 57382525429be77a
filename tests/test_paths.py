"""A path is a name: whatever characters it has, it is never a pattern, markup or a format."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stories import read, write_jsonl

from growjax.cli import main
from growjax.cli.tables import console
from growjax.config import DataConfig, ModelConfig, TrainConfig
from growjax.data.corpus import Corpus
from growjax.data.files import find
from growjax.data.tokens import open_tokens, write_tokens
from growjax.errors import UserError
from growjax.files import ROOM, plain_name, require_path, sweep, whole_directory, write_text
from growjax.record.rundir import RunDir
from growjax.record.store import load_state, save_state, state_digest
from growjax.streams import Streams, root_key
from growjax.train.state import init_state

NAMES = [
    "lr=[1e-3]", "[ab]*", "q?", "b\\s", "back\\", "sp ace ", "new\nline", "tab\t", "ünï 🐟", "per%20cent%s{}",
    "a{b,c}", "hash#x&y=1", "file:", "~nobody", "-dash", "[bold]", ":fish:", "$HOME", "'\"`", "\udcff\udcfe",
    "ctrl\x01", "x" * 250,
]  # fmt: skip
"""Names that something between a command and the disk might take for more than a name."""

SMALL = TrainConfig(ModelConfig(d_model=8, n_heads=1, n_kv_heads=1, head_dim=8, d_ff=8, n_layers=1, vocab_size=9))


def state():
    return init_state(SMALL, key=Streams(root_key(0)).at("init", 0))


def folder(base: Path, name: str) -> Path:
    """A folder of that name, and beside it some that a pattern of that name would find."""
    for other in ("lr=1", "axb", "qx", "b/s", "a", name):
        (base / other).mkdir(parents=True, exist_ok=True)
    return base / name


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_a_corpus_of_any_name(tmp_path: Path, name: str):
    place = folder(tmp_path, name)
    path = write_jsonl(place / ("a" + name[:200] + ".jsonl"))
    write_jsonl(tmp_path / "a" / "other.jsonl")
    for corpus in (path, place, place / "*.jsonl", place / "a*"):
        assert find(str(corpus)) == [path]
    found = read(path)
    assert len(found.train) + len(found.validation) == 60 and found.source["files"][0]["name"] == path.name
    json.dumps(found.source)


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_tokens_of_any_name(tmp_path: Path, name: str):
    data = DataConfig(vocab_size=260, seq_len=4, batch_size=1, eval_batches=1)
    made = write_tokens(tmp_path / name, Corpus(["one two three"] * 3, ["four five six"] * 3, {}, ""), data)
    assert open_tokens(tmp_path / name).tokenizer().get_vocab_size() == made.info["vocab_size"]


def test_states_of_any_name(tmp_path: Path):
    """Written, read back and replaced; the folders beside them stay empty."""
    saved = state()
    for name in NAMES:
        place = folder(tmp_path, name)
        with whole_directory(place / name / "x" if len(name) < 99 else place / "x") as temporary:
            save_state(temporary, saved)
        read_back = load_state(next(p.parent for p in place.rglob("state.json")))
        assert state_digest(read_back) == state_digest(saved), ascii(name)
        assert not any(f for other in ("lr=1", "axb", "qx", "b/s", "a") for f in (tmp_path / other).iterdir())


def test_states_at_the_end_of_long_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Up to the longest that anything is written below; a relative path, and one over a link."""
    longest = os.pathconf("/", "PC_PATH_MAX") - ROOM
    place = tmp_path
    while len(str(place)) < longest - 220:
        place /= "y" * 200
    place /= "z" * (longest - len(str(place)) - 1)
    require_path(place)
    os.makedirs(place)
    save_state(place, state())
    assert load_state(place).config == SMALL
    with pytest.raises(UserError, match="too long"):
        require_path(place / "a")
    with pytest.raises(UserError, match="too long"):
        RunDir(place / "a").begin({})
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link[1]").symlink_to(place)
    assert load_state(Path("link[1]")).config == SMALL


@given(st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=20))
@settings(max_examples=60, deadline=None)
def test_a_plain_name_leads_to_any_folder(tmp_path_factory: pytest.TempPathFactory, name: str):
    if name in (".", ".."):
        return
    place = tmp_path_factory.getbasetemp() / "plain" / name
    place.mkdir(parents=True, exist_ok=True)
    with plain_name(place) as other:
        assert other.is_absolute() and str(other).isascii() and not set(str(other)) & set("*?[]\\ ")
        (other / "inside").write_text("x")
    assert (place / "inside").read_text() == "x" and not other.exists()


def test_temporary_files_need_a_plain_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("tempfile.tempdir", str(folder(tmp_path, "[t]")))
    with plain_name(tmp_path) as other:
        assert "[" not in str(other)
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(UserError, match="TMPDIR"), plain_name(tmp_path):
        pass


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_files_are_written_under_any_name(tmp_path: Path, name: str):
    write_text(tmp_path / name, f"text of {name}\n")
    assert [p.name for p in tmp_path.iterdir()] == [name]
    with whole_directory(tmp_path / "d" / name) as temporary:
        (temporary / "x").touch()
        assert temporary.name.startswith(".") and temporary.name.endswith(".tmp")
    (tmp_path / "d" / ".left.tmp").touch()
    sweep(tmp_path / "d")
    assert [p.name for p in (tmp_path / "d").iterdir()] == [name]


@pytest.mark.parametrize("name", ["lr=[1e-3]", "[bold]", "[/bold]", "a[/]b", ":fish:", "%s{}", "b\\s"], ids=ascii)
def test_names_are_printed_as_they_are(name: str, capsys: pytest.CaptureFixture[str]):
    console().print(f"page  {name}|", highlight=False, soft_wrap=True)
    assert capsys.readouterr().out == f"page  {name}|\n"


PATHS = ["\0", "x\0y", "y" * 300, "/".join(["x" * 200] * 25), "~nobody/x", "a[", "**/[", "\udcff*"]


@pytest.mark.parametrize("verb", ["train", "widen", "report", "audit", "verify", "diff"])
@pytest.mark.parametrize("path", PATHS, ids=lambda path: ascii(path)[:20])
def test_paths_that_lead_nowhere_end_in_one_line(
    verb: str, path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    words = {
        "train": ["--data.corpus", path, "--out", "out"],
        "widen": [path, "--out", "out"],
        "diff": [path, path],
    }.get(verb, [path])
    assert main([verb, *words]) in (1, 2, 3)
    said = capfd.readouterr()
    assert said.out == "" and said.err.count("\n") == 1 and said.err.startswith("growjax: "), said.err


@pytest.mark.parametrize("verb", ["train", "study", "widen"])
def test_a_place_that_is_too_long_is_refused_before_anything(verb: str, tmp_path: Path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    out = "/".join(["x" * 200] * 20)
    monkeypatch.setattr("growjax.study.runner.prepare_tokens", None)
    monkeypatch.setattr("growjax.grow.widen.widen", None)
    words = {"widen": ["run"]}.get(verb, [])
    if verb == "widen":
        (tmp_path / "run").mkdir()
        save_state(tmp_path / "run", state())
    assert main([verb, *words, "--out", out]) == 2
    assert capfd.readouterr().err.count("\n") == 1 and not (tmp_path / ("x" * 200)).exists()


def test_a_folder_that_another_process_made_meanwhile(tmp_path: Path):
    """It stays, or is replaced where that was asked for; nothing of either is left over."""
    place = tmp_path / "made"
    for replace in (False, True):
        refused = contextlib.nullcontext() if replace else pytest.raises(UserError, match="another process has made")
        with refused, whole_directory(place, replace=replace) as folder:
            (folder / "mine").write_text("mine")
            place.mkdir(exist_ok=True)
            (place / "theirs").write_text("theirs")
        assert [path.name for path in tmp_path.iterdir()] == ["made"]
        assert [path.name for path in place.iterdir()] == ["mine" if replace else "theirs"]
