"""growjax's programs compiled for a GPU without one: what the modules hold, and whether fresh processes agree.

    python -m experiments.compile_for_card [--card h100] [--processes 6] [--out FILE] [--python PYTHON]

Needs jax-cuda13-plugin and jax-cuda13-pjrt of jax's own version beside jax, and no card. Compiles a training step and
the study's loop at two widths, each in so many fresh processes without a compilation cache, and prints launches,
sorts, products by kind and temporary memory. Exit code 1 where two processes disagree on a module, or a module of the
pins sorts. With `--small` the programs are small and compiled for the CPU that is here: a rehearsal, for the tests.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import json
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import Any

import tyro

from experiments import modules
from experiments.bench.setting import Size, config
from experiments.cards import CARDS, target
from growjax import runtime
from growjax.files import write_text
from growjax.schema import Record


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Compile for a card without having one."""

    card: str = "h100"
    """One of `experiments.cards.CARDS`."""
    processes: int = 6
    """Fresh processes that compile each program."""
    widths: tuple[int, ...] = (512, 1024)
    dtypes: tuple[str, ...] = ("bfloat16",)
    attention: str = ""
    """A way of `growjax.model.attention.WAYS`; growjax's own choice if not given."""
    flags: str = ""
    """Flags of XLA beside the pins; one that a pin sets takes the pin's place."""
    python: str = sys.executable
    """Interpreter with jax and the plugins."""
    out: Path | None = None
    small: bool = False
    """Small programs for the CPU that is here."""


def main(argv: list[str]) -> int:
    """Compiles, prints a table, writes the file; returns the exit code."""
    if argv[:1] == ["worker"]:
        print(json.dumps(compile_one(json.loads(argv[1]))), flush=True)
        return 0
    given = tyro.cli(Arguments, args=argv, description=__doc__)
    layers, batch, length, vocab, head = (1, 4, 32, 300, 16) if given.small else (4, 16, 512, 8192, 64)
    jobs = [
        {"what": what, "width": width, "dtype": dtype, "card": "" if given.small else given.card,
         "attention": given.attention,
         "size": Size(width, layers, batch, length, vocab, head, 16 if dtype == "bfloat16" else 32)}
        for width in given.widths for dtype in given.dtypes for what in ("step", "loop")
    ]  # fmt: skip
    rows = [compiled(job, given) for job in jobs]
    for row in rows:
        print(line(row), flush=True)
    document = {"card": "" if given.small else CARDS[given.card].name, "flags": given.flags, "rows": rows}
    if given.out is not None:
        write_text(given.out, json.dumps(document, indent=1, sort_keys=True) + "\n")
    return 0 if all(holds(row) for row in rows) else 1


def holds(row: Record) -> bool:
    """Whether every process came to the same module, and it sorts nothing."""
    return row["failed"] == 0 and row["modules"] == 1 and row["programs"] == 1 and row["sorts"] == 0


def line(row: Record) -> str:
    """A row for the terminal."""
    name = f"{row['job']['what']:5}{row['job']['width']:5} {row['job']['dtype']:9}"
    if "launches" not in row:
        return f"{name} not compiled: {row['error']}"
    agree = f"{row['processes'] - row['failed']} processes, {row['modules']} module"
    return (
        f"{name}{row['launches']:6} launches {row['products']:4} products {row['sorts']:2} sorts "
        f"{row['temporary_mb']:6} MB  {agree}  {row['by_kind']}"
    )


def compiled(job: Record, given: Arguments) -> Record:
    """One program by all its processes."""
    words = [given.python, "-m", "experiments.compile_for_card", "worker", json.dumps(job)]
    env = {**runtime.without_pins(), "XLA_FLAGS": given.flags, "JAX_ENABLE_COMPILATION_CACHE": "false",
           "TF_CPP_MIN_LOG_LEVEL": "3", "JAX_SKIP_CUDA_CONSTRAINTS_CHECK": "1"}  # fmt: skip
    if given.small:
        env["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"
    began = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(runtime.cores()) as pool:
        made = list(pool.map(lambda _: _process(words, env), range(given.processes)))
    good = [m for m in made if "module" in m]
    row: Record = {
        "job": job, "processes": len(made), "failed": len(made) - len(good),
        "wall_s": round(time.monotonic() - began, 1),
        "modules": len({m["module"] for m in good}), "programs": len({m["program"] for m in good}),
    }  # fmt: skip
    if len(good) < len(made):
        row["error"] = next(m["error"] for m in made if "module" not in m)
    return {**(good[0] if good else {}), **row}


def _process(words: list[str], env: dict[str, str]) -> Record:
    done = subprocess.run(words, env=env, capture_output=True, text=True)
    if done.returncode:
        return {"error": (done.stderr.strip().splitlines() or ["it said nothing"])[-1][:500]}
    return json.loads(done.stdout.splitlines()[-1])


def compile_one(job: Record) -> Record:
    """Compiles one program here; returns digests and counts."""
    runtime.pin()
    import jax
    import jax.numpy as jnp

    from growjax.model import attention
    from growjax.streams import Streams, root_key
    from growjax.train import loop
    from growjax.train.programs import module_digest, text_digest
    from growjax.train.state import StepKeys, init_state, train_step

    if job["attention"]:
        attention.ELSEWHERE = job["attention"]
    sharding = _card_sharding(job["card"]) if job["card"] else None
    size = Size(*job["size"])
    batch, length, trained = size.batch, size.length, config(size)

    def placed(tree: Any) -> Any:
        return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), tree)

    state = placed(jax.eval_shape(lambda: init_state(trained, key=Streams(root_key(0)).at("init", 0))))
    if job["what"] == "step":
        tokens = placed(jax.ShapeDtypeStruct((batch, length), jnp.int32))
        key = placed(jax.eval_shape(lambda: Streams(root_key(0)).at("dropout", 0)))
        step = jax.jit(lambda s, x, y, k: train_step(s, (x, y), keys=StepKeys(k)), donate_argnums=0)
        lowered = step.lower(state, tokens, tokens, key)
    else:
        shapes: Any = [jax.ShapeDtypeStruct(s, jnp.uint16) for s in ((4096, length + 1), (4, batch, length + 1))]
        feed, live = (
            loop.Feed(*shapes),
            jax.eval_shape(lambda: loop.run_keys(Streams(root_key(0)), ("order", "dropout"))),
        )
        number = jax.ShapeDtypeStruct((), jnp.int32)
        arrays = placed((state, feed, live, number, number, number))
        lowered = loop._run.lower(*arrays, batch_size=batch, max_steps=128, max_evals=17)
    began = time.monotonic()
    program = lowered.compile()
    took = time.monotonic() - began
    text = program.as_text() or ""
    memory: Any = program.memory_analysis()
    return {
        "program": text_digest(lowered.as_text()), "module": module_digest(text), "jaxlib": metadata.version("jaxlib"),
        "compile_s": round(took, 1), **modules.count(text)._asdict(),
        "temporary_mb": memory.temp_size_in_bytes >> 20, "arguments_mb": memory.argument_size_in_bytes >> 20,
    }  # fmt: skip


def _card_sharding(card: str) -> Any:
    import jax
    from jax.experimental import topologies

    described = topologies.get_topology_desc(
        "card", platform="cuda", target_config=target(CARDS[card]), topology="1x1x1"
    )
    return jax.sharding.SingleDeviceSharding(described.devices[0])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
