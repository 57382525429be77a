"""The cells that a study is given: its tokens, and sources that were not trained here (a state, and one evaluation)."""

from __future__ import annotations

from pathlib import Path

import jax

from growjax.checkpoints import keep
from growjax.digests import digest, digest_by_leaf
from growjax.errors import CheckFailed, UserError
from growjax.model.decoder import count_params
from growjax.record.cells import Cell, Recipe
from growjax.record.store import as_tree, save_state
from growjax.schema import Record
from growjax.study.context import Context
from growjax.study.sources import Source, as_given
from growjax.train.loop import evaluate


def fill_data(ctx: Context) -> Record:
    """The cell that stands for the tokens: all other cells descend from it."""
    info = ctx.tokens.info
    inputs = {"corpus": info["corpus_digest"]}
    found = ctx.run.find(ctx.cells.data, inputs)
    if found is not None:
        if found["digests"]["tokens"] != ctx.tokens.digest:
            raise CheckFailed(
                f"the tokens that are made now are not those of cell {found['id']}: start anew with --force"
            )
        return found
    metrics = {name: info[name] for name in ("unigram_entropy", "tokens", "stories", "vocab_size")}
    return ctx.run.write(Cell(ctx.cells.data, inputs, {"tokens": ctx.tokens.digest, **info["files"]}, metrics))


def fill_given(ctx: Context, recipe: Recipe, source: Source | None) -> Record:
    """The cell of a given source; it draws nothing. Raises `UserError` where it is neither full nor at hand."""
    digest_, step = recipe.parameters["state"], recipe.parameters["step"]
    inputs = {"tokens": ctx.tokens.digest, "source": digest_}
    found = ctx.run.find(recipe, inputs)
    if found is not None:
        return found
    if source is None:
        raise UserError(f"the source of digest {digest_[:12]} is not at hand", "say where it lies with --source")
    state = as_given(source, ctx.config)
    loss = float(jax.jit(evaluate)(state, ctx.feed.evaluation))
    tree, extras = as_tree(state), source.extras
    digests = {
        "state": digest(tree),
        "leaves": digest_by_leaf(tree),
        "config": state.config.digest(),
        "ledger": {},
    }
    metrics = {
        "eval_steps": [step],
        "eval_loss": [loss],
        "final_loss": loss,
        "parameters": count_params(state.config.model),
        "zero_moments": source.fresh,
    }

    def fill(folder: Path) -> None:
        save_state(folder, state)
        if extras is not None:
            keep(extras, folder)

    return ctx.run.write(Cell(recipe, inputs, digests, metrics), fill=fill)
