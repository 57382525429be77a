"""Public figures of chips: a small table, each row with its source.

Rates are of dense products by the dtype of their factors, as growjax computes them: float32 as float32, with no
shorter format in its place. Links count one direction. Where no public figure was found there is none here.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from growjax.errors import UserError

GB, TB, TFLOPS = 1e9, 1e12, 1e12


@dataclasses.dataclass(frozen=True)
class Chip:
    """One chip, and how it is joined to others."""

    name: str
    memory: float
    """Bytes."""
    bandwidth: float
    """Of its memory, bytes a second."""
    rates: Mapping[str, float]
    """Floating-point operations a second of dense products, by dtype."""
    link: float
    """To the chips that it is joined with, bytes a second in one direction, all links together."""
    joined: int
    """How many chips such links join."""
    beyond: float | None
    """To chips beyond those, bytes a second in one direction; None where no figure was found."""
    source: str
    """Whose figures these are."""
    launch: float = 0.0
    """Seconds to start a program over all chips, where they were measured."""
    shared: float | None = None
    """Bytes of the one machine's memory that all of them share; None where each has its own."""

    def rate(self, dtype: str) -> float:
        """Of products in a dtype. Raises `UserError` where there is no public figure."""
        if dtype not in self.rates:
            raise UserError(
                f"there is no public figure of {dtype} products on {self.name}",
                f"choose --dtype {' or '.join(self.rates)}",
            )
        return self.rates[dtype]

    def among(self, chips: int) -> Chip:
        """As one of so many."""
        if self.shared is None:
            return self
        return dataclasses.replace(self, memory=self.shared / chips, joined=chips)

    def joins(self, group: int, chips: int) -> bool:
        """Whether every group of so many of the chips, one group after the other, lies within those that are joined."""
        return chips <= self.joined or self.joined % group == 0

    def link_among(self, group: int, chips: int) -> float:
        """The slowest link within groups of so many of the chips. Raises `UserError` where no figure was found."""
        if self.joins(group, chips):
            return self.link
        if self.beyond is None:
            raise UserError(
                f"{self.joined} of {self.name} are joined, and what joins {chips} has no public figure here",
                f"choose --chips up to {self.joined}",
            )
        return self.beyond


def _gpu(memory: float, bandwidth: float, f64: float, f32: float, bf16: float) -> dict:
    rates = {"bfloat16": bf16 * TFLOPS, "float32": f32 * TFLOPS, "float64": f64 * TFLOPS}
    return {"memory": memory * GB, "bandwidth": bandwidth * TB, "rates": rates, "joined": 8}


def _tpu(memory: float, bandwidth: float, bf16: float, link: float, joined: int, beyond: float | None) -> dict:
    rates = {"bfloat16": bf16 * TFLOPS}
    own = {"memory": memory, "bandwidth": bandwidth * GB, "rates": rates, "link": link * GB, "joined": joined}
    return own | {"beyond": beyond and beyond * GB}


CHIPS = {
    chip.name: chip
    for chip in (
        Chip("a100", **_gpu(80, 2.039, 19.5, 19.5, 312), link=300 * GB, beyond=6.25 * GB,
             source="NVIDIA A100 datasheet (80 GB SXM); between nodes AWS P4d, 4 x 100 Gb/s for 8"),
        Chip("h100", **_gpu(80, 3.35, 66.9, 66.9, 989.4), link=450 * GB, beyond=50 * GB,
             source="NVIDIA H100 datasheet (SXM5), sparse rates halved; between nodes DGX H100 user guide, "
             "8 x 400 Gb/s for 8"),
        Chip("h200", **_gpu(141, 4.8, 66.9, 66.9, 989.4), link=450 * GB, beyond=50 * GB,
             source="NVIDIA H200 datasheet (SXM), sparse rates halved; between nodes DGX H200 user guide, "
             "8 x 400 Gb/s for 8"),
        Chip("b200", **_gpu(180, 8.0, 40, 80, 2250), link=900 * GB, beyond=50 * GB,
             source="NVIDIA DGX B200 datasheet and HGX B200 figures at 1 kW; between nodes AWS P6-B200, "
             "8 x 400 Gb/s for 8"),
        Chip("mi300x", **_gpu(192, 5.3, 163.4, 163.4, 1307.4), link=448 * GB, beyond=None,
             source="AMD Instinct MI300X data sheet; 7 links of 64 GB/s within a node of 8"),
        Chip("tpu-v4", **_tpu(32 * 2**30, 1200, 275, 268.6, 4096, None),
             source="Google Cloud TPU v4 documentation; link: a pod's all-reduce bandwidth over its 4096 chips"),
        Chip("tpu-v5e", **_tpu(16 * GB, 819, 197, 200, 256, 3.125),
             source="Google Cloud TPU v5e documentation; beyond a pod its 6.4 Tb/s over 256 chips"),
        Chip("tpu-v5p", **_tpu(95 * 2**30, 2765, 459, 600, 8960, 6.25),
             source="Google Cloud TPU v5p documentation; beyond a pod 50 Gb/s for each chip"),
        Chip("tpu-v6e", **_tpu(32 * GB, 1638, 918, 400, 256, None), source="Google Cloud TPU v6e documentation"),
    )
}  # fmt: skip


def chip_named(name: str) -> Chip:
    """A chip of the table. Raises `UserError` for one that is not in it."""
    if name not in CHIPS:
        raise UserError(f"no chip is named {name!r}", f"choose one of {', '.join(CHIPS)}, or cpu, measured here")
    return CHIPS[name]
