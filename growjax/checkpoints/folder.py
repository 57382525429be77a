"""A checkpoint's folder in and out: the two functions that everybody uses."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import unflatten_dict

from growjax.checkpoints.card import History, card
from growjax.checkpoints.extras import GENERATION, Extras, read_files
from growjax.checkpoints.family import Family
from growjax.checkpoints.folds import Fold, epsilon_fold, folded, scale_fold, then
from growjax.checkpoints.layout import Leaf, Place, leaves, places, put_together, taken_apart
from growjax.checkpoints.moments import hindrance, no_folds, seen
from growjax.checkpoints.registry import family_for, family_of
from growjax.checkpoints.stored import NUMPY, Tensors, read_json
from growjax.checkpoints.trainer import (
    MOMENTS,
    RUN,
    Form,
    bring_in,
    file_in,
    find_moments,
    hand_on,
    said_of,
    with_factors,
)  # fmt: skip
from growjax.checkpoints.written import Writer
from growjax.config import ModelConfig, TrainConfig
from growjax.digests import digest, named_leaves
from growjax.errors import UserError
from growjax.files import whole_directory, write_text
from growjax.model.decoder import Params
from growjax.schema import Fields, Record
from growjax.train.state import TrainState, fresh_state
from growjax.values import Whole, taken

SHARD = 5 * 10**9
"""Bytes of a file at most, where nothing else is said."""


def load_checkpoint(
    path: str | Path, *, moments: str | Path | Literal["auto", "none"] = "auto"
) -> tuple[TrainState, Extras]:
    """A Hugging Face folder as a training state, and what else the folder holds.

    Parameters are float32, whatever the tensors are stored as (float32, bfloat16, float16). Adam's moments, the
    schedule's step and the optimizer's settings are those of a training run's files in the folder (`auto`), or of the
    file or folder named (see `growjax.checkpoints.trainer`); without any, and with `none`, moments, counters and step
    are 0. Dropout is 0, and `max_seq_len` is that of config.json. No pickle is opened but by torch with `weights_only`,
    for `optimizer.pt`; no code of the checkpoint's own is run. Raises `UserError`, with the key, for what cannot be
    brought in:

        state, extras = load_checkpoint("my-llama")
        logits = forward(state.config.model, state.params, tokens)
    """
    with open_checkpoint(path) as opened:
        state, extras = fresh_state(TrainConfig(model=opened.model), _read(opened)), opened.extras
    if moments == "none":
        return state, extras
    file = find_moments(Path(path)) if moments == "auto" else Path(moments)
    if file is None:
        return with_factors(state, opened.family, Path(path)), extras
    return add_moments(state, extras, file)


def load_params(path: str | Path) -> tuple[ModelConfig, Record]:
    """The decoder of a Hugging Face folder and its parameters alone, as `load_checkpoint` has them."""
    with open_checkpoint(path) as opened:
        return opened.model, _read(opened)


@dataclasses.dataclass(frozen=True)
class Opened:
    """A Hugging Face folder, every name and shape checked, of which no tensor is read yet."""

    family: Family
    model: ModelConfig
    tensors: Tensors
    stored: Mapping[str, Place]
    """By name in the files, what each tensor is."""
    copy_of_table: tuple[str, str] | None
    """A tied head that is stored as well, and the table that it must equal."""
    extras: Extras

    def check_copy(self) -> None:
        """Raises `UserError` where a tied head is another than the table."""
        if self.copy_of_table is not None:
            name, table = self.copy_of_table
            if not np.array_equal(self.tensors.mapped(name), self.tensors.mapped(table)):
                raise UserError(
                    f"{name} is not {table}, though config.json ties them", "set tie_word_embeddings to false"
                )


@contextlib.contextmanager
def open_checkpoint(path: str | Path) -> Iterator[Opened]:
    """The folder while the block lasts. Raises `UserError` for what `load_checkpoint` refuses, but for values that are
    no finite numbers and a head that is not the table it is tied to: no tensor is read."""
    folder = Path(path)
    if not folder.is_dir():
        raise UserError(f"{folder} is no folder", "name the folder of a Hugging Face checkpoint")
    given = read_json(folder / "config.json")
    family = family_of(given)
    model, notes = family.read(given)
    files = read_files(folder, model.vocab_size)
    with Tensors(folder) as tensors:
        stored, copy = _matched(tensors, family, model)
        dtypes = {tensors.dtypes[name] for name in stored}
        dtype = dtypes.pop() if len(dtypes) == 1 else "float32"
        extras = Extras(folder.resolve().name, given, dtype, files, tuple(notes))
        yield Opened(family, model, tensors, stored, copy, extras)


def add_moments(state: TrainState, extras: Extras, path: str | Path) -> tuple[TrainState, Extras]:
    """A state of a checkpoint with the moments of a file, or of a training run's folder, with the schedule's step and
    the optimizer's settings as far as they say them, and the extras with what else they say. Raises `UserError`, in one
    line, for what does not fit."""
    made = stock(state.config.model, extras)
    if made.fold is not None:
        raise UserError("this state is written at other scales than it has here", "give its moments as a growjax state")
    state, trainer = bring_in(state, made.family, file_in(Path(path)))
    return state, dataclasses.replace(extras, trainer=trainer, notes=(*extras.notes, *said_of(trainer)))


def _matched(tensors: Tensors, family: Family, model: ModelConfig) -> tuple[dict[str, Place], tuple[str, str] | None]:
    """What each tensor is, and a tied head that is stored as well with the name of the table."""
    bare = not any(name.startswith(family.prefix) for name in tensors)
    stored: dict[str, Place] = {}
    for place in places(family.tensors, model):
        name = place.name.removeprefix(family.prefix) if bare else place.name
        if name not in tensors:
            raise UserError(f"the tensor {name} is missing", f"a {family.model_type} of this config.json has it")
        if tensors.shapes[name] != place.shape:
            raise UserError(
                f"{name} has shape {list(tensors.shapes[name])}",
                f"by config.json it should be {list(place.shape)}",
            )
        stored[name] = place
    unused = [name for name in tensors if name not in stored and not re.fullmatch(family.ignored, name)]
    names = {row.parameters[0]: row.name for row in family.tensors}
    for name in unused:
        if not (model.tie_embeddings and name == names["head"]):
            raise UserError(
                f"a {family.model_type} of this config.json has no tensor {name}",
                "growjax brings in stock models alone",
            )
    table = names["embedding"].removeprefix(family.prefix if bare else "")
    return stored, (unused[0], table) if unused else None


def _read(opened: Opened) -> Record:
    """The parameters of a decoder."""
    model, known = opened.model, leaves(opened.model)
    opened.check_copy()
    found = {path: np.empty(leaf.shape, model.param_dtype) for path, leaf in known.items()}
    for name, place in opened.stored.items():
        parts = [known[path] for path in place.row.parameters]
        values = taken_apart(place.row.held(opened.tensors.read(name)), parts, place.row.layout)
        for path, value in zip(place.row.parameters, values, strict=True):
            found[path][... if place.layer is None else place.layer] = value
    return unflatten_dict({path: jnp.asarray(value) for path, value in found.items()}, sep="/")


def save_checkpoint(
    directory: str | Path,
    state: TrainState,
    extras: Extras | None = None,
    *,
    dtype: str | None = None,
    shard_bytes: int = SHARD,
    history: History | None = None,
    replace: bool = False,
    moments: Form = "auto",
) -> None:
    """Writes a state's parameters as a Hugging Face folder, whole or not at all: config.json, safetensors (several
    files and an index above `shard_bytes`), generation_config.json, the tokenizer files of `extras`, and a model card.

    `extras` are those of the checkpoint that the state came from; without them the first family that has a place for
    the decoder is taken. `dtype` is that of the stored tensors (`float32`, `bfloat16`, `float16`), rounded once; None
    takes that of the checkpoint. A tied head is not written. Moments that the optimizer has, its schedule and its step
    go out as `Trainer` keeps them (`torch`), or as safetensors; factors that growth gave the optimizer go out with a
    table of torch's parameter groups. Raises `UserError`, with the reason, for a decoder that no stock architecture
    holds, or where `directory` is there already:

        state, extras = load_checkpoint("my-llama")
        plan = make_plan(state.config.model, default_target(state.config.model))
        save_checkpoint("my-wide-llama", widen(state, plan, key=root_key(1, "study")), extras)
    """
    target = Path(directory)
    if target.exists() and not replace:
        raise UserError(f"{target} is there already", "choose another folder")
    with whole_directory(target, replace=replace) as folder:
        fill(folder, state, extras, dtype=dtype, shard_bytes=shard_bytes, history=history, moments=moments)


def fill(
    folder: Path,
    state: TrainState,
    extras: Extras | None = None,
    *,
    dtype: str | None = None,
    shard_bytes: int = SHARD,
    history: History | None = None,
    moments: Form = "auto",
) -> None:
    """What `save_checkpoint` does, into an empty folder that is there."""
    shard_bytes = taken(Whole(0, 2**63 - 1), shard_bytes, "shard_bytes")
    made = stock(state.config.model, extras, dtype)
    params = folded(made.fold, state.config.model, state.params)
    _write(folder, made, params, shard_bytes)
    fill_beside(folder, made.given, extras)
    record, written = dict(extras.trainer) if extras else {}, scales(made, state.config.model)
    hand_on(folder, state, made.family, record, written=written, form=moments)
    write_card(folder, state, extras, history or History(), dtype=made.given["dtype"])


def write_card(
    folder: Path, state: TrainState, extras: Extras | None, history: History, dtype: str | None = None
) -> None:
    """README.md of a state that was written."""
    model, _ = epsilon_fold(state.config.model)
    stored = dtype or (extras.dtype if extras else "float32")
    run = [name for name in RUN if (folder / name).exists()]
    left = "" if not seen(state) or set(run) & set(MOMENTS) else hindrance(state) or "they were not asked for"
    text = card(model, extras, history, dtype=stored, params=digest(state.params), run=run, left=left)
    write_text(folder / "README.md", text)


class Stock(NamedTuple):
    """What a decoder is written as."""

    family: Family
    model: ModelConfig
    """The decoder as the family holds it: of the same shapes."""
    fold: Fold | None
    """What becomes of each parameter, so that the function is the same."""
    given: Record
    """config.json, with the dtype of the tensors."""


def scales(made: Stock, model: ModelConfig) -> Params:
    """By what each parameter of a decoder is multiplied as it is written: a tree of scalars."""
    return folded(made.fold, model, no_folds(model))


def stock(model: ModelConfig, extras: Extras | None, dtype: str | None = None) -> Stock:
    """What a decoder is written as. Raises `UserError` for a dtype or a decoder that cannot be written."""
    stored = dtype or (extras.dtype if extras else "float32")
    if stored not in NUMPY:
        raise UserError(f"tensors cannot be stored as {stored}", f"choose one of {', '.join(NUMPY)}")
    model, fold = epsilon_fold(model)
    family, own, given = family_for(model, stored, (extras.config or None) if extras else None)
    return Stock(family, own, then(fold, scale_fold(model, own.embed_scale)), given)


def fill_beside(folder: Path, given: Fields, extras: Extras | None) -> None:
    """Writes config.json, tokenizer files and generation settings."""
    write_text(folder / "config.json", json.dumps(given, indent=2, sort_keys=True) + "\n")
    for name, data in (extras.files if extras else {}).items():
        (folder / name).write_bytes(data)
    if not (folder / GENERATION).exists():
        write_text(folder / GENERATION, json.dumps(_generation(given), indent=2) + "\n")


def _write(folder: Path, made: Stock, params: Params, most: int) -> None:
    known: dict[str, Leaf] = leaves(made.model)
    values = dict(named_leaves(params))
    found = list(places(made.family.tensors, made.model))
    with Writer(folder, found, made.given["dtype"], most) as written:
        for place in found:
            held = [np.asarray(jax.device_get(values[path])) for path in place.row.parameters]
            one = held if place.layer is None else [value[place.layer] for value in held]
            parts = [known[path] for path in place.row.parameters]
            written.add(place.name, place.row.stored(put_together(one, parts, place.row.layout)))


def _generation(given: Fields) -> Record:
    """What transformers would make of config.json."""
    names = ("bos_token_id", "eos_token_id", "pad_token_id")
    return {"_from_model_config": True, **{name: given[name] for name in names if given.get(name) is not None}}
