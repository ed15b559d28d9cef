"""Names that keys had before: what to type in their place, and saved configurations read under today's names."""

from collections.abc import Mapping
from typing import Any

RENAMED: dict[str, tuple[str, ...]] = {
    "trainer.batch_size": ("data.batch_size",),
    "trainer.workers": ("data.num_workers",),
    "trainer.validate_every": ("trainer.check_val_every_n_epoch",),
    "trainer.limit_batches": ("trainer.limit_train_batches", "trainer.limit_val_batches"),
    "trainer.clip": ("trainer.gradient_clip_val",),
    "trainer.accumulate": ("trainer.accumulate_grad_batches",),
}
"""Keys of version 0.1 by the keys of now."""

GUESSED: dict[str, tuple[str, ...]] = {
    "epochs": ("trainer.max_epochs",),
    "max_epochs": ("trainer.max_epochs",),
    "trainer.epochs": ("trainer.max_epochs",),
    "minutes": ("trainer.minutes",),
    "lr": ("optimizer.lr",),
    "learning_rate": ("optimizer.lr",),
    "trainer.lr": ("optimizer.lr",),
    "trainer.learning_rate": ("optimizer.lr",),
    "optimizer.learning_rate": ("optimizer.lr",),
    "weight_decay": ("optimizer.weight_decay",),
    "batch_size": ("data.batch_size",),
    "batchsize": ("data.batch_size",),
    "trainer.batchsize": ("data.batch_size",),
    "bs": ("data.batch_size",),
    "workers": ("data.num_workers",),
    "num_workers": ("data.num_workers",),
    "data.workers": ("data.num_workers",),
    "gpus": ("trainer.gpus",),
    "gpu": ("trainer.gpus",),
    "devices": ("trainer.gpus",),
    "precision": ("trainer.precision",),
    "trainer.seed": ("seed",),
    "data.seed": ("seed",),
    "size": ("data.size",),
    "image_size": ("data.size",),
    "img_size": ("data.size",),
    "imgsz": ("data.size",),
    "data.image_size": ("data.size",),
    "crop": ("data.crop",),
    "root": ("data.root",),
    "data_dir": ("data.root",),
    "data.dir": ("data.root",),
    "data.path": ("data.root",),
    "classes": ("data.classes",),
    "num_classes": ("data.classes",),
    "width": ("model.width",),
    "early_stopping": ("trainer.early_stopping",),
    "ema": ("trainer.ema",),
    "trainer.val_check_interval": ("trainer.check_val_every_n_epoch",),
}
"""Names that people try by the keys that they mean."""


def new_name(key: str) -> tuple[str, ...]:
    """Return the keys that a former name, or a guessed one, stands for; nothing for any other key."""
    return RENAMED.get(key) or GUESSED.get(key) or ()


def upgrade(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a saved configuration under today's names; one that has them already is returned as it is.

    Args:
        config: plain values of any version; nothing in it is changed.
    """
    upgraded = {section: dict(node) if isinstance(node, Mapping) else node for section, node in config.items()}
    for old, new in RENAMED.items():
        section, _, name = old.partition(".")
        node = upgraded.get(section)
        if not isinstance(node, dict) or name not in node:
            continue
        value = node.pop(name)
        for key in new:
            target, _, leaf = key.partition(".")
            there = upgraded.setdefault(target, {})
            if isinstance(there, dict):
                there.setdefault(leaf, value)
    return upgraded
