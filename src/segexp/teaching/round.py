"""One round of pseudo-labels in a run (`data.unlabeled=DIR`): teacher, labels, and the data module that is given them."""

import copy
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from segexp.checkpoint import load_segmenter
from segexp.config.naming import TEACHER
from segexp.data.datamodule import SegmentationDataModule
from segexp.devices import choose_devices
from segexp.errors import ConfigError
from segexp.segmenter import Segmenter
from segexp.teaching.loading import check_unseen, named_segmenter
from segexp.teaching.pseudo import FOLDER, check_labels, label, summed_up, with_masks
from segexp.teaching.unlabeled import find_unlabeled

Train = Callable[[dict[str, Any], Path], object]
KEY = "data.pseudo.teacher"


def add_pseudo_labels(
    config: dict[str, Any], data: SegmentationDataModule, directory: Path, train: Train, say: Callable[[str], None]
) -> None:
    """Give the training split the images of `data.unlabeled`, with masks that a network made.

    What an earlier attempt of the run left in its directory, finished or not, is gone on with.

    Args:
        config: resolved; the paths in it become absolute.
        data: set up.
        directory: the run directory.
        train: trains a run as a config says, in a directory, and leaves its best weights there.
        say: prints a sentence.

    Raises:
        DataError: see `find_unlabeled` and `label`.
        ConfigError: the teacher that is named has other classes or has learned from scored images; or one is to be trained
            first on several GPUs.
        CheckpointError: there is no such teacher; or other labels lie in the directory.
    """
    section = config["data"]
    settings = section["pseudo"]
    folder = Path(section["unlabeled"]).resolve()
    named = None if settings["teacher"] is None else str(Path(settings["teacher"]).resolve())
    section |= {"unlabeled": str(folder), "pseudo": {**settings, "teacher": named}}
    asked = {"unlabeled": str(folder), "teacher": named, "confidence": settings["confidence"]}
    here = directory / FOLDER
    teacher = _named(config, data) if named and not here.is_dir() else None
    cases, said = find_unlabeled(folder, data)
    say(said)
    if here.is_dir():
        check_labels(here, cases, asked)
    else:
        label(teacher or _own(config, directory, train, say), cases, here, asked, data.track)
    labelled = with_masks(here, cases)
    data.add_pseudo_labels(labelled, settings["share"])
    say(summed_up(here, len(labelled)))


def _named(config: dict[str, Any], data: SegmentationDataModule) -> Segmenter:
    settings, accelerator = config["data"]["pseudo"], choose_devices(config["trainer"]["gpus"])[0]
    teacher = named_segmenter(KEY, settings["teacher"], settings["trust"])
    theirs = (teacher.spec.channels, teacher.spec.classes, teacher.spec.overlapping)
    ours = (data.spec.channels, data.spec.classes, data.spec.overlapping)
    if theirs != ours:
        texts = [
            f"{', '.join(names)} ({'overlapping' if overlap else 'exclusive'} labels) in {channels} channel(s)"
            for channels, names, overlap in (theirs, ours)
        ]
        raise ConfigError(
            f"{KEY}={settings['teacher']} tells apart {texts[0]}, and the data have {texts[1]}",
            "The same classes in the same order, labels and channels were expected: its masks are those of the data",
            f"Name another {KEY}, or leave it out: then a first network is trained on the labelled images",
        )
    check_unseen(teacher, data.cases, data.splits, data.split_rows())
    return teacher.to(accelerator)


def _own(config: dict[str, Any], directory: Path, train: Train, say: Callable[[str], None]) -> Segmenter:
    """Return the network that the same settings give without the unlabelled images; trained now, unless it is already."""
    accelerator, devices = choose_devices(config["trainer"]["gpus"])
    many = len(devices) if isinstance(devices, list) else devices
    if many > 1:
        raise ConfigError(
            f"data.unlabeled={config['data']['unlabeled']} on {many} GPUs without a {KEY}",
            "On several GPUs each network is trained by a command of its own",
            f"Train without data.unlabeled first, then type {KEY}=RUN with the directory that it printed",
        )
    home = directory / TEACHER
    if not (home / "metrics.json").is_file():
        resume = str(home) if (home / "checkpoints" / "last.ckpt").is_file() else None
        inner = copy.deepcopy(config) | {"resume": resume, "run_dir": str(home)}
        inner["data"]["unlabeled"] = None
        _keep_settings(directory / ".hydra", home / ".hydra")
        say("First a network is trained on the labelled images alone; then it labels the others.")
        train(inner, home)
        say("Now the network of the run, on both.")
    return load_segmenter(home, device=accelerator, trust=[str(config["model"]["_target_"]).split(".")[0]])


def _keep_settings(source: Path, target: Path) -> None:
    """Save what was typed for the run as what the first network was trained with, so that it is a run like any other."""
    if not source.is_dir() or target.is_dir():
        return
    shutil.copytree(source, target)
    config = yaml.safe_load((target / "config.yaml").read_text(encoding="utf-8"))
    config["data"]["unlabeled"] = None
    (target / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    typed = yaml.safe_load((target / "overrides.yaml").read_text(encoding="utf-8")) or []
    kept = [text for text in typed if text.partition("=")[0] not in ("data.unlabeled", "run_dir", "resume")]
    (target / "overrides.yaml").write_text(yaml.safe_dump(kept), encoding="utf-8")
