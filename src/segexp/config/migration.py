"""Former and commonly guessed names of keys; upgrade of saved configurations."""

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
"""Current keys by the keys of version 0.1."""

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
"""Keys by the names that users guess."""


def new_name(key: str) -> tuple[str, ...]:
    """Return the current keys of a former or guessed name; () for any other key."""
    return RENAMED.get(key) or GUESSED.get(key) or ()


def upgrade(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a saved configuration (plain values of any version) under current key names, as a copy."""
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
