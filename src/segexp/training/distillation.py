"""Knowledge distillation from a trained network (the teacher).

Shapes: B batch, C channels, K classes, H W pixels.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from segexp.checkpoint import load_segmenter
from segexp.checkpoint.splits import split_of_run
from segexp.config.components import Trust
from segexp.config.overrides import shell_words
from segexp.config.schema import DataConfig, DistillConfig, TrainConfig
from segexp.data.preprocessing import Preprocessing
from segexp.data.splits import split_hash
from segexp.errors import CheckpointError, ConfigError, SegexpError, listed
from segexp.inference.segmenter import Segmenter
from segexp.losses.distillation import LossFunction, SoftTargets
from segexp.types import Case

EIGHT_BIT = (0.0, 255.0)
"""Value range of 8-bit images."""


class Teacher:
    """A frozen network that is not part of any checkpoint, with its soft-target loss.

    The loss of a step is (1 - weight) * loss + weight * soft, where `soft` is the `SoftTargets` of `teacher(image)`.
    """

    def __init__(self, segmenter: Segmenter, student: Preprocessing, soft: SoftTargets, weight: float) -> None:
        """Freeze a teacher.

        Args:
            segmenter: the trained network.
            student: preprocessing of the batches.
            soft: (student's logits, teacher's logits, mask) to a scalar.
            weight: 0 to 1.

        Raises:
            ConfigError: the student's images cannot be converted to the teacher's preprocessing.
        """
        check_preprocessing(segmenter.preprocessing, student)
        segmenter.network.eval().requires_grad_(False)
        self.segmenter, self.student, self.soft, self.weight = segmenter, student, soft, weight

    def __deepcopy__(self, memo: dict[int, Any]) -> "Teacher":
        """Return itself; the teacher is immutable and need not be copied for weight averages."""
        return self

    def __call__(self, image: Tensor) -> LossFunction:
        """Return the distillation loss for a batch: (student's logits (B, K, H, W), mask (B, H, W)) to a scalar."""
        said = self.logits(image)
        return lambda logits, mask: self.soft(logits, said, mask)

    def logits(self, image: Tensor) -> Tensor:
        """Return the teacher's logits (B, K, H, W) of images (B, C, H, W) prepared for the student."""
        if self.segmenter.device != image.device:
            self.segmenter.to(image.device)
        with torch.no_grad(), self.segmenter.autocast():
            return self.segmenter.forward(renormalise(image, self.student, self.segmenter.preprocessing))


def renormalise(image: Tensor, was: Preprocessing, wanted: Preprocessing) -> Tensor:
    """Convert images (B, C, H, W) from one normalisation to another, keeping augmentation and clipping."""
    same = ("value_range", "low", "high", "mean", "std")
    if all(getattr(was, name) == getattr(wanted, name) for name in same):
        return image
    mean, std = (_per_channel(values, image) for values in (was.mean, was.std))
    unit = image * std + mean
    if was.value_range != wanted.value_range:
        (low, high), (its_low, its_high) = was.value_range, wanted.value_range
        unit = (unit * (high - low) + low - its_low) / max(its_high - its_low, 1e-12)
    if wanted.low is not None and wanted.high is not None:
        unit = unit.clamp(_per_channel(wanted.low, image), _per_channel(wanted.high, image))
    return (unit - _per_channel(wanted.mean, image)) / _per_channel(wanted.std, image)


def _per_channel(values: Sequence[float], image: Tensor) -> Tensor:
    return torch.tensor(values, dtype=torch.float32, device=image.device).view(1, -1, 1, 1)


def check_preprocessing(teacher: Preprocessing, student: Preprocessing) -> None:
    """Require the same kind of image values.

    Raises:
        ConfigError: one was trained on 8-bit images and the other was not.
    """
    kinds = ["8-bit" if each.value_range == EIGHT_BIT else "other than 8-bit" for each in (teacher, student)]
    if kinds[0] != kinds[1]:
        raise ConfigError(
            f"The teacher was trained on images that are {kinds[0]}, and the training images here are {kinds[1]}",
            "Values of one kind were expected: their scales cannot be told from each other",
            "Name a distill.teacher that was trained on such images",
        )


def load_teacher(config: TrainConfig) -> Segmenter | None:
    """Load the network of `distill.teacher`; None without distillation.

    Raises:
        ConfigError: its classes, labels, channels or working size differ from the data.
        CheckpointError: the run is missing, broken, or from an untrusted package.
    """
    distill = config.distill
    if distill is None or not distill.weight or distill.teacher is None:
        return None
    teacher = load_named_segmenter("distill.teacher", str(Path(distill.teacher).resolve()), distill.trust)
    check_teacher(teacher, config.data, distill.teacher)
    return teacher


def load_named_segmenter(key: str, path: str, trust: Trust) -> Segmenter:
    """Load the network of a run given by a configuration key.

    Args:
        key: for example "distill.teacher"; its section also has a key `trust`.
        path: of a run directory or checkpoint.
        trust: packages whose networks may be built from the file.

    Raises:
        CheckpointError: the run is missing, broken, or from an untrusted package.
    """
    try:
        return load_segmenter(path, trust=trust)
    except CheckpointError as problem:  # the message names the key of evaluate and predict
        section = key.rpartition(".")[0]
        found, expected, do = (
            text.replace("checkpoint=", f"{key}=").replace("trust=[", f"{section}.trust=[")
            for text in (problem.found, problem.expected, problem.do)
        )
        raise CheckpointError(found, expected, do) from problem


def check_teacher(teacher: Segmenter, data: DataConfig, name: str) -> None:
    """Require a teacher with the classes, labels, channels and working size of the student's data.

    Args:
        teacher: the trained network.
        data: the data section of the student.
        name: of the teacher, as typed.

    Raises:
        ConfigError: they differ.
    """
    its = teacher.spec
    theirs = (its.channels, list(its.classes), "overlapping" if its.overlapping else "exclusive")
    ours = (data.channels, list(data.classes or {}), data.labels)
    if theirs != ours:
        told = [f"{', '.join(classes)} ({kind} labels) in {n} channel(s)" for n, classes, kind in (theirs, ours)]
        raise ConfigError(
            f"The teacher {name} tells apart {told[0]}, and the student is to learn {told[1]}",
            "The same classes in the same order, labels and channels were expected: soft targets are probabilities of classes",
            "Name another distill.teacher, or the data that it was trained on",
        )
    if teacher.preprocessing.size != data.size:
        at, now = (_typed(each) for each in (teacher.preprocessing.size, data.size))
        raise ConfigError(
            f"The teacher {name} was trained with data.size={at}, and the student is trained with data.size={now}",
            "The same working size was expected: the teacher is shown the student's batches, and knows things by their size",
            f"Type {shell_words({'data.size': teacher.preprocessing.size})}, or train a teacher with data.size={now}",
        )


def check_unseen(
    teacher: Segmenter, cases: Sequence[Case], splits: Mapping[str, str], rows: Sequence[Mapping[str, str]]
) -> str:
    """Return a sentence on whether the teacher was trained on images that the student is scored on.

    Args:
        teacher: the trained network.
        cases: of the student's data.
        splits: the student's split of each case by id.
        rows: of the student's `split.csv`.

    Raises:
        ConfigError: it was.
    """
    run = teacher.origin.config
    if split_hash(rows) == teacher.origin.split_hash:
        return "it learned from the same training images"
    try:
        its = split_of_run(cases, run, teacher.origin)
    except SegexpError:
        its = None
    if its is None:
        return "it was trained on other data or another split; whether it has seen the images of validation cannot be told"
    seen = [case.id for case in cases if its[case.id] == "train" and splits[case.id] in ("val", "test")]
    if seen:
        raise ConfigError(
            f"The teacher was trained on {len(seen)} cases that the student is scored on: {listed(seen)}",
            "A teacher that has not seen them was expected, or the student's score says nothing about new images",
            f"Give both the same split: {_same_split(run)}",
        )
    return "none of the images that it learned from is in this run's validation or test split"


def make_teacher(settings: DistillConfig, teacher: Segmenter, student: Preprocessing, seen: str) -> tuple[Teacher, str]:
    """Return the teacher of a run, and a message about it.

    Args:
        settings: the section `distill`.
        teacher: result of `load_teacher`.
        student: the student's preprocessing.
        seen: result of `check_unseen`.

    Raises:
        ConfigError: see `Teacher` and `SoftTargets`.
    """
    soft = SoftTargets(settings.temperature, settings.boundary, teacher.spec.overlapping)
    made = Teacher(teacher, student, soft, settings.weight)
    size = sum(p.numel() for p in teacher.network.parameters()) / 1e6
    told = f"Teacher: {type(teacher.network).__name__}, {size:.3g} million parameters, weight {made.weight:g}; {seen}"
    its = teacher.preprocessing
    if student.low is not None and (student.low, student.high) != (its.low, its.high):
        told += "; it sees the images clipped as the student does (data.normalize=percentile), which is not how it was trained"
    return made, told


def _same_split(run: TrainConfig) -> str:
    seed = run.seed if run.data.split_seed is None else run.data.split_seed
    folds = "" if run.data.folds is None else f" data.folds={run.data.folds} data.fold={run.data.fold}"
    return f"type data.split_seed={seed}{folds}"


def _typed(size: Any) -> str:
    return "null" if size is None else str(list(size) if isinstance(size, tuple) else size).replace(" ", "")
