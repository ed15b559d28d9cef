"""SegmentationTask: the training, validation, test and prediction steps.

Shapes: B batch, C channels, K classes, H W pixels.
"""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol, Self, runtime_checkable

import numpy as np
import pytorch_lightning as pl
import torch
from torch import nn

from segexp.checkpoint.content import describe, parse_config
from segexp.checkpoint.loading import make_segmenter
from segexp.config.schema import TrainConfig
from segexp.data.datamodule import SegmentationDataModule
from segexp.errors import ConfigError, SegexpError
from segexp.inference.segmenter import AUTOCAST, Segmenter
from segexp.losses.distillation import LossFunction, Teaching
from segexp.metrics.confusion import CaseCounts
from segexp.metrics.scores import summarise_scores
from segexp.training.build import Components, build_components, build_segmenter
from segexp.training.callbacks.time_budget import TimeBudget
from segexp.training.optimizers import ProgressLR, make_optimizer
from segexp.types import Batch, Sample

ScalesLoss = Callable[[LossFunction, list[torch.Tensor], torch.Tensor], torch.Tensor]


@runtime_checkable
class Scheduled(Protocol):
    """A loss, or a part of one, that changes over the epochs."""

    def begin_epoch(self, epoch: int, share: float) -> None:
        """Start an epoch (from 0), with the completed share of the training (0 to 1)."""


class SegmentationTask(pl.LightningModule):
    """Trains a segmentation network and validates each case separately at its original size.

    It works in a plain Lightning script with a `SegmentationDataModule`. The network is built when the classes and channels
    of the data are known.

    Example:
        >>> data = SegmentationDataModule.from_folder("data/liver", size=256, batch_size=8)
        >>> task = SegmentationTask(model="unet", loss="ce_dice", lr=1e-3)
        >>> trainer = pl.Trainer(max_epochs=20)
        >>> trainer.fit(task, data)
        >>> trainer.test(task, data)
        >>> masks = trainer.predict(task, data)

    Attributes:
        network: images (B, C, H, W) to logits (B, K, H, W); None until the data are known.
        segmenter: the network with its preprocessing and class table; None until the data are known.
        confusions: (N, K, K) counts of the cases of the last validation or test, rows truth, columns prediction.
    """

    def __init__(
        self,
        model: str | nn.Module = "unet",
        loss: str | nn.Module = "ce_dice",
        *,
        optimizer: str = "adamw",
        scheduler: str = "poly",
        lr: float | None = None,
        overrides: Sequence[str] = (),
        seed: int = 0,
    ) -> None:
        """Configure the task.

        Args:
            model: an option of the group `model`, such as "unetpp", or a network: images (B, C, H, W) to logits (B, K, H, W).
            loss: an option of the group `loss`, or a loss: (logits (B, K, H, W), mask (B, H, W) with 255 = ignore) to a scalar.
            optimizer: an option of the group `optimizer`.
            scheduler: an option of the group `scheduler`.
            lr: the base learning rate; None for the default of the optimizer option.
            overrides: further keys as on the command line, such as "model.width=16" or "trainer.ema=0.99".
            seed: of weights and dropout.
        """
        super().__init__()
        given = {"model": model, "loss": loss, "optimizer": optimizer, "scheduler": scheduler}
        options = {group: option for group, option in given.items() if isinstance(option, str)}
        self.save_hyperparameters({**options, "lr": lr, "overrides": list(overrides), "seed": seed})
        self.choices = [f"{group}={option}" for group, option in options.items()]
        self.choices += [f"seed={seed}", *([] if lr is None else [f"optimizer.lr={lr}"]), *overrides]
        self.config: TrainConfig | None = None
        self.network = model if isinstance(model, nn.Module) else None
        self.loss = loss if isinstance(loss, nn.Module) else None
        self.rebuildable = isinstance(model, str)
        self.segmenter: Segmenter | None = None
        self.teacher: Teaching | None = None
        self.scheduler: ProgressLR | None = None
        self.content: dict[str, Any] = {}
        self.broken_steps = 0
        self.confusions = np.zeros((0, 0, 0), np.int64)

    @classmethod
    def from_components(
        cls, config: TrainConfig, components: Components, segmenter: Segmenter, content: dict[str, Any] | None = None
    ) -> Self:
        """Return the task of a run from prebuilt components.

        Args:
            config: of the run.
            components: network, loss, schedule and teacher.
            segmenter: around the network.
            content: metadata of its checkpoints, see `checkpoint.describe`.
        """
        task = cls(components.network, components.loss, seed=config.seed)
        task.save_hyperparameters({}, logger=False)  # `log_outcome` logs the configuration
        task.hparams.clear()
        task._take(config, components, segmenter)
        task.content = content or {}
        return task

    def _take(self, config: TrainConfig, components: Components, segmenter: Segmenter) -> None:
        """Set up everything that the steps need."""
        self.config, self.segmenter, self.teacher = config, segmenter, components.teacher
        self.network, self.loss, self.schedule = components.network, components.loss, components.schedule
        self.scales_loss = components.scales_loss
        self.deep = bool(getattr(self.network, "deep_supervision", False))
        self.counts = CaseCounts(segmenter.spec.num_classes, segmenter.label_mode.confusion)
        self.confusions = np.zeros((0, segmenter.spec.num_classes, segmenter.spec.num_classes), np.int64)

    def setup(self, stage: str) -> None:
        """Build everything that depends on the data: the network and the preprocessing.

        Raises:
            ConfigError: the trainer has no SegmentationDataModule, or an option or key does not exist.
        """
        if self.segmenter is not None:
            return
        data: Any = getattr(self.trainer, "datamodule", None)
        if not isinstance(data, SegmentationDataModule):
            raise ConfigError(
                "SegmentationTask is trained without a SegmentationDataModule",
                "Classes, channels and preprocessing come from it",
                "Call trainer.fit(task, SegmentationDataModule.from_folder(DIR))",
            )
        config = self._composed(data)
        components = build_components(config, network=self.network, loss=self.loss)
        segmenter = build_segmenter(config, components.network, data, precision=self._precision())
        self._take(config, components, segmenter)

    def _composed(self, data: SegmentationDataModule) -> TrainConfig:
        """Return the configuration of the chosen options with the data section of the data module."""
        from segexp.config.composition import compose, to_plain, with_data
        from segexp.config.validation import validate

        composed = with_data(compose("train", ["data=auto", *self.choices]), data.data.plain())
        return validate(to_plain(composed))

    def _precision(self) -> str:
        """Return the trainer's precision in the notation of `Segmenter`."""
        precision = str(self.trainer.precision)
        return precision if precision in AUTOCAST else "32"

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Return logits (B, K, H, W) of prepared images (B, C, H, W)."""
        return self._ready.forward(image)

    @property
    def _ready(self) -> Segmenter:
        if self.segmenter is None:
            raise ConfigError(
                "This task has no network yet",
                "It is built from the data that trainer.fit, test or predict are given",
                "Call trainer.fit(task, data) first, or load a checkpoint with segexp.load(FILE)",
            )
        return self.segmenter

    def training_progress(self) -> float:
        """Return the completed share of the training (0 to 1): of the time budget, if any, else of the steps."""
        callbacks = self.trainer.callbacks  # type: ignore[attr-defined]
        budget = next((each for each in callbacks if isinstance(each, TimeBudget)), None)
        if budget is not None:  # one clock for all processes, so that their learning rates agree
            return budget.progress if self.trainer.world_size == 1 else self.trainer.strategy.broadcast(budget.progress)
        if self.trainer.global_step == 0:  # the next line starts the loaders, and a resumed run has no epoch yet
            return 0.0
        steps = float(self.trainer.estimated_stepping_batches)
        return min(1.0, self.trainer.global_step / max(1.0, steps)) if math.isfinite(steps) else 0.0

    def on_train_start(self) -> None:
        """Give the first step of a resumed run the learning rate of its progress."""
        if self.scheduler is not None:
            self.scheduler.renew()

    def on_train_epoch_start(self) -> None:
        """Seed the epoch by (seed, epoch), so that a resumed run repeats an uninterrupted one; notify scheduled losses."""
        seed = self.config.seed if self.config is not None else 0
        words = np.random.SeedSequence([seed, self.current_epoch, self.global_rank]).generate_state(1, np.uint64)
        torch.manual_seed(int(words[0]) >> 1)
        assert self.loss is not None, "setup has been called"
        for part in self.loss.modules():
            if isinstance(part, Scheduled):
                part.begin_epoch(self.current_epoch, self.training_progress())

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Remember the learning rate of the step for logging."""
        self.last_lr = float(self.trainer.optimizers[0].param_groups[0]["lr"])

    def training_step(self, batch: Batch, batch_idx: int) -> torch.Tensor | None:
        """Return the loss of one batch, or None to skip a batch whose loss is not finite."""
        image, terms = batch["image"], self._terms(batch)
        loss = terms["loss"]
        if self.teacher is not None:
            loss = (1 - self.teacher.weight) * loss + self.teacher.weight * terms["distill"]
        if not self._finite(loss, terms, batch):
            return None
        if self.teacher is not None:
            self.log("loss/distill", terms["distill"].detach(), on_step=False, on_epoch=True, batch_size=len(image))
        self.log("loss/train", loss.detach(), on_step=False, on_epoch=True, prog_bar=True, batch_size=len(image))
        return loss

    def on_train_epoch_end(self) -> None:
        """Log the learning rate of the epoch's last step."""
        self.log("lr", self.last_lr)

    def validation_step(self, samples: list[Sample], batch_idx: int) -> dict[int, torch.Tensor]:  # type: ignore[override]
        """Count each case at original size; return the predicted classes (H, W) uint8 by case, for the images."""
        return self._score(samples, "loss/val")

    def test_step(self, samples: list[Sample], batch_idx: int) -> dict[int, torch.Tensor]:  # type: ignore[override]
        """Count each case at original size; return the predicted classes (H, W) uint8 by case."""
        return self._score(samples, "loss/test")

    def predict_step(self, samples: list[Sample], batch_idx: int) -> list[torch.Tensor]:
        """Return the predicted classes (H, W) uint8 of each case, at original size."""
        segmenter, found = self._ready, []
        for _, image, mask in samples:
            logits = segmenter.logits(image, (mask.shape[0], mask.shape[1]))
            found.append(torch.from_numpy(segmenter.decide(logits)))
        return found

    def _score(self, samples: list[Sample], name: str) -> dict[int, torch.Tensor]:
        segmenter, predicted = self._ready, dict[int, torch.Tensor]()
        assert self.loss is not None, "setup has been called"
        for index, image, mask in samples:
            logits = segmenter.logits(image, (mask.shape[0], mask.shape[1]))
            loss = self.loss(logits[None], mask[None].to(logits.device).long())
            self.log(name, loss, on_step=False, on_epoch=True, batch_size=1, sync_dist=True)
            predicted[index] = torch.from_numpy(segmenter.decide(logits))
            self.counts.update(index, predicted[index], mask.cpu())
        return predicted

    def on_validation_epoch_end(self) -> None:
        """Log the scores of the epoch, and warn if only background is predicted."""
        scores = self._log_scores("val")
        score = scores.get(self._monitor, math.nan)
        if self.scheduler is not None and not self.trainer.sanity_checking and not math.isnan(score):
            self.scheduler.observe(score)
        silent = int((self.confusions[:, :, self._ready.spec.first :].sum(axis=(1, 2)) == 0).sum())
        if silent == len(self.confusions) and silent and not self.trainer.sanity_checking and self.current_epoch >= 1:
            self.print(f"The network predicts only background on {silent}/{silent} cases; foreground recall is 0.")

    @property
    def _monitor(self) -> str:
        return self.config.trainer.monitor if self.config is not None else ""

    def on_test_epoch_end(self) -> None:
        """Log the scores of the test cases."""
        self._log_scores("test")

    def _log_scores(self, split: str) -> dict[str, float]:
        _, matrices = self.counts.compute()
        self.counts.reset()
        self.confusions = matrices.numpy()
        scores = summarise_scores(self.confusions, self._ready.spec.classes, self._ready.spec.first)
        shown = ("dice", "iou")
        known = [name for name in scores if name not in shown and (np.isfinite(scores[name]) or name == self._monitor)]
        self.log_dict({f"{split}/{name}": scores[name] for name in known})
        self.log_dict({f"{split}/{name}": scores[name] for name in shown}, prog_bar=True)
        return scores

    def configure_optimizers(self) -> Any:
        """Return the optimizer and the scheduler."""
        assert self.config is not None, "setup has been called"
        assert self.network is not None, "setup has been called"
        optimizer = make_optimizer(self.config, self.network)
        self.scheduler = ProgressLR(optimizer, self.schedule, self.training_progress)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": self.scheduler, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the metadata from which `segexp.load` rebuilds everything."""
        data: Any = getattr(self.trainer, "datamodule", None)
        if not self.content and self.rebuildable and self.config is not None and isinstance(data, SegmentationDataModule):
            its, split = self._ready, data.split_hash()
            found = data.fingerprint.as_dict()
            self.content = describe(self.config, its.spec, its.preprocessing, split, its.precision, found, data.held_out())
        if self.content:
            checkpoint["segexp"] = {**self.content, "epoch": self.current_epoch, **checkpoint.get("segexp", {})}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Build the network described by a checkpoint, for `load_from_checkpoint` without data."""
        if self.segmenter is not None or "segexp" not in checkpoint:
            return
        content = checkpoint["segexp"]
        config = parse_config(content["config"], Path("the checkpoint"))
        components = build_components(config, network=self.network, loss=self.loss)
        self._take(config, components, make_segmenter(content, config, components.network, Path("the checkpoint")))

    def _terms(self, batch: Batch) -> dict[str, torch.Tensor]:
        """Return the loss of one batch and, as "distill", the distillation loss, each over all heads."""
        image, mask = batch["image"], batch["mask"]
        assert self.loss is not None, "setup has been called"
        losses: dict[str, LossFunction] = {"loss": self.loss}
        if self.teacher is not None:
            losses["distill"] = self.teacher(image)
        if not self.deep:
            logits = self(image)
            return {name: loss(logits, mask) for name, loss in losses.items()}
        scales = self.network.forward_scales(self._ready.arrange(image))  # type: ignore[union-attr, operator]
        return {name: self.scales_loss(loss, scales, mask) for name, loss in losses.items()}

    def _finite(self, loss: torch.Tensor, losses: dict[str, torch.Tensor], batch: Batch) -> bool:
        if self.device.type == "cuda" and self.global_step % 10:  # reading a value synchronises the GPU
            return True
        value = float(loss.detach())
        if math.isfinite(value):
            self.broken_steps = 0
            return True
        self.broken_steps += 1
        parts = {name: float(term.detach()) for name, term in losses.items() if name == "distill"}
        terms: Any = getattr(self.loss, "parts", None)
        if terms is not None:
            with torch.no_grad():
                parts |= {name: float(term) for name, term in terms(self(batch["image"]), batch["mask"]).items()}
        place = f"at step {self.global_step}, cases {batch['index']} of the training split{f', terms {parts}' if parts else ''}"
        if self.broken_steps > 1:
            raise SegexpError(
                f"The loss is {value} for the second time {place}",
                "A finite loss was expected",
                "Lower the learning rate (optimizer.lr=1e-4), or type trainer.precision=32 to rule out half precision",
            )
        self.print(f"The loss is {value} {place}; the step is skipped.")
        return False
