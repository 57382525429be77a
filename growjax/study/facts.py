"""What a summary says of a run beside its results."""

from __future__ import annotations

from typing import cast

from growjax.config import ModelConfig
from growjax.model.decoder import count_params
from growjax.record.cell_types import DataMetrics, GivenCell, SourceCell
from growjax.record.receipt_types import Receipt
from growjax.study.rows import RunFacts, Sizes, SourceRow
from growjax.study.spec import StudySpec


def run_facts(
    receipt: Receipt, spec: StudySpec, data: DataMetrics, source: ModelConfig, target: ModelConfig
) -> RunFacts:
    """What was run: corpus, models, optimizer, environment."""

    def sizes(config: ModelConfig) -> Sizes:
        names = ("d_model", "n_layers", "n_heads", "n_kv_heads", "head_dim", "d_ff")
        values = {name: getattr(config, name) for name in names}
        return cast(Sizes, values | {"dialect": config.described, "parameters": count_params(config)})

    return {
        "preset": spec.preset,
        "corpus": spec.data.corpus,
        "corpus_digest": receipt["inputs"]["corpus_digest"],
        "tokens_train": data["tokens"]["train"],
        "tokens_validation": data["tokens"]["validation"],
        "vocab_size": data["vocab_size"],
        "tokenizer": spec.data.tokenizer,
        "unigram_entropy": data["unigram_entropy"],
        "source_model": sizes(source),
        "target_model": sizes(target),
        "optimizer": spec.optim.every_field(),
        "batch_size": spec.data.batch_size,
        "seq_len": spec.data.seq_len,
        "replicates": {regime: spec.replicates(regime) for regime in spec.all_regimes},
        "pinned": receipt["pins"]["pinned"],
        "environment": receipt["environment"],
        "root": receipt["root"],
        "cells": len(receipt["cells"]),
    }


def source_row(cell: SourceCell | GivenCell, data: DataMetrics) -> SourceRow:
    """A source state and its curve."""
    metrics, parameters = cell["metrics"], cell["parameters"]
    return {
        "name": cell["source"],
        "seed": parameters.get("seed"),
        "step": parameters["step"],
        "validation_loss": metrics["final_loss"],
        "unigram_entropy": data["unigram_entropy"],
        "curve": list(zip(metrics["eval_steps"], metrics["eval_loss"], strict=True)),
    }
