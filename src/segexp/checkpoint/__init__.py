"""Self-contained checkpoints: weights, configuration, class table and preprocessing, loaded without executing code.

`torch.load(weights_only=True)` accepts only tensors and plain values; the network is built by `components.instantiate` after
`components.check_targets`, which only follows targets into known packages.
"""

from segexp.checkpoint.content import check_resume, describe
from segexp.checkpoint.files import SCHEMA, find_checkpoint, read_checkpoint, store_postprocessing
from segexp.checkpoint.loading import load_segmenter, without_pretrained

__all__ = [
    "SCHEMA",
    "check_resume",
    "describe",
    "find_checkpoint",
    "load_segmenter",
    "read_checkpoint",
    "store_postprocessing",
    "without_pretrained",
]
