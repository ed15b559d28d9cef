"""From a checked config (plain values) to the parts of a run. Nothing here trains."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import nn

from segexp.checkpoint import without_pretrained
from segexp.config import weighed_classes
from segexp.config.auto import AUTO, asks_for_weights, with_class_weights, with_rate
from segexp.config.instantiate import instantiate
from segexp.data.datamodule import SegmentationDataModule
from segexp.data.statistics import Picture
from segexp.data.transforms import Augment
from segexp.devices import choose_devices, choose_precision, choose_workers
from segexp.errors import ConfigError, listed
from segexp.explainability.explainer import Explainer, make_explainer
from segexp.explainability.regions import class_index
from segexp.inference.segmenter import Segmenter
from segexp.losses import scales_loss
from segexp.losses.balance import balanced_weights
from segexp.losses.contract import check_losses
from segexp.losses.overlapping import Overlapping, of_two_classes
from segexp.metrics.measures import Measure, check_measures
from segexp.metrics.scores import summary
from segexp.milestones import moment
from segexp.models.checkpointing import checkpoint_activations
from segexp.models.contract import check_network, head_sizes
from segexp.models.encoding import need_encoder
from segexp.optim import ENCODER, parameter_groups
from segexp.training.callbacks.checkpoint import Checkpoints
from segexp.training.callbacks.freeze_encoder import FreezeEncoder
from segexp.training.callbacks.image_logging import Explanations, Panels
from segexp.training.callbacks.lr_schedule import Schedule
from segexp.training.callbacks.progress import Speed, progress
from segexp.training.callbacks.weight_averaging import averaging, held_from
from segexp.training.distillation import Teacher, check_unseen, taught
from segexp.training.module import SegmentationModule


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
        mix=instantiate(config["mix"]) if config.get("mix") else None,
        batch_size=1 if settings["batch_size"] == AUTO else settings["batch_size"],
        workers=choose_workers(settings["workers"], accelerator),
        seed=config["seed"],
        pin=accelerator == "cuda",
        track=track,
    )


@dataclass(frozen=True)
class Parts:
    """What needs the config alone; made before any picture is read, so that a wrong value is found at once."""

    network: nn.Module
    loss: nn.Module
    optimizer: Callable[[nn.Module], torch.optim.Optimizer]
    schedule: Callable[[float], float]
    measures: list[Measure]
    teacher: Teacher | None = None


def parts(config: dict[str, Any]) -> Parts:
    """Return network (fresh weights, drawn from the seed), loss, optimizer, schedule and measures."""
    torch.manual_seed(config["seed"])
    network: nn.Module = instantiate(without_pretrained(config["model"]) if config.get("resume") else config["model"])
    check_contract(config, network)
    if config["trainer"]["checkpoint_activations"]:
        checkpoint_activations(network, config["data"]["channels"], config["model"]["_target_"])
    if config["trainer"]["channels_last"]:
        network.to(memory_format=torch.channels_last)
    if config["trainer"]["compile"]:
        network.compile()
    decay = config["optimizer"].get("weight_decay", 0.0)

    def optimizer(trained: nn.Module) -> torch.optim.Optimizer:
        make = instantiate(with_rate(config["optimizer"]))  # by then a rate may have been found
        made: torch.optim.Optimizer = make(parameter_groups(trained, decay, own_encoder(config, trained)))
        for group in made.param_groups:
            group["lr"] *= config["trainer"]["encoder_lr_scale"] if group.get("part") == ENCODER else 1
        return made

    optimizer(network)  # refuses its arguments now rather than after the data are read
    further = measures(config.get("metrics") or {}, config["data"]["num_classes"])
    return Parts(
        network, made_loss(config, [1.0] * weighed_classes(config)), optimizer, instantiate(config["scheduler"]), further
    )


def own_encoder(config: dict[str, Any], network: nn.Module) -> list[nn.Module]:
    """Return the encoder where the config treats it otherwise than the rest; its parameters then have groups of their own.

    Raises:
        ConfigError: there is none.
    """
    for key, usual in (("encoder_lr_scale", 1), ("freeze_encoder", 0)):
        if (value := config["trainer"][key]) != usual:
            return need_encoder(network, config["model"]["_target_"], f"trainer.{key}", value)
    return []


def check_contract(config: dict[str, Any], network: nn.Module) -> None:
    """Try a network that does not come with segexp, and the heads that deep supervision is to train.

    Raises:
        ConfigError: it does not keep the contract, or `deep_supervision` has another number of weights than it has heads.
    """
    name, data = config["model"]["_target_"], config["data"]
    if not type(network).__module__.startswith("segexp."):
        check_network(network, name, data["channels"], data["num_classes"])
    if not config["model"].get("deep_supervision"):
        return
    sizes = head_sizes(network, name, data["channels"], data["num_classes"])
    weights = config.get("deep_supervision")
    if isinstance(weights, list) and len(weights) != len(sizes):
        heads = listed(f"{height}x{width}" for height, width in sizes)
        raise ConfigError(
            f"deep_supervision={weights} has {len(weights)} weights, and the network {name} has {len(sizes)} heads",
            f"One weight per head, finest first; on an image of 64x64 they are {heads}",
            f"Type 'deep_supervision={[0.5**n for n in range(len(sizes))]}', or deep_supervision=true for all alike",
        )


def made_loss(config: dict[str, Any], weights: Sequence[float]) -> nn.Module:
    """Return the loss, with these class weights where they are `auto`; one that does not come with segexp has been tried."""
    loss: nn.Module = instantiate(with_class_weights(config["loss"], weights))
    check_losses(loss, "loss", weighed_classes(config))
    return Overlapping(loss) if config["data"].get("labels") == "overlapping" else loss


def balanced(config: dict[str, Any], made: Parts, shares: Sequence[float]) -> tuple[Parts, str]:
    """Return the parts with the class weights that `auto` stands for, and a sentence about them; empty where nobody asked.

    From then on the config has the weights themselves.

    Args:
        config: resolved; its loss is replaced.
        made: what `parts` returned.
        shares: of the classes among the training pixels.
    """
    if not asks_for_weights(config["loss"]):
        return made, ""
    names: Sequence[str] = tuple(config["data"]["classes"])
    if config["data"].get("labels") == "overlapping":
        names, shares = ("absent", "present"), of_two_classes(shares)
    weights = balanced_weights(shares)
    loss = made_loss(config, weights)
    config["loss"] = with_class_weights(config["loss"], weights)
    told = ", ".join(f"{name} {weight:g}" for name, weight in zip(names, weights, strict=True))
    return replace(made, loss=loss), f"class_weights=auto: {told} (1 / ln(1.02 + share of the training pixels), scaled)"


def with_teacher(
    config: dict[str, Any], made: Parts, teacher: Segmenter | None, data: SegmentationDataModule
) -> tuple[Parts, str]:
    """Return the parts with the network that teaches, and a sentence about it; empty where nobody does.

    Args:
        config: resolved.
        made: what `parts` returned.
        teacher: what `load_teacher` returned.
        data: of the student, set up.
    """
    if teacher is None:
        return made, ""
    seen = check_unseen(teacher, data.cases, data.splits, data.split_rows())
    found, said = taught(config["distill"], teacher, data.preprocessing, seen)
    return replace(made, teacher=found), said


def measures(chosen: Mapping[str, Any], num_classes: int) -> list[Measure]:
    """Return the measures of the metrics section, each tried on a picture of nothing."""
    made: dict[str, Measure] = {name: instantiate(node) for name, node in chosen.items()}
    check_measures(made, num_classes)
    return list(made.values())


def segmenter(config: dict[str, Any], network: nn.Module, data: SegmentationDataModule) -> Segmenter:
    """Return the network with the preprocessing and classes of the data."""
    settings = config["trainer"]
    accelerator, _ = choose_devices(settings["gpus"])
    precision = choose_precision(settings["precision"], accelerator)
    limit = config["data"]["max_pixels"]
    return Segmenter(network, data.preprocessing, data.spec, limit, precision, settings["channels_last"])


def module(config: dict[str, Any], made: Parts, whole: Segmenter) -> SegmentationModule:
    """Return the Lightning module around a segmenter."""
    names, asked = whole.spec.classes, config.get("deep_supervision")
    heads = partial(scales_loss, weights=asked if isinstance(asked, list) else None)
    return SegmentationModule(
        whole, made.loss, made.optimizer, lambda matrices: summary(matrices, names), heads, config["seed"], made.teacher
    )


def callbacks(config: dict[str, Any], made: Parts, checkpoints: Checkpoints) -> list[pl.Callback]:
    """Return the callbacks; what must see an epoch's scores first comes first."""
    settings, wanted = config["trainer"], config["callbacks"]
    schedule = Schedule(made.schedule, settings["minutes"], f"val/{settings['monitor']}", held_from(settings))
    chosen: list[pl.Callback] = [schedule, *averaging(settings), Speed(), checkpoints]
    if settings["freeze_encoder"]:
        until = moment("trainer.freeze_encoder", settings["freeze_encoder"])
        chosen.insert(1, FreezeEncoder(own_encoder(config, made.network), until))
    if wanted["pictures"] or wanted["confusion"]:
        chosen.append(Panels(wanted["pictures"], wanted["pictures_every"], wanted["confusion"]))
    if settings["early_stopping"]:
        chosen.append(
            pl.callbacks.EarlyStopping(
                f"val/{settings['monitor']}", patience=settings["early_stopping"], mode="max", strict=False
            )
        )
    if wanted["progress"]:
        chosen.append(progress())
    return chosen


def explanations(config: dict[str, Any], whole: Segmenter) -> list[pl.Callback]:
    """Return what draws heat maps of some validation cases; nothing where none is asked for.

    Raises:
        ConfigError: the network has no layer that Grad-CAM could look at.
    """
    wanted = config["callbacks"]
    if not wanted.get("explain"):  # a run of an earlier version that is gone on with does not have the key
        return []
    return [Explanations(explainer(config, whole), wanted["explain"], wanted["pictures_every"])]


def explainer(config: dict[str, Any], whole: Segmenter) -> Explainer:
    """Return what makes the heat maps of validation cases: Seg-Grad-CAM of a class at the deepest map.

    Raises:
        ConfigError: the network has no layer that Grad-CAM could look at.
    """
    return make_explainer(whole, class_index(config["callbacks"].get("explain_target"), whole.spec), "seg_gradcam")


def trainer(config: dict[str, Any], directory: Path, chosen: list[pl.Callback], loggers: list[Any]) -> pl.Trainer:
    """Return the trainer; all files of the run lie below `directory`."""
    settings = config["trainer"]
    accelerator, devices = choose_devices(settings["gpus"])
    precision: Any = choose_precision(settings["precision"], accelerator)
    many = len(devices) if isinstance(devices, list) else devices
    if accelerator == "cuda":
        torch.set_float32_matmul_precision("high")
    return pl.Trainer(
        accelerator=accelerator,
        devices=devices,
        strategy="ddp" if many > 1 else "auto",
        precision=precision,
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
        benchmark=accelerator == "cuda" and config["data"]["crop"] is not None and not settings["deterministic"],
    )
