"""Overfit test: a short training on a few images that shows whether a network can learn the data."""

import copy
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import cv2
import numpy as np
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader

from segexp.checks.issues import Examination
from segexp.config.schema import TrainConfig
from segexp.console import silence_libraries
from segexp.data.cache import RamStore
from segexp.data.datamodule import make_data_spec
from segexp.data.dataset import EpochSampler, EvalDataset, TrainDataset, collate_eval, collate_train
from segexp.data.labels.modes import label_mode
from segexp.data.preprocessing import preprocessing_for, resize_image, resize_mask
from segexp.data.statistics import DecodedCase, Statistics, check_masks, make_reader
from segexp.data.transforms import Augment, crop_size
from segexp.devices import choose_devices, choose_precision
from segexp.errors import DataError
from segexp.evaluation.scoring import score_cases
from segexp.inference.segmenter import Segmenter
from segexp.optim import Constant
from segexp.training.build import apply_class_weights, build_components
from segexp.training.optimizers import make_optimizer
from segexp.training.task import SegmentationTask
from segexp.types import IGNORE, Case
from segexp.visualization import panel

IMAGES = 4
SIDES = (256, 192, 128, 96, 64)
"""Candidate image sides in pixels; the largest that allows `STEPS` steps is used."""
STEPS = 120
SHRUNK = 3


def choose_cases(examination: Examination) -> list[Case]:
    """Return up to four training cases with the most foreground; cases that are nearly all foreground rank low.

    Without a background, those rank high whose largest class has the least share.

    Raises:
        DataError: no training case has foreground.
    """
    first = int(examination.data.background is not None)

    def wealth(case: Case) -> float:
        shares = examination.facts[case.id].shares
        if not first:
            return 1 - max(shares, default=1.0)
        share = sum(shares[first:])
        return share if share <= 0.8 else 1 - share

    readable = [case for case in examination.cases if case.id in examination.facts]
    training = [case for case in readable if examination.splits.get(case.id) == "train"]
    rich = [case for case in training if sum(examination.facts[case.id].shares[first:]) > 0]
    if not rich:
        raise DataError(
            f"None of the {len(training)} readable training cases of {examination.data.root} has a pixel of foreground",
            "fit=true lets the network learn the pictures with most foreground",
            "Look at the masks, and at which values data.classes gives to which class; the first class is the background",
        )
    return sorted(rich, key=wealth, reverse=True)[:IMAGES]


def choose_image_side(
    segmenter: Segmenter,
    optimizer: Callable[[torch.nn.Module], torch.optim.Optimizer],
    batch: int,
    seconds: float,
    steps: int = STEPS,
) -> tuple[int, float]:
    """Return the largest image side that allows `steps` steps, and the seconds per step, measured on a copy."""
    trial = replace(segmenter, network=copy.deepcopy(segmenter.network).train())
    images = torch.zeros(batch, segmenter.spec.channels, SIDES[-1], SIDES[-1], device=segmenter.device)
    update = optimizer(trial.network)
    passes: list[float] = []
    updates: list[float] = []
    for _ in range(3):
        started = time.monotonic()
        with trial.autocast():
            logits = trial.forward(images)
        logits.float().square().mean().backward()  # type: ignore[no-untyped-call]
        float(logits.detach().flatten()[0])  # waits for a GPU
        passed = time.monotonic()
        update.step()
        passes, updates = [*passes, passed - started], [*updates, time.monotonic() - passed]
    one, rest = min(passes[1:]), min(updates[1:])  # without warm-up
    costs = [(side, rest + one * (side / SIDES[-1]) ** 2) for side in SIDES]
    return next((pair for pair in costs if pair[1] * steps <= seconds), costs[-1])


def overfit_window(picture: DecodedCase, crop: tuple[int, int] | None, side: int) -> DecodedCase:
    """Return a window of at most `side` pixels; a whole image (`crop` None) is first reduced, at most by a factor of `SHRUNK`.

    The window is placed where the foreground share is closest to one half. The mask is resized to the image.
    """
    image, mask = picture.image, resize_mask(picture.mask, picture.image.shape[:2])
    if crop is None:
        scale = max(1 / SHRUNK, min(1.0, side / max(mask.shape)))
        size = max(16, round(mask.shape[0] * scale)), max(16, round(mask.shape[1] * scale))
        image, mask = resize_image(image, size), resize_mask(mask, size)
    height, width = mask.shape
    rows, columns = (min(wanted, side, own) for wanted, own in zip(crop or mask.shape, mask.shape, strict=True))
    foreground = ((mask != 0) & (mask != IGNORE)).astype(np.float32)
    counts = cv2.boxFilter(foreground, -1, (columns, rows), anchor=(0, 0), normalize=False, borderType=cv2.BORDER_CONSTANT)
    inside = counts[: height - rows + 1, : width - columns + 1]
    top, left = np.unravel_index(int(np.abs(inside - rows * columns / 2).argmin()), inside.shape)
    window = slice(int(top), int(top) + rows), slice(int(left), int(left) + columns)
    return DecodedCase(image[window].copy(), mask[window].copy())


SECONDS = 80.0
"""Time limit of the training."""
ENOUGH, LEARNED = 0.95, 0.8
"""Dice at which the training stops, and minimum Dice of a passed test."""
SPECK = 0.02


@dataclass(frozen=True)
class OverfitPoint:
    """Progress of the training: steps, seconds since the start, training loss and Dice over the images."""

    step: int
    seconds: float
    loss: float
    dice: float


@dataclass(frozen=True)
class OverfitResult:
    """Result of the test.

    Attributes:
        cases: ids of the images.
        side: largest side of the images in pixels.
        moments: in order; at least one.
        dice: at the end, see `pooled_dice`.
        silent: whether only background was predicted.
        picture: (H, W, 3) uint8: input, mask, prediction and errors of each image.
    """

    cases: tuple[str, ...]
    side: int
    moments: tuple[OverfitPoint, ...]
    dice: float
    silent: bool
    picture: np.ndarray

    @property
    def learned(self) -> bool:
        """Whether the test is passed."""
        return self.dice >= LEARNED


def run_overfit_test(
    config: TrainConfig,
    cases: Sequence[Case],
    told: Callable[[OverfitPoint], None] = lambda _: None,
    seconds: float = SECONDS,
) -> OverfitResult:
    """Train on a few images without augmentation and with a constant learning rate, until they are learned or time is up.

    Args:
        config: with the detected properties of the data.
        cases: see `choose_cases`.
        told: called with each progress point.
        seconds: time limit.

    Raises:
        SegexpError: an image cannot be read, the masks hold only one class, or the loss is not finite.
    """
    silence_libraries()
    config = config.updated({"trainer.compile": False})
    components = build_components(config)
    accelerator, _ = choose_devices(config.trainer.gpus)
    precision = choose_precision(config.trainer.precision, accelerator)
    data = config.data
    read = make_reader(data)
    spec = make_data_spec(data, read)
    whole = [read(case) for case in cases]
    statistics = Statistics(spec.channels, spec.num_classes, label_mode(spec))
    for each in whole:
        statistics.add(each)
    check_masks(statistics, spec.classes, "chosen")
    found = statistics.fingerprint()
    config, components, _ = apply_class_weights(config, components, found.class_share)
    ready = preprocessing_for(data.normalize, spec.channels, None, statistics.value_range(), found)
    segmenter = Segmenter(components.network, ready, spec, None, precision, config.trainer.channels_last)
    side, step = choose_image_side(segmenter.to(accelerator), partial(make_optimizer, config), len(cases), seconds)
    store = RamStore([overfit_window(each, crop_size(data.crop), side) for each in whole])
    watch, scoring = OverfitCallback(told, seconds), EvalDataset(store, range(len(cases)), ready)
    epoch = int(np.clip(5 / step, 5, 25))  # steps; after each epoch the images are scored
    training = TrainDataset(store, range(len(cases)), Augment(), ready, config.seed, repeat=epoch)
    sampler = EpochSampler(len(training), config.seed, lambda: watch.epoch)
    _trainer(config, watch, accelerator, precision).fit(
        SegmentationTask.from_components(config, replace(components, schedule=Constant()), segmenter),
        DataLoader(training, len(cases), sampler=sampler, collate_fn=collate_train, generator=torch.Generator()),
        DataLoader(scoring, 1, collate_fn=collate_eval),
    )
    return _outcome(segmenter.to(accelerator), scoring, store, cases, side, watch)


class OverfitCallback(pl.Callback):
    """Records loss and Dice after each epoch and stops when the images are learned or the time is up."""

    def __init__(self, told: Callable[[OverfitPoint], None], seconds: float) -> None:
        self.told, self.limit, self.moments, self.epoch = told, seconds, list[OverfitPoint](), 0
        self.started = time.monotonic()

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock."""
        self.started = time.monotonic()

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        """Stop when the time is up."""
        trainer.should_stop = trainer.should_stop or time.monotonic() - self.started > self.limit

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Record the progress."""
        loss = float(trainer.callback_metrics.get("loss/train", np.nan))
        dice = pooled_dice(np.asarray(pl_module.confusions))
        self.epoch += 1
        self.moments.append(OverfitPoint(trainer.global_step, time.monotonic() - self.started, loss, dice))
        self.told(self.moments[-1])
        trainer.should_stop = trainer.should_stop or dice >= ENOUGH


def _trainer(config: TrainConfig, watch: OverfitCallback, accelerator: str, precision: Any) -> pl.Trainer:
    """Return a trainer that writes nothing and runs until `watch` stops it."""
    return pl.Trainer(
        accelerator=accelerator,
        devices=1,
        precision=precision,
        max_epochs=-1,
        gradient_clip_val=config.trainer.gradient_clip_val,
        callbacks=[watch],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
    )


def pooled_dice(matrices: np.ndarray, first: int = 1) -> float:
    """Return the Dice over all images together, averaged over the classes that count; 0 without any.

    Classes with less than `SPECK` of their pixels are ignored.

    Args:
        matrices: (N, K, K) counts, rows truth, columns prediction.
        first: index of the first class that counts.
    """
    together = matrices.sum(axis=0)
    true, found, right = together.sum(axis=1)[first:], together.sum(axis=0)[first:], np.diag(together)[first:]
    counted = true > SPECK * true.sum()
    return float((2 * right[counted] / (true + found)[counted]).mean()) if counted.any() else 0.0


def _outcome(
    segmenter: Segmenter, scoring: EvalDataset, store: RamStore, cases: Sequence[Case], side: int, watch: OverfitCallback
) -> OverfitResult:
    scored = score_cases(segmenter, scoring, range(len(cases)))
    rows = [(store[n].image, store[n].mask, scored.kept[n], case.id) for n, case in enumerate(cases)]
    spec = segmenter.spec
    return OverfitResult(
        tuple(case.id for case in cases),
        side,
        tuple(watch.moments),
        pooled_dice(scored.confusions, spec.first),
        not scored.confusions[:, :, spec.first :].any(),
        panel(rows, spec.palette, spec.classes, height=192, overlapping=spec.overlapping, background=spec.background),
    )


def describe_result(rehearsal: OverfitResult, config: TrainConfig) -> str:
    """Return a message on whether the test is passed, and otherwise on what to try."""
    first, last = rehearsal.moments[0], rehearsal.moments[-1]
    count, dice, spent = len(rehearsal.cases), rehearsal.dice, f"{last.seconds:.0f} s"
    images = "one image" if count == 1 else f"{('two', 'three', 'four')[count - 2]} images"
    if rehearsal.learned:
        return f"The network learned {images} to Dice {dice:.2f} in {spent}: learning works."
    found = f"The network did not learn {images}: Dice {dice:.2f} after {last.step} steps in {spent}, {LEARNED} was expected."
    rate = config.optimizer.arguments.get("lr")
    if last.step < STEPS / 2:
        width = config.model.arguments.get("width")
        smaller = f"model.width={width // 2}" if isinstance(width, int) and width > 8 else "a smaller model"
        return f"{found} Only {last.step} steps fitted into the time: type {smaller}, a smaller data.size or trainer.gpus=1."
    if not last.loss < 0.9 * first.loss:
        other = "" if config.optimizer.target.endswith(".AdamW") else ", or optimizer=adamw"
        fall = f"The loss did not fall ({first.loss:.3g} to {last.loss:.3g})"
        return f"{found} {fall}: type another optimizer.lr than {rate}{other}."
    if rehearsal.silent:
        return f"{found} Nothing but background is predicted: type loss=ce_dice, or give class weights to the loss."
    return (
        f"{found} Look at the picture: is the truth in it what you expect? Objects of a pixel or two need a larger data.size. "
        f"Else type a higher optimizer.lr than {rate}."
    )
