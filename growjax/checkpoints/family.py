"""What a family of checkpoints is: a table of tensors, and a table of settings; both are read in both directions.

A family never says what it cannot hold. A configuration is written, read back by the family itself, and compared with
the decoder: the first field that does not come back is what the family has no place for.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from growjax.checkpoints.given import REQUIRED, Given, refused, typed, within
from growjax.checkpoints.layout import Tensor
from growjax.checkpoints.rotary import WHOLE, Rotary
from growjax.checkpoints.stored import NUMPY
from growjax.config import ModelConfig
from growjax.domains import DOMAINS
from growjax.errors import UserError
from growjax.model.components import components
from growjax.schema import Fields, Record

ACTIVATIONS = {
    "silu": "silu", "swish": "silu", "gelu_new": "gelu", "gelu_pytorch_tanh": "gelu", "gelu_fast": "gelu",
    "gelu": "gelu_erf", "relu": "relu",
}  # fmt: skip
"""Names of activations in checkpoints, those to write first."""


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


ORDER = (
    "embed_tokens", ".q_proj", ".k_proj", ".v_proj", ".o_proj", ".qkv_proj", "q_norm", "k_norm", "gate_proj", "up_proj",
    "down_proj", "input_layernorm", "post_attention_layernorm", "pre_feedforward", "post_feedforward", "model.norm",
    "lm_head",
)  # fmt: skip
"""Of Llama and its kin (`Family.order`)."""


@dataclasses.dataclass(frozen=True)
class Family:
    """One `model_type`."""

    model_type: str
    architecture: str
    """The stock class, as config.json names it."""
    prefix: str
    """Of every tensor but the head; a folder of the model without its head leaves it out."""
    tensors: tuple[Tensor, ...]
    settings: tuple[Setting, ...]
    parts: Fields
    """Fields of `ModelConfig` that every member has."""
    ties: bool
    """`tie_word_embeddings` where config.json does not say."""
    rotary: Rotary | None = WHOLE
    fixed: tuple[Fixed, ...] = ()
    ignored: str = r"(?!)"
    """Pattern of the names of tensors that follow from config.json (masks, frequencies)."""
    blank: Fields = dataclasses.field(default_factory=dict)
    """What a config.json that starts from nothing says beside the settings."""
    derived: Callable[[Record], Record] = lambda fields: {}
    """Fields that have no key of their own and follow from the others."""
    own: Callable[[Given, Record], Record] = lambda given, fields: {}
    """Fields that follow from several keys, and from the fields read so far."""
    own_keys: Callable[[ModelConfig], Record] = lambda model: {}
    """Those keys again."""
    window: Callable[[Given], int | None] = lambda given: None
    """How far back a position sees, where config.json limits that."""
    scale: Callable[[int], float] = lambda d_model: 1.0
    """What the stock class multiplies embeddings by, rounded to the dtype of its tensors."""
    check: Callable[[ModelConfig], None] = lambda model: None
    """Raises `UserError` for sizes that the stock class cannot have."""

    order: tuple[str, ...] = ORDER
    """Parts of the tensors' names in the order in which the stock class lists its parameters, by which optimizers
    number them. A tensor's first match counts."""

    @property
    def base(self) -> str:
        """The stock class without a head."""
        return self.architecture.replace("ForCausalLM", "Model").replace("LMHeadModel", "Model")

    def embed_scale(self, d_model: int, dtype: str) -> float:
        """What the stock class multiplies embeddings by, with tensors of that dtype."""
        return float(NUMPY[dtype].type(self.scale(d_model)))

    def read(self, given: Given) -> tuple[ModelConfig, list[str]]:
        """The decoder that a config.json describes, without dropout, and what there is to say of it. Raises `UserError`
        with the key for what the decoder does not have."""
        for key, value in self.fixed:
            if given.get(key, value) not in (value, None):
                raise refused(key, given[key], f"growjax's decoder has {key} {value!r} alone")
        fields: Record = {**self.parts, "tie_embeddings": typed(given, "tie_word_embeddings", bool, self.ties)}
        for setting in self.settings:
            fields[setting.field] = _value(given, setting, fields)
        fields |= self.own(given, fields)
        fields |= self.derived(fields) | {"embed_scale": self.embed_scale(fields["d_model"], stored_dtype(given))}
        if self.rotary is not None:
            fields |= self.rotary.read(given, fields["head_dim"], fields["max_seq_len"])
        notes, window = [], self.window(given)
        if window is not None and window < fields["max_seq_len"]:
            notes.append(
                f"max_seq_len is {window}, not {fields['max_seq_len']}: attention looks back {window} positions "
                "(sliding_window), and is whole up to there"
            )
            fields["max_seq_len"] = window
        return ModelConfig(**fields, dropout=0.0), notes

    def write(self, model: ModelConfig, dtype: str, base: Given | None = None) -> Record:
        """config.json of a decoder with tensors of that dtype, on top of `base` (one of this family) where there is
        one. Raises `UserError` for what the family has no place for."""
        self.check(model)
        made: Record = {**(base if base is not None else self.blank)}
        for key in ("_name_or_path", "rope_scaling", "rope_parameters", "torch_dtype", "dtype"):
            made.pop(key, None)
        kept = base is not None and self.read(base)[0].max_seq_len == model.max_seq_len
        for setting in self.settings:
            if setting.field == "max_seq_len" and kept:
                continue  # as it was, window and all
            made[setting.key] = _written(model, setting, made.get(setting.key))
        made |= self.own_keys(model)
        made |= {
            "architectures": [self.architecture],
            "model_type": self.model_type,
            "tie_word_embeddings": model.tie_embeddings,
            "dtype": dtype,  # for transformers 5
            "torch_dtype": dtype,  # and 4
        }
        if self.rotary is not None:
            made |= self.rotary.write(model)
        read, wanted = (_comparable(m) for m in (self.read(made)[0], model))
        for name, value in wanted.items():
            if read.get(name) != value:
                raise UserError(
                    f"{self.model_type} has no place for {name} {value} (it would read as {read.get(name)})",
                    "export a state whose parts a stock architecture has",
                )
        return made


def _comparable(model: ModelConfig) -> Record:
    """What the function follows from, each part by name and each default filled in."""
    left_out = (
        "dialect", "bias", "dropout", "init_std", "dtype", "rope_dim", "rotary_dim", "qk_norm_eps", "local_rope_theta",
    )  # fmt: skip
    fields = {f.name: getattr(model, f.name) for f in dataclasses.fields(model) if f.name not in left_out}
    fields["qk_norm_eps"] = model.qk_norm_eps if model.qk_norm and model.qk_norm_eps is not None else model.norm_eps
    fields["query_pre_attn_scalar"] = model.query_pre_attn_scalar or model.head_dim
    fields["layer_windows"] = model.windows
    if model.windows and components(model).position.rotates:
        fields["local_rope_theta"] = model.local_rope_theta or (None if model.rope_scaling else model.rope_theta)
    if not model.qk_norm:
        del fields["qk_norm_over"]
    if not components(model).position.learned:
        del fields["position_offset"]
    if components(model).position.rotates:
        fields["rope_dim"] = model.rope_dim or model.head_dim
        fields["rotary_dim"] = model.rotary_dim or fields["rope_dim"]
    else:
        for name in ("rope_theta", "rope_scaling"):
            del fields[name]
    return fields | model.architecture._asdict()


def stored_dtype(given: Given) -> str:
    """Of the tensors, as config.json names it, for transformers 5 or 4; float32 where it does not, or by a name that
    no tensor can have here."""
    name = str(given.get("dtype") or given.get("torch_dtype") or "float32").removeprefix("torch.")
    return name if name in NUMPY else "float32"


def _value(given: Given, setting: Setting, fields: Record) -> Any:
    default = setting.default
    if callable(default) and given.get(setting.key) is None:
        default = default(fields)
    value = typed(given, setting.key, setting.kind, default)
    if setting.values:
        if value not in setting.values:
            raise refused(setting.key, value, f"growjax's decoder has {', '.join(setting.values)}")
        return setting.values[value]
    return within(DOMAINS["ModelConfig"][setting.field], setting.key, value)


def _written(model: ModelConfig, setting: Setting, old: Any) -> Any:
    names = model.architecture._asdict()
    value = names.get(setting.field, getattr(model, setting.field))
    if not setting.values or setting.values.get(old) == value:
        return old if setting.values else value
    return next((name for name, meant in setting.values.items() if meant == value), value)
