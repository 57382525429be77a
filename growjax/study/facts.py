"""What a summary says of a run beside its results."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from growjax.config import ModelConfig
from growjax.data.corpus import corpus_name
from growjax.model.decoder import count_params, flops_per_token
from growjax.record.cell_types import CellRecord, DataMetrics, GivenCell, SourceCell
from growjax.record.receipt_types import Receipt
from growjax.study.making import steps_of
from growjax.study.rows import CostRow, RunFacts, Sizes, SourceRow
from growjax.study.spec import UNWIDENED, StudySpec

KINDS = ("data", "given", "source", "candidate", "probe", "continuation", "extension", "crossed", "rung")
"""The kinds of cells, each after those that it is made from."""


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
        "corpus": corpus_name(spec.data.corpus),
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
        "given": [given.digest for given in spec.given()],
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


def cost_rows(receipt: Receipt, spec: StudySpec, source: ModelConfig, target: ModelConfig) -> list[CostRow]:
    """What was computed, by kind of cell."""
    known = {cell["id"]: cell for cell in receipt["cells"]}
    tokens, length = spec.data.batch_size * spec.data.seq_len, spec.data.seq_len
    narrow, wide = (tokens * flops_per_token(config, length) for config in (source, target))
    found: dict[str, CostRow] = {
        kind: {"kind": kind, "cells": 0, "source_steps": 0, "target_steps": 0, "flops": 0.0} for kind in KINDS
    }
    for cell in receipt["cells"]:
        row, steps = found[cell["kind"]], _own_steps(cell, known)
        row["cells"] += 1
        row["source_steps" if cell["kind"] == "source" or cell["operator"] == UNWIDENED else "target_steps"] += steps
    for row in found.values():
        row["flops"] = row["source_steps"] * narrow + row["target_steps"] * wide
    return [row for row in found.values() if row["cells"]]


def _own_steps(cell: CellRecord, known: Mapping[str, CellRecord]) -> int:
    """Training steps that a cell took beyond those of the cell that it goes on from; a candidate's are those for which
    its operator trains."""
    before = known.get(cell["parents"][0]) if cell["parents"] else None
    if cell["kind"] == "source":
        return cell["parameters"]["step"] - (before["parameters"].get("step", 0) if before else 0)
    if cell["kind"] == "candidate":
        return steps_of(cell["operator"])
    lag = cell["lag"]
    return 0 if lag is None else lag - ((before and before["lag"]) or 0)


def programs(receipt: Receipt) -> int:
    """How many distinct training programs its cells ran."""
    return len({cell["digests"]["program"] for cell in receipt["cells"] if "program" in cell["digests"]})
