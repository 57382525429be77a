"""The pins: everything outside growjax that would change bits, fixed before jax is imported.

Nothing here imports jax at module level. `pin()` writes environment variables, which jax reads once when it starts;
`describe()` says afterwards what this process really runs under.
"""

from __future__ import annotations

import hashlib
import os
import platform
import sys
import warnings
from collections.abc import Mapping, MutableMapping
from importlib import metadata
from pathlib import Path

from growjax import accelerator, settings
from growjax.errors import UserError
from growjax.schema import Record

XLA_PINS: dict[str, str] = {
    # jaxlib 0.10.2 fuses reductions into YNNPACK kernels that race on more than one thread and then return wrong
    # sums (XNNPACK issue 11243, xla 49085). Single products alone are left to YNNPACK: it adds along the contraction in
    # one order, whatever the number of threads and the caches of the CPU, where XLA's other library follows both.
    "--xla_cpu_experimental_ynn_fusion_type": "LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT",
    # exp, log, tanh and 1/sqrt by XLA's own formulas, not by what a CPU model estimates in hardware.
    "--xla_cpu_enable_platform_dependent_math": "false",
    # Wider vectors change the order of sums, so one instruction set for every x86-64-v3 machine.
    "--xla_cpu_max_isa": "AVX2",
    # Changes no bit: the order of work that needs the least memory.
    "--xla_cpu_scheduler_type": "CPU_SCHEDULER_TYPE_MEMORY_OPTIMIZED",
    # bfloat16 chains rounded at every operation, whatever is fused.
    "--xla_allow_excess_precision": "false",
    # Scatters, reductions and library calls without atomics; takes the Triton backend away, and every choice of a
    # kernel by timing, which is another kernel next time.
    "--xla_gpu_deterministic_ops": "true",
    # Forbidden by the flag above already; said once more, since it is what a run with stored choices would lift
    # (XLA can read them with --xla_gpu_load_autotune_results_from; a run would have to keep that file as an input).
    "--xla_gpu_autotune_level": "0",
    # jaxlib 0.11.2 and later still form Triton products under the first flag, and then look for a backend that can do
    # them. One way for every product: cuBLASLt.
    "--xla_gpu_enable_triton_gemm": "false",
}

ENV_PINS: dict[str, str] = {
    # XLA's thread pool: sums are split by its size. Cores are filled by workers,
    # each a process of its own.
    "NPROC": "1",
    "PJRT_NPROC": "1",
    # Products too small for YNNPACK go to oneDNN, which asks the CPU itself and heeds no XLA flag.
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    # Losses and divergences are summed in float64; every array of the model names its own dtype.
    "JAX_ENABLE_X64": "true",
    # A draw must not depend on how an array is sharded.
    "JAX_THREEFRY_PARTITIONABLE": "true",
    "JAX_DEFAULT_PRNG_IMPL": "threefry2x32",
    # Float32 products in full float32 (accelerators default to less).
    "JAX_DEFAULT_MATMUL_PRECISION": "highest",
    # This one would silently shift every seed.
    "JAX_RANDOM_SEED_OFFSET": "0",
    # The tokenizer forks no threads that a later fork could deadlock on.
    "TOKENIZERS_PARALLELISM": "false",
    # Nothing is fetched or reported behind the user's back, and progress belongs to growjax.
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
}

ENV_HABITS: dict[str, str] = {
    # Several processes on one card: each takes what it needs, not three quarters of all there is. Changes no bit.
    "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
}
FLAG_HABITS: dict[str, str] = {
    # Under NPROC=1 a GPU's kernels would be compiled by one thread; by 16 the same ones come in less than half the time
    # (artifacts/accelerator-nvidia-h200.md).
    "--xla_gpu_force_compilation_parallelism": "16",
}
"""Set like pins where the user has not, and no part of what a receipt records."""

# Beginnings of names of whatever else may be set: where work runs, what is reported, kept and copied of it, and no
# more. Any other flag of XLA and setting of jax can change bits (JAX_DISABLE_MOST_OPTIMIZATIONS does).
HARMLESS_FLAGS = ("--xla_dump_", "--xla_force_host_platform_device_count", "--xla_cpu_collective_", *FLAG_HABITS)
HARMLESS_ENV = ("JAX_PLATFORM", "JAX_CUDA_VISIBLE_DEVICES", "JAX_NUM_CPU_DEVICES", "JAX_COORDINATOR_", "JAX_PROCESS_ID",
                "JAX_NUM_PROCESSES", "JAX_LOG", "JAX_DUMP_IR", "JAX_EXPLAIN_", "JAX_TRACEBACK_", "JAX_DEBUG_KEY_REUSE",
                "JAX_COMPILATION_CACHE_", "JAX_ENABLE_COMPILATION_CACHE", "JAX_PERSISTENT_CACHE_",
                "JAX_RAISE_PERSISTENT_CACHE_ERRORS")  # fmt: skip
OUTSIDE_JAX = ("LIBTPU_INIT_ARGS", "NVIDIA_TF32_OVERRIDE", "OPENBLAS_CORETYPE", "NPY_DISABLE_CPU_FEATURES",
               "NPY_ENABLE_CPU_FEATURES")  # fmt: skip

PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "tokenizers", "datasets")


def _parse_flags(text: str) -> dict[str, str]:
    flags: dict[str, str] = {}
    for word in text.split():
        name, _, value = word.partition("=")
        flags[name] = value
    return flags


def _strangers(environ: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """Flags of XLA, and variables, that are set, are no pins, and are not known to leave bits alone."""
    flags = _parse_flags(environ.get("XLA_FLAGS", ""))
    settings = {k: v for k, v in environ.items() if k in OUTSIDE_JAX or k.startswith("JAX_")}
    return (
        {k: v for k, v in flags.items() if k not in XLA_PINS and not k.startswith(HARMLESS_FLAGS)},
        {k: v for k, v in settings.items() if k not in ENV_PINS and not k.startswith(HARMLESS_ENV)},
    )


def pin(environ: MutableMapping[str, str] | None = None) -> list[str]:
    """Sets every pin in `environ` (this process's by default); returns one line for each conflict.

    A value the user set already stays, and the line says so: such a process is not pinned, and every receipt of it
    records that; so too where a flag of XLA or a setting of jax is there that is not known to leave bits alone. Call
    before anything imports jax; later it changes nothing, and says so by a warning as well. Pins are the whole
    process's: 64-bit numbers (x64) are then on in all of its jax.
    """
    environ = os.environ if environ is None else environ
    notes: list[str] = []
    if "jax" in sys.modules and not is_pinned(environ):
        late = "jax was imported before the pins were set: this process is not pinned"
        if environ is os.environ:
            warnings.warn(f"{late}; call growjax.runtime.pin() before anything imports jax", stacklevel=2)
        return [late]
    given = environ.get("XLA_FLAGS", "").split()
    flags = _parse_flags(environ.get("XLA_FLAGS", ""))
    for name, value in XLA_PINS.items():
        if name not in flags:
            given.append(f"{name}={value}")
        elif flags[name] != value:
            notes.append(f"XLA_FLAGS has {name}={flags[name]} where growjax pins {value!r}: not a pinned run")
    given += [f"{name}={value}" for name, value in FLAG_HABITS.items() if name not in flags]
    environ["XLA_FLAGS"] = " ".join(given)  # the user's own words as they are: a flag may have no value
    for name, value in ENV_PINS.items():
        if environ.setdefault(name, value) != value:
            notes.append(f"{name}={environ[name]} where growjax pins {value!r}: not a pinned run")
    for name, value in ENV_HABITS.items():
        environ.setdefault(name, value)
    strange_flags, strange = _strangers(environ)
    notes += [f"XLA_FLAGS has {name}, which may change bits: not a pinned run" for name in sorted(strange_flags)]
    return notes + [f"{name} is set, which may change bits: not a pinned run" for name in sorted(strange)]


def known_flags() -> set[str]:
    """The words that growjax itself puts into XLA_FLAGS."""
    return {f"{name}={value}" for name, value in {**XLA_PINS, **FLAG_HABITS}.items()}


def set_otherwise() -> list[str]:
    """Names of the variables of this process that are set to other than what growjax pins, or that may change bits."""
    pins = [name for name, value in ENV_PINS.items() if os.environ.get(name, value) != value]
    flags, strange = _strangers(os.environ)
    given = _parse_flags(os.environ.get("XLA_FLAGS", ""))
    other = any(given.get(name, value) != value for name, value in XLA_PINS.items())
    return sorted({*pins, *strange, *(["XLA_FLAGS"] if flags or other else [])})


def blamed(error: Exception) -> UserError | None:
    """The line for an error where settings of jax from outside may be its cause: with their names. None where there
    are no such settings."""
    described = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0][:200]}"
    names = set_otherwise()
    if not names:  # one that changes no bits is the cause where the error is about it
        own = [name for name in os.environ if name.startswith("JAX_") and name not in ENV_PINS]
        places = ("JAX_PLATFORMS", "JAX_PLATFORM_NAME", "JAX_NUM_CPU_DEVICES") if "backend" in described else ()
        names = sorted(name for name in own if name in places or name.lower() in described.lower())
    if not names:
        return None
    return UserError(f"the work ended in {described}, under {', '.join(names)}", "unset that and run again")


def without_pins() -> dict[str, str]:
    """This process's environment less every pin: for a process that is to set its own, or none."""
    return {name: value for name, value in os.environ.items() if name not in ENV_PINS and name != "XLA_FLAGS"}


def start() -> None:
    """Imports jax and gives it a place to keep compiled programs; call before the first computation. Raises `UserError`
    where jax is set so that growjax cannot compute (`growjax.settings`)."""
    import jax

    settings.refuse_own()
    # A cache that cannot be read or written costs time, never a result.
    warnings.filterwarnings("ignore", message="Error (reading|writing) persistent compilation cache")
    if jax.config.jax_compilation_cache_dir is None:  # pyright: ignore[reportAttributeAccessIssue]
        directory = cache_directory()
        if directory is not None:
            jax.config.update("jax_compilation_cache_dir", str(directory))
            jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


def cache_directory() -> Path | None:
    """Where compiled programs are kept between runs: one folder for each jaxlib and CPU, below the user's cache.

    A program from the cache is the program that was compiled, so results do not depend on it. None where the folder
    cannot be written. The environment variable JAX_COMPILATION_CACHE_DIR names another place (jax's own).
    """
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    kind = hashlib.sha256(f"{metadata.version('jaxlib')} {sorted(_cpu_model().items())}".encode()).hexdigest()[:12]
    directory = base / "growjax" / f"xla-{kind}"
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError:
        return None
    return directory if os.access(directory, os.W_OK) else None


def tokens_directory() -> Path | None:
    """Where tokens are kept between runs (see `growjax.data.kept`), beside the compiled programs."""
    programs = cache_directory()
    return None if programs is None else programs.parent / "tokens"


def is_pinned(environ: MutableMapping[str, str] | None = None) -> bool:
    """Whether every pin stands in `environ` as growjax sets it, and nothing else that may change bits."""
    environ = os.environ if environ is None else environ
    flags = _parse_flags(environ.get("XLA_FLAGS", ""))
    has_flags = all(flags.get(k) == v for k, v in XLA_PINS.items())
    return has_flags and all(environ.get(k) == v for k, v in ENV_PINS.items()) and not any(_strangers(environ))


def pins() -> Record:
    """The pins as this process has them, and what else may change bits: what `receipt.json` stores."""
    flags = _parse_flags(os.environ.get("XLA_FLAGS", ""))
    strange_flags, strange = _strangers(os.environ)
    return {
        "pinned": is_pinned() and _jax_agrees(),
        "xla_flags": {name: flags.get(name) for name in sorted({*XLA_PINS, *strange_flags})},
        "env": {name: os.environ.get(name) for name in sorted({*ENV_PINS, *strange})},
    }


def carried() -> dict[str, str | None]:
    """Variables by which a process elsewhere has the pins of this one; None: it must not have that."""
    names = ("XLA_FLAGS", "JAX_PLATFORMS", *pins()["env"], *ENV_HABITS)
    return {name: os.environ.get(name) for name in names}


def _jax_agrees() -> bool:
    """Whether the running jax took the pins (it reads them only once, when imported)."""
    if "jax" not in sys.modules:
        return True
    import jax

    wanted = {"jax_enable_x64": True, "jax_threefry_partitionable": True, "jax_default_matmul_precision": "highest",
              "jax_random_seed_offset": 0, "jax_disable_jit": False}  # fmt: skip
    as_wanted = all(getattr(jax.config, name) == value for name, value in wanted.items())
    return as_wanted and not jax.config.read("jax_disable_most_optimizations")


def environment() -> Record:
    """Versions and device: the fields two receipts must share before their bits can be compared.

    On an accelerator there are two more: `accelerator`, its packages and libraries, and `driver`, which is recorded as
    the CPU is.
    """
    import jax

    device = jax.devices()[0]
    more = {} if device.platform == "cpu" else accelerator.describe()
    return {
        "packages": {name: metadata.version(name) for name in PACKAGES},
        "python": platform.python_version(),
        "machine": platform.machine(),
        "cpu": _cpu_model(),
        "backend": device.platform,
        "device_kind": device.device_kind,
        "platform_version": device.client.platform_version,
        **more,
    }


def _cpu_model() -> dict[str, str]:
    """Model name, and a digest of its feature flags (the matrix library chooses kernels by them)."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            pairs = [line.partition(":") for line in file.read().split("\n\n")[0].splitlines()]
        lines = {name.strip(): value.strip() for name, _, value in pairs}
    except (OSError, ValueError):
        return {"model": platform.processor(), "flags": ""}
    features = " ".join(sorted(lines.get("flags", "").split()))
    return {"model": lines.get("model name", ""), "flags": hashlib.sha256(features.encode()).hexdigest()}


def workers(shards: int = 1) -> int:
    """Processes that compute side by side where the user does not say: one for each core on a CPU. On an accelerator,
    where programs on one device only wait for each other, one for each device; or one alone where `shards` of a batch
    go to all of them. Asks jax for its devices."""
    import jax

    if jax.default_backend() == "cpu":
        return cores()
    return jax.local_device_count() if shards == 1 else 1


def cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
