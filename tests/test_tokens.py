"""Tokens: the vocabulary, the packed files, their damage, and the windows that steps draw."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from growjax.config import DataConfig, canonical_json, json_digest
from growjax.data import batches, corpus, grammar, tokenizer, tokens
from growjax.errors import CheckFailed, UserError

CONFIG = DataConfig(stories=400, vocab_size=300, seq_len=32, batch_size=4, eval_batches=2)
ODD = [
    "A fish 🐟 and a family 👨‍👩‍👧‍👦.",
    "CafÃ© and â€œquotesâ€\x9d",
    "one\r\ntwo\r\n\r\n\tthree  ",
    "<|end|> is no end here",
    "  leading, e\u0301 and \u00e9, \u200b zero width, \ufeff mark, \0 null",
    "日本語 עברית हिन्दी",
]
ODD_TOKENIZER = tokenizer.train_tokenizer(ODD, 280)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    directory = tmp_path_factory.mktemp("tokens") / "new"
    found = corpus.read_stories(CONFIG)
    return found, tokens.write_tokens(directory, found, CONFIG)


# --- the vocabulary ---


def test_the_vocabulary_does_not_depend_on_threads():
    code = (
        "import hashlib\n"
        "from growjax.data import grammar, tokenizer\n"
        "t = tokenizer.train_tokenizer(list(grammar.stories(600)), 512)\n"
        "ids = tokenizer.encode(t, list(grammar.stories(100, seed=1)))\n"
        "print(hashlib.sha256(t.to_str().encode() + ids.tobytes()).hexdigest())\n"
    )
    settings_ = [{"TOKENIZERS_PARALLELISM": p, "RAYON_NUM_THREADS": n} for p in ("true", "false") for n in ("1", "2")]
    runs = [
        subprocess.Popen([sys.executable, "-c", code], env={**os.environ, **one}, stdout=subprocess.PIPE, text=True)
        for one in settings_
    ]
    found = [run.communicate()[0].strip() for run in runs]
    assert [run.returncode for run in runs] == [0] * 4
    assert len(found[0]) == 64
    assert len(set(found)) == 1


def test_vocabulary_of_bytes_and_end():
    found = tokenizer.train_tokenizer(list(grammar.stories(50)), 300)
    assert found.get_vocab_size() == 300
    assert found.token_to_id(tokenizer.END) == 0
    small = tokenizer.train_tokenizer(["ab"], 5000)
    assert small.get_vocab_size() == 257
    assert max(small.encode("any text 🐟").ids) < 257


@pytest.mark.parametrize("text", ODD)
def test_odd_text_comes_back(text, made):
    own = made[1].tokenizer()
    ids = own.encode(text).ids
    assert 0 not in ids
    assert own.decode(ids, skip_special_tokens=False) == text


@given(st.text(st.characters(codec="utf-8")))
@settings(max_examples=100, deadline=None)
def test_any_text_comes_back(text):
    packed = tokenizer.encode(ODD_TOKENIZER, [text, text])
    assert packed.dtype == np.dtype("<u2")
    ends = np.flatnonzero(packed == 0)
    assert list(ends) == [len(packed) // 2 - 1, len(packed) - 1]
    assert ODD_TOKENIZER.decode(packed[: ends[0]].tolist(), skip_special_tokens=False) == text


# --- files ---


def test_files_hold_the_stories(made):
    found, file = made
    own = file.tokenizer()
    for side, stories in ((file.train, found.train), (file.validation, found.validation)):
        assert side.dtype == np.uint16
        parts = np.split(np.asarray(side), np.flatnonzero(side == 0) + 1)
        assert len(parts.pop()) == 0
        assert [own.decode(part[:-1].tolist()) for part in parts] == stories
    info = file.info
    assert info["stories"] == {"train": len(found.train), "validation": len(found.validation)}
    assert info["tokens"] == {"train": len(file.train), "validation": len(file.validation)}
    assert info["corpus_digest"] == found.digest
    assert info["source"] == found.source
    assert DataConfig.from_dict(info["config"]) == CONFIG
    shares = np.unique(file.train, return_counts=True)[1] / len(file.train)
    # The file keeps nine decimals, so that no library of logarithms can change it.
    assert info["unigram_entropy"] == pytest.approx(-np.sum(shares * np.log(shares)), abs=1e-9)
    assert file.digest == json_digest(info["files"])
    assert sorted(os.listdir(file.directory)) == ["tokenizer.json", "tokens.json", "train.bin", "validation.bin"]
    for name, digest in info["files"].items():
        assert hashlib.sha256((file.directory / name).read_bytes()).hexdigest() == digest
    assert (file.directory / "tokens.json").read_text() == canonical_json(info) + "\n"


def test_writing_again_gives_the_same_bytes(made, tmp_path):
    found, file = made
    again = tokens.write_tokens(tmp_path, found, CONFIG)
    assert tokens.write_tokens(tmp_path, found, CONFIG).digest == again.digest == file.digest
    for name in os.listdir(tmp_path):
        assert (tmp_path / name).read_bytes() == (file.directory / name).read_bytes()


@pytest.mark.parametrize("name", tokens.FILES)
@pytest.mark.parametrize("how", ["flip", "cut", "gone"])
def test_damage_is_found(made, tmp_path, name, how):
    for one in (*tokens.FILES, tokens.INFO):
        (tmp_path / one).write_bytes((made[1].directory / one).read_bytes())
    data = bytearray((tmp_path / name).read_bytes())
    if how == "flip":
        data[len(data) // 2] ^= 1
    (tmp_path / name).write_bytes(data[:-2] if how == "cut" else data)
    if how == "gone":
        (tmp_path / name).unlink()
    with pytest.raises(CheckFailed) as caught:
        tokens.open_tokens(tmp_path)
    assert str(tmp_path / name) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_record_that_is_missing_or_no_record(made, tmp_path):
    with pytest.raises(UserError, match=r"holds no tokens\.json"):
        tokens.open_tokens(tmp_path)
    for text in ("", "{", "[]", "{}", '{"files": {}, "tokens": {"train": 1, "validation": 1}}', "\xff"):
        (tmp_path / tokens.INFO).write_text(text, encoding="latin-1")
        with pytest.raises(UserError, match="is no record of tokens"):
            tokens.open_tokens(tmp_path)


def test_counts_that_do_not_fit_the_files(made, tmp_path):
    for one in tokens.FILES:
        (tmp_path / one).write_bytes((made[1].directory / one).read_bytes())
    for count in (0, -1, 5, 10**9):
        info = {**made[1].info, "tokens": {**made[1].info["tokens"], "train": count}}
        (tmp_path / tokens.INFO).write_text(json.dumps(info))
        with pytest.raises(CheckFailed, match=r"tokens\.json"):
            tokens.open_tokens(tmp_path)


def test_writing_leaves_nothing_half_done(made, tmp_path, monkeypatch):
    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        tokens.write_tokens(tmp_path, made[0], CONFIG)
    assert os.listdir(tmp_path) == []


def test_too_few_windows(made, tmp_path):
    with pytest.raises(UserError, match=r"train side has \d+ tokens, \d+ windows.*--data\.batch-size"):
        tokens.write_tokens(tmp_path, made[0], CONFIG.replace(batch_size=10**6))
    with pytest.raises(UserError, match=r"validation side.*takes 40000: lower --data\.eval-batches"):
        tokens.write_tokens(tmp_path, made[0], CONFIG.replace(eval_batches=10**4))
    assert os.listdir(tmp_path) == []


# --- windows ---


def test_windows_share_one_token():
    found = batches.as_windows(np.arange(23, dtype=np.uint16), 5)
    assert found.dtype == np.uint16
    assert found.tolist() == [list(range(s, s + 6)) for s in (0, 5, 10, 15)]
    assert [tokens.n_windows(n, 5) for n in (0, 1, 5, 6, 10, 11)] == [0, 0, 0, 1, 1, 2]
    assert batches.as_windows(np.zeros(5, np.uint16), 5).shape == (0, 6)


@given(st.integers(0, 300), st.integers(1, 40))
def test_windows_are_as_many_as_counted(n, seq_len):
    found = batches.as_windows(np.arange(n, dtype=np.uint16), seq_len)
    assert found.shape == (tokens.n_windows(n, seq_len), seq_len + 1)
    if len(found):
        assert found[-1, -1] + seq_len > n - 1


@pytest.mark.parametrize("n", [1, 2, 3, 4, 6, 30, 97, 720])
def test_fixed_orders_visit_every_window_once(n):
    ids = jax.jit(batches.window_ids, static_argnums=(1, 2), static_argnames="order")
    batch = 6
    firsts = set()
    for order in range(min(n, 5)):
        taken = np.concatenate([np.asarray(ids(step, batch, n, order=order)) for step in range(-(-3 * n // batch))])
        assert taken.dtype == np.int32
        for start in (0, 1, n):
            assert sorted(taken[start : start + n]) == list(range(n))
        firsts.add(tuple(taken[:n]))
    assert len(firsts) == min(n, 5)


def test_fixed_orders_do_not_overflow():
    n = 2**31 - 1
    stride = batches.coprime_near(n * 0.6180339887498949, n)
    second = batches.coprime_near(n * 0.7548776662466927, n)
    for step in (0, 12345, 2**31 - 1):
        expected = [(7 * second + stride * (step * 8 + i)) % n for i in range(8)]
        assert batches.window_ids(jnp.int32(step), 8, n, order=7).tolist() == expected


@given(st.integers(1, 5000))
@settings(deadline=None)
def test_strides_are_coprime(n):
    stride = batches.coprime_near(n * 0.6180339887498949, n)
    assert np.gcd(stride, n) == 1
    assert 1 <= stride <= max(n - 1, 1)


def test_drawn_windows_are_those_of_the_key():
    found = batches.window_ids(5, 1000, 7, key=jax.random.key(3))
    assert found.dtype == jnp.int32
    assert found.tolist() == jax.random.randint(jax.random.key(3), (1000,), 0, 7, dtype=jnp.int32).tolist()
    assert set(found.tolist()) == set(range(7))
    assert found.tolist() != batches.window_ids(5, 1000, 7, key=jax.random.key(4)).tolist()


def test_no_windows_is_refused():
    with pytest.raises(ValueError, match="n_windows is 0"):
        batches.window_ids(0, 4, 0)


def test_batches():
    windows = batches.as_windows(np.arange(65536 - 41, 65536, dtype=np.uint16), 5)
    inputs, targets = jax.jit(batches.batch_at)(windows, jnp.array([3, 0, 7], jnp.int32))
    assert inputs.dtype == targets.dtype == jnp.int32
    assert inputs.tolist() == windows[[3, 0, 7], :-1].tolist()
    assert targets.tolist() == windows[[3, 0, 7], 1:].tolist()
