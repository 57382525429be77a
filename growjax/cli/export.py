"""`export`: a growjax state as a Hugging Face folder."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from growjax import runtime
from growjax.cli.arguments import parse
from growjax.cli.tables import console
from growjax.cli.widen import HF, check_out

Form = Literal["auto", "torch", "safetensors", "none"]


@dataclasses.dataclass(frozen=True)
class ExportArguments:
    """Write a state as a stock Hugging Face checkpoint: parameters, and what a Trainer goes on from."""

    source: Annotated[Path, tyro.conf.Positional]
    """A folder that holds a state, or a run directory (its last source state)."""
    out: Path
    """Folder to write; it must not be there yet."""
    tokenizer: Path | None = None
    """A Hugging Face folder whose tokenizer files are taken; those kept with the state if not given."""
    dtype: Literal["float32", "bfloat16", "float16"] | None = None
    """Of the stored tensors, rounded once; that of the checkpoint that was imported if not given, else float32."""
    moments: Form = "auto"
    """How AdamW's moments go out, with schedule and step: `torch` (optimizer.pt, scheduler.pt, trainer_state.json),
    `safetensors` (optimizer.safetensors in place of the first two), `none`; `auto` is torch where that is installed."""
    max_shard_mb: float = 5000
    """Megabytes of a file at most; above that several files and an index are written."""
    force: bool = False
    """Replace what stands at --out, if it is a Hugging Face folder."""
    json: bool = False
    """Print one JSON document on stdout, and nothing else there."""


def run(argv: list[str]) -> int:
    """Runs the verb; returns its exit code."""
    given = parse(ExportArguments, argv, verb="export")
    check_out(given.out, force=given.force, **HF)
    runtime.start()
    from growjax.checkpoints import kept, save
    from growjax.checkpoints.extras import with_tokenizer
    from growjax.record.store import load_state, state_digest
    from growjax.study.sources import find_state

    folder = find_state(given.source)
    state, extras = load_state(folder), kept(folder)
    if given.tokenizer is not None:
        extras = with_tokenizer(extras, given.tokenizer, state.config.model.vocab_size)
    save(
        given.out,
        state,
        extras,
        dtype=given.dtype,
        shard_bytes=int(given.max_shard_mb * 1e6),
        history=_history(folder, state_digest(state)),
        replace=given.force,
        moments=given.moments,
    )
    files = sorted(path.name for path in given.out.iterdir())
    config = json.loads((given.out / "config.json").read_text())
    described = {key: config[key] for key in ("model_type", "architectures", "dtype")}
    if given.json:
        print(json.dumps({"directory": str(given.out), "files": files, **described}, sort_keys=True))
    else:
        line = f"{given.out}: {described['architectures'][0]} in {described['dtype']}: {', '.join(files)}"
        console().print(line, highlight=False, soft_wrap=True)
        if "Adam's moments stayed behind" in (given.out / "README.md").read_text():
            console().print("Adam's moments stayed behind: README.md says why", highlight=False)
    return 0


def _history(folder: Path, digest: str) -> Any:
    """What `widen` wrote of how the state came to be, if it did."""
    from growjax.checkpoints import History
    from growjax.record.store import read_widened

    described = read_widened(folder)
    return (
        History(None, (), digest)
        if described is None
        else History(described["operator"], tuple(described["plan"]), digest)
    )
