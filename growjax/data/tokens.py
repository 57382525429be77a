"""A byte-level BPE vocabulary, and the two packed token files that training reads."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import os
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from growjax.config import DataConfig, canonical_json, json_digest
from growjax.data.corpus import Corpus
from growjax.data.tokenizer import encode, file_digest, read_tokenizer, token_dtype, train_tokenizer, vocabulary
from growjax.errors import CheckFailed, UserError
from growjax.schema import Record

FILES = ("tokenizer.json", "train.bin", "validation.bin")
INFO = "tokens.json"
_AGAIN = "prepare the tokens again"


@dataclasses.dataclass(frozen=True)
class TokenFile:
    """A checked folder of tokens, open for reading."""

    directory: Path
    train: np.ndarray
    """uint16 or uint32 [tokens], as the vocabulary asks for, a read-only map of train.bin."""
    validation: np.ndarray
    """The same of validation.bin."""
    info: Record
    """What tokens.json holds."""

    @property
    def digest(self) -> str:
        """SHA-256 of the canonical JSON of the three file digests."""
        return json_digest(self.info["files"])

    def tokenizer(self) -> Tokenizer:
        """The vocabulary, with special tokens inside a text taken as plain characters. Raises `UserError` where the
        file is no tokenizer, or one of another size than tokens.json says."""
        path = self.directory / "tokenizer.json"
        found = read_tokenizer(path.read_bytes(), str(path), _AGAIN)
        if vocabulary(found) != self.info["vocab_size"]:
            sizes = f"{vocabulary(found)} tokens, and {INFO} says {self.info['vocab_size']}"
            raise UserError(f"{path} has {sizes}", _AGAIN)
        return found


def n_windows(n_tokens: int, seq_len: int) -> int:
    """How many windows of `seq_len` + 1 tokens there are at stride `seq_len`; neighbours share one token."""
    return max(0, (n_tokens - 1) // seq_len)


def unigram_entropy(tokens: np.ndarray) -> float:
    """Entropy in nats per token, to 9 decimals, of how often each id occurs in `tokens` (unsigned [n], n > 0)."""
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


def write_tokens(directory: Path, corpus: Corpus, config: DataConfig, tokenizer_json: bytes | None = None) -> TokenFile:
    """Train a vocabulary on the train side, or take the one of `tokenizer_json` (the file's bytes, whose SHA-256
    `config.tokenizer` is), and write tokenizer.json, train.bin, validation.bin, tokens.json.

    `directory` is made if missing; what it held under these names is replaced, whole or not at all. Raises
    `UserError` where a side is too short for a batch, `OSError` where the folder cannot be written.
    """
    if tokenizer_json is None:
        tokenizer = train_tokenizer(corpus.train, config.vocab_size)
        tokenizer_json = tokenizer.to_str().encode()
    else:
        tokenizer = read_tokenizer(tokenizer_json, f"tokenizer {file_digest(tokenizer_json)[:12]}")
    train, validation = encode(tokenizer, corpus.train), encode(tokenizer, corpus.validation)
    require_windows(len(train), len(validation), config)
    contents = dict(zip(FILES, (tokenizer_json, train.tobytes(), validation.tobytes()), strict=True))
    info = {
        "files": {name: hashlib.sha256(data).hexdigest() for name, data in contents.items()},
        "tokens": {"train": len(train), "validation": len(validation)},
        "stories": {"train": len(corpus.train), "validation": len(corpus.validation)},
        "vocab_size": vocabulary(tokenizer),
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
        dtype = token_dtype(size)
    except FileNotFoundError as error:
        raise UserError(f"{directory} holds no {INFO}", hint) from error
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror})", hint) from error
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is no record of tokens", hint) from error
    for name, digest in expected.items():
        if (directory / name).exists() and not (directory / name).is_file():
            raise CheckFailed(f"{directory / name} is no file: {hint}")
        try:
            with (directory / name).open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise CheckFailed(f"{directory / name} cannot be read ({error.strerror}): {hint}") from error
        if found != digest:
            raise CheckFailed(
                f"{directory / name} is damaged, or {INFO} is (SHA-256 {found[:12]}, not {digest[:12]}): {hint}"
            )
    for side, count in zip(("train", "validation"), counts, strict=True):
        if count < 1 or (directory / f"{side}.bin").stat().st_size != dtype.itemsize * count:
            raise CheckFailed(f"{path} counts {count} tokens in {side}.bin, which holds another number: {hint}")
    train, validation = (
        np.memmap(directory / f"{side}.bin", dtype=dtype, mode="r", shape=(count,))
        for side, count in zip(("train", "validation"), counts, strict=True)
    )
    largest = max(int(train.max()), int(validation.max()))
    if largest >= size:
        raise UserError(f"{directory} holds the token {largest} of a vocabulary of {size}", hint)
    return TokenFile(directory, train, validation, info)
