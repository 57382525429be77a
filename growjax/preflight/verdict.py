"""The verdict of the canaries: no study starts in an environment in which the canaries have not passed.

The verdict is kept beside the compiled programs, by a fingerprint of environment, pins and growjax's own modules (the
canaries among them), so that only the first start in an environment waits for it.
"""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

from growjax import runtime
from growjax.config import json_digest
from growjax.digests import digest
from growjax.errors import CheckFailed
from growjax.files import write_text
from growjax.preflight.busy import busy_device
from growjax.schema import Record
from growjax.source import folder_digest, source_digest

RERUN = "run on a device that nobody else uses; if it still fails, this backend is not to be used"


def preflight(*, cache: Path | None = None) -> Record:
    """Runs the canaries, or finds that they have passed here before; returns what the receipt records of them.

    Raises `CheckFailed`, with the canary and the hint, where one sings. `cache` is the folder of verdicts (by default
    beside the compiled programs; without a place to write the canaries run every time).
    """
    folder = cache or runtime.cache_directory()
    place = None if folder is None else folder / f"canaries-{_fingerprint()[:16]}.json"
    found = None if place is None else _kept(place)
    if found is None:
        found = _run()
        if place is not None:
            with contextlib.suppress(OSError):  # a verdict that cannot be kept is reached again next time
                write_text(place, json.dumps({"found": found, "digest": json_digest(found)}, sort_keys=True))
    return found


def _fingerprint() -> str:
    return json_digest([runtime.environment(), runtime.pins(), source_digest(), folder_digest(Path(__file__).parent)])


def _kept(place: Path) -> Record | None:
    """The verdict that is kept at a place; None where there is none, or it is damaged."""
    try:
        kept = json.loads(place.read_text(encoding="utf-8"))
        whole = kept["digest"] == json_digest(kept["found"])
        return kept["found"] if whole and kept["found"]["verdict"] == "passed" else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _run() -> Record:
    import jax

    alone = canaries()
    if jax.default_backend() != "cpu":
        with busy_device():
            beside = canaries()
        for name, value in alone.items():
            if beside[name] != value:
                raise CheckFailed(f"preflight: {name}: it came out otherwise beside other work on the device: {RERUN}")
    return {"verdict": "passed", "canaries": alone}


def canaries() -> dict[str, str]:
    """The digest of what each canary computed. Raises `CheckFailed` where one has a fault."""
    from growjax.preflight.canaries import CANARIES

    seen = {name: canary() for name, canary in CANARIES.items()}
    for name, canary in seen.items():
        if canary.fault is not None:
            raise CheckFailed(f"preflight: {name}: {canary.fault}: {canary.hint}")
    return {name: digest(canary.value) for name, canary in seen.items()}
