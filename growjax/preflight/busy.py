"""Other work on the device: a process that multiplies without end, beside which bits must stay as they are.

    python -m growjax.preflight.busy

says `ready` once it has begun, and ends when what it reads from ends.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence

from growjax.errors import CheckFailed


@contextlib.contextmanager
def busy_device(
    program: Sequence[str] = (sys.executable, "-m", "growjax.preflight.busy"), env: dict[str, str] | None = None
) -> Iterator[None]:
    """Keeps the device busy inside the block, by a process with this environment (this one's if not given). Raises
    `CheckFailed` where that process does not begin, or has ended before the block did."""
    pipe = subprocess.PIPE
    process = subprocess.Popen(program, env=env, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    try:
        if process.stdout.readline().strip() != "ready":
            raise CheckFailed("the device could not be kept busy: the other process did not begin")
        yield
        if process.poll() is not None:
            raise CheckFailed("the device was not kept busy: the other process ended")
    finally:
        process.kill()
        process.communicate()


def main() -> int:
    """Multiplies until its reader goes away."""
    from growjax import runtime

    runtime.pin()
    import jax
    import jax.numpy as jnp

    ended = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
    cpu = jax.default_backend() == "cpu"
    size, pause = (256, 0.05) if cpu else (4096, 0.0)  # a core of a CPU is not to be taken from whoever computes
    step = jax.jit(lambda a: a @ a)
    a = jax.block_until_ready(step(jnp.ones((size, size), jnp.bfloat16)))
    print("ready", flush=True)
    while not ended.is_set():
        jax.block_until_ready([step(a) for _ in range(8)])
        time.sleep(pause)
    return 0


if __name__ == "__main__":
    sys.exit(main())
