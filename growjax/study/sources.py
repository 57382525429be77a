"""Sources that were not trained here: a state, a run directory or a Hugging Face checkpoint, opened and checked.

`open_source` is the one way in. A specification knows a source by the digest of its state, and a tokenizer by that of
its file; `resolve` puts digests where a user named paths, and says where each lies.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

import jax
import numpy as np

from growjax.checkpoints import Extras, kept, load
from growjax.checkpoints.registry import family_of
from growjax.checkpoints.stored import read_json
from growjax.config import DataConfig, TrainConfig
from growjax.data.corpus import corpus_name
from growjax.data.tokenizer import FILE, file_digest, is_digest, read_file, read_tokenizer, vocabulary
from growjax.errors import CheckFailed, UserError
from growjax.record.integrity import finished_receipt, is_going, read_receipt
from growjax.record.receipt_types import SourceHint
from growjax.record.store import load_state, read_info, state_digest
from growjax.record.tokens_of import own_tokenizer, recorded_origin
from growjax.study.checks import require_vocabulary
from growjax.study.names import DIGEST_STEP, Given
from growjax.study.spec import StudySpec
from growjax.train.check import check_finite, check_state
from growjax.train.state import TrainState, fresh_state

FREE = ("dropout", "dtype")
"""Fields of a model that a source may go on with otherwise: they change no parameter."""


class Source(NamedTuple):
    """A source that was not trained here, as it was found."""

    path: Path
    """As it was named."""
    folder: Path
    """Of the state, or of the checkpoint."""
    state: TrainState
    given: Given
    extras: Extras | None
    """What came with the Hugging Face checkpoint that it came from, if it did."""
    tokenizer: Path | None
    """Its own tokenizer.json, where that lies beside it."""
    tokenizer_digest: str | None
    """SHA-256 of that file, where it is known."""

    @property
    def fresh(self) -> bool:
        """Whether its optimizer has seen nothing: moments and counters are 0."""
        return not any(np.any(leaf) for leaf in jax.tree.leaves(self.state.opt_state))

    @property
    def hint(self) -> SourceHint:
        """What a receipt says of how to get it."""
        moments = "zero: the optimizer had seen nothing" if self.fresh else "its own"
        model_type = self.extras and self.extras.config.get("model_type")
        return {
            "path": _shown(self.path),
            "model_type": model_type,
            "moments": moments,
            "tokenizer": self.tokenizer_digest,
        }


def is_checkpoint(path: Path) -> bool:
    """Whether a folder is a Hugging Face checkpoint, and no state."""
    return (path / "config.json").exists() and not (path / "state.json").exists()


def find_state(path: Path) -> Path:
    """The folder of the state that a path names: itself, what a selection has chosen, or the last source state of a run
    directory. Raises `UserError` where there is none."""
    for folder in (path, path / "chosen"):
        if (folder / "state.json").exists():
            return folder
    if (path / "receipt.json").exists() or is_going(path):
        cells = finished_receipt(path)["cells"]
        sources = [c for c in cells if c["kind"] == "source"] or [c for c in cells if c["kind"] == "given"]
        if sources:
            last = max(sources, key=lambda c: (c["parameters"]["step"], -c["parameters"].get("seed", 0)))
            return path / "cells" / last["id"]
    raise UserError(f"{path} holds no state", "name a run directory, or a folder with state.json in it")


def source_config(path: Path) -> TrainConfig:
    """Model and optimizer of a source, without reading its parameters; an imported one has an optimizer's defaults."""
    if is_checkpoint(path):
        given = read_json(path / "config.json")
        return TrainConfig(model=family_of(given).read(given)[0])
    return TrainConfig.from_dict(read_info(find_state(path))["config"])


def open_source(path: Path) -> Source:
    """A source: a folder that holds a state (RUN/cells/ID, or what `import` and `widen` write), a run directory (its
    last source state), or a Hugging Face checkpoint (at step 0, with moments of 0).

    Its leaves are those of its configuration, every value is finite, and what is stored is what was written. Raises
    `UserError`, in one line, where that does not hold, or where there is no source.
    """
    if is_checkpoint(path):
        folder, (state, extras) = path, load(path)
    else:
        folder = find_state(path)
        state, extras = load_state(folder), kept(folder)
    check_state(state)
    check_finite(state)
    given = Given(state_digest(state), int(state.step))
    return Source(path, folder, state, given, extras, *_tokenizer(folder))


def _tokenizer(folder: Path) -> tuple[Path | None, str | None]:
    """A source's own tokenizer.json, and its digest; one that merely lies near is not taken for its own."""
    recorded = recorded_origin(folder).tokenizer
    places = (own_tokenizer(folder), folder / "data" / FILE, folder.parent.parent / "data" / FILE)
    for path in places:
        if path is not None and path.is_file() and file_digest(path.read_bytes()) == recorded:
            return path, recorded
    return None, recorded


def own_data(path: Path) -> DataConfig | None:
    """What the run that a source lies in trained on; None where it lies in none."""
    folder = path if is_checkpoint(path) else find_state(path)
    try:
        found = read_receipt(folder.parent.parent)["config"].get("data", {}) if folder.parent.name == "cells" else None
        return DataConfig.from_dict(found) if isinstance(found, dict) else None
    except (UserError, CheckFailed, OSError, KeyError, TypeError):  # what lies above a state need not be its run
        return None


Spec = TypeVar("Spec", bound=StudySpec)


def with_sources(spec: Spec, paths: Sequence[Path]) -> Spec:
    """A study of sources that were not trained here, each taken as it is: their model, the first one's optimizer and
    tokenizer, and windows no longer than their positions."""
    config = source_config(paths[0])
    folder = paths[0] if is_checkpoint(paths[0]) else find_state(paths[0])
    tokenizer = _tokenizer(folder)[0]
    length = min(spec.data.seq_len, config.model.max_seq_len)
    data = spec.data.replace(seq_len=length, tokenizer="" if tokenizer is None else str(tokenizer))
    return spec.replace(
        source=tuple(map(str, paths)), source_steps=(0,), model=config.model, optim=config.optim, data=data
    )


@dataclasses.dataclass(frozen=True)
class Places:
    """Where what a specification knows by digest, or by name, lies here."""

    sources: Mapping[str, Source]
    """By digest of the state."""
    tokenizer: Path | None
    corpus: str | None
    """None where the specification's own word says it."""

    def inputs(self) -> dict[str, object]:
        """What a receipt says of them."""
        sources = {digest: source.hint for digest, source in self.sources.items()}
        place = {"tokenizer": _shown(self.tokenizer)} if self.tokenizer else {}
        return {**({"sources": sources} if sources else {}), **place}


def _shown(path: Path) -> str:
    """A path as a receipt has it: its last 300 characters, all of which can be printed."""
    text = str(path)
    return (text if text.isprintable() else ascii(text)[1:-1])[-300:]


def resolve(
    spec: StudySpec, *, sources: Sequence[Path] = (), tokenizer: Path | None = None, corpus: str | None = None
) -> tuple[StudySpec, Places]:
    """The specification with digests where it named paths (of a corpus's path the last part, so that a cell's id does
    not depend on where the corpus lies: its files' digests say which it is), and where what it names lies. `sources`
    and `tokenizer` are what digests may be of. Where it is said where the corpus lies, its name stays. Raises
    `UserError` for a source that the specification does not fit, or that lies elsewhere than is said."""
    named = {word: open_source(Path(word)) for word in spec.source if not DIGEST_STEP.fullmatch(word)}
    words = tuple("{}@{}".format(*named[word].given) if word in named else word for word in spec.source)
    spec = spec if words == spec.source else spec.replace(source=words)
    known = {source.given.digest: source for source in (*named.values(), *map(open_source, sources))}
    wanted = [one.digest for one in spec.given()]
    for digest, source in known.items():
        if digest not in wanted:
            fault = f"{source.path} is none of the study's sources (digest {digest[:12]})"
            raise UserError(fault, f"name the one of digest {', '.join(one[:12] for one in wanted)}" if wanted else
                            "leave it out: its sources were trained here")  # fmt: skip
    spec, place = _with_tokenizer(spec, tokenizer, known)
    for source in known.values():
        _require_fit(spec, source)
    if known and place is not None:
        size = vocabulary(read_tokenizer(place.read_bytes(), str(place)))
        require_vocabulary(size, spec.model)
    named = corpus_name(spec.data.corpus)
    if corpus is None and named != spec.data.corpus:
        spec, corpus = spec.replace(data=spec.data.replace(corpus=named)), spec.data.corpus
    return spec, Places(known, place, corpus)


def _with_tokenizer(
    spec: StudySpec, tokenizer: Path | None, known: Mapping[str, Source]
) -> tuple[StudySpec, Path | None]:
    """The specification with its tokenizer's digest, and where that lies, if it is at hand."""
    name = spec.data.tokenizer
    own = [source.tokenizer for source in known.values() if source.tokenizer is not None]
    if not name and spec.source:
        if not own:
            raise UserError(
                "no tokenizer lies beside the source, and a new one would give its ids another meaning",
                "name its tokenizer.json with --data.tokenizer",
            )
        name = str(own[0])
    if not name:
        return spec, None
    if not is_digest(name):
        place = Path(name)
        digest = file_digest(read_file(place))
        return spec.replace(data=spec.data.replace(tokenizer=digest)), place
    if tokenizer is not None and file_digest(read_file(tokenizer)) != name:
        raise UserError(f"{tokenizer} is not the study's tokenizer (digest {name[:12]})", "name another file")
    places = [path for path in (*own, tokenizer) if path is not None and file_digest(path.read_bytes()) == name]
    return spec, places[-1] if places else None


def _require_fit(spec: StudySpec, source: Source) -> None:
    """Raises `UserError` where a specification asks for another model than a source's, and the like."""
    model, optim, own = spec.model, spec.optim, source.state.config
    for field in dataclasses.fields(model):
        asked, has = getattr(model, field.name), getattr(own.model, field.name)
        if field.name not in FREE and asked != has:
            raise UserError(
                f"model.{field.name} is {asked}, and the source {source.path} has {has}",
                "a source keeps its model, and those of one study have one: leave the option out, or widen",
            )
    if model.param_dtype != own.model.param_dtype:
        raise UserError(f"model.dtype is {model.dtype}, and the source {source.path} is kept in "
                        f"{own.model.param_dtype}", "choose a dtype that is kept as it is")  # fmt: skip
    if optim.name != own.optim.name and not source.fresh:
        raise UserError(
            f"optim.name is {optim.name}, and the moments of {source.path} are {own.optim.name}'s",
            "go on with its own optimizer, or start from its exported parameters",
        )
    if spec.data.seq_len > model.max_seq_len:
        raise UserError(
            f"data.seq_len is {spec.data.seq_len}, and the source {source.path} has {model.max_seq_len} positions",
            f"give --data.seq-len {model.max_seq_len} at most",
        )
    if source.tokenizer_digest not in (None, spec.data.tokenizer):
        raise UserError(
            f"tokenizer {spec.data.tokenizer[:12]} is not that of the source {source.path} "
            f"({str(source.tokenizer_digest)[:12]})",
            "leave out --data.tokenizer, or name the source's own",
        )


def as_given(source: Source, config: TrainConfig) -> TrainState:
    """A source's state under a study's configuration; its law factors, counters and moments are its own. Another
    optimizer than its own starts with moments of 0."""
    state = source.state
    if config.optim.name != state.config.optim.name:
        return fresh_state(config, state.params).replace(step=state.step)
    return state.replace(config=config)
