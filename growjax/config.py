"""What a run is: frozen dataclasses with one canonical JSON form and one digest.

Nothing here imports jax, so that a command line can be checked before the pins are set.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from typing import Any, NamedTuple, Self

from growjax.domains import (
    SMALLEST,
    Activation,
    Dialect,
    Dtype,
    Mlp,
    Norm,
    Optimizer,
    Position,
    Split,
    as_float32,
    normalise,
)  # fmt: skip
from growjax.errors import UserError, require
from growjax.schema import DEFAULTS, Record


def canonical_json(value: object) -> str:
    """The one text of a JSON value: sorted keys, no spaces, shortest round-trip floats, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def json_digest(value: object) -> str:
    """SHA-256 of the canonical JSON text, in hexadecimal."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


class Config:
    """Shared by every configuration: checked when made (`growjax.domains`), plain data out and in, one digest."""

    def __post_init__(self):
        normalise(self)
        self.check()

    def check(self) -> None:
        """Raises `UserError` where fields do not fit each other."""

    def to_dict(self) -> Record:
        """Nested plain data, ready for JSON (tuples become lists), without what stands at its schema's default
        (`growjax.schema.DEFAULTS`): a field that is added with a default changes no digest and no id."""
        frozen = DEFAULTS.get(type(self).__name__, {})
        found: Record = {}
        for field in dataclasses.fields(self):  # pyright: ignore[reportArgumentType]
            value, default = _plain(getattr(self, field.name)), frozen.get(field.name, _plain(_default(field)))
            if value != default:
                found[field.name] = value
        return found

    def every_field(self) -> Record:
        """Nested plain data with every field, for a reader."""
        return json.loads(canonical_json(dataclasses.asdict(self)))  # pyright: ignore[reportArgumentType]

    def digest(self) -> str:
        """SHA-256 of the canonical JSON of `to_dict`."""
        return json_digest(self.to_dict())

    def replace(self, **changes: Any) -> Self:
        """A copy with some fields changed; the copy is checked like any other."""
        return dataclasses.replace(self, **changes)  # pyright: ignore[reportArgumentType]

    @classmethod
    def from_dict(cls, data: Record) -> Self:
        """The inverse of `to_dict`, and of `every_field`; raises `UserError` on a field that is unknown, or that is
        missing and has no default."""
        require(isinstance(data, dict), f"a {cls.__name__} is a dict of fields", "give what to_dict gives")
        fields = {f.name: f for f in dataclasses.fields(cls)}  # pyright: ignore[reportArgumentType]
        unknown = sorted(set(data) - set(fields))
        if unknown:
            raise UserError(f"{cls.__name__} has no field {unknown[0]!r}", "use the growjax version that wrote it")
        lacking = [n for n, f in fields.items() if n not in data and _default(f) is dataclasses.MISSING]
        if lacking:
            raise UserError(f"{cls.__name__} lacks the field {lacking[0]!r}", "restore what was written")
        values: Record = {}
        for name, value in {**DEFAULTS.get(cls.__name__, {}), **data}.items():
            if name not in fields:
                continue  # a default that was frozen for a field that is gone
            default = _default(fields[name])
            if isinstance(default, Config) and isinstance(value, dict):
                value = type(default).from_dict(value)
            elif isinstance(default, tuple) and isinstance(value, list):
                value = tuple(value)
            values[name] = value
        return cls(**values)


def _default(field: dataclasses.Field) -> Any:
    if field.default is dataclasses.MISSING and field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default


def _plain(value: object) -> object:
    if isinstance(value, Config):
        return value.to_dict()
    return list(value) if isinstance(value, tuple) else value


class Architecture(NamedTuple):
    """The parts of a decoder by name; `growjax.model.components` knows what each of them is."""

    norm: Norm
    position: Position
    mlp: Mlp
    activation: Activation
    qkv_bias: bool
    attn_out_bias: bool
    mlp_bias: bool


PRESETS: dict[Dialect, Architecture] = {
    "rms": Architecture("rms", "rotary", "gated", "silu", False, False, False),
    "layer": Architecture("layer", "learned", "plain", "gelu", True, True, True),
}
"""The parts of a Llama-like decoder and of a GPT-2-like one."""


@dataclasses.dataclass(frozen=True)
class ModelConfig(Config):
    """One decoder: a preset of parts (`rms` is Llama-like, `layer` is GPT-2-like), any of which may be chosen anew."""

    d_model: int = 64
    n_layers: int = 2
    n_heads: int = 4
    n_kv_heads: int = 4
    head_dim: int = 16
    d_ff: int = 192
    vocab_size: int = 512
    max_seq_len: int = 64
    dialect: Dialect = "rms"
    """`rms`: RMSNorm, RoPE, SwiGLU, no biases. `layer`: LayerNorm, learned positions, GELU, biases."""
    norm: Norm | None = None
    """`rms`: RMSNorm. `layer`: LayerNorm with a bias. None takes the preset's, here and in the six fields below."""
    position: Position | None = None
    """`rotary` turns queries and keys, `learned` adds a table to the embeddings, `none` leaves order to causality."""
    mlp: Mlp | None = None
    """`gated`: activation(gate) * up. `plain`: activation(up)."""
    activation: Activation | None = None
    """Of the MLP; `gelu` by its tanh formula."""
    qkv_bias: bool | None = None
    """Biases of queries, keys and values; None takes `bias`, and where that is None too, the preset's."""
    attn_out_bias: bool | None = None
    """Bias of attention's output projection; None as above."""
    mlp_bias: bool | None = None
    """Biases of the MLP; None as above."""
    tie_embeddings: bool = True
    qk_norm: bool = False
    """RMSNorm with a learned gain on queries and keys, shared over heads."""
    bias: bool | None = None
    """Biases on every projection whose own field is None; None takes the preset's."""
    dropout: float = 0.1
    """Rate on embeddings and on each block's two outputs, wherever a regime lets the stream live."""
    rope_theta: float = 10000.0
    rope_dim: int | None = None
    """Positions of a head in one rotation table; a longer head repeats it. None is the head's length."""
    norm_eps: float = 1e-5
    """Of every norm over `embed`, and of those over `head_dim` where they have none of their own."""
    qk_norm_eps: float | None = None
    """With `qk_norm`, of the norms over `head_dim`; None takes `norm_eps`."""
    init_std: float = 0.02
    dtype: Dtype = "float32"
    """Of the computation; parameters are kept in float32 (float64 where this is float64)."""

    def check(self) -> None:
        require(
            self.n_heads % self.n_kv_heads == 0,
            f"model.n_heads {self.n_heads} does not divide into n_kv_heads {self.n_kv_heads} groups",
            f"choose n_heads a multiple of {self.n_kv_heads}",
        )
        if self.architecture.position == "rotary":
            rope = self.rope_dim or self.head_dim
            require(rope % 2 == 0, f"rotary positions need an even length, not {rope}", "choose an even head_dim")
            require(
                self.head_dim % rope == 0,
                f"model.head_dim {self.head_dim} is no multiple of rope_dim {rope}",
                f"choose a multiple of {rope}",
            )

    @property
    def architecture(self) -> Architecture:
        """Every part by name: what its own field says, or else what the preset has."""
        own = {name: value for name in Architecture._fields if (value := getattr(self, name)) is not None}
        if self.bias is not None:
            own = dict.fromkeys(("qkv_bias", "attn_out_bias", "mlp_bias"), self.bias) | own
        return PRESETS[self.dialect]._replace(**own)

    @property
    def described(self) -> str:
        """The preset's name, and every part that is not the preset's: `rms, position learned`."""
        own, preset = self.architecture._asdict(), PRESETS[self.dialect]._asdict()
        return ", ".join([self.dialect, *(f"{name} {value}" for name, value in own.items() if value != preset[name])])

    @property
    def param_dtype(self) -> str:
        """Of the stored parameters and moments."""
        return "float64" if self.dtype == "float64" else "float32"


@dataclasses.dataclass(frozen=True)
class OptimConfig(Config):
    """An optimizer with decoupled decay, global clipping, linear warm-up and cosine decay."""

    name: Optimizer = "adamw"
    """`muon` orthogonalises the hidden matrices and takes AdamW for the rest; `sgd` has momentum `b1`."""
    learning_rate: float = 3e-3
    warmup_steps: int = 50
    total_steps: int = 2000
    """Step at which the cosine reaches its end; the rate stays there afterwards."""
    end_fraction: float = 0.1
    """Final learning rate over the peak."""
    b1: float = 0.9
    b2: float = 0.95
    muon_beta: float = 0.95
    """Momentum of the matrices that Muon orthogonalises."""
    eps: float = 1e-8
    weight_decay: float = 0.1
    clip_norm: float = 1.0
    """Largest global gradient norm; 0 turns clipping off."""

    def check(self) -> None:
        require(
            self.warmup_steps < self.total_steps,
            f"optim.warmup_steps {self.warmup_steps} does not fit into total_steps {self.total_steps}",
            "warm up for fewer steps than the whole schedule",
        )
        for name in DIVIDES_BY_1_LESS.get(self.name, ()):
            require(getattr(self, name) < 1, *_of_one(self, name))


DIVIDES_BY_1_LESS = {"adamw": ("b1", "b2"), "muon": ("b1", "b2", "muon_beta")}
"""By optimizer: what it divides by 1 less of."""


def _of_one(optim: OptimConfig, name: str) -> tuple[str, str]:
    fault = f"optim.{name} is {getattr(optim, name)}, and {optim.name} divides by 1 less it"
    return fault, "give a number further below 1"


@dataclasses.dataclass(frozen=True)
class TrainConfig(Config):
    """What a training state must know of itself: its model and its optimizer."""

    model: ModelConfig = ModelConfig()
    optim: OptimConfig = OptimConfig()

    def check(self) -> None:
        optim, single = self.optim, self.model.param_dtype == "float32"
        divides = DIVIDES_BY_1_LESS.get(optim.name, ())
        for name in divides:
            require(not single or as_float32(getattr(optim, name)) < 1, *_of_one(optim, name))
        if divides and not self.model.tie_embeddings:
            require(
                optim.eps >= SMALLEST or (not single and optim.eps > 0),
                f"optim.eps is {optim.eps}, and {optim.name} divides 0 by it for every token that a batch lacks, where "
                "embeddings are not tied",
                "give a positive number such as 1e-8, or tie the embeddings",
            )


@dataclasses.dataclass(frozen=True)
class DataConfig(Config):
    """Where stories come from, and how they become batches."""

    corpus: str = "builtin"
    """`builtin`, a path or pattern (text, source code, JSON lines or Parquet), or `hf:NAME`."""
    split: Split = "auto"
    """What one story is in files of text. `file`: the whole file. `paragraph`: lines up to a blank one. `auto`: of
    source code and Markdown the file; of .txt what stands between `<|endoftext|>` where a file has that, or else the
    paragraph. A story is trained on or held out as a whole."""
    stories: int = 20000
    """How many stories to take at most; 0 takes all (the built-in corpus then gives 20,000)."""
    text_field: str = "text"
    """Field that holds a story, in JSON lines, Parquet and hub data sets."""
    encoding: str = "utf-8"
    """Of text and JSON-lines files."""
    validation_fraction: float = 0.05
    """Share of stories held out; a story's side follows from its own text alone."""
    vocab_size: int = 512
    """Size of the byte-level BPE vocabulary, the end-of-story token included."""
    seq_len: int = 64
    batch_size: int = 16
    eval_batches: int = 4
    """Held-out batches, each of `batch_size` windows, in every evaluation."""
