"""What a run is: frozen dataclasses with one canonical JSON form and one digest.

Nothing here imports jax, so that a command line can be checked before the pins are set.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

from growjax.configuration import Config, canonical_json, json_digest
from growjax.domains import (
    Activation,
    Dialect,
    Dtype,
    Mlp,
    Norm,
    NormPlace,
    Optimizer,
    Position,
    QkNorm,
    Split,
)  # fmt: skip
from growjax.errors import require
from growjax.values import SMALLEST, as_float32

__all__ = [
    "PRESETS", "Architecture", "Config", "DataConfig", "ModelConfig", "OptimConfig", "TrainConfig", "canonical_json",
    "json_digest",
]  # fmt: skip


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
    """Of the MLP; `gelu` by its tanh formula, `gelu_erf` by the error function."""
    qkv_bias: bool | None = None
    """Biases of queries, keys and values; None takes `bias`, and where that is None too, the preset's."""
    attn_out_bias: bool | None = None
    """Bias of attention's output projection; None as above."""
    mlp_bias: bool | None = None
    """Biases of the MLP; None as above."""
    tie_embeddings: bool = True
    qk_norm: bool = False
    """RMSNorm with a learned gain on queries and keys; see `qk_norm_over`."""
    bias: bool | None = None
    """Biases on every projection whose own field is None; None takes the preset's."""
    dropout: float = 0.1
    """Rate on embeddings and on each block's two outputs, wherever a regime lets the stream live."""
    rope_theta: float = 10000.0
    rope_dim: int | None = None
    """Positions of a head in one rotation table; a longer head repeats it. None is the head's length."""
    rotary_dim: int | None = None
    """How many of a table's positions turn, the first ones; the others pass as they are. None turns all."""
    rope_scaling: tuple[float, ...] = ()
    """Of frequencies, see `growjax.model.rotary`: one number divides all of them, four are those of Llama 3."""
    position_offset: int = 0
    """Rows of a learned table of positions that stand before the first position's; nothing looks them up."""
    parallel: bool = False
    """Attention and MLP both read what a block is given; otherwise the MLP reads what attention has been added to."""
    norm_eps: float = 1e-5
    """Of every norm over `embed`, and of those over `head_dim` where they have none of their own."""
    qk_norm_eps: float | None = None
    """With `qk_norm`, of the norms of queries and keys; None takes `norm_eps`."""
    norm_place: NormPlace = "before"
    """Norms stand `before` attention and MLP, `after` them (before what they give is added), or `both`."""
    qk_norm_over: QkNorm = "head"
    """With `qk_norm`: each `head` by itself under a gain that all share, or `all` queries, or keys, at once."""
    embed_scale: float = 1.0
    """What embeddings are multiplied by where they enter the residual stream; a tied head takes the table as it is."""
    query_pre_attn_scalar: int | None = None
    """Scores are divided by its root; None takes the head's length, a longer one's too."""
    attn_softcap: float | None = None
    """Scores s become c tanh(s / c); None leaves them."""
    logit_softcap: float | None = None
    """The same of logits."""
    layer_windows: tuple[int, ...] = ()
    """By layer, over and over: how many positions a query sees, itself included; 0, or none at all, is all of them."""
    local_rope_theta: float | None = None
    """`rope_theta` of layers with a window; None takes the others'."""
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
            turned = rope if self.rotary_dim is None else self.rotary_dim
            require(turned % 2 == 0, f"rotary positions need an even length, not {turned}", "choose an even head_dim")
            given = self.rope_scaling
            require(len(given) in (0, 1, 4), f"model.rope_scaling has {len(given)} numbers", "give 1 or 4, or none")
            require(len(given) < 4 or given[1] < given[2], "model.rope_scaling has low no less than high", "swap them")
            require(turned <= rope, f"model.rotary_dim {turned} is more than {rope}", f"choose {rope} at most")
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
    def windows(self) -> tuple[int, ...]:
        """`layer_windows`, one for each layer; empty where all layers see all positions."""
        own = self.layer_windows
        return tuple(own[n % len(own)] for n in range(self.n_layers)) if any(own) else ()

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
        if divides:
            require(
                optim.eps >= SMALLEST or (not single and optim.eps > 0),
                f"optim.eps is {optim.eps}, and {optim.name} divides 0 by it where there is no gradient: at a token "
                "that a batch lacks, a position beyond its windows, a unit that nothing reads",
                "give a positive number such as 1e-8",
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
    """Size of the byte-level BPE vocabulary that is trained on the corpus, the end-of-story token included."""
    tokenizer: str = ""
    """A tokenizer.json to take in place of one trained on the corpus; a specification holds its SHA-256. A story is
    framed as its post-processor says, or closed by its end-of-text token."""
    seq_len: int = 64
    batch_size: int = 16
    eval_batches: int = 4
    """Held-out batches, each of `batch_size` windows, in every evaluation."""
