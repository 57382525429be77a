"""What each field of a configuration may be: one domain for every field, on the command line and in Python alike.

A value is taken in the one form that its domain has (1.0 for a whole number is 1, True is 1, a number of NumPy's is
Python's), so that equal configurations have equal digests. A field that is new chooses its domain here.
"""

from __future__ import annotations

from typing import Any, Literal, get_args

from growjax.errors import UserError
from growjax.values import (
    LARGEST,
    MOST_SEED,
    SMALLEST,
    Domain,
    Flag,
    Maybe,
    Name,
    Part,
    Real,
    Several,
    Text,
    Whole,
    shown,
)  # fmt: skip

Dtype = Literal["float32", "bfloat16", "float64"]
Dialect = Literal["rms", "layer"]
Norm = Literal["rms", "layer"]
Position = Literal["rotary", "learned", "none"]
NormPlace = Literal["before", "after", "both"]
QkNorm = Literal["head", "all"]
Mlp = Literal["gated", "plain"]
Activation = Literal["silu", "gelu", "gelu_erf", "relu"]
Optimizer = Literal["adamw", "lion", "muon", "sgd"]
Purpose = Literal["source", "study"]
Split = Literal["auto", "file", "paragraph"]

SIZE, COUNT, STEPS, SEED, FLAG, LENGTH = Whole(1), Whole(0), Whole(1), Whole(0, MOST_SEED), Flag(), Whole(1, 2**24)
POSITIVE, AT_LEAST_0, SHARE = Real(SMALLEST), Real(), Real(0.0, 1.0)
WORKERS = Whole(0, 4096)

ELSEWHERE: dict[str, Domain] = {"workers": WORKERS, "time": Whole(1), "cores": SIZE, "gpus": Maybe(COUNT)}
ON_MESH: dict[str, Domain] = {"processes": Maybe(SIZE), "process_id": Maybe(COUNT), "join_timeout": SIZE}
_STUDY: dict[str, Domain] = {
    "preset": Text(),
    "model": Part("ModelConfig"),
    "to": Part("TargetWidths"),
    "optim": Part("OptimConfig"),
    "data": Part("DataConfig"),
    "source_seeds": Several(SEED),
    "source_steps": Several(COUNT),
    "operators": Several(Text()),
    "regimes": Several(Text()),
    **dict.fromkeys(("stochastic_replicates", "deterministic_replicates", "few_replicates", "finalists"), SIZE),
    **dict.fromkeys(("probe_lag", "continuation_lag", "eval_every", "source_eval_every"), STEPS),
    "long_lag": COUNT,
    "study_seed": SEED,
    "shards": SIZE,
    **dict.fromkeys(("pool", "family_regimes", "stream"), Several(Text())),
    "rates": Several(POSITIVE),
    "crossed": Part("CrossedLevels"),
    "match_flops": FLAG,
    "source": Several(Text(blank=False, hint="give a state, a run directory or a checkpoint")),
}

DOMAINS: dict[str, dict[str, Domain]] = {
    "ModelConfig": {
        **dict.fromkeys(("d_model", "n_layers", "n_heads", "n_kv_heads", "head_dim", "d_ff", "vocab_size"), SIZE),
        "max_seq_len": LENGTH,
        "dialect": Name(get_args(Dialect)),
        "norm": Maybe(Name(get_args(Norm))),
        "position": Maybe(Name(get_args(Position))),
        "mlp": Maybe(Name(get_args(Mlp))),
        "activation": Maybe(Name(get_args(Activation))),
        "qkv_bias": Maybe(FLAG),
        "attn_out_bias": Maybe(FLAG),
        "mlp_bias": Maybe(FLAG),
        "tie_embeddings": FLAG,
        "qk_norm": FLAG,
        "bias": Maybe(FLAG),
        "dropout": Real(0.0, 0.9999),
        "rope_theta": POSITIVE,
        "rope_dim": Maybe(SIZE),
        "rotary_dim": Maybe(SIZE),
        "rope_scaling": Several(POSITIVE),
        "position_offset": COUNT,
        "parallel": FLAG,
        "norm_eps": POSITIVE,
        "qk_norm_eps": Maybe(POSITIVE),
        "norm_place": Name(get_args(NormPlace)),
        "qk_norm_over": Name(get_args(QkNorm)),
        "embed_scale": POSITIVE,
        "query_pre_attn_scalar": Maybe(SIZE),
        "attn_softcap": Maybe(POSITIVE),
        "logit_softcap": Maybe(POSITIVE),
        "layer_windows": Several(COUNT),
        "local_rope_theta": Maybe(POSITIVE),
        "init_std": AT_LEAST_0,
        "dtype": Name(get_args(Dtype)),
    },
    "OptimConfig": {
        "name": Name(get_args(Optimizer)),
        "learning_rate": POSITIVE,
        "warmup_steps": COUNT,
        "total_steps": STEPS,
        "end_fraction": SHARE,
        "b1": SHARE,
        "b2": SHARE,
        "muon_beta": SHARE,
        "eps": AT_LEAST_0,
        "weight_decay": AT_LEAST_0,
        "clip_norm": Real(hint=" (0 turns clipping off)"),
    },
    "TrainConfig": {"model": Part("ModelConfig"), "optim": Part("OptimConfig")},
    "DataConfig": {
        "corpus": Text(blank=False, hint="give builtin, a path, a pattern or hf:NAME"),
        "split": Name(get_args(Split)),
        "stories": COUNT,
        "text_field": Text(),
        "encoding": Text(),
        "validation_fraction": Real(0.0, 1.0, open=True),
        "vocab_size": Whole(257, 65536),
        "tokenizer": Text(),
        "seq_len": LENGTH,
        "batch_size": SIZE,
        "eval_batches": SIZE,
    },
    "TargetWidths": dict.fromkeys(("d_model", "n_heads", "n_kv_heads", "head_dim", "d_ff", "vocab_size"), COUNT),
    "CrossedLevels": dict.fromkeys(("order", "dropout", "perturb"), COUNT),
    "StudySpec": _STUDY,
    "Selection": {
        **_STUDY,
        "budget": COUNT,
        "making": COUNT,
        "rungs": Several(STEPS),
        "replicates_at_most": SIZE,
        "outlooks": Several(Real(-LARGEST)),
        **dict.fromkeys(("trust", "left_out", "left_out_by_budget"), Several(Text())),
    },
    # of commands: their numbers
    "TrainArguments": {
        "workers": WORKERS,
        "seed": SEED,
        "steps": Several(STEPS),
        "eval_every": STEPS,
        "shards": SIZE,
        **ON_MESH,
    },
    "StudyArguments": ELSEWHERE,
    "WidenArguments": {"seed": SEED, **ON_MESH},
    "SelectArguments": {
        **ELSEWHERE,
        "seed": SEED,
        **dict.fromkeys(("horizon", "budget", "first", "eval_every"), STEPS),
        "replicates": SIZE,
        "rates": Several(POSITIVE),
    },
    "PlanArguments": {
        "chips": SIZE,
        **dict.fromkeys(("batch_size", "shards", "candidates", "seq_len", "eval_windows"), COUNT),
        **dict.fromkeys(("horizon", "budget", "first", "eval_every"), STEPS),
    },
    "VerifyArguments": {"workers": WORKERS},
    "ExportArguments": {"max_shard_mb": POSITIVE},
    "AuditArguments": {"step": COUNT},
    "OperatorsArguments": {"steps": STEPS},
}
"""By class and field. Every field of every configuration stands here, and every number that a command takes."""

SECTIONS = {"ModelConfig": "model.", "OptimConfig": "optim.", "DataConfig": "data.", "TargetWidths": "to.",
            "CrossedLevels": "crossed."}  # fmt: skip
"""What stands before a field's name where it is given, as on the command line."""


def normalise(config: Any) -> None:
    """Gives every field of a frozen dataclass its one form, in place, before anyone sees it. Raises `UserError`, which
    names the field, where a value is not of the field's domain."""
    kind = type(config).__name__
    for name, domain in DOMAINS.get(kind, {}).items():
        value = getattr(config, name)
        try:
            object.__setattr__(config, name, domain.take(value))
        except ValueError as error:
            raise UserError(f"{SECTIONS.get(kind, '')}{name} is {shown(value)}", str(error)) from None
