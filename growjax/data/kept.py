"""Tokens kept between runs, so that a second study on the same stories need not read and tokenize them again."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

from growjax.config import DataConfig, json_digest
from growjax.data.tokens import FILES, INFO, TokenFile, open_tokens, write_files
from growjax.errors import CheckFailed, UserError
from growjax.files import whole_directory
from growjax.schema import Record
from growjax.source import source_digest

MOST, LARGEST = 8, 64 << 20
"""How many sets of tokens are kept, and how many bytes one may have."""


def kept_or_made(
    directory: Path, keep: Path, config: DataConfig, source: Record, make: Callable[[], TokenFile]
) -> TokenFile:
    """The tokens of `config` in `directory`, copied from those kept in the folder `keep`, or made by `make` and kept.

    What is kept is known by everything that tokens follow from: the configuration, the digests of the corpus
    (`source`), the tokenizer's version and growjax's own source. It is checked by its digests; what is damaged, is of
    another source than it is known by (the corpus was changed in between), or cannot be read or written, is made anew.
    """
    known = [config.to_dict(), source, metadata.version("tokenizers"), metadata.version("datasets"), source_digest()]
    place = keep / json_digest(known)
    try:
        if open_tokens(place).info.get("source") != source:
            raise UserError(f"{place} holds tokens of another corpus", "they are made anew")
        write_files(directory, {name: (place / name).read_bytes() for name in (*FILES, INFO)})
        place.touch()
        return open_tokens(directory)
    except (OSError, UserError, CheckFailed):
        tokens = make()
    if tokens.info["source"] == source and sum((directory / name).stat().st_size for name in FILES) <= LARGEST:
        _keep(tokens, place)
    return tokens


def _keep(tokens: TokenFile, place: Path) -> None:
    """Copies tokens to their place, and lets go of the sets that were not used for longest."""
    try:
        with whole_directory(place, replace=True) as folder:
            for name in (*FILES, INFO):
                shutil.copyfile(tokens.directory / name, folder / name)
        others = sorted(place.parent.glob("[0-9a-f]*"), key=lambda path: path.stat().st_mtime)
        for old in others[:-MOST]:
            shutil.rmtree(old, ignore_errors=True)
    except (OSError, UserError):
        pass  # a full disk costs the next run its time, and this one nothing
