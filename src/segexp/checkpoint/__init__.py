"""One file rebuilds everything: weights, config, class table, preprocessing. It is loaded without running code from it.

`torch.load(weights_only=True)` admits tensors and plain values only; the network named inside is built by
`targets.instantiate` after `targets.check_targets`, which follows it into known packages and nowhere else.
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
