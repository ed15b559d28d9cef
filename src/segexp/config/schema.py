"""Schema of all keys: type, range, default and meaning.

Sections are frozen models; unknown keys are refused and values are not coerced. `composition.register` gives the defaults to
Hydra; `make schema` generates help pages, `docs/reference.md` and `conf/schema.json`.
"""

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

Count = Annotated[int, Field(ge=1)]
Whole = Annotated[int, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]
Weight = Annotated[float, Field(ge=0)]
Fraction = Annotated[float, Field(gt=0, lt=1)]
Share = Annotated[float, Field(ge=0, le=1)]
Pair = Annotated[tuple[Count, Count], Field(strict=False)]
Box = Annotated[tuple[Whole, Whole, Whole, Whole], Field(strict=False)]
Gpus = Literal["auto"] | Whole | list[Whole]
Texts = str | list[str]
Trust = list[str] | bool
Orientation = Annotated[
    str,
    Field(
        pattern="^(stored|[RL][AP][IS]|[RL][IS][AP]|[AP][RL][IS]|[AP][IS][RL]|[IS][RL][AP]|[IS][AP][RL])$",
        description="three letters for the directions of the axes, such as RAS or LPS, or stored",
    ),
]
Nodata = int | float | Literal["nan", "none"]
FIRST = "first"
"""`data.background`: the first of `data.classes`."""


def key(default: Any, help: str, *, compose: str | None = None) -> Any:
    """Define a key.

    Args:
        default: default value or factory; ... for mandatory keys.
        help: meaning in one line.
        compose: interpolation used in place of the default in the composed configuration.
    """
    extra: dict[str, Any] | None = {"compose": compose} if compose is not None else None
    made: dict[str, Any] = {"default_factory": default} if callable(default) else {"default": default}
    return Field(**made, description=help, json_schema_extra=extra)


class Section(BaseModel):
    """A section of the configuration; immutable."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, protected_namespaces=(), arbitrary_types_allowed=True)

    def plain(self) -> dict[str, Any]:
        """Return plain Python values."""
        return {name: _plain(value) for name, value in self._items()}

    def _items(self) -> list[tuple[str, Any]]:
        """Return key and value of each field and extra key."""
        fields = [(field.alias or name, getattr(self, name)) for name, field in type(self).model_fields.items()]
        return [*fields, *(self.model_extra or {}).items()]

    def changed(self, **changes: Any) -> Self:
        """Return a validated copy with changed values."""
        return type(self).model_validate({**dict(self._items()), **changes})


def _plain(value: Any) -> Any:
    """Convert a value of a section to plain Python."""
    if isinstance(value, Section):
        return value.plain()
    if isinstance(value, Mapping):
        return {key: _plain(each) for key, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, list | tuple) else value


class Component(Section):
    """An object built from a dotted class or function and its arguments, in Hydra's notation."""

    model_config = ConfigDict(extra="allow")

    target: str = Field(alias="_target_")

    @property
    def arguments(self) -> Mapping[str, Any]:
        """Arguments by name; nested components are plain values."""
        return self.model_extra or {}

    def with_arguments(self, **arguments: Any) -> Self:
        """Return a copy with changed arguments."""
        return type(self).model_validate({"_target_": self.target, **self.arguments, **arguments})


class PseudoLabelConfig(Section):
    """`data.pseudo.*`: how the images of `data.unlabeled` get their masks."""

    teacher: str | None = key(
        None, "a finished run that predicts the labels; null: one is trained first, with the same settings, in RUN/teacher"
    )
    confidence: Fraction = key(0.9, "pixels with a lower probability of the teacher are ignored")
    share: Fraction = key(0.5, "maximum share of pseudo-labelled samples in an epoch")
    trust: Trust = key(list, "packages of your own whose networks may be built from the teacher's file; true: all")


class DataConfig(Section):
    """`data.*`: where the images are, what their masks mean, how they are split, scaled, cropped and loaded."""

    name: str = key(..., "name of the data set; runs are saved in runs/<name>/<model>")
    root: str = key(..., "data folder, relative to the working directory", compose="data/${data.name}")
    image: str | None = key(None, "pattern of the images: {split} {group} {id} {page} * {gif,png} [{page}]")
    mask: str | dict[str, str] | None = key(
        None, "pattern of the masks, or of JSON outlines; of overlapping labels {class: pattern, …}"
    )
    family: Literal["organ", "membranes", "lesion"] | None = key(
        None, "images that are generated below root: organ (as liver slices), membranes (as ISBI 2012), lesion (as ISIC)"
    )
    labels: Literal["exclusive", "overlapping"] = key(
        "exclusive", "overlapping: a pixel may have several classes, each class has masks of its own"
    )
    optional_masks: list[str] = key(list, "overlapping labels: classes whose mask file may be missing, which means absent")
    exclude: list[str] = key(list, "files, relative to root, that are left out with their partners: damaged ones, say")
    groups: str | dict[str, Any] | None = key(None, "which cases stay together: a regex on the id, or {file, match, column}")
    classes: dict[str, Any] | None = key(
        None, 'name: value, "#RRGGBB", label of outlines, a list, or any (every other); background first'
    )
    background: str | None = key(
        FIRST, "the class that means leave out: first (of classes) | the name of another | null: no class is a background"
    )
    ignore: Any = key(list, "mask values to ignore in loss and metrics")
    threshold: int | float | None = key(None, "for soft masks of two classes")
    channels: Count | None = key(
        None, "of the images: 1 for gray, 3 for colour; 4, and 2 for gray, read a band that is declared as transparency too"
    )
    num_classes: Annotated[int, Field(ge=2)] | None = key(
        None, "derived from classes; do not set", compose="${segexp.count:${data.classes}}"
    )
    spacing: Positive | Annotated[tuple[Positive, Positive], Field(strict=False)] | None = key(
        None, "pixel size for distances, as 0.7 or [row, column]; null: from NIfTI headers"
    )
    orientation: Orientation | None = key(
        None,
        "of NIfTI volumes, sliced along the third axis: RAS, LPS, …; null: the most common; stored: whatever the headers say",
    )
    exif: Literal["apply", "ignore"] = key(
        "apply",
        "EXIF orientation of photographs and TIFF files: apply, as viewers do | ignore: masks were drawn without it",
    )
    nodata: Nodata | None = key(
        None,
        "value of pixels without data, a number or nan, beside the one that a TIFF declares; none: there are no such pixels",
    )
    size: Count | Positive | Pair | None = key(None, "working resolution: longest side, [h, w], a factor, or null for native")
    crop: Count | Pair | None = key(None, "training crop in working pixels: a side, [h, w], or null for whole images")
    repeat: Count = key(1, "crops per image and epoch")
    foreground_crops: Share = key(0.0, "share of the crops that lie around a foreground pixel, each class as often as another")
    normalize: Literal["dataset", "minmax", "percentile"] | dict[str, Any] = key(
        "dataset", "by the training images: dataset (mean and deviation) | minmax | percentile | {mean, std}"
    )
    batch_size: Literal["auto"] | Count = key(8, "auto: the largest that fits into memory, found by training steps")
    num_workers: Literal["auto"] | Whole = key("auto", "loader processes")
    split_seed: Whole | None = key(None, "of the random split; null: the run's seed, so that another seed is another split")
    val_fraction: Share | None = key(0.2, "share of the training cases, unless a val split is on disk")
    test_fraction: Share | None = key(0.0, "0: no test split, unless one is on disk")
    folds: Annotated[int, Field(ge=2)] | None = key(None, "number of cross-validation folds; each is the val split of one run")
    fold: Whole | None = key(None, "index of the fold that is val in this run, from 0; 'range(5)' with -m: each in turn")
    allow_leakage: bool = key(False, "true trains though a training image is also in val or test")
    unlabeled: str | None = key(None, "folder of images without masks, for pseudo-labels by a first network")
    pseudo: PseudoLabelConfig = key(PseudoLabelConfig, "settings of the pseudo-labels")
    cache: Literal["auto", "ram", "disk", "none"] = key(
        "auto", "of decoded images: ram | disk | none | auto (ram where it takes less than a third of it)"
    )
    max_pixels: Count | None = key(4194304, "larger images are predicted in overlapping windows; null: never")

    @field_validator("nodata", mode="before")
    @classmethod
    def _name_nan(cls, value: Any) -> Any:
        """Name NaN, which is not equal to itself and not part of JSON; infinite values count as NaN."""
        return "nan" if isinstance(value, float) and not math.isfinite(value) else value

    @model_validator(mode="before")
    @classmethod
    def _count_classes(cls, values: Any) -> Any:
        """Derive the number of classes, and put the background first: it has the class index 0."""
        classes = values.get("classes") if isinstance(values, Mapping) else None
        if not isinstance(classes, Mapping) or len(classes) < 2:
            return values
        background = values.get("background")
        if background in classes:
            classes = {background: classes[background], **classes}
        return {**values, "classes": classes, "num_classes": len(classes)}

    @property
    def multilabel(self) -> bool:
        """Whether a pixel may have several classes."""
        return self.labels == "overlapping"


class TrainerConfig(Section):
    """`trainer.*`: how long and on what a network trains. Further keys are arguments of `pytorch_lightning.Trainer`."""

    model_config = ConfigDict(extra="allow")

    gpus: Gpus = key("auto", "auto: a GPU if there is one | 0: the CPU | a count | a list of ids")
    precision: Literal["auto", "32", 32, "bf16-mixed", "16-mixed"] = key(
        "auto", "auto: 16-bit where the hardware is fast at it | 32 | bf16-mixed | 16-mixed"
    )
    channels_last: bool = key(True, "channels-last memory format, faster for most networks")
    compile: bool = key(False, "torch.compile: about a minute first, then faster on GPUs")
    max_epochs: Count | None = key(100, "null: only minutes limits the training")
    minutes: Positive | None = key(None, "time budget; the schedule is scaled to it, and max_epochs is ignored")
    check_val_every_n_epoch: Count = key(1, "epochs between two validations; the last epoch is always validated")
    limit_train_batches: Count | None = key(None, "training batches per epoch, for quick tests")
    limit_val_batches: Count | None = key(None, "validation cases per validation, for quick tests")
    gradient_clip_val: Positive | None = key(1.0, "largest gradient norm")
    accumulate_grad_batches: Count = key(1, "batches per optimizer step")
    checkpoint_activations: bool = key(False, "gradient checkpointing: less memory, but activations are recomputed")
    early_stopping: Count | None = key(None, "patience: validations without a better score")
    ema: Fraction | None = key(None, "decay of an average of the weights, such as 0.99")
    swa: Count | str | None = key(None, "an equal average of the weights of each epoch from 75% on, or from an epoch")
    encoder_lr_scale: Positive = key(1.0, "learning rate of the encoder, as a factor of optimizer.lr")
    freeze_encoder: Whole | str = key(0, "number of epochs, or a share of the training such as 20%")
    deterministic: bool = key(False, "only deterministic algorithms; slower on GPUs")
    monitor: str = key("dice", "validation score that selects the best checkpoint")

    @property
    def lightning_arguments(self) -> Mapping[str, Any]:
        """Extra arguments of `pytorch_lightning.Trainer`."""
        return self.model_extra or {}


class AugmentConfig(Section):
    """`augment.*`: what is changed at random in training images."""

    transforms: list[dict[str, Any]] = key(list, "albumentations transforms by name, each with its arguments")


class DistillConfig(Section):
    """`distill.*`: a trained network that teaches besides the masks; none where it is empty."""

    teacher: str | None = key(None, "a run directory or checkpoint: the same classes, channels and data.size", compose="???")
    temperature: Annotated[float, Field(ge=0.1)] = key(
        2.0, "softmax temperature; higher values emphasise less probable classes"
    )
    weight: Share = key(0.5, "weight of the teacher in the loss; 0 disables it")
    boundary: Weight = key(0.0, "additional weight within 3 pixels of borders in the teacher's mask")
    trust: Trust = key(list, "packages of your own whose networks may be built from the teacher's file; true: all")


class CallbacksConfig(Section):
    """`callbacks.*`: what is shown and logged besides losses and scores."""

    pictures: Whole = key(4, "cases in the panel of input, truth, prediction and errors; 0: no panel")
    pictures_every: Count = key(5, "validations; the last one always")
    confusion: bool = key(True, "draw the confusion matrix")
    progress: bool = key(True, "progress bar")
    explain: Whole = key(0, "cases with a Seg-Grad-CAM heat map in TensorBoard and report.html")
    explain_target: str | Whole | None = key(None, "a class, by name or index; null: the first foreground class")


class LoggerConfig(Section):
    """`logger.*`: each is off, on, or a mapping of the logger's own arguments; CSV is always written."""

    tensorboard: bool = key(False, "curves and images; tensorboard --logdir runs shows them")
    csv: bool = key(True, "always written; logger=csv turns the others off")
    mlflow: bool | dict[str, Any] = key(False, "arguments of MLflow's logger; needs segexp[mlflow]")
    wandb: bool | dict[str, Any] = key(False, "arguments of the logger of Weights & Biases; needs segexp[wandb]")


class TrainConfig(Section):
    """The whole configuration of a training."""

    seed: Whole = key(0, "random seed of split, weights, order and augmentation")
    deep_supervision: bool | list[Weight] | None = key(
        None, "true: equal weights for all heads | a list: relative loss weights of the heads, finest first"
    )
    resume: str | None = key(None, "a run directory: resume it")
    trust: Trust = key(list, "with resume, of somebody's run: packages of your own that it may use; true: whatever it names")
    study: str | None = key(None, "name of the folder of a study (-m); by default made of what is swept")
    run_dir: str | None = key(None, "by default runs/<data>/<model>/<date_time>")
    tags: list[str] | None = key(None, "a list of words, kept with the run")
    model: Component = key(..., "the network")
    data: DataConfig = key(..., "the data")
    augment: AugmentConfig = key(AugmentConfig, "the augmentation")
    mix: Component | None = key(None, "mixing augmentation")
    loss: Component = key(..., "the loss")
    distill: DistillConfig | None = key(None, "distillation from a teacher network")
    metrics: dict[str, Component] = key(dict, "metrics besides Dice, IoU, precision, recall and accuracy")
    optimizer: Component = key(..., "the optimizer")
    scheduler: Component = key(..., "the learning rate schedule")
    trainer: TrainerConfig = key(TrainerConfig, "training loop and hardware")
    callbacks: CallbacksConfig = key(CallbacksConfig, "images, progress bar and heat maps")
    logger: LoggerConfig = key(LoggerConfig, "loggers")

    @model_validator(mode="before")
    @classmethod
    def _empty_groups(cls, values: Any) -> Any:
        """Convert empty groups (`metrics=none`, `logger=[]`) to their empty values."""
        if not isinstance(values, Mapping):
            return values
        empty: dict[str, Any] = {"metrics": {}, "logger": {}, "mix": None, "distill": None}
        return {name: empty[name] if name in empty and not value else value for name, value in values.items()}

    def updated(self, changes: Mapping[str, Any]) -> Self:
        """Return a validated copy with inferred values by dotted key, such as {"data.batch_size": 12, "optimizer.lr": 2e-3}."""
        values = self.plain()
        for name, value in changes.items():
            *sections, last = name.split(".")
            node = values
            for section in sections:
                node = node[section]
            node[last] = value.plain() if isinstance(value, Section) else value
        return type(self).model_validate(values)


class TrainedConfig(Section):
    """`model.*` of what reads a trained network."""

    prune_to: Count | None = key(
        None, "of a unetpp with deep supervision: the level, 1 or more, that it is pruned to; less accurate, faster"
    )


class CheckConfig(Section):
    """The keys of `segexp check` that training does not have."""

    seed: Whole = key(0, "random seed of the split, as in training")
    output: str | None = key(None, "output folder of check.html; by default checks/<data name>")
    fit: bool = key(
        False, "true: overfit four training images in under two minutes, with model, loss, optimizer and trainer as in training"
    )
    runs: Texts | None = key(
        None,
        "a cross-validation study, or runs: rank possibly wrong masks by the disagreement of networks that were not trained "
        "on them, in label_errors.csv",
    )
    trust: Trust = key(list, "packages of your own whose networks may be built from these runs; true: all")
    propose: bool | None = key(
        None, "true writes DIR/data/NAME.yaml, for segexp.train --config-dir DIR data=NAME; by default for data=auto"
    )


class EvaluateConfig(Section):
    """The keys of `segexp evaluate`."""

    checkpoint: Texts = key(
        ..., "a run directory (its best weights), a .ckpt or exported file; several or a study: an ensemble"
    )
    model: TrainedConfig = key(TrainedConfig, "changes to the network")
    split: Literal["val", "test", "train", "all"] | None = key(
        None, "val, test or train; all for every case; null: val and test as in training, all for other data"
    )
    data: dict[str, Any] = key(dict, "keys of the data section that differ: data.root=DIR; everything else as in training")
    metrics: dict[str, Component] | None = key(None, "null: those of the run; default, lesion, membrane or none in their place")
    postprocess: Literal["stored", "none"] = key("stored", "none: without the post-processing stored in the checkpoint")
    tune: Literal["postprocess"] | None = key(
        None,
        "postprocess: choose threshold, components and holes on val; store them in the checkpoint if the gain is beyond doubt",
    )
    gpus: Gpus = key("auto", "auto: a GPU if there is one | 0: the CPU | a count")
    pictures: Whole = key(4, "cases in the panel")
    output: str | None = key(
        None, "where to write scores, cases, pictures and report.html (with tune: tuning.csv); null prints only"
    )
    trust: Trust = key(list, "packages of your own whose networks may be built; true: all, and any code in a .pt2 or .pt file")


class PostprocessConfig(Section):
    """`postprocess.*` of `segexp predict`: what replaces the stored post-processing; null keeps it."""

    start: Literal["stored", "none"] = key("stored", "base of the other keys")
    threshold: Fraction | None = key(None, "minimum foreground probability, for two classes")
    min_area: Whole | None = key(None, "smaller components (in pixels) are removed")
    largest_component: bool | None = key(None, "keep only the largest component of each class")
    fill_holes: bool | None = key(None, "fill holes enclosed by a single class")


class PredictConfig(Section):
    """The keys of `segexp predict`."""

    checkpoint: Texts = key(
        ..., "a run directory (its best weights), a .ckpt or exported file, a study (all its runs), or a list: an ensemble"
    )
    input: Texts = key(..., "a folder of images at any depth, a file, or a list of them")
    output: Texts = key(..., "the folder of the masks, or a list with one for each input")
    model: TrainedConfig = key(TrainedConfig, "changes to the network")
    suffix: str = key("", "suffix of mask file names")
    overlay: bool = key(False, "the image with the mask over it")
    probabilities: bool | Literal["npz", "tiff"] = key(False, "npz or tiff (true: npz): float16, (classes, height, width)")
    labels: bool = key(False, "additional mask of class indices (bit sets for overlapping classes)")
    panel: bool = key(False, "input, truth if it is known, prediction side by side")
    truth: str | None = key(
        None,
        'for the panel: the folder of the true masks, or "DIR/{id}_mask.png", with {class} in it where classes may overlap; '
        "null: those beside the images",
    )
    uncertainty: bool = key(False, "a map with a colour bar, and its values as npz")
    tta: Literal["none", "flips", "dihedral"] = key("none", "flips (4 views) or dihedral (8)")
    postprocess: Literal["stored", "none"] | PostprocessConfig = key(PostprocessConfig, "stored, none, or the keys below")
    max_pixels: Whole | None = key(None, "larger images are predicted in windows; null: as trained, 0: never")
    gpus: Gpus = key("auto", "auto: a GPU if there is one | 0: the CPU | a count")
    overwrite: bool = key(
        False, "true predicts also what is there already; else images whose outputs are all there are skipped"
    )
    check: bool = key(True, "refuse a folder of masks given as images")
    trust: Trust = key(list, "packages of your own whose networks may be built; true: all, and any code in a .pt2 or .pt file")


class ExplainConfig(Section):
    """The keys of `segexp explain`."""

    checkpoint: Texts = key(..., "a run directory (its best weights) or a .ckpt file")
    input: Texts = key(..., "a folder of images at any depth, a file, or a list of them")
    output: Texts = key(..., "the folder of the heat maps, or a list with one for each input")
    model: TrainedConfig = key(TrainedConfig, "changes to the network")
    method: Literal["gradcam", "gradcam++", "seg_gradcam", "integrated_gradients", "occlusion"] = key(
        "seg_gradcam", "gradcam | gradcam++ | seg_gradcam | integrated_gradients | occlusion"
    )
    target: str | Whole | None = key(None, "a class, by name or index; null: the first foreground class")
    layer: str = key("auto", "layer of Grad-CAM: dotted name of a module; auto: the deepest one of the encoder")
    region: Literal["predicted", "truth", "box"] | None = key(
        None,
        "pixels to explain: predicted (as the class) | truth | box; null: predicted, or the box. gradcam and gradcam++ use all "
        "pixels; their maps are only compared with the region",
    )
    box: Box | None = key(None, "[top, left, bottom, right] in image pixels; bottom and right are exclusive")
    truth: str | None = key(None, 'the folder of the true masks, or "DIR/{id}_mask.png"; null: those beside the images')
    steps: Count = key(32, "integration steps of integrated_gradients")
    window: Count | None = key(
        None, "side of the square of occlusion, in pixels at working size; null: an eighth of the longer side"
    )
    values: bool = key(False, "the map as npz")
    max_pixels: Whole | None = key(None, "larger images are refused, as they need a single pass; null: as trained, 0: no limit")
    gpus: Gpus = key("auto", "auto: a GPU if there is one | 0: the CPU | a count")
    overwrite: bool = key(
        False, "true explains also what is there already; else images whose outputs are all there are skipped"
    )
    check: bool = key(True, "refuse a folder of masks given as images")
    trust: Trust = key(list, "packages of your own whose networks may be built; true: all")


class ExportConfig(Section):
    """The keys of `segexp export`."""

    checkpoint: str = key(..., "a run directory (its best weights) or a .ckpt file")
    output: str = key(..., "the file: NAME.onnx, NAME.pt2, NAME.pt or NAME.xml")
    format: str = key("onnx", "onnx, torch_export (.pt2), torchscript (.pt) or openvino (.xml)")
    model: TrainedConfig = key(TrainedConfig, "changes to the network")
    include_preprocessing: bool = key(
        False, "true: images (batch, height, width, channels) uint8 in; resizing and normalisation inside"
    )
    returns: Literal["probabilities", "classes"] = key(
        "probabilities", "or classes: output with include_preprocessing=true; otherwise logits"
    )
    precision: Literal["fp32", "bf16", "fp16", "int8"] = key(
        "fp32", "bf16, fp16 or int8: kept only if Dice falls by at most 0.01 and it is faster than fp32 here"
    )
    accept: bool = key(False, "keep the reduced-precision file even if it fails these criteria")
    calibration: Count = key(32, "number of training images for int8 calibration")
    opset: Count = key(20, "ONNX opset")
    data: dict[str, Any] = key(dict, "keys of the data section that differ: data.root=DIR, where the images are now")
    trust: Trust = key(list, "packages of your own whose networks may be built; true: all")


class CompareConfig(Section):
    """The keys of `segexp compare`, besides the runs."""

    runs: list[str] = key(list, "directories of runs and studies; typed without the key")
    metric: str = key("dice", "dice, iou, precision, recall, accuracy, any column of cases.csv; of a class: dice/liver")
    split: Literal["val", "test", "train", "all"] | None = key(
        None, "val, test, train or all; null: test where every run has it, else val"
    )
    better: Literal["high", "low"] | None = key(None, "high or low; null: from the score")
    reference: str | None = key(None, "baseline of the comparison: a run, or a name from the table; null: the best")
    seeds: Literal["together", "separate"] = key("together", "runs that differ only in the seed are one row; separate")
    allow_different_data: bool = key(False, "true: compare even if cases or splits differ")
    skip_unfinished: bool = key(False, "true: skip unfinished runs, even if a fold is then missing")
    output: str | None = key(None, "a folder for compare.csv, .md, .tex and .html, or one such file; null prints only")


COMMANDS: dict[str, type[Section]] = {
    "train": TrainConfig,
    "check": CheckConfig,
    "predict": PredictConfig,
    "evaluate": EvaluateConfig,
    "compare": CompareConfig,
    "explain": ExplainConfig,
    "export": ExportConfig,
}
"""Keys of each command."""

SECTIONS: dict[str, type[Section]] = {
    "data": DataConfig,
    "augment": AugmentConfig,
    "distill": DistillConfig,
    "trainer": TrainerConfig,
    "callbacks": CallbacksConfig,
    "logger": LoggerConfig,
}
"""Groups with fixed keys; the others hold components."""
