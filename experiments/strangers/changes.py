"""Changes to records, to bytes and to words: what a careless or hostile hand may have made of them."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator
from typing import Any

VALUES: list[Any] = [
    None, True, False, -1, 0, 1, 7, 2**31, 2**63, 10**30, 0.5, -0.0, 1e300, "", "x", "../../etc", "/etc/passwd",
    "hf:a/b", "os:system", "\x1b[31mred\x1b[0m", "[bold red]x[/]", "[/]", "<script>alert(1)</script>", "a\nb", "\ud800",
    "0" * 64, "nan", "0x1p99999", "A" * 5000, [], [1], [[]], [None] * 3, {}, {"a": 1}, {"x": {"y": [1, {"z": None}]}},
    "perturbed:sigma=1", "deterministic", [[[[[[[[[[[[[[[[[[[[[[[[[[[[[[0]]]]]]]]]]]]]]]]]]]]]]]]]]]]]],
    float("nan"), float("inf"), 2**24, 2**31 - 1, 2**48, 10**12, "\u202egnp", "é" * 300, "\x00",
]  # fmt: skip
"""In place of any value: of every kind, too large, too long, too deep, and texts that mean something elsewhere."""

NAMES = ["", "a", "x" * 400, "\x1b[2J", "[red]", "__class__", "../x", "\udcff"]
"""In place of any name."""


def places(value: Any, path: tuple = ()) -> Iterator[tuple]:
    """Where every value of a tree stands."""
    if path:
        yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from places(inner, (*path, key))


def change(record: Any, rng: random.Random) -> tuple:
    """Changes one place of a record, and returns its path; of a receipt, often one of its configuration, or of one of
    its cells."""
    top, path = record, rng.choice([(name,) for name in record])
    if isinstance(record.get("config"), dict) and record["config"] and rng.random() < 0.2:
        top, path = record["config"], (rng.choice(list(record["config"])),)
    elif isinstance(record.get("cells"), list) and record["cells"] and rng.random() < 0.6:
        top = rng.choice(record["cells"])
        if not isinstance(top, dict) or not top:
            return path
        path = ("kind",) if "kind" in top else (next(iter(top)),)
    if top is not record or rng.random() < 0.7:
        path = rng.choice(list(places({k: v for k, v in top.items() if k not in ("cells", "source_code")})) or [path])
    change_at(top, path, rng)
    return path


def change_at(top: Any, path: tuple, rng: random.Random) -> None:
    """Another value, gone, one more, moved by one, or under another name."""
    node = top
    for step in path[:-1]:
        node = node[step]
    last, kind = path[-1], rng.randrange(6)
    old = node[last]
    if kind == 0:
        del node[last]
    elif kind == 1 and isinstance(old, list) and old:
        old.append(copy.deepcopy(rng.choice(old)))
    elif kind == 2 and isinstance(old, int | float) and not isinstance(old, bool):
        node[last] = rng.choice([old + 1, old - 1, -old, old * 2, old * 10**6, old / 3])
    elif kind == 3 and isinstance(node, dict):
        node[rng.choice(NAMES)] = node.pop(last)
    elif kind == 4 and isinstance(old, str):
        node[last] = rng.choice([old[:-1], old + old, old.upper(), f"{old}\x07", f"[{old}]", old[::-1]])
    else:
        node[last] = copy.deepcopy(rng.choice(VALUES))


def change_bytes(data: bytes, rng: random.Random) -> bytes:
    """A bit flipped, a piece gone, doubled, of zeros or of anything, an end cut off, or other bytes altogether."""
    at = rng.randrange(len(data) + 1)
    size = min(rng.choice((1, 1, 2, 8, 100, 4096)), len(data) - at)
    kind = rng.randrange(8)
    if kind == 0 and at < len(data):
        return data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :]
    if kind == 1:
        return data[:at]
    if kind == 2:
        return data[:at] + data[at + size :]
    if kind == 3:
        return data[: at + size] + data[at:]
    if kind == 4:
        return data[:at] + bytes(size) + data[at + size :]
    if kind == 5:
        return data[:at] + rng.randbytes(rng.choice((1, 4, 64))) + data[at:]
    if kind == 6:
        return rng.choice(
            [b"", b"\0", b"{}", b"[]", b"null", b"1e999", b"\xff\xfe{", b"\xef\xbb\xbf{}", b'{"a":' * 5000]
        )
    return data + rng.choice([b"\n", b"{}", b"\0", data])
