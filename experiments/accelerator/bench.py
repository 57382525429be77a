"""Training steps and pools: all processes compile side by side, then each is timed alone."""

from __future__ import annotations

import concurrent.futures
import statistics
import sys
import time

from experiments.accelerator.bits import SMALL
from experiments.accelerator.evidence import UNPINNED, Evidence, Record, Served, all_cores
from experiments.bench.setting import Size

DATASHEET = {"bfloat16": 989e12, "float32": 67e12}
"""Dense operations a second of an H100 SXM and an H200 (NVIDIA's data sheets)."""

TURNS = 3
LOSSES_AGREE = 1e-4
"""In float32, of losses near 9, by two libraries that add in other orders: 1e-5 of the value, and room."""


def sizes(small: bool) -> dict[str, Size]:
    """The sizes by name."""
    if small:
        return {"32 float32": Size(32, 1, 4, 16, 300, 16)}
    return {
        f"{width} {dtype}": Size(width, 4, 16, 512, 8192, 64, bits)
        for width in (512, 1024) for dtype, bits in (("bfloat16", 16), ("float32", 32))
    }  # fmt: skip


def run(evidence: Evidence) -> None:
    """The stage. A pool is timed while the processes compile, which leaves the device to it; nothing else is."""
    small, torch = evidence.setting.small, evidence.setting.torch
    planned = sizes(small)
    given = {"size": SMALL if small else Size(96, 2, 12, 64, 512, 16)}
    with concurrent.futures.ThreadPoolExecutor(1) as beside:
        env = evidence.environment(cache="cache-pool", **evidence.quick())
        pool = beside.submit(evidence.worker, "pool", given, env, 150)
        late = time.monotonic() + min(150, evidence.left() - 60)
        teams = _teams(evidence, planned, late)
        losses = _all(teams, late, "losses") if torch else {}
        _all(teams, late, "steps", 2)
        found: Record = {"pool": pool.result(), "rows": {}, "torch": torch is not None}
    peak = evidence.worker("peak", {}, evidence.environment(cache="cache-shared", **evidence.quick()), limit=60)
    found["peak"], rows = peak, found["rows"]
    for _ in range(TURNS):
        for name, team in teams.items():
            row = rows.setdefault(name, {"seconds": []})
            if evidence.left() < 20:
                row.setdefault("failed", "no time")
            elif team.ended:
                row.setdefault("failed", team.ended)
            else:
                _time(team, row, 2 if small else 20)
    for name, team in teams.items():
        team.close()
        _figures(rows[name], planned[name.partition(",")[0]], peak, name.split()[1].rstrip(","))
        rows[name]["losses"] = losses.get(name, {}).get("made")
        figures = {k: rows[name].get(k) for k in ("step_ms", "tokens_per_s", "tflops", "of_peak", "failed")}
        evidence.say(f"{name:40}", figures)
    evidence.keep("bench", found)
    _judge(evidence, found, planned)


def _teams(evidence: Evidence, planned: dict[str, Size], late: float) -> dict[str, Served]:
    """Every process of every size, ready or ended: growjax's own first, which write the first parameters for all."""
    torch = evidence.setting.torch

    def start(name: str, kind: str, words: list[str], flags: str = "", **more: str) -> None:
        env = evidence.environment(flags=flags, **evidence.quick(), **more)
        teams[f"{name}, {kind}"] = Served(words, env, evidence.work / f"log-{name}-{kind}.txt")

    teams: dict[str, Served] = {}
    places = {name: str(evidence.work / f"shared-{name.replace(' ', '-')}.npz") for name in planned}
    given = {name: ",".join(map(str, size)) for name, size in planned.items()}
    for name, shared in places.items():
        start(name, "growjax", [sys.executable, "-m", "experiments.bench.ours", given[name], shared, "write", "1"])
    _all(teams, late)
    first = dict(teams)
    for name, shared in places.items():
        if planned[name].bits == 16:
            words = [sys.executable, "-m", "experiments.bench.ours", given[name], shared, "read", "1"]
            start(name, "growjax, not pinned", words, UNPINNED, **all_cores())
        kinds = () if torch is None else ("compiled", "eager") if planned[name].bits == 16 else ("compiled",)
        for kind in kinds:
            words = [torch or "", "-m", "experiments.bench.torch_peer", given[name], shared, kind, "4"]
            start(name, f"torch, {kind}", words)
    _all({name: team for name, team in teams.items() if name not in first}, late)
    return teams


def _all(teams: dict[str, Served], late: float, *question: object) -> Record:
    """What all answer to a question put to all at once (or, to none, that they are ready)."""
    able = {name: team for name, team in teams.items() if not team.ended}
    for team in able.values() if question else ():
        team.send(*question)
    return {name: team.answer(late - time.monotonic()) for name, team in able.items()}


def _time(team: Served, row: Record, steps: int) -> None:
    """One turn: what a call costs beside its steps falls out of the difference."""
    short, long = team.ask(60, "steps", steps), team.ask(120, "steps", 3 * steps)
    if team.ended:
        row["failed"] = team.ended
    elif long["seconds"] > short["seconds"]:
        row["seconds"].append((long["seconds"] - short["seconds"]) / (2 * steps))


def _figures(row: Record, size: Size, peak: Record, dtype: str) -> None:
    if not row["seconds"]:
        return
    best = statistics.median(row["seconds"])
    row |= {"step_ms": best * 1e3, "tokens_per_s": size.tokens / best, "tflops": size.flops / best / 1e12}
    row["of_datasheet"] = size.flops / best / DATASHEET[dtype]
    if dtype in peak:
        row["of_peak"] = size.flops / best / (peak[dtype] * 1e12)


def _judge(evidence: Evidence, found: Record, planned: dict[str, Size]) -> None:
    for name, row in found["rows"].items():
        if "failed" in row and "not pinned" not in name:
            evidence.fault("bench", f"{name}: {row['failed']}"[:800])
    for size in planned:
        rows = {name: row for name, row in found["rows"].items() if name.startswith(f"{size},") and row.get("losses")}
        own = rows.get(f"{size}, growjax")
        if found["torch"] and (own is None or len(rows) < 2):
            evidence.fault("bench", f"{size}: no losses to compare")
        for name, row in rows.items():
            apart = max(abs(a - b) for a, b in zip((own or row)["losses"], row["losses"], strict=True))
            row["losses_apart"] = apart
            if "float32" in size and apart > LOSSES_AGREE:
                evidence.fault("bench", f"{name}: its losses are {apart:.1g} from growjax's: not the same model")
    pool = found["pool"]
    if pool.get("map", {}).get("same bits") != pool.get("candidates") or "failed" in pool:
        evidence.fault("bench", f"a pool by lax.map has other bits than one after the other: {pool}"[:600])
