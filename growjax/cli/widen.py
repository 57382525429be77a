"""`widen`: one wide start from one trained state, described before and after it is written."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from growjax import runtime
from growjax.cli.arguments import parse
from growjax.cli.described import dry_run, own_code, print_plan, promise, said_of
from growjax.cli.measuring import (
    growth_data,
    held_out_windows,
    keep_tokenizer,
    measured_on,
    own_tokens,
    random_windows,
    require_figures,
)
from growjax.cli.on_mesh import MeshOptions, on_mesh
from growjax.cli.straight import run_straight
from growjax.cli.tables import console
from growjax.cli.widen_on_mesh import run_on_mesh
from growjax.errors import CheckFailed, UserError
from growjax.files import require_path, whole_directory, write_text
from growjax.schema import Record
from growjax.study.spec import TargetWidths

if TYPE_CHECKING:
    import jax

    from growjax.grow.plan import WidthPlan
    from growjax.train.state import TrainState


@dataclasses.dataclass(frozen=True)
class WidenArguments(MeshOptions):
    """Make a wide start from a trained state: weights, moments, counters and schedule."""

    source: Annotated[Path, tyro.conf.Positional]
    """A folder that holds a state (RUN/cells/ID, or what `widen` wrote), a run directory (its last source state), or a
    Hugging Face checkpoint."""
    out: Path
    """Folder to write; it must not be there yet."""
    operator: str = "exact_copy"
    """NAME or NAME:option=value,..., with any parts behind it, as in perturbed:sigma=0.2+moments:become=zeroed. The
    command operators lists both."""
    to: TargetWidths = TargetWidths()
    seed: int = 1
    """Root of the operator's own randomness."""
    tokens: Path | None = None
    """Folder of the tokens to measure on (RUN/data), of the source's own tokenizer; the source's own tokens, known by
    their digest, if not given. A checkpoint without any is measured on random ids."""
    moments: str = "auto"
    """The source's: `auto` (what is there), `none`, a file or folder, or `warm:N` (N passes over --tokens)."""
    as_hf: bool = False
    """Write a Hugging Face checkpoint in place of a state."""
    force: bool = False
    """Replace what stands at --out, if it is of the kind that is written."""
    dry_run: bool = False
    """Print what it would come to (parameters, operations, bytes, memory, plan, what is exact), from configurations
    and headers of files alone; write nothing."""
    json: bool = False
    """Print one JSON document on stdout, and nothing else there."""


def run(argv: list[str]) -> int:
    """Runs the verb; returns its exit code."""
    with on_mesh(argv) as mesh:
        if mesh.following:
            return mesh.follow()
        given = parse(WidenArguments, argv, verb="widen")
        return run_on_mesh(given, mesh) if mesh.asked and not given.dry_run else _widen(given)


def _widen(given: WidenArguments) -> int:
    runtime.start()
    from growjax.cli.moments import read_with_moments, whole_state
    from growjax.grow.plan import make_plan
    from growjax.grow.widen import followed_plan, widen
    from growjax.record.tokens_of import Origin, origin_of
    from growjax.streams import root_key
    from growjax.study.sources import is_checkpoint
    from growjax.train.check import check_finite

    check_out(given.out, force=given.force, **(HF if given.as_hf else {}))
    if given.as_hf and is_checkpoint(given.source) and not whole_state(given.source, given.moments):
        done = run_straight(given)
        if done is not None:
            return done
        if not given.json:
            line = f"{given.operator} does not say what becomes of single tensors: all of the model is in memory"
            console().print(line, highlight=False, soft_wrap=True)
    if given.dry_run:
        return dry_run(given)
    source, state, extras = read_with_moments(given.source, given.moments, given.tokens)
    check_finite(state)
    plan = make_plan(state.config.model, given.to.of(state.config.model))
    imported = extras is not None and bool(extras.config)
    tokens = own_tokens(source, given.tokens, state.config.model.vocab_size, needed=not imported)
    if tokens is None:
        windows, data, origin = random_windows(state.config.model), None, Origin()
    else:
        windows = held_out_windows(tokens, state.config.model.max_seq_len)
        data, origin = growth_data(tokens, windows), origin_of(tokens)
    operator, key = given.operator, root_key(given.seed, "study")
    wide = widen(state, plan, operator=operator, key=key, data=data)
    followed = followed_plan(plan, state.config.optim, operator=operator, key=key)
    described = _describe(followed, given.operator, state, wide, windows)
    require_figures(described["zero_step"], given.operator)
    described |= {"origin": origin._asdict(), "measured_on": "random ids" if data is None else "held-out tokens"}
    described["bfloat16"] = "bfloat16" in (state.config.model.dtype, extras and extras.dtype)
    if extras is not None and extras.trainer:
        described["moments"] = extras.trainer["moments"]
    if not given.json:
        _print(described)
    with whole_directory(given.out, replace=given.force) as folder:
        described["digest"], read_back = _store(folder, wide, extras, described, as_hf=given.as_hf)
        described["stored"] = measured_on(state, read_back, windows)
        if not given.as_hf and described["stored"] != described["zero_step"]:
            raise CheckFailed("the stored state does not measure like the one in memory: nothing was written")
        if given.as_hf:
            _card_again(folder, wide, extras, described, followed)
        else:
            write_text(folder / "widen.json", json.dumps(described, sort_keys=True) + "\n")
            keep_tokenizer(folder, source, tokens, extras)
    if given.json:
        print(json.dumps({"directory": str(given.out), **described}, sort_keys=True))
    else:
        out = console()
        same = described["stored"] == described["zero_step"]
        figures = "the same figures" if same else f"KL {described['stored']['kl']:.3g}, rounded as it is stored"
        out.print(f"read back from {given.out}: {figures}", highlight=False, soft_wrap=True)
        out.print(f"state {described['digest']}", highlight=False, soft_wrap=True)
    return 0


HF = {"holds": "config.json", "kind": "Hugging Face folder"}
"""What `check_out` asks of a Hugging Face folder."""


def read_source(path: Path, moments: str = "auto") -> tuple[Path, Any, Any]:
    """The folder that a path names, its state, a Hugging Face checkpoint's included, and the extras of the checkpoint
    that the state came from, or None."""
    from growjax.checkpoints import kept, load
    from growjax.record.store import load_state
    from growjax.study.sources import find_state, is_checkpoint

    if is_checkpoint(path):
        return path, *load(path, moments=moments)
    folder = find_state(path)
    return folder, load_state(folder), kept(folder)


def _store(folder: Path, wide: Any, extras: Any, described: Record, *, as_hf: bool) -> tuple[str, Any]:
    """Writes a state, or a checkpoint; returns the digest of the state, and what can be read back."""
    from growjax.checkpoints import History, fill, keep, load
    from growjax.record.store import load_state, save_state, state_digest

    if as_hf:
        digest = state_digest(wide)
        fill(folder, wide, extras, history=History(described["operator"], tuple(described["plan"]), digest))
        return digest, load(folder, moments="none")[0]
    digest = save_state(folder, wide)
    if extras is not None:
        keep(extras, folder)
    return digest, load_state(folder)


def check_out(out: Path, *, force: bool, holds: str = "state.json", kind: str = "state") -> None:
    """Raises `UserError` where a folder cannot be written: with --force it may replace one of its own kind."""
    require_path(out)
    if out.exists() and not force:
        raise UserError(f"{out} is there already", "choose another --out, or replace it with --force")
    if out.exists() and not (out / holds).exists():
        raise UserError(f"--force will not replace {out}, which is no {kind}", "choose another --out")


def _card_again(folder: Path, wide: Any, extras: Any, described: Record, plan: WidthPlan) -> None:
    """The model card with what was measured on the saved files."""
    from growjax.checkpoints.card import History
    from growjax.checkpoints.folder import write_card

    zero = described["stored"] | {"measured_on": described["measured_on"]}
    own = promise(plan, described["operator"])
    history = History(described["operator"], tuple(described["plan"]), described["digest"], own["exact"], said_of(zero))
    write_card(folder, wide, extras, history)


def _describe(plan: WidthPlan, operator: str, state: TrainState, wide: TrainState, windows: jax.Array) -> Record:
    import jax

    from growjax.measure.preservation import escapes, law_parts
    from growjax.model.decoder import count_params, flops_per_token

    seen = escapes(wide, plan, windows[0])

    def size(s: TrainState) -> dict[str, float]:
        model = s.config.model
        return {
            "parameters": count_params(model),
            "flops_per_token": flops_per_token(model, windows.shape[-1] - 1),
            "state_bytes": sum(leaf.nbytes for leaf in jax.tree.leaves(s)),
        }

    return {
        "operator": operator,
        **own_code(operator),
        "plan": [row._asdict() for row in plan.rows()],
        "before": size(state),
        "after": size(wide),
        "zero_step": measured_on(state, wide, windows),
        "schedule": {"step": int(wide.opt_state.schedule_step), "horizon": wide.config.optim.total_steps},
        "law": law_parts(state, plan, wide),
        "escape": {**seen._asdict(), "dead": seen.dead},
    }


def _print(described: Record) -> None:
    from growjax.grow.promises import BFLOAT16

    out = console()
    print_plan(out, described)
    for holds, word in ((True, "holds for"), (False, "does not hold for")):
        parts = [name for name, value in described["law"].items() if value is holds]
        if parts:
            out.print(f"the law of the exact trajectory {word} {', '.join(parts)}", highlight=False, soft_wrap=True)
    out.print(
        f"the schedule stands at step {described['schedule']['step']} of {described['schedule']['horizon']}",
        highlight=False,
    )
    escape = described["escape"]
    out.print(
        f"escape from the cloned subspace: weights {escape['weights']:.3g}, gradients {escape['gradients']:.3g}, "
        f"activations {escape['activations']:.3g}",
        highlight=False,
    )
    if escape["dead"]:
        out.print(
            "warning: dead noise. The weights differ from clones, but values and gradients do not: without dropout "
            "this trains as the exact copy does",
            highlight=False,
            soft_wrap=True,
        )
    zero = described["zero_step"] | {"measured_on": described["measured_on"]}
    out.print(said_of(zero), highlight=False)
    if described["bfloat16"]:
        out.print(BFLOAT16, highlight=False, soft_wrap=True)
