"""Rotary positions in config.json, read and written as transformers 4 and 5 have them.

Transformers 4 has a key for the base, one for the share of a head that turns, and `rope_scaling`; 5 has all of it in
`rope_parameters`. What is written says it in both ways.
"""

from __future__ import annotations

import dataclasses
import math

from growjax.checkpoints.given import Given, positive, refused
from growjax.config import ModelConfig
from growjax.schema import Record

KINDS = {
    "default": (),
    "linear": ("factor",),
    "llama3": ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"),
}
"""What each `rope_type` is described by, in the order of `ModelConfig.rope_scaling`."""


@dataclasses.dataclass(frozen=True)
class Rotary:
    """What a family may say of rotary positions, and by which keys of transformers 4."""

    theta: str = "rope_theta"
    share: str = "partial_rotary_factor"
    default_share: float | None = None
    """What part of a head turns where nothing is said; None where the stock class turns whole heads alone."""
    kinds: tuple[str, ...] = tuple(KINDS)

    def read(self, given: Given, head_dim: int, length: int) -> Record:
        """Fields of `ModelConfig` for heads of that length and sequences of at most `length`. Raises `UserError` with
        the key."""
        where = "rope_scaling" if given.get("rope_scaling") else "rope_parameters"  # as both versions go by them
        rope = given.get(where)
        if not isinstance(rope, dict | None):
            raise refused(where, rope, "it must be an object")
        for name, value in (rope or {}).items():
            if isinstance(value, dict):
                raise refused(f"{where}.{name}", value, "growjax's decoder has one kind of positions for all layers")
        rope = {**(rope or {})}
        kind = rope.get("rope_type", rope.get("type", "default"))
        if kind not in self.kinds:
            raise refused(f"{where}.rope_type", kind, f"growjax's decoder has {', '.join(self.kinds)}")
        rope.setdefault("original_max_position_embeddings", length)
        fields: Record = {
            "rope_theta": positive({"rope_theta": given.get(self.theta)} | rope, "rope_theta", 10000.0),
            "rope_scaling": tuple(positive(rope, name) for name in KINDS[kind]),
        }
        share = {self.share: rope.get("partial_rotary_factor", given.get(self.share))}
        share = positive(share, self.share, self.default_share or 1.0)
        if (share != 1 and self.default_share is None) or share > 1:
            raise refused(self.share, share, "the stock class turns whole heads alone")
        turned = int(head_dim * share)
        if turned == 0:
            raise refused(self.share, share, f"of a head of {head_dim} nothing is left that turns")
        return fields | {"rotary_dim": None if turned == head_dim else turned}

    def write(self, model: ModelConfig) -> Record:
        """Keys of config.json."""
        numbers = model.rope_scaling
        kind = next((name for name, known in KINDS.items() if len(known) == len(numbers)), "default")
        scaling: Record = {"rope_type": kind, **dict(zip(KINDS[kind], numbers, strict=False))}
        if "original_max_position_embeddings" in scaling:
            scaling["original_max_position_embeddings"] = int(scaling["original_max_position_embeddings"])
        made: Record = {self.theta: model.rope_theta}
        if kind != "default":
            made["rope_scaling"] = scaling
        made["rope_parameters"] = {**scaling, "rope_theta": model.rope_theta}
        if self.default_share is not None:
            made[self.share] = made["rope_parameters"]["partial_rotary_factor"] = _share(model)
        return made


WHOLE = Rotary()
"""Heads turn whole, by the keys that most families have."""


def _share(model: ModelConfig) -> float:
    """What part of a head turns, so that the product with its length is rounded down to what turns."""
    turned = model.rotary_dim or model.head_dim
    share = turned / model.head_dim
    return share if int(model.head_dim * share) == turned else math.nextafter(share, 1)
