"""A checkpoint's folder in and out: the two functions that everybody uses."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from growjax.checkpoints.card import History, card
from growjax.checkpoints.extras import GENERATION, Extras, read_files
from growjax.checkpoints.family import Family
from growjax.checkpoints.folds import one_epsilon
from growjax.checkpoints.layout import Leaf, Place, as_tree, leaves, places, put_together, taken_apart
from growjax.checkpoints.registry import family_for, family_of
from growjax.checkpoints.stored import NUMPY, Tensors, read_json
from growjax.checkpoints.written import Writer
from growjax.config import ModelConfig, TrainConfig
from growjax.digests import digest, named_leaves
from growjax.domains import Whole, taken
from growjax.errors import UserError
from growjax.files import whole_directory, write_text
from growjax.train.state import TrainState, fresh_state

SHARD = 5 * 10**9
"""Bytes of a file at most, where nothing else is said."""


def load_checkpoint(path: str | Path) -> tuple[TrainState, Extras]:
    """A Hugging Face folder as a training state at step 0, and what else the folder holds.

    Parameters are float32, whatever the tensors are stored as (float32, bfloat16, float16). The optimizer has seen
    nothing: moments and counters are 0. Dropout is 0, and `max_seq_len` is that of config.json. Nothing is unpickled,
    and no code of the checkpoint's own is run. Raises `UserError`, with the key, for what cannot be brought in:

        state, extras = load_checkpoint("my-llama")
        logits = forward(state.config.model, state.params, tokens)
    """
    folder = Path(path)
    if not folder.is_dir():
        raise UserError(f"{folder} is no folder", "name the folder of a Hugging Face checkpoint")
    given = read_json(folder / "config.json")
    family = family_of(given)
    model, notes = family.read(given)
    files = read_files(folder, model.vocab_size)
    with Tensors(folder) as tensors:
        params = _read(tensors, family, model)
        dtypes = set(tensors.dtypes.values())
    dtype = dtypes.pop() if len(dtypes) == 1 else "float32"
    extras = Extras(folder.resolve().name, given, dtype, files, tuple(notes))
    return fresh_state(TrainConfig(model=model), params), extras


def _read(tensors: Tensors, family: Family, model: ModelConfig) -> dict[str, Any]:
    """The parameters of a decoder, every name and shape checked before the first is read."""
    known = leaves(model)
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
    _check_unused(tensors, unused, family, model, bare)
    found = {path: np.empty(leaf.shape, model.param_dtype) for path, leaf in known.items()}
    for name, place in stored.items():
        parts = [known[path] for path in place.row.parameters]
        values = taken_apart(tensors.read(name), parts, place.row.layout)
        for path, value in zip(place.row.parameters, values, strict=True):
            found[path][... if place.layer is None else place.layer] = value
    return as_tree({path: jnp.asarray(value) for path, value in found.items()})


def _check_unused(tensors: Tensors, unused: list[str], family: Family, model: ModelConfig, bare: bool) -> None:
    """A tied head may be stored as well, if it is the table; nothing else may be there."""
    names = {row.parameters[0]: row.name for row in family.tensors}
    table = names["embedding"].removeprefix(family.prefix if bare else "")
    for name in unused:
        if not (model.tie_embeddings and name == names["head"]):
            raise UserError(
                f"a {family.model_type} of this config.json has no tensor {name}",
                "growjax brings in stock models alone",
            )
        if not np.array_equal(tensors.read(name), tensors.read(table)):
            raise UserError(f"{name} is not {table}, though config.json ties them", "set tie_word_embeddings to false")


def save_checkpoint(
    directory: str | Path,
    state: TrainState,
    extras: Extras | None = None,
    *,
    dtype: str | None = None,
    shard_bytes: int = SHARD,
    history: History | None = None,
    replace: bool = False,
) -> None:
    """Writes a state's parameters as a Hugging Face folder, whole or not at all: config.json, safetensors (several
    files and an index above `shard_bytes`), generation_config.json, the tokenizer files of `extras`, and a model card.

    `extras` are those of the checkpoint that the state came from; without them the first family that has a place for
    the decoder is taken. `dtype` is that of the stored tensors (`float32`, `bfloat16`, `float16`), rounded once; None
    takes that of the checkpoint. A tied head is not written. Raises `UserError`, with the reason, for a decoder that
    no stock architecture holds, or where `directory` is there already:

        state, extras = load_checkpoint("my-llama")
        plan = make_plan(state.config.model, default_target(state.config.model))
        save_checkpoint("my-wide-llama", widen(state, plan, key=root_key(1, "study")), extras)
    """
    target = Path(directory)
    if target.exists() and not replace:
        raise UserError(f"{target} is there already", "choose another folder")
    with whole_directory(target, replace=replace) as folder:
        fill(folder, state, extras, dtype=dtype, shard_bytes=shard_bytes, history=history)


def fill(
    folder: Path,
    state: TrainState,
    extras: Extras | None = None,
    *,
    dtype: str | None = None,
    shard_bytes: int = SHARD,
    history: History | None = None,
) -> None:
    """What `save_checkpoint` does, into an empty folder that is there."""
    shard_bytes = taken(Whole(0, 2**63 - 1), shard_bytes, "shard_bytes")
    stored = dtype or (extras.dtype if extras else "float32")
    if stored not in NUMPY:
        raise UserError(f"tensors cannot be stored as {stored}", f"choose one of {', '.join(NUMPY)}")
    model, params = one_epsilon(state.config.model, state.params)
    family, given = family_for(model, (extras.config or None) if extras else None)
    given |= {"dtype": stored, "torch_dtype": stored}  # for transformers 5 and 4
    _write(folder, model, params, family, stored, shard_bytes)
    write_text(folder / "config.json", json.dumps(given, indent=2, sort_keys=True) + "\n")
    for name, data in (extras.files if extras else {}).items():
        (folder / name).write_bytes(data)
    if not (folder / GENERATION).exists():
        write_text(folder / GENERATION, json.dumps(_generation(given), indent=2) + "\n")
    text = card(model, extras, history or History(), dtype=stored, params=digest(state.params))
    write_text(folder / "README.md", text)


def _write(folder: Path, model: ModelConfig, params: Any, family: Family, dtype: str, most: int) -> None:
    known: dict[str, Leaf] = leaves(model)
    values = dict(named_leaves(params))
    found = list(places(family.tensors, model))
    written = Writer(folder, found, dtype, most)
    for place in found:
        held = [np.asarray(jax.device_get(values[path])) for path in place.row.parameters]
        one = held if place.layer is None else [value[place.layer] for value in held]
        written.add(place.name, put_together(one, [known[path] for path in place.row.parameters], place.row.layout))
    written.close()


def _generation(given: Mapping[str, Any]) -> dict[str, Any]:
    """What transformers would make of config.json."""
    names = ("bos_token_id", "eos_token_id", "pad_token_id")
    return {"_from_model_config": True, **{name: given[name] for name in names if given.get(name) is not None}}
