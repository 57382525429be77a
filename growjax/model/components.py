"""The parts of a decoder, and what others may ask of them: nobody asks for the name of a part or of a preset.

A part knows its own parameters with their axes, the function it computes (with the derivative of its own, see
`growjax.model.layers`), and what growth cannot do along which axis while the part stays exact.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from growjax.config import ModelConfig
from growjax.model import layers
from growjax.model.axes import Dim, Init, keeps, reads, scales, writes


class Weight(NamedTuple):
    """A parameter of a part."""

    name: str
    dims: tuple[Dim, ...]
    init: Init = "normal"
    residual: bool = False
    """Whether it writes a block's output into the residual stream."""


Projection = tuple[Weight, Weight | None]
"""A matrix with its bias, if it has one."""


def _bias(name: str, present: bool, *dims: Dim) -> Weight | None:
    return Weight(name, dims, "zeros") if present else None


@dataclasses.dataclass(frozen=True)
class Norm:
    """A norm over the residual stream."""

    function: Callable[..., Any]
    """(x [..., D], the weights in their order, epsilon) to [..., D]."""
    subtracts_mean: bool
    shifts: bool
    """Whether it adds a learned bias."""
    even: dict[str, str] = dataclasses.field(default_factory=dict)
    """Axes whose positions must all have as many copies for growth to be exact, and why."""

    def weights(self, name: str, dim: Dim, residual: bool = False) -> list[Weight]:
        """What a norm of that name keeps for the axis that it scales."""
        gain = Weight(f"{name}_gain", (dim,), "ones", residual)
        bias = Weight(f"{name}_bias", (writes(dim.axis, dim.gauge),), "zeros", residual)
        return [gain, bias] if self.shifts else [gain]


@dataclasses.dataclass(frozen=True)
class Position:
    """How a decoder knows positions apart."""

    learned: bool = False
    """Whether a table of parameters is added to the embeddings."""
    rotates: bool = False
    """Whether queries and keys are turned by their positions, pair by pair."""
    whole: dict[str, str] = dataclasses.field(default_factory=dict)
    """Axes that can only grow to whole multiples, and why."""

    def weights(self) -> list[Weight]:
        """The table, where it is learned."""
        return [Weight("positions", (keeps("position"), writes("embed")))] if self.learned else []


@dataclasses.dataclass(frozen=True)
class Mlp:
    """The hidden units. They are computed one by one, so that copies of a unit carry one value."""

    function: Callable[..., jax.Array]
    """(gate, up) to hidden units where there is a gate, else (up) to hidden units."""
    gated: bool
    biased: bool

    def inputs(self) -> list[Projection]:
        """What hidden units are made from: up, and the gate where there is one."""
        names, dim = ("up", "gate") if self.gated else ("up",), writes("mlp")
        return [(Weight(f"w_{n}", (reads("embed"), dim)), _bias(f"b_{n}", self.biased, dim)) for n in names]

    def output(self) -> Projection:
        """What reads hidden units and writes the residual stream."""
        dims = (reads("mlp"), writes("embed"))
        return Weight("w_down", dims, residual=True), _bias("b_down", self.biased, writes("embed"))


@dataclasses.dataclass(frozen=True)
class Attention:
    """Grouped-query attention's projections, and the norms of queries and keys (RMSNorm), where they have any."""

    qkv_biased: bool
    out_biased: bool
    qk_norm: bool
    norms_all: bool = False
    """Whether one norm goes over all queries, and one over all keys, not over each head by itself."""

    def inputs(self) -> list[Projection]:
        """Of queries, keys and values."""
        before = "raw" if self.qk_norm else "score"  # what q and k are carried by before their norm, if they have one
        heads, kv_heads = ("raw_heads", "raw_kv_heads") if self.norms_all else ("heads", "kv_heads")
        dims = {
            "q": (writes("heads", heads), writes("head_dim", before)),
            "k": (writes("kv_heads", kv_heads), writes("head_dim", before)),
            "v": (writes("kv_heads"), writes("head_dim", "value")),
        }
        return [
            (Weight(f"w{name}", (reads("embed"), *to)), _bias(f"b{name}", self.qkv_biased, *to))
            for name, to in dims.items()
        ]

    def gains(self) -> list[Weight]:
        """Of the norms of queries and keys, shared over heads unless all are normed at once; empty where there are
        none."""
        axes = {"q_gain": "heads", "k_gain": "kv_heads"} if self.qk_norm else {}
        own, all_ = scales("head_dim", "score", "raw"), self.norms_all
        return [
            Weight(name, (scales(axis, axis, f"raw_{axis}"), own) if all_ else (own,), "ones")
            for name, axis in axes.items()
        ]

    def output(self) -> Projection:
        """What reads what attention gives for each head and writes the residual stream."""
        dims = (reads("heads"), reads("head_dim", "value"), writes("embed"))
        return Weight("wo", dims, residual=True), _bias("bo", self.out_biased, writes("embed"))


@dataclasses.dataclass(frozen=True)
class Components:
    """A whole decoder, apart from its sizes."""

    norm: Norm
    position: Position
    mlp: Mlp
    attention: Attention
    norms_before: bool = True
    """Whether what attention and MLP read is normed."""
    norms_after: bool = False
    """Whether what they give is normed before it is added to the residual stream."""
    parallel: bool = False
    """Whether attention and MLP both read what a block is given."""

    @property
    def even(self) -> dict[str, str]:
        """Axes whose positions must all have as many copies for growth to be exact, and why."""
        return self.norm.even

    @property
    def whole(self) -> dict[str, str]:
        """Axes that can only grow to whole multiples, and why."""
        return self.position.whole


NORMS = {
    "rms": Norm(layers.rms_norm, subtracts_mean=False, shifts=False),
    "layer": Norm(
        layers.layer_norm,
        subtracts_mean=True,
        shifts=True,
        even={"embed": "LayerNorm subtracts a plain mean, which uneven copies shift"},
    ),
}
POSITIONS = {
    "rotary": Position(rotates=True, whole={"head_dim": "rotary positions turn whole tables"}),
    "learned": Position(learned=True),
    "none": Position(),
}
ACTIVATIONS: dict[tuple[str, str], Callable[..., jax.Array]] = {
    ("gated", "silu"): layers.swiglu,
    ("gated", "gelu"): layers.geglu,
    ("gated", "gelu_erf"): layers.geglu_erf,
    ("gated", "relu"): layers.reglu,
    ("plain", "silu"): layers.silu,
    ("plain", "gelu"): layers.gelu,
    ("plain", "gelu_erf"): layers.gelu_erf,
    ("plain", "relu"): layers.relu,
}


def components(config: ModelConfig) -> Components:
    """The parts of a configuration's decoder."""
    chosen = config.architecture
    return Components(
        NORMS[chosen.norm],
        POSITIONS[chosen.position],
        Mlp(ACTIVATIONS[chosen.mlp, chosen.activation], chosen.mlp == "gated", chosen.mlp_bias),
        Attention(
            chosen.qkv_bias, chosen.attn_out_bias, config.qk_norm, config.qk_norm and config.qk_norm_over == "all"
        ),
        norms_before=config.norm_place != "after",
        norms_after=config.norm_place != "before",
        parallel=config.parallel,
    )
