"""The schema of receipts, states and configurations, and the defaults that it froze.

A configuration is written without the fields that stand at their default, so a receipt or a state depends on what the
defaults were. They are frozen here: a class may take another default for its users, and what was written keeps its
meaning. A field that is new is added to the table with its default. To change an entry is to change what is on disk,
and takes another number.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Record = dict[str, Any]
"""Plain data of JSON by field name, where the fields are not fixed or are checked elsewhere."""

Fields = Mapping[str, Any]
"""A record that is only read: typed ones are too."""

SCHEMA = 3

VERSIONS = {2: "growjax 0.1", 3: "growjax 0.2"}
"""By schema: the versions that write it."""


def reads(schema: object) -> str:
    """The version that goes on with, verifies and audits runs of a schema; `report` and `diff` read every one."""
    return VERSIONS.get(schema, "another version of growjax") if isinstance(schema, int) else "no version of growjax"


_STUDY: Record = {
    "preset": "quick",
    "model": {},
    "to": {},
    "optim": {},
    "data": {},
    "source_seeds": [0],
    "source_steps": [300, 600],
    "operators": ["exact_copy", "perturbed", "asymmetric_reset", "structured", "scratch"],
    "regimes": ["deterministic", "stochastic"],
    "stochastic_replicates": 3,
    "deterministic_replicates": 2,
    "probe_lag": 16,
    "continuation_lag": 128,
    "eval_every": 8,
    "source_eval_every": 50,
    "study_seed": 1,
    "shards": 1,
    "stream": [],
    "crossed": {},
    "match_flops": True,
    "source": [],
    "pool": [],
    "family_regimes": [],
    "rates": [],
    "few_replicates": 3,
    "long_lag": 0,
    "finalists": 3,
}

DEFAULTS: dict[str, Record] = {
    "ModelConfig": {
        "d_model": 64,
        "n_layers": 2,
        "n_heads": 4,
        "n_kv_heads": 4,
        "head_dim": 16,
        "d_ff": 192,
        "vocab_size": 512,
        "max_seq_len": 64,
        "dialect": "rms",
        "norm": None,
        "position": None,
        "mlp": None,
        "activation": None,
        "qkv_bias": None,
        "attn_out_bias": None,
        "mlp_bias": None,
        "tie_embeddings": True,
        "qk_norm": False,
        "bias": None,
        "dropout": 0.1,
        "rope_theta": 10000.0,
        "rope_dim": None,
        "rotary_dim": None,
        "rope_scaling": [],
        "position_offset": 0,
        "parallel": False,
        "norm_eps": 1e-05,
        "qk_norm_eps": None,
        "norm_place": "before",
        "qk_norm_over": "head",
        "embed_scale": 1.0,
        "query_pre_attn_scalar": None,
        "attn_softcap": None,
        "logit_softcap": None,
        "layer_windows": [],
        "local_rope_theta": None,
        "init_std": 0.02,
        "dtype": "float32",
    },
    "OptimConfig": {
        "name": "adamw",
        "learning_rate": 0.003,
        "warmup_steps": 50,
        "total_steps": 2000,
        "end_fraction": 0.1,
        "b1": 0.9,
        "b2": 0.95,
        "muon_beta": 0.95,
        "eps": 1e-08,
        "weight_decay": 0.1,
        "clip_norm": 1.0,
    },
    "TrainConfig": {
        "model": {},
        "optim": {},
    },
    "DataConfig": {
        "corpus": "builtin",
        "split": "auto",
        "stories": 20000,
        "text_field": "text",
        "encoding": "utf-8",
        "validation_fraction": 0.05,
        "vocab_size": 512,
        "tokenizer": "",
        "seq_len": 64,
        "batch_size": 16,
        "eval_batches": 4,
    },
    "TargetWidths": {
        "d_model": 0,
        "n_heads": 0,
        "n_kv_heads": 0,
        "head_dim": 0,
        "d_ff": 0,
        "vocab_size": 0,
    },
    "CrossedLevels": {
        "order": 0,
        "dropout": 0,
        "perturb": 0,
    },
    "StudySpec": _STUDY,
    "Selection": {
        **_STUDY,
        "budget": 0,
        "rungs": [],
        "replicates_at_most": 8,
        "outlooks": [],
        "trust": [],
        "left_out": [],
        "left_out_by_budget": [],
        "making": 0,
    },
}
