"""How fast the training runs and how much of the time it waits for data."""

import time
from typing import Any

import pytorch_lightning as pl


class Speed(pl.Callback):
    """Logs `speed/images_per_second` of the training steps and `speed/data_wait`, the share of the time spent waiting."""

    def __init__(self) -> None:
        self.images, self.waited, self.worked = 0, 0.0, 0.0
        self.seconds, self.total_images = 0.0, 0
        self.mark = time.perf_counter()

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the epoch's clock."""
        self.images, self.waited, self.worked = 0, 0.0, 0.0
        self.mark = time.perf_counter()

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int) -> None:
        """The batch is here: what passed since the last step was waiting."""
        now = time.perf_counter()
        self.waited, self.mark = self.waited + now - self.mark, now

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """The step is done (on a GPU: queued)."""
        now = time.perf_counter()
        self.worked, self.mark = self.worked + now - self.mark, now
        self.images += len(batch["image"]) * trainer.world_size

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Log the epoch's figures."""
        seconds = max(1e-9, self.waited + self.worked)
        self.seconds, self.total_images = self.seconds + seconds, self.total_images + self.images
        pl_module.log("speed/images_per_second", self.images / seconds)
        pl_module.log("speed/data_wait", self.waited / seconds)

    @property
    def images_per_second(self) -> float:
        """Mean over all epochs of this process."""
        return self.total_images / self.seconds if self.seconds else 0.0
