"""Build the components of a run from its configuration."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import nn

from segexp.checkpoint import without_pretrained
from segexp.config.components import instantiate
from segexp.config.learned import include_background, needs_class_weights, resolve_class_weights
from segexp.config.schema import Component, TrainConfig, TrainerConfig
from segexp.config.validation import weighed_classes
from segexp.data.datamodule import SegmentationDataModule
from segexp.data.statistics import DecodedCase
from segexp.data.transforms import Augment
from segexp.devices import choose_devices, choose_precision
from segexp.errors import ConfigError, listed
from segexp.explainability.explainer import Explainer, make_explainer
from segexp.explainability.regions import class_index
from segexp.inference.segmenter import Segmenter
from segexp.losses import scales_loss
from segexp.losses.balance import balanced_weights
from segexp.losses.contract import check_losses
from segexp.losses.overlapping import Overlapping, presence_shares
from segexp.metrics.measures import Measure, check_measures
from segexp.milestones import require_milestone
from segexp.models.checkpointing import checkpoint_activations
from segexp.models.contract import check_network, head_sizes
from segexp.training.callbacks.checkpoint import CheckedCheckpointIO, Checkpoints
from segexp.training.callbacks.early_stopping import EarlyStopping
from segexp.training.callbacks.freeze_encoder import FreezeEncoder
from segexp.training.callbacks.image_logging import Explanations, Panels
from segexp.training.callbacks.progress import Speed, progress_callback
from segexp.training.callbacks.time_budget import TimeBudget, ValidateLastEpoch
from segexp.training.callbacks.weight_averaging import averaging_callbacks, lr_hold_start
from segexp.training.distillation import Teacher, check_unseen, make_teacher
from segexp.training.optimizers import HeldLR, Schedule, encoder_modules, make_optimizer

ScalesLoss = Callable[[Any, list[torch.Tensor], torch.Tensor], torch.Tensor]


def build_datamodule(
    config: TrainConfig,
    track: Callable[[Iterator[DecodedCase], int], Iterator[DecodedCase]] = lambda pictures, _: pictures,
    held_out: Mapping[str, Sequence[str]] | None = None,
) -> SegmentationDataModule:
    """Return the data module, not yet set up; its augmentation has been validated."""
    accelerator, _ = choose_devices(config.trainer.gpus)
    return SegmentationDataModule(
        config.data,
        Augment(config.augment.transforms, crop=config.data.crop),
        mix=instantiate(config.mix, "mix") if config.mix else None,
        seed=config.seed,
        pin_memory=accelerator == "cuda",
        track=track,
        held_out=held_out,
    )


@dataclass(frozen=True)
class Components:
    """Components that depend on the configuration alone; built before any image is read, to detect errors early.

    Attributes:
        network: with weights initialised from the seed.
        loss: (logits (B, K, H, W), mask (B, H, W)) to a float32 scalar.
        scales_loss: combines the loss over the outputs of a network with deep supervision.
        schedule: progress, 0 to 1, to a factor of the learning rate.
        measures: additional measures per case.
        teacher: for distillation.
    """

    network: nn.Module
    loss: nn.Module
    scales_loss: ScalesLoss
    schedule: Schedule
    measures: list[Measure]
    teacher: Teacher | None = None


def build_components(config: TrainConfig, *, network: nn.Module | None = None, loss: nn.Module | None = None) -> Components:
    """Build the components of a training.

    Args:
        config: of the run.
        network: replaces the configured network.
        loss: replaces the configured loss.

    Raises:
        ConfigError: a component cannot be built or violates its contract.
    """
    torch.manual_seed(config.seed)
    if network is None:
        network = instantiate(without_pretrained(config.model) if config.resume else config.model, "model")
    assert network is not None, "it has been built"
    check_network_contract(config, network)
    if config.trainer.checkpoint_activations:
        checkpoint_activations(network, config.data.channels or 3, config.model.target)
    if config.trainer.channels_last:
        network.to(memory_format=torch.channels_last)
    if config.trainer.compile:
        network.compile()
    make_optimizer(config, network)  # validates its arguments before the data are read
    heads = config.deep_supervision if isinstance(config.deep_supervision, list) else None
    return Components(
        network,
        build_loss(config, [1.0] * weighed_classes(config.data)) if loss is None else loss,
        partial(scales_loss, weights=heads),
        HeldLR(instantiate(config.scheduler, "scheduler"), lr_hold_start(config.trainer)),
        build_measures(config.metrics, (config.data.num_classes or 2) - (config.data.background is not None)),
    )


def check_network_contract(config: TrainConfig, network: nn.Module) -> None:
    """Check the contract of a custom network, and the number of heads for deep supervision.

    Raises:
        ConfigError: the contract is violated, or `deep_supervision` has another number of weights than there are heads.
    """
    name, channels, classes = type(network).__name__, config.data.channels or 3, config.data.num_classes or 2
    name = config.model.target if config.model.target.endswith(name) else name
    if not type(network).__module__.startswith("segexp."):
        check_network(network, name, channels, classes)
    if not config.model.arguments.get("deep_supervision"):
        return
    sizes = head_sizes(network, name, channels, classes)
    weights = config.deep_supervision
    if isinstance(weights, list) and len(weights) != len(sizes):
        heads = listed(f"{height}x{width}" for height, width in sizes)
        typed = ", ".join(f"{weight:g}" for weight in weights)
        raise ConfigError(
            f"deep_supervision=[{typed}] has {len(weights)} weights, and the network {name} has {len(sizes)} heads",
            f"One weight per head, finest first; on an image of 64x64 they are {heads}",
            f"Type 'deep_supervision={[0.5**n for n in range(len(sizes))]}', or deep_supervision=true for all alike",
        )


def build_loss(config: TrainConfig, weights: Sequence[float]) -> nn.Module:
    """Return the loss, with these class weights if they are `auto`; the contract of a custom loss is checked.

    Without a background in the data, all classes count.
    """
    node = resolve_class_weights(config.loss.plain(), weights)
    loss: nn.Module = instantiate(node if config.data.background is not None else include_background(node), "loss")
    check_losses(loss, "loss", weighed_classes(config.data))
    return Overlapping(loss) if config.data.multilabel else loss


def apply_class_weights(
    config: TrainConfig, components: Components, shares: Sequence[float]
) -> tuple[TrainConfig, Components, str]:
    """Return configuration and components with `auto` class weights replaced, and a message ("" if not requested).

    Args:
        config: of the run.
        components: result of `build_components`.
        shares: of the classes among the training pixels.
    """
    if not needs_class_weights(config.loss.plain()):
        return config, components, ""
    names: Sequence[str] = tuple(config.data.classes or {})
    if config.data.multilabel:
        names, shares = ("absent", "present"), presence_shares(shares)
    weights = balanced_weights(shares)
    told = ", ".join(f"{name} {weight:g}" for name, weight in zip(names, weights, strict=True))
    return (
        config.updated({"loss": resolve_class_weights(config.loss.plain(), weights)}),
        replace(components, loss=build_loss(config, weights)),
        f"class_weights=auto: {told} (1 / ln(1.02 + share of the training pixels), scaled)",
    )


def with_teacher(
    config: TrainConfig, components: Components, teacher: Segmenter | None, data: SegmentationDataModule
) -> tuple[Components, str]:
    """Return the components with the teacher, and a message ("" without distillation).

    Args:
        config: of the run.
        components: result of `build_components`.
        teacher: result of `load_teacher`.
        data: of the student, set up.
    """
    if teacher is None or config.distill is None:
        return components, ""
    seen = check_unseen(teacher, data.cases, data.splits, data.split_rows())
    found, said = make_teacher(config.distill, teacher, data.preprocessing, seen)
    return replace(components, teacher=found), said


def build_measures(chosen: Mapping[str, Component], foreground: int) -> list[Measure]:
    """Return the measures of the metrics section after a check on an empty image with a number of classes that count."""
    made: dict[str, Measure] = {name: instantiate(component, f"metrics.{name}") for name, component in chosen.items()}
    check_measures(made, 1 + foreground)
    return list(made.values())


def build_segmenter(
    config: TrainConfig, network: nn.Module, data: SegmentationDataModule, precision: str | None = None
) -> Segmenter:
    """Return the network with the preprocessing and classes of the data.

    Args:
        config: of the run.
        network: to wrap.
        data: set up.
        precision: "32", "bf16-mixed" or "16-mixed"; None as the configuration says.
    """
    if precision is None:
        accelerator, _ = choose_devices(config.trainer.gpus)
        precision = choose_precision(config.trainer.precision, accelerator)
    limit, last = config.data.max_pixels, config.trainer.channels_last
    return Segmenter(network, data.preprocessing, data.spec, limit, precision, last)


def build_callbacks(config: TrainConfig, components: Components, checkpoints: Checkpoints) -> list[pl.Callback]:
    """Return the callbacks; the order matters, since later ones use the results of earlier ones."""
    trainer, wanted = config.trainer, config.callbacks
    chosen: list[pl.Callback] = [TimeBudget(trainer.minutes)] if trainer.minutes else []
    chosen.append(ValidateLastEpoch())
    if trainer.freeze_encoder:
        until = require_milestone("trainer.freeze_encoder", trainer.freeze_encoder)
        chosen.append(FreezeEncoder(encoder_modules(config, components.network), until))
    chosen += [*averaging_callbacks(trainer), Speed(), checkpoints]
    if wanted.pictures or wanted.confusion:
        chosen.append(Panels(wanted.pictures, wanted.pictures_every, wanted.confusion))
    if trainer.early_stopping:
        chosen.append(EarlyStopping(f"val/{trainer.monitor}", trainer.early_stopping))
    if wanted.progress:
        chosen.append(progress_callback())
    return chosen


def build_explanations(config: TrainConfig, segmenter: Segmenter) -> list[pl.Callback]:
    """Return the callback that draws heat maps of validation cases, if requested.

    Raises:
        ConfigError: the network has no layer suitable for Grad-CAM.
    """
    wanted = config.callbacks
    return [Explanations(build_explainer(config, segmenter), wanted.explain, wanted.pictures_every)] if wanted.explain else []


def build_explainer(config: TrainConfig, segmenter: Segmenter) -> Explainer:
    """Return the Seg-Grad-CAM explainer of a class at the deepest layer.

    Raises:
        ConfigError: the network has no layer suitable for Grad-CAM.
    """
    return make_explainer(segmenter, class_index(config.callbacks.explain_target, segmenter.spec), "seg_gradcam")


def trainer_arguments(trainer: TrainerConfig) -> dict[str, Any]:
    """Return the arguments of Lightning's Trainer that follow from the trainer section."""
    accelerator, devices = choose_devices(trainer.gpus)
    many = len(devices) if isinstance(devices, list) else devices
    return {
        "accelerator": accelerator,
        "devices": devices,
        "strategy": "ddp" if many > 1 else "auto",
        "precision": choose_precision(trainer.precision, accelerator),
        "max_epochs": -1 if trainer.minutes or trainer.max_epochs is None else trainer.max_epochs,
        "check_val_every_n_epoch": trainer.check_val_every_n_epoch,
        "limit_train_batches": trainer.limit_train_batches,
        "limit_val_batches": trainer.limit_val_batches,
        "gradient_clip_val": trainer.gradient_clip_val,
        "accumulate_grad_batches": trainer.accumulate_grad_batches,
        **trainer.lightning_arguments,
    }


def build_trainer(config: TrainConfig, directory: Path, chosen: list[pl.Callback], loggers: list[Any]) -> pl.Trainer:
    """Return the trainer; all files of the run are in `directory`."""
    arguments = trainer_arguments(config.trainer)
    cuda = arguments["accelerator"] == "cuda"
    if cuda:
        torch.set_float32_matmul_precision("high")
    usual: dict[str, Any] = {"num_sanity_val_steps": 1, "log_every_n_steps": 1, "plugins": [CheckedCheckpointIO()]}
    made = pl.Trainer(
        **(usual | arguments),
        callbacks=chosen,
        logger=loggers,
        default_root_dir=directory,
        use_distributed_sampler=False,
        enable_checkpointing=True,
        enable_model_summary=False,
        enable_progress_bar=any(isinstance(c, pl.callbacks.ProgressBar) for c in chosen),
        benchmark=cuda and config.data.crop is not None and not config.trainer.deterministic,
    )
    # Checkpoints are of the ends of epochs; with max_steps Lightning would resume inside that epoch and train a step too much.
    made.fit_loop._iteration_based_training = lambda: False  # type: ignore[method-assign]
    return made
