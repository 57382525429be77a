"""A byte-level BPE vocabulary, and the two packed token files that training reads."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from growjax.config import DataConfig, canonical_json, json_digest
from growjax.data.corpus import Corpus
from growjax.errors import CheckFailed, UserError
from growjax.schema import Record

END = "<|end|>"
"""Closes every story; always id 0. The same characters inside a story are encoded as plain text."""
END_ID = 0
FILES = ("tokenizer.json", "train.bin", "validation.bin")
INFO = "tokens.json"
_BATCH = 1000
_AGAIN = "prepare the tokens again"


@dataclasses.dataclass(frozen=True)
class TokenFile:
    """A checked folder of tokens, open for reading."""

    directory: Path
    train: np.ndarray
    """uint16[tokens], a read-only map of train.bin."""
    validation: np.ndarray
    """uint16[tokens], a read-only map of validation.bin."""
    info: Record
    """What tokens.json holds."""

    @property
    def digest(self) -> str:
        """SHA-256 of the canonical JSON of the three file digests."""
        return json_digest(self.info["files"])

    def tokenizer(self) -> Tokenizer:
        """The vocabulary, with `<|end|>` inside a text taken as plain characters. Raises `UserError` where the file is
        no tokenizer, or one of another size than tokens.json says."""
        path = self.directory / "tokenizer.json"
        try:
            found = Tokenizer.from_str(path.read_text(encoding="utf-8"))
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # a panic of the library's is no Exception
            raise UserError(f"{path} is no tokenizer ({str(error)[:120]})", _AGAIN) from None
        if found.get_vocab_size() != self.info["vocab_size"]:
            sizes = f"{found.get_vocab_size()} tokens, and {INFO} says {self.info['vocab_size']}"
            raise UserError(f"{path} has {sizes}", _AGAIN)
        return _plain(found)


def _plain(tokenizer: Tokenizer) -> Tokenizer:
    # not kept in tokenizer.json; without it a story that spells out the end token would be cut in two
    tokenizer.encode_special_tokens = True
    return tokenizer


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
    return _plain(tokenizer)


def n_windows(n_tokens: int, seq_len: int) -> int:
    """How many windows of `seq_len` + 1 tokens there are at stride `seq_len`; neighbours share one token."""
    return max(0, (n_tokens - 1) // seq_len)


def encode(tokenizer: Tokenizer, stories: Sequence[str]) -> np.ndarray:
    """uint16[tokens], little-endian: the ids of all stories in order, each followed by `END_ID`."""
    parts: list[np.ndarray] = []
    for start in range(0, len(stories), _BATCH):
        ids: list[int] = []
        for encoding in tokenizer.encode_batch_fast(list(stories[start : start + _BATCH]), add_special_tokens=False):
            ids += encoding.ids
            ids.append(END_ID)
        parts.append(np.array(ids, dtype="<u2"))
    return np.concatenate(parts) if parts else np.empty(0, dtype="<u2")


def unigram_entropy(tokens: np.ndarray) -> float:
    """Entropy in nats per token, to 9 decimals, of how often each id occurs in `tokens` (uint16[n], n > 0)."""
    shares = [count / len(tokens) for count in np.bincount(tokens).tolist() if count]
    # rounded, so that no mathematics library can change the file it is written to
    return round(-math.fsum(share * math.log(share) for share in shares), 9)


def _require_windows(side: str, tokens: int, needed: int, what: str, config: DataConfig, hint: str) -> None:
    there = n_windows(tokens, config.seq_len)
    if there < needed:
        raise UserError(
            f"the {side} side has {tokens} tokens, {there} windows of {config.seq_len} + 1, but {what} takes {needed}",
            f"lower {hint}, or give more stories (--data.stories, --data.corpus)",
        )


def require_windows(train: int, validation: int, config: DataConfig) -> None:
    """Raises `UserError` where so many tokens to train on, or held out, are too few for a batch, or an evaluation."""
    _require_windows("train", train, config.batch_size, "one batch", config, "--data.batch-size or --data.seq-len")
    _require_windows(
        "validation",
        validation,
        config.batch_size * config.eval_batches,
        f"an evaluation of {config.eval_batches} batches of {config.batch_size}",
        config,
        "--data.eval-batches, --data.batch-size or --data.seq-len, raise --data.validation-fraction",
    )


def write_tokens(directory: Path, corpus: Corpus, config: DataConfig) -> TokenFile:
    """Train a vocabulary on the train side and write tokenizer.json, train.bin, validation.bin, tokens.json.

    `directory` is made if missing; what it held under these names is replaced, whole or not at all. Raises
    `UserError` where a side is too short for a batch, `OSError` where the folder cannot be written.
    """
    tokenizer = train_tokenizer(corpus.train, config.vocab_size)
    train, validation = encode(tokenizer, corpus.train), encode(tokenizer, corpus.validation)
    require_windows(len(train), len(validation), config)
    contents = dict(zip(FILES, (tokenizer.to_str().encode(), train.tobytes(), validation.tobytes()), strict=True))
    info = {
        "files": {name: hashlib.sha256(data).hexdigest() for name, data in contents.items()},
        "tokens": {"train": len(train), "validation": len(validation)},
        "stories": {"train": len(corpus.train), "validation": len(corpus.validation)},
        "vocab_size": tokenizer.get_vocab_size(),
        "corpus_digest": corpus.digest,
        "source": corpus.source,
        "config": config.to_dict(),
        "unigram_entropy": unigram_entropy(train),
    }
    write_files(directory, {**contents, INFO: (canonical_json(info) + "\n").encode()})
    return open_tokens(directory)


def write_files(directory: Path, contents: dict[str, bytes]) -> None:
    """Write files under temporary names, then give them theirs, the one that vouches for the others last."""
    directory.mkdir(parents=True, exist_ok=True)
    temporary = {name: directory / f".{name}.{os.getpid()}.tmp" for name in contents}
    try:
        for name, data in contents.items():
            with temporary[name].open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        # from here until the last rename the folder counts as unfinished, not as damaged
        (directory / INFO).unlink(missing_ok=True)
        for name, path in temporary.items():
            path.replace(directory / name)
        handle = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    finally:
        for path in temporary.values():
            path.unlink(missing_ok=True)


def open_tokens(directory: Path) -> TokenFile:
    """Open what `write_tokens` wrote, after checking every file against its SHA-256.

    Raises `UserError` where tokens.json is missing or unreadable, or where a token is beyond its vocabulary,
    `CheckFailed` where a file is damaged.
    """
    path, hint = directory / INFO, _AGAIN
    try:
        info = json.loads(path.read_bytes())
        files, tokens = info["files"], info["tokens"]
        expected = {name: str(files[name]) for name in FILES}
        counts = int(tokens["train"]), int(tokens["validation"])
        size = int(info["vocab_size"])
    except FileNotFoundError as error:
        raise UserError(f"{directory} holds no {INFO}", hint) from error
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror})", hint) from error
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is no record of tokens", hint) from error
    for name, digest in expected.items():
        try:
            with (directory / name).open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise CheckFailed(f"{directory / name} cannot be read ({error.strerror}): {hint}") from error
        if found != digest:
            raise CheckFailed(f"{directory / name} is damaged (SHA-256 {found[:12]}, not {digest[:12]}): {hint}")
    for side, count in zip(("train", "validation"), counts, strict=True):
        if count < 1 or (directory / f"{side}.bin").stat().st_size != 2 * count:
            raise CheckFailed(f"{path} counts {count} tokens in {side}.bin, which holds another number: {hint}")
    train, validation = (
        np.memmap(directory / f"{side}.bin", dtype="<u2", mode="r", shape=(count,))
        for side, count in zip(("train", "validation"), counts, strict=True)
    )
    largest = max(int(train.max()), int(validation.max()))
    if largest >= size:
        raise UserError(f"{directory} holds the token {largest} of a vocabulary of {size}", hint)
    return TokenFile(directory, train, validation, info)
