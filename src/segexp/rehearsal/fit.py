"""A short training on a few pictures by Lightning, with the module of every training; no loop of its own."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader

from segexp import build
from segexp.data.augment import Augment
from segexp.data.crop import sides
from segexp.data.datamodule import reader, spec_of
from segexp.data.dataset import EpochSampler, ScoringSet, TrainingSet, collate_scoring, collate_training
from segexp.data.inspect import Statistics, check_masks
from segexp.data.store import RamStore
from segexp.devices import choose_devices, choose_precision
from segexp.labelling import labelling
from segexp.pictures import panel
from segexp.preprocessing import preprocessing_for
from segexp.quiet import quieten
from segexp.rehearsal.material import affordable, reduced
from segexp.scoring import score
from segexp.segmenter import Segmenter
from segexp.types import Case

SECONDS = 80.0
"""Of training; what comes before and after is short."""
ENOUGH, LEARNED = 0.95, 0.8
"""The Dice at which the training ends, and from which on learning works."""
SPECK = 0.02


@dataclass(frozen=True)
class Moment:
    """How far the training was: steps done, seconds since its start, training loss and Dice over the pictures."""

    step: int
    seconds: float
    loss: float
    dice: float


@dataclass(frozen=True)
class Rehearsal:
    """What came out.

    Attributes:
        cases: ids of the pictures.
        side: of the pictures, in pixels, at most.
        moments: from the first to the last; at least one.
        dice: at the end, see `known`.
        silent: nothing but background was predicted.
        picture: (H, W, 3) uint8: input, truth, prediction and errors of each picture.
    """

    cases: tuple[str, ...]
    side: int
    moments: tuple[Moment, ...]
    dice: float
    silent: bool
    picture: np.ndarray

    @property
    def learned(self) -> bool:
        """Whether learning works."""
        return self.dice >= LEARNED


def rehearse(
    config: Mapping[str, Any],
    cases: Sequence[Case],
    told: Callable[[Moment], None] = lambda _: None,
    seconds: float = SECONDS,
) -> Rehearsal:
    """Train on a few pictures, without augmentation and with a constant learning rate, until they are known or time is up.

    Args:
        config: resolved and validated, with the facts about the data.
        cases: the pictures, see `choose`.
        told: is told each moment.
        seconds: after which the training ends.

    Raises:
        SegexpError: a picture cannot be read, the masks hold one class alone, or the loss is not finite.
    """
    quieten()
    config = {**config, "trainer": {**config["trainer"], "compile": False}}
    made = build.parts(config)
    accelerator, _ = choose_devices(config["trainer"]["gpus"])
    precision = choose_precision(config["trainer"]["precision"], accelerator)
    data = config["data"]
    read = reader(data)
    spec = spec_of(data, read)
    whole = [read(case) for case in cases]
    statistics = Statistics(spec.channels, spec.num_classes, labelling(spec))
    for each in whole:
        statistics.add(each)
    check_masks(statistics, spec.classes, "chosen")
    found = statistics.fingerprint()
    made, _ = build.balanced(config, made, found.class_share)
    ready = preprocessing_for(data["normalize"], spec.channels, None, statistics.value_range(), found)
    segmenter = Segmenter(made.network, ready, spec, None, precision, config["trainer"]["channels_last"])
    side, step = affordable(segmenter.to(accelerator), made.optimizer, len(cases), seconds)
    store = RamStore([reduced(each, sides(data["crop"]), side) for each in whole])
    watch, scoring = Watch(told, seconds), ScoringSet(store, range(len(cases)), ready)
    epoch = int(np.clip(5 / step, 5, 25))  # steps; after each epoch the pictures are scored
    training = TrainingSet(store, range(len(cases)), Augment(), ready, config["seed"], repeat=epoch)
    sampler = EpochSampler(len(training), config["seed"], lambda: watch.epoch)
    _trainer(config, watch, accelerator, precision).fit(
        build.module(dict(config), made, segmenter),
        DataLoader(training, len(cases), sampler=sampler, collate_fn=collate_training, generator=torch.Generator()),
        DataLoader(scoring, 1, collate_fn=collate_scoring),
    )
    return _outcome(segmenter.to(accelerator), scoring, store, cases, side, watch)


class Watch(pl.Callback):
    """Notes loss and Dice after each epoch and ends the training when the pictures are known or the time is up."""

    def __init__(self, told: Callable[[Moment], None], seconds: float) -> None:
        self.told, self.limit, self.moments, self.epoch = told, seconds, list[Moment](), 0
        self.started = time.monotonic()

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock."""
        self.started = time.monotonic()

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        """End in the middle of an epoch when the time is up."""
        trainer.should_stop = trainer.should_stop or time.monotonic() - self.started > self.limit

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Note where the training is."""
        loss = float(trainer.callback_metrics.get("loss/train", np.nan))
        dice = known(np.asarray(pl_module.confusions))
        self.epoch += 1
        self.moments.append(Moment(trainer.global_step, time.monotonic() - self.started, loss, dice))
        self.told(self.moments[-1])
        trainer.should_stop = trainer.should_stop or dice >= ENOUGH


def _trainer(config: Mapping[str, Any], watch: Watch, accelerator: str, precision: Any) -> pl.Trainer:
    """Return a trainer that writes nothing and goes on until `watch` ends it."""
    return pl.Trainer(
        accelerator=accelerator,
        devices=1,
        precision=precision,
        max_epochs=-1,
        gradient_clip_val=config["trainer"]["clip"],
        callbacks=[watch],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
    )


def known(matrices: np.ndarray) -> float:
    """Return the Dice of all pictures together, the mean over the foreground classes; 0 without any.

    A class with less than `SPECK` of the foreground is left out: a few pixels in a corner say nothing about learning.

    Args:
        matrices: (N, K, K) counts, rows truth, columns prediction.
    """
    together = matrices.sum(axis=0)
    true, found, right = together.sum(axis=1)[1:], together.sum(axis=0)[1:], np.diag(together)[1:]
    counted = true > SPECK * true.sum()
    return float((2 * right[counted] / (true + found)[counted]).mean()) if counted.any() else 0.0


def _outcome(
    segmenter: Segmenter, scoring: ScoringSet, store: RamStore, cases: Sequence[Case], side: int, watch: Watch
) -> Rehearsal:
    scored = score(segmenter, scoring, range(len(cases)))
    rows = [(store[n].image, store[n].mask, scored.kept[n], case.id) for n, case in enumerate(cases)]
    spec = segmenter.spec
    return Rehearsal(
        tuple(case.id for case in cases),
        side,
        tuple(watch.moments),
        known(scored.confusions),
        not scored.confusions[:, :, 1:].any(),
        panel(rows, spec.palette, spec.classes, height=192, overlapping=spec.overlapping),
    )
