"""Any tokenizer.json: framing, identity by digest, ids beyond 16 bits, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from conftest import ROOT, quick_programs
from tokenizers import Tokenizer

from growjax.config import DataConfig, ModelConfig, OptimConfig, TrainConfig
from growjax.data import corpus, tokens
from growjax.data.batches import as_windows
from growjax.data.tokenizer import encode, file_digest, frame, read_file, read_tokenizer, token_dtype, vocabulary
from growjax.errors import CheckFailed, UserError
from growjax.streams import Streams, root_key
from growjax.train.loop import Feed, advance, run_keys
from growjax.train.state import init_state

FILE = ROOT / "tests" / "tokenizer.json"
CONFIG = DataConfig(stories=40, seq_len=8, batch_size=2, eval_batches=1)


def changed(**parts: Any) -> bytes:
    """The file of the tests with parts of it replaced."""
    return json.dumps({**json.loads(FILE.read_text()), **parts}).encode()


def test_a_story_is_framed_as_the_tokenizer_says():
    own = read_tokenizer(read_file(FILE), "own")
    assert frame(own) == (True, None) and vocabulary(own) == 64
    ids = encode(own, ["Hi!", "a </s>"])
    assert ids.dtype == np.uint16 and ids.tolist()[:5] == [1, *own.encode("Hi!", add_special_tokens=False).ids, 1]
    assert 2 not in ids  # the end token, spelled out in a story, is plain text
    bare = read_tokenizer(changed(post_processor=None), "bare")
    assert frame(bare) == (False, 2)
    assert encode(bare, ["Hi!", "a"]).tolist()[3::2] == [2, 2]


def test_what_a_file_says_of_lengths_is_not_for_stories():
    truncation = {"direction": "Right", "max_length": 3, "strategy": "LongestFirst", "stride": 0}
    assert len(encode(read_tokenizer(changed(truncation=truncation), "cut"), ["a" * 50])) == 51


def test_tokens_of_a_given_tokenizer(tmp_path: Path):
    """Its file is kept byte for byte, and known by its digest; where it was trained here, the tokens are the same."""
    found, data = corpus.read_stories(CONFIG), read_file(FILE)
    made = tokens.write_tokens(tmp_path / "a", found, CONFIG.replace(tokenizer=file_digest(data)), data)
    assert (tmp_path / "a" / "tokenizer.json").read_bytes() == data
    assert made.info["files"]["tokenizer.json"] == made.info["config"]["tokenizer"] == file_digest(data)
    assert made.info["vocab_size"] == 64 and np.count_nonzero(made.train == 1) == len(found.train)
    own = tokens.write_tokens(tmp_path / "b", found, CONFIG)
    data = (tmp_path / "b" / "tokenizer.json").read_bytes()
    assert tokens.write_tokens(tmp_path / "c", found, CONFIG, data).digest == own.digest


def test_ids_beyond_16_bits(tmp_path: Path):
    model = json.loads(FILE.read_text())["model"]
    data = changed(model={**model, "vocab": {**model["vocab"], "e": 70000}})
    large = read_tokenizer(data, "large")
    assert vocabulary(large) == 70001 and token_dtype(65536) == np.uint16 and token_dtype(65537) == np.uint32
    made = tokens.write_tokens(tmp_path, corpus.read_stories(CONFIG), CONFIG, data)
    assert made.train.dtype == np.uint32 and made.train.max() == 70000
    assert (tmp_path / "train.bin").stat().st_size == 4 * made.info["tokens"]["train"]
    small = ModelConfig(
        d_model=8, n_layers=1, n_heads=1, n_kv_heads=1, head_dim=8, d_ff=8, vocab_size=70001, tie_embeddings=False
    )
    state = init_state(TrainConfig(small, OptimConfig(warmup_steps=0)), key=Streams(root_key(0)).at("init", 0))
    windows = jnp.asarray(as_windows(made.train, 8))
    assert windows.dtype == jnp.uint32 and int(windows.max()) == 70000
    with quick_programs():
        feed = Feed(windows, windows[:2][None])
        after = advance(state, 1, feed=feed, run_keys=run_keys(Streams(root_key(0)), ()), batch_size=2)
        with pytest.raises(UserError, match="a feed is uint32"):
            advance(state, 1, feed=feed._replace(evaluation=windows[:2][None].astype(jnp.uint16)),
                    run_keys=run_keys(Streams(root_key(0)), ()), batch_size=2)  # fmt: skip
    moved = np.any(np.asarray(after.opt_state.mu["embedding"]) != 0, axis=-1)
    assert moved[70000] and not moved[65536:70000].any() and not moved[4464]  # 70000 modulo 2^16
    (tmp_path / "train.bin").write_bytes((tmp_path / "train.bin").read_bytes()[:-2])
    with pytest.raises(CheckFailed, match=r"train\.bin"):
        tokens.open_tokens(tmp_path)


REFUSED = {
    "none": (b"{}", "is no tokenizer"),
    "no text": (b"\xff\xfe", "is no tokenizer"),
    "a cut file": (FILE.read_bytes()[:700], "is no tokenizer"),
    "random merges": (changed(model={**json.loads(FILE.read_text())["model"], "dropout": 0.1}), "no fixed ids"),
    "no end": (
        json.dumps({**json.loads(Tokenizer.from_file(str(FILE)).to_str()), "post_processor": None})
        .replace("</s>", "</x>")
        .encode(),
        "where a story ends",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_tokenizer(name: str, tmp_path: Path):
    data, words = REFUSED[name]
    (tmp_path / "tokenizer.json").write_bytes(data)
    with pytest.raises(UserError, match=words) as caught:
        read_file(tmp_path / "tokenizer.json")
    assert caught.value.hint and "\n" not in str(caught.value)


def test_a_file_that_is_not_there(tmp_path: Path):
    with pytest.raises(UserError, match="cannot be read"):
        read_file(tmp_path / "tokenizer.json")
