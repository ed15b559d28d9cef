"""SegmentationModule: what happens in a training and in a validation step. It is handed everything and builds nothing.

Legend: B batch, C channels, K classes, H W pixels.
"""

import math
from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import numpy as np
import pytorch_lightning as pl
import torch
from torch import nn

from segexp.errors import SegexpError
from segexp.inference.segmenter import Segmenter
from segexp.losses.distillation import LossFunction, Teaching
from segexp.metrics.confusion import CaseCounts
from segexp.types import Batch, Sample

Summarize = Callable[[np.ndarray], dict[str, float]]
MakeOptimizer = Callable[[nn.Module], torch.optim.Optimizer]
ScalesLoss = Callable[[LossFunction, list[torch.Tensor], torch.Tensor], torch.Tensor]


@runtime_checkable
class Scheduled(Protocol):
    """A loss, or a part of one, that changes over the epochs."""

    def begin_epoch(self, epoch: int, share: float) -> None:
        """Hear which epoch begins (from 0 on), and the share of the training, 0 to 1, that is done."""


class SegmentationModule(pl.LightningModule):
    """Trains a segmenter's network; validates with the segmenter itself, one image at a time, at the image's own size.

    Attributes:
        share: of the training that is done, 0 to 1, at the start of the epoch; the `Schedule` callback keeps it.
    """

    def __init__(
        self,
        segmenter: Segmenter,
        loss: nn.Module,
        optimizer: MakeOptimizer,
        summarize: Summarize,
        scales_loss: ScalesLoss,
        seed: int = 0,
        teacher: Teaching | None = None,
    ) -> None:
        """Take the parts.

        Args:
            segmenter: network with its preprocessing.
            loss: (logits (B, K, H, W), mask (B, H, W)) to a float32 scalar.
            optimizer: network to optimizer.
            summarize: confusion matrices (N, K, K) to scores by name.
            scales_loss: combines the loss over the outputs of a network with deep supervision.
            seed: of the run; dropout and the like draw from (seed, epoch).
            teacher: who teaches besides the masks; no part of this module, so that no checkpoint or optimizer has its weights.
        """
        super().__init__()
        self.segmenter, self.network, self.loss = segmenter, segmenter.network, loss
        self.make_optimizer, self.summarize, self.scales_loss, self.seed = optimizer, summarize, scales_loss, seed
        self.teacher = teacher
        self.counts = CaseCounts(segmenter.spec.num_classes, segmenter.labelling.confusion)
        self.deep = bool(getattr(self.network, "deep_supervision", False))
        self.broken_steps, self.share = 0, 0.0
        self.confusions = np.zeros((0, segmenter.spec.num_classes, segmenter.spec.num_classes), np.int64)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Return logits (B, K, H, W) of prepared images (B, C, H, W)."""
        return self.segmenter.forward(image)

    def on_train_epoch_start(self) -> None:
        """Make every draw of the epoch a function of (seed, epoch), so that a resumed run repeats an uninterrupted one.

        A loss whose weights change over the epochs has the method `begin_epoch`, and is told which one begins.
        """
        words = np.random.SeedSequence([self.seed, self.current_epoch, self.global_rank]).generate_state(1, np.uint64)
        torch.manual_seed(int(words[0]) >> 1)
        for part in self.loss.modules():
            if isinstance(part, Scheduled):
                part.begin_epoch(self.current_epoch, self.share)

    def training_step(self, batch: Batch, _: int) -> torch.Tensor | None:
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

    def validation_step(self, samples: list[Sample], _: int) -> dict[int, torch.Tensor]:  # type: ignore[override]
        """Count each case at its own size; return the predicted classes (H, W) uint8 by case, for the pictures."""
        predicted: dict[int, torch.Tensor] = {}
        for index, image, mask in samples:
            logits = self.segmenter.logits(image, (mask.shape[0], mask.shape[1]))
            loss = self.loss(logits[None], mask[None].to(logits.device).long())
            self.log("loss/val", loss, on_step=False, on_epoch=True, batch_size=1, sync_dist=True)
            predicted[index] = torch.from_numpy(self.segmenter.decide(logits))
            self.counts.update(index, predicted[index], mask.cpu())
        return predicted

    def on_validation_epoch_end(self) -> None:
        """Log every score of the epoch, and say so when nothing but background is predicted."""
        _, matrices = self.counts.compute()
        self.counts.reset()
        self.confusions = matrices.numpy()
        scores = self.summarize(self.confusions)
        finite = {name: value for name, value in scores.items() if np.isfinite(value)}
        self.log_dict({f"val/{name}": value for name, value in finite.items() if "/" in name or name not in ("dice", "iou")})
        self.log_dict({f"val/{name}": finite.get(name, 0.0) for name in ("dice", "iou")}, prog_bar=True)
        silent = int((self.confusions[:, :, 1:].sum(axis=(1, 2)) == 0).sum())
        if silent == len(self.confusions) and silent and not self.trainer.sanity_checking and self.current_epoch >= 1:
            self.print(f"The network predicts only background on {silent}/{silent} cases; foreground recall is 0.")

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return the optimizer; the `Schedule` callback sets its learning rate."""
        return self.make_optimizer(self.network)

    def _terms(self, batch: Batch) -> dict[str, torch.Tensor]:
        """Return the loss of one batch against the masks and, as "distill", against the teacher, each over all heads."""
        image, mask = batch["image"], batch["mask"]
        losses: dict[str, LossFunction] = {"loss": self.loss}
        if self.teacher is not None:
            losses["distill"] = self.teacher(image)
        if not self.deep:
            logits = self(image)
            return {name: loss(logits, mask) for name, loss in losses.items()}
        scales = self.network.forward_scales(self.segmenter.arrange(image))  # type: ignore[operator]
        return {name: self.scales_loss(loss, scales, mask) for name, loss in losses.items()}

    def _finite(self, loss: torch.Tensor, losses: dict[str, torch.Tensor], batch: Batch) -> bool:
        if self.device.type == "cuda" and self.global_step % 10:  # reading a value back stalls the GPU
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
