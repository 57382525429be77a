"""`import`: a Hugging Face folder as a growjax state."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Annotated

import tyro

from growjax import runtime
from growjax.cli.arguments import parse
from growjax.cli.tables import console
from growjax.cli.widen import check_out
from growjax.files import whole_directory


@dataclasses.dataclass(frozen=True)
class ImportArguments:
    """Bring in a Hugging Face checkpoint: safetensors, one file or several. Nothing is unpickled."""

    source: Annotated[Path, tyro.conf.Positional]
    """The checkpoint's folder, with config.json and model.safetensors."""
    out: Path
    """Folder of the state to write; its tokenizer files lie in checkpoint/ there, byte for byte."""
    moments: str = "auto"
    """Adam's moments: `auto` (those of a training run beside the weights, if any), `none`, a file or folder of them
    (optimizer.pt, safetensors, a growjax state), or `warm:N` (estimated by N forward and backward passes)."""
    tokens: Path | None = None
    """Folder of the tokens that `warm:N` passes over (RUN/data), of the checkpoint's own tokenizer."""
    force: bool = False
    """Replace what stands at --out, if it is a state."""
    json: bool = False
    """Print one JSON document on stdout, and nothing else there."""


def run(argv: list[str]) -> int:
    """Runs the verb; returns its exit code."""
    given = parse(ImportArguments, argv, verb="import")
    runtime.start()
    from growjax.checkpoints import keep, load
    from growjax.cli.moments import check_moments, with_moments
    from growjax.model.decoder import count_params
    from growjax.record.store import save_state

    check_out(given.out, force=given.force)
    state, extras = load(given.source, moments=check_moments(given.moments))
    if given.moments != "auto":
        state, extras = with_moments(given.source, state, extras, given.moments, given.tokens)
    with whole_directory(given.out, replace=given.force) as folder:
        digest = save_state(folder, state)
        keep(extras, folder)
    model = state.config.model
    described = {
        "directory": str(given.out),
        "source": extras.name,
        "model_type": extras.config["model_type"],
        "parameters": count_params(model),
        "dtype": extras.dtype,
        "model": model.every_field(),
        "files": sorted(extras.files),
        "notes": list(extras.notes),
        "step": int(state.step),
        "moments": extras.trainer.get("moments"),
        "digest": digest,
    }
    if given.json:
        print(json.dumps(described, sort_keys=True))
        return 0
    tied = "tied embeddings" if model.tie_embeddings else "a head of its own"
    lines = [
        f"{extras.name}: {described['model_type']}, {described['parameters']:,} parameters stored in {extras.dtype}",
        f"{model.n_layers} layers, d_model {model.d_model}, {model.n_heads} heads over {model.n_kv_heads} kv heads of "
        f"{model.head_dim}, d_ff {model.d_ff}, {model.vocab_size} tokens, {model.max_seq_len} positions, {tied}",
        f"step {int(state.step)}, {'' if extras.trainer else 'moments 0, '}dropout 0",
        f"tokenizer: {', '.join(extras.tokenizer) or 'none'}",
        *extras.notes,
        f"state {digest}",
    ]
    for line in lines:
        console().print(line, highlight=False, soft_wrap=True)
    return 0
