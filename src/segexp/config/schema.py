"""What the keys of a configuration may hold, for the sections that are not handed to a constructor.

The annotations are read by the validation: types, and ranges where a number has one.
"""

from collections.abc import Iterator
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from typing import Annotated, Any, Literal, get_type_hints

from segexp.config.validation import Range, check_value, expectation
from segexp.errors import nearest

Count = Annotated[int, Range(1)]
Whole = Annotated[int, Range(0)]
Positive = Annotated[float, Range(0, strict=True)]
Weight = Annotated[float, Range(0)]
Fraction = Annotated[float, Range(0, 1, strict=True)]
Share = Annotated[float, Range(0, 1)]
Pair = tuple[Count, Count]


@dataclass(frozen=True)
class RunConfig:
    """The top-level keys of conf/train.yaml that are not groups."""

    seed: Whole = 0
    deep_supervision: bool | list[Weight] | None = None
    resume: str | None = None
    study: str | None = None
    run_dir: str | None = None
    tags: list[str] | None = None


@dataclass(frozen=True)
class TrainerConfig:
    """`trainer.*`: how long and on what a network trains."""

    gpus: Literal["auto"] | Whole | list[Whole] = "auto"
    precision: Literal["auto", "32", 32, "bf16-mixed", "16-mixed"] = "auto"
    batch_size: Literal["auto"] | Count = 8
    workers: Literal["auto"] | Whole = "auto"
    channels_last: bool = True
    compile: bool = False
    max_epochs: Count | None = 100
    minutes: Positive | None = None
    validate_every: Count = 1
    limit_batches: Count | None = None
    clip: Positive | None = 1.0
    accumulate: Count = 1
    checkpoint_activations: bool = False
    early_stopping: Count | None = None
    ema: Fraction | None = None
    swa: Count | str | None = None
    encoder_lr_scale: Positive = 1.0
    freeze_encoder: Whole | str = 0
    deterministic: bool = False
    monitor: str = "dice"


@dataclass(frozen=True)
class DistillConfig:
    """`distill.*`: who teaches besides the masks; nobody where it is empty."""

    teacher: str | None = None
    temperature: Annotated[float, Range(0.1)] = 2.0
    weight: Share = 0.5
    boundary: Weight = 0.0
    trust: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class PseudoConfig:
    """`data.pseudo.*`: how the images of `data.unlabeled` get their masks."""

    teacher: str | None = None
    confidence: Fraction = 0.9
    share: Fraction = 0.5
    trust: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class DataConfig:
    """`data.*`: the keys that the data module reads; what they hold inside is checked where it is read."""

    name: str
    root: str
    image: str | None = None
    mask: str | dict[str, str] | None = None
    labels: Literal["exclusive", "overlapping"] = "exclusive"
    optional_masks: list[str] = field(default_factory=list)
    classes: dict[str, Any] | None = None
    channels: Count | None = None
    num_classes: Annotated[int, Range(2)] | None = None
    family: Literal["organ", "membranes", "lesion"] | None = None
    groups: Any = None
    ignore: Any = None
    threshold: int | float | None = None
    spacing: Positive | tuple[Positive, Positive] | None = None
    size: Count | Positive | Pair | None = None
    crop: Count | Pair | None = None
    normalize: Literal["dataset", "minmax", "percentile"] | dict[str, Any] = "dataset"
    repeat: Count = 1
    foreground_crops: Share = 0.0
    split_seed: Whole | None = None
    val_fraction: Share | None = None
    test_fraction: Share | None = None
    folds: Annotated[int, Range(2)] | None = None
    fold: Whole | None = None
    allow_leakage: bool = False
    unlabeled: str | None = None
    pseudo: PseudoConfig = field(default_factory=PseudoConfig)
    cache: Literal["auto", "ram", "disk", "none"] = "auto"
    max_pixels: Count | None = None


@dataclass(frozen=True)
class TrainedConfig:
    """`model.*` of conf/evaluate.yaml, predict.yaml and export.yaml: what can be changed about a trained network."""

    prune_to: Count | None = None


@dataclass(frozen=True)
class EvaluateConfig:
    """The keys of conf/evaluate.yaml."""

    checkpoint: str | list[str]
    model: dict[str, Any] = field(default_factory=dict)
    split: Literal["val", "test", "train", "all"] | None = None
    tune: Literal["postprocess"] | None = None
    postprocess: Literal["stored", "none"] = "stored"
    metrics: dict[str, Any] | None = None
    data: dict[str, Any] = field(default_factory=dict)
    gpus: Literal["auto"] | Whole | list[Whole] = "auto"
    pictures: Whole = 4
    output: str | None = None
    trust: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class ExportConfig:
    """The keys of conf/export.yaml."""

    checkpoint: str
    output: str
    format: str = "onnx"
    model: dict[str, Any] = field(default_factory=dict)
    include_preprocessing: bool = False
    returns: Literal["probabilities", "classes"] = "probabilities"
    precision: Literal["fp32", "bf16", "fp16", "int8"] = "fp32"
    accept: bool = False
    calibration: Count = 32
    opset: Count = 20
    data: dict[str, Any] = field(default_factory=dict)
    trust: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class CheckConfig:
    """The keys of conf/check.yaml that training does not have."""

    output: str | None = None
    fit: bool = False
    propose: bool | None = None
    runs: str | list[str] | None = None
    trust: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class PostprocessConfig:
    """`postprocess.*` of conf/predict.yaml: what replaces the stored post-processing; null keeps it."""

    start: Literal["stored", "none"] = "stored"
    threshold: Fraction | None = None
    min_area: Whole | None = None
    largest_component: bool | None = None
    fill_holes: bool | None = None


@dataclass(frozen=True)
class PredictConfig:
    """The keys of conf/predict.yaml."""

    checkpoint: str | list[str]
    input: str | list[str]
    output: str | list[str]
    model: dict[str, Any] = field(default_factory=dict)
    suffix: str = ""
    overlay: bool = False
    probabilities: bool | Literal["npz", "tiff"] = False
    labels: bool = False
    panel: bool = False
    truth: str | None = None
    uncertainty: bool = False
    tta: Literal["none", "flips", "dihedral"] = "none"
    postprocess: Literal["stored", "none"] | dict[str, Any] = "stored"
    max_pixels: Whole | None = None
    gpus: Literal["auto"] | Whole | list[Whole] = "auto"
    overwrite: bool = False
    check: bool = True
    trust: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class ExplainConfig:
    """The keys of conf/explain.yaml."""

    checkpoint: str | list[str]
    input: str | list[str]
    output: str | list[str]
    model: dict[str, Any] = field(default_factory=dict)
    method: Literal["gradcam", "gradcam++", "seg_gradcam", "integrated_gradients", "occlusion"] = "seg_gradcam"
    target: str | Whole | None = None
    layer: str = "auto"
    region: Literal["predicted", "truth", "box"] | None = None
    box: tuple[Whole, Whole, Whole, Whole] | None = None
    truth: str | None = None
    steps: Count = 32
    window: Count | None = None
    values: bool = False
    max_pixels: Whole | None = None
    gpus: Literal["auto"] | Whole | list[Whole] = "auto"
    overwrite: bool = False
    check: bool = True
    trust: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class CompareConfig:
    """The keys of conf/compare.yaml."""

    runs: list[str] = field(default_factory=list)
    metric: str = "dice"
    split: Literal["val", "test", "train", "all"] | None = None
    better: Literal["high", "low"] | None = None
    reference: str | None = None
    seeds: Literal["together", "separate"] = "together"
    allow_different_data: bool = False
    skip_unfinished: bool = False
    output: str | None = None


@dataclass(frozen=True)
class LoggerConfig:
    """`logger.*`: each is off, on, or a mapping of the logger's own arguments; CSV is always written."""

    tensorboard: bool = False
    csv: bool = True
    mlflow: bool | dict[str, Any] = False
    wandb: bool | dict[str, Any] = False


@dataclass(frozen=True)
class CallbacksConfig:
    """`callbacks.*`: what is shown and logged beside the losses and scores."""

    pictures: Whole = 4
    pictures_every: Count = 1
    confusion: bool = True
    progress: bool = True
    explain: Whole = 0
    explain_target: str | Whole | None = None


SECTIONS: dict[str, type] = {
    "data": DataConfig,
    "distill": DistillConfig,
    "trainer": TrainerConfig,
    "callbacks": CallbacksConfig,
    "logger": LoggerConfig,
}
"""Sections with fixed keys."""


def check_fields(section: str, node: dict[str, Any], schema: type) -> Iterator[str]:
    """Yield one sentence per key of `node` that `schema` does not know, lacks the value of, or forbids."""
    hints = get_type_hints(schema, include_extras=True)
    known = [field.name for field in fields(schema)]
    prefix = f"{section}." if section else ""
    for key, value in node.items():
        if key not in hints:
            yield f"{prefix}{key} is not a key of {section or 'the configuration'}. {nearest(key, known)}".rstrip()
        elif is_dataclass(inner := hints[key]) and isinstance(inner, type) and isinstance(value, dict):
            yield from check_fields(f"{prefix}{key}", value, inner)
        else:
            yield from check_value(f"{prefix}{key}", value, hints[key])
    for entry in fields(schema):
        if entry.default is MISSING and entry.default_factory is MISSING and entry.name not in node:
            expected = expectation(hints[entry.name])
            yield f"{prefix}{entry.name} is missing; expected {expected}. Add it to the file of the group."
