"""Tokenizers: one that is trained on a corpus, and any tokenizer.json; how a story becomes ids under either."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from growjax.errors import UserError

END = "<|end|>"
"""Closes every story of a tokenizer trained here; there always id 0."""

ENDS = (END, "<|endoftext|>", "<|end_of_text|>", "</s>", "<eos>")
"""What closes a story, where a tokenizer's own post-processor frames none: the first of these that it has."""

FILE = "tokenizer.json"
_BATCH = 1000
_HINT = "give a tokenizer.json as Hugging Face tokenizers write it"


class Frame(NamedTuple):
    """What stands around the ids of a story."""

    processed: bool
    """Whether the tokenizer's own post-processor adds it (`<s>` before a Llama's)."""
    end: int | None
    """Else the id behind each story."""


def train_tokenizer(stories: Sequence[str], vocab_size: int) -> Tokenizer:
    """Byte-level BPE with all 256 bytes and `END` (id 0), at most `vocab_size` tokens, fewer on a small corpus.

    The same stories give the same vocabulary, whatever the number of threads.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=2,
        special_tokens=[END],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(stories, trainer, length=len(stories))
    return plain(tokenizer)


def plain(tokenizer: Tokenizer) -> Tokenizer:
    """The tokenizer, with special tokens inside a text taken as plain characters, and texts of any length."""
    # not kept in tokenizer.json; without it a story that spells out the end token would be cut in two
    tokenizer.encode_special_tokens = True
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def read_tokenizer(data: bytes, name: str, hint: str = _HINT) -> Tokenizer:
    """The tokenizer of a tokenizer.json's bytes. Raises `UserError` where it is none, frames no story, or draws at
    random; `name` is what to call the file."""
    try:
        tokenizer = plain(Tokenizer.from_str(data.decode("utf-8")))
        dropout = (json.loads(data).get("model") or {}).get("dropout")
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # a panic of the library's is no Exception
        raise UserError(f"{name} is no tokenizer ({_first(error)})", hint) from None
    if dropout:
        raise UserError(f"{name}: model.dropout is {dropout}, so a text has no fixed ids", "set it to null")
    frame(tokenizer, name)
    return tokenizer


def read_file(path: Path) -> bytes:
    """The bytes of a tokenizer.json that holds a tokenizer. Raises `UserError` where it does not."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"the tokenizer {path} cannot be read ({error.strerror})", _HINT) from None
    read_tokenizer(data, str(path))
    return data


def is_digest(text: str) -> bool:
    """Whether a text is SHA-256 in hexadecimal, as a specification names a tokenizer."""
    return re.fullmatch("[0-9a-f]{64}", text) is not None


def file_digest(data: bytes) -> str:
    """SHA-256 of a tokenizer.json: its identity."""
    return hashlib.sha256(data).hexdigest()


def vocabulary(tokenizer: Tokenizer) -> int:
    """How many rows an embedding needs: the largest id, and 1."""
    return max(tokenizer.get_vocab(with_added_tokens=True).values()) + 1


def frame(tokenizer: Tokenizer, name: str = "the tokenizer") -> Frame:
    """How stories are framed: by the tokenizer's own post-processor; where that adds nothing, by the first of `ENDS`
    behind each. Raises `UserError` where there is neither."""
    if tokenizer.num_special_tokens_to_add(False):
        return Frame(True, None)
    for token in ENDS:
        if (number := tokenizer.token_to_id(token)) is not None:
            return Frame(False, number)
    raise UserError(
        f"{name} says nothing of where a story ends: it has no post-processor, and none of {', '.join(ENDS)}",
        "add a post-processor, or one of these tokens",
    )


def token_dtype(vocab_size: int) -> np.dtype:
    """What ids of such a vocabulary are kept in: uint16 where they fit, else uint32, both little-endian."""
    return np.dtype("<u2" if vocab_size <= 2**16 else "<u4")


def encode(tokenizer: Tokenizer, stories: Sequence[str]) -> np.ndarray:
    """uint16 or uint32 [tokens] (`token_dtype`): the ids of all stories in order, each framed (`frame`)."""
    processed, end = frame(tokenizer)
    dtype = token_dtype(vocabulary(tokenizer))
    parts: list[np.ndarray] = []
    for start in range(0, len(stories), _BATCH):
        ids: list[int] = []
        batch = list(stories[start : start + _BATCH])
        for encoding in tokenizer.encode_batch_fast(batch, add_special_tokens=processed):
            ids += encoding.ids
            if end is not None:
                ids.append(end)
        parts.append(np.array(ids, dtype=dtype))
    return np.concatenate(parts) if parts else np.empty(0, dtype=dtype)


def _first(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:120]
