"""`widen` on a mesh: a stored state is read cut, widened piece by piece, and stored cut. Nothing is measured."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from growjax import runtime
from growjax.cli.described import before, print_plan, promised
from growjax.cli.on_mesh import MeshHere
from growjax.cli.tables import console
from growjax.errors import UserError
from growjax.files import whole_directory, write_text
from growjax.schema import Record

if TYPE_CHECKING:
    from growjax.cli.widen import WidenArguments
    from growjax.config import OptimConfig
    from growjax.grow.plan import WidthPlan


def run_on_mesh(given: WidenArguments, mesh: MeshHere) -> int:
    """What process 0 does; returns the exit code."""
    import numpy as np

    from growjax.checkpoints import keep, kept
    from growjax.cli.measuring import growth_data, held_out_windows, keep_tokenizer, own_tokens
    from growjax.cli.widen import check_out
    from growjax.grow.plan import dealt_plan
    from growjax.grow.registry import parse_operator
    from growjax.record.store import read_info
    from growjax.record.tokens_of import Origin, origin_of, recorded_origin
    from growjax.study.on_mesh import OnMesh, Widening
    from growjax.study.sources import find_state, is_checkpoint, source_config

    check_out(given.out, force=given.force)
    runtime.start()
    if given.as_hf or given.moments != "auto" or is_checkpoint(given.source):
        raise UserError("on a mesh states are widened, and no checkpoints", "bring it in by `import` first")
    config, source = source_config(given.source), find_state(given.source)
    plan, operator = dealt_plan(config.model, given.to.of(config.model)), parse_operator(given.operator)
    described = _described(given, plan, config.optim)
    work: OnMesh = mesh.at_work(given.mesh)
    read_info(source)
    extras = kept(source)
    described["bfloat16"] = "bfloat16" in (config.model.dtype, extras and extras.dtype)
    if extras is not None and extras.trainer:
        described["moments"] = extras.trainer["moments"]
    trains = operator.operator.trains
    tokens = own_tokens(source, given.tokens, config.model.vocab_size, needed=trains)
    imported = extras is not None and bool(extras.config)
    origin = origin_of(tokens) if tokens else Origin() if imported else recorded_origin(source)
    windows, batch_size = None, 0
    if tokens is not None and trains:
        data = growth_data(tokens, held_out_windows(tokens, config.model.max_seq_len))
        windows, batch_size = np.asarray(data.windows), data.batch_size
    with whole_directory(given.out, replace=given.force) as folder:
        asked = Widening(
            source=str(source.absolute()),  # where others see it too, wherever they were started
            target=plan.target.to_dict(),
            operator=given.operator,
            seed=given.seed,
            out=str(folder.absolute()),
            batch_size=batch_size,
        )
        described |= work.widen(asked, windows)
        described["origin"] = origin._asdict()
        write_text(folder / "widen.json", json.dumps(described, sort_keys=True) + "\n")
        if extras is not None:
            keep(extras, folder)
        keep_tokenizer(folder, source, tokens, extras)
    _say(given.out, described, given.json)
    return 0


def _described(given: WidenArguments, plan: WidthPlan, optim: OptimConfig) -> Record:
    """What is known beforehand, under the names that `widen` has for it elsewhere."""
    from growjax.grow.registry import parse_operator
    from growjax.streams import root_key

    described = before(plan, given.operator, optim, key=root_key(given.seed, "study"))
    for side in ("before", "after"):
        described[side]["state_bytes"] = described[side].pop("bytes")
    del described["least_bytes"]  # of one process alone
    described["road"] = f"on a mesh of {given.mesh}"
    if not parse_operator(given.operator).by_pieces(plan):
        described["road"] += ", every process the whole state"
    return described


def _say(out: Path, described: Record, as_json: bool) -> None:
    if as_json:
        print(json.dumps({"directory": str(out), **described}, sort_keys=True))
        return
    from growjax.grow.promises import BFLOAT16

    to = console()
    print_plan(to, described)
    rounded = [BFLOAT16] if described["bfloat16"] else []
    for line in (described["road"], *promised(described), *rounded, f"state {described['digest']}"):
        to.print(line, highlight=False, soft_wrap=True)
