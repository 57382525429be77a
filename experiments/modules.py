"""What an optimized module of XLA holds, counted from its text: launches, sorts, products, by kind."""

from __future__ import annotations

import collections
import re
from typing import NamedTuple

_HEAD = re.compile(r"^(ENTRY )?%?([\w.\-]+) \(.*\) -> .* \{")
_CALLED = re.compile(r"(?:calls|to_apply|body|condition)=%?([\w.\-]+)")
_CONDITION = re.compile(r"condition=%?[\w.\-]+")
_BRANCHES = re.compile(r"(?:branch_computations=\{|called_computations=\{)([^}]*)\}")
_TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"')
_KIND = re.compile(r'"kind":"([^"]+)"')
_TARGET = re.compile(r'custom_call_target="([^"]+)"')

_PRODUCTS = ("gemm", "matmul", "dot", "convolution")

NO_LAUNCH = {
    "parameter", "constant", "tuple", "get-tuple-element", "bitcast", "while", "conditional", "call", "after-all",
    "opt-barrier", "partition-id", "replica-id", "iota",
}  # fmt: skip
"""Instructions that start nothing on the device themselves."""


class Instruction(NamedTuple):
    """One line of a computation."""

    op: str
    line: str


class Counts(NamedTuple):
    """What one execution of a module starts on the device, the rounds of loops of a known length each counted."""

    launches: int
    sorts: int
    scatters: int
    products: int
    by_kind: dict[str, int]
    """Launches by what is launched: the target of a custom call, the kind of a fusion, or the instruction's name."""
    open_loops: int
    """Loops of a length that only data says: counted as one round."""


def parse(text: str) -> tuple[dict[str, list[Instruction]], str]:
    """(computations by name, name of the entry) of a module's text. Raises `ValueError` where it has no entry."""
    computations: dict[str, list[Instruction]] = {}
    entry, current = None, None
    for line in text.splitlines():
        head = _HEAD.match(line)
        if head:
            current = computations.setdefault(head[2], [])
            entry = head[2] if head[1] else entry
        elif line.startswith("}"):
            current = None
        elif current is not None and " = " in line:
            current.append(Instruction(_op(line.split(" = ", 1)[1]), line))
    if entry is None:
        raise ValueError("the text holds no entry computation")
    return computations, entry


def _op(rest: str) -> str:
    """The name of an operation, which stands behind its type: one word, or a tuple in brackets."""
    if rest.startswith("("):
        depth = 0
        for place, letter in enumerate(rest):
            depth += {"(": 1, ")": -1}.get(letter, 0)
            if depth == 0:
                rest = rest[place + 1 :]
                break
    else:
        rest = rest.partition(" ")[2]
    found = re.match(r"\s*([a-z][\w\-]*)\(", rest)
    return found[1] if found else ""


def count(text: str) -> Counts:
    """Counts what one execution of a module starts."""
    computations, entry = parse(text)
    kinds: collections.Counter[str] = collections.Counter()
    open_loops = 0

    def walk(name: str, times: int) -> None:
        nonlocal open_loops
        for instruction in computations.get(name, []):
            op, line = instruction
            if op in ("while", "call", "conditional", "async-start"):
                trips = 1
                if op == "while":
                    known = _TRIPS.search(line)
                    trips, open_loops = (int(known[1]), open_loops) if known else (1, open_loops + 1)
                inner = _CALLED.findall(line if trips == 1 else _CONDITION.sub("", line))
                inner += [n.strip().lstrip("%") for group in _BRANCHES.findall(line) for n in group.split(",")]
                for other in inner:
                    walk(other, times * trips)
            elif op and op not in NO_LAUNCH:
                kinds[_kind(instruction, computations)] += times

    walk(entry, 1)
    sorts, scatters = _number(kinds, "sort"), _number(kinds, "scatter")
    inside = _inside_fusions(computations)
    products = sum(n for kind, n in kinds.items() if any(word in kind for word in _PRODUCTS))
    return Counts(sum(kinds.values()), sorts + inside["sort"], scatters + inside["scatter"], products, dict(kinds),
                  open_loops)  # fmt: skip


def _number(kinds: collections.Counter[str], op: str) -> int:
    return sum(n for kind, n in kinds.items() if op in kind.lower())


def _inside_fusions(computations: dict[str, list[Instruction]]) -> collections.Counter[str]:
    """Operations within fused computations, each counted once."""
    fused = {
        name for body in computations.values() for op, line in body if op == "fusion" for name in _CALLED.findall(line)
    }
    return collections.Counter(op for name in fused for op, _ in computations.get(name, []))


def _kind(instruction: Instruction, computations: dict[str, list[Instruction]]) -> str:
    op, line = instruction
    if op == "custom-call":
        target = _TARGET.search(line)
        return target[1] if target else op
    if op == "fusion":
        inner = [i for name in _CALLED.findall(line) for i in computations.get(name, [])]
        products = [i for i in inner if i.op in ("custom-call", "dot", "convolution")]
        if products:  # sliced, multiplied and stored at once
            return _kind(products[0], computations)
        kind = _KIND.search(line)
        return kind[1] if kind else op
    return op
