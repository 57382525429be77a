"""A checkpoint of 1.1 billion parameters made twice as wide on a small machine: memory, time, and a kill half-way.

    python -m experiments.straight --work DIR [--out artifacts/straight.json] [--layers 22] [--operators NAME ...]

Claims: `widen HF_DIR --as-hf` takes no more memory than the two largest tensors, in and out, and 500 MB; the folder is
whole, and one that is killed half-way is not there. The source is a Llama of TinyLlama's shape with random weights in
bfloat16, in several files. For each operator a process of its own widens it. Its peak resident size is what the system
counts for that process, mapped files included. Its time is set against a plain copy of as many bytes as come out, read
from the disk's cache and written to the same disk; both end when the bytes are on the disk. A last process is killed
when half of its bytes are written. Needs 35 GB of disk and takes about five minutes. Exits with 1 where a claim fails.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import ml_dtypes
import numpy as np

from growjax import runtime
from growjax.checkpoints.layout import places
from growjax.checkpoints.llama import FAMILY
from growjax.checkpoints.straight import BASE
from growjax.checkpoints.written import Writer
from growjax.config import ModelConfig
from growjax.files import write_text
from growjax.schema import Record
from growjax.study.spec import TargetWidths

SHAPE = ModelConfig(
    d_model=2048, n_layers=22, n_heads=32, n_kv_heads=4, head_dim=64, d_ff=5632, vocab_size=32000, max_seq_len=2048,
    tie_embeddings=False, dropout=0.0,
)  # fmt: skip
SHARD = 10**9


def make(folder: Path, model: ModelConfig) -> None:
    """Random weights in bfloat16, and no tokenizer."""
    folder.mkdir(parents=True)
    given = FAMILY.write(model, "bfloat16")
    (folder / "config.json").write_text(json.dumps(given))
    draw, found = np.random.default_rng(0), list(places(FAMILY.tensors, model))
    with Writer(folder, found, "bfloat16", SHARD) as writer:
        for place in found:
            size = (
                0.02 * draw.standard_normal(place.shape, np.float32) if len(place.shape) > 1 else np.ones(place.shape)
            )
            writer.put(place.name, size.astype(ml_dtypes.bfloat16))


def started(source: Path, out: Path, operator: str) -> subprocess.Popen[bytes]:
    """The command, under way."""
    words = ["widen", str(source), "--as-hf", "--out", str(out), "--operator", operator, "--json"]
    return subprocess.Popen([sys.executable, "-m", "growjax", *words], stdout=subprocess.PIPE)


def widened(source: Path, out: Path, operator: str) -> Record:
    """Seconds, and the peak resident size of the process that widens."""
    began = time.perf_counter()
    process = started(source, out, operator)
    assert process.stdout is not None
    said = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{operator} ended with {process.returncode}")
    described = json.loads(said)
    return {
        "seconds": seconds,
        "peak_bytes": usage.ru_maxrss * 1024,
        "stated_bytes": described["peak_bytes"],
        "cpu_seconds": usage.ru_utime + usage.ru_stime,
        "step_zero": described["stored"],
    }


def copied(folder: Path, out: Path) -> float:
    """Seconds of a plain copy of a folder's files, ended on the disk."""
    out.mkdir()
    began = time.perf_counter()
    for path in sorted(folder.glob("*.safetensors")):
        with path.open("rb") as source, (out / path.name).open("wb") as file:
            shutil.copyfileobj(source, file, 1 << 24)
            file.flush()
            os.fsync(file.fileno())
    return time.perf_counter() - began


def weight_bytes(folder: Path) -> int:
    """Bytes of a folder's files of tensors."""
    return sum(path.stat().st_size for path in folder.glob("*.safetensors"))


def allocated(folder: Path) -> int:
    """Bytes that files of tensors below a folder take on the disk, those under hidden names too."""
    return sum(path.stat().st_blocks * 512 for path in folder.glob(".*/*.safetensors"))


def killed(source: Path, out: Path, size: int) -> Record:
    """What a process leaves that is killed when half of its bytes are written."""
    process = started(source, out, "exact_copy")
    while process.poll() is None and allocated(out.parent) < size / 2:
        time.sleep(0.05)
    written = allocated(out.parent)
    process.send_signal(signal.SIGKILL)
    process.wait()
    left = [path for path in out.parent.iterdir() if path.name.endswith(".tmp")]
    found = {
        "share_written": written / size,
        "folder_there": out.exists(),
        "left": [sorted(path.name for path in folder.iterdir()) for folder in left],
    }
    for folder in left:
        shutil.rmtree(folder)
    return found


def measure(source: Path, work: Path, operator: str, largest: int) -> Record:
    """One operator, and the copy of what it wrote."""
    wide, plain = work / "wide", work / "plain"
    row = widened(source, wide, operator)
    row["bytes"] = weight_bytes(wide)
    row["copy_seconds"] = copied(wide, plain)
    row["ratio"] = row["seconds"] / row["copy_seconds"]
    row["peak_beside_two_largest"] = row["peak_bytes"] - largest
    shutil.rmtree(wide)
    shutil.rmtree(plain)
    return row


def main() -> int:
    """Measures, prints and keeps the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--work", type=Path, required=True, help="a folder on the disk to measure; made, and taken away"
    )
    parser.add_argument("--out", type=Path, default=Path("artifacts/straight.json"))
    parser.add_argument("--layers", type=int, default=SHAPE.n_layers)
    parser.add_argument("--operators", nargs="+", default=["exact_copy", "hypercloning_noisy"])
    given = parser.parse_args()
    model = SHAPE.replace(n_layers=given.layers)
    target = TargetWidths().of(model)
    source = given.work / "source"
    make(source, model)
    largest = sum(2 * max(np.prod(p.shape) for p in places(FAMILY.tensors, m)) for m in (model, target))
    try:
        rows = {name: measure(source, given.work, name, int(largest)) for name in given.operators}
        kill = killed(source, given.work / "half", rows[given.operators[0]]["bytes"])
    finally:
        shutil.rmtree(given.work)
    sizes = {"source": 2 * count(model), "target": 2 * count(target), "two_largest": int(largest)}
    figures = {
        "bytes": sizes,
        "layers": model.n_layers,
        "rows": rows,
        "killed": kill,
        "environment": runtime.environment(),
    }
    write_text(given.out, json.dumps(figures, indent=2, sort_keys=True) + "\n")
    print(json.dumps({name: figures[name] for name in ("bytes", "rows", "killed")}, indent=2))
    small = all(row["peak_bytes"] <= row["stated_bytes"] for row in rows.values())
    small = small and ("exact_copy" not in rows or rows["exact_copy"]["peak_bytes"] <= largest + BASE)
    return 0 if small and not kill["folder_there"] else 1


def count(model: ModelConfig) -> int:
    """Parameters."""
    return sum(int(np.prod(place.shape)) for place in places(FAMILY.tensors, model))


if __name__ == "__main__":
    raise SystemExit(main())
