"""`widen` on a mesh: a stored state is read cut, widened piece by piece, and stored cut. Nothing is measured."""

from __future__ import annotations

import json
import shutil
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


def run_on_mesh(given: WidenArguments, mesh: MeshHere) -> int:
    """What process 0 does; returns the exit code."""
    from growjax.cli.widen import check_out
    from growjax.grow.plan import dealt_plan
    from growjax.grow.registry import parse_operator
    from growjax.record.store import read_info
    from growjax.record.tokens_of import Origin, origin_of, tokens_for
    from growjax.streams import root_key
    from growjax.study.on_mesh import OnMesh, Widening
    from growjax.study.sources import find_state, is_checkpoint, source_config

    check_out(given.out, force=given.force)
    runtime.start()
    if given.as_hf or given.moments != "auto" or is_checkpoint(given.source):
        raise UserError("on a mesh states are widened, and no checkpoints", "bring it in by `import` first")
    config, source = source_config(given.source), find_state(given.source)
    plan = dealt_plan(config.model, given.to.of(config.model))
    described = before(plan, given.operator, config.optim, key=root_key(given.seed, "study"))
    described["road"] = f"on a mesh of {given.mesh}"
    if not parse_operator(given.operator).by_pieces(plan):
        described["road"] += ", every process the whole state"
    work: OnMesh = mesh.at_work(given.mesh)
    read_info(source)
    try:
        tokens = tokens_for(source, given.tokens, config.model.vocab_size)
        origin: Origin = origin_of(tokens)
    except UserError:
        if given.tokens is not None:
            raise
        tokens, origin = None, Origin()
    with whole_directory(given.out, replace=given.force) as folder:
        asked = Widening(str(source), plan.target.to_dict(), given.operator, given.seed, str(folder.absolute()))
        described |= {"digest": work.widen(asked), "origin": origin._asdict()}
        write_text(folder / "widen.json", json.dumps(described, sort_keys=True) + "\n")
        if tokens is not None:
            shutil.copyfile(tokens.directory / "tokenizer.json", folder / "tokenizer.json")
    _say(given.out, described, given.json)
    return 0


def _say(out: Path, described: Record, as_json: bool) -> None:
    if as_json:
        print(json.dumps({"directory": str(out), **described}, sort_keys=True))
        return
    to = console()
    print_plan(to, described)
    for line in (described["road"], *promised(described), f"state {described['digest']}"):
        to.print(line, highlight=False, soft_wrap=True)
