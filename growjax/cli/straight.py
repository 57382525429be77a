"""`widen HF_DIR --as-hf`: a Hugging Face checkpoint made wider tensor by tensor, without being in memory."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from growjax.cli.described import length, own_code, print_before, print_plan, promise, promised, said_of, sizes
from growjax.cli.tables import console
from growjax.errors import UserError
from growjax.files import require_space, whole_directory
from growjax.schema import Record

if TYPE_CHECKING:
    import jax
    from rich.console import Console

    from growjax.checkpoints.folder import Opened
    from growjax.checkpoints.straight import Straight
    from growjax.cli.widen import WidenArguments

MEASURED = 16
"""Bytes for each parameter of both models that measuring takes at most: float32, read and held, and the program's."""
SHARE = 4
"""What fits into one part of so many of the machine's memory is measured."""


def run_straight(given: WidenArguments) -> int | None:
    """The verb's exit code; None where the operator cannot be had tensor by tensor."""
    from growjax.checkpoints.folder import open_checkpoint
    from growjax.checkpoints.record import read_record
    from growjax.checkpoints.straight import plan_straight
    from growjax.streams import root_key

    with open_checkpoint(given.source) as opened:
        target, key = given.to.of(opened.model), root_key(given.seed, "study")
        straight = plan_straight(opened, target, operator=given.operator, key=key)
        if straight is None:
            return None
        parent = read_record(given.source)
        described = _describe(straight, given.operator)
        if given.dry_run:
            print(json.dumps(described, sort_keys=True)) if given.json else print_before(console(), described)
            return 0
        _require_room(straight, given.operator, given.out)
        out = console()
        if not given.json:
            print_plan(out, described)
            for line in promised(described):
                out.print(line, highlight=False, soft_wrap=True)
        with whole_directory(given.out, replace=given.force) as folder:
            digests = straight.write(folder)
            described["stored"] = _step_zero(straight, given, folder)
            described["tensors"], described["digest"] = _sign(folder, straight, given, described, digests, parent)
    if given.json:
        print(json.dumps({"directory": str(given.out), **described}, sort_keys=True))
    else:
        _print_after(out, given.out, described)
    return 0


def _describe(straight: Straight, operator: str) -> Record:
    from growjax.checkpoints.groups import ASSUMED, GROUPS

    plan = straight.plan
    return {
        "operator": operator,
        **own_code(operator),
        "plan": [row._asdict() for row in plan.rows()],
        "before": sizes(plan.source) | {"bytes": straight.bytes_in},
        "after": sizes(plan.target) | {"bytes": straight.bytes_out},
        **promise(plan, operator),
        "dtype": straight.dtype,
        "road": "tensor by tensor",
        "peak_bytes": straight.peak_bytes,
        "note": None if straight.law is None else f"{GROUPS}: {ASSUMED}",
        "measuring_bytes": None if _too_large(straight) else _measuring(straight),
    }


def _measuring(straight: Straight) -> int:
    """Bytes of memory that measuring takes at most."""
    return MEASURED * (sizes(straight.plan.source)["parameters"] + sizes(straight.plan.target)["parameters"])


def _too_large(straight: Straight) -> str | None:
    """Why both models are not measured, if they are not."""
    from growjax.limits import memory

    most = memory() // SHARE
    if _measuring(straight) <= most:
        return None
    takes, bound = (f"{size / 1e9:,.1f} GB" for size in (_measuring(straight), most))
    return f"both models at once take {takes} of memory, and what takes more than {bound} is not"


def _require_room(straight: Straight, operator: str, out: Path) -> None:
    from growjax.limits import memory

    if straight.peak_bytes > memory():
        raise UserError(
            f"operator {operator} takes {straight.peak_bytes / 1e9:,.1f} GB of memory on this checkpoint, and "
            f"{memory() / 1e9:,.1f} GB are there",
            "choose one that makes clones, such as exact_copy, which takes its two largest tensors and 0.5 GB",
        )
    beside = sum(len(data) for data in straight.opened.extras.files.values())
    require_space(out, straight.bytes_out + beside + (1 << 20))


def _step_zero(straight: Straight, given: WidenArguments, folder: Path) -> Record:
    """Figures of the saved files beside the source, on real text where there is some; or why there are none."""
    from growjax.checkpoints.folder import load_params
    from growjax.measure.divergence import divergences

    why = _too_large(straight)
    if why is not None:
        return {"not_measured": why}
    windows, measured_on = _windows(straight.opened, given)
    return {"measured_on": measured_on, **divergences(load_params(given.source), load_params(folder), windows)}


def _windows(opened: Opened, given: WidenArguments) -> tuple[jax.Array, str]:
    """int32 or uint16 [4, 8, T + 1], and what they are."""
    from growjax.cli.measuring import held_out_windows, random_windows
    from growjax.record.tokens_of import tokens_for

    model = opened.model
    if given.tokens is not None:
        tokens = tokens_for(given.source, given.tokens, model.vocab_size)
        return held_out_windows(tokens, model.max_seq_len), "held-out tokens"
    text = opened.extras.files.get("tokenizer.json")
    windows = None if text is None else _story_windows(text.decode(), length(model))
    if windows is None:
        return random_windows(model), "random ids"
    return windows, "built-in stories, by its own tokenizer"


def _story_windows(tokenizer: str, positions: int) -> jax.Array | None:
    """int32 [4, 8, T + 1]: built-in stories one after another; None where a tokenizer cannot make them."""
    import jax.numpy as jnp
    from tokenizers import Tokenizer

    from growjax.data.grammar import stories

    ids: list[int] = []
    try:
        encoder = Tokenizer.from_str(tokenizer)
        for story in stories(2000):
            ids += encoder.encode(story, add_special_tokens=False).ids
            if len(ids) >= 32 * (positions + 1):
                return jnp.asarray(ids[: 32 * (positions + 1)], jnp.int32).reshape(4, 8, positions + 1)
    except Exception:  # the library has no error of its own; such a file may still be one that transformers reads
        return None
    return None


def _sign(
    folder: Path,
    straight: Straight,
    given: WidenArguments,
    described: Record,
    digests: tuple[str, str],
    parent: Record | None,
) -> tuple[str, str]:
    """Writes growjax.json and the card; returns the digests of the tensors and of the record."""
    from growjax import __version__
    from growjax.checkpoints.card import History, card
    from growjax.checkpoints.record import write_record
    from growjax.files import write_text

    source, written = digests
    extras, plan = straight.opened.extras, straight.plan
    record = write_record(
        folder,
        {
            "growjax": __version__,
            "source": {
                "name": extras.name,
                "model_type": straight.stock.family.model_type,
                "tensors": source,
                "record": parent and parent["digest"],
            },
            "operator": given.operator,
            "seed": given.seed,
            "before": plan.source.every_field(),
            "after": straight.stock.model.every_field(),
            "plan": described["plan"],
            "keeps_function": described["keeps_function"],
            "dtype": straight.dtype,
            "tensors": written,
            "step_zero": described["stored"],
        },
    )
    history = History(
        given.operator,
        tuple(described["plan"]),
        exact=described["exact"],
        step_zero=said_of(described["stored"]),
        source=source,
        record=record,
    )
    write_text(folder / "README.md", card(straight.stock.model, extras, history, dtype=straight.dtype, params=written))
    return written, record


def _print_after(out: Console, path: Path, described: Record) -> None:
    for line in (
        *([described["note"]] if described["note"] else []),
        said_of(described["stored"]),
        f"{path}: {described['after']['bytes'] / 1e9:,.3g} GB in {described['dtype']}",
        f"record {described['digest']}",
    ):
        out.print(line, highlight=False, soft_wrap=True)
