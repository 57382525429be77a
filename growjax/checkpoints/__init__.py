"""Hugging Face checkpoints in and out: `load` a folder as a training state, `save` a state as a folder.

With the weights come and go what a training run leaves beside them (`growjax.checkpoints.trainer`). A family is one
small file, a table of tensors and a table of settings (`growjax.checkpoints.family`).
"""

from growjax.checkpoints.card import History
from growjax.checkpoints.extras import Extras, keep, kept
from growjax.checkpoints.folder import add_moments, fill
from growjax.checkpoints.folder import load_checkpoint as load
from growjax.checkpoints.folder import save_checkpoint as save
from growjax.checkpoints.trainer import said_of

__all__ = ["Extras", "History", "add_moments", "fill", "keep", "kept", "load", "said_of", "save"]
