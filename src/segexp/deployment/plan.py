"""Export request, data to measure with, and result."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from segexp.checkpoint.splits import reproduce_split, scoring_set
from segexp.config.schema import TrainConfig
from segexp.data.io.images import read_image
from segexp.data.layout.pairing import find_data_cases
from segexp.deployment.certificate import Certificate, ValidationData
from segexp.deployment.modules import Returns
from segexp.deployment.quantization import QuantisationResult, check_calibration, evenly_spaced
from segexp.errors import DataError
from segexp.inference.segmenter import Segmenter
from segexp.types import Array, Case


@dataclass(frozen=True)
class ExportData:
    """Data that an export is measured with.

    Attributes:
        images: a few raw images (H, W, C).
        validation: the validation cases; None if the data are not available.
        calibration: prepared training images (C, h, w); empty if none are requested.
        crop: size (h, w) of training crops; None if the network was trained on whole images.
    """

    images: Sequence[Array]
    validation: ValidationData | None
    calibration: Sequence[torch.Tensor]
    crop: tuple[int, int] | None


@dataclass(frozen=True)
class ExportRequest:
    """Parameters of an export.

    Attributes:
        kind: a key of `formats.FORMATS`.
        precision: "fp32", "bf16", "fp16" or "int8".
        returns: "logits", or with built-in preprocessing "probabilities" or "classes".
        opset: ONNX opset.
        output: path of the exported file.
        accept: keep a low-precision file that fails its quality or speed check.
    """

    kind: str
    precision: str
    returns: Returns
    opset: int
    output: Path
    accept: bool = False


@dataclass(frozen=True)
class ExportResult:
    """A finished file that does not have its final name yet.

    Attributes:
        file: its current path.
        precision: number format of the network.
        certificate: the measurements.
        quantised: layers kept in float32; None unless INT8.
        look: titles and overlays of a validation image, by the network and by the file.
    """

    file: Path
    precision: str
    certificate: Certificate
    quantised: QuantisationResult | None = None
    look: Sequence[tuple[str, Array]] = ()


def check_export_data(material: ExportData, precision: str) -> None:
    """Require validation images for every precision below fp32.

    Raises:
        DataError: there are none.
    """
    if precision != "fp32" and material.validation is None:
        raise DataError(
            f"precision={precision} without the validation images of the run",
            "What fewer bits do to Dice is measured on them",
            "Type data.root=DIR, where the images are now; or precision=fp32",
        )


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
        return ExportData(noise, None, (), size), missing
    cases = find_data_cases(run.data)
    way_out = "Bring the files back, or type data.root=DIR, where they are now"
    assigned = reproduce_split(cases, run, segmenter.origin, way_out)
    held, training = ([case for case in cases if assigned[case.id] == split] for split in ("val", "train"))
    if calibration:
        check_calibration(calibration, len(training))
    images = [picture(case, segmenter) for case in evenly_spaced(held, FEW)]
    prepared = (
        [calibration_images(case, segmenter, size) for case in evenly_spaced(training, calibration)] if calibration else []
    )
    scored = scoring_set(run.data, held, segmenter)
    validation = ValidationData(scored, [case.group for case in held], lambda n: picture(held[n], segmenter))
    return ExportData(images, validation, prepared, size), ""


def picture(case: Case, segmenter: Segmenter) -> Array:
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
