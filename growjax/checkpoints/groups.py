"""Factors of an optimizer's constants as a checkpoint lays out its tensors: arrays, and torch's parameter groups.

A widened run is the narrow run where every parameter's rate, decay and epsilon are multiplied by factors, and every
squared gradient counts as often in the global norm as its weight says (`growjax.grow.factors`). Where a factor is one
number for all of a tensor, as when every axis grows by a whole multiple, tensors with equal factors make a group.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from flax.traverse_util import unflatten_dict
from safetensors.numpy import save_file

from growjax.checkpoints.family import Family
from growjax.checkpoints.layout import Leaf, Place, leaves, put_together, taken_apart
from growjax.checkpoints.moments import decayed, tensors_of
from growjax.config import ModelConfig
from growjax.digests import named_leaves
from growjax.errors import UserError
from growjax.files import write_text
from growjax.model.decoder import Params
from growjax.schema import Fields, Record
from growjax.train.optim import LawFactors

FACTORS, GROUPS = "growth_factors.safetensors", "growth_groups.json"

KINDS = ("lr", "decay", "eps", "clip")
Factors = Mapping[str, Mapping[str, np.ndarray]]
"""By kind, then by the tensor's name: float32 arrays that broadcast to the tensor; besides, where entries
warm up, `warm` (int32, in steps) and `ratio` (as `growjax.train.optim.LawFactors` has them)."""


class Group(NamedTuple):
    """Tensors that one group of torch's AdamW holds."""

    names: tuple[str, ...]
    decays: bool
    lr: float = 1.0
    decay: float = 1.0
    eps: float = 1.0
    clip: float = 1.0
    element_wise: bool = False
    """Whether factors differ within a tensor: then they are those of the arrays, and the group's own are 1."""


def factors_of(law: LawFactors, family: Family, model: ModelConfig, written: Params) -> Factors:
    """The factors of a state whose model is `model`. `written` is as in `growjax.checkpoints.moments.moments_of`. One
    tensor at a time is as large as it will be, and none where a factor is one number."""
    known, found, scale = leaves(model), tensors_of(family, model), dict(named_leaves(written))
    power = {
        "lr": 1,
        "decay": -1,
        "eps": -1,
        "clip": 2,
        "warm": 0,
        "ratio": 0,
    }  # of what a weight is multiplied by as it is written
    made: dict[str, dict[str, np.ndarray]] = {}
    for kind, tree in law._asdict().items():
        if tree is None:
            continue
        dtype = np.dtype("int32" if kind == "warm" else model.param_dtype)
        values = {p: np.asarray(f * scale[p] ** power[kind], dtype) for p, f in named_leaves(tree)}
        made[kind] = {name: _laid_out(place, values, known) for name, place in found.items()}
    return made


def _laid_out(place: Place, values: Mapping[str, np.ndarray], known: Mapping[str, Leaf]) -> np.ndarray:
    own = [values[path] for path in place.row.parameters]
    if all(value.size == 1 and value.ravel()[0] == own[0].ravel()[0] for value in own):
        return own[0].reshape((1,) * len(place.shape))
    parts = [known[path] for path in place.row.parameters]
    whole = [np.broadcast_to(value, part.shape) for value, part in zip(own, parts, strict=True)]
    layer = whole if place.layer is None else [value[place.layer] for value in whole]
    return _narrowed(put_together(layer, parts, place.row.layout))


def _narrowed(value: np.ndarray) -> np.ndarray:
    """With every axis along which nothing changes cut to 1."""
    for axis in range(value.ndim):
        first = np.take(value, [0], axis)
        if np.array_equal(np.broadcast_to(first, value.shape), value):
            value = first
    return value


def law_of(arrays: Mapping[str, np.ndarray], family: Family, model: ModelConfig) -> LawFactors:
    """The factors of a state, from arrays by `KIND.NAME`: what `factors_of` wrote. Raises `UserError`, with the name,
    for what does not fit."""
    known, found = leaves(model), tensors_of(family, model)
    kinds = [*KINDS, *(k for k in ("warm", "ratio") if any(key.startswith(f"{k}.") for key in arrays))]
    trees: Record = {}
    for kind in kinds:
        dtype = "int32" if kind == "warm" else model.param_dtype
        tree = {path: np.empty(leaf.shape, dtype) for path, leaf in known.items()}
        for name, place in found.items():
            value = _broadcast(arrays, f"{kind}.{name}", place.shape)
            parts = [known[path] for path in place.row.parameters]
            for path, piece in zip(place.row.parameters, taken_apart(value, parts, place.row.layout), strict=True):
                tree[path][... if place.layer is None else place.layer] = piece
        trees[kind] = unflatten_dict({path: jnp.asarray(_narrowed(value)) for path, value in tree.items()}, sep="/")
    return LawFactors(**trees)


def _broadcast(arrays: Mapping[str, np.ndarray], key: str, shape: tuple[int, ...]) -> np.ndarray:
    hint = "give the factors that were written with the weights, or leave them with --moments none"
    if key not in arrays:
        raise UserError(f"the factor {key} is missing", hint)
    value = arrays[key]
    if value.ndim != len(shape) or any(n not in (1, m) for n, m in zip(value.shape, shape, strict=True)):
        raise UserError(f"the factor {key} has shape {list(value.shape)}, and its tensor {list(shape)}", hint)
    if not np.isfinite(value).all() or (value < 0).any():
        raise UserError(f"the factor {key} holds values that are no factors", hint)
    return np.broadcast_to(value, shape)


def groups_of(factors: Factors | None, family: Family, model: ModelConfig) -> list[Group]:
    """Groups of AdamW for a model's parameters: Trainer's two without factors; with them one group for each set of
    factors, what decays first. Names within a group, and groups, follow torch's order."""
    order, decay = list(tensors_of(family, model)), decayed(family, model)
    if factors is None:
        return [Group(tuple(n for n in order if (n in decay) is d), d) for d in (True, False)]
    dealt: dict[Group, list[str]] = {}
    for name in sorted(order, key=lambda name: name not in decay):
        dealt.setdefault(_alone(factors, name, name in decay), []).append(name)
    return [group._replace(names=tuple(names)) for group, names in dealt.items()]


def _alone(factors: Factors, name: str, decays: bool) -> Group:
    values = [factors[kind][name] for kind in KINDS]
    warm = factors.get("warm", {}).get(name)
    if any(value.size > 1 for value in values) or (warm is not None and np.any(warm)):
        return Group((), decays, element_wise=True)
    lr, decay, eps, clip = (float(value.reshape(())) for value in values)
    return Group((), decays, lr, decay, eps, clip)


ASSUMED = "the rate, betas, epsilon, decay and clipping in it are growjax's defaults, since no optimizer came with the \
weights: put in those of the narrow run, and multiply them by each group's factors"
"""What a table of groups says where nobody knows how the narrow model was trained."""


def write_factors(
    folder: Path, factors: Factors, groups: Sequence[Group], constants: Fields, *, assumed: bool = False
) -> None:
    """Writes the arrays, and the table of groups: what each one's parameters are, its constants, and the factors they
    were made with. `constants` are the narrow run's: `lr`, `betas`, `eps`, `weight_decay`, `clip_norm`; where they are
    only `assumed`, the table says so."""
    arrays = {f"{kind}.{name}": value for kind, values in factors.items() for name, value in values.items()}
    save_file({key: np.ascontiguousarray(value) for key, value in arrays.items()}, folder / FACTORS, {"format": "pt"})
    rows = [
        {
            "lr": constants["lr"] * g.lr,
            "weight_decay": constants["weight_decay"] * g.decay if g.decays else 0.0,
            "eps": constants["eps"] * g.eps,
            "lr_factor": g.lr,
            "decay_factor": g.decay,
            "eps_factor": g.eps,
            "clip_weight": g.clip,
            "element_wise": g.element_wise,
            "params": list(g.names),
        }
        for g in groups
    ]
    note = {"note": f"{GROUPS}: {ASSUMED}"} if assumed else {}
    whole = {"optimizer": "AdamW", **note, "narrow": dict(constants), "groups": rows}
    write_text(folder / GROUPS, json.dumps(whole, indent=2) + "\n")
