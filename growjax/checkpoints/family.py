"""What a family of checkpoints is: a table of tensors, and a table of settings; both are read in both directions.

A family never says what it cannot hold. A configuration is written, read back by the family itself, and compared with
the decoder: the first field that does not come back is what the family has no place for.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from growjax.checkpoints.layout import Tensor
from growjax.config import ModelConfig
from growjax.errors import UserError
from growjax.model.components import components

Given = Mapping[str, Any]
"""A config.json."""

REQUIRED = object()
"""In place of a default: the key must be there."""

ACTIVATIONS = {"silu": "silu", "swish": "silu", "gelu_new": "gelu", "gelu_pytorch_tanh": "gelu"}
"""Names of activations in checkpoints, those to write first; GELU is the one by its tanh formula."""


class Setting(NamedTuple):
    """A key of config.json that is a field of `ModelConfig`."""

    key: str
    field: str
    kind: type
    default: Any = REQUIRED
    """Where the key is missing or null; a function is called with the fields read so far."""
    values: Mapping[str, str] = {}
    """What values mean, where they have other names here."""


class Fixed(NamedTuple):
    """A key of config.json that changes the function, and of which the decoder knows one value."""

    key: str
    value: Any


@dataclasses.dataclass(frozen=True)
class Family:
    """One `model_type`."""

    model_type: str
    architecture: str
    """The stock class, as config.json names it."""
    prefix: str
    """Of every tensor but the head; a folder of the model without its head leaves it out."""
    tensors: tuple[Tensor, ...]
    """In the order in which the stock class lists its parameters, one layer standing for all: optimizers number them
    so."""
    settings: tuple[Setting, ...]
    parts: Mapping[str, Any]
    """Fields of `ModelConfig` that every member has."""
    ties: bool
    """`tie_word_embeddings` where config.json does not say."""
    rotary: bool = True
    fixed: tuple[Fixed, ...] = ()
    ignored: str = r"(?!)"
    """Pattern of the names of tensors that follow from config.json (masks, frequencies)."""
    blank: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """What a config.json that starts from nothing says beside the settings."""
    derived: Callable[[dict[str, Any]], dict[str, Any]] = lambda fields: {}
    """Fields that have no key of their own and follow from the others."""
    window: Callable[[Given], int | None] = lambda given: None
    """How far back a position sees, where config.json limits that."""
    check: Callable[[ModelConfig], None] = lambda model: None
    """Raises `UserError` for sizes that the stock class cannot have."""

    @property
    def base(self) -> str:
        """The stock class without a head."""
        return self.architecture.replace("ForCausalLM", "Model").replace("LMHeadModel", "Model")

    def read(self, given: Given) -> tuple[ModelConfig, list[str]]:
        """The decoder that a config.json describes, without dropout, and what there is to say of it. Raises `UserError`
        with the key for what the decoder does not have."""
        for key, value in self.fixed:
            if given.get(key, value) not in (value, None):
                raise _refused(key, given[key], f"growjax's decoder has {key} {value!r} alone")
        fields: dict[str, Any] = {**self.parts, "tie_embeddings": _typed(given, "tie_word_embeddings", bool, self.ties)}
        for setting in self.settings:
            fields[setting.field] = _value(given, setting, fields)
        fields |= self.derived(fields)
        if self.rotary:
            fields["rope_theta"] = rope_theta(given)
        notes, window = [], self.window(given)
        if window is not None and window < fields["max_seq_len"]:
            notes.append(
                f"max_seq_len is {window}, not {fields['max_seq_len']}: attention looks back {window} positions "
                "(sliding_window), and is whole up to there"
            )
            fields["max_seq_len"] = window
        return ModelConfig(**fields, dropout=0.0), notes

    def write(self, model: ModelConfig, base: Given | None = None) -> dict[str, Any]:
        """config.json of a decoder, on top of `base` (one of this family) where there is one. Raises `UserError` for
        what the family has no place for."""
        self.check(model)
        made: dict[str, Any] = {**(base if base is not None else self.blank)}
        for key in ("_name_or_path", "rope_scaling", "rope_parameters", "torch_dtype", "dtype"):
            made.pop(key, None)
        kept = base is not None and self.read(base)[0].max_seq_len == model.max_seq_len
        for setting in self.settings:
            if setting.field == "max_seq_len" and kept:
                continue  # as it was, window and all
            made[setting.key] = _written(model, setting, made.get(setting.key))
        made |= {
            "architectures": [self.architecture],
            "model_type": self.model_type,
            "tie_word_embeddings": model.tie_embeddings,
        }
        if self.rotary:  # the first for transformers 4, the second for 5
            made["rope_theta"] = model.rope_theta
            made["rope_parameters"] = {"rope_type": "default", "rope_theta": model.rope_theta}
        read, wanted = (_comparable(m) for m in (self.read(made)[0], model))
        for name, value in wanted.items():
            if read[name] != value:
                raise UserError(
                    f"{self.model_type} has no place for {name} {value} (it would read as {read[name]})",
                    "export a state whose parts a stock architecture has",
                )
        return made


def _comparable(model: ModelConfig) -> dict[str, Any]:
    """What the function follows from, each part by name and each default filled in."""
    left_out = ("dialect", "bias", "dropout", "init_std", "dtype", "rope_dim", "qk_norm_eps")
    fields = {f.name: getattr(model, f.name) for f in dataclasses.fields(model) if f.name not in left_out}
    fields["qk_norm_eps"] = model.qk_norm_eps if model.qk_norm and model.qk_norm_eps is not None else model.norm_eps
    if components(model).position.rotates:
        fields["rope_dim"] = model.rope_dim or model.head_dim
    else:
        del fields["rope_theta"]
    return fields | model.architecture._asdict()


def _refused(key: str, value: Any, hint: str) -> UserError:
    return UserError(f"config.json: {key} is {value!r:.80}", hint)


def _typed(given: Given, key: str, kind: type, default: Any) -> Any:
    value = given.get(key)
    if value is None:
        if default is REQUIRED:
            raise UserError(f"config.json lacks {key}", "restore the file from where the checkpoint comes from")
        return default
    if kind is float and type(value) is int:
        value = float(value)
    if type(value) is not kind:
        raise _refused(key, value, f"it must be of type {kind.__name__}")
    return value


def _value(given: Given, setting: Setting, fields: dict[str, Any]) -> Any:
    default = setting.default
    if callable(default) and given.get(setting.key) is None:
        try:
            default = default(fields)
        except ZeroDivisionError:
            raise UserError(f"config.json: no {setting.key} follows from its sizes", "they must be positive") from None
    value = _typed(given, setting.key, setting.kind, default)
    if setting.values:
        if value not in setting.values:
            raise _refused(setting.key, value, f"growjax's decoder has {', '.join(setting.values)}")
        return setting.values[value]
    return value


def _written(model: ModelConfig, setting: Setting, old: Any) -> Any:
    names = model.architecture._asdict()
    value = names.get(setting.field, getattr(model, setting.field))
    if not setting.values or setting.values.get(old) == value:
        return old if setting.values else value
    return next((name for name, meant in setting.values.items() if meant == value), value)


def rope_theta(given: Given) -> float:
    """The base of rotary positions, as transformers 4 and 5 write it; `UserError` where positions are scaled."""
    found = given.get("rope_theta")
    for key in ("rope_parameters", "rope_scaling"):
        rope = given.get(key)
        if rope is None:
            continue
        if not isinstance(rope, dict):
            raise _refused(key, rope, "it must be an object")
        kind = rope.get("rope_type", rope.get("type", "default"))
        if kind != "default":
            raise _refused(f"{key}.rope_type", kind, "growjax's decoder has the default rotary positions alone")
        for name, value in rope.items():
            if isinstance(value, dict):
                raise _refused(f"{key}.{name}", value, "growjax's decoder has one kind of positions for all layers")
        found = rope.get("rope_theta", found)
        if rope.get("partial_rotary_factor") not in (None, 1, 1.0):
            found_share = rope["partial_rotary_factor"]
            raise _refused(f"{key}.partial_rotary_factor", found_share, "growjax's decoder turns whole heads alone")
    if given.get("partial_rotary_factor") not in (None, 1, 1.0):
        share = given["partial_rotary_factor"]
        raise _refused("partial_rotary_factor", share, "growjax's decoder turns whole heads alone")
    theta = _typed({"rope_theta": found}, "rope_theta", float, 10000.0)
    if not 0 < theta < float("inf"):
        raise _refused("rope_theta", theta, "it must be a positive number")
    return theta
