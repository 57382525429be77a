"""From a corpus name to stories on two sides, with a record of where they came from.

`corpus` is `builtin`, a file, a folder, a pattern, `hf:NAME` or `hf:NAME:SPLIT`. Every fault in what was given is a
`UserError` that names the file. The hub is read through the `datasets` library, streaming, so nothing is cached.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import re
from collections.abc import Generator, Iterable, Iterator
from pathlib import Path, PurePath
from types import ModuleType
from typing import TYPE_CHECKING, Any

from growjax.config import DataConfig
from growjax.data import grammar
from growjax.data.files import file_record, file_stories, find, first_line
from growjax.data.records import texts
from growjax.errors import UserError
from growjax.schema import Record

if TYPE_CHECKING:
    from datasets import DatasetBuilder

BUILTIN_STORIES = 20000


@dataclasses.dataclass(frozen=True)
class Corpus:
    """Stories in corpus order; no text is on both sides."""

    train: list[str]
    validation: list[str]
    source: Record
    """Plain JSON data that says how to obtain the stories again."""
    digest: str
    """SHA-256 over train, then validation: each story's UTF-8 length in 8 little-endian bytes, then the story."""


def held_out(story: str, fraction: float) -> bool:
    """Whether a story is for validation: its SHA-256, read as a number from 0 to 1, is below `fraction`."""
    return int.from_bytes(hashlib.sha256(story.encode()).digest()[:8], "big") / 2**64 < fraction


def stories_digest(*sides: Iterable[str]) -> str:
    """SHA-256, in hexadecimal, over all stories in order, each after its length (see `Corpus.digest`)."""
    total = hashlib.sha256()
    for side in sides:
        for story in side:
            data = story.encode()
            total.update(len(data).to_bytes(8, "little") + data)
    return total.hexdigest()


def read_stories(config: DataConfig) -> Corpus:
    """The stories of `config.corpus`, as they are, none blank, at most `config.stories` (0: all), on two sides.

    Raises `UserError` for everything that can be wrong with the corpus, also where a side would be empty, or where a
    file was changed while it was read.
    """
    source, stories = _open(config)
    train: list[str] = []
    validation: list[str] = []
    try:
        for count, story in enumerate(stories, 1):
            (validation if held_out(story, config.validation_fraction) else train).append(story)
            if count == config.stories:
                break
    finally:
        stories.close()
    if source["kind"] == "files" and source != source_digests(config):
        raise UserError(
            f"the corpus {config.corpus} was changed while it was read", "run again, once it stays as it is"
        )
    for side, name, hint in ((train, "train", "lower"), (validation, "validate", "raise")):
        if not side:
            raise UserError(
                f"not one of the {len(train) + len(validation)} stories of {config.corpus} is there to {name} on",
                f"give more stories, or {hint} --data.validation-fraction (it is {config.validation_fraction})",
            )
    return Corpus(train, validation, source, stories_digest(train, validation))


def corpus_name(corpus: str) -> str:
    """What a specification calls a corpus: of a path or pattern its last part, which is the same wherever it lies."""
    name = PurePath(corpus).name
    return corpus if corpus.startswith("hf:") or name in ("", "builtin") or name.startswith("hf:") else name


def source_digests(config: DataConfig) -> Record:
    """What `read_stories` gives as `source`, without reading a story; equal as long as the corpus is unchanged.

    Raises `UserError` where a file is missing or unreadable, or the hub cannot be asked.
    """
    if config.corpus == "builtin":
        count = config.stories or BUILTIN_STORIES
        return {"kind": "builtin", "version": grammar.GRAMMAR_VERSION, "seed": 0, "count": count}
    if config.corpus.startswith("hf:"):
        return _hub(config)[0]
    return {"kind": "files", "files": [file_record(path) for path in find(config.corpus)]}


def _open(config: DataConfig) -> tuple[Record, Generator[str, None, None]]:
    if config.corpus.startswith("hf:"):
        source, builder = _hub(config)
        return source, _hub_stories(config, source["split"], builder)
    source = source_digests(config)
    if config.corpus == "builtin":
        return source, grammar.stories(source["count"])
    return source, file_stories(config)


@contextlib.contextmanager
def _quiet() -> Iterator[ModuleType]:
    """The `datasets` module, without bars, messages and the count of uses it sends out, for as long as this lasts."""
    import datasets.config
    from huggingface_hub.utils import logging as hub_logging

    level, hub_level = datasets.logging.get_verbosity(), hub_logging.get_verbosity()
    bars, counts = datasets.are_progress_bars_disabled(), datasets.config.HF_UPDATE_DOWNLOAD_COUNTS
    datasets.logging.set_verbosity(datasets.logging.CRITICAL + 1)
    hub_logging.set_verbosity_error()
    datasets.disable_progress_bars()
    # it is sent even where a local file is read, which would then wait for the network
    datasets.config.HF_UPDATE_DOWNLOAD_COUNTS = False
    try:
        yield datasets
    finally:
        datasets.config.HF_UPDATE_DOWNLOAD_COUNTS = counts
        datasets.logging.set_verbosity(level)
        hub_logging.set_verbosity(hub_level)
        if not bars:
            datasets.enable_progress_bars()


def _hub(config: DataConfig) -> tuple[Record, DatasetBuilder]:
    name, _, split = config.corpus.removeprefix("hf:").partition(":")
    split = split or "train"
    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", name) or Path(name).exists():
        raise UserError(f"{name!r} is no name of a data set on the hub", "give hf:OWNER/NAME, or a plain path")
    try:
        with _quiet() as datasets:
            builder = datasets.load_dataset_builder(name)
    except Exception as error:
        hint = "check the name and the network, or give a file"
        raise UserError(f"data set {name} cannot be loaded from the hub ({first_line(error)})", hint) from error
    return {"kind": "hf", "name": name, "split": split, "fingerprint": getattr(builder, "hash", None)}, builder


def _hub_stories(config: DataConfig, split: str, builder: Any) -> Generator[str, None, None]:
    try:
        with _quiet():
            yield from texts(config.corpus, builder.as_streaming_dataset(split), config.text_field)
    except UserError:
        raise
    except Exception as error:
        hint = "check the split and the network, or give a file"
        raise UserError(f"{config.corpus} cannot be read ({first_line(error)})", hint) from error
