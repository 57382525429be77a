"""What a checkpoint holds beside its weights: its config.json, its tokenizer and generation settings, byte for byte."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path

from growjax.checkpoints.registry import family_of
from growjax.checkpoints.run_record import read_run
from growjax.checkpoints.stored import DTYPES, inside, read_json
from growjax.errors import UserError
from growjax.files import CHECKPOINT, write_text
from growjax.schema import Fields, Record

TOKENIZER = (
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "chat_template.jinja",
    "chat_template.json",
)
"""Files that may belong to a tokenizer."""

GENERATION = "generation_config.json"

_ORIGIN, _TRAINER = "origin.json", "trainer.json"


@dataclasses.dataclass(frozen=True)
class Extras:
    """All that a checkpoint says of itself, apart from its tensors."""

    name: str
    """Of the folder that it came from."""
    config: Fields
    """Its config.json; empty where there was none."""
    dtype: str
    """Of its tensors, as they were stored: `float32`, `bfloat16` or `float16` (`float32` where they differ)."""
    files: Mapping[str, bytes]
    """Tokenizer files and generation settings, by name."""
    notes: tuple[str, ...] = ()
    """What there was to say when it was brought in."""
    trainer: Fields = dataclasses.field(default_factory=dict)
    """What is known of the run that left its moments (`growjax.checkpoints.trainer`); empty where there are none."""

    @property
    def tokenizer(self) -> list[str]:
        """Names of the tokenizer's files."""
        return [name for name in self.files if name != GENERATION]


def read_files(folder: Path, vocab_size: int) -> dict[str, bytes]:
    """Tokenizer files and generation settings of a folder. Raises `UserError` where the tokenizer has ids beyond the
    vocabulary."""
    found = [folder / name for name in (*TOKENIZER, GENERATION) if (folder / name).exists()]
    files = {path.name: inside(path).read_bytes() for path in found}
    if TOKENIZER[0] in files:
        largest = _largest_id(read_json(folder / TOKENIZER[0]))
        if largest >= vocab_size:
            raise UserError(
                f"{TOKENIZER[0]} has the id {largest}, and the vocabulary ends at {vocab_size - 1}",
                "give the tokenizer that belongs to the weights",
            )
    return files


def with_tokenizer(extras: Extras | None, folder: Path, vocab_size: int) -> Extras:
    """With the tokenizer files and generation settings of another folder. Raises `UserError` where it has none."""
    extras = extras or Extras(folder.resolve().name, {}, "float32", {})
    files = read_files(folder, vocab_size)
    if not files.keys() - {GENERATION}:
        raise UserError(f"{folder} holds no tokenizer", f"name a folder with {TOKENIZER[0]}")
    own = {name: data for name, data in extras.files.items() if name == GENERATION}
    return dataclasses.replace(extras, files={**own, **files})


def _largest_id(tokenizer: Record) -> int:
    model, added = tokenizer.get("model"), tokenizer.get("added_tokens") or []
    vocab = model.get("vocab") if isinstance(model, dict) else None
    try:
        ids = list(vocab.values()) if isinstance(vocab, dict) else list(range(len(vocab or [])))
        return max([-1, *map(int, ids), *(int(token["id"]) for token in added)])
    except (TypeError, ValueError, KeyError, OverflowError):
        raise UserError(f"{TOKENIZER[0]} is no tokenizer", "fetch the file again") from None


def keep(extras: Extras, folder: Path) -> None:
    """Writes what `kept` reads into a state's folder."""
    place = folder / CHECKPOINT
    place.mkdir()
    for name, data in extras.files.items():
        (place / name).write_bytes(data)
    origin = {"name": extras.name, "dtype": extras.dtype, "notes": list(extras.notes)}
    write_text(place / "config.json", json.dumps(extras.config, indent=2) + "\n")
    write_text(place / _ORIGIN, json.dumps(origin, indent=2) + "\n")
    if extras.trainer:
        write_text(place / _TRAINER, json.dumps(extras.trainer, indent=2) + "\n")


def kept(folder: Path) -> Extras | None:
    """What lies in a state's folder; None where the state came from no checkpoint."""
    place = folder / CHECKPOINT
    if not place.is_dir():
        return None
    origin, config = read_json(place / _ORIGIN), read_json(place / "config.json")
    names = [name for name in (*TOKENIZER, GENERATION) if (place / name).exists()]
    files = {name: inside(place / name).read_bytes() for name in names}
    if config:  # of a state that `growjax.cli.moments` gave moments to there may be none
        family_of(config).read(config)
    trainer = read_run(place / _TRAINER) if (place / _TRAINER).exists() else {}
    name, dtype, notes = (origin.get(field) for field in ("name", "dtype", "notes"))
    texts = [name, dtype, *(notes if isinstance(notes, list) else [None])]
    if not all(isinstance(text, str) and text.isprintable() for text in texts) or dtype not in DTYPES.values():
        raise UserError(f"{place / _ORIGIN} is none that growjax wrote", "import the checkpoint again")
    return Extras(str(name), config, str(dtype), files, tuple(notes or ()), trainer)
