"""Mistral (Jiang et al. 2023, arXiv 2310.06825): a Llama whose attention may look back over a window alone."""

from __future__ import annotations

from growjax.checkpoints.family import Family, Given, Setting
from growjax.checkpoints.llama import HEAD_DIM, IGNORED, PARTS, SIZES, TENSORS
from growjax.checkpoints.windows import read_window


def _window(given: Given) -> int | None:
    return read_window(given, 4096)


FAMILY = Family(
    model_type="mistral",
    architecture="MistralForCausalLM",
    prefix="model.",
    tensors=TENSORS,
    settings=(*SIZES, Setting("num_key_value_heads", "n_kv_heads", int, 8), HEAD_DIM),
    parts=PARTS,
    ties=False,
    ignored=IGNORED,
    blank={"sliding_window": None},
    window=_window,
)
