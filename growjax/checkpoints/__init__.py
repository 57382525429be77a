"""Hugging Face checkpoints in and out: `load` a folder as a training state, `save` a state as a folder.

A family is one small file, a table of tensors and a table of settings (`growjax.checkpoints.family`).
"""

from growjax.checkpoints.card import History
from growjax.checkpoints.extras import Extras, keep, kept
from growjax.checkpoints.folder import fill
from growjax.checkpoints.folder import load_checkpoint as load
from growjax.checkpoints.folder import save_checkpoint as save

__all__ = ["Extras", "History", "fill", "keep", "kept", "load", "save"]
