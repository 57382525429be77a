"""Which tokens a stored state was trained on: known by digest, never by where a folder lies."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from growjax.data.tokenizer import FILE, file_digest
from growjax.data.tokens import INFO, TokenFile
from growjax.errors import CheckFailed, UserError
from growjax.files import CHECKPOINT
from growjax.record.integrity import check_result, read_receipt, recorded_tokens
from growjax.record.reader import typed_cell
from growjax.record.store import read_widened


class Origin(NamedTuple):
    """What is recorded of a state's tokens: digests, or None where there is no record."""

    tokens: str | None = None
    tokenizer: str | None = None


def origin_of(tokens: TokenFile) -> Origin:
    """The digests of these tokens, and of their vocabulary."""
    return Origin(tokens.digest, tokens.info["files"]["tokenizer.json"])


def recorded_origin(state: Path) -> Origin:
    """What a state's own folder records of its tokens, and the run that the folder is a cell of. Raises `UserError`
    or `CheckFailed` where a record in the folder is none, or is damaged."""
    found = _recorded(state)
    own = own_tokenizer(state)
    return found._replace(tokenizer=file_digest(own.read_bytes())) if found.tokenizer is None and own else found


def own_tokenizer(state: Path) -> Path | None:
    """The tokenizer.json in a state's own folder, where `import` and `widen` put it."""
    return next((path for path in (state / FILE, state / CHECKPOINT / FILE) if path.is_file()), None)


def _recorded(state: Path) -> Origin:
    widened = read_widened(state)
    if widened is not None and "origin" in widened:
        return Origin(**widened["origin"])
    path = state / "result.json"
    tokens = typed_cell(check_result(path), str(path))["inputs"].get("tokens") if path.exists() else None
    try:
        cells = read_receipt(state.parent.parent)["cells"] if tokens else []
    except (UserError, CheckFailed):  # what lies above a state need not be its run
        cells = []
    vocabularies = [c["digests"]["tokenizer.json"] for c in cells
                    if c["kind"] == "data" and c["digests"]["tokens"] == tokens]  # fmt: skip
    return Origin(tokens, next(iter(vocabularies), None))


def tokens_for(state: Path, given: Path | None, vocab_size: int) -> TokenFile:
    """The tokens to measure a state of `vocab_size` tokens on: those in the folder `given`, or the state's own where
    they lie in its folder or in its run's `data`.

    Raises `UserError` where there are none, or where those given are of another tokenizer than the state's.
    """
    origin = recorded_origin(state)
    if given is not None:
        tokens = recorded_tokens(given)
        _check(state, tokens, origin, vocab_size)
        return tokens
    for folder in (state / "data", state.parent.parent / "data"):
        if origin.tokens is not None and (folder / INFO).exists():
            tokens = recorded_tokens(folder)
            if tokens.digest == origin.tokens:
                return tokens
    known = "no record of its tokens" if origin.tokens is None else f"its own have digest {origin.tokens[:12]}"
    raise UserError(f"no tokens that belong to {state} lie beside it ({known})", "name some with --tokens RUN/data")


def _check(state: Path, tokens: TokenFile, origin: Origin, vocab_size: int) -> None:
    there, own = tokens.info["vocab_size"], origin_of(tokens)
    same = own.tokens == origin.tokens or origin.tokenizer in (None, own.tokenizer)
    if same and there <= vocab_size:
        return
    digests = ""
    if own.tokenizer is not None and origin.tokenizer is not None:
        digests = f", digest {own.tokenizer[:12]} and not {origin.tokenizer[:12]}"
    raise UserError(
        f"the tokens in {tokens.directory} are of another tokenizer than the state in {state} ({there} ids, the state "
        f"has {vocab_size}{digests})",
        "name tokens of its own tokenizer with --tokens",
    )
