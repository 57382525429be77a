"""The model card of a folder that is written: where the model comes from, in plain sentences."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from growjax.checkpoints.extras import Extras
from growjax.config import ModelConfig
from growjax.model.decoder import count_params
from growjax.schema import Fields


class History(NamedTuple):
    """What is known of how a state came to be."""

    operator: str | None = None
    plan: tuple[Fields, ...] = ()
    """Rows of the plan: axis, old, new, copies, exact."""
    state: str | None = None
    """The digest of the whole training state."""
    exact: str | None = None
    """What of the source is kept."""
    step_zero: str | None = None
    """What was measured on the saved files, as a sentence."""
    source: str | None = None
    """The digest of the source's tensors."""
    record: str | None = None
    """The digest of growjax.json beside the card."""


def card(
    model: ModelConfig,
    extras: Extras | None,
    history: History,
    *,
    dtype: str,
    params: str,
    run: Sequence[str] = (),
    left: str = "",
) -> str:
    """README.md of a checkpoint, in Markdown; `params` is the digest of the parameters as growjax holds them, or of the
    tensors where growjax.json stands beside it. `run` names the files of the training run, and `left` says why its
    moments are not among them."""
    lines = ["---", "library_name: transformers", "tags:", "- growjax", "---", ""]
    lines += [f"# {'A widened model' if history.operator else 'A model'} written by growjax", ""]
    if extras is not None and extras.config:
        lines.append(f"- Source: `{extras.name}` ({extras.config.get('model_type')}, stored in {extras.dtype}).")
    if history.operator:
        lines.append(f"- Widened by `{history.operator}`.")
    lines += [f"- What is exact: {history.exact}."] if history.exact else []
    lines += [f"- Measured on these files, {history.step_zero}."] if history.step_zero else []
    tied = "tied embeddings" if model.tie_embeddings else "a head of its own"
    lines.append(f"- {count_params(model):,} parameters, {model.n_layers} layers, d_model {model.d_model}, {tied}.")
    lines.append(f"- Tensors are stored in {dtype}, rounded once; growjax held them in {model.param_dtype}.")
    if history.record:
        lines.append(
            f"- How they were made stands in growjax.json, SHA-256 `{history.record}`: of the source's tensors"
        )
        lines.append(f"  `{history.source}` these, `{params}`.")
    else:
        lines.append(f"- Parameters, SHA-256 of growjax's digest: `{params}`.")
    if run:
        lines.append(f"- The training run goes on from {', '.join(f'`{name}`' for name in run)}.")
    if left:
        lines.append(f"- Adam's moments stayed behind: {left}.")
    if history.state:
        lines.append(f"- Training state that they are of: `{history.state}`.")
    if history.plan:
        lines += ["", "| axis | old | new | copies | exact |", "|---|---|---|---|---|"]
        lines += [f"| {r['axis']} | {r['old']} | {r['new']} | {r['copies']} | {r['exact']} |" for r in history.plan]
    return "\n".join(lines) + "\n"
