"""How sources are named: those that were trained here by seed and step, others by the digest of their state."""

from __future__ import annotations

import re
from typing import NamedTuple

DIGEST_STEP = re.compile("([0-9a-f]{64})@([0-9]{1,10})")
"""A source that was not trained here, as a specification names it."""


class Given(NamedTuple):
    """A source that was not trained here, as a specification names it."""

    digest: str
    """Of its state."""
    step: int
    """Training steps behind it."""

    @property
    def name(self) -> str:
        """How tables name it."""
        return f"{self.digest[:8]}-step{self.step}"


def source_name(seed: int, step: int, given: Given | None = None) -> str:
    """How tables name a source state that was trained, from a first draw or from a given state."""
    return f"seed{seed}-step{step}" if given is None else f"{given.digest[:8]}-seed{seed}-step{step}"
