"""Tiny checkpoints made by transformers, and what transformers makes of those that growjax writes.

    TORCH -m experiments.families make --out tests/data [--only NAME]
    python -m experiments.families grow --data tests/data --out DIR
    TORCH -m experiments.families check --data tests/data --grown DIR [--json FILE]

TORCH is a Python with torch and transformers, and without growjax's packages; python one with growjax. `make` draws a
small model of each family and writes its folder with `reference.npz`: ids, and torch's logits for them in float32.
`grow` brings each in and writes it out again (`same`), doubled (`wide`), and one and a half times as wide (`uneven`,
where the plan says that this is exact), by `exact_copy`. `check` loads what was written in transformers, saves it
again, loads that, and compares. Claims: every tensor of `same` is the source's; the logits of `wide` and `uneven`,
before and after, are the source's to 2e-5 of the largest. Exits with 1 where one fails. A minute.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from growjax.schema import Record

SIZES: Record = {
    "vocab_size": 64,
    "hidden_size": 16,
    "intermediate_size": 40,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 32,
    "initializer_range": 0.3,
    "bos_token_id": 1,
    "eos_token_id": 2,
}

NO_GROUPS = {key: value for key, value in SIZES.items() if key != "num_key_value_heads"}

FAMILIES: dict[str, tuple[str, Record]] = {
    "llama": ("Llama", {**SIZES, "tie_word_embeddings": True, "rms_norm_eps": 1e-5}),
    "llama-untied": ("Llama", {**SIZES, "tie_word_embeddings": False, "attention_bias": True, "mlp_bias": True}),
    "mistral": ("Mistral", {**SIZES, "sliding_window": 32, "head_dim": 8}),
    "qwen2": ("Qwen2", {**SIZES, "tie_word_embeddings": True, "rope_theta": 1e6}),
    "qwen3": ("Qwen3", {**SIZES, "head_dim": 8, "tie_word_embeddings": True}),
    "olmo2": ("Olmo2", {**SIZES, "tie_word_embeddings": False}),
    "gemma": ("Gemma", {**SIZES, "head_dim": 8}),
    "gemma2": (
        "Gemma2",
        {
            **SIZES,
            "head_dim": 8,
            "query_pre_attn_scalar": 12,
            "sliding_window": 7,
            "attn_logit_softcapping": 5.0,
            "final_logit_softcapping": 6.0,
        },
    ),
    "gemma3_text": (
        "Gemma3",
        {
            **SIZES,
            "head_dim": 8,
            "query_pre_attn_scalar": 12,
            "sliding_window": 7,
            "num_hidden_layers": 3,
            "intermediate_size": 24,
            "layer_types": ["sliding_attention", "sliding_attention", "full_attention"],
            "rope_parameters": {
                "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6},
                "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
            },
        },
    ),
    "gpt2": (
        "GPT2",
        {
            "vocab_size": 64,
            "n_embd": 16,
            "n_layer": 2,
            "n_head": 4,
            "n_positions": 32,
            "initializer_range": 0.3,
            "bos_token_id": 1,
            "eos_token_id": 2,
        },
    ),
    "llama-scaled": (
        "Llama",
        {
            **SIZES,
            "head_dim": 8,
            "max_position_embeddings": 64,
            "rope_parameters": {
                "rope_type": "llama3",
                "rope_theta": 100.0,
                "factor": 8.0,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                "original_max_position_embeddings": 32,
            },
        },
    ),
    "qwen2-scaled": ("Qwen2", {**SIZES, "rope_parameters": {"rope_type": "linear", "rope_theta": 1e4, "factor": 4.0}}),
    "phi3": (
        "Phi3",
        {
            **SIZES,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "partial_rotary_factor": 0.75,
            "pad_token_id": 0,
        },
    ),
    "opt": (
        "OPT",
        {
            "vocab_size": 64,
            "hidden_size": 16,
            "ffn_dim": 40,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "max_position_embeddings": 32,
            "init_std": 0.3,
        },
    ),
    "gpt_neox": ("GPTNeoX", {**NO_GROUPS, "rotary_pct": 0.5}),
    "gpt_neox-sequential": (
        "GPTNeoX",
        {
            **NO_GROUPS,
            "num_attention_heads": 2,
            "use_parallel_residual": False,
            "rotary_pct": 0.75,
            "rotary_emb_base": 500.0,
            "hidden_act": "gelu_fast",
            "attention_bias": False,
            "tie_word_embeddings": True,
        },
    ),
}
"""A name for each folder: the classes of transformers, and their settings."""

KINDS = ("same", "wide", "uneven")
"""What is written of each."""

CLOSE = 2e-5
"""Of the largest logit."""


def _library(name: str) -> Any:
    return importlib.import_module(name)


def _logits(folder: Path, ids: Any) -> Any:
    torch, transformers = _library("torch"), _library("transformers")
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager").eval()
    with torch.no_grad():
        return model(torch.tensor(ids)).logits.float().numpy(), model


def make(out: Path, only: str | None = None) -> None:
    """Draws the sources, or one of them."""
    np, torch, transformers = _library("numpy"), _library("torch"), _library("transformers")
    for name, (kind, settings) in FAMILIES.items():
        if only not in (None, name):
            continue
        torch.manual_seed(0)
        config = getattr(transformers, "Gemma3TextConfig" if kind == "Gemma3" else f"{kind}Config")(**settings)
        head = "GPT2LMHeadModel" if kind == "GPT2" else f"{kind}ForCausalLM"
        model = getattr(transformers, head)(config)
        for path, value in model.named_parameters():
            if value.ndim == 1:  # gains and biases of their own
                value.data += 0.2 * torch.randn_like(value)
                if kind.startswith("Gemma"):  # as published: gains are 1 + w, and 1 + w - 1 is w for bfloat16's w
                    value.data = value.data.bfloat16().float()
            assert value.dtype == torch.float32, path
        model.save_pretrained(out / name)
        ids = np.random.default_rng(0).integers(0, 64, (2, 24))
        np.savez_compressed(out / name / "reference.npz", ids=ids.astype("int32"), logits=_logits(out / name, ids)[0])


def grow(data: Path, out: Path) -> None:
    """Brings each source in, and writes it out as it was and doubled."""
    from growjax import runtime

    runtime.pin()
    runtime.start()
    from growjax.checkpoints import History, load, save
    from growjax.grow.plan import default_target, make_plan
    from growjax.grow.widen import widen
    from growjax.streams import root_key

    for name in FAMILIES:
        state, extras = load(data / name)
        save(out / "same" / name, state, extras)
        model = state.config.model
        half = {key: getattr(model, key) * 3 // 2 for key in ("d_model", "n_heads", "n_kv_heads", "d_ff")}
        for kind, target in {"wide": default_target(model), "uneven": model.replace(**half)}.items():
            plan = make_plan(model, target)
            if plan.exact:
                wide = widen(state, plan, operator="exact_copy", key=root_key(1, "study"))
                history = History("exact_copy", tuple(row._asdict() for row in plan.rows()))
                save(out / kind / name, wide, extras, history=history, shard_bytes=30_000)


def check(data: Path, grown: Path) -> dict[str, Record]:
    """What transformers says of what was written: differences over the largest logit."""
    np, load_file = _library("numpy"), _library("safetensors.numpy").load_file
    found: dict[str, Record] = {}
    for name in FAMILIES:
        reference = np.load(data / name / "reference.npz")
        size = np.abs(reference["logits"]).max()
        source = load_file(data / name / "model.safetensors")
        same = load_file(grown / "same" / name / "model.safetensors")
        equal = source.keys() == same.keys() and all(np.array_equal(source[k], same[k]) for k in source)
        row: Record = {"tensors_equal": bool(equal), "largest_logit": float(size)}
        for kind in KINDS:
            if not (grown / kind / name).exists():
                continue
            logits, model = _logits(grown / kind / name, reference["ids"])
            with tempfile.TemporaryDirectory() as again:
                model.save_pretrained(again)
                after, _ = _logits(Path(again), reference["ids"])
            row[kind] = float(np.abs(logits - reference["logits"]).max() / size)
            row[f"{kind}_saved_again"] = float(np.abs(after - reference["logits"]).max() / size)
        found[name] = row
    return found


def main() -> int:
    """Runs one of the modes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("mode", choices=("make", "grow", "check"))
    for option in ("--out", "--data", "--grown", "--json"):
        parser.add_argument(option, type=Path)
    parser.add_argument("--only")
    given = parser.parse_args()
    if given.mode == "make":
        make(given.out, given.only)
    elif given.mode == "grow":
        grow(given.data, given.out)
    else:
        found = check(given.data, given.grown)
        text = json.dumps({"transformers": _library("transformers").__version__, "families": found}, indent=1)
        print(text)
        if given.json:
            given.json.write_text(text + "\n")
        gaps = [v for row in found.values() for k, v in row.items() if k.startswith(KINDS)]
        return int(not all(row["tensors_equal"] for row in found.values()) or max(gaps) > CLOSE)
    return 0


if __name__ == "__main__":
    sys.exit(main())
