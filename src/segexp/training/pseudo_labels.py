"""Pseudo-labels (Lee 2013): confident predictions of a trained network become masks of unlabelled images.

They are stored in the run directory: `pseudo/masks/` with one PNG per image (class indices or bit sets, 255 = not confident),
`pseudo/pseudo.csv`, and `pseudo/settings.json`, by which a resumed run recognises them.

Shapes: K classes, H W pixels.
"""

import csv
import json
import shutil
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from segexp.atomic import atomic_folder, write_json
from segexp.checkpoint import load_segmenter
from segexp.config.components import named_targets
from segexp.config.naming import TEACHER
from segexp.config.schema import TrainConfig
from segexp.data.datamodule import SegmentationDataModule
from segexp.data.io.images import read_image_and_valid, write_png
from segexp.data.labels.modes import LabelMode
from segexp.data.statistics import DecodedCase, image_stats, read_all
from segexp.devices import choose_devices
from segexp.errors import CheckpointError, ConfigError, DataError, listed
from segexp.inference.inputs import EarlierOutputs, list_inputs
from segexp.inference.postprocessing import Postprocessing
from segexp.inference.segmenter import Segmenter
from segexp.training.distillation import check_unseen, load_named_segmenter
from segexp.types import IGNORE, Case, Source

FOLDER, MASKS, TABLE, SETTINGS = "pseudo", "masks", "pseudo.csv", "settings.json"
Rows = list[dict[str, Any]]
Track = Callable[[Iterator[Any], int], Iterator[Any]]


def confidence(probabilities: torch.Tensor, labelling: LabelMode) -> torch.Tensor:
    """Return the confidence (H, W) of probabilities (K, H, W).

    It is the probability of the most probable class; for overlapping labels, the lowest confidence of the per-class
    decisions, since a pixel is ignored for all classes or for none.
    """
    nothing = np.zeros((0, 0), np.uint8)  # the decisions do not depend on the mask
    sure = [
        labelling.decision_probabilities(probabilities, own).amax(dim=0)
        for own, _ in labelling.decisions(nothing, len(probabilities))
    ]
    return torch.stack(sure).amin(dim=0)


def write_pseudo_labels(
    teacher: Segmenter, cases: Sequence[Case], folder: Path, settings: Mapping[str, Any], track: Track = lambda each, _: each
) -> None:
    """Write the pseudo-labels of all cases into a new folder, atomically and without post-processing.

    Args:
        teacher: the trained network.
        cases: without masks; see `find_unlabeled`.
        folder: to write.
        settings: stored with the labels; "confidence" is the minimum confidence (0 to 1) of a labelled pixel.
        track: wraps the iteration over the cases (iterator, count), for a progress bar.

    Raises:
        DataError: no pixel reaches the confidence.
    """
    rows: Rows = []
    surest = 0.0
    with atomic_folder(folder) as part:
        for number, case in enumerate(track(iter(cases), len(cases))):
            image, valid = read_image_and_valid(case.image, teacher.spec.channels)
            probabilities = teacher.probabilities(image)
            sure = confidence(probabilities, teacher.label_mode).cpu().numpy()
            sure = sure if valid is None else np.where(valid, sure, 0)
            mask = teacher.label_mode.decide(probabilities, Postprocessing())
            mask[sure < settings["confidence"]] = IGNORE
            surest = max(surest, float(sure.max()))
            name = f"{MASKS}/{number:06d}_{Path(case.id).stem}.png"
            write_png(part / name, mask)
            shares = teacher.label_mode.pixels(mask, teacher.spec.num_classes) / mask.size
            known = np.count_nonzero(mask != IGNORE) / mask.size
            own = {f"share/{k}": f"{share:.6f}" for k, share in zip(teacher.spec.classes, shares, strict=True)}
            told = {"confidence": f"{sure.mean():.6f}", "labelled": f"{known:.6f}"}
            rows.append({"image": case.id, "mask": name, **told, **own})
        counted = f"{len(cases)} image{'s' * (len(cases) > 1)}"
        if surest < settings["confidence"]:
            raise DataError(
                f"The teacher is sure of no pixel of the {counted} of {settings['unlabeled']}: the surest has "
                f"{surest:.4f}, and data.pseudo.confidence is {settings['confidence']:g}",
                "Some pixels with a probability of at least that were expected",
                f"Type data.pseudo.confidence={max(0.01, int(100 * surest - 5) / 100):g}, or name a better data.pseudo.teacher",
            )
        with (part / TABLE).open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
        write_json(part / SETTINGS, settings)


def check_labels(folder: Path, cases: Sequence[Case], settings: Mapping[str, Any]) -> None:
    """Require that existing pseudo-labels match the current images and settings.

    Raises:
        CheckpointError: they differ.
    """
    before = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
    changed = [f"{key} {before.get(key)} (now {value})" for key, value in settings.items() if before.get(key) != value]
    images, now = {row["image"] for row in read_rows(folder)}, {case.id for case in cases}
    if images != now:
        changed.append(f"{len(images)} images (now {len(now)}, of which {len(now & images)} are the same)")
    if changed:
        raise CheckpointError(
            f"{folder} holds pseudo-labels that were made with {', '.join(changed)}",
            "A resumed run continues with its original images and settings",
            "Leave such keys out of the command, and bring the images back; or start a new run",
        )


def read_rows(folder: Path) -> Rows:
    """Return the rows of `pseudo.csv`, one per image; numbers are text."""
    with (folder / TABLE).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def attach_masks(folder: Path, cases: Sequence[Case]) -> list[Case]:
    """Return the cases with their pseudo-labels, without those that have no labelled pixel."""
    rows = {row["image"]: row for row in read_rows(folder)}
    return [
        replace(case, masks=(Source(folder / rows[case.id]["mask"]),)) for case in cases if float(rows[case.id]["labelled"]) > 0
    ]


def summarise_labels(folder: Path, cases: int) -> str:
    """Return a summary of the pseudo-labels; `cases` is the number of images with labelled pixels."""
    rows = read_rows(folder)
    settings = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
    known = np.mean([float(row["labelled"]) for row in rows])
    classes = [key for key in rows[0] if key.startswith("share/")]
    means = {key.partition("/")[2]: float(np.mean([float(row[key]) for row in rows])) for key in classes}
    shares = ", ".join(f"{name} {share:.1%}" for name, share in means.items())
    absent = [name for name, share in means.items() if not share]
    text = f"Pseudo-labels: {cases} of {len(rows)} images, {known:.1%} of their pixels (confidence {settings['confidence']:g} "
    text += f"or more): {shares}; {folder / TABLE}"
    if absent:
        text += f". None of them is {' or '.join(absent)}, so the unlabelled images teach nothing about that"
    return text


MOVE = "Move them out of {folder}, or name another folder: data.unlabeled=DIR"


def find_unlabeled(folder: Path, data: SegmentationDataModule) -> tuple[list[Case], str]:
    """Return a case without masks for each image of a folder that is not a training image, and a message.

    Args:
        folder: searched recursively.
        data: the labelled images, set up.

    Raises:
        DataError: the folder is missing or empty; an image is broken or has other channels or values; or an image is also a
            validation or test image (same file or identical pixels).
    """
    try:
        jobs = list_inputs(folder, folder, data.spec.channels, data.data, EarlierOutputs()).jobs
    except DataError as problem:  # the message names the key of predict
        texts = (text.replace("input=", "data.unlabeled=") for text in (problem.found, problem.expected, problem.do))
        raise DataError(*texts) from problem
    cases = [Case(job.label(source), source, ()) for job in jobs for source in job.sources]
    known = _Known(data)
    twins: dict[str, list[tuple[Case, Case, str]]] = defaultdict(list)
    for case, picture in zip(cases, data.track(read_all(data.reader, cases), len(cases)), strict=True):
        known.check_values(case, picture)
        if (twin := known.twin(case.image, picture)) is not None:
            twins[data.splits[twin[0].id]].append((case, *twin))
    scored = {split: found for split, found in twins.items() if split != "train"}
    if scored:
        raise _scored(folder, scored)
    labelled = {case.id for case, _, _ in twins["train"]}
    left = [case for case in cases if case.id not in labelled]
    if not left:
        raise DataError(
            f"All {len(cases)} images of data.unlabeled={folder} are training images that have masks",
            "Further images, without masks, were expected",
            "Name another folder: data.unlabeled=DIR",
        )
    note = f"; {len(labelled)} more are training images and left out" if labelled else ""
    return left, f"Unlabelled: {len(left)} images in {folder}{note}"


class _Known:
    """The labelled images, indexed by file and by checksum at the working size."""

    def __init__(self, data: SegmentationDataModule) -> None:
        self.data = data
        self.files = {_place(case.image): n for n, case in enumerate(data.cases)}
        self.alike: dict[int, list[int]] = defaultdict(list)
        for position, seen in enumerate(data.image_stats):
            self.alike[seen.checksum].append(position)
        self.bytes = data.store[data.members("train")[0]].image.dtype == np.uint8

    def check_values(self, case: Case, picture: DecodedCase) -> None:
        """Require the value type of the training images.

        Raises:
            DataError: only one of them is 8-bit.
        """
        if (picture.image.dtype == np.uint8) != self.bytes:
            kinds = ("8-bit", "not 8-bit")[:: 1 if self.bytes else -1]
            raise DataError(
                f"{case.image} in data.unlabeled is {kinds[1]}, and the training images are {kinds[0]}",
                "Values of one kind were expected: their scales cannot be told from each other",
                "Convert the images to one type, or name another folder: data.unlabeled=DIR",
            )

    def twin(self, source: Source, picture: DecodedCase) -> tuple[Case, str] | None:
        """Return the labelled case with the same image (scored cases first) and the kind of match; None if there is none."""
        cases, splits, image = self.data.cases, self.data.splits, picture.image
        if (position := self.files.get(_place(source))) is not None:
            return cases[position], "the same file"
        if image.min() == image.max():  # blank images are no copies
            return None
        same = [n for n in self.alike[image_stats(picture).checksum] if np.array_equal(self.data.store[n].image, image)]
        found = min(same, key=lambda n: splits[cases[n].id] == "train", default=None)
        return None if found is None else (cases[found], "the same picture")


def _place(source: Source) -> tuple[Path, int | None]:
    return source.path.resolve(), source.page


def _scored(folder: Path, found: Mapping[str, Sequence[tuple[Case, Case, str]]]) -> DataError:
    pairs = [f"{one.id} is {other.id} of {split}, {how}" for split, each in found.items() for one, other, how in each]
    count = f"{len(pairs)} image{'s' * (len(pairs) > 1)}"
    return DataError(
        f"{count} of data.unlabeled={folder} {'are' if len(pairs) > 1 else 'is'} also scored: {listed(pairs, 4)}",
        "What is scored must be new to the network, also without its mask",
        MOVE.format(folder=folder),
    )


Train = Callable[[TrainConfig, Path], object]
KEY = "data.pseudo.teacher"


def add_pseudo_labels(
    config: TrainConfig, data: SegmentationDataModule, directory: Path, train: Train, say: Callable[[str], None]
) -> None:
    """Add the images of `data.unlabeled` with predicted masks to the training split.

    Labels and networks of an earlier, interrupted attempt are reused.

    Args:
        config: of the run, with absolute paths.
        data: set up.
        directory: the run directory.
        train: trains a run with a configuration in a directory.
        say: prints a message.

    Raises:
        DataError: see `find_unlabeled` and `write_pseudo_labels`.
        ConfigError: the given teacher has other classes or was trained on scored images; or a teacher would have to be trained
            on several GPUs.
        CheckpointError: there is no such teacher; or the directory holds other labels.
    """
    settings = config.data.pseudo
    folder = Path(str(config.data.unlabeled))
    named = settings.teacher
    asked = {"unlabeled": str(folder), "teacher": named, "confidence": settings.confidence}
    here = directory / FOLDER
    teacher = _named(config, data) if named and not here.is_dir() else None
    cases, said = find_unlabeled(folder, data)
    say(said)
    if here.is_dir():
        check_labels(here, cases, asked)
    else:
        write_pseudo_labels(teacher or _own(config, directory, train, say), cases, here, asked, data.track)
    labelled = attach_masks(here, cases)
    data.add_pseudo_labels(labelled, settings.share)
    say(summarise_labels(here, len(labelled)))


def _named(config: TrainConfig, data: SegmentationDataModule) -> Segmenter:
    settings, accelerator = config.data.pseudo, choose_devices(config.trainer.gpus)[0]
    teacher = load_named_segmenter(KEY, str(settings.teacher), settings.trust)
    theirs = (teacher.spec.channels, teacher.spec.classes, teacher.spec.overlapping)
    ours = (data.spec.channels, data.spec.classes, data.spec.overlapping)
    if theirs != ours:
        texts = [
            f"{', '.join(names)} ({'overlapping' if overlap else 'exclusive'} labels) in {channels} channel(s)"
            for channels, names, overlap in (theirs, ours)
        ]
        raise ConfigError(
            f"{KEY}={settings.teacher} tells apart {texts[0]}, and the data have {texts[1]}",
            "The same classes in the same order, labels and channels were expected: its masks are those of the data",
            f"Name another {KEY}, or leave it out: then a first network is trained on the labelled images",
        )
    check_unseen(teacher, data.cases, data.splits, data.split_rows())
    return teacher.to(accelerator)


def _own(config: TrainConfig, directory: Path, train: Train, say: Callable[[str], None]) -> Segmenter:
    """Return a network trained with the same settings on the labelled images alone, training it if necessary."""
    accelerator, devices = choose_devices(config.trainer.gpus)
    many = len(devices) if isinstance(devices, list) else devices
    if many > 1:
        raise ConfigError(
            f"data.unlabeled={config.data.unlabeled} on {many} GPUs without a {KEY}",
            "On several GPUs each network is trained by a command of its own",
            f"Train without data.unlabeled first, then type {KEY}=RUN with the directory that it printed",
        )
    home = directory / TEACHER
    if not (home / "metrics.json").is_file():
        resume = str(home) if (home / "checkpoints" / "last.ckpt").is_file() else None
        inner = config.updated({"resume": resume, "run_dir": str(home), "data.unlabeled": None})
        _keep_settings(directory / ".hydra", home / ".hydra")
        say("First a network is trained on the labelled images alone; then it labels the others.")
        train(inner, home)
        say("Now the network of the run, on both.")
    return load_segmenter(home, device=accelerator, trust=named_targets(config.model.plain()))


def _keep_settings(source: Path, target: Path) -> None:
    """Save the run's settings, without the unlabelled data, as those of the first network."""
    if not source.is_dir() or target.is_dir():
        return
    shutil.copytree(source, target)
    config = yaml.safe_load((target / "config.yaml").read_text(encoding="utf-8"))
    config["data"]["unlabeled"] = None
    (target / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    typed = yaml.safe_load((target / "overrides.yaml").read_text(encoding="utf-8")) or []
    kept = [text for text in typed if text.partition("=")[0] not in ("data.unlabeled", "run_dir", "resume")]
    (target / "overrides.yaml").write_text(yaml.safe_dump(kept), encoding="utf-8")
