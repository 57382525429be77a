"""What one process of the evidence computes: `python -m experiments.accelerator.workers NAME JSON`."""

from __future__ import annotations

import hashlib
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from growjax import runtime

NOTES = runtime.pin()
runtime.start()

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402

from experiments.bench.setting import Size, config, windows  # noqa: E402
from growjax.config import json_digest  # noqa: E402
from growjax.digests import digest, leaf_digests, words_hex  # noqa: E402
from growjax.model import attention, embedding, loss  # noqa: E402
from growjax.preflight.busy import busy_device  # noqa: E402
from growjax.preflight.canaries import CANARIES  # noqa: E402
from growjax.preflight.verdict import preflight  # noqa: E402
from growjax.record.store import state_digest  # noqa: E402
from growjax.schema import Record  # noqa: E402
from growjax.streams import Streams, root_key  # noqa: E402
from growjax.train import loop  # noqa: E402
from growjax.train.programs import Programs  # noqa: E402
from growjax.train.state import TrainState, init_state  # noqa: E402


def size_of(given: Record) -> Size:
    """The size of a job, as it came through JSON."""
    return Size(*given["size"])


def first_state(given: Record, seed: int = 0) -> TrainState:
    """A state at step 0."""
    return init_state(config(size_of(given)), key=Streams(root_key(seed)).at("init", 0))


def facts(given: Record) -> Record:
    """Environment, pins and canaries, each alone and beside other work."""
    seen: dict[str, Record] = {}
    for name, canary in CANARIES.items():
        began, found = time.perf_counter(), canary()
        seen[name] = {"fault": found.fault, "alone": digest(found.value)[:16], "first_s": time.perf_counter() - began}
    with busy_device():
        for name, canary in CANARIES.items():
            seen[name]["beside"] = digest(canary().value)[:16]
    verdict = preflight()["verdict"]
    return {
        "python": sys.version, "notes": NOTES, "pins": runtime.pins(), "environment": runtime.environment(),
        "devices": [str(d) for d in jax.devices()], "canaries": seen, "preflight": verdict,
        "memory": jax.devices()[0].memory_stats(),
    }  # fmt: skip


def program(given: Record) -> Record:
    """Eight steps of a job's program with three evaluations, from a fresh compilation: every digest of it."""
    attention.ELSEWHERE = given.get("attention", attention.ELSEWHERE)
    size = size_of(given)
    tokens = windows(size, 64)
    feed = loop.Feed(jnp.asarray(tokens[8:]), jnp.asarray(tokens[:4].reshape(2, 2, -1)))
    state, programs = first_state(given, given.get("seed", 0)), Programs()
    live = loop.run_keys(Streams(root_key(1, "study")), ("order", "dropout"))
    sizes: Any = {"max_steps": 8, "max_evals": 3, "batch_size": size.batch, "programs": programs}
    began = time.perf_counter()
    loop.compile_run(state, feed, live, **sizes)
    compiled = time.perf_counter()
    done = loop.run(state, feed, live, segments=2, segment_steps=4, **sizes)
    if "hlo" in given:
        text = next(iter(programs._compiled.values())).call.as_text() or ""
        (Path(given["hlo"]) / f"module-{done.module[:16]}.txt").write_text(text, encoding="utf-8")
    traced = done.trace.loss.tobytes() + done.trace.eval_loss.tobytes() + done.trace.params_digest.tobytes()
    return {
        "pinned": runtime.pins()["pinned"], "pins": json_digest(runtime.pins())[:16],
        "program": done.program[:16], "module": done.module[:16],
        "state": state_digest(done.state)[:16], "losses": hashlib.sha256(traced).hexdigest()[:16],
        "last_loss": float(done.trace.loss[-1]), "compile_s": round(compiled - began, 1),
        "run_s": round(time.perf_counter() - compiled, 2),
    }  # fmt: skip


def seconds(function: Callable[..., object], *arrays: object, times: int = 5) -> float:
    """Median of three measurements of so many calls, per call."""
    jax.block_until_ready([function(*arrays) for _ in range(times)])  # memory for all of the results is there after it
    found = []
    for _ in range(3):
        began = time.perf_counter()
        made = [function(*arrays) for _ in range(times)]
        jax.block_until_ready(made)
        found.append((time.perf_counter() - began) / times)
    return statistics.median(found)


def peak(given: Record) -> Record:
    """TFLOP/s of one large product of random numbers under the pins, and GB/s of a copy."""
    found: Record = {}
    for name, size in (("bfloat16", 256 if given["small"] else 8192), ("float32", 256 if given["small"] else 4096)):
        a, b = (jax.random.normal(jax.random.key(i), (size, size), jnp.dtype(name)) for i in range(2))
        found[name] = 2 * size**3 / seconds(jax.jit(jnp.matmul), a, b) / 1e12
    count = 1 << (18 if given["small"] else 28)
    found["copy GB/s"] = 8 * count / seconds(jax.jit(lambda x: x + 1), jnp.ones(count, jnp.float32)) / 1e9
    return found


def pool(given: Record) -> Record:
    """Small candidates on one device: one after the other, by `lax.map` in one program, by `vmap` in one program; how
    long each takes, and whether each candidate has the bits that it has alone."""
    count, steps = (2, 2) if given["small"] else (8, 64)
    size = size_of(given)
    tokens = windows(size, 64)
    feed = loop.Feed(jnp.asarray(tokens[8:]), jnp.asarray(tokens[:8].reshape(2, 4, -1)))
    live = loop.run_keys(Streams(root_key(1, "study")), ("order", "dropout"))
    states = [first_state(given, seed) for seed in range(count)]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *states)
    numbers = [jnp.asarray(n, jnp.int32) for n in (0, 2, steps // 2)]
    one = loop.traced_run(batch_size=size.batch, max_steps=steps, max_evals=3)

    def trained(state: TrainState) -> tuple[jax.Array, jax.Array]:
        state, trace = one(state, feed, live, *numbers)
        return leaf_digests(state), trace.loss

    alone, found = jax.jit(trained), {}
    expected = [words_hex(np.asarray(alone(state)[0])) for state in states]
    ways = {"map": lambda s: jax.lax.map(trained, s), **({} if given["small"] else {"vmap": jax.vmap(trained)})}
    for name, together in ways.items():
        call = jax.jit(together)
        made = [words_hex(row) for row in np.asarray(call(stacked)[0])]
        found[name] = {
            "seconds": seconds(call, stacked, times=1),
            "same bits": sum(a == b for a, b in zip(made, expected, strict=True)),
        }
    began = time.perf_counter()
    jax.block_until_ready([alone(state) for state in states])
    return {
        "candidates": count,
        "steps": steps,
        "one after the other": time.perf_counter() - began,
        **found,
    }


def suspects(given: Record) -> Record:
    """What is likely to be slow on an accelerator, each by itself, in milliseconds, and whether its bits repeat."""
    small = given["small"]
    rows, vocab, length, head = (64, 300, 16, 8) if small else (8192, 8192, 512, 64)
    found: Record = {}

    def put(name: str, function: Callable[..., object], *arrays: object) -> None:
        try:
            call, began = jax.jit(function), time.perf_counter()
            first = digest(call(*arrays))
            compiled = time.perf_counter() - began
            same = all(digest(call(*arrays)) == first for _ in range(3))
            found[name] = {"ms": 1e3 * seconds(call, *arrays), "compile_s": round(compiled, 1), "repeats": same}
        except Exception as error:  # a way that this device does not have
            found[name] = {"failed": f"{type(error).__name__}: {error}"[:300]}
        print(json.dumps(found), flush=True)  # what there is, where time runs out

    key = jax.random.key(0)
    tokens = jax.random.randint(key, (rows, 1), 0, vocab, jnp.int32)
    for width in (16,) if small else (512, 1024):
        for dtype in (jnp.float32,) if small else (jnp.bfloat16, jnp.float32):
            name = f"{width} {jnp.dtype(dtype).name}"
            g, table = (jax.random.normal(key, (n, width), dtype) for n in (rows, vocab))
            put(f"{name}: embedding's gradient by scatter", lambda t, g: embedding._by_scatter(vocab, t, g), tokens, g)
            put(
                f"{name}: embedding's gradient by product",
                lambda t, g: embedding.gradient_by_product(vocab, t, g), tokens, g,
            )  # fmt: skip
            put(f"{name}: loss and gradient, a CPU's chunks", loss._both, g, table, tokens[:, 0])
            for power in (23, 26):

                def both(x: jax.Array, h: jax.Array, t: jax.Array, power: int = power) -> object:
                    kept, loss.CHUNK_ELSEWHERE = loss.CHUNK_ELSEWHERE, 1 << power
                    try:
                        return loss._both_elsewhere(x, h, t)
                    finally:
                        loss.CHUNK_ELSEWHERE = kept

                put(f"{name}: loss and gradient, 2^{power} logits at a time", both, g, table, tokens[:, 0])
            q, k, v, cotangent = (
                jax.random.normal(jax.random.key(i), (rows // length, length, width // head, head), dtype)
                for i in range(4)
            )
            for way, (forward, backward) in attention.WAYS.items():

                def step(q: Any, k: Any, v: Any, g: Any, forward: Any = forward, backward: Any = backward) -> Any:
                    q, g = q[:, :, :, None], g[:, :, :, None]
                    return backward(q, k, v, *forward(q, k, v), g)

                put(f"{name}: attention and gradient, {way}", step, q, k, v, cotangent)
    size = (1 << (12 if small else 26)) // 12
    put("digests of 64 Mi parameters in 12 leaves", leaf_digests, [jnp.ones(size, jnp.float32)] * 12)
    return found


WORKERS: dict[str, Callable[[Record], Record]] = {
    "facts": facts, "program": program, "peak": peak, "pool": pool, "suspects": suspects,
}  # fmt: skip


if __name__ == "__main__":
    print(json.dumps(WORKERS[sys.argv[1]](json.loads(sys.argv[2])), default=str), flush=True)
