"""The parameters of every decoder as a table: names, axes in order, and what a parameter does along each.

`python -m growjax.model.table` prints it; `growjax/README.md` holds it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import get_args

from growjax.config import ModelConfig
from growjax.domains import DOMAINS, Dialect, Domain, Flag, Maybe, Name
from growjax.errors import UserError
from growjax.model.axes import ParamSpec
from growjax.model.decoder import named_params
from growjax.schema import Record

SIZES: Record = {"n_layers": 5, "d_model": 48, "n_heads": 6, "n_kv_heads": 3, "head_dim": 8, "d_ff": 56,
                         "vocab_size": 97, "max_seq_len": 31}  # fmt: skip
"""No two are the same, so that a shape says which it is of."""


def _options(domain: Domain) -> tuple[object, ...]:
    """The choices of a field that chooses a part; none of a number's."""
    if isinstance(domain, Maybe):
        return _options(domain.of)
    return domain.among if isinstance(domain, Name) else (True, False) if isinstance(domain, Flag) else ()


def _decoders() -> Iterator[tuple[str, ModelConfig]]:
    """Both presets, then each with one part chosen anew, by what is chosen."""
    presets = [ModelConfig(**SIZES, dialect=dialect) for dialect in get_args(Dialect)]
    yield from ((f"dialect {config.dialect}", config) for config in presets)
    for field, domain in DOMAINS["ModelConfig"].items():
        for value in _options(domain):
            for config in presets if field not in ("dialect", "dtype", "bias") else ():
                try:
                    yield f"{field} {value}", config.replace(**{field: value})
                except UserError:  # parts that do not go together
                    continue


def parameters() -> dict[str, tuple[ParamSpec, tuple[int, ...], list[str]]]:
    """By name: what a parameter is, its shape under `SIZES`, and which choices have it."""
    found: dict[str, tuple[ParamSpec, tuple[int, ...], list[str]]] = {}
    for choice, config in _decoders():
        for path, spec, shape in named_params(config):
            _, _, choices = found.setdefault(path, (spec, shape.shape, []))
            if choice not in choices:
                choices.append(choice)
    return found


def markdown() -> str:
    """The table, a line for each parameter, in alphabetical order."""
    names = {size: field for field, size in SIZES.items()}
    rows = ["| parameter | shape | along its axes | there with |", "|---|---|---|---|"]
    for path, (spec, shape, choices) in sorted(parameters().items()):
        sizes = ", ".join(names.get(size, str(size)) for size in shape)
        roles = ", ".join(f"{dim.role} {dim.axis}" for dim in spec.dims)
        presets = [choice for choice in choices if choice.startswith("dialect")]
        there = "always" if len(presets) == len(get_args(Dialect)) else " or ".join(presets or choices)
        rows.append(f"| `{path}` | {sizes} | {roles} | {there} |")
    return "\n".join(rows) + "\n"


if __name__ == "__main__":
    print(markdown(), end="")
