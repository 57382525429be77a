"""The table of an accelerator's evidence, in Markdown."""

from __future__ import annotations

from collections.abc import Iterable

from growjax.schema import Record


def markdown(document: Record) -> str:
    """The whole page."""
    stages = document["stages"]
    parts = [
        f"# Evidence from {document['card']}\n",
        f"{document['seconds']} s in all. " + _verdict(document),
        _facts(stages.get("facts", {})),
        _bits(stages.get("bits", {})),
        _bench(stages.get("bench", {})),
        _suspects(stages.get("suspects", {})),
        _studies(stages.get("studies", {})),
        _audit(stages.get("audit", {})),
    ]
    return "\n".join(part for part in parts if part) + "\n"


def _verdict(document: Record) -> str:
    lines = ["Every comparison holds." if not document["faults"] else "These comparisons do not hold:"]
    lines += [f"- {fault}" for fault in document["faults"]]
    lines += [f"Not reached: {', '.join(document['not_reached'])}."] if document["not_reached"] else []
    return "\n".join(lines) + "\n"


def _rows(head: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    head = list(head)
    lines = [head, ["---"] * len(head), *([_cell(x) for x in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def _cell(value: object) -> str:
    if value is None:
        return ""
    return f"{value:,.4g}" if isinstance(value, float) else str(value).replace("|", "/").replace("\n", " ")


def _facts(found: Record) -> str:
    made = found.get("worker", {})
    if "environment" not in made:
        return ""
    environment = made["environment"]
    rows = [
        ("device", environment["device_kind"]),
        ("nvidia-smi", found["nvidia-smi"].strip()),
        ("driver", environment.get("driver")),
        ("jax, jaxlib", f"{environment['packages']['jax']}, {environment['packages']['jaxlib']}"),
        *sorted(environment.get("accelerator", {}).get("packages", {}).items()),
        *sorted(environment.get("accelerator", {}).get("libraries", {}).items()),
        ("python", environment["python"]),
        ("canaries", f"{sum(not c['fault'] for c in made['canaries'].values())} of {len(made['canaries'])} pass"),
    ]
    return "## Facts\n\n" + _rows(("what", "is"), rows)


def _bits(found: Record) -> str:
    if not found:
        return ""
    programs = []
    for name, made in found["programs"].items():
        distinct = found["distinct"][name]
        compiles = [m["compile_s"] for m in made if "compile_s" in m]
        failed = sum("failed" in m for m in made)
        programs.append((
            name, len(made), failed, distinct["program"], distinct["module"], distinct["state"], distinct["losses"],
            max(compiles, default=None),
        ))  # fmt: skip
    head = ("program", "processes", "failed", "texts", "modules", "states", "traces", "compile s")
    parts = ["## Bits\n\nDistinct digests over fresh processes, alone and beside other work:\n", _rows(head, programs)]
    return "\n".join(parts)


def _studies(found: Record) -> str:
    if not found:
        return ""
    diff, rows = found["diff"], found["rows"].get("rows", [])
    text = f"{diff.get('compared')} cells of two studies compared, first difference {diff.get('difference')}.\n"
    table = [(r["row"], r["changes"], r["verdict"], len(r["compared"])) for r in rows]
    return f"## Studies\n\n{text}\n" + _rows(("row", "what is changed", "verdict", "compared"), table)


def _bench(found: Record) -> str:
    if not found:
        return ""
    names = ("step_ms", "tokens_per_s", "tflops", "of_peak", "of_datasheet", "losses_apart", "failed")
    rows = [(name, *(row.get(n) for n in names)) for name, row in found["rows"].items()]
    head = ("step", "ms", "tokens/s", "TFLOP/s", "of the product rate", "of the data sheet", "losses apart", "failed")
    peak = ", ".join(f"{k} {v:,.1f}" for k, v in found["peak"].items() if isinstance(v, float) and k != "wall_s")
    parts = [f"## Speed\n\nOne large product, TFLOP/s, and a copy: {peak}.\n", _rows(head, rows)]
    pool = found.get("pool", {})
    if "map" in pool:
        ways = [("one after the other", pool["one after the other"], pool["candidates"])]
        ways += [(n, pool[n]["seconds"], pool[n]["same bits"]) for n in ("map", "vmap") if n in pool]
        parts.append(
            _rows((f"{pool['candidates']} candidates, {pool['steps']} steps", "s", "with the same bits"), ways)
        )
    return "\n".join(parts)


def _suspects(found: Record) -> str:
    rows = [(n, r.get("ms"), r.get("repeats"), r.get("failed")) for n, r in found.items() if isinstance(r, dict)]
    return "## Parts\n\n" + _rows(("part", "ms", "bits repeat", "failed"), rows) if rows else ""


def _audit(found: Record) -> str:
    if not found:
        return ""
    rows = list(found.get("counts", {}).items())
    return f"## Audit\n\nholds: {found.get('holds')}\n\n" + _rows(("what", "number"), rows)
