"""All families by `model_type`. Nobody else asks for a family's name."""

from __future__ import annotations

from growjax.checkpoints import (
    gemma,
    gemma2,
    gemma3_text,
    gpt2,
    gpt_neox,
    llama,
    mistral,
    olmo2,
    opt,
    phi3,
    qwen2,
    qwen3,
)
from growjax.checkpoints.family import Family, Given
from growjax.config import ModelConfig
from growjax.errors import UserError
from growjax.schema import Record

FAMILIES = {
    m.FAMILY.model_type: m.FAMILY
    for m in (llama, mistral, qwen2, qwen3, gpt2, gpt_neox, opt, gemma, gemma2, gemma3_text, olmo2, phi3)
}

_CODE = "no such code is run; if transformers' own class computes the same, as for Phi-3, take auto_map out"


def family_of(given: Given) -> Family:
    """The family of a config.json. Raises `UserError`, with the key, for what no family can bring in."""
    kind = given.get("model_type")
    if not isinstance(kind, str) or kind not in FAMILIES:
        raise UserError(f"config.json: model_type is {kind!r:.80}", f"growjax brings in {', '.join(FAMILIES)}")
    family = FAMILIES[kind]
    if given.get("auto_map"):
        raise UserError("config.json: auto_map names code of the checkpoint's own", _CODE)
    if given.get("quantization_config"):
        raise UserError("config.json: quantization_config is set", "give the checkpoint as it was before quantisation")
    experts = [key for key, value in given.items() if "expert" in key and value]
    if experts:
        raise UserError(f"config.json: {experts[0]} is set", "growjax's decoder has one MLP in each layer, no experts")
    classes = given.get("architectures")
    if classes and not (isinstance(classes, list) and all(c in (family.architecture, family.base) for c in classes)):
        raise UserError(f"config.json: architectures is {classes!r:.80}", f"growjax brings in {family.architecture}")
    return family


def family_for(model: ModelConfig, dtype: str, base: Given | None) -> tuple[Family, ModelConfig, Record]:
    """The family that can hold a decoder with tensors of that dtype, the decoder with what the family multiplies
    embeddings by, and its config.json: the family of `base`, or the first that can. Raises `UserError`, with the
    reason, where there is none."""

    def written(family: Family) -> tuple[Family, ModelConfig, Record]:
        stock = model.replace(embed_scale=family.embed_scale(model.d_model, dtype))
        return family, stock, family.write(stock, dtype, base)

    if base is not None:
        return written(family_of(base))
    reasons = []
    for family in FAMILIES.values():
        try:
            return written(family)
        except UserError as error:
            reasons.append(error.fault)
    raise UserError(
        f"no stock architecture holds this state: {'; '.join(reasons)}", "see growjax/commands.md on checkpoints"
    )
