"""Validation and calibration images that an export is measured with."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from segexp.checkpoint.splits import reproduce_split, scoring_set
from segexp.config.schema import TrainConfig
from segexp.data.datamodule import find
from segexp.data.io.images import read_image
from segexp.deployment.plan import ExportData
from segexp.deployment.quantization import check_calibration, evenly_spaced
from segexp.inference.segmenter import Segmenter
from segexp.types import Case

FEW = 3
"""Number of images on which the network and the exported file are compared."""


def collect_export_data(segmenter: Segmenter, run: TrainConfig, calibration: int = 0) -> tuple[ExportData, str]:
    """Return the data an export is measured with, and a message about missing data ("" if complete).

    `run.data.root` is the current location of the data, `calibration` the number of training images wanted.

    Raises:
        DataError: the data differ from those of the run.
        ConfigError: too few training images.
    """
    crop = run.data.crop
    size = (crop, crop) if isinstance(crop, int) else crop
    root = Path(run.data.root)
    if not root.is_dir():
        rng = np.random.default_rng(0)
        noise = [rng.integers(0, 256, (256, 320, segmenter.spec.channels), np.uint8) for _ in range(FEW)]
        missing = (
            f"{root} is not there: the file is compared on noise, and Dice is not measured. data.root=DIR says where it is."
        )
        return ExportData(noise, None, (), noise.__getitem__, (), size), missing
    cases = find(run.data)
    way_out = "Bring the files back, or type data.root=DIR, where they are now"
    assigned = reproduce_split(cases, run, segmenter.origin.split_hash, way_out)
    held, training = ([case for case in cases if assigned[case.id] == split] for split in ("val", "train"))
    if calibration:
        check_calibration(calibration, len(training))
    images = [picture(case, segmenter) for case in evenly_spaced(held, FEW)]
    prepared = (
        [calibration_images(case, segmenter, size) for case in evenly_spaced(training, calibration)] if calibration else []
    )
    groups = [case.group for case in held]
    of = scoring_set(run.data, held, segmenter)
    return ExportData(images, of, groups, lambda n: picture(held[n], segmenter), prepared, size), ""


def picture(case: Case, segmenter: Segmenter) -> np.ndarray[Any, np.dtype[Any]]:
    """Return the image (H, W, C) of a case."""
    return read_image(case.image, segmenter.spec.channels)


def calibration_images(case: Case, segmenter: Segmenter, size: Sequence[int] | None) -> torch.Tensor:
    """Return the prepared image (C, h, w) of a case, centre-cropped to `size` if the network was trained on crops."""
    working = segmenter.preprocessing.resize(picture(case, segmenter))
    if size is not None:
        height, width = (min(side, limit) for side, limit in zip(working.shape[:2], size, strict=True))
        top, left = (working.shape[0] - height) // 2, (working.shape[1] - width) // 2
        working = working[top : top + height, left : left + width]
    return segmenter.preprocessing.finish(working)
