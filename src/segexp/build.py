"""From a checked config (plain values) to the parts of a run. Nothing here trains."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import nn

from segexp.callbacks.checkpoints import Checkpoints
from segexp.callbacks.console import EpochLines
from segexp.callbacks.panels import Panels
from segexp.callbacks.schedule import Schedule
from segexp.callbacks.speed import Speed
from segexp.targets import instantiate
from segexp.data.augment import Augment
from segexp.data.datamodule import SegmentationDataModule
from segexp.data.inspect import Picture
from segexp.devices import choose_devices, choose_precision, choose_workers
from segexp.losses import scales_loss
from segexp.metrics.scores import summary
from segexp.module import SegmentationModule
from segexp.optim import parameter_groups
from segexp.segmenter import Segmenter


def datamodule(
    config: dict[str, Any], track: Callable[[Iterator[Picture], int], Iterator[Picture]] = lambda pictures, _: pictures
) -> SegmentationDataModule:
    """Return the data module, not yet set up; its augmentation has been tried on a picture of its kind."""
    settings, data = config["trainer"], config["data"]
    crop = tuple(data["crop"]) if isinstance(data["crop"], list) else data["crop"]
    accelerator, _ = choose_devices(settings["gpus"])
    return SegmentationDataModule(
        data,
        Augment(config["augment"]["transforms"], crop=crop),
        batch_size=settings["batch_size"],
        workers=choose_workers(settings["workers"], accelerator),
        seed=config["seed"],
        pin=accelerator == "cuda",
        track=track,
    )


def segmenter(config: dict[str, Any], data: SegmentationDataModule) -> Segmenter:
    """Return a segmenter with fresh weights, drawn from the seed."""
    torch.manual_seed(config["seed"])
    network: nn.Module = instantiate(config["model"])
    settings = config["trainer"]
    if settings["channels_last"]:
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if settings["compile"]:
        network.compile()
    accelerator, _ = choose_devices(settings["gpus"])
    precision = choose_precision(settings["precision"], accelerator)
    return Segmenter(
        network, data.preprocessing, data.spec, config["data"]["max_pixels"], precision, settings["channels_last"]
    )


def module(config: dict[str, Any], parts: Segmenter) -> SegmentationModule:
    """Return the Lightning module around a segmenter."""
    make = instantiate(config["optimizer"])

    def optimizer(network: nn.Module) -> torch.optim.Optimizer:
        made: torch.optim.Optimizer = make(parameter_groups(network, config["optimizer"].get("weight_decay", 0.0)))
        return made

    names = parts.spec.classes
    return SegmentationModule(
        parts, instantiate(config["loss"]), optimizer, lambda m: summary(m, names), scales_loss, config["seed"]
    )


def callbacks(config: dict[str, Any], checkpoints: Checkpoints) -> list[pl.Callback]:
    """Return the callbacks; what must see an epoch's scores first comes first."""
    settings, wanted = config["trainer"], config["callbacks"]
    schedule = Schedule(instantiate(config["scheduler"]), settings["minutes"], monitor=f"val/{settings['monitor']}")
    chosen: list[pl.Callback] = [schedule, Speed(), checkpoints]
    if settings["ema"]:
        chosen.insert(0, pl.callbacks.EMAWeightAveraging(decay=settings["ema"]))
    if wanted["pictures"] or wanted["confusion"]:
        chosen.append(Panels(wanted["pictures"], wanted["pictures_every"], wanted["confusion"]))
    if settings["early_stopping"]:
        chosen.append(
            pl.callbacks.EarlyStopping(f"val/{settings['monitor']}", patience=settings["early_stopping"], mode="max", strict=False)
        )
    if wanted["progress"]:
        chosen.append(pl.callbacks.RichProgressBar(leave=False) if sys.stdout.isatty() else EpochLines())
    return chosen


def trainer(config: dict[str, Any], directory: Path, chosen: list[pl.Callback], loggers: list[Any]) -> pl.Trainer:
    """Return the trainer; all files of the run lie below `directory`."""
    settings = config["trainer"]
    accelerator, devices = choose_devices(settings["gpus"])
    many = len(devices) if isinstance(devices, list) else devices
    if accelerator == "cuda":
        torch.set_float32_matmul_precision("high")
    return pl.Trainer(
        accelerator=accelerator,
        devices=devices,
        strategy="ddp" if many > 1 else "auto",
        precision=choose_precision(settings["precision"], accelerator),
        max_epochs=-1 if settings["minutes"] else settings["max_epochs"],
        check_val_every_n_epoch=settings["validate_every"],
        limit_train_batches=settings["limit_batches"],
        limit_val_batches=settings["limit_batches"],
        gradient_clip_val=settings["clip"],
        accumulate_grad_batches=settings["accumulate"],
        callbacks=chosen,
        logger=loggers,
        default_root_dir=directory,
        use_distributed_sampler=False,
        enable_checkpointing=True,
        enable_model_summary=False,
        enable_progress_bar=any(isinstance(c, pl.callbacks.ProgressBar) for c in chosen),
        num_sanity_val_steps=1,
        log_every_n_steps=1,
        benchmark=accelerator == "cuda" and config["data"]["crop"] is not None,
    )
